"""How likely it is that a perturbation took hold in each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scgroove import _keys
from scgroove._labels import Label, UnlabeledCategory, label_name, unlabeled_names
from scgroove._types import FloatArray, Labels
from scgroove._warnings import warn
from scgroove.data.checks import PerModality, modality_of, name_of
from scgroove.data.labels import labels_by_modality
from scgroove.data.screen import check_call, check_modality, representation
from scgroove.errors import InputError, UnknownNameError, did_you_mean
from scgroove.metrics.efficacy import LabelEfficacy, label_efficacy

if TYPE_CHECKING:
    from mudata import MuData

FEWEST_CONTROLS: Final = 20
"""Control cells below which their mean and covariance say too little."""
CONTROLS_PER_DIMENSION: Final = 4
"""Control cells that each dimension needs: with fewer, their covariance fits them alone."""
_ESCAPED: Final = 0.05
"""Mean efficacy below which all cells of a label are taken for escaped."""
_SHOWN: Final = 8
"""Labels that a message names."""


def estimate_efficacy(
    mdata: MuData,
    control: Label | None,
    label_key: PerModality = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    unlabeled_category: UnlabeledCategory = None,
    use_rep: PerModality | None = None,
    n_components: int = 15,
    prior: tuple[float, float] = (8.0, 2.0),
    alpha: float = 0.05,
    key_added: str = _keys.EFFICACY,
    seed: int = 0,
) -> None:
    """Estimate for each cell the probability that the perturbation it is labeled with took hold.

    In a pooled screen some cells carry a guide that did nothing. They look like controls, and a
    model that takes their label for granted learns from them that the perturbation does little. In
    each modality on its own, with mean m_0 and covariance S of the control cells (a ridge of 0.001
    of the mean variance added), and for each label g on its own:

    1. *Is there an effect at all?* Hotelling's test of the squared distance
       ``(m_g - m_0)' S^-1 (m_g - m_0)`` of the mean of its n cells from that of the m controls, in
       d dimensions: it must reach ``(1/n + 1/m) d (m - 1) / (m - d)`` times the ``1 - alpha``
       quantile of F(d, m - d). Otherwise, and with fewer than ten cells, the label is
       *undetectable* and the efficacy of its cells stays 1: a mixture would find two groups in pure
       noise.
    2. *Which cells show it?* Cells are placed on the line from the controls to the cells with the
       effect, ``t = d'(x - m_0) / d'(m_1 - m_0)`` with ``d = S^-1 (m_1 - m_0)``. t is a mixture of
       two normal distributions: that of the controls around 0, and that of the cells with the
       effect around 1, with a standard deviation of 0.5 to 1.5 times that of the controls, s. Their
       ratio turns at ``t = 1 / (1 - s^2)``. Cells beyond count as cells there, as a stronger effect
       is no sign of none. Fifteen rounds of expectation and maximization, from the cells beyond the
       middle of the line to m_g, find m_1, the standard deviation, and the share of cells with the
       effect, ``(a + sum of efficacies) / (a + b + n)`` for a prior Beta(a, b), between 0.05 and
       0.98.

    The efficacy is the probability of the second distribution. Where an effect is weak the two
    overlap: single cells can then hardly be told apart, and rates lie nearer to that of the prior
    than they should.

    Parameters
    ----------
    mdata
        Modalities with control cells.
    control
        The label of cells that nothing was done to, such as those of non-targeting guides. None:
        there are none, so that nothing can be told. All labeled cells get 1, with a warning.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one for each modality.
    modalities
        Names of the modalities. All by default.
    unlabeled_category
        A label that stands for "no label".
    use_rep
        Representation in ``mod[m].obsm`` in which effects are looked for, one name or one for each
        modality. Not one that a model learned from the same labels: it shows what it was told to
        show. By default the principal components of the standardized values of the modality. Counts
        are scaled to the median library and logged first. All values are made dense for that, some
        30 bytes each: choose variable genes first, or give a representation. The result does not
        depend on a rotation of it.
    n_components
        Principal components, where ``use_rep`` is not given.
    prior
        a and b above: before any cell is seen, a label works in a / (a + b) of its cells, and this
        counts as much as a + b cells.
    alpha
        Level of the test: the share of the labels without any effect that will seem to have one. A
        lower one leaves more labels of weak effect undetectable.
    key_added
        Name of the results. Those of an earlier call under this name are overwritten, but for
        ``obs`` of modalities that this call leaves out: they keep their efficacies.
    seed
        Random state of the principal components where there are many features.

    Returns
    -------
    None. Sets the following fields:

    ``mod[m].obs[key_added]``
        Efficacy, float64 between 0 and 1, (n_m,). 1 for control cells and undetectable labels, NaN
        for cells without a label.
    ``mdata.uns[key_added]``
        ``"control"``. ``"params"``, the options, and ``"labels"``, a table for each modality with
        one row a label but the control: ``label``. ``n_cells``. ``rate``, the share of its cells
        with the effect, and its 95 % interval ``rate_low`` to ``rate_high``, mean and quantiles of
        the distribution Beta(a + sum of efficacies, b + n - sum of efficacies): they say how many
        cells there were to count, not whether the two distributions are the right ones, and are NaN
        where ``undetectable`` is True. ``statistic``, ``threshold`` and ``p_value`` of the first
        step.

    Raises
    ------
    TypeError
        If ``mdata`` is no MuData.
    KeyError
        If a modality, a label column, the control or a representation does not exist.
    ValueError
        If there are fewer than 20 control cells, no more than dimensions, or nothing but them. They
        are all alike. A representation or the values of a modality are not finite, or an option is
        out of range. ``mdata`` is unchanged then.

    Warns
    -----
    UserWarning
        If there is no control, all cells of a label seem to have escaped, if labels are
        undetectable, or if there are so few control cells that little can be seen: fewer than four
        for each dimension.

    See Also
    --------
    scgroove.pl.efficacy : the rates of all labels.
    scgroove.tl.perturbation_effects : the effects themselves.

    References
    ----------
    Papalexi et al. 2021, Nature Genetics 53, 322-331 (Mixscape, which separates cells by a mixture
    on a line between means, too). Hotelling 1931, "The generalization of Student's ratio".

    Examples
    --------
    >>> scgroove.tl.estimate_efficacy(mdata, "NT")  # doctest: +SKIP
    >>> mdata["rna"].obs["efficacy"].groupby(mdata["rna"].obs["label"]).mean()  # doctest: +SKIP
    >>> scgroove.pl.efficacy(mdata)  # doctest: +SKIP
    """
    check_call(mdata, key_added, modalities, use_rep)
    if not 0 < alpha < 1:
        raise InputError(f"alpha must be a number above 0 and below 1; found {alpha!r}.")
    if not key_added:
        raise InputError(
            f"key_added must be the name of a column, such as {_keys.EFFICACY!r}; found "
            f"{key_added!r}."
        )
    names = _modalities(mdata, modalities)
    keys = {m: name_of(label_key, m, "label_key") for m in names}
    labels = labels_by_modality(mdata, label_key, names, unlabeled_category)
    if key_added in keys.values():
        raise InputError(
            f"key_added={key_added!r} is the column of the labels, which would be lost."
        )
    if control is None:
        _without_control(mdata, labels, key_added, keys)
        return
    control = label_name(control)
    for m in names:
        _check_control(control, labels[m], m, keys[m], unlabeled_category)
    x = {m: _representation(mdata, m, use_rep, n_components, seed) for m in names}
    for m in names:
        _check_spread(x[m][labels[m] == control], m, control)
        _check_dimensions(int((labels[m] == control).sum()), x[m].shape[1], m, control)
    options: dict[str, Any] = {"prior": tuple(map(float, prior)), "alpha": float(alpha)}
    found = {m: label_efficacy(x[m], labels[m], control, **options) for m in names}
    _warn_few_controls(x, labels, control)
    _warn_labels(found)
    params: dict[str, Any] = {
        "prior": np.array(prior, dtype=np.float64),
        "alpha": float(alpha),
        "seed": seed,
    }
    params["label_key"] = keys
    if use_rep is None:
        params["n_components"] = n_components
    else:
        params["use_rep"] = {m: name_of(use_rep, m, "use_rep") for m in names}
    for m, result in found.items():
        mdata.mod[m].obs[key_added] = result.probability
    tables = {m: result.table.drop(columns="mean") for m, result in found.items()}
    mdata.uns[key_added] = {"control": control, "params": params, "labels": tables}


def _without_control(
    mdata: MuData, labels: Mapping[str, Any], key_added: str, keys: dict[str, str]
) -> None:
    """Leave all cells with a label at 1, and say so."""
    warn(
        "no control label: the efficacy of all labeled cells is left at 1. Name the label of "
        "cells that nothing was done to, "
        'control="...", to have it estimated.',
    )
    for m, own in labels.items():
        known = np.array([label is not None for label in own])
        mdata.mod[m].obs[key_added] = np.where(known, 1.0, np.nan)
    mdata.uns[key_added] = {"control": "", "params": {"label_key": keys}, "labels": {}}


def _modalities(mdata: MuData, modalities: Sequence[str] | None) -> list[str]:
    """Return the names of the modalities, which must have cells. One is enough."""
    names = list(getattr(mdata, "mod", ()))
    if modalities is not None:
        names = [modalities] if isinstance(modalities, str) else list(modalities)
    for m in names or [""]:
        check_modality(mdata, m, "modalities")
    return list(dict.fromkeys(names))


def _check_control(
    control: str, labels: Any, modality: str, key: str, unlabeled: UnlabeledCategory
) -> None:
    if control in unlabeled_names(unlabeled):
        raise InputError(
            f"control={control!r} is among unlabeled_category={unlabeled!r}: control cells must "
            f"keep their label."
        )
    n = int((labels == control).sum())
    others = sorted({label for label in labels if label not in (None, control)})
    if not n:
        raise UnknownNameError(
            f"control={control!r}: no cell of {modality!r} has this label in obs[{key!r}], which "
            f"has {_listed(others)}.{did_you_mean(control, others)} Every modality needs control "
            "cells of its own; leave one out with modalities=[...]."
        )
    if n < FEWEST_CONTROLS:
        raise InputError(
            f"{modality!r} has only {n} cell(s) of the control {control!r}; their mean and "
            f"covariance, which every label is compared with, need {FEWEST_CONTROLS} or more. Was "
            f"the data subset? Otherwise leave {modality!r} out with modalities=[...]."
        )
    if not others:
        raise InputError(
            f"all {n} labeled cells of {modality!r} are controls ({control!r} in obs[{key!r}]): "
            "there is no perturbation to judge. Is label_key= the column of perturbations?"
        )


def _representation(
    mdata: MuData, modality: str, use_rep: PerModality | None, n_components: int, seed: int
) -> FloatArray:
    """Return where the cells lie, finite, (n_m, d)."""
    if use_rep is None:
        from scgroove.learners.common import components_of

        return components_of(modality_of(mdata, modality), modality, n_components, seed)
    key, known = name_of(use_rep, modality, "use_rep"), list(mdata.mod[modality].obsm)
    if key not in known:
        raise UnknownNameError(
            f"use_rep={key!r}: no such key in mdata.mod[{modality!r}].obsm, which has "
            f"{known}.{did_you_mean(key, known)} "
            f"Leave use_rep out to use principal components of the values of each modality."
        )
    return representation(mdata, modality, key)


def _check_spread(controls: FloatArray, modality: str, control: str) -> None:
    if not np.ptp(controls, axis=0).any():
        raise InputError(
            f"all {len(controls)} control cells ({control!r}) of {modality!r} lie at one point, "
            f"so that there is no telling "
            f"what is far from them. Is use_rep= a representation of cells, and not of labels?"
        )


def _check_dimensions(n: int, d: int, modality: str, control: str) -> None:
    if n <= d:
        raise InputError(
            f"{modality!r} has {n} cells of the control {control!r} and {d} dimensions, whose "
            f"covariance they cannot tell. Use fewer dimensions: "
            f"n_components={max(1, n // CONTROLS_PER_DIMENSION)}, or a shorter use_rep."
        )


def _warn_few_controls(
    x: Mapping[str, FloatArray], labels: Mapping[str, Labels], control: str
) -> None:
    """Say where controls are so few that only strong effects can be told from chance."""
    for m, places in x.items():
        n, d = int((np.asarray(labels[m]) == control).sum()), places.shape[1]
        if n < CONTROLS_PER_DIMENSION * d:
            warn(
                f"{m!r} has {n} control cells ({control!r}) for {d} dimensions: only strong "
                f"effects can then be told from chance. Have {CONTROLS_PER_DIMENSION} controls "
                "for each dimension or more; fewer dimensions (n_components=, use_rep=) need "
                "fewer.",
            )


def _warn_labels(found: Mapping[str, LabelEfficacy]) -> None:
    """Say which labels nothing can be told of, and which seem not to have worked in any cell."""
    unseen, escaped = [], []
    for m, result in found.items():
        table = result.table
        n = int(table["undetectable"].sum())
        if n:
            unseen.append(f"{n} of {len(table)} labels in {m!r}")
        names = table["label"][table["mean"] < _ESCAPED].tolist()
        if names:
            escaped.append(f"in {m!r} {_listed(names)}")
    if unseen:
        warn(
            f"no effect to be seen of {', '.join(unseen)}: the efficacy of their cells is left "
            f"at 1."
        )
    if escaped:
        warn(
            f"nearly all cells seem to have escaped of these labels: {'; '.join(escaped)}. A few "
            "cells far away may make an effect of a label that has none: look at them before "
            "using the efficacy as a weight."
        )


def _listed(names: Sequence[str]) -> str:
    return (
        f"{', '.join(map(repr, names[:_SHOWN]))}{', ...' if len(names) > _SHOWN else ''}"
        or "no label"
    )

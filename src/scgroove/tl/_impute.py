"""Values of one modality for the cells of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from scgroove import _keys
from scgroove._labels import UnlabeledCategory
from scgroove.data.checks import PerModality
from scgroove.data.screen import check_call, check_modality, labels_of_setup, warn_of_no_labels

if TYPE_CHECKING:
    from mudata import MuData

AUTO: Final = "auto"


class Translator(Protocol):
    """What ``method="decoder"`` needs of a model: :class:`scgroove.model.GROOVE` has it."""

    def translate(self, source: str, target: str, mdata: MuData | None = None) -> Any:
        """Return expected values of the target for source cells, (n_source, d_target)."""


def impute(
    mdata: MuData,
    source: str,
    target: str,
    *,
    method: str = "decoder",
    model: Translator | Sequence[Translator] | None = None,
    coupling_key: str | None = None,
    layer: str | None = None,
    use_rep: PerModality | None = None,
    epsilon: float | None = None,
    n_neighbors: int | None = None,
    regression: Mapping[str, Any] | None = None,
    shrink: float | None = None,
    uncertainty: bool = True,
    label_key: PerModality | None = "auto",
    unlabeled_category: UnlabeledCategory = None,
    seed: int = 0,
    key_added: str | None = None,
    max_memory_gb: float = 4.0,
) -> None:
    """Give source cells values of the target modality, all of them: labels never seen in the target included.

    ``"decoder"``
        What the model expects, ``E[p_t(x | d_t(e_s(x_i)))]``; of several models, the mean.
    ``"barycentric"``
        The mean of the target cells that the coupling matches with cell i, ``sum_j T_ij x_j / sum_j T_ij``. Cells without
        mass in the coupling (label not in the target, or no label) get the entropic map of the shared representation instead,
        ``sum_j w_ij x_j`` with ``w_ij`` proportional to ``exp(-c(z_i, z_j) / eps)`` over all target cells.
    ``"knn"``
        The mean of the nearest target cells in the shared representation: of the cells of its label, where the target has
        them, else of all.
    ``"regression"``
        Networks from the source's features to the target's, fitted to the cells that the coupling matches:
        :class:`scgroove.imputers.CouplingRegression`.
    ``"label_ridge"``
        A linear map from the source's features to the target's, fitted to the means of the labels that both have:
        :class:`scgroove.imputers.LabelRidge`. Hard to beat for labels never measured in the target.

    Beside each value stands the standard deviation of what would have been measured around it: the spread of measured cells
    inside the label, the error of a mean of few cells, the bias of the label's mean, and what the members of an ensemble
    differ by (:func:`scgroove.imputers.predictive_sd`). Read intervals with :func:`scgroove.get.imputed_interval`, and measure
    how often they hold with :func:`scgroove.tl.score_imputation` where the truth is known.

    Parameters
    ----------
    mdata
        The modalities.
    source, target
        The cells to impute for, and the modality imputed. With ``method="decoder"`` mdata may lack the target.
    method
        See above.
    model
        The trained model, for ``"decoder"``; or several, trained with different seeds, whose disagreement is part of the
        uncertainty.
    coupling_key
        Name of the coupling, for ``"barycentric"`` and ``"regression"``; default ``"coupling_<source>_<target>"``.
    layer
        Layer of the target with the values, for all but ``"decoder"``; default X. The decoder predicts in the units that
        the model was trained on.
    use_rep
        For ``"barycentric"``: shared representation for cells without mass, default that of the coupling. For ``"knn"``: shared
        representation, default ``"X_groove"``. For ``"regression"`` and ``"label_ridge"``: what to predict from, an ``obsm`` key of the source;
        default its features, counts normalized and logged, standardized.
    epsilon
        For ``"barycentric"``: eps of the entropic map, relative to the mean cost between those cells and the target cells;
        default that of the coupling, or 0.05.
    n_neighbors
        For ``"knn"``: cells averaged, default 30.
    regression
        For ``"regression"``: options of :class:`scgroove.imputers.CouplingRegression`, such as ``{"n_models": 3}``.
    shrink
        Draw values to the measured mean of their label, where the target has it: 0 corrects the mean of each label, 1 gives every
        cell the mean, 0.5 halves differences between cells of a label (:func:`scgroove.imputers.shrink_to_label`). None: not.
    uncertainty
        Whether to say how far each value can be off: takes as much memory again.
    label_key
        Column of ``mod[m].obs`` with the label, for uncertainty, ``"knn"`` and ``"label_ridge"``; None: labels are not known.
        ``"auto"``: that of the model, as far as the data have it; without a model ``"label"``, or else the column of the set-up.
    unlabeled_category
        A label that stands for "no label"; default that of the model, for its own labels.
    seed
        Random state.
    key_added
        Name of the result; default ``"imputed_<target>"``.
    max_memory_gb
        Refuse, before taking any, if the results are larger than this.

    Returns
    -------
    None
        Sets the following fields:

        ``mdata.mod[source].obsm[key_added]``
            Imputed values, float32 (n_source, d_target), in the units of the target.
        ``mdata.mod[source].obsm[key_added + "_sd"]``
            With ``uncertainty``, where measured cells of the target are at hand: standard deviations, float32
            (n_source, d_target). Removed otherwise.
        ``mdata.mod[source].uns[key_added]``
            ``features`` (names), ``method``, ``source``, ``target``; for ``"decoder"`` the layer, the number of models and, where
            the target is counts, the ``library_size`` at which they are expected; for the others the layer and the number of
            extrapolated cells; coupling, neighbors, absolute eps where there are any; with ``uncertainty``, ``levels`` and
            ``quantiles`` (levels, d_target), in standard deviations; ``shrink`` where it was asked for.
        ``mdata.mod[source].obs[key_added + "_extrapolated"]``
            For all but ``"decoder"``: True where a cell had no mass in the coupling, or its label no cell in the target. Removed by ``"decoder"``.

    Raises
    ------
    ValueError
        If a modality, method, layer, coupling or representation is missing, an argument does not go with the method,
        the model does not return one row per cell, or memory is too small. ``mdata`` is unchanged then.

    Warns
    -----
    UserWarning
        If no label is known because there is no column ``"label"``, or if every label has one measured cell only, so that the spread
        inside labels is not known.

    See Also
    --------
    scgroove.get.imputed, scgroove.get.imputed_interval, scgroove.tl.score_imputation, scgroove.tl.align

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 6 (decoder); Pooladian and Niles-Weed 2021, arXiv 2109.12004
    (entropic map); Ryu et al. 2024, arXiv 2405.00838 (regression on coupled cells); user guide, "Imputation".

    Examples
    --------
    >>> scgroove.tl.impute(mdata, "rna", "prot", model=model)  # doctest: +SKIP
    >>> scgroove.get.imputed(mdata, "rna", "prot")  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    from scgroove.tl._impute_methods import IMPUTERS, Request
    from scgroove.tl._impute_spread import describe

    check_modality(mdata, source, "source")
    chosen = IMPUTERS.get(method)
    models = _as_models(model)
    columns, unlabeled = _labels_to_use(
        mdata, (source, target), models, label_key, unlabeled_category
    )
    request = Request(
        mdata=mdata,
        source=source,
        target=target,
        models=models,
        coupling_key=coupling_key,
        layer=layer,
        use_rep=use_rep,
        epsilon=epsilon,
        n_neighbors=n_neighbors,
        regression=regression,
        label_key=columns,
        unlabeled_category=unlabeled,
        labels_optional=label_key == AUTO,
        labels_declared=unlabeled_category is not None,
        seed=seed,
        copies=2 if uncertainty else 1,
        max_memory_gb=max_memory_gb,
    )
    request.check_goes_with(method, chosen.takes)
    found, made = chosen.compute(request)
    found, sd, shape = describe(request, found, made, shrink=shrink, uncertainty=uncertainty)
    made = {**made, **shape, "method": method, "source": source, "target": target}
    key = key_added if key_added is not None else _keys.imputed(target)
    flags = None if method == "decoder" else found.extrapolated
    _write(mdata.mod[source], key, found.values, sd, flags, made)


def _labels_to_use(
    mdata: MuData,
    pair: tuple[str, str],
    models: tuple[Any, ...],
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
) -> tuple[PerModality | None, UnlabeledCategory]:
    """Return the columns of labels, and the label that stands for none: those of the model where none are given."""
    describe = getattr(models[0], "get_label_columns", None) if models else None
    known: dict[str, Any] = {} if describe is None else dict(describe())
    if label_key in (AUTO, known.get("label_key")) and unlabeled_category is None:
        unlabeled_category = known.get("unlabeled_category")
    if label_key != AUTO:
        return label_key, unlabeled_category
    if known:
        return known["label_key"], unlabeled_category
    in_data = [m for m in pair if m in mdata.mod and _keys.LABEL not in mdata.mod[m].obs]
    lacking = [m for m in in_data if labels_of_setup(mdata, m)[0] is None]
    if lacking:
        warn_of_no_labels(lacking)
    return _keys.LABEL, unlabeled_category


def _as_models(model: Any) -> tuple[Any, ...]:
    if model is None:
        return ()
    return tuple(model) if isinstance(model, Sequence) else (model,)


def _write(adata: Any, key: str, values: Any, sd: Any, flags: Any, made: Mapping[str, Any]) -> None:
    """Write the results under a key, and take away what an earlier call left there."""
    adata.obsm[key] = values
    adata.uns[key] = dict(made)
    for store, name, part in (
        (adata.obsm, _keys.imputed_sd(key), sd),
        (adata.obs, _keys.extrapolated(key), flags),
    ):
        if part is not None:
            store[name] = part
        elif name in store:
            del store[name]

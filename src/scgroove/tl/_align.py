"""Coupling the cells of two modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scgroove import _keys, aligners
from scgroove._labels import UnlabeledCategory, stored_category
from scgroove._types import BoolArray
from scgroove._warnings import warn
from scgroove.aligners.base import BAD_MARGINAL
from scgroove.aligners.sparsify import THRESHOLD, check_kept
from scgroove.data.checks import PerModality, name_of
from scgroove.data.labels import labels_by_modality
from scgroove.data.screen import check_call, check_pair, representations, weights_of_pair
from scgroove.data.union import spread, union_rows
from scgroove.errors import (
    ConvergenceError,
    ConvergenceWarning,
    InputError,
    InputTypeError,
    did_you_mean,
)
from scgroove.tl._score import true_partners

if TYPE_CHECKING:
    from mudata import MuData

LOW_RANK_TOP_K: Final = 50
"""Entries of a row that are stored of a plan of low rank, which has no small entries to leave out."""


def align(
    mdata: MuData,
    source: str,
    target: str,
    *,
    label_key: PerModality | None = _keys.LABEL,
    use_rep: PerModality = _keys.LATENT,
    method: str = "eot",
    labeled: bool = True,
    unlabeled_category: UnlabeledCategory = None,
    weight_key: PerModality | None = None,
    structure_rep: PerModality | None = None,
    pair_key: str | None = None,
    key_added: str | None = None,
    threshold: float | None = THRESHOLD,
    top_k: int | None = None,
    **options: Any,
) -> None:
    """Couple the cells of two modalities: who matches whom, and how strongly.

    Parameters
    ----------
    mdata
        The modalities: different cells, partly the same, or all the same. A pairing in it is not used, but by
        ``method="oracle"``.
    source, target
        Names of the modalities. Rows of the coupling are source cells, columns target cells.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one per modality. Missing values are cells without a
        label. Not needed if ``labeled=False``.
    use_rep
        Representation of each modality, one name or one per modality: a key of ``mod[m].obsm``, ``"X"`` for the measured
        values, or a layer. In one space, but for methods that need none (``"egw"``, ``"egw_each"``, ``"coot"``):
        ``use_rep={"rna": "X_pca", "prot": "X"}``.
    method
        One of ``scgroove.aligners.ALIGNERS.names()``. In a shared space: ``"eot"``, entropic optimal transport, ``"emd"``,
        exact, ``"uot"``, unbalanced, ``"fgw"``, with the distances inside each modality, ``"snn"`` and ``"nn"``, shared and
        mutual nearest neighbors. Without one: ``"egw"``, Gromov-Wasserstein over all labels, ``"egw_each"``, a label
        alone, ``"coot"``, co-optimal transport of cells and features. For comparison: ``"random"``, ``"uniform"``,
        ``"oracle"``.
    labeled
        Keep mass within labels: every label of both modalities is a block of its own, and cells of other labels, or
        without one, take no part. False: one problem over all cells, which knows nothing of labels.
    unlabeled_category
        A label that stands for "no label".
    weight_key
        Column of ``mod[m].obs`` with weights of the cells, at least 0: how the mass of a label is shared out inside it.
        Default: all alike.
    structure_rep
        For ``"fgw"``: representation that the distances inside each modality are taken from, named as for ``use_rep``, of any
        width; default the shared one.
    pair_key
        For ``"oracle"``: column of ``obs`` that is equal for the same cell in both modalities; default ``"pair_id"`` if
        there is one, else the names of the cells.
    key_added
        Name of the result; default ``"coupling_<source>_<target>"``.
    threshold
        Share of the mass of a row that may be dropped by storing only the entries that matter; rows are
        scaled to keep their mass. 0 keeps everything.
    top_k
        Store the largest entries of each row only, this many; default all, or 50 for plans of low rank (``rank=``). Rows
        keep their mass, columns do not: what is stored is another coupling than the one that was found, the more so the
        smaller ``top_k``.
    **options
        Of the method, such as ``epsilon`` (relative to the mean cost, or ``"auto"``), ``cost``, ``label_weights``,
        ``n_jobs``, ``backend``, ``strict`` or ``max_memory_gb`` (of the solution and of the stored matrix): see its class in
        :mod:`scgroove.aligners`.

    Returns
    -------
    None
        Sets the following fields:

        ``mdata.obsp[key_added]``
            The coupling, CSR float32 (n_obs, n_obs) over the cells of the MuData, of mass 1: rows of source cells,
            columns of target cells. :func:`scgroove.get.coupling` returns it as (n_source, n_target).
        ``mdata.uns[key_added]``
            Its evidence: errors of the marginals (L1, relative to the mass), converged, objective, absolute
            eps of each label, seconds, labels and cells left out, options, versions; for ``"coot"`` also
            ``feature_coupling``, (d_source, d_target). The errors are those of the stored matrix, and ``converged`` holds
            for it. ``n_dropped``, ``mass_dropped``, ``threshold`` and ``top_k`` say what storing took away, and
            ``column_error_found`` is the error of the column masses before that.

    Raises
    ------
    ValueError
        If a modality, a representation or the method is unknown, values are not finite, the spaces differ, weights are
        negative, no label is shared, or ``threshold`` or ``top_k`` cannot be used; or the problem or its result is too large
        for ``max_memory_gb``. ``mdata`` is unchanged then.
    KeyError
        If a modality has no such label or weight column. ``mdata`` is unchanged then.
    TypeError
        If the method has no such option. ``mdata`` is unchanged then.
    ConvergenceError
        With ``strict=True``, instead of either warning. ``mdata`` is unchanged then.

    Warns
    -----
    ConvergenceWarning
        If the marginals are off by more than 0.1 % of the mass, or the solver gave up; or if the columns of what is stored
        are off by 0.1 % more than those of the coupling.

    See Also
    --------
    scgroove.get.coupling, scgroove.tl.epsilon_scan, scgroove.tl.score_matching, scgroove.tl.impute

    References
    ----------
    User guide, "Alignment"; Cuturi 2013, arXiv 1306.0895; Ryu et al. 2024, arXiv 2405.00838.

    Examples
    --------
    >>> scgroove.tl.align(mdata, "rna", "prot", label_key="label")  # doctest: +SKIP
    >>> scgroove.get.coupling(mdata, "rna", "prot")  # doctest: +SKIP
    >>> scgroove.tl.align(
    ...     mdata, "rna", "prot", method="egw", use_rep={"rna": "X_pca", "prot": "X"}
    ... )  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    check_pair(mdata, source, target)
    threshold = check_kept(top_k, threshold)
    aligner = construct(method, options)
    labels = labels_for(mdata, source, target, label_key, unlabeled_category, labeled)
    x, y = inputs_of(mdata, source, target, aligner, use_rep)
    aligner = with_data(mdata, source, target, aligner, structure_rep, pair_key, labels)
    rows, columns = union_rows(mdata, source), union_rows(mdata, target)
    coupling = aligner.align(x, y, *labels, **weights_for(mdata, source, target, weight_key))
    if top_k is None and getattr(aligner, "rank", None) is not None:
        top_k = LOW_RANK_TOP_K
    key = key_added if key_added is not None else _keys.coupling(source, target)
    used = {
        "use_rep": use_rep,
        "label_key": label_key if labeled else None,
        "weight_key": weight_key,
    }
    names = {**used, "structure_rep": structure_rep}
    limit = {"max_memory_gb": aligner.max_memory_gb} if hasattr(aligner, "max_memory_gb") else {}
    matrix, evidence = to_store(
        coupling, method, top_k, threshold, strict=_is_strict(aligner), **limit
    )
    evidence = {**_known_labels(coupling, labeled), **evidence, **told(source, target, names)}
    del coupling  # a large one is not to stand in memory beside what is stored of it
    if labeled and unlabeled_category is not None:
        evidence["unlabeled_category"] = stored_category(unlabeled_category)
    mdata.obsp[key] = spread(matrix, rows, columns, mdata.n_obs)
    mdata.uns[key] = evidence


def to_store(
    coupling: aligners.Coupling,
    method: str,
    top_k: int | None,
    threshold: float,
    *,
    strict: bool = False,
    max_memory_gb: float = 4.0,
) -> tuple[sp.csr_matrix, dict[str, Any]]:
    """Return the matrix of a coupling as it is stored, and its evidence: the errors are those of the matrix."""
    matrix, report = coupling.sparsify(top_k, threshold, max_memory_gb=max_memory_gb)
    found = dict(coupling.evidence)
    evidence = {**found, **report}
    if "column_error" in found:
        evidence["column_error_found"] = found["column_error"]
    per_label = np.asarray(found.get("column_error_per_label", 0.0))
    added = evidence["column_error_per_label"] - (
        per_label if per_label.size == len(coupling.blocks) else 0.0
    )
    _judge_stored(evidence, added > BAD_MARGINAL, method, strict)
    return matrix, evidence


def _is_strict(aligner: Any) -> bool:
    return bool(getattr(aligner, "strict", False))


def _known_labels(coupling: aligners.Coupling, labeled: bool) -> dict[str, Any]:
    """Return what :func:`scgroove.get.coupling` needs for the blocks, where the aligner does not say it itself."""
    if labeled and not all(coupling.labels):
        return {}
    return {"labeled": labeled, "labels": np.array(coupling.labels, dtype=object)}


def _judge_stored(evidence: dict[str, Any], bad: BoolArray, method: str, strict: bool) -> None:
    """Warn, or raise, if storing moved the column masses of a label; ``bad`` says of which, (n_labels,)."""
    if not bad.any():
        return
    stored, found = evidence["column_error"], evidence.get("column_error_found", 0.0)
    for name, good in (("converged", False), ("converged_per_label", ~bad)):
        if name in evidence:
            evidence[name] = evidence[name] & good
    top_k = evidence.get("top_k")
    small = (
        f"only the {top_k} largest entries of a row are kept"
        if top_k is not None
        else "small entries are dropped"
    )
    knob = (
        f"Raise top_k (now {top_k})"
        if top_k is not None
        else f"Lower threshold (now {evidence['threshold']:g})"
    )
    message = (
        f"what is stored of this coupling, and used from now on, differs from what was found: its column masses are off by "
        f"{stored:.1e} of the mass, those found by {found:.1e}, since {small}. {knob}; or take the coupling "
        f"itself, which needs no matrix, from scgroove.aligners.get({method!r})(...).align(x, y)."
    )
    if strict:
        raise ConvergenceError(message)
    warn(message, ConvergenceWarning)


def told(source: str, target: str, names: Mapping[str, PerModality | None]) -> dict[str, str]:
    """Return which modalities, representations and columns a coupling was made from, as its evidence keeps them."""
    out = {"source": source, "target": target}
    for argument, given in names.items():
        if given is not None:
            out[f"{argument}_source"] = name_of(given, source, argument)
            out[f"{argument}_target"] = name_of(given, target, argument)
    return out


def labels_for(
    mdata: MuData,
    source: str,
    target: str,
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
    labeled: bool,
) -> tuple[Any, Any]:
    """Return the labels of source and target cells; (None, None) for an unlabeled alignment."""
    if not labeled:
        return None, None
    if label_key is None:
        raise InputError(
            "labeled=True keeps mass within labels, so it needs label_key, the column of obs that holds them; "
            "found None. For a coupling that knows nothing of labels pass labeled=False."
        )
    found = labels_by_modality(mdata, label_key, (source, target), unlabeled_category)
    return found[source], found[target]


def inputs_of(
    mdata: MuData,
    source: str,
    target: str,
    aligner: Any,
    use_rep: PerModality,
    shared: bool | None = None,
) -> tuple[Any, Any]:
    """Return the representations that a method takes; ``shared``: of one width, None for what the method needs."""
    return representations(
        mdata,
        source,
        target,
        use_rep,
        shared=getattr(aligner, "shared_space", True) if shared is None else shared,
        precomputed=getattr(aligner, "intra_cost", None) == "precomputed",
        max_memory_gb=getattr(aligner, "max_memory_gb", None),
    )


def weights_for(
    mdata: MuData, source: str, target: str, weight_key: PerModality | None
) -> dict[str, Any]:
    """Return the weights of the cells as arguments of ``align``."""
    if weight_key is None:
        return {}
    weights_x, weights_y = weights_of_pair(mdata, source, target, weight_key)
    return {"weights_x": weights_x, "weights_y": weights_y}


def with_data(
    mdata: MuData,
    source: str,
    target: str,
    aligner: Any,
    structure_rep: PerModality | None,
    pair_key: str | None,
    labels: tuple[Any, Any],
) -> Any:
    """Return the aligner with what some methods take from the MuData beside representations and labels."""
    takes = {option.name for option in fields(aligner)}
    if structure_rep is not None:
        _only_for("structure_rep", "fgw", aligner, "structure_x" in takes)
        x, y = inputs_of(mdata, source, target, aligner, structure_rep, shared=False)
        aligner = replace(aligner, structure_x=x, structure_y=y)
    if "pairs_x" in takes and aligner.pairs_x is None:
        partner = true_partners(
            mdata, source, target, pair_key, None if labels[0] is None else labels
        )
        known = partner >= 0
        pairs_y = np.full(mdata.mod[target].n_obs, None, dtype=object)
        pairs_y[partner[known]] = np.flatnonzero(known)
        pairs_x = np.full(partner.size, None, dtype=object)
        pairs_x[known] = np.flatnonzero(known)
        return replace(aligner, pairs_x=pairs_x, pairs_y=pairs_y)
    if pair_key is not None:
        _only_for("pair_key", "oracle", aligner, "pairs_x" in takes)
    return aligner


def _only_for(argument: str, method: str, aligner: Any, fits: bool) -> None:
    if not fits:
        raise InputError(
            f"{argument} only goes with method={method!r}; found method={aligner.name!r}. Leave it out, or choose that "
            f"method."
        )


def construct(method: str, options: dict[str, Any]) -> Any:
    """Return the aligner with its options, or say which options there are."""
    cls = aligners.get(method)
    known = [field.name for field in fields(cls)]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputTypeError(
                f"method {method!r} has no option {name!r}.{hint} Its options: {', '.join(known)}."
            )
    return cls(**options)

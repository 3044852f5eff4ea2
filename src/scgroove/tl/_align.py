"""Coupling the cells of two modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
from scgroove.data.labels import label_columns, labels_by_modality
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
"""Entries of a row that are stored of a plan of low rank, which has no small ones to drop."""


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
        The modalities: different cells, partly the same, or all the same. Only ``method="oracle"``
        uses a pairing.
    source, target
        Names of the modalities. Rows of the coupling are source cells, columns target cells.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one per modality. By default
        ``"label"``, or the column of the set-up. Missing values are cells without a label. Not
        needed if ``labeled=False``.
    use_rep
        Representation of each modality, one name or one per modality: a key of ``mod[m].obsm``,
        ``"X"`` for the measured values, or a layer. All in one space, except for ``"egw"``,
        ``"egw_each"`` and ``"coot"``: ``use_rep={"rna": "X_pca", "prot": "X"}``.
    method
        One of ``scgroove.aligners.ALIGNERS.names()``. In a shared space: ``"eot"``, entropic
        optimal transport, ``"emd"``, exact, ``"uot"``, unbalanced, ``"fgw"``, with the distances
        inside each modality, ``"snn"`` and ``"nn"``, shared and mutual nearest neighbors. Without
        one: ``"egw"``, Gromov-Wasserstein over all labels, ``"egw_each"``, a label alone,
        ``"coot"``, co-optimal transport of cells and features. For comparison: ``"random"``,
        ``"uniform"``, ``"oracle"``.
    labeled
        Keep mass within labels: every label of both modalities is a block of its own, and other
        cells take no part. False: one problem over all cells, blind to labels.
    unlabeled_category
        A label that stands for "no label".
    weight_key
        Column of ``mod[m].obs`` with weights of the cells, at least 0: the shares of the cells in
        the mass of their label. Default: all alike.
    structure_rep
        For ``"fgw"``: representation of the distances inside each modality, named as for
        ``use_rep``, of any width. Default: the shared one.
    pair_key
        For ``"oracle"``: column of ``obs`` that is equal for the same cell in both modalities.
        Default: ``"pair_id"`` if there is one, else the names of the cells.
    key_added
        Name of the result. Default ``"coupling_<source>_<target>"``.
    threshold
        Share of the mass of a row that may be dropped by storing only the entries that matter. Rows
        are scaled to keep their mass. 0 keeps everything.
    top_k
        Store only so many of the largest entries of each row. Default: all, or 50 for plans of low
        rank (``rank=``). Rows keep their mass, columns do not: the smaller ``top_k``, the more the
        stored coupling differs from the solution.
    **options
        Of the method, such as ``epsilon`` (relative to the mean cost, or ``"auto"``), ``cost``,
        ``label_weights``, ``n_jobs``, ``backend``, ``strict`` or ``max_memory_gb`` (of the solution
        and of the stored matrix): see its class in :mod:`scgroove.aligners`.

    Returns
    -------
    None
        Sets the following fields:

        ``mdata.obsp[key_added]``
            The coupling, CSR float32 (n_obs, n_obs) over the cells of the MuData, of mass 1: rows
            of source cells, columns of target cells. :func:`scgroove.get.coupling` returns it as
            (n_source, n_target).
        ``mdata.uns[key_added]``
            Its evidence: errors of the marginals (L1, relative to the mass), converged, objective,
            absolute eps of each label, seconds, labels and cells left out, options, versions, and
            for ``"coot"`` ``feature_coupling``, (d_source, d_target). Errors and ``converged`` are
            those of the stored matrix. ``n_dropped``, ``mass_dropped``, ``threshold`` and ``top_k``
            say what storing dropped, and ``column_error_found`` is the error of the column masses
            before that.

    Raises
    ------
    ValueError
        If a modality, a representation or the method is unknown, values are not finite, the spaces
        differ, weights are negative, no label is shared, or ``threshold`` or ``top_k`` cannot be
        used. :class:`~scgroove.errors.TooLargeError` if the problem or its result needs more than
        ``max_memory_gb``. ``mdata`` is unchanged then.
    KeyError
        If a modality has no such label or weight column. ``mdata`` is unchanged then.
    TypeError
        If the method has no such option. ``mdata`` is unchanged then.
    ConvergenceError
        With ``strict=True``, instead of a warning. ``mdata`` is unchanged then.

    Warns
    -----
    ConvergenceWarning
        If the marginals are off by more than 0.1 % of the mass, the solver gave up, or the columns
        of what is stored are off by 0.1 % more than those of the solution.

    See Also
    --------
    scgroove.get.coupling, scgroove.tl.epsilon_scan, scgroove.tl.score_matching, scgroove.tl.impute

    References
    ----------
    User guide, "Alignment". Cuturi 2013, arXiv 1306.0895. Ryu et al. 2024, arXiv 2405.00838.

    Examples
    --------
    >>> scgroove.tl.align(mdata, "rna", "prot", label_key="label")  # doctest: +SKIP
    >>> scgroove.get.coupling(mdata, "rna", "prot")  # doctest: +SKIP
    >>> spaces = {"rna": "X_pca", "prot": "X"}
    >>> scgroove.tl.align(mdata, "rna", "prot", method="egw", use_rep=spaces)  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    threshold = check_kept(top_k, threshold)
    problem = Problem.read(
        mdata,
        source,
        target,
        construct(method, options),
        label_key=label_key if labeled else None,
        use_rep=use_rep,
        labeled=labeled,
        unlabeled_category=unlabeled_category,
        weight_key=weight_key,
        structure_rep=structure_rep,
        pair_key=pair_key,
    )
    aligner = problem.aligner
    coupling = aligner.align(problem.x, problem.y, *problem.labels, **problem.weights)
    if top_k is None and getattr(aligner, "rank", None) is not None:
        top_k = LOW_RANK_TOP_K
    matrix, evidence = to_store(
        coupling,
        method,
        top_k,
        threshold,
        strict=bool(getattr(aligner, "strict", False)),
        max_memory_gb=getattr(aligner, "max_memory_gb", 4.0),
    )
    if not labeled or all(coupling.labels):
        blocks = {"labeled": labeled, "labels": np.array(coupling.labels, dtype=object)}
        evidence = {**blocks, **evidence}
    del coupling  # a large one is not to stand in memory beside the stored matrix
    rows, columns = union_rows(mdata, source), union_rows(mdata, target)
    key = key_added if key_added is not None else _keys.coupling(source, target)
    mdata.obsp[key] = spread(matrix, rows, columns, mdata.n_obs)
    mdata.uns[key] = {**evidence, **problem.evidence}


def to_store(
    coupling: aligners.Coupling,
    method: str,
    top_k: int | None,
    threshold: float,
    *,
    strict: bool = False,
    max_memory_gb: float = 4.0,
) -> tuple[sp.csr_matrix, dict[str, Any]]:
    """Return the matrix of a coupling as it is stored, and the evidence of that matrix."""
    matrix, report = coupling.sparsify(top_k, threshold, max_memory_gb=max_memory_gb)
    found = coupling.evidence
    evidence = {**found, **report}
    if "column_error" in found:
        evidence["column_error_found"] = found["column_error"]
    per_label = np.asarray(found.get("column_error_per_label", 0.0))
    if per_label.size != len(coupling.blocks):
        per_label = np.zeros(1)
    added = evidence["column_error_per_label"] - per_label
    _judge_stored(evidence, added > BAD_MARGINAL, method, strict)
    return matrix, evidence


def _judge_stored(evidence: dict[str, Any], bad: BoolArray, method: str, strict: bool) -> None:
    """Warn, or raise, if storing moved the column masses of a label. ``bad``: of which labels."""
    if not bad.any():
        return
    for name, good in (("converged", False), ("converged_per_label", ~bad)):
        if name in evidence:
            evidence[name] = evidence[name] & good
    top_k = evidence.get("top_k")
    why = f"small entries are dropped. Lower threshold (now {evidence['threshold']:g})"
    if top_k is not None:
        why = f"only the {top_k} largest entries of a row are kept. Raise top_k (now {top_k})"
    message = (
        "what is stored of this coupling, and used from now on, differs from what was found: its "
        f"column masses are off by {evidence['column_error']:.1e} of the mass, those found by "
        f"{evidence.get('column_error_found', 0.0):.1e}, since {why}, or take the coupling itself, "
        f"which needs no matrix, from scgroove.aligners.get({method!r})(...).align(x, y)."
    )
    if strict:
        raise ConvergenceError(message)
    warn(message, ConvergenceWarning)


def origin(source: str, target: str, names: Mapping[str, PerModality | None]) -> dict[str, str]:
    """Return the modalities, representations and columns that a coupling comes from."""
    found = {"source": source, "target": target}
    for argument, given in names.items():
        if given is not None:
            found[f"{argument}_source"] = name_of(given, source, argument)
            found[f"{argument}_target"] = name_of(given, target, argument)
    return found


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs of an aligner, read from a MuData.

    Attributes
    ----------
    aligner
        With the structure or pairs that some methods take.
    x, y
        Representations of source and target cells.
    labels
        Of source and target cells. None if the alignment is blind to them.
    weights
        Arguments of ``align``, empty if cells weigh alike.
    evidence
        Names of all columns and representations that were read.
    """

    aligner: Any
    x: Any
    y: Any
    labels: tuple[Any, Any]
    weights: dict[str, Any]
    evidence: dict[str, Any]

    @classmethod
    def read(
        cls,
        mdata: MuData,
        source: str,
        target: str,
        aligner: Any,
        *,
        label_key: PerModality | None,
        use_rep: PerModality,
        labeled: bool,
        unlabeled_category: UnlabeledCategory,
        weight_key: PerModality | None,
        structure_rep: PerModality | None,
        pair_key: str | None = None,
    ) -> Problem:
        """Read and check everything before any work."""
        check_pair(mdata, source, target)
        labels: tuple[Any, Any] = (None, None)
        if labeled:
            if label_key is None:
                raise InputError(
                    "labeled=True keeps mass within labels, so it needs label_key, the column of "
                    "obs that holds them; found None. For a coupling that knows nothing of labels "
                    "pass labeled=False."
                )
            pair = (source, target)
            found = labels_by_modality(mdata, label_key, pair, unlabeled_category)
            labels = found[source], found[target]
            columns = label_columns(mdata, label_key, pair, unlabeled_category)
            label_key, unlabeled_category = columns
        x, y = _spaces(mdata, source, target, aligner, use_rep)
        takes = {option.name for option in fields(aligner)}
        if structure_rep is not None:
            _only_for("structure_rep", "fgw", aligner, "structure_x" in takes)
            structure = _spaces(mdata, source, target, aligner, structure_rep, shared=False)
            aligner = replace(aligner, structure_x=structure[0], structure_y=structure[1])
        if "pairs_x" in takes and aligner.pairs_x is None:
            aligner = _with_pairs(mdata, source, target, aligner, pair_key, labels)
        elif pair_key is not None:
            _only_for("pair_key", "oracle", aligner, "pairs_x" in takes)
        weights = {}
        if weight_key is not None:
            names = ("weights_x", "weights_y")
            found_weights = weights_of_pair(mdata, source, target, weight_key)
            weights = dict(zip(names, found_weights, strict=True))
        used = {"use_rep": use_rep, "label_key": label_key, "weight_key": weight_key}
        evidence: dict[str, Any] = origin(source, target, {**used, "structure_rep": structure_rep})
        if labeled and unlabeled_category is not None:
            evidence["unlabeled_category"] = stored_category(unlabeled_category)
        return cls(aligner, x, y, labels, weights, evidence)


def _spaces(
    mdata: MuData,
    source: str,
    target: str,
    aligner: Any,
    use_rep: PerModality,
    shared: bool | None = None,
) -> tuple[Any, Any]:
    """Return representations, of one width if ``shared``. None: if the method needs that."""
    return representations(
        mdata,
        source,
        target,
        use_rep,
        shared=getattr(aligner, "shared_space", True) if shared is None else shared,
        precomputed=getattr(aligner, "intra_cost", None) == "precomputed",
        max_memory_gb=getattr(aligner, "max_memory_gb", None),
    )


def _with_pairs(
    mdata: MuData,
    source: str,
    target: str,
    aligner: Any,
    pair_key: str | None,
    labels: tuple[Any, Any],
) -> Any:
    partner = true_partners(
        mdata, source, target, pair_key, labels if labels[0] is not None else None
    )
    known = partner >= 0
    pairs_y = np.full(mdata.mod[target].n_obs, None, dtype=object)
    pairs_y[partner[known]] = np.flatnonzero(known)
    pairs_x = np.full(partner.size, None, dtype=object)
    pairs_x[known] = np.flatnonzero(known)
    return replace(aligner, pairs_x=pairs_x, pairs_y=pairs_y)


def _only_for(argument: str, method: str, aligner: Any, fits: bool) -> None:
    if not fits:
        raise InputError(
            f"{argument} only goes with method={method!r}; found method={aligner.name!r}. Leave it "
            "out, or choose that method."
        )


def construct(method: str, options: dict[str, Any]) -> Any:
    """Return the aligner with its options, or say which options there are."""
    cls = aligners.get(method)
    known = [field.name for field in fields(cls)]
    for name in options:
        if name not in known:
            raise InputTypeError(
                f"method {method!r} has no option {name!r}.{did_you_mean(name, known)} "
                f"Its options: {', '.join(known)}."
            )
    return cls(**options)

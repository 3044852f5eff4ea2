"""Coupling the cells of two modalities."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scgroove import _keys, aligners
from scgroove._registry import near_miss
from scgroove.get._inputs import PerModality, check_pair, labels_of_pair, name_of, representations
from scgroove.get._union import spread, union_rows

if TYPE_CHECKING:
    from mudata import MuData


def align(
    mdata: MuData,
    source: str,
    target: str,
    *,
    label_key: PerModality | None = _keys.LABEL,
    use_rep: PerModality = _keys.LATENT,
    method: str = "eot",
    labelled: bool = True,
    unlabeled_category: str | None = None,
    key_added: str | None = None,
    threshold: float = aligners.THRESHOLD,
    **options: Any,
) -> None:
    """Couple the cells of two modalities: who matches whom, and how strongly.

    Parameters
    ----------
    mdata
        The modalities: different cells, partly the same, or all the same. A pairing in it is not used.
    source, target
        Names of the modalities. Rows of the coupling are source cells, columns target cells.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one per modality. Missing values are cells without a
        label. Not needed if ``labelled=False``.
    use_rep
        Representation in ``mod[m].obsm``, one name or one per modality, in one space; ``"X"``: the measured values.
    method
        ``"eot"``, entropic optimal transport, or ``"emd"``, exact; see :mod:`scgroove.aligners`.
    labelled
        Keep mass within labels: every label of both modalities is a problem of its own, and cells of other labels, or
        without one, take no part. False: one problem over all cells, which knows nothing of labels.
    unlabeled_category
        A label that stands for "no label".
    key_added
        Name of the result; default ``"coupling_<source>_<target>"``.
    threshold
        Share of the mass of a row that may be dropped by storing only the entries that matter; rows are
        scaled to keep their mass. 0 keeps everything.
    **options
        Of the method, such as ``epsilon`` (relative to the mean cost; default 0.05), ``cost``, ``label_weights`` or
        ``max_memory_gb``: the fields of :class:`scgroove.aligners.EntropicOT`, :class:`scgroove.aligners.ExactOT`.

    Returns
    -------
    None
        Sets the following fields:

        ``mdata.obsp[key_added]``
            The coupling, CSR float32 (n_obs, n_obs) over the cells of the MuData, of mass 1: rows of source cells,
            columns of target cells. :func:`scgroove.get.coupling` returns it as (n_source, n_target).
        ``mdata.uns[key_added]``
            Its evidence: errors of the marginals (L1, relative to the mass), converged, objective, absolute
            eps of each label, seconds, labels and cells left out, options, versions.

    Raises
    ------
    ValueError
        If a modality, a representation or the method is unknown, values are not finite, the spaces differ, or no
        label is shared; or the problem is too large for ``max_memory_gb``. ``mdata`` is unchanged then.
    KeyError
        If a modality has no such label column. ``mdata`` is unchanged then.
    TypeError
        If the method has no such option. ``mdata`` is unchanged then.

    Warns
    -----
    ConvergenceWarning
        If the marginals are off by more than 0.1 % of the mass.

    See Also
    --------
    scgroove.get.coupling, scgroove.tl.score_matching, scgroove.tl.impute

    References
    ----------
    User guide, "Alignment"; Cuturi 2013, arXiv 1306.0895.

    Examples
    --------
    >>> scgroove.tl.align(mdata, "rna", "prot", label_key="label")  # doctest: +SKIP
    >>> scgroove.get.coupling(mdata, "rna", "prot")  # doctest: +SKIP
    Coupling(12782 source x 5597 target cells, 1 blocks, method=eot, converged=True)
    """
    check_pair(mdata, source, target)
    aligner = _construct(method, options)
    labels: tuple[Any, Any] = (None, None)
    if labelled:
        if label_key is None:
            raise ValueError(
                "labelled=True keeps mass within labels, so it needs label_key, the column of obs that holds them; "
                "found None. For a coupling that knows nothing of labels pass labelled=False."
            )
        labels = labels_of_pair(mdata, source, target, label_key, unlabeled_category)
    x, y = representations(mdata, source, target, use_rep)
    rows, columns = union_rows(mdata, source), union_rows(mdata, target)
    coupling = aligner.align(x, y, *labels)
    matrix, dropped = coupling.sparsify(threshold)
    evidence = dict(coupling.evidence)
    del coupling  # a large one is not to stand in memory beside what is stored of it
    evidence |= {
        **dropped,
        "source": source,
        "target": target,
        "use_rep_source": name_of(use_rep, source, "use_rep"),
        "use_rep_target": name_of(use_rep, target, "use_rep"),
    }
    if labelled and label_key is not None:
        evidence["label_key_source"] = name_of(label_key, source, "label_key")
        evidence["label_key_target"] = name_of(label_key, target, "label_key")
    key = key_added if key_added is not None else _keys.coupling(source, target)
    mdata.obsp[key] = spread(matrix, rows, columns, mdata.n_obs)
    mdata.uns[key] = evidence


def _construct(method: str, options: dict[str, Any]) -> aligners.Aligner:
    """Return the aligner with its options, or say which options there are."""
    cls = aligners.get(method)
    known = [field.name for field in fields(cls)]
    for name in options:
        if name not in known:
            near = near_miss(name, known)
            hint = f" Did you mean {near!r}?" if near is not None else ""
            raise TypeError(
                f"method {method!r} has no option {name!r}.{hint} Its options: {', '.join(known)}."
            )
    aligner: aligners.Aligner = cls(**options)
    return aligner

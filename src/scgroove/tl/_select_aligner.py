"""Choosing how to couple, where no true pairs are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scgroove import _keys, aligners
from scgroove._labels import UnlabeledCategory
from scgroove.aligners.sparsify import THRESHOLD
from scgroove.data.checks import PerModality, name_of
from scgroove.data.labels import labels_by_modality
from scgroove.data.screen import check_call, check_pair, representations
from scgroove.data.union import spread, union_rows
from scgroove.tl._align import origin, to_store

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove.benchmark import AlignerSpec
    from scgroove.benchmark.selection import Score, Selection


APART: Final = ("X", "X_pca")
"""Names of what each modality has for itself, whatever its width."""


def select_aligner(
    mdata: MuData,
    source: str,
    target: str,
    *,
    methods: Sequence[str | AlignerSpec] | None = None,
    label_key: PerModality = _keys.LABEL,
    use_rep: PerModality = _keys.LATENT,
    unlabeled_category: UnlabeledCategory = None,
    score: Score | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    key_added: str | None = None,
    coupling_key: str | None = None,
    threshold: float = THRESHOLD,
) -> Selection:
    """Couple two modalities in several ways, score each without true pairs, and keep the best.

    Which aligner is best depends on the data, and true pairs to tell are what a weakly paired
    screen does not have. This scores what can be seen without them. ``benchmarks/selection.py``
    measures how well that agrees with the truth on data where it is known.

    Parameters
    ----------
    mdata
        The modalities. A pairing in it is not used.
    source, target
        Names of the modalities.
    methods
        What to try: names as for :func:`scgroove.tl.align`, with ``" unlabeled"`` after those that
        shall not see labels, or :class:`scgroove.benchmark.AlignerSpec` with options. Default:
        ``"emd"``, ``"eot"``, ``"egw"``, ``"coot"`` and ``"snn"``, or those of them that need no
        shared space where there is none.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one per modality.
    use_rep
        Representation of each modality, as for :func:`scgroove.tl.align`.
    unlabeled_category
        A label that stands for "no label".
    score
        The score to choose by, ``"agreement"`` or ``"predictability"``. By default the first,
        which ranks best by the place that cells are moved to. Between two methods, or with
        ``"random"`` or ``"uniform"`` among them, the second.
    n_boot
        Bootstrap samples of the labels, for the confidence.
    seed
        Random state.
    key_added
        Name of the table. Default ``"selection_<source>_<target>"``.
    coupling_key
        Name of the best coupling. Default ``"coupling_<source>_<target>"``.
    threshold
        As for :func:`scgroove.tl.align`.

    Returns
    -------
    Selection
        ``best``, ``confidence`` (share of bootstrap samples of the labels in which it stays first),
        ``runner_up``, ``table`` with all scores, ``couplings``. Sets the following fields:

        ``mdata.uns[key_added]``
            The table: one row an aligner, best first. Its ``attrs`` are not stored.
        ``mdata.obsp[coupling_key]``, ``mdata.uns[coupling_key]``
            The best coupling and its evidence, as :func:`scgroove.tl.align` writes them.

    Raises
    ------
    ValueError
        If a name is unknown, the spaces differ where a method needs one, no label is shared, or
        fewer than two methods are left. ``mdata`` is unchanged then.
    KeyError
        If a modality has no such label column. ``mdata`` is unchanged then.

    See Also
    --------
    scgroove.tl.align

    References
    ----------
    User guide, "Benchmark".

    Examples
    --------
    >>> choice = scgroove.tl.select_aligner(mdata, "rna", "prot")  # doctest: +SKIP
    >>> choice.best, choice.confidence  # doctest: +SKIP
    ('eot', 0.93)
    """
    check_call(mdata, key_added, (source, target))
    from scgroove.benchmark.selection import select

    check_pair(mdata, source, target)
    found = labels_by_modality(mdata, label_key, (source, target), unlabeled_category)
    labels = found[source], found[target]
    x, y = representations(mdata, source, target, use_rep, shared=False)
    apart = any(name_of(use_rep, m, "use_rep") in APART for m in (source, target))
    candidates = _candidates(methods, shared=not apart and np.shape(x)[1] == np.shape(y)[1])
    choice = select(x, y, *labels, candidates, score=score, n_boot=n_boot, seed=seed)
    coupling = choice.couplings[choice.best]
    rows, columns = union_rows(mdata, source), union_rows(mdata, target)
    spec = next(one for one in candidates if one.name == choice.best)
    matrix, evidence = to_store(coupling, spec.method, None, threshold)
    names = origin(
        source, target, {"use_rep": use_rep, "label_key": label_key if spec.labeled else None}
    )
    chosen: dict[str, Any] = {
        "selected_by": choice.score,
        "selection_confidence": choice.confidence,
    }
    key = coupling_key if coupling_key is not None else _keys.coupling(source, target)
    mdata.obsp[key] = spread(matrix, rows, columns, mdata.n_obs)
    mdata.uns[key] = {**evidence, **names, **chosen}
    mdata.uns[key_added if key_added is not None else _keys.selection(source, target)] = (
        choice.table.copy()
    )
    return choice


def _candidates(methods: Sequence[str | AlignerSpec] | None, shared: bool) -> list[AlignerSpec]:
    """Return what to try. Without a shared space, only what needs none."""
    from scgroove.benchmark import AlignerSpec
    from scgroove.benchmark.selection import CANDIDATES

    if methods is not None:
        return [AlignerSpec.named(one) if isinstance(one, str) else one for one in methods]
    return [
        AlignerSpec(name)
        for name in CANDIDATES
        if shared or not getattr(aligners.get(name), "shared_space", True)
    ]

"""Shared coordinates refitted to cells that are matched inside their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scgroove import _keys
from scgroove.get._inputs import PerModality, name_of, representation, screen_in_shared_space

if TYPE_CHECKING:
    from mudata import MuData


def match_within_labels(
    mdata: MuData,
    use_rep: str = _keys.LATENT,
    label_key: PerModality = _keys.LABEL,
    *,
    inputs: PerModality | None = None,
    modalities: Sequence[str] | None = None,
    unlabeled_category: str | None = None,
    n_rounds: int = 5,
    epsilon: float = 0.1,
    regularisation: float | None = None,
    max_cells_per_label: int = 300,
    random_state: int = 0,
    key_added: str | None = None,
) -> None:
    """Match cells inside their labels, refit the shared coordinates to what matched cells have in common, and again.

    Labels teach a model where labels lie, and which of their cells belong to which only by the way. But one map has to be right for the
    cells of all labels at once: matches a little better than chance tell how to improve it, and the better map matches better. Each
    round couples the cells of each label by entropic optimal transport between the directions in which they lie from the mean of their
    label, and takes as new coordinates the canonical variables of matched cells, each times the correlation that they have;
    :class:`scgroove.learners.LabelMatched` has the formulas. On the reference scenario it takes half a second.

    Use it before cells are matched *inside* labels, by themselves or before :func:`center_labels`. It supposes that a label is composed
    alike in all modalities (the same cell types, in the same shares), and it takes all that moves cells of a label in all modalities for
    something that they share: batches too, if the representation still shows them. Cells were made to agree with their matches, so that agreement is
    no evidence that matches are right. Do not ask of the result where labels lie: that is what ``use_rep`` is for. With few labels or few
    cells, where matches are hardly better than chance at first, it may make them worse.

    Parameters
    ----------
    mdata
        Modalities with a representation in one space.
    use_rep
        Representation in ``mod[m].obsm``: where cells lie at first.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one for each modality.
    inputs
        Representation of each modality in its own space, of which the new coordinates are made, one name or one for each: such as
        ``"X_pca"``, which knows more than what is shared already; a layer, or ``"X"``. Correct it for batches first. None: ``use_rep``.
    modalities
        Those to match; by default all that have the representation.
    unlabeled_category
        A label that stands for "no label".
    n_rounds
        Rounds.
    epsilon
        Of the transport, relative to the mean cost inside each label.
    regularisation
        Ridge of the covariances, in units of the mean variance inside labels; None: 0.03, and 0.3 with ``inputs``.
    max_cells_per_label
        Where a label has more cells in a modality, this many drawn at random are matched. All get new coordinates.
    random_state
        Seed of the draw.
    key_added
        Name of the result; ``f"{use_rep}_matched"`` by default.

    Raises
    ------
    TypeError
        ``mdata`` is no MuData.
    KeyError
        A modality, column or representation does not exist.
    ValueError
        Fewer than two modalities, none or one cell of each shared label, representations of different widths or with values that are not finite,
        cells that do not differ inside labels or have nothing in common, or options that cannot be used. Also
        :class:`~scgroove.aligners.TooLargeError`, where the transport would need more than 2 GB: lower ``max_cells_per_label``.
        ``mdata`` is left as it was.

    Warns
    -----
    UserWarning
        Fewer than three matched cells for each coordinate of the inputs.
    ConvergenceWarning
        A transport did not converge: raise ``epsilon``.

    Notes
    -----
    Sets the following fields: ``mdata.mod[m].obsm[key_added]``, float64 (n_m, k), for each modality m. The map is the same for all cells
    of a modality, those without a label included.

    Examples
    --------
    >>> scgroove.tl.embed(mdata, model)  # doctest: +SKIP
    >>> scgroove.tl.match_within_labels(mdata)  # doctest: +SKIP
    >>> scgroove.tl.align(mdata, "rna", "protein", use_rep="X_groove_matched")  # doctest: +SKIP
    """
    from scgroove.learners._base import check_seed
    from scgroove.learners._common import apply
    from scgroove.learners._matched import RIDGE, Rematch, rematch

    check_seed(random_state)
    ridge = RIDGE["latent" if inputs is None else "features"] if regularisation is None else regularisation
    options = Rematch(
        n_rounds=n_rounds, epsilon=epsilon, regularisation=ridge, max_cells_per_label=max_cells_per_label
    )
    screen, z = screen_in_shared_space(mdata, use_rep, label_key, modalities, unlabeled_category)
    x = z
    if inputs is not None:
        keys = {m: name_of(inputs, m, "inputs") for m in z}
        x = {m: representation(mdata, m, key, argument="inputs") for m, key in keys.items()}
    maps, _ = rematch(x, z, screen.codes, screen.n_labels, options, random_state)
    placed = {m: apply(maps[m], one) for m, one in x.items()}
    for m, one in placed.items():  # all computed before any is written
        mdata.mod[m].obsm[key_added or f"{use_rep}_matched"] = one

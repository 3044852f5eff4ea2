"""Splitting an alignment into blocks, one a label, before any solver sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from scgroove._labels import UNLABELED, encode, members
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import InputError

LabelWeights: TypeAlias = Literal["mean", "source", "target", "equal"]
LABEL_WEIGHTS: Final[tuple[str, ...]] = ("mean", "source", "target", "equal")


@dataclass(frozen=True, eq=False)
class Block:
    """The cells of one label, or all cells of an unlabeled problem, and the masses that they get.

    Attributes
    ----------
    label
        Name of the label; ``""`` for an unlabeled problem.
    rows, columns
        Positions of its source and target cells, ascending.
    a, b
        Masses of its source (n,) and target cells (m,), positive and of equal sum: the mass of the block. The masses
        of all blocks sum to 1.
    """

    label: str
    rows: IntArray
    columns: IntArray
    a: Float64Array
    b: Float64Array

    @property
    def mass(self) -> float:
        """Mass of the block."""
        return float(self.a.sum())

    @property
    def n_pairs(self) -> int:
        """Number of (source, target) pairs."""
        return self.rows.size * self.columns.size


@dataclass(frozen=True)
class Partition:
    """Independent blocks of an alignment, and who takes no part in it.

    Attributes
    ----------
    blocks
        One block a shared label, or a single one.
    shape
        Numbers of source and target cells, those without part included.
    labeled
        Whether mass is kept within labels.
    only_source, only_target
        Labels found in one modality only.
    n_unlabeled
        Numbers of source and target cells without a label.
    n_weightless
        Numbers of source and target cells left out because their weight is 0.
    """

    blocks: tuple[Block, ...]
    shape: tuple[int, int]
    labeled: bool
    only_source: tuple[str, ...] = ()
    only_target: tuple[str, ...] = ()
    n_unlabeled: tuple[int, int] = (0, 0)
    n_weightless: tuple[int, int] = (0, 0)

    @property
    def n_used(self) -> tuple[int, int]:
        """Numbers of source and target cells that take part."""
        return sum(block.rows.size for block in self.blocks), sum(
            block.columns.size for block in self.blocks
        )


def partition(
    n_source: int,
    n_target: int,
    labels_source: Labels | None = None,
    labels_target: Labels | None = None,
    label_weights: LabelWeights = "mean",
    weights_source: npt.ArrayLike | None = None,
    weights_target: npt.ArrayLike | None = None,
) -> Partition:
    """Split the cells into blocks.

    With labels, mass cannot cross them, so label l has the same mass w_l on both sides, shared out inside the
    label by the weights of the cells. Only labels of both modalities take part. Unequal shares of a label in the two
    modalities are thereby no obstacle.

    Parameters
    ----------
    n_source, n_target
        Numbers of cells.
    labels_source, labels_target
        Label of each cell, None and NaN for none; both None for an unlabeled problem.
    label_weights
        w_l, up to a factor that makes them sum to 1: ``"mean"`` of its shares of the cells of shared labels in
        source and target (of their weights, if given); ``"source"`` or ``"target"`` share; ``"equal"``.
    weights_source, weights_target
        Weights of the cells (n,) and (m,), at least 0; None: all alike. Cells of weight 0 take no part.

    Returns
    -------
    Partition
        The blocks and what was left out.

    Raises
    ------
    ValueError
        If only one modality has labels, their number does not fit, none is shared, a weight is negative or not finite, or
        there are no cells.

    References
    ----------
    User guide, "Alignment".
    """
    if n_source == 0 or n_target == 0:
        raise InputError(
            f"both modalities need cells; found {n_source} source and {n_target} target cells."
        )
    check_label_weights(label_weights)
    cells = (
        _check_weights("weights_x", weights_source, n_source),
        _check_weights("weights_y", weights_target, n_target),
    )
    weightless = (int((cells[0] == 0).sum()), int((cells[1] == 0).sum()))
    if labels_source is None and labels_target is None:
        rows, columns = (np.flatnonzero(weights) for weights in cells)
        whole = _block("", rows, columns, 1.0, cells)
        return Partition((whole,), (n_source, n_target), labeled=False, n_weightless=weightless)
    if labels_source is None or labels_target is None:
        missing = "labels_x" if labels_source is None else "labels_y"
        raise InputError(
            f"a labeled alignment needs the labels of both modalities; {missing} is None. "
            f"Pass both, or neither for an unlabeled alignment."
        )
    names, (codes_x, codes_y) = encode(labels_source, labels_target)
    _check_length("labels_x", codes_x.size, n_source)
    _check_length("labels_y", codes_y.size, n_target)
    found = _by_label(names, codes_x, codes_y, cells, label_weights)
    return replace(found, n_weightless=weightless)


def _by_label(
    names: list[str],
    codes_x: IntArray,
    codes_y: IntArray,
    cells: tuple[Float64Array, Float64Array],
    label_weights: LabelWeights,
) -> Partition:
    rows, columns = (
        members(np.where(weights > 0, codes, UNLABELED), len(names))
        for codes, weights in zip((codes_x, codes_y), cells, strict=True)
    )
    w_x, w_y = (
        np.array([weights[own].sum() for own in side])
        for side, weights in zip((rows, columns), cells, strict=True)
    )
    shared = np.flatnonzero((w_x > 0) & (w_y > 0))
    if shared.size == 0:
        raise InputError(
            f"no label is shared, so a labeled alignment has no pair of cells to match: source has "
            f"{_some(names, w_x)}, target has {_some(names, w_y)}. Are the labels spelled alike in both modalities? "
            f"Rename them, or align without labels (labeled=False)."
        )
    mass = label_masses(w_x[shared], w_y[shared], label_weights)
    return Partition(
        blocks=tuple(
            _block(names[code], rows[code], columns[code], float(w), cells)
            for code, w in zip(shared, mass, strict=True)
        ),
        shape=(codes_x.size, codes_y.size),
        labeled=True,
        only_source=tuple(names[code] for code in np.flatnonzero((w_x > 0) & (w_y == 0))),
        only_target=tuple(names[code] for code in np.flatnonzero((w_x == 0) & (w_y > 0))),
        n_unlabeled=(int((codes_x == UNLABELED).sum()), int((codes_y == UNLABELED).sum())),
    )


def _block(
    label: str,
    rows: IntArray,
    columns: IntArray,
    mass: float,
    cells: tuple[Float64Array, Float64Array],
) -> Block:
    shares = (cells[0][rows], cells[1][columns])
    a, b = (mass * own / own.sum() for own in shares)
    return Block(label, rows, columns, a, b * (a.sum() / b.sum()))


def check_label_weights(label_weights: Any) -> None:
    """Refuse weights of labels that are not known.

    Raises
    ------
    ValueError
        With the names that are.
    """
    if label_weights not in LABEL_WEIGHTS:
        raise InputError(
            f"label_weights must be one of {', '.join(map(repr, LABEL_WEIGHTS))}; found {label_weights!r}."
        )


def label_masses(
    n_source: Float64Array, n_target: Float64Array, weights: LabelWeights
) -> Float64Array:
    """Return the mass of each shared label from its numbers of cells, or their weights, summing to 1."""
    share_x, share_y = n_source / n_source.sum(), n_target / n_target.sum()
    choices: dict[str, Float64Array] = {
        "mean": (share_x + share_y) / 2,
        "source": share_x,
        "target": share_y,
        "equal": np.full_like(share_x, 1.0 / share_x.size),
    }
    return choices[weights]


def _check_weights(name: str, given: npt.ArrayLike | None, n: int) -> Float64Array:
    if given is None:
        return np.ones(n)
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (n,):
        raise InputError(
            f"{name} must hold one weight a cell: expected shape ({n},), found {weights.shape}."
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        first = int(bad.argmax())
        raise InputError(
            f"{name} must be finite and at least 0; found {weights[first]:g} in cell {first}, and {int(bad.sum())} such "
            f"cells in all. A weight of 0 leaves a cell out."
        )
    if not weights.any():
        raise InputError(f"{name} are all 0, so no cell takes part. Pass None for equal weights.")
    return np.asarray(weights / weights.max())  # sums of huge ones are no numbers


def _check_length(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(f"{name} must hold one label a cell: expected {expected}, found {found}.")


def _some(names: list[str], counts: Float64Array) -> str:
    present = [names[code] for code in np.flatnonzero(counts)]
    if not present:
        return "no labeled cell"
    return ", ".join(map(repr, present[:5])) + (
        f" and {len(present) - 5} more" if len(present) > 5 else ""
    )

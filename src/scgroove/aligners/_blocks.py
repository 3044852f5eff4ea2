"""Splitting an alignment into blocks, one a label, before any solver sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from scgroove._labels import UNLABELLED, encode, members
from scgroove._types import Float64Array, IntArray, Labels

LabelWeights: TypeAlias = Literal["mean", "source", "target", "equal"]
LABEL_WEIGHTS: Final[tuple[str, ...]] = ("mean", "source", "target", "equal")


@dataclass(frozen=True)
class Block:
    """The cells of one label, or all cells of an unlabelled problem, and the mass that they get.

    Attributes
    ----------
    label
        Name of the label; ``""`` for an unlabelled problem.
    rows, columns
        Positions of its source and target cells, ascending.
    mass
        Mass of the block; the masses of all blocks sum to 1. Every cell of a block weighs the same.
    """

    label: str
    rows: IntArray
    columns: IntArray
    mass: float

    @property
    def n_pairs(self) -> int:
        """Number of (source, target) pairs."""
        return self.rows.size * self.columns.size

    @property
    def a(self) -> Float64Array:
        """Masses of the source cells, (n,)."""
        return np.full(self.rows.size, self.mass / self.rows.size)

    @property
    def b(self) -> Float64Array:
        """Masses of the target cells, (m,)."""
        return np.full(self.columns.size, self.mass / self.columns.size)


@dataclass(frozen=True)
class Partition:
    """Independent blocks of an alignment, and who takes no part in it.

    Attributes
    ----------
    blocks
        One block a shared label, or a single one.
    shape
        Numbers of source and target cells, those without part included.
    labelled
        Whether mass is kept within labels.
    only_source, only_target
        Labels found in one modality only.
    n_unlabelled
        Numbers of source and target cells without a label.
    """

    blocks: tuple[Block, ...]
    shape: tuple[int, int]
    labelled: bool
    only_source: tuple[str, ...] = ()
    only_target: tuple[str, ...] = ()
    n_unlabelled: tuple[int, int] = (0, 0)


def partition(
    n_source: int,
    n_target: int,
    labels_source: Labels | None = None,
    labels_target: Labels | None = None,
    label_weights: LabelWeights = "mean",
) -> Partition:
    """Split the cells into blocks.

    With labels, mass cannot cross them, so label l has the same mass w_l on both sides, uniform inside the
    label. Only labels of both modalities take part.

    Parameters
    ----------
    n_source, n_target
        Numbers of cells.
    labels_source, labels_target
        Label of each cell, None and NaN for none; both None for an unlabelled problem.
    label_weights
        w_l, up to a factor that makes them sum to 1: ``"mean"`` of its shares of the cells of shared labels in
        source and target; ``"source"`` or ``"target"`` share; ``"equal"``.

    Returns
    -------
    Partition
        The blocks and what was left out.

    Raises
    ------
    ValueError
        If only one modality has labels, their number does not fit, none is shared, or there are no cells.

    References
    ----------
    User guide, "Alignment".
    """
    if n_source == 0 or n_target == 0:
        raise ValueError(f"both modalities need cells; found {n_source} source and {n_target} target cells.")
    if label_weights not in LABEL_WEIGHTS:
        raise ValueError(
            f"label_weights must be one of {', '.join(map(repr, LABEL_WEIGHTS))}; found {label_weights!r}."
        )
    if labels_source is None and labels_target is None:
        whole = Block("", np.arange(n_source), np.arange(n_target), 1.0)
        return Partition((whole,), (n_source, n_target), labelled=False)
    if labels_source is None or labels_target is None:
        missing = "labels_x" if labels_source is None else "labels_y"
        raise ValueError(
            f"a labelled alignment needs the labels of both modalities; {missing} is None. "
            f"Pass both, or neither for an unlabelled alignment."
        )
    names, (codes_x, codes_y) = encode(labels_source, labels_target)
    _check_length("labels_x", codes_x.size, n_source)
    _check_length("labels_y", codes_y.size, n_target)
    return _by_label(names, codes_x, codes_y, label_weights)


def _by_label(names: list[str], codes_x: IntArray, codes_y: IntArray, weights: LabelWeights) -> Partition:
    rows, columns = members(codes_x, len(names)), members(codes_y, len(names))
    n_x, n_y = (np.array([cells.size for cells in side], dtype=np.float64) for side in (rows, columns))
    shared = np.flatnonzero((n_x > 0) & (n_y > 0))
    if shared.size == 0:
        raise ValueError(
            f"no label is shared, so a labelled alignment has no pair of cells to match: source has "
            f"{_some(names, n_x)}, target has {_some(names, n_y)}. Are the labels spelled alike in both modalities? "
            f"Rename them, or align without labels (labelled=False)."
        )
    mass = label_masses(n_x[shared], n_y[shared], weights)
    return Partition(
        blocks=tuple(
            Block(names[code], rows[code], columns[code], float(w))
            for code, w in zip(shared, mass, strict=True)
        ),
        shape=(codes_x.size, codes_y.size),
        labelled=True,
        only_source=tuple(names[code] for code in np.flatnonzero((n_x > 0) & (n_y == 0))),
        only_target=tuple(names[code] for code in np.flatnonzero((n_x == 0) & (n_y > 0))),
        n_unlabelled=(int((codes_x == UNLABELLED).sum()), int((codes_y == UNLABELLED).sum())),
    )


def label_masses(n_source: Float64Array, n_target: Float64Array, weights: LabelWeights) -> Float64Array:
    """Return the mass of each shared label from its numbers of cells, summing to 1."""
    share_x, share_y = n_source / n_source.sum(), n_target / n_target.sum()
    choices: dict[str, Float64Array] = {
        "mean": (share_x + share_y) / 2,
        "source": share_x,
        "target": share_y,
        "equal": np.full_like(share_x, 1.0 / share_x.size),
    }
    return choices[weights]


def _check_length(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"{name} must hold one label a cell: expected {expected}, found {found}.")


def _some(names: list[str], counts: Float64Array) -> str:
    present = [names[code] for code in np.flatnonzero(counts)]
    if not present:
        return "no labelled cell"
    return ", ".join(map(repr, present[:5])) + (f" and {len(present) - 5} more" if len(present) > 5 else "")

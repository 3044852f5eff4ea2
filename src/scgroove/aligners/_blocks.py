"""Splitting an alignment into blocks, one a label, before any solver sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from scgroove._labels import UNLABELED, encode, members
from scgroove._types import Float64Array, IntArray, Labels, Scalar
from scgroove.errors import InputError

LabelWeights: TypeAlias = Literal["mean", "source", "target", "equal"]


@dataclass(frozen=True, eq=False)
class Block:
    """The cells of one label, or all cells of an unlabeled problem, and their masses."""

    label: str  # "" for an unlabeled problem
    rows: IntArray  # positions of its source cells, ascending
    columns: IntArray
    a: Float64Array  # positive, of the same sum as b; all blocks together have mass 1
    b: Float64Array

    @property
    def mass(self) -> float:
        """Mass of the block."""
        return float(self.a.sum())

    @property
    def n_pairs(self) -> int:
        """Number of (source, target) pairs."""
        return self.rows.size * self.columns.size

    @property
    def n_cells(self) -> int:
        """Number of source and target cells."""
        return self.rows.size + self.columns.size


@dataclass(frozen=True)
class Partition:
    """Independent blocks of an alignment, and the cells that take no part in it."""

    blocks: tuple[Block, ...]
    shape: tuple[int, int]  # numbers of source and target cells, with or without part
    labeled: bool
    only_source: tuple[str, ...] = ()  # labels found in one modality only
    only_target: tuple[str, ...] = ()
    n_unlabeled: tuple[int, int] = (0, 0)  # source and target cells
    n_weightless: tuple[int, int] = (0, 0)

    @property
    def n_used(self) -> tuple[int, int]:
        """Numbers of source and target cells that take part."""
        n, m = self._sizes()
        return int(n.sum()), int(m.sum())

    def _sizes(self) -> tuple[IntArray, IntArray]:
        n = np.array([block.rows.size for block in self.blocks], dtype=np.int64)
        return n, np.array([block.columns.size for block in self.blocks], dtype=np.int64)

    def evidence(self) -> Mapping[str, Scalar | npt.NDArray[Any]]:
        """Numbers of cells, and labels and cells left out."""
        n_source, n_target = self._sizes()
        return {
            "labeled": self.labeled,
            "n_source": self.shape[0],
            "n_target": self.shape[1],
            "n_source_used": int(n_source.sum()),
            "n_target_used": int(n_target.sum()),
            "labels": np.array([block.label for block in self.blocks], dtype=object),
            "n_source_per_label": n_source,
            "n_target_per_label": n_target,
            "labels_only_source": np.array(self.only_source, dtype=object),
            "labels_only_target": np.array(self.only_target, dtype=object),
            "n_source_unlabeled": self.n_unlabeled[0],
            "n_target_unlabeled": self.n_unlabeled[1],
            "n_source_weightless": self.n_weightless[0],
            "n_target_weightless": self.n_weightless[1],
        }


def partition(
    n_source: int,
    n_target: int,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    label_weights: LabelWeights = "mean",
    weights_x: npt.ArrayLike | None = None,
    weights_y: npt.ArrayLike | None = None,
) -> Partition:
    """Split the cells into blocks.

    Label l has the same mass w_l on both sides, shared out inside it by the weights of the cells,
    so unequal shares of a label in the modalities are no obstacle. w_l is proportional to the
    ``"mean"`` of the shares of the cells (or weights) of shared labels in source and target, to the
    ``"source"`` or ``"target"`` share, or ``"equal"``.
    """
    if n_source == 0 or n_target == 0:
        raise InputError(
            f"both modalities need cells; found {n_source} source and {n_target} target cells."
        )
    cells = (
        _check_weights("weights_x", weights_x, n_source),
        _check_weights("weights_y", weights_y, n_target),
    )
    weightless = int((cells[0] == 0).sum()), int((cells[1] == 0).sum())
    if labels_x is None and labels_y is None:
        block = _block("", np.flatnonzero(cells[0]), np.flatnonzero(cells[1]), 1.0, cells)
        return Partition((block,), (n_source, n_target), labeled=False, n_weightless=weightless)
    if labels_x is None or labels_y is None:
        missing = "labels_x" if labels_x is None else "labels_y"
        raise InputError(
            f"a labeled alignment needs the labels of both modalities; {missing} is None. "
            f"Pass both, or neither for an unlabeled alignment."
        )
    names, codes = encode(labels_x, labels_y)
    for name, own, n in zip(("labels_x", "labels_y"), codes, (n_source, n_target), strict=True):
        if own.size != n:
            raise InputError(f"{name} must hold one label a cell: expected {n}, found {own.size}.")
    return replace(_by_label(names, codes, cells, label_weights), n_weightless=weightless)


def _by_label(
    names: list[str],
    codes: list[IntArray],
    cells: tuple[Float64Array, Float64Array],
    label_weights: LabelWeights,
) -> Partition:
    sides, weights = [], []
    for own, weight in zip(codes, cells, strict=True):
        sides.append(members(np.where(weight > 0, own, UNLABELED), len(names)))
        weights.append(np.array([weight[chosen].sum() for chosen in sides[-1]]))
    w_x, w_y = weights
    shared = np.flatnonzero((w_x > 0) & (w_y > 0))
    if shared.size == 0:
        raise InputError(
            f"no label is shared, so a labeled alignment has no pair of cells to match: source has "
            f"{_some(names, w_x)}, target has {_some(names, w_y)}. Are the labels spelled alike in "
            f"both modalities? Rename them, or align without labels (labeled=False)."
        )
    masses = label_masses(w_x[shared], w_y[shared], label_weights)
    blocks = [
        _block(names[code], sides[0][code], sides[1][code], float(mass), cells)
        for code, mass in zip(shared, masses, strict=True)
    ]
    return Partition(
        blocks=tuple(blocks),
        shape=(codes[0].size, codes[1].size),
        labeled=True,
        only_source=tuple(names[code] for code in np.flatnonzero((w_x > 0) & (w_y == 0))),
        only_target=tuple(names[code] for code in np.flatnonzero((w_x == 0) & (w_y > 0))),
        n_unlabeled=(int((codes[0] == UNLABELED).sum()), int((codes[1] == UNLABELED).sum())),
    )


def _block(
    label: str,
    rows: IntArray,
    columns: IntArray,
    mass: float,
    cells: tuple[Float64Array, Float64Array],
) -> Block:
    shares = cells[0][rows], cells[1][columns]
    a, b = (mass * own / own.sum() for own in shares)
    return Block(label, rows, columns, a, b * (a.sum() / b.sum()))


def label_masses(
    n_source: Float64Array, n_target: Float64Array, weights: LabelWeights
) -> Float64Array:
    """Mass of each shared label from its numbers of cells, or their weights, summing to 1."""
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
            f"{name} must be finite and at least 0; found {weights[first]:g} in cell {first}, and "
            f"{int(bad.sum())} such cells in all. A weight of 0 leaves a cell out."
        )
    if not weights.any():
        raise InputError(f"{name} are all 0, so no cell takes part. Pass None for equal weights.")
    return np.asarray(weights / weights.max())  # sums of huge ones are no numbers


def _some(names: list[str], counts: Float64Array) -> str:
    present = [names[code] for code in np.flatnonzero(counts)]
    if not present:
        return "no labeled cell"
    rest = f" and {len(present) - 5} more" if len(present) > 5 else ""
    return ", ".join(map(repr, present[:5])) + rest

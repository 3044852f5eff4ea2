"""A coupling in blocks, with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from scgroove._labels import UNLABELLED, encode
from scgroove._types import Float64Array, IntArray, Labels, Plan, Scalar

THRESHOLD: Final = 1e-3
"""Largest share of the mass of a row that storing a coupling as a sparse matrix may drop."""

BLOCK_VALUES: Final = 2**22
"""Values computed at a time when a coupling is applied (32 MB of float64)."""

NO_LABEL: Final = "(unlabelled)"
"""Name under which unlabelled cells stand in a table of labels."""


@dataclass(frozen=True, eq=False)
class CouplingBlock:
    """The part of a coupling between some source and some target cells.

    Attributes
    ----------
    label
        The label of these cells; ``""`` where the coupling is not labelled.
    rows, columns
        Positions of the source (n,) and target cells (m,).
    plan
        Masses, float64 (n, m), dense or CSR.
    """

    label: str
    rows: IntArray
    columns: IntArray
    plan: Float64Array | sp.csr_matrix

    def __post_init__(self) -> None:
        """Refuse a plan that does not fit its cells, or is not a plan."""
        if self.plan.shape != (self.rows.size, self.columns.size):
            raise ValueError(
                f"block {self.label!r}: a plan of {self.rows.size} source and {self.columns.size} target cells "
                f"must have shape {(self.rows.size, self.columns.size)}; found {self.plan.shape}."
            )
        values = _values(self.plan)
        if values.size and not (values.min() >= 0 and np.isfinite(values.sum())):
            raise ValueError(f"block {self.label!r}: a plan holds finite masses of at least 0.")


@dataclass(frozen=True, eq=False)
class Coupling:
    """Who matches whom: masses between source cells (rows) and target cells (columns), zero outside the blocks.

    The n_source x n_target matrix is never built unless asked for.

    Attributes
    ----------
    blocks
        Disjoint blocks; one a label for a labelled coupling.
    shape
        (n_source, n_target), cells without mass included.
    evidence
        How the coupling was made and how good it is as a solution: flat, of strings, numbers, truth values and
        arrays, so that it can be stored in ``uns``.
    """

    blocks: tuple[CouplingBlock, ...]
    shape: tuple[int, int]
    evidence: Mapping[str, Scalar | npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse blocks that overlap or leave the coupling."""
        for axis, side in ((0, "source"), (1, "target")):
            taken = [block.rows if axis == 0 else block.columns for block in self.blocks]
            cells = np.concatenate([np.empty(0, dtype=np.intp), *taken])
            if cells.size and (cells.min() < 0 or cells.max() >= self.shape[axis]):
                raise ValueError(f"a block names {side} cells outside 0 to {self.shape[axis] - 1}.")
            if np.unique(cells).size != cells.size:
                raise ValueError(
                    f"blocks must be disjoint; a {side} cell is in two of them, or twice in one."
                )

    @classmethod
    def from_sparse(
        cls, plan: Plan, evidence: Mapping[str, Scalar | npt.NDArray[Any]] | None = None
    ) -> Coupling:
        """Return a coupling of one block from a matrix (n_source, n_target), sparse or dense."""
        matrix = sp.csr_matrix(plan)
        block = CouplingBlock("", np.arange(matrix.shape[0]), np.arange(matrix.shape[1]), matrix)
        return cls((block,), (int(matrix.shape[0]), int(matrix.shape[1])), dict(evidence or {}))

    # ------------------------------------------------------------------------------------------------ masses

    def parts(self) -> Iterator[tuple[IntArray, IntArray, Plan]]:
        """Yield (source rows, target rows, plan) of each block: what :mod:`scgroove.metrics` takes."""
        for block in self.blocks:
            yield block.rows, block.columns, block.plan

    def row_mass(self) -> Float64Array:
        """Return the mass of each source cell, (n_source,); 0 for cells that take no part."""
        mass = np.zeros(self.shape[0])
        for rows, _, plan in self.parts():
            mass[rows] = np.asarray(plan.sum(axis=1)).ravel()
        return mass

    def column_mass(self) -> Float64Array:
        """Return the mass of each target cell, (n_target,); 0 for cells that take no part."""
        mass = np.zeros(self.shape[1])
        for _, columns, plan in self.parts():
            mass[columns] = np.asarray(plan.sum(axis=0)).ravel()
        return mass

    @property
    def mass(self) -> float:
        """Total mass; 1 for a balanced coupling."""
        return float(sum(plan.sum() for _, _, plan in self.parts()))

    def row_entropy(self) -> Float64Array:
        """Return the entropy of the match of each source cell, (n_source,), in nats; NaN without mass.

        ``-sum_j p_ij log p_ij`` with ``p_ij = T_ij / sum_j T_ij``: 0 if all mass goes to one target cell, log m
        if it is even over m of them. Its exponential is the effective number of partners.
        """
        out = np.full(self.shape[0], np.nan)
        for rows, _, plan in self.parts():
            mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
            values = plan.copy()
            data = _values(values)
            np.multiply(data, np.log(data, out=np.zeros_like(data), where=data > 0), out=data)
            inner = np.asarray(values.sum(axis=1), dtype=np.float64).ravel()
            kept = mass > 0
            # -sum p log p = log r - sum T log T / r, r the mass of the row
            out[rows[kept]] = np.maximum(np.log(mass[kept]) - inner[kept] / mass[kept], 0.0)
        return out

    def label_mass(self, labels_x: Labels, labels_y: Labels) -> pd.DataFrame:
        """Return the mass from each source label (index) to each target label (columns).

        Parameters
        ----------
        labels_x, labels_y
            Label of each source and target cell, None and NaN for none; those stand under ``(unlabelled)``.

        Returns
        -------
        DataFrame
            Masses; they sum to :attr:`mass`. Labels of the modality alone, sorted.

        Raises
        ------
        ValueError
            If the numbers of labels and cells differ.
        """
        names, codes = encode(labels_x, labels_y)
        for argument, own, n in zip(("labels_x", "labels_y"), codes, self.shape, strict=True):
            if own.size != n:
                raise ValueError(f"{argument} must hold one label a cell: expected {n}, found {own.size}.")
            own[own == UNLABELLED] = len(names)
        index = np.array([*names, NO_LABEL], dtype=object)
        table = np.zeros((index.size, index.size))
        for rows, columns, plan in self.parts():
            labels_i, sum_i = _indicator(codes[0][rows])
            labels_j, sum_j = _indicator(codes[1][columns])
            table[np.ix_(labels_i, labels_j)] += sum_i.T @ (plan @ sum_j.toarray())
        present_x, present_y = (np.unique(own) for own in codes)
        table = table[np.ix_(present_x, present_y)]
        frame = pd.DataFrame(table, index=index[present_x], columns=index[present_y])
        return frame.rename_axis(index="source", columns="target")

    # ------------------------------------------------------------------------------------------------ mapping

    def push(
        self, y: npt.ArrayLike | sp.spmatrix | sp.sparray, dtype: npt.DTypeLike = np.float64
    ) -> Float64Array:
        """Send source cells to the target: ``sum_j T_ij y_j / sum_j T_ij`` for each source cell i.

        Parameters
        ----------
        y
            Values of the target cells, (n_target, d), dense or scipy sparse (kept sparse).
        dtype
            Of the result.

        Returns
        -------
        ndarray
            (n_source, d); NaN for source cells without mass.

        Raises
        ------
        ValueError
            If ``y`` has not one row a target cell.
        """
        _check_rows("y", y, self.shape[1], "target")
        return _average(self.parts(), y, self.shape[0], dtype)

    def pull(
        self, x: npt.ArrayLike | sp.spmatrix | sp.sparray, dtype: npt.DTypeLike = np.float64
    ) -> Float64Array:
        """Send target cells to the source: ``sum_i T_ij x_i / sum_i T_ij`` for each target cell j.

        Parameters
        ----------
        x
            Values of the source cells, (n_source, d), dense or scipy sparse (kept sparse).
        dtype
            Of the result.

        Returns
        -------
        ndarray
            (n_target, d); NaN for target cells without mass.

        Raises
        ------
        ValueError
            If ``x`` has not one row a source cell.
        """
        _check_rows("x", x, self.shape[0], "source")
        turned = ((columns, rows, plan.T) for rows, columns, plan in self.parts())
        return _average(turned, x, self.shape[1], dtype)

    # ------------------------------------------------------------------------------------------------ storing

    def to_sparse(self, threshold: float = THRESHOLD, dtype: npt.DTypeLike = np.float32) -> sp.csr_matrix:
        """Return the coupling as one CSR matrix, without the entries that do not matter.

        An entry is dropped if it holds less than ``threshold / m`` of the mass of its row, m the target cells of its
        block; so no row loses more than ``threshold`` of its mass, whatever the size of the block. What is left
        of a row is scaled up to the mass it had, so row masses are kept.

        Parameters
        ----------
        threshold
            Largest share of a row that may be dropped; 0 keeps everything.
        dtype
            Of the masses. float32 keeps seven digits of each.

        Returns
        -------
        csr_matrix
            (n_source, n_target).
        """
        return self.sparsify(threshold, dtype)[0]

    def sparsify(
        self, threshold: float = THRESHOLD, dtype: npt.DTypeLike = np.float32
    ) -> tuple[sp.csr_matrix, dict[str, Scalar]]:
        """Return :meth:`to_sparse` and what it cost: ``n_dropped``, ``mass_dropped`` and ``threshold``.

        ``mass_dropped`` is relative to the mass of the coupling.
        """
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold is a share of the mass of a row, in [0, 1); found {threshold!r}.")
        indptr = np.zeros(self.shape[0] + 1, dtype=np.int64)
        n_dropped, lost = 0, 0.0
        for piece in self._stored(threshold):
            indptr[piece.rows + 1] = piece.counts
            n_dropped, lost = n_dropped + piece.n_dropped, lost + piece.mass_dropped
        np.cumsum(indptr, out=indptr)
        indices, data = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=dtype)
        for piece in self._stored(threshold):
            ends = np.cumsum(piece.counts)
            place = np.repeat(indptr[piece.rows] - (ends - piece.counts), piece.counts)
            place += np.arange(place.size)
            indices[place], data[place] = piece.columns, piece.values
        matrix = sp.csr_matrix((data, indices, indptr), shape=self.shape)
        matrix.sort_indices()
        total = self.mass
        report: dict[str, Scalar] = {
            "threshold": float(threshold),
            "n_dropped": n_dropped,
            "mass_dropped": max(0.0, lost / total) if total > 0 else 0.0,
        }
        return matrix, report

    def _stored(self, threshold: float) -> Iterator[_Piece]:
        """Yield the entries that stay, some rows of a block at a time."""
        for rows, columns, plan in self.parts():
            step = max(1, BLOCK_VALUES // max(1, columns.size))
            for start in range(0, rows.size, step):
                yield _keep(rows[start : start + step], columns, plan[start : start + step], threshold)

    def __repr__(self) -> str:
        """Return shape, blocks and, where known, the method and how well it converged."""
        known = [f"{key}={self.evidence[key]}" for key in ("method", "converged") if key in self.evidence]
        parts = [
            f"{self.shape[0]} source x {self.shape[1]} target cells",
            f"{len(self.blocks)} blocks",
            *known,
        ]
        return f"Coupling({', '.join(parts)})"


def _values(plan: Plan) -> npt.NDArray[Any]:
    """Return the stored values of a plan: a view."""
    return np.asarray(plan.data if sp.issparse(plan) else plan)


def _indicator(codes: IntArray) -> tuple[IntArray, sp.csr_matrix]:
    """Return the codes that occur, (k,), and a one-hot matrix of them, (n, k)."""
    present, position = np.unique(codes, return_inverse=True)
    one_hot = sp.csr_matrix(
        (np.ones(codes.size), (np.arange(codes.size), position)), (codes.size, present.size)
    )
    return present, one_hot


def _check_rows(name: str, values: Any, expected: int, side: str) -> None:
    shape = np.shape(values)
    if len(shape) != 2 or shape[0] != expected:
        raise ValueError(f"{name} must have one row a {side} cell: expected ({expected}, d), found {shape}.")


def _average(
    parts: Iterator[tuple[IntArray, IntArray, Plan]], values: Any, n: int, dtype: npt.DTypeLike
) -> Float64Array:
    """Return the means of ``values`` weighted by rows of the plans, some rows at a time."""
    values = values.tocsr() if sp.issparse(values) else np.asarray(values)
    out = np.full((n, values.shape[1]), np.nan, dtype=dtype)
    step = max(1, BLOCK_VALUES // max(1, values.shape[1]))
    for rows, columns, plan in parts:
        mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
        kept = np.flatnonzero(mass > 0)
        mine, plan = values[columns], plan if isinstance(plan, np.ndarray) else sp.csr_matrix(plan)
        for start in range(0, kept.size, step):
            block = kept[start : start + step]
            product = plan[block] @ mine
            dense = product.toarray() if sp.issparse(product) else np.asarray(product)
            out[rows[block]] = dense / mass[block, None]
    return out


@dataclass(frozen=True, eq=False)
class _Piece:
    """Entries of some rows, ordered by row: where they stand, how many each row has, and what was dropped."""

    rows: IntArray
    counts: IntArray
    columns: IntArray
    values: Float64Array
    n_dropped: int
    mass_dropped: float


def _keep(rows: IntArray, columns: IntArray, plan: Plan, threshold: float) -> _Piece:
    """Keep the entries that hold their share of the row, scaled so that the row keeps its mass."""
    mass = np.asarray(plan.sum(axis=1), dtype=np.float64).ravel()
    floor = threshold * mass / max(1, plan.shape[1])
    n_stored = int(np.count_nonzero(_values(plan)))
    if isinstance(plan, np.ndarray):
        row, column = np.nonzero((plan > 0) & (plan >= floor[:, None]))
        values = plan[row, column]
    else:
        entries = sp.csr_matrix(plan).tocoo()
        stays = (entries.data > 0) & (entries.data >= floor[entries.row])
        row, column, values = entries.row[stays], entries.col[stays], entries.data[stays]
    counts = np.bincount(row, minlength=rows.size).astype(np.intp)
    if values.size == n_stored:
        return _Piece(rows, counts, columns[column], values, 0, 0.0)
    left = np.bincount(row, values, minlength=rows.size)
    scale = np.divide(mass, left, out=np.ones_like(mass), where=left > 0)
    lost = float(mass.sum() - left.sum())
    return _Piece(rows, counts, columns[column], values * scale[row], n_stored - values.size, lost)

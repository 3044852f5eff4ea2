"""A coupling in blocks, with its evidence."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from scgroove._labels import NO_LABEL_NAME, UNLABELED, encode
from scgroove._types import Float64Array, IntArray, Labels, Plan, Scalar
from scgroove.aligners import _plans
from scgroove.aligners._plans import BlockPlan
from scgroove.aligners.costs import in_slices
from scgroove.aligners.sparsify import Piece, check_kept, check_number, count, fill, keep
from scgroove.aligners.values import (
    as_numbers,
    check_values,
    is_finite,
    rows_not_finite,
    without_rows,
)
from scgroove.errors import InputError, TooLargeError

Side: TypeAlias = Literal["source", "target"]


@dataclass(frozen=True, eq=False)
class CouplingBlock:
    """The part of a coupling between some source and some target cells.

    Attributes
    ----------
    label
        The label of these cells; ``""`` where the coupling is not labeled.
    rows, columns
        Positions of the source (n,) and target cells (m,).
    plan
        Masses (n, m), a dense array or CSR matrix of float64 or float32 (whole numbers and truth values become float64);
        or their factors, from which they are computed when needed.
    a, b
        Masses that the source (n,) and target cells (m,) were to have; None if not known.
    """

    label: str
    rows: IntArray
    columns: IntArray
    plan: BlockPlan
    a: Float64Array | None = None
    b: Float64Array | None = None

    def __post_init__(self) -> None:
        """Refuse a plan that does not fit its cells, or is not a plan."""
        object.__setattr__(self, "plan", _as_plan(f"block {self.label!r}: a plan", self.plan))
        if self.plan.shape != (self.rows.size, self.columns.size):
            raise InputError(
                f"block {self.label!r}: a plan of {self.rows.size} source and {self.columns.size} target cells "
                f"must have shape {(self.rows.size, self.columns.size)}; found {self.plan.shape}."
            )
        if not _plans.is_valid(self.plan):
            raise InputError(f"block {self.label!r}: a plan holds finite masses of at least 0.")


@dataclass(frozen=True, eq=False)
class Coupling:
    """Who matches whom: masses between source cells (rows) and target cells (columns), zero outside the blocks.

    The n_source x n_target matrix is never built unless asked for, and entropic plans are not kept but computed from
    their potentials, some rows at a time, whenever that takes less memory.

    Attributes
    ----------
    blocks
        Disjoint blocks; one a label for a labeled coupling.
    shape
        (n_source, n_target), cells without mass included.
    evidence
        How the coupling was made and how good it is as a solution: flat, of strings, numbers, truth values and
        arrays, so that it can be stored in ``uns``.
    source_names, target_names
        Names of the cells, if known: used by :meth:`top_matches`.
    """

    blocks: tuple[CouplingBlock, ...]
    shape: tuple[int, int]
    evidence: Mapping[str, Scalar | npt.NDArray[Any]] = field(default_factory=dict)
    source_names: Sequence[str] | None = None
    target_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse blocks that overlap or leave the coupling, and names that do not fit."""
        for axis, side in ((0, "source"), (1, "target")):
            taken = [block.rows if axis == 0 else block.columns for block in self.blocks]
            cells = np.concatenate([np.empty(0, dtype=np.intp), *taken])
            if cells.size and (cells.min() < 0 or cells.max() >= self.shape[axis]):
                raise InputError(f"a block names {side} cells outside 0 to {self.shape[axis] - 1}.")
            if np.unique(cells).size != cells.size:
                raise InputError(
                    f"blocks must be disjoint; a {side} cell is in two of them, or twice in one."
                )
            names = self.source_names if axis == 0 else self.target_names
            if names is not None and len(names) != self.shape[axis]:
                raise InputError(
                    f"{side}_names must hold one name a {side} cell: expected {self.shape[axis]}, "
                    f"found {len(names)}."
                )

    @classmethod
    def from_sparse(
        cls,
        plan: Plan,
        evidence: Mapping[str, Scalar | npt.NDArray[Any]] | None = None,
        source_names: Sequence[str] | None = None,
        target_names: Sequence[str] | None = None,
    ) -> Coupling:
        """Return a coupling of one block from a matrix (n_source, n_target), sparse or dense.

        Raises
        ------
        ValueError
            If it is no matrix of finite masses of at least 0.
        """
        matrix = sp.csr_matrix(_as_plan("plan", plan))
        block = CouplingBlock("", np.arange(matrix.shape[0]), np.arange(matrix.shape[1]), matrix)
        shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        return cls((block,), shape, dict(evidence or {}), source_names, target_names)

    @property
    def labels(self) -> list[str]:
        """Labels of the blocks, in order; ``[""]`` for an unlabeled coupling."""
        return [block.label for block in self.blocks]

    @property
    def nbytes(self) -> int:
        """Memory that the plans keep, in bytes."""
        return sum(_plans.nbytes(block.plan) for block in self.blocks)

    # ------------------------------------------------------------------------------------------------ masses

    def parts(self) -> Iterator[tuple[IntArray, IntArray, Plan]]:
        """Yield (source rows, target rows, plan): what :mod:`scgroove.metrics` takes.

        One a block, or several of some rows each where the plan is computed from its factors.
        """
        for block in self.blocks:
            if not _plans.is_factored(block.plan):
                yield block.rows, block.columns, block.plan  # type: ignore[misc]
                continue
            for start, stop, part in _plans.slices(block.plan):
                yield block.rows[start:stop], block.columns, part

    def row_mass(self) -> Float64Array:
        """Return the mass of each source cell, (n_source,); 0 for cells that take no part."""
        mass = np.zeros(self.shape[0])
        for block in self.blocks:
            mass[block.rows] = _plans.row_sums(block.plan)
        return mass

    def column_mass(self) -> Float64Array:
        """Return the mass of each target cell, (n_target,); 0 for cells that take no part."""
        mass = np.zeros(self.shape[1])
        for block in self.blocks:
            mass[block.columns] = _plans.column_sums(block.plan)
        return mass

    @property
    def mass(self) -> float:
        """Total mass; 1 for a balanced coupling."""
        return float(sum(_plans.row_sums(block.plan).sum() for block in self.blocks))

    @property
    def marginals(self) -> tuple[Float64Array, Float64Array]:
        """Masses a (n_source,) and b (n_target,) that the cells were to have; those that they have, where not known."""
        return self._wanted(0), self._wanted(1)

    def _wanted(self, axis: int) -> Float64Array:
        """Return the masses that source (0) or target cells (1) were to have; those that they have, where not known."""
        out = np.zeros(self.shape[axis])
        for block in self.blocks:
            cells, known = (block.rows, block.a) if axis == 0 else (block.columns, block.b)
            sums = _plans.row_sums if axis == 0 else _plans.column_sums
            out[cells] = sums(block.plan) if known is None else known
        return out

    def marginal_errors(self) -> tuple[float, float]:
        """Return the L1 errors of the source and of the target marginals, computed anew from the plans."""
        a, b = self.marginals
        return float(np.abs(self.row_mass() - a).sum()), float(np.abs(self.column_mass() - b).sum())

    def row_normalize(self) -> Coupling:
        """Return the coupling with rows that sum to 1, as probabilities of a match; rows without mass stay empty."""
        blocks = []
        for block in self.blocks:
            mass = _plans.row_sums(block.plan)
            scale = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
            blocks.append(replace(block, plan=_plans.scaled(block.plan, scale), a=None, b=None))
        return replace(
            self, blocks=tuple(blocks), evidence={**self.evidence, "row_normalized": True}
        )

    def entropy(self, side: Side = "source") -> Float64Array:
        """Return the entropy of the match of each cell in nats; NaN without mass.

        ``-sum_j p_ij log p_ij`` with ``p_ij = T_ij / sum_j T_ij``: 0 if all mass goes to one cell, log m if it is even
        over m of them. Its exponential is the effective number of partners.

        Parameters
        ----------
        side
            ``"source"``: of each source cell over target cells; ``"target"``: of each target cell over source cells.

        Returns
        -------
        ndarray
            (n_source,) or (n_target,).

        Raises
        ------
        ValueError
            If there is no such side.
        """
        axis = _axis(side)
        out = np.full(self.shape[axis], np.nan)
        for block in self.blocks:
            mass, inner = np.zeros(block.plan.shape[axis]), np.zeros(block.plan.shape[axis])
            for start, stop, part in _plans.slices(block.plan):
                place = slice(start, stop) if axis == 0 else slice(None)
                part = part.astype(np.float64, copy=False)  # stored ones are float32
                mass[place] += _flat_sum(part, 1 - axis)
                inner[place] += _flat_sum(_times_log(part), 1 - axis)
            kept = mass > 0
            cells = (block.rows if axis == 0 else block.columns)[kept]
            # -sum p log p = log r - sum T log T / r, r the mass of the row
            out[cells] = np.maximum(np.log(mass[kept]) - inner[kept] / mass[kept], 0.0)
        return out

    def confidence(self, side: Side = "source") -> Float64Array:
        """Return how decided the match of each cell is: ``1 - entropy / log m`` among the m candidates of its block.

        1: all mass goes to one cell (or there is one candidate only). 0: all candidates alike. NaN without mass. It
        says how sharp the coupling is, not that it is right: a smaller eps makes every cell more confident.

        Parameters
        ----------
        side
            As for :meth:`entropy`.

        Returns
        -------
        ndarray
            (n_source,) or (n_target,).
        """
        axis = _axis(side)
        out = self.entropy(side)
        for block in self.blocks:
            cells = block.rows if axis == 0 else block.columns
            candidates = block.plan.shape[1 - axis]
            decided = (
                1.0 - out[cells] / np.log(candidates) if candidates > 1 else out[cells] * 0.0 + 1.0
            )
            out[cells] = np.maximum(decided, 0.0)  # rounding
        return out

    def label_mass(
        self,
        labels_x: Labels | None = None,
        labels_y: Labels | None = None,
        max_memory_gb: float = 2.0,
    ) -> pd.DataFrame:
        """Return the mass from each source label (index) to each target label (columns).

        Parameters
        ----------
        labels_x, labels_y
            Label of each source and target cell, None and NaN for none; those stand under ``(unlabeled)``. Neither given:
            the labels that the coupling was made with.
        max_memory_gb
            Refuse to build a larger table.

        Returns
        -------
        DataFrame
            Masses; they sum to :attr:`mass`. Labels of the modality alone, sorted.

        Raises
        ------
        ValueError
            If the numbers of labels and cells differ, only one is given, or none is known.
        TooLargeError
            If the table would take more memory than ``max_memory_gb``. Nothing of it has been taken then.
        """
        labels_x, labels_y = self._labels_of_cells(labels_x, labels_y)
        names, codes = encode(labels_x, labels_y)
        for argument, own, n in zip(("labels_x", "labels_y"), codes, self.shape, strict=True):
            if own.size != n:
                raise InputError(
                    f"{argument} must hold one label a cell: expected {n}, found {own.size}."
                )
            own[own == UNLABELED] = len(names)
        index = np.array([*names, NO_LABEL_NAME], dtype=object)
        (present_x, own_x), (present_y, own_y) = (
            np.unique(own, return_inverse=True) for own in codes
        )
        needed = 8.0 * present_x.size * present_y.size / 1e9
        if needed > max_memory_gb:
            raise TooLargeError(
                f"a table of {present_x.size:,} x {present_y.size:,} labels would take {needed:.1f} GB, more than "
                f"max_memory_gb={max_memory_gb:g}. Put labels together before, or raise max_memory_gb if the machine has the memory."
            )
        table = np.zeros((present_x.size, present_y.size))
        for block in self.blocks:
            labels_j, sum_j = _indicator(own_y[block.columns])
            for start, stop, part in _plans.slices(block.plan):
                labels_i, sum_i = _indicator(own_x[block.rows[start:stop]])
                mass = sum_i.T @ (part @ sum_j)
                table[np.ix_(labels_i, labels_j)] += mass.toarray() if sp.issparse(mass) else mass
        frame = pd.DataFrame(table, index=index[present_x], columns=index[present_y], copy=False)
        return frame.rename_axis(index="source", columns="target")

    def _labels_of_cells(
        self, labels_x: Labels | None, labels_y: Labels | None
    ) -> tuple[Labels, Labels]:
        if labels_x is not None and labels_y is not None:
            return labels_x, labels_y
        if labels_x is not None or labels_y is not None:
            raise InputError(
                "labels of both modalities are needed: pass labels_x and labels_y, or neither."
            )
        if not any(block.label for block in self.blocks):
            raise InputError(
                "this coupling does not know the labels of its cells: pass label_mass(labels_x, labels_y)."
            )
        known: tuple[Any, Any] = (
            np.full(self.shape[0], None, dtype=object),
            np.full(self.shape[1], None, dtype=object),
        )
        for block in self.blocks:
            known[0][block.rows] = known[1][block.columns] = block.label
        return known

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
            If ``y`` has not one row a target cell, or holds anything but finite numbers in a cell with mass. (Of cells without
            mass nothing is used, so :meth:`pull` and :meth:`push` go there and back.)
        """
        values = self._values("y", y, "target")
        out = np.full((self.shape[0], values.shape[1]), np.nan, dtype=dtype)
        for block in self.blocks:
            mass = _plans.row_sums(block.plan)
            _write_means(out, block.rows, mass, _plans.products(block.plan, values[block.columns]))
        return out

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
            If ``x`` has not one row a source cell, or holds anything but finite numbers in a cell with mass.
        """
        values = self._values("x", x, "source")
        out = np.full((self.shape[1], values.shape[1]), np.nan, dtype=dtype)
        for block in self.blocks:
            mass = _plans.column_sums(block.plan)
            whole = _plans.tdot(block.plan, values[block.rows])
            _write_means(out, block.columns, mass, iter([(0, mass.size, whole)]))
        return out

    def push_mass(self, weights: npt.ArrayLike) -> Float64Array:
        """Send mass from source cells to target cells: ``q_j = sum_i p_i T_ij / sum_k T_ik``.

        Where the cells of a subset, a cluster or a score of the source go. Mass is kept, but for that of cells without a row
        in the coupling.

        Parameters
        ----------
        weights
            p, of the source cells, (n_source,) or (n_source, k).

        Returns
        -------
        ndarray
            q, (n_target,) or (n_target, k).

        Raises
        ------
        ValueError
            If there is not one row a source cell, the weights are sparse, or one of a cell with mass is no finite number.
        """
        return self._send(weights, "source")

    def pull_mass(self, weights: npt.ArrayLike) -> Float64Array:
        """Send mass from target cells to source cells: ``p_i = sum_j q_j T_ij / sum_k T_kj``.

        Parameters
        ----------
        weights
            q, of the target cells, (n_target,) or (n_target, k).

        Returns
        -------
        ndarray
            p, (n_source,) or (n_source, k).

        Raises
        ------
        ValueError
            If there is not one row a target cell, the weights are sparse, or one of a cell with mass is no finite number.
        """
        return self._send(weights, "target")

    def _send(self, weights: npt.ArrayLike, side: Side) -> Float64Array:
        if sp.issparse(weights):
            raise InputError(
                f"weights must be dense, one number or a row of k numbers a {side} cell; found a sparse matrix. The result "
                f"is dense in any case: pass weights.toarray()."
            )
        axis, given = _axis(side), np.asarray(weights)
        values = self._values("weights", given[:, None] if given.ndim == 1 else given, side)
        out = np.zeros((self.shape[1 - axis], values.shape[1]))
        for block in self.blocks:
            sums, product = (
                (_plans.row_sums, _plans.tdot) if axis == 0 else (_plans.column_sums, _plans.dot)
            )
            own, other = (block.rows, block.columns) if axis == 0 else (block.columns, block.rows)
            mass = sums(block.plan)[:, None]
            shares = np.divide(
                values[own], mass, out=np.zeros((own.size, values.shape[1])), where=mass > 0
            )
            out[other] = product(block.plan, shares)
        return out[:, 0] if given.ndim == 1 else out

    def _values(self, name: str, given: Any, side: Side) -> Any:
        """Return values of source or target cells as a matrix of finite numbers, dense or CSR."""
        axis = _axis(side)
        values = check_values(name, given, self.shape[axis], side)
        if is_finite(values):
            return values
        bad = rows_not_finite(values)
        wrong = bad & ((self.row_mass() if axis == 0 else self.column_mass()) > 0)
        if wrong.any():
            first, names = int(wrong.argmax()), (self.source_names, self.target_names)[axis]
            raise InputError(
                f"{name} holds NaN or infinite values in {int(wrong.sum())} of {wrong.size} {side} cells, first in cell "
                f"{first if names is None else repr(names[first])}, which would spread to every cell matched with them. "
                f"Leave those cells or columns out, or fill the values in."
            )
        return without_rows(values, bad)

    def top_matches(self, n: int = 5, side: Side = "source") -> pd.DataFrame:
        """Return the n best matches of each cell.

        Parameters
        ----------
        n
            Matches a cell, at most; those without mass are left out.
        side
            ``"source"``: target cells for each source cell; ``"target"``: source cells for each target cell.

        Returns
        -------
        DataFrame
            Columns ``source`` and ``target`` (names of the cells; positions where the coupling does not know
            names), ``rank`` from 1, ``probability`` (share of the mass of the cell), ``mass`` and ``label``; ordered by cell
            and rank.

        Raises
        ------
        ValueError
            If n is not positive, or there is no such side.
        """
        axis = _axis(side)
        check_number("n, the number of matches of a cell,", n)
        columns: dict[str, list[Any]] = {
            name: [] for name in ("own", "other", "rank", "mass", "probability", "label")
        }
        for block in self.blocks:
            own, other = (block.rows, block.columns) if axis == 0 else (block.columns, block.rows)
            for start, stop, part in _slices_along(block.plan, axis):
                best, mass, total = _best(part, n)
                kept = mass > 0
                cells = np.broadcast_to(own[start:stop, None], best.shape)
                columns["own"].append(cells[kept])
                columns["other"].append(other[best[kept]])
                columns["rank"].append(
                    np.broadcast_to(np.arange(1, best.shape[1] + 1), best.shape)[kept]
                )
                columns["mass"].append(mass[kept])
                columns["probability"].append(
                    np.divide(mass, total[:, None], out=mass * 0, where=kept)[kept]
                )
                columns["label"].append(np.full(int(kept.sum()), block.label, dtype=object))
        return self._match_table(columns, axis)

    def _match_table(self, columns: Mapping[str, list[Any]], axis: int) -> pd.DataFrame:
        joined = {
            name: np.concatenate(parts) if parts else np.empty(0, dtype=np.intp)
            for name, parts in columns.items()
        }
        order = np.lexsort((joined["rank"], joined["own"]))
        joined = {name: values[order] for name, values in joined.items()}
        cells = {
            "source": joined["own" if axis == 0 else "other"],
            "target": joined["other" if axis == 0 else "own"],
        }
        for side, names in (("source", self.source_names), ("target", self.target_names)):
            if names is not None:
                cells[side] = np.asarray(names, dtype=object)[cells[side]]
        rest = {name: joined[name] for name in ("rank", "probability", "mass", "label")}
        return pd.DataFrame({**cells, **rest})

    # ------------------------------------------------------------------------------------------------ storing

    def to_sparse(
        self,
        top_k: int | None = None,
        threshold: float | None = None,
        dtype: npt.DTypeLike = np.float32,
        max_memory_gb: float = 4.0,
    ) -> sp.csr_matrix:
        """Return the coupling as one CSR matrix, with all entries or only those that matter.

        Parameters
        ----------
        top_k
            Keep the largest entries of each row, this many.
        threshold
            Largest share of the mass of a row that may be dropped: an entry goes if it holds less than ``threshold / m`` of
            its row, m the target cells of its block. So no row loses more than ``threshold``, whatever the size of the
            block.
        dtype
            Of the masses. float32 keeps seven digits of each.
        max_memory_gb
            Refuse to build a larger matrix.

        Returns
        -------
        csr_matrix
            (n_source, n_target). What is left of a row is scaled up to the mass that it had, so row masses are kept; column
            masses are not (:meth:`sparsify` says how far off they are). Masses that ``dtype`` cannot hold are left out.

        Raises
        ------
        ValueError
            If top_k or threshold cannot be used.
        TooLargeError
            If the matrix would take more memory than ``max_memory_gb``. Nothing of it has been taken then.
        """
        return self.sparsify(top_k, threshold, dtype, max_memory_gb)[0]

    def sparsify(
        self,
        top_k: int | None = None,
        threshold: float | None = None,
        dtype: npt.DTypeLike = np.float32,
        max_memory_gb: float = 4.0,
    ) -> tuple[sp.csr_matrix, dict[str, Any]]:
        """Return :meth:`to_sparse` and the evidence of the matrix.

        Parameters
        ----------
        top_k, threshold, dtype, max_memory_gb
            As for :meth:`to_sparse`.

        Returns
        -------
        matrix
            As of :meth:`to_sparse`.
        report
            ``threshold`` and, if given, ``top_k``; ``n_dropped``, entries; ``mass_dropped``, the share of the mass that they
            held; ``row_error`` and ``column_error``, L1 errors of the masses of the matrix against those that the cells were
            to have (:attr:`marginals`), relative to the mass; and both for each block, relative to its mass, as
            ``row_error_per_label`` and ``column_error_per_label``. The errors are those of the matrix, in its ``dtype``.

        Raises
        ------
        ValueError, TooLargeError
            As :meth:`to_sparse`.
        """
        share = check_kept(top_k, threshold)
        entry = (np.dtype(dtype).itemsize + 4) / 1e9
        if top_k is None:  # a plan of low rank has no small entries: no need to count them
            low_rank = [b.plan.shape for b in self.blocks if isinstance(b.plan, _plans.LowRankPlan)]
            self._check_size(entry * sum(n * m for n, m in low_rank), max_memory_gb)
        # twice through the plans, so that the matrix is the only large thing taken
        counted = count(self._stored(top_k, share), self.shape[0])
        self._check_size(entry * counted.n_entries, max_memory_gb)
        matrix = fill(self._stored(top_k, share), counted, self.shape, dtype)
        report = {
            "threshold": share,
            "n_dropped": counted.n_dropped + counted.n_entries - int(matrix.nnz),
            "mass_dropped": max(0.0, counted.mass_dropped / counted.mass)
            if counted.mass > 0
            else 0.0,
            **self._errors_of("row", 0, _plans.row_sums(matrix)),
            **self._errors_of("column", 1, _plans.column_sums(matrix)),
        }
        return matrix, report if top_k is None else {**report, "top_k": int(top_k)}

    def _errors_of(self, side: str, axis: int, found: Float64Array) -> dict[str, Any]:
        """Return how far the masses of cells are from those wanted (L1, relative to the mass), in all and by block."""
        wanted = self._wanted(axis)
        off = np.abs(found - wanted)
        cells = [block.columns if axis else block.rows for block in self.blocks]
        per_block = np.array([_share(off[own].sum(), wanted[own].sum()) for own in cells])
        return {
            f"{side}_error": _share(off.sum(), wanted.sum()),
            f"{side}_error_per_label": per_block,
        }

    def _check_size(self, needed: float, allowed: float) -> None:
        if needed > allowed:
            raise TooLargeError(
                f"a matrix of this coupling would take {needed:.1f} GB, more than max_memory_gb={allowed:g}. Keep the "
                f"best matches only (top_k=20, threshold=1e-3), use push, pull or top_matches, which need no "
                f"matrix, or raise max_memory_gb if the machine has the memory."
            )

    def _stored(self, top_k: int | None, threshold: float) -> Iterator[Piece]:
        """Yield the entries that stay, some rows of a block at a time."""
        for block in self.blocks:
            for start, stop, part in _plans.slices(block.plan):
                yield keep(block.rows[start:stop], block.columns, part, top_k, threshold)

    def to_dense(self, max_memory_gb: float = 2.0) -> Float64Array:
        """Return the whole matrix, float64 (n_source, n_target), zeros included.

        Raises
        ------
        TooLargeError
            If it would take more memory than ``max_memory_gb``. Nothing has been taken then.
        """
        self._check_size(8.0 * self.shape[0] * self.shape[1] / 1e9, max_memory_gb)
        out = np.zeros(self.shape)
        for block in self.blocks:
            for start, stop, part in _plans.slices(block.plan):
                own = block.rows[start:stop]
                out[np.ix_(own, block.columns)] = part.toarray() if sp.issparse(part) else part
        return out

    def save(self, path: str | Path) -> None:
        """Write the coupling into one file, readable by :meth:`load`; a file that is there is replaced when done.

        Parameters
        ----------
        path
            The file, by custom ``.npz``. Factors are stored as factors, so a large coupling stays small.
        """
        from scgroove.aligners._storage import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Coupling:
        """Read a coupling that :meth:`save` wrote.

        Raises
        ------
        FileError
            There is no such file; it holds no coupling, or is damaged.
        ValueError
            It is of a later version of scgroove.
        """
        from scgroove.aligners._storage import load

        return load(Path(path))

    def __repr__(self) -> str:
        """Return shape, blocks and, where known, the method and how well it converged."""
        known = [
            f"{key}={self.evidence[key]}" for key in ("method", "converged") if key in self.evidence
        ]
        parts = [
            f"{self.shape[0]} source x {self.shape[1]} target cells",
            f"{len(self.blocks)} blocks",
            *known,
        ]
        return f"Coupling({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: size, and the evidence that is one number or word."""
        head = {
            "source x target cells": f"{self.shape[0]:,} x {self.shape[1]:,}",
            "blocks": f"{len(self.blocks):,}",
            "memory": f"{self.nbytes / 1e6:,.1f} MB",
        }
        shown = {
            key: f"{value:.3g}" if isinstance(value, float) else str(value)
            for key, value in self.evidence.items()
            if isinstance(value, str | bool | int | float) and not key.endswith("_version")
        }
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in {**head, **shown}.items()
        )
        return f"<table><caption>Coupling</caption>{rows}</table>"


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _axis(side: str) -> int:
    if side not in ("source", "target"):
        raise InputError(f"side must be 'source' or 'target'; found {side!r}.")
    return 0 if side == "source" else 1


def _as_plan(what: str, plan: Any) -> Any:
    """Return a plan of float64 or float32, dense or CSR, or by its factors."""
    if _plans.is_factored(plan):
        return plan
    matrix = as_numbers(what, plan.tocsr() if sp.issparse(plan) else np.asarray(plan))
    if matrix.ndim != 2:
        raise InputError(
            f"{what} must be a matrix (source cells, target cells); found shape {matrix.shape}."
        )
    return matrix if matrix.dtype in (np.float64, np.float32) else matrix.astype(np.float64)


def _flat_sum(part: Any, axis: int) -> Float64Array:
    return np.asarray(part.sum(axis=axis), dtype=np.float64).ravel()


def _times_log(part: Any) -> Any:
    """Return T log T, 0 where T is."""
    values = part.copy()
    data = np.asarray(values.data if sp.issparse(values) else values)
    np.multiply(data, np.log(data, out=np.zeros_like(data), where=data > 0), out=data)
    return values


def _indicator(codes: IntArray) -> tuple[IntArray, sp.csr_matrix]:
    """Return the codes that occur, (k,), and a one-hot matrix of them, (n, k)."""
    present, position = np.unique(codes, return_inverse=True)
    one_hot = sp.csr_matrix(
        (np.ones(codes.size), (np.arange(codes.size), position)), (codes.size, present.size)
    )
    return present, one_hot


def _write_means(
    out: npt.NDArray[Any],
    cells: IntArray,
    mass: Float64Array,
    products: Iterator[tuple[int, int, Any]],
) -> None:
    """Write the products divided by the masses into ``out``, but for cells without mass."""
    for start, stop, product in products:
        kept = np.flatnonzero(mass[start:stop] > 0)
        dense = product[kept].toarray() if sp.issparse(product) else np.asarray(product)[kept]
        out[cells[start:stop][kept]] = dense / mass[start:stop][kept, None]


def _slices_along(plan: BlockPlan, axis: int) -> Iterator[tuple[int, int, Float64Array]]:
    """Yield (start, stop, masses of these cells over the other side) as dense arrays of some cells each."""
    if axis == 0:
        for start, stop, part in _plans.slices(plan):
            yield start, stop, part.toarray() if sp.issparse(part) else np.asarray(part)
        return
    for start, stop in in_slices(plan.shape[1], plan.shape[0], _plans.BLOCK_VALUES):
        yield start, stop, _plans.column_slice(plan, start, stop).T


def _best(part: Float64Array, n: int) -> tuple[IntArray, Float64Array, Float64Array]:
    """Return the positions and masses of the n largest entries of each row, descending, and the row sums."""
    n = min(n, part.shape[1])
    best = np.argpartition(-part, n - 1, axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(part, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return best, np.take_along_axis(part, best, axis=1), part.sum(axis=1)

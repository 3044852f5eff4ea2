"""A coupling in blocks, with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from scgroove._labels import NO_LABEL_NAME, UNLABELED, encode
from scgroove._types import Float64Array, IntArray, Labels, Plan, Scalar
from scgroove.aligners import _plans, _storage
from scgroove.aligners._plans import BlockPlan
from scgroove.aligners.costs import in_slices
from scgroove.aligners.sparsify import Piece, check_kept, check_number, gather, largest_entries
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
        The label of these cells. ``""`` where the coupling is not labeled.
    rows, columns
        Positions of the source (n,) and target cells (m,).
    plan
        Masses (n, m): dense or CSR of float64 or float32, or factors to compute them from.
    a, b
        Masses that the source (n,) and target cells (m,) were to have. None if not known.
    """

    label: str
    rows: IntArray
    columns: IntArray
    plan: BlockPlan
    a: Float64Array | None = None
    b: Float64Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", _as_plan(f"block {self.label!r}: a plan", self.plan))
        if self.plan.shape != (self.rows.size, self.columns.size):
            raise InputError(
                f"block {self.label!r}: a plan of {self.rows.size} source and {self.columns.size} "
                f"target cells must have shape {(self.rows.size, self.columns.size)}; found "
                f"{self.plan.shape}."
            )
        if not _plans.is_valid(self.plan):
            raise InputError(f"block {self.label!r}: a plan holds finite masses of at least 0.")

    def cells(self, axis: int) -> IntArray:
        """Positions of the source (0) or target cells (1)."""
        return self.columns if axis else self.rows

    def sums(self, axis: int) -> Float64Array:
        """Masses that the source (0) or target cells (1) have."""
        return _plans.column_sums(self.plan) if axis else _plans.row_sums(self.plan)


@dataclass(frozen=True, eq=False)
class Coupling:
    """Masses between source cells (rows) and target cells (columns), zero outside the blocks.

    The matrix (n_source, n_target) is never built unless asked for: entropic plans are computed
    from their potentials, some rows at a time, whenever that takes less memory.

    Attributes
    ----------
    blocks
        Disjoint blocks. One a label for a labeled coupling.
    shape
        (n_source, n_target), cells without mass included.
    evidence
        How the coupling was made and how good it is as a solution: flat, of strings, numbers, truth
        values and arrays, so that it can be stored in ``uns``.
    source_names, target_names
        Names of the cells, if known: used by :meth:`top_matches`.
    """

    blocks: tuple[CouplingBlock, ...]
    shape: tuple[int, int]
    evidence: Mapping[str, Scalar | npt.NDArray[Any]] = field(default_factory=dict)
    source_names: Sequence[str] | None = None
    target_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for axis, side in enumerate(("source", "target")):
            taken = [block.cells(axis) for block in self.blocks]
            cells = np.concatenate([np.empty(0, dtype=np.intp), *taken])
            if cells.size and (cells.min() < 0 or cells.max() >= self.shape[axis]):
                raise InputError(f"a block names {side} cells outside 0 to {self.shape[axis] - 1}.")
            if np.unique(cells).size != cells.size:
                raise InputError(
                    f"blocks must be disjoint; a {side} cell is in two of them, or twice in one."
                )
            names = self._names(axis)
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
        """Return a coupling of one block from a matrix (n_source, n_target), sparse or dense."""
        matrix = sp.csr_matrix(_as_plan("plan", plan))
        n, m = int(matrix.shape[0]), int(matrix.shape[1])
        block = CouplingBlock("", np.arange(n), np.arange(m), matrix)
        return cls((block,), (n, m), dict(evidence or {}), source_names, target_names)

    @property
    def labels(self) -> list[str]:
        """Labels of the blocks, in order. ``[""]`` for an unlabeled coupling."""
        return [block.label for block in self.blocks]

    @property
    def nbytes(self) -> int:
        """Memory that the plans keep, in bytes."""
        return sum(_plans.nbytes(block.plan) for block in self.blocks)

    def _names(self, axis: int) -> Sequence[str] | None:
        return self.target_names if axis else self.source_names

    # ------------------------------------------------------------------------------------- masses

    def parts(self) -> Iterator[tuple[IntArray, IntArray, Plan]]:
        """Yield (source rows, target rows, plan): what :mod:`scgroove.metrics` takes.

        One a block, or several of some rows each where the plan is computed from its factors.
        """
        for block in self.blocks:
            plan: Any = block.plan
            if not isinstance(plan, _plans.FACTORED):
                yield block.rows, block.columns, plan
                continue
            for start, stop, part in _plans.slices(plan):
                yield block.rows[start:stop], block.columns, part

    def row_mass(self) -> Float64Array:
        """Return the mass of each source cell, (n_source,). 0 for cells that take no part."""
        return self._masses(0)

    def column_mass(self) -> Float64Array:
        """Return the mass of each target cell, (n_target,). 0 for cells that take no part."""
        return self._masses(1)

    def _masses(self, axis: int, wanted: bool = False) -> Float64Array:
        """Return the masses that cells have, or were to have where that is known."""
        mass = np.zeros(self.shape[axis])
        for block in self.blocks:
            known = (block.b if axis else block.a) if wanted else None
            mass[block.cells(axis)] = block.sums(axis) if known is None else known
        return mass

    @property
    def mass(self) -> float:
        """Total mass. 1 for a balanced coupling."""
        return float(sum(block.sums(0).sum() for block in self.blocks))

    @property
    def marginals(self) -> tuple[Float64Array, Float64Array]:
        """Masses a (n_source,) and b (n_target,) that cells were to have, or have if not known."""
        return self._masses(0, wanted=True), self._masses(1, wanted=True)

    def marginal_errors(self) -> tuple[float, float]:
        """Return the L1 errors of the source and of the target marginals, computed anew."""
        a, b = self.marginals
        return float(np.abs(self.row_mass() - a).sum()), float(np.abs(self.column_mass() - b).sum())

    def entropy(self, side: Side = "source") -> Float64Array:
        """Return the entropy of the match of each cell in nats. NaN without mass.

        ``-sum_j p_ij log p_ij`` with ``p_ij = T_ij / sum_j T_ij``: 0 if all mass goes to one cell,
        log m if it is even over m of them. Its exponential is the effective number of partners.

        Parameters
        ----------
        side
            ``"source"``: of each source cell, (n_source,). ``"target"``: of each target cell,
            (n_target,).
        """
        axis = _axis(side)
        out = np.full(self.shape[axis], np.nan)
        for block in self.blocks:
            mass, inner = np.zeros(block.plan.shape[axis]), np.zeros(block.plan.shape[axis])
            for start, stop, part in _plans.slices(block.plan):
                place = slice(None) if axis else slice(start, stop)
                part = part.astype(np.float64, copy=False)  # stored ones are float32
                mass[place] += np.asarray(part.sum(axis=1 - axis)).ravel()
                inner[place] += np.asarray(_times_log(part).sum(axis=1 - axis)).ravel()
            kept = mass > 0
            # -sum p log p = log r - sum T log T / r, r the mass of the row
            found = np.log(mass[kept]) - inner[kept] / mass[kept]
            out[block.cells(axis)[kept]] = np.maximum(found, 0.0)
        return out

    def confidence(self, side: Side = "source") -> Float64Array:
        """Return how decided the match of each cell is: ``1 - entropy / log m``, m the candidates.

        1: all mass goes to one cell, or there is one candidate in the block only. 0: all candidates
        alike. NaN without mass. It says how sharp the coupling is, not that it is right: a smaller
        eps makes every cell more confident. Parameters and shape as for :meth:`entropy`.
        """
        axis = _axis(side)
        out = self.entropy(side)
        for block in self.blocks:
            cells, candidates = block.cells(axis), block.plan.shape[1 - axis]
            undecided = out[cells] / np.log(candidates) if candidates > 1 else 0.0 * out[cells]
            out[cells] = np.maximum(1.0 - undecided, 0.0)  # rounding
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
            Label of each source and target cell, None and NaN for none. Those stand under
            ``(unlabeled)``. Neither given: the labels that the coupling was made with.
        max_memory_gb
            Refuse to build a larger table.

        Raises
        ------
        ValueError
            If the numbers of labels and cells differ, only one is given, or none is known.
        TooLargeError
            If the table would take more memory than ``max_memory_gb``.
        """
        names, codes = encode(*self._labels_of_cells(labels_x, labels_y))
        for argument, own, n in zip(("labels_x", "labels_y"), codes, self.shape, strict=True):
            if own.size != n:
                raise InputError(
                    f"{argument} must hold one label a cell: expected {n}, found {own.size}."
                )
            own[own == UNLABELED] = len(names)
        present_x, own_x = np.unique(codes[0], return_inverse=True)
        present_y, own_y = np.unique(codes[1], return_inverse=True)
        needed = 8.0 * present_x.size * present_y.size / 1e9
        if needed > max_memory_gb:
            raise TooLargeError(
                f"a table of {present_x.size:,} x {present_y.size:,} labels would take "
                f"{needed:.1f} GB, more than max_memory_gb={max_memory_gb:g}. Put labels together "
                f"before, or raise max_memory_gb if the machine has the memory."
            )
        table = np.zeros((present_x.size, present_y.size))
        for block in self.blocks:
            labels_j, sum_j = _indicator(own_y[block.columns])
            for start, stop, part in _plans.slices(block.plan):
                labels_i, sum_i = _indicator(own_x[block.rows[start:stop]])
                mass = sum_i.T @ (part @ sum_j)
                table[np.ix_(labels_i, labels_j)] += mass.toarray() if sp.issparse(mass) else mass
        index = np.array([*names, NO_LABEL_NAME], dtype=object)
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
        if not any(self.labels):
            raise InputError(
                "this coupling does not know the labels of its cells: pass label_mass(labels_x, "
                "labels_y)."
            )
        source: Any = np.full(self.shape[0], None, dtype=object)
        target: Any = np.full(self.shape[1], None, dtype=object)
        for block in self.blocks:
            source[block.rows] = target[block.columns] = block.label
        return source, target

    # ------------------------------------------------------------------------------------ mapping

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
            (n_source, d). NaN for source cells without mass.

        Raises
        ------
        ValueError
            If ``y`` has not one row a target cell, or holds anything but finite numbers in a cell
            with mass. Values of cells without mass are not used.
        """
        values = self._values("y", y, "target")
        out = np.full((self.shape[0], values.shape[1]), np.nan, dtype=dtype)
        for block in self.blocks:
            mass, own = block.sums(0), values[block.columns]
            for start, stop, product in _plans.products(block.plan, own):
                _write_means(out, block.rows[start:stop], mass[start:stop], product)
        return out

    def pull(
        self, x: npt.ArrayLike | sp.spmatrix | sp.sparray, dtype: npt.DTypeLike = np.float64
    ) -> Float64Array:
        """Send target cells to the source: ``sum_i T_ij x_i / sum_i T_ij`` for each target cell j.

        The counterpart of :meth:`push`: x (n_source, d), result (n_target, d).
        """
        values = self._values("x", x, "source")
        out = np.full((self.shape[1], values.shape[1]), np.nan, dtype=dtype)
        for block in self.blocks:
            product = _plans.tdot(block.plan, values[block.rows])
            _write_means(out, block.columns, block.sums(1), product)
        return out

    def push_mass(self, weights: npt.ArrayLike) -> Float64Array:
        """Send mass from source cells to target cells: ``q_j = sum_i p_i T_ij / sum_k T_ik``.

        Where the cells of a subset, a cluster or a score of the source go: p (n_source,) or
        (n_source, k), dense. q (n_target,) or (n_target, k). Mass is kept, but for that of cells
        without a row in the coupling.
        """
        return self._send(weights, "source")

    def pull_mass(self, weights: npt.ArrayLike) -> Float64Array:
        """Send mass from target cells to source cells: ``p_i = sum_j q_j T_ij / sum_k T_kj``.

        The counterpart of :meth:`push_mass`: q (n_target,) or (n_target, k).
        """
        return self._send(weights, "target")

    def _send(self, weights: npt.ArrayLike, side: Side) -> Float64Array:
        if sp.issparse(weights):
            raise InputError(
                f"weights must be dense, one number or a row of k numbers a {side} cell; found a "
                f"sparse matrix. The result is dense in any case: pass weights.toarray()."
            )
        axis, given = _axis(side), np.asarray(weights)
        values = self._values("weights", given[:, None] if given.ndim == 1 else given, side)
        out = np.zeros((self.shape[1 - axis], values.shape[1]))
        for block in self.blocks:
            own, mass = block.cells(axis), block.sums(axis)[:, None]
            nothing = np.zeros((own.size, values.shape[1]))
            shares = np.divide(values[own], mass, out=nothing, where=mass > 0)
            send = _plans.dot if axis else _plans.tdot
            out[block.cells(1 - axis)] = send(block.plan, shares)
        return out[:, 0] if given.ndim == 1 else out

    def _values(self, name: str, given: Any, side: Side) -> Any:
        """Return values of source or target cells as a matrix of finite numbers, dense or CSR."""
        axis = _axis(side)
        values = check_values(name, given, self.shape[axis], side)
        if is_finite(values):
            return values
        bad = rows_not_finite(values)
        wrong = bad & (self._masses(axis) > 0)
        if wrong.any():
            first, names = int(wrong.argmax()), self._names(axis)
            raise InputError(
                f"{name} holds NaN or infinite values in {int(wrong.sum())} of {wrong.size} {side} "
                f"cells, first in cell {first if names is None else repr(names[first])}, which "
                f"would spread to every cell matched with them. Leave those cells or columns out, "
                f"or fill the values in."
            )
        return without_rows(values, bad)

    def top_matches(self, n: int = 5, side: Side = "source") -> pd.DataFrame:
        """Return the n best matches of each cell, without those that have no mass.

        Parameters
        ----------
        n
            Matches a cell, at most.
        side
            ``"source"``: target cells for each source cell. ``"target"``: source cells for each
            target cell.

        Returns
        -------
        DataFrame
            Columns ``source`` and ``target`` (names of the cells, or positions), ``rank`` from 1,
            ``probability`` (share of the mass of the cell), ``mass`` and ``label``. Ordered by cell
            and rank.
        """
        axis = _axis(side)
        check_number("n, the number of matches of a cell,", n)
        own, other = ("source", "target") if axis == 0 else ("target", "source")
        columns: dict[str, list[Any]] = {
            name: [] for name in ("source", "target", "rank", "probability", "mass", "label")
        }
        for block in self.blocks:
            for start, stop, part in _slices_along(block.plan, axis):
                best, mass, total = _best(part, n)
                i, j = np.nonzero(mass > 0)
                columns[own].append(block.cells(axis)[start:stop][i])
                columns[other].append(block.cells(1 - axis)[best[i, j]])
                columns["rank"].append(j + 1)
                columns["mass"].append(mass[i, j])
                columns["probability"].append(mass[i, j] / total[i])
                columns["label"].append(np.full(i.size, block.label, dtype=object))
        nothing = np.empty(0, dtype=np.intp)
        joined = {name: np.concatenate(parts or [nothing]) for name, parts in columns.items()}
        order = np.lexsort((joined["rank"], joined[own]))
        joined = {name: values[order] for name, values in joined.items()}
        for axis, name in enumerate(("source", "target")):
            names = self._names(axis)
            if names is not None:
                joined[name] = np.asarray(names, dtype=object)[joined[name]]
        return pd.DataFrame(joined)

    # ------------------------------------------------------------------------------------ storing

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
            Largest share of the mass of a row that may be dropped: an entry goes if it holds less
            than ``threshold / m`` of its row, m the target cells of its block.
        dtype
            Of the masses. Those that it cannot hold are left out.
        max_memory_gb
            Refuse to build a larger matrix.

        Returns
        -------
        csr_matrix
            (n_source, n_target). What is left of a row is scaled up to the mass that it had, so row
            masses are kept. Column masses are not (:meth:`sparsify` says how far off they are).

        Raises
        ------
        ValueError
            If top_k or threshold cannot be used.
        TooLargeError
            If the matrix would take more memory than ``max_memory_gb``. Nothing has been taken.
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

        The evidence: ``threshold`` and, if given, ``top_k``. ``n_dropped``, entries.
        ``mass_dropped``, the share of the mass that they held. ``row_error`` and ``column_error``,
        L1 errors of the masses of the matrix, in its ``dtype``, against :attr:`marginals`, relative
        to the mass, and both for each block as ``row_error_per_label`` and
        ``column_error_per_label``. Parameters and errors are those of :meth:`to_sparse`.
        """
        share, entry = check_kept(top_k, threshold), (np.dtype(dtype).itemsize + 4) / 1e9
        if top_k is None:  # a plan of low rank has no small entries: no need to count them
            plans = [b.plan for b in self.blocks if isinstance(b.plan, _plans.LowRankPlan)]
            n_entries = sum(plan.shape[0] * plan.shape[1] for plan in plans)
            _check_size(entry * n_entries, max_memory_gb)

        def pieces() -> Iterator[Piece]:
            for block in self.blocks:
                for start, stop, part in _plans.slices(block.plan):
                    rows = block.rows[start:stop]
                    yield largest_entries(rows, block.columns, part, top_k, share)

        matrix, n_dropped, mass_dropped = gather(
            pieces, self.shape, dtype, lambda n: _check_size(entry * n, max_memory_gb)
        )
        report: dict[str, Any] = {
            "threshold": share,
            "n_dropped": n_dropped,
            "mass_dropped": mass_dropped,
        }
        sums = _plans.row_sums(matrix), _plans.column_sums(matrix)
        for axis, side in enumerate(("row", "column")):
            wanted = self._masses(axis, wanted=True)
            off = np.abs(sums[axis] - wanted)
            cells = [block.cells(axis) for block in self.blocks]
            per_block = [_share(off[own].sum(), wanted[own].sum()) for own in cells]
            report[f"{side}_error"] = _share(off.sum(), wanted.sum())
            report[f"{side}_error_per_label"] = np.array(per_block)
        return matrix, report if top_k is None else {**report, "top_k": int(top_k)}

    def to_dense(self, max_memory_gb: float = 2.0) -> Float64Array:
        """Return the whole matrix, float64 (n_source, n_target), if it takes no more memory."""
        _check_size(8.0 * self.shape[0] * self.shape[1] / 1e9, max_memory_gb)
        out = np.zeros(self.shape)
        for block in self.blocks:
            for start, stop, part in _plans.slices(block.plan):
                own = block.rows[start:stop]
                out[np.ix_(own, block.columns)] = part.toarray() if sp.issparse(part) else part
        return out

    def save(self, path: str | Path) -> None:
        """Write the coupling into one file, by custom ``.npz``, readable by :meth:`load`.

        Factors are stored as factors, so a large coupling stays small. A file that is there is
        replaced when all is written.
        """
        _storage.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Coupling:
        """Read a coupling that :meth:`save` wrote.

        Raises
        ------
        FileError
            There is no such file. It holds no coupling, or is damaged.
        """
        return _storage.load(Path(path), cls)

    def __repr__(self) -> str:
        size = f"{self.shape[0]} source x {self.shape[1]} target cells, {len(self.blocks)} blocks"
        known = [key for key in ("method", "converged") if key in self.evidence]
        return f"Coupling({', '.join([size, *(f'{key}={self.evidence[key]}' for key in known)])})"


_storage.OBJECTS.update({"coupling": Coupling, "block": CouplingBlock})


def _check_size(needed: float, allowed: float) -> None:
    if needed > allowed:
        raise TooLargeError(
            f"a matrix of this coupling would take {needed:.1f} GB, more than "
            f"max_memory_gb={allowed:g}. Keep the best matches only (top_k=20, threshold=1e-3), "
            f"use push, pull or top_matches, which need no matrix, or raise max_memory_gb if the "
            f"machine has the memory."
        )


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _axis(side: str) -> int:
    if side not in ("source", "target"):
        raise InputError(f"side must be 'source' or 'target'; found {side!r}.")
    return 0 if side == "source" else 1


def _as_plan(what: str, plan: Any) -> Any:
    """Return a plan of float64 or float32, dense or CSR, or by its factors."""
    if isinstance(plan, _plans.FACTORED):
        return plan
    matrix = as_numbers(what, plan.tocsr() if sp.issparse(plan) else np.asarray(plan))
    if matrix.ndim != 2:
        raise InputError(
            f"{what} must be a matrix (source cells, target cells); found shape {matrix.shape}."
        )
    return matrix if matrix.dtype in (np.float64, np.float32) else matrix.astype(np.float64)


def _times_log(part: Any) -> Any:
    values = part.copy()
    data = np.asarray(values.data if sp.issparse(values) else values)
    np.multiply(data, np.log(data, out=np.zeros_like(data), where=data > 0), out=data)
    return values


def _indicator(codes: IntArray) -> tuple[IntArray, sp.csr_matrix]:
    """Codes that occur, (k,), and a one-hot matrix of them, (n, k)."""
    present, position = np.unique(codes, return_inverse=True)
    places = np.arange(codes.size), position
    return present, sp.csr_matrix((np.ones(codes.size), places), (codes.size, present.size))


def _write_means(out: npt.NDArray[Any], cells: IntArray, mass: Float64Array, product: Any) -> None:
    """Write a product divided by the masses into ``out``, but for cells without mass."""
    kept = np.flatnonzero(mass > 0)
    dense = product[kept].toarray() if sp.issparse(product) else np.asarray(product)[kept]
    out[cells[kept]] = dense / mass[kept, None]


def _slices_along(plan: BlockPlan, axis: int) -> Iterator[tuple[int, int, Float64Array]]:
    """Yield (start, stop, masses of these cells over the other side) as dense arrays."""
    if axis == 0:
        for start, stop, part in _plans.slices(plan):
            yield start, stop, part.toarray() if sp.issparse(part) else np.asarray(part)
        return
    for start, stop in in_slices(plan.shape[1], plan.shape[0]):
        yield start, stop, _plans.column_slice(plan, start, stop).T


def _best(part: Float64Array, n: int) -> tuple[IntArray, Float64Array, Float64Array]:
    """Positions and masses of the n largest entries of each row, descending, and the row sums."""
    n = min(n, part.shape[1])
    best = np.argpartition(-part, n - 1, axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(part, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return best, np.take_along_axis(part, best, axis=1), part.sum(axis=1)

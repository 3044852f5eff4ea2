"""Matchers by neighbors, and the yardsticks of every benchmark: random, uniform, oracle.

None of them solves a transport problem. Rows have the masses a, unless a cell has no partner; columns have the masses b
only by luck, but for ``random`` and ``uniform``. The evidence says how far off they are, and no warning is given for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scgroove._labels import as_objects, encode, label_name
from scgroove._types import BoolArray, Float64Array, IntArray, Labels
from scgroove.aligners._blocks import Block, Partition
from scgroove.aligners._entropic import Task
from scgroove.aligners._linear import LinearAligner
from scgroove.aligners._plans import BLOCK_VALUES, LowRankPlan, column_sums, row_sums
from scgroove.aligners.base import (
    ALIGNERS,
    BaseAligner,
    Evidence,
    Solution,
    Solved,
    marginal_errors,
)
from scgroove.aligners.costs import Cost, PairCost, in_slices, unit_rows
from scgroove.errors import InputError, TooLargeError

Unmatched: TypeAlias = Literal["nearest", "drop"]
UNMATCHED: Final[tuple[str, ...]] = ("nearest", "drop")

TREE_DIMENSIONS: Final = 6
"""Dimensions up to which a k-d tree finds neighbors faster than a comparison of all pairs."""

ROUNDING: Final = 1e-12
"""Relative difference of two squared distances below which scikit-learn's may put them in the wrong order."""


@dataclass(frozen=True, eq=False)
class Matched(Solved):
    """The matches of a block.

    Attributes
    ----------
    n_unmatched
        Source cells that found no partner.
    """

    n_unmatched: int = 0


# ------------------------------------------------------------------------------------------------------ neighbors


@dataclass(frozen=True, kw_only=True)
class NeighborAligner(LinearAligner):
    """Match cells by who is near whom, every label a problem of its own; see the subclasses.

    Parameters
    ----------
    k
        Neighbors of a cell; all cells of the block where it has fewer.
    cost
        Distance of the neighbors: ``"cosine"`` or ``"sqeuclidean"``.
    """

    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy", "scikit-learn")

    k: int = 15
    cost: Cost = "cosine"

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        if not _is_integer(self.k, 1):
            raise InputError(
                f"k, the number of neighbors of a cell, must be a positive integer; found {self.k!r}. 15 is usual, and "
                f"a label with fewer cells uses all of them."
            )

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        return not solved.converged  # neighbors promise no column marginals

    def _memory_advice(self) -> list[str]:
        return [f"ask for fewer neighbors (k, now {self.k})"] if self.k > 1 else []


@ALIGNERS.register("snn")
@dataclass(frozen=True, kw_only=True)
class SharedNearestNeighbors(NeighborAligner):
    """Shared nearest neighbors: ``T_ij ~ J_ij / (4k - J_ij)``, the Jaccard similarity of two neighborhoods.

    ``J = A B' + D C'`` counts the cells that are neighbors of both i and j. The k nearest neighbors are: in A (n x m)
    targets of sources, in B (m x m) targets of targets, in C (m x n) sources of targets, in D (n x n) sources of sources;
    a cell is its own neighbor. Rows are scaled to the masses a. No row is empty: the target nearest to a cell is among
    its own neighbors. With k = 1, mutual nearest neighbors weigh 1 and one-sided ones 1/3 before the rows are scaled.

    Parameters
    ----------
    k
        Neighbors of a cell, itself included; all cells of the block where it has fewer: ``4k`` is then
        ``2 min(k, n) + 2 min(k, m)``. Xi et al. 2024 use 1.
    cost
        ``"cosine"``: nearest by angle, which is Euclidean distance of rows of length 1; or ``"sqeuclidean"``.
    balance
        Scale columns and rows in turn, towards the masses b of the target cells, as far as the matches allow; the
        rows last, so that they are exact.
    tol
        Stop balancing when a turn moves less than this share of the mass.
    max_iter
        Largest number of turns of a block.
    n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Jarvis and Patrick 1973; Xi et al. 2024, arXiv 2404.01595; Lance et al. 2022 (the matching of modalities). Balancing:
    Deming and Stephan 1940 (iterative proportional fitting).
    """

    name: ClassVar[str] = "snn"

    balance: bool = False
    tol: float = 1e-6
    max_iter: int = 1000

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        if not self.tol > 0:
            raise InputError(
                f"tol, the share of the mass below which balancing stops, must be positive; found {self.tol!r}."
            )
        if not self.max_iter >= 1:
            raise InputError(
                f"max_iter, the turns of balancing, must be at least 1; found {self.max_iter!r}. "
                f"For none, balance=False."
            )

    def _solve_blocks(self, tasks: Sequence[Task]) -> list[Solved]:
        return [self._solve(task) for task in tasks]

    def _solve(self, task: Task) -> Solved:
        weights = shared_neighbors(
            *_space(task), self.k, int(self.max_memory_gb * 1e9 / self._entry_bytes())
        )
        if weights is None:
            raise TooLargeError(self._crowded(task))
        plan = scale_rows(weights, task.a)
        if not self.balance:
            return _judged(plan, task.a, task.b)
        balanced, turns, settled = proportional_fit(plan, task.a, task.b, self.tol, self.max_iter)
        return _judged(balanced, task.a, task.b, converged=settled, iterations=turns)

    def _advice(self) -> str:
        return f"Raise max_iter (now {self.max_iter}), or tol (now {self.tol:g}), or use balance=False."

    def _crowded(self, task: Task) -> str:
        n, m = task.cost.shape
        return (
            f"method 'snn' needs more than max_memory_gb={self.max_memory_gb:g}: among {n} x {m} cells, more pairs share a "
            f"neighbor than usual, because a few cells are neighbors of very many, as equal cells are. To go on, leave "
            f"out cells of equal representation, use another representation, "
            f"{', '.join([*self._memory_advice(), 'align a sample of the cells'])}, or raise max_memory_gb if the machine "
            f"has the memory."
        )

    def _entry_bytes(self) -> int:
        """Return the memory of the work on a match: its slice and its place in the plan, or the turns of balancing."""
        return 68 if self.balance else 24

    def _kept_bytes(self, block: Block, width: int) -> int:
        return 12 * _n_shared(block, self.k)

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: all matches, and the making of those of a block."""
        kept = sum(self._kept_bytes(block, x.shape[1]) for block in parts.blocks)
        work = max(
            (self._entry_bytes() - 12) * _n_shared(block, self.k)
            + _search_bytes(block, self.k, x.shape[1])
            for block in parts.blocks
        )
        return (work + kept) / 1e9


@ALIGNERS.register("nn")
@dataclass(frozen=True, kw_only=True)
class MutualNearestNeighbors(NeighborAligner):
    """Mutual nearest neighbors: T_ij > 0 if j is among the k targets nearest to i, and i among the k sources nearest to j.

    All partners of a cell get the same mass, and rows sum to a. The evidence counts the cells without a partner as
    ``n_source_unmatched``.

    Parameters
    ----------
    k
        Neighbors of a cell; all cells of the block where it has fewer.
    unmatched
        What becomes of a source cell without a mutual neighbor. ``"nearest"``: it is matched with the target cell
        nearest to it. ``"drop"``: it gets no mass, so that the mass of the coupling is below 1.
    cost
        ``"cosine"``: nearest by angle, which is Euclidean distance of rows of length 1; or ``"sqeuclidean"``.
    n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Haghverdi et al. 2018, "Batch effects in single-cell RNA-sequencing data are corrected by matching mutual nearest
    neighbors", Nature Biotechnology 36, 421.
    """

    name: ClassVar[str] = "nn"

    unmatched: Unmatched = "nearest"

    def _solve_blocks(self, tasks: Sequence[Task]) -> list[Solved]:
        return [self._solve(task) for task in tasks]

    def _solve(self, task: Task) -> Solved:
        x, y = _space(task)
        plan = mutual_neighbors(x, y, self.k)
        alone = np.flatnonzero(np.diff(plan.indptr) == 0)
        if alone.size and self.unmatched == "nearest":
            plan = plan + _entries(alone, nearest(x[alone], y, 1)[:, 0], plan.shape)
        return _judged(scale_rows(plan, task.a), task.a, task.b, n_unmatched=alone.size)

    def _solver_evidence(self, solution: Solution) -> Evidence:
        return {
            "n_source_unmatched": sum(
                s.n_unmatched for s in solution.blocks if isinstance(s, Matched)
            ),
        }

    def _kept_bytes(self, block: Block, width: int) -> int:
        return 12 * block.rows.size * min(self.k, block.columns.size)

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: all matches, and the search within the largest block."""
        kept = sum(self._kept_bytes(block, x.shape[1]) for block in parts.blocks)
        work = max(_search_bytes(block, self.k, x.shape[1]) for block in parts.blocks)
        return (work + kept) / 1e9


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def shared_neighbors(
    x: Float64Array, y: Float64Array, k: int, max_entries: float = np.inf
) -> sp.csr_matrix | None:
    """Return the Jaccard similarity ``J_ij / (4k - J_ij)`` of neighborhoods, ``J = A B' + D C'``.

    Parameters
    ----------
    x, y
        Source (n, d) and target cells (m, d).
    k
        Neighbors of a cell, itself included; ``4k`` is ``2 min(k, n) + 2 min(k, m)`` where there are fewer.
    max_entries
        Give up on more: k bounds the neighbors of a cell, but not of how many cells it is one.

    Returns
    -------
    csr_matrix
        (n, m), in (0, 1] where there is a shared neighbor; no row and no column is empty. None: given up.

    References
    ----------
    Jarvis and Patrick 1973; Xi et al. 2024, arXiv 2404.01595.
    """
    n, m, k_x, k_y = len(x), len(y), min(k, len(x)), min(k, len(y))
    a, b = _graph(nearest(x, y, k_y), m), _graph(nearest_with_self(y, k_y), m).T.tocsr()
    d, c = _graph(nearest_with_self(x, k_x), n), _graph(nearest(y, x, k_x), n).T.tocsr()
    pieces, taken = [], 0
    for start, stop in in_slices(n, m, BLOCK_VALUES):
        shared = a[start:stop] @ b + d[start:stop] @ c
        taken += shared.nnz
        if taken > max_entries:
            return None
        pieces.append(_jaccard(shared, 2 * (k_x + k_y)))
    return sp.csr_matrix(sp.vstack(pieces, format="csr"))


def _jaccard(shared: sp.csr_matrix, both: int) -> sp.csr_matrix:
    """Return shared / (both - shared): the share of what is in either of two sets, of sizes that sum to ``both``."""
    weight = shared.data / (both - shared.data)
    return sp.csr_matrix((weight, shared.indices, shared.indptr), shared.shape)


def mutual_neighbors(x: Float64Array, y: Float64Array, k: int) -> sp.csr_matrix:
    """Return 1 where source i and target j are among the k nearest of one another, (n, m); rows may be empty."""
    forward = _graph(nearest(x, y, min(k, len(y))), len(y))
    backward = _graph(nearest(y, x, min(k, len(x))), len(x))
    return sp.csr_matrix(forward.multiply(backward.T), dtype=np.float64)


def nearest(x: Float64Array, y: Float64Array, k: int) -> IntArray:
    """Return the k nearest of m targets of each of n cells by Euclidean distance; of equals, those that stand first.

    Parameters
    ----------
    x, y
        Cells (n, d) and targets (m, d).
    k
        At most m.

    Returns
    -------
    ndarray
        Positions (n, k) of targets, in no particular order. Found in memory linear in the number of cells.
    """
    if k == len(y):
        return np.tile(np.arange(k), (len(x), 1))
    center = y.mean(axis=0)  # less is lost by rounding near the origin
    distance, found = _search(x - center, y - center, k + 1)
    found = found[:, :k].astype(np.intp)
    # as good as equally far: decided anew without rounding, so that neither threads nor chunks play a part
    tied = np.flatnonzero(_undecided(x - center, distance))
    for start, stop in in_slices(tied.size, len(y), BLOCK_VALUES):
        rows = tied[start:stop]
        found[rows] = _first_smallest(cdist(x[rows], y, "sqeuclidean"), k)
    return found


def nearest_with_self(x: Float64Array, k: int) -> IntArray:
    """Return the k nearest of each cell, (n, k), itself among them even if k others are at the same place."""
    found = nearest(x, x, k)
    own = np.arange(len(x))
    crowded = ~(found == own[:, None]).any(axis=1)
    found[crowded, -1] = own[crowded]
    return found


def _search(x: Float64Array, y: Float64Array, k: int) -> tuple[Float64Array, IntArray]:
    """Return distances and positions (n, k) of the nearest, ascending, up to the rounding of scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    algorithm = "kd_tree" if y.shape[1] <= TREE_DIMENSIONS else "brute"
    distance, found = NearestNeighbors(n_neighbors=k, algorithm=algorithm).fit(y).kneighbors(x)
    return distance, found


def _undecided(x: Float64Array, distance: Float64Array) -> BoolArray:
    """Whether rounding may have mistaken a neighbor, given distances to the k nearest and the one after."""
    last, after = distance[:, -2], distance[:, -1]
    scale = (
        np.linalg.norm(x, axis=1) + after
    ) ** 2  # of the squares that the squared distances are computed from
    return np.asarray(after**2 - last**2 <= ROUNDING * scale)


def _first_smallest(values: Float64Array, k: int) -> IntArray:
    """Return the positions of the k smallest values of each row, (n, k); of equals, the first."""
    limit = np.partition(values, k - 1, axis=1)[:, k - 1, None]
    less, equal = values < limit, values == limit
    wanted = k - less.sum(axis=1, keepdims=True)
    chosen = less | (equal & (np.cumsum(equal, axis=1) <= wanted))
    return np.nonzero(chosen)[1].reshape(len(values), k)


def _graph(found: IntArray, n_columns: int) -> sp.csr_matrix:
    """Return neighbors as a matrix of ones, int32 (n, n_columns)."""
    n, k = found.shape
    ones = np.ones(n * k, dtype=np.int32)
    return sp.csr_matrix((ones, found.ravel(), np.arange(0, n * k + 1, k)), (n, n_columns))


def _entries(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.ones(rows.size), (rows, columns)), shape)


def _space(task: Task) -> tuple[Float64Array, Float64Array]:
    """Return the cells where Euclidean neighbors are those of the cost."""
    pair = task.cost
    assert isinstance(pair, PairCost)
    if pair.kind == "cosine":
        return unit_rows(pair.x, "source"), unit_rows(pair.y, "target")
    return pair.x, pair.y


def _n_shared(block: Block, k: int) -> int:
    """Return about the largest number of pairs of cells that share a neighbor."""
    n, m = block.rows.size, block.columns.size
    return min(n * m, n * min(k, m) ** 2 + m * min(k, n) ** 2)


def _search_bytes(block: Block, k: int, width: int) -> int:
    """Return the memory of the neighbors of a block, and of what they are found in."""
    n, m = block.rows.size, block.columns.size
    return (n + m) * (32 * (min(k, max(n, m)) + 1) + 32 * width)


# --------------------------------------------------------------------------------------------------------- scaling


def scale_rows(plan: sp.csr_matrix, a: Float64Array) -> sp.csr_matrix:
    """Return the plan (n, m) with rows of mass a, (n,); empty rows stay empty."""
    scale = _ratio(a, np.asarray(plan.sum(axis=1)).ravel())
    data = np.repeat(scale, np.diff(plan.indptr))
    data *= plan.data
    return sp.csr_matrix((data, plan.indices, plan.indptr), plan.shape)


def proportional_fit(
    plan: sp.csr_matrix, a: Float64Array, b: Float64Array, tol: float, max_iter: int
) -> tuple[sp.csr_matrix, int, bool]:
    """Scale columns to b and rows to a in turn, on the entries that there are.

    If they admit both marginals, that is the coupling of least KL divergence from the plan. If they do not, the rows are
    met, and the columns as far as possible.

    Parameters
    ----------
    plan
        (n, m), with rows of mass a.
    a, b
        Masses (n,) and (m,).
    tol
        Stop when a turn moves less than this share of the mass.
    max_iter
        Largest number of turns.

    Returns
    -------
    plan
        (n, m), rows of mass a.
    turns
        How many were taken.
    settled
        Whether it stopped by ``tol``.

    References
    ----------
    Deming and Stephan 1940; Csiszár 1975 (the limit); Gietl and Reffel 2013 (without one).
    """
    rows, columns, values = (
        np.repeat(np.arange(a.size), np.diff(plan.indptr)),
        plan.indices,
        plan.data,
    )
    turns, moved = 0, np.inf
    while turns < max_iter and moved > tol * a.sum():
        scaled = values * _ratio(b, _sums(columns, values, b.size))[columns]
        scaled *= _ratio(a, _sums(rows, scaled, a.size))[rows]
        moved = float(np.abs(scaled - values).sum())
        values, turns = scaled, turns + 1
    return sp.csr_matrix((values, columns, plan.indptr), plan.shape), turns, moved <= tol * a.sum()


def _sums(cells: IntArray, values: Float64Array, n: int) -> Float64Array:
    return np.bincount(cells, values, n).astype(np.float64, copy=False)


def _ratio(wanted: Float64Array, found: Float64Array) -> Float64Array:
    """Return ``wanted / found``, 0 where nothing is found."""
    return np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0)


def _judged(plan: sp.csr_matrix, a: Float64Array, b: Float64Array, **known: Any) -> Matched:
    """Return the plan with its marginal errors."""
    row_error, column_error = marginal_errors(plan, a, b)
    return Matched(plan=plan, row_error=row_error, column_error=column_error, **known)


# ------------------------------------------------------------------------------------------- floor, chance and truth


@dataclass(frozen=True, kw_only=True)
class YardstickAligner(BaseAligner):
    """Couple cells without a look at their representations, of which only the numbers of cells are used."""

    shared_space: ClassVar[bool] = False
    bytes_per_cell: ClassVar[int]

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        return False  # nothing is solved, so nothing can fail

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the memory of the plans, in GB: linear in the number of cells."""
        return self.bytes_per_cell * (len(x) + len(y)) / 1e9


@ALIGNERS.register("random")
@dataclass(frozen=True, kw_only=True)
class RandomMatching(YardstickAligner):
    """A random coupling: both sides in random order, then filled by the north-west corner rule.

    The floor: what a matcher gets that knows the labels and nothing else. The marginals are met, by at most n + m - 1
    entries a block, so it is as sparse as an exact coupling.

    Parameters
    ----------
    seed
        Of the orders.
    label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Peyré and Cuturi 2019, "Computational Optimal Transport", section 3.4.2 (the north-west corner rule).
    """

    name: ClassVar[str] = "random"
    bytes_per_cell: ClassVar[int] = 100

    seed: int = 0

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> Solution:
        rng = np.random.default_rng(self.seed).spawn(len(parts.blocks))
        plans = (
            random_plan(block.a, block.b, own) for block, own in zip(parts.blocks, rng, strict=True)
        )
        return Solution(
            [
                _judged(plan, block.a, block.b)
                for plan, block in zip(plans, parts.blocks, strict=True)
            ]
        )


@ALIGNERS.register("uniform")
@dataclass(frozen=True, kw_only=True)
class UniformCoupling(YardstickAligner):
    """The uniform coupling: ``T = a b' / mass`` in each block, everyone with everyone.

    Chance: what the labels alone say, and the limit of entropic transport for large eps. Kept as a plan of rank 1, so that
    it takes no more memory than the masses.

    Parameters
    ----------
    label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Cuturi 2013, arXiv 1306.0895 (the independence table); user guide, "Alignment".
    """

    name: ClassVar[str] = "uniform"
    bytes_per_cell: ClassVar[int] = 24

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> Solution:
        return Solution([self._solve(block) for block in parts.blocks])

    def _solve(self, block: Block) -> Solved:
        plan = LowRankPlan(block.a[:, None], block.b[:, None], np.array([block.mass]))
        return Solved(
            plan=plan,
            row_error=float(np.abs(row_sums(plan) - block.a).sum()),
            column_error=float(np.abs(column_sums(plan) - block.b).sum()),
        )


@ALIGNERS.register("oracle")
@dataclass(frozen=True, kw_only=True)
class OracleMatching(YardstickAligner):
    """The truth, for benchmarks: T_ij = a_i if source cell i and target cell j are the same measured unit.

    Cells without a partner in their block have no mass: those measured once, those whose partner is unknown, and with
    labels those whose partner has another label. The evidence counts the pairs (``n_pairs``) and the source cells without
    one (``n_source_unmatched``).

    Parameters
    ----------
    pairs_x, pairs_y
        Identifier of the measured unit of each source (n_source,) and target cell (n_target,), unique within each; None and
        NaN mean unknown. They are compared by name, as labels are.
    label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    Raises
    ------
    ValueError
        If identifiers are used twice on one side, or have nothing in common; on alignment, if they are missing, there is
        not one a cell, or no pair lies in a block.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> import numpy as np
    >>> oracle = OracleMatching(pairs_x=["u1", "u2"], pairs_y=["u2", "u1"])
    >>> oracle.align(np.zeros((2, 1)), np.zeros((2, 1))).to_dense()
    array([[0. , 0.5],
           [0.5, 0. ]])
    """

    name: ClassVar[str] = "oracle"
    bytes_per_cell: ClassVar[int] = 200

    pairs_x: Labels | None = field(default=None, repr=False)
    pairs_y: Labels | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse identifiers that cannot be used."""
        super().__post_init__()
        for option in ("pairs_x", "pairs_y"):
            if getattr(self, option) is not None:
                # tuples, because a frozen dataclass is compared and hashed by its fields
                object.__setattr__(self, option, _identifiers(option, getattr(self, option)))
        if self.pairs_x is not None and self.pairs_y is not None:
            _check_common(*self._known())

    def _known(self) -> tuple[list[str], list[IntArray]]:
        return encode(self.pairs_x or (), self.pairs_y or ())

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> Solution:
        for option in ("pairs_x", "pairs_y"):
            if getattr(self, option) is None:
                raise InputError(_missing_pairs(option))
        names, codes = self._known()
        for option, own, expected in zip(("pairs_x", "pairs_y"), codes, parts.shape, strict=True):
            _check_number(option, own.size, expected)
        partner = _partners(len(names), *codes)
        blocks = [self._solve(block, partner) for block in parts.blocks]
        n_unmatched = sum(solved.n_unmatched for solved in blocks)
        n_pairs = parts.n_used[0] - n_unmatched
        if n_pairs == 0:
            raise InputError(_no_pair_in_a_block(parts, int((partner >= 0).sum())))
        return Solution(blocks, {"n_pairs": n_pairs, "n_source_unmatched": n_unmatched})

    def _solve(self, block: Block, partner: IntArray) -> Matched:
        wanted = partner[block.rows]
        place = np.minimum(np.searchsorted(block.columns, wanted), block.columns.size - 1)
        paired = np.flatnonzero(block.columns[place] == wanted)
        plan = _entries(paired, place[paired], (block.rows.size, block.columns.size))
        return _judged(
            scale_rows(plan, block.a), block.a, block.b, n_unmatched=block.rows.size - paired.size
        )


def random_plan(a: Float64Array, b: Float64Array, rng: np.random.Generator) -> sp.csr_matrix:
    """Return a random coupling of masses a (n,) and b (m,) of equal sum, with at most n + m - 1 entries, (n, m)."""
    rows, columns = rng.permutation(a.size), rng.permutation(b.size)
    i, j, mass = north_west_corner(a[rows], b[columns])
    plan = sp.csr_matrix((mass, (rows[i], columns[j])), (a.size, b.size))
    return scale_rows(plan, a)  # rounding of the cumulative masses


def north_west_corner(a: Float64Array, b: Float64Array) -> tuple[IntArray, IntArray, Float64Array]:
    """Fill a coupling in the order of the cells, as two rulers of marks laid side by side.

    Row i covers ``[sum a_<i, sum a_<=i)`` of a line, column j likewise; their mass is what both cover.

    Parameters
    ----------
    a, b
        Masses (n,) and (m,), positive and of equal sum.

    Returns
    -------
    rows, columns, mass
        Its entries, at most n + m - 1.

    References
    ----------
    Peyré and Cuturi 2019, "Computational Optimal Transport", section 3.4.2.
    """
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    ends = np.sort(np.concatenate([ends_a, ends_b]))[:-1]
    starts = np.concatenate([[0.0], ends[:-1]])
    rows, columns = (
        np.minimum(np.searchsorted(own, starts, side="right"), own.size - 1)
        for own in (ends_a, ends_b)
    )
    mass = ends - starts
    kept = mass > 1e-9 * np.minimum(a[rows], b[columns])  # marks that differ by rounding only
    return rows[kept], columns[kept], mass[kept]


# -------------------------------------------------------------------------------------------- identifiers of units


def _missing_pairs(option: str) -> str:
    return (
        f"method 'oracle' needs to know which cells are the same measured unit, but {option} is missing. Pass "
        f"OracleMatching(pairs_x=..., pairs_y=...): an identifier for each source and target cell, equal for cells of "
        f"one unit and None where unknown. For scgroove.tl.align: method='oracle' and pair_key=."
    )


def _identifiers(option: str, given: Labels) -> tuple[str | None, ...]:
    """Return identifiers by name, None where unknown."""
    if np.ndim(given) != 1:
        raise InputError(
            f"{option} must hold one identifier a cell, an array of shape (n,); found shape {np.shape(given)}."
        )
    values = as_objects(given)
    names = tuple(
        None if unknown else label_name(value)
        for value, unknown in zip(values, pd.isna(values), strict=True)
    )
    _check_unique(option, names)
    return names


def _check_unique(option: str, names: Sequence[str | None]) -> None:
    found = pd.Series([name for name in names if name is not None], dtype=object)
    twice = found[found.duplicated()].unique()
    if twice.size:
        cells = [position for position, name in enumerate(names) if name == twice[0]]
        raise InputError(
            f"{option} must name each measured unit once; found {twice[0]!r} for {len(cells)} cells, first for "
            f"cells {cells[0]} and {cells[1]}, and {twice.size} such identifiers in all. Cells of one unit in one modality "
            f"cannot be told apart: give them identifiers of their own, or None."
        )


def _check_common(names: Sequence[str], codes: Sequence[IntArray]) -> None:
    own_x, own_y = ({int(code) for code in own if code >= 0} for own in codes)
    if own_x & own_y:
        return
    shown = [_examples([names[code] for code in sorted(own)]) for own in (own_x, own_y)]
    raise InputError(
        f"pairs_x and pairs_y have no identifier in common, so no pair of cells is known: source has {shown[0]}, target has "
        f"{shown[1]}. Are they identifiers of the same units, spelled alike in both modalities?"
    )


def _check_number(option: str, found: int, expected: int) -> None:
    if found != expected:
        side, array = ("source", "x") if option == "pairs_x" else ("target", "y")
        raise InputError(
            f"{option} must hold one identifier a {side} cell, in the order of {array}: expected {expected}, found {found}."
        )


def _partners(n_units: int, codes_x: IntArray, codes_y: IntArray) -> IntArray:
    """Return the target cell of the unit of each source cell, -1 for none."""
    cell = np.full(n_units + 1, -1, dtype=np.intp)  # the last is for unknown units, of code -1
    cell[codes_y] = np.arange(codes_y.size)
    cell[-1] = -1
    return cell[codes_x]


def _no_pair_in_a_block(parts: Partition, n_pairs: int) -> str:
    reason = (
        "their cells have different labels, no label, or" if parts.labeled else "their cells have"
    )
    advice = (
        "Check the labels, or align without them (labeled=False)."
        if parts.labeled
        else "Check the weights."
    )
    return f"none of the {n_pairs} known pairs can be coupled: {reason} weight 0. {advice}"


def _examples(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return ", ".join(map(repr, names[:3])) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )

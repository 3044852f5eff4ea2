"""Matchers by neighbors. They solve no transport problem.

Rows have the masses a, unless a cell has no partner. Columns have the masses b only by luck. The
evidence says how far off they are, and no warning is given for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.aligners._blocks import Block, Partition
from scgroove.aligners._linear import LinearAligner
from scgroove.aligners._plans import row_sums, scaled
from scgroove.aligners._problem import Problem, Solved, with_errors
from scgroove.aligners.base import ALIGNERS, Evidence
from scgroove.aligners.costs import Cost, PairCost, in_slices
from scgroove.errors import InputError, TooLargeError

ENTRY_BYTES: Final = 24
"""Memory of the work on a match of ``snn``: its slice and its place in the plan."""

TREE_DIMENSIONS: Final = 6
"""Dimensions up to which a k-d tree is faster than a comparison of all pairs."""

ROUNDING: Final = 1e-12
"""Relative difference of squared distances below which scikit-learn's may be in wrong order."""


@dataclass(frozen=True, kw_only=True)
class NeighborAligner(LinearAligner):
    """Match cells by who is near whom, every label a problem of its own."""

    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy", "scikit-learn")

    k: int = 15
    cost: Cost = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise InputError(
                f"k, the number of neighbors of a cell, must be a positive integer; found "
                f"{self.k!r}. 15 is usual, and a label with fewer cells uses all of them."
            )

    def _solve_blocks(self, problems: Sequence[Problem]) -> list[Solved]:
        return [self._solve(problem) for problem in problems]

    @abstractmethod
    def _solve(self, problem: Problem) -> Solved:
        """Match the cells of a block."""

    def _is_bad(self, solved: Solved, error: float) -> bool:
        return not solved.converged  # neighbors promise no column marginals

    def _memory_advice(self) -> list[str]:
        return [f"ask for fewer neighbors (k, now {self.k})"] if self.k > 1 else []

    def _extra_bytes(self, block: Block) -> int:
        """Return the memory of the work on a block beside the search and the plan."""
        return 0

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: all matches, and the search."""
        width, kept, work = x.shape[1], 0, 0
        for block in parts.blocks:
            n, m = block.rows.size, block.columns.size
            search = (n + m) * (32 * (min(self.k, max(n, m)) + 1) + 32 * width)
            kept += self._kept_bytes(block, width)
            work = max(work, search + self._extra_bytes(block))
        return (work + kept) / 1e9


@ALIGNERS.register("snn")
@dataclass(frozen=True, kw_only=True)
class SharedNearestNeighbors(NeighborAligner):
    """Shared nearest neighbors: ``T_ij ~ J_ij / (4k - J_ij)``, similarity of neighborhoods.

    ``J = A B' + D C'`` counts the cells that are neighbors of both i and j. The k nearest neighbors
    are: in A (n x m) targets of sources, in B (m x m) targets of targets, in C (m x n) sources of
    targets, in D (n x n) sources of sources. A cell is its own neighbor. Rows are scaled to the
    masses a, and none is empty. With k = 1, mutual nearest neighbors weigh 1 and one-sided ones 1/3
    before the rows are scaled.

    Parameters
    ----------
    k
        Neighbors of a cell, itself included. All cells of the block where it has fewer: ``4k`` is
        then ``2 min(k, n) + 2 min(k, m)``. Xi et al. 2024 use 1.
    cost
        ``"cosine"``: nearest by angle, or ``"sqeuclidean"``.
    n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Jarvis and Patrick 1973. Xi et al. 2024, arXiv 2404.01595. Lance et al. 2022.
    """

    name: ClassVar[str] = "snn"

    def _solve(self, problem: Problem) -> Solved:
        assert isinstance(problem.cost, PairCost)
        space = problem.cost.in_euclidean_space()
        weights = shared_neighbors(*space, self.k, self.max_memory_gb * 1e9 // ENTRY_BYTES)
        if weights is None:
            n, m = problem.cost.shape
            advice = ", ".join([*self._memory_advice(), "align a sample of the cells"])
            raise TooLargeError(
                f"method 'snn' needs more than max_memory_gb={self.max_memory_gb:g}: among {n} x "
                f"{m} cells, more pairs share a neighbor than usual, because a few cells are "
                f"neighbors of very many, as equal cells are. To go on, leave out cells of equal "
                f"representation, use another representation, {advice}, or raise max_memory_gb if "
                f"the machine has the memory."
            )
        return with_errors(with_rows(weights, problem.a), problem.a, problem.b)

    def _n_shared(self, block: Block) -> int:
        """Return about the largest number of pairs of cells that share a neighbor."""
        n, m = block.rows.size, block.columns.size
        return min(n * m, n * min(self.k, m) ** 2 + m * min(self.k, n) ** 2)

    def _kept_bytes(self, block: Block, width: int) -> int:
        return 12 * self._n_shared(block)

    def _extra_bytes(self, block: Block) -> int:
        return (ENTRY_BYTES - 12) * self._n_shared(block)


@ALIGNERS.register("nn")
@dataclass(frozen=True, kw_only=True)
class MutualNearestNeighbors(NeighborAligner):
    """Mutual nearest neighbors: i and j match if each is among the k nearest of the other.

    All partners of a cell get the same mass, and rows sum to a. A source cell without a mutual
    neighbor is matched with the target nearest to it, and counted as ``n_source_unmatched``.

    Parameters
    ----------
    k
        Neighbors of a cell. All cells of the block where it has fewer.
    cost
        ``"cosine"``: nearest by angle, or ``"sqeuclidean"``.
    n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Haghverdi et al. 2018, Nature Biotechnology 36, 421.
    """

    name: ClassVar[str] = "nn"

    def _solve(self, problem: Problem) -> Solved:
        assert isinstance(problem.cost, PairCost)
        x, y = problem.cost.in_euclidean_space()
        plan = mutual_neighbors(x, y, self.k)
        alone = np.flatnonzero(np.diff(plan.indptr) == 0)
        if alone.size:
            plan = plan + entries(alone, nearest(x[alone], y, 1)[:, 0], plan.shape)
        plan = with_rows(plan, problem.a)
        return with_errors(plan, problem.a, problem.b, n_unmatched=alone.size)

    def _solver_evidence(self, solved: Sequence[Solved]) -> Evidence:
        return {"n_source_unmatched": sum(one.n_unmatched for one in solved)}

    def _kept_bytes(self, block: Block, width: int) -> int:
        return 12 * block.rows.size * min(self.k, block.columns.size)


def shared_neighbors(
    x: Float64Array, y: Float64Array, k: int, max_entries: float = np.inf
) -> sp.csr_matrix | None:
    """Jaccard similarity ``J_ij / (4k - J_ij)`` of neighborhoods, ``J = A B' + D C'``, (n, m).

    None if there are more than ``max_entries``: k bounds the neighbors of a cell, but not of how
    many cells it is one.
    """
    n, m, k_x, k_y = len(x), len(y), min(k, len(x)), min(k, len(y))
    a, b = _graph(nearest(x, y, k_y), m), _graph(nearest_with_self(y, k_y), m).T.tocsr()
    d, c = _graph(nearest_with_self(x, k_x), n), _graph(nearest(y, x, k_x), n).T.tocsr()
    pieces, taken, both = [], 0, 2 * (k_x + k_y)
    for start, stop in in_slices(n, m):
        shared = a[start:stop] @ b + d[start:stop] @ c
        taken += shared.nnz
        if taken > max_entries:
            return None
        weight = shared.data / (both - shared.data)
        pieces.append(sp.csr_matrix((weight, shared.indices, shared.indptr), shared.shape))
    return sp.csr_matrix(sp.vstack(pieces, format="csr"))


def mutual_neighbors(x: Float64Array, y: Float64Array, k: int) -> sp.csr_matrix:
    """Ones where i and j are among the k nearest of one another, (n, m). Rows may be empty."""
    forward = _graph(nearest(x, y, min(k, len(y))), len(y))
    backward = _graph(nearest(y, x, min(k, len(x))), len(x))
    return sp.csr_matrix(forward.multiply(backward.T), dtype=np.float64)


def nearest(x: Float64Array, y: Float64Array, k: int) -> IntArray:
    """Positions (n, k) of the k nearest of m targets by Euclidean distance. Of equals, the first.

    In no particular order, and in memory linear in the number of cells.
    """
    if k == len(y):
        return np.tile(np.arange(k), (len(x), 1))
    center = y.mean(axis=0)  # less is lost by rounding near the origin
    algorithm = "kd_tree" if y.shape[1] <= TREE_DIMENSIONS else "brute"
    search = NearestNeighbors(n_neighbors=k + 1, algorithm=algorithm).fit(y - center)
    distance, places = search.kneighbors(x - center)
    found: IntArray = places[:, :k].astype(np.intp)
    # as good as equally far: decided anew without rounding, so that neither threads nor chunks
    # play a part
    tied = np.flatnonzero(_undecided(x - center, distance))
    for start, stop in in_slices(tied.size, len(y)):
        rows = tied[start:stop]
        found[rows] = _first_smallest(cdist(x[rows], y, "sqeuclidean"), k)
    return found


def nearest_with_self(x: Float64Array, k: int) -> IntArray:
    """The k nearest of each cell, (n, k), itself among them even if k others are at its place."""
    found = nearest(x, x, k)
    own = np.arange(len(x))
    crowded = ~(found == own[:, None]).any(axis=1)
    found[crowded, -1] = own[crowded]
    return found


def _undecided(x: Float64Array, distance: Float64Array) -> BoolArray:
    """Whether rounding may have mistaken the last neighbor for the one after."""
    last, after = distance[:, -2], distance[:, -1]
    scale = (np.linalg.norm(x, axis=1) + after) ** 2  # of the squares that are subtracted
    return np.asarray(after**2 - last**2 <= ROUNDING * scale)


def _first_smallest(values: Float64Array, k: int) -> IntArray:
    """Positions of the k smallest values of each row, (n, k). Of equals, the first."""
    limit = np.partition(values, k - 1, axis=1)[:, k - 1, None]
    less, equal = values < limit, values == limit
    wanted = k - less.sum(axis=1, keepdims=True)
    chosen = less | (equal & (np.cumsum(equal, axis=1) <= wanted))
    return np.nonzero(chosen)[1].reshape(len(values), k)


def _graph(found: IntArray, n_columns: int) -> sp.csr_matrix:
    n, k = found.shape
    ones = np.ones(n * k, dtype=np.int32)
    return sp.csr_matrix((ones, found.ravel(), np.arange(0, n * k + 1, k)), (n, n_columns))


def entries(rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Matrix with ones at these places."""
    return sp.csr_matrix((np.ones(rows.size), (rows, columns)), shape)


def with_rows(plan: sp.csr_matrix, a: Float64Array) -> sp.csr_matrix:
    """Plan (n, m) with rows of mass a, (n,). Empty rows stay empty."""
    found = row_sums(plan)
    return scaled(plan, np.divide(a, found, out=np.zeros_like(a), where=found > 0))

"""Linear aligners: optimal transport between representations in one space, exact or entropic."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from scgroove._types import Float64Array, Labels, Scalar
from scgroove.aligners._base import ALIGNERS, ConvergenceWarning, TooLargeError, versions
from scgroove.aligners._blocks import Block, LabelWeights, Partition, partition
from scgroove.aligners._coupling import Coupling, CouplingBlock
from scgroove.aligners._epsilon import CostSummary, EpsilonScale, EpsilonScope, check_epsilon, cost_scale
from scgroove.aligners._sinkhorn import sinkhorn

Cost: TypeAlias = Literal["sqeuclidean", "cosine"]
COSTS: Final[tuple[str, ...]] = ("sqeuclidean", "cosine")

BAD_MARGINAL: Final = 1e-3
"""L1 error of the marginals, relative to the mass, above which a coupling is reported as bad."""


@dataclass(frozen=True)
class Solved:
    """The solution of one block and what the solver said about it.

    Attributes
    ----------
    plan
        Masses (n, m).
    converged
        Whether the solver reached its tolerance, or the optimum.
    transport_cost, objective
        <C, T>, and what was minimised.
    row_error, column_error
        L1 errors of the marginals.
    iterations
        Iterations taken, -1 where the solver does not say.
    epsilon, cost_scale
        Absolute eps, and the cost that it was relative to; 0 and 1 without entropy.
    """

    plan: Float64Array | sp.csr_matrix
    converged: bool
    transport_cost: float
    objective: float
    row_error: float
    column_error: float
    iterations: int = -1
    epsilon: float = 0.0
    cost_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LinearAligner(ABC):
    """Match cells by a cost between representations in one space; see the subclasses."""

    name: ClassVar[str]
    bytes_per_pair: ClassVar[int]
    kept_bytes_per_pair: ClassVar[int]

    cost: Cost = "sqeuclidean"
    label_weights: LabelWeights = "mean"
    max_memory_gb: float = 2.0

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if self.cost not in COSTS:
            raise ValueError(f"cost must be one of {', '.join(map(repr, COSTS))}; found {self.cost!r}.")
        if not self.max_memory_gb > 0:
            raise ValueError(f"max_memory_gb must be positive; found {self.max_memory_gb!r}.")

    def align(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        labels_x: Labels | None = None,
        labels_y: Labels | None = None,
    ) -> Coupling:
        """Couple source cells with target cells.

        Parameters
        ----------
        x, y
            Representations of the source (n_source, d) and target cells (n_target, d) in one space.
        labels_x, labels_y
            Label of each cell; None and NaN mean unlabelled. Given: mass stays within labels, and only cells
            with a label of both modalities take part. Both None: an unlabelled coupling of all cells.

        Returns
        -------
        Coupling
            Of mass 1, with its evidence.

        Raises
        ------
        ValueError
            If the representations or labels do not fit, hold NaN, or share no label.
        TooLargeError
            If more memory than ``max_memory_gb`` would be needed. Nothing has been taken then.

        Warns
        -----
        ConvergenceWarning
            If the marginals are off by more than 0.1 % of the mass, or the solver gave up.
        """
        started = time.perf_counter()
        x, y = check_representations(x, y)
        parts = partition(len(x), len(y), labels_x, labels_y, self.label_weights)
        self._check_memory(parts)
        scale = self._common_scale(parts, x, y)
        solved = [
            self._solve(pairwise_cost(x[block.rows], y[block.columns], self.cost), block, scale)
            for block in parts.blocks
        ]
        evidence = self._evidence(parts, solved, time.perf_counter() - started)
        self._warn(parts, solved)
        blocks = (
            CouplingBlock(block.label, block.rows, block.columns, solution.plan)
            for block, solution in zip(parts.blocks, solved, strict=True)
        )
        return Coupling(tuple(blocks), parts.shape, evidence)

    @abstractmethod
    def _solve(self, cost: Float64Array, block: Block, scale: float | None) -> Solved:
        """Solve one block; ``scale`` is the cost that counts as 1, None to take it from ``cost``."""

    @abstractmethod
    def _advice(self) -> str:
        """Say which option to change if it did not converge."""

    def _common_scale(self, parts: Partition, x: Float64Array, y: Float64Array) -> float | None:
        """Return the cost that counts as 1 in all blocks alike, if there is such."""
        return None

    def estimate_memory(self, parts: Partition) -> float:
        """Return the largest memory needed at a time, in GB.

        The work on the largest block; and all plans, with their sparse form and a copy of it if nothing can be dropped.
        """
        pairs = [block.n_pairs for block in parts.blocks]
        return (self.kept_bytes_per_pair * sum(pairs) + self.bytes_per_pair * max(pairs)) / 1e9

    def _check_memory(self, parts: Partition) -> None:
        needed = self.estimate_memory(parts)
        if needed <= self.max_memory_gb:
            return
        largest = max(parts.blocks, key=lambda block: block.n_pairs)
        where = (
            f"the largest label, {largest.label!r}, has" if parts.labelled else "the unlabelled problem has"
        )
        advice = "" if parts.labelled else " align within labels (labelled=True),"
        raise TooLargeError(
            f"method {self.name!r} would need about {needed:.1f} GB, more than max_memory_gb={self.max_memory_gb:g}: "
            f"{where} {largest.rows.size} x {largest.columns.size} pairs of cells. To go on,{advice} align a sample "
            f"of the cells, or raise max_memory_gb if the machine has the memory."
        )

    def _evidence(
        self, parts: Partition, solved: Sequence[Solved], seconds: float
    ) -> dict[str, Scalar | npt.NDArray[Any]]:
        mass = np.array([block.mass for block in parts.blocks])
        return {
            "method": self.name,
            **asdict(self),
            **_cells(parts),
            "label_mass": mass,
            "row_error": float(sum(s.row_error for s in solved)),
            "column_error": float(sum(s.column_error for s in solved)),
            "row_error_per_label": np.array([s.row_error for s in solved]) / mass,
            "column_error_per_label": np.array([s.column_error for s in solved]) / mass,
            "converged": all(s.converged for s in solved),
            "converged_per_label": np.array([s.converged for s in solved]),
            "transport_cost": float(sum(s.transport_cost for s in solved)),
            "objective": float(sum(s.objective for s in solved)),
            **self._solver_evidence(solved),
            "seconds": seconds,
            **versions("scgroove", "numpy", "scipy", "pot"),
        }

    def _solver_evidence(self, solved: Sequence[Solved]) -> dict[str, Scalar | npt.NDArray[Any]]:
        """Return what only this kind of solver has to say."""
        return {}

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        """Whether the user must be warned of a block."""
        return (solved.row_error + solved.column_error) / mass > BAD_MARGINAL

    def _warn(self, parts: Partition, solved: Sequence[Solved]) -> None:
        bad = []
        for block, s in zip(parts.blocks, solved, strict=True):
            if self._is_bad(s, block.mass):
                name = f"label {block.label!r}" if parts.labelled else "all cells"
                bad.append(f"{name} (marginal error {(s.row_error + s.column_error) / block.mass:.1e})")
        if bad:
            shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
            warnings.warn(
                f"method {self.name!r} did not converge for {len(bad)} of {len(solved)} blocks: {shown}. "
                f"Errors are relative to the mass; above {BAD_MARGINAL:g} a coupling should not be trusted. "
                f"{self._advice()}",
                ConvergenceWarning,
                stacklevel=3,
            )


@ALIGNERS.register("eot")
@dataclass(frozen=True, kw_only=True)
class EntropicOT(LinearAligner):
    """Entropic optimal transport: ``min <C, T> - eps H(T)`` subject to the marginals.

    H(T) = -sum_ij T_ij (log T_ij - 1).

    With labels, every label is a problem of its own. Uniform masses inside a problem.

    Parameters
    ----------
    epsilon
        eps, relative to the mean (or largest) cost. Small: each cell matches few; large: everyone matches everyone.
    epsilon_scale
        ``"mean"`` or ``"max"``: the cost that eps is relative to.
    epsilon_scope
        ``"block"``: eps is relative to the costs of each label, so labels are alike sharp. ``"global"``: relative to
        the costs within all labels, so the absolute eps is the same for all.
    tol
        Stop when the L1 error of the column marginals, relative to the mass, is below this.
    max_iter
        Largest number of Sinkhorn iterations of a label.
    cost
        ``"sqeuclidean"`` (default) or ``"cosine"`` (1 - cosine similarity).
    label_weights
        Mass of a label: ``"mean"`` of its shares of the source and target cells, ``"source"``, ``"target"`` or
        ``"equal"``.
    max_memory_gb
        Refuse, before taking any, to use more memory than this.

    References
    ----------
    Cuturi 2013, arXiv 1306.0895; user guide, "Alignment".
    """

    name: ClassVar[str] = "eot"
    bytes_per_pair: ClassVar[int] = 16
    kept_bytes_per_pair: ClassVar[int] = 24

    epsilon: float = 0.05
    epsilon_scale: EpsilonScale = "mean"
    epsilon_scope: EpsilonScope = "block"
    tol: float = 1e-5
    max_iter: int = 10000

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        check_epsilon(self.epsilon, self.epsilon_scale, self.epsilon_scope)
        if not self.tol > 0 or not self.max_iter >= 1:
            raise ValueError(
                f"tol must be positive and max_iter at least 1; found {self.tol!r} and {self.max_iter!r}."
            )

    def _common_scale(self, parts: Partition, x: Float64Array, y: Float64Array) -> float | None:
        if self.epsilon_scope == "block":
            return None
        costs = (pairwise_cost(x[block.rows], y[block.columns], self.cost) for block in parts.blocks)
        return cost_scale(map(CostSummary.of, costs), self.epsilon_scale)

    def _solve(self, cost: Float64Array, block: Block, scale: float | None) -> Solved:
        if scale is None:
            scale = cost_scale([CostSummary.of(cost)], self.epsilon_scale)
        epsilon = self.epsilon * scale
        a, b = block.a, block.b
        result = sinkhorn(cost, a, b, epsilon, tol=self.tol, max_iter=self.max_iter)
        plan = result.plan
        transport_cost = float(np.vdot(cost, plan))
        # cost is no longer needed: reuse its memory for T log T
        np.log(plan, out=cost, where=plan > 0)
        negative_entropy = float(np.vdot(plan, cost)) - float(plan.sum())
        return Solved(
            plan=plan,
            iterations=result.iterations,
            converged=result.converged,
            transport_cost=transport_cost,
            objective=transport_cost + epsilon * negative_entropy,
            row_error=float(np.abs(plan.sum(axis=1) - a).sum()),
            column_error=float(np.abs(plan.sum(axis=0) - b).sum()),
            epsilon=epsilon,
            cost_scale=scale,
        )

    def _solver_evidence(self, solved: Sequence[Solved]) -> dict[str, Scalar | npt.NDArray[Any]]:
        return {
            "epsilon_absolute": np.array([s.epsilon for s in solved]),
            "cost_scale": np.array([s.cost_scale for s in solved]),
            "iterations": np.array([s.iterations for s in solved], dtype=np.int64),
        }

    def _advice(self) -> str:
        return (
            f"Raise max_iter (now {self.max_iter}), or epsilon (now {self.epsilon:g} of the {self.epsilon_scale} "
            f"cost): a larger one converges faster and spreads the mass wider."
        )


@ALIGNERS.register("emd")
@dataclass(frozen=True, kw_only=True)
class ExactOT(LinearAligner):
    """Exact optimal transport: ``min <C, T>`` subject to the marginals, by network simplex.

    With labels, every label is a problem of its own. A plan of n x m cells has at most n + m - 1 entries, and is
    kept as CSR.

    Parameters
    ----------
    max_iter
        Largest number of simplex iterations of a label.
    cost, label_weights, max_memory_gb
        As for :class:`EntropicOT`.

    References
    ----------
    Bonneel et al. 2011, "Displacement interpolation using Lagrangian mass transport" (the solver, in POT);
    User guide, "Alignment".
    """

    name: ClassVar[str] = "emd"
    bytes_per_pair: ClassVar[int] = 160
    kept_bytes_per_pair: ClassVar[int] = 0

    max_iter: int = 10_000_000

    def _solve(self, cost: Float64Array, block: Block, scale: float | None) -> Solved:
        import ot

        a, b = block.a, block.b
        with warnings.catch_warnings():  # POT warns of what is reported as evidence here
            warnings.simplefilter("ignore")
            plan, log = ot.emd(a, b * (a.sum() / b.sum()), cost, numItermax=self.max_iter, log=True)
        transport_cost = float(np.vdot(cost, plan))
        return Solved(
            plan=sp.csr_matrix(plan),
            converged=log["warning"] is None,
            transport_cost=transport_cost,
            objective=transport_cost,
            row_error=float(np.abs(plan.sum(axis=1) - a).sum()),
            column_error=float(np.abs(plan.sum(axis=0) - b).sum()),
        )

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        return not solved.converged or super()._is_bad(solved, mass)

    def _advice(self) -> str:
        return f"Raise max_iter (now {self.max_iter}), or use method='eot'."


def check_representations(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return two representations as float64 matrices of one width.

    Raises
    ------
    ValueError
        If they are not matrices, hold NaN or infinite values, or have different widths.
    """
    arrays = []
    for name, given in (("x", x), ("y", y)):
        array = np.asarray(given, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] == 0:
            raise ValueError(f"{name} must be a matrix (n cells, d dimensions); found shape {array.shape}.")
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} holds NaN or infinite values in {int(bad.sum())} of {bad.size} cells, first in cell "
                f"{int(bad.argmax())}. Leave those cells out, or compute the representation again."
            )
        arrays.append(array)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise ValueError(
            f"a linear alignment needs both modalities in one space: found {arrays[0].shape[1]} dimensions in the "
            f"source and {arrays[1].shape[1]} in the target. Use a shared representation."
        )
    return arrays[0], arrays[1]


def pairwise_cost(x: Float64Array, y: Float64Array, cost: Cost = "sqeuclidean") -> Float64Array:
    """Return the costs between all cells, float64 (n, m): squared Euclidean, or 1 - cosine similarity.

    Raises
    ------
    ValueError
        If the cost is ``"cosine"`` and a cell is at the origin.
    """
    if cost == "sqeuclidean":
        return np.asarray(cdist(x, y, "sqeuclidean"))
    lengths = [np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y)]
    for side, length in zip(("source", "target"), lengths, strict=True):
        if (length == 0).any():
            raise ValueError(
                f"cost='cosine' needs a direction: {int((length == 0).sum())} {side} cells are at the origin. "
                f"Leave them out, or use cost='sqeuclidean'."
            )
    half: Float64Array = cdist(x / lengths[0], y / lengths[1], "sqeuclidean")
    half *= 0.5
    return half


def _cells(parts: Partition) -> dict[str, Scalar | npt.NDArray[Any]]:
    n_source = np.array([block.rows.size for block in parts.blocks], dtype=np.int64)
    n_target = np.array([block.columns.size for block in parts.blocks], dtype=np.int64)
    return {
        "labelled": parts.labelled,
        "n_source": parts.shape[0],
        "n_target": parts.shape[1],
        "n_source_used": int(n_source.sum()),
        "n_target_used": int(n_target.sum()),
        "labels": np.array([block.label for block in parts.blocks], dtype=object),
        "n_source_per_label": n_source,
        "n_target_per_label": n_target,
        "labels_only_source": np.array(parts.only_source, dtype=object),
        "labels_only_target": np.array(parts.only_target, dtype=object),
        "n_source_unlabelled": parts.n_unlabelled[0],
        "n_target_unlabelled": parts.n_unlabelled[1],
    }

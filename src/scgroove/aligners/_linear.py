"""Optimal transport between representations in one space: exact, entropic or unbalanced."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners._blocks import Block, Partition
from scgroove.aligners._entropic import EntropicAligner, check_rank
from scgroove.aligners._epsilon import AUTO, cost_scale, noise_epsilon
from scgroove.aligners._plans import LowRankPlan, row_sums
from scgroove.aligners._problem import Problem, Solved, judged, with_errors
from scgroove.aligners.base import ALIGNERS, BaseAligner, Evidence
from scgroove.aligners.costs import BilinearCost, Cost, PairCost, SumCost, mean_pairwise_cost
from scgroove.aligners.jobs import check_jobs, run, work_at_a_time
from scgroove.errors import InputError

EXACT_RHO: Final = 1e9
"""Penalty of a marginal, relative to the cost, from which on it is met to rounding."""


@dataclass(frozen=True, kw_only=True)
class LinearAligner(BaseAligner):
    """Match cells by a cost between representations in one space, each label on its own."""

    bytes_per_pair: ClassVar[int]
    """Memory of the work on a block."""

    cost: Cost = "sqeuclidean"
    n_jobs: int | None = None

    def __post_init__(self) -> None:
        check_jobs(self.n_jobs)

    def _solve_all(
        self, parts: Partition, x: Float64Array, y: Float64Array
    ) -> tuple[list[Solved], Evidence]:
        problems = [
            Problem(PairCost(x[block.rows], y[block.columns], self.cost), block.a, block.b)
            for block in parts.blocks
        ]
        solve = partial(self._solve_blocks, **self._common(problems))
        return run(solve, problems, [block.n_pairs for block in parts.blocks], self.n_jobs), {}

    def _common(self, problems: Sequence[Problem]) -> dict[str, Any]:
        """Return what all blocks have in common, as arguments of :meth:`_solve_blocks`."""
        return {}

    @abstractmethod
    def _solve_blocks(self, problems: Sequence[Problem]) -> list[Solved]:
        """Solve some blocks: the job of one worker."""

    def _kept_bytes(self, block: Block, width: int) -> int:
        """Return the memory that the solution of a block keeps."""
        return 0

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: of work, and of what is kept."""
        at_work = work_at_a_time([block.n_pairs for block in parts.blocks], self.n_jobs)
        kept = sum(self._kept_bytes(block, x.shape[1]) for block in parts.blocks)
        return (self.bytes_per_pair * at_work + kept) / 1e9


@dataclass(frozen=True, kw_only=True)
class _EntropicLinear(EntropicAligner, LinearAligner):
    """Common part of ``eot`` and ``uot``."""

    bytes_per_pair: ClassVar[int] = 17  # costs, plan, and a mask

    def __post_init__(self) -> None:
        EntropicAligner.__post_init__(self)
        LinearAligner.__post_init__(self)

    def _common(self, problems: Sequence[Problem]) -> dict[str, Any]:
        auto = self.epsilon == AUTO
        return {"relative": noise_epsilon(problems) if auto else float(self.epsilon)}

    def _solve_entropic(
        self,
        problems: Sequence[Problem],
        scales: Sequence[float],
        judge: Callable[[Problem, Solved, float], Solved],
        **options: Any,
    ) -> list[Solved]:
        # map: the variables of a loop would keep the plan of a block while the next is solved
        return list(map(judge, problems, self._solve_problems(problems, **options), scales))

    def _kept_bytes(self, block: Block, width: int) -> int:
        return min(8 * block.n_pairs, 8 * block.n_cells * (width + 1))

    def _solver_evidence(self, solved: Sequence[Solved]) -> Evidence:
        relative = solved[0].epsilon / solved[0].cost_scale
        return {**super()._solver_evidence(solved), "epsilon_relative": relative}


@ALIGNERS.register("eot")
@dataclass(frozen=True, kw_only=True)
class EntropicOT(_EntropicLinear):
    """Entropic optimal transport: ``min <C, T> - eps H(T)`` subject to the marginals.

    H(T) = -sum_ij T_ij (log T_ij - 1). With labels, every label is a problem of its own.

    Parameters
    ----------
    epsilon
        eps, relative to the mean cost of each label, so that labels are alike sharp. Small: each
        cell matches few. Large: everyone matches everyone. ``"auto"``: the noise between matched
        cells, estimated by maximum likelihood (Rigollet and Weed 2018).
    tol
        Stop when the L1 error of the column marginals, relative to the mass, is below this.
    max_iter
        Largest number of Sinkhorn iterations of a label.
    rank
        None: the plan itself. A number, usually 10 to 100: a plan of this rank,
        ``T = Q diag(1/g) R'``, by ott-jax, in memory linear in the number of cells, for an
        unlabeled problem too large for a plan.
    seed
        Of the first factors, with ``rank``.
    backend
        ``"numpy"`` (our solver), ``"pot"`` (POT, for comparison: without annealing and slower),
        ``"jax"`` (ott-jax, many blocks at a time on the device that JAX has), or ``"auto"``: JAX if
        its device is not a CPU, else NumPy.
    cost
        ``"sqeuclidean"`` (default) or ``"cosine"`` (1 - cosine similarity).
    n_jobs
        Workers of joblib, -1 for all cores. None: one, or what ``joblib.parallel_config`` says, so
        that any of its backends can be used, a Dask cluster included.
    label_weights
        Mass of a label: ``"mean"`` of its shares of the source and target cells, ``"source"``,
        ``"target"`` or ``"equal"``.
    max_memory_gb
        Refuse, before taking any, to use more memory than this.
    strict
        Raise :class:`ConvergenceError` instead of warning about a bad solution.

    References
    ----------
    Cuturi 2013, arXiv 1306.0895. Scetbon, Cuturi and Peyré 2021, arXiv 2103.04737 (low rank).
    Rigollet and Weed 2018, arXiv 1809.05572 (``epsilon="auto"``).
    """

    name: ClassVar[str] = "eot"

    rank: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rank(self.rank)

    def _solve_blocks(self, problems: Sequence[Problem], relative: float = 0.05) -> list[Solved]:
        if self.rank is not None:
            return [self._low_rank(problem, relative) for problem in problems]
        scales = [cost_scale([problem.cost]) for problem in problems]
        given = [
            replace(problem, epsilon=relative * scale)
            for problem, scale in zip(problems, scales, strict=True)
        ]
        return self._solve_entropic(given, scales, judged)

    def _low_rank(self, problem: Problem, relative: float) -> Solved:
        from scgroove.aligners._ott import low_rank_sinkhorn

        cost = problem.cost
        assert isinstance(cost, PairCost)
        scale = cost_scale([cost])
        rank = min(int(self.rank or 1), *cost.shape)
        if rank == 1:
            solved = _product(problem, cost, relative * scale)
        else:
            solved = low_rank_sinkhorn(
                cost,
                problem.a,
                problem.b,
                epsilon=relative * scale,
                rank=rank,
                tol=self.tol,
                max_iter=self.max_iter,
                seed=self.seed,
            )
        return replace(solved, cost_scale=scale)

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB. With ``rank``, that of the factors."""
        if self.rank is None:
            return super().estimate_memory(parts, x, y)
        cells = max(block.n_cells for block in parts.blocks)
        return float(8.0 * cells * (12 * self.rank + 4 * x.shape[1]) / 1e9)

    def _memory_advice(self) -> list[str]:
        return ["ask for a plan of low rank (rank=50)"] if self.rank is None else []


@ALIGNERS.register("uot")
@dataclass(frozen=True, kw_only=True)
class UnbalancedOT(_EntropicLinear):
    """Unbalanced entropic optimal transport, for cells that have no counterpart.

    ``min <C, T> + eps KL(T | a b' / w) + rho_source KL(T1 | a) + rho_target KL(T'1 | b)``

    with KL(p | q) = sum_i p_i log(p_i / q_i) - p_i + q_i, and w the mass of the block. (-H(T)
    instead of the first KL would reward mass for being spread over many cells.) The marginal errors
    of the evidence say how much mass was moved, and are no fault of the solver.

    Parameters
    ----------
    rho_source, rho_target
        Penalties of the marginals, relative to the same cost as eps. Large: as ``eot``. ``inf``:
        that side is met exactly. Small: cells that are far from all others lose their mass.
    tol
        Stop when no potential changes by more than this, in units of eps, in an iteration.
    epsilon, max_iter, backend, cost, n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Chizat et al. 2018, arXiv 1607.05816. Séjourné, Vialard and Peyré 2022, arXiv 2201.00730.
    """

    name: ClassVar[str] = "uot"

    rho_source: float = 1.0
    rho_target: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("rho_source", "rho_target"):
            if not getattr(self, option) > 0:
                raise InputError(
                    f"{option} must be positive, relative to the mean cost, or inf "
                    f"for an exact marginal; found {getattr(self, option)!r}."
                )

    def _solve_blocks(self, problems: Sequence[Problem], relative: float = 0.05) -> list[Solved]:
        # in units of the cost of each block, the penalties are those of all
        scales = [cost_scale([problem.cost]) for problem in problems]
        given = [
            replace(problem, cost=tilted_cost(problem, relative, scale), epsilon=relative)
            for problem, scale in zip(problems, scales, strict=True)
        ]
        wanted = self.rho_source, self.rho_target
        rho: Any = tuple(one if one < EXACT_RHO else np.inf for one in wanted)
        return self._solve_entropic(given, scales, partial(judged_with_penalty, rho=rho), rho=rho)

    def _trouble(self, solved: Solved, mass: float) -> str | None:
        if solved.converged:
            return None
        return f"still changing after {solved.iterations} iterations"

    def _reading(self) -> str:
        return (
            f"The potentials changed by more than tol={self.tol:g}, in units of eps; marginals are "
            f"not to be met exactly."
        )

    def _solver_evidence(self, solved: Sequence[Solved]) -> Evidence:
        mass = float(sum(row_sums(one.plan).sum() for one in solved))
        return {**super()._solver_evidence(solved), "mass": mass}


@ALIGNERS.register("emd")
@dataclass(frozen=True, kw_only=True)
class ExactOT(LinearAligner):
    """Exact optimal transport: ``min <C, T>`` subject to the marginals, by network simplex.

    With labels, every label is a problem of its own. A plan of n x m cells has at most n + m - 1
    entries, and is kept as CSR.

    Parameters
    ----------
    max_iter
        Largest number of simplex iterations of a label.
    cost, n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Bonneel et al. 2011, "Displacement interpolation using Lagrangian mass transport" (in POT).
    """

    name: ClassVar[str] = "emd"
    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy", "pot")
    bytes_per_pair: ClassVar[int] = 160

    max_iter: int = 10_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_iter < 1:
            raise InputError(f"max_iter must be at least 1; found {self.max_iter!r}.")

    def _solve_blocks(self, problems: Sequence[Problem]) -> list[Solved]:
        return [solve_exactly(problem, self.max_iter) for problem in problems]

    def _is_bad(self, solved: Solved, error: float) -> bool:
        return not solved.converged or super()._is_bad(solved, error)

    def _advice(self) -> str:
        return f"Raise max_iter (now {self.max_iter}), or use method='eot'."


def solve_exactly(problem: Problem, max_iter: int) -> Solved:
    """Solve a problem without entropy by POT's network simplex. The plan is CSR.

    Costs are divided by the largest one: the simplex takes differences below about 1e-15 for none.
    """
    import ot

    cost, a, b = problem.cost.rows(), problem.a, problem.b
    size = float(np.abs(cost).max(initial=0.0)) or 1.0
    with warnings.catch_warnings():  # POT warns of what is reported as evidence here
        warnings.simplefilter("ignore")
        balanced = b * (a.sum() / b.sum())
        plan, log = ot.emd(a, balanced, cost / size, numItermax=max_iter, log=True)
    transport_cost = float(np.vdot(cost, plan))
    return with_errors(
        sp.csr_matrix(plan),
        a,
        b,
        converged=log["warning"] is None,
        transport_cost=transport_cost,
        objective=transport_cost,
    )


def _product(problem: Problem, cost: PairCost, epsilon: float) -> Solved:
    """The one plan of rank 1 that meets the marginals, ``a b' / mass``."""
    mass = float(problem.a.sum())
    factors = problem.a[:, None], problem.b[:, None], np.array([mass])
    mean = mean_pairwise_cost(cost.x, cost.y, cost.kind, problem.a, problem.b)
    entropies = sum(float(-(p * (np.log(p) - 1.0)).sum()) for p in factors)
    return with_errors(
        LowRankPlan(*factors),
        problem.a,
        problem.b,
        transport_cost=mass * mean,
        objective=mass * mean - epsilon * entropies,
        iterations=0,
        epsilon=epsilon,
    )


def judged_with_penalty(
    problem: Problem, solved: Solved, scale: float, rho: tuple[float, float]
) -> Solved:
    """Return a solution of tilted costs with its true cost, and its penalties in the objective.

    The costs, eps and penalties of the problem are in units of ``scale``.
    """
    plan, a, b, epsilon = np.asarray(solved.plan), problem.a, problem.b, problem.epsilon
    rows, columns, mass = plan.sum(axis=1), plan.sum(axis=0), float(a.sum())
    tilt = float(rows @ np.log(a) + columns @ np.log(b) - rows.sum() * np.log(mass))
    penalty = 0.0
    for weight, found, wanted in zip(rho, (rows, columns), (a, b), strict=True):
        if np.isfinite(weight):
            penalty += weight * kullback_leibler(found, wanted)
    solved = judged(problem, solved, scale)
    return replace(
        solved,
        transport_cost=scale * (solved.transport_cost + epsilon * tilt),
        objective=scale * (solved.objective + epsilon * mass + penalty),
        epsilon=scale * epsilon,
    )


def tilted_cost(problem: Problem, epsilon: float, scale: float) -> SumCost:
    """Costs ``C_ij / scale - eps log(a_i b_j / w)``, for an entropy ``KL(T | a b' / w)``."""
    r, c = -epsilon * np.log(problem.a / problem.a.sum()), -epsilon * np.log(problem.b)
    nothing = np.zeros((r.size, 0)), np.zeros((c.size, 0))
    return SumCost(problem.cost, BilinearCost(r, c, *nothing), weight_first=1.0 / scale)


def kullback_leibler(p: Float64Array, q: Float64Array) -> float:
    """Value of ``sum_i p_i log(p_i / q_i) - p_i + q_i`` for q > 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return float(p @ np.log(ratio) - p.sum() + q.sum())

"""Linear aligners: optimal transport between representations in one space, exact, entropic or unbalanced."""

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
from scgroove.aligners._entropic import EntropicAligner, Task, judged
from scgroove.aligners._epsilon import AUTO, EpsilonScope, pair_scale
from scgroove.aligners._low_rank import check_rank, low_rank_scale, plan_errors
from scgroove.aligners._noise import noise_epsilon
from scgroove.aligners._plans import LowRankPlan, row_sums
from scgroove.aligners._sinkhorn import Problem, Scaled
from scgroove.aligners.base import (
    ALIGNERS,
    BaseAligner,
    Evidence,
    Solution,
    Solved,
    marginal_errors,
)
from scgroove.aligners.costs import BilinearCost, Cost, PairCost, SumCost, mean_pairwise_cost
from scgroove.aligners.jobs import check_jobs, run, work_at_a_time
from scgroove.errors import InputError

EXACT_RHO: Final = 1e9
"""Penalty of a marginal, relative to the cost, from which on it is met to rounding."""


@dataclass(frozen=True, kw_only=True)
class LinearAligner(BaseAligner):
    """Match cells by a cost between representations in one space, every label a problem of its own; see the subclasses.

    Parameters
    ----------
    cost
        ``"sqeuclidean"`` (default) or ``"cosine"`` (1 - cosine similarity).
    n_jobs
        Blocks are solved by this many workers of joblib; None: one, or what ``joblib.parallel_config`` says, so that
        any of its backends can be used, a Dask cluster included; -1: one a core.
    """

    bytes_per_pair: ClassVar[int]
    """Memory of the work on a block."""

    cost: Cost = "sqeuclidean"
    n_jobs: int | None = None

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        check_jobs(self.n_jobs)

    def _solve_all(self, parts: Partition, x: Float64Array, y: Float64Array) -> Solution:
        tasks = self._tasks(parts, x, y)
        setting = self._setting(tasks)
        solve = partial(self._solve_blocks, **setting)
        blocks = run(solve, tasks, [block.n_pairs for block in parts.blocks], self.n_jobs)
        return Solution(blocks)

    def _tasks(self, parts: Partition, x: Float64Array, y: Float64Array) -> list[Task]:
        return [
            Task(PairCost(x[block.rows], y[block.columns], self.cost), block.a, block.b)
            for block in parts.blocks
        ]

    def _setting(self, tasks: Sequence[Task]) -> dict[str, Any]:
        """Return what all blocks have in common, as arguments of :meth:`_solve_blocks`."""
        return {}

    @abstractmethod
    def _solve_blocks(self, tasks: Sequence[Task]) -> list[Solved]:
        """Solve some blocks: the job of one worker."""

    def _kept_bytes(self, block: Block, width: int) -> int:
        """Return the memory that the solution of a block keeps."""
        return 0

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: the work on the largest blocks, and what is kept of all."""
        width = x.shape[1]
        at_work = work_at_a_time([block.n_pairs for block in parts.blocks], self.n_jobs)
        kept = sum(self._kept_bytes(block, width) for block in parts.blocks)
        return (self.bytes_per_pair * at_work + kept) / 1e9


@dataclass(frozen=True, kw_only=True)
class _EntropicLinear(EntropicAligner, LinearAligner):
    """What ``eot`` and ``uot`` share.

    Parameters
    ----------
    epsilon_scope
        ``"block"``: eps is relative to the costs of each label, so labels are alike sharp. ``"global"``: relative to
        the costs within all labels, so the absolute eps is the same for all.
    """

    bytes_per_pair: ClassVar[int] = 17  # costs, plan, and a mask

    epsilon_scope: EpsilonScope = "block"

    def _setting(self, tasks: Sequence[Task]) -> dict[str, Any]:
        common = None
        if self.epsilon_scope == "global":
            common = pair_scale(map(pairs_of, tasks), self.epsilon_scale)
        if self.epsilon == AUTO:
            return {"common": common, "relative": noise_epsilon(tasks, self.epsilon_scale, common)}
        return {"common": common, "relative": float(self.epsilon)}

    def _scales(self, tasks: Sequence[Task], common: float | None) -> list[float]:
        """Return the cost that eps is relative to, of each task."""
        if common is not None:
            return [common] * len(tasks)
        return [pair_scale([pairs_of(task)], self.epsilon_scale) for task in tasks]

    def _solve_entropic(
        self,
        tasks: Sequence[Task],
        scales: Sequence[float],
        finish: Callable[[Task, Problem, Scaled, float], Solved],
        **options: Any,
    ) -> list[Solved]:
        # map: the variables of a loop would keep costs and plan of a block while the next is solved
        solved = self._solve_tasks(tasks, **options)
        return list(
            map(
                lambda task, found, scale: finish(task, found[0], found[1], scale),
                tasks,
                solved,
                scales,
            )
        )

    def _kept_bytes(self, block: Block, width: int) -> int:
        cells = block.rows.size + block.columns.size
        return min(8 * block.n_pairs, 8 * cells * (width + 1))

    def _solver_evidence(self, solution: Solution) -> Evidence:
        found = super()._solver_evidence(solution)
        first = solution.blocks[0]
        return {**found, "epsilon_relative": first.epsilon / first.cost_scale}


@ALIGNERS.register("eot")
@dataclass(frozen=True, kw_only=True)
class EntropicOT(_EntropicLinear):
    """Entropic optimal transport: ``min <C, T> - eps H(T)`` subject to the marginals.

    H(T) = -sum_ij T_ij (log T_ij - 1).

    With labels, every label is a problem of its own, solved by a stabilized Sinkhorn iteration.

    Parameters
    ----------
    epsilon
        eps, relative to the mean (or largest) cost. Small: each cell matches few; large: everyone matches everyone.
        ``"auto"``: the noise between matched cells, estimated by maximum likelihood (Rigollet and Weed 2018).
    epsilon_scale
        ``"mean"`` or ``"max"``: the cost that eps is relative to.
    epsilon_scope
        ``"block"``: eps is relative to the costs of each label, so labels are alike sharp. ``"global"``: relative to
        the costs within all labels, so the absolute eps is the same for all.
    tol
        Stop when the L1 error of the column marginals, relative to the mass, is below this.
    max_iter
        Largest number of Sinkhorn iterations of a label.
    rank
        None: the plan itself. A number: a plan of this rank, ``T = Q diag(1/g) R'``, by ott-jax, in memory linear in the
        number of cells, for an unlabeled problem too large for a plan. 10 to 100 is usual.
    seed
        Of the first factors, with ``rank``.
    backend
        ``"numpy"`` (our solver, on the CPU), ``"pot"`` (that of POT, for comparison: without annealing and slower),
        ``"jax"`` (on the device that JAX has, many blocks at a time), or ``"auto"``: JAX if its device is not a CPU,
        else NumPy.
    cost
        ``"sqeuclidean"`` (default) or ``"cosine"`` (1 - cosine similarity).
    n_jobs
        Workers of joblib; None: one, or what ``joblib.parallel_config`` says.
    label_weights
        Mass of a label: ``"mean"`` of its shares of the source and target cells, ``"source"``, ``"target"`` or
        ``"equal"``.
    max_memory_gb
        Refuse, before taking any, to use more memory than this.
    strict
        Raise :class:`ConvergenceError` instead of warning about a bad solution.

    References
    ----------
    Cuturi 2013, arXiv 1306.0895; Scetbon, Cuturi and Peyré 2021, arXiv 2103.04737 (low rank); Rigollet and Weed 2018,
    arXiv 1809.05572 (``epsilon="auto"``); user guide, "Alignment".
    """

    name: ClassVar[str] = "eot"

    rank: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        check_rank(self.rank)
        if self.rank is not None and self.epsilon_scope != "block":
            raise InputError(
                "rank needs epsilon_scope='block': the costs of all pairs are never computed with it."
            )

    def _solve_blocks(
        self, tasks: Sequence[Task], common: float | None = None, relative: float = 0.05
    ) -> list[Solved]:
        if self.rank is not None:
            return [self._low_rank(task, relative) for task in tasks]
        scales = self._scales(tasks, common)
        given = [
            replace(task, epsilon=relative * scale)
            for task, scale in zip(tasks, scales, strict=True)
        ]
        return self._solve_entropic(given, scales, judged)

    def _low_rank(self, task: Task, relative: float) -> Solved:
        from scgroove.aligners._jax import low_rank_sinkhorn

        cost = pairs_of(task)
        scale = low_rank_scale(cost, self.epsilon_scale)
        rank = min(int(self.rank or 1), *cost.shape)
        if rank == 1:
            return _product(task, cost, relative * scale, scale)
        result = low_rank_sinkhorn(
            cost.x,
            cost.y,
            task.a,
            task.b,
            epsilon=relative * scale,
            cost=cost.kind,
            rank=rank,
            tol=self.tol,
            max_iter=self.max_iter,
            seed=self.seed,
        )
        plan = LowRankPlan(result.q, result.r, result.g)
        row_error, column_error = plan_errors(plan, task.a, task.b)
        return Solved(
            plan=plan,
            row_error=row_error,
            column_error=column_error,
            converged=result.converged,
            at_rest=result.converged,
            transport_cost=result.transport_cost,
            objective=result.objective,
            iterations=result.iterations,
            epsilon=relative * scale,
            cost_scale=scale,
        )

    def _solver_evidence(self, solution: Solution) -> Evidence:
        found = super()._solver_evidence(solution)
        return found if self.rank is None else {**found, "backend_used": "jax"}

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB; with ``rank``, that of the factors and their gradients."""
        if self.rank is None:
            return super().estimate_memory(parts, x, y)
        cells = max(block.rows.size + block.columns.size for block in parts.blocks)
        return float(8.0 * cells * (12 * self.rank + 4 * x.shape[1]) / 1e9)

    def _memory_advice(self) -> list[str]:
        return ["ask for a plan of low rank (rank=50)"] if self.rank is None else []


@ALIGNERS.register("uot")
@dataclass(frozen=True, kw_only=True)
class UnbalancedOT(_EntropicLinear):
    """Unbalanced entropic optimal transport, for cells that have no counterpart.

    ``min <C, T> + eps KL(T | a b' / w) + rho_source KL(T1 | a) + rho_target KL(T'1 | b)``

    with KL(p | q) = sum_i p_i log(p_i / q_i) - p_i + q_i, and w the mass of the block. Cells may get less mass, or more, than
    they were to have: the marginal errors of the evidence say how much mass was moved, and are no fault of the solver.

    For exact marginals, KL(T | a b' / w) differs from -H(T) by a constant. Here it does not: -H alone would reward mass for
    being spread over many cells, so that the mass of a coupling would grow with their number.

    Parameters
    ----------
    rho_source, rho_target
        Penalties of the marginals, relative to the same cost as eps. Large: as ``eot``; ``inf``: that side is met
        exactly; small: cells that are far from all others lose their mass.
    epsilon, epsilon_scale, epsilon_scope, max_iter, backend, cost, n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.
    tol
        Stop when no potential changes by more than this, in units of eps, in an iteration.

    References
    ----------
    Chizat et al. 2018, arXiv 1607.05816; Séjourné, Vialard and Peyré 2022, arXiv 2201.00730.
    """

    name: ClassVar[str] = "uot"

    rho_source: float = 1.0
    rho_target: float = 1.0

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        for option in ("rho_source", "rho_target"):
            if not getattr(self, option) > 0:
                raise InputError(
                    f"{option} must be positive, relative to the {self.epsilon_scale} cost, or inf for an exact marginal; "
                    f"found {getattr(self, option)!r}."
                )

    def _solve_blocks(
        self, tasks: Sequence[Task], common: float | None = None, relative: float = 0.05
    ) -> list[Solved]:
        # in units of the cost of each block, the penalties are those of all
        scales = self._scales(tasks, common)
        given = [
            replace(task, cost=tilted_cost(task, relative, scale), epsilon=relative)
            for task, scale in zip(tasks, scales, strict=True)
        ]
        rho = (_penalty(self.rho_source), _penalty(self.rho_target))
        return self._solve_entropic(given, scales, partial(judged_with_penalty, rho=rho), rho=rho)

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        return not solved.converged

    def _trouble(self, solved: Solved, mass: float) -> str:
        return f"still changing after {solved.iterations} iterations"

    def _reading(self) -> str:
        return f"The potentials changed by more than tol={self.tol:g}, in units of eps; marginals are not to be met exactly."

    def _solver_evidence(self, solution: Solution) -> Evidence:
        found = super()._solver_evidence(solution)
        return {**found, "mass": float(sum(row_sums(s.plan).sum() for s in solution.blocks))}


def _penalty(rho: float) -> float:
    return rho if rho < EXACT_RHO else np.inf


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
    cost, n_jobs, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Bonneel et al. 2011, "Displacement interpolation using Lagrangian mass transport" (the solver, in POT);
    User guide, "Alignment".
    """

    name: ClassVar[str] = "emd"
    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy", "pot")
    bytes_per_pair: ClassVar[int] = 160

    max_iter: int = 10_000_000

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        if self.max_iter < 1:
            raise InputError(f"max_iter must be at least 1; found {self.max_iter!r}.")

    def _solve_blocks(self, tasks: Sequence[Task]) -> list[Solved]:
        return [self._solve(task) for task in tasks]

    def _solve(self, task: Task) -> Solved:
        cost = task.cost.rows()
        plan, optimal = exact_plan(cost, task.a, task.b, self.max_iter)
        transport_cost = float(np.vdot(cost, plan))
        row_error, column_error = marginal_errors(plan, task.a, task.b)
        return Solved(
            plan=sp.csr_matrix(plan),
            converged=optimal,
            transport_cost=transport_cost,
            objective=transport_cost,
            row_error=row_error,
            column_error=column_error,
        )

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        return not solved.converged or super()._is_bad(solved, mass)

    def _advice(self) -> str:
        return f"Raise max_iter (now {self.max_iter}), or use method='eot'."


def _product(task: Task, cost: PairCost, epsilon: float, scale: float) -> Solved:
    """Return the one plan of rank 1 that meets the marginals, ``a b' / mass``; one cell leaves no other."""
    mass = float(task.a.sum())
    factors = task.a[:, None], task.b[:, None], np.array([mass])
    mean = mean_pairwise_cost(cost.x, cost.y, cost.kind, task.a, task.b)
    entropies = sum(float(-(p * (np.log(p) - 1.0)).sum()) for p in factors)
    return Solved(
        plan=LowRankPlan(*factors),
        row_error=0.0,
        column_error=float(np.abs(task.b * (mass / task.b.sum()) - task.b).sum()),
        transport_cost=mass * mean,
        objective=mass * mean - epsilon * entropies,
        iterations=0,
        epsilon=epsilon,
        cost_scale=scale,
    )


def exact_plan(
    cost: Float64Array, a: Float64Array, b: Float64Array, max_iter: int
) -> tuple[Float64Array, bool]:
    """Return the exact plan (n, m) by POT's network simplex, and whether it is optimal.

    Costs are divided by the largest one, since the simplex takes differences below about 1e-15 for none.
    """
    import ot

    size = float(np.abs(cost).max(initial=0.0))
    cost = cost / size if size > 0 else cost

    with warnings.catch_warnings():  # POT warns of what is reported as evidence here
        warnings.simplefilter("ignore")
        plan, log = ot.emd(a, b * (a.sum() / b.sum()), cost, numItermax=max_iter, log=True)
    return plan, log["warning"] is None


def judged_with_penalty(
    task: Task, problem: Problem, scaled: Scaled, cost_scale: float, rho: tuple[float, float]
) -> Solved:
    """Return a solution of tilted costs with its true cost, and with the penalties of its marginals in its objective.

    The costs, eps and penalties of the task are in units of ``cost_scale``.
    """
    solved = judged(task, problem, scaled, cost_scale)
    rows, columns = scaled.plan.sum(axis=1), scaled.plan.sum(axis=0)
    mass = float(task.a.sum())
    tilt = float(rows @ np.log(task.a) + columns @ np.log(task.b) - rows.sum() * np.log(mass))
    penalty = sum(
        weight * kullback_leibler(found, wanted)
        for weight, found, wanted in zip(rho, (rows, columns), (task.a, task.b), strict=True)
        if np.isfinite(weight)
    )
    return replace(
        solved,
        transport_cost=cost_scale * (solved.transport_cost + task.epsilon * tilt),
        objective=cost_scale * (solved.objective + task.epsilon * mass + penalty),
        epsilon=cost_scale * task.epsilon,
    )


def tilted_cost(task: Task, epsilon: float, scale: float) -> SumCost:
    """Return ``C_ij / scale - eps log(a_i b_j / w)``: so the entropy becomes ``KL(T | a b' / w)``, but for a constant."""
    r, c = -epsilon * np.log(task.a / task.a.sum()), -epsilon * np.log(task.b)
    nothing = np.zeros((r.size, 0)), np.zeros((c.size, 0))
    return SumCost(task.cost, BilinearCost(r, c, *nothing), weight_first=1.0 / scale)


def pairs_of(task: Task) -> PairCost:
    """Return the costs of a task between representations."""
    assert isinstance(task.cost, PairCost)
    return task.cost


def kullback_leibler(p: Float64Array, q: Float64Array) -> float:
    """Return ``sum_i p_i log(p_i / q_i) - p_i + q_i`` for q > 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return float(p @ np.log(ratio) - p.sum() + q.sum())

"""Entropic problems of many blocks: the seam between the aligners and the solvers of three backends."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from scgroove._types import Float64Array
from scgroove.aligners._epsilon import AUTO, EpsilonScale, check_epsilon
from scgroove.aligners._plans import PotentialPlan
from scgroove.aligners._sinkhorn import Problem, Scaled, sinkhorn, unbalanced_sinkhorn
from scgroove.aligners.base import (
    BaseAligner,
    Evidence,
    Solution,
    Solved,
    marginal_errors,
    versions,
)
from scgroove.aligners.costs import BlockCost
from scgroove.errors import InputError

Backend: TypeAlias = Literal["numpy", "pot", "jax", "auto"]
BACKENDS: Final[tuple[str, ...]] = get_args(Backend)

JAX_VALUES: Final = 2**24
"""Costs of blocks solved together by JAX (128 MB of float64)."""

BALANCED: Final = (np.inf, np.inf)


@dataclass(frozen=True, eq=False)
class Task:
    """A block to be solved: its costs are computed when its turn comes.

    Attributes
    ----------
    cost
        Costs (n, m).
    a, b
        Masses (n,) and (m,).
    epsilon
        Absolute eps.
    f, g
        Potentials to start from, or None.
    """

    cost: BlockCost
    a: Float64Array
    b: Float64Array
    epsilon: float = 0.0
    f: Float64Array | None = None
    g: Float64Array | None = None

    def problem(self) -> Problem:
        """Return the problem with its costs."""
        return Problem(self.cost.rows(), self.a, self.b, self.epsilon, self.f, self.g)

    def plan(self, solved: Scaled) -> Float64Array | PotentialPlan:
        """Return the solution in the form that takes less memory: dense, or potentials."""
        factors = PotentialPlan(self.cost, solved.f, solved.g, self.epsilon)
        return factors if factors.nbytes < solved.plan.nbytes else solved.plan


def solve(
    tasks: Iterable[Task],
    *,
    tol: float,
    max_iter: int,
    rho: tuple[float, float] = BALANCED,
    backend: Backend = "numpy",
) -> Iterator[tuple[Problem, Scaled]]:
    """Solve blocks one after the other (NumPy, POT) or many at a time (JAX), and yield them in order.

    Parameters
    ----------
    tasks
        What to solve. Consumed as needed, so that not all costs are there at once.
    tol, max_iter
        As for :func:`scgroove.aligners._sinkhorn.sinkhorn`.
    rho
        Absolute penalties of the marginals; infinite: exact.
    backend
        ``"numpy"``: our solver, on the CPU. ``"pot"``: that of POT, on the CPU. ``"jax"``: on the device that JAX
        has. ``"auto"``: JAX if that is not a CPU, else NumPy.

    Yields
    ------
    tuple
        The problem, whose costs the caller may overwrite, and its solution.
    """
    if resolve(backend) == "jax":
        yield from _solve_with_jax(tasks, tol, max_iter, rho)
        return
    solve_one = _solved_with_pot if backend == "pot" else _solved
    for task in tasks:
        # no names for costs and plan here, which would keep them while the next block is solved
        yield solve_one(task.problem(), tol, max_iter, rho)


def _solved(
    problem: Problem, tol: float, max_iter: int, rho: tuple[float, float]
) -> tuple[Problem, Scaled]:
    if np.isinf(rho).all():
        return problem, sinkhorn(problem, tol=tol, max_iter=max_iter)
    return problem, unbalanced_sinkhorn(problem, rho, tol=tol, max_iter=max_iter)


def _solved_with_pot(
    problem: Problem, tol: float, max_iter: int, rho: tuple[float, float]
) -> tuple[Problem, Scaled]:
    """Solve with POT, whose own errors end the iterations: the L2 error of the columns, or the change of scalings."""
    import ot

    epsilon, mass = problem.epsilon, float(problem.a.sum())
    marginals = (problem.a, problem.b, problem.cost, epsilon)
    start = None
    if problem.f is not None and problem.g is not None:
        start = (problem.f / epsilon, problem.g / epsilon)
    options = {"numItermax": max_iter, "log": True, "warmstart": start}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evidence says whether it converged
        if np.isinf(rho).all():
            goal, names = tol * mass, ("log_u", "log_v")
            plan, log = ot.bregman.sinkhorn_log(*marginals, stopThr=goal, **options)
        else:
            goal, names = tol, ("logu", "logv")
            plan, log = ot.unbalanced.sinkhorn_unbalanced(
                *marginals, rho, reg_type="entropy", stopThr=goal, **options
            )
    f, g = (epsilon * np.asarray(log[name]) for name in names)
    n_iter = int(log.get("niter", len(log["err"]) - 1)) + 1
    return problem, Scaled(plan, f, g, n_iter, bool(log["err"][-1] <= goal))


def _solve_with_jax(
    tasks: Iterable[Task], tol: float, max_iter: int, rho: tuple[float, float]
) -> Iterator[tuple[Problem, Scaled]]:
    from scgroove.aligners._jax import solve_batch

    def solved(problems: list[Problem]) -> Iterator[tuple[Problem, Scaled]]:
        yield from zip(
            problems, solve_batch(problems, tol=tol, max_iter=max_iter, rho=rho), strict=True
        )

    waiting: list[Problem] = []
    n_values = 0
    for task in tasks:
        waiting.append(task.problem())
        n_values += waiting[-1].cost.size
        if n_values >= JAX_VALUES:
            yield from solved(waiting)
            waiting, n_values = [], 0
    if waiting:
        yield from solved(waiting)


def resolve(backend: Backend) -> str:
    """Return the backend that is used: for ``"auto"``, JAX where it has an accelerator, else NumPy.

    JAX is only imported if a plugin for an accelerator is installed.
    """
    return backend if backend != "auto" else _best_backend()


@cache
def _best_backend() -> str:
    if not metadata.entry_points(group="jax_plugins"):
        return "numpy"
    import jax

    return "jax" if jax.default_backend() != "cpu" else "numpy"


def judged(task: Task, problem: Problem, scaled: Scaled, cost_scale: float) -> Solved:
    """Return a solution with its costs, objective and errors. Overwrites the costs of the problem."""
    plan, cost = scaled.plan, problem.cost
    transport_cost = float(np.vdot(cost, plan))
    # the costs are no longer needed: reuse their memory for log T
    np.log(plan, out=cost, where=plan > 0)
    negative_entropy = float(np.vdot(plan, cost)) - float(plan.sum())
    row_error, column_error = marginal_errors(plan, task.a, task.b)
    return Solved(
        plan=task.plan(scaled),
        iterations=scaled.iterations,
        converged=scaled.converged,
        transport_cost=transport_cost,
        objective=transport_cost + task.epsilon * negative_entropy,
        row_error=row_error,
        column_error=column_error,
        epsilon=task.epsilon,
        cost_scale=cost_scale,
    )


@dataclass(frozen=True, kw_only=True)
class EntropicAligner(BaseAligner):
    """Options and evidence of all aligners with an entropy; see the subclasses.

    Parameters
    ----------
    epsilon
        eps, relative to the mean (or largest) cost. Small: each cell matches few; large: everyone matches everyone.
        ``"auto"``: chosen from the data, see the user guide.
    epsilon_scale
        ``"mean"`` or ``"max"``: the cost that eps is relative to.
    tol
        Stop when the L1 error of the column marginals, relative to the mass, is below this.
    max_iter
        Largest number of Sinkhorn iterations of a block.
    backend
        ``"numpy"`` (our solver, on the CPU), ``"pot"`` (that of POT, for comparison: without annealing and slower),
        ``"jax"`` (on the device that JAX has, many blocks at a time), or ``"auto"``: JAX if its device is not a CPU,
        else NumPy.
    """

    epsilon: float | Literal["auto"] = 0.05
    epsilon_scale: EpsilonScale = "mean"
    tol: float = 1e-5
    max_iter: int = 10000
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        check_epsilon(self.epsilon, self.epsilon_scale)
        if not self.tol > 0 or not self.max_iter >= 1:
            raise InputError(
                f"tol must be positive and max_iter at least 1; found {self.tol!r} and {self.max_iter!r}."
            )

    def _solve_tasks(
        self, tasks: Iterable[Task], **options: Any
    ) -> Iterator[tuple[Problem, Scaled]]:
        settings = {"tol": self.tol, "max_iter": self.max_iter, "backend": self.backend, **options}
        return solve(tasks, **settings)

    def _solver_evidence(self, solution: Solution) -> Evidence:
        return {
            **super()._solver_evidence(solution),
            "epsilon_absolute": np.array([s.epsilon for s in solution.blocks]),
            "cost_scale": np.array([s.cost_scale for s in solution.blocks]),
            "backend_used": resolve(self.backend),
            **(versions("pot") if self.backend == "pot" else {}),
            **(versions("jax", "ott-jax") if self._uses_jax else {}),
        }

    @property
    def _uses_jax(self) -> bool:
        """Whether JAX or ott-jax solves it."""
        return resolve(self.backend) == "jax" or getattr(self, "rank", None) is not None

    def _advice(self) -> str:
        now = self.epsilon if self.epsilon == AUTO else f"{self.epsilon:g}"
        return (
            f"Raise max_iter (now {self.max_iter}), or epsilon (now {now} of the {self.epsilon_scale} "
            f"cost): a larger one converges faster and spreads the mass wider."
        )

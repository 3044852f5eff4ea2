"""Entropic problems of many blocks, by the solvers of three back ends."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from scgroove.aligners._epsilon import AUTO, check_epsilon
from scgroove.aligners._problem import Problem, Solved
from scgroove.aligners._sinkhorn import sinkhorn, unbalanced_sinkhorn
from scgroove.aligners.base import BaseAligner, Evidence, versions
from scgroove.errors import InputError

Backend: TypeAlias = Literal["numpy", "pot", "jax", "auto"]

JAX_VALUES: Final = 2**24
"""Costs of blocks handed to JAX at a time (128 MB of float64)."""

BALANCED: Final = (np.inf, np.inf)


def solve(
    problems: Iterable[Problem],
    *,
    tol: float,
    max_iter: int,
    rho: tuple[float, float] = BALANCED,
    backend: Backend = "numpy",
) -> Iterator[Solved]:
    """Solve blocks one after the other (NumPy, POT) or many at a time (JAX), in order.

    Problems are consumed as needed, so that not all costs are there at once. ``rho`` are absolute
    penalties of the marginals, infinite for exact ones.
    """
    used = resolve(backend)
    if used == "jax":
        yield from _solve_with_ott(problems, tol, max_iter, rho)
        return
    for problem in problems:
        # the plan has no name here, which would keep it while the next block is solved
        if used == "pot":
            yield _solve_with_pot(problem, tol, max_iter, rho)
        elif np.isinf(rho).all():
            yield sinkhorn(problem, tol=tol, max_iter=max_iter)
        else:
            yield unbalanced_sinkhorn(problem, rho, tol=tol, max_iter=max_iter)


def _solve_with_pot(
    problem: Problem, tol: float, max_iter: int, rho: tuple[float, float]
) -> Solved:
    """Solve with POT, whose own errors end the iterations: of the columns (L2), or of scalings."""
    import ot

    epsilon, mass = problem.epsilon, float(problem.a.sum())
    marginals = (problem.a, problem.b, problem.cost.rows(), epsilon)
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
    return Solved(plan, f, g, n_iter, bool(log["err"][-1] <= goal))


def _solve_with_ott(
    problems: Iterable[Problem], tol: float, max_iter: int, rho: tuple[float, float]
) -> Iterator[Solved]:
    from scgroove.aligners._ott import solve_many

    waiting: list[Problem] = []
    n_values = 0
    for problem in problems:
        waiting.append(problem)
        n_values += problem.cost.shape[0] * problem.cost.shape[1]
        if n_values >= JAX_VALUES:
            yield from solve_many(waiting, tol=tol, max_iter=max_iter, rho=rho)
            waiting, n_values = [], 0
    if waiting:
        yield from solve_many(waiting, tol=tol, max_iter=max_iter, rho=rho)


def resolve(backend: Backend) -> str:
    """Name of the back end that is used: for ``"auto"``, JAX if it has an accelerator, else NumPy.

    JAX is only imported if a plugin for an accelerator is installed.
    """
    return backend if backend != "auto" else _best_backend()


@cache
def _best_backend() -> str:
    if not metadata.entry_points(group="jax_plugins"):
        return "numpy"
    import jax

    return "jax" if jax.default_backend() != "cpu" else "numpy"


@dataclass(frozen=True, kw_only=True)
class EntropicAligner(BaseAligner):
    """Options and evidence of all aligners with an entropy, as :class:`EntropicOT` has them."""

    epsilon: float | Literal["auto"] = 0.05
    tol: float = 1e-5
    max_iter: int = 10000
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        self._check_stop()

    def _check_stop(self) -> None:
        if not self.tol > 0 or not self.max_iter >= 1:
            raise InputError(
                f"tol must be positive and max_iter at least 1; found {self.tol!r} and "
                f"{self.max_iter!r}."
            )

    def _solve_problems(self, problems: Iterable[Problem], **options: Any) -> Iterator[Solved]:
        settings = {"tol": self.tol, "max_iter": self.max_iter, "backend": self.backend, **options}
        return solve(problems, **settings)

    def _solver_evidence(self, solved: Sequence[Solved]) -> Evidence:
        low_rank = getattr(self, "rank", None) is not None
        used = "jax" if low_rank else resolve(self.backend)
        libraries = {"pot": ("pot",), "jax": ("jax", "ott-jax")}.get(used, ())
        return {
            "epsilon_absolute": np.array([one.epsilon for one in solved]),
            "cost_scale": np.array([one.cost_scale for one in solved]),
            "backend_used": used,
            **versions(libraries),
        }

    def _advice(self) -> str:
        now = self.epsilon if self.epsilon == AUTO else f"{self.epsilon:g}"
        return (
            f"Raise max_iter (now {self.max_iter}), or epsilon (now {now} of the mean cost): a "
            f"larger one converges faster and spreads the mass wider."
        )


def check_rank(rank: int | None) -> None:
    """Refuse a rank that is not positive."""
    if rank is not None and rank < 1:
        raise InputError(
            f"rank must be a positive integer, or None for the whole plan; found {rank!r}. 10 to "
            f"100 is usual."
        )

"""Quadratic transport problems by descent: linearize, solve what remains, at ever smaller eps.

POT and ott-jax hold couplings of quadratic problems, and the distances inside the modalities, as
dense matrices, and know no couplings that are zero across labels. Hence our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from scgroove._types import Float64Array
from scgroove.aligners._problem import Problem, Solved, judged
from scgroove.aligners._structure import Structure
from scgroove.aligners.costs import BilinearCost, BlockCost, FixedCost, SumCost
from scgroove.errors import InputError

Solver: TypeAlias = Callable[..., Iterator[Solved]]

ANNEAL_FROM: Final = 0.1
ANNEAL_BY: Final = 3.0
"""eps at which annealing starts, and the ratio of one to the next."""

LOOSE: Final = 1e-4
"""Tolerance on the way: looser ones leave it to chance which of several optima is reached."""

STALLED: Final = 10
"""Steps without a smaller change after which the rest is taken for errors of inner solutions."""

NEAR: Final = 10.0
"""Multiple of the tolerance of the inner solutions up to which it may be."""

SAVED: Final = 0.05
"""Share of what a smaller eps has saved so far that the next must save, to be worth it."""


@dataclass(frozen=True, eq=False)
class Part:
    """A block of a group: where its cells stand in the structures, masses and linear costs."""

    rows: slice
    columns: slice
    a: Float64Array
    b: Float64Array
    linear: BlockCost | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks that inform one another: all labels of ``egw``, each label alone for ``egw_each``."""

    x: Structure  # costs inside the source, scaled; by factors if those of the target are
    y: Structure
    parts: Sequence[Part]  # their masses sum to 1
    alpha: float = 1.0  # weight of the quadratic part
    linear_scale: float = 1.0  # what the costs of the linear part are divided by
    scales: tuple[float, float] = (1.0, 1.0)  # what the costs inside were divided by


class Contraction:
    """Of the coupling T of a group, what a linearized problem needs: K = R' T W.

    For costs C = L R', D = V W'. C T where they are matrices.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.k = np.zeros((group.x.width, group.y.width))

    def add(self, part: Part, plan: Float64Array) -> None:
        """Add the plan (n, m) of a block."""
        x, y = self.group.x, self.group.y
        if y.right is None:
            self.k[:, part.columns] = x.times(part.rows, plan)
        else:
            self.k += x.times(part.rows, plan) @ y.right[part.columns]

    def add_product(self, part: Part) -> None:
        """Add the product coupling ``a b' / mass`` of a block."""
        x, y = self.group.x, self.group.y
        u, b = x.times(part.rows, part.a), part.b / part.a.sum()
        if y.right is None:
            self.k[:, part.columns] = np.outer(u, b)
        else:
            self.k += np.outer(u, y.right[part.columns].T @ b)

    def cost(self, part: Part, h_x: Float64Array, h_y: Float64Array) -> BlockCost:
        """Costs ``2 (C^2 p)_i + 2 (D^2 q)_j - 4 (C T D)_ij`` of a block, with the linear part."""
        group, r, c = self.group, 2.0 * h_x[part.rows], 2.0 * h_y[part.columns]
        if group.x.right is None:
            inner = -4.0 * (self.k[part.rows] @ group.y.left[:, part.columns])
            inner += r[:, None]
            inner += c
            quadratic: BlockCost = FixedCost(inner)
        else:
            left = -4.0 * (group.x.left[part.rows] @ self.k)
            quadratic = BilinearCost(r, c, left, group.y.left[part.columns])
        if part.linear is None:
            return quadratic
        weight = (1.0 - group.alpha) / group.linear_scale
        return SumCost(part.linear, quadratic, weight, group.alpha)


@dataclass(eq=False)
class Descent:
    """The state of a group while its linearized problems are solved again and again."""

    group: Group
    start: Contraction = field(init=False)  # of the product coupling
    now: Contraction = field(init=False)
    potentials: list[tuple[Float64Array, Float64Array] | None] = field(init=False)
    inner: list[int] = field(init=False)  # Sinkhorn iterations of each block, over all steps
    outer: int = 0  # steps taken
    change: float = np.inf  # of K in the last step, relative to its distance from the start
    least: float = np.inf  # the smallest change at the present eps
    stalled: int = 0  # steps since it was found
    energy: float = np.nan  # sum_ijkl (C_ik - D_jl)^2 T_ij T_kl, once finished
    linear: float = 0.0  # <M, T>, once finished

    def __post_init__(self) -> None:
        parts = self.group.parts
        self.start = self.now = Contraction(self.group)
        for part in parts:
            self.start.add_product(part)
        self.masses = np.concatenate([p.a for p in parts]), np.concatenate([p.b for p in parts])
        self.h = (
            self.group.x.squared_dot(self.masses[0]),
            self.group.y.squared_dot(self.masses[1]),
        )
        self.potentials, self.inner = [None] * len(parts), [0] * len(parts)

    def problems(self, epsilon: float) -> Iterator[Problem]:
        """Yield the linearized problems of the blocks."""
        for part, known in zip(self.group.parts, self.potentials, strict=True):
            yield Problem(
                self.now.cost(part, *self.h), part.a, part.b, epsilon, *(known or (None, None))
            )

    def take(self, solved: Iterator[Solved]) -> None:
        """Go on to the solutions of the linearized problems, one a block."""
        new = Contraction(self.group)
        for i, part in enumerate(self.group.parts):
            self._take_block(i, new, part, next(solved))
        self._move(new)

    def _take_block(self, i: int, new: Contraction, part: Part, solved: Solved) -> None:
        # a function of its own, whose names do not keep a plan while the next is solved
        new.add(part, solved.plan)
        self.potentials[i] = solved.potentials
        self.inner[i] += solved.iterations

    def _move(self, new: Contraction) -> None:
        size = float(np.linalg.norm(new.k))
        if not np.isfinite(size):
            raise InputError(
                "the descent left the range of numbers: the costs inside a modality are too "
                "unlike in size. Look for extreme values in the representations or costs, or raise "
                "epsilon."
            )
        moved = max(float(np.linalg.norm(new.k - self.start.k)), 1e-9 * size, 1e-300)
        self.change = float(np.linalg.norm(new.k - self.now.k)) / moved
        self.stalled = 0 if self.change < 0.9 * self.least else self.stalled + 1
        self.least = min(self.least, self.change)
        self.now = new
        self.outer += 1

    def at_rest(self, goal: float, inner: float) -> bool:
        """Whether the change is as small as asked for, or as inner solutions let it become."""
        return self.change <= goal or (self.stalled >= STALLED and self.change <= NEAR * inner)

    def finish(self, solved: Iterator[Solved], epsilon: float, at_rest: bool) -> list[Solved]:
        """Judge the solutions of the last linearized problems, and note the energy."""
        new, out, self.linear = Contraction(self.group), [], 0.0
        x, y = self.group.x, self.group.y
        other = np.zeros_like(new.k)  # L' T V, or T D
        for i, (part, problem) in enumerate(
            zip(self.group.parts, self.problems(epsilon), strict=True)
        ):
            found = next(solved)
            plan = found.plan
            new.add(part, plan)
            if y.right is None:
                other[part.rows] = plan @ y.left[part.columns]
            else:
                other += (x.left[part.rows].T @ plan) @ y.left[part.columns]
            if part.linear is not None:
                cost = float(np.vdot(part.linear.rows(), plan))
                self.linear += cost / self.group.linear_scale
            self.inner[i] += found.iterations
            found = judged(problem, found)
            converged = found.converged and at_rest
            out.append(
                replace(found, converged=converged, at_rest=at_rest, iterations=self.inner[i])
            )
        (p, q), (h_x, h_y) = self.masses, self.h
        self.energy = max(float(p @ h_x + q @ h_y) - 2.0 * float(np.vdot(new.k, other)), 0.0)
        self._move(new)
        return out

    @property
    def value(self) -> float:
        """Cost of the coupling without the entropy, ``(1 - alpha) <M, T> + alpha energy``."""
        alpha = self.group.alpha
        return (1.0 - alpha) * self.linear + alpha * self.energy


def descend(
    groups: Sequence[Group],
    path: Sequence[float],
    solve: Solver,
    *,
    tol: float,
    tol_outer: float,
    max_outer: int,
) -> list[tuple[Descent, list[Solved]]]:
    """Solve ``min (1 - alpha) <M, T> + alpha sum (C_ik - D_jl)^2 T_ij T_kl - eps H(T)`` of groups.

    Each step replaces the quadratic part by its gradient at the present coupling and solves what
    remains, an entropic transport problem of each block, from the potentials of the last step. The
    fixed points are the stationary points. All groups go on together, so that their blocks can be
    solved many at a time. ``path`` holds the absolute eps to pass through. A group stops when its
    contraction K changes by less than ``tol_outer``, relative to its distance from the start, or
    has ceased to change by less within ten times ``tol``.
    """
    descents = [Descent(group) for group in groups]
    for epsilon in path[:-1]:
        _step(descents, epsilon, solve, max(LOOSE, tol_outer), max(LOOSE, tol), max_outer)
    _step(descents, path[-1], solve, tol_outer, tol, max_outer)
    resting = [one.at_rest(tol_outer, tol) for one in descents]
    solved = solve((p for one in descents for p in one.problems(path[-1])), tol=tol)
    return [
        (one, one.finish(solved, path[-1], rest))
        for one, rest in zip(descents, resting, strict=True)
    ]


def _step(
    descents: Sequence[Descent],
    epsilon: float,
    solve: Solver,
    goal: float,
    inner: float,
    max_outer: int,
) -> None:
    """Take steps at one eps, solved to the tolerance ``inner``, until no group changes any more."""
    active = list(descents)
    for one in active:
        one.least, one.stalled = np.inf, 0
    for _ in range(max_outer):
        solved = solve((p for one in active for p in one.problems(epsilon)), tol=inner)
        for one in active:
            one.take(solved)
        active = [one for one in active if not one.at_rest(goal, inner)]
        if not active:
            break


def annealing_path(epsilon: float) -> list[float]:
    """The eps to pass through, from about ``ANNEAL_FROM`` down to ``epsilon``."""
    steps = max(0, int(np.ceil(np.log(ANNEAL_FROM / epsilon) / np.log(ANNEAL_BY))))
    return [epsilon * ANNEAL_BY**k for k in range(steps, 0, -1)] + [epsilon]


def chosen_epsilon(groups: Sequence[Group], solve: Solver, max_outer: int) -> float:
    """The eps below which the couplings cost hardly less.

    eps goes down from ``ANNEAL_FROM`` by factors of ``ANNEAL_BY``. The last one is taken whose step
    saved at least ``SAVED`` of all that has been saved since the product coupling. Below it,
    sharper couplings fit the noise.
    """
    descents = [Descent(group) for group in groups]
    grid = [ANNEAL_FROM / ANNEAL_BY**k for k in range(7)]
    costs: list[float] = []
    for k, epsilon in enumerate(grid):
        _step(descents, epsilon, solve, LOOSE, LOOSE, max_outer)
        solved = solve((p for one in descents for p in one.problems(epsilon)), tol=LOOSE)
        for one in descents:
            one.finish(solved, epsilon, at_rest=True)
        costs.append(float(sum(one.value for one in descents)))
        if k > 0 and costs[-2] - costs[-1] < SAVED * (costs[0] - costs[-1]):
            return grid[k - 1]
    return grid[-1]

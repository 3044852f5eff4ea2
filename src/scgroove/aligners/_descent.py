"""Quadratic transport problems by descent: linearize, solve what remains, again, at ever smaller eps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np

from scgroove._types import Float64Array
from scgroove.aligners._entropic import Task, judged
from scgroove.aligners._sinkhorn import Problem, Scaled
from scgroove.aligners._structure import Factors, Matrix
from scgroove.aligners.base import Solved
from scgroove.aligners.costs import BilinearCost, BlockCost, FixedCost, SumCost
from scgroove.errors import InputError

ANNEAL_FROM: Final = 0.1
ANNEAL_BY: Final = 3.0
"""eps at which annealing starts, and the ratio of one to the next."""

LOOSE: Final = 1e-4
"""Tolerances of the steps on the way: looser ones leave it to chance which of several optima a descent goes to."""

STALLED: Final = 10
"""Steps without a smaller change after which what is left is taken for the errors of the inner solutions."""

NEAR: Final = 10.0
"""Multiple of the tolerance of the inner solutions up to which it may be."""

SAVED: Final = 0.05
"""Share of what a smaller eps has saved so far that the next must save, to be worth it."""


@dataclass(frozen=True, eq=False)
class Part:
    """A block of a group: where its cells stand in the structures, and their masses."""

    rows: slice
    columns: slice
    a: Float64Array
    b: Float64Array
    linear: BlockCost | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks that inform one another: all labels of ``egw``, each label alone for ``egw_each``.

    Attributes
    ----------
    x, y
        Costs inside the source and the target, scaled; both by factors, or both matrices.
    parts
        Its blocks; their masses sum to 1.
    alpha
        Weight of the quadratic part; 1 without a linear one.
    linear_scale
        What the costs of the linear part are divided by.
    scales
        What the costs inside source and target were divided by.
    """

    x: Factors | Matrix
    y: Factors | Matrix
    parts: Sequence[Part]
    alpha: float = 1.0
    linear_scale: float = 1.0
    scales: tuple[float, float] = (1.0, 1.0)

    def marginals(self) -> tuple[Float64Array, Float64Array]:
        """Masses of all source and all target cells."""
        return np.concatenate([p.a for p in self.parts]), np.concatenate([p.b for p in self.parts])


class Contraction:
    """What a linearized problem needs to know of the coupling T of a group.

    K = R' T W for costs C = L R', D = V W'; C T where there are no factors. With ``both``, also L' T V, or T D, so that
    <C T D, T> can be told.
    """

    def __init__(self, group: Group, both: bool = False) -> None:
        self.group = group
        if isinstance(group.x, Factors) and isinstance(group.y, Factors):
            self.k = np.zeros((group.x.right.shape[1], group.y.right.shape[1]))
        else:
            self.k = np.zeros((len(group.x), len(group.y)))
        self.other = np.zeros_like(self.k) if both else None

    def add(self, part: Part, plan: Float64Array) -> None:
        """Add the plan (n, m) of a block."""
        x, y, rows, columns = self.group.x, self.group.y, part.rows, part.columns
        if isinstance(x, Factors) and isinstance(y, Factors):
            self.k += (x.right[rows].T @ plan) @ y.right[columns]
            if self.other is not None:
                self.other += (x.left[rows].T @ plan) @ y.left[columns]
        else:
            self.k[:, columns] = cast(Matrix, x).values[:, rows] @ plan
            if self.other is not None:
                self.other[rows] = plan @ cast(Matrix, y).values[columns]

    def quadratic(self) -> float:
        """Return ``<C T D, T>``."""
        assert self.other is not None
        return float(np.vdot(self.k, self.other))

    def add_product(self, part: Part) -> None:
        """Add the product coupling ``a b' / mass`` of a block."""
        x, y = self.group.x, self.group.y
        if isinstance(x, Factors) and isinstance(y, Factors):
            u, v = x.right[part.rows].T @ part.a, y.right[part.columns].T @ part.b
            self.k += np.outer(u, v / part.a.sum())
        else:
            u = cast(Matrix, x).values[:, part.rows] @ part.a
            self.k[:, part.columns] = np.outer(u, part.b / part.a.sum())

    def cost(self, part: Part, h_x: Float64Array, h_y: Float64Array) -> BlockCost:
        """Return the linearized costs ``2 (C^2 p)_i + 2 (D^2 q)_j - 4 (C T D)_ij`` of a block, with the linear part."""
        group, r, c = self.group, 2.0 * h_x[part.rows], 2.0 * h_y[part.columns]
        if isinstance(group.x, Factors) and isinstance(group.y, Factors):
            left = -4.0 * (group.x.left[part.rows] @ self.k)
            quadratic: BlockCost = BilinearCost(r, c, left, group.y.left[part.columns])
        else:
            inner = -4.0 * (self.k[part.rows] @ cast(Matrix, group.y).values[:, part.columns])
            inner += r[:, None]
            inner += c
            quadratic = FixedCost(inner)
        if part.linear is None:
            return quadratic
        return SumCost(
            part.linear, quadratic, (1.0 - group.alpha) / group.linear_scale, group.alpha
        )


@dataclass(eq=False)
class Descent:
    """The state of a group while its linearized problems are solved again and again.

    Attributes
    ----------
    group
        What is solved.
    start, now
        Contractions of the product coupling and of the present one.
    potentials
        Of each block, once solved.
    outer
        Steps taken.
    inner
        Sinkhorn iterations of each block, over all steps.
    change
        Of K in the last step, relative to its distance from the start.
    least, stalled
        The smallest change at the present eps, and the steps since it was found.
    energy
        ``sum_ijkl (C_ik - D_jl)^2 T_ij T_kl`` of the last coupling, once finished.
    linear
        ``<M, T>`` of the last coupling, once finished; 0 without a linear part.
    """

    group: Group
    start: Contraction
    now: Contraction
    h: tuple[Float64Array, Float64Array]
    potentials: list[tuple[Float64Array, Float64Array] | None]
    inner: list[int]
    outer: int = 0
    change: float = np.inf
    least: float = np.inf
    stalled: int = 0
    energy: float = np.nan
    linear: float = 0.0

    @classmethod
    def of(cls, group: Group) -> Descent:
        """Start a group at the product couplings of its blocks."""
        start = Contraction(group)
        for part in group.parts:
            start.add_product(part)
        p, q = group.marginals()
        h = group.x.squared_dot(p), group.y.squared_dot(q)
        n = len(group.parts)
        return cls(group, start, start, h, [None] * n, [0] * n)

    def tasks(self, epsilon: float) -> Iterator[Task]:
        """Yield the linearized problems of the blocks."""
        for part, known in zip(self.group.parts, self.potentials, strict=True):
            f, g = known if known is not None else (None, None)
            yield Task(self.now.cost(part, *self.h), part.a, part.b, epsilon, f, g)

    def take(self, solved: Iterator[tuple[Problem, Scaled]]) -> None:
        """Go on to the solutions of the linearized problems, one a block."""
        new = Contraction(self.group)
        for i, part in enumerate(self.group.parts):
            self._take_block(i, new, part, next(solved)[1])
        self._move(new)

    def _take_block(self, i: int, new: Contraction, part: Part, scaled: Scaled) -> None:
        # a function of its own, whose names do not keep a plan while the next is solved
        new.add(part, scaled.plan)
        self.potentials[i] = scaled.f, scaled.g
        self.inner[i] += scaled.iterations

    def _move(self, new: Contraction) -> None:
        size = float(np.linalg.norm(new.k))
        if not np.isfinite(size):
            raise InputError(
                "the descent left the range of numbers: the costs inside a modality are too unlike in size. Look for extreme "
                "values in the representations or costs, or raise epsilon."
            )
        moved = max(float(np.linalg.norm(new.k - self.start.k)), 1e-9 * size, 1e-300)
        self.change = float(np.linalg.norm(new.k - self.now.k)) / moved
        self.stalled = 0 if self.change < 0.9 * self.least else self.stalled + 1
        self.least = min(self.least, self.change)
        self.now = new
        self.outer += 1

    def at_rest(self, goal: float, inner: float) -> bool:
        """Whether the change is as small as asked for, or as small as inner solutions of this tolerance let it become."""
        return self.change <= goal or (self.stalled >= STALLED and self.change <= NEAR * inner)

    def finish(
        self, solved: Iterator[tuple[Problem, Scaled]], epsilon: float, at_rest: bool
    ) -> list[Solved]:
        """Return the solutions of the last linearized problems, judged; and note the energy."""
        new, out = Contraction(self.group, both=True), []
        self.linear = 0.0
        for i, (part, task) in enumerate(zip(self.group.parts, self.tasks(epsilon), strict=True)):
            problem, scaled = next(solved)
            new.add(part, scaled.plan)
            if part.linear is not None:
                self.linear += (
                    float(np.vdot(part.linear.rows(), scaled.plan)) / self.group.linear_scale
                )
            self.inner[i] += scaled.iterations
            found = judged(task, problem, scaled, 1.0)
            out.append(
                replace(
                    found,
                    converged=found.converged and at_rest,
                    at_rest=at_rest,
                    iterations=self.inner[i],
                )
            )
        p, q = self.group.marginals()
        self.energy = max(float(p @ self.h[0] + q @ self.h[1]) - 2.0 * new.quadratic(), 0.0)
        self._move(new)
        return out


def descend(
    groups: Sequence[Group],
    path: Sequence[float],
    solve: Callable[..., Iterator[tuple[Problem, Scaled]]],
    *,
    tol: float,
    tol_outer: float,
    max_outer: int,
) -> list[tuple[Descent, list[Solved]]]:
    """Solve ``min (1 - alpha) <M, T> + alpha sum (C_ik - D_jl)^2 T_ij T_kl - eps H(T)`` for each group.

    Each step replaces the quadratic part by its gradient at the present coupling and solves what remains, an entropic
    transport problem of each block, from the potentials of the last step; the fixed points are the stationary points. All
    groups go on together, so that their blocks can be solved many at a time.

    Parameters
    ----------
    groups
        What to solve.
    path
        Absolute eps to pass through, largest first; the couplings of one start the next.
    solve
        Solver of tasks, see :func:`scgroove.aligners._entropic.solve`.
    tol
        Of the last entropic problems.
    tol_outer
        Stop a group when its contraction K changes by less than this, relative to its distance from the start; or has ceased
        to change by less from step to step, within ten times ``tol``.
    max_outer
        Largest number of steps at an eps.

    Returns
    -------
    list
        For each group, its state and its solved blocks.
    """
    descents = [Descent.of(group) for group in groups]
    for epsilon in path:
        last = epsilon == path[-1]
        goal, inner = (tol_outer, tol) if last else (max(LOOSE, tol_outer), max(LOOSE, tol))
        _go_on(descents, epsilon, solve, goal, inner, max_outer)
    resting = [d.at_rest(tol_outer, tol) for d in descents]
    solved = solve((task for d in descents for task in d.tasks(path[-1])), tol=tol)
    return [
        (d, d.finish(solved, path[-1], rest)) for d, rest in zip(descents, resting, strict=True)
    ]


def _go_on(
    descents: Sequence[Descent],
    epsilon: float,
    solve: Callable[..., Iterator[tuple[Problem, Scaled]]],
    goal: float,
    inner: float,
    max_outer: int,
) -> None:
    """Take steps at one eps, each solved to the tolerance ``inner``, until no group changes any more."""
    active = list(descents)
    for d in active:
        d.least, d.stalled = np.inf, 0
    for _ in range(max_outer):
        solved = solve((task for d in active for task in d.tasks(epsilon)), tol=inner)
        for d in active:
            d.take(solved)
        active = [d for d in active if not d.at_rest(goal, inner)]
        if not active:
            break


def value(descent: Descent) -> float:
    """Return what a coupling costs without the entropy: ``(1 - alpha) <M, T> + alpha energy``."""
    alpha = descent.group.alpha
    return (1.0 - alpha) * descent.linear + alpha * descent.energy


def annealing_path(epsilon: float) -> list[float]:
    """Return the eps to pass through, from about ``ANNEAL_FROM`` down to ``epsilon``."""
    steps = max(0, int(np.ceil(np.log(ANNEAL_FROM / epsilon) / np.log(ANNEAL_BY))))
    return [epsilon * ANNEAL_BY**k for k in range(steps, 0, -1)] + [epsilon]


def chosen_epsilon(groups: Sequence[Group], solve: Callable[..., Any], max_outer: int) -> float:
    """Return the eps below which the couplings cost hardly less.

    eps goes down from ``ANNEAL_FROM`` by factors of ``ANNEAL_BY``; the last one is taken whose step saved at least
    ``SAVED`` of all that has been saved since the product coupling. Below it, sharper couplings fit the noise.
    """
    descents = [Descent.of(group) for group in groups]
    grid = [ANNEAL_FROM / ANNEAL_BY**k for k in range(7)]
    first: float | None = None
    costs: float | None = None
    for k, epsilon in enumerate(grid):
        _go_on(descents, epsilon, solve, LOOSE, LOOSE, max_outer)
        solved = solve((task for d in descents for task in d.tasks(epsilon)), tol=LOOSE)
        for d in descents:
            d.finish(solved, epsilon, at_rest=True)
        last, costs = costs, float(sum(value(d) for d in descents))
        first = costs if first is None else first
        if last is not None and last - costs < SAVED * (first - costs):
            return grid[k - 1]
    return grid[-1]

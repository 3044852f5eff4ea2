"""Co-optimal transport: match cells and features at once, without a shared space.

POT's couples all cells with all, starts from the product couplings only, and has one eps scaled
anew in every step. Labels, several starts, annealing and a falling objective are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, tee
from typing import ClassVar, Final, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners._blocks import Block, Partition
from scgroove.aligners._entropic import EntropicAligner
from scgroove.aligners._epsilon import AUTO, cost_scale
from scgroove.aligners._linear import solve_exactly
from scgroove.aligners._plans import PotentialPlan, marginal_errors
from scgroove.aligners._problem import Problem, Solved, judged
from scgroove.aligners.base import ALIGNERS, BAD_MARGINAL, Evidence
from scgroove.aligners.costs import BilinearCost, FixedCost
from scgroove.errors import InputError, TooLargeError

PATH: Final = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Relative eps that annealing passes through."""

WARM: Final = 1e-2
"""Smallest eps on the way to a given one: below it, couplings only become sharper."""

ENOUGH: Final = 0.05
"""``epsilon="auto"`` stops where the cost falls by less than this share of its whole fall."""

STARTED: Final = 1e-2
"""Fall of the cost, relative to the product couplings, below which nothing is matched yet."""

ROUNDING: Final = 1e-13
"""Share of their middle within which values differ by rounding only."""

LOOSE: Final = 1e-2
"""Tolerance of Sinkhorn while the couplings still change much. The last solutions meet ``tol``."""

NEAR_VALUE: Final = 1e-3
NEAR_COUPLING: Final = 1e-2
"""Relative fall of the objective, and change of V (L1), in a sweep, below which they do not."""

NOTHING: Final = 1e-6
"""Share of the cost of the product couplings that counts as none: below it, rounding decides."""

NARROW: Final = 40.0
"""Range of costs, in units of eps, that Sinkhorn bears without annealing."""

SAMPLE: Final = 64
"""Rows and columns from which that range is judged."""

SIMPLEX_ITERATIONS: Final = 10_000_000

EXACT_BYTES: Final = 160
ENTROPIC_BYTES: Final = 16
"""Memory of the work on a pair of cells, or of features."""

Solver: TypeAlias = Callable[[Iterable[Problem], float], Iterator[Solved]]
"""Solver of entropic problems to a tolerance."""


@dataclass(eq=False)
class Cells:
    """The cell coupling T that is best for a feature coupling, and what the features need of it."""

    features: Float64Array  # V (d_x, d_y) it is best for
    cross: Float64Array = field(init=False)  # sum_l X_l' T_l Y_l, (d_x, d_y)
    r: Float64Array = field(init=False)  # (X^2)' T 1, (d_x,)
    c: Float64Array = field(init=False)  # (Y^2)' T' 1, (d_y,)
    entropy_value: float = 0.0  # -eps H of a coupling with exact marginals, to first order
    entropy_term: float = 0.0  # -eps H(T)
    solved: list[Solved] = field(default_factory=list)  # without plans that potentials determine

    def __post_init__(self) -> None:
        d_x, d_y = self.features.shape
        self.cross, self.r, self.c = np.zeros((d_x, d_y)), np.zeros(d_x), np.zeros(d_y)

    def add(
        self,
        x: Float64Array,
        y: Float64Array,
        cross: Float64Array,
        rows: Float64Array,
        columns: Float64Array,
    ) -> None:
        """Add a block of x (n, d_x) and y (m, d_y), with ``x' T y`` and the sums of T."""
        self.cross += cross
        self.r += np.einsum("ik,ik,i->k", x, x, rows)
        self.c += np.einsum("ik,ik,i->k", y, y, columns)

    def cost(self) -> FixedCost:
        """Costs between features, ``W_kl = r_k + c_l - 2 cross_kl``."""
        matrix = -2.0 * self.cross
        matrix += self.r[:, None]
        matrix += self.c
        return FixedCost(matrix)


@dataclass(frozen=True)
class Stop:
    """When a descent is over: the options of :class:`CoOptimalTransport` of these names."""

    tol: float
    tol_outer: float
    max_outer: int


ON_THE_WAY: Final = Stop(tol=1e-3, tol_outer=1e-4, max_outer=50)
"""When annealing goes on to the next eps."""


@dataclass(frozen=True, eq=False)
class Descent:
    """A stationary point and how it was reached."""

    cells: Cells | None  # T; none before the first sweep
    features: Solved  # V
    epsilon: float = np.inf  # relative
    path: tuple[float, ...] = ()  # objective after each sweep, with exact marginals to first order
    resting: bool = False  # whether the objective, or V, came to rest
    sweeps: int = 0  # in all, those at larger eps included

    @property
    def feature_error(self) -> float:
        """L1 error of the marginals of V."""
        return self.features.row_error + self.features.column_error

    @property
    def objective(self) -> float:
        """What was minimized, for this T and V."""
        return self.features.objective + (self.cells.entropy_term if self.cells else 0.0)


@dataclass(eq=False)
class Search:
    """Descents from several starts, each improving cells and features in turn."""

    parts: Partition
    x: Float64Array  # (n, d_x)
    y: Float64Array  # (m, d_y)
    solve: Solver
    stop: Stop
    product: Cells = field(init=False)  # the product couplings
    scales: tuple[float, float] = field(
        init=False
    )  # costs of cells, features that eps is relative to

    def __post_init__(self) -> None:
        d_x, d_y = self.x.shape[1], self.y.shape[1]
        self.masses = np.full(d_x, 1.0 / d_x), np.full(d_y, 1.0 / d_y)
        self.product = Cells(np.outer(*self.masses))
        for block in self.parts.blocks:
            x, y = self.x[block.rows], self.y[block.columns]
            cross = np.outer(block.a @ x, block.b @ y) / block.mass
            self.product.add(x, y, cross, block.a, block.b)
        costs = (self.cost(block, self.product.features) for block in self.parts.blocks)
        features = self.product.cost()
        self.scales = cost_scale(costs), cost_scale([features])
        plan = self.product.features
        cost = float(np.vdot(features.matrix, plan))
        self.start = Descent(None, Solved(plan, transport_cost=cost))

    # --------------------------------------------------------------------------------- two steps

    def cost(self, block: Block, features: Float64Array) -> BilinearCost:
        """Costs ``M_ij = sum_kl (x_ik - y_jl)^2 V_kl`` of a block, from few columns."""
        x, y = self.x[block.rows], self.y[block.columns]
        r = np.einsum("ik,ik,k->i", x, x, features.sum(axis=1))
        c = np.einsum("ik,ik,k->i", y, y, features.sum(axis=0))
        if x.shape[1] < y.shape[1]:
            return BilinearCost(r, c, x, -2.0 * (y @ features.T))
        return BilinearCost(r, c, -2.0 * (x @ features), y)

    def cells(
        self, features: Float64Array, epsilon: float, tol: float, last: Cells | None = None
    ) -> Cells:
        """Best T for V (d_x, d_y), starting from the potentials of the last one."""
        step = Cells(features)
        problems = self._cell_problems(features, epsilon, last)
        for block, (problem, solved) in zip(
            self.parts.blocks, self._solved(problems, epsilon, tol), strict=True
        ):
            self._add(step, block, problem, solved)
        return step

    def _cell_problems(
        self, features: Float64Array, epsilon: float, last: Cells | None
    ) -> Iterator[Problem]:
        for i, block in enumerate(self.parts.blocks):
            cost = self.cost(block, features)
            start = _first_potentials(cost, epsilon)
            if last is not None:
                start = last.solved[i].f, last.solved[i].g
            yield Problem(cost, block.a, block.b, epsilon, *start)

    def _add(self, step: Cells, block: Block, problem: Problem, solved: Solved) -> None:
        """Add the solution of a block, and forget its plan if the potentials say all."""
        x, y, plan = self.x[block.rows], self.y[block.columns], solved.plan
        cross = (plan.T @ x).T @ y if x.shape[1] < y.shape[1] else x.T @ (plan @ y)
        rows, columns = (np.asarray(plan.sum(axis=axis)).ravel() for axis in (1, 0))
        step.add(x, y, cross, rows, columns)
        if problem.epsilon > 0:
            solved = judged(problem, solved)
            step.entropy_value += _dual_value(solved, block.a, block.b) - solved.transport_cost
            step.entropy_term += solved.objective - solved.transport_cost
            solved = replace(solved, plan=sp.csr_matrix(plan.shape))
        step.solved.append(solved)

    def features(
        self, cells: Cells, epsilon: float, tol: float, last: Solved | None = None
    ) -> Solved:
        """Best V for T, starting from the potentials of the last one."""
        start = (None, None) if last is None else (last.f, last.g)
        problem = Problem(cells.cost(), *self.masses, epsilon, *start)
        ((problem, solved),) = self._solved([problem], epsilon, tol)
        if epsilon > 0:
            return judged(problem, solved)
        return replace(solved, plan=solved.plan.toarray())

    def _solved(
        self, problems: Iterable[Problem], epsilon: float, tol: float
    ) -> Iterator[tuple[Problem, Solved]]:
        mine, theirs = tee(problems)
        exact = (solve_exactly(problem, SIMPLEX_ITERATIONS) for problem in theirs)
        return zip(mine, exact if epsilon == 0 else self.solve(theirs, tol), strict=True)

    def kept(self, descent: Descent) -> list[Solved]:
        """Return the blocks with their plans and errors, in the form that takes less memory."""
        out, cells = [], descent.cells
        assert cells is not None
        for block, solved in zip(self.parts.blocks, cells.solved, strict=True):
            plan = solved.plan
            if solved.epsilon > 0:
                cost = self.cost(block, cells.features)
                factors = PotentialPlan(cost, *solved.potentials, solved.epsilon)
                plan = factors if factors.nbytes < 8 * block.n_pairs else factors.rows()
            row_error, column_error = marginal_errors(plan, block.a, block.b)
            out.append(
                replace(
                    solved,
                    plan=plan,
                    row_error=row_error,
                    column_error=column_error,
                    converged=solved.converged and descent.resting and descent.features.converged,
                    at_rest=descent.resting and descent.feature_error <= BAD_MARGINAL,
                    cost_scale=self.scales[0],
                )
            )
        return out

    # ---------------------------------------------------------------------------------- descents

    def descend(self, start: Descent, epsilon: float, stop: Stop | None = None) -> Descent:
        """Improve T and V in turn at a relative eps until the objective, or V, comes to rest.

        Starts from V, and from the potentials of a descent at another eps.
        """
        stop = stop or self.stop
        eps = epsilon * self.scales[0], epsilon * self.scales[1]
        cells, features = start.cells, start.features
        # nothing to loosen without entropy, nor where the couplings hardly change any more
        loosen = epsilon > 0 and start.epsilon != epsilon
        tol = max(stop.tol, LOOSE) if loosen else stop.tol
        nothing = NOTHING * self.start.features.transport_cost
        path: list[float] = []
        last_tol, resting = None, False
        while not resting and len(path) < stop.max_outer:
            if len(path) == stop.max_outer - 1:
                tol = stop.tol
            cells = self.cells(features.plan, eps[0], tol, cells)
            before, last = features.plan, features if start.cells or path else None
            features = self.features(cells, eps[1], tol, last)
            value = features.transport_cost
            if epsilon > 0:
                value = _dual_value(features, *self.masses)
            path.append(value + cells.entropy_value)
            moved = float(np.abs(features.plan - before).sum())
            # a value to another tolerance is off by more than the fall
            fall = path[-2] - path[-1] if last_tol == tol else np.inf
            last_tol = tol
            fall /= max(abs(features.transport_cost), nothing) or 1.0
            resting = tol <= stop.tol and (fall <= stop.tol_outer or moved <= stop.tol)
            if fall <= NEAR_VALUE or moved <= NEAR_COUPLING:
                tol = stop.tol
        return Descent(cells, features, epsilon, tuple(path), resting, start.sweeps + len(path))

    def annealed(self, path: Iterable[float]) -> Iterator[tuple[float, Descent]]:
        """Yield the product, as of an infinite eps, and what is reached at each relative eps."""
        reached = self.start
        yield np.inf, reached
        for epsilon in path:
            reached = self.descend(reached, epsilon, ON_THE_WAY)
            yield epsilon, reached

    def chosen(self) -> tuple[float, Descent]:
        """Relative eps below which the transport cost hardly falls, and the descent down to it."""
        costs: list[float] = []
        for epsilon, reached in self.annealed(PATH):  # noqa: B007
            costs.append(reached.features.transport_cost)
            if is_enough(costs):
                break
        return epsilon, self.descend(reached, epsilon)

    def descents(
        self, epsilon: float | Literal["auto"], seed: int
    ) -> Iterator[tuple[float, Descent]]:
        """Yield relative eps and descent of every start, without end.

        From the product, through larger eps, and from random feature couplings.
        """
        if epsilon == AUTO:
            epsilon, descent = self.chosen()
            yield epsilon, descent
        else:
            yield epsilon, self.descend(self.start, epsilon)
            larger = [one for one in PATH if one > epsilon and one >= WARM]
            *_, (_, reached) = self.annealed(larger)
            yield epsilon, self.descend(reached, epsilon)
        rng = np.random.default_rng(seed)
        d_x, d_y = self.product.features.shape
        while True:
            # every feature of the source shares out its mass at random
            features = rng.dirichlet(np.ones(d_y), size=d_x) / d_x
            yield epsilon, self.descend(Descent(None, Solved(features)), epsilon)


def _dual_value(solved: Solved, a: Float64Array, b: Float64Array) -> float:
    """The least objective by its dual: off by the square of what the marginals are off."""
    f, g = solved.potentials
    return float(f @ a + g @ b - solved.epsilon * a.sum())


def _first_potentials(
    cost: BilinearCost, epsilon: float
) -> tuple[Float64Array | None, Float64Array | None]:
    """Potentials that take out r and c if what remains is small against eps, else None.

    None makes Sinkhorn go through larger eps: it cannot know that r and c, the bulk of the costs,
    decide nothing.
    """
    left, right = (z[:: max(1, len(z) // SAMPLE)] for z in (cost.left, cost.right))
    rest = left @ right.T
    rest -= rest.mean(axis=0)
    rest -= rest.mean(axis=1, keepdims=True)
    return (cost.r, cost.c) if np.ptp(rest) <= NARROW * epsilon else (None, None)


def is_enough(costs: Sequence[float]) -> bool:
    """Whether a smaller eps is not worth it, from the costs of the product and at each eps."""
    whole = costs[0] - costs[-1]
    return len(costs) > 2 and whole > STARTED * costs[0] and costs[-2] - costs[-1] < ENOUGH * whole


def _without_middle(x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Both less a number from the middle of all values. Zeros where only rounding is left."""
    middle = 0.5 * (x.mean() + y.mean())
    centered = x - middle, y - middle
    size = max(float(np.abs(z).max(initial=0.0)) for z in centered)
    return centered if size > ROUNDING * abs(middle) else (np.zeros_like(x), np.zeros_like(y))


@ALIGNERS.register("coot")
@dataclass(frozen=True, kw_only=True)
class CoOptimalTransport(EntropicAligner):
    """Co-optimal transport: couple cells and features at once, so that no shared space is needed.

    ``min sum_ijkl (X_ik - Y_jl)^2 T_ij V_kl - eps_1 H(T) - eps_2 H(V)``

    over cell couplings T (n_source, n_target), zero across labels, and feature couplings V
    (d_source, d_target) of uniform masses. V is one for all labels: labels inform one another by
    it. Cells and features are improved in turn, each a linear problem, from product couplings until
    the objective comes to rest: at a stationary point, of which there are many.

    Only squared differences count: give every feature a like scale first, such as mean 0 and
    standard deviation 1. With neither labels nor any difference between the means of cells and of
    features, the product couplings are stationary: ask for more starts then.

    Parameters
    ----------
    epsilon
        eps_1 and eps_2, relative to the mean cost between cells, over all labels, and between
        features at the product couplings. 0: exact, by linear programs. About as many pairs as
        cells then have mass. ``"auto"`` (default): T and V pass through ever smaller eps, which
        finds better stationary points than a small one at once, and stop where the transport cost
        falls by less than 5 % of its whole fall so far. Usually between 0.01 and 0.001.
    tol_outer
        Stop when a sweep lowers the objective by less than this share of the transport cost, or
        moves V by less than ``tol`` (L1).
    max_outer
        Largest number of sweeps.
    n_starts
        Descents, of which the best is returned. The first starts from product couplings. The second
        from V at large eps, unless ``epsilon="auto"`` did that already. The others from a random V.
    seed
        Of the random starts.
    tol
        The L1 error of the column marginals of T, and of V, relative to the mass, is below this in
        the end.
    max_iter
        Largest number of Sinkhorn iterations of a linear problem.
    backend, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`. Exact problems are always solved by POT.

    Notes
    -----
    The evidence has, beside that of every coupling: ``feature_coupling`` V (d_source, d_target) and
    the L1 error of its marginals ``feature_error``. ``objectives`` of all starts. ``n_outer``, the
    sweeps. ``epsilon_relative`` and ``epsilon_features_absolute``.

    References
    ----------
    Redko et al. 2020, arXiv 2002.03731. Ryu et al. 2024, arXiv 2405.00838 (labels).
    """

    name: ClassVar[str] = "coot"
    shared_space: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy", "pot")

    epsilon: float | Literal["auto"] = "auto"
    tol_outer: float = 1e-7
    max_outer: int = 200
    n_starts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epsilon == 0:  # which the other methods have no use for
            self._check_stop()
        else:
            super().__post_init__()
        if not self.tol_outer > 0:
            raise InputError(f"tol_outer must be positive, such as 1e-7; found {self.tol_outer!r}.")
        for option in ("max_outer", "n_starts"):
            if getattr(self, option) < 1:
                value = getattr(self, option)
                raise InputError(f"{option} must be an integer of at least 1; found {value!r}.")

    def _solve_all(
        self, parts: Partition, x: Float64Array, y: Float64Array
    ) -> tuple[list[Solved], Evidence]:
        # a number taken from all values changes no difference; left in, potentials grow as its
        # square and lose digits
        x, y = _without_middle(x, y)
        stop = Stop(self.tol, self.tol_outer, self.max_outer)
        search = Search(parts, x, y, self._solve_to, stop)
        objectives: list[float] = []
        for epsilon, descent in islice(search.descents(self.epsilon, self.seed), self.n_starts):
            if not objectives or descent.objective < min(objectives):
                best, relative = descent, float(epsilon)
            objectives.append(descent.objective)
        evidence: Evidence = {
            "transport_cost": best.features.transport_cost,
            "objective": best.objective,
            "objectives": np.array(objectives),
            "n_outer": best.sweeps,
            "feature_coupling": best.features.plan,
            "feature_error": best.feature_error,
            "epsilon_relative": relative,
            "epsilon_features_absolute": relative * search.scales[1],
        }
        if self.epsilon == 0:
            evidence["backend_used"] = "pot"
        return search.kept(best), evidence

    def _solve_to(self, problems: Iterable[Problem], tol: float) -> Iterator[Solved]:
        return self._solve_problems(problems, tol=tol)

    def _advice(self) -> str:
        outer = f"Raise max_outer (now {self.max_outer}), or tol_outer (now {self.tol_outer:g})"
        if self.epsilon == 0:
            return f"{outer}."
        now = self.epsilon if self.epsilon == AUTO else f"{self.epsilon:g}"
        return f"{outer}, max_iter (now {self.max_iter}), or epsilon (now {now} of the mean cost)."

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: of work, features and plans."""
        d_x, d_y = x.shape[1], y.shape[1]
        pair = ENTROPIC_BYTES if self.epsilon else EXACT_BYTES
        work, kept = 0, 0
        for block in parts.blocks:
            work = max(work, pair * block.n_pairs + 16 * block.n_cells * max(d_x, d_y))
            factors = block.n_cells * (min(d_x, d_y) + 2)
            kept += 8 * min(block.n_pairs, factors) if self.epsilon else 20 * block.n_cells
        return (work + kept) / 1e9 + self._feature_memory(x, y)

    def _feature_memory(self, x: Float64Array, y: Float64Array) -> float:
        """Return the memory of V and its costs, now, before and at first, and of work, in GB."""
        work = ENTROPIC_BYTES if self.epsilon else EXACT_BYTES
        return (64 + work) * int(x.shape[1]) * int(y.shape[1]) / 1e9

    def _check_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> None:
        needed, features = self.estimate_memory(parts, x, y), self._feature_memory(x, y)
        if needed > self.max_memory_gb and features > needed / 2:
            raise TooLargeError(
                f"method {self.name!r} would need about {needed:.1f} GB, more than "
                f"max_memory_gb={self.max_memory_gb:g}, most of it to couple {x.shape[1]} x "
                f"{y.shape[1]} features. To go on, reduce the features (keep the most variable "
                f"ones, or take PCA of each modality), or raise max_memory_gb if the machine has "
                f"the memory."
            )
        super()._check_memory(parts, x, y)

    def _memory_advice(self) -> list[str]:
        return [] if self.epsilon else ["allow an entropy (epsilon='auto')"]

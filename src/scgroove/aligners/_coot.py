"""Co-optimal transport: modalities without a shared space, matched cell by cell and feature by feature at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Real
from typing import Any, ClassVar, Final, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

from scgroove._types import Float64Array
from scgroove.aligners._blocks import Block, Partition
from scgroove.aligners._entropic import EntropicAligner, Task
from scgroove.aligners._epsilon import AUTO, SMALLEST, CostSummary, cost_scale
from scgroove.aligners._linear import exact_plan
from scgroove.aligners._low_rank import plan_errors
from scgroove.aligners._plans import BlockPlan, PotentialPlan
from scgroove.aligners._sinkhorn import Problem, Scaled
from scgroove.aligners.base import ALIGNERS, BAD_MARGINAL, Evidence, Solution, Solved
from scgroove.aligners.costs import BilinearCost, FixedCost
from scgroove.errors import InputError, TooLargeError

PATH: Final = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""Relative eps that annealing passes through."""

WARM: Final = 1e-2
"""Smallest eps on the way to a given one: below it, couplings hardly change any more but for their sharpness."""

ENOUGH: Final = 0.05
"""``epsilon="auto"`` stops where the transport cost falls by less than this share of its whole fall."""

ROUNDING: Final = 1e-13
"""Share of their middle within which values differ by rounding only."""

STARTED: Final = 1e-2
"""Fall of the transport cost, relative to that of the product couplings, below which nothing has been matched yet."""

LOOSE: Final = 1e-2
"""Tolerance of Sinkhorn while the couplings still change much; the last solutions meet ``tol``."""

NEAR_VALUE: Final = 1e-3
NEAR_COUPLING: Final = 1e-2
"""Relative fall of the objective, and change of the feature coupling (L1), in a sweep, below which they do not."""

NOTHING: Final = 1e-6
"""Share of the cost of the product couplings that counts as none: below it, rounding decides."""

NARROW: Final = 40.0
"""Range of costs, in units of eps, that Sinkhorn bears without annealing."""

SAMPLE: Final = 64
"""Rows and columns from which that range is judged."""

SIMPLEX_ITERATIONS: Final = 10_000_000
"""Largest number of iterations of a linear programme."""

EXACT_BYTES: Final = 160
ENTROPIC_BYTES: Final = 16
"""Memory of the work on a pair of cells, or of features."""

Pair: TypeAlias = tuple[float, float]
"""A number for the cells, and one for the features."""

Potentials: TypeAlias = "tuple[Float64Array | None, Float64Array | None]"

Solver: TypeAlias = Callable[[Iterable[Task], float], Iterator[tuple[Problem, Scaled]]]
"""Solver of entropic tasks to a tolerance."""


# ------------------------------------------------------------------------------------------------------------ two steps


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a linear problem ``min <C, T> - eps H(T)`` came to.

    Attributes
    ----------
    rows, columns
        Sums of the plan, (n,) and (m,).
    linear
        <C, T>.
    value
        The least objective, by its dual ``<f, a> + <g, b> - eps sum a``: off by the square of what the marginals are off.
    objective
        The objective of this plan, ``<f, T1> + <g, T'1> - eps sum T``: off by as much as the marginals.
    row_error, column_error
        L1 errors of the marginals.
    """

    rows: Float64Array
    columns: Float64Array
    linear: float
    value: float
    objective: float
    row_error: float
    column_error: float

    @classmethod
    def of(cls, problem: Problem, solved: Scaled) -> Outcome:
        """Judge a solution; without entropy, there are no potentials."""
        plan, a, b, eps = solved.plan, problem.a, problem.b, problem.epsilon
        rows, columns = plan.sum(axis=1), plan.sum(axis=0)
        value = objective = linear = float(np.vdot(problem.cost, plan))
        if eps > 0:
            value = float(solved.f @ a + solved.g @ b - eps * a.sum())
            objective = float(solved.f @ rows + solved.g @ columns - eps * rows.sum())
        errors = float(np.abs(rows - a).sum()), float(np.abs(columns - b).sum())
        return cls(rows, columns, linear, value, objective, *errors)


@dataclass(frozen=True, eq=False)
class FeatureStep:
    """The feature coupling that is best for a cell coupling.

    Attributes
    ----------
    plan
        V (d_x, d_y), of mass 1.
    transport_cost, value, objective
        <W, V>, the least ``<W, V> - eps_2 H(V)``, and that of V; see :class:`Outcome`.
    error
        L1 error of the marginals.
    converged
        Whether the solver reached its tolerance, or the optimum.
    potentials
        From which the next solution can start.
    """

    plan: Float64Array
    transport_cost: float = np.inf
    value: float = np.inf
    objective: float = np.inf
    error: float = 0.0
    converged: bool = True
    potentials: Potentials = (None, None)


@dataclass(eq=False)
class CellStep:
    """The cell coupling that is best for a feature coupling, and what the features need to know of it.

    Attributes
    ----------
    features
        The feature coupling V (d_x, d_y) it is best for.
    cross
        ``sum_l X_l' T_l Y_l``, (d_x, d_y).
    r, c
        ``(X^2)' T 1`` and ``(Y^2)' T' 1``, (d_x,) and (d_y,).
    entropy_value, entropy_term
        ``-eps_1 H``: of a coupling with exact marginals, to first order; and of T.
    solved
        What is known of each block; its plan is missing where the potentials say all.
    potentials
        Those of each block.
    """

    features: Float64Array
    cross: Float64Array
    r: Float64Array
    c: Float64Array
    entropy_value: float = 0.0
    entropy_term: float = 0.0
    solved: list[Solved] = field(default_factory=list)
    potentials: list[Potentials] = field(default_factory=list)

    @classmethod
    def empty(cls, features: Float64Array) -> CellStep:
        """Return one to which blocks are to be added."""
        d_x, d_y = features.shape
        return cls(features, np.zeros((d_x, d_y)), np.zeros(d_x), np.zeros(d_y))

    def add(
        self,
        x: Float64Array,
        y: Float64Array,
        cross: Float64Array,
        a: Float64Array,
        b: Float64Array,
    ) -> None:
        """Add the cells of a block, x (n, d_x) and y (m, d_y), with ``x' T y`` and the row and column sums of T."""
        self.cross += cross
        self.r += np.einsum("ik,ik,i->k", x, x, a)
        self.c += np.einsum("ik,ik,i->k", y, y, b)

    def cost(self) -> FixedCost:
        """Return the costs between features, ``W_kl = r_k + c_l - 2 cross_kl``."""
        matrix = -2.0 * self.cross
        matrix += self.r[:, None]
        matrix += self.c
        return FixedCost(matrix)


@dataclass(frozen=True, eq=False)
class Sweeps:
    """Cells and features in turn, each the solution of linear problems while the other is held.

    Attributes
    ----------
    parts
        Blocks of cells.
    x, y
        Representations (n, d_x) and (m, d_y).
    solve
        Solver of entropic tasks.
    """

    parts: Partition
    x: Float64Array
    y: Float64Array
    solve: Solver

    @property
    def masses(self) -> tuple[Float64Array, Float64Array]:
        """Uniform masses of the features, (d_x,) and (d_y,)."""
        d_x, d_y = self.x.shape[1], self.y.shape[1]
        return np.full(d_x, 1.0 / d_x), np.full(d_y, 1.0 / d_y)

    def cells(
        self, features: Float64Array, epsilon: float, tol: float, last: CellStep | None = None
    ) -> CellStep:
        """Return the best T for V (d_x, d_y), starting from the potentials of the last one."""
        step = CellStep.empty(features)
        solved = self._solved(self._cell_tasks(features, epsilon, last), epsilon, tol)
        for block, (problem, scaled) in zip(self.parts.blocks, solved, strict=True):
            self._add(step, block, problem, scaled)
        return step

    def _cell_tasks(
        self, features: Float64Array, epsilon: float, last: CellStep | None
    ) -> Iterator[Task]:
        for i, block in enumerate(self.parts.blocks):
            cost = self.cost(block, features)
            f, g = last.potentials[i] if last is not None else first_potentials(cost, epsilon)
            yield Task(cost, block.a, block.b, epsilon, f, g)

    def cost(self, block: Block, features: Float64Array) -> BilinearCost:
        """Return ``M_ij = sum_kl (x_ik - y_jl)^2 V_kl`` of a block, from as few columns as possible."""
        x, y = self.x[block.rows], self.y[block.columns]
        r = np.einsum("ik,ik,k->i", x, x, features.sum(axis=1))
        c = np.einsum("ik,ik,k->i", y, y, features.sum(axis=0))
        if x.shape[1] < y.shape[1]:
            return BilinearCost(r, c, x, -2.0 * (y @ features.T))
        return BilinearCost(r, c, -2.0 * (x @ features), y)

    def _add(self, step: CellStep, block: Block, problem: Problem, scaled: Scaled) -> None:
        """Add the solution of a block, and forget its plan if the potentials say all."""
        x, y, outcome = self.x[block.rows], self.y[block.columns], Outcome.of(problem, scaled)
        exact = problem.epsilon == 0
        plan = sp.csr_matrix(scaled.plan) if exact else scaled.plan
        cross = (plan.T @ x).T @ y if x.shape[1] < y.shape[1] else x.T @ (plan @ y)
        step.add(x, y, cross, outcome.rows, outcome.columns)
        step.entropy_value += outcome.value - outcome.linear
        step.entropy_term += outcome.objective - outcome.linear
        step.potentials.append((scaled.f, scaled.g))
        step.solved.append(
            Solved(
                plan=plan if exact else sp.csr_matrix(plan.shape),
                row_error=outcome.row_error,
                column_error=outcome.column_error,
                converged=scaled.converged,
                transport_cost=outcome.linear,
                objective=outcome.objective,
                iterations=scaled.iterations,
                epsilon=problem.epsilon,
            )
        )

    def features(
        self, cells: CellStep, epsilon: float, tol: float, last: FeatureStep | None = None
    ) -> FeatureStep:
        """Return the best V for T, starting from the potentials of the last one."""
        f, g = last.potentials if last is not None else (None, None)
        task = Task(cells.cost(), *self.masses, epsilon, f, g)
        problem, scaled = next(self._solved([task], epsilon, tol))
        found = Outcome.of(problem, scaled)
        return FeatureStep(
            plan=scaled.plan,
            transport_cost=found.linear,
            value=found.value,
            objective=found.objective,
            error=found.row_error + found.column_error,
            converged=scaled.converged,
            potentials=(scaled.f, scaled.g),
        )

    def _solved(
        self, tasks: Iterable[Task], epsilon: float, tol: float
    ) -> Iterator[tuple[Problem, Scaled]]:
        return solve_exactly(tasks) if epsilon == 0 else self.solve(tasks, tol)

    def product(self) -> CellStep:
        """Return the product of the masses within each block, as found for the product of those of the features."""
        step = CellStep.empty(np.outer(*self.masses))
        for block in self.parts.blocks:
            x, y = self.x[block.rows], self.y[block.columns]
            step.add(x, y, np.outer(block.a @ x, block.b @ y) / block.mass, block.a, block.b)
        return step

    def kept(self, descent: Descent, cost_scale: float) -> list[Solved]:
        """Return the blocks with their plans: CSR without entropy, else potentials or dense, whichever takes less memory."""
        cells, out = descent.cells, []
        for i, (block, solved) in enumerate(zip(self.parts.blocks, cells.solved, strict=True)):
            plan = self._plan(block, cells, i)
            row_error, column_error = plan_errors(
                plan, block.a, block.b
            )  # of what is kept, computed anew
            out.append(
                replace(
                    solved,
                    plan=plan,
                    row_error=row_error,
                    column_error=column_error,
                    converged=solved.converged and descent.converged,
                    at_rest=descent.at_rest,
                    cost_scale=cost_scale,
                )
            )
        return out

    def _plan(self, block: Block, cells: CellStep, i: int) -> BlockPlan:
        solved, (f, g) = cells.solved[i], cells.potentials[i]
        if solved.epsilon == 0 or f is None or g is None:
            return solved.plan
        factors = PotentialPlan(self.cost(block, cells.features), f, g, solved.epsilon)
        return factors if factors.nbytes < 8 * block.n_pairs else factors.rows()


def without_middle(x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return both less a number from the middle of all values; zeros where nothing but rounding is left."""
    middle = 0.5 * (x.mean() + y.mean())
    centered = x - middle, y - middle
    size = max(float(np.abs(z).max(initial=0.0)) for z in centered)
    return centered if size > ROUNDING * abs(middle) else (np.zeros_like(x), np.zeros_like(y))


def solve_exactly(tasks: Iterable[Task]) -> Iterator[tuple[Problem, Scaled]]:
    """Yield problems and their solutions without entropy; their potentials are zero."""
    for task in tasks:
        problem = task.problem()
        plan, optimal = exact_plan(problem.cost, task.a, task.b, SIMPLEX_ITERATIONS)
        yield problem, Scaled(plan, np.zeros_like(task.a), np.zeros_like(task.b), -1, optimal)


def first_potentials(cost: BilinearCost, epsilon: float) -> Potentials:
    """Return potentials that take out r and c if what remains is small against eps, else None.

    None makes Sinkhorn go through larger eps, since it cannot know that r and c, the bulk of the costs, decide nothing.
    """
    left, right = (z[:: max(1, len(z) // SAMPLE)] for z in (cost.left, cost.right))
    rest = left @ right.T
    rest -= rest.mean(axis=0)
    rest -= rest.mean(axis=1, keepdims=True)
    return (cost.r, cost.c) if np.ptp(rest) <= NARROW * epsilon else (None, None)


# -------------------------------------------------------------------------------------------------------------- descent


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
    """A stationary point and how it was reached.

    Attributes
    ----------
    cells, features
        T and V.
    epsilon
        Absolute eps of cells and features.
    path
        Objective after each sweep at this eps, by the duals: to first order, that of couplings with exact marginals.
    resting
        Whether the objective, or V, came to rest.
    sweeps
        Sweeps in all, those at larger eps included.
    """

    cells: CellStep
    features: FeatureStep
    epsilon: Pair
    path: tuple[float, ...]
    resting: bool
    sweeps: int

    @property
    def converged(self) -> bool:
        """Whether it came to rest, at a V that meets its tolerance."""
        return self.resting and self.features.converged

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to warn of but the marginals of T."""
        return self.resting and self.features.error <= BAD_MARGINAL

    @property
    def transport_cost(self) -> float:
        """``sum_ijkl (X_ik - Y_jl)^2 T_ij V_kl``."""
        return self.features.transport_cost

    @property
    def objective(self) -> float:
        """What was minimized, for this T and V."""
        return self.features.objective + self.cells.entropy_term


def descend(
    sweeps: Sweeps, start: FeatureStep | Descent, epsilon: Pair, stop: Stop, nothing: float = 0.0
) -> Descent:
    """Improve T and V in turn until the objective, or V, comes to rest.

    Parameters
    ----------
    sweeps
        The two steps.
    start
        V to start from; or a descent at another eps, to start from its potentials too.
    epsilon
        Absolute eps of cells and features.
    stop
        When it is over.
    nothing
        Cost that counts as none, where a fall relative to the cost would be relative to rounding.

    Returns
    -------
    Descent
        Not converged after ``stop.max_outer`` sweeps.
    """
    known = start if isinstance(start, Descent) else None
    cells, features = (known.cells, known.features) if known is not None else (None, start)
    assert isinstance(features, FeatureStep)
    # nothing to loosen without entropy, nor where the couplings hardly change any more
    going_on = known is not None and known.epsilon == epsilon
    tol = stop.tol if going_on or max(epsilon) == 0 else max(stop.tol, LOOSE)
    path: list[float] = []
    last_tol, resting = None, False
    while not resting and len(path) < stop.max_outer:
        if len(path) == stop.max_outer - 1:
            tol = stop.tol
        cells = sweeps.cells(features.plan, epsilon[0], tol, cells)
        before, features = features, sweeps.features(cells, epsilon[1], tol, features)
        path.append(features.value + cells.entropy_value)
        moved = float(np.abs(features.plan - before.plan).sum())
        # a value to another tolerance is off by more than the fall
        fall = path[-2] - path[-1] if last_tol == tol else np.inf
        last_tol = tol
        fall /= max(abs(features.transport_cost), nothing) or 1.0
        resting = tol <= stop.tol and (fall <= stop.tol_outer or moved <= stop.tol)
        if fall <= NEAR_VALUE or moved <= NEAR_COUPLING:
            tol = stop.tol
    assert cells is not None
    spent = len(path) + (known.sweeps if known is not None else 0)
    return Descent(cells, features, epsilon, tuple(path), resting, spent)


@dataclass(frozen=True, eq=False)
class Search:
    """Descents from several starts.

    Attributes
    ----------
    sweeps
        The two steps.
    product
        The product couplings, from which the first descent starts.
    scales
        Costs that eps is relative to.
    epsilon_features
        Relative eps of the features, if not that of the cells.
    stop
        When a descent is over.
    """

    sweeps: Sweeps
    product: CellStep
    scales: Pair
    epsilon_features: float | None
    stop: Stop

    @property
    def start(self) -> FeatureStep:
        """The product coupling of the features, with its cost."""
        plan = self.product.features
        return FeatureStep(plan, transport_cost=float(np.vdot(self.product.cost().matrix, plan)))

    def pair(self, epsilon: float) -> Pair:
        """Return the relative eps of cells and features."""
        return epsilon, epsilon if self.epsilon_features is None else self.epsilon_features

    def descend(
        self, start: FeatureStep | Descent, epsilon: float, stop: Stop | None = None
    ) -> Descent:
        """Descend at a relative eps."""
        absolute = (self.pair(epsilon)[0] * self.scales[0], self.pair(epsilon)[1] * self.scales[1])
        return descend(
            self.sweeps, start, absolute, stop or self.stop, NOTHING * self.start.transport_cost
        )

    def annealed(self, path: Iterable[float]) -> Iterator[tuple[float, FeatureStep | Descent]]:
        """Yield the product, as of an infinite eps, and what is reached at each relative eps from the one before."""
        reached: FeatureStep | Descent = self.start
        yield np.inf, reached
        for epsilon in path:
            reached = self.descend(reached, epsilon, ON_THE_WAY)
            yield epsilon, reached

    def chosen(self) -> tuple[float, Descent]:
        """Return the relative eps below which the transport cost hardly falls, and the descent down to it."""
        costs: list[float] = []
        for now, reached in self.annealed(PATH):
            costs.append(reached.transport_cost)
            epsilon, last = now, reached
            if is_enough(costs):
                break
        return epsilon, self.descend(last, epsilon)

    def warmed(self, epsilon: float) -> Descent:
        """Return the descent at a relative eps from what is reached at larger ones."""
        *_, (_, reached) = self.annealed(
            larger for larger in PATH if larger > epsilon and larger >= WARM
        )
        return self.descend(reached, epsilon)

    def random(self, epsilon: float, seed: int) -> Iterator[Descent]:
        """Yield descents from random feature couplings: every feature of the source shares out its mass at random."""
        rng = np.random.default_rng(seed)
        d_x, d_y = self.product.features.shape
        while True:
            yield self.descend(FeatureStep(rng.dirichlet(np.ones(d_y), size=d_x) / d_x), epsilon)

    def descents(
        self, epsilon: float | Literal["auto"], seed: int
    ) -> Iterator[tuple[float, Descent]]:
        """Yield relative eps and descent of every start, without end: from the product, through larger eps, at random."""
        if epsilon == AUTO:
            epsilon, descent = self.chosen()
            yield epsilon, descent
        else:
            yield epsilon, self.descend(self.start, epsilon)
            yield epsilon, self.warmed(epsilon)
        for descent in self.random(epsilon, seed):
            yield epsilon, descent


def is_enough(costs: Sequence[float]) -> bool:
    """Whether a smaller eps is not worth it, from the transport costs of the product and at each eps so far."""
    whole = costs[0] - costs[-1]
    return len(costs) > 2 and whole > STARTED * costs[0] and costs[-2] - costs[-1] < ENOUGH * whole


def check_share(option: str, value: Any, other: str) -> None:
    """Refuse an eps that is neither 0 nor a share of the cost that can be computed with.

    Raises
    ------
    ValueError
        Naming the option, and what else it may be.
    """
    known = isinstance(value, Real) and not isinstance(value, bool)
    if known and (value == 0 or SMALLEST <= value < np.inf):
        return
    likely = (
        f" Below {SMALLEST:g}, rounding decides: use 0." if known and 0 < value < SMALLEST else ""
    )
    raise InputError(
        f"{option} must be positive, relative to the cost that epsilon_scale names, or 0 for an exact coupling, or {other}; "
        f"found {value!r}.{likely}"
    )


# -------------------------------------------------------------------------------------------------------------- aligner


@ALIGNERS.register("coot")
@dataclass(frozen=True, kw_only=True)
class CoOptimalTransport(EntropicAligner):
    """Co-optimal transport: couple cells and features at once, so that no shared space is needed.

    ``min sum_ijkl (X_ik - Y_jl)^2 T_ij V_kl - eps_1 H(T) - eps_2 H(V)``

    over cell couplings T (n_source, n_target), zero across labels, and feature couplings V (d_source, d_target) of uniform
    masses; H(T) = -sum_ij T_ij (log T_ij - 1). With labels, T has a block for each and V is one for all: labels inform one
    another by it. Cells and features are improved in turn, each a linear problem, from product couplings until the
    objective comes to rest: at a stationary point, of which there are many.

    Only squared differences count: give every feature a like scale first, such as mean 0 and standard deviation 1. With
    neither labels nor any difference between the means of cells and of features, the product couplings are
    stationary: ask for more starts then.

    Parameters
    ----------
    epsilon
        eps_1, relative to the mean (or largest) cost between cells at the product couplings, over all labels. 0: exact,
        by linear programmes; about as many pairs as cells then have mass. ``"auto"`` (default): T and V pass through ever
        smaller eps, which finds better stationary points than a small one at once, and stop where the transport cost
        falls by less than 5 % of its whole fall so far; usually between 0.01 and 0.001.
    epsilon_features
        eps_2, relative to the mean (or largest) cost between features at the product couplings; None: as ``epsilon``. 0:
        exact, so V is nearly a permutation of the features.
    epsilon_scale
        ``"mean"`` or ``"max"``: the cost that eps is relative to. The absolute eps stays what it is from the first sweep
        to the last, so that there is one objective to fall; the released code of Ryu et al. divides by the largest cost
        anew in every sweep.
    tol_outer
        Stop when a sweep lowers the objective by less than this share of the transport cost, or moves V by less than
        ``tol`` (L1).
    max_outer
        Largest number of sweeps.
    n_starts
        Descents, of which the best is returned. The first starts from product couplings; the second from V at large eps,
        unless ``epsilon="auto"`` did that already; the others from a random V.
    seed
        Of the random starts.
    tol
        The L1 error of the column marginals of T, and of V, relative to the mass, is below this in the end.
    max_iter
        Largest number of Sinkhorn iterations of a linear problem.
    backend
        ``"numpy"`` (our solver, on the CPU), ``"pot"`` (that of POT, for comparison: without annealing and slower),
        ``"jax"`` (on the device that JAX has, many blocks at a time), or ``"auto"``: JAX if its device is not a CPU,
        else NumPy. Exact problems are always solved by POT.
    label_weights
        Mass of a label: ``"mean"`` of its shares of the source and target cells, ``"source"``, ``"target"`` or
        ``"equal"``.
    max_memory_gb
        Refuse, before taking any, to use more memory than this.
    strict
        Raise :class:`ConvergenceError` instead of warning about a bad solution.

    Notes
    -----
    The evidence has, beside that of every coupling: ``feature_coupling`` V (d_source, d_target) and the L1 error of its
    marginals ``feature_error``; ``objective``, and ``transport_cost`` without the entropies; ``objectives`` of all
    starts; ``n_outer``, the sweeps; ``epsilon_relative``, ``epsilon_features_relative`` and
    ``epsilon_features_absolute``.

    References
    ----------
    Redko et al. 2020, arXiv 2002.03731; Ryu et al. 2024, arXiv 2405.00838 (labels); user guide, "Alignment".
    """

    name: ClassVar[str] = "coot"
    shared_space: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy", "pot")

    epsilon: float | Literal["auto"] = "auto"
    epsilon_features: float | None = None
    tol_outer: float = 1e-7
    max_outer: int = 200
    n_starts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        if self.epsilon != AUTO:
            check_share("epsilon", self.epsilon, "'auto'")
        if self.epsilon_features is not None:
            check_share("epsilon_features", self.epsilon_features, "None for the same as epsilon")
        checked = copy(self)
        if self.epsilon == 0:  # which the other methods have no use for
            object.__setattr__(checked, "epsilon", AUTO)
        EntropicAligner.__post_init__(checked)
        if not self.tol_outer > 0:
            raise InputError(f"tol_outer must be positive, such as 1e-7; found {self.tol_outer!r}.")
        for option in ("max_outer", "n_starts"):
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{option} must be an integer of at least 1; found {value!r}.")

    # ---------------------------------------------------------------------------------------- solution

    @property
    def _exact(self) -> tuple[bool, bool]:
        """Whether cells, and features, have no entropy."""
        features = self.epsilon if self.epsilon_features is None else self.epsilon_features
        return self.epsilon == 0, features == 0

    def _solve_all(self, parts: Partition, x: Float64Array, y: Float64Array) -> Solution:
        # a number taken from all values changes no difference; left in, potentials grow as its square and lose digits
        x, y = without_middle(x, y)
        sweeps = Sweeps(parts, x, y, lambda tasks, tol: self._solve_tasks(tasks, tol=tol))
        product = sweeps.product()
        stop = Stop(self.tol, self.tol_outer, self.max_outer)
        search = Search(sweeps, product, self._scales(sweeps, product), self.epsilon_features, stop)
        objectives: list[float] = []
        for epsilon, descent in islice(search.descents(self.epsilon, self.seed), self.n_starts):
            if not objectives or descent.objective < min(objectives):
                best, relative = descent, search.pair(float(epsilon))
            objectives.append(descent.objective)
        evidence = self._found(relative, search.scales, objectives, best)
        return Solution(sweeps.kept(best, search.scales[0]), evidence)

    def _scales(self, sweeps: Sweeps, product: CellStep) -> Pair:
        """Return the costs that eps is relative to."""
        costs = (sweeps.cost(block, product.features).rows() for block in sweeps.parts.blocks)
        cells = cost_scale(map(CostSummary.of, costs), self.epsilon_scale)
        return cells, cost_scale([CostSummary.of(product.cost().matrix)], self.epsilon_scale)

    def _found(
        self, relative: Pair, scales: Pair, objectives: list[float], best: Descent
    ) -> Evidence:
        found: Evidence = {
            "transport_cost": best.transport_cost,
            "objective": best.objective,
            "objectives": np.array(objectives),
            "n_outer": best.sweeps,
            "feature_coupling": best.features.plan,
            "feature_error": best.features.error,
            "epsilon_relative": relative[0],
            "epsilon_features_relative": relative[1],
            "epsilon_features_absolute": relative[1] * scales[1],
        }
        return {**found, "backend_used": "pot"} if all(self._exact) else found

    def _advice(self) -> str:
        outer = f"Raise max_outer (now {self.max_outer}), or tol_outer (now {self.tol_outer:g})"
        now = self.epsilon if self.epsilon == AUTO else f"{self.epsilon:g}"
        inner = f", max_iter (now {self.max_iter}), or epsilon (now {now} of the {self.epsilon_scale} cost)"
        return f"{outer}{'' if all(self._exact) else inner}."

    # ------------------------------------------------------------------------------------------ memory

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the largest memory needed at a time, in GB: the largest block, the features, and what is kept."""
        cells = max(self._block_bytes(block, x.shape[1], y.shape[1]) for block in parts.blocks)
        kept = sum(self._kept_bytes(block, x.shape[1], y.shape[1]) for block in parts.blocks)
        return (cells + kept) / 1e9 + self._feature_memory(x, y)

    def _block_bytes(self, block: Block, d_x: int, d_y: int) -> int:
        pair = EXACT_BYTES if self._exact[0] else ENTROPIC_BYTES
        return pair * block.n_pairs + 16 * (block.rows.size + block.columns.size) * max(d_x, d_y)

    def _kept_bytes(self, block: Block, d_x: int, d_y: int) -> int:
        cells = block.rows.size + block.columns.size
        return 20 * cells if self._exact[0] else 8 * min(block.n_pairs, cells * (min(d_x, d_y) + 2))

    def _feature_memory(self, x: Float64Array, y: Float64Array) -> float:
        """Return the memory of V, its costs and what they come from, now, before and at first, and of the work, in GB."""
        work = EXACT_BYTES if self._exact[1] else ENTROPIC_BYTES
        pairs = int(x.shape[1]) * int(y.shape[1])
        return (64 + work) * pairs / 1e9

    def _check_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> None:
        needed, features = self.estimate_memory(parts, x, y), self._feature_memory(x, y)
        if needed > self.max_memory_gb and features > needed / 2:
            raise TooLargeError(
                f"method {self.name!r} would need about {needed:.1f} GB, more than max_memory_gb={self.max_memory_gb:g}, "
                f"most of it to couple {x.shape[1]} x {y.shape[1]} features. To go on, reduce the features (keep the "
                f"most variable ones, or take PCA of each modality), or raise max_memory_gb if the machine has the memory."
            )
        super()._check_memory(parts, x, y)

    def _memory_advice(self) -> list[str]:
        return ["allow an entropy (epsilon='auto')"] if self._exact[0] else []

"""Solvers in JAX: many entropic problems in one compiled program, and low-rank couplings of large ones.

The only place that knows of jax and ott. Import it where it is used, not at the head of another module: it takes
seconds.

Batches. Problems are padded to a few common sizes and stacked; padding has no mass and an infinite cost, so that
the kernel is zero there. The mathematics are those of :mod:`scgroove.aligners._sinkhorn`: scalings of an absorbed
kernel, over-relaxed, one update in the log domain wherever they leave a safe range, eps annealed. All decisions are
taken for each problem by itself, so that neither its solution nor its number of iterations depends on its company.

References
----------
Cuturi 2013, arXiv 1306.0895; Schmitzer 2019, arXiv 1610.06519 (absorption and annealing); Thibault et al. 2021,
arXiv 1711.01851 (over-relaxation); Chizat et al. 2018, arXiv 1607.05816, and Séjourné, Vialard and Peyré 2022,
arXiv 2201.00730 (relaxed marginals and their shift); Scetbon, Cuturi and Peyré 2021, arXiv 2103.04737 (low rank).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, Final, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry.low_rank import LRCGeometry
from ott.problems.linear.linear_problem import LinearProblem
from ott.problems.quadratic.quadratic_problem import QuadraticProblem
from ott.solvers.linear.sinkhorn_lr import LRSinkhorn
from ott.solvers.quadratic.gromov_wasserstein_lr import LRGromovWasserstein
from scipy.special import entr

from scgroove._types import Float64Array
from scgroove.aligners._sinkhorn import (
    ANNEAL_FACTOR,
    ANNEAL_TOL,
    MAX_OMEGA,
    NEGLIGIBLE,
    SAFE_SCALING,
    WINDOW,
    Problem,
    Scaled,
    annealing,
)
from scgroove.aligners.costs import unit_rows

CACHED_VALUES: Final = 2**17
"""Values of a batch on a CPU: costs and kernel (2 MB) stay in its cache, and few problems wait for a slow one. Also
the least that a batch is padded to elsewhere, so that a few small problems more do not compile anew."""

FINE_SIZE: Final = 256
"""Sizes above this are padded less: there, computing on padding costs more than compiling another shape."""

WORTH_COMPILING: Final = 2**21
"""Padding, in values over all problems, that may be computed on instead of compiling another shape (which takes a second)."""

SMALLEST_SIZE: Final = 16
"""Smallest padded size."""


def device() -> str:
    """Return the kind of device that JAX computes on: ``"cpu"``, ``"gpu"`` or ``"tpu"``."""
    return str(jax.default_backend())


def _float64() -> AbstractContextManager[Any]:
    """Return a context in which JAX computes in float64; the setting of the user is kept outside."""
    if not hasattr(jax, "enable_x64"):  # before JAX 0.8
        from jax import experimental

        return cast("AbstractContextManager[Any]", vars(experimental)["enable_x64"](True))
    return cast("AbstractContextManager[Any]", jax.enable_x64(True))


# ------------------------------------------------------------------------------------------------------------- batches


def solve_batch(
    problems: Sequence[Problem],
    *,
    tol: float,
    max_iter: int,
    rho: tuple[float, float] = (math.inf, math.inf),
    max_values: int = 2**25,
) -> list[Scaled]:
    """Solve many entropic problems, of any sizes, in few compiled programs.

    Parameters
    ----------
    problems
        Costs, masses, eps and potentials to start from, of each.
    tol
        Both marginals exact: stop when the L1 error of the columns, relative to the mass, is below this; rows are
        exact. Relaxed: when no potential changes by more than this, in units of eps, in an iteration.
    max_iter
        Largest number of iterations of a problem, over all eps.
    rho
        Absolute penalties of the two marginals, ``rho_1 KL(T1 | a) + rho_2 KL(T'1 | b)``; infinite: met exactly.
    max_values
        Most values of a batch, 8 bytes each, three or four times over; a problem larger than this is a batch of its
        own.

    Returns
    -------
    list of Scaled
        One solution a problem, in the order given.
    """
    solved: dict[int, Scaled] = {}
    balanced = math.isinf(rho[0]) and math.isinf(rho[1])
    with _float64():
        for shape, size, chosen in _chunks(problems, max_values):
            batch = _stack([problems[i] for i in chosen], shape, size)
            result = _solve(
                batch, tol, max_iter, jnp.asarray(rho, dtype=jnp.float64), balanced=balanced
            )
            solved.update(zip(chosen, _unstack(result, [problems[i] for i in chosen]), strict=True))
    return [solved[i] for i in range(len(problems))]


def _chunks(
    problems: Sequence[Problem], max_values: int
) -> Iterator[tuple[tuple[int, int], int, list[int]]]:
    """Yield padded shape, batch size and members of each batch."""
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, problem in enumerate(problems):
        n, m = problem.cost.shape
        buckets[padded(n), padded(m)].append(i)
    for shape, members in _merged(buckets).items():
        # A batch takes as long as its slowest problem; the smaller eps, the slower.
        members.sort(
            key=lambda i: problems[i].epsilon / max(float(problems[i].cost.mean()), 1e-300)
        )
        size = batch_size(shape, len(members), max_values, on_cpu=device() == "cpu")
        for start in range(0, len(members), size):
            yield shape, size, members[start : start + size]


def _merged(buckets: dict[tuple[int, int], list[int]]) -> dict[tuple[int, int], list[int]]:
    """Join buckets, the cheapest pair first, as long as computing on more padding costs less than compiling."""
    merged = dict(buckets)
    while len(merged) > 1:
        extra, p, q = min(_join(merged, p, q) for p, q in combinations(merged, 2))
        if extra > WORTH_COMPILING:
            break
        members = merged.pop(p) + merged.pop(q)
        joined = _around(p, q)
        merged[joined] = merged.get(joined, []) + members
    return merged


def _join(
    buckets: dict[tuple[int, int], list[int]], p: tuple[int, int], q: tuple[int, int]
) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Return by how many values two buckets grow together, and the two."""
    values = math.prod(_around(p, q))
    return sum(len(buckets[shape]) * (values - math.prod(shape)) for shape in (p, q)), p, q


def _around(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    return max(p[0], q[0]), max(p[1], q[1])


def padded(size: int) -> int:
    """Return the size that a number of cells is padded to: a power of two, or above 256 also 1.5 times one."""
    power = max(SMALLEST_SIZE, 1 << (size - 1).bit_length())
    return 3 * power // 4 if power > FINE_SIZE and size <= 3 * power // 4 else power


def batch_size(shape: tuple[int, int], count: int, max_values: int, *, on_cpu: bool) -> int:
    """Return the number of problems in a batch, padding included: a power of two.

    On a CPU it depends on the shape alone. Elsewhere it grows with the number of problems, as far as memory goes.
    """
    values = shape[0] * shape[1]
    least = _power_below(min(CACHED_VALUES, max_values) // values)
    if on_cpu:
        return least
    return min(_power_below(max_values // values), max(least, 1 << (count - 1).bit_length()))


def _power_below(size: int) -> int:
    return 1 << max(size.bit_length() - 1, 0)


class _Batch(NamedTuple):
    """Problems of one padded size (n, m), B of them."""

    cost: jax.Array  # (B, n, m), infinite where padded
    a: jax.Array  # (B, n), 0 where padded
    b: jax.Array  # (B, m), 0 where padded
    epsilon: jax.Array  # (B,)
    f: jax.Array  # (B, n)
    g: jax.Array  # (B, m)
    level: jax.Array  # (B,), how often eps is to be divided until it is the one asked for


class _Solution(NamedTuple):
    """Solutions of a batch."""

    plan: jax.Array
    f: jax.Array
    g: jax.Array
    iterations: jax.Array
    converged: jax.Array


def _stack(problems: Sequence[Problem], shape: tuple[int, int], size: int) -> _Batch:
    """Pad problems, and their number."""
    n, m = shape
    cost = np.full((size, n, m), np.inf)
    a, b, f, g = np.zeros((size, n)), np.zeros((size, m)), np.zeros((size, n)), np.zeros((size, m))
    epsilon, level = np.ones(size), np.zeros(size, dtype=np.int64)
    for i, problem in enumerate(problems):
        rows, columns = problem.cost.shape
        cost[i, :rows, :columns] = problem.cost
        a[i, :rows], b[i, :columns] = problem.a, problem.b
        epsilon[i] = problem.epsilon
        if problem.f is None:
            level[i] = len(annealing(float(problem.cost.mean()), problem.epsilon)) - 1
        else:
            f[i, :rows] = problem.f
        if problem.g is not None:
            g[i, :columns] = problem.g
    return _Batch(*(jnp.asarray(array) for array in (cost, a, b, epsilon, f, g, level)))


def _unstack(solution: _Solution, problems: Sequence[Problem]) -> Iterator[Scaled]:
    """Yield solutions without padding; copies, so that the batch can be forgotten."""
    plan, f, g, iterations, converged = (np.asarray(array) for array in solution)
    for i, problem in enumerate(problems):
        n, m = problem.cost.shape
        yield Scaled(
            plan=plan[i, :n, :m].copy(),
            f=f[i, :n].copy(),
            g=g[i, :m].copy(),
            iterations=int(iterations[i]),
            converged=bool(converged[i]),
        )


class _State(NamedTuple):
    """Where the problems of a batch stand. All shapes begin with B."""

    f: jax.Array
    g: jax.Array
    u: jax.Array  # scalings since f, g were last set; 1 where padded
    v: jax.Array
    kernel: jax.Array  # exp((f + g - C) / eps)
    level: jax.Array
    stale: jax.Array  # an update in the log domain and a new kernel are due
    spent: jax.Array  # iterations so far
    error: (
        jax.Array
    )  # the error at the last look; relaxed marginals: the change in the last iteration
    steps: jax.Array  # iterations since the last look
    omega: jax.Array  # over-relaxation
    done: jax.Array
    converged: jax.Array


@partial(jax.jit, static_argnames="balanced")
def _solve(
    batch: _Batch, tol: float, max_iter: int, rho: jax.Array, *, balanced: bool
) -> _Solution:
    """Solve a batch. Compiled once a shape: all but ``balanced`` is traced."""

    def advance(state: _State) -> _State:
        state = _renew(batch, state, rho, balanced)
        state = _look(batch, state, tol, max_iter, balanced)
        return _scale(batch, state, max_iter, rho, balanced)

    state = jax.lax.while_loop(lambda state: ~state.done.all(), advance, _initial(batch))
    plan = state.u[:, :, None] * state.kernel * state.v[:, None, :]
    return _Solution(plan, *_absorbed(batch, state), state.spent, state.converged)


def _initial(batch: _Batch) -> _State:
    empty = (batch.a == 0).all(axis=1)  # pads the batch
    zeros = jnp.zeros_like(batch.epsilon)
    return _State(
        f=batch.f,
        g=batch.g,
        u=jnp.ones_like(batch.a),
        v=jnp.ones_like(batch.b),
        kernel=jnp.zeros_like(batch.cost),
        level=batch.level,
        stale=~empty,
        spent=jnp.zeros_like(batch.level),
        error=zeros + jnp.inf,
        steps=jnp.zeros_like(batch.level),
        omega=zeros + 1.0,
        done=empty,
        converged=empty,
    )


def _epsilon(batch: _Batch, state: _State) -> jax.Array:
    """Return the present eps, (B,)."""
    return batch.epsilon * ANNEAL_FACTOR**state.level


def _absorbed(batch: _Batch, state: _State) -> tuple[jax.Array, jax.Array]:
    """Return the potentials with the scalings in them."""
    eps = _epsilon(batch, state)[:, None]
    return state.f + eps * jnp.log(state.u), state.g + eps * jnp.log(state.v)


def _kernel(cost: jax.Array, f: jax.Array, g: jax.Array, eps: jax.Array) -> jax.Array:
    kernel = jnp.exp((f[:, :, None] + g[:, None, :] - cost) / eps[:, None, None])
    return jnp.where(kernel < NEGLIGIBLE, 0.0, kernel)


def _renew(batch: _Batch, state: _State, rho: jax.Array, balanced: bool) -> _State:
    """Update potentials in the log domain, and fill the kernel anew, where that is due."""

    def renewed(state: _State) -> _State:
        eps = _epsilon(batch, state)
        f, g = _log_update(batch, state.f, eps, rho, balanced)
        kernel = _kernel(batch.cost, f, g, eps)
        change = _largest((f - state.f) / eps[:, None], (g - state.g) / eps[:, None])
        due = state.stale
        return state._replace(
            f=jnp.where(due[:, None], f, state.f),
            g=jnp.where(due[:, None], g, state.g),
            kernel=jnp.where(due[:, None, None], kernel, state.kernel),
            error=state.error if balanced else jnp.where(due, change, state.error),
            stale=jnp.zeros_like(due),
        )

    return cast(_State, jax.lax.cond(state.stale.any(), renewed, lambda state: state, state))


def _log_update(
    batch: _Batch, f: jax.Array, eps: jax.Array, rho: jax.Array, balanced: bool
) -> tuple[jax.Array, jax.Array]:
    """Update g from f, then f from g, by logsumexp: exact whatever the size of C / eps."""
    scale = eps[:, None]
    log_a, log_b = _log_mass(batch.a), _log_mass(batch.b)
    damping = [1.0 / (1.0 + scale / r) for r in rho]
    columns = _logsumexp((f[:, :, None] - batch.cost) / eps[:, None, None], axis=1)
    g = jnp.where(batch.b > 0, damping[1] * scale * (log_b - columns), 0.0)
    rows = _logsumexp((g[:, None, :] - batch.cost) / eps[:, None, None], axis=2)
    f = jnp.where(batch.a > 0, damping[0] * scale * (log_a - rows), 0.0)
    if balanced:
        return f, g
    shift = _shift(batch, f, g, rho)
    return jnp.where(batch.a > 0, f + shift, 0.0), jnp.where(batch.b > 0, g - shift, 0.0)


def _log_mass(mass: jax.Array) -> jax.Array:
    """Return log masses, 0 where padded."""
    return jnp.log(jnp.where(mass > 0, mass, 1.0))


def _logsumexp(exponent: jax.Array, axis: int) -> jax.Array:
    """Return log sum exp; -inf, not NaN, where all is padding."""
    top = exponent.max(axis=axis, keepdims=True)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    return jnp.log(jnp.exp(exponent - top).sum(axis=axis)) + top.squeeze(axis)


def _shift(batch: _Batch, f: jax.Array, g: jax.Array, rho: jax.Array) -> jax.Array:
    """Return what to add to f and take from g, (B, 1): the constant that is best for the dual problem.

    lambda = rho_1 rho_2 / (rho_1 + rho_2) log(<a, exp(-f / rho_1)> / <b, exp(-g / rho_2)>); where one rho is
    infinite, the limit of it, ``rho_2 log(sum(a) / <b, exp(-g / rho_2)>)``. It leaves the plan as it is.
    """
    log_a, log_b = jnp.log(batch.a), jnp.log(batch.b)  # -inf where padded: adds nothing
    ratio = _logsumexp(log_a - f / rho[0], axis=1) - _logsumexp(log_b - g / rho[1], axis=1)
    empty = (batch.a == 0).all(axis=1)
    return jnp.where(empty, 0.0, ratio / (1.0 / rho[0] + 1.0 / rho[1]))[:, None]


def _look(batch: _Batch, state: _State, tol: float, max_iter: int, balanced: bool) -> _State:
    """Take the error; decide who is done, whose eps is divided, and how far to overshoot."""
    error = state.error
    if balanced:
        columns = state.v * _columns(state.u, state.kernel)
        mass = jnp.where(state.done, 1.0, batch.a.sum(axis=1))
        error = jnp.abs(columns - batch.b).sum(axis=1) / mass
    met = error <= jnp.where(state.level > 0, ANNEAL_TOL, tol)
    over = (met | (state.spent >= max_iter)) & ~state.done
    ended, divided = over & (state.level == 0), over & (state.level > 0)
    f, g = _absorbed(batch, state)
    return state._replace(
        f=jnp.where(divided[:, None], f, state.f),
        g=jnp.where(divided[:, None], g, state.g),
        u=jnp.where(divided[:, None], 1.0, state.u),
        v=jnp.where(divided[:, None], 1.0, state.v),
        level=state.level - divided,
        stale=divided,
        error=jnp.where(divided, jnp.inf, error),
        steps=jnp.zeros_like(state.steps),
        omega=jnp.where(divided, 1.0, _pace(state, error)) if balanced else state.omega,
        done=state.done | ended,
        converged=state.converged | (ended & met),
    )


def _pace(state: _State, error: jax.Array) -> jax.Array:
    """Return how far to overshoot, (B,), learnt from how fast the error fell; see ``_sinkhorn._Pace``."""
    rate = (error / state.error) ** (1.0 / jnp.maximum(state.steps, 1))
    eta = jnp.minimum((rate + state.omega - 1.0) ** 2 / (rate * state.omega**2), 1.0)
    omega = jnp.minimum(2.0 / (1.0 + jnp.sqrt(1.0 - eta)), MAX_OMEGA)
    return jnp.where((rate > 0) & (rate < 1), omega, 1.0)


class _Window(NamedTuple):
    """Where the problems of a batch stand between two looks."""

    step: jax.Array  # iterations since the look
    u: jax.Array
    v: jax.Array
    taken: jax.Array  # (B,), iterations of each problem
    halted: jax.Array  # (B,), left the safe range
    change: jax.Array  # (B,), of the last iteration, in units of eps; relaxed marginals only


def _scale(batch: _Batch, state: _State, max_iter: int, rho: jax.Array, balanced: bool) -> _State:
    """Scale until the next look."""

    def runs(window: _Window) -> jax.Array:
        return ~state.done & ~state.stale & ~window.halted & (state.spent + window.taken < max_iter)

    def iterate(window: _Window) -> _Window:
        running = runs(window)
        if balanced:
            # plain at last, so that rows are exact at the look
            plain = (window.step == WINDOW - 1) | (state.spent + window.taken == max_iter - 1)
            u, v = _balanced_step(batch, state, window, jnp.where(plain, 1.0, state.omega))
        else:
            u, v = _unbalanced_step(batch, state, window, rho)
        safe = _safe(u) & _safe(v)
        kept = (running & safe)[:, None]
        change = (
            window.change if balanced else _largest(jnp.log(u / window.u), jnp.log(v / window.v))
        )
        return _Window(
            step=window.step + 1,
            u=jnp.where(kept, u, window.u),
            v=jnp.where(kept, v, window.v),
            taken=window.taken + running,
            halted=window.halted | (running & ~safe),
            change=jnp.where(running, change, window.change),
        )

    window = jax.lax.while_loop(
        lambda window: (window.step < WINDOW) & runs(window).any(),
        iterate,
        _Window(
            jnp.asarray(0),
            state.u,
            state.v,
            jnp.zeros_like(state.spent),
            jnp.zeros_like(state.done),
            state.error,
        ),
    )
    return _after(batch, state, window, balanced)


def _after(batch: _Batch, state: _State, window: _Window, balanced: bool) -> _State:
    """Return the state after a window; who left the safe range is absorbed, and due for a log-domain update."""
    state = state._replace(
        u=window.u,
        v=window.v,
        spent=state.spent + window.taken,
        steps=window.taken,
        error=state.error if balanced else window.change,
        stale=state.stale | window.halted,
    )
    f, g = _absorbed(batch, state)
    halted = window.halted[:, None]
    return state._replace(
        f=jnp.where(halted, f, state.f),
        g=jnp.where(halted, g, state.g),
        u=jnp.where(halted, 1.0, state.u),
        v=jnp.where(halted, 1.0, state.v),
    )


def _balanced_step(
    batch: _Batch, state: _State, window: _Window, omega: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return u, v after ``v <- v (b / (v K'u))^omega``, then ``u <- u (a / (u K v))^omega``."""

    def towards(mass: jax.Array, found: jax.Array) -> jax.Array:
        ratio = jnp.where(mass > 0, mass / found, 1.0)
        power = omega[:, None]
        return jnp.where(power == 1.0, ratio, jnp.exp(power * jnp.log(ratio)))

    v = window.v * towards(batch.b, window.v * _columns(window.u, state.kernel))
    u = window.u * towards(batch.a, window.u * _rows(state.kernel, v))
    return u, v


def _unbalanced_step(
    batch: _Batch, state: _State, window: _Window, rho: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return u, v after ``v <- (b / K'u)^(rho / (rho + eps)) exp(-g / (rho + eps))``, the same for u, and the shift."""
    eps = _epsilon(batch, state)[:, None]

    def towards(mass: jax.Array, found: jax.Array, potential: jax.Array, r: jax.Array) -> jax.Array:
        log_ratio = (_log_mass(mass) - jnp.log(found)) / (1.0 + eps / r)
        return jnp.where(mass > 0, log_ratio - potential / (r + eps), 0.0)

    log_v = towards(batch.b, _columns(window.u, state.kernel), state.g, rho[1])
    log_u = towards(batch.a, _rows(state.kernel, jnp.exp(log_v)), state.f, rho[0])
    shift = _shift(batch, state.f + eps * log_u, state.g + eps * log_v, rho) / eps
    log_u = jnp.where(batch.a > 0, log_u + shift, 0.0)
    log_v = jnp.where(batch.b > 0, log_v - shift, 0.0)
    return jnp.exp(log_u), jnp.exp(log_v)


def _columns(u: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.einsum("bn,bnm->bm", u, kernel)


def _rows(kernel: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.einsum("bnm,bm->bn", kernel, v)


def _safe(scaling: jax.Array) -> jax.Array:
    """Whether the scalings of each problem are in range, hence no NaN."""
    return ((scaling < SAFE_SCALING) & (scaling > 1.0 / SAFE_SCALING)).all(axis=1)


def _largest(of_f: jax.Array, of_g: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.abs(of_f).max(axis=1), jnp.abs(of_g).max(axis=1))


# ------------------------------------------------------------------------------------------------------------ low rank

LINEAR_STEP: Final = 10.0
"""Step of mirror descent (gamma of ott)."""

GROMOV_STEP: Final = 100.0
"""The same for Gromov-Wasserstein, where shorter steps end in worse optima."""

CHECK_EVERY: Final = 10
"""Steps of mirror descent between two looks at the error."""

PROJECTION_TOL: Final = 1e-3
"""L1 error of the marginals left after each step; at the end they are made exact."""

PROJECTION_MAX_ITER: Final = 300
"""Largest number of iterations of the projection (Dykstra) after each step."""


@dataclass(frozen=True, eq=False)
class LowRankResult:
    """A coupling as a product of thin factors, ``T = Q diag(1 / g) R'``.

    Attributes
    ----------
    q, r
        Q, float64 (n, rank), rows sum to ``a``; R, float64 (m, rank), rows sum to ``b``. Columns of both sum to ``g``.
    g
        float64 (rank,), positive.
    objective
        What was minimized.
    converged
        Whether the factors ceased to change.
    iterations
        Steps of mirror descent.
    errors
        Change of the factors at every tenth step.
    transport_cost
        The objective without its entropies.
    """

    q: Float64Array
    r: Float64Array
    g: Float64Array
    objective: float
    converged: bool
    iterations: int
    errors: Float64Array
    transport_cost: float


def low_rank_sinkhorn(
    x: Float64Array,
    y: Float64Array,
    a: Float64Array,
    b: Float64Array,
    *,
    epsilon: float,
    cost: Literal["sqeuclidean", "cosine"],
    rank: int,
    tol: float,
    max_iter: int,
    seed: int,
) -> LowRankResult:
    """Match cells of one space by a coupling of low rank, in time and memory linear in the number of cells.

    ``min <C, Q diag(1 / g) R'> - eps (H(Q) + H(R) + H(g))``, by mirror descent from random factors. Not convex: other
    seeds may end in other optima.

    Parameters
    ----------
    x, y
        Representations of the source (n, d) and target cells (m, d).
    a, b
        Positive masses (n,) and (m,), of equal sum.
    epsilon
        Absolute eps, in units of the cost; may be 0. Another value compiles anew.
    cost
        ``"sqeuclidean"`` or ``"cosine"`` (1 - cosine similarity).
    rank
        Largest rank of the coupling.
    tol
        Stop when a step changes the factors by less than this: the sum of their Jensen-Shannon divergences, for a
        mass of 1.
    max_iter
        Largest number of steps.
    seed
        Of the factors to start from.

    Returns
    -------
    LowRankResult
        The factors, with exact marginals.

    Raises
    ------
    ValueError
        If the cost is ``"cosine"`` and a cell is at the origin.

    References
    ----------
    Scetbon, Cuturi and Peyré 2021, arXiv 2103.04737.
    """
    if cost == "cosine":
        # points whose squared distances are 1 - cosine similarity
        x, y = (math.sqrt(0.5) * unit_rows(z, side) for z, side in ((x, "source"), (y, "target")))
    left, right = _cost_factors(x, y)
    # steps are as long as the cost is large, so it is given a mean of 1
    mean = _mean_cost(left, right, a, b)
    descent = _descend(
        _linear_descent,
        (left / mean, right),
        a,
        b,
        epsilon / mean,
        rank=rank,
        tol=tol,
        max_iter=max_iter,
        seed=seed,
    )
    transport_cost = float(((left.T @ descent.q) * (right.T @ descent.r) / descent.g).sum())
    return _result(descent, transport_cost, epsilon)


def low_rank_gromov(
    x: Float64Array,
    y: Float64Array,
    a: Float64Array,
    b: Float64Array,
    *,
    epsilon: float,
    rank: int,
    tol: float,
    max_iter: int,
    seed: int,
    scale: tuple[float, float] = (1.0, 1.0),
) -> LowRankResult:
    """Match cells of two spaces by their distances within each, by a coupling of low rank.

    ``min sum_ijkl (X_ik - Y_jl)^2 T_ij T_kl - eps (H(Q) + H(R) + H(g))`` for ``T = Q diag(1 / g) R'``, where X and Y
    are the squared distances within source and target; by mirror descent from random factors, in time and memory
    linear in the number of cells. Not convex: other seeds may end in other optima.

    Parameters
    ----------
    x, y
        Representations of the source (n, d_source) and target cells (m, d_target).
    a, b
        Positive masses (n,) and (m,), of equal sum.
    epsilon
        Absolute eps, in units of a product of scaled distances; may be 0. Another value compiles anew.
    rank, max_iter, seed
        As for :func:`low_rank_sinkhorn`.
    tol
        Stop when a step changes the factors by less than this: the sum of their Jensen-Shannon divergences, for a
        mass of 1, over the square of the length of the step.
    scale
        What the squared distances within source and target are divided by.

    Returns
    -------
    LowRankResult
        The factors, with exact marginals.

    References
    ----------
    Scetbon, Peyré and Cuturi 2022, arXiv 2106.01128.
    """
    source, target = _cost_factors(x, x), _cost_factors(y, y)
    means = _mean_cost(*source, a, a), _mean_cost(*target, b, b)
    descent = _descend(
        _gromov_descent,
        (source[0] / means[0], source[1], target[0] / means[1], target[1]),
        a,
        b,
        # only -2 <X T Y, T> depends on T, hence the means of both costs can be taken out of it
        epsilon * scale[0] * scale[1] / (means[0] * means[1] * float(a.sum())),
        rank=rank,
        tol=tol,
        max_iter=max_iter,
        seed=seed,
    )
    scaled = (source[0] / scale[0], source[1]), (target[0] / scale[1], target[1])
    return _result(descent, _distortion(*scaled, descent), epsilon)


def _cost_factors(x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return factors (n, d + 2) and (m, d + 2) of the squared distances."""
    center = y.mean(axis=0)  # far from the origin, squares would cancel
    x, y = x - center, y - center
    squares_x, squares_y = (x**2).sum(axis=1, keepdims=True), (y**2).sum(axis=1, keepdims=True)
    return (
        np.hstack([squares_x, np.ones_like(squares_x), -2.0 * x]),
        np.hstack([np.ones_like(squares_y), squares_y, y]),
    )


def _mean_cost(left: Float64Array, right: Float64Array, a: Float64Array, b: Float64Array) -> float:
    """Return the mean cost, 1 if there is none."""
    mean = float((a @ left) @ (b @ right)) / float(a.sum() * b.sum())
    return mean if mean > 0 else 1.0


class _Descent(NamedTuple):
    """Factors with exact marginals, and how they were reached."""

    q: Float64Array
    r: Float64Array
    g: Float64Array
    errors: Float64Array
    iterations: int
    converged: bool


def _descend(
    run: Callable[..., tuple[jax.Array, ...]],
    costs: tuple[Float64Array, ...],
    a: Float64Array,
    b: Float64Array,
    epsilon: float,
    *,
    rank: int,
    tol: float,
    max_iter: int,
    seed: int,
) -> _Descent:
    """Run a mirror descent on masses of sum 1, and return factors of the masses given."""
    mass, every = float(a.sum()), min(CHECK_EVERY, max_iter)
    for log_domain in (False, True):  # scalings are several times faster, but may overflow
        with _float64():
            arrays = run(
                tuple(jnp.asarray(factor) for factor in costs),
                jnp.asarray(a / mass),
                jnp.asarray(b / mass),
                float(tol),
                jax.random.key(seed),
                epsilon=float(epsilon),
                rank=rank,
                max_iter=max_iter - max_iter % every,
                every=every,
                log_domain=log_domain,
            )
            q, r, g, errors, converged = (np.array(array) for array in arrays)
        if np.isfinite(q).all() and np.isfinite(r).all() and (g > 0).all():
            break
    errors = errors[errors >= 0]
    g *= mass / g.sum()
    q, r = _rounded(mass * q, a, g), _rounded(mass * r, b, g)
    return _Descent(q, r, g, errors, errors.size * every, bool(converged))


def _rounded(factor: Float64Array, rows: Float64Array, columns: Float64Array) -> Float64Array:
    """Return a factor with exactly these marginals, from one that has nearly these.

    References
    ----------
    Altschuler, Weed and Rigollet 2017, arXiv 1705.09634, algorithm 2.
    """
    for axis, wanted in ((1, rows), (0, columns)):
        found = factor.sum(axis=axis)
        shrink = np.minimum(1.0, np.divide(wanted, found, out=np.ones_like(found), where=found > 0))
        factor = factor * np.expand_dims(shrink, axis)
    missing = [
        np.maximum(wanted - factor.sum(axis=axis), 0.0)
        for axis, wanted in ((1, rows), (0, columns))
    ]
    total = float(missing[0].sum())
    return factor + np.outer(*missing) / total if total > 0 else factor


def _result(descent: _Descent, transport_cost: float, epsilon: float) -> LowRankResult:
    entropies = sum(float(entr(z).sum() + z.sum()) for z in (descent.q, descent.r, descent.g))
    return LowRankResult(
        q=descent.q,
        r=descent.r,
        g=descent.g,
        objective=transport_cost - epsilon * entropies,
        converged=descent.converged,
        iterations=descent.iterations,
        errors=descent.errors,
        transport_cost=transport_cost,
    )


def _distortion(
    source: tuple[Float64Array, Float64Array],
    target: tuple[Float64Array, Float64Array],
    descent: _Descent,
) -> float:
    """Return ``sum_ijkl (X_ik - Y_jl)^2 T_ij T_kl``, from factors of X, Y and T."""
    inner, squares = [], 0.0
    for (left, right), factor in ((source, descent.q), (target, descent.r)):
        mass = factor.sum(axis=1)[:, None]
        inner.append((factor.T @ left) @ (right.T @ factor))
        squares += float(((left.T @ (mass * left)) * (right.T @ (mass * right))).sum())
    # q, r are couplings with g, so <X T Y, T> = <Q' X Q diag(1 / g), diag(1 / g) R' Y R>
    return squares - 2.0 * float((inner[0] * inner[1] / np.outer(descent.g, descent.g)).sum())


@jax.tree_util.register_pytree_node_class
class _FactoredCost(LRCGeometry):
    """Costs given as a product of factors."""

    def apply_square_cost(self, arr: jax.Array, axis: int = 0) -> jax.Array:
        """Apply the squared costs to a vector in d^2 memory; ott would build n x n, or n x d^2."""
        left, right = (self.cost_1, self.cost_2) if axis == 1 else (self.cost_2, self.cost_1)
        moments = (right.T * arr) @ right
        return ((left @ moments) * left).sum(axis=1, keepdims=True)


_STATIC: Final = ("epsilon", "rank", "max_iter", "every", "log_domain")


@partial(jax.jit, static_argnames=_STATIC)
def _linear_descent(
    costs: tuple[jax.Array, jax.Array],
    a: jax.Array,
    b: jax.Array,
    tol: float,
    key: jax.Array,
    *,
    epsilon: float,
    rank: int,
    max_iter: int,
    every: int,
    log_domain: bool,
) -> tuple[jax.Array, ...]:
    solver = LRSinkhorn(
        rank=rank,
        gamma=LINEAR_STEP,
        epsilon=epsilon,
        threshold=tol,
        max_iterations=max_iter,
        inner_iterations=every,
        lse_mode=log_domain,
        kwargs_dys={"tolerance": PROJECTION_TOL, "max_iter": PROJECTION_MAX_ITER},
    )
    out = solver(LinearProblem(_FactoredCost(*costs), a=a, b=b), rng=key)
    return out.q, out.r, out.g, out.errors, jnp.asarray(out.converged)


@partial(jax.jit, static_argnames=_STATIC)
def _gromov_descent(
    costs: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    a: jax.Array,
    b: jax.Array,
    tol: float,
    key: jax.Array,
    *,
    epsilon: float,
    rank: int,
    max_iter: int,
    every: int,
    log_domain: bool,
) -> tuple[jax.Array, ...]:
    solver = LRGromovWasserstein(
        rank=rank,
        gamma=GROMOV_STEP,
        epsilon=epsilon,
        threshold=tol,
        min_iterations=0,
        max_iterations=max_iter,
        inner_iterations=every,
        lse_mode=log_domain,
        kwargs_dys={"tolerance": PROJECTION_TOL, "max_iter": PROJECTION_MAX_ITER},
    )
    problem = QuadraticProblem(_FactoredCost(*costs[:2]), _FactoredCost(*costs[2:]), a=a, b=b)
    out = solver(problem, rng=key)
    return out.q, out.r, out.g, out.errors, jnp.asarray(out.converged)

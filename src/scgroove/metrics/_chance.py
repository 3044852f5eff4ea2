"""Mean and spread of a metric if the true partners were drawn at random among the candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from scgroove._types import BoolArray, Float64Array, IntArray, Labels
from scgroove.errors import InputError
from scgroove.metrics._candidates import (
    BLOCK_VALUES,
    Candidates,
    CandidateSet,
    PlanLike,
    candidates,
    check_partner,
    rows_per_block,
    slices,
)
from scgroove.metrics._ranks import OwnMass, Ranks, Rule, sorted_places

SAMPLED: Final = (64, 256, 4096)
"""Cells that stand for a candidate set in the spread: at least, at most, and of all sets."""


class Chance(NamedTuple):
    """Mean and standard deviation of a metric under random true partners."""

    mean: float
    sd: float


def chance(
    metric: Callable[[IntArray], float],
    partner: npt.ArrayLike,
    n_target: int,
    *,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    within_label: bool | None = None,
    n_permutations: int = 20,
    seed: int = 0,
) -> Chance:
    """Mean and spread of a metric if the true partners are drawn at random.

    Each time, as many pairs as are known in a candidate set (a label, or all cells) are drawn from
    its source and its target cells, without replacement. :func:`scores` needs no draws for the
    metrics of this package: use this for metrics of your own.

    Parameters
    ----------
    metric
        Takes a ``partner`` array and returns a number.
    partner
        (n_source,) target row that truly matches each source row, -1 for none.
    n_target
        Number of target cells.
    labels_x, labels_y
        Label of each cell. None and NaN mean unlabeled.
    within_label
        Candidates are the cells of the same label, else all. Default: True if labels are given.
        Cells without a label, or with a true match of another label, have no partner then.
    n_permutations
        Draws. The relative error of the spread is about ``1 / sqrt(2 n)``.
    seed
        The same seed draws the same partners.

    Returns
    -------
    Chance
        ``mean`` and ``sd``, a named tuple.

    Raises
    ------
    ValueError
        If partners or labels do not fit, or no true match is among candidates.

    Examples
    --------
    >>> import numpy as np
    >>> from scgroove.metrics import chance, foscttm
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> by_chance = chance(lambda partner: foscttm(x, x, partner), np.arange(50), 50)
    >>> bool(abs(by_chance.mean - 0.5) < 0.05)
    True
    """
    known = np.asarray(partner)
    known = check_partner(known, len(known), n_target)
    sets = candidates(known.size, n_target, labels_x, labels_y, within_label).sets(known)
    if not sets:
        raise InputError(
            "no true match is among the candidates, so that no partner can be drawn at random. Are "
            "the labels those of the same cells as partner? Try within_label=False."
        )
    rng = np.random.default_rng(seed)
    drawn = [metric(random_partners(sets, known.size, rng)) for _ in range(n_permutations)]
    return chance_of(drawn)


def chance_of(drawn: Sequence[float] | Float64Array) -> Chance:
    """Return mean and standard deviation of values under random draws."""
    return Chance(float(np.mean(drawn)), float(np.std(drawn, ddof=1)))


def random_partners(sets: Iterable[CandidateSet], n_x: int, rng: np.random.Generator) -> IntArray:
    """Return random partners (n_x,): in each set as many pairs as are known, else -1."""
    out = np.full(n_x, -1, dtype=np.intp)
    for group in sets:
        k = group.rows.size
        rows = group.x if k == group.x.size else rng.choice(group.x, k, replace=False)
        out[rows] = rng.choice(group.y, k, replace=False)
    return out


def matching_variance(a: Float64Array, n_x: int, n_y: int, k: int) -> float:
    """Return the variance of ``sum a_ij`` over k pairs (i, j) drawn from n_x rows and n_y columns.

    With ``a_ij = m + r_i + c_j + d_ij`` (the effects of rows and columns sum to zero) and S their
    mean squares by degrees of freedom,

    ``k (S_r (n_x - k) / n_x + S_c (n_y - k) / n_y
    + S_d ((n_x - 1)(n_y - 1) + k - 1) / (n_x n_y))``,

    which for a permutation, k = n_x = n_y, is the variance ``(n - 1) S_d`` of Hoeffding 1951, "A
    combinatorial central limit theorem", theorem 2. ``a`` holds all pairs or a sample of them.
    """
    s_x, s_y = a.shape
    rows, columns = np.asarray(a.mean(axis=1)), np.asarray(a.mean(axis=0))
    rest = a - rows[:, None] - columns + a.mean()
    s_d = float((rest**2).sum()) / max(1, (s_x - 1) * (s_y - 1))
    # the mean over a sample of columns varies also by the rest, which is taken off again
    s_r = max(0.0, float(rows.var() * s_x) / max(1, s_x - 1) - s_d / s_y * (1 - s_y / n_y))
    s_c = max(0.0, float(columns.var() * s_y) / max(1, s_y - 1) - s_d / s_x * (1 - s_x / n_x))
    by_rows, by_columns = s_r * (n_x - k) / n_x, s_c * (n_y - k) / n_y
    return float(k * (by_rows + by_columns + s_d * ((n_x - 1) * (n_y - 1) + k - 1) / (n_x * n_y)))


def class_chance(gain: Float64Array, n_rows: IntArray, n_columns: IntArray) -> Chance:
    """Return mean and spread of ``sum_i gain[p_i, q_s(i)]`` over permutations s of n cells.

    ``gain`` (P, Q) is the value of a cell of class p that meets one of class q. ``n_rows`` (P,) and
    ``n_columns`` (Q,) are the cells of each class.
    """
    n = int(n_rows.sum())
    p, q = n_rows / n, n_columns / n
    rows, columns = gain @ q, p @ gain
    mean, variance = float(p @ rows), 0.0
    step = max(1, BLOCK_VALUES // max(1, gain.shape[1]))
    for start in range(0, len(gain), step):  # gain may be as large as memory allows
        part = slice(start, start + step)
        rest = gain[part] - rows[part, None] - columns + mean
        variance += float(p[part] @ rest**2 @ q)
    return Chance(n * mean, float(np.sqrt(n * n / max(1, n - 1) * max(0.0, variance))))


@dataclass(frozen=True)
class RankTable:
    """For a sample of the cells of a candidate set: the place of each as the match of each other.

    ``x`` and ``y`` are the places (before, ties) for source and target cells, both (sampled source,
    sampled target), None for a direction that is not scored. ``has_x`` and ``has_y`` are the cells
    with mass, ``share`` the share of the mass of source cell i at target cell j.
    """

    group: CandidateSet
    x: tuple[Float64Array, Float64Array] | None
    y: tuple[Float64Array, Float64Array] | None
    has_x: BoolArray
    has_y: BoolArray
    share: Float64Array | None = None


def sample(sets: list[CandidateSet], seed: int) -> list[tuple[IntArray, IntArray]]:
    """Return, for each set, cells of x and of y that stand for all, ascending. All if few."""
    least, most, together = SAMPLED
    size = min(most, max(least, together // max(1, len(sets))))
    rng = np.random.default_rng(seed)

    def some(cells: IntArray) -> IntArray:
        return cells if cells.size <= size else np.sort(rng.choice(cells, size, replace=False))

    return [(some(group.x), some(group.y)) for group in sets]


def distance_tables(
    x: Float64Array, y: Float64Array, sets: list[CandidateSet], seed: int, *, both: bool = True
) -> list[RankTable]:
    """Return the places by distance. NaN rows of x have none. Not ``both``: source cells only."""
    tables = []
    for group, (rows, columns) in zip(sets, sample(sets, seed), strict=True):
        has_x = np.asarray(~np.isnan(x[rows]).any(axis=1))
        by_x = _places(cdist(x[rows], y[group.y], "sqeuclidean"), np.searchsorted(group.y, columns))
        by_y = None
        if both:
            cost = cdist(y[columns], x[group.x], "sqeuclidean")
            before, ties = _places(cost, np.searchsorted(group.x, rows))
            by_y = (before.T, ties.T)
        tables.append(RankTable(group, by_x, by_y, has_x, np.ones(columns.size, dtype=bool)))
    return tables


def mass_tables(
    plan: PlanLike, sets: list[CandidateSet], pool: Candidates, masses: OwnMass, seed: int
) -> list[RankTable]:
    """Return the places by mass, and the share of each row at each column."""
    samples = sample(sets, seed)
    along_x, along_y = _sampled_masses(plan, sets, pool, samples)
    tables = []
    for group, (rows, columns), at_x, at_y in zip(sets, samples, along_x, along_y, strict=True):
        in_y, in_x = np.searchsorted(group.y, columns), np.searchsorted(group.x, rows)
        by_x, (before, ties) = _places(-at_x, in_y), _places(-at_y, in_x)
        mass = masses.rows[rows]
        has_x, has_y = np.asarray(mass > 0), np.asarray(masses.columns[columns] > 0)
        share = at_x[:, in_y] / np.where(has_x, mass, 1.0)[:, None]
        tables.append(RankTable(group, by_x, (before.T, ties.T), has_x, has_y, share))
    return tables


def _places(cost: Float64Array, columns: IntArray) -> tuple[Float64Array, Float64Array]:
    """Return, for each row, the numbers of lower and of other equal costs of some columns."""
    before, ties = np.empty((2, len(cost), columns.size))
    step = rows_per_block(cost.shape[1])
    for start in range(0, len(cost), step):
        rows = slice(start, start + step)
        first, last = sorted_places(cost[rows])
        before[rows] = first[:, columns]
        ties[rows] = (last - first)[:, columns]
    return before, ties


def _sampled_masses(
    plan: PlanLike,
    sets: list[CandidateSet],
    pool: Candidates,
    samples: list[tuple[IntArray, IntArray]],
) -> tuple[list[Float64Array], list[Float64Array]]:
    """Return, for each set, masses of sampled sources at all targets, and the reverse."""
    along_x, along_y = [], []
    at_x, slot_x = np.full((2, plan.shape[0]), -1, dtype=np.intp)
    at_y, slot_y = np.full((2, plan.shape[1]), -1, dtype=np.intp)
    number_of = {}
    for number, (group, (rows, columns)) in enumerate(zip(sets, samples, strict=True)):
        number_of[group.code] = number
        along_x.append(np.zeros((rows.size, group.y.size)))
        along_y.append(np.zeros((columns.size, group.x.size)))
        at_x[group.x], at_y[group.y] = np.arange(group.x.size), np.arange(group.y.size)
        slot_x[rows], slot_y[columns] = np.arange(rows.size), np.arange(columns.size)
    for rows, columns, part in slices(plan):
        for code in set(pool.codes_x[rows].tolist()) & set(number_of):
            i = np.flatnonzero(pool.codes_x[rows] == code)
            j = np.flatnonzero(pool.codes_y[columns] == code)
            some_i, some_j = i[slot_x[rows[i]] >= 0], j[slot_y[columns[j]] >= 0]
            places = np.ix_(slot_x[rows[some_i]], at_y[columns[j]])
            along_x[number_of[code]][places] = _block(part, some_i, j)
            places = np.ix_(slot_y[columns[some_j]], at_x[rows[i]])
            along_y[number_of[code]][places] = _block(part, i, some_j).T
    return along_x, along_y


def _block(part: Any, rows: IntArray, columns: IntArray) -> Float64Array:
    if isinstance(part, np.ndarray):
        return np.asarray(part[np.ix_(rows, columns)], dtype=np.float64)
    return np.asarray(part[rows][:, columns].toarray(), dtype=np.float64)


def rank_chance(rule: Rule, ranks: tuple[Ranks, ...], tables: list[RankTable]) -> Chance:
    """Return mean and spread of the mean of a rule over cells, then over directions.

    ``ranks`` are the places of the true matches, ``tables`` those that any cell would have.
    """
    scored = [one for one in ranks if one.scored.any()]
    mean = float(np.mean([rule.expected(one.n[one.scored]).mean() for one in scored]))
    weight = [1.0 / (one.scored.sum() * len(scored)) if one.scored.any() else 0.0 for one in ranks]
    variance = 0.0
    for table in tables:
        a = np.zeros((table.has_x.size, table.has_y.size))
        n_x, n_y = table.group.x.size, table.group.y.size
        directions = ((table.x, table.has_x[:, None], n_y), (table.y, table.has_y, n_x))
        for w, (places, has, size) in zip(weight, directions, strict=False):
            if w > 0 and size > 1 and places is not None:
                # cells without mass are left out, which on average is as if they had the mean
                a += np.where(has, w * (rule.of(*places, size) - rule.expected(size)), 0.0)
        variance += matching_variance(a, n_x, n_y, table.group.rows.size)
    return Chance(mean, float(np.sqrt(variance)))

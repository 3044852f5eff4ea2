"""Ranks of the true matches among their candidates, by distance or by mass of a coupling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import digamma

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.metrics._candidates import Candidates, PlanLike, slices

ROWS: Final = 240
COLUMNS: Final = 1024
"""Size of a tile of distances: it stays in the cache, and a byte counts fewer than 256 rows."""


@dataclass(frozen=True)
class Ranks:
    """The place of the true match of each cell. NaN without a match or another candidate.

    ``before`` it come nearer candidates, or those given more mass. ``ties`` are as near. ``n`` is
    the number of candidates.
    """

    before: Float64Array
    ties: Float64Array
    n: Float64Array

    @classmethod
    def unknown(cls, n: int) -> Ranks:
        """Return ranks of n cells, all NaN."""
        return cls(*np.full((3, n), np.nan))

    @property
    def scored(self) -> BoolArray:
        """Cells that have a place."""
        known: BoolArray = ~np.isnan(self.before)
        return known


@dataclass(frozen=True)
class Rule:
    """The value of a place among the candidates.

    ``of`` maps (before, ties, n) to the mean over all orders of the ties, ``expected`` maps n to
    the mean over n candidates, one of which, at random, is the true match.
    """

    of: Callable[[Any, Any, Any], Float64Array]
    expected: Callable[[Any], Float64Array]

    def __call__(self, ranks: Ranks) -> Float64Array:
        """Return the value of each cell, NaN without a place."""
        with np.errstate(invalid="ignore"):
            return self.of(ranks.before, ranks.ties, ranks.n)


FRACTION_BEFORE: Final = Rule(
    lambda before, ties, n: (before + 0.5 * ties) / (n - 1), lambda n: np.full(np.shape(n), 0.5)
)
"""Share of the other candidates that come before the true match: FOSCTTM."""


def recall_rule(k: int) -> Rule:
    """Return the rule "1 if the true match is among the first k, else 0"."""
    return Rule(
        lambda before, ties, n: np.clip((k - before) / (ties + 1), 0, 1),
        lambda n: np.minimum(k / n, 1.0),
    )


RECIPROCAL: Final = Rule(
    lambda before, ties, n: (digamma(before + ties + 2) - digamma(before + 1)) / (ties + 1),
    lambda n: (digamma(np.asarray(n) + 1.0) - digamma(1.0)) / n,
)
"""One over the place of the true match. A sum of reciprocals is a difference of digammas."""


def sorted_places(values: Float64Array) -> tuple[IntArray, IntArray]:
    """Return the first and last place, from 0, of each value in its row. They differ for ties."""
    n = values.shape[1]
    place = np.arange(n)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    new = np.ones((len(values), n + 1), dtype=bool)
    new[:, 1:n] = ordered[:, 1:] != ordered[:, :-1]
    first, last = np.empty((2, *values.shape), dtype=np.intp)
    starts = np.maximum.accumulate(np.where(new[:, :n], place, 0), axis=1)
    ends = np.minimum.accumulate(np.where(new[:, 1:], place, n)[:, ::-1], axis=1)[:, ::-1]
    np.put_along_axis(first, order, starts, axis=1)
    np.put_along_axis(last, order, ends, axis=1)
    return first, last


def _pair_distance(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return squared distances of rows of a to the same rows of b, to the last bit as in a tile."""
    out = np.empty(len(a))
    for start in range(0, len(a), 16):
        block = slice(start, start + 16)
        out[block] = cdist(a[block], b[block], "sqeuclidean").diagonal()
    return out


def _count_nearer(
    x: Float64Array, y: Float64Array, own_x: Float64Array, own_y: Float64Array | None = None
) -> tuple[Float64Array, Float64Array]:
    """Return, for rows and columns, the numbers of (nearer, equally near) cells, (2, n) each.

    Distances are computed pair by pair, not by expanding the square, so that equal coordinates have
    equal distances to the last bit and a true match at distance 0 is not lost to rounding.
    ``own_x`` and ``own_y`` are the squared distances to compare with. NaN counts nothing.
    """
    counts_x, counts_y = np.zeros((2, len(x))), np.zeros((2, len(y)))
    for i in range(0, len(x), ROWS):
        rows = slice(i, i + ROWS)
        for j in range(0, len(y), COLUMNS):
            columns = slice(j, j + COLUMNS)
            distance = cdist(x[rows], y[columns], "sqeuclidean")
            for place, relation in enumerate((np.less, np.equal)):
                hits = relation(distance, own_x[rows, None])
                counts_x[place, rows] += np.count_nonzero(hits, axis=1)
                if own_y is not None:
                    bytes_ = relation(distance, own_y[columns]).view(np.uint8)
                    counts_y[place, columns] += np.add.reduce(bytes_, axis=0, dtype=np.uint8)
    return counts_x, counts_y


def partner_ranks(
    x: Float64Array, y: Float64Array, partner: IntArray, pool: Candidates
) -> tuple[Ranks, Ranks]:
    """Return the ranks of the true matches by distance, of the cells of x (n_x,) and y (n_y,)."""
    out_x, out_y = Ranks.unknown(len(x)), Ranks.unknown(len(y))
    for group in pool.sets(partner):
        rows, columns = group.rows, partner[group.rows]
        own = _pair_distance(x[rows], y[columns])
        if len(group.x) * len(group.y) <= len(rows) * (len(group.x) + len(group.y)):
            # one pass over all distances serves both directions
            at_x, at_y = np.searchsorted(group.x, rows), np.searchsorted(group.y, columns)
            own_x, own_y = np.full(len(group.x), np.nan), np.full(len(group.y), np.nan)
            own_x[at_x] = own_y[at_y] = own
            counts_x, counts_y = _count_nearer(x[group.x], y[group.y], own_x, own_y)
            counts_x, counts_y = counts_x[:, at_x], counts_y[:, at_y]
        else:
            counts_x, _ = _count_nearer(x[rows], y[group.y], own)
            counts_y, _ = _count_nearer(y[columns], x[group.x], own)
        _enter(out_x, rows, counts_x, len(group.y))
        _enter(out_y, columns, counts_y, len(group.x))
    return out_x, out_y


def projected_ranks(
    projected: Float64Array, y: Float64Array, partner: IntArray, pool: Candidates
) -> Ranks:
    """Return the ranks of the true matches by distance from projected source cells (NaN: none)."""
    out = Ranks.unknown(len(projected))
    for group in pool.sets(partner):
        rows = group.rows[~np.isnan(projected[group.rows]).any(axis=1)]
        own = _pair_distance(projected[rows], y[partner[rows]])
        _enter(out, rows, _count_nearer(projected[rows], y[group.y], own)[0], len(group.y))
    return out


def _enter(out: Ranks, cells: IntArray, counts: Float64Array, n: int) -> None:
    """Write counts of (before, equal). The match is among the equal, unless tiles round apart."""
    if n > 1:
        out.before[cells], out.n[cells] = counts[0], n
        out.ties[cells] = np.maximum(counts[1] - 1, 0)


@dataclass(frozen=True)
class OwnMass:
    """Masses of all source and target cells, and ``own``: T_i,partner(i), 0 without a partner."""

    own: Float64Array
    rows: Float64Array
    columns: Float64Array


def own_mass(plan: PlanLike, partner: IntArray) -> OwnMass:
    """Return the mass between true matches, and the masses of all cells, in one pass."""
    n_x, n_y = plan.shape
    out = OwnMass(np.zeros(n_x), np.zeros(n_x), np.zeros(n_y))
    place, placed = np.full(n_y, -1, dtype=np.intp), np.empty(0, dtype=np.intp)
    for rows, columns, part in slices(plan):
        if columns is not placed:
            place[placed] = -1
            place[columns], placed = np.arange(columns.size), columns
        at = np.where(partner[rows] >= 0, place[partner[rows]], -1)
        here = np.flatnonzero(at >= 0)
        if here.size:
            out.own[rows[here]] = np.asarray(part[here, at[here]]).ravel()
        out.rows[rows] += np.asarray(part.sum(axis=1), dtype=np.float64).ravel()
        out.columns[columns] += np.asarray(part.sum(axis=0), dtype=np.float64).ravel()
    return out


def coupling_ranks(
    plan: PlanLike, partner: IntArray, pool: Candidates, masses: OwnMass
) -> tuple[Ranks, Ranks]:
    """Return the ranks of the true matches by mass, of source and target cells with mass."""
    rows = pool.with_candidate_partner(partner)
    columns, n_y = partner[rows], plan.shape[1]
    own_y = np.zeros(n_y)
    own_y[columns] = masses.own[rows]
    counts_x, counts_y = np.zeros((2, plan.shape[0])), np.zeros((2, n_y))
    for i, j, part in slices(plan):
        count = _count_dense if isinstance(part, np.ndarray) else _count_sparse
        of_x, of_y = count(part, pool.codes_x[i], pool.codes_y[j], masses.own[i], own_y[j])
        counts_x[:, i] += of_x
        counts_y[:, j] += of_y
    out_x, out_y = Ranks.unknown(plan.shape[0]), Ranks.unknown(n_y)
    with_mass = rows[masses.rows[rows] > 0], columns[masses.columns[columns] > 0]
    _enter_mass(out_x, with_mass[0], counts_x, masses.own, pool.counts_of_x())
    _enter_mass(out_y, with_mass[1], counts_y, own_y, pool.counts_of_y())
    return out_x, out_y


def _enter_mass(
    out: Ranks, cells: IntArray, counts: Float64Array, own: Float64Array, n: IntArray
) -> None:
    """Write counts of (more, equal and positive). A match without mass ties with all such cells."""
    cells = cells[n[cells] > 1]
    more, equal = counts[:, cells]
    out.before[cells], out.n[cells] = more, n[cells]
    out.ties[cells] = np.where(own[cells] > 0, equal, n[cells] - more) - 1


def _count_dense(
    part: Any, codes_x: IntArray, codes_y: IntArray, own_x: Float64Array, own_y: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return, for rows and columns, the numbers of candidates with more and with equal mass."""
    code = codes_x[0]
    if code < 0 or (codes_x != code).any() or (codes_y != code).any():
        part = np.where((codes_x[:, None] == codes_y) & (codes_x[:, None] >= 0), part, 0)
    own = own_x[:, None]
    of_x = [np.count_nonzero(part > own, axis=1), np.count_nonzero(part == own, axis=1)]
    of_y = [np.count_nonzero(part > own_y, axis=0), np.count_nonzero(part == own_y, axis=0)]
    return np.asarray(of_x, dtype=np.float64), np.asarray(of_y, dtype=np.float64)


def _count_sparse(
    part: Any, codes_x: IntArray, codes_y: IntArray, own_x: Float64Array, own_y: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the counts of :func:`_count_dense`, of equal masses only those above 0."""
    stored = part.tocoo()
    among = (codes_x[stored.row] == codes_y[stored.col]) & (codes_x[stored.row] >= 0)
    among &= stored.data > 0
    mass = stored.data[among]
    counts = []
    for at, own in ((stored.row[among], own_x), (stored.col[among], own_y)):
        more = np.bincount(at[mass > own[at]], minlength=own.size)
        equal = np.bincount(at[mass == own[at]], minlength=own.size)
        counts.append(np.asarray([more, equal], dtype=np.float64))
    return counts[0], counts[1]

"""Where the true match of a cell stands among its candidates: what FOSCTTM, recall and reciprocal rank are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import digamma

from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.metrics._candidates import Candidates, PlanLike, rows_per_block, slices

ROWS: Final = 240
COLUMNS: Final = 1024
"""Size of a tile of distances: it stays in the cache, and no more than 255 rows, so that a byte counts them."""


@dataclass(frozen=True)
class Ranks:
    """The place of the true match of each cell; NaN where there is none, or no other candidate.

    Attributes
    ----------
    before
        Candidates that come before it: nearer, or given more mass, (n,).
    ties
        Other candidates as near, (n,).
    n
        Candidates, (n,).
    """

    before: Float64Array
    ties: Float64Array
    n: Float64Array

    @property
    def scored(self) -> BoolArray:
        """Which cells have a place."""
        known: BoolArray = ~np.isnan(self.before)
        return known


@dataclass(frozen=True)
class Rule:
    """What a place is worth.

    Attributes
    ----------
    of
        (before, ties, n) -> value; the mean over all orders of the ties.
    expected
        n -> its mean over n candidates, one of which, at random, is the true match.
    """

    of: Callable[[Any, Any, Any], Float64Array]
    expected: Callable[[Any], Float64Array]

    def __call__(self, ranks: Ranks) -> Float64Array:
        """Return the value of each cell, NaN where it has no place."""
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
"""One over the place of the true match; a sum of reciprocals is a difference of digamma functions."""


def sorted_places(values: Float64Array) -> tuple[IntArray, IntArray]:
    """Return the first and last place, from 0, of each value in its sorted row; they differ for ties. (k, n) all."""
    n = values.shape[1]
    place = np.arange(n)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    new = np.ones((len(values), n + 1), dtype=bool)
    new[:, 1:n] = ordered[:, 1:] != ordered[:, :-1]
    found = np.empty((2, *values.shape), dtype=np.intp)
    first = np.maximum.accumulate(np.where(new[:, :n], place, 0), axis=1)
    last = np.minimum.accumulate(np.where(new[:, 1:], place, n)[:, ::-1], axis=1)[:, ::-1]
    for out, at in zip(found, (first, last), strict=True):
        np.put_along_axis(out, order, at, axis=1)
    return found[0], found[1]


def pair_distance(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return the squared distance of each row of a to the same row of b, to the last bit as in a tile of distances."""
    out = np.empty(len(a))
    for start in range(0, len(a), 16):
        block = slice(start, start + 16)
        out[block] = cdist(a[block], b[block], "sqeuclidean").diagonal()
    return out


def count_nearer(
    x: Float64Array,
    y: Float64Array,
    own_x: Float64Array,
    own_y: Float64Array | None,
    block_size: int | None,
) -> tuple[Float64Array, Float64Array]:
    """Return, for rows and for columns, (nearer, as near) of the cells of the other side, (2, n_x) and (2, n_y).

    Distances are computed pair by pair, never by expanding the square, so that equal coordinates have equal
    distances to the last bit and a true match at distance 0 is not lost to rounding.

    Parameters
    ----------
    x, y
        Coordinates (n_x, d) and (n_y, d).
    own_x, own_y
        Squared distance that the others are compared with, (n_x,) and (n_y,); NaN where nothing is counted, None for
        no count along the columns.
    block_size
        Rows at a time, at most.
    """
    counts_x, counts_y = np.zeros((2, len(x))), np.zeros((2, len(y)))
    step = min(ROWS, rows_per_block(len(y), block_size)) if block_size is not None else ROWS
    for i in range(0, len(x), step):
        rows = slice(i, i + step)
        for j in range(0, len(y), COLUMNS):
            columns = slice(j, j + COLUMNS)
            distance = cdist(x[rows], y[columns], "sqeuclidean")
            for place, relation in enumerate((np.less, np.equal)):
                counts_x[place, rows] += np.count_nonzero(
                    relation(distance, own_x[rows, None]), axis=1
                )
                if own_y is not None:
                    hits = relation(distance, own_y[columns])
                    counts_y[place, columns] += np.add.reduce(
                        hits.view(np.uint8), axis=0, dtype=np.uint8
                    )
    return counts_x, counts_y


def partner_ranks(
    x: Float64Array,
    y: Float64Array,
    partner: IntArray,
    pool: Candidates,
    block_size: int | None = None,
) -> tuple[Ranks, Ranks]:
    """Return the places of the true matches by distance, of the cells of x (n_x,) and of y (n_y,)."""
    out_x, out_y = _no_ranks(len(x)), _no_ranks(len(y))
    for group in pool.sets(partner):
        rows, columns = group.rows, partner[group.rows]
        own = pair_distance(x[rows], y[columns])
        if len(group.x) * len(group.y) <= len(rows) * (len(group.x) + len(group.y)):
            # one pass over all distances serves both directions
            own_x, own_y = _spread(own, rows, group.x), _spread(own, columns, group.y)
            found_x, found_y = count_nearer(x[group.x], y[group.y], own_x, own_y, block_size)
            found_x, found_y = (
                found_x[:, ~np.isnan(own_x)],
                found_y[:, np.searchsorted(group.y, columns)],
            )
        else:
            found_x, _ = count_nearer(x[rows], y[group.y], own, None, block_size)
            found_y, _ = count_nearer(y[columns], x[group.x], own, None, block_size)
        _enter(out_x, rows, found_x, len(group.y))
        _enter(out_y, columns, found_y, len(group.x))
    return out_x, out_y


def projected_ranks(
    projected: Float64Array,
    y: Float64Array,
    partner: IntArray,
    pool: Candidates,
    block_size: int | None = None,
) -> Ranks:
    """Return the places of the true matches by distance from projected source cells; a NaN projection has none."""
    out = _no_ranks(len(projected))
    for group in pool.sets(partner):
        rows = group.rows[~np.isnan(projected[group.rows]).any(axis=1)]
        own = pair_distance(projected[rows], y[partner[rows]])
        found, _ = count_nearer(projected[rows], y[group.y], own, None, block_size)
        _enter(out, rows, found, len(group.y))
    return out


def _no_ranks(n: int) -> Ranks:
    return Ranks(*(np.full(n, np.nan) for _ in range(3)))


def _spread(own: Float64Array, cells: IntArray, among: IntArray) -> Float64Array:
    """Return ``own`` at the places of ``cells`` among ascending cells, NaN elsewhere."""
    out = np.full(len(among), np.nan)
    out[np.searchsorted(among, cells)] = own
    return out


def _enter(out: Ranks, cells: IntArray, found: Float64Array, n: int) -> None:
    """Write (before, equal) counts, the match itself among the equal ones; with one candidate there is no place."""
    if n > 1:
        # the match is equal to itself, unless a machine rounds tiles of different size differently
        out.before[cells], out.ties[cells], out.n[cells] = found[0], np.maximum(found[1] - 1, 0), n


# ------------------------------------------------------------------------------------------------------ couplings


@dataclass(frozen=True)
class OwnMass:
    """Masses of a coupling that ranks are taken from.

    Attributes
    ----------
    own
        T_i,partner(i) of each source cell; 0 where it has no partner, (n_source,).
    rows, columns
        Masses of source and target cells, (n_source,) and (n_target,).
    """

    own: Float64Array
    rows: Float64Array
    columns: Float64Array


def own_mass(plan: PlanLike, partner: IntArray) -> OwnMass:
    """Return the mass between true matches, and the masses of all cells, in one pass."""
    found = OwnMass(*(np.zeros(n) for n in (plan.shape[0], plan.shape[0], plan.shape[1])))
    place, placed = np.full(plan.shape[1], -1, dtype=np.intp), np.empty(0, dtype=np.intp)
    for rows, columns, part in slices(plan):
        if columns is not placed:
            place[placed] = -1
            place[columns], placed = np.arange(columns.size), columns
        at = np.where(partner[rows] >= 0, place[partner[rows]], -1)
        here = np.flatnonzero(at >= 0)
        found.own[rows[here]] = np.asarray(part[here, at[here]]).ravel()
        found.rows[rows] += np.asarray(part.sum(axis=1), dtype=np.float64).ravel()
        found.columns[columns] += np.asarray(part.sum(axis=0), dtype=np.float64).ravel()
    return found


def coupling_ranks(
    plan: PlanLike, partner: IntArray, pool: Candidates, masses: OwnMass
) -> tuple[Ranks, Ranks]:
    """Return the places of the true matches by mass, of source and of target cells; cells without mass have none."""
    rows = pool.with_candidate_partner(partner)
    columns, n_y = partner[rows], plan.shape[1]
    own_y = np.zeros(n_y)
    own_y[columns] = masses.own[rows]
    more_x, more_y = _count_more(plan, pool, masses.own, own_y)
    out_x, out_y = _no_ranks(plan.shape[0]), _no_ranks(n_y)
    _enter_mass(out_x, rows[masses.rows[rows] > 0], more_x, masses.own, pool.counts_of_x())
    _enter_mass(out_y, columns[masses.columns[columns] > 0], more_y, own_y, pool.counts_of_y())
    return out_x, out_y


def _enter_mass(
    out: Ranks, cells: IntArray, counts: Float64Array, own: Float64Array, n: IntArray
) -> None:
    """Write counts of (more, equal and positive); where the match has no mass, all others without mass tie with it."""
    cells = cells[n[cells] > 1]
    more, equal = counts[:, cells]
    out.before[cells], out.n[cells] = more, n[cells]
    out.ties[cells] = np.where(own[cells] > 0, equal, n[cells] - more) - 1


def _count_more(
    plan: PlanLike, pool: Candidates, own_x: Float64Array, own_y: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return, for rows and columns, two counts over candidates: more mass, and (only right if positive) equal mass."""
    counts_x, counts_y = np.zeros((2, own_x.size)), np.zeros((2, own_y.size))
    for rows, columns, part in slices(plan):
        counter = _count_sparse if not isinstance(part, np.ndarray) else _count_dense
        found_x, found_y = counter(
            part, pool.codes_x[rows], pool.codes_y[columns], own_x[rows], own_y[columns]
        )
        counts_x[:, rows] += found_x
        counts_y[:, columns] += found_y
    return counts_x, counts_y


def _count_dense(
    part: Any, codes_x: IntArray, codes_y: IntArray, own_x: Float64Array, own_y: Float64Array
) -> tuple[Float64Array, Float64Array]:
    of_one_label = (
        codes_x[0] >= 0 and (codes_x == codes_x[0]).all() and (codes_y == codes_x[0]).all()
    )
    if not of_one_label:
        part = np.where((codes_x[:, None] == codes_y) & (codes_x[:, None] >= 0), part, 0)
    own = own_x[:, None]
    found_x = [np.count_nonzero(part > own, axis=1), np.count_nonzero(part == own, axis=1)]
    found_y = [np.count_nonzero(part > own_y, axis=0), np.count_nonzero(part == own_y, axis=0)]
    return np.asarray(found_x, dtype=np.float64), np.asarray(found_y, dtype=np.float64)


def _count_sparse(
    part: Any, codes_x: IntArray, codes_y: IntArray, own_x: Float64Array, own_y: Float64Array
) -> tuple[Float64Array, Float64Array]:
    stored = part.tocoo()
    kept = (
        (stored.data > 0)
        & (codes_x[stored.row] == codes_y[stored.col])
        & (codes_x[stored.row] >= 0)
    )
    i, j, mass = stored.row[kept], stored.col[kept], stored.data[kept]
    found = []
    for at, own in ((i, own_x), (j, own_y)):
        hits = (mass > own[at], mass == own[at])
        found.append(
            np.asarray([np.bincount(at[hit], minlength=own.size) for hit in hits], dtype=np.float64)
        )
    return found[0], found[1]

"""The yardsticks of every benchmark: the floor, chance and the truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scgroove._labels import encode, names_of
from scgroove._types import Float64Array, IntArray, Labels
from scgroove.aligners._blocks import Partition
from scgroove.aligners._neighbors import entries, with_rows
from scgroove.aligners._plans import LowRankPlan
from scgroove.aligners._problem import Solved, with_errors
from scgroove.aligners.base import ALIGNERS, BaseAligner, Evidence
from scgroove.errors import InputError


@dataclass(frozen=True, kw_only=True)
class YardstickAligner(BaseAligner):
    """Couple cells without a look at their representations, of which only the numbers are used."""

    shared_space: ClassVar[bool] = False
    bytes_per_cell: ClassVar[int]

    def _is_bad(self, solved: Solved, error: float) -> bool:
        return False  # nothing is solved, so nothing can fail

    def estimate_memory(self, parts: Partition, x: Float64Array, y: Float64Array) -> float:
        """Return the memory of the plans, in GB: linear in the number of cells."""
        return self.bytes_per_cell * (len(x) + len(y)) / 1e9


@ALIGNERS.register("random")
@dataclass(frozen=True, kw_only=True)
class RandomMatching(YardstickAligner):
    """Random coupling, the floor: both sides in random order, by the north-west corner rule.

    What a matcher gets that knows the labels and nothing else. The marginals are met, by at most
    n + m - 1 entries a block, so it is as sparse as an exact coupling. ``seed`` is that of the
    orders. See Peyré and Cuturi 2019, "Computational Optimal Transport", section 3.4.2.
    """

    name: ClassVar[str] = "random"
    bytes_per_cell: ClassVar[int] = 100

    seed: int = 0

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        solved = []
        rngs = np.random.default_rng(self.seed).spawn(len(parts.blocks))
        for block, rng in zip(parts.blocks, rngs, strict=True):
            plan = random_plan(block.a, block.b, rng)
            solved.append(with_errors(plan, block.a, block.b))
        return solved, {}


@ALIGNERS.register("uniform")
@dataclass(frozen=True, kw_only=True)
class UniformCoupling(YardstickAligner):
    """Uniform coupling, chance: ``T = a b' / mass`` in each block, everyone with everyone.

    What the labels alone say, and the limit of entropic transport for large eps (Cuturi 2013, arXiv
    1306.0895). Kept as a plan of rank 1.
    """

    name: ClassVar[str] = "uniform"
    bytes_per_cell: ClassVar[int] = 24

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        solved = []
        for block in parts.blocks:
            plan = LowRankPlan(block.a[:, None], block.b[:, None], np.array([block.mass]))
            solved.append(with_errors(plan, block.a, block.b))
        return solved, {}


@ALIGNERS.register("oracle")
@dataclass(frozen=True, kw_only=True)
class OracleMatching(YardstickAligner):
    """The truth, for benchmarks: mass between cells that are the same measured unit.

    T_ij = a_i if source cell i and target cell j are the same unit. Cells without a partner in
    their block have no mass. The evidence counts the pairs (``n_pairs``) and the source cells
    without one (``n_source_unmatched``).

    Parameters
    ----------
    pairs_x, pairs_y
        Identifier of the measured unit of each source (n_source,) and target cell (n_target,),
        unique within each. None and NaN mean unknown. They are compared by name, as labels are.

    Raises
    ------
    ValueError
        If identifiers are used twice on one side. On alignment, if they are missing, there is not
        one a cell, or no pair lies in a block.

    Examples
    --------
    >>> import numpy as np
    >>> from scgroove import aligners
    >>> oracle = aligners.get("oracle")(pairs_x=["u1", "u2"], pairs_y=["u2", "u1"])
    >>> oracle.align(np.zeros((2, 1)), np.zeros((2, 1))).to_dense()
    array([[0. , 0.5],
           [0.5, 0. ]])
    """

    name: ClassVar[str] = "oracle"
    bytes_per_cell: ClassVar[int] = 200

    pairs_x: Labels | None = field(default=None, repr=False)
    pairs_y: Labels | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for option in ("pairs_x", "pairs_y"):
            if getattr(self, option) is not None:
                # tuples, because a frozen dataclass is compared and hashed by its fields
                object.__setattr__(self, option, _identifiers(option, getattr(self, option)))

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        sides = (("pairs_x", "source", "x"), ("pairs_y", "target", "y"))
        for (option, side, array), expected in zip(sides, parts.shape, strict=True):
            given: Any = getattr(self, option)
            if given is None:
                raise InputError(
                    f"method 'oracle' needs to know which cells are the same measured unit, but "
                    f"{option} is missing. Pass OracleMatching(pairs_x=..., pairs_y=...): an "
                    f"identifier for each source and target cell, equal for cells of one unit and "
                    f"None where unknown. For scgroove.tl.align: method='oracle' and pair_key=."
                )
            if len(given) != expected:
                raise InputError(
                    f"{option} must hold one identifier a {side} cell, in the order of {array}: "
                    f"expected {expected}, found {len(given)}."
                )
        partner = self._partners()
        solved = []
        for block in parts.blocks:
            wanted = partner[block.rows]
            place = np.minimum(np.searchsorted(block.columns, wanted), block.columns.size - 1)
            paired = np.flatnonzero(block.columns[place] == wanted)
            plan = entries(paired, place[paired], (block.rows.size, block.columns.size))
            one = with_errors(with_rows(plan, block.a), block.a, block.b)
            solved.append(replace(one, n_unmatched=block.rows.size - paired.size))
        n_unmatched = sum(one.n_unmatched for one in solved)
        n_pairs = parts.n_used[0] - n_unmatched
        if n_pairs == 0:
            raise InputError(_no_pair_in_a_block(parts, int((partner >= 0).sum())))
        return solved, {"n_pairs": n_pairs, "n_source_unmatched": n_unmatched}

    def _partners(self) -> IntArray:
        """Target cell of the unit of each source cell, -1 for none."""
        names, (codes_x, codes_y) = encode(self.pairs_x or (), self.pairs_y or ())
        cell = np.full(len(names) + 1, -1, dtype=np.intp)  # the last is for unknown units, code -1
        cell[codes_y] = np.arange(codes_y.size)
        cell[-1] = -1
        return cell[codes_x]


def random_plan(a: Float64Array, b: Float64Array, rng: np.random.Generator) -> sp.csr_matrix:
    """Random coupling (n, m) of masses a (n,) and b (m,) of equal sum."""
    rows, columns = rng.permutation(a.size), rng.permutation(b.size)
    i, j, mass = north_west_corner(a[rows], b[columns])
    plan = sp.csr_matrix((mass, (rows[i], columns[j])), (a.size, b.size))
    return with_rows(plan, a)  # rounding of the cumulative masses


def north_west_corner(a: Float64Array, b: Float64Array) -> tuple[IntArray, IntArray, Float64Array]:
    """Entries (rows, columns, mass) of a coupling filled in order, at most n + m - 1.

    Row i covers ``[sum a_<i, sum a_<=i)`` of a line, column j likewise. Their mass is what both
    cover.
    """
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    ends = np.sort(np.concatenate([ends_a, ends_b]))[:-1]
    starts = np.concatenate([[0.0], ends[:-1]])
    rows = np.minimum(np.searchsorted(ends_a, starts, side="right"), a.size - 1)
    columns = np.minimum(np.searchsorted(ends_b, starts, side="right"), b.size - 1)
    mass = ends - starts
    kept = mass > 1e-9 * np.minimum(a[rows], b[columns])  # marks that differ by rounding only
    return rows[kept], columns[kept], mass[kept]


def _identifiers(option: str, given: Labels) -> tuple[str | None, ...]:
    if np.ndim(given) != 1:
        raise InputError(
            f"{option} must hold one identifier a cell, an array of shape (n,); found shape "
            f"{np.shape(given)}."
        )
    names = pd.Series(names_of(given), dtype=object)
    known = names.dropna()
    twice = known[known.duplicated()].unique()
    if twice.size:
        cells = np.flatnonzero(names == twice[0])
        raise InputError(
            f"{option} must name each measured unit once; found {twice[0]!r} for {cells.size} "
            f"cells, first for cells {cells[0]} and {cells[1]}, and {twice.size} such identifiers "
            f"in all. Cells of one unit in one modality cannot be told apart: give them "
            f"identifiers of their own, or None."
        )
    return tuple(names)


def _no_pair_in_a_block(parts: Partition, n_pairs: int) -> str:
    reason, advice = "their cells have", "Check the weights."
    if parts.labeled:
        reason = "their cells have different labels, no label, or"
        advice = "Check the labels, or align without them (labeled=False)."
    return f"none of the {n_pairs} known pairs can be coupled: {reason} weight 0. {advice}"

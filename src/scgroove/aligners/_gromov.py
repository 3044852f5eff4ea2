"""Gromov-Wasserstein aligners: modalities matched by the distances inside each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from scgroove._types import IntArray
from scgroove.aligners._blocks import Partition
from scgroove.aligners._descent import Descent, Group, Part, annealing_path, chosen_epsilon, descend
from scgroove.aligners._entropic import EntropicAligner, check_rank
from scgroove.aligners._epsilon import AUTO, cost_scale
from scgroove.aligners._plans import scaled
from scgroove.aligners._problem import Solved
from scgroove.aligners._structure import (
    LOW_RANK,
    IntraCost,
    LowRankCost,
    Structure,
    check_structure,
    rank_of,
    structure,
)
from scgroove.aligners.base import ALIGNERS, Evidence
from scgroove.aligners.costs import Cost, PairCost
from scgroove.aligners.jobs import check_jobs, run
from scgroove.errors import InputError


@dataclass(frozen=True, kw_only=True)
class _Quadratic(EntropicAligner):
    """Common part of ``egw``, ``egw_each`` and ``fgw``."""

    shared_space: ClassVar[bool] = False

    epsilon: float | Literal["auto"] = 1e-3
    intra_cost: IntraCost = "sqeuclidean"
    anneal: bool = True
    max_outer: int = 500
    tol_outer: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tol_outer > 0 or not self.max_outer >= 1:
            raise InputError(
                f"tol_outer must be positive and max_outer at least 1; found {self.tol_outer!r} "
                f"and {self.max_outer!r}."
            )

    def _check(self, x: Any, y: Any) -> tuple[Any, Any]:
        return check_structure("x", x, self.intra_cost), check_structure("y", y, self.intra_cost)

    def _structures(
        self, x: Any, y: Any, rows: IntArray, columns: IntArray
    ) -> tuple[Structure, Structure, tuple[float, float]]:
        """Return the costs inside source and target divided by their size, and these sizes."""
        in_x = structure(x, rows, self.intra_cost, "source")
        in_y = structure(y, columns, self.intra_cost, "target")
        if in_x.right is None or in_y.right is None:
            in_x, in_y = in_x.as_matrix(), in_y.as_matrix()
        scales = in_x.size(), in_y.size()
        return in_x.divided(scales[0]), in_y.divided(scales[1]), scales

    def _joint_group(
        self, parts: Partition, x: Any, y: Any, *, linear: Sequence[PairCost] = (), **options: Any
    ) -> Group:
        """Return all blocks as one group, their cells one block after the other."""
        rows = np.concatenate([block.rows for block in parts.blocks])
        columns = np.concatenate([block.columns for block in parts.blocks])
        in_x, in_y, scales = self._structures(x, y, rows, columns)
        placed, i, j = [], 0, 0
        for k, block in enumerate(parts.blocks):
            n, m = block.rows.size, block.columns.size
            own = linear[k] if linear else None
            placed.append(Part(slice(i, i + n), slice(j, j + m), block.a, block.b, own))
            i, j = i + n, j + m
        return Group(in_x, in_y, placed, scales=scales, **options)

    def _descend(self, groups: Sequence[Group]) -> list[tuple[Descent, list[Solved]]]:
        epsilon = self.epsilon
        if epsilon == AUTO:
            epsilon = chosen_epsilon(groups, self._solve_problems, self.max_outer)
        return descend(
            groups,
            annealing_path(float(epsilon)) if self.anneal else [float(epsilon)],
            self._solve_problems,
            tol=self.tol,
            tol_outer=self.tol_outer,
            max_outer=self.max_outer,
        )

    def _solve_joint(self, group: Group) -> tuple[list[Solved], Evidence]:
        ((descent, blocks),) = self._descend([group])
        entropy = sum(one.objective - one.transport_cost for one in blocks)
        return [replace(one, transport_cost=np.nan, objective=np.nan) for one in blocks], {
            "transport_cost": descent.value,
            "energy": descent.energy,
            "objective": descent.value + float(entropy),
            "n_outer": descent.outer,
            "change_outer": descent.change,
            "cost_scale_source": group.scales[0],
            "cost_scale_target": group.scales[1],
            "epsilon_relative": blocks[0].epsilon,
        }

    def estimate_memory(self, parts: Partition, x: Any, y: Any) -> float:
        """Return the largest memory needed at a time, in GB: costs, work, and what is kept."""
        (n, m), ranks = (
            self._together(parts),
            (rank_of(x, self.intra_cost), rank_of(y, self.intra_cost)),
        )
        if ranks[0] is None or ranks[1] is None:
            inside = 8.0 * (2 * n * n + 2 * m * m + 4 * n * m)
        else:
            cells = 4 * n * ranks[0] + 4 * m * ranks[1] + n * ranks[1]
            inside = 8.0 * (cells + 4 * ranks[0] * ranks[1])
        largest = max(block.n_pairs for block in parts.blocks)
        kept = 0
        for block in parts.blocks:
            factors = 8 * block.n_cells * ((ranks[1] or block.columns.size) + 2)
            kept += min(8 * block.n_pairs, factors)
        return (inside + 24 * largest + kept) / 1e9

    def _together(self, parts: Partition) -> tuple[int, int]:
        return parts.n_used

    def _memory_advice(self) -> list[str]:
        if self.intra_cost in LOW_RANK:
            return []
        return [
            f"use intra_cost='sqeuclidean', which needs no cells x cells matrix (now "
            f"{self.intra_cost!r})"
        ]

    def _advice(self) -> str:
        return (
            f"Raise max_outer (now {self.max_outer}) or max_iter (now {self.max_iter}), or epsilon "
            f"(now {self.epsilon}): a larger one converges faster and spreads the mass wider. If "
            f"it is still changing by little, lower tol (now {self.tol:g}), on which each step is "
            f"exact, or raise tol_outer (now {self.tol_outer:g})."
        )


@ALIGNERS.register("egw")
@dataclass(frozen=True, kw_only=True)
class GromovWasserstein(_Quadratic):
    """Entropic Gromov-Wasserstein transport: match cells by their distances to all other cells.

    ``min sum_ijkl (Cx_ik - Cy_jl)^2 T_ij T_kl - eps H(T)`` subject to the marginals.

    The modalities need no shared space: Cx and Cy are distances inside each, divided by their mean.
    With labels T is block-diagonal, but the sum goes over all cells: where a label lies among the
    others helps to match the cells inside it. Nothing cells x cells is built for costs of low rank
    (``"sqeuclidean"``, ``"cosine"``, :class:`LowRankCost`).

    Parameters
    ----------
    epsilon
        eps, relative to the mean costs. Twice that of ott-jax, whose linearization is half the
        gradient. Equal to that of POT. ``"auto"``: the smallest that still makes the coupling
        cheaper.
    intra_cost
        Costs inside each modality: ``"sqeuclidean"``, ``"cosine"``, ``"euclidean"`` (builds n x n,
        m x m and n x m matrices), or ``"precomputed"`` (x and y are these costs).
    anneal
        Go from eps 0.1 down to ``epsilon``, each coupling starting the next: of many stationary
        points, this finds far better ones than a start at a small eps. False: start from the
        product coupling.
    max_outer, tol_outer
        Linearize at most this many times at an eps, and stop when the coupling, as far as the next
        step depends on it, changes by less than this share of its distance from the product
        coupling, or ceases to change by less, within ten times ``tol``.
    rank
        None: the plan itself. A number: a plan of this rank by ott-jax, for an unlabeled problem
        too large for a plan. Squared Euclidean costs only, and ``epsilon="auto"`` is none.
    seed
        Of the first factors, with ``rank``.
    tol, max_iter
        Of the entropic problems inside, as for :class:`EntropicOT`.
    backend, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Peyré, Cuturi and Solomon 2016, "Gromov-Wasserstein averaging of kernel and distance matrices".
    Ryu et al. 2024, arXiv 2405.00838 (labels). Scetbon, Peyré and Cuturi 2022, arXiv 2106.01128
    (factors of the costs; low rank).
    """

    name: ClassVar[str] = "egw"

    rank: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rank(self.rank)
        if self.rank is not None and self.intra_cost != "sqeuclidean":
            raise InputError(f"rank needs intra_cost='sqeuclidean'; found {self.intra_cost!r}.")

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        if self.rank is not None:
            return self._low_rank(parts, x, y)
        return self._solve_joint(self._joint_group(parts, x, y))

    def _low_rank(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        from scgroove.aligners._ott import low_rank_gromov

        if parts.labeled or isinstance(x, LowRankCost) or isinstance(y, LowRankCost):
            raise InputError(
                "rank is for an unlabeled problem between representations: a labeled one needs no "
                "plan of low rank, because only its blocks are ever built. Leave rank out, or "
                "align without labels (labeled=False)."
            )
        (block,) = parts.blocks
        x, y = x[block.rows], y[block.columns]
        epsilon = 0.0 if self.epsilon == AUTO else float(self.epsilon)
        scale_x, scale_y = cost_scale([PairCost(x, x)]), cost_scale([PairCost(y, y)])
        solved = low_rank_gromov(
            x,
            y,
            block.a,
            block.b,
            epsilon=epsilon,
            rank=min(int(self.rank or 1), len(x), len(y)),
            tol=self.tol,
            max_iter=self.max_iter,
            seed=self.seed,
            scale=(scale_x, scale_y),
        )
        return [solved], {
            "epsilon_relative": epsilon,
            "cost_scale_source": scale_x,
            "cost_scale_target": scale_y,
        }

    def estimate_memory(self, parts: Partition, x: Any, y: Any) -> float:
        """Return the largest memory needed at a time, in GB. With ``rank``, that of the factors."""
        if self.rank is None:
            return super().estimate_memory(parts, x, y)
        n, m = parts.n_used
        return float(8.0 * (n + m) * (12 * self.rank + 4 * (x.shape[1] + y.shape[1])) / 1e9)

    def _memory_advice(self) -> list[str]:
        low_rank = [] if self.rank else ["ask for a plan of low rank (rank=50)"]
        return super()._memory_advice() or low_rank


@ALIGNERS.register("egw_each")
@dataclass(frozen=True, kw_only=True)
class GromovWassersteinEach(_Quadratic):
    """Entropic Gromov-Wasserstein transport inside each label alone.

    The problem of ``egw`` once a label, with costs divided by its own mean. Labels do not inform
    one another. Without labels it is ``egw``.

    Parameters
    ----------
    n_jobs, backend, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.
    epsilon, intra_cost, anneal, max_outer, tol_outer, tol, max_iter
        As for :class:`GromovWasserstein`.
    """

    name: ClassVar[str] = "egw_each"

    n_jobs: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_jobs(self.n_jobs)

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        groups = []
        for block in parts.blocks:
            in_x, in_y, scales = self._structures(x, y, block.rows, block.columns)
            a, b = block.a / block.mass, block.b / block.mass
            whole = Part(slice(0, len(in_x)), slice(0, len(in_y)), a, b)
            groups.append(Group(in_x, in_y, [whole], scales=scales))
        aligner = self
        if self.epsilon == AUTO:
            epsilon = chosen_epsilon(groups, self._solve_problems, self.max_outer)
            aligner = replace(self, epsilon=epsilon)
        sizes = [block.n_pairs for block in parts.blocks]
        solved = run(aligner._solve_groups, groups, sizes, self.n_jobs)
        blocks = [
            _with_mass(one, block.mass)
            for (one, _), block in zip(solved, parts.blocks, strict=True)
        ]
        return blocks, {
            "n_outer": np.array([n for _, n in solved], dtype=np.int64),
            "cost_scale_source": np.array([group.scales[0] for group in groups]),
            "cost_scale_target": np.array([group.scales[1] for group in groups]),
            "epsilon_relative": blocks[0].epsilon,
        }

    def _solve_groups(self, groups: Sequence[Group]) -> list[tuple[Solved, int]]:
        """Solve some labels, and tell the steps taken: the job of one worker."""
        out = []
        for descent, (solved,) in self._descend(groups):
            entropy = solved.objective - solved.transport_cost
            cost = descent.value
            solved = replace(solved, transport_cost=cost, objective=cost + entropy)
            out.append((solved, descent.outer))
        return out

    def _together(self, parts: Partition) -> tuple[int, int]:
        if self.intra_cost in LOW_RANK:
            return parts.n_used
        # matrices of all labels are held at a time: as many cells as give the same sum of squares
        largest = max(parts.blocks, key=lambda block: block.n_pairs)
        n2 = sum(block.rows.size**2 for block in parts.blocks)
        m2 = sum(block.columns.size**2 for block in parts.blocks)
        return max(int(n2**0.5), largest.rows.size), max(int(m2**0.5), largest.columns.size)


def _with_mass(solved: Solved, mass: float) -> Solved:
    """Return the solution of a problem of mass 1 at another mass."""
    plan = scaled(solved.plan, np.full(solved.plan.shape[0], mass))
    numbers = ("row_error", "column_error", "transport_cost", "objective")
    return replace(solved, plan=plan, **{name: getattr(solved, name) * mass for name in numbers})


@ALIGNERS.register("fgw")
@dataclass(frozen=True, kw_only=True)
class FusedGromovWasserstein(_Quadratic):
    """Fused Gromov-Wasserstein transport: close in the shared space, and alike in distances.

    ``min (1 - alpha) <M, T> + alpha sum_ijkl (Cx_ik - Cy_jl)^2 T_ij T_kl - eps H(T)`` subject to
    the marginals. M: costs between x and y, divided by their mean over the pairs of all blocks.
    Cx, Cy and labels as for :class:`GromovWasserstein`.

    Parameters
    ----------
    alpha
        Weight of the quadratic part, in [0, 1]. 0: as ``eot``, with one eps for all labels. 1: as
        ``egw``.
    cost
        M: ``"sqeuclidean"`` or ``"cosine"``.
    structure_x, structure_y
        Other representations (n_source, .) and (n_target, .) to take Cx and Cy from, of any widths.
        None: x and y.
    epsilon, intra_cost, anneal, max_outer, tol_outer, tol, max_iter
        As for :class:`GromovWasserstein`.
    backend, label_weights, max_memory_gb, strict
        As for :class:`EntropicOT`.

    References
    ----------
    Vayer et al. 2019, arXiv 1805.09114.
    """

    name: ClassVar[str] = "fgw"
    shared_space: ClassVar[bool] = True

    epsilon: float | Literal["auto"] = 0.01
    tol: float = 1e-6
    alpha: float = 0.5
    cost: Cost = "sqeuclidean"
    structure_x: Any = field(default=None, repr=False, compare=False)
    structure_y: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise InputError(
                f"alpha, the weight of the quadratic part, must lie in [0, 1]; found "
                f"{self.alpha!r}."
            )

    def _check(self, x: Any, y: Any) -> tuple[Any, Any]:
        return EntropicAligner._check(self, x, y)

    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        linear = [PairCost(x[block.rows], y[block.columns], self.cost) for block in parts.blocks]
        size = cost_scale(linear)
        group = self._joint_group(
            parts, *self._insides(x, y), linear=linear, alpha=self.alpha, linear_scale=size
        )
        solved, evidence = self._solve_joint(group)
        return solved, {**evidence, "cost_scale_linear": size}

    def _insides(self, x: Any, y: Any) -> list[Any]:
        """Return what the distances inside the modalities are taken from."""
        found = []
        for name, own in (("structure_x", x), ("structure_y", y)):
            given = getattr(self, name)
            inside = check_structure(name, own if given is None else given, self.intra_cost)
            if len(inside) != len(own):
                raise InputError(
                    f"{name} must have one row a cell: expected {len(own)}, found {len(inside)}."
                )
            found.append(inside)
        return found

    def estimate_memory(self, parts: Partition, x: Any, y: Any) -> float:
        """Return the largest memory needed at a time, in GB: as for ``egw``."""
        return super().estimate_memory(parts, *self._insides(x, y))

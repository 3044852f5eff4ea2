"""What every aligner has in common: checks, memory, evidence, warnings."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from scgroove._numbers import check_size
from scgroove._registry import Registry
from scgroove._types import Float64Array, Labels, Scalar
from scgroove._validate import checked
from scgroove._warnings import warn
from scgroove.aligners._blocks import LabelWeights, Partition, check_label_weights, partition
from scgroove.aligners._coupling import Coupling, CouplingBlock
from scgroove.aligners._plans import BlockPlan
from scgroove.errors import ConvergenceError, ConvergenceWarning, InputError, TooLargeError

BAD_MARGINAL: Final = 1e-3
"""L1 error of the marginals, relative to the mass, above which a coupling is reported as bad."""

Evidence: TypeAlias = dict[str, "Scalar | npt.NDArray[Any]"]


@runtime_checkable
class Aligner(Protocol):
    """What makes a coupling: arrays and labels in, :class:`Coupling` out. Options are given on construction."""

    name: str

    def align(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        labels_x: Labels | None = None,
        labels_y: Labels | None = None,
    ) -> Coupling:
        """Couple source cells with target cells; with labels, within labels only."""


ALIGNERS: Final[Registry[Any]] = Registry("aligner", checked)
"""Aligner classes by name. To add one: a class with ``align`` and ``@ALIGNERS.register(name)``."""


def get(name: str) -> Any:
    """Return the aligner class of a name.

    Parameters
    ----------
    name
        For example ``"eot"`` or ``"emd"``.

    Returns
    -------
    type
        Construct it with its options: ``aligners.get("eot")(epsilon=0.02)``.

    Raises
    ------
    ValueError
        If there is no such aligner; the message names the near miss and the list.
    """
    return ALIGNERS.get(name)


@dataclass(frozen=True, eq=False)
class Solved:
    """The solution of one block and what the solver said about it.

    Attributes
    ----------
    plan
        Masses (n, m), or their factors.
    row_error, column_error
        L1 errors of the marginals.
    converged
        Whether the solver reached its tolerance, or the optimum.
    transport_cost, objective
        <C, T>, and what was minimized; NaN where a block has none of its own.
    iterations
        Iterations taken, -1 where the solver does not say.
    epsilon, cost_scale
        Absolute eps, and the cost that it was relative to; 0 and 1 without entropy.
    at_rest
        Whether a descent of several steps had come to rest; True where there is none.
    """

    plan: BlockPlan
    row_error: float
    column_error: float
    converged: bool = True
    transport_cost: float = np.nan
    objective: float = np.nan
    iterations: int = -1
    epsilon: float = 0.0
    cost_scale: float = 1.0
    at_rest: bool = True


@dataclass(frozen=True, eq=False)
class Solution:
    """All blocks, and what concerns them together.

    Attributes
    ----------
    blocks
        One a block of the partition, in its order.
    evidence
        Entries of the evidence beyond, or instead of, those that follow from the blocks.
    """

    blocks: Sequence[Solved]
    evidence: Evidence = field(default_factory=dict)


@checked
@dataclass(frozen=True, kw_only=True)
class BaseAligner(ABC):
    """Check, split, solve, judge: what the aligners of this package share; see the subclasses.

    Parameters
    ----------
    label_weights
        Mass of a label: ``"mean"`` of its shares of the source and target cells, ``"source"``, ``"target"`` or
        ``"equal"``.
    max_memory_gb
        Refuse, before taking any, to use more memory than this.
    strict
        Raise :class:`ConvergenceError` instead of warning about a bad solution.
    """

    name: ClassVar[str]
    shared_space: ClassVar[bool] = True
    """Whether both representations must lie in one space."""
    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy")
    """Packages whose versions are evidence."""

    label_weights: LabelWeights = "mean"
    max_memory_gb: float = 2.0
    strict: bool = False

    def __post_init__(self) -> None:
        """Refuse options that do not go together. Their types are checked before."""
        check_label_weights(self.label_weights)

    def align(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        labels_x: Labels | None = None,
        labels_y: Labels | None = None,
        *,
        weights_x: npt.ArrayLike | None = None,
        weights_y: npt.ArrayLike | None = None,
    ) -> Coupling:
        """Couple source cells with target cells.

        Parameters
        ----------
        x, y
            Representations of the source (n_source, d_source) and target cells (n_target, d_target); in one space, hence of
            one width, where the method compares them directly.
        labels_x, labels_y
            Label of each cell; None and NaN mean unlabeled. Given: mass stays within labels, and only cells
            with a label of both modalities take part. Both None: an unlabeled coupling of all cells.
        weights_x, weights_y
            Weights of the cells, at least 0; None: all alike. They say how the mass of a label is shared out inside it.

        Returns
        -------
        Coupling
            Of mass 1, with its evidence.

        Raises
        ------
        ValueError
            If the representations, labels or weights do not fit, hold NaN, or share no label.
        TooLargeError
            If more memory than ``max_memory_gb`` would be needed. Nothing has been taken then.
        ConvergenceError
            Instead of the warning, with ``strict=True``.

        Warns
        -----
        ConvergenceWarning
            If the marginals are off by more than 0.1 % of the mass, or the solver gave up.
        """
        started = time.perf_counter()
        source, target = self._check(x, y)
        parts = partition(
            len(source), len(target), labels_x, labels_y, self.label_weights, weights_x, weights_y
        )
        self._check_memory(parts, source, target)
        solution = self._solve_all(parts, source, target)
        self._judge(parts, solution)
        evidence = self._evidence(parts, solution, time.perf_counter() - started)
        blocks = (
            CouplingBlock(block.label, block.rows, block.columns, solved.plan, block.a, block.b)
            for block, solved in zip(parts.blocks, solution.blocks, strict=True)
        )
        return Coupling(tuple(blocks), parts.shape, evidence)

    @abstractmethod
    def _solve_all(self, parts: Partition, x: Any, y: Any) -> Solution:
        """Solve all blocks."""

    @abstractmethod
    def estimate_memory(self, parts: Partition, x: Any, y: Any) -> float:
        """Return the largest memory that will be needed at a time beside x and y, in GB."""

    def _check(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the representations as the method takes them."""
        return check_representations(x, y, shared=self.shared_space)

    def _check_memory(self, parts: Partition, x: Any, y: Any) -> None:
        needed = self.estimate_memory(parts, x, y)
        if needed <= self.max_memory_gb:
            return
        largest = max(parts.blocks, key=lambda block: block.n_pairs)
        where = (
            f"the largest label, {largest.label!r}, has"
            if parts.labeled
            else "the unlabeled problem has"
        )
        advice = [] if parts.labeled else ["align within labels (labeled=True)"]
        advice += [*self._memory_advice(), "align a sample of the cells"]
        raise TooLargeError(
            f"method {self.name!r} would need about {needed:.1f} GB, more than max_memory_gb={self.max_memory_gb:g}: "
            f"{where} {largest.rows.size} x {largest.columns.size} pairs of cells. To go on, {', '.join(advice)}, "
            f"or raise max_memory_gb if the machine has the memory."
        )

    def _memory_advice(self) -> list[str]:
        """Say what else would need less memory."""
        return []

    def _advice(self) -> str:
        """Say which option to change if it did not converge."""
        return ""

    # ---------------------------------------------------------------------------------------- evidence

    def _evidence(self, parts: Partition, solution: Solution, seconds: float) -> Evidence:
        solved = solution.blocks
        mass = np.array([block.mass for block in parts.blocks])
        return {
            "method": self.name,
            **self._options(),
            **_cells(parts),
            "label_mass": mass,
            "row_error": float(sum(s.row_error for s in solved)),
            "column_error": float(sum(s.column_error for s in solved)),
            "row_error_per_label": np.array([s.row_error for s in solved]) / mass,
            "column_error_per_label": np.array([s.column_error for s in solved]) / mass,
            "converged": all(s.converged for s in solved),
            "converged_per_label": np.array([s.converged for s in solved]),
            "transport_cost": float(sum(s.transport_cost for s in solved)),
            "objective": float(sum(s.objective for s in solved)),
            "iterations": np.array([s.iterations for s in solved], dtype=np.int64),
            **self._solver_evidence(solution),
            **solution.evidence,
            "seconds": seconds,
            **versions(*self.packages),
        }

    def _options(self) -> Evidence:
        """Return the options that are numbers or words; None is ``"none"``."""
        found: Evidence = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None or isinstance(value, str | bool | int | float):
                found[option.name] = "none" if value is None else value
        return found

    def _solver_evidence(self, solution: Solution) -> Evidence:
        """Return what only this kind of solver has to say."""
        return {}

    def _is_bad(self, solved: Solved, mass: float) -> bool:
        """Whether the user must be warned of a block."""
        return not solved.at_rest or (solved.row_error + solved.column_error) / mass > BAD_MARGINAL

    def _trouble(self, solved: Solved, mass: float) -> str:
        """Say what is bad about a block."""
        error = f"marginal error {(solved.row_error + solved.column_error) / mass:.1e}"
        return error if solved.at_rest else f"{error}, still changing"

    def _reading(self) -> str:
        """Say how that is to be read."""
        return f"Errors are relative to the mass; above {BAD_MARGINAL:g} a coupling should not be trusted."

    def _judge(self, parts: Partition, solution: Solution) -> None:
        bad = []
        for block, s in zip(parts.blocks, solution.blocks, strict=True):
            if self._is_bad(s, block.mass):
                name = f"label {block.label!r}" if parts.labeled else "all cells"
                bad.append(f"{name} ({self._trouble(s, block.mass)})")
        if not bad:
            return
        shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        message = (
            f"method {self.name!r} did not converge for {len(bad)} of {len(solution.blocks)} blocks: {shown}. "
            f"{self._reading()} {self._advice()}"
        )
        if self.strict:
            raise ConvergenceError(message)
        warn(message, ConvergenceWarning)


def versions(*packages: str) -> dict[str, str]:
    """Return ``{"<package>_version": version}``; ``"unknown"`` for a package that is not installed."""
    found = {}
    for package in packages:
        try:
            found[f"{package}_version"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[f"{package}_version"] = "unknown"
    return found


def marginal_errors(plan: Float64Array, a: Float64Array, b: Float64Array) -> tuple[float, float]:
    """Return the L1 errors of the row and column sums of a plan, dense or sparse."""
    sums = (np.asarray(plan.sum(axis=axis)).ravel() for axis in (1, 0))
    row, column = (
        float(np.abs(found - wanted).sum()) for found, wanted in zip(sums, (a, b), strict=True)
    )
    return row, column


def check_representation(name: str, given: npt.ArrayLike) -> Float64Array:
    """Return a representation as a float64 matrix.

    Raises
    ------
    ValueError
        If it is no matrix of numbers, or holds NaN, infinite, huge or only tiny values; ``name`` says which it is.
    """
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be a dense matrix of numbers (n cells, d dimensions); found {type(given).__name__}: {error}."
        ) from None
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(
            f"{name} must be a matrix (n cells, d dimensions); found shape {array.shape}."
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise InputError(
            f"{name} holds NaN or infinite values in {int(bad.sum())} of {bad.size} cells, first in cell "
            f"{int(bad.argmax())}. Leave those cells out, or compute the representation again."
        )
    check_size(name, array)
    return array


def check_representations(
    x: npt.ArrayLike, y: npt.ArrayLike, *, shared: bool = True
) -> tuple[Float64Array, Float64Array]:
    """Return two representations as float64 matrices, of one width if they must share a space.

    Raises
    ------
    ValueError
        If they are not matrices, hold NaN or infinite values, or have different widths but must not.
    """
    x, y = check_representation("x", x), check_representation("y", y)
    if shared and x.shape[1] != y.shape[1]:
        raise InputError(
            f"this method needs both modalities in one space: found {x.shape[1]} dimensions in the "
            f"source and {y.shape[1]} in the target. Use a shared representation, or a method that needs none: 'egw', "
            f"'egw_each' or 'coot'."
        )
    return x, y


def _cells(parts: Partition) -> Mapping[str, Scalar | npt.NDArray[Any]]:
    n_source = np.array([block.rows.size for block in parts.blocks], dtype=np.int64)
    n_target = np.array([block.columns.size for block in parts.blocks], dtype=np.int64)
    return {
        "labeled": parts.labeled,
        "n_source": parts.shape[0],
        "n_target": parts.shape[1],
        "n_source_used": int(n_source.sum()),
        "n_target_used": int(n_target.sum()),
        "labels": np.array([block.label for block in parts.blocks], dtype=object),
        "n_source_per_label": n_source,
        "n_target_per_label": n_target,
        "labels_only_source": np.array(parts.only_source, dtype=object),
        "labels_only_target": np.array(parts.only_target, dtype=object),
        "n_source_unlabeled": parts.n_unlabeled[0],
        "n_target_unlabeled": parts.n_unlabeled[1],
        "n_source_weightless": parts.n_weightless[0],
        "n_target_weightless": parts.n_weightless[1],
    }

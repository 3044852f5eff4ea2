"""Checks, memory limits, evidence and warnings of every aligner."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from scgroove._registry import Registry
from scgroove._types import Labels, Scalar
from scgroove._validate import checked
from scgroove._warnings import warn
from scgroove.aligners._blocks import LabelWeights, Partition, partition
from scgroove.aligners._coupling import Coupling, CouplingBlock
from scgroove.aligners._problem import Solved
from scgroove.aligners.values import check_representation
from scgroove.errors import ConvergenceError, ConvergenceWarning, InputError, TooLargeError

BAD_MARGINAL: Final = 1e-3
"""L1 error of the marginals, relative to the mass, above which a coupling is reported as bad."""

Evidence: TypeAlias = dict[str, "Scalar | npt.NDArray[Any]"]

ALIGNERS: Final[Registry[Any]] = Registry("aligner", checked)
"""Aligner classes by name. To add one: a class with ``align`` and ``@ALIGNERS.register(name)``."""


def get(name: str) -> Any:
    """Return the aligner class of a name: ``aligners.get("eot")(epsilon=0.02)``.

    Raises
    ------
    ValueError
        If there is no such aligner. The message names the near miss and the list.
    """
    return ALIGNERS.get(name)


@checked
@dataclass(frozen=True, kw_only=True)
class BaseAligner(ABC):
    """Common part of the aligners: check, split into blocks, solve, judge.

    ``label_weights``, ``max_memory_gb`` and ``strict`` as for :class:`EntropicOT`.
    """

    name: ClassVar[str]
    shared_space: ClassVar[bool] = True
    """Whether both representations must lie in one space."""
    packages: ClassVar[tuple[str, ...]] = ("scgroove", "numpy", "scipy")
    """Packages whose versions are evidence."""

    label_weights: LabelWeights = "mean"
    max_memory_gb: float = 2.0
    strict: bool = False

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
            Representations of the source (n_source, d_source) and target cells
            (n_target, d_target), of one width where the method compares them directly.
        labels_x, labels_y
            Label of each cell. None and NaN mean unlabeled. Mass stays within labels, and only
            cells with a label of both modalities take part. Both None: an unlabeled coupling.
        weights_x, weights_y
            Weights of the cells, at least 0, by which the mass of a label is shared out inside it.

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
        solved, extra = self._solve_all(parts, source, target)
        self._judge(parts, solved)
        evidence = {
            "method": self.name,
            **self._options(),
            **parts.evidence(),
            **_block_evidence(parts, solved),
            **self._solver_evidence(solved),
            **extra,
            "seconds": time.perf_counter() - started,
            **versions(self.packages),
        }
        blocks = [
            CouplingBlock(block.label, block.rows, block.columns, one.plan, block.a, block.b)
            for block, one in zip(parts.blocks, solved, strict=True)
        ]
        return Coupling(tuple(blocks), parts.shape, evidence)

    @abstractmethod
    def _solve_all(self, parts: Partition, x: Any, y: Any) -> tuple[list[Solved], Evidence]:
        """Solve all blocks. The evidence replaces what follows from the blocks."""

    @abstractmethod
    def estimate_memory(self, parts: Partition, x: Any, y: Any) -> float:
        """Return the largest memory that will be needed at a time beside x and y, in GB."""

    def _check(self, x: Any, y: Any) -> tuple[Any, Any]:
        x, y = check_representation("x", x), check_representation("y", y)
        if self.shared_space and x.shape[1] != y.shape[1]:
            raise InputError(
                f"this method needs both modalities in one space: found {x.shape[1]} dimensions in "
                f"the source and {y.shape[1]} in the target. Use a shared representation, or a "
                f"method that needs none: 'egw', 'egw_each' or 'coot'."
            )
        return x, y

    def _check_memory(self, parts: Partition, x: Any, y: Any) -> None:
        needed = self.estimate_memory(parts, x, y)
        if needed <= self.max_memory_gb:
            return
        largest = max(parts.blocks, key=lambda block: block.n_pairs)
        where = f"the largest label, {largest.label!r}, has"
        advice = [*self._memory_advice(), "align a sample of the cells"]
        if not parts.labeled:
            where = "the unlabeled problem has"
            advice = ["align within labels (labeled=True)", *advice]
        raise TooLargeError(
            f"method {self.name!r} would need about {needed:.1f} GB, more than "
            f"max_memory_gb={self.max_memory_gb:g}: {where} {largest.rows.size} x "
            f"{largest.columns.size} pairs of cells. To go on, {', '.join(advice)}, "
            f"or raise max_memory_gb if the machine has the memory."
        )

    def _memory_advice(self) -> list[str]:
        return []

    def _advice(self) -> str:
        """Say which option to change if it did not converge."""
        return ""

    def _options(self) -> Evidence:
        """Return the options that are numbers or words. None is ``"none"``."""
        found: Evidence = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None or isinstance(value, str | bool | int | float):
                found[option.name] = "none" if value is None else value
        return found

    def _solver_evidence(self, solved: Sequence[Solved]) -> Evidence:
        return {}

    def _is_bad(self, solved: Solved, error: float) -> bool:
        """Whether the user must be warned of a block with this error, relative to its mass."""
        return not solved.at_rest or error > BAD_MARGINAL

    def _trouble(self, solved: Solved, mass: float) -> str | None:
        """Say what is bad about a block, None for nothing."""
        error = (solved.row_error + solved.column_error) / mass
        if not self._is_bad(solved, error):
            return None
        return f"marginal error {error:.1e}{'' if solved.at_rest else ', still changing'}"

    def _reading(self) -> str:
        return (
            f"Errors are relative to the mass; above {BAD_MARGINAL:g} a coupling should not be "
            f"trusted."
        )

    def _judge(self, parts: Partition, solved: Sequence[Solved]) -> None:
        bad = []
        for block, one in zip(parts.blocks, solved, strict=True):
            trouble = self._trouble(one, block.mass)
            if trouble is not None:
                name = f"label {block.label!r}" if parts.labeled else "all cells"
                bad.append(f"{name} ({trouble})")
        if not bad:
            return
        shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        message = (
            f"method {self.name!r} did not converge for {len(bad)} of {len(solved)} blocks: "
            f"{shown}. {self._reading()} {self._advice()}"
        )
        if self.strict:
            raise ConvergenceError(message)
        warn(message, ConvergenceWarning)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return ``{"<package>_version": version}``, ``"unknown"`` for what is not installed."""
    found = {}
    for package in packages:
        try:
            found[f"{package}_version"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[f"{package}_version"] = "unknown"
    return found


def _block_evidence(parts: Partition, solved: Sequence[Solved]) -> Evidence:
    mass = np.array([block.mass for block in parts.blocks])
    rows = np.array([one.row_error for one in solved])
    columns = np.array([one.column_error for one in solved])
    return {
        "label_mass": mass,
        "row_error": float(rows.sum()),
        "column_error": float(columns.sum()),
        "row_error_per_label": rows / mass,
        "column_error_per_label": columns / mass,
        "converged": all(one.converged for one in solved),
        "converged_per_label": np.array([one.converged for one in solved]),
        "transport_cost": float(sum(one.transport_cost for one in solved)),
        "objective": float(sum(one.objective for one in solved)),
        "iterations": np.array([one.iterations for one in solved], dtype=np.int64),
    }

"""What every aligner has in common."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final, Protocol, runtime_checkable

import numpy.typing as npt

from scgroove._registry import Registry
from scgroove._types import Labels
from scgroove.aligners._coupling import Coupling


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


ALIGNERS: Final[Registry[Any]] = Registry("aligner")
"""Aligner classes by name. To add one: a class with ``align`` and ``@ALIGNERS.register(name)``."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before its solution was good; the message says how far off, and what to change."""


class TooLargeError(ValueError):
    """A problem that would take more memory than allowed. Raised before any is taken."""


def versions(*packages: str) -> dict[str, str]:
    """Return ``{"<package>_version": version}``; ``"unknown"`` for a package that is not installed."""
    found = {}
    for package in packages:
        try:
            found[f"{package}_version"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[f"{package}_version"] = "unknown"
    return found


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

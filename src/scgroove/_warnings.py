"""Warnings that point at the line of the user."""

from __future__ import annotations

import sys
import warnings
from typing import Final

from scgroove.errors import ScgrooveWarning

PACKAGES_BETWEEN: Final = {"scgroove", "scvi", "torch", "lightning", "contextlib", "functools"}
"""Packages whose frames may stand between a warning and the line that led to it."""


def warn(message: str, category: type[ScgrooveWarning] = ScgrooveWarning) -> None:
    """Warn at the nearest line that is outside this package and of those that call it back."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package(frame.f_globals) in PACKAGES_BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]

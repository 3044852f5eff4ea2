"""Warnings that point at the line of the user."""

from __future__ import annotations

import sys
import warnings
from typing import Final

PACKAGES_BETWEEN: Final = frozenset(
    {"scgroove", "scvi", "torch", "lightning", "contextlib", "functools"}
)
"""Packages whose frames may stand between a warning and the line that led to it."""

OURS: Final = "raised by scgroove"
"""Note on warnings of this package, which point at lines outside of it."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line that is outside this package and of those that call it back."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package(frame.f_globals) in PACKAGES_BETWEEN:
        frame, level = frame.f_back, level + 1
    warning = category(message)
    warning.add_note(OURS)
    warnings.warn(warning, stacklevel=level)


def is_ours(warning: Warning | str) -> bool:
    """Whether a warning is one of this package."""
    return OURS in getattr(warning, "__notes__", ())


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]

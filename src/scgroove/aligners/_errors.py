"""What can go wrong with an alignment, beside bad input."""

from __future__ import annotations

from scgroove.errors import ScgrooveError


class ConvergenceWarning(UserWarning):
    """A solver stopped before its solution was good; the message says how far off, and what to change."""


class ConvergenceError(ScgrooveError, RuntimeError):
    """What :class:`ConvergenceWarning` says, as an error: raised with ``strict=True``."""


class TooLargeError(ScgrooveError, ValueError):
    """A problem that would take more memory than allowed. Raised before any is taken."""

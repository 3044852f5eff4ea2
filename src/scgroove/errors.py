"""Errors of scgroove, under one base class."""

from __future__ import annotations


class ScgrooveError(Exception):
    """Base of the errors that scgroove defines: bad input or circumstances, never a fault of the package."""


class FileError(ScgrooveError, OSError, ValueError):
    """A file that is not there, is damaged, or holds something else than expected.

    Attributes
    ----------
    path
        The file.
    reason
        One of ``"missing"``, ``"folder"``, ``"empty"``, ``"format"``, ``"damaged"`` and ``"name"``.
    """

    def __init__(self, message: str, path: object, reason: str) -> None:
        super().__init__(message)
        self.path = str(path)
        self.reason = reason


class MissingFileError(FileError, FileNotFoundError):
    """A file that is not there."""


class CannotWriteError(ScgrooveError, OSError):
    """Results cannot be written, as the disk is full or read-only. What was written before is kept."""

"""Errors and warnings of scgroove, each under one base class."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class ScgrooveError(Exception):
    """Base of the errors that scgroove raises, with what to do about them."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the fields when another process raises the error again."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ScgrooveError], args: Any, fields: dict[str, Any]) -> ScgrooveError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class InputError(ScgrooveError, ValueError):
    """Data or arguments that cannot be used."""


class InputTypeError(InputError, TypeError):
    """An object of the wrong type, or an argument that does not exist."""


class ArgumentError(InputTypeError):
    """An argument of the wrong type or out of range.

    Attributes
    ----------
    argument
        Its name.
    """

    def __init__(self, message: str, argument: str) -> None:
        super().__init__(message)
        self.argument = argument


class UnknownNameError(InputError, KeyError):
    """A name that does not exist: both a ``KeyError`` and a ``ValueError``.

    Parameters
    ----------
    kind
        What the name should be one of, such as ``"modality"``.
    name
        The unknown name.
    known
        The names that exist.
    message
        The whole message, instead of the default one.
    """

    def __init__(
        self, kind: str, name: object = None, known: Iterable[object] = (), message: str = ""
    ) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        if name is None:
            message = kind
        hint = did_you_mean(name, self.known)
        default = f"unknown {kind} {name!r}.{hint} Available: {listed(self.known, 20)}."
        super().__init__(message or default)

    def __str__(self) -> str:
        """Return the message as it is (``KeyError`` would show it in quotation marks)."""
        return str(self.args[0]) if self.args else ""


class FeatureNamesError(UnknownNameError):
    """Features are missing, or their names stand twice.

    Attributes
    ----------
    modality
        Name of the modality.
    missing
        Names that are not there.
    nearest
        The names there that are most like the first missing one, at most five.
    doubled
        Names that stand for more than one feature.
    """

    def __init__(
        self,
        message: str,
        modality: str = "",
        *,
        missing: Iterable[str] = (),
        nearest: Iterable[str] = (),
        doubled: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.modality = modality
        self.missing, self.nearest, self.doubled = tuple(missing), tuple(nearest), tuple(doubled)


class UnitsError(InputError):
    """Values are not in the units that a model was trained on.

    Attributes
    ----------
    modality
        Name of the modality.
    found
        Profile of the values, of all cells or a sample.
    """

    def __init__(self, message: str, modality: str = "", found: Any = None) -> None:
        super().__init__(message)
        self.modality, self.found = modality, found


class TooLargeError(InputError):
    """A problem that would take more memory than allowed. Raised before any is taken."""


class ChangedError(InputError):
    """The columns that a coupling was made with are gone or have changed since."""


class MissingTruthError(InputError):
    """A metric needs a truth that is unknown or leaves no cell to score."""


class LearnerOutputError(InputError):
    """A learner returned something other than a representation."""


class SpecError(InputError):
    """The specification of a benchmark cannot be used."""


class ResultsError(InputError):
    """A folder cannot be used for results of a benchmark, or holds none."""


class StateError(ScgrooveError, RuntimeError):
    """A call at the wrong time, such as on an object that is not fitted."""


class DivergedError(ScgrooveError, RuntimeError):
    """A loss became NaN or infinite."""


class ConvergenceError(ScgrooveError, RuntimeError):
    """The same as :class:`ConvergenceWarning`, raised with ``strict=True``."""


class WorkerKilledError(ScgrooveError, RuntimeError):
    """A process that did a part of a benchmark was killed."""


class ExtraNotInstalledError(ScgrooveError, ImportError):
    """An optional package is not installed. The message holds the line that installs it."""


class FileError(ScgrooveError, OSError, ValueError):
    """A file that does not exist, is damaged, or holds something else than expected.

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
    """A file that does not exist."""


class CannotWriteError(ScgrooveError, OSError):
    """Results cannot be written, as the disk is full or read-only. Earlier results are kept."""


class DownloadError(ScgrooveError, OSError):
    """A published file that cannot be downloaded or is damaged. Nothing of it is kept."""


class ScgrooveWarning(UserWarning):
    """Base of the warnings of scgroove."""


class ConvergenceWarning(ScgrooveWarning):
    """A solver stopped before its solution was good. The message says what to change."""


class ResultsWarning(ScgrooveWarning):
    """Some results of a benchmark that were asked for, or that a statistic needs, are missing."""


def near_miss(name: object, known: Iterable[object]) -> str | None:
    """Return the known name most like ``name`` regardless of case, None if nothing is similar."""
    by_lower = {str(candidate).lower(): str(candidate) for candidate in known}
    matches = get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return " Did you mean 'x'?" where a known name is near, and nothing otherwise."""
    near = near_miss(name, known)
    return f" Did you mean {near!r}?" if near is not None else ""


def listed(names: Iterable[object], limit: int = 12) -> str:
    """Quote at most ``limit`` names, and count the others."""
    quoted = [repr(str(name)) for name in names]
    rest = f" and {len(quoted) - limit} more" if len(quoted) > limit else ""
    return (", ".join(quoted[:limit]) or "none") + rest

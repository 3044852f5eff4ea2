"""Packages of an extra: imported when they are needed, and missed with the line that installs them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from scgroove.errors import ExtraNotInstalledError


@dataclass(frozen=True)
class Requirement:
    """A package that an extra needs.

    Attributes
    ----------
    module
        What is imported, a top-level name.
    distribution
        What is installed.
    minimum
        Lowest version that will do, such as ``"1.5"``; empty: any.
    """

    module: str
    distribution: str
    minimum: str = ""

    def problem(self) -> str | None:
        """Return what is wrong with this package here, without importing it; None if nothing is."""
        if not _exists(self.module):
            return f"{self.distribution} is not installed"
        try:
            found = version(self.distribution)
        except PackageNotFoundError:
            return None  # put on the path by hand: there is no version to compare
        if _numbers(found) < _numbers(self.minimum):
            return (
                f"{self.distribution} {found} is installed, and {self.minimum} or later is needed"
            )
        return None


EXTRAS: Final[dict[str, tuple[Requirement, ...]]] = {
    "diagvi": (
        Requirement("scvi", "scvi-tools", "1.5"),
        Requirement("torch_geometric", "torch_geometric"),
        Requirement("geomloss", "geomloss"),
    ),
    "glue": (Requirement("scglue", "scglue", "0.3"),),
    "moscot": (Requirement("moscot", "moscot", "0.4"),),
}
"""What each extra of ``pip install "scgroove[extra]"`` needs to be usable here."""


def missing(extra: str) -> str | None:
    """Return why an extra cannot be used, or None if it can.

    Looks for the packages and their versions but imports none of them, so that it takes milliseconds.

    Parameters
    ----------
    extra
        For example ``"glue"``.

    Returns
    -------
    str or None
        The reason and the line that installs what is missing.

    Examples
    --------
    >>> missing("glue") is None or "pip install" in missing("glue")
    True
    """
    problems = [problem for one in EXTRAS[extra] if (problem := one.problem()) is not None]
    return f"{'; '.join(problems)}. {_install(extra)}" if problems else None


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an extra.

    Parameters
    ----------
    module
        For example ``"scglue.models"``.
    extra
        The extra that it belongs to.

    Raises
    ------
    ExtraNotInstalledError
        If a package of the extra is missing or too old, or is there but cannot be imported.
    """
    reason = missing(extra)
    if reason is not None:
        raise ExtraNotInstalledError(f"{module} is needed: {reason}", name=module)
    try:
        return import_module(module)
    except ImportError as error:
        raise ExtraNotInstalledError(
            f"{module} is installed but cannot be imported: {error}. Its versions and those of this environment may not "
            f"go together. {_install(extra)}",
            name=module,
        ) from error


def _install(extra: str) -> str:
    return f'Install what it needs with: pip install "scgroove[{extra}]"'


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # imported already, by something that left no specification
        return True


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (1, 5, 0) for "1.5.0rc1"."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)

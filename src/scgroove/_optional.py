"""Packages of an extra, imported only when they are needed."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Final, NamedTuple

from scgroove.errors import ExtraNotInstalledError


class Requirement(NamedTuple):
    """A package that an extra needs: its module, its distribution and the lowest version."""

    module: str
    distribution: str
    minimum: str = ""

    def problem(self) -> str | None:
        """Return why this package cannot be used, without importing it. None if it can."""
        try:
            exists = find_spec(self.module) is not None
        except ValueError:  # imported already, by something that left no specification
            exists = True
        if not exists:
            return f"{self.distribution} is not installed"
        try:
            found = version(self.distribution)
        except PackageNotFoundError:
            return None  # put on the path by hand: there is no version to compare
        if _numbers(found) >= _numbers(self.minimum):
            return None
        return f"{self.distribution} {found} is installed, and {self.minimum} or later is needed"


EXTRAS: Final[dict[str, tuple[Requirement, ...]]] = {
    "diagvi": (
        Requirement("scvi", "scvi-tools", "1.5"),
        Requirement("torch_geometric", "torch_geometric"),
        Requirement("geomloss", "geomloss"),
    ),
    "glue": (Requirement("scglue", "scglue", "0.3"),),
    "moscot": (Requirement("moscot", "moscot", "0.4"),),
}
"""Packages behind each extra of ``pip install "scgroove[extra]"``."""


def missing(extra: str) -> str | None:
    """Return why an extra cannot be used and the line that installs it. None if it can be used.

    It imports nothing, so that it takes milliseconds.
    """
    problems = [problem for one in EXTRAS[extra] if (problem := one.problem()) is not None]
    return f"{'; '.join(problems)}. {_install(extra)}" if problems else None


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an extra, such as ``"scglue.models"`` of ``"glue"``.

    Raises
    ------
    ExtraNotInstalledError
        If a package of the extra is missing or too old, or cannot be imported.
    """
    reason = missing(extra)
    if reason is not None:
        raise ExtraNotInstalledError(f"{module} is needed: {reason}", name=module)
    try:
        return import_module(module)
    except ImportError as error:
        raise ExtraNotInstalledError(
            f"{module} is installed but cannot be imported: {error}. Its versions and those of "
            f"this environment may not go together. {_install(extra)}",
            name=module,
        ) from error


def _install(extra: str) -> str:
    return f'Install what it needs with: pip install "scgroove[{extra}]"'


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: (1, 5, 0) for "1.5.0rc1"."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()

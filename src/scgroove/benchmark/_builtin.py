"""Grids that come along."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from scgroove.benchmark._spec import Spec
from scgroove.errors import UnknownNameError, did_you_mean

SPECS: Final = ("reference", "scenarios")
"""Names of the grids that come along."""


def builtin(name: str) -> Spec:
    """Return a grid that comes along.

    Parameters
    ----------
    name
        One of :data:`SPECS`: ``"reference"``, all learners and four aligners with and without labels on three shares of
        shared effects; ``"scenarios"``, the main learners on every named scenario.

    Raises
    ------
    UnknownNameError
        If there is no such grid.
    """
    import tomllib

    if name not in SPECS:
        hint = did_you_mean(name, SPECS)
        raise UnknownNameError(f"unknown grid {name!r}.{hint} Available: {', '.join(SPECS)}.")
    text = files("scgroove.benchmark").joinpath("specs", f"{name}.toml").read_text(encoding="utf-8")
    return Spec.from_dict(tomllib.loads(text))

"""The page of the public API, written from ``__all__`` and the docstrings of each room."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import get_args

import scgroove

ROOMS = {
    "model": "Model",
    "tl": "Tools",
    "get": "Reading results",
    "pl": "Figures",
    "datasets": "Data sets",
    "simulations": "Simulated data",
    "benchmark": "Benchmark",
    "metrics": "Metrics",
    "aligners": "Aligners and couplings",
    "imputers": "Imputers",
    "learners": "Learners",
    "losses": "Terms of the objective",
    "module": "Networks",
    "train": "Training",
    "data": "Data",
    "errors": "Errors and warnings",
}
HEAD = """# API

This page lists every public name of scgroove by module, with the first sentence of its docstring. The
build writes it from the source. *Sets the following fields* in the documentation of a function
lists the keys that it writes to the MuData.

```python
import scgroove as sg
```
"""


def write(path: Path) -> None:
    """Write the page, unless it is there with the same text."""
    missing = set(scgroove.__all__) - set(ROOMS)
    if missing:
        raise ValueError(f"docs/public_api.py has no title for {sorted(missing)}")
    parts = [HEAD, *(section(room, title) for room, title in ROOMS.items())]
    text = "\n".join(parts)
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def section(room: str, title: str) -> str:
    """Return the section of a room: functions and classes, then other values."""
    module = importlib.import_module(f"scgroove.{room}")
    names = public_names(module)
    documented = [name for name in names if is_code(getattr(module, name))]
    lines = [f"## {title}", "", f"`scgroove.{room}`. {first_sentence(module.__doc__)}", ""]
    lines += ["```{eval-rst}", ".. currentmodule:: scgroove", "", ".. autosummary::"]
    lines += ["   :toctree: generated", ""]
    lines += [f"   {room}.{name}" for name in documented]
    lines += ["```", ""]
    others = [name for name in names if name not in documented]
    if others:
        texts = docstrings_of_values(module)
        lines += ["| value | content |", "|---|---|"]
        for name in others:
            text = texts.get(name) or choices(getattr(module, name))
            lines.append(f"| `{room}.{name}` | {first_sentence(text)} |")
        lines.append("")
    return "\n".join(lines)


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a room exports, or the classes of a module without ``__all__``."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = [name for name, value in vars(module).items() if is_code(value)]
    return [name for name in own if is_public_class(module, name)]


def is_public_class(module: ModuleType, name: str) -> bool:
    """Whether a module defines a class under this name for others."""
    value = getattr(module, name)
    return inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"


def is_code(value: object) -> bool:
    """Whether autosummary can describe a value by its own docstring."""
    return inspect.isclass(value) or inspect.isroutine(value)


def docstrings_of_values(module: ModuleType) -> dict[str, str]:
    """Return the strings that follow assignments in the files of a room."""
    found = {}
    for file in sorted(Path(str(module.__file__)).parent.glob("*.py")):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, after in pairwise(body):
            text = getattr(getattr(after, "value", None), "value", None)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(text, str):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                found[ast.unparse(target)] = text
    return found


def choices(value: object) -> str:
    """Return the choices of a literal type as a sentence."""
    return ", ".join(f"`{one}`" for one in get_args(value) if isinstance(one, str))


def first_sentence(docstring: str | None) -> str:
    """Return the first paragraph of a docstring as Markdown in one line."""
    text = " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    return text.replace("|", "\\|")

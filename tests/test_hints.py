"""What messages and docstrings tell a user to call exists: functions, methods, arguments, and options of the commands."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import scgroove as sg
from scgroove.aligners import Coupling
from scgroove.cli import app
from scgroove.model import GROOVE

SOURCE = Path(sg.__file__).parent
CALL = re.compile(
    r"\b(?P<name>(?:scgroove|sg|tl|pl|get|GROOVE|model|coupling)(?:\.\w+)+)\((?P<arguments>[^()]*)"
)
ARGUMENT = re.compile(r"(?:^|[(,\s])(\w+)=(?!=)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
STANDS_FOR = {
    **{"sg": sg, "scgroove": sg, "tl": sg.tl, "pl": sg.pl, "get": sg.get},
    **{"GROOVE": GROOVE, "model": GROOVE, "coupling": Coupling},
}


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string of a file, with `{}` for what is filled in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.lineno, node.value


def found(name: str) -> Any:
    """Return what a dotted name stands for, or None."""
    first, *rest = name.split(".")
    item = STANDS_FOR[first]
    for part in rest:
        if inspect.ismodule(item) and not hasattr(item, part):
            try:
                importlib.import_module(f"{item.__name__}.{part}")
            except ImportError:
                return None
        item = getattr(item, part, None)
    return item


def problems(file: Path) -> Iterator[str]:
    for line, text in texts(file):
        for call in CALL.finditer(text):
            where = f"{file.relative_to(SOURCE)}:{line}: {call['name']}"
            item = found(call["name"])
            if item is None:
                yield f"{where} does not exist"
                continue
            parameters = inspect.signature(item).parameters
            takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
            for argument in ARGUMENT.findall(call["arguments"]):
                if argument not in parameters and not takes_any:
                    yield f"{where} has no argument {argument}="


def test_what_texts_tell_to_call_exists() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert (
        len(list(CALL.finditer(" ".join(text for file in files for _, text in texts(file))))) > 100
    )
    assert not [problem for file in files for problem in problems(file)]


def test_options_that_texts_name_are_those_of_the_commands() -> None:
    known = set()
    for command in (
        [],
        ["run"],
        ["demo"],
        ["benchmark", "run"],
        ["benchmark", "report"],
        ["benchmark", "list"],
    ):
        shown = (
            CliRunner()
            .invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
            .output
        )
        known |= set(OPTION.findall(shown))
    told = {
        (str(file.relative_to(SOURCE)), option)
        for file in sorted(SOURCE.rglob("*.py"))
        for _, text in texts(file)
        if "pip install" not in text
        for option in OPTION.findall(text)
    }
    assert not {one for one in told if one[1] not in known}

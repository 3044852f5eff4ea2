"""The source keeps to the rules of the house that a program can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import house

PACKAGE = Path(__file__).parents[1] / "src" / "scgroove"


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def test_no_room_imports_a_private_module_of_another(trees: dict[Path, ast.Module]) -> None:
    assert house.private_imports(PACKAGE, trees) == []


def test_no_file_imports_itself_through_others(trees: dict[Path, ast.Module]) -> None:
    assert house.cycles(PACKAGE, trees) == []


def test_functions_are_short_and_take_few_arguments(trees: dict[Path, ast.Module]) -> None:
    functions = [
        n for tree in trees.values() for n in ast.walk(tree) if isinstance(n, house.FUNCTIONS)
    ]
    assert max(house.body_lines(one) for one in functions) <= 80
    public = [one for tree in trees.values() for one in house.public_functions(tree)]
    assert max(house.n_parameters(one) for one in public) <= 14


def test_no_comprehension_holds_another(trees: dict[Path, ast.Module]) -> None:
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    found = [node for node in nodes if isinstance(node, house.COMPREHENSIONS)]
    assert not any(house.is_nested(node) for node in found)


def test_the_public_api_is_small(trees: dict[Path, ast.Module]) -> None:
    assert len(house.exported(PACKAGE, trees)) <= 170

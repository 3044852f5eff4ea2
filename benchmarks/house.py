"""Size and style of the source, measured from its syntax.

    python benchmarks/house.py            # this checkout
    python benchmarks/house.py FOLDER...  # source trees beside each other, such as two checkouts

A folder is a checkout with ``src/scgroove`` and ``tests``. Code lines are lines that hold code, without blank
lines, comments and docstrings.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
LONGEST = 100


def main() -> None:
    """Print one column for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*", default=[Path(__file__).parents[1]])
    folders = parser.parse_args().folders
    table = pd.DataFrame({folder.resolve().name: measure(folder) for folder in folders})
    print(table.to_string(float_format="{:,.1f}".format))
    for folder in folders:
        print(f"\nRooms of {folder.resolve().name} (source lines)")
        print(lines_by_room(folder / "src" / "scgroove").to_string())


def measure(checkout: Path) -> pd.Series:
    """Return all figures of one checkout."""
    package = checkout / "src" / "scgroove"
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in sources.items()}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    n_code = sum(count_code_lines(sources[path], tree) for path, tree in trees.items())
    n_test = sum(count_code_lines(text, ast.parse(text)) for text in texts(checkout / "tests"))
    bodies = [body_lines(node) for node in nodes if isinstance(node, FUNCTIONS)]
    parameters = [n_parameters(node) for tree in trees.values() for node in public_functions(tree)]
    public = [node for tree in trees.values() for node in public_definitions(tree)]
    docstrings = [
        ast.get_docstring(node) for node in nodes if isinstance(node, (ast.Module, *DEFINITIONS))
    ]
    words = sum(len(text.split()) for text in docstrings if text)
    semicolons = sum(text.count(";") for text in docstrings if text)
    return pd.Series(
        {
            "source files": len(sources),
            "source lines": sum(len(text.splitlines()) for text in sources.values()),
            "code lines": n_code,
            "syntax nodes, thousands": len(nodes) / 1000,
            "syntax nodes a code line": len(nodes) / n_code,
            "comprehensions per 1,000 code lines": 1000 * count(nodes, COMPREHENSIONS) / n_code,
            "ternaries per 1,000 code lines": 1000 * count(nodes, ast.IfExp) / n_code,
            "nested comprehensions": sum(
                is_nested(n) for n in nodes if isinstance(n, COMPREHENSIONS)
            ),
            "function body lines, p90": np.quantile(bodies, 0.9),
            "function body lines, maximum": max(bodies),
            "parameters of public functions, p90": np.quantile(parameters, 0.9),
            "parameters of public functions, maximum": max(parameters),
            "private imports across rooms": len(private_imports(package, trees)),
            "import cycles of files": len(cycles(package, trees)),
            "names exported": len(exported(package, trees)),
            "public definitions documented, %": 100
            * np.mean([bool(ast.get_docstring(n)) for n in public]),
            f"lines over {LONGEST} characters": sum(
                n_long(text, LONGEST) for text in sources.values()
            ),
            "lines over 120 characters": sum(n_long(text, 120) for text in sources.values()),
            "semicolons per 10,000 words of docstring": 10_000 * semicolons / words,
            "test code : source code": n_test / n_code,
        }
    )


def lines_by_room(package: Path) -> pd.Series:
    """Return source lines of each folder of the package, with its single files as one room."""
    counts: dict[str, int] = defaultdict(int)
    for path in package.rglob("*.py"):
        counts[room_of(package, path)] += len(path.read_text(encoding="utf-8").splitlines())
    return pd.Series(counts).sort_values(ascending=False)


def texts(folder: Path) -> Iterator[str]:
    """Yield the text of each Python file below a folder."""
    for path in sorted(folder.rglob("*.py")):
        yield path.read_text(encoding="utf-8")


def count(nodes: list[ast.AST], kinds: type | tuple[type, ...]) -> int:
    """Return how many nodes are of a kind."""
    return sum(isinstance(node, kinds) for node in nodes)


def count_code_lines(text: str, tree: ast.AST) -> int:
    """Return the number of lines that hold code."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(tree))


def docstring_lines(tree: ast.AST) -> set[int]:
    """Return the numbers of all lines of text that stands as a statement of its own."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function after its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def n_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of parameters, without ``self`` and ``cls``."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(one.arg not in ("self", "cls") for one in named)


def public_definitions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield classes, functions and methods whose names, and whose class's name, have no underscore."""
    for node in tree.body:
        if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, FUNCTIONS) and not method.name.startswith("_"):
                        yield method


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield public functions, public methods and constructors of public classes."""
    for node in public_definitions(tree):
        if isinstance(node, FUNCTIONS):
            yield node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, FUNCTIONS) and method.name == "__init__":
                    yield method


def is_nested(node: ast.AST) -> bool:
    """Whether a comprehension holds another one."""
    return any(isinstance(other, COMPREHENSIONS) for other in ast.walk(node) if other is not node)


def n_long(text: str, most: int) -> int:
    """Return the number of lines with more characters than that."""
    return sum(len(line) > most for line in text.splitlines())


def room_of(package: Path, path: Path) -> str:
    """Return the folder of the package that a file is in."""
    parts = path.relative_to(package).parts
    return parts[0] if len(parts) > 1 else "(files)"


def imports(package: Path, trees: dict[Path, ast.Module]) -> Iterator[tuple[Path, str, str]]:
    """Yield file, module and name of each import from the package itself, lazy and typing imports included."""
    for path, tree in trees.items():
        here = ("scgroove", *path.relative_to(package).with_suffix("").parts)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                base = here[: -node.level] if node.level else ()
                module = ".".join([*base, *([node.module] if node.module else [])])
                if module.split(".")[0] == "scgroove":
                    for alias in node.names:
                        yield path, module, alias.name
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == "scgroove":
                        yield path, alias.name, ""


def private_imports(package: Path, trees: dict[Path, ast.Module]) -> list[tuple[Path, str, str]]:
    """Return imports of a private module, or of a private name, of another folder."""
    found = []
    for path, module, name in imports(package, trees):
        parts = module.split(".")[1:]
        room = room_of(package, path)
        in_folder = bool(parts) and (package / parts[0]).is_dir()
        private = any(part.startswith("_") for part in parts[1:]) or (
            len(parts) == 1 and name.startswith("_")
        )
        if in_folder and parts[0] != room and private:
            found.append((path, module, name))
    return found


def cycles(package: Path, trees: dict[Path, ast.Module]) -> list[set[str]]:
    """Return groups of files that import each other, directly or through others."""
    import networkx as nx

    files = {".".join(("scgroove", *p.relative_to(package).with_suffix("").parts)) for p in trees}
    graph = nx.DiGraph()
    for path, module, name in imports(package, trees):
        here = ".".join(("scgroove", *path.relative_to(package).with_suffix("").parts))
        for target in (f"{module}.{name}", module):
            if target in files:
                graph.add_edge(here, target)
                break
    return [group for group in nx.strongly_connected_components(graph) if len(group) > 1]


def exported(package: Path, trees: dict[Path, ast.Module]) -> list[str]:
    """Return the names in ``__all__`` of public modules."""
    names = []
    for path, tree in trees.items():
        if any(
            part.startswith("_")
            for part in path.relative_to(package).parts
            if part != "__init__.py"
        ):
            continue
        for node in tree.body:
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if any(isinstance(one, ast.Name) and one.id == "__all__" for one in targets):
                names += [ast.unparse(one) for one in getattr(node.value, "elts", [])]  # type: ignore[attr-defined]
    return names


if __name__ == "__main__":
    main()

"""Arguments of public functions, checked against their type hints before any work."""

from __future__ import annotations

import inspect
import math
import sys
import types
from collections.abc import Callable, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

LEAST: Final[Mapping[str, int]] = {
    "batch_size": 1,
    "max_epochs": 1,
    "n_cells_per_label": 1,
    "n_labels_per_batch": 1,
    "n_latent": 1,
    "n_neighbors": 1,
    "seed": 0,
}
"""Least whole numbers of arguments, which mean the same in every function."""

KINDS: Final[Mapping[object, str]] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    type(None): "None",
}
SCALARS: Final = (str, bytes, bool, Real, np.bool_, type(None))


class ArgumentError(TypeError, ValueError):
    """An argument of the wrong type or out of range.

    Attributes
    ----------
    argument
        Its name.
    """

    def __init__(self, message: str, argument: str) -> None:
        super().__init__(message)
        self.argument = argument


def checked(function: F) -> F:
    """Check numbers, text and truth values against the type hints of a function at every call.

    NumPy scalars become the Python values that they stand for. Arguments that may be anything else are left to
    the function.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own message
        for name, value in bound.arguments.items():
            kinds = _kinds(function).get(name)
            if kinds is not None:
                bound.arguments[name] = _check(name, value, kinds)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def check_room(room: str) -> None:
    """Check the arguments of all functions that a package exports, where they are defined too."""
    package = sys.modules[room]
    for name in package.__all__:
        function = getattr(package, name)
        if inspect.isfunction(function):
            call = checked(function)
            setattr(package, name, call)
            setattr(sys.modules[function.__module__], name, call)


@cache
def _kinds(function: Callable[..., Any]) -> dict[str, frozenset[object]]:
    """Return the scalar types that each argument may have; arguments whose hints say nothing of them are left out."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = parameter.annotation
        try:
            hint = eval(hint, function.__globals__) if isinstance(hint, str) else hint
        except (NameError, TypeError):  # a name for type checkers only
            continue
        members = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
        plain = frozenset(one for one in members if one in KINDS)
        others = [one for one in members - plain if get_origin(one) is None or not _is_container(one)]
        if plain and not others and parameter.kind is not parameter.VAR_KEYWORD:
            found[name] = plain if plain == members else plain | {Mapping}
    return found


def _is_container(hint: object) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and hasattr(origin, "__iter__")


def _check(name: str, value: Any, kinds: frozenset[object]) -> Any:
    if value is None:  # the function says what it means, or refuses it
        return value
    if Mapping in kinds and (isinstance(value, str) or not isinstance(value, SCALARS)):
        return value  # a container, which the function reads
    if not isinstance(value, SCALARS):
        raise _error(name, value, kinds)
    if isinstance(value, np.generic):
        value = value.item()
    if not any(_is(value, kind) for kind in kinds):
        raise _error(name, value, kinds)
    least = LEAST.get(name, -math.inf)
    if _is(value, float) and (math.isnan(value) or value < least):
        raise _error(name, value, kinds)
    return value


def _is(value: Any, kind: object) -> bool:
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind)


def _error(name: str, value: Any, kinds: frozenset[object]) -> ArgumentError:
    expected = " or ".join(sorted(words for kind, words in KINDS.items() if kind in kinds))
    least = f", {LEAST[name]} or more" if name in LEAST and int in kinds else ""
    return ArgumentError(f"{name} must be {expected}{least}; found {value!r} ({type(value).__name__}).", name)

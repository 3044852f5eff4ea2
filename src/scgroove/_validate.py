"""Arguments of public functions and classes, checked against their type hints before any work."""

from __future__ import annotations

import builtins
import inspect
import math
import reprlib
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import numpy as np

from scgroove._registry import Registry
from scgroove.errors import ArgumentError, did_you_mean

T = TypeVar("T")


class Range(NamedTuple):
    """Numbers that an argument may have. ``closed`` says which bounds belong to them."""

    least: float = -math.inf
    most: float = math.inf
    closed: Literal["both", "left", "right", "neither"] = "both"
    nan: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies within."""
        if math.isnan(value):
            return self.nan
        if value in (self.least, self.most):
            return self.closed in ("left" if value == self.least else "right", "both")
        return self.least < value < self.most

    def __str__(self) -> str:
        """Return the bounds in words, to follow the kind of number."""
        words = []
        if self.least > -math.inf:
            above = "of at least" if self.closed in ("both", "left") else "above"
            words.append(f" {above} {self.least:.10g}")
        if self.most < math.inf:
            below = "at most" if self.closed in ("both", "right") else "below"
            words.append(f" {below} {self.most:.10g}")
        return " and".join(words)


ANY: Final = Range()
COUNTS: Final = """
    adversary_hidden adversary_steps batch_size block_size hidden max_cells max_epochs max_features
    n_bins n_cells_per_label n_components n_hidden n_labels_per_batch n_latent n_layers n_links
    n_matches n_models n_neighbors ncols patience top_k
"""
POSITIVE: Final = """
    adversary_lr bandwidths grid lr penalties point_size prior regularization temperature vmax
    whitening
"""
NOT_NEGATIVE: Final = """
    adversary_weight backtranslation_weight groupclip_weight kl_weight label_weight mmd_weight
    reconstruction_weight weight weight_decay
"""
RANGES: Final[dict[str, Range]] = {
    **dict.fromkeys(COUNTS.split(), Range(1)),
    **dict.fromkeys(POSITIVE.split(), Range(0, math.inf, "neither")),
    **dict.fromkeys(NOT_NEGATIVE.split(), Range(0, math.inf, "left")),
    **dict.fromkeys(("dropout", "momentum"), Range(0, 1, "left")),
    "backtranslation_warmup": Range(0, 1),
    "level": Range(0, 1, "neither"),
    "max_memory_gb": Range(0, math.inf, "right"),
    "min_cells": Range(2),
    "n_boot": Range(100),
    "n_folds": Range(2),
    "n_permutations": Range(2),
    "perfect": Range(nan=True),
    "seed": Range(0, 2**32 - 1),
    "validation_fraction": Range(0, 1, "neither"),
    "warmup": Range(0, 1),
}
"""Ranges of arguments, the same in every function. They hold for the members of a list too."""
WORDS: Final[Mapping[object, str]] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    type(None): "None",
    bytes: "bytes",
    Decimal: "a decimal number",
    Path: "a path",
}
"""Types that are checked, in words."""
UNFIT: Final = object()
"""Stands for a value that its hint does not admit."""


def checked(item: T) -> T:
    """Check the arguments of a function, or of all public methods of a class, at every call.

    NumPy scalars become Python values, whole numbers such as ``1e4`` become ``int``, and one text
    becomes a list of one, where the hint wants that. Arguments that may be arrays or data are left
    to the function.
    """
    if not inspect.isclass(item):
        return _checked(item, None)  # type: ignore[arg-type, return-value]
    for name, member in list(vars(item).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if inspect.isfunction(member):
            setattr(item, name, _checked(member, item))
        elif isinstance(member, classmethod | staticmethod):
            setattr(item, name, type(member)(_checked(member.__func__, item)))
    return item


def check_room(room: str, *registries: Registry[Any]) -> None:
    """Check the arguments of all functions that a package exports, also where they are defined."""
    package = sys.modules[room]
    for name in package.__all__:
        item = vars(package).get(name)  # not those that are imported when they are first used
        if inspect.isfunction(item):
            call = checked(item)
            setattr(package, name, call)
            setattr(sys.modules[item.__module__], name, call)
            for registry in registries:
                registry.replace(item, call)


def _checked(function: Callable[..., Any], owner: type | None) -> Callable[..., Any]:
    if hasattr(function, "checks_arguments"):
        return function
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own message
        for name, hint in _hints(function, owner).items():
            if name in bound.arguments:
                bound.arguments[name] = _check(name, bound.arguments[name], hint)
        return function(*bound.args, **bound.kwargs)

    call.checks_arguments = True  # type: ignore[attr-defined]
    return call


class _Names(ChainMap[str, Any]):
    """Names that hints are made of. One for type checkers only admits anything."""

    def __missing__(self, name: str) -> Any:
        return Any


@cache
def _hints(function: Callable[..., Any], owner: type | None) -> dict[str, Any]:
    """Return the hints of the arguments, without those that admit anything.

    The fields of a dataclass use names of the modules of all its base classes.
    """
    modules = [vars(sys.modules[one.__module__]) for one in (owner.__mro__ if owner else ())]
    names = _Names(function.__globals__, *modules, vars(builtins))
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = parameter.annotation
        try:
            hint = eval(hint, {}, names) if isinstance(hint, str) else hint
        except (AttributeError, TypeError):  # a part of a name for type checkers only
            continue
        is_variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if not is_variadic and not _is_open(hint):
            found[name] = hint
    return found


def _is_open(hint: Any) -> bool:
    """Whether a hint admits what cannot be judged here, such as arrays and protocols."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_is_open(member) for member in get_args(hint))
    if origin is Literal or origin is Callable:
        return False
    if inspect.isclass(origin):
        return not issubclass(origin, Iterable) or origin is np.ndarray
    return hint not in WORDS


def _check(name: str, value: Any, hint: Any) -> Any:
    span = RANGES.get(name, ANY)
    read = _read(value, hint, span)
    if read is not UNFIT:
        return read
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    choices: list[Any] = []
    words: list[str] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            choices += get_args(kind)
        else:
            words.append(_words(kind, span))
    expected = _listed([*map(repr, choices), *dict.fromkeys(words)])
    advice = did_you_mean(value, choices) if isinstance(value, str) else ""
    found = f"{reprlib.repr(value)} ({type(value).__name__})"
    raise ArgumentError(f"{name} must be {expected}; found {found}.{advice}", name)


def _read(value: Any, hint: Any, span: Range) -> Any:
    """Return a value as its hint wants it, or UNFIT."""
    if _is_open(hint):
        return value
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for member in sorted(inner, key=lambda member: member is int):
            read = _read(value, member, span)
            if read is not UNFIT:
                return read
        return UNFIT
    if origin is Callable:
        return value if callable(value) else UNFIT
    if origin is Literal:
        return value if isinstance(value, str | int) and value in inner else UNFIT
    if origin is not None:
        return _read_many(value, origin, inner, span)
    return _read_one(value, hint, span)


def _read_one(value: Any, kind: type, span: Range) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if kind not in (int, float):
        return value if isinstance(value, kind) else UNFIT
    if isinstance(value, bool) or not isinstance(value, Real) or not span.holds(float(value)):
        return UNFIT
    if kind is int and not isinstance(value, Integral):
        return int(float(value)) if float(value).is_integer() else UNFIT
    return value


def _read_many(value: Any, kind: type, inner: tuple[Any, ...], span: Range) -> Any:
    """Return the members of a dictionary, a tuple or a list as they are wanted."""
    if issubclass(kind, Mapping):
        if not isinstance(value, Mapping):
            return UNFIT
        keys = [_read(one, inner[0], ANY) for one in value]
        values = [_read(one, inner[1], span) for one in value.values()]
        return UNFIT if _has_unfit([*keys, *values]) else dict(zip(keys, values, strict=True))
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        return UNFIT
    given = [value] if isinstance(value, str) else list(value)
    is_tuple = issubclass(kind, tuple)
    hints = inner if is_tuple and inner[-1] is not ... else inner[:1] * len(given)
    if len(hints) != len(given):
        return UNFIT
    members = [_read(one, hint, span) for one, hint in zip(given, hints, strict=True)]
    if _has_unfit(members):
        return UNFIT
    return tuple(members) if is_tuple or isinstance(value, tuple) else members


def _has_unfit(members: list[Any]) -> bool:
    return any(member is UNFIT for member in members)


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _words(hint: Any, span: Range) -> str:
    """Say what values a hint stands for."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is None:
        return WORDS.get(hint, "anything") + (str(span) if hint in (int, float) else "")
    if origin is Callable:
        return "a function"
    words = [_words(one, span) for one in inner if one is not ...]
    if origin in (Union, types.UnionType):
        return _listed(words)
    if issubclass(origin, Mapping):
        return f"a dictionary with, for each key, {words[1]}"
    if origin is tuple and inner[-1] is not ...:
        return f"a pair of {words[0]} and {words[1]}"
    return f"a list with, for each member, {words[0]}"

"""Registries of named things: a new aligner, learner or metric is one file and one decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from scgroove.errors import InputError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name.

    Parameters
    ----------
    kind
        Singular of the kind, for messages (``"aligner"``).
    prepare
        Applied to everything that is registered.

    Examples
    --------
    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("circle")
    ... class Circle: ...
    >>> shapes.names()
    ('circle',)
    >>> shapes.get("circel")
    Traceback (most recent call last):
        ...
    scgroove.errors.UnknownNameError: unknown shape 'circel'. Did you mean 'circle'? ...
    """

    def __init__(self, kind: str, prepare: Callable[[T], T] | None = None) -> None:
        self.kind = kind
        self.prepare = prepare
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files an object under ``name`` and hands it back unchanged.

        Raises
        ------
        ValueError
            If another object has the name.
        """

        def add(item: T) -> T:
            if name in self._items and self._items[name] is not item:
                raise InputError(
                    f"the {self.kind} name {name!r} is already taken by {self._items[name]!r}; "
                    f"register {item!r} under another name."
                )
            self._items[name] = item if self.prepare is None else self.prepare(item)
            return item

        return add

    def replace(self, old: T, new: T) -> None:
        """Put another object in the place of a registered one, if it is registered."""
        for name, item in self._items.items():
            if item is old:
                self._items[name] = new

    def get(self, name: str) -> T:
        """Return the object under ``name``.

        Raises
        ------
        UnknownNameError
            If there is no such name. It is a ``ValueError`` and a ``KeyError``.
        """
        try:
            return self._items[name]
        except (KeyError, TypeError):
            raise UnknownNameError(self.kind, name, self.names()) from None

    def names(self) -> tuple[str, ...]:
        """Return the registered names in alphabetical order."""
        return tuple(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        """Whether ``name`` is registered."""
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in alphabetical order."""
        return iter(self.names())

    def __len__(self) -> int:
        """Return the number of registered names."""
        return len(self._items)

    def __repr__(self) -> str:
        """Return the kind and the names."""
        return f"Registry({self.kind!r}: {', '.join(self.names())})"

"""Lists and numbers in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def counted(n: int, one: str, many: str = "") -> str:
    """Number and noun: ``"1 block"``, ``"2 blocks"``, ``"1,000 blocks"``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def joined(names: Iterable[str]) -> str:
    """All names: ``"a, b and c"``."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def some(names: Sequence[str], limit: int) -> str:
    """Name the first few, and count the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def capital(text: str) -> str:
    """Return a text that starts with a capital."""
    return text[:1].upper() + text[1:]

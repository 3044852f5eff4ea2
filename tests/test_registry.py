"""Registries: names in, objects out, and messages that help."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scgroove._registry import Registry
from scgroove.errors import UnknownNameError, near_miss


@pytest.fixture
def verbs() -> Registry[Callable[[float], float]]:
    registry: Registry[Callable[[float], float]] = Registry("verb")

    @registry.register("double")
    def double(x: float) -> float:
        return 2 * x

    @registry.register("Halve")
    def halve(x: float) -> float:
        return x / 2

    return registry


def test_register_hands_the_object_back_and_get_finds_it(
    verbs: Registry[Callable[[float], float]],
) -> None:
    assert verbs.get("double")(3) == 6
    assert verbs.names() == ("Halve", "double")
    assert list(verbs) == ["Halve", "double"]
    assert "double" in verbs
    assert "treble" not in verbs
    assert len(verbs) == 2
    assert repr(verbs) == "Registry('verb': Halve, double)"


def test_unknown_name_gets_the_near_miss_and_the_list(
    verbs: Registry[Callable[[float], float]],
) -> None:
    with pytest.raises(ValueError) as caught:
        verbs.get("dubble")
    assert (
        str(caught.value)
        == "unknown verb 'dubble'. Did you mean 'double'? Available: 'Halve', 'double'."
    )
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, UnknownNameError)


def test_unknown_name_without_a_near_miss(verbs: Registry[Callable[[float], float]]) -> None:
    with pytest.raises(ValueError, match=r"^unknown verb 'zzz'\. Available: 'Halve', 'double'\.$"):
        verbs.get("zzz")


def test_unhashable_name_is_unknown_too(verbs: Registry[Callable[[float], float]]) -> None:
    with pytest.raises(ValueError, match=r"unknown verb \[\]"):
        verbs.get([])  # type: ignore[arg-type]


def test_empty_registry_says_so() -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'trace'\. Available: none\."):
        Registry("metric").get("trace")


def test_a_name_is_given_once(verbs: Registry[Callable[[float], float]]) -> None:
    double = verbs.get("double")
    assert verbs.register("double")(double) is double
    with pytest.raises(ValueError, match="the verb name 'double' is already taken by"):
        verbs.register("double")(abs)


@pytest.mark.parametrize(
    ("name", "near"), [("EOT", "eot"), ("eott", "eot"), ("protein", None), (3, None)]
)
def test_near_miss_ignores_case(name: object, near: str | None) -> None:
    assert near_miss(name, ["eot", "emd"]) == near

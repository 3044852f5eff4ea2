"""Arguments of the wrong type are refused before any work, by their names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import scgroove
from scgroove._validate import ArgumentError, checked
from scgroove.model import GROOVE


@checked
def function(
    data: Any,
    n_latent: int = 2,
    rate: float = 0.1,
    *,
    labelled: bool = True,
    seed: int = 0,
    name: str | None = None,
    names: str | Mapping[str, str] | None = None,
    either: float | Sequence[str] = 1.0,
) -> tuple[Any, ...]:
    return n_latent, rate, labelled, seed, name, names, either


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_latent", "a"), ("n_latent", 2.5), ("n_latent", True), ("n_latent", 0),
        ("n_latent", [3]), ("rate", "0.1"), ("rate", float("nan")), ("rate", False), ("labelled", "no"),
        ("labelled", 1), ("seed", -1), ("name", 3), ("names", 3), ("either", True),
    ],
)  # fmt: skip
def test_wrong_types_and_ranges_are_refused_by_name(argument: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"^{argument} must be .*; found ") as caught:
        function(0, **{argument: value})
    assert caught.value.argument == argument
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_numpy_scalars_are_their_python_values() -> None:
    found = function(
        0, np.int64(3), np.float32(0.5), labelled=np.bool_(False), seed=np.uint8(1), name=np.str_("x")
    )
    assert found[:5] == (3, 0.5, False, 1, "x")
    assert [type(one) for one in found[:5]] == [int, float, bool, int, str]


def test_whole_numbers_are_numbers_and_containers_are_left_to_the_function() -> None:
    assert function(0, rate=1)[1] == 1
    assert function(0, names={"rna": "a"}, either=["x"])[5:] == ({"rna": "a"}, ["x"])


def test_a_missing_argument_is_told_by_python() -> None:
    with pytest.raises(TypeError, match=r"function\(\) missing 1 required positional argument: 'data'"):
        function()


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda m: GROOVE(m, n_latent="a"), "n_latent"),
        (lambda m: GROOVE(m, n_latent=3, seed=-1), "seed"),
        (lambda m: GROOVE(m, 3).train(max_epochs=-1), "max_epochs"),
        (lambda m: GROOVE(m, 3).train(2, batch_size=0), "batch_size"),
        (lambda m: GROOVE(m, 3).train(2, early_stopping="no"), "early_stopping"),
        (lambda m: GROOVE.setup_mudata(m, 3), "label_key"),
        (lambda m: scgroove.tl.align(m, "rna", "img", labelled="no"), "labelled"),
        (lambda m: scgroove.tl.impute(m, "rna", "img", seed="a"), "seed"),
    ],
)  # fmt: skip
def test_public_calls_refuse_them_before_work(make_mdata: Any, call: Any, argument: str) -> None:
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    before = {m: (list(a.obs), list(a.obsm)) for m, a in mdata.mod.items()}, list(mdata.uns), list(mdata.obsp)
    with pytest.raises(ArgumentError) as caught:
        call(mdata)
    assert caught.value.argument == argument
    after = {m: (list(a.obs), list(a.obsm)) for m, a in mdata.mod.items()}, list(mdata.uns), list(mdata.obsp)
    assert after == before


@pytest.mark.parametrize("room", ["tl", "get"])
def test_all_verbs_are_checked_and_keep_their_signature(room: str) -> None:
    package = getattr(scgroove, room)
    for name in package.__all__:
        verb = getattr(package, name)
        if inspect.isfunction(verb):
            assert verb.__wrapped__.__doc__ == verb.__doc__
            assert inspect.signature(verb) == inspect.signature(verb.__wrapped__)


def test_a_schedule_that_needs_validation_cells_is_refused_without_them(make_mdata: Any) -> None:
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, 3)
    with pytest.raises(ValueError, match=r"'plateau' needs validation cells, and train_size=1.0 leaves none"):
        model.train(2, train_size=1.0, plan_kwargs={"lr_schedule": "plateau"}, accelerator="cpu")

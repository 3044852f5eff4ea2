"""Arguments of the wrong type are refused before any work, by their names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

import scgroove as sg
from scgroove._validate import checked
from scgroove.aligners import ALIGNERS
from scgroove.errors import ArgumentError
from scgroove.learners import LEARNERS, PrincipalComponents
from scgroove.model import GROOVE


@checked
def function(
    data: Any,
    n_latent: int = 2,
    rate: float = 0.1,
    *,
    labeled: bool = True,
    seed: int = 0,
    name: str | None = None,
    names: str | Mapping[str, str] | None = None,
    either: float | Sequence[str] = 1.0,
) -> tuple[Any, ...]:
    return n_latent, rate, labeled, seed, name, names, either


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_latent", "a"), ("n_latent", 2.5), ("n_latent", True), ("n_latent", 0),
        ("n_latent", [3]), ("rate", "0.1"), ("rate", float("nan")), ("rate", False), ("labeled", "no"),
        ("labeled", 1), ("seed", -1), ("name", 3), ("names", 3), ("either", True),
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
        0,
        np.int64(3),
        np.float32(0.5),
        labeled=np.bool_(False),
        seed=np.uint8(1),
        name=np.str_("x"),
    )
    assert found[:5] == (3, 0.5, False, 1, "x")
    assert [type(one) for one in found[:5]] == [int, float, bool, int, str]


def test_whole_numbers_are_numbers_and_containers_are_left_to_the_function() -> None:
    assert function(0, rate=1)[1] == 1
    assert function(0, names={"rna": "a"}, either=["x"])[5:] == ({"rna": "a"}, ["x"])


def test_a_missing_argument_is_told_by_python() -> None:
    with pytest.raises(
        TypeError, match=r"function\(\) missing 1 required positional argument: 'data'"
    ):
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
        (lambda m: sg.tl.align(m, "rna", "img", labeled="no"), "labeled"),
        (lambda m: sg.tl.impute(m, "rna", "img", seed="a"), "seed"),
    ],
)  # fmt: skip
def test_public_calls_refuse_them_before_work(make_mdata: Any, call: Any, argument: str) -> None:
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    before = (
        {m: (list(a.obs), list(a.obsm)) for m, a in mdata.mod.items()},
        list(mdata.uns),
        list(mdata.obsp),
    )
    with pytest.raises(ArgumentError) as caught:
        call(mdata)
    assert caught.value.argument == argument
    after = (
        {m: (list(a.obs), list(a.obsm)) for m, a in mdata.mod.items()},
        list(mdata.uns),
        list(mdata.obsp),
    )
    assert after == before


@checked
def options(
    by: Literal["auto", "cells"] | None = None,
    block: Sequence[str] = (),
    escape: float | Mapping[str, float] = 0.0,
    prior: tuple[float, float] = (8.0, 2.0),
    hidden: Sequence[int] = (128,),
    say: Callable[[], None] | None = None,
    level: float = 0.95,
) -> tuple[Any, ...]:
    return by, block, escape, prior, hidden, say, level


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("by", "cell", "'auto', 'cells' or None; found 'cell' (str). Did you mean 'cells'?"),
        ("by", ["cells"], "'auto', 'cells' or None"), ("block", 3, "a list"), ("block", ["a", 3], "text"),
        ("escape", {"rna": "1"}, "a number"), ("escape", {1: 0.5}, "a dictionary"), ("prior", [8], "a pair"),
        ("prior", (8, 0), "above 0"), ("hidden", (0,), "at least 1"), ("hidden", "128", "a whole number"),
        ("hidden", [2.5], "a whole number"), ("say", "a", "a function"), ("level", 1, "below 1"),
        ("level", None, "a number"), ("level", float("inf"), "below 1"),
    ],
)  # fmt: skip
def test_choices_members_and_ranges_are_checked(argument: str, value: object, said: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{argument} must be .*{re.escape(said)}"):
        options(**{argument: value})  # type: ignore[arg-type]


def test_one_text_is_a_list_of_one_and_members_become_python_values() -> None:
    found = options(
        block="data", escape={"rna": np.float32(0.5)}, prior=[8, 2], hidden=np.array([4, 5])
    )
    assert found[1:5] == (["data"], {"rna": 0.5}, (8, 2), [4, 5])
    assert [type(one) for one in found[4]] == [int, int]
    assert type(options(hidden=[1e2])[4][0]) is int


def test_what_is_registered_later_is_checked_when_it_is_constructed() -> None:
    @LEARNERS.register("for_this_test")
    @dataclass
    class Mine(PrincipalComponents):
        name: ClassVar[str] = "for_this_test"
        n_layers: int = 1

    del LEARNERS._items["for_this_test"]
    with pytest.raises(ArgumentError, match=r"^n_layers must be "):
        Mine(n_layers=0)
    assert type(Mine(np.int64(3)).n_components) is int


class Odd:
    """What no option takes."""


ARRAYS = ("structure_x", "structure_y", "pairs_x", "pairs_y", "learner", "terms")
"""Options that may be arrays, a learner or terms, and are checked by what they are given to."""


@pytest.mark.parametrize(
    ("registry", "name"),
    [(registry, name) for registry in (LEARNERS, ALIGNERS) for name in registry],
)
def test_every_option_refuses_what_it_cannot_be(registry: Any, name: str) -> None:
    cls = registry.get(name)
    for option in {field.name for field in fields(cls)}.difference(ARRAYS):
        for value in (Odd(), [Odd()], float("nan")):
            with pytest.raises(ArgumentError) as caught:
                cls(**{option: value})
            assert caught.value.argument == option


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda m, model: model.translate("rna", 3), "target"),
        (lambda m, model: model.get_latent_representation(m, batch_size="a"), "batch_size"),
        (lambda m, model: sg.pl.latent(m, point_size=0), "point_size"),
        (lambda m, model: sg.pl.coupling_entropy(m, "rna", "img", measure="entropie"), "measure"),
        (lambda m, model: sg.pl.training_history(model, ncols=2.5), "ncols"),
        (lambda m, model: sg.simulations.weakly_paired(co_assayed="no"), "co_assayed"),
        (lambda m, model: sg.simulations.Scenario(n_features=3), "n_features"),
        (lambda m, model: sg.datasets.papalexi_2021(disjoint="no"), "disjoint"),
        (lambda m, model: sg.metrics.foscttm([[0.0]], [[0.0]], metric="cosin"), "metric"),
        (lambda m, model: sg.imputers.CouplingRegression(n_models=True), "n_models"),
        (lambda m, model: sg.imputers.knn([[0.0]], [[0.0]], [[0.0]], n_neighbors=0), "n_neighbors"),
        (lambda m, model: sg.benchmark.leave_labels_out(m, "rna", "img", n_folds=1), "n_folds"),
        (lambda m, model: sg.tl.umap(m, seed=-1), "seed"),
    ],
)  # fmt: skip
def test_all_rooms_refuse_them(make_mdata: Any, call: Any, argument: str) -> None:
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    with pytest.raises(ArgumentError) as caught:
        call(mdata, GROOVE(mdata, 3))
    assert caught.value.argument == argument


ROOMS = [
    "tl",
    "get",
    "pl",
    "simulations",
    "datasets",
    "benchmark",
    "metrics",
    "imputers",
    "learners",
    "aligners",
]


@pytest.mark.parametrize("room", ROOMS)
def test_all_verbs_are_checked_and_keep_their_signature(room: str) -> None:
    package = getattr(sg, room)
    for name in package.__all__:
        verb = getattr(package, name)
        if inspect.isfunction(verb):
            assert verb.__wrapped__.__doc__ == verb.__doc__
            assert inspect.signature(verb) == inspect.signature(verb.__wrapped__)


def test_a_schedule_that_needs_validation_cells_is_refused_without_them(make_mdata: Any) -> None:
    mdata = make_mdata()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, 3)
    with pytest.raises(
        ValueError, match=r"'plateau' needs validation cells, and train_size=1.0 leaves none"
    ):
        model.train(2, train_size=1.0, plan_kwargs={"lr_schedule": "plateau"}, accelerator="cpu")

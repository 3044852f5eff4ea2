"""What each eps does, in a table."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from scgroove.aligners import CoOptimalTransport, EntropicOT, ExactOT
from scgroove.aligners.scan import EPSILONS, epsilon_scan


def _data(seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(["a", "b"], 15)
    return rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), labels


def test_a_row_says_what_the_aligner_says() -> None:
    x, y, labels = _data()
    table = epsilon_scan(EntropicOT(cost="cosine"), x, y, labels, labels, epsilons=(0.02, 0.2))
    for row in table.itertuples():
        coupling = EntropicOT(cost="cosine", epsilon=row.epsilon).align(x, y, labels, labels)
        entropy = coupling.entropy()
        assert row.epsilon_absolute == pytest.approx(np.mean(coupling.evidence["epsilon_absolute"]))
        assert row.entropy == pytest.approx(entropy.mean())
        assert row.partners == pytest.approx(np.exp(entropy).mean())
        assert row.confidence == pytest.approx(coupling.confidence().mean())
        assert row.marginal_error == pytest.approx(sum(coupling.marginal_errors()), abs=1e-9)
        assert row.objective == coupling.evidence["objective"]
        assert row.iterations == coupling.evidence["iterations"].sum()


@pytest.mark.parametrize("method", ["eot", "uot", "egw", "egw_each", "fgw"])
def test_smaller_is_sharper_and_cheaper(method: str) -> None:
    x, y, labels = _data(1)
    table = epsilon_scan(method, x, y, labels, labels, epsilons=(1, 0.1, 0.01))
    assert table["epsilon"].is_monotonic_decreasing
    assert table["partners"].is_monotonic_decreasing
    assert table["confidence"].is_monotonic_increasing
    assert (np.diff(table["transport_cost"]) <= 1e-9).all()


def test_default_grid_weights_and_no_warning_for_what_the_table_says() -> None:
    x, y, _ = _data(2)
    weights = np.arange(1.0, 31)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = epsilon_scan(
            EntropicOT(max_iter=40, strict=True), x, y, weights_x=weights, epsilons=(1.0, 1e-3)
        )
    assert table["converged"].tolist() == [True, False]
    assert table["marginal_error"].iloc[1] > 1e-3
    assert epsilon_scan("eot", x, y)["epsilon"].tolist() == sorted(EPSILONS, reverse=True)


def test_no_entropy_is_tried_where_the_aligner_takes_it() -> None:
    x, y, labels = _data(4)
    table = epsilon_scan("coot", x, y[:, :2], labels, labels, epsilons=(0, 0.1))
    assert table["epsilon"].tolist() == [0.1, 0.0]
    exact = CoOptimalTransport(epsilon=0).align(x, y[:, :2], labels, labels)
    assert table["transport_cost"][1] == table["objective"][1] == exact.evidence["objective"]
    assert table["epsilon_absolute"][1] == 0
    assert table["partners"][1] < table["partners"][0]
    assert epsilon_scan("coot", x, y, epsilons=np.zeros(1))["epsilon"].tolist() == [0]


@pytest.mark.parametrize("method", ["eot", "egw"])
def test_no_entropy_is_refused_where_it_does_not(method: str) -> None:
    x, y, _ = _data(4)
    with pytest.raises(
        ValueError, match=r"epsilon must be positive.* found 0\.0\. .* use method='emd'"
    ):
        epsilon_scan(method, x, y, epsilons=(0.1, 0))


@pytest.mark.parametrize("epsilons", ["auto", ("auto",), 0.1, (0.1, None)])
def test_what_is_no_list_of_numbers_is_refused(epsilons: Any) -> None:
    x, y, _ = _data(4)
    with pytest.raises(ValueError, match=r"epsilons must be "):
        epsilon_scan("eot", x, y, epsilons=epsilons)


def test_what_has_no_epsilon_is_refused() -> None:
    x, y, _ = _data(3)
    with pytest.raises(
        TypeError, match=r"'emd' has no epsilon to scan\. Those that have: 'eot', 'uot'"
    ):
        epsilon_scan(ExactOT(), x, y)
    with pytest.raises(ValueError, match=r"unknown aligner 'eto'\. Did you mean 'eot'"):
        epsilon_scan("eto", x, y)
    with pytest.raises(ValueError, match="epsilons is empty"):
        epsilon_scan("eot", x, y, epsilons=[])

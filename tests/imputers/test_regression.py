"""Networks fitted to coupled cells: they find what is there, stop in time, and leave nothing to chance."""

import numpy as np
import pytest
import torch

from scgroove.aligners import Coupling
from scgroove.imputers import CouplingRegression


@pytest.fixture
def linear():
    """Source features, target values that are linear in them, and a coupling of every cell with itself."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = x @ rng.normal(size=(4, 3)) + 5.0
    return x, y, Coupling.from_sparse(np.eye(300) / 300)


def r2(found, truth):
    return 1 - ((found - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("hidden", [(), (32,)])
def test_finds_a_linear_map(linear, hidden):
    x, y, coupling = linear
    options = {"n_models": 2, "dropout": 0.0, "lr": 1e-2, "max_epochs": 120}
    fitted = CouplingRegression(hidden=hidden, **options).fit(x[:], y, coupling)
    fresh = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
    truth = fresh @ np.linalg.lstsq(np.c_[x, np.ones(300)], y, rcond=None)[0][:4] + 5.0
    found = fitted.predict(fresh)
    assert r2(found.values, truth) > 0.97
    assert found.between.shape == (100, 3)
    assert (found.between >= 0).all()
    assert np.isinf(found.n_effective).all()


def test_weights_are_masses():
    """Two groups of equal features and different targets: the network has the mean by mass."""
    x = np.ones((200, 1), dtype=np.float32)
    y = np.repeat([[0.0], [8.0]], 100, axis=0)
    mass = np.repeat([3.0, 1.0], 100)
    coupling = Coupling.from_sparse(np.diag(mass / mass.sum()))
    fitted = CouplingRegression(hidden=(), n_models=1, lr=1e-2, max_epochs=200, weight_decay=0.0)
    fitted.fit(x, y, coupling, codes=np.repeat([0, 1], 100))  # of both, a tenth is held out
    assert fitted.predict(x[:1]).values[0, 0] == pytest.approx(2.0, abs=0.3)


def test_cells_without_mass_play_no_part(linear):
    x, y, _ = linear
    mass = np.ones(300)
    mass[200:] = 0
    spoiled = x.copy()
    spoiled[200:] = 1e6
    options = {"hidden": (), "n_models": 1, "max_epochs": 3}
    coupling = Coupling.from_sparse(np.diag(mass / mass.sum()))
    one, other = (
        CouplingRegression(**options).fit(v, y, coupling).predict(x[:5]).values
        for v in (x, spoiled)
    )
    np.testing.assert_array_equal(one, other)


def test_same_seed_same_bytes_and_global_state_untouched(linear):
    x, y, coupling = linear
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    runs = [
        CouplingRegression(hidden=(8,), n_models=2, max_epochs=3)
        .fit(x, y, coupling, seed=seed)
        .predict(x)
        .values
        for seed in (1, 1, 2)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_one_cell_has_the_value_that_it_has_among_others(linear):
    """Perturb-OT's network is left in training mode, where it has not."""
    x, y, coupling = linear
    fitted = CouplingRegression(hidden=(16,), n_models=1, max_epochs=3).fit(x, y, coupling)
    np.testing.assert_allclose(
        fitted.predict(x[:1]).values, fitted.predict(x).values[:1], rtol=1e-5
    )


def test_stops_early_on_noise_and_keeps_the_best(linear):
    x, _, coupling = linear
    y = np.random.default_rng(2).normal(size=(300, 3))
    fitted = CouplingRegression(
        hidden=(64,), n_models=1, dropout=0.0, lr=1e-2, max_epochs=200, patience=5
    )
    fitted.fit(x, y, coupling)
    assert fitted.evidence["best_epoch"] < 100
    assert fitted.evidence["validation_loss"] < 1.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 3}, "hidden must be "),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1"),
        ({"n_models": 0}, "n_models must be "),
        ({"lr": 0.0}, "lr must be a number above 0"),
        ({"max_epochs": 0}, "max_epochs must be a whole number"),
        ({"validation_fraction": 0}, "validation_fraction must be a number above 0"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        CouplingRegression(**options)


def test_refuses_what_does_not_fit(linear):
    x, y, coupling = linear
    with pytest.raises(ValueError, match="expected 300, found 299"):
        CouplingRegression().fit(x[1:], y, coupling)
    nobody = Coupling.from_sparse(np.zeros((300, 300)))
    with pytest.raises(ValueError, match="only 0 source cells have mass"):
        CouplingRegression().fit(x, y, nobody)
    with pytest.raises(RuntimeError, match="not fitted"):
        CouplingRegression().predict(x)

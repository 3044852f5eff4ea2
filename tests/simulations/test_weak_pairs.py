"""The generator, in arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.simulations import Scenario
from scgroove.simulations._weak_pairs import (
    draw_counts,
    labels_of_modalities,
    simulate,
    standardize,
    view,
)

SMALL = {
    "n_labels": 4,
    "n_cells_per_label": 12,
    "n_features": (9, 7),
    "n_latent": 3,
    "n_private": 2,
}


@pytest.mark.parametrize("kind", ["tanh", "linear"])
def test_signal_has_unit_variance_before_the_noise(kind: str) -> None:
    rng = np.random.default_rng(0)
    signal = view(rng.normal(size=(300, 5)), 8, kind, rng)
    assert signal.shape == (300, 8)
    np.testing.assert_allclose(signal.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(signal.std(axis=0), 1, atol=1e-12)


def test_linear_view_is_linear_and_tanh_is_not() -> None:
    inputs = np.random.default_rng(0).normal(size=(200, 4))
    design = np.c_[inputs, np.ones(200)]
    for kind, linear in (("linear", True), ("tanh", False)):
        x = view(inputs, 5, kind, np.random.default_rng(1))
        residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
        assert (np.abs(residual).max() < 1e-10) == linear


def test_gaussian_features_are_standardized_after_the_noise() -> None:
    for part in simulate(Scenario(**SMALL)).modalities.values():
        x = np.asarray(part.x)
        assert x.dtype == np.float32
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-6)


def test_standardize_leaves_a_constant_column_at_zero() -> None:
    x = np.array([[1.0, 2.0], [1.0, 4.0]])
    np.testing.assert_array_equal(standardize(x), [[0, -1], [0, 1]])


@settings(max_examples=15, deadline=None)
@given(rho=st.sampled_from([0.0, 0.3, 1.0]), effect=st.floats(0, 3), seed=st.integers(0, 2**32 - 1))
def test_latent_is_the_equation(rho: float, effect: float, seed: int) -> None:
    sim = simulate(Scenario(**SMALL, rho=rho, effect=effect), seed)
    for part in sim.modalities.values():
        shift = np.sqrt(rho) * sim.shared_effect + np.sqrt(1 - rho) * part.effect
        np.testing.assert_allclose(part.latent, part.state + effect * shift[part.label], atol=1e-12)


def _by_cell(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return values[np.argsort(cells)]


def test_rho_one_means_no_effect_of_one_modality() -> None:
    rna, protein = simulate(Scenario(**SMALL, rho=1.0)).modalities.values()
    np.testing.assert_array_equal(
        _by_cell(rna.latent, rna.cells), _by_cell(protein.latent, protein.cells)
    )


def test_rho_zero_means_no_shared_effect() -> None:
    sim = simulate(Scenario(**SMALL, rho=0.0, effect=1.0))
    for part in sim.modalities.values():
        np.testing.assert_allclose(part.latent - part.state, part.effect[part.label])
    rna, protein = sim.modalities.values()
    assert not np.allclose(rna.effect, protein.effect)


def test_co_assayed_modalities_share_the_cells_in_different_orders() -> None:
    rna, protein = simulate(Scenario(**SMALL)).modalities.values()
    assert sorted(rna.cells) == sorted(protein.cells) == list(range(48))
    assert not np.array_equal(rna.cells, protein.cells)
    np.testing.assert_array_equal(
        _by_cell(rna.state, rna.cells), _by_cell(protein.state, protein.cells)
    )
    np.testing.assert_array_equal(
        _by_cell(rna.label, rna.cells), _by_cell(protein.label, protein.cells)
    )
    assert rna.paired.all()


def test_disjoint_modalities_have_cells_of_their_own() -> None:
    rna, protein = simulate(Scenario(**SMALL, co_assayed=False)).modalities.values()
    gaps = np.abs(rna.state[:, None] - protein.state[None]).sum(axis=2)
    assert gaps.min() > 1e-6
    assert not rna.paired.any()


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    def first(seed: int) -> bytes:
        return b"".join(
            np.asarray(p.x).tobytes() for p in simulate(Scenario(**SMALL), seed).modalities.values()
        )

    assert first(3) == first(3)
    assert first(3) != first(4)


def test_an_option_of_one_modality_leaves_the_other_as_it_was() -> None:
    plain = simulate(Scenario(**SMALL)).modalities["protein"]
    counted = simulate(Scenario(**SMALL, counts=("rna",))).modalities["protein"]
    np.testing.assert_array_equal(plain.x, counted.x)


def test_the_global_random_state_is_neither_used_nor_touched() -> None:
    before = _global_state()
    simulate(Scenario(**SMALL))
    np.testing.assert_array_equal(_global_state(), before)


def _global_state() -> np.ndarray:
    return np.random.get_state()[1].copy()  # noqa: NPY002


def test_exclusive_labels_are_in_one_modality_only() -> None:
    scenario = Scenario(**{**SMALL, "n_labels": 6}, exclusive_labels={"rna": 2, "protein": 1})
    kept = labels_of_modalities(scenario)
    assert np.flatnonzero(kept["rna"]).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(kept["protein"]).tolist() == [0, 1, 2, 5]
    sim = simulate(scenario)
    for name, part in sim.modalities.items():
        assert set(part.label) == set(np.flatnonzero(kept[name]))
        np.testing.assert_array_equal(part.paired, part.label < 3)


def test_exclusive_labels_of_three_modalities() -> None:
    scenario = Scenario(
        **{**SMALL, "n_labels": 7, "n_features": (4, 4, 4)},
        modalities=("a", "b", "c"),
        exclusive_labels=1,
    )
    kept = np.array(list(labels_of_modalities(scenario).values()))
    np.testing.assert_array_equal(kept.sum(axis=0), [3, 3, 3, 3, 1, 1, 1])


def test_unlabeled_share_is_exact_and_drawn_for_each_modality() -> None:
    rna, protein = simulate(Scenario(**SMALL, unlabeled_fraction=0.25)).modalities.values()
    assert (~(rna.observed >= 0)).sum() == (~(protein.observed >= 0)).sum() == 12
    assert set(rna.cells[~(rna.observed >= 0)]) != set(protein.cells[~(protein.observed >= 0)])


def test_counts_are_whole_numbers_in_csr_with_no_empty_cell() -> None:
    x = (
        simulate(Scenario(**SMALL, counts=("rna",), library_size=3.0, dispersion=0.1))
        .modalities["rna"]
        .x
    )
    assert sp.issparse(x)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.data, np.round(x.data))
    assert x.data.min() > 0
    assert x.sum(axis=1).min() >= 1


def test_counts_have_the_mean_and_variance_of_a_negative_binomial() -> None:
    rng = np.random.default_rng(0)
    counts = draw_counts(np.zeros((40000, 2)), 1000.0, 5.0, rng).toarray().astype(float)
    share = counts.sum(axis=0) / counts.sum()
    mean = counts.mean(axis=0)
    second_library = np.exp(0.3**2)  # E[L**2] / E[L]**2 of the log-normal library
    expected = mean + mean**2 * (second_library * (1 + 1 / 5.0) - 1)
    np.testing.assert_allclose(counts.var(axis=0), expected, rtol=0.05)
    assert share.sum() == pytest.approx(1)


def test_cells_per_label_may_differ() -> None:
    part = simulate(Scenario(**{**SMALL, "n_cells_per_label": [3, 5, 7, 9]})).modalities["rna"]
    assert np.bincount(part.label).tolist() == [3, 5, 7, 9]


def test_reference_is_the_specification() -> None:
    r = Scenario()
    assert (r.n_labels, r.n_cells_per_label, r.n_latent, r.n_private) == (20, 60, 10, 3)
    assert (r.n_features, r.effect, r.noise, r.rho, r.view) == ((100, 50), 2.0, 0.5, 1.0, "tanh")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rho": 1.5}, r"rho must be between 0 \(no shared effect\) and 1 .*; found 1.5\."),
        ({"effect": -1.0}, r"effect must be at least 0; found -1.0\."),
        ({"noise": -0.1}, r"noise must be at least 0"),
        ({"n_labels": 0}, r"n_labels must be at least 1; found 0"),
        ({"n_latent": 0}, r"n_latent must be "),
        ({"n_private": -1}, r"n_private must be at least 0"),
        ({"library_size": 0.0}, r"library_size must be positive"),
        ({"dispersion": 0.0}, r"dispersion must be positive"),
        ({"unlabeled_fraction": 1.0}, r"unlabeled_fraction must be at least 0 and below 1; found 1.0"),
        ({"view": "sine"}, r"view must be "),
        ({"modalities": ("rna",)}, r"modalities must be two or more different names; found \('rna',\)"),
        ({"modalities": ("rna", "rna")}, r"modalities must be two or more different names"),
        ({"n_features": (3,)}, r"n_features must hold one positive number .* expected 2 .* found \(3,\)"),
        ({"counts": ("rnaa",)}, r"counts names 'rnaa', which is not among modalities=\('rna', 'protein'\)"),
        ({"exclusive_labels": {"atac": 1}}, r"exclusive_labels names 'atac'"),
        ({"exclusive_labels": 2}, r"found \{'rna': 2, 'protein': 2\} \(in all 4\) of n_labels=4"),
        ({"n_cells_per_label": [1, 2]}, r"n_cells_per_label must be "),
        ({"n_cells_per_label": 2.7}, r"n_cells_per_label must be "),
        ({"n_cells_per_label": "6543"}, r"n_cells_per_label must be "),
        ({"n_cells_per_label": None}, r"n_cells_per_label must be "),
        ({"exclusive_labels": 1.9}, r"exclusive_labels must be "),
        ({"n_features": 3}, r"n_features must be "),
        ({"n_features": (10.5, 5)}, r"n_features must be "),
        ({"n_cells_per_label": 0}, r"n_cells_per_label must be "),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scenario(**{**SMALL, **wrong})

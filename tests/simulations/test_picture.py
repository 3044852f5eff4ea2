"""What is drawn of each knob."""

from __future__ import annotations

import numpy as np
import pytest

from scgroove.simulations import KnobPanel, knob_panels


def four(knob: str) -> list[KnobPanel]:
    panels = knob_panels([knob])
    assert len(panels) == 4
    assert {panel.knob for panel in panels} == {knob}
    assert [panel.modality for panel in panels] == ["rna", "protein"] * 2
    assert panels[0].setting == panels[1].setting != panels[2].setting == panels[3].setting
    return panels


def sorted_rows(x: np.ndarray) -> np.ndarray:
    return x[np.lexsort(x.T)]


def test_rho() -> None:
    shared, shared_too, own, own_too = four("rho")
    np.testing.assert_array_equal(sorted_rows(shared.xy), sorted_rows(shared_too.xy))
    assert not np.allclose(sorted_rows(own.xy), sorted_rows(own_too.xy))


def test_a_smaller_effect_draws_labels_together() -> None:
    strong, _, weak, _ = four("effect")
    assert weak.xy.std() < strong.xy.std() / 1.5


@pytest.mark.parametrize(("knob", "n_marked"), [("escape", 45), ("inert", 60)])
def test_cells_without_effect_are_hollow(knob: str, n_marked: int) -> None:
    low, _, rna, protein = four(knob)
    assert low.hollow.sum() == 0
    assert rna.hollow.sum() == protein.hollow.sum() == n_marked
    np.testing.assert_array_equal(sorted_rows(rna.xy[rna.hollow]), sorted_rows(protein.xy[protein.hollow]))


def test_wrong_labels_are_ringed_and_hidden_ones_have_no_colour() -> None:
    assert [panel.ringed.sum() for panel in four("label_noise")] == [0, 0, 30, 30]
    assert [(panel.color < 0).sum() for panel in four("unlabeled_fraction")] == [0, 0, 75, 75]


def test_sizes_are_bars() -> None:
    low, _, high, _ = four("imbalance")
    assert low.shown == high.shown == "sizes"
    np.testing.assert_array_equal(low.xy, [[i, 30] for i in range(1, 6)])
    assert high.xy[:, 1].sum() == 150
    assert (np.diff(high.xy[:, 1]) < 0).all()


def test_exclusive_labels_and_substates_have_a_shape_of_their_own() -> None:
    _, _, rna, protein = four("exclusive_labels")
    assert set(rna.color[rna.shape == 1]) == {3}
    assert set(protein.color[protein.shape == 1]) == {4}
    assert [np.unique(panel.shape).size for panel in four("n_substates")] == [1, 1, 2, 2]


def test_the_same_cells_are_ringed_in_both_modalities() -> None:
    rna, protein, _, other = four("co_assayed")
    assert rna.ringed.sum() == 8
    np.testing.assert_array_equal(sorted_rows(rna.xy[rna.ringed]), sorted_rows(protein.xy[protein.ringed]))
    assert not other.ringed.any()


def test_features_are_drawn_for_batches_and_counts() -> None:
    low, _, high, _ = four("batch_effect")
    assert low.shown == "features"
    np.testing.assert_array_equal(low.color, high.color)
    spread = [
        np.std([panel.xy[panel.color == b].mean(axis=0) for b in range(3)], axis=0).max()
        for panel in (low, high)
    ]
    assert spread[1] > 3 * spread[0]
    _, gaussian, counts, gaussian_too = four("counts")
    np.testing.assert_array_equal(counts.xy, np.round(counts.xy))
    np.testing.assert_array_equal(gaussian.xy, gaussian_too.xy)


def label_distance(panel) -> float:
    """How far the means of labels lie apart in the two features, over the spread inside labels."""
    groups = [panel.xy[panel.color == c] for c in range(5)]
    inside = np.mean([g.std(axis=0).mean() for g in groups])
    return float(np.std([g.mean(axis=0) for g in groups], axis=0).mean() / inside)


@pytest.mark.parametrize("knob", ["noise", "n_private"])
def test_what_hides_labels(knob) -> None:
    low, _, high, _ = four(knob)
    assert low.shown == "features"
    assert label_distance(high) < 0.5 * label_distance(low)


def test_views_and_counts() -> None:
    many, _, few, _ = four("library_size")
    assert np.median(few.xy) <= 1 < np.median(many.xy)
    close, _, far, _ = four("dispersion")
    group = close.color == 0

    def beyond_poisson(panel):
        part = panel.xy[group]
        return (part.var(axis=0) / part.mean(axis=0)).mean()

    assert beyond_poisson(far) > 3 * beyond_poisson(close)
    linear, _, bent, _ = four("view")
    assert not np.allclose(linear.xy, bent.xy)


def test_three_modalities_share_states_and_the_shared_effect() -> None:
    panels = knob_panels(["modalities"])
    assert [panel.modality for panel in panels] == ["rna", "protein", "atac"] * 2
    alike, apart = panels[:3], panels[3:]
    np.testing.assert_array_equal(alike[0].xy[alike[0].ringed].shape, (8, 2))
    for panel in alike[1:]:
        np.testing.assert_array_equal(sorted_rows(panel.xy), sorted_rows(alike[0].xy))
        np.testing.assert_array_equal(
            sorted_rows(panel.xy[panel.ringed]), sorted_rows(alike[0].xy[alike[0].ringed])
        )
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(label_means(apart[one]) - label_means(apart[other])).max() > 1.0
    # the crosses are those of rho = 1, nearer to the middle by sqrt(rho), and the same in all
    for panel in apart:
        np.testing.assert_allclose(panel.crosses, np.sqrt(0.75) * alike[0].crosses)
    np.testing.assert_allclose(label_means(alike[0]), alike[0].crosses, atol=0.6)  # means of 30 states
    assert not any(len(panel.crosses) for panel in knob_panels(["rho"]))


def test_a_cell_has_one_state_in_all_modalities() -> None:
    """Between two cells of a label the way is the same in each modality, whatever the effects."""
    rna, protein, atac = knob_panels(["modalities"])[3:]
    for code in range(5):
        one, two, three = (
            np.sort(panel.xy[panel.color == code] - label_means(panel)[code], axis=0)
            for panel in (rna, protein, atac)
        )
        np.testing.assert_allclose(one, two)
        np.testing.assert_allclose(one, three)


def label_means(panel: KnobPanel) -> np.ndarray:
    return np.array([panel.xy[panel.color == code].mean(axis=0) for code in range(5)])


def test_all_knobs_and_one_that_is_not_there() -> None:
    panels = knob_panels()
    assert len({panel.knob for panel in panels}) == 18
    assert len(panels) == 4 * 17 + 6
    assert all(panel.sentence.endswith(".") for panel in panels)
    with pytest.raises(
        ValueError, match=r"unknown knob 'rhoo'\. Did you mean 'rho'\? Available: 'batch_effect'"
    ):
        knob_panels(["rhoo"])

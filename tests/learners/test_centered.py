"""Labels brought to one place: by hand, in a learner, and for cells that were not fitted."""

import numpy as np
import pytest

import scgroove as sg
from scgroove.learners import GroupProcrustes, LabelCentered
from scgroove.learners.centered import Centering


def test_by_hand():
    """Label 2 is in one modality only, and the last cell of "a" has no label: they stay."""
    z = {
        "a": np.array([[-3.0, 1], [3, -1], [1, 0], [7, 0], [9, 9], [5, 5]]),
        "b": np.array([[2.0, 0], [0, 4]]),
    }
    codes = {"a": np.array([0, 0, 1, 1, 2, -1]), "b": np.array([0, 1])}
    plain = Centering.fit(z, codes, 3, normalize=False)
    moved = plain("a", z["a"].astype(np.float32), codes["a"])
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved, [[-2, 1], [4, -1], [-1, 2], [5, 2], [9, 9], [5, 5]])
    np.testing.assert_array_equal(plain("b", z["b"], codes["b"]), [[1, 0], [2, 2]])
    alike = Centering.fit(z, codes, 3, normalize=True)
    assert alike.radius == pytest.approx(np.sqrt((10 + 10 + 9 + 9) / 7))
    far = alike("a", z["a"], codes["a"])
    expected = np.array([1, 0]) + np.array([-3, 1]) * alike.radius / 10**0.5
    np.testing.assert_allclose(far[0], expected)
    np.testing.assert_allclose(alike("b", z["b"], codes["b"]), [[1, 0], [2, 2]])  # at their means


@pytest.fixture(scope="module")
def screen():
    return sg.simulations.weakly_paired(8, 40, n_features=(30, 20), n_latent=5, rho=0.5, seed=0)


def test_means_agree_and_cells_inside_labels_stay_as_they_are(screen):
    fitted = LabelCentered("cca_labels", normalize=False).fit(screen, "label")
    before, after = fitted.inner_.transform(screen), fitted.transform(screen)
    labels = {m: screen[m].obs["label"].astype(str).to_numpy() for m in after}
    for label in np.unique(labels["rna"]):
        a, b = (after[m][labels[m] == label] for m in after)
        np.testing.assert_allclose(a.mean(0), b.mean(0), atol=1e-8)
        both = np.mean([before[m][labels[m] == label].mean(0) for m in before], axis=0)
        np.testing.assert_allclose(a.mean(0), both, atol=1e-8)
        own = before["rna"][labels["rna"] == label]
        np.testing.assert_allclose(a - a.mean(0), own - own.mean(0), atol=1e-8)


def test_cells_lie_equally_far_from_their_label(screen):
    plain, after = (
        LabelCentered("cca_labels", normalize=n).fit_transform(screen, "label")
        for n in (False, True)
    )
    places = {m: plain[m].astype(float) for m in plain}
    labels = {m: screen[m].obs["label"].astype(str).to_numpy() for m in places}
    for label in np.unique(labels["rna"]):
        lengths, turns = [], []
        for m in places:
            rows = labels[m] == label
            center = places[m][rows].mean(0)
            own, before = after[m][rows] - center, places[m][rows] - center
            lengths.append(np.linalg.norm(own, axis=1))
            turns.append((own * before).sum(1) / (lengths[-1] * np.linalg.norm(before, axis=1)))
        np.testing.assert_allclose(np.concatenate(lengths), lengths[0][0], rtol=1e-5)
        np.testing.assert_allclose(np.concatenate(turns), 1.0, rtol=1e-5)


def test_cells_inside_labels_are_found_better_where_effects_differ():
    screen = sg.simulations.weakly_paired(rho=0.5, seed=0)
    scores = []
    for learner in (
        sg.learners.get("cca_labels")(),
        LabelCentered("cca_labels", normalize=False),
        LabelCentered("cca_labels"),
    ):
        z = learner.fit_transform(screen, "label")
        labels = screen["rna"].obs["label"].to_numpy()
        order = screen["protein"].obs_names.get_indexer(screen["rna"].obs_names)
        scores.append(
            sg.metrics.foscttm(
                z["rna"], z["protein"][order], labels_x=labels, labels_y=labels, within_label=True
            )
        )
    assert scores[1] < scores[0] - 0.02
    assert scores[2] < scores[1] - 0.01


def test_cells_that_were_not_fitted_move_with_their_label(screen):
    fitted = LabelCentered("cca_labels").fit(screen, "label")
    few = screen[::3].copy()
    whole, part = fitted.transform(screen), fitted.transform(few)
    for m, z in part.items():
        rows = screen[m].obs_names.get_indexer(few[m].obs_names)
        np.testing.assert_allclose(z, whole[m][rows])
    few["rna"].obs["label"] = None
    unmoved = fitted.transform(few)["rna"]
    np.testing.assert_allclose(unmoved, fitted.inner_.transform(few)["rna"])


def test_a_space_is_needed():
    with pytest.raises(ValueError, match=r"no space that its modalities share.*GroupProcrustes"):
        LabelCentered("pca")
    LabelCentered(GroupProcrustes("pca"))
    with pytest.raises(TypeError, match="must be a learner or its name"):
        LabelCentered(3)
    with pytest.raises(ValueError, match="are for a learner given by name"):
        LabelCentered(sg.learners.get("cca_labels")(), {"n_components": 2})
    assert LabelCentered("oracle_latent").uses_truth

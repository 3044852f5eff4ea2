"""Learners with networks: GROOVE, its ablations, and the other contrastive ones."""

import numpy as np
import pytest

import scgroove as sg
from scgroove.learners import LEARNERS, construct

NEURAL = (
    "groove",
    "groove_paper",
    "supcon",
    "clip_pseudo",
    "clip_oracle",
    "davae",
    "vae_adversarial",
    "mmd",
)
FEW = {"max_epochs": 3}


@pytest.fixture(scope="module")
def screen():
    return sg.simulations.weakly_paired(
        4, 20, n_features=(20, 15), exclusive_labels=1, unlabeled_fraction=0.1, seed=0
    )


@pytest.mark.parametrize("name", NEURAL)
def test_same_seed_same_bytes_and_other_seeds_differ(name, screen):
    one, two, other = (construct(name, FEW).fit_transform(screen, seed=seed) for seed in (1, 1, 2))
    for m, z in one.items():
        assert z.shape == (screen[m].n_obs, 16)
        np.testing.assert_array_equal(z, two[m])
        assert not np.allclose(z, other[m])


@pytest.mark.parametrize("name", ["groove", "supcon", "clip_oracle", "davae", "mmd", "ps_mlp"])
def test_the_data_and_the_random_state_are_left_alone(name, screen):
    import torch

    before = {m: (a.obs.copy(), set(a.obsm), dict(a.uns)) for m, a in screen.mod.items()}
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    construct(name, FEW).fit(screen)
    assert (torch.random.get_rng_state() == state).all()
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    for m, (obs, obsm, uns) in before.items():
        assert screen[m].obs.equals(obs)
        assert set(screen[m].obsm) == obsm
        assert dict(screen[m].uns) == uns
    assert "_scvi_uuid" not in screen.uns


@pytest.mark.parametrize(
    "name", ["groove", "groove_paper", "supcon", "clip_pseudo", "davae", "mmd", "ps_mlp"]
)
def test_a_cell_has_one_place_whatever_other_cells_there_are(name, screen):
    import mudata

    fitted = construct(name, FEW).fit(screen)
    some = mudata.MuData({m: a[5:25].copy() for m, a in screen.mod.items()})
    part, whole = fitted.transform(some), fitted.transform(screen)
    for m in whole:
        np.testing.assert_allclose(part[m], whole[m][5:25], atol=1e-5)


@pytest.mark.parametrize(
    "name", ["groove", "supcon", "clip_pseudo", "clip_oracle", "davae", "mmd", "ps_mlp"]
)
def test_three_modalities(name):
    screen = sg.simulations.weakly_paired(
        4, 12, modalities=("rna", "protein", "atac"), n_features=(20, 15, 12), seed=0
    )
    found = construct(name, FEW).fit_transform(screen)
    assert set(found) == {"rna", "protein", "atac"}


def within_label(screen, found):
    partner = screen["protein"].obs_names.get_indexer(screen["rna"].obs_names)
    labels = [screen[m].obs["label"].to_numpy() for m in ("rna", "protein")]
    return sg.metrics.foscttm(
        found["rna"], found["protein"], partner, labels_x=labels[0], labels_y=labels[1]
    )


@pytest.mark.slow
def test_groupclip_links_the_modalities_and_without_it_they_are_at_chance():
    screen = sg.simulations.weakly_paired(10, 30, seed=0)
    options = {"max_epochs": 60}
    linked = within_label(screen, construct("groove", options).fit_transform(screen))
    without = construct("groove", {**options, "groupclip_weight": 0.0})
    apart = within_label(screen, without.fit_transform(screen))
    assert linked < 0.3
    assert apart > 0.4


def test_true_pairs_are_a_ceiling_and_must_be_there():
    screen = sg.simulations.weakly_paired(6, 30, seed=0)
    pseudo, true = (
        within_label(screen, construct(name, {"max_epochs": 60}).fit_transform(screen))
        for name in ("clip_pseudo", "clip_oracle")
    )
    assert true < pseudo
    assert LEARNERS.get("clip_oracle").uses_pairs
    with pytest.raises(ValueError, match=r"needs true pairs, and none is known.*'clip_pseudo'"):
        construct("clip_oracle").fit(sg.simulations.weakly_paired(4, 10, co_assayed=False))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("supcon", {"temperature": 0}, "temperature must be a number above 0"),
        ("supcon", {"device": "gpu"}, "device must be "),
        ("groove", {"device": "tpu"}, "device must be "),
        ("clip_pseudo", {"batch_size": 0}, "batch_size must be "),
    ],
)
def test_options_that_cannot_be(name, options, expected, screen):
    with pytest.raises(ValueError, match=expected):
        construct(name, options).fit(screen)


def test_a_loss_that_diverges_is_refused(screen):
    with pytest.raises(RuntimeError, match=r"The loss became .* Lower the learning rate"):
        construct("supcon", {"lr": 1e30, "max_epochs": 20}).fit(screen)


# ------------------------------------------------------------------------------------------ adversaries, moments, scores


@pytest.fixture(scope="module")
def easy():
    return sg.simulations.weakly_paired(6, 40, n_features=(30, 25), seed=0)


def told_apart(found):
    """Cross-validated accuracy with which a forest tells the modality of a cell: 0.5 is chance."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    z = np.concatenate(list(found.values()))
    modality = np.repeat(np.arange(len(found)), [len(part) for part in found.values()])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(
        RandomForestClassifier(100, random_state=0), z, modality, cv=folds
    ).mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["davae", "vae_adversarial"])
def test_the_adversary_makes_modalities_alike(name, easy):
    options = {"max_epochs": 60}
    with_it, without = (
        told_apart(construct(name, {**options, "adversary_weight": weight}).fit_transform(easy))
        for weight in (1.0, 0.0)
    )
    assert with_it < without - 0.08


def test_without_labels_means_without_labels(easy):
    other = easy.copy()
    for m in other.mod:
        labels = other[m].obs["label"].to_numpy()
        other[m].obs["label"] = np.random.default_rng(0).permutation(labels)
    for name, same in (("vae_adversarial", True), ("davae", False)):
        one, two = (construct(name, FEW).fit_transform(data) for data in (easy, other))
        assert all(np.array_equal(one[m], two[m]) for m in one) is same
    assert not LEARNERS.get("vae_adversarial").uses_labels


def test_flipped_targets_by_hand():
    import torch

    from scgroove.learners._davae import flipped, kl_to_standard_normal

    present = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(flipped(torch.tensor([0, 2]), present), [[0, 1, 0], [0.5, 0.5, 0]])
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, np.log(4.0)]])
    expected = 0.5 * (1 + 0) + 0.5 * (4 - 1 - np.log(4))
    np.testing.assert_allclose(kl_to_standard_normal(mean, log_variance), [expected], rtol=1e-6)


def test_discrepancy_agrees_with_loops_and_is_unbiased():
    import torch

    from scgroove.learners._contrastive import squared_mmd

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 5, 3)) + 0.5
    points = np.concatenate([x, y], axis=1)
    d = ((points[:, :, None] - points[:, None]) ** 2).sum(-1)
    off = ~np.eye(9, dtype=bool)
    scale = np.sort(d[:, off].ravel())[(d[:, off].size - 1) // 2]  # torch takes the lower median
    expected = []
    for g in range(2):
        kernel = np.mean([np.exp(-d[g] / (f * scale)) for f in (0.5, 2.0)], axis=0)
        xx = sum(kernel[i, j] for i in range(4) for j in range(4) if i != j) / 12
        yy = sum(kernel[4 + i, 4 + j] for i in range(5) for j in range(5) if i != j) / 20
        xy = sum(kernel[i, 4 + j] for i in range(4) for j in range(5)) / 20
        expected.append(xx + yy - 2 * xy)
    found = squared_mmd(torch.as_tensor(x), torch.as_tensor(y), (0.5, 2.0))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    same = torch.as_tensor(rng.normal(size=(4000, 12, 2)))
    values = squared_mmd(same[:, :6], same[:, 6:], (1.0,)).numpy()
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values)), (
        "no discrepancy, none on average"
    )


@pytest.mark.slow
def test_moment_matching_lowers_the_discrepancy(easy):
    import torch

    from scgroove.learners._contrastive import squared_mmd

    def discrepancy(found):
        x, y = (torch.as_tensor(found[m], dtype=torch.float64)[None] for m in ("rna", "protein"))
        return float(squared_mmd(x, y, (1.0,)))

    with_it, without = (
        construct("mmd", {"max_epochs": 60, "mmd_weight": weight}).fit_transform(easy)
        for weight in (3.0, 0.0)
    )
    assert discrepancy(with_it) < 0.3 * discrepancy(without)


def test_scores_keep_the_best_epoch_and_hold_out_cells(easy):
    learner = construct("ps_mlp", {"max_epochs": 25, "lr": 0.01, "patience": 100}).fit(easy)
    for m, losses in learner.history_.items():
        x = learner.features_[m](easy[m])
        held_out = learner.held_out_[m]
        t = learner.transform(easy)[m][held_out]
        labels = easy[m].obs["label"].cat.codes.to_numpy()[held_out]
        log_p = t - np.log(np.exp(t).sum(axis=1, keepdims=True))
        loss = -log_p[np.arange(len(t)), labels].mean()
        assert loss == pytest.approx(min(losses), rel=1e-3), "the weights of the best epoch"
        assert held_out.sum() == 6 * 8
        assert x.shape == (240, easy[m].n_vars)
        np.testing.assert_allclose(learner.transform(easy)[m].sum(axis=1), 0, atol=1e-4)


def test_scores_are_the_same_whatever_cells_are_beside(easy):
    import mudata

    learner = construct("ps_mlp", {"max_epochs": 3}).fit(easy)
    one = mudata.MuData({m: a[:1].copy() for m, a in easy.mod.items()})
    np.testing.assert_allclose(
        learner.transform(one)["rna"], learner.transform(easy)["rna"][:1], atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("clip_pseudo", {"n_latent": 0}, "n_latent must be "),
        ("clip_pseudo", {"max_epochs": 1.5}, r"max_epochs must be "),
        ("clip_pseudo", {"hidden": 128}, "hidden must be "),
        ("clip_pseudo", {"hidden": (0,)}, "hidden must be "),
        ("supcon", {"weight_decay": -1}, "weight_decay must be a number of at least 0"),
        ("supcon", {"lr": 0.0}, "lr must be a number above 0"),
        ("mmd", {"dropout": 1.0}, "dropout must be a number of at least 0 and below 1"),
        ("mmd", {"encoder": "linaer"}, "encoder must be "),
        ("davae", {"adversary_hidden": 5}, "adversary_hidden must be "),
        ("davae", {"adversary_weight": -1}, "adversary_weight must be a number of at least 0"),
        ("davae", {"adversary_steps": 0}, "adversary_steps must be "),
        ("mmd", {"mmd_weight": float("nan")}, "mmd_weight must be a number"),
        ("mmd", {"bandwidths": ()}, "bandwidths must hold positive numbers"),
        ("ps_mlp", {"validation_fraction": 0}, "validation_fraction must be "),
    ],
)
def test_options_are_checked_on_construction(name, options, expected):
    with pytest.raises(ValueError, match=expected):
        construct(name, options)

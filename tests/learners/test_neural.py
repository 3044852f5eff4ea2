"""Learners with networks: GROOVE, its ablations, and the other contrastive ones."""

import numpy as np
import pytest

import scgroove as sg
from scgroove.learners import LEARNERS, construct

NEURAL = (
    "groove", "groove_mlp", "groove_no_groupclip", "groove_no_backtranslation", "groove_autoencoder",
    "groove_groupclip_only", "groove_outside", "supcon", "clip_pseudo", "clip_oracle",
)  # fmt: skip
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


@pytest.mark.parametrize("name", ["groove", "supcon", "clip_oracle"])
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


@pytest.mark.parametrize("name", ["groove", "groove_mlp", "supcon", "clip_pseudo"])
def test_a_cell_has_one_place_whatever_other_cells_there_are(name, screen):
    import mudata

    fitted = construct(name, FEW).fit(screen)
    some = mudata.MuData({m: a[5:25].copy() for m, a in screen.mod.items()})
    part, whole = fitted.transform(some), fitted.transform(screen)
    for m in whole:
        np.testing.assert_allclose(part[m], whole[m][5:25], atol=1e-5)


@pytest.mark.parametrize("name", ["groove", "supcon", "clip_pseudo", "clip_oracle"])
def test_three_modalities(name):
    screen = sg.simulations.weakly_paired(
        4, 12, modalities=("rna", "protein", "atac"), n_features=(20, 15, 12), seed=0
    )
    found = construct(name, FEW).fit_transform(screen)
    assert set(found) == {"rna", "protein", "atac"}


def within_label(screen, found):
    partner = screen["protein"].obs_names.get_indexer(screen["rna"].obs_names)
    labels = [screen[m].obs["label"].to_numpy() for m in ("rna", "protein")]
    return sg.metrics.foscttm(found["rna"], found["protein"], partner, labels_x=labels[0], labels_y=labels[1])


def test_groupclip_links_the_modalities_and_without_it_they_are_at_chance():
    screen = sg.simulations.weakly_paired(10, 30, seed=0)
    options = {"max_epochs": 60}
    linked = within_label(screen, construct("groove", options).fit_transform(screen))
    apart = within_label(screen, construct("groove_no_groupclip", options).fit_transform(screen))
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
        ("supcon", {"temperature": 0}, "temperature must be positive"),
        ("supcon", {"device": "gpu"}, "device must be one of 'cpu'"),
        ("groove", {"device": "tpu"}, "device must be one of 'cpu'"),
        ("clip_pseudo", {"batch_size": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_be(name, options, expected, screen):
    with pytest.raises(ValueError, match=expected):
        construct(name, options).fit(screen)


def test_a_loss_that_diverges_is_refused(screen):
    with pytest.raises(RuntimeError, match=r"The loss became .* Lower the learning rate"):
        construct("supcon", {"lr": 1e30, "max_epochs": 20}).fit(screen)

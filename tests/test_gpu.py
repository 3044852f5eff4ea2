"""What runs on an accelerator gives what it gives on a CPU. Skipped where torch, or JAX, finds none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scgroove as sg
from scgroove.aligners import EntropicOT, GromovWasserstein, UnbalancedOT
from scgroove.learners import construct
from scgroove.losses import BackTranslation, GroupCLIP, LabelTower, Reconstruction
from scgroove.metrics import foscttm

pytestmark = pytest.mark.gpu
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.fixture
def jax_device():
    """The accelerator of JAX."""
    import jax

    if jax.default_backend() == "cpu":
        pytest.skip("JAX finds no accelerator")
    return jax.devices()[0]


@pytest.fixture(scope="module")
def screen():
    return sg.simulations.weakly_paired(8, 60, n_features=(60, 40), seed=0)


def quality(screen, latent):
    labels = screen["rna"].obs["label"], screen["protein"].obs["label"]
    order = screen["protein"].obs_names.get_indexer(screen["rna"].obs_names)
    return foscttm(latent["rna"], latent["protein"], order, labels_x=labels[0], labels_y=labels[1])


def trained(screen, accelerator):
    sg.model.GROOVE.setup_mudata(screen, "label")
    model = sg.model.GROOVE(screen, seed=0)
    model.train(40, accelerator=accelerator, train_size=1.0, seed=0, enable_progress_bar=False)
    return model


@cuda
def test_groove_learns_on_a_gpu_what_it_learns_on_a_cpu(screen, tmp_path):
    model = trained(screen, "gpu")
    assert next(model.module.parameters()).device.type == "cuda"
    latent = model.get_latent_representation()
    translated = model.translate("rna", "protein")
    on_cpu = trained(screen.copy(), "cpu")
    for m, z in latent.items():
        assert z.dtype == np.float32
        assert np.isfinite(z).all()
        assert z.shape == on_cpu.get_latent_representation()[m].shape
    here, there = quality(screen, latent), quality(screen, on_cpu.get_latent_representation())
    assert here < 0.4
    assert here == pytest.approx(there, abs=0.04)

    model.save(tmp_path / "model", save_anndata=False)
    loaded = sg.model.GROOVE.load(tmp_path / "model", adata=screen, accelerator="cpu")
    assert next(loaded.module.parameters()).device.type == "cpu"
    for m, z in loaded.get_latent_representation().items():
        np.testing.assert_allclose(z, latent[m], atol=2e-3)  # TF32 of the GPU's products
    np.testing.assert_allclose(loaded.translate("rna", "protein"), translated, rtol=5e-2, atol=5e-3)
    again = sg.model.GROOVE.load(tmp_path / "model", adata=screen, accelerator="gpu")
    for m, z in again.get_latent_representation().items():
        np.testing.assert_allclose(z, latent[m], atol=1e-5)


@cuda
def test_data_on_the_device_give_the_same_batches(screen):
    """Cells kept on the GPU are those that are copied there step by step; "auto" keeps so few there."""
    losses = {}
    for where in (True, False, "auto"):
        sg.model.GROOVE.setup_mudata(screen, "label")
        model = sg.model.GROOVE(screen, seed=0)
        model.train(
            5,
            accelerator="gpu",
            data_on_device=where,
            plan_kwargs={"seed": 0},
            enable_progress_bar=False,
        )
        losses[where] = model.history["train_loss"].to_numpy(dtype=float).ravel()
    np.testing.assert_allclose(losses[True], losses[False], rtol=1e-3)
    np.testing.assert_allclose(losses["auto"], losses[True], rtol=1e-3)


@cuda
@pytest.mark.parametrize("on_device", [True, False])
def test_everything_that_groove_can_do(screen, on_device):
    rng = np.random.default_rng(0)
    for adata in screen.mod.values():
        adata.obs["worked"] = rng.uniform(size=adata.n_obs)
    labels = sorted(screen["rna"].obs["label"].astype(str).unique())
    sg.model.GROOVE.setup_mudata(screen, "label", weight_key="worked")
    model = sg.model.GROOVE(
        screen,
        8,
        terms=[
            Reconstruction(),
            GroupCLIP(agreement={labels[0]: {labels[1]: 0.5}}),
            BackTranslation(),
            LabelTower({label: rng.normal(size=6) for label in labels}),
        ],
    )
    model.train(
        20,
        accelerator="gpu",
        data_on_device=on_device,
        enable_progress_bar=False,
    )
    for name in ("label_tower", "groupclip"):
        assert np.isfinite(model.history[f"{name}_train"].to_numpy(dtype=float).ravel()[-1])
    placed = model.module.terms["label_tower"].predict()
    z = model.get_latent_representation()["rna"]
    nearest = placed.index[(z @ placed.to_numpy().T).argmax(1)]
    assert (nearest == screen["rna"].obs["label"].astype(str)).mean() > 0.4  # chance is 0.125


@cuda
@pytest.mark.parametrize(
    "name",
    ["groove", "groove_paper", "supcon", "clip_pseudo", "clip_oracle", "davae", "mmd", "ps_mlp"],
)
def test_learners(name, screen):
    here, there = (
        construct(name, {"device": device}).fit_transform(screen, seed=0)
        for device in ("cuda", "cpu")
    )
    for m, z in here.items():
        assert isinstance(z, np.ndarray)
        assert np.isfinite(z).all()
        assert z.shape == there[m].shape
    assert quality(screen, here) == pytest.approx(quality(screen, there), abs=0.06)


@cuda
def test_command_line(tmp_path):
    from typer.testing import CliRunner

    from scgroove.cli._app import app

    found = CliRunner().invoke(
        app, ["demo", "--accelerator", "cuda", "--epochs", "2", "--out", str(tmp_path / "out")]
    )
    assert found.exit_code == 0, found.output
    assert "cuda" in (tmp_path / "out" / "report.html").read_text().lower()


@pytest.mark.parametrize(
    "aligner",
    [
        EntropicOT(epsilon=0.05),
        UnbalancedOT(epsilon=0.05),
        GromovWasserstein(epsilon=0.05, tol_outer=1e-6),
    ],
    ids=["eot", "uot", "egw"],
)
@pytest.mark.parametrize("labeled", [True, False])
def test_couplings(aligner, labeled, jax_device):
    from dataclasses import replace

    rng = np.random.default_rng(0)
    sizes = ((30, 25), (41, 38), (60, 60))
    labels = [np.repeat(["a", "b", "c"], [pair[side] for pair in sizes]) for side in (0, 1)]
    x, y = (rng.normal(size=(each.size, 5)) for each in labels)
    both = labels if labeled else [None, None]
    found = {
        backend: replace(aligner, backend=backend).align(x, y, *both)
        for backend in ("jax", "numpy", "auto")
    }
    assert found["auto"].evidence["backend_used"] == "jax"
    dense = {backend: coupling.to_dense() for backend, coupling in found.items()}
    np.testing.assert_allclose(dense["jax"].sum(axis=1), dense["numpy"].sum(axis=1), rtol=1e-3)
    assert np.abs(dense["jax"] - dense["numpy"]).sum() / dense["numpy"].sum() < 5e-3
    np.testing.assert_allclose(dense["auto"], dense["jax"], atol=1e-8)

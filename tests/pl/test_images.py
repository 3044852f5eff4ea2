"""Every figure looks as it did when somebody last looked at it.

The images to compare with lie in ``baseline``. After a change that is meant, draw them anew and look at each of them::

    SCGROOVE_NEW_BASELINES=1 pytest tests/pl/test_images.py
"""

import os
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import pytest
from matplotlib.testing.compare import compare_images

from scgroove import pl, simulations, tl
from scgroove.errors import ResultsWarning

mpl.use("Agg")

BASELINE = Path(__file__).parent / "baseline"
DRAWN_WITH = "3.11"
"""Version of matplotlib behind the baselines: others measure text differently, so that everything moves by some pixels."""
DPI = 60
TOLERANCE = 2.0
"""Root mean square difference of pixels, of 255, that is taken for equal."""
LARGEST = 40_000
"""Bytes of a baseline, so that the repository stays small."""

FIGURES = {}
"""What draws each figure, by name, of what the fixture ``given`` holds."""


def figure(draw):
    FIGURES[draw.__name__] = draw
    return draw


@pytest.fixture(scope="module")
def given(few_results):
    return SimpleNamespace(screen=_screen(), results=few_results)


def _screen():
    """A simulated screen of which all verbs have been called; one label was never measured in the target."""
    mdata = simulations.weakly_paired(
        n_labels=6, n_cells_per_label=20, n_features=(9, 8), n_latent=3, seed=1
    )
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        latent = adata.obsm["latent"] + 0.3 * rng.normal(size=adata.obsm["latent"].shape)
        adata.obsm["X_groove"] = latent.astype(np.float32)
        adata.obsm["X_groove_umap"] = adata.obsm["X_groove"][:, :2]
    mdata["rna"].obs["efficacy"] = np.linspace(0, 1, 120)
    truth = mdata["protein"][mdata["rna"].obs_names].X
    kept = (mdata["protein"].obs["label"] != "g05").to_numpy()
    mdata = mudata.MuData({"rna": mdata["rna"].copy(), "protein": mdata["protein"][kept].copy()})
    imputed = (0.7 * truth + rng.normal(size=truth.shape)).astype(np.float32)
    tl.impute(mdata, "rna", "protein", model=SimpleNamespace(translate=lambda *a, **k: imputed))
    tl.align(mdata, "rna", "protein", labeled=False)
    tl.score_imputation(mdata, "rna", "protein", control="g00")
    tl.perturbation_effects(mdata, "rna", "protein", "g00", n_boot=200)
    return mdata


@figure
def training_history(given):
    curves = {
        f"{name}_{split}": pd.DataFrame(
            {name: height * np.exp(-np.arange(30) / 9) + (split == "validation") * 0.1},
            index=pd.Index(range(30), name="epoch"),
        )
        for name, height in (("groupclip", 3.0), ("reconstruction", 2.0))
        for split in ("train", "validation")
    }
    return pl.training_history(SimpleNamespace(history=curves), return_fig=True)


@figure
def latent(given):
    return pl.latent(given.screen, panels=["label", "efficacy"], return_fig=True)


@figure
def coupling_label_mass(given):
    return pl.coupling_label_mass(given.screen, "rna", "protein", return_fig=True)


@figure
def coupling_top_matches(given):
    return pl.coupling_top_matches(
        given.screen, "rna", "protein", cells=12, n_matches=3, return_fig=True
    )


@figure
def coupling_entropy(given):
    return pl.coupling_entropy(given.screen, "rna", "protein", return_fig=True)


@figure
def epsilon_scan(given):
    eps = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
    table = pd.DataFrame({"epsilon": eps, "partners": 40 * eps**0.6, "marginal_error": 1e-5 / eps})
    table = table.assign(
        transport_cost=eps**0.3,
        objective=eps**0.3 - 2 * eps,
        seconds=0.2 / eps**0.3,
        converged=eps > 0.02,
    )
    return pl.epsilon_scan(table, return_fig=True)


@figure
def imputed_vs_measured(given):
    return pl.imputed_vs_measured(
        given.screen, "rna", "protein", by="labels", features=4, return_fig=True
    )


@figure
def imputation_scores(given):
    return pl.imputation_scores(given.screen, "rna", "protein", return_fig=True)


@figure
def calibration(given):
    return pl.calibration(given.screen, "rna", "protein", return_fig=True)


@figure
def effects(given):
    return pl.effects(given.screen, "rna", "protein", return_fig=True)


@figure
def benchmark_heatmap(given):
    return pl.benchmark_heatmap(
        given.results, "barycentric_foscttm_within_label", data=["rho 1"], return_fig=True
    )


@figure
def benchmark_curves(given):
    return pl.benchmark_curves(given.results, "foscttm_within_label", return_fig=True)


@figure
def benchmark_intervals(given):
    options = {"metric": "foscttm_within_label", "reference": "ps_logistic_scaled"}
    return pl.benchmark_intervals(given.results, **options, return_fig=True)


@figure
def benchmark_critical_difference(given):
    return pl.benchmark_critical_difference(
        given.results, "barycentric_foscttm_within_label", over="aligner", return_fig=True
    )


@figure
def benchmark_cost(given):
    return pl.benchmark_cost(given.results, "foscttm_within_label", return_fig=True)


@figure
def efficacy(given):
    labels = [f"g{i:02d}" for i in range(8)]
    rate = np.array([0.9, 0.3, 0.75, np.nan, 0.5, 0.62, np.nan, 0.2])
    table = pd.DataFrame(
        {
            "label": labels,
            "n_cells": 60,
            "rate": rate,
            "rate_low": rate - 0.1,
            "rate_high": rate + 0.08,
        }
    )
    table = table.assign(undetectable=np.isnan(rate), statistic=2.0, threshold=1.0)
    mdata = mudata.MuData({m: given.screen[m][:2].copy() for m in ("rna", "protein")})
    mdata.uns["efficacy"] = {
        "control": "NT",
        "params": {},
        "labels": dict.fromkeys(mdata.mod, table),
    }
    return pl.efficacy(mdata, return_fig=True)


def test_every_figure_is_compared():
    pages = {"benchmark_report"}  # HTML: its own tests read it
    assert set(FIGURES) == set(pl.__all__) - pages


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_looks_as_it_did(name, given, tmp_path):
    with plt.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        warnings.simplefilter("ignore", ResultsWarning)
        drawn = FIGURES[name](given)
        found = tmp_path / f"{name}.png"
        drawn.savefig(found, dpi=DPI, metadata={"Software": None})
    plt.close("all")
    expected = BASELINE / found.name
    if os.environ.get("SCGROOVE_NEW_BASELINES"):
        BASELINE.mkdir(exist_ok=True)
        shutil.copy(found, expected)
    assert expected.stat().st_size < LARGEST
    if mpl.__version__.rsplit(".", 1)[0] != DRAWN_WITH:
        pytest.skip(
            f"drawn, but not compared: the baselines are of matplotlib {DRAWN_WITH}, this is {mpl.__version__}"
        )
    difference = compare_images(str(expected), str(found), tol=TOLERANCE)
    assert difference is None, (
        f"{difference}\nIf the change is meant: see the top of {Path(__file__).name}."
    )

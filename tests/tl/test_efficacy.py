"""tl.estimate_efficacy: who escaped is found, noise is left alone, and every answer says what it rests on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import ortho_group
from sklearn.metrics import roc_auc_score

import scgroove as sg
from scgroove.metrics.efficacy import label_efficacy

pytestmark = pytest.mark.filterwarnings("ignore:no effect to be seen")

STRONG, MEDIUM, WEAK = 2.0, 1.0, 0.7
"""Effects in standard deviations of the cell state; the signal has noise of half its size on it."""


def simulated(**options: Any) -> tuple[mudata.MuData, list[str]]:
    """A screen of 20 labels with 60 cells each; three inert ones are the control. The names of the other inert labels."""
    mdata = sg.simulations.weakly_paired(20, **{"effect": STRONG, "inert": 0.25, **options})
    inert = [str(name) for name in mdata.uns["simulation"]["inert_labels"]]
    for adata in mdata.mod.values():
        label = adata.obs["label"].astype(object)
        adata.obs["label"] = label.where(~label.isin(inert[:3]), "ctrl")
    return mdata, inert[3:]


def small(n: int = 40, seed: int = 0) -> mudata.MuData:
    """Controls, "works" (all cells but a quarter), "inert", and cells without a label, in two modalities of 3 features."""
    rng = np.random.default_rng(seed)
    parts = {}
    for m in ("rna", "protein"):
        label = np.repeat(["ctrl", "works", "inert", "none"], [3 * n, n, n, 5])
        z = rng.normal(size=(label.size, 3))
        z[3 * n : 3 * n + n * 3 // 4] += [4, -3, 2]
        adata = anndata.AnnData(z.astype(np.float32), obsm={"z": z})
        adata.obs_names = [f"{m}{i}" for i in range(label.size)]
        adata.var_names = [f"{m}_f{j}" for j in range(3)]
        adata.obs["label"] = pd.Categorical(np.where(label == "none", None, label))
        parts[m] = adata
    return mudata.MuData(parts)


def table(mdata: mudata.MuData, modality: str, key: str = "efficacy") -> pd.DataFrame:
    return mdata.uns[key]["labels"][modality].set_index("label")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_the_cells_that_escaped_and_their_share(seed: int) -> None:
    # Measured over seeds 0 to 4, at this effect with 60 cells a label: AUROC .994 and above, mean rate .03 off at most.
    mdata, inert = simulated(escape=0.3, seed=seed)
    sg.tl.estimate_efficacy(mdata, "ctrl")
    for m, adata in mdata.mod.items():
        active = ~adata.obs["label"].isin(["ctrl", *inert])
        truth, found = adata.obs.loc[active, "escaped"], adata.obs.loc[active, "efficacy"]
        assert roc_auc_score(~truth, found) >= 0.95
        rates = table(mdata, m)["rate"].dropna()
        assert len(rates) == 15
        assert rates.mean() == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(
    ("effect", "escape"), [(STRONG, 0.5), (MEDIUM, 0.3), (MEDIUM, 0.5), (WEAK, 0.2), (WEAK, 0.5)]
)
def test_noise_is_left_alone_and_effects_are_not(effect: float, escape: float) -> None:
    flagged: dict[bool, list[bool]] = {True: [], False: []}
    for seed in range(6):
        mdata, inert = simulated(effect=effect, escape=escape, inert=0.5, seed=seed)
        sg.tl.estimate_efficacy(mdata, "ctrl")
        for m, adata in mdata.mod.items():
            rows = table(mdata, m)
            for label, unseen in rows["undetectable"].items():
                flagged[label in inert].append(unseen)
            left_alone = adata.obs["label"].isin(rows.index[rows["undetectable"]])
            assert (adata.obs.loc[left_alone, "efficacy"] == 1).all()
            assert (
                rows.loc[rows["undetectable"], ["rate", "rate_low", "rate_high"]]
                .isna()
                .all(axis=None)
            )
            assert ((rows["statistic"] >= rows["threshold"]) == ~rows["undetectable"]).all()
            assert ((rows["p_value"] <= 0.05) == ~rows["undetectable"]).all()
    assert len(flagged[True]) == 6 * 2 * 7
    assert np.mean(flagged[True]) >= 0.8
    assert np.mean(flagged[False]) <= 0.05


def test_where_nothing_escaped_nearly_all_cells_keep_their_weight() -> None:
    mdata, inert = simulated(seed=3)
    sg.tl.estimate_efficacy(mdata, "ctrl")
    for adata in mdata.mod.values():
        assert adata.obs["efficacy"][~adata.obs["label"].isin(inert)].mean() > 0.98


def test_counts_are_normalized_first() -> None:
    mdata, inert = simulated(escape=0.3, counts=("rna",), seed=1)
    sg.tl.estimate_efficacy(mdata, "ctrl", modalities="rna")
    obs = mdata["rna"].obs[~mdata["rna"].obs["label"].isin(["ctrl", *inert])]
    assert roc_auc_score(~obs["escaped"], obs["efficacy"]) >= 0.95
    assert "efficacy" not in mdata["protein"].obs
    assert list(mdata.uns["efficacy"]["labels"]) == ["rna"]


def test_controls_have_one_and_cells_without_a_label_none() -> None:
    mdata = small()
    sg.tl.estimate_efficacy(mdata, "ctrl", unlabeled_category="inert")
    for m, adata in mdata.mod.items():
        found, label = adata.obs["efficacy"], adata.obs["label"]
        assert found.dtype == np.float64
        assert found.between(0, 1).sum() == 160
        assert (found[label == "ctrl"] == 1).all()
        assert found[label.isna() | (label == "inert")].isna().all()
        assert table(mdata, m).index.tolist() == ["works"]


@pytest.mark.parametrize(
    ("size", "spread"), [(0.6, 1.0), (2.0, 0.1), (3.0, 4.0)], ids=["weak", "narrow", "wide"]
)
def test_is_the_mixture_that_it_says(size: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(700, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0, 0, 2]])
    z[600:660] = [size, -size, size] + spread * z[600:660]
    found = label_efficacy(z, ["ctrl"] * 600 + ["g"] * 100, "ctrl", prior=(4, 2))
    statistic, p = by_the_equations(z[:600], z[600:], 4, 2)
    assert found.table["statistic"].tolist() == pytest.approx([statistic])
    np.testing.assert_allclose(found.probability[600:], p, atol=1e-9)
    counts = stats.beta(4 + p.sum(), 2 + (1 - p).sum())
    assert found.table["rate"].tolist() == pytest.approx([counts.mean()])
    assert found.table[["rate_low", "rate_high"]].iloc[0].tolist() == pytest.approx(
        counts.interval(0.95)
    )
    assert found.table["n_cells"].tolist() == [100]


def test_the_threshold_is_that_of_many_controls_where_there_are() -> None:
    """With the covariance known, n times the squared distance is chi-squared of d degrees."""
    z = np.random.default_rng(0).normal(size=(40_100, 3))
    found = label_efficacy(z, ["ctrl"] * 40_000 + ["g"] * 100, "ctrl", alpha=0.02)
    assert found.table["threshold"][0] == pytest.approx(stats.chi2(3).ppf(0.98) / 100, rel=0.01)
    assert found.table["p_value"][0] == pytest.approx(
        stats.chi2(3).sf(100 * found.table["statistic"][0]), rel=0.02
    )


@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 15), (200, 60, 15), (60, 500, 15), (20, 30, 2)])
def test_of_labels_without_effect_the_share_alpha_seems_to_have_one(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(40):  # other controls each time: labels against the same ones err together
        x = rng.normal(size=(m + 10 * n, d))
        labels = np.repeat(["ctrl", *(f"g{i}" for i in range(10))], [m] + [n] * 10)
        seen.append(1 - label_efficacy(x, labels, "ctrl", alpha=0.1).table["undetectable"].mean())
    assert np.mean(seen) == pytest.approx(0.1, abs=3 * np.std(seen) / 40**0.5)
    assert np.mean(seen) > 0.05


def by_the_equations(controls: Any, cells: Any, a: float, b: float) -> tuple[float, Any]:
    """Squared distance of the mean and probabilities of cells, without whitening, written as in the docstring."""
    m_0, s = controls.mean(axis=0), np.cov(controls.T)
    inverse = np.linalg.inv(s + 1e-3 * np.trace(s) / len(s) * np.eye(len(s)))
    gap = cells.mean(axis=0) - m_0
    statistic = gap @ inverse @ gap
    p = ((cells - m_0) @ inverse @ gap / statistic > 0.5).astype(float)
    for _ in range(15):
        gap = p @ cells / p.sum() - m_0
        d = inverse @ gap
        t, s_0 = (cells - m_0) @ d / (d @ gap), (d @ gap) ** -0.5
        s_1 = np.clip(np.sqrt(p @ (t - 1) ** 2 / p.sum()), 0.5 * s_0, 1.5 * s_0)
        share = np.clip((a + p.sum()) / (a + b + len(p)), 0.05, 0.98)
        if s_1 != s_0:
            turn = 1 / (1 - (s_1 / s_0) ** 2)
            t = np.minimum(t, turn) if s_1 < s_0 else np.maximum(t, turn)
        with_effect, without = (
            share * stats.norm.pdf(t, 1, s_1),
            (1 - share) * stats.norm.pdf(t, 0, s_0),
        )
        p = with_effect / (with_effect + without)
    return statistic, p


@pytest.mark.parametrize(
    ("spread", "far"), [(0.5, [7.0, 12.0]), (1.5, [-5.0, -8.0])], ids=["narrow", "wide"]
)
def test_the_stronger_an_effect_the_surer(spread: float, far: list[float]) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 2))
    z[500:] = [3, 0] + spread * z[500:]
    z = np.vstack([z, np.column_stack([far, np.zeros(2)])])
    found = label_efficacy(z, ["ctrl"] * 500 + ["g"] * 502, "ctrl").probability[500:]
    along = np.argsort(z[500:, 0])
    middle = (
        np.abs(z[500:, 1])[along] < 0.3
    )  # along the effect, which the other direction does not touch much
    assert (np.diff(found[along][middle]) > -0.05).all()
    np.testing.assert_allclose(found[-2:], found.max() if far[0] > 0 else found.min(), atol=1e-6)


def test_again_gives_the_same_bytes() -> None:
    tables = []
    for _ in range(2):
        mdata = small()
        sg.tl.estimate_efficacy(mdata, "ctrl")
        tables.append(table(mdata, "rna"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_does_not_depend_on_a_rotation() -> None:
    mdata, _ = simulated(escape=0.3, seed=2)
    for m, d in (("rna", 20), ("protein", 8)):
        x = mdata[m].X[:, :d].astype(np.float64)
        mdata[m].obsm["z"], mdata[m].obsm["turned"] = x, x @ ortho_group.rvs(d, random_state=0) + 3
    sg.tl.estimate_efficacy(mdata, "ctrl", use_rep="z")
    sg.tl.estimate_efficacy(
        mdata, "ctrl", use_rep={"rna": "turned", "protein": "turned"}, key_added="again"
    )
    for m, adata in mdata.mod.items():
        assert 0.1 < (adata.obs["efficacy"] < 0.5).mean() < 0.5
        np.testing.assert_allclose(adata.obs["again"], adata.obs["efficacy"], atol=1e-6)
        pd.testing.assert_frame_equal(table(mdata, m, "again"), table(mdata, m), rtol=1e-6)


def test_a_label_does_not_depend_on_the_others() -> None:
    mdata = small()
    sg.tl.estimate_efficacy(mdata, "ctrl", use_rep="z")
    kept = {m: adata[adata.obs["label"] != "inert"].copy() for m, adata in mdata.mod.items()}
    alone = mudata.MuData(kept)
    sg.tl.estimate_efficacy(alone, "ctrl", use_rep="z")
    for m in mdata.mod:
        pd.testing.assert_frame_equal(table(alone, m), table(mdata, m).loc[["works"]])
        own = alone[m].obs["efficacy"]
        np.testing.assert_array_equal(own, mdata[m].obs["efficacy"].loc[own.index])


def test_principal_components_are_the_default() -> None:
    mdata = small()
    sg.tl.estimate_efficacy(mdata, "ctrl", n_components=2)
    components = sg.learners.PrincipalComponents(2).fit(mdata, seed=0).transform(mdata)
    for m, adata in mdata.mod.items():
        adata.obsm["pca"] = components[m]
    sg.tl.estimate_efficacy(mdata, "ctrl", use_rep="pca", key_added="of_pca")
    for m, adata in mdata.mod.items():
        np.testing.assert_allclose(adata.obs["of_pca"], adata.obs["efficacy"], atol=1e-4)
        np.testing.assert_allclose(
            table(mdata, m)["statistic"], table(mdata, m, "of_pca")["statistic"], rtol=1e-4
        )


def test_of_nine_cells_nothing_is_estimated() -> None:
    mdata = small()
    for adata in mdata.mod.values():
        few = np.flatnonzero(adata.obs["label"] == "works")[9:]
        adata.obs.iloc[few, adata.obs.columns.get_loc("label")] = None
    sg.tl.estimate_efficacy(mdata, "ctrl")
    row = table(mdata, "rna").loc["works"]
    assert row["undetectable"]
    assert row["n_cells"] == 9
    assert row["statistic"] > row["threshold"]
    assert (mdata["rna"].obs.query("label == 'works'")["efficacy"] == 1).all()


def test_survives_h5mu_and_an_earlier_result_is_overwritten(tmp_path: Path) -> None:
    mdata = small()
    sg.tl.estimate_efficacy(mdata, "ctrl", use_rep="z", seed=1)
    sg.tl.estimate_efficacy(mdata, "ctrl")
    mdata.write(tmp_path / "screen.h5mu")
    back = mudata.read_h5mu(tmp_path / "screen.h5mu")
    for m in mdata.mod:
        pd.testing.assert_frame_equal(
            table(back, m), table(mdata, m), check_index_type=False, check_dtype=False
        )
        np.testing.assert_array_equal(back[m].obs["efficacy"], mdata[m].obs["efficacy"])
    found = back.uns["efficacy"]
    assert found["control"] == "ctrl"
    params = {name: np.asarray(value).tolist() for name, value in found["params"].items()}
    labels = {"rna": "label", "protein": "label"}
    assert params.pop("label_key") == labels
    assert params == {"prior": [8, 2], "alpha": 0.05, "seed": 0, "n_components": 15}


def test_labels_may_be_numbers() -> None:
    mdata = small()
    for adata in mdata.mod.values():
        adata.obs["dose"] = (
            adata.obs["label"].map({"ctrl": 0.0, "works": 1.0, "inert": 2.5}).astype(float)
        )
    sg.tl.estimate_efficacy(mdata, 0, "dose")  # type: ignore[arg-type]
    assert table(mdata, "rna").index.tolist() == ["1", "2.5"]
    assert table(mdata, "rna")["undetectable"].tolist() == [False, True]


def _outliers(mdata: mudata.MuData) -> None:
    """A label of controls but for two cells very far away."""
    for adata in mdata.mod.values():
        adata.obs["label"] = (
            adata.obs["label"].astype(object).where(adata.obs["label"] != "inert", "few")
        )
        cells = np.flatnonzero(adata.obs["label"] == "few")
        adata.X[cells[:2]] += 300


def test_warns_of_labels_whose_cells_all_escaped() -> None:
    mdata = small(n=80)
    _outliers(mdata)
    with pytest.warns(
        UserWarning,
        match=r"nearly all cells seem to have escaped of these labels: in 'rna' 'few'; in 'protein' 'few'\.",
    ):
        sg.tl.estimate_efficacy(mdata, "ctrl")
    assert mdata["rna"].obs.query("label == 'few'")["efficacy"].mean() == pytest.approx(
        2 / 80, abs=1e-3
    )


def test_says_in_one_line_how_many_labels_have_no_effect() -> None:
    message = r"^no effect to be seen of 1 of 2 labels in 'rna', 1 of 2 labels in 'protein': the efficacy .* left at 1\.$"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sg.tl.estimate_efficacy(small(), "ctrl")
    ours = [str(one.message) for one in caught if "effect" in str(one.message)]
    assert len(ours) == 1
    assert pd.Series(ours).str.match(message).all()
    assert [one.filename for one in caught if "effect" in str(one.message)] == [__file__]


def test_warns_of_few_controls() -> None:
    mdata = small(8)
    adata = mdata["rna"]
    adata.obsm["z"] = np.tile(adata.obsm["z"], 2)
    spare = np.flatnonzero(adata.obs["label"] == "ctrl")[22:]
    adata.obs.iloc[spare, adata.obs.columns.get_loc("label")] = None
    with pytest.warns(
        UserWarning,
        match=r"'rna' has 22 control cells \('ctrl'\) for 6 dimensions: only strong effects",
    ):
        sg.tl.estimate_efficacy(mdata, "ctrl", use_rep="z")


def test_a_warning_made_an_error_leaves_everything_as_it_was(
    state: Callable[..., dict[str, Any]],
) -> None:
    mdata = small()
    before = state(mdata)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no effect to be seen")
        with pytest.raises(UserWarning, match="no effect to be seen"):
            sg.tl.estimate_efficacy(mdata, "ctrl")
    np.testing.assert_equal(state(mdata), before)


def _nan(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["z"][3, 1] = np.nan


def _few(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["label"] = ["ctrl"] * 19 + ["works"] * 186


def _only(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["label"] = "ctrl"


def _alike(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["z"][:120] = 1.0


def _wide(mdata: mudata.MuData) -> None:
    mdata["protein"].obsm["z"] = np.random.default_rng(0).normal(size=(205, 150))


def _other_control(mdata: mudata.MuData) -> None:
    mdata["protein"].obs["label"] = (
        mdata["protein"].obs["label"].cat.rename_categories({"ctrl": "control"})
    )


@pytest.mark.parametrize(
    ("spoil", "options", "kind", "message"),
    [
        (None, {"control": "ctl"}, KeyError, r"control='ctl': no cell of 'rna' has this label in obs\['label'\], which has 'ctrl', 'inert', 'works'\. Did you mean 'ctrl'\? Every modality needs"),
        (_other_control, {}, ValueError, r"control='ctrl': no cell of 'protein' has this label .* Did you mean 'control'\?"),
        (_few, {}, ValueError, r"'protein' has only 19 cell\(s\) of the control 'ctrl'; their mean and covariance, .* need 20 or more"),
        (_only, {}, ValueError, r"all 205 labeled cells of 'protein' are controls .* Is label_key= the column of perturbations\?"),
        (_nan, {"use_rep": "z"}, ValueError, r"'z' of 'protein' holds NaN or infinite values in 1 of 205 cells, first in 'protein3'"),
        (_alike, {"use_rep": "z"}, ValueError, r"all 120 control cells \('ctrl'\) of 'protein' lie at one point"),
        (None, {"use_rep": "X_pca"}, KeyError, r"use_rep='X_pca': no such key in mdata\.mod\['rna'\]\.obsm, which has \['z'\].* Leave use_rep out"),
        (None, {"use_rep": {"rna": "z"}}, ValueError, r"use_rep names \['rna'\], but not 'protein'"),
        (None, {"label_key": "lable"}, KeyError, r"Label column 'lable' not found .* Did you mean 'label'"),
        (None, {"modalities": ["rna", "protien"]}, KeyError, r"modalities='protien': mdata has no such modality, .* Did you mean 'protein'"),
        (None, {"unlabeled_category": "ctrl"}, ValueError, r"control='ctrl' is among unlabeled_category='ctrl'"),
        (None, {"key_added": "label"}, ValueError, r"key_added='label' is the column of the labels, which would be lost"),
        (None, {"key_added": ""}, ValueError, r"key_added=''"),
        (None, {"n_components": 0}, ValueError, r"n_components must be "),
        (None, {"alpha": 0}, ValueError, r"alpha must be a number above 0 and below 1; found 0"),
        (_wide, {"use_rep": "z"}, ValueError, r"'protein' has 120 cells of the control 'ctrl' and 150 dimensions.* n_components=30"),
        (None, {"seed": -1}, ValueError, r"seed must be "),
        (None, {"prior": (8, 0)}, ValueError, r"prior must be "),
        (None, {"prior": 8}, ValueError, r"prior must be "),
    ],
)  # fmt: skip
def test_refuses_and_leaves_everything_as_it_was(
    state: Callable[[mudata.MuData], dict[str, Any]],
    spoil: Callable[[mudata.MuData], None] | None,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    mdata = small()
    if spoil is not None:
        spoil(mdata)
    before = state(mdata)
    with pytest.raises(kind, match=message):
        sg.tl.estimate_efficacy(mdata, **{"control": "ctrl", **options})
    np.testing.assert_equal(state(mdata), before)


def test_refuses_what_is_no_mudata() -> None:
    with pytest.raises(TypeError, match="expected a MuData, found AnnData"):
        sg.tl.estimate_efficacy(small()["rna"], "ctrl")


def test_arrays_need_controls_that_differ() -> None:
    with pytest.raises(ValueError, match="control='ctrl': no cell has this label"):
        label_efficacy(np.zeros((3, 2)), ["a", "a", "b"], "ctrl")


def test_large_labels_of_nothing_do_not_seem_to_differ_from_few_controls() -> None:
    """200 cells a label of pure noise beside 60 controls: the error of the controls' own mean counts too."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60 + 20 * 200, 15))
    labels = np.repeat(["ctrl", *(f"g{i}" for i in range(20))], [60] + [200] * 20)
    assert label_efficacy(x, labels, "ctrl").table["undetectable"].mean() >= 0.8


def test_no_control_is_said_and_leaves_all_at_one(tmp_path) -> None:
    mdata = small()
    mdata["rna"].obs["label"] = (
        mdata["rna"].obs["label"].astype(object).where(np.arange(mdata["rna"].n_obs) > 0, None)
    )
    with pytest.warns(
        UserWarning, match="no control label: the efficacy of all labeled cells is left at 1"
    ):
        sg.tl.estimate_efficacy(mdata, None)
    for adata in mdata.mod.values():
        labeled = adata.obs["label"].notna().to_numpy()
        np.testing.assert_array_equal(adata.obs["efficacy"], np.where(labeled, 1.0, np.nan))
    assert mdata["rna"].obs["label"].isna().iloc[0]

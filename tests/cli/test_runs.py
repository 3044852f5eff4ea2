"""From a file to a report, with few epochs on small screens."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scgroove
from scgroove import cli, simulations

WITHOUT_TRUTH = {
    "aligned.h5mu",
    "figures",
    "imputation.csv",
    "labels.csv",
    "model",
    "null.csv",
    "report.html",
    "run.json",
    "tests.csv",
}
FIGURES = {"confusion.png", "coupling.png", "imputation.png", "latent.png", "training.png"}


def call(*arguments):
    result = CliRunner().invoke(
        cli.app, [str(argument) for argument in arguments], env={"NO_COLOR": "1"}
    )
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def text_of(folder):
    """The report as a reader sees it, in one line."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(page))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    said = call(
        "demo", "--out", folder, "--epochs", "6", "--labels", "8", "--cells", "30", "--seed", "3"
    )
    return folder, said


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Different cells, labels of different names, counts in a layer, a batch, and a label that means none."""
    mdata = simulations.weakly_paired(
        6,
        30,
        counts=("rna",),
        n_features=(20, 4),
        co_assayed=False,
        exclusive_labels={"rna": 2},
        seed=1,
    )
    rna, protein = mdata["rna"], mdata["protein"]
    rna.layers["counts"] = rna.X.copy()
    rna.X = np.log1p(rna.X.toarray())
    rna.obs["batch"] = np.resize(["day 1", "day 2"], rna.n_obs)
    rna.obs["gene"] = rna.obs["label"].astype(str).where(np.arange(rna.n_obs) % 10 != 0, "unknown")
    protein.obs = protein.obs.rename(columns={"label": "target"})
    rna.obs["gene"] = rna.obs["gene"].replace("g00", "<i>g00</i>")
    protein.obs["target"] = protein.obs["target"].astype(str).replace("g00", "<i>g00</i>")
    del rna.obs["label"], rna.obs["true_label"], protein.obs["true_label"]
    path = tmp_path_factory.mktemp("screen") / "screen.h5mu"
    mdata.write_h5mu(path)
    return path


@pytest.fixture(scope="module")
def run(screen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    said = call(
        "run", screen, "--source", "rna", "--target", "protein", "--label", "rna=gene", "--label",
        "protein=target", "--layer", "rna=counts", "--unlabeled-category", "unknown", "--batch-key", "batch",
        "--epochs", "3", "--n-latent", "5", "--null", "2", "--out", folder,
    )  # fmt: skip
    return folder, said


# -- what is there -----------------------------------------------------------------------------------------------


def test_everything_is_there_and_nothing_else(demo, run):
    assert {path.name for path in demo[0].iterdir()} == WITHOUT_TRUTH | {"scores.csv"}
    assert {path.name for path in run[0].iterdir()} == WITHOUT_TRUTH
    for folder in (demo[0], run[0]):
        assert {path.name for path in (folder / "figures").iterdir()} == FIGURES
        assert [path.name for path in folder.parent.iterdir()] == [folder.name], (
            "nothing unfinished is left"
        )
        files = json.loads((folder / "run.json").read_text())["files"]
        assert set(files) == {path.name for path in folder.iterdir()}


def test_figures_are_pictures(demo):
    import matplotlib.pyplot as plt

    for path in (demo[0] / "figures").iterdir():
        image = plt.imread(path)
        assert min(image.shape[:2]) > 200, path.name
        assert image[..., :3].std() > 0.03, path.name


def test_the_data_hold_everything(demo):
    mdata = mudata.read_h5mu(demo[0] / "aligned.h5mu")
    rna, protein = mdata["rna"], mdata["protein"]
    assert rna.obsm["X_groove"].shape == (rna.n_obs, 16)
    assert protein.obsm["X_groove_umap"].shape == (protein.n_obs, 2)
    assert rna.obsm["imputed_protein"].shape == (rna.n_obs, protein.n_vars)
    assert mdata.obsp["coupling_rna_protein"].nnz > 0
    assert mdata.uns["coupling_rna_protein"]["method"] == "eot"
    coupling = scgroove.get.coupling(mdata, "rna", "protein")
    assert coupling.mass == pytest.approx(1.0, abs=1e-4)


def test_the_model_can_be_used_again(demo):
    from scgroove.model import GROOVE

    mdata = mudata.read_h5mu(demo[0] / "aligned.h5mu")
    model = GROOVE.load(str(demo[0] / "model"), mdata)
    again = model.get_latent_representation(modality="rna")
    np.testing.assert_allclose(again, mdata["rna"].obsm["X_groove"], atol=1e-6)


def test_tables(demo, run):
    labels = pd.read_csv(demo[0] / "labels.csv", index_col=0)
    assert list(labels.columns) == ["rna", "protein", "status"]
    assert (labels["status"] == "exclusive").sum() == 3
    scores = pd.read_csv(demo[0] / "scores.csv")
    assert {"metric", "value", "chance", "n"} <= set(scores.columns)
    assert scores["metric"].str.contains("foscttm").any()
    among_all = scores["metric"].str.endswith("_global")
    assert scores["p_value"].notna().tolist() == (~among_all).tolist()
    tests = pd.read_csv(demo[0] / "tests.csv")
    assert list(tests["learner"]) == ["groove", "groove", "cca_labels", "cca_labels"]
    assert (tests["low"] <= tests["accuracy"]).all()
    imputation = pd.read_csv(run[0] / "imputation.csv", index_col="feature")
    assert list(imputation.index) == [f"protein_{j}" for j in range(4)]
    assert (imputation["n"] == 4).all()


def test_every_score_stands_beside_permuted_labels(demo, run):
    closed_form = pd.read_csv(demo[0] / "null.csv")
    assert set(closed_form["learner"]) == {"cca_labels"}
    assert (closed_form["n_null"] == 20).all()
    table = pd.read_csv(run[0] / "null.csv")
    groove = table[table["learner"] == "groove"].set_index("score")
    assert (groove["n_null"] == 2).all()
    assert {"label accuracy rna → protein, all cells", "r of label means, all cells"} <= set(
        groove.index
    )
    assert groove["null_mean"].notna().all()
    assert "null_r" in pd.read_csv(run[0] / "imputation.csv")
    said = text_of(run[0])
    assert "GROOVE was trained and everything after it was done again 2 times" in said
    assert "r on permuted labels" in said


# -- what is said ------------------------------------------------------------------------------------------------


def test_the_end_says_what_came_out_and_where(demo):
    folder, said = demo
    assert f"Report: {folder / 'report.html'}" in said
    assert "have the label of their nearest cells of the other modality" in said
    assert re.search(r"95% interval \d+% to \d+%", said)
    assert re.search(r"p [<=] 0\.\d{3} in the weaker direction", said)
    assert "epoch 6 of 6" in said


def test_the_report_stands_alone(demo):
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5
    assert "<script" not in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//(?!arxiv\.org)""", page)
    assert not re.search(r"@import|url\(", page)
    assert page.startswith("<!DOCTYPE html>")


def test_the_report_tells_the_run_in_numbers(demo):
    said = text_of(demo[0])
    assert "Matching rna to protein" in said
    assert "210 rna cells and 180 protein cells were given" in said
    assert "trained for 6 epochs" in said
    assert "5 labels were found in two modalities or more" in said
    assert "all values are whole numbers" in said
    assert "there are negative values" in said


def test_the_report_names_shared_exclusive_and_unlabeled(demo, run):
    said = text_of(demo[0])
    assert "5 labels are shared: g0" in said
    assert re.search(r"2 labels are only in rna: g\d\d, g\d\d\.", said)
    assert re.search(r"1 label is only in protein: g\d\d\.", said)
    assert "Without a label: 10 rna cells and 9 protein cells." in said
    said = text_of(run[0])
    assert "4 labels are shared" in said
    assert "2 labels are only in rna" in said
    assert "Without a label: 18 rna cells." in said


def test_the_report_shows_the_evidence(demo):
    said = text_of(demo[0])
    assert re.search(r"converged yes", said)
    assert re.search(r"error of the target marginal \(L1, of a mass of 1\) \d", said)
    assert "epsilon, relative to the mean cost 0.050" in said
    assert re.search(r"epsilon, absolute [\d.]+", said)
    assert "kept out of training" in said
    assert "20.0%" in said, "chance of five labels"
    assert "By construction: mass may not cross labels, so the diagonal is 1" in said
    assert re.search(r"were the link missing, every share would be 20%", said)


def test_the_report_compares_with_the_truth_where_there_is_one(demo, run):
    said = text_of(demo[0])
    assert "Against the truth" in said
    assert "FOSCTTM of the shared space, within label" in said
    assert re.search(r"For 150 rna cells the true protein values are known", said)
    assert "r of the label mean" in said
    assert "by construction: within labels" in said
    said = text_of(run[0])
    assert "Against the truth" not in said
    assert "The true protein values of the rna cells are not known" in said
    assert "the median correlation across 4 labels is" in said


def test_the_report_can_be_made_again(demo, run):
    said = text_of(demo[0])
    assert "random seed 3" in said
    assert re.search(r"peak memory \d+\.\d GB", said)
    assert re.search(r"run time .*train \d+ s", said)
    assert re.search(r"scvi-tools \d", said)
    assert f"scgroove {scgroove.__version__}" in said
    assert 'GROOVE.load("model", mdata)' in said
    assert "counts" in text_of(run[0]), "the layer that was used"


def test_warnings_are_told_once(screen, tmp_path):
    parts = dict(mudata.read_h5mu(screen).mod)
    for modality in parts.values():
        modality.obs_names = [str(i) for i in range(modality.n_obs)]
    mudata.MuData(parts).write_h5mu(tmp_path / "numbered.h5mu")
    call(
        "run", tmp_path / "numbered.h5mu", "--source", "rna", "--target", "protein", "--label", "rna=gene",
        "--label", "protein=target", "--epochs", "1", "--out", tmp_path / "out",
    )  # fmt: skip
    said = text_of(tmp_path / "out")
    assert "1 warning was raised on the way" in said
    assert said.count("look like a default numbering") == 1


def test_names_are_shown_as_they_are(run):
    page = (run[0] / "report.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;g00&lt;/i&gt;" in page
    assert "<i>g00" not in page


def test_whether_names_mean_the_same_cell_is_an_option(tmp_path):
    mdata = simulations.weakly_paired(4, 8, seed=2)
    parts = {m: mdata[m].copy() for m in mdata.mod}
    for part in parts.values():  # wells, which are not believed by themselves
        del part.obs["pair_id"]
        part.obs_names = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 9)]
    mudata.MuData(parts).write_h5mu(tmp_path / "wells.h5mu")
    asked = [
        "run",
        tmp_path / "wells.h5mu",
        "--source",
        "rna",
        "--target",
        "protein",
        "--epochs",
        1,
    ]
    call(*asked, "--out", tmp_path / "out", "--paired")
    assert pd.read_csv(tmp_path / "out" / "scores.csv")["n"].max() == 32
    assert "look like wells" not in text_of(tmp_path / "out")


# -- options -----------------------------------------------------------------------------------------------------


def test_options_reach_the_steps(run):
    mdata = mudata.read_h5mu(run[0] / "aligned.h5mu")
    assert mdata["rna"].obsm["X_groove"].shape[1] == 5
    labels = pd.read_csv(run[0] / "labels.csv", index_col=0)
    assert "unknown" not in labels.index
    assert "unknown" not in list(mdata.uns["coupling_rna_protein"]["labels"])


@pytest.mark.slow
def test_a_coupling_without_labels_and_the_other_methods(screen, tmp_path):
    call(
        "run", screen, "--source", "protein", "--target", "rna", "--label", "rna=gene", "--label", "protein=target",
        "--unlabeled-coupling", "--method", "emd", "--impute", "barycentric", "--epochs", "1",
        "--likelihood", "rna=normal", "--encoder", "mlp", "--out", tmp_path / "out",
    )  # fmt: skip
    said = text_of(tmp_path / "out")
    assert "by exact optimal transport, over all cells, whatever their label" in said
    assert "is the weighted mean of the rna cells that the protein cell is matched to" in said
    assert "It was made without looking at labels, so that they can judge it" in said
    assert "chosen by the user" in said
    mdata = mudata.read_h5mu(tmp_path / "out" / "aligned.h5mu")
    assert not mdata.uns["coupling_protein_rna"]["labeled"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(screen, tmp_path):
    latents = []
    for name in ("a", "b"):
        call(
            "run", screen, "--source", "rna", "--target", "protein", "--label", "rna=gene", "--label",
            "protein=target", "--epochs", "1", "--seed", "7", "--out", tmp_path / name,
        )  # fmt: skip
        latents.append(mudata.read_h5mu(tmp_path / name / "aligned.h5mu")["rna"].obsm)
    for key in ("X_groove", "X_groove_umap", "imputed_protein"):
        np.testing.assert_array_equal(latents[0][key], latents[1][key])


@pytest.mark.slow
def test_overwriting_and_the_default_folder(screen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [
        "--source",
        "protein",
        "--target",
        "rna",
        "--label",
        "rna=gene",
        "--label",
        "protein=target",
    ]
    options += ["--layer", "rna=counts"]
    call("run", screen, *options, "--epochs", "1")
    assert re.search(
        r"Counts are compared at a total of [\d,]+ in every cell",
        text_of(tmp_path / "screen-scgroove"),
    )
    before = (tmp_path / "screen-scgroove" / "report.html").stat().st_mtime_ns
    call("run", screen, *options, "--epochs", "1", "--overwrite")
    assert (tmp_path / "screen-scgroove" / "report.html").stat().st_mtime_ns > before
    assert {path.name for path in (tmp_path / "screen-scgroove").iterdir()} == WITHOUT_TRUTH


@pytest.mark.slow
def test_a_late_error_keeps_what_is_done_and_the_run_goes_on(screen, tmp_path, monkeypatch):
    from scgroove import _null, _workflow, tl
    from scgroove.model import GROOVE

    options = [
        "--source",
        "rna",
        "--target",
        "protein",
        "--label",
        "rna=gene",
        "--label",
        "protein=target",
    ]
    command = [
        "run",
        str(screen),
        *options,
        "--epochs",
        "1",
        "--null",
        "3",
        "--out",
        str(tmp_path / "out"),
    ]
    repetitions = []

    def third_is_broken(results, *_):
        repetitions.append(len(results.permuted))
        if repetitions == [0, 1, 2]:
            raise RuntimeError("no")
        return {"numbers": _null.numbers(results), "features": results.agreement["r"].to_dict()}

    def broken(*_, **__):
        raise RuntimeError("no")

    def again(*more):
        return CliRunner().invoke(
            cli.app, [*command, *more], env={"NO_COLOR": "1", "COLUMNS": "500"}
        )

    with monkeypatch.context() as patch:
        patch.setattr(tl, "impute", broken)
        stopped = again()
    kept = tmp_path / ".out.unfinished" / "results"
    assert stopped.exit_code == 1
    assert (
        f"What was done is kept in {kept.parent} (up to 'align'; the model is in {kept / 'model'})"
        in (stopped.output)
    )
    with monkeypatch.context() as patch:
        patch.setattr(_workflow, "_draw", broken)
        for name in ("embed", "umap", "align"):
            patch.setattr(tl, name, broken)
        patch.setattr(GROOVE, "train", broken)
        patch.setattr(_null, "draw", third_is_broken)
        assert "Going on with the run that was stopped after 'align'" in again("--resume").output
        assert "stopped after 'permuted labels'" in again("--resume").output
        assert repetitions == [0, 1, 2, 2]
    mdata = mudata.read_h5mu(kept / "aligned.h5mu")
    latent = GROOVE.load(str(kept / "model"), mdata).get_latent_representation(modality="rna")
    np.testing.assert_allclose(latent, mdata["rna"].obsm["X_groove"], atol=1e-6)
    other = CliRunner().invoke(
        cli.app, [*command, "--seed", "5", "--resume"], env={"COLUMNS": "500"}
    )
    assert other.exit_code == 2
    assert "It differs in seed (0, now 5)" in other.output
    done = again("--resume")
    assert done.exit_code == 0, done.output
    assert "Training ..." not in done.output
    assert len(repetitions) == 4
    table = pd.read_csv(tmp_path / "out" / "null.csv").set_index("learner")
    assert (table.loc["groove", "n_null"] == 3).all()
    assert {path.name for path in (tmp_path / "out").iterdir()} == WITHOUT_TRUTH
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "trained for 1 epochs" in text_of(tmp_path / "out").replace("1 epoch ", "1 epochs ")


def test_the_program_itself(tmp_path):
    """In a process of its own, from the entry point, without a terminal."""
    code = "from scgroove.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", "--epochs", "1", "--labels", "6", "--cells", "12", "--out", "demo"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Report: demo/report.html" in done.stdout.replace("\\", "/")
    assert "Training ..." in done.stderr
    assert "Warning" not in done.stderr
    assert Path(tmp_path / "demo" / "aligned.h5mu").exists()

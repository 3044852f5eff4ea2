import json
import os
import runpy
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove import benchmark
from scgroove.benchmark import read, run
from scgroove.benchmark._runner import plan
from scgroove.benchmark._table import families
from scgroove.benchmark.results import COLUMNS, Cell, Store
from scgroove.benchmark.spec import Spec
from scgroove.errors import CannotWriteError, ResultsError, ResultsWarning, SpecError
from scgroove.learners import LEARNERS
from scgroove.metrics import METRICS

PEER_METRICS = Path(__file__).parents[2] / "benchmarks" / "peer_metrics.py"
SMALL = {
    "scenario": "reference",
    "name": "small",
    "parameters": {"n_labels": 4, "n_cells_per_label": 8, "n_features": [12, 9]},
}


FITS = 4
"""Fits for each seed: on all cells, and without the cells of each of three folds."""


def quiet(spec, out, **options):
    return run(spec, out, progress=False, **options)


def test_every_cell_is_scored_and_written(small, tmp_path, fits):
    results = quiet(small, tmp_path / "out")
    assert list(results.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert set(results["status"]) == {"done", "by construction"}
    cells = results.groupby(["aligner", "seed"]).size()
    assert set(cells.index) == {(a, s) for a in ("", "eot", "uniform") for s in (0, 1)}
    assert len(list((tmp_path / "out" / "cells").glob("*.parquet"))) == 6
    assert fits() == {**dict.fromkeys(fits(), 0), "test_noisy_truth": 2 * FITS}
    good = results.query("metric == 'barycentric_foscttm_within_label' and aligner == 'eot'")[
        "value"
    ]
    assert (good < 0.3).all()
    even = results.query("metric == 'trace_over_chance' and aligner == 'uniform'")["value"]
    np.testing.assert_allclose(even, 1.0)
    assert (results["rho"] == 1).all()
    assert (results["n_labels"] == 4).all()
    pd.testing.assert_frame_equal(results, read(tmp_path / "out"))


def test_text_tells_data_sets_apart(tmp_path):
    """Parameters that are words, or one number a modality, are columns too: a line is drawn through what differs in one alone."""
    apart = {"escape": {"rna": 0.25, "protein": 0.5}, "co_assayed": False}
    data = [
        {**SMALL, "name": name, "parameters": {**SMALL["parameters"], **more}}
        for name, more in {
            "a": {}, "a, half": {"rho": 0.5}, "linear": {"view": "linear"}, "counts": {"counts": ["rna"]}, "apart": apart,
        }.items()
    ]  # fmt: skip
    spec = {
        "data": data,
        "learners": ["random"],
        "aligners": ["eot"],
        "seeds": 1,
        "metrics": ["foscttm_global"],
    }
    first = quiet(spec, tmp_path / "out").groupby("data").first()
    assert first["view"].to_dict() == {**dict.fromkeys(first.index, "tanh"), "linear": "linear"}
    assert first.loc["counts", "counts"] == "rna"
    assert first.loc["a", ["counts", "n_features", "co_assayed"]].tolist() == ["", "12, 9", "True"]
    assert first.loc["apart", "escape_each"] == "protein 0.5, rna 0.25"
    assert np.isnan(first.loc["apart", "escape"])
    assert families(read(tmp_path / "out"), "rho") == {"a": ("", 1.0), "a, half": ("", 0.5)}


def test_scores_are_those_of_the_metrics(small, tmp_path):
    results = quiet(small, tmp_path / "out")
    spec = Spec.from_dict(small)
    files = (tmp_path / "out" / "representations").glob("*seed1*.npz")
    (kept,) = [file for file in files if "held_out" not in file.name]
    found = np.load(kept)
    mdata = sg.simulations.from_scenario(spec.data[0].simulated(), seed=1)
    partner = mdata["protein"].obs_names.get_indexer(mdata["rna"].obs_names)
    labels = [mdata[m].obs["label"].to_numpy() for m in ("rna", "protein")]
    expected = sg.metrics.foscttm(
        found["z_rna"], found["z_protein"], partner, labels_x=labels[0], labels_y=labels[1]
    )
    value = results.query("metric == 'foscttm_within_label' and seed == 1")["value"].item()
    assert value == pytest.approx(expected, abs=1e-12)
    coupling = sg.aligners.EntropicOT().align(found["z_rna"], found["z_protein"], *labels)
    value = results.query("metric == 'trace_within_label' and seed == 1 and aligner == 'eot'")[
        "value"
    ].item()
    assert value == pytest.approx(
        sg.metrics.score("trace_global", coupling=coupling, partner=partner).value, abs=1e-9
    )


def test_a_second_run_does_nothing_again(small, tmp_path, fits):
    first = quiet(small, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    told = []
    second = run(small, tmp_path / "out", progress=lambda title, state: told.append(state))
    pd.testing.assert_frame_equal(first, second)
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()
    } == times
    assert fits()["test_noisy_truth"] == 2 * FITS
    assert told[-1].kept == told[-1].finished == 6


def test_a_spec_that_grows_adds_only_what_is_missing(small, tmp_path, fits):
    quiet(small, tmp_path / "out")
    more = {**small, "aligners": ["eot", "uniform", "random"]}
    results = quiet(more, tmp_path / "out")
    assert fits()["test_noisy_truth"] == 2 * FITS, "the representation is kept"
    assert set(results["aligner"]) == {"", "eot", "uniform", "random"}


def test_other_options_are_other_cells(small, tmp_path, fits):
    quiet(small, tmp_path / "out")
    louder = {**small, "learners": [{"learner": "test_noisy_truth", "options": {"noise": 3.0}}]}
    quiet(louder, tmp_path / "out")
    assert fits()["test_noisy_truth"] == 4 * FITS


def test_failures_are_recorded_and_the_rest_goes_on(small, tmp_path):
    spec = {
        **small,
        "learners": ["test_crash", "test_nan", "test_shape", "test_noisy_truth"],
        "seeds": 1,
    }
    results = quiet(spec, tmp_path / "out")
    failed = results[results["status"] == "failed"]
    assert len(failed) == 9
    said = failed.groupby("learner")["error"].first()
    assert (
        "ZeroDivisionError: the learner broke (conftest" in said["test_crash"]
        or "ZeroDivisionError: the learner broke (" in said["test_crash"]
    )
    assert "NaN or infinite values for 32 of 32 cells" in said["test_nan"]
    assert "must return numbers of shape (32, k)" in said["test_shape"]
    assert failed["value"].isna().all()
    others = results.query("learner == 'test_noisy_truth'")["status"]
    assert set(others) == {"done", "by construction"}


def test_failures_are_retried_only_when_asked(small, tmp_path, fits):
    spec = {**small, "learners": ["test_crash"], "seeds": 1}
    quiet(spec, tmp_path / "out")
    quiet(spec, tmp_path / "out")
    assert fits()["test_crash"] == 1
    quiet(spec, tmp_path / "out", retry_failed=True)
    assert fits()["test_crash"] == 2


def test_an_aligner_that_needs_a_shared_space_is_skipped_with_the_reason(small, tmp_path):
    spec = {**small, "learners": ["test_apart"], "aligners": ["eot", "egw"], "seeds": 1}
    results = quiet(spec, tmp_path / "out")
    status = results.groupby("aligner")[["status", "error"]].first()
    assert status.loc["eot", "status"] == "skipped"
    assert "eot needs a shared space, which test_apart does not make" in status.loc["eot", "error"]
    assert status.loc["", "status"] == "skipped"
    assert set(results.loc[results["aligner"] == "egw", "status"]) == {"done", "by construction"}


def test_learners_do_not_see_the_truth(small, tmp_path):
    quiet({**small, "learners": ["test_spy"], "seeds": 1}, tmp_path / "out")
    Spy = LEARNERS.get("test_spy")
    for m in ("rna", "protein"):
        assert Spy.seen[m]["obs"] == {"label"}
        assert not Spy.seen[m]["obsm"]
        assert not Spy.seen[m]["uns"]
    assert not Spy.seen["uns"]
    assert not Spy.seen["rna"]["names"] & Spy.seen["protein"]["names"]


def test_shards_share_the_work(small, tmp_path, fits):
    spec = {**small, "seeds": 3}
    quiet(spec, tmp_path / "out", shard=(0, 2))
    assert fits()["test_noisy_truth"] == 2 * FITS
    results = quiet(spec, tmp_path / "out", shard=(1, 2))
    assert set(results["seed"]) == {0, 1, 2}
    assert fits()["test_noisy_truth"] == 3 * FITS
    with pytest.raises(SpecError, match="shard must be"):
        quiet(spec, tmp_path / "out", shard=(2, 2))


def test_on_a_dask_cluster(small, tmp_path):
    import joblib

    distributed = pytest.importorskip(
        "distributed", reason="dask is an extra: pip install 'scgroove[dask]'"
    )
    spec = {**small, "learners": ["pca_procrustes"]}
    told = []
    with (
        distributed.LocalCluster(
            host="127.0.0.1",
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        there = run(spec, tmp_path / "dask", progress=lambda title, state: told.append(state.done))
    here = quiet(spec, tmp_path / "here")
    same = [c for c in here if not c.endswith(("seconds", "_mb", "versions"))]
    pd.testing.assert_frame_equal(here[same], there[same], rtol=1e-6)
    assert told == [0, 3, 6], "progress comes in as jobs end"


def test_another_version_is_refused_unless_asked(small, tmp_path):
    out = tmp_path / "out"
    quiet(small, out)
    about = json.loads((out / "run.json").read_text())
    about["versions"]["scgroove"] = "0.0.1"
    (out / "run.json").write_text(json.dumps(about))
    with pytest.raises(ResultsError, match=r"results of scgroove 0.0.1, .*mix_versions=True"):
        quiet(small, out)
    assert len(quiet(small, out, mix_versions=True)) > 0


def test_a_folder_of_something_else_is_refused(small, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ResultsError, match="holds no results of a benchmark"):
        quiet(small, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ResultsError, match="is a file"):
        quiet(small, tmp_path / "thesis.txt")
    with pytest.raises(ResultsError, match=r"no run.json. Make some"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(small, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CannotWriteError, match="cannot write to"):
            quiet(small, tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_loses_nothing(small, tmp_path, monkeypatch):
    out, written = tmp_path / "out", []
    real = os.replace

    def full(source, target):
        if str(target).endswith(".parquet"):
            if len(written) == 2:
                raise OSError(28, "No space left on device")
            written.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        CannotWriteError,
        match=r"No space left on device. Every cell that was finished before is kept",
    ):
        quiet(small, out)
    monkeypatch.setattr(os, "replace", real)
    assert len(list((out / "cells").iterdir())) == 2, "nothing half-written is left"
    done = {Path(path): Path(path).stat().st_mtime_ns for path in written}
    results = quiet(small, out)
    assert len(results.groupby(["aligner", "seed"])) == 6
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_damaged_cell_is_done_again(small, tmp_path):
    out = tmp_path / "out"
    first = quiet(small, out)
    victim = next((out / "cells").glob("*__eot__*"))
    victim.write_bytes(victim.read_bytes()[:50])
    again = quiet(small, out)
    same = [c for c in first if not c.endswith(("seconds", "_mb"))]
    pd.testing.assert_frame_equal(first[same], again[same])


def test_cells_of_changed_data_are_not_taken_for_those_of_the_file(tmp_path):
    file = tmp_path / "screen.h5mu"
    spec = {
        "data": [{"file": str(file)}],
        "learners": ["test_spy"],
        "aligners": ["uniform"],
        "seeds": 1,
    }
    scenario = Spec.from_dict({"data": [SMALL], "learners": ["test_spy"]}).data[0].simulated()
    sg.simulations.from_scenario(scenario, seed=0).write(file)
    before = {cell.key for job in plan(Spec.from_dict(spec)) for cell, _ in job.cells}
    first = quiet(spec, tmp_path / "out")
    sg.simulations.from_scenario(scenario, seed=1).write(file)
    after = {cell.key for job in plan(Spec.from_dict(spec)) for cell, _ in job.cells}
    assert not before & after
    second = quiet(spec, tmp_path / "out")
    assert len(second) == len(first), "results of the earlier contents are not among them"
    assert not np.array_equal(second["value"], first["value"])


def test_a_file_keeps_what_the_spec_says(tmp_path):
    from scgroove.benchmark._data import load

    scenario = Spec.from_dict({"data": [SMALL], "learners": ["test_spy"]}).data[0].simulated()
    mdata = sg.simulations.from_scenario(scenario, seed=0)
    mdata.write(tmp_path / "screen.h5mu")
    spec = Spec.from_dict(
        {
            "data": [{"file": str(tmp_path / "screen.h5mu"), "drop_labels": ["g00"]}],
            "learners": ["test_spy"],
        }
    )
    loaded = load(spec.data[0], 0)
    assert set(loaded.labels[0]) == {"g01", "g02", "g03"}
    names = [loaded.full.mod[m].obs["pair_id"].to_numpy() for m in (loaded.source, loaded.target)]
    assert (names[0] == names[1][loaded.partner]).all()
    assert not (loaded.partner == np.arange(24)).all(), "nobody pairs by position"


def test_cells_of_an_unlabeled_category_stay_and_nobody_is_told_a_label_for_them(tmp_path):
    from scgroove.benchmark._data import load

    scenario = Spec.from_dict({"data": [SMALL], "learners": ["test_spy"]}).data[0].simulated()
    mdata = sg.simulations.from_scenario(scenario, seed=0)
    mdata.write(tmp_path / "screen.h5mu")
    data = {"file": str(tmp_path / "screen.h5mu"), "unlabeled_category": ["g00", "g01"]}
    spec = Spec.from_dict({"data": [data], "learners": ["random"]})
    loaded = load(spec.data[0], 0)
    for m, labels, observed in zip(loaded.hidden.mod, loaded.labels, loaded.observed, strict=True):
        assert len(labels) == mdata[m].n_obs
        assert set(labels) == set(observed) == {None, "g02", "g03"}
        assert set(loaded.copy(with_truth=False)[m].obs["label"].dropna()) == {"g02", "g03"}
        assert set(loaded.copy(with_truth=True)[m].obs["label"].dropna()) == {"g02", "g03"}
    plain = {key: value for key, value in data.items() if key == "file"}
    without = Spec.from_dict({"data": [plain], "learners": ["random"]}).data[0]
    assert "unlabeled_category" not in without.as_plain(), "earlier results stay valid"


def test_effects_are_scored_where_a_control_is_named(tmp_path):
    spec = {
        "data": [{**SMALL, "control": "g01"}],
        "learners": ["test_noisy_truth"],
        "aligners": ["eot unlabeled"],
        "seeds": 1,
    }
    results = quiet(spec, tmp_path / "out")
    found = results.set_index("metric")["value"]
    assert found["effect_pearson"] > 0.5
    assert found["effect_sign_agreement"] > 0.7
    other = quiet({**spec, "data": [SMALL]}, tmp_path / "other")
    assert "effect_pearson" not in set(other["metric"])
    unknown = quiet({**spec, "data": [{**SMALL, "control": "g1"}]}, tmp_path / "unknown")
    assert set(unknown["status"]) == {"failed"}
    assert (
        "control='g1' is no label of both modalities. Did you mean 'g01'?"
        in unknown["error"].iloc[0]
    )


def test_doses_of_a_file_are_scored_and_hidden(tmp_path, monkeypatch):
    """Doses follow the state of a cell: couplings of the true state find them, an even one does not."""
    monkeypatch.setattr(METRICS, "_items", dict(METRICS._items))
    runpy.run_path(str(PEER_METRICS))
    mdata = sg.simulations.from_scenario(
        Spec.from_dict({"data": [SMALL], "learners": ["test_spy"]}).data[0].simulated(), seed=0
    )
    for adata in mdata.mod.values():
        adata.obs["dose"] = np.where(adata.obsm["state"][:, 0] > 0, 10.0, 1.0)
    mdata.write(tmp_path / "screen.h5mu")
    names = ["perturbot_dose_fraction", "perturbot_relative_dose_fraction"]
    data = {"file": str(tmp_path / "screen.h5mu"), "dose_key": "dose"}
    # the state is not in a file as learners see it: this one is told the truth
    spec = {
        "data": [data],
        "learners": [{"learner": "test_noisy_truth", "options": {"noise": 0.05}}],
        "aligners": ["emd", "uniform"],
        "seeds": 1,
        "metrics": names,
    }
    found = quiet(spec, tmp_path / "out").set_index(["aligner", "metric"])
    assert (found.loc["emd", "value"] > 0.9).all()
    even = found.loc[("uniform", names[1])]
    assert even["value"] == pytest.approx(0, abs=1e-6)
    assert even["chance"] == pytest.approx(0, abs=1e-6)
    without = quiet({**spec, "data": [{"file": data["file"]}]}, tmp_path / "without")
    assert not set(names) & set(without["metric"])
    quiet({**spec, "learners": ["test_spy"]}, tmp_path / "spied")
    assert LEARNERS.get("test_spy").seen["rna"]["obs"] == {"label"}


# ------------------------------------------------------------------------------------- a folder that goes on with more


def test_a_spec_that_has_grown_or_changed_gives_its_own_results_only(small, tmp_path):
    out = tmp_path / "out"
    first = quiet(small, out)
    cells = ["data", "learner", "aligner", "seed", "metric"]
    more = quiet(
        {**small, "metrics": ["foscttm_global", "trace_global", "foscttm_within_label"]}, out
    )
    assert not more.duplicated(cells).any()
    benchmark.summarize(more, "foscttm_global")
    changed = quiet(
        {**small, "aligners": [{"method": "eot", "options": {"epsilon": 0.5}}, "uniform"]}, out
    )
    assert not changed.duplicated(cells).any()
    assert set(changed.loc[changed["aligner"] == "eot", "aligner.epsilon"]) == {0.5}
    quick = quiet(Spec.from_dict(small).quick(), out)
    assert set(quick["seed"]) == {0}
    again = quiet(small, out)
    pd.testing.assert_frame_equal(again, first)
    everything = read(out, everything=True)
    assert everything.duplicated(cells).any()
    assert len(Store(out).about()["earlier"]) == 3


def test_renamed_data_stand_there_once(small, tmp_path):
    quiet(small, tmp_path / "out")
    renamed = {**small, "data": [{**SMALL, "name": "renamed"}]}
    assert set(quiet(renamed, tmp_path / "out")["data"]) == {"renamed"}


def test_metrics_of_representations_need_no_coupling(small, tmp_path):
    results = quiet({**small, "metrics": ["foscttm_global"]}, tmp_path / "out")
    assert set(results["aligner"]) == {""}
    assert set(results["status"]) == {"done"}


def test_a_damaged_cell_is_told_and_the_others_are_read(small, tmp_path):
    quiet(small, tmp_path / "out")
    victim = next((tmp_path / "out" / "cells").glob("*__eot__*"))
    victim.write_bytes(victim.read_bytes()[:40])
    with pytest.warns(ResultsWarning, match="is damaged or incomplete and counts as not done"):
        results = read(tmp_path / "out")
    assert len(results.groupby(["aligner", "seed"])) == 5


def test_a_folder_that_another_process_has_just_made(small, tmp_path):
    """Tasks of an array start together: one may see what another has made, before there is a manifest."""
    out = tmp_path / "out"
    (out / "cells").mkdir(parents=True)
    (out / ".unfinished-abc").write_text("of a killed run")
    os.utime(out / ".unfinished-abc", (1e9, 1e9))
    assert len(quiet(small, out)) > 0
    assert not (out / ".unfinished-abc").exists()


def test_an_idle_shard_is_no_error(small, tmp_path):
    results = quiet(small, tmp_path / "out", shard=(5, 6))
    assert results.empty
    assert list(results.columns) == list(COLUMNS)
    with pytest.raises(ResultsError, match="holds no finished cell yet"):
        read(tmp_path / "out")


def test_what_a_learner_does_to_its_data_no_other_sees(small, tmp_path):
    alone = quiet({**small, "learners": ["test_noisy_truth"]}, tmp_path / "alone")
    after = quiet({**small, "learners": ["test_destroyer", "test_noisy_truth"]}, tmp_path / "after")
    after = after[after["learner"] == "test_noisy_truth"].reset_index(drop=True)
    same = ["data", "aligner", "seed", "metric", "value"]
    pd.testing.assert_frame_equal(after[same], alone[same])


def test_rows_say_who_was_told_the_truth(small, tmp_path):
    spec = {
        **small,
        "learners": [
            {"learner": "clip_oracle", "name": "CLIP", "options": {"max_epochs": 2}},
            "random",
        ],
    }
    told = (
        quiet({**spec, "aligners": ["eot", "oracle"]}, tmp_path / "out")
        .groupby(["learner", "aligner"])["knows_truth"]
        .first()
    )
    assert told.to_dict() == {
        ("CLIP", ""): True, ("CLIP", "eot"): True, ("CLIP", "oracle"): True,
        ("random", ""): False, ("random", "eot"): False, ("random", "oracle"): True,
    }  # fmt: skip


def test_a_learner_that_wants_to_end_everything(small, tmp_path):
    results = quiet({**small, "learners": ["test_exit", "test_noisy_truth"]}, tmp_path / "out")
    assert set(results.loc[results["learner"] == "test_exit", "status"]) == {"failed"}
    assert set(results.loc[results["learner"] == "test_noisy_truth", "status"]) == {
        "done",
        "by construction",
    }


def test_a_file_that_was_moved_is_the_same_data(small, tmp_path):
    scenario = Spec.from_dict({"data": [SMALL], "learners": ["test_spy"]}).data[0].simulated()
    (tmp_path / "there").mkdir()
    here, there = tmp_path / "screen.h5mu", tmp_path / "there" / "screen.h5mu"
    sg.simulations.from_scenario(scenario, seed=0).write(here)
    first = quiet({**small, "data": [{"file": str(here)}]}, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    here.rename(there)
    again = quiet({**small, "data": [{"file": str(there)}]}, tmp_path / "out")
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()
    } == before
    assert again.equals(first)
    sg.simulations.from_scenario(scenario, seed=1).write(there)
    other = quiet({**small, "data": [{"file": str(there)}]}, tmp_path / "out")
    assert not np.allclose(other["value"], first["value"], equal_nan=True)


def test_files_that_do_not_fit(tmp_path, small):
    file = tmp_path / "screen.h5mu"
    spec = {**small, "data": [{"file": str(file)}]}
    with pytest.raises(SpecError, match="cannot read the data file"):
        quiet(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    scenario = Spec.from_dict({"data": [SMALL], "learners": ["test_spy"]}).data[0].simulated()
    sg.simulations.from_scenario(scenario, seed=0).write(file)
    wrong = {
        **small,
        "data": [{"file": str(file), "source": "rma", "target": "protein"}],
        "learners": ["test_spy"],
    }
    with pytest.raises(SpecError, match=r"no modality 'rma'\. Did you mean 'rna'[?]"):
        quiet(wrong, tmp_path / "out")
    for data, message in (
        ({"drop_labels": ["g0O"]}, "drop_labels names 'g0O', which no cell has"),
        ({"unlabeled_category": "g0O"}, "unlabeled_category names 'g0O', which no cell has"),
        ({"control": "g1"}, "control='g1' is no label of both modalities"),
        (
            {"dose_key": "labl"},
            r"dose_key='labl' is no column of obs of 'rna'\. Did you mean 'label'",
        ),
        ({"label_key": "lable"}, "lable"),
        ({"source": "protein", "target": "protein"}, "source and target are both 'protein'"),
    ):
        with pytest.raises((SpecError, KeyError), match=message):
            quiet({**wrong, "data": [{"file": str(file), **data}]}, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "told before anything is done"
    one_side = {**wrong, "data": [{"file": str(file), "target": "rna"}]}
    assert set(quiet(one_side, tmp_path / "out")["status"]) == {"done", "by construction"}, (
        "the other modality is the source"
    )


HANGS = 600
"""Seconds after which a process is taken to hang."""

KILLED = """
import os, signal, sys
import numpy as np
from dataclasses import dataclass
from typing import ClassVar
from scgroove.learners import LEARNERS, Learner

@LEARNERS.register("slow")
@dataclass
class Slow(Learner):
    name: ClassVar[str] = "slow"
    def _fit(self, screen, seed):
        with open(sys.argv[2], "a") as log:
            log.write(f"{seed}\\n")
        if len(set(open(sys.argv[2]))) == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
    def _transform(self, mdata):
        return {m: np.asarray(a.X)[:, :3] for m, a in mdata.mod.items()}

from scgroove.benchmark import run
asked = ["foscttm_within_label", "trace_within_label"]
spec = {"data": [%r], "learners": ["slow"], "aligners": ["uniform"], "seeds": 4, "metrics": asked}
run(spec, sys.argv[1], n_jobs=int(sys.argv[3]), progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_redoes_nothing(tmp_path):
    script, out, log = tmp_path / "script.py", tmp_path / "out", tmp_path / "fits.txt"
    script.write_text(KILLED % SMALL)
    command = [sys.executable, str(script), str(out), str(log)]
    killed = subprocess.run([*command, "1", "3"], timeout=HANGS)  # as it begins with the third seed
    assert killed.returncode == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*.parquet")}
    assert len(done) == 4
    fitted = log.read_text().split()
    subprocess.run(
        [*command, "2", "0"], check=True, timeout=HANGS
    )  # workers know the class of the script
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list((out / "cells").glob("*.parquet"))) == 8
    finished = {path.name.split("__")[3] for path in done if "__uniform__" in path.name}
    again = log.read_text().split()[len(fitted) :]
    assert not {f"seed{seed}" for seed in again} & finished


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
    store = Store(tmp_path)

    def broken(file):
        file.write(b"half")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        store.write(tmp_path / "x.parquet", broken)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("swallowed", [True, False])
def test_a_learner_that_is_stopped_is_not_recorded_as_failed(
    small, tmp_path, monkeypatch, swallowed
):
    """Lightning turns Ctrl-C into SystemExit, and numba swallows it."""

    def stopped(self, mdata):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if not swallowed:
                raise SystemExit(1) from None
        return {m: np.asarray(a.X)[:, :3] for m, a in mdata.mod.items()}

    inherited = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # may be ignored where tests run
    monkeypatch.setattr(LEARNERS.get("test_noisy_truth"), "_transform", stopped)
    with pytest.raises(KeyboardInterrupt):
        quiet(small, tmp_path / "out")
    assert not list((tmp_path / "out" / "cells").iterdir())
    assert not list((tmp_path / "out" / "representations").iterdir())
    assert signal.signal(signal.SIGINT, inherited) is signal.default_int_handler


def test_names_whose_files_would_be_the_same_are_refused(small, tmp_path):
    twice = [{"learner": "ps_logistic", "name": name} for name in ("a/b", "a-b")]
    with pytest.raises(SpecError, match="would be written into one file"):
        quiet({**small, "learners": twice}, tmp_path / "out")
    nameless = [{"learner": "ps_logistic", "name": "\ud800"}]
    with pytest.raises(SpecError, match="no file can hold"):
        quiet({**small, "learners": nameless}, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize("damage", ["[]", "{}", "null", '{"spec": 3}', ""])
def test_a_damaged_manifest_is_told(small, tmp_path, damage):
    Store(tmp_path).open({}, [])
    (tmp_path / "run.json").write_text(damage)
    with pytest.raises(
        ResultsError, match=r"run\.json cannot be read: it is not what scgroove wrote"
    ):
        read(tmp_path)


def test_damaged_cells_and_representations_count_as_not_done(tmp_path):
    store, cell = Store(tmp_path), Cell("a", "b", "eot", 0, "key")
    store.open({}, [cell])
    row = {**cell.columns, "metric": "m", "value": 1.0, "status": "done"}
    store.save(cell, [row])
    store.save_representation("z", {"rna": np.ones((30, 4))}, {})
    assert store.status(cell) == "done"
    before = store.read()
    rng = np.random.default_rng(0)
    for file in (store.cells / cell.file_name, store.representations / "z.npz"):
        whole = file.read_bytes()
        for n in range(60):
            damaged = bytearray(whole[: rng.integers(len(whole))] if n % 2 else whole)
            for place in rng.integers(len(damaged), size=3) if damaged else []:
                damaged[place] ^= 255
            file.write_bytes(damaged)
            store.status(cell)
            store.representation("z")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = store.read()
            assert found.empty or found.equals(before), (
                "names of columns have no checksum in the format"
            )

"""What the command line says when something is wrong: one clean message, exit code 2, nothing written."""

import errno
import json
import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData
from typer.testing import CliRunner

from scgroove import cli
from scgroove.cli._destination import Destination
from scgroove.errors import InputError


def screen(**changes):
    """Two modalities of different cells with shared labels."""
    rng = np.random.default_rng(0)
    parts = {}
    for name, n, d in (("rna", 30, 6), ("prot", 24, 4)):
        adata = AnnData(rng.normal(size=(n, d)).astype(np.float32))
        adata.obs_names = [f"{name}{i}" for i in range(n)]
        adata.var_names = [f"{name}_{j}" for j in range(d)]
        adata.obs["label"] = pd.Categorical(np.resize(["a", "b", "c"], n))
        parts[name] = adata
    parts["rna"].obs["batch"] = "one"
    parts["rna"].layers["counts"] = rng.poisson(3.0, size=(30, 6)).astype(np.float32)
    parts.update(changes)
    return MuData(parts)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "screen.h5mu"
    screen().write_h5mu(path)
    return path


def call(*arguments):
    """Exit code and everything that was said, in one line."""
    result = CliRunner().invoke(
        cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "200", "NO_COLOR": "1"}
    )
    return result.exit_code, re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", result.output))


def run(file, *options, out):
    return call("run", file, "--source", "rna", "--target", "prot", "--out", out, *options)


def refused(answer, expected, out):
    code, said = answer
    assert code == 2, said
    assert re.search(expected, said), said
    assert "Traceback" not in said
    assert not out.exists()
    assert not list(out.parent.glob(".*unfinished*"))


# -- the file ----------------------------------------------------------------------------------------------------


def test_a_missing_file_with_its_near_miss(file, tmp_path):
    answer = run(file.with_name("scren.h5mu"), out=tmp_path / "out")
    refused(
        answer,
        r"There is no file '.*scren\.h5mu'\. Did you mean 'screen\.h5mu'\?",
        tmp_path / "out",
    )


def test_a_folder(file, tmp_path):
    refused(
        run(file.parent, out=tmp_path / "out"),
        r"is a folder; expected a MuData file",
        tmp_path / "out",
    )


def test_not_hdf5(tmp_path):
    (tmp_path / "table.h5mu").write_text("a,b\n1,2\n")
    answer = run(tmp_path / "table.h5mu", out=tmp_path / "out")
    refused(
        answer,
        r"is not an HDF5 file; expected a MuData file.*mudata\.MuData\(\{'rna'",
        tmp_path / "out",
    )


def test_an_anndata_file(tmp_path):
    screen()["rna"].write_h5ad(tmp_path / "rna.h5ad")
    answer = run(tmp_path / "rna.h5ad", out=tmp_path / "out")
    refused(
        answer,
        r"holds no MuData: it has no group 'mod'.*\(\.h5ad\) has nothing to be matched to",
        tmp_path / "out",
    )


def test_a_damaged_file(file, tmp_path):
    import h5py

    (tmp_path / "bad.h5mu").write_bytes(file.read_bytes())
    with h5py.File(tmp_path / "bad.h5mu", "a") as opened:
        del opened["mod/rna/X"]
        del opened["mod/rna/obs"]
    code, said = run(tmp_path / "bad.h5mu", out=tmp_path / "out")
    assert code == 2, said
    assert re.search(r"cannot be read as MuData|has no column", said), said


def test_one_modality_only(tmp_path):
    MuData({"rna": screen()["rna"]}).write_h5mu(tmp_path / "one.h5mu")
    answer = run(tmp_path / "one.h5mu", out=tmp_path / "out")
    refused(
        answer,
        r"has one modality only, rna \(30 cells x 6 features\); matching needs two",
        tmp_path / "out",
    )


# -- names -------------------------------------------------------------------------------------------------------


def test_source_and_target_are_asked_for(file, tmp_path):
    answer = call("run", file, "--out", tmp_path / "out")
    expected = r"The file has rna \(30 cells x 6 features\), prot .* --source rna --target prot imputes prot"
    refused(answer, expected, tmp_path / "out")


def test_an_unknown_modality(file, tmp_path):
    answer = call("run", file, "--source", "rna", "--target", "protein", "--out", tmp_path / "out")
    expected = r"--target protein: unknown\. Did you mean 'prot'\? Expected one of 'rna', 'prot'"
    refused(answer, expected, tmp_path / "out")


def test_source_equals_target(file, tmp_path):
    answer = call("run", file, "--source", "rna", "--target", "rna", "--out", tmp_path / "out")
    refused(answer, r"--source and --target are both 'rna'; they must differ", tmp_path / "out")


CASES = {
    "label": (["--label", "lable"], r"--label lable: the obs of 'rna' has no column 'lable'\. Did you mean 'label'\? It has 'label', 'batch'\. If the modalities name it differently: --label rna=label"),
    "label of one": (["--label", "label", "--label", "prot=gene"], r"the obs of 'prot' has no column 'gene'"),
    "two labels": (["--label", "label", "--label", "batch"], r"--label names 2 columns for all modalities \(label, batch\)"),
    "label of nobody": (["--label", "dna=label"], r"--label dna: unknown modality\. Did you mean 'rna'\?"),
    "also": (["--also", "atac"], r"--also atac: unknown\..*Expected one of 'rna', 'prot'"),
    "layer": (["--layer", "rna=count"], r"--layer rna=count: unknown in the layers of 'rna'\. Did you mean 'counts'\?"),
    "layer form": (["--layer", "counts"], r"--layer 'counts': expected MODALITY=VALUE, such as --layer rna=counts"),
    "likelihood": (["--likelihood", "rna=gaussian"], r"--likelihood rna=gaussian: unknown\..*'normal', 'nb', 'poisson', 'bernoulli'"),
    "batch": (["--batch-key", "bach"], r"--batch-key 'bach': no modality has this column in obs\. Did you mean 'batch'\?"),
    "pair": (["--pair-key", "pair_id"], r"--pair-key pair_id: the obs of 'rna' has no column 'pair_id'"),
    "pairs": (["--pair-key", "label", "--not-paired"], r"--pair-key label and --not-paired answer one question"),
    "unlabeled": (["--unlabeled-category", "unknown"], r"--unlabeled-category 'unknown' is no label of these data\. There are 3, such as 'a', 'b', 'c'"),
    "accelerator": (["--accelerator", "cuda"], r"--accelerator cuda: PyTorch .* sees no such device"),
    "method": (["--method", "ot"], r"Invalid value for .--method.*eot.*emd"),
    "epochs": (["--epochs", "0"], r"Invalid value for .--epochs."),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_options_that_do_not_fit_the_data(case, file, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options, expected = CASES[case]
    refused(run(file, *options, out=tmp_path / "out"), expected, tmp_path / "out")


def test_a_mistyped_command():
    code, said = call("rn")
    assert code == 2
    assert "Did you mean 'run'?" in said


# -- what the package itself refuses ------------------------------------------------------------------------------


def test_a_teaching_error_of_the_package_is_shown_clean(tmp_path):
    mdata = screen()
    mdata["prot"].obs["label"] = pd.Categorical(np.resize(["x", "y"], 24))
    mdata.write_h5mu(tmp_path / "disjoint.h5mu")
    refused(
        run(tmp_path / "disjoint.h5mu", out=tmp_path / "out"),
        r"Error: .*[Nn]o label",
        tmp_path / "out",
    )


def test_labels_with_one_cell_are_refused_unless_asked_for(tmp_path):
    mdata = screen()
    mdata["prot"].obs["label"] = pd.Categorical(["a"] * 12 + ["b"] * 11 + ["c"])
    mdata.write_h5mu(tmp_path / "single.h5mu")
    answer = run(tmp_path / "single.h5mu", out=tmp_path / "out")
    refused(
        answer, r"fewer than 2 cells in a modality.*'c'.*min_cells_per_label=1", tmp_path / "out"
    )
    code, said = run(
        tmp_path / "single.h5mu",
        "--min-cells-per-label",
        "1",
        "--epochs",
        "1",
        out=tmp_path / "out",
    )
    assert code == 0, said
    assert "fewer than 20 cells in a modality: a, b, c" in said


def test_debug_shows_where(tmp_path):
    mdata = screen()
    mdata["prot"].obs["label"] = pd.Categorical(np.resize(["x", "y"], 24))
    mdata.write_h5mu(tmp_path / "disjoint.h5mu")
    code, said = run(tmp_path / "disjoint.h5mu", "--debug", out=tmp_path / "out")
    assert code == 2
    assert "Traceback (most recent call last)" in said


def test_an_unexpected_error_is_called_a_bug(file, tmp_path, monkeypatch):
    from scgroove import _workflow

    def broken(*_, **__):
        return {}["nothing"]

    monkeypatch.setattr(_workflow, "analyze", broken)
    code, said = run(file, out=tmp_path / "out")
    assert code == 1
    assert (
        "Unexpected KeyError: nothing This looks like a bug in scgroove. Run it again with --debug"
        in said
    )
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_disk_is_no_bug(file, tmp_path, monkeypatch):
    from scgroove import _workflow

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_workflow, "analyze", full)
    code, said = run(file, out=tmp_path / "out")
    assert code == 2
    assert "No space left on device" in said
    assert "bug" not in said


def test_stopping_leaves_nothing(file, tmp_path, monkeypatch):
    from scgroove import _workflow

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_workflow, "analyze", stopped)
    code, said = run(file, out=tmp_path / "out")
    assert code == 130
    assert "Stopped. Nothing was written." in said
    assert not list(tmp_path.iterdir())


# -- the folder --------------------------------------------------------------------------------------------------


def earlier_run(folder, command="run", extra=()):
    folder.mkdir()
    (folder / "report.html").write_text("earlier")
    (folder / "figures").mkdir()
    manifest = {
        "made_by": "scgroove 0",
        "command": command,
        "files": ["report.html", "figures", "run.json"],
    }
    (folder / "run.json").write_text(json.dumps(manifest))
    for name in extra:
        (folder / name).write_text("mine")
    return folder


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def expect(answer, expected, folder, before):
    code, said = answer
    assert code == 2, said
    assert re.search(expected, said), said
    assert contents(folder) == before


def test_a_folder_with_other_things_is_never_touched(file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for options in ([], ["--overwrite"]):
        answer = run(file, *options, out=tmp_path / "out")
        expected = r"the folder is not empty \('notes\.txt'\), and scgroove did not make it"
        expect(answer, expected, tmp_path / "out", {"notes.txt": "mine"})


def test_an_earlier_run_is_replaced_only_when_asked(file, tmp_path):
    folder = earlier_run(tmp_path / "out")
    expected = r"holds the results of an earlier run\. Add --overwrite to replace them"
    expect(run(file, out=folder), expected, folder, contents(folder))


def test_a_file_in_the_way(file, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, said = run(file, out=tmp_path / "out")
    assert code == 2
    assert re.search(r"this is a file; expected a folder", said)


def test_a_demo_replaces_an_earlier_demo_but_not_a_run(tmp_path):
    Destination(
        earlier_run(tmp_path / "a", "demo"), tmp_path, overwrite=False, command="demo"
    ).check()
    with pytest.raises(InputError, match="--overwrite"):
        Destination(
            earlier_run(tmp_path / "b", "run"), tmp_path, overwrite=False, command="demo"
        ).check()

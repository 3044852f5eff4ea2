"""Public errors: their classes, their fields, and their messages, pinned in one table."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData

from scgroove import aligners, errors, get, pl, tl
from scgroove._warnings import warn
from scgroove.errors import ArgumentError, FileError, InputError, ScgrooveError, UnknownNameError


def screen(label: str = "label") -> MuData:
    rng = np.random.default_rng(0)
    parts = {}
    for name in ("rna", "protein"):
        adata = AnnData(rng.normal(size=(12, 3)).astype(np.float32))
        adata.obs_names = [f"{name}{i}" for i in range(12)]
        adata.obs[label] = pd.Categorical(["a", "b"] * 6)
        adata.obsm["X_groove"] = rng.normal(size=(12, 2))
        parts[name] = adata
    return MuData(parts)


PAIR = ("rna", "protein")
MESSAGES: dict[str, tuple[Callable[[MuData], Any], type[Exception], dict[str, Any], str]] = {
    "aligner": (
        lambda m: tl.align(m, *PAIR, method="etot"),
        UnknownNameError,
        {"kind": "aligner", "name": "etot"},
        "unknown aligner 'etot'. Did you mean 'eot'? Available: ",
    ),
    "option of an aligner": (
        lambda m: tl.align(m, *PAIR, epsilom=1),
        errors.InputTypeError,
        {},
        "method 'eot' has no option 'epsilom'. Did you mean 'epsilon'? Its options: ",
    ),
    "modality": (
        lambda m: tl.align(m, "rna", "protien"),
        UnknownNameError,
        {"kind": "modality", "name": "protien", "known": PAIR},
        "target='protien': mdata has no such modality, only ['rna', 'protein']. Did you mean ",
    ),
    "representation": (
        lambda m: tl.align(m, *PAIR, use_rep="X_grove"),
        UnknownNameError,
        {"kind": "representation", "name": "X_grove", "known": ("X_groove",)},
        "no 'X_grove' in mdata.mod['rna'].obsm, which has ['X_groove'].",
    ),
    "column": (
        lambda m: tl.align(m, *PAIR, label_key="lable"),
        UnknownNameError,
        {"kind": "column", "name": "lable", "known": ("label",)},
        "Label column 'lable' not found in mdata['rna'].obs; its columns are ['label'].",
    ),
    "labels": (
        lambda m: tl.align(m, *PAIR, label_key=None),
        InputError,
        {},
        "labeled=True keeps mass within labels, so it needs label_key, ",
    ),
    "memory": (
        lambda m: tl.align(m, *PAIR, max_memory_gb=1e-9),
        errors.TooLargeError,
        {},
        "'X_groove' of 'rna' would take ",
    ),
    "argument": (
        lambda m: tl.umap(m, n_neighbors=0),
        ArgumentError,
        {"argument": "n_neighbors"},
        "n_neighbors must be a whole number of at least 1; found 0 (int).",
    ),
    "key of a file": (
        lambda m: tl.collapse(m, key_added="a/b"),
        ArgumentError,
        {"argument": "key_added"},
        "key_added='a/b' cannot be a key of a file: expected text without '/' and NUL.",
    ),
    "result": (
        lambda m: pl.efficacy(m),
        UnknownNameError,
        {"kind": "result", "name": "efficacy"},
        "mdata.uns has no 'efficacy'; it has none. Make it with scgroove.tl.estimate_efficacy(",
    ),
    "panel": (
        lambda m: (lay_out(m), pl.latent(m, panels=["labels"])),
        UnknownNameError,
        {"kind": "panel", "name": "labels"},
        "There is no panel 'labels': choose among 'modality', 'label', 'shared', 'exclusive', or ",
    ),
    "coupling": (
        lambda m: get.coupling(m, *PAIR),
        UnknownNameError,
        {"kind": "coupling", "name": "coupling_rna_protein"},
        "no coupling 'coupling_rna_protein' in mdata.obsp, which has []. Make it with ",
    ),
    "file": (
        lambda m: aligners.Coupling.load("no_such_file.npz"),
        errors.MissingFileError,
        {"reason": "missing"},
        "There is no file 'no_such_file.npz'.",
    ),
}


def lay_out(mdata: MuData) -> None:
    for adata in mdata.mod.values():
        adata.obsm["X_groove_umap"] = adata.obsm["X_groove"]


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case: str) -> None:
    call, kind, fields, message = MESSAGES[case]
    with pytest.raises(kind) as caught:
        call(screen())
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, ScgrooveError)
    for name, value in fields.items():
        assert getattr(caught.value, name) == value


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError("shape", "circel", ["circle", "square"]),
        FileError("it is empty", "a.h5mu", "empty"),
        ArgumentError("n must be 1", "n"),
        errors.FeatureNamesError("gone", "rna", missing=["f1"]),
    ],
)
def test_errors_keep_their_fields_between_processes(error: ScgrooveError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_an_unknown_name_is_a_key_error_and_a_value_error() -> None:
    error = UnknownNameError("shape", "circel", ["circle", "square"])
    assert isinstance(error, KeyError)
    assert isinstance(error, ValueError)
    assert (error.kind, error.name, error.known) == ("shape", "circel", ("circle", "square"))
    assert str(error) == (
        "unknown shape 'circel'. Did you mean 'circle'? Available: 'circle', 'square'."
    )


def test_warnings_have_one_class() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("look")
    assert caught[0].category is errors.ScgrooveWarning
    assert issubclass(errors.ConvergenceWarning, errors.ScgrooveWarning)


def test_verbs_and_figures_read_the_label_column_of_the_set_up() -> None:
    mdata = screen("gene")
    with pytest.raises(UnknownNameError, match="'label' not found"):
        tl.align(mdata, *PAIR)
    record = {"label_key": dict.fromkeys(PAIR, "gene"), "unlabeled_category": "b"}
    mdata.uns["pairing"] = record
    tl.align(mdata, *PAIR)
    evidence = mdata.uns["coupling_rna_protein"]
    assert evidence["label_key_source"] == "gene"
    assert list(evidence["labels"]) == ["a"]
    assert evidence["unlabeled_category"] == "b"
    assert list(get.coupling(mdata, *PAIR).labels) == ["a"]
    (ax,) = pl.coupling_label_mass(mdata, *PAIR)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a"]

"""Names that no file can hold, and cells that share a name, are refused by every verb before any work."""

import inspect

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest

from scgroove import tl
from scgroove.model import GROOVE

VERBS = [
    name for name in tl.__all__ if "key_added" in inspect.signature(getattr(tl, name)).parameters
]


def screen(**names):
    rng = np.random.default_rng(0)
    parts = {}
    for name, key in {"rna": "rna", "prot": "prot", **names}.items():
        parts[key] = ad.AnnData(rng.normal(size=(6, 3)).astype(np.float32))
        parts[key].obs_names = [f"{name}{i}" for i in range(6)]
        parts[key].var_names = [f"{name}_{j}" for j in range(3)]
        parts[key].obs["label"] = pd.Categorical(["a", "b"] * 3)
        parts[key].obsm["X_groove"] = rng.normal(size=(6, 2)).astype(np.float32)
    return mudata.MuData(parts)


def call(name, mdata, **options):
    """Call a verb with arguments that are needed and never looked at."""
    verb = getattr(tl, name)
    needed = [p for p in inspect.signature(verb).parameters.values() if p.default is p.empty]
    given = dict(zip(("source", "target"), mdata.mod, strict=True))
    verb(mdata, **{p.name: given.get(p.name) for p in needed[1:]}, **options)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_refuses_what_no_file_can_hold(name):
    for key in ("a/b", "a\0b", "\ud800", ""):
        with pytest.raises(ValueError, match="cannot be a key of a file"):
            call(name, screen(), key_added=key)
    with pytest.raises(ValueError, match="modality='pro/tein' cannot be a key"):
        call(name, screen(rna="pro/tein"))
    doubled = screen()
    doubled["rna"].obs_names = ["one", "one", *"abcd"]
    with pytest.raises(
        ValueError, match="obs_names are not unique: 'one' stands for more than one cell"
    ):
        call(name, doubled)


def test_a_modality_that_is_not_used_may_be_as_it_is():
    mdata, alone = screen(other="ot/her"), screen()
    other = mdata.mod["ot/her"]
    other.obs_names = ["one", "one", *"abcd"]
    del other.obsm["X_groove"], other.obs["label"]
    results = []
    for data in (mdata, alone):
        tl.align(data, "rna", "prot")
        tl.impute(data, "rna", "prot", method="barycentric")
        tl.perturbation_effects(data, "rna", "prot", "a")
        tl.score_imputation(data, "rna", "prot")
        tl.transfer_labels(data, "rna", target="prot")
        tl.collapse(data, min_cells=2)
        tl.center_labels(data)
        tl.infer_labels(data)
        tl.epsilon_scan(data, "rna", "prot")
        results.append(data["rna"].obsm["imputed_prot"])
    np.testing.assert_allclose(*results)


def test_set_up_refuses_them_too():
    with pytest.raises(ValueError, match="modality='pro/tein' cannot be a key"):
        GROOVE.setup_mudata(screen(prot="pro/tein"), "label")
    for names in ("obs_names", "var_names"):
        mdata = screen()
        named = pd.Index(["\ud800", *getattr(mdata["rna"], names)[1:]], dtype=object)
        setattr(mdata["rna"], names, named)
        with pytest.raises(ValueError, match=r"No file can hold the name '\\ud800'"):
            GROOVE.setup_mudata(mdata, "label")

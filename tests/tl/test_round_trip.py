"""What the verbs write into a MuData is the same after it was written to a file and read again."""

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

import scgroove as sg
from scgroove.model import GROOVE

FIELDS = ("obs", "var", "obsm", "varm", "obsp", "varp", "uns", "layers")


def screen():
    """Two modalities with a batch that lacks a protein, cells without a label, and known pairs."""
    rng = np.random.default_rng(0)
    parts = {}
    for m, n, d in (("rna", 96, 6), ("prot", 88, 4)):
        part = AnnData(rng.normal(size=(n, d)).astype(np.float32))
        part.obs_names = [f"{m}{i}" for i in range(n)]
        part.var_names = [f"{m}_{j}" for j in range(d)]
        labels = np.resize(["a", "b", "non-targeting", None], n).astype(object)
        part.obs["label"] = pd.Categorical(labels, categories=["a", "b", "non-targeting", "unseen"])
        part.obs["batch"] = np.resize(["one", "one", "one", "one", "two"], n)
        part.obs["pair_id"] = pd.Series(
            [f"cell {i}" if i < 12 else None for i in range(n)], part.obs_names
        )
        parts[m] = part
    parts["prot"].X[(parts["prot"].obs["batch"] == "two").to_numpy(), 3] = 0
    return md.MuData(parts)


def analyzed():
    mdata = screen()
    sg.tl.estimate_efficacy(mdata, "non-targeting", label_key="label", key_added="efficacy")
    GROOVE.setup_mudata(mdata, "label", batch_key="batch", unlabeled_category=["none", 3])
    model = GROOVE(mdata, 3)
    model.train(1, accelerator="cpu", enable_progress_bar=False)
    sg.tl.embed(mdata, model)
    sg.tl.align(mdata, "rna", "prot", label_key="label")
    sg.tl.align(mdata, "rna", "prot", labeled=False, method="emd", key_added="exact")
    sg.tl.impute(mdata, "rna", "prot", model=model)
    sg.tl.impute(mdata, "rna", "prot", method="barycentric", key_added="mean")
    sg.tl.transfer_labels(mdata, "prot", "rna")
    sg.tl.score_matching(mdata, "rna", "prot", label_key="label")
    sg.tl.perturbation_effects(mdata, "rna", "prot", "non-targeting")
    return mdata


def differences(a, b, place):
    """Places at which two values are not the same, with their types."""
    if isinstance(a, dict) or (hasattr(a, "keys") and not isinstance(a, pd.DataFrame)):
        if set(a.keys()) != set(b.keys()):
            return [(place, sorted(map(str, a.keys())), sorted(map(str, b.keys())))]
        return [one for key in a for one in differences(a[key], b[key], f"{place}/{key}")]
    try:
        if isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b)
        elif sp.issparse(a):
            assert a.format == b.format
            assert a.dtype == b.dtype
            assert (a != b).nnz == 0
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert type(a) is type(b), (type(a), type(b))
            assert a == b or a != a
    except AssertionError as error:
        return [(place, repr(a)[:200], repr(b)[:200], str(error)[:200])]
    return []


@pytest.mark.filterwarnings("ignore")
def test_everything_that_was_written_comes_back(tmp_path):
    mdata = analyzed()
    mdata.write_h5mu(tmp_path / "screen.h5mu")
    again = md.read_h5mu(tmp_path / "screen.h5mu")
    found = []
    for name, one, other in [("", mdata, again), *((m, mdata[m], again[m]) for m in mdata.mod)]:
        for field in FIELDS:
            if hasattr(one, field):
                a, b = getattr(one, field), getattr(other, field)
                found += differences(a, b, f"{name}.{field}")
    assert found == []

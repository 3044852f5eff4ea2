import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove.benchmark import AlignerSpec


@pytest.fixture
def mdata():
    screen = sg.simulations.weakly_paired(4, 15, n_features=(20, 15), seed=0)
    for m in screen.mod:
        state = screen[m].obsm["state"]
        screen[m].obsm["X_groove"] = state + 0.3 * np.random.default_rng(len(m)).normal(
            size=state.shape
        )
    return screen


def test_the_best_coupling_is_written_as_align_writes_it(mdata):
    choice = sg.tl.select_aligner(mdata, "rna", "protein", methods=["uniform", "eot", "random"])
    assert choice.best == "eot"
    stored = sg.get.coupling(mdata, "rna", "protein")
    assert stored.evidence["method"] == "eot"
    assert stored.evidence["selected_by"] == choice.score
    assert stored.evidence["selection_confidence"] == choice.confidence
    assert stored.evidence["label_key_source"] == "label"
    sg.tl.align(mdata, "rna", "protein", method="eot", key_added="again")
    np.testing.assert_allclose(
        mdata.obsp["coupling_rna_protein"].toarray(), mdata.obsp["again"].toarray(), atol=1e-9
    )


def test_the_table_survives_a_file(mdata, tmp_path):
    import mudata

    choice = sg.tl.select_aligner(
        mdata, "rna", "protein", methods=["eot", "eot unlabeled"], key_added="mine"
    )
    mdata.write(tmp_path / "x.h5mu")
    back = mudata.read(tmp_path / "x.h5mu").uns["mine"]
    assert back.index.tolist() == choice.table.index.tolist()
    np.testing.assert_allclose(back["predictability"], choice.table["predictability"])


def test_by_default_without_a_shared_space_only_what_needs_none(mdata):
    choice = sg.tl.select_aligner(mdata, "rna", "protein", use_rep="X")
    assert set(choice.couplings) == {"egw", "coot"}


def test_components_of_each_modality_are_no_shared_space(mdata):
    """Of equal width though they are."""
    for m in mdata.mod:
        mdata[m].obsm["X_pca"] = np.asarray(mdata[m].X)[:, :5]
    choice = sg.tl.select_aligner(mdata, "rna", "protein", use_rep="X_pca")
    assert set(choice.couplings) == {"egw", "coot"}


def test_names_and_specs_of_methods(mdata):
    spec = AlignerSpec("eot", name="sharp", options={"epsilon": 0.005})
    choice = sg.tl.select_aligner(
        mdata,
        "rna",
        "protein",
        methods=[spec, "snn"],
        score="predictability",
        coupling_key="best",
        key_added="table",
    )
    assert choice.score == "predictability"
    assert {"best"} <= set(mdata.obsp)
    assert set(mdata.uns["table"].index) == {"sharp", "snn"}
    assert isinstance(mdata.uns["table"], pd.DataFrame)


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"methods": ["eot", "emdd"]}, ValueError, "Did you mean 'emd'"),
        ({"methods": ["eot"]}, ValueError, "two candidates"),
        ({"score": "nope"}, ValueError, "unknown truth-free score 'nope'"),
        ({"label_key": "labl"}, KeyError, "label"),
        ({"use_rep": "X", "methods": ["eot", "emd"]}, ValueError, "one space"),
        ({"target": "rna"}, ValueError, "rna"),
    ],
)
def test_what_fails_changes_nothing(mdata, change, error, expected):
    arguments = {"source": "rna", "target": "protein", **change}
    before = (set(mdata.obsp), set(mdata.uns), {m: set(a.obs) for m, a in mdata.mod.items()})
    with pytest.raises(error, match=expected):
        sg.tl.select_aligner(mdata, arguments.pop("source"), arguments.pop("target"), **arguments)
    assert (
        set(mdata.obsp),
        set(mdata.uns),
        {m: set(a.obs) for m, a in mdata.mod.items()},
    ) == before

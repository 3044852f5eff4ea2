"""What a stage wrote into the data and the results comes back as it was."""

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scgroove._report import Results, Settings
from scgroove._stages import Stages
from scgroove.metrics.permutation_tests import LabelTest

SETTINGS = Settings(source="rna", target="prot", modalities=("rna", "prot"))


def fresh():
    parts = {m: ad.AnnData(np.ones((n, 2), dtype=np.float32)) for m, n in (("rna", 4), ("prot", 3))}
    for m, part in parts.items():
        part.obs_names = [f"{m}{i}" for i in range(part.n_obs)]
    return Results(mudata.MuData(parts), SETTINGS, "data")


def test_a_stage_comes_back(tmp_path):
    stages, results = Stages(tmp_path / "stages", tmp_path), fresh()
    before = stages.before(results)
    results.mdata["rna"].obsm["X_groove"] = np.arange(8.0).reshape(4, 2)
    results.mdata["prot"].obs["group"] = pd.Categorical(["a", None, "b"])
    results.mdata.obsp["coupling_rna_prot"] = sp.csr_matrix(np.eye(7))
    results.mdata.uns["coupling_rna_prot"] = {"method": "eot", "converged": True}
    results.accuracy = pd.DataFrame({"source": ["rna"], "balanced_accuracy": [0.5]})
    results.recovered = pd.Series([0.25, 0.75], index=["a", "b"])
    results.evidence = {"epsilon": np.float32(0.5), "method": "eot"}
    test = LabelTest(0.5, 0.25, 0.75, 0.2, 0.1, 0.01, 40, 5)
    results.tests["groove"] = {("rna", "prot"): test}  # filled in place
    results.seconds["embed"] = 1.5
    stages.keep("embed", results, before)
    assert stages.done == ["embed"]

    again = fresh()
    assert stages.restore("embed", again)
    assert not stages.restore("align", again)
    np.testing.assert_array_equal(again.mdata["rna"].obsm["X_groove"], np.arange(8.0).reshape(4, 2))
    pd.testing.assert_series_equal(
        again.mdata["prot"].obs["group"], results.mdata["prot"].obs["group"]
    )
    np.testing.assert_array_equal(again.mdata.obsp["coupling_rna_prot"].toarray(), np.eye(7))
    assert again.mdata.uns["coupling_rna_prot"]["method"] == "eot"
    pd.testing.assert_frame_equal(again.accuracy, results.accuracy, check_index_type=False)
    assert again.recovered.to_dict() == {"a": 0.25, "b": 0.75}
    assert again.evidence == {"epsilon": 0.5, "method": "eot"}
    assert again.tests == results.tests
    assert again.seconds == {"embed": 1.5}


def test_a_result_that_no_file_can_hold_leaves_the_stage_to_be_done_again(tmp_path):
    stages, results = Stages(tmp_path / "stages", tmp_path), fresh()
    before = stages.before(results)
    results.evidence = {"odd": object()}
    stages.keep("align", results, before)
    assert stages.done == []
    assert not list((tmp_path / "stages").iterdir())


def test_a_damaged_stage_and_those_after_it_are_done_again(tmp_path):
    stages, results = Stages(tmp_path / "stages", tmp_path), fresh()
    for name in ("embed", "align", "impute"):
        stages.keep(name, results, stages.before(results))
    file = stages.file_of("align")
    file.write_bytes(file.read_bytes()[:-50])
    assert stages.restore("embed", fresh())
    with pytest.warns(
        UserWarning, match=r"'align' is done again: .*01-align\.h5 is damaged or incomplete"
    ):
        assert not stages.restore("align", fresh())
    assert stages.done == ["embed"]

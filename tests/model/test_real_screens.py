"""Set-up on real screens; skipped where they are not at hand."""

import mudata as md
import pytest

from scgroove.data import label_table
from scgroove.model import GROOVE


def test_thp1_labels_and_likelihoods(shared):
    mdata = md.read(shared / "thp1_crispr.h5mu")
    table = label_table(mdata, "label")
    assert table["status"].value_counts().to_dict() == {"exclusive": 18, "shared": 7}
    exclusive = table[table["status"] == "exclusive"]
    assert [(exclusive[m] > 0).sum() for m in ("rna", "prot")] == [17, 1]
    GROOVE.setup_mudata(mdata, "label", batch_key={"rna": "batch"})
    model = GROOVE(mdata)
    assert model.likelihood == {"rna": "nb", "prot": "nb_panel"}
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    assert model.translate("rna", "prot", indices=range(5)).shape == (5, 4)


def test_scgem_is_paired_by_name_and_binary(shared):
    mdata = md.read(shared / "scgem_reprogramming.h5mu")
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata)
    assert model.likelihood == {"rna": "normal", "meth": "bernoulli"}
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    held_out = {m: set(mdata[m].obs_names[rows]) for m, rows in model.validation_indices.items()}
    assert held_out["rna"] == held_out["meth"]
    assert held_out["rna"]


def test_one_profile_a_compound_is_refused_unless_asked_for(shared):
    mdata = md.read(shared / "u2os_l1000_cellpainting.h5mu")
    with pytest.raises(
        ValueError, match=r"122 shared label\(s\) have fewer than 2 cells.*min_cells_per_label=1"
    ):
        GROOVE.setup_mudata(mdata, "label")
    GROOVE.setup_mudata(mdata, "label", min_cells_per_label=1)
    model = GROOVE(mdata)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    assert len(model.get_latent_representation()["cp"]) == 122

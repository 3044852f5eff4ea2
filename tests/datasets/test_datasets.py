import gzip
import os
import subprocess
import sys
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

import scgroove as sg
from scgroove.datasets import DATASETS, _published
from scgroove.datasets._download import RemoteFile, cache_folder, fetch, unpacked
from scgroove.errors import DownloadError

METADATA = "GSE153056_ECCITE_metadata.tsv.gz"
RNA = "GSM4633614_ECCITE_cDNA_counts.tsv.gz"
CITE = "GSE194122_openproblems_neurips2021_cite_BMMC_processed.h5ad.gz"


@pytest.fixture
def any_contents(monkeypatch):
    """The small files of these tests are not those whose checksums are known."""
    free = {
        k: replace(one, files=tuple(replace(f, checksum=None) for f in one.files))
        for k, one in DATASETS.items()
    }
    monkeypatch.setattr(_published, "DATASETS", free)


@pytest.fixture
def options(server, tmp_path, any_contents):
    return {"mirror": server.address, "cache": tmp_path / "cache", "progress": False}


def left(tmp_path):
    """Names of the files in the cache."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------------- what they hold


def test_papalexi(papalexi, options):
    rna, adt, meta = papalexi
    mdata = sg.datasets.papalexi_2021(**options)
    assert list(mdata.mod) == ["rna", "prot"]
    for m, expected in (("rna", rna), ("prot", adt)):
        adata = mdata[m]
        assert adata.obs_names.tolist() == meta.index.tolist()
        assert adata.var_names.tolist() == expected.columns.tolist()
        np.testing.assert_array_equal(adata.X.toarray(), expected.to_numpy())
        assert (adata.X.format, adata.X.dtype) == ("csr", np.float32)
        assert adata.obs["label"].tolist() == meta["gene"].tolist()
        assert adata.obs["batch"].tolist() == meta["replicate"].tolist()
        assert adata.obs["pair_id"].tolist() == meta.index.tolist()
    assert mdata.uns["source"]["accession"] == "GEO GSE153056"
    assert mdata.uns["source"]["files"][0].startswith("https://ftp.ncbi.nlm.nih.gov/geo/")


def test_it_can_be_written_and_trained_on(papalexi, options, tmp_path):
    mdata = sg.datasets.papalexi_2021(**options)
    mdata.write(tmp_path / "screen.h5mu")
    sg.model.GROOVE.setup_mudata(mdata, "label", batch_key="batch")
    assert sg.model.GROOVE(mdata).likelihood == {"rna": "nb", "prot": "nb_panel"}


def test_disjoint_halves(papalexi, options):
    mdata = sg.datasets.papalexi_2021(disjoint=True, **options)
    rna, prot = mdata["rna"].obs, mdata["prot"].obs
    assert not set(rna.index) & set(prot.index)
    assert (
        rna["label"].value_counts().to_dict()
        == prot["label"].value_counts().to_dict()
        == {"NT": 1, "STAT1": 1, "IRF1": 1}
    )
    assert "pair_id" not in rna
    again = sg.datasets.papalexi_2021(disjoint=True, seed=0, **options)
    assert again["rna"].obs_names.equals(mdata["rna"].obs_names)
    seeds = {
        tuple(sg.datasets.papalexi_2021(disjoint=True, seed=s, **options)["rna"].obs_names)
        for s in range(6)
    }
    assert len(seeds) > 1


def test_frangieh(frangieh, options):
    rna, protein = frangieh
    mdata = sg.datasets.frangieh_2021(**options)
    assert (
        mdata["rna"].obs_names.tolist()
        == mdata["prot"].obs_names.tolist()
        == rna.obs_names.tolist()
    )
    np.testing.assert_array_equal(mdata["rna"].X.toarray(), rna.X.toarray())
    np.testing.assert_array_equal(mdata["prot"].X.toarray(), protein[rna.obs_names].X)
    obs = mdata["prot"].obs
    assert obs["label"].isna().tolist() == [False, False, True] * 3
    assert obs["label"].dropna().tolist() == ["control", "JAK2"] * 3
    assert obs["n_perturbations"].tolist() == [0, 1, 2] * 3


def test_frangieh_of_one_condition(frangieh, options):
    rna, _ = frangieh
    mdata = sg.datasets.frangieh_2021(condition="IFNγ", **options)
    assert mdata["rna"].obs_names.tolist() == ["CELL_3", "CELL_4", "CELL_5"]
    np.testing.assert_array_equal(mdata["rna"].X.toarray(), rna[3:6].X.toarray())
    assert set(mdata["rna"].obs["condition"]) == {"IFNγ"}
    with pytest.raises(
        ValueError,
        match=r"unknown condition 'IFN'\. Did you mean 'IFNγ'[?] Available: 'Co-culture', 'Control'",
    ):
        sg.datasets.frangieh_2021(condition="IFN", **options)


def test_neurips(neurips, options, server):
    mdata = sg.datasets.neurips_2021_cite(**options)
    np.testing.assert_array_equal(
        mdata["rna"].X.toarray(), neurips.layers["counts"][:, :3].toarray()
    )
    np.testing.assert_array_equal(
        mdata["prot"].X.toarray(), neurips.layers["counts"][:, 3:].toarray()
    )
    assert mdata["prot"].var_names.tolist() == ["CD3", "CD19"]
    assert mdata["rna"].obs["label"].tolist() == neurips.obs["cell_type"].tolist()
    assert mdata["rna"].obs["batch"].tolist() == neurips.obs["batch"].tolist()
    sg.datasets.neurips_2021_cite(**options)
    assert server.asked == [CITE], "the second time it is there"
    server.files["GSE194122_openproblems_neurips2021_multiome_BMMC_processed.h5ad.gz"] = (
        server.files[CITE]
    )
    with pytest.raises(DownloadError, match="has no features of type 'ATAC'"):
        sg.datasets.neurips_2021_multiome(**options)


def test_table():
    table = sg.datasets.table()
    assert set(table.index) == {
        name for name in sg.datasets.__all__ if name[-4:].isdigit() or name.startswith("neurips")
    }
    assert (table["size_mb"] > 0).all()
    assert (table[["citation", "license", "accession"]] != "").all(axis=None)
    for one in DATASETS.values():
        for file in one.files:
            assert file.url.startswith("https://")
            assert file.url.endswith(file.name)


# ---------------------------------------------------------------------------------------------------- what goes wrong


def test_wrong_checksum(papalexi, server, tmp_path):
    """The file of this test is not the published one, whose checksum is known."""
    with pytest.raises(
        DownloadError,
        match=f"{METADATA} from .* is not the file that was expected: .* It was not kept",
    ):
        sg.datasets.papalexi_2021(mirror=server.address, cache=tmp_path / "cache", progress=False)
    assert METADATA not in left(tmp_path)


def test_right_checksum(server, tmp_path):
    server.files["a.txt"] = b"hello"
    sha = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    file = RemoteFile("https://nowhere.invalid/a.txt", 1, sha)
    path = fetch(file, tmp_path / "cache", server.address, progress=False)
    assert path.read_bytes() == b"hello"
    path.write_bytes(b"spoilt")
    assert fetch(file, tmp_path / "cache", server.address, progress=False).read_bytes() == b"hello"
    assert server.asked == ["a.txt", "a.txt"], "what is spoilt in the cache is had anew"


def test_a_transfer_that_breaks_off_leaves_nothing_and_can_be_repeated(
    papalexi, options, server, tmp_path
):
    server.cut.add(RNA)
    with pytest.raises(
        DownloadError, match=rf"{RNA} \(about 50 MB\) could not be downloaded .* Try again"
    ):
        sg.datasets.papalexi_2021(**options)
    assert left(tmp_path) == []
    server.cut.clear()
    assert sg.datasets.papalexi_2021(**options).n_obs == 6


def test_a_file_that_is_not_there(options, tmp_path):
    with pytest.raises(DownloadError, match=r"404.*mirror= takes it from another place"):
        sg.datasets.neurips_2021_cite(**options)
    assert left(tmp_path) == []


def test_no_server(any_contents, tmp_path):
    with pytest.raises(DownloadError, match="download it by other means and put it there as"):
        sg.datasets.neurips_2021_cite(
            mirror="http://127.0.0.1:9/x", cache=tmp_path / "cache", progress=False
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2],
        lambda c: b"no gzip at all",
        lambda c: c[:30] + b"\0\0\0\0" + c[34:],
    ],
)
def test_a_damaged_file_is_taken_away(neurips, options, server, tmp_path, damage):
    whole = server.files[CITE]
    server.files[CITE] = damage(whole)
    with pytest.raises(DownloadError, match=r"cannot be read .* call again to download it anew"):
        sg.datasets.neurips_2021_cite(**options)
    assert left(tmp_path) == []
    server.files[CITE] = whole
    assert sg.datasets.neurips_2021_cite(**options).n_obs == 6


def test_a_damaged_table_is_taken_away(papalexi, options, server, tmp_path):
    whole = server.files[RNA]
    server.files[RNA] = whole[: len(whole) // 2]
    with pytest.raises(DownloadError, match=f"{RNA} cannot be read"):
        sg.datasets.papalexi_2021(**options)
    assert RNA not in left(tmp_path)
    server.files[RNA] = whole
    assert sg.datasets.papalexi_2021(**options).n_obs == 6


def test_files_of_another_format(papalexi, neurips, options, server):
    server.files[METADATA] = gzip.compress(b"gene\tphase\nc1\tSTAT1\tG1\n")
    with pytest.raises(
        DownloadError, match=r"lacks the columns \['replicate'\]; it has \['gene', 'phase'\]"
    ):
        sg.datasets.papalexi_2021(**options)
    (options["cache"] / METADATA).unlink()
    server.files[METADATA] = gzip.compress(b"gene\treplicate\nl1_unknown\tSTAT1\trep1\n")
    with pytest.raises(
        DownloadError, match=r"lacks 1 of the 1 cells that GSE153056_ECCITE_metadata\.tsv\.gz names"
    ):
        sg.datasets.papalexi_2021(**options)
    (options["cache"] / METADATA).unlink()
    server.files[METADATA] = gzip.compress(b"<html>not here any more</html>\n")
    with pytest.raises(DownloadError, match="expected a table with names in the first line"):
        sg.datasets.papalexi_2021(**options)


def test_an_h5ad_without_what_is_needed(options, server, tmp_path):
    path = tmp_path / "other.h5ad"
    ad.AnnData(np.ones((2, 2), dtype=np.float32)).write_h5ad(path)
    server.files["FrangiehIzar2021_RNA.h5ad"] = server.files["FrangiehIzar2021_protein.h5ad"] = (
        path.read_bytes()
    )
    with pytest.raises(
        DownloadError, match=r"lacks the columns \['perturbation', 'perturbation_2', 'nperts'\]"
    ):
        sg.datasets.frangieh_2021(**options)
    server.files[CITE] = gzip.compress(b"not HDF5")
    with pytest.raises(DownloadError, match="cannot be read"):
        sg.datasets.neurips_2021_cite(**options)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(papalexi, options):
    options["cache"].mkdir()
    options["cache"].chmod(0o500)
    with pytest.raises(
        DownloadError, match="Name another folder, cache=, or set SCGROOVE_DATA_DIR"
    ):
        sg.datasets.papalexi_2021(**options)


def test_a_file_in_the_way_of_the_folder(papalexi, options):
    options["cache"].write_text("in the way")
    with pytest.raises(
        DownloadError, match="Name another folder, cache=, or set SCGROOVE_DATA_DIR"
    ):
        sg.datasets.papalexi_2021(**options)


# -------------------------------------------------------------------------------------------------------- the cache


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("SCGROOVE_DATA_DIR", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("SCGROOVE_DATA_DIR")
    assert cache_folder().name == "scgroove"


def test_unpacking_starts_anew_where_the_packed_file_is_newer(tmp_path):
    packed = tmp_path / "a.h5ad.gz"
    packed.write_bytes(gzip.compress(b"one"))
    assert unpacked(packed).read_bytes() == b"one"
    packed.write_bytes(gzip.compress(b"two"))
    os.utime(packed, (2e9, 2e9))
    assert unpacked(packed).read_bytes() == b"two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5ad", "a.h5ad.gz"]


def test_the_module_is_light():
    script = "import sys, scgroove.datasets\nassert not {'torch', 'scvi', 'scanpy', 'anndata'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)

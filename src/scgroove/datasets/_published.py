"""Public screens, each from where its authors or curators put it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import scipy.sparse as sp

from scgroove import _keys
from scgroove._files import make_mudata
from scgroove.datasets._download import RemoteFile, fetch, unpacked
from scgroove.datasets._read import Hdf5, read_counts, read_table
from scgroove.errors import DownloadError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

GEO: Final = "https://ftp.ncbi.nlm.nih.gov/geo"
SAMPLES: Final = f"{GEO}/samples/GSM4633nnn"
BMMC: Final = f"{GEO}/series/GSE194nnn/GSE194122/suppl"
ZENODO: Final = "https://zenodo.org/records/10044268/files"
GEO_TERMS: Final = "public in GEO, which places no restriction on use; cite the article"


@dataclass(frozen=True)
class Published:
    """Source and terms of use of a data set, as in ``mdata.uns["source"]``.

    Attributes
    ----------
    title, citation, doi, accession, license
        As its authors and the archive say.
    files
        Files that are downloaded.
    """

    title: str
    citation: str
    doi: str
    accession: str
    license: str
    files: tuple[RemoteFile, ...]

    @property
    def size_mb(self) -> float:
        """Size of the download in MB, about."""
        return sum(file.size_mb for file in self.files)


DATASETS: Final[Mapping[str, Published]] = {
    "papalexi_2021": Published(
        title="CRISPR screen of regulators of PD-L1 in THP-1 cells, ECCITE-seq: RNA and four "
        "surface proteins",
        citation="Papalexi et al. 2021, Nature Genetics 53:322-331",
        doi="10.1038/s41588-021-00778-2",
        accession="GEO GSE153056",
        license=GEO_TERMS,
        files=(
            RemoteFile(f"{SAMPLES}/GSM4633614/suppl/GSM4633614_ECCITE_cDNA_counts.tsv.gz", 50),
            RemoteFile(f"{SAMPLES}/GSM4633615/suppl/GSM4633615_ECCITE_ADT_counts.tsv.gz", 0.3),
            RemoteFile(
                f"{GEO}/series/GSE153nnn/GSE153056/suppl/GSE153056_ECCITE_metadata.tsv.gz",
                1,
                "sha256:7059b0cb857dc344e6bb53dbdc5ccadccb25bb069372ed6f45eff46b7e992a76",
            ),
        ),
    ),
    "frangieh_2021": Published(
        title="CRISPR screen of immune evasion in melanoma cells, Perturb-CITE-seq: RNA and "
        "surface proteins, three conditions",
        citation="Frangieh et al. 2021, Nature Genetics 53:332-341; curated by Peidli et al. 2024, "
        "Nature Methods 21:531-540",
        doi="10.1038/s41588-021-00779-1",
        accession="Single Cell Portal SCP1064; Zenodo 10.5281/zenodo.10044268",
        license="CC BY 4.0 (Zenodo record)",
        files=(
            RemoteFile(f"{ZENODO}/FrangiehIzar2021_RNA.h5ad", 1500),
            RemoteFile(f"{ZENODO}/FrangiehIzar2021_protein.h5ad", 20),
        ),
    ),
    "neurips_2021_cite": Published(
        title="Bone marrow of healthy donors, CITE-seq: RNA and 134 surface proteins "
        "(NeurIPS 2021 competition)",
        citation="Luecken et al. 2021, NeurIPS Datasets and Benchmarks Track",
        doi="",
        accession="GEO GSE194122",
        license=GEO_TERMS,
        files=(
            RemoteFile(
                f"{BMMC}/GSE194122_openproblems_neurips2021_cite_BMMC_processed.h5ad.gz", 615
            ),
        ),
    ),
    "neurips_2021_multiome": Published(
        title="Bone marrow of healthy donors, multiome: RNA and open chromatin "
        "(NeurIPS 2021 competition)",
        citation="Luecken et al. 2021, NeurIPS Datasets and Benchmarks Track",
        doi="",
        accession="GEO GSE194122",
        license=GEO_TERMS,
        files=(
            RemoteFile(
                f"{BMMC}/GSE194122_openproblems_neurips2021_multiome_BMMC_processed.h5ad.gz", 2700
            ),
        ),
    ),
}
"""Data sets, by the name of the function that loads them."""


def papalexi_2021(
    *,
    disjoint: bool = False,
    seed: int = 0,
    cache: str | Path | None = None,
    mirror: str | None = None,
    progress: bool = True,
) -> MuData:
    """Load the CRISPR screen of Papalexi et al. 2021 (ECCITE-seq): RNA and four proteins.

    It has 20,729 THP-1 cells.

    Parameters
    ----------
    disjoint
        Keep the RNA of a random half of the cells of each label and the proteins of the other half,
        as if they came from two screens. By default both modalities of all cells, with
        ``obs["pair_id"]``.
    seed
        Random state of the halves.
    cache
        Folder for downloads. ``SCGROOVE_DATA_DIR``, or the cache folder of the system, if None.
    mirror
        Address of another folder with the files.
    progress
        Show a bar while downloading (about 50 MB).

    Returns
    -------
    MuData
        ``rna`` and ``prot``, counts in ``X`` (CSR float32). ``obs["label"]`` is the gene that the
        guide targets, ``"NT"`` the control, ``obs["batch"]`` the replicate, ``uns["source"]`` the
        source.

    Raises
    ------
    DownloadError
        A file cannot be had, is damaged, or has changed.

    References
    ----------
    Papalexi et al. 2021, Nature Genetics 53:322. GEO GSE153056.

    Examples
    --------
    >>> mdata = scgroove.datasets.papalexi_2021(disjoint=True)  # doctest: +SKIP
    """
    rna, prot, about = _files("papalexi_2021", cache, mirror, progress)
    obs = read_table(about, needed=("gene", "replicate"))
    mods = {}
    for name, path in (("rna", rna), ("prot", prot)):
        counts, features, cells = read_counts(path)
        place = {cell: i for i, cell in enumerate(cells)}
        rows = np.array([place.get(cell, -1) for cell in obs.index], dtype=np.intp)
        if (rows < 0).any():
            raise DownloadError(
                f"{path.name} lacks {int((rows < 0).sum())} of the {len(rows)} cells that "
                f"{about.name} names: the files do not belong together. Remove them from "
                f"{path.parent} to download them anew."
            )
        own = obs.assign(label=obs["gene"], batch=obs["replicate"])
        mods[name] = _modality(counts[rows], own, features)
    return _finished(mods, "papalexi_2021", disjoint, seed)


def frangieh_2021(
    *,
    condition: str | None = None,
    disjoint: bool = False,
    seed: int = 0,
    cache: str | Path | None = None,
    mirror: str | None = None,
    progress: bool = True,
) -> MuData:
    """Load the CRISPR screen of Frangieh et al. 2021 (Perturb-CITE-seq): RNA and proteins.

    It has 218,331 melanoma cells, as curated by scPerturb. The authors' own files need an account.

    Parameters
    ----------
    condition
        ``"Control"``, ``"IFNγ"`` or ``"Co-culture"``: the cells of one condition, which need a
        third of the memory. All if None.
    disjoint, seed, cache, mirror, progress
        See :func:`papalexi_2021`. About 1.5 GB are downloaded.

    Returns
    -------
    MuData
        ``rna`` and ``prot``. ``obs["label"]`` is the gene that the guide targets, ``"control"`` the
        control, missing where the source has none. ``obs["condition"]`` and
        ``obs["n_perturbations"]`` (guides of the cell).

    Raises
    ------
    DownloadError
        A file cannot be had, is damaged, or has changed.
    UnknownNameError
        There is no such condition.

    References
    ----------
    Frangieh et al. 2021, Nature Genetics 53:332. Peidli et al. 2024, Nature Methods 21:531. Zenodo
    10044268.
    """
    rna, prot = _files("frangieh_2021", cache, mirror, progress)
    with Hdf5(rna) as first, Hdf5(prot) as second:
        both = {"rna": first, "prot": second}
        obs = {
            m: file.table("obs", ("perturbation", "perturbation_2", "nperts"))
            for m, file in both.items()
        }
        shared = obs["rna"].index.intersection(obs["prot"].index)
        if condition is not None:
            conditions = obs["rna"].loc[shared, "perturbation_2"].astype(str)
            if condition not in set(conditions):
                raise UnknownNameError("condition", condition, sorted(set(conditions)))
            shared = shared[(conditions == condition).to_numpy()]
        mods = {}
        for m, file in both.items():
            rows = obs[m].index.get_indexer(shared)
            own = obs[m].iloc[rows]
            own = own.assign(
                label=own["perturbation"],
                condition=own["perturbation_2"],
                n_perturbations=own["nperts"],
            )
            mods[m] = _modality(
                file.matrix("X", rows),
                own,
                file.table("var").index,
                ("condition", "n_perturbations"),
            )
    return _finished(mods, "frangieh_2021", disjoint, seed)


def neurips_2021_cite(
    *,
    disjoint: bool = False,
    seed: int = 0,
    cache: str | Path | None = None,
    mirror: str | None = None,
    progress: bool = True,
) -> MuData:
    """Load 90,261 bone marrow cells of the NeurIPS 2021 competition: RNA and 134 proteins.

    Parameters
    ----------
    disjoint, seed, cache, mirror, progress
        See :func:`papalexi_2021`. About 600 MB are downloaded.

    Returns
    -------
    MuData
        ``rna`` and ``prot``, counts in ``X`` (CSR float32). ``obs["label"]`` is the cell type,
        ``obs["batch"]`` site and donor.

    Raises
    ------
    DownloadError
        A file cannot be had, is damaged, or has changed.

    References
    ----------
    Luecken et al. 2021, NeurIPS Datasets and Benchmarks Track. GEO GSE194122.
    """
    paths = _files("neurips_2021_cite", cache, mirror, progress)
    return _neurips("neurips_2021_cite", paths, {"rna": "GEX", "prot": "ADT"}, disjoint, seed)


def neurips_2021_multiome(
    *,
    disjoint: bool = False,
    seed: int = 0,
    cache: str | Path | None = None,
    mirror: str | None = None,
    progress: bool = True,
) -> MuData:
    """Load 69,249 bone marrow cells of the NeurIPS 2021 competition: RNA and 116,490 peaks.

    Parameters
    ----------
    disjoint, seed, cache, mirror, progress
        See :func:`papalexi_2021`. About 2.7 GB are downloaded.

    Returns
    -------
    MuData
        ``rna`` and ``atac``, counts in ``X`` (CSR float32). ``obs["label"]`` is the cell type,
        ``obs["batch"]`` site and donor.

    Raises
    ------
    DownloadError
        A file cannot be had, is damaged, or has changed.

    References
    ----------
    Luecken et al. 2021, NeurIPS Datasets and Benchmarks Track. GEO GSE194122.
    """
    paths = _files("neurips_2021_multiome", cache, mirror, progress)
    return _neurips("neurips_2021_multiome", paths, {"rna": "GEX", "atac": "ATAC"}, disjoint, seed)


def _files(name: str, cache: str | Path | None, mirror: str | None, progress: bool) -> list[Path]:
    return [fetch(file, cache, mirror, progress=progress) for file in DATASETS[name].files]


def _neurips(
    name: str, paths: list[Path], kinds: Mapping[str, str], disjoint: bool, seed: int
) -> MuData:
    (packed,) = paths
    with Hdf5(unpacked(packed)) as file:
        obs = file.table("obs", ("cell_type", "batch"))
        var = file.table("var", ("feature_types",))
        counts = file.matrix("layers/counts")
    obs = obs.assign(label=obs["cell_type"])
    mods = {}
    for m, kind in kinds.items():
        own = (var["feature_types"].astype(str) == kind).to_numpy()
        if not own.any():
            raise DownloadError(
                f"{packed.name} has no features of type {kind!r}: the file has changed."
            )
        mods[m] = _modality(counts[:, own], obs, var.index[own])
    return _finished(mods, name, disjoint, seed)


def _modality(
    counts: sp.csr_matrix,
    obs: pd.DataFrame,
    features: Sequence[str],
    columns: Sequence[str] = ("batch",),
) -> AnnData:
    """Return a modality with the label and other columns."""
    import pandas as pd
    from anndata import AnnData

    index = pd.Index(obs.index.astype(str), name=None)
    columns_of_cells = {}
    for column in ("label", *columns):
        values = obs[column]
        if not pd.api.types.is_numeric_dtype(values):
            text = [None if pd.isna(one) else str(one) for one in values]
            values = pd.Series(pd.Categorical(text))
        columns_of_cells[column] = values.array
    adata = AnnData(
        sp.csr_matrix(counts, dtype=np.float32),
        obs=pd.DataFrame(columns_of_cells, index=index),
        var=pd.DataFrame(index=pd.Index(features).astype(str)),
    )
    adata.var_names_make_unique()
    return adata


def _finished(mods: dict[str, AnnData], name: str, disjoint: bool, seed: int) -> MuData:
    if disjoint:
        mods = _halves(mods, seed)
    else:
        for adata in mods.values():
            adata.obs[_keys.PAIR] = adata.obs_names.to_numpy()
    mdata = make_mudata(mods)
    source = DATASETS[name]
    keys = ("title", "citation", "doi", "accession", "license")
    mdata.uns["source"] = {key: getattr(source, key) for key in keys}
    mdata.uns["source"]["files"] = np.array([file.url for file in source.files], dtype=object)
    return mdata


def _halves(mods: Mapping[str, AnnData], seed: int) -> dict[str, AnnData]:
    """Return each modality of another half of the cells of each label."""
    rng = np.random.default_rng(seed)
    (first, a), (second, b) = mods.items()
    labels = a.obs["label"].cat.codes.to_numpy()
    in_first = np.zeros(a.n_obs, dtype=bool)
    for code in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == code))
        in_first[own[: (own.size + 1) // 2]] = True
    return {first: a[in_first].copy(), second: b[~in_first].copy()}


def table() -> pd.DataFrame:
    """Return title, size of the download in MB, citation, accession and license of each data set.

    Examples
    --------
    >>> scgroove.datasets.table().index.tolist()
    ['papalexi_2021', 'frangieh_2021', 'neurips_2021_cite', 'neurips_2021_multiome']
    """
    import pandas as pd

    index, sources = pd.Index(list(DATASETS), name="name"), DATASETS.values()
    columns = ("title", "size_mb", "citation", "accession", "license")
    table = pd.DataFrame(index=index)
    for column in columns:
        table[column] = [getattr(source, column) for source in sources]
    return table

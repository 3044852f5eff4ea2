"""A server on this machine with small files of the published formats, which can also misbehave."""

import gzip
import io
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp


@dataclass
class Server:
    """What is served, what was asked for, and what goes wrong."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)
    address: str = ""


@pytest.fixture
def server():
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[-1]
            state.asked.append(name)
            content = state.files.get(name)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if name in state.cut else content)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        state.address = f"http://127.0.0.1:{httpd.server_address[1]}/screens/"
        yield state
        httpd.shutdown()


def as_tsv(frame, corner):
    """A table as R writes it: without a name for the column of names, or with one."""
    text = frame.to_csv(sep="\t")
    return gzip.compress((text if corner else text[1:]).encode())


def as_h5ad(adata, tmp_path):
    path = tmp_path / "made.h5ad"
    adata.write_h5ad(path)
    return path.read_bytes()


def counts(n, names, seed):
    values = np.random.default_rng(seed).poisson(1.0, size=(n, len(names)))
    return sp.csr_matrix(values, dtype=np.float32), list(names)


@pytest.fixture(params=[False, True], ids=["header of R", "header with corner"])
def papalexi(server, request):
    """Six cells that the metadata name, and one more in the counts, in other orders."""
    cells = [f"l1_{c}" for c in "ABCDEF"]
    meta = pd.DataFrame(
        {
            "gene": ["NT", "NT", "STAT1", "STAT1", "IRF1", "IRF1"],
            "replicate": ["rep1", "rep2"] * 3,
            "nCount_RNA": range(6),
        },
        index=cells,
    )
    rng = np.random.default_rng(0)
    order = [cells[i] for i in (3, 1, 0, 5, 4, 2)] + ["l1_Z"]
    rna = pd.DataFrame(
        rng.poisson(1.0, (1203, 7)), index=[f"G{i}" for i in range(1203)], columns=order
    )
    adt = pd.DataFrame(
        rng.poisson(9.0, (4, 7)), index=["CD86", "PDL1", "PDL2", "CD366"], columns=order[::-1]
    )
    corner = request.param
    server.files |= {
        "GSM4633614_ECCITE_cDNA_counts.tsv.gz": as_tsv(rna, corner),
        "GSM4633615_ECCITE_ADT_counts.tsv.gz": as_tsv(adt, corner),
        "GSE153056_ECCITE_metadata.tsv.gz": as_tsv(meta, corner),
    }
    return rna[cells].T, adt[cells].T, meta


def frangieh_files(tmp_path):
    """Cells of three conditions, in another order in the proteins, one only there."""
    x, genes = counts(9, ["A", "B", "A", "C"], 1)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(["control", "JAK2", None] * 3),
            "perturbation_2": ["Control"] * 3 + ["IFNγ"] * 3 + ["Co-culture"] * 3,
            "nperts": [0, 1, 2] * 3,
        },
        index=[f"CELL_{i}" for i in range(9)],
    )
    rna = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"{g}{i}" for i, g in enumerate(genes)]))
    order = [8, 2, 0, 4, 7, 6, 1, 3, 5]
    more = pd.DataFrame(
        {"perturbation": ["JAK2"], "perturbation_2": ["Control"], "nperts": [1]}, index=["CELL_99"]
    )
    y = np.arange(20, dtype=np.float32).reshape(10, 2)
    protein = ad.AnnData(
        y, obs=pd.concat([obs.iloc[order], more]), var=pd.DataFrame(index=["CD274", "HLA_A"])
    )
    return rna, protein


@pytest.fixture
def frangieh(server, tmp_path):
    rna, protein = frangieh_files(tmp_path)
    server.files |= {
        "FrangiehIzar2021_RNA.h5ad": as_h5ad(rna, tmp_path),
        "FrangiehIzar2021_protein.h5ad": as_h5ad(protein, tmp_path),
    }
    return rna, protein


@pytest.fixture
def neurips(server, tmp_path):
    """The format of both files of the competition: one matrix, normalized in X, counts in a layer."""
    x, _ = counts(6, range(5), 3)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["B", "NK", "B", "NK", "B", "NK"]),
            "batch": ["s1d1", "s1d2"] * 3,
        },
        index=[f"cell{i}" for i in range(6)],
    )
    var = pd.DataFrame(
        {"feature_types": ["GEX", "GEX", "GEX", "ADT", "ADT"]}, index=["A", "B", "C", "CD3", "CD19"]
    )
    adata = ad.AnnData(x * 0.5, obs=obs, var=var, layers={"counts": x})
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(as_h5ad(adata, tmp_path))
    server.files["GSE194122_openproblems_neurips2021_cite_BMMC_processed.h5ad.gz"] = (
        packed.getvalue()
    )
    return adata

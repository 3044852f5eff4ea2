"""The pinned scanpy works at the size of a screen: its own main path, without scgroove."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import scanpy as sc


@pytest.mark.slow
def test_neighbors_of_nine_thousand_cells_are_of_their_cluster() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(3, size=9000)
    rates = rng.gamma(1.0, 2.0, size=(3, 100))
    adata = anndata.AnnData(rng.poisson(rates[cluster]).astype(np.float32))
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=10)
    sc.pp.neighbors(adata)
    source, target = adata.obsp["connectivities"].nonzero()
    assert adata.obsp["connectivities"].shape == (9000, 9000)
    assert np.mean(cluster[source] == cluster[target]) > 0.99

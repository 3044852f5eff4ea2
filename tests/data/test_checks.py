"""What a data matrix looks like."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from scgroove.data.checks import profile, row_blocks


def adata(x):
    return ad.AnnData(x)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize(
    ("x", "likelihood"),
    [
        ([[0.0, 3.0], [1.0, 0.0]], "nb_panel"),
        ([[0.0, 1.0], [1.0, 0.0]], "bernoulli"),
        ([[0.5, 1.0], [1.0, 0.0]], "normal"),
        ([[-1.0, 1.0], [1.0, 0.0]], "normal"),
    ],
)
def test_likelihood_from_the_data(form, x, likelihood):
    seen = profile(adata(form(np.array(x, dtype=np.float32))), "m")
    name, reason = seen.choose_likelihood()
    assert name == likelihood
    assert len(reason) > 10
    assert seen.problem_with(name) is None
    assert (seen.problem_with("nb") is None) == (likelihood in ("nb_panel", "bernoulli"))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize(
    ("n_features", "share", "panel"), [(8, 0.4, False), (7, 0.4, True), (8, 0.6, True)]
)
def test_few_features_or_one_with_most_of_the_counts_have_no_library_sizes(
    form, n_features, share, panel
):
    x = np.full((5, n_features), 60.0, dtype=np.float32)
    x[:, 3] = np.round(60 * (n_features - 1) * share / (1 - share))
    seen = profile(adata(form(x)), "prot")
    assert seen.largest_share == pytest.approx(share, abs=1e-3)
    assert seen.size_factors is not panel
    name, reason = seen.choose_likelihood()
    assert name == ("nb_panel" if panel else "nb")
    assert ("without library sizes" in reason) is panel


def test_numbers_of_the_profile():
    seen = profile(adata(sp.csr_matrix(np.array([[0, 2], [4, 0], [1, 0]], dtype=np.float32))), "m")
    assert (seen.n_obs, seen.n_vars, seen.minimum, seen.maximum) == (3, 2, 0, 4)
    assert seen.integer
    assert seen.zeros == pytest.approx(0.5)
    assert seen.median_library == 2


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_first_bad_value_is_named(form, bad):
    x = np.ones((5, 3), dtype=np.float32)
    x[3, 1] = bad
    with pytest.raises(
        ValueError, match=r"mdata\['rna'\].X holds .* first in cell '3', feature '1'"
    ):
        profile(adata(form(x)), "rna")


def test_blocks_cover_all_rows_and_stay_sparse(monkeypatch):
    monkeypatch.setattr("scgroove.data.checks.BLOCK_BYTES", 64)
    x = sp.random(9000, 7, density=0.3, format="csr", random_state=0)
    blocks = list(row_blocks(x))
    assert len(blocks) > 1
    assert all(sp.issparse(b) for _, b in blocks)
    assert (sp.vstack([b for _, b in blocks]) != x).nnz == 0

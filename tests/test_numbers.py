"""Matrices of odd types, byte orders, layouts and sizes: the right result, or an error that names the cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp

import scgroove as sg
from scgroove.aligners import ALIGNERS, UnbalancedOT
from scgroove.data.checks import profile
from scgroove.model import GROOVE
from scgroove.model._statistics import fit_input_statistics

Make = Callable[[np.ndarray], Any]


def _counts(n: int = 30, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(8, (n, d)) + 1


def _in_two_pieces(x: np.ndarray) -> sp.csr_matrix:
    """Return counts as CSR with every entry split in two, the last column first."""
    n, d = x.shape
    order = np.arange(d)[::-1]
    indices, data = np.tile(order, (n, 2)), np.hstack([x[:, order] - 1, np.ones_like(x)])
    return sp.csr_matrix(
        (data.ravel().astype(np.float32), indices.ravel(), np.arange(n + 1) * 2 * d), x.shape
    )


def _swapped(x: np.ndarray) -> sp.csr_matrix:
    matrix = sp.csr_matrix(x.astype(np.float32))
    return sp.csr_matrix((matrix.data.astype(">f4"), matrix.indices, matrix.indptr), x.shape)


FORMS: dict[str, Make] = {
    "entries in pieces": _in_two_pieces,
    "big-endian": lambda x: x.astype(">f8"),
    "sparse big-endian": _swapped,
    "half precision": lambda x: x.astype(np.float16),
    "long double": lambda x: x.astype(np.longdouble),
    "int8": lambda x: x.astype(np.int8),
    "uint64": lambda x: x.astype(np.uint64),
    "CSC of int16": lambda x: sp.csc_matrix(x.astype(np.int16)),
}


def _screen(rna: Any, prot: Any) -> md.MuData:
    mods = {}
    for m, x in (("rna", rna), ("prot", prot)):
        mods[m] = ad.AnnData(x)
        mods[m].obs_names = [f"{m}_c{i}" for i in range(x.shape[0])]
        mods[m].var_names = [f"{m}_f{j}" for j in range(x.shape[1])]
        mods[m].obs["label"] = np.array(list("abcd"))[np.arange(x.shape[0]) % 4]
        mods[m].obsm["X_groove"] = np.random.default_rng(1).normal(size=(x.shape[0], 2))
    return md.MuData(mods)


def _fitted(mdata: md.MuData) -> dict[str, np.ndarray]:
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, n_latent=2)
    rows = {m: np.arange(mdata[m].n_obs) for m in mdata.mod}
    for m, manager in model._training_managers().items():
        fit_input_statistics(model.module, m, manager, rows[m])
    return {
        name: value.numpy()
        for name, value in model.module.state_dict().items()
        if "encoder" in name
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_same_numbers_in_another_form_give_the_same_results(form: str) -> None:
    counts, make = _counts(), FORMS[form]
    given, plain = (
        _screen(make(counts), _counts(20)),
        _screen(counts.astype(np.float32), _counts(20)),
    )
    assert profile(given["rna"], "rna") == profile(plain["rna"], "rna")
    own, expected = _fitted(given), _fitted(plain)
    for name in ("center", "scale", "median_library"):
        for key in (key for key in expected if key.endswith(name)):
            np.testing.assert_allclose(own[key], expected[key], rtol=1e-6, atol=1e-9)
    for mdata in (given, plain):
        sg.tl.align(mdata, "prot", "rna", use_rep="X_groove")
        for method in ("barycentric", "label_ridge"):
            sg.tl.impute(mdata, "prot", "rna", method=method, key_added=method)
    for method in ("barycentric", "label_ridge"):
        np.testing.assert_allclose(
            given["prot"].obsm[method], plain["prot"].obsm[method], rtol=1e-4, atol=1e-4
        )


def test_small_units_are_no_constant_features() -> None:
    real = np.random.default_rng(0).normal(2, 1, (30, 4))
    small, plain = (_fitted(_screen(real * unit, _counts(20))) for unit in (1e-9, 1.0))
    for key in (key for key in plain if key.endswith(("center", "scale")) and "rna" in key):
        np.testing.assert_allclose(small[key], plain[key] * 1e-9, rtol=1e-4)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("value", [1e39, -1e30, 2**62])
def test_values_that_float32_cannot_square_are_named(form: Make, value: float) -> None:
    x = _counts().astype(np.int64 if isinstance(value, int) else np.float64)
    x[3, 1] = value
    mdata = _screen(_counts(20), form(x))
    with pytest.raises(ValueError, match=r"cell 'prot_c3', feature 'prot_f1'.*missing value"):
        GROOVE.setup_mudata(mdata, "label", paired=False)
    sg.tl.align(mdata, "rna", "prot")
    with pytest.raises(ValueError, match=r"cell 'prot_c3', feature 'prot_f1'"):
        sg.tl.impute(mdata, "rna", "prot", method="barycentric")
    assert "imputed_prot" not in mdata["rna"].obsm


def test_values_that_are_all_tiny_or_no_real_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="multiply all values"):
        profile(ad.AnnData(_counts() * 1e-30), "rna")
    with pytest.raises(TypeError, match="complex64"):
        profile(ad.AnnData(_counts().astype(np.complex64)), "rna")


@pytest.mark.parametrize("method", ["eot", "emd", "uot", "egw", "fgw", "coot", "snn"])
@pytest.mark.parametrize("scale", [1e60, 1e-160])
def test_coordinates_out_of_the_range_of_costs_are_named(method: str, scale: float) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 12, 3))
    x[7] *= 10
    with pytest.raises(ValueError, match=r"x holds values of up to .* \(cell 7\)"):
        ALIGNERS.get(method)().align(x * scale, y)
    mdata = _screen(_counts(12), _counts(12))
    mdata["rna"].obsm["X_groove"] = x * scale
    with pytest.raises(ValueError, match=r"'X_groove' of 'rna' holds values .* \(cell 'rna_c7'\)"):
        sg.tl.align(mdata, "rna", "prot", method=method)


@pytest.mark.parametrize("method", ["eot", "emd", "uot", "egw", "coot", "snn", "random", "uniform"])
@pytest.mark.parametrize("size", [1e-320, 1e307, 1e308])
def test_weights_count_by_their_ratios(method: str, size: float) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    weights = np.where(np.arange(8) < 2, 0.5, 1.0)
    aligner = ALIGNERS.get(method)()
    given = aligner.align(x, y, weights_x=weights * size, weights_y=weights * size)
    plain = aligner.align(x, y, weights_x=weights, weights_y=weights)
    np.testing.assert_allclose(given.to_dense(), plain.to_dense(), rtol=1e-3, atol=1e-4)
    assert given.mass == pytest.approx(1, abs=0.3 if method == "uot" else 1e-6)


def test_a_penalty_of_any_size_is_one() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 9, 2))
    plans = [
        UnbalancedOT(rho_source=rho, rho_target=rho).align(x, y).to_dense()
        for rho in (1e300, 1e8, np.inf)
    ]
    np.testing.assert_allclose(plans[0], plans[2])
    np.testing.assert_allclose(plans[1], plans[2], atol=1e-5)


def test_metrics_refuse_what_they_cannot_square() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    for scale in (1e200, 1e-200):
        with pytest.raises(ValueError, match="y holds values of up to"):
            sg.metrics.scores(["foscttm_global"], x=x, y=y * scale, partner=np.arange(8))
    y[2, 1] = 1e200
    for values in (y, sp.csr_matrix(y)):
        with pytest.raises(ValueError, match=r"measured holds values of up to 1\.0e\+200"):
            sg.metrics.scores(["mse"], predicted=x, measured=values, partner=np.arange(8))

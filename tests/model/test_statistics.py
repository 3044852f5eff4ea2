"""What the module learns of the data before training."""

import anndata as ad
import mudata as md
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import logit

from scgroove.model import GROOVE
from scgroove.model._statistics import fit_input_statistics

ROWS = np.arange(0, 400, 2)


@pytest.fixture(scope="module", params=[False, True], ids=["one block", "many blocks"])
def fitted(request):
    rng = np.random.default_rng(0)
    library = rng.lognormal(6, 0.3, (400, 1))
    share, theta = rng.dirichlet(np.ones(6)), np.array([0.5, 1, 2, 5, 20, 50])
    counts = (
        rng.negative_binomial(theta, theta / (theta + library * share)).astype(np.float32)
        + np.eye(6)[0]
    )
    real = rng.normal(1000, 3, (400, 4)).astype(np.float32)
    real[:, 3] = 7.0
    binary = (rng.random((400, 5)) < 0.3).astype(np.float32)
    binary[:, 0] = 1
    mods = {"n": sp.csr_matrix(counts), "p": counts, "r": real, "b": binary}
    mdata = md.MuData({m: ad.AnnData(x) for m, x in mods.items()})
    for m in mods:
        mdata[m].obs["label"] = np.arange(400) % 2
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, likelihood={"n": "nb", "p": "nb_panel"})
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr("scgroove.model._statistics.BLOCK_BYTES", 1000)
        for m, manager in model._training_managers().items():
            fit_input_statistics(model.module, m, manager, ROWS)
    return (
        model.module,
        {
            m: np.asarray(x.todense() if sp.issparse(x) else x)[ROWS].astype(float)
            for m, x in mods.items()
        },
        theta,
    )


def test_counts(fitted):
    module, data, theta = fitted
    x, transform, decoder = data["n"], module.encoder_of("n").transform, module.decoder_of("n")
    library = x.sum(1, keepdims=True)
    assert transform.median_library.item() == pytest.approx(
        np.sort(library.ravel())[(len(library) - 1) // 2]
    )
    h = np.log1p(x / library * transform.median_library.item())
    np.testing.assert_allclose(transform.center.numpy(), h.mean(0), rtol=1e-4)
    np.testing.assert_allclose(transform.scale.numpy(), h.std(0), rtol=1e-4)
    np.testing.assert_allclose(decoder.location.exp().numpy(), x.sum(0) / x.sum(), rtol=1e-4)
    mean = library * x.sum(0) / x.sum()
    by_moments = (mean**2).sum(0) / ((x - mean) ** 2 - mean).sum(0)
    found = decoder.log_dispersion.detach().exp().numpy()
    np.testing.assert_allclose(found, by_moments.clip(0.01, 1000), rtol=1e-3)
    assert 0.5 < np.median(found / theta) < 2


def test_counts_of_a_panel_are_taken_as_they_are(fitted):
    module, data, _ = fitted
    x, transform, decoder = data["p"], module.encoder_of("p").transform, module.decoder_of("p")
    np.testing.assert_allclose(transform.center.numpy(), np.log1p(x).mean(0), rtol=1e-4)
    np.testing.assert_allclose(transform.scale.numpy(), np.log1p(x).std(0), rtol=1e-4)
    np.testing.assert_allclose(decoder.location.exp().numpy(), x.mean(0), rtol=1e-4)
    by_moments = len(x) * x.mean(0) ** 2 / ((x - x.mean(0)) ** 2 - x.mean(0)).sum(0)
    found = decoder.log_dispersion.detach().exp().numpy()
    np.testing.assert_allclose(found, by_moments.clip(0.01, 1000), rtol=1e-3)


def test_real_values_with_a_large_offset_and_a_constant_feature(fitted):
    module, data, _ = fitted
    x, transform, decoder = data["r"], module.encoder_of("r").transform, module.decoder_of("r")
    np.testing.assert_allclose(transform.center.numpy(), x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(transform.scale.numpy()[:3], x.std(0)[:3], rtol=1e-4)
    assert transform.scale[3] == 1
    np.testing.assert_allclose(decoder.location.numpy(), x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(decoder.scale.numpy(), transform.scale.numpy())


def test_binary(fitted):
    module, data, _ = fitted
    expected = logit(data["b"].mean(0).clip(0.01, 0.99))
    np.testing.assert_allclose(module.decoder_of("b").location.numpy(), expected, rtol=1e-4)

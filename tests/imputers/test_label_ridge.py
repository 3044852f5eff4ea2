"""Ridge on label means: against scikit-learn on means made by hand, and linear from cells to their mean."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from scgroove.imputers import LabelRidge


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    codes_x, codes_y = np.repeat([0, 1, 2, 3, 5, -1], 4), np.repeat([0, 1, 2, 3, 4, -1], 3)
    return rng.normal(size=(24, 6)), rng.poisson(2.0, size=(18, 2)).astype(float), codes_x, codes_y


@pytest.mark.parametrize("sparse", [False, True])
def test_is_ridge_on_the_means_of_shared_labels(cells, sparse):
    x, y, codes_x, codes_y = cells
    fitted = LabelRidge().fit(x, sp.csr_matrix(y) if sparse else y, codes_x, codes_y)
    means = [
        np.array([v[c == k].mean(axis=0) for k in range(4)])
        for v, c in ((x, codes_x), (y, codes_y))
    ]
    by_hand = Ridge(fitted.penalty_).fit(*means)
    found = fitted.predict(x)
    np.testing.assert_allclose(found.values, by_hand.predict(x), rtol=1e-5, atol=1e-6)
    assert found.values.dtype == np.float32
    of_label = found.values[codes_x == 5].mean(axis=0)
    np.testing.assert_allclose(
        of_label, by_hand.predict(x[codes_x == 5].mean(axis=0)[None])[0], rtol=1e-5
    )


def test_one_feature_stays_two_dimensional(cells):
    x, y, codes_x, codes_y = cells
    assert LabelRidge().fit(x, y[:, :1], codes_x, codes_y).predict(x).values.shape == (24, 1)


def test_refuses(cells):
    x, y, codes_x, codes_y = cells
    with pytest.raises(
        ValueError, match="needs 3 labels or more that both modalities have; found 2"
    ):
        LabelRidge().fit(x, y, np.where(codes_x > 1, -1, codes_x), codes_y)
    with pytest.raises(RuntimeError, match="not fitted"):
        LabelRidge().predict(x)

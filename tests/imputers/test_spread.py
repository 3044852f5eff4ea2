"""How far values can be off: by hand, and how often intervals hold on simulated cells."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scgroove.imputers import Imputation
from scgroove.imputers.spread import (
    LEVELS,
    PRIOR_CELLS,
    LabelSpread,
    extrapolation_error,
    predictive_sd,
    shrink_to_label,
)


def imputation(values, n_effective=np.inf, between=None):
    values = np.asarray(values, dtype=np.float32)
    n = len(values)
    return Imputation(values, np.full(n, n_effective), np.zeros(n, dtype=bool), between)


def test_spread_by_hand():
    y, codes = np.array([[0.0], [4.0], [10.0], [99.0]]), np.array([0, 0, 1, -1])
    spread = LabelSpread.of(y, codes, 3)
    np.testing.assert_allclose(spread.means, [[2.0], [10.0], [np.nan]])
    assert spread.counts.tolist() == [2.0, 1.0, 0.0]
    np.testing.assert_allclose(spread.pooled, [8.0])  # (4 + 4) / (2 - 1)
    np.testing.assert_allclose(spread.variances[:2], [[8.0], [8.0]])  # one cell: that of the others
    assert spread.has(np.array([0, 1, 2, -1])).tolist() == [True, True, False, False]


def test_labels_of_one_cell_have_the_spread_of_all_cells_or_none():
    y = np.array([[0.0, 1.0], [4.0, 1.0], [8.0, 4.0]])
    spread, one_label = (LabelSpread.of(y, np.array(codes), 3) for codes in ([0, 1, 2], [0, 0, 0]))
    assert (spread.singles, one_label.singles) == (True, False)
    np.testing.assert_allclose(spread.means, y)
    np.testing.assert_allclose(
        spread.variances, [[16.0, 3.0]] * 3
    )  # 4 + 4 squared, over 2; 1 + 1 + 2 squared
    np.testing.assert_allclose(spread.quantiles, one_label.quantiles)
    assert (spread.quantiles[-1] - spread.quantiles[0] > 1).all()
    alone = LabelSpread.of(y[:1], np.array([0]), 1)
    assert np.isnan(predictive_sd(imputation(y[:1]), np.array([0]), alone)).all()


def test_labels_of_one_cell_do_not_narrow_the_intervals_of_others():
    y = np.random.default_rng(0).normal(size=(300, 1))
    codes = np.repeat([0, 1], 50)
    alone = LabelSpread.of(y[:100], codes, 2)
    among = LabelSpread.of(y, np.concatenate([codes, 2 + np.arange(200)]), 202)
    np.testing.assert_allclose(among.quantiles, alone.quantiles)


def test_variance_of_few_cells_is_drawn_to_the_mean_variance():
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(0, 1, 400), rng.normal(0, 5, 400), [0.0, 0.0]])[:, None]
    codes = np.repeat([0, 1, 2], [400, 400, 2])
    spread = LabelSpread.of(y, codes, 3)
    assert spread.variances[0, 0] == pytest.approx(1, abs=0.35)
    assert spread.variances[1, 0] == pytest.approx(25, rel=0.2)
    expected = PRIOR_CELLS * spread.pooled[0] / (1 + PRIOR_CELLS)
    assert spread.variances[2, 0] == pytest.approx(expected)


def test_without_any_label_all_cells_count_as_of_one_label():
    y = np.array([[0.0], [4.0]])
    spread = LabelSpread.of(y, np.array([-1, -1]), 0)
    np.testing.assert_allclose(spread.pooled, [8.0])
    sd = predictive_sd(imputation([[1.0]]), np.array([-1]), spread)
    np.testing.assert_allclose(sd, [[np.sqrt(8.0)]], rtol=1e-6)


@given(st.integers(0, 2**16))
def test_sparse_values_have_the_same_spread(seed):
    rng = np.random.default_rng(seed)
    y, codes = rng.poisson(0.7, size=(30, 4)).astype(float), rng.integers(-1, 3, size=30)
    one, other = (LabelSpread.of(v, codes, 3) for v in (y, sp.csr_matrix(y)))
    for field in ("means", "variances", "pooled", "quantiles"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=1e-6, atol=1e-9)


def test_quantiles_follow_the_shape():
    y = np.random.default_rng(0).exponential(size=(4000, 1))
    spread = LabelSpread.of(y, np.repeat(np.arange(4), 1000), 4)
    at = dict(zip(LEVELS, spread.quantiles[:, 0], strict=True))
    assert at[0.05] == pytest.approx(-np.log(0.95) - 1, abs=0.1)
    assert at[0.95] == pytest.approx(-np.log(0.05) - 1, abs=0.2)


def test_predictive_sd_by_hand():
    y = np.array([[0.0], [4.0], [10.0], [14.0]])
    spread = LabelSpread.of(y, np.array([0, 0, 1, 1]), 2)  # means 2 and 12, variances 8
    found = imputation(
        [[3.0], [5.0], [12.0], [7.0]],
        n_effective=4.0,
        between=np.full((4, 1), 0.5, dtype=np.float32),
    )
    sd = predictive_sd(found, np.array([0, 0, 1, -1]), spread)
    # 8 (1 + 1/4) + bias + 0.5; bias 4 for label 0 (4 against 2), 0 for label 1; without a label the variance of 2 and 12
    np.testing.assert_allclose(sd.ravel(), np.sqrt([14.5, 14.5, 10.5, 60.5]), rtol=1e-6)
    unseen = predictive_sd(found, np.array([0, 0, 1, -1]), spread, np.array([9.0]))
    np.testing.assert_allclose(
        unseen.ravel(), np.sqrt([14.5, 14.5, 10.5, 10.5 + 9 + 25]), rtol=1e-6
    )


def test_half_of_what_is_imputed_inside_a_label_counts_as_error():
    y = np.array([[0.0], [4.0]])
    spread = LabelSpread.of(y, np.array([0, 0]), 2)  # mean 2, variance 8
    found = imputation([[0.0], [4.0], [1.0], [3.0], [7.0]], n_effective=8.0)
    codes = np.array([0, 0, 1, 1, -1])  # label 1 was never measured
    sd = predictive_sd(found, codes, spread, np.array([3.0]))
    # 8 (1 + 1/8) = 9; imputed variances 8 and 2, of which 1 is the error of means of 8 cells; the mean of both for no label
    expected = [
        9 + (8 - 1) / 2,
        9 + (8 - 1) / 2,
        9 + (2 - 1) / 2 + 3,
        9 + (2 - 1) / 2 + 3,
        9 + (3.5 + 0.5) / 2 + 3,
    ]
    np.testing.assert_allclose(sd.ravel() ** 2, expected, rtol=1e-6)


def test_extrapolation_error_by_hand():
    # labels on a line; each one's nearest other label is 10 away in the target
    z = np.array([[0.0], [1.0], [2.1]])
    y = np.array([[0.0], [10.0], [20.0]])
    codes = np.arange(3)
    spread = LabelSpread.of(y, codes, 3)
    error = extrapolation_error(z, z, y, codes, codes, spread, n_neighbors=1)
    np.testing.assert_allclose(error, [100.0])
    assert extrapolation_error(z[:1], z[:1], y[:1], codes[:1], codes[:1], spread) is None


def test_shrinking_by_hand():
    y = np.array([[0.0], [4.0], [10.0], [14.0]])
    spread = LabelSpread.of(y, np.array([0, 0, 1, 1]), 3)
    found = imputation(
        [[3.0], [5.0], [7.0], [8.0]], n_effective=4.0, between=np.ones((4, 1), dtype=np.float32)
    )
    drawn = shrink_to_label(found, np.array([0, 0, 2, -1]), spread, 0.5)
    np.testing.assert_allclose(
        drawn.values.ravel(), [1.5, 2.5, 7.0, 8.0]
    )  # mean 2 as measured, differences halved
    np.testing.assert_allclose(drawn.between.ravel(), [0.25, 0.25, 1.0, 1.0])
    assert found.values[0] == 3.0
    mean = shrink_to_label(found, np.array([0, 0, 2, -1]), spread, 1.0)
    np.testing.assert_allclose(mean.values.ravel(), [2.0, 2.0, 7.0, 8.0])
    np.testing.assert_allclose(
        mean.n_effective, [2.0, 2.0, 4.0, 4.0]
    )  # a mean of the two cells of the label
    with pytest.raises(ValueError, match="shrink must be"):
        shrink_to_label(found, np.array([0, 0, 2, -1]), spread, 1.5)


def test_spread_refuses_no_cells():
    with pytest.raises(ValueError, match="needs measured cells; found none"):
        LabelSpread.of(np.empty((0, 2)), np.empty(0, dtype=int), 1)

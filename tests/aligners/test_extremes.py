"""Units, offsets, degenerate data and odd options: what must not change a coupling, and what must be refused."""

import warnings

import numpy as np
import pytest

from scgroove.aligners import (
    CoOptimalTransport,
    EntropicOT,
    ExactOT,
    GromovWasserstein,
    LowRankCost,
    UnbalancedOT,
    get,
)


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def apart(one, other):
    return float(np.abs(one.to_dense() - other.to_dense()).sum())


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e6])
def test_exact_plans_do_not_depend_on_units(scale):
    x, y = normal(60, 5), normal(60, 5, 1)
    assert apart(ExactOT(strict=True).align(x * scale, y * scale), ExactOT().align(x, y)) == 0
    small, plain = (
        CoOptimalTransport(epsilon=0).align(x[:20] * s, y[:20, :4] * s) for s in (scale, 1)
    )
    assert small.evidence["objective"] / scale**2 == pytest.approx(
        plain.evidence["objective"], rel=1e-9
    )


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_coot_does_not_depend_on_a_common_offset(offset):
    x, y = normal(30, 6), normal(30, 5, 1)
    moved, plain = (
        CoOptimalTransport().align(x + offset, y + offset),
        CoOptimalTransport().align(x, y),
    )
    assert apart(moved, plain) < 1e-4
    assert moved.marginal_errors() == pytest.approx(
        (moved.evidence["row_error"], moved.evidence["column_error"]), abs=1e-12
    )


def test_coot_of_constant_data_is_uniform():
    coupling = CoOptimalTransport().align(np.full((12, 5), 0.1), np.full((9, 5), 0.1))
    np.testing.assert_allclose(coupling.to_dense(), 1 / 108, rtol=1e-9)
    assert coupling.evidence["converged"]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [0.01, 1, 1000])
def test_inner_products_and_kernels_have_a_scale(sign, scale):
    z = normal(25, 3) + 0.5
    coupling = GromovWasserstein(epsilon=0.1).align(*2 * [LowRankCost(sign * scale * z, scale * z)])
    plain = GromovWasserstein(epsilon=0.1).align(*2 * [LowRankCost(sign * z, z)])
    assert coupling.evidence["converged"]
    products = sign * z @ z.T
    size = products.mean() if sign > 0 else np.sqrt((products**2).mean())
    assert coupling.evidence["cost_scale_source"] == pytest.approx(scale**2 * size)
    assert apart(coupling, plain) < 1e-3


def test_a_centered_kernel_has_a_scale_though_its_mean_is_zero():
    z = normal(20, 3)
    z -= z.mean(axis=0)
    size = np.sqrt(((z @ z.T) ** 2).mean())
    for given, options in ((z @ z.T, {"intra_cost": "precomputed"}), (LowRankCost(z, z), {})):
        coupling = GromovWasserstein(epsilon=0.1, **options).align(given, given)
        assert coupling.evidence["cost_scale_source"] == pytest.approx(size)
        assert sum(coupling.marginal_errors()) < 1e-4


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("method", ["egw", "egw_each", "fgw"])
def test_backends_agree_at_the_defaults(method, seed):
    rng = np.random.default_rng(seed)
    z = np.repeat(rng.normal(size=(4, 6)) * 2, 15, 0) + rng.normal(size=(60, 6))
    x = z @ rng.normal(size=(6, 10)) + 0.2 * rng.normal(size=(60, 10))
    y = z @ rng.normal(size=(6, 10)) + 0.2 * rng.normal(size=(60, 10))
    labels = np.repeat(list("abcd"), 15)
    given = (labels, labels) if method == "egw_each" else (None, None)
    here, there = (get(method)(backend=backend).align(x, y, *given) for backend in ("numpy", "jax"))
    assert apart(here, there) < 1e-4
    assert there.evidence["jax_version"] != "unknown"
    assert "jax_version" not in here.evidence


def test_one_cell_leaves_one_plan_of_low_rank():
    y = normal(13, 3)
    coupling = EntropicOT(rank=4, strict=True).align(np.zeros((1, 3)), y)
    np.testing.assert_allclose(coupling.to_dense(), np.full((1, 13), 1 / 13), rtol=1e-12)
    assert coupling.evidence["transport_cost"] == pytest.approx((y**2).sum(axis=1).mean())


def test_unbalanced_transport_says_what_is_wrong():
    with pytest.warns(
        match=r"still changing after 3 iterations.*potentials changed by more than tol.*Raise max_iter \(now 3\)"
    ):
        UnbalancedOT(max_iter=3, epsilon=1e-3).align(normal(20, 3), normal(19, 3, 1))


@pytest.mark.parametrize(
    ("cls", "options", "expected"),
    [
        (EntropicOT, {"epsilon": None}, "epsilon must be "),
        (EntropicOT, {"epsilon": [0.1]}, r"epsilon must be "),
        (EntropicOT, {"tol": None}, "tol must be a number"),
        (EntropicOT, {"max_iter": "5"}, "max_iter must be a whole number; found '5'"),
        (EntropicOT, {"max_iter": 10.5}, "max_iter must be a whole number; found 10.5"),
        (EntropicOT, {"max_memory_gb": "2"}, "max_memory_gb must be a number"),
        (EntropicOT, {"label_weights": "men"}, "label_weights must be "),
        (ExactOT, {"max_iter": -1}, "max_iter must be at least 1"),
    ],
)
def test_options_that_are_no_numbers_are_refused_at_once(cls, options, expected):
    with pytest.raises(ValueError, match=expected):
        cls(**options)


def test_numbers_of_any_kind_are_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get("snn")(k=np.int64(3)).k == 3
        assert GromovWasserstein(max_outer=1e2).max_outer == 100
        assert (
            EntropicOT(rank=np.int32(4), n_jobs=np.int64(1), epsilon=np.float32(0.5)).epsilon == 0.5
        )
        assert isinstance(CoOptimalTransport(seed=np.int64(3)).seed, int)

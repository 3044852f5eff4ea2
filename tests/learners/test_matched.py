"""Cells matched inside labels: the steps by hand and against scikit-learn, what it finds, and what it refuses."""

import warnings

import mudata
import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.cross_decomposition import CCA

import scgroove as sg
from scgroove.learners import LabelMatched
from scgroove.learners._common import apply
from scgroove.learners._matched import (
    Rematch,
    _at_most,
    _common_coordinates,
    _InsideLabels,
    _matchable,
    _together,
    _with_ridge,
    rematch,
)


def _score(mdata, z):
    """FOSCTTM inside labels of the first two modalities."""
    a, b = list(z)[:2]
    labels = mdata[a].obs["label"].to_numpy()
    order = mdata[b].obs_names.get_indexer(mdata[a].obs_names)
    return sg.metrics.foscttm(z[a], z[b][order], labels_x=labels, labels_y=labels, within_label=True)


def _moved(mdata, z):
    """The same, with labels brought to one place."""
    copy = mdata.copy()
    for m, one in z.items():
        copy[m].obsm["z"] = one
    sg.tl.center_labels(copy, "z")
    return _score(mdata, {m: copy[m].obsm["z_centred"] for m in z})


def test_labels_in_which_nothing_can_be_matched_are_left_out():
    codes = {"a": np.array([0, 0, 1, 1, 2, -1]), "b": np.array([1, 1, 1, 0, 2, 2])}
    found = _matchable(codes, 3)  # 0 has one cell in b, 2 one in a
    np.testing.assert_array_equal(found["a"], [-1, -1, 1, 1, -1, -1])
    np.testing.assert_array_equal(found["b"], [1, 1, 1, -1, -1, -1])


def test_at_most_so_many_cells_of_a_label_are_drawn():
    codes = np.array([0, 1, -1, 0, 0, 1, 0, 2])
    rows = _at_most(codes, 3, 2, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(codes[rows]), [2, 2, 1])
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(_at_most(codes, 3, 9, np.random.default_rng(0)), [0, 1, 3, 4, 5, 6, 7])
    drawn = {tuple(_at_most(codes, 3, 2, np.random.default_rng(s))) for s in range(9)}
    assert len(drawn) > 1


def test_covariance_with_ridge_by_hand():
    inputs = np.array(
        [[2.0, 0], [-2, 0], [0, 1], [0, -1]]
    )  # with these masses variances 1.6 and 0.6, their mean 1.1
    found = _with_ridge(inputs, np.array([0.2, 0.2, 0.3, 0.3]), 0.5)
    np.testing.assert_allclose(found, np.diag([1.6 + 0.55, 0.6 + 0.55]))


def _of_width(**widths):
    """Cells of which nothing counts but how many inputs they have."""
    nothing = np.zeros(0)
    return {m: _InsideLabels(nothing, np.zeros((1, d)), nothing, nothing) for m, d in widths.items()}


def test_coordinates_of_two_modalities_are_canonical():
    rng = np.random.default_rng(0)
    between = rng.normal(size=(4, 3)) / 10
    block = np.zeros((7, 7))
    block[:4, 4:], block[4:, :4] = between / 2, between.T / 2
    weights, told = _common_coordinates(_of_width(a=4, b=3), block, np.eye(7) / 2)
    u, s, vt = np.linalg.svd(between, full_matrices=False)
    np.testing.assert_allclose(told, s)
    signs = np.sign((weights["a"] * u).sum(0))
    np.testing.assert_allclose(weights["a"], u * s * signs, atol=1e-10)
    np.testing.assert_allclose(weights["b"], vt.T * s * signs, atol=1e-10)


@pytest.mark.parametrize("linked", [("ab", "ac", "bc"), ("ab", "ac")])
def test_three_modalities_that_agree_fully_have_r_of_one(linked):
    """Also where one of them stands in the middle."""
    block, own = np.zeros((6, 6)), np.zeros((6, 6))
    part = {m: slice(2 * i, 2 * i + 2) for i, m in enumerate("abc")}
    for a, b in linked:
        block[part[a], part[b]] = block[part[b], part[a]] = np.eye(2)
        own[part[a], part[a]] += np.eye(2)
        own[part[b], part[b]] += np.eye(2)
    sides = 2 * len(linked)
    weights, told = _common_coordinates(_of_width(a=2, b=2, c=2), block / sides, own / sides)
    np.testing.assert_allclose(told, [1, 1])
    for m in "bc":
        np.testing.assert_allclose(weights[m], weights["a"], atol=1e-12)
    np.testing.assert_allclose(weights["a"].T @ weights["a"], np.eye(2), atol=1e-12)


def _screen_of(n_labels=5, n_cells=40, k=3, noise=0.5, seed=0):
    """Cells of which each modality sees a turned and noisy picture; rows belong to one another."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_labels), n_cells)
    c = rng.normal(size=(codes.size, k))
    x = {}
    for m, d in (("a", 6), ("b", 5)):
        effect = 2 * rng.normal(size=(n_labels, d))
        x[m] = c @ rng.normal(size=(k, d)) + effect[codes] + noise * rng.normal(size=(codes.size, d))
    return c, x, codes


def test_with_right_matches_it_is_the_canonical_correlation_of_scikit_learn():
    _, x, codes = _screen_of()
    where = np.random.default_rng(1).normal(
        size=(codes.size, 60)
    )  # so far apart that no cell is taken for another
    options = Rematch(n_rounds=1, epsilon=0.01, regularisation=1e-12)
    maps, told = rematch(x, {"a": where, "b": where}, {"a": codes, "b": codes}, 5, options, 0)
    inside = {m: v - np.array([v[codes == g].mean(0) for g in range(5)])[codes] for m, v in x.items()}
    theirs = CCA(n_components=3, scale=False, max_iter=20000, tol=1e-14).fit(inside["a"], inside["b"])
    p, q = theirs.transform(inside["a"], inside["b"])
    ours = {m: inside[m] @ maps[m][1] for m in maps}
    for i in range(3):
        assert np.corrcoef(p[:, i], q[:, i])[0, 1] == pytest.approx(told[i], abs=1e-6)
        assert abs(np.corrcoef(p[:, i], ours["a"][:, i])[0, 1]) == pytest.approx(1, abs=1e-6)
        assert abs(np.corrcoef(q[:, i], ours["b"][:, i])[0, 1]) == pytest.approx(1, abs=1e-6)
        assert ours["a"][:, i].std() == pytest.approx(told[i], rel=1e-6)  # counts as far as it agrees


def test_matches_a_little_better_than_chance_are_enough():
    """Where cells lie at first says a tenth of their state; after ten rounds nearly all that noise leaves is found."""
    c, x, codes = _screen_of(n_labels=20, n_cells=40, seed=1)
    rng = np.random.default_rng(0)
    z = {m: c + 2 * rng.normal(size=c.shape) for m in x}
    labels = codes.astype(str)

    def score(z):
        own = {m: v - np.array([v[codes == g].mean(0) for g in range(20)])[codes] for m, v in z.items()}
        return sg.metrics.foscttm(own["a"], own["b"], labels_x=labels, labels_y=labels, within_label=True)

    path = [score(z)]
    for n in (1, 3, 10):
        maps, _ = rematch(x, z, {"a": codes, "b": codes}, 20, Rematch(n_rounds=n), 0)
        path.append(score({m: x[m] @ maps[m][1] for m in x}))
    assert path[0] > 0.4
    assert path[1] < path[0] - 0.05
    assert path[2] < path[1]
    assert path[3] < 0.15


@pytest.fixture(scope="module")
def screen():
    return sg.simulations.weakly_paired(12, 40, n_features=(30, 20), n_latent=5, seed=0)


@pytest.mark.parametrize(
    ("learner", "inputs"),
    [("ps_logistic_scaled", "latent"), ("ps_logistic_scaled", "features"), ("cca_labels", "features")],
)
@pytest.mark.parametrize("rho", [1.0, 0.5])
def test_cells_are_found_better(learner, inputs, rho):
    mdata = sg.simulations.weakly_paired(rho=rho, seed=0)
    fitted = LabelMatched(learner, inputs=inputs).fit(mdata, "label")
    before, after = fitted.inner_.transform(mdata), fitted.transform(mdata)
    assert _score(mdata, after) < _score(mdata, before) - 0.01
    assert _moved(mdata, after) < _moved(mdata, before) - 0.01
    told = fitted.evidence["told"]
    assert (np.diff(told) <= 0).all()
    assert 0 < told[-1] <= told[0] < 1


def test_nothing_shared_is_not_made_up():
    mdata = sg.simulations.from_scenario("nothing_shared", seed=0)
    z = LabelMatched("cca_labels", inputs="features").fit_transform(mdata, "label")
    assert abs(_score(mdata, z) - 0.5) < 0.03


def test_turning_the_space_or_swapping_modalities_changes_nothing(screen):
    z = sg.learners.get("cca_labels")().fit_transform(screen, "label")
    codes = {m: screen[m].obs["label"].cat.codes.to_numpy().astype(np.intp) for m in z}
    turn = ortho_group.rvs(z["rna"].shape[1], random_state=0)
    plain, _ = rematch(z, z, codes, 12, Rematch(), 0)
    turned, _ = rematch(
        {m: v @ turn for m, v in z.items()}, {m: v @ turn for m, v in z.items()}, codes, 12, Rematch(), 0
    )
    swapped, _ = rematch(z, z, dict(reversed(codes.items())), 12, Rematch(), 0)

    def distances(maps, z):
        placed = [(z[m] - maps[m][0]) @ maps[m][1] for m in ("rna", "protein")]
        return np.linalg.norm(placed[0][:, None] - placed[1][None], axis=2)

    expected = distances(plain, z)
    np.testing.assert_allclose(distances(turned, {m: v @ turn for m, v in z.items()}), expected, atol=1e-5)
    np.testing.assert_allclose(distances(swapped, z), expected, atol=1e-3)


@pytest.mark.parametrize("inputs", ["latent", "features"])
def test_cells_that_were_not_fitted_or_have_no_label_have_a_place(screen, inputs):
    fitted = LabelMatched("cca_labels", inputs=inputs).fit(screen, "label")
    few = screen[::3].copy()
    whole = fitted.transform(screen)
    few["rna"].obs["label"] = None
    for m, z in fitted.transform(few).items():
        rows = screen[m].obs_names.get_indexer(few[m].obs_names)
        np.testing.assert_allclose(z, whole[m][rows], atol=1e-10)


def test_few_cells_of_each_label_are_enough_to_match_by(screen):
    one, again, other = (
        LabelMatched("cca_labels", max_cells_per_label=15).fit_transform(screen, "label", seed=s)
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one["rna"], again["rna"])
    assert np.abs(one["rna"] - other["rna"]).max() > 1e-6
    assert _score(screen, one) < 0.45


def test_three_modalities():
    mdata = sg.simulations.from_scenario("three_modalities", seed=0)
    fitted = LabelMatched("cca_labels", inputs="features").fit(mdata, "label")
    before, after = fitted.inner_.transform(mdata), fitted.transform(mdata)
    assert len(after) == 3
    for pair in (("rna", "protein"), list(after)[1:]):
        z = [{m: found[m] for m in pair} for found in (before, after)]
        assert _score(mdata, z[1]) < _score(mdata, z[0]) - 0.01


def test_modalities_with_different_labels_come_to_one_place():
    """One has all labels, the others half of them each: states are seen, and stay where they are seen."""
    rng = np.random.default_rng(0)
    mean, state = 3 * rng.normal(size=(10, 4)), rng.normal(size=(10, 40, 4))
    x, codes = {}, {}
    for m, labels in (("a", range(10)), ("b", range(5)), ("c", range(5, 10))):
        codes[m] = np.repeat(list(labels), 40)
        x[m] = (mean[labels, None] + state[labels]).reshape(-1, 4) + 0.3 * rng.normal(size=(codes[m].size, 4))
    maps, told = rematch(x, x, codes, 10, Rematch(), 0)
    assert told[0] <= 1
    z = {m: apply(maps[m], x[m]) for m in x}
    for m, first in (("b", 0), ("c", 5)):
        rows = (codes["a"] >= first) & (codes["a"] < first + 5)
        size = np.linalg.norm(maps["a"][1]) / np.linalg.norm(maps[m][1])
        assert size == pytest.approx(1, abs=0.05)  # it counts as much in the middle as outside
        labels = codes[m].astype(str)
        before, after = (
            [
                sg.metrics.foscttm(u["a"][rows], u[m], labels_x=labels, labels_y=labels, within_label=w)
                for w in (True, False)
            ]
            for u in (x, z)
        )
        assert after[0] < before[0] + 0.01
        assert after[1] < before[1] + 0.005


def test_modalities_are_moved_to_where_their_label_means_are_nearest():
    means = {
        "a": np.array([[0.0], [2], [4]]),
        "b": np.array([[1.0], [3], [9]]),
        "c": np.array([[9.0], [5], [7]]),
    }
    codes = {"a": np.array([0, 1, 2]), "b": np.array([0, 1, -1]), "c": np.array([-1, 1, 2])}
    still = (np.zeros(1), np.eye(1), np.zeros(1))
    maps = _together(dict.fromkeys("abc", still), means, codes, 3)
    moved = {m: apply(maps[m], means[m]) for m in "abc"}
    for one, other, rows in (("a", "b", [0, 1]), ("a", "c", [1, 2])):
        np.testing.assert_allclose(moved[one][rows], moved[other][rows], atol=1e-12)


@pytest.mark.parametrize("sizes", [((10, 290), (290, 10)), ((30, 100, 200), (200, 100, 30))])
def test_agreement_is_at_most_one_where_shares_of_labels_differ(sizes):
    rng = np.random.default_rng(1)
    codes = {m: np.repeat(np.arange(len(n)), n) for m, n in zip("ab", sizes, strict=True)}
    x = {m: rng.normal(size=(c.size, 3)) * np.where(c == 0, 5.0, 0.5)[:, None] for m, c in codes.items()}
    _, told = rematch(x, x, codes, len(sizes[0]), Rematch(), 0)
    assert (told > 0).all()
    assert (told <= 1).all()


@pytest.mark.parametrize(
    "option",
    [
        {"n_rounds": 2},
        {"epsilon": 0.5},
        {"regularisation": 1.0},
        {"max_cells_per_label": 20},
        {"inputs": "features"},
    ],
)
def test_options_are_used(screen, option):
    plain, other = (LabelMatched("cca_labels", **o).fit_transform(screen, "label") for o in ({}, option))
    assert plain["rna"].shape != other["rna"].shape or np.abs(plain["rna"] - other["rna"]).max() > 1e-3


def test_labels_of_one_cell_do_not_disturb(screen):
    rows = {m: np.ones(screen[m].n_obs, dtype=bool) for m in screen.mod}
    own = screen["protein"].obs["label"].to_numpy() == "g00"
    rows["protein"][np.flatnonzero(own)[1:]] = False
    fewer = mudata.MuData({m: screen[m][rows[m]].copy() for m in screen.mod})
    z = sg.learners.get("cca_labels")().fit_transform(fewer, "label")
    codes = {m: fewer[m].obs["label"].astype(str).str[1:].astype(int).to_numpy() for m in z}
    without = {m: np.where(c == 0, -1, c) for m, c in codes.items()}
    (found, told), (expected, also) = (rematch(z, z, c, 12, Rematch(), 0) for c in (codes, without))
    np.testing.assert_allclose(told, also)
    for m in z:
        for one, other in zip(found[m], expected[m], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_few_cells_for_the_coordinates_are_warned_of(screen):
    with pytest.warns(UserWarning, match=r"few are there: 72 cells with 30 coordinates in 'rna'; 3 for"):
        LabelMatched("cca_labels", inputs="features", max_cells_per_label=6).fit(screen, "label")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LabelMatched("cca_labels", inputs="features", max_cells_per_label=6, max_features=20).fit(
            screen, "label"
        )


def test_refusals(screen):
    with pytest.raises(
        ValueError, match=r"no space that its modalities share.*LabelMatched\(GroupProcrustes\('pca'\)\)"
    ):
        LabelMatched("pca")
    for options, message in (
        ({"inputs": "raw"}, r"inputs must be one of 'latent', 'features'; found 'raw'"),
        ({"n_rounds": 0}, "n_rounds must be a whole number, 1 or more"),
        ({"epsilon": 0.0}, "epsilon must be a number above 0"),
        ({"regularisation": -1.0}, "regularisation must be a number above 0"),
        ({"max_cells_per_label": 1}, "max_cells_per_label must be a whole number, 2 or more"),
        ({"max_features": 0}, "max_features must be a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            LabelMatched("cca_labels", **options)
    first = screen["protein"].obs.groupby("label", observed=True).head(1).index
    single = mudata.MuData({"rna": screen["rna"].copy(), "protein": screen["protein"][first].copy()})
    with pytest.raises(ValueError, match=r"modality 'rna', 'protein' has no label with two cells or more"):
        LabelMatched("cca_labels").fit(single, "label")
    flat = screen.copy()
    means = flat["rna"].to_df().groupby(flat["rna"].obs["label"].astype(str)).transform("mean")
    flat["rna"].X = means.to_numpy(dtype=np.float32)
    with pytest.raises(ValueError, match=r"cells of 'rna' do not differ inside their labels"):
        LabelMatched("cca_labels", inputs="features").fit(flat, "label")
    codes = {m: screen[m].obs["label"].cat.codes.to_numpy().astype(np.intp) for m in screen.mod}
    x = {m: np.asarray(screen[m].X) for m in screen.mod}
    jitter = np.random.default_rng(0).normal(size=(codes["rna"].size, 3))
    for collapsed in (
        codes["rna"][:, None].astype(float),
        np.full((codes["rna"].size, 3), 0.1),
        (1.7 + 1e-7 * jitter).astype(np.float32),
    ):
        with pytest.raises(ValueError, match="'rna' do not differ inside their labels"):
            rematch(x, {**x, "rna": collapsed}, codes, 12, Rematch(), 0)
    apart = {"a": np.array([[1.0], [-1], [0], [0]]), "b": np.array([[0.0], [0], [1], [-1]])}
    two = {m: np.array([0, 0, 1, 1]) for m in apart}
    with pytest.raises(ValueError, match=r"matched cells of \['a', 'b'\] have nothing in common"):
        rematch(apart, apart, two, 2, Rematch(n_rounds=1), 0)

"""When equal names are believed to be the same cell, and that all who ask get one answer."""

import warnings

import anndata as ad
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove.data.labels import labels_of
from scgroove.data.pairing import known_partners, pair_ids
from scgroove.data.screen import Screen
from scgroove.model import GROOVE

MODS = ["rna", "img"]
BASES = np.array(list("ACGT"))


def labels(mdata):
    return {m: labels_of(mdata[m].obs, "label") for m in mdata.mod}


def barcodes(n, seed, suffix="-1"):
    """Barcodes as of a run, all different."""
    rng = np.random.default_rng(seed)
    return ["".join(row) + suffix for row in BASES[rng.integers(4, size=(n, 16))]]


def screen(names, given, d=6, seed=0):
    """Modalities of positive values with these names and labels."""
    rng = np.random.default_rng(seed)
    mods = {}
    for m, cells in names.items():
        obs = pd.DataFrame({"label": np.asarray(given[m], dtype=object)}, index=cells)
        var = pd.DataFrame(index=[f"{m}_{j}" for j in range(d)])
        mods[m] = ad.AnnData(
            rng.gamma(2, size=(len(cells), d)).astype(np.float32), obs=obs, var=var
        )
    return md.MuData(mods)


def random_labels(n, seed, n_labels=5):
    return [f"g{code}" for code in np.random.default_rng(seed).integers(n_labels, size=n)]


def overlapping(n_shared, n=60, agreeing=True, names=None):
    """The last cells of one modality are the first of the other."""
    cells = barcodes(2 * n - n_shared, 0) if names is None else names
    label = random_labels(len(cells), 1)
    other = label if agreeing else random_labels(len(cells), 2)
    start = n - n_shared
    parts = {"rna": cells[:n], "img": cells[start : start + n]}
    return screen(parts, {"rna": label[:n], "img": other[start : start + n]})


def believed(mdata, paired="auto"):
    ids = pair_ids(mdata, list(mdata.mod), paired, labels(mdata))
    return ids is not None


def test_different_names(make_mdata):
    mdata = make_mdata()
    assert pair_ids(mdata, MODS, "auto") is None
    with pytest.raises(ValueError, match="paired=True, but no two of the modalities"):
        pair_ids(mdata, MODS, True)


def test_equal_names_with_equal_labels(make_mdata):
    mdata = make_mdata("permuted")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = pair_ids(mdata, MODS, "auto", labels(mdata))
    assert ids["img"].tolist() == mdata["img"].obs_names.tolist()
    assert pair_ids(mdata, MODS, False) is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([str(i) for i in range(48)], "default numbering"),
        ([f"Cell_{i}" for i in range(48)], "default numbering"),
        ([f"{row}{column:02d}" for row in "ABCD" for column in range(1, 13)], "wells"),
    ],
)
def test_names_that_every_screen_has_are_not_believed(names, found):
    sorted_labels = np.repeat(["a", "b", "c", "d"], 12)
    mdata = screen(dict.fromkeys(MODS, names), dict.fromkeys(MODS, sorted_labels))
    with pytest.warns(
        UserWarning, match=f"48 obs names are equal in 'rna' and 'img', but .*{found}"
    ):
        assert not believed(mdata)
    assert pair_ids(mdata, MODS, True)["rna"].tolist() == names


def test_numbers_are_believed_where_labels_vouch_for_them():
    names = [f"cell_{i}" for i in range(80)]
    mdata = screen(dict.fromkeys(MODS, names), dict.fromkeys(MODS, random_labels(80, 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert believed(mdata)


@pytest.mark.parametrize(
    ("n_shared", "agreeing", "expected"), [(60, True, 1), (40, True, 1), (20, True, 1), (40, False, 0), (8, False, 0), (2, True, 0)]
)  # fmt: skip
def test_barcodes_are_believed_by_overlap_and_labels(n_shared, agreeing, expected):
    mdata = overlapping(n_shared, agreeing=agreeing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert believed(mdata) == expected
    assert len(caught) == 1 - expected


def test_some_labels_may_differ_but_it_is_said():
    mdata = overlapping(60)
    mdata["img"].obs["label"] = np.where(np.arange(60) < 6, "g9", mdata["img"].obs["label"])
    with pytest.warns(
        UserWarning, match="taken as the same cells, though 6 of 60 of them have different labels"
    ):
        assert believed(mdata)


def test_without_labels_most_names_must_be_shared():
    assert pair_ids(overlapping(40), MODS) is not None
    with pytest.warns(UserWarning, match="only 20 of 60 cells"):
        assert pair_ids(overlapping(20), MODS) is None


def test_as_many_barcodes_as_collide_are_not_believed():
    # of two runs of 2,000 cells, 2,000 ** 2 / 737,280 = 5.4 barcodes are the same by chance
    n, n_shared = 2_000, 50
    cells = barcodes(2 * n - n_shared, 0)
    of_run = ["a"] * (n // 2) + ["b"] * (n // 2)  # labels agree because they follow the run
    mdata = screen(
        {"rna": cells[:n], "img": cells[n - n_shared :]}, {"rna": of_run, "img": of_run[::-1]}, d=1
    )
    mdata["img"].obs["label"] = (
        mdata["rna"].obs["label"].reindex(mdata["img"].obs_names).fillna("a")
    )
    with pytest.warns(UserWarning, match="5.4 expected by chance"):
        assert not believed(mdata)


def test_contradicting_labels_are_not_believed(make_mdata):
    mdata = make_mdata("paired")
    mdata["img"].obs["label"] = mdata["img"].obs["label"].to_numpy()[::-1]
    with pytest.warns(UserWarning, match="have different labels in 'rna' and 'img'.*paired=True"):
        assert pair_ids(mdata, MODS, "auto", labels(mdata)) is None


def test_identifiers_are_compared_as_text(make_mdata):
    mdata = make_mdata()
    n = mdata["img"].n_obs
    mdata["rna"].obs["unit"] = [i if i < n else np.nan for i in range(mdata["rna"].n_obs)]
    for values in (np.arange(n), [f" {i}" for i in range(n)], pd.Categorical(range(n))):
        mdata["img"].obs["unit"] = values
        ids = pair_ids(mdata, MODS, "unit")
        assert ids["rna"].tolist()[:n] == ids["img"].tolist() == [str(i) for i in range(n)]
        assert set(ids["rna"][n:]) == {None}


@pytest.mark.parametrize("blank", ["", "  ", "nan", "None", "NA", "<NA>", None, np.nan, pd.NA])
def test_blank_identifiers_are_none(make_mdata, blank):
    mdata = make_mdata()
    for m in MODS:
        mdata[m].obs["pair_id"] = pd.Series(
            [f"u{i}" if i < 10 else blank for i in range(mdata[m].n_obs)], dtype=object
        ).to_numpy()
    partner, _ = known_partners(mdata, *MODS)
    assert partner.tolist() == [*range(10), *[-1] * (mdata["rna"].n_obs - 10)]


def test_a_default_column_of_donors_identifies_no_cells(make_mdata):
    mdata = make_mdata("permuted")
    for m in MODS:
        mdata[m].obs["pair_id"] = [f"donor{i % 3}" for i in range(mdata[m].n_obs)]
    with pytest.warns(UserWarning, match=r"holds 'donor0' more than once.*pair_key=.*paired=False"):
        GROOVE.setup_mudata(mdata, "label")
    partner, reason = known_partners(mdata, *MODS, quiet=True)
    assert partner is None
    assert "more than once" in reason
    with pytest.raises(ValueError, match="'donor0' is used more than once"):
        known_partners(mdata, *MODS, "pair_id")
    with pytest.raises(ValueError, match="'donor0' is used more than once"):
        GROOVE.setup_mudata(mdata, "label", paired="pair_id")


def test_where_the_default_column_is_empty_names_tell(make_mdata):
    mdata = make_mdata("permuted")
    by_name = known_partners(mdata, *MODS, quiet=True)[0]
    mdata["rna"].obs["pair_id"] = [f"c{i}" for i in range(mdata["rna"].n_obs)]
    mdata["img"].obs["pair_id"] = np.nan
    with pytest.warns(UserWarning, match=r"no identifier in \['img'\].*equal names are the same"):
        GROOVE.setup_mudata(mdata, "label")
    np.testing.assert_array_equal(known_partners(mdata, *MODS, quiet=True)[0], by_name)


def test_a_column_is_checked(make_mdata):
    mdata = make_mdata()
    with pytest.raises(KeyError, match="no such column"):
        pair_ids(mdata, MODS, "units")
    mdata["rna"].obs["unit"] = [*map(str, range(200))]
    with pytest.raises(KeyError, match=r"paired='unit': no such column in mdata.mod\['img'\]"):
        pair_ids(mdata, MODS, "unit")
    mdata["img"].obs["unit"] = [f"x{i}" for i in range(150)]
    with pytest.warns(UserWarning, match="no identifier is in two modalities"):
        pair_ids(mdata, MODS, "unit")
    mdata["img"].obs["unit"] = 1.0
    for ask in (
        lambda: pair_ids(mdata, MODS, "unit"),
        lambda: known_partners(mdata, *MODS, "unit"),
    ):
        with pytest.raises(ValueError, match="'1' is used more than once"):
            ask()


def test_each_two_of_three_modalities_are_judged_by_themselves():
    two = overlapping(60)
    names = [*two["rna"].obs_names[:5], *barcodes(55, 9)]  # collide with five of the others
    third = screen({"atac": names}, {"atac": random_labels(60, 7)})
    mdata = md.MuData({"rna": two["rna"], "img": two["img"], "atac": third["atac"]})
    with pytest.warns(UserWarning, match="obs names are equal") as caught:
        ids = pair_ids(mdata, list(mdata.mod), "auto", labels(mdata))
    assert len(caught) == 2
    assert ids["rna"].tolist() == ids["img"].tolist()
    assert len(set(ids["rna"])) == 60
    assert set(ids["atac"]) == {None}


# -- one answer ----------------------------------------------------------------------------------------------------


def imputed(mdata):
    n, d = mdata["rna"].n_obs, mdata["img"].n_vars
    values = np.random.default_rng(0).gamma(2, size=(n, d)).astype(np.float32)
    mdata["rna"].obsm["imputed_img"] = values
    mdata["rna"].uns["imputed_img"] = {"features": mdata["img"].var_names.to_numpy(dtype=object)}
    for adata in mdata.mod.values():
        adata.obsm["X_groove"] = (
            np.random.default_rng(1).normal(size=(adata.n_obs, 3)).astype(np.float32)
        )
    return mdata


def scored(mdata):
    """Cells that scores, oracles and figures take as the same: none, or how many."""
    counts = []
    for score in (sg.tl.score_matching, sg.tl.score_imputation):
        try:
            table = score(mdata, "rna", "img").set_index("metric")
        except ValueError:
            counts.append(0)
            continue
        name = "foscttm_global" if "foscttm_global" in table.index else "mse"
        counts.append(int(table["n"].get(name, 0)))
    ax = sg.pl.imputed_vs_measured(mdata, "rna", "img", show=False)[0]
    drawn = [len(c.get_offsets()) for c in ax.collections if hasattr(c, "get_offsets")]
    plt.close("all")
    counts.append(drawn[0] if drawn and drawn[0] > 5 else 0)
    try:
        sg.tl.align(mdata, "rna", "img", method="oracle", labeled=False)
        counts.append(np.count_nonzero(sg.get.coupling(mdata, "rna", "img").to_dense() > 0))
    except ValueError:
        counts.append(0)
    counts.append(int((Screen.read(mdata).partners("rna", "img") >= 0).sum()))
    return counts


@pytest.mark.filterwarnings("ignore:.*obs names are equal")
@pytest.mark.parametrize(
    ("n_shared", "agreeing", "paired", "n"),
    [
        (40, True, "auto", 40),
        (40, True, False, 0),
        (40, False, "auto", 0),
        (40, False, True, 40),
        (40, False, "unit", 40),
        (3, True, "auto", 0),
    ],
)
def test_scores_oracle_and_figures_follow_the_set_up(n_shared, agreeing, paired, n, tmp_path):
    mdata = overlapping(n_shared, agreeing=agreeing)
    for adata in mdata.mod.values():
        adata.obs["unit"] = adata.obs_names.to_numpy()
    GROOVE.setup_mudata(mdata, "label", paired=paired)
    expected = [n] * 5
    assert scored(imputed(mdata)) == expected
    mdata.write_h5mu(tmp_path / "set_up.h5mu")
    assert scored(md.read_h5mu(tmp_path / "set_up.h5mu")) == expected
    assert scored(mdata[mdata.obs_names].copy()) == expected


@pytest.mark.filterwarnings("ignore:.*obs names are equal")
def test_labels_of_another_column_judge_scores_too():
    mdata = overlapping(40, agreeing=False)
    for adata in mdata.mod.values():
        adata.obs["guide"] = adata.obs["label"]
        adata.obs["label"] = "all alike"
    GROOVE.setup_mudata(mdata, "guide")
    assert scored(imputed(mdata))[1:] == [0] * 4


def test_a_failed_set_up_settles_nothing():
    mdata = overlapping(40)
    with pytest.raises(KeyError):
        GROOVE.setup_mudata(mdata, "label", paired="units")
    assert not mdata.uns

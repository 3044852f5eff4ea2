"""Labels left out: what is hidden stays hidden, effects by hand, and verdicts that follow intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import scgroove as sg
from scgroove import benchmark
from scgroove.errors import ResultsWarning
from scgroove.learners import LEARNERS, Learner


@pytest.fixture(scope="module")
def screen() -> mudata.MuData:
    return sg.simulations.weakly_paired(
        n_labels=8, n_cells_per_label=30, n_features=(20, 15), n_latent=4, seed=2
    )


QUICK = ("label_ridge", "control_mean", "other_labels", "shuffled")


def test_every_shared_label_is_hidden_once_a_seed(screen: mudata.MuData) -> None:
    table = benchmark.leave_labels_out(
        screen, "rna", "protein", QUICK, control="g00", n_folds=3, seeds=2
    )
    counts = table.groupby(["method", "seed"])["label"].agg(["nunique", "size"])
    assert (counts == 7).all(axis=None)
    assert "g00" not in set(table["label"])
    assert (table["n_source"] == 30).all()
    assert (table["n_target"] == 30).all()
    assert (table["error"] == "").all()
    assert table["reliability"].between(0.5, 1).all()
    folds = table.drop_duplicates(["seed", "label"]).pivot_table(
        index="label", columns="seed", values="fold"
    )
    assert (folds[0] != folds[1]).any(), "other folds with another seed"


def test_baselines_by_hand() -> None:
    """Two features; labels shift one of them; cells of a label are alike."""
    effects = {"control": (0, 0), "a": (1, 0), "b": (0, 1), "c": (2, 0), "d": (0, 2)}
    mods = {}
    for m in ("rna", "protein"):
        x = np.repeat([effects[name] for name in effects], 3, axis=0).astype(np.float32) + 0.5
        adata = anndata.AnnData(
            x,
            obs=pd.DataFrame(
                {"label": np.repeat(list(effects), 3)}, index=[f"{m}{i}" for i in range(15)]
            ),
        )
        adata.var_names = [f"{m}_0", f"{m}_1"]
        mods[m] = adata
    table = benchmark.leave_labels_out(
        mudata.MuData(mods),
        "rna",
        "protein",
        QUICK,
        control="control",
        n_folds=4,
        min_cells_per_label=3,
    ).set_index(["label", "method"])
    assert (table.xs("control_mean", level="method")["relative_error"] == 1).all()
    assert (table.xs("control_mean", level="method")["effect_sign_agreement"] == 0.5).all()
    # the mean effect of b, c, d in standardized features, all of one scale: (2/3, 1) against (1, 0)
    error = ((2 / 3 - 1) ** 2 + 1) / 1
    assert table.loc[("a", "other_labels"), "relative_error"] == pytest.approx(error, rel=1e-4)
    assert table.loc[("a", "label_ridge"), "relative_error"] < 0.2  # effects are the same in both
    assert table.loc[("a", "shuffled"), "relative_error"] in [
        pytest.approx(v, rel=1e-3) for v in (2.0, 1.0, 5.0)
    ]


def test_the_target_never_sees_a_hidden_label() -> None:
    """A learner that looks at what it is given."""
    seen: list[tuple[set[str], set[str]]] = []

    @LEARNERS.register("looks_on")
    @dataclass
    class LooksOn(Learner):
        name: ClassVar[str] = "looks_on"

        def _fit(self, screen: Any, seed: int) -> None:
            labels = [set(screen.mdata.mod[m].obs["label"]) for m in ("rna", "protein")]
            seen.append((labels[0], labels[1]))

        def _transform(self, mdata: mudata.MuData) -> dict[str, np.ndarray]:
            return {m: np.asarray(mdata.mod[m].X)[:, :3] for m in self.modalities_}

    mdata = sg.simulations.weakly_paired(
        n_labels=6, n_cells_per_label=12, n_features=(5, 5), seed=0
    )
    table = benchmark.leave_labels_out(
        mdata, "rna", "protein", ["looks_on/knn", "looks_on/entropic"], n_folds=3
    )
    assert len(seen) == 3, "learned once for both ways of imputing"
    for number, (rna, protein) in enumerate(seen):
        hidden = set(table[table["fold"] == number]["label"])
        assert rna - protein == hidden
    assert "_scvi" not in "".join(mdata["rna"].obs.columns)


def test_decoder_and_regression_run(screen: mudata.MuData) -> None:
    groove = {"learner": "groove", "options": {"max_epochs": 8}}
    quick = {"regression": {"n_models": 1, "max_epochs": 20}}
    methods = [
        {"how": "decoder", "learner": groove},
        {"how": "regression", "learner": groove, "options": quick},
        {"how": "label_regression", "options": quick},
        "cca_labels/knn",
    ]
    table = benchmark.leave_labels_out(screen, "rna", "protein", methods, n_folds=2)
    assert (table["error"] == "").all()
    means = table.groupby("method")["effect_pearson"].mean()
    assert means["cca_labels/knn"] > 0.2  # shared effects only: rho is 1
    assert means["label_regression"] > 0.2


def test_a_method_that_fails_says_so_and_the_others_go_on(screen: mudata.MuData) -> None:
    bad = {"how": "knn", "learner": "cca_labels", "options": {"n_neighbors": 0}}
    with pytest.warns(
        ResultsWarning, match="cca_labels/knn: ArgumentError: n_neighbors must be a whole number"
    ):
        table = benchmark.leave_labels_out(
            screen, "rna", "protein", [bad, "other_labels"], n_folds=2
        )
    failed = table["method"] == "cca_labels/knn"
    assert table.loc[failed, "effect_pearson"].isna().all()
    assert table.loc[~failed, "relative_error"].notna().all()
    with pytest.raises(
        ValueError, match="no label has a value of 'effect_pearson' for every method"
    ):
        benchmark.summarize_labels(table)


def test_same_result_in_two_processes(screen: mudata.MuData) -> None:
    one, other = (
        benchmark.leave_labels_out(
            screen, "rna", "protein", ["cca_labels/knn", *QUICK], n_folds=2, n_jobs=jobs
        )
        for jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one, other)


# --------------------------------------------------------------------------------------------------------- summary


def rows(values: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": m,
                "seed": 0,
                "label": f"g{i}",
                "effect_pearson": v,
                "effect_sign_agreement": v,
                "relative_error": v,
            }
            for m, own in values.items()
            for i, v in enumerate(own)
        ]
    )


def test_summary_by_hand() -> None:
    base = [0.1, 0.3, 0.2, 0.4, 0.2, 0.3, 0.1, 0.2]
    table = rows(
        {
            "good": [v + 0.3 + 0.01 * i for i, v in enumerate(base)],
            "same": base[::-1],
            "other_labels": base,
        }
    )
    found = benchmark.summarize_labels(table, interval="t").set_index("method")
    assert found.index[0] == "good"
    assert found.loc["good", "difference"] == pytest.approx(0.335)
    assert found["verdict"].to_dict() == {
        "good": "better",
        "same": "no difference shown",
        "other_labels": "reference",
    }
    assert (found["reference"] == "other_labels").all()
    worse = benchmark.summarize_labels(table, "relative_error", interval="t").set_index("method")
    assert worse.loc["good", "verdict"] == "worse", "an error is better when lower"
    assert worse.loc["good", "difference"] == pytest.approx(-0.335)


def test_reference_is_the_best_baseline_unless_named() -> None:
    table = rows({"a": [1.0] * 3, "other_labels": [0.2, 0.3, 0.1], "shuffled": [0.5, 0.4, 0.6]})
    assert set(benchmark.summarize_labels(table)["reference"]) == {"shuffled"}
    assert set(benchmark.summarize_labels(table, reference="a")["reference"]) == {"a"}
    with pytest.raises(ValueError, match=r"reference='b': no such method"):
        benchmark.summarize_labels(table, reference="b")
    with pytest.raises(ValueError, match=r"no baseline .* among the methods"):
        benchmark.summarize_labels(table[table["method"] == "a"])


def test_labels_of_other_screens_are_other_labels() -> None:
    one = rows({"a": [1.0, 0.0], "other_labels": [0.0, 0.0]})
    table = pd.concat([one.assign(screen=0), one.assign(screen=1)])
    assert set(benchmark.summarize_labels(table)["n_labels"]) == {4}


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "rna", "target": "rna"}, "source and target are both 'rna'"),
        ({"target": "protien"}, "no such modality.*Did you mean 'protein'"),
        ({"control": "g0"}, "control='g0': no cell has this label. Did you mean 'g07'"),
        ({"min_cells_per_label": 31}, "fewer than four labels can be hidden"),
        ({"n_folds": 9}, "n_folds must be between 2 and the 8 labels"),
        ({"methods": ["groove/nearest"]}, "way of imputing"),
        ({"methods": ["knn"]}, "'knn' needs a learner"),
        ({"methods": ["groove/label_ridge"]}, "'label_ridge' needs no learner"),
        ({"methods": ["pca/knn"]}, "learner 'pca' makes no shared space"),
        ({"methods": ["cca_labels/decoder"]}, "learner 'cca_labels' has no decoder"),
        ({"methods": ["shuffled", "shuffled"]}, r"different names.*found \['shuffled'\]"),
        ({"methods": []}, "one at least"),
    ],
)
def test_refuses(screen: mudata.MuData, options: dict[str, Any], message: str) -> None:
    given = {"source": "rna", "target": "protein", "methods": QUICK, **options}
    with pytest.raises((ValueError, KeyError), match=message):
        benchmark.leave_labels_out(screen, **given)

import pytest

from scgroove.benchmark import AlignerSpec, DataSpec, LearnerSpec, Spec
from scgroove.errors import SpecError


def test_names_stand_for_themselves(small):
    spec = Spec.from_dict(small)
    assert [one.name for one in spec.learners] == ["test_noisy_truth"]
    assert spec.seeds == (0, 1)
    assert spec.n_cells == 6
    assert spec.data[0].simulated().n_features == (12, 9)


def test_unlabeled_forms_have_names_of_their_own():
    spec = Spec.from_dict(
        {"data": ["reference"], "learners": ["test_apart"], "aligners": ["egw", "egw unlabeled"]}
    )
    assert [(one.method, one.labeled) for one in spec.aligners] == [("egw", True), ("egw", False)]
    assert [one.name for one in spec.aligners] == ["egw", "egw unlabeled"]


def test_toml_round_trip(tmp_path, small):
    path = tmp_path / "spec.toml"
    path.write_text(
        """
title = "Mine"
seeds = [3, 7]
learners = ["test_noisy_truth", {learner = "test_noisy_truth", name = "loud", options = {noise = 2.0}}]
aligners = ["eot", {method = "eot", labeled = false, name = "free", options = {epsilon = 0.1}}]
metrics = ["trace_within_label"]

[[data]]
scenario = "reference"
parameters = {rho = 0.5, n_labels = 5}

[[data]]
file = "screen.h5mu"
drop_labels = ["unknown"]
"""
    )
    spec = Spec.from_toml(path)
    assert spec.title == "Mine"
    assert spec.seeds == (3, 7)
    assert spec.learners[1] == LearnerSpec("test_noisy_truth", "loud", {"noise": 2.0})
    assert spec.aligners[1] == AlignerSpec("eot", False, "free", {"epsilon": 0.1})
    assert spec.data[0].name == "reference, rho 0.5, n_labels 5"
    assert spec.data[1].file == str(tmp_path / "screen.h5mu")
    assert Spec.from_dict(spec.as_dict()) == spec


def test_quick_is_small_and_keeps_files(tmp_path):
    spec = Spec.from_dict(
        {
            "data": ["reference", "many_labels", "exclusive", "a.h5mu"],
            "learners": ["test_apart"],
            "seeds": 5,
        }
    )
    quick = spec.quick()
    assert quick.seeds == (0,)
    for one in quick.data[:2]:
        scenario = one.simulated()
        assert scenario.n_labels <= 8
        assert max(scenario.cells_per_label()) <= 20
    assert (
        quick.data[2].simulated().n_labels > sum(quick.data[2].simulated().exclusive().values()) + 1
    )
    assert quick.data[3] == spec.data[3]


BAD = {
    "an unknown entry": (
        {"data": ["reference"], "learnrs": ["test_apart"]},
        "'learnrs'. Did you mean 'learners'?",
    ),
    "an unknown learner": (
        {"data": ["reference"], "learners": ["test_aprt"]},
        "unknown learner 'test_aprt'. Did you mean 'test_apart'?",
    ),
    "an unknown aligner": (
        {"data": ["reference"], "learners": ["test_apart"], "aligners": ["egv"]},
        "Did you mean 'egw'?",
    ),
    "an unknown scenario": (
        {"data": ["refrence"], "learners": ["test_apart"]},
        "Did you mean 'reference'?",
    ),
    "an unknown metric": (
        {"data": ["reference"], "learners": ["test_apart"], "metrics": ["trace_within_labl"]},
        "unknown metric 'trace_within_labl'. Did you mean 'trace_within_label'?",
    ),
    "an option of a learner": (
        {
            "data": ["reference"],
            "learners": [{"learner": "test_noisy_truth", "options": {"nois": 1}}],
        },
        "no option 'nois'. Did you mean 'noise'?",
    ),
    "an option of an aligner": (
        {
            "data": ["reference"],
            "learners": ["test_apart"],
            "aligners": [{"method": "eot", "options": {"epsilom": 1}}],
        },
        "no option 'epsilom'. Did you mean 'epsilon'?",
    ),
    "a value of an aligner": (
        {
            "data": ["reference"],
            "learners": ["test_apart"],
            "aligners": [{"method": "eot", "options": {"epsilon": -1}}],
        },
        "epsilon",
    ),
    "a parameter": (
        {"data": [{"scenario": "reference", "parameters": {"roh": 1}}], "learners": ["test_apart"]},
        "no parameter 'roh'. Did you mean 'rho'?",
    ),
    "a value of a parameter": (
        {"data": [{"scenario": "reference", "parameters": {"rho": 2}}], "learners": ["test_apart"]},
        "rho must be between 0",
    ),
    "twice": (
        {"data": ["reference", "reference"], "learners": ["test_apart"]},
        "'reference' twice",
    ),
    "no learner": ({"data": ["reference"]}, "at least one of learners"),
    "no seed": (
        {"data": ["reference"], "learners": ["test_apart"], "seeds": 0},
        "seeds must be how many",
    ),
    "a negative seed": (
        {"data": ["reference"], "learners": ["test_apart"], "seeds": [-1]},
        "seeds must be how many",
    ),
    "both": (
        {"data": [{"scenario": "reference", "file": "a.h5mu"}], "learners": ["test_apart"]},
        "one of the two",
    ),
    "neither": ({"data": [{"name": "x"}], "learners": ["test_apart"]}, "one of the two"),
    "no name of a learner": (
        {"data": ["reference"], "learners": [{"name": "x"}]},
        "must say which learner",
    ),
    "a number": ({"data": [3], "learners": ["test_apart"]}, "must be a name or a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_specs_say_where(case):
    given, expected = BAD[case]
    with pytest.raises(SpecError) as caught:
        Spec.from_dict(given)
    assert expected in str(caught.value)


def test_not_toml(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text("seeds = = 3")
    with pytest.raises(SpecError, match=r"spec.toml is not TOML: .*line 1"):
        Spec.from_toml(path)


def test_a_typo_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text('data = ["reference"]\nlearners = ["test_apart"]\nsedes = 3')
    with pytest.raises(SpecError, match=r"spec.toml: .*'sedes'. Did you mean 'seeds'"):
        Spec.from_toml(path)


def test_a_file_has_no_parameters():
    with pytest.raises(SpecError, match="parameters go with a scenario"):
        DataSpec(file="a.h5mu", parameters={"rho": 1})


def test_options_that_came_later_leave_earlier_results_valid():
    assert not {"control", "dose_key"} & set(DataSpec(file="a.h5mu").as_plain())
    assert DataSpec(file="a.h5mu", dose_key="dose").as_plain()["dose_key"] == "dose"


def test_one_label_to_drop_may_be_text():
    assert DataSpec(file="a.h5mu", drop_labels="unknown").drop_labels == ("unknown",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"scenario": "reference", "drop_labels": ["g0"]},
            "drop_labels goes with a file, not with a scenario",
        ),
        ({"scenario": "reference", "n_top_features": 5}, "n_top_features goes with a file"),
        ({"scenario": "reference", "dose_key": "dose"}, "dose_key goes with a file"),
        (
            {"scenario": "reference", "unlabeled_category": "x"},
            "unlabeled_category goes with a file",
        ),
        (
            {"file": "a.h5mu", "n_top_features": "2000"},
            "n_top_features must be a whole number of at least 1; found '2000'",
        ),
        (
            {"file": "a.h5mu", "min_cells_per_label": 0},
            "min_cells_per_label must be a whole number",
        ),
    ],
)
def test_options_of_data_that_would_do_nothing_or_harm(options, message):
    with pytest.raises(SpecError, match=message):
        DataSpec(**options)

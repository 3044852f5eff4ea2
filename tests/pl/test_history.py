"""Training curves."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scgroove.pl import training_history


def history(
    epochs=20, names=("train_loss", "validation_loss", "groupclip_train", "groupclip_validation")
):
    index = pd.Index(range(epochs), name="epoch")
    return {
        name: pd.DataFrame({name: np.linspace(3 + i, 1 + i, epochs)}, index=index)
        for i, name in enumerate(names)
    }


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_one_panel_a_term_with_both_splits():
    given = history()
    axes = training_history(SimpleNamespace(history=given))
    assert [ax.get_title(loc="left") for ax in axes] == ["total loss", "GroupCLIP"]
    for ax, names in zip(
        axes,
        (("train_loss", "validation_loss"), ("groupclip_train", "groupclip_validation")),
        strict=True,
    ):
        drawn = lines(ax)
        assert list(drawn) == ["train", "validation"]
        np.testing.assert_allclose(drawn["train"][:, 1], given[names[0]].iloc[:, 0])
        np.testing.assert_allclose(drawn["validation"][:, 1], given[names[1]].iloc[:, 0])
        assert ax.get_xlabel() == "epoch"


def test_terms_stand_in_a_fixed_order_and_settings_are_left_out():
    names = ("reconstruction_b_train", "backtranslation_weight", "backtranslation_train", "train_loss_step",
             "reconstruction_a_train", "groupclip_train", "train_loss", "new_term_train")  # fmt: skip
    axes = training_history(history(names=names))
    assert [ax.get_title(loc="left") for ax in axes] == [
        "total loss",
        "GroupCLIP",
        "back-translation",
        "reconstruction of b",
        "reconstruction of a",
        "new term",
    ]


def test_terms_can_be_chosen_settings_too():
    axes = training_history(
        history(names=("train_loss", "backtranslation_weight")), terms=["backtranslation_weight"]
    )
    assert [ax.get_title(loc="left") for ax in axes] == ["backtranslation weight"]


def test_a_few_epochs_are_points_that_can_be_seen():
    axes = training_history(history(epochs=1))
    assert axes[0].get_lines()[0].get_marker() == "o"


def test_a_first_epoch_far_off_does_not_flatten_the_rest():
    given = history(epochs=60)
    given["train_loss"].iloc[0, 0] = 1000.0
    bottom, top = training_history(given)[0].get_ylim()
    assert top < 10
    assert bottom < 1


def test_axes_of_the_caller_and_a_file(tmp_path):
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2)
    returned = training_history(history(), ax=axes, save=tmp_path / "history.png")
    assert returned == list(axes)
    image = plt.imread(tmp_path / "history.png")
    assert image.std() > 0.05
    assert training_history(history(), ax=axes, return_fig=True) is fig


def test_a_wrong_number_of_axes_is_told():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"2 panel\(s\) \(loss, groupclip\), but ax holds 1 axes"):
        training_history(history(), ax=ax)


@pytest.mark.parametrize(
    "model", [SimpleNamespace(history=None), SimpleNamespace(history={}), SimpleNamespace()]
)
def test_an_untrained_model_names_the_call(model):
    with pytest.raises(ValueError, match=r"no training history.*model\.train\(\)"):
        training_history(model)


def test_an_unknown_term_is_named_with_the_near_miss():
    with pytest.raises(
        ValueError,
        match=r"no term 'grupclip'; there are 2, such as 'loss', 'groupclip'.*Did you mean",
    ):
        training_history(history(), terms=["grupclip"])

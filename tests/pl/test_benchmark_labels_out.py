"""Labels left out of the target: means, differences, and verdicts."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scgroove import benchmark
from scgroove.pl import benchmark_labels_out

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def dots(ax):
    """Place and color of the middle of each row."""
    middles = [line for line in ax.get_lines() if line.get_marker() == "o"]
    return {
        int(line.get_ydata()[0]): (float(line.get_xdata()[0]), to_hex(line.get_color()))
        for line in middles
    }


def test_means_differences_and_verdicts_are_those_of_the_summary(labels_out):
    table = benchmark.summarize_labels(labels_out)
    axes = benchmark_labels_out(labels_out)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == table["method"].tolist()
    np.testing.assert_allclose([dots(axes[0])[y][0] for y in range(len(table))], table["mean"])
    known = table["difference"].dropna()
    np.testing.assert_allclose([dots(axes[1])[y][0] for y in known.index], known)
    assert texts(axes[1]) == table["verdict"].tolist()
    colors = {verdict: dots(axes[0])[y][1] for y, verdict in enumerate(table["verdict"])}
    assert colors["better"] == "#0072b2"
    assert colors["worse"] == "#d55e00"
    (reference,) = [line for line in axes[0].get_lines() if line.get_linestyle() == "--"]
    assert reference.get_xdata()[0] == table.loc[table["method"] == "other_labels", "mean"].item()
    assert axes[1].get_title(loc="left") == "better than other_labels by"
    assert axes[0].get_xlabel() == "Pearson r of effects, mean"


def test_baselines_are_in_italics(labels_out):
    axes = benchmark_labels_out(labels_out)
    styles = {text.get_text(): text.get_style() for text in axes[0].get_yticklabels()}
    assert {name for name, look in styles.items() if look == "italic"} == {
        "control_mean",
        "other_labels",
        "shuffled",
    }
    assert axes[0].get_title(loc="left") == "12 labels left out; italics: baselines"
    axes = benchmark_labels_out(labels_out, baselines=[])
    assert axes[0].get_title(loc="left") == "12 labels left out"


def test_the_table_of_the_summary_and_another_reference(labels_out):
    table = benchmark.summarize_labels(labels_out, "relative_error", reference="label_ridge")
    axes = benchmark_labels_out(table, "relative_error")
    assert axes[1].get_title(loc="left") == "better than label_ridge by"
    assert axes[0].get_xlabel() == "relative error, mean"
    assert benchmark_labels_out(table)[0].get_xlabel() == "mean"
    same = benchmark_labels_out(labels_out, "relative_error", reference="label_ridge")
    assert texts(same[1]) == texts(axes[1])


def test_unclear_is_hollow(labels_out):
    table = benchmark.summarize_labels(labels_out)
    table.loc[0, "verdict"] = "unclear"
    axes = benchmark_labels_out(table)
    first = next(line for line in axes[0].get_lines() if line.get_marker() == "o")
    assert first.get_markerfacecolor() == "white"


def test_long_names_and_verdicts_stay_within_the_figure(labels_out):
    rows = labels_out.assign(
        method=labels_out["method"].replace(
            "groove/decoder", "a_learner_of_a_very_long_name/decoder"
        )
    )
    fig = benchmark_labels_out(rows, return_fig=True)
    fig.draw_without_rendering()
    width = fig.canvas.get_width_height()[0]
    assert max(text.get_window_extent().x1 for text in fig.axes[1].texts) <= width
    assert min(text.get_window_extent().x0 for text in fig.axes[0].get_yticklabels()) >= 0


def test_saved_file_and_axes_of_the_caller(labels_out, tmp_path):
    _, axes = plt.subplots(1, 2)
    assert benchmark_labels_out(labels_out, ax=axes, save=tmp_path / "x.png") == list(axes)
    assert plt.imread(tmp_path / "x.png").std() > 0.02


def test_errors_teach(labels_out):
    with pytest.raises(ValueError, match=r"metric must be one of.*Did you mean 'effect_pearson'"):
        benchmark_labels_out(labels_out, "effects_pearson")
    with pytest.raises(ValueError, match="reference='ridge': no such method"):
        benchmark_labels_out(labels_out, reference="ridge")
    with pytest.raises(ValueError, match="expected what leave_labels_out returns"):
        benchmark_labels_out(pd.DataFrame({"method": ["x"]}))
    with pytest.raises(
        ValueError,
        match=r"the table lacks \['n_labels'\]; expected what scgroove\.benchmark\.summarize_labels",
    ):
        benchmark_labels_out(benchmark.summarize_labels(labels_out).drop(columns="n_labels"))

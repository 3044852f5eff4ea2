"""What the knobs of the simulator do, as a figure."""

from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from scgroove.pl import simulation_knobs
from scgroove.simulations import knob_panels

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def points(ax):
    return np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])


def test_each_block_has_two_settings_and_two_modalities():
    panels = knob_panels(["rho"])
    axes = simulation_knobs(panels)
    assert [ax.get_title() for ax in axes] == ["rna", "protein", "", ""]
    assert [ax.get_ylabel() for ax in axes] == ["latent 2", "", "latent 2", ""]
    assert [ax.get_xlabel() for ax in axes] == ["", "", "latent 1", "latent 1"]
    assert [[t.get_text() for t in ax.texts] for ax in axes] == [["rho = 1"], [], ["rho = 0"], []]
    assert len({ax.get_xlim() for ax in axes}) == 1
    for ax, panel in zip(axes, panels, strict=True):
        np.testing.assert_allclose(np.sort(points(ax), axis=0), np.sort(panel.xy, axis=0))


def test_three_modalities_stand_side_by_side():
    panels = knob_panels(["modalities"])
    axes = simulation_knobs(panels)
    assert [ax.get_title() for ax in axes] == ["rna", "protein", "atac", "", "", ""]
    assert [ax.get_ylabel() for ax in axes] == ["latent 2", "", "", "latent 2", "", ""]
    assert [ax.get_xlabel() for ax in axes] == [""] * 3 + ["latent 1"] * 3
    assert [[t.get_text() for t in ax.texts] for ax in axes] == [["rho = 1"], [], [], ["rho = 0.75"], [], []]
    for ax, panel in zip(axes, panels, strict=True):
        crosses = ax.collections[-1]
        np.testing.assert_allclose(crosses.get_offsets(), panel.crosses)
        colors = {to_hex(c) for c in ax.collections[0].get_facecolors()}
        assert {to_hex(c) for c in crosses.get_facecolors()} == colors  # those of the labels


def test_blocks_of_any_width_fill_rows():
    """Two modalities take two columns and three take three, in rows of at most twice ``ncols``, or of one wide block."""
    fig = simulation_knobs(knob_panels(["rho", "modalities", "effect"]), ncols=2, return_fig=True)
    assert [len(cell.axes) for cell in fig.subfigs] == [4, 6, 4]
    first, second, third = (cell.bbox for cell in fig.subfigs)
    assert first.x0 == second.x0 == third.x0
    assert first.y0 > second.y0 > third.y0
    assert second.width == pytest.approx(1.5 * first.width)
    narrow = simulation_knobs(knob_panels(["modalities"]), ncols=1, return_fig=True)
    wide = simulation_knobs(knob_panels(["rho", "modalities"]), return_fig=True)
    assert wide.get_figwidth() == pytest.approx(5 / 3 * narrow.get_figwidth())
    assert wide.get_figheight() == narrow.get_figheight()


def test_marks_of_cells():
    axes = simulation_knobs(knob_panels(["escape", "label_noise", "unlabeled_fraction"]))
    full, hollow, _ = axes[2].collections
    assert len(full.get_facecolors()) == 105
    assert len(hollow.get_facecolors()) == 0
    assert len(hollow.get_offsets()) == 45
    assert len(axes[6].collections[-1].get_offsets()) == 30
    colors = [to_hex(c) for c in axes[10].collections[0].get_facecolors()]
    assert colors.count("#cfcfcf") == 75


def test_sizes_are_bars_on_one_scale():
    axes = simulation_knobs(knob_panels(["imbalance"]))
    assert [bar.get_height() for bar in axes[0].patches] == [30] * 5
    assert sum(bar.get_height() for bar in axes[2].patches) == 150
    assert axes[0].get_ylim() == axes[2].get_ylim()
    assert axes[2].get_xlabel() == "label"


def shown_ticks(ax):
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        for where, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True):
            if min(limits) <= where <= max(limits):
                yield label


def test_no_text_overlaps_another():
    knobs = ["rho", "imbalance", "unlabeled_fraction", "counts", "modalities"]
    fig = simulation_knobs(knob_panels(knobs), return_fig=True)
    fig.draw_without_rendering()
    texts = [text for cell in fig.subfigs for text in cell.texts]
    for ax in fig.axes:
        texts += [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *shown_ticks(ax)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text().strip()]
    assert len(boxes) > 60
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not a.overlaps(b), (one, other)


def test_figure_file_and_axes_of_the_caller(tmp_path):
    panels = knob_panels(["rho", "escape", "inert"])
    fig = simulation_knobs(panels, ncols=2, return_fig=True, save=tmp_path / "knobs.png")
    assert plt.imread(tmp_path / "knobs.png").std() > 0.05
    assert len(fig.axes) == 12
    _, own = plt.subplots(3, 4)
    axes = simulation_knobs(panels, ax=own)
    assert axes == list(own.ravel())
    assert axes[4].get_title(loc="left") == panels[4].sentence


def test_errors_teach():
    panels = knob_panels(["rho"])
    found = r"expected two settings of each knob.*found \[\('rho', 'rho = 1', 'rna'\), \('rho', 'rho = 1', 'protein'\)"
    with pytest.raises(ValueError, match=found):
        simulation_knobs(panels[:3])
    others = knob_panels(["effect"])
    for wrong in ([], panels[:2] + others[2:], panels[:2] + panels[:1:-1], panels[:2] * 2):
        with pytest.raises(ValueError, match="expected two settings of each knob"):
            simulation_knobs(wrong)
    with pytest.raises(ValueError, match=r"4 panel\(s\) \(one for each panel\), but ax holds 2 axes"):
        simulation_knobs(panels, ax=plt.subplots(1, 2)[1])

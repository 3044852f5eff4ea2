"""What eps does to a coupling, as a figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from scgroove.pl import epsilon_scan


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "epsilon": [1.0, 0.1, 0.01],
            "partners": [40.0, 12.0, 2.0],
            "marginal_error": [1e-9, 1e-6, 5e-3],
            "transport_cost": [1.0, 0.6, 0.5],
            "objective": [-3.0, 0.1, 0.45],
            "seconds": [0.1, 0.2, 0.9],
            "converged": [True, True, False],
        }
    )


class Holder:
    """What pl needs of a MuData: uns."""

    def __init__(self, **uns):
        self.uns = uns


def test_four_panels_show_the_table(table):
    axes = epsilon_scan(Holder(epsilon_scan_rna_prot=table), "rna", "prot")
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == ["effective partners of a cell", "error of the marginals", "cost", "seconds"]
    assert {ax.get_xscale() for ax in axes} == {"log"}
    assert [ax.get_yscale() for ax in axes] == ["log", "log", "linear", "linear"]
    line = axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_xydata(), [[0.01, 2], [0.1, 12], [1, 40]])
    labels = [line.get_label() for line in axes[2].get_lines()]
    assert "without entropy" in labels
    assert "with entropy" in labels


def test_points_that_did_not_converge_are_hollow(table):
    full, hollow = epsilon_scan(table)[0].get_lines()[1:3]
    np.testing.assert_allclose(full.get_xdata(), [0.1, 1])
    np.testing.assert_allclose(hollow.get_xdata(), [0.01])
    assert to_rgb(hollow.get_markerfacecolor()) == (1, 1, 1)
    assert to_rgb(full.get_markerfacecolor()) != (1, 1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: epsilon_scan(Holder(), "rna", "prot"),
            r"no 'epsilon_scan_rna_prot'.* Make it with",
        ),
        (lambda t: epsilon_scan(Holder(), "rna"), r"Name the modalities"),
        (lambda t: epsilon_scan(t.drop(columns="seconds")), r"the table lacks \['seconds'\]"),
        (lambda t: epsilon_scan(t, ax=plt.subplots(1, 2)[1]), r"has 4 panel\(s\) .* holds 2 axes"),
    ],
)
def test_errors(table, call, message):
    with pytest.raises(ValueError, match=message):
        call(table)

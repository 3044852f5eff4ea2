"""The defaults that pages name are those of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from scgroove import learners, simulations
from scgroove.model import GROOVE

GUIDE = Path(__file__).parents[2] / "docs" / "user_guide"


@pytest.fixture(scope="module")
def model():
    mdata = simulations.weakly_paired(n_labels=3, n_cells_per_label=8, n_features=(6, 5))
    GROOVE.setup_mudata(mdata, "label", min_cells_per_label=1)
    return GROOVE(mdata)


def test_the_page_of_defaults_names_those_of_the_model(model):
    text = (GUIDE / "defaults.md").read_text(encoding="utf-8")
    sentence = r"The default is (\w+) encoders with dropout (\d+\.\d+) on their input, temperature (\d+\.\d+)"
    encoder, dropout, temperature = re.search(sentence, text).groups()
    said = (encoder, float(dropout), float(temperature))
    options = model.init_params_["non_kwargs"]
    assert (
        options["encoder"],
        options["dropout"],
        model.module.terms["groupclip"].temperature,
    ) == said
    groove = learners.get("groove")()
    assert (groove.encoder, groove.dropout, groove.temperature) == said


@pytest.mark.parametrize("page", ["results.md", "real_screens.md"])
def test_pages_of_earlier_defaults_say_so(page):
    """A page measured with other values than those of today names both."""
    text = (GUIDE / page).read_text(encoding="utf-8")
    earlier = re.search(r"earlier defaults, temperature (\d+\.\d+) and dropout (\d+\.\d+)", text)
    groove = learners.get("groove")()
    assert earlier is not None
    assert (float(earlier[1]), float(earlier[2])) != (groove.temperature, groove.dropout)
    today = re.search(r"those of today, temperature (\d+\.\d+) and dropout (\d+\.\d+)", text)
    assert (float(today[1]), float(today[2])) == (groove.temperature, groove.dropout)


def test_settings_in_bold_are_the_defaults():
    table = (GUIDE / "sensitivity_tables" / "settings.md").read_text(encoding="utf-8")
    defaults = {one.name: one.default for one in fields(learners.get("groove"))}
    compared = 0
    for option, bold in re.findall(r"\(`(\w+)`\).*?\*\*([\w.]+):", table):
        if defaults[option] is not None:  # the size of a batch of labels follows from the screen
            assert str(defaults[option]).removesuffix(".0") == bold, option
            compared += 1
    assert compared >= 8

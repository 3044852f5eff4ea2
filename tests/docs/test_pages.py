"""What the pages of the documentation show: examples run, quoted errors are those that are raised."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import scgroove as sg
from scgroove.aligners import ALIGNERS
from scgroove.learners import LEARNERS
from scgroove.metrics import METRICS
from scgroove.model import GROOVE
from scgroove.simulations import SCENARIOS

PAGES = Path(__file__).parents[2] / "docs" / "user_guide"
pytestmark = pytest.mark.skipif(
    not PAGES.is_dir(), reason=f"the documentation is not here ({PAGES})"
)


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def registries_as_before(monkeypatch):
    """What a page registers must not stay."""
    for registry in (ALIGNERS, LEARNERS, METRICS, SCENARIOS):
        monkeypatch.setattr(registry, "_items", dict(registry._items))


@pytest.mark.usefixtures("registries_as_before")
def test_examples_of_extending_run(tmp_path, monkeypatch):
    from scgroove import benchmark

    monkeypatch.chdir(tmp_path)
    module = ModuleType("extending_page")
    monkeypatch.setitem(
        sys.modules, module.__name__, module
    )  # where dataclasses look themselves up
    shown = module.__dict__
    for code in blocks("extending", "python"):
        exec(compile(code, "extending.md", "exec", dont_inherit=True), shown)
    assert {m: values.shape for m, values in shown["z"].items()} == {
        "rna": (120, 6),
        "protein": (120, 6),
    }
    distance = shown["model"].history["label_means_train"].iloc[:, 0].astype(float)
    assert 0 < distance.iloc[-1] < distance.max()
    assert shown["coupling"].mass == pytest.approx(1)
    results = shown["results"]
    assert benchmark.failures(results).empty
    found = benchmark.summarize(results, "top_partner_within_label", by=("learner",)).set_index(
        "learner"
    )
    assert found.loc["pls_labels", "mean"] > 2 * found.loc["random", "mean"]
    assert found.loc["random", "chance"] == pytest.approx(1 / 20)


def screen():
    """Return the small screen that the errors on the page are about."""
    return sg.simulations.weakly_paired(
        n_labels=4, n_cells_per_label=20, n_features=(20, 10), seed=0
    )


def represented():
    mdata = screen()
    for adata in mdata.mod.values():
        adata.obsm["X_rep"] = np.asarray(adata.X[:, :5])
    return mdata


def aligned():
    mdata = represented()
    sg.tl.align(mdata, "rna", "protein", use_rep="X_rep")
    return mdata


def no_shared_label():
    mdata = screen()
    mdata["rna"].obs["label"] = ["KO_" + label for label in mdata["rna"].obs["label"]]
    GROOVE.setup_mudata(mdata, "label")


def no_such_column():
    GROOVE.setup_mudata(screen(), "lable")


def one_cell():
    mdata = screen()
    labels = mdata["rna"].obs["label"].to_numpy()
    kept = np.sort([*np.flatnonzero(labels != "g01"), np.flatnonzero(labels == "g01")[0]])
    GROOVE.setup_mudata(
        MuData({"rna": mdata["rna"][kept].copy(), "protein": mdata["protein"]}), "label"
    )


def zero_cell():
    mdata = screen()
    mdata["protein"].X[3] = 0
    GROOVE.setup_mudata(mdata, "label")


def no_counts():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label")
    GROOVE(mdata, likelihood={"rna": "nb"})


def no_representation():
    sg.tl.align(screen(), "rna", "protein")


def too_large():
    sg.tl.align(represented(), "rna", "protein", use_rep="X_rep", labeled=False, max_memory_gb=1e-5)


def not_converged():
    sg.tl.align(represented(), "rna", "protein", use_rep="X_rep", epsilon=1e-4, max_iter=3)


def stored_in_part():
    sg.tl.align(represented(), "rna", "protein", use_rep="X_rep", top_k=1)


def other_labels():
    mdata = aligned()
    mdata["rna"].obs["label"] = mdata["rna"].obs["label"].to_numpy()[::-1]
    sg.get.coupling(mdata, "rna", "protein")


def no_model():
    sg.tl.impute(screen(), "rna", "protein")


def features_missing():
    mdata = screen()
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata)
    model.train(1, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    model.get_latent_representation(MuData({"rna": mdata["rna"][:, 3:].copy()}))


def no_such_control():
    mdata = aligned()
    sg.tl.impute(mdata, "rna", "protein", method="barycentric")
    sg.tl.perturbation_effects(mdata, "rna", "protein", "NT")


def no_such_package():
    with mock.patch("scgroove._optional.find_spec", return_value=None):
        sg.learners.get("moscot")().fit(screen())


QUOTED = [
    no_shared_label,
    no_such_column,
    one_cell,
    zero_cell,
    no_counts,
    no_representation,
    too_large,
    not_converged,
    stored_in_part,
    other_labels,
    no_model,
    features_missing,
    no_such_control,
    no_such_package,
]
"""What raises each message of the page on errors, in its order."""


def test_every_quoted_message_is_raised_here():
    assert len(blocks("faq", "text")) == len(QUOTED) > 0


@pytest.mark.parametrize("i", range(len(QUOTED)), ids=[one.__name__ for one in QUOTED])
def test_quoted_messages_are_those_that_are_raised(i):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            QUOTED[i]()
        except Exception as error:
            found = [error]
        else:
            found = [one.message for one in said]
    quoted = " ".join(blocks("faq", "text")[i].split())
    texts = [" ".join(f"{type(one).__name__}: {one}".split()) for one in found]
    assert any(text.startswith(quoted) for text in texts), (quoted, texts)


def test_verdicts_on_permuted_labels_are_as_the_page_says():
    """At most one in twenty of the stored permutations passes, and every simulated link is seen as it is."""
    results = PAGES.parents[1] / "benchmarks" / "results"
    table = pd.read_csv(results / "verdicts.csv").set_index("screen")
    assert (table["both_better"] <= 0.05).all()
    seen = table["groove_verdict"] == "better than chance"
    no_link = table["truth"].str.contains("no link")
    assert not seen[no_link].any()
    assert seen[table["truth"].str.contains("simulated") & ~no_link].all()


def has(path: str) -> bool:
    """Whether the package has a name such as ``tl.align``."""
    part = sg
    for step in path.split("."):
        part = getattr(part, step, None)
        if part is None:
            return False
    return True


NAMES = re.compile(r"`(?:sg|~?scgroove)\.((?:\w+\.)+\w+)")


@pytest.mark.parametrize("page", sorted(PAGES.parent.glob("**/*.md")), ids=lambda page: page.stem)
def test_names_on_the_pages_are_there(page):
    """Functions, classes and methods of the package that a page names exist."""
    if "generated" in page.parts:
        return
    names = NAMES.findall(page.read_text(encoding="utf-8"))
    assert [name for name in names if not has(name)] == []


def test_the_page_of_the_public_api_lists_every_exported_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PAGES.parent)
    from public_api import ROOMS, write

    write(tmp_path / "index.md")
    text = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert set(sg.__all__) <= set(ROOMS)
    for room in sg.__all__:
        for name in getattr(sg, room).__all__:
            assert re.search(rf"\b{room}\.{name}\b", text), f"{room}.{name}"
    assert "errors.UnknownNameError" in text


def test_files_and_names_in_the_map_of_the_house_exist():
    """Files and names in the tables of CONTRIBUTING are in the source."""
    root = PAGES.parents[1]
    package = root / "src" / "scgroove"
    rows = re.findall(r"(?m)^\| .*$", (root / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    files = 0
    for row in rows:
        paths = [package / name for name in re.findall(r"`((?:\w+/)*\w+(?:/|\.py))`", row)]
        paths = [path if path.exists() else root / path.relative_to(package) for path in paths]
        assert [path for path in paths if not path.exists()] == []
        names = re.findall(r"`@?([A-Za-z_]{4,})(?:`|\()", row)
        sources = [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
        for name in names if sources else ():
            assert any(re.search(rf"\b{name}\b", text) for text in sources), (name, row)
        files += len(sources)
    assert files > 20

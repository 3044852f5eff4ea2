"""Names with markup are text in the pages, as a browser shows them."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData
from typer.testing import CliRunner

from scgroove import cli, pl

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
EVIL = "<img src=x onerror=\"document['title']='owned'\">"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here"),
]


class Page(HTMLParser):
    """Title of a page as it is in the end, and whether a name became an element."""

    def __init__(self, path):
        super().__init__()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=2000",
            "--dump-dom",
        ]
        command = [BROWSER, *options, path.resolve().as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        self.title, self.is_owned, self._inside, self.text = "", False, "", ""
        self.feed(shown.stdout)

    def handle_starttag(self, tag, attributes):
        self._inside = tag
        self.is_owned |= "onerror" in dict(attributes)

    def handle_data(self, data):
        if self._inside == "title":
            self.title += data
        self.text += data


def test_the_browser_would_show_it(tmp_path):
    (tmp_path / "page.html").write_text(f"<title>mine</title><p>{EVIL}</p>")
    page = Page(tmp_path / "page.html")
    assert (page.title, page.is_owned) == ("owned", True)


def test_labels_features_and_modalities_in_the_report_of_a_run(tmp_path):
    rng = np.random.default_rng(0)
    modalities = (f"rna{EVIL}", f"prot{EVIL}")
    parts = {}
    for m in modalities:
        parts[m] = AnnData(rng.normal(size=(60, 4)).astype(np.float32))
        parts[m].obs_names = [f"{m[:4]}{i}{EVIL}" for i in range(60)]
        parts[m].var_names = [f"{m[:4]}{j}{EVIL}" for j in range(4)]
        parts[m].obs["label"] = np.resize([f"a{EVIL}", f"b{EVIL}", "=cmd"], 60)
    MuData(parts).write_h5mu(tmp_path / f"{EVIL[:4]}.h5mu")
    source, target = modalities
    command = ["run", str(tmp_path / f"{EVIL[:4]}.h5mu"), "--source", source, "--target", target]
    done = CliRunner().invoke(cli.app, [*command, "--epochs", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = Page(tmp_path / "out" / "report.html")
    assert page.title not in ("", "owned")
    assert not page.is_owned
    assert f"a{EVIL}" in page.text
    for file in (tmp_path / "out").glob("*.csv"):
        cells = pd.read_csv(file, dtype=str, header=None).to_numpy(dtype=str).ravel().tolist()
        assert not [cell for cell in cells if re.match(r"[=+@]|-\D", cell)], file.name
    assert "'=cmd" in (tmp_path / "out" / "labels.csv").read_text()


def test_names_in_the_report_of_a_benchmark(tmp_path):
    rows = [
        {"data": f"data{EVIL}", "learner": f"{learner}{EVIL}", "aligner": "", "seed": seed, "metric": "mse",
         "value": seed + 1.0, "chance": 3.0, "better": "lower", "perfect": 0.0, "status": "done", "error": ""}
        for learner in "ab" for seed in range(3)
    ]  # fmt: skip
    rows.append(
        {**rows[0], "learner": f"c{EVIL}", "status": "failed", "error": f"ValueError: {EVIL}"}
    )
    results = pd.DataFrame(rows)
    pl.benchmark_report(
        results, tmp_path / "page.html", title=EVIL, spec_text=EVIL, reference=f"a{EVIL}"
    )
    page = Page(tmp_path / "page.html")
    assert page.title != "owned"
    assert not page.is_owned
    assert f"ValueError: {EVIL}" in page.text

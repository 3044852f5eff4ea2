"""A whole run: what it reads of the data, and how often."""

from __future__ import annotations

from collections import Counter

import pytest

from scgroove import _labels, _null, simulations
from scgroove._report import Settings
from scgroove._stages import Stages
from scgroove._workflow import analyze


class Quiet:
    def step(self, name: str, title: str) -> None: ...

    def advance(self, done: int, total: int, note: str) -> None: ...


def test_a_run_reads_the_labels_of_each_modality_at_most_twice(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdata = simulations.weakly_paired(3, 15, n_features=(10, 6), co_assayed=False, seed=0)
    reads: Counter[str] = Counter()
    factorize = _labels._factorize

    def counted(labels, unlabeled, where):
        for m, adata in mdata.mod.items():
            if "obs[" in where and adata.obs_names.equals(getattr(labels, "index", None)):
                reads[m] += 1
        return factorize(labels, unlabeled, where)

    monkeypatch.setattr(_labels, "_factorize", counted)
    monkeypatch.setattr(_null, "DRAWS", 2)
    settings = Settings(
        source="rna", target="protein", modalities=("rna", "protein"), epochs=1, accelerator="cpu"
    )
    results = analyze(
        mdata, settings, data_name="test", progress=Quiet(), stages=Stages(tmp_path, tmp_path)
    )
    assert results.agreement is not None
    assert set(reads) == {"rna", "protein"}
    assert max(reads.values()) <= 2, reads

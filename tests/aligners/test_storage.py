"""Couplings in files: nothing is lost, nothing half-written, and what is no coupling is said to be none."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scgroove.aligners import Coupling, CouplingBlock, EntropicOT, ExactOT
from scgroove.aligners._plans import LowRankPlan, PotentialPlan
from scgroove.aligners.costs import BilinearCost, FixedCost, PairCost, SumCost
from scgroove.errors import FileError

RNG = np.random.default_rng(0)
N, M = 4, 3


def _pair(kind: str = "sqeuclidean") -> PairCost:
    return PairCost(RNG.normal(size=(N, 2)), RNG.normal(size=(M, 2)), kind)


def _bilinear() -> BilinearCost:
    return BilinearCost(RNG.random(N), RNG.random(M), RNG.random((N, 2)), RNG.random((M, 2)))


def _potential(cost: Any) -> PotentialPlan:
    return PotentialPlan(cost, RNG.normal(size=N), RNG.normal(size=M), 0.1 + 0.2)


PLANS = {
    "dense": RNG.random((N, M)),
    "dense, Fortran order": np.asfortranarray(RNG.random((N, M))),
    "dense, a view": RNG.random((2 * N, 3 * M))[::2, ::3],
    "float32": RNG.random((N, M)).astype(np.float32),
    "csr": sp.random(N, M, 0.5, format="csr", rng=0),
    "csr array": sp.csr_array(sp.random(N, M, 0.5, format="csr", rng=1)),
    "csr without entries": sp.csr_matrix((N, M)),
    "low rank": LowRankPlan(RNG.random((N, 2)), RNG.random((M, 2)), RNG.random(2)),
    "potentials": _potential(_pair()),
    "potentials, no mass in a row": dataclasses.replace(
        _potential(_pair()), f=np.array([0, 1, -np.inf, 2])
    ),
    "cosine": _potential(_pair("cosine")),
    "bilinear": _potential(_bilinear()),
    "sum": _potential(SumCost(_pair(), _bilinear(), 1 / 3)),
    "nested": _potential(
        SumCost(SumCost(_pair(), _pair("cosine"), 0.1), SumCost(_bilinear(), _pair()))
    ),
    "fixed": _potential(FixedCost(RNG.random((N, M)))),
}


def _coupling(plan: Any, **options: Any) -> Coupling:
    """A block of cells 5, 6, 7, 0 and 2, 1, 4 among 9 x 6."""
    block = CouplingBlock(
        "gene", np.array([5, 6, 7, 0]), np.array([2, 1, 4]), plan, RNG.random(N), None
    )
    return Coupling((block,), (9, 6), **options)


def _round_trip(coupling: Coupling, folder: Path) -> Coupling:
    coupling.save(folder / "coupling.npz")
    return Coupling.load(folder / "coupling.npz")


def _assert_same(found: Any, wanted: Any) -> None:
    """Of one type, and equal bit by bit, field by field."""
    if isinstance(wanted, np.generic):
        wanted = wanted.item()
    assert type(found) is type(wanted)
    if dataclasses.is_dataclass(wanted):
        for field in dataclasses.fields(wanted):
            _assert_same(getattr(found, field.name), getattr(wanted, field.name))
    elif sp.issparse(wanted):
        assert found.shape == wanted.shape
        for key in ("data", "indices", "indptr"):
            _assert_same(getattr(found, key), getattr(wanted, key))
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert (
            found.tolist() == wanted.tolist()
            if found.dtype == object
            else found.tobytes() == wanted.tobytes()
        )
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            _assert_same(one, other)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            _assert_same(found[key], wanted[key])
    else:
        assert repr(found) == repr(wanted)


# ---------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("name", PLANS)
def test_every_kind_of_plan_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    coupling = _coupling(PLANS[name])
    found = _round_trip(coupling, tmp_path)
    _assert_same(found, coupling)
    np.testing.assert_array_equal(found.to_dense(), coupling.to_dense())
    np.testing.assert_array_equal(found.row_mass(), coupling.row_mass())


EVIDENCE = {
    "text": 'eot, "quoted" \\ \n\t\0 ε 细胞 🧬',
    "empty": "",
    "lone surrogate": "\ud800",
    "yes": True,
    "no": False,
    "whole": -(10**30),
    "one": 1,
    "one as a float": 1.0,
    "fraction": 0.1 + 0.2,
    "smallest": 5e-324,
    "minus zero": -0.0,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": float("-inf"),
    "numpy float": np.float64(1 / 3),
    "numpy float32": np.float32(1 / 3),
    "numpy int": np.int16(-7),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("word"),
    "float64": np.array([1 / 3, np.nan, -np.inf, -0.0]),
    "int64": np.array([2**62, -1]),
    "int32": np.array([[1, 2], [3, 4]], dtype=np.int32),
    "uint8": np.arange(3, dtype=np.uint8),
    "float16": np.array([0.1], dtype=np.float16),
    "complex": np.array([1 + 2j]),
    "bool": np.array([True, False]),
    "scalar array": np.array(3.5),
    "no numbers": np.empty(0),
    "no columns": np.empty((3, 0)),
    "date": np.array(["2024-01-02"], dtype="datetime64[ns]"),
    "labels": np.array(["b", "", "ä\0", "a, 'c'"], dtype=object),
    "no labels": np.empty(0, dtype=object),
    "table of words": np.array([["a", "b"], ["c", "d"]], dtype=object),
    "fixed width": np.array(["ab", "c"]),
}


def test_evidence_of_every_type_comes_back(tmp_path: Path) -> None:
    coupling = _coupling(PLANS["dense"], evidence=EVIDENCE)
    _assert_same(_round_trip(coupling, tmp_path).evidence, EVIDENCE)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    evidence=st.dictionaries(
        st.text(max_size=5),
        st.text()
        | st.booleans()
        | st.integers()
        | st.floats()
        | hnp.arrays(
            hnp.boolean_dtypes()
            | hnp.integer_dtypes(endianness="=")
            | hnp.floating_dtypes(endianness="="),
            hnp.array_shapes(min_side=0),
        )
        | st.lists(st.text(max_size=3), min_size=1).map(
            lambda words: np.array(words, dtype=object)
        ),
        max_size=6,
    )
)
def test_any_evidence_comes_back(evidence: dict[str, Any], tmp_path: Path) -> None:
    found = _round_trip(Coupling((), (2, 3), evidence), tmp_path)
    _assert_same(found, Coupling((), (2, 3), evidence))


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, pd.Index, pd.Series, lambda x: np.array(x, dtype=object)]
)
def test_names_of_cells_come_back(make: Any, tmp_path: Path) -> None:
    source, target = [f"cell {i} ü" for i in range(9)], [f"{i}-1" for i in range(6)]
    coupling = _coupling(PLANS["csr"], source_names=make(source), target_names=make(target))
    found = _round_trip(coupling, tmp_path)
    assert list(found.source_names) == source
    assert list(found.target_names) == target
    pd.testing.assert_frame_equal(found.top_matches(2), coupling.top_matches(2))


def test_names_of_one_side_only(tmp_path: Path) -> None:
    found = _round_trip(_coupling(PLANS["dense"], target_names=list("abcdef")), tmp_path)
    assert found.source_names is None
    assert list(found.target_names) == list("abcdef")


def test_couplings_of_aligners_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    labels = np.repeat(["a", "b"], [45, 15]), np.repeat(["a", "b"], [40, 10])
    kinds = set()
    for aligner in (EntropicOT(), EntropicOT(cost="cosine", epsilon=0.5), ExactOT()):
        coupling = aligner.align(x, y, *labels)
        kinds |= {type(block.plan) for block in coupling.blocks}
        found = _round_trip(coupling, tmp_path)
        _assert_same(found, coupling)
        np.testing.assert_array_equal(found.push(y), coupling.push(y))
    assert kinds >= {PotentialPlan, sp.csr_matrix}


def test_a_coupling_without_blocks(tmp_path: Path) -> None:
    _assert_same(_round_trip(Coupling((), (2, 3)), tmp_path), Coupling((), (2, 3)))


def test_what_was_loaded_can_be_saved_again_to_the_same_bytes_of_arrays(tmp_path: Path) -> None:
    blocks = [
        CouplingBlock(name, np.arange(N) + N * i, np.arange(M) + M * i, plan)
        for i, (name, plan) in enumerate(PLANS.items())
    ]
    coupling = Coupling(tuple(blocks), (N * len(blocks), M * len(blocks)), EVIDENCE)
    first = _round_trip(coupling, tmp_path)
    second = _round_trip(first, tmp_path)
    _assert_same(second, first)
    assert second.labels == list(PLANS)


# ----------------------------------------------------------------------------------------------------- the format


def test_numpy_reads_the_file_without_pickle(tmp_path: Path) -> None:
    coupling = _coupling(
        PLANS["potentials"], evidence={"objective": float("nan"), "n": np.arange(3)}
    )
    coupling.save(tmp_path / "coupling.npz")
    with np.load(tmp_path / "coupling.npz", allow_pickle=False) as stored:
        described = json.loads(
            stored["description"].item(), parse_constant=pytest.fail
        )  # NaN is no JSON
        values = stored["float64"]
    assert described["format"] == "scgroove coupling"
    assert described["format_version"] == 1
    block = described["coupling"]["fields"]["blocks"][0]["fields"]
    f = block["plan"]["fields"]["f"]
    np.testing.assert_array_equal(values[f["at"] :][: f["shape"][0]], PLANS["potentials"].f)


def test_the_name_of_the_file_is_the_one_given(tmp_path: Path) -> None:
    _coupling(PLANS["dense"]).save(str(tmp_path / "coupling"))
    _coupling(PLANS["dense"]).save(tmp_path / "b.coupling.v2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.coupling.v2", "coupling"]
    assert Coupling.load(str(tmp_path / "coupling")).shape == (9, 6)


def test_potentials_take_the_room_of_potentials(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(1000, 3))
    plan = PotentialPlan(PairCost(x, x), np.zeros(1000), np.zeros(1000), 1.0)
    Coupling((CouplingBlock("", np.arange(1000), np.arange(1000), plan),), (1000, 1000)).save(
        tmp_path / "c"
    )
    assert (tmp_path / "c").stat().st_size < plan.nbytes + 16000 + 4000  # rows and columns; heads


def test_thousands_of_labels(tmp_path: Path) -> None:
    n, size = 5000, 6
    blocks = []
    for i in range(n):
        cost = PairCost(np.full((size, 2), float(i)), np.zeros((size, 2)))
        cells = np.arange(size) + size * i
        plan = PotentialPlan(cost, np.zeros(size), np.zeros(size), 1.0)
        blocks.append(CouplingBlock(f"gene{i}", cells, cells, plan, np.ones(size), np.ones(size)))
    coupling = Coupling(tuple(blocks), (n * size, n * size))
    found = _round_trip(coupling, tmp_path)
    assert found.labels == coupling.labels
    assert found.blocks[-1].plan.cost.x[0, 0] == n - 1


# ----------------------------------------------------------------------------------------------- failing halfway


@pytest.mark.parametrize("where", ["np.savez", "os.fsync", "os.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = _coupling(PLANS["dense"]), _coupling(PLANS["csr"])
    old.save(tmp_path / "coupling.npz")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(f"scgroove.aligners._storage.{where}", fail)
    with pytest.raises(OSError, match="disk full"):
        new.save(tmp_path / "coupling.npz")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["coupling.npz"]
    _assert_same(Coupling.load(tmp_path / "coupling.npz"), old)


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _coupling(PLANS["dense"]).save(tmp_path / "coupling.npz")
    assert list(tmp_path.iterdir()) == []


class Strange(PairCost):
    """A cost that the format does not know, though a subclass of one that it does."""


@pytest.mark.parametrize(
    ("coupling", "message"),
    [
        (
            _coupling(_potential(Strange(np.ones((N, 1)), np.ones((M, 1))))),
            r"cost of plan of block 'gene' cannot be stored: found Strange\. What can be are strings, numbers",
        ),
        (
            Coupling((), (1, 1), {"k": None, "bad": [1]}),
            r"evidence\['bad'\] cannot be stored: found list\. ",
        ),
        (
            Coupling((), (1, 1), {"bad": {"a": 1}}),
            r"evidence\['bad'\] cannot be stored: found dict\. ",
        ),
        (
            Coupling((), (1, 1), {"bad": np.array(["a", None])}),
            r"evidence\['bad'\] cannot be stored: expected numbers, or strings only; found None among them",
        ),
        (
            Coupling((), (1, 1), {"bad": np.zeros(1, dtype=[("a", "f8")])}),
            r"evidence\['bad'\] cannot be stored: expected .*; found \(0\.0,\) among them",
        ),
        (
            Coupling((), (2, 1), source_names=["a", 3]),
            r"source_names cannot be stored: expected numbers, or strings only; found 3 among them",
        ),
    ],
)
def test_what_cannot_be_stored_is_said(coupling: Coupling, message: str, tmp_path: Path) -> None:
    (tmp_path / "coupling.npz").write_text("precious")
    with pytest.raises(ValueError, match=message):
        coupling.save(tmp_path / "coupling.npz")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder '.*results'\. Make it first: pathlib\.Path\("
    ):
        _coupling(PLANS["dense"]).save(tmp_path / "results" / "coupling.npz")
    with pytest.raises(
        IsADirectoryError, match=r"that is a folder\. Name a file in it, such as '.*coupling\.npz'"
    ):
        _coupling(PLANS["dense"]).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ what is no coupling


def test_no_file(tmp_path: Path) -> None:
    _coupling(PLANS["csr"]).save(tmp_path / "mine.npz")
    with pytest.raises(
        FileNotFoundError, match=r"There is no file '.*mine\.np'\. Did you mean 'mine\.npz'\?"
    ):
        Coupling.load(tmp_path / "mine.np")


def _write_text(path: Path) -> None:
    path.write_text("source,target,mass\n")


def _write_pickle(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)


def _write_other_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.ones(3))


def _write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("description", "{}")


def _write_other_description(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            description=np.array(json.dumps({"format": "other", "format_version": 1}).encode()),
        )


@pytest.mark.parametrize(
    "write",
    [_write_text, _write_pickle, _write_other_archive, _write_zip, _write_other_description],
)
def test_other_files_are_no_couplings(write: Any, tmp_path: Path) -> None:
    write(tmp_path / "file")
    with pytest.raises(
        FileError, match=r"file is not a coupling that .*Coupling\.from_sparse"
    ) as caught:
        Coupling.load(tmp_path / "file")
    assert caught.value.reason == "format"


def test_a_file_cut_short_is_no_coupling(tmp_path: Path) -> None:
    _coupling(PLANS["nested"], evidence=EVIDENCE).save(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for length in range(0, len(content), len(content) // 40):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(FileError, match=r"cut is (damaged or incomplete|empty)"):
            Coupling.load(tmp_path / "cut")


def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    coupling = _coupling(PLANS["csr"], evidence={"n": np.arange(4), "word": "a"})
    coupling.save(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    noticed = 0
    for place in np.random.default_rng(0).integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[place] ^= 0x15
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            found = Coupling.load(tmp_path / "damaged")
        except FileError as error:
            assert error.reason in ("damaged", "format")  # noqa: PT017
            noticed += 1
        else:  # a time stamp, or the like
            _assert_same(found, coupling)
    assert noticed > 100


def _described(path: Path, change: dict[str, Any]) -> None:
    """Write a coupling whose description was changed."""
    _coupling(PLANS["csr"]).save(path)
    with np.load(path) as stored:
        members = {name: stored[name] for name in stored.files}
    description = {**json.loads(members["description"].item()), **change}
    members["description"] = np.array(json.dumps(description).encode())
    with path.open("wb") as file:
        np.savez(file, **members)


def test_a_later_version_of_the_format(tmp_path: Path) -> None:
    _described(
        tmp_path / "c", {"format_version": 2, "scgroove_version": "9.1", "coupling": "in a new way"}
    )
    with pytest.raises(
        ValueError,
        match=r"was written by scgroove 9\.1 in version 2 of the format; this is scgroove .*, which reads versions up to 1",
    ):
        Coupling.load(tmp_path / "c")


@pytest.mark.parametrize(
    "node",
    [
        {},
        [],
        "coupling",
        {"type": "unknown"},
        {"type": "coupling", "fields": {}},
        {"type": "coupling", "fields": {"blocks": [], "shape": [1, 1], "more": 1}},
        {"type": "mapping", "values": []},
        {"type": "array", "in": "float64", "at": 0, "shape": [10**6]},
    ],
)
def test_a_description_that_does_not_fit(node: Any, tmp_path: Path) -> None:
    _described(tmp_path / "c", {"coupling": node})
    with pytest.raises(FileError, match="c is damaged or incomplete"):
        Coupling.load(tmp_path / "c")

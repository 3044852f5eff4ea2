"""Packages of an extra: found, missed, too old, or broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scgroove import _optional
from scgroove._optional import EXTRAS, Requirement, import_extra, missing
from scgroove.errors import ExtraNotInstalledError


@pytest.fixture
def extras(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Requirement, ...]]:
    """Extras of our own making, beside the real ones."""
    made = {
        "there": (Requirement("numpy", "numpy", "1.0"),),
        "absent": (
            Requirement("numpy", "numpy"),
            Requirement("no_such_package", "no-such-package"),
        ),
        "old": (Requirement("numpy", "numpy", "999"),),
        "broken": (Requirement("broken_package", "broken-package"),),
    }
    monkeypatch.setattr(_optional, "EXTRAS", {**EXTRAS, **made})
    return made


def test_what_is_there_is_not_missing_and_is_imported(extras: object) -> None:
    assert missing("there") is None
    assert import_extra("numpy.linalg", "there") is sys.modules["numpy.linalg"]


def test_what_is_missing_is_named_with_the_line_that_installs_it(extras: object) -> None:
    reason = missing("absent")
    assert reason is not None
    assert reason.startswith("no-such-package is not installed. ")
    assert 'pip install "scgroove[absent]"' in reason
    assert "numpy is" not in reason
    with pytest.raises(
        ExtraNotInstalledError,
        match=r'no_such_package\.sub is needed: no-such.*"scgroove\[absent\]"',
    ) as info:
        import_extra("no_such_package.sub", "absent")
    assert isinstance(info.value, ImportError)
    assert info.value.name == "no_such_package.sub"


def test_a_version_that_is_too_old_is_said(extras: object) -> None:
    import numpy

    with pytest.raises(
        ExtraNotInstalledError,
        match=f"numpy {numpy.__version__} is installed, and 999 or later is needed",
    ):
        import_extra("numpy", "old")


def test_a_package_that_cannot_be_imported_is_said_with_the_cause(
    extras: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise ImportError('its numpy is of another age')")
    monkeypatch.syspath_prepend(tmp_path)
    assert missing("broken") is None  # it is not imported to look for it
    with pytest.raises(
        ExtraNotInstalledError,
        match="installed but cannot be imported: its numpy is of another age",
    ):
        import_extra("broken_package", "broken")


def test_a_module_put_there_by_hand_counts(extras: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    module = ModuleType("no_such_package")
    assert module.__spec__ is None
    monkeypatch.setitem(sys.modules, "no_such_package", module)
    assert missing("absent") is None
    assert import_extra("no_such_package", "absent") is module


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.4.2", "1.5"),
        ("0.9", "0.10"),
        ("1.5.0rc1", "1.5.1"),
        ("2", "2.0.1"),
        ("1.4.2+cpu", "1.5"),
    ],
)
def test_versions_are_compared_as_numbers(older: str, newer: str) -> None:
    assert _optional._numbers(older) < _optional._numbers(newer)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_real_extras_say_yes_or_how_to_install(extra: str) -> None:
    reason = missing(extra)
    assert reason is None or f'pip install "scgroove[{extra}]"' in reason


def test_looking_imports_nothing() -> None:
    code = (
        "import sys; from scgroove._optional import EXTRAS, missing; [missing(e) for e in EXTRAS]; "
        "print([m for m in ('scvi', 'scglue', 'moscot', 'torch', 'torch_geometric') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

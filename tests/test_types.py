"""The type checker knows AnnData and MuData."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WRONG = """
from anndata import AnnData
from mudata import MuData


def wrong(adata: AnnData, mdata: MuData) -> None:
    adata.no_such()
    mdata.no_such()
"""


@pytest.mark.slow
def test_mypy_refuses_methods_that_do_not_exist(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    root = Path(__file__).parents[1]
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml")]
    command += ["--cache-dir", str(tmp_path / "cache"), str(tmp_path / "wrong.py")]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert '"AnnData" has no attribute "no_such"' in ended.stdout
    assert '"MuData" has no attribute "no_such"' in ended.stdout
    assert "Found 2 errors" in ended.stdout

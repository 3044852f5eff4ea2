"""Run a folder of scripts, each a situation that users reported: it exits 0 if scgroove does what its text expects.

``python benchmarks/cases.py FOLDER`` runs every ``*.py`` of the folder in a process of its own, with the Python that
runs this script, and ends with 1 if any of them failed. Scripts and their data are not part of the repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LIMIT_S = 600
WITH_OLD_NAMES = """
import contextlib, pathlib, sys, mudata
if not hasattr(mudata, "set_options"):  # gone with mudata 0.4, and without effect on what is asked here
    mudata.set_options = lambda **options: contextlib.nullcontext()
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
text = pathlib.Path(sys.argv[0]).read_text(encoding="utf-8").replace("labelled=", "labeled=")
exec(compile(text, sys.argv[0], "exec"), {"__name__": "__main__", "__file__": sys.argv[0]})
"""
"""Runs a script that was written for mudata 0.3 and scgroove 0.1 with any version."""


def run(script: Path) -> tuple[bool, float, str]:
    """Whether a script exits 0, its seconds, and the last line that it wrote."""
    start = time.perf_counter()
    command = [sys.executable, "-c", WITH_OLD_NAMES, str(script.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return False, LIMIT_S, f"still running after {LIMIT_S} s"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == 0, time.perf_counter() - start, lines[-1] if lines else ""


def main() -> int:
    """Run all scripts and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of names")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    scripts = sorted(asked.folder.glob("*.py"))
    chosen = [s for s in scripts if not asked.only or s.name.startswith(tuple(asked.only))]
    if not chosen:
        parser.error(
            f"no script in {asked.folder}" + (f" begins with {asked.only}" if asked.only else "")
        )
    failed = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        for script, (ok, seconds, last) in zip(chosen, pool.map(run, chosen), strict=True):
            failed += not ok
            said = "ok   " if ok else "FAILS"
            print(
                f"{said} {script.stem} ({seconds:.0f} s)" + ("" if ok else f": {last}"), flush=True
            )
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

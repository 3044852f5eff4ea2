"""The folder of the results: nothing is written into it before everything is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scgroove import __version__
from scgroove.cli._errors import UserError, listed

MANIFEST = "run.json"


@dataclass(frozen=True)
class Destination:
    """The folder of the results: nothing is written into it before everything is there."""

    path: Path
    shown: Path
    overwrite: bool
    command: str

    def check(self) -> None:
        """Refuse to touch anything that scgroove did not write."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.shown}: this is a file; expected a folder, or a name that is free.")
        entries = self._entries()
        if not entries:
            return
        ours = self._ours()
        if not ours:
            raise UserError(
                f"--out {self.shown}: the folder is not empty ({listed(entries, 3)}), and scgroove did not make it. "
                "Give the name of a new folder."
            )
        foreign = sorted(set(entries) - set(ours))
        if foreign:
            raise UserError(
                f"--out {self.shown}: beside the results of an earlier run, the folder holds {listed(foreign, 3)}. "
                "Move that away, or give the name of a new folder."
            )
        if not self.overwrite and not (self.command == "demo" and self._manifest().get("command") == "demo"):
            raise UserError(
                f"--out {self.shown}: the folder holds the results of an earlier run. Add --overwrite to replace "
                "them, or give the name of a new folder."
            )

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """Make an empty folder beside the final one; gone afterwards, whatever happens."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made = self.path.parent / f".{self.path.name}.unfinished-{os.getpid()}"
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def put(self, fresh: Path, written: Iterable[str]) -> None:
        """Put finished results in place of earlier ones."""
        manifest = {
            "made_by": f"scgroove {__version__}",
            "command": self.command,
            "files": [*written, MANIFEST],
        }
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if not self.path.exists():
            fresh.rename(self.path)
            return
        for name in self._ours():
            old = self.path / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        for new in fresh.iterdir():
            new.rename(self.path / new.name)

    def _entries(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []

    def _manifest(self) -> dict[str, Any]:
        try:
            read = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) and str(read.get("made_by", "")).startswith("scgroove") else {}

    def _ours(self) -> list[str]:
        """Names of what an earlier run wrote; never a path that leads elsewhere."""
        names = [str(name) for name in self._manifest().get("files", [])]
        return [name for name in names if name == Path(name).name and name not in {"", ".", ".."}]

"""The folder of the results, which are made in a hidden folder beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scgroove import __version__
from scgroove._files import writing
from scgroove._stages import Stages
from scgroove._stops import held
from scgroove._whole import check_path
from scgroove.errors import InputError, listed

if TYPE_CHECKING:
    from scgroove._report import Settings

MANIFEST = "run.json"
STARTED = "started.json"
NOTHING = "Nothing was written."

_OWNED: set[Path] = set()
"""Folders that this process has locked."""

_KEPT: dict[Path, str] = {}
"""What is kept of each, said when it was unlocked."""
PROBE = 2**20
"""Bytes that are written before any work, to see whether the disk takes them."""


@dataclass(frozen=True)
class Destination:
    """The folder of the results, and the hidden ones beside it.

    Attributes
    ----------
    path, shown
        The folder, and its name as the user gave it.
    overwrite, resume
        Replace the results of an earlier run. Go on with one that stopped.
    command
        ``"run"`` or ``"demo"``. A demo replaces an earlier demo without being asked.
    """

    path: Path
    shown: Path
    overwrite: bool
    command: str
    resume: bool = False

    @property
    def unfinished(self) -> Path:
        """Folder of a run that has not ended."""
        return self._beside("unfinished")

    @property
    def results(self) -> Path:
        """Folder in it that becomes the results."""
        return self.unfinished / "results"

    @property
    def stages(self) -> Stages:
        """What is done of the run."""
        return Stages(self.unfinished / "stages", self.results)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{suffix}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder, and see whether it can be written.

        Raises
        ------
        InputError
            Another run is at work there.
        CannotWriteError
            The disk is full or read-only, or the folder belongs to somebody else.
        """
        check_path(self.path)
        if os.path.ismount(self.path):
            raise InputError(
                f"--out {self.shown}: this is where a disk is mounted. Name a folder in it."
            )
        with writing(self.path.parent, NOTHING):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._lock()
        try:
            with writing(self.path.parent, NOTHING):
                self._repair()
                self._probe()
            yield
        finally:
            self._unlock(lock)

    def _lock(self) -> int:
        """Open and lock a file. The lock ends with the process, even if it is killed."""
        file = self._beside("lock")
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not file.exists() or not os.path.samestat(os.fstat(lock), file.stat()):
                os.close(lock)  # its run ended, and removed it, between the two lines above
                return self._lock()
        except BlockingIOError:
            who = os.read(lock, 200).decode(errors="replace") or "that has just begun"
            os.close(lock)
            raise InputError(
                f"--out {self.shown}: another run writes into this folder: {who}. Wait for its "
                "end, or name another folder."
            ) from None
        except (ImportError, OSError):  # Windows, and network disks without locks
            pass
        os.ftruncate(lock, 0)
        started = datetime.now().astimezone().strftime("%d %B %Y, %H:%M:%S")
        os.write(lock, f"process {os.getpid()}, started on {started}".encode())
        _OWNED.add(self.path)
        return lock

    def _unlock(self, lock: int | None = None) -> None:
        _KEPT[self.path] = self.tidy()
        _OWNED.discard(self.path)
        with suppress(OSError):  # Windows keeps a file that is open
            self._beside("lock").unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)

    def _probe(self) -> None:
        self.unfinished.mkdir(exist_ok=True)
        probe = self.unfinished / "probe"
        try:
            with probe.open("wb") as file:
                file.write(bytes(PROBE))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
            self.tidy()

    def check(self) -> None:
        """Refuse to touch anything that scgroove did not write.

        Raises
        ------
        InputError
            The folder is a file, holds other things, or results that may not be replaced.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"--out {self.shown}: this is a file; expected a folder, or a name that is free."
            )
        entries = sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []
        if not entries:
            return
        manifest = _manifest(self.path)
        if not manifest:
            raise InputError(
                f"--out {self.shown}: the folder is not empty ({listed(entries, 3)}), and scgroove "
                "did not make it. Give the name of a new folder."
            )
        if not self.overwrite and not (
            self.command == "demo" and manifest.get("command") == "demo"
        ):
            raise InputError(
                f"--out {self.shown}: the folder holds the results of an earlier run. Add "
                "--overwrite to replace them, or give the name of a new folder."
            )

    def start(self, settings: Settings, data: str) -> str:
        """Make the unfinished folder, or find the one of a run with the same command and data.

        ``data`` is a digest of the data. Returns the last stage that is done, empty without one.

        Raises
        ------
        InputError
            An unfinished run asks for something else, or there is none to resume.
        """
        asked = json.loads(
            json.dumps({"scgroove": __version__, "data": data, **asdict(settings)}, default=str)
        )
        done = self.stages.done
        if done and self._goes_on(asked, done[-1]):
            return done[-1]
        if self.resume and not done:
            raise InputError(
                f"--resume: there is no unfinished run of {self.shown} ({self.unfinished}). Leave "
                "--resume out to start one."
            )
        with writing(self.unfinished, NOTHING):
            shutil.rmtree(self.unfinished, ignore_errors=True)
            self.results.mkdir(parents=True)
            (self.unfinished / STARTED).write_text(json.dumps(asked, indent=1), encoding="utf-8")
        return ""

    def _goes_on(self, asked: Mapping[str, Any], last: str) -> bool:
        """Whether the unfinished run is this one. Another one is kept by an error."""
        before = _read_json(self.unfinished / STARTED)
        if self.overwrite and not self.resume:
            return False
        if before == asked:
            return True
        if self.command == "demo" and not self.resume:
            return False
        different = [
            f"{key} ({before.get(key)!r}, now {asked[key]!r})"
            for key in asked
            if before.get(key) != asked[key]
        ]
        raise InputError(
            f"--out {self.shown}: an unfinished run is kept in {self.unfinished}, done up to "
            f"{last!r}. It differs in {', '.join(different)}. To go on with it, give its command "
            "and data and add --resume; to give it up, add --overwrite; or give the name of a new "
            "folder."
        )

    def last_words(self) -> str:
        """Tidy up after an early end, and say what is kept."""
        if self.path in _OWNED:
            self._unlock()
        return _KEPT.get(
            self.path, NOTHING
        )  # of a folder never locked: what is there belongs to another run

    def tidy(self) -> str:
        """Remove the unfinished folder if nothing in it is done, and say what is kept."""
        done = self.stages.done
        if not done:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            return NOTHING
        return (
            f"What was done is kept in {self.unfinished} (up to {done[-1]!r}; the model is in "
            f"{self.results / 'model'}). The same command with --resume goes on from there."
        )

    def put(self) -> None:
        """Put finished results in place of earlier ones, which go last."""
        with held(), writing(self.path.parent, "The results are complete."):
            files = [
                str(file.relative_to(self.results))
                for file in self.results.rglob("*")
                if file.is_file()
            ]
            manifest = {
                "made_by": f"scgroove {__version__}",
                "command": self.command,
                "files": sorted([*(entry.name for entry in self.results.iterdir()), MANIFEST]),
                "contents": sorted(files),
            }
            part = self.unfinished / MANIFEST
            part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            part.rename(self.results / MANIFEST)
            self._swap()

    def _swap(self) -> None:
        old = self._beside("old")
        if self.path.exists():
            self.path.rename(old)
        try:
            self.results.rename(self.path)
        except BaseException:
            if old.exists():
                old.rename(self.path)
            raise
        self._clear()

    def _clear(self) -> None:
        """Remove the earlier results, and keep what the user put beside them."""
        old, gone = self._beside("old"), self._beside("gone")
        if old.exists():
            manifest = _manifest(old)
            ours = {*map(str, manifest.get("files", [])), *map(str, manifest.get("contents", []))}
            _carry(old, self.path, ours, "contents" in manifest)
            old.rename(gone)  # a folder that has lost its manifest must not be taken for the user's
        shutil.rmtree(gone, ignore_errors=True)
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def _repair(self) -> None:
        """Finish what a run that was killed while it put results in place had begun."""
        old, is_complete = self._beside("old"), bool(_manifest(self.results))
        if not self.path.exists():
            if is_complete:
                self.results.rename(self.path)
            elif old.exists():
                old.rename(self.path)
        if old.exists():
            if not _manifest(self.path):
                raise InputError(
                    f"--out {self.shown}: earlier results are in {old}, and the folder holds "
                    "something else. Move one away."
                )
            self._clear()
        elif is_complete and not self.results.exists():
            self._clear()
        shutil.rmtree(self._beside("gone"), ignore_errors=True)


def _carry(old: Path, new: Path, ours: set[str], nested: bool, prefix: str = "") -> None:
    """Move files of the user from old results to new ones, under a free name."""
    for entry in sorted(old.iterdir()):
        name = f"{prefix}{entry.name}"
        is_folder = entry.is_dir() and not entry.is_symlink()
        if is_folder and nested and any(one.startswith(f"{name}/") for one in ours):
            _carry(entry, new, ours, nested, f"{name}/")
        elif name not in ours:
            target = new / name
            while target.exists() or target.is_symlink():
                target = target.with_name(f"{target.name}.before")
            target.parent.mkdir(parents=True, exist_ok=True)
            entry.rename(target)


def _manifest(folder: Path) -> dict[str, Any]:
    """Return what a run wrote of itself. Empty if scgroove did not make the folder."""
    read = _read_json(folder / MANIFEST)
    return read if str(read.get("made_by", "")).startswith("scgroove") else {}


def _read_json(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        read = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return read
    return {}

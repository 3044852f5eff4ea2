"""Results are put in place as a whole: crashes at every step, files of the user's, two runs at once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scgroove._report import Settings
from scgroove._stops import SIGNALS
from scgroove.cli import _destination
from scgroove.cli._destination import MANIFEST, NOTHING, Destination
from scgroove.errors import CannotWriteError, FileError, InputError

OLD = {"report.html": "old", "figures/a.png": "old", "scores.csv": "old"}
NEW = {"report.html": "new", "figures/a.png": "new", "figures/b.png": "new"}
SETTINGS = Settings(source="rna", target="prot", modalities=("rna", "prot"))


class CrashError(BaseException):
    """Stands for the end of the process."""


def destination(folder, **changes):
    options = {"overwrite": True, "command": "run", **changes}
    return Destination(folder / "out", folder / "out", **options)


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def contents(folder):
    if not folder.exists():
        return None
    files = {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}
    files.pop(MANIFEST, None)
    return files


def complete(folder, files, **changes):
    """Make results, and put them in place."""
    made = destination(folder, **changes)
    with made.locked():
        made.start(SETTINGS, "data")
        written(made.results, files)
        made.put()


def only_the_results(folder):
    return [path.name for path in folder.iterdir()] == ["out"]


def test_new_results_take_the_place_of_earlier_ones(tmp_path):
    complete(tmp_path, OLD)
    complete(tmp_path, NEW)
    assert contents(tmp_path / "out") == NEW
    assert only_the_results(tmp_path)


def test_files_of_the_user_stay_where_they_are(tmp_path):
    complete(tmp_path, OLD)
    mine = {"notes.txt": "mine", "figures/mine.png": "mine", "mine/a.txt": "mine"}
    written(tmp_path / "out", mine)
    complete(tmp_path, NEW)
    assert contents(tmp_path / "out") == NEW | mine


def test_a_file_of_the_user_with_the_name_of_a_new_result_is_kept_beside_it(tmp_path):
    complete(tmp_path, OLD)
    written(tmp_path / "out", {"figures/b.png": "mine"})
    complete(tmp_path, NEW)
    assert contents(tmp_path / "out") == NEW | {"figures/b.png.before": "mine"}


CALLS = [(os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree"), (Path, "rename"),
         (Path, "write_text"), (Path, "mkdir"), (Path, "unlink")]  # fmt: skip


def crash_at(number, monkeypatch):
    """Let the call ``number`` of those that change files end the process, before it does anything, and all that follow."""
    count = [0]

    def crashing(function):
        def call(*args, **kwargs):
            count[0] += 1
            if count[0] >= number:
                raise CrashError
            return function(*args, **kwargs)

        return call

    for owner, name in CALLS:
        monkeypatch.setattr(owner, name, crashing(getattr(owner, name)))
    return count


@pytest.mark.parametrize("mine", [{}, {"notes.txt": "mine", "figures/mine.png": "mine"}])
def test_after_a_crash_at_any_point_the_old_or_the_new_results_are_whole(
    tmp_path, mine, monkeypatch
):
    monkeypatch.setattr(_destination, "PROBE", 16)
    number, ended = 0, False
    while not ended:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        complete(folder, OLD)
        written(folder / "out", mine)
        made = destination(folder)
        with made.locked():
            made.start(SETTINGS, "data")
            written(made.results, NEW)
            with monkeypatch.context() as patch:
                crash_at(number, patch)
                try:
                    made.put()
                    ended = True
                except CrashError:
                    pass
        places = [
            contents(one) or {} for one in (folder / "out", folder / ".out.old", made.results)
        ]
        assert any(files.items() <= one.items() for one in places for files in (OLD, NEW)), number
        assert mine.keys() <= set().union(*places), number
        with destination(folder).locked():  # the next run
            assert contents(folder / "out") in (OLD | mine, NEW | mine), number
        complete(folder, NEW)
        assert contents(folder / "out") == NEW | mine
        assert only_the_results(folder)
    assert number > 4


def test_an_error_while_the_new_results_come_in_brings_the_old_ones_back(tmp_path, monkeypatch):
    complete(tmp_path, OLD)
    made, rename = destination(tmp_path), Path.rename

    def failing(self, target):
        if self == made.results:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    with made.locked():
        made.start(SETTINGS, "data")
        written(made.results, NEW)
        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(CannotWriteError, match="No space left"):
            made.put()
    assert contents(tmp_path / "out") == OLD


def test_a_second_run_into_the_folder_is_refused_while_the_first_is_at_work(tmp_path):
    expected = rf"another run writes.*process {os.getpid()}, started on"
    with destination(tmp_path).locked(), pytest.raises(InputError, match=expected):
        destination(tmp_path).locked().__enter__()
    with destination(tmp_path).locked():
        pass
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_process_that_was_killed_is_none(tmp_path):
    code = (
        "import os; from pathlib import Path; from scgroove.cli._destination import Destination\n"
        f"made = Destination(Path({str(tmp_path / 'out')!r}), Path('out'), True, 'run')\n"
        "lock = made.locked(); lock.__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (tmp_path / ".out.lock").exists()
    with destination(tmp_path).locked():
        assert f"process {os.getpid()}," in (tmp_path / ".out.lock").read_text()
    assert not list(tmp_path.iterdir())


# -- unfinished runs ---------------------------------------------------------------------------------------------


def unfinished(folder, *stages, **settings):
    """A run that was killed after some stages."""
    from dataclasses import replace

    made = destination(folder, overwrite=False)
    with made.locked():
        made.start(replace(SETTINGS, **settings), "data")
        for name in stages:
            made.stages.folder.mkdir(exist_ok=True)
            made.stages.file_of(name).write_text("")
    return made


def test_a_killed_run_that_had_done_nothing_is_cleaned_away(tmp_path):
    made = unfinished(tmp_path)
    made.unfinished.mkdir(exist_ok=True)
    with destination(tmp_path).locked():
        pass
    assert not list(tmp_path.iterdir())


def test_the_same_command_goes_on_and_another_is_refused(tmp_path):
    made = unfinished(tmp_path, "train", "embed", epochs=5)
    assert str(made.unfinished) in made.tidy()
    assert "--resume" in made.tidy()
    with made.locked():
        with pytest.raises(
            InputError,
            match=r"unfinished run is kept in .*\.out\.unfinished, done up to 'embed'.*epochs \(5, now None\)",
        ):
            made.start(SETTINGS, "data")
        from dataclasses import replace

        with pytest.raises(InputError, match=r"data \('data', now 'other'\)"):
            made.start(replace(SETTINGS, epochs=5), "other")
        assert made.start(replace(SETTINGS, epochs=5), "data") == "embed"


def test_overwriting_gives_an_unfinished_run_up_unless_it_is_to_be_resumed(tmp_path):
    unfinished(tmp_path, "train")
    assert destination(tmp_path, resume=True).start(SETTINGS, "data") == "train"
    assert destination(tmp_path).start(SETTINGS, "data") == ""
    assert destination(tmp_path).tidy() == NOTHING


def test_resuming_nothing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="there is no unfinished run"):
        destination(tmp_path, resume=True).start(SETTINGS, "data")


# -- places that cannot be written -------------------------------------------------------------------------------


def test_a_full_disk_is_found_before_any_work(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(CannotWriteError, match="No space left on device"),
        destination(tmp_path).locked(),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(CannotWriteError, match="cannot write to"),
        destination(tmp_path / "file").locked(),
    ):
        pass


def test_a_name_that_is_not_utf8(tmp_path):
    with pytest.raises(FileError, match=r"\\xff/out is not UTF-8 text"):
        destination(tmp_path / os.fsdecode(b"\xff")).locked().__enter__()


def test_a_refused_run_leaves_the_folder_of_the_other(tmp_path):
    """Nothing of the first is done yet: its empty folder is not for the second to remove."""
    first = destination(tmp_path)
    with first.locked():
        first.unfinished.mkdir()
        code = (
            "import sys; from pathlib import Path; from scgroove.cli._destination import Destination\n"
            "from scgroove.errors import InputError\n"
            f"two = Destination(Path({str(tmp_path / 'out')!r}), Path('out'), False, 'run')\n"
            "try: two.locked().__enter__()\n"
            "except InputError: print(two.last_words())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.stdout == "Nothing was written.\n", done.stderr
        assert first.unfinished.is_dir()
        assert (tmp_path / ".out.lock").exists()
    assert not (tmp_path / ".out.lock").exists()


# -- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_process_that_swallows_exceptions(number):
    code = (
        "import signal, time; from scgroove._stops import ending, SIGNALS\n"
        "for one in SIGNALS: signal.signal(one, signal.SIG_DFL)\n"  # tests may run where they are ignored
        "with ending(lambda: 'Stopped. Nothing was written.'):\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except BaseException: pass\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 128 + number
    assert said.strip() == "Stopped. Nothing was written."


def test_a_signal_waits_until_results_are_in_place():
    code = (
        "import signal; from scgroove._stops import ending, held\n"
        "with ending(lambda: 'Stopped.'):\n"
        "    with held():\n"
        "        signal.raise_signal(signal.SIGTERM); print('in place', flush=True)\n"
        "    print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "in place\n")


def test_the_manifest_lists_every_file(tmp_path):
    complete(tmp_path, NEW)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["files"] == ["figures", "report.html", "run.json"]
    assert manifest["contents"] == sorted(NEW)

"""Writing a folder of files such that an interruption leaves the files of before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_when_done(folder: str | os.PathLike[str], last: str) -> Iterator[Path]:
    """Give an empty folder beside another; its files take the place of those of the same name at the end.

    Other files of the folder stay. After an error nothing has changed. After a kill, a hidden folder
    ``.<name>.unfinished-*`` may be left beside it.

    Parameters
    ----------
    folder
        Where the files belong.
    last
        End of the name of the file to replace last.
    """
    target = Path(folder).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.unfinished-", dir=target.parent))
    try:
        yield beside
        target.mkdir(exist_ok=True)
        for file in sorted(beside.iterdir(), key=lambda one: one.name.endswith(last)):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)

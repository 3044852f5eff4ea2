"""Stages of a run, kept on disk when they are done: a run that stopped goes on from there."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from scgroove._files import reading, writing
from scgroove._warnings import warn
from scgroove.errors import FileError

if TYPE_CHECKING:
    import h5py
    from mudata import MuData

    from scgroove._report import Results

KEPT: Final = "The stages that were done before are kept."
MODEL: Final = "model"
TRAINING: Final = "train"
"""Stage that the model belongs to."""

SPLIT: Final = ("train_indices", "validation_indices", "test_indices")
_APART: Final = {"mdata", "model", "settings", "data_name"}
_ALWAYS: Final = {"seconds", "warnings", "other_warnings"}
_TABLES: Final = "tables"
_VALUES: Final = "values"
_CLASS: Final = "class"
TESTS: Final = {"LabelTest", "CorrelationTest"}
"""Classes of :mod:`scgroove.metrics` whose values are kept with their name."""

Place: TypeAlias = tuple[str, str, str]
"""Modality (empty for the MuData itself), field, and key of a value."""

_log = logging.getLogger(__name__)


class Stages:
    """Finished stages of a run: what each wrote into the MuData and the results.

    Parameters
    ----------
    folder
        Folder of the stages.
    results
        Folder of the results, in which the model is saved in the format of scvi-tools.
    """

    def __init__(self, folder: Path, results: Path) -> None:
        self.folder = folder
        self.results = results

    @property
    def done(self) -> list[str]:
        """Names of the stages that are kept, in their order."""
        return [file.stem.partition("-")[2] for file in sorted(self.folder.glob("*.h5"))]

    def file_of(self, name: str) -> Path:
        """Return the file of a stage, numbered in the order of the stages."""
        kept = sorted(self.folder.glob(f"[0-9][0-9]-{name}.h5"))
        return kept[0] if kept else self.folder / f"{len(self.done):02d}-{name}.h5"

    def before(self, results: Results) -> tuple[dict[Place, Any], dict[str, Any]]:
        """Return what is there before a stage, for :meth:`keep`."""
        return _contents(results.mdata), _fields(results)

    def keep(
        self, name: str, results: Results, before: tuple[dict[Place, Any], dict[str, Any]]
    ) -> None:
        """Write what a stage changed. Results that no file can hold leave the stage undone."""
        contents = {}
        for place, value in _contents(results.mdata).items():
            if not _same(before[0].get(place), value):
                contents[place] = value
        fields = {}
        for field, value in _fields(results).items():
            if field in _ALWAYS or not _same(before[1][field], value):
                fields[field] = value
        file = self.file_of(name)
        part = file.with_suffix(".part")
        with writing(self.folder, KEPT):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                _write(part, contents, fields)
            except (TypeError, ValueError, NotImplementedError) as error:
                _log.info("The stage %r cannot be kept: %s", name, error)
                part.unlink(missing_ok=True)
                return
            os.replace(part, file)

    def restore(self, name: str, results: Results) -> bool:
        """Put back what a stage wrote, and return whether it was kept.

        A stage whose file is damaged, or whose model is, is to be done again, as those after it.
        """
        file = self.file_of(name)
        if not file.exists():
            return False
        try:
            with reading(file, must_have=""):
                contents, fields = _read(file)
            self._put_back(contents, fields, results)
            if name == TRAINING:
                self._restore_model(results)
        except FileError as error:
            for later in sorted(self.folder.glob("*.h5")):
                if later.name >= file.name:
                    later.unlink()
            warn(f"The stage {name!r} is done again: {error}")
            return False
        return True

    def _put_back(
        self, contents: dict[Place, Any], fields: dict[str, Any], results: Results
    ) -> None:
        for (modality, field, key), value in contents.items():
            part = results.mdata.mod[modality] if modality else results.mdata
            getattr(part, field)[key] = value
        if fields.get("pairs") is not None:
            fields["pairs"] = tuple(np.asarray(rows, dtype=np.intp) for rows in fields["pairs"])
        for field, value in fields.items():
            setattr(results, field, value)

    def keep_model(self, results: Results) -> None:
        """Save the trained model as a whole or not at all, and note which cells trained it."""
        part = self.results / f"{MODEL}.part"
        with writing(self.results, KEPT):
            results.model.save(str(part), overwrite=True)
            shutil.rmtree(self.results / MODEL, ignore_errors=True)
            os.replace(part, self.results / MODEL)
        for name in SPLIT:
            indices = getattr(results.model, name, None) or {}
            results.split[name] = {m: np.asarray(rows).tolist() for m, rows in indices.items()}

    def _restore_model(self, results: Results) -> None:
        """Load the model that was saved, as it was after training."""
        from scgroove.model import GROOVE

        folder = str(self.results / MODEL)
        results.model = GROOVE.load(folder, results.mdata, accelerator=results.settings.accelerator)
        for name, indices in results.split.items():
            rows = {m: np.asarray(of, dtype=np.int64) for m, of in indices.items()}
            setattr(results.model, name, rows)


def _contents(mdata: MuData) -> dict[Place, Any]:
    found: dict[Place, Any] = {}
    for name, part in [("", mdata), *mdata.mod.items()]:
        for field in ("obsm", "obsp", "uns"):
            for key, value in getattr(part, field).items():
                found[name, field, key] = value
        for column in part.obs.columns:
            found[name, "obs", column] = part.obs[column]
    return found


def _fields(results: Results) -> dict[str, Any]:
    fields = {}
    for field in dataclasses.fields(results):
        if field.name not in _APART:
            value = getattr(results, field.name)
            # containers are filled in place: what is kept for comparison must be another object
            fields[field.name] = copy(value) if isinstance(value, dict | list) else value
    return fields


def _same(before: Any, now: Any) -> bool:
    import pandas as pd

    if isinstance(now, pd.Series):
        return isinstance(before, pd.Series) and before.equals(now)
    if isinstance(now, dict):
        known = isinstance(before, dict) and before.keys() == now.keys()
        return known and all(before[key] is value for key, value in now.items())
    return before == now if isinstance(now, list | str | float | int) else before is now


def _rows(tests: dict[str, dict[tuple[str, str], Any]]) -> list[tuple[Any, ...]]:
    """Return tests as rows, because JSON has no keys of two parts."""
    return [(learner, *sides, one) for learner, of in tests.items() for sides, one in of.items()]


def _as_plain(value: Any) -> Any:
    """Return arrays as lists, and results of tests as their values with the name of the class."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if type(value).__name__ in TESTS:
        return {_CLASS: type(value).__name__, **dataclasses.asdict(value)}
    raise TypeError(f"{type(value).__name__} cannot be kept")


def _of_plain(values: dict[str, Any]) -> Any:
    from scgroove.metrics import permutation_tests

    if values.get(_CLASS) not in TESTS:
        return values
    return getattr(permutation_tests, values.pop(_CLASS))(**values)


def _write(file: Path, contents: dict[Place, Any], fields: dict[str, Any]) -> None:
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    plain = {}
    with h5py.File(file, "w") as opened:
        for number, (place, value) in enumerate(contents.items()):
            group = opened.create_group(f"{_VALUES}/{number}")
            group.attrs["place"] = json.dumps(place)
            write_elem(group, "value", value.to_frame() if isinstance(value, pd.Series) else value)
        for name, value in fields.items():
            if isinstance(value, pd.DataFrame | pd.Series):
                table = value.to_frame("value") if isinstance(value, pd.Series) else value
                write_elem(opened.require_group(_TABLES), name, table)
                opened[_TABLES][name].attrs["series"] = isinstance(value, pd.Series)
            else:
                plain[name] = _rows(value) if name == "tests" else value
        write_elem(opened, "plain", json.dumps(plain, default=_as_plain))


def _read(file: Path) -> tuple[dict[Place, Any], dict[str, Any]]:
    import h5py
    from anndata.io import read_elem

    with h5py.File(file, "r") as opened:
        contents = dict(_places(opened))
        fields: dict[str, Any] = json.loads(str(read_elem(opened["plain"])), object_hook=_of_plain)
        for learner, source, target, test in fields.pop("tests", []):
            fields.setdefault("tests", {}).setdefault(learner, {})[source, target] = test
        for name in opened.get(_TABLES, {}):
            table: Any = read_elem(opened[_TABLES][name])
            is_series = bool(opened[_TABLES][name].attrs["series"])
            fields[name] = table.iloc[:, 0] if is_series else table
    return contents, fields


def _places(opened: h5py.File) -> Iterator[tuple[Place, Any]]:
    from anndata.io import read_elem

    for number in sorted(opened.get(_VALUES, {}), key=int):
        group = opened[_VALUES][number]
        modality, field, key = json.loads(group.attrs["place"])
        value: Any = read_elem(group["value"])
        yield (modality, field, key), value.iloc[:, 0] if field == "obs" else value

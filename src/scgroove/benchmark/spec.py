"""Specification of a benchmark: data, learners, aligners, seeds. From TOML or Python."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from scgroove import aligners, learners, metrics
from scgroove._labels import UnlabeledCategory, label_name, plain_category
from scgroove.errors import SpecError, UnknownNameError, did_you_mean
from scgroove.simulations import SCENARIOS, Scenario

SPECS: Final = ("reference", "scenarios")
"""Names of the grids that come along."""

N_SEEDS: Final = 5

UNLABELED: Final = " unlabeled"
"""After the name of an aligner: the form that sees no labels."""

QUICK_LABELS: Final = 8
QUICK_CELLS: Final = 20

OF_FILES: Final = (
    *("drop_labels", "min_cells_per_label", "n_top_features"),
    *("pair_key", "dose_key", "unlabeled_category"),
)
"""Options of data that have no effect on a simulation."""


@dataclass(frozen=True)
class LearnerSpec:
    """A learner with its options.

    Attributes
    ----------
    learner
        Name in :data:`scgroove.learners.LEARNERS`.
    name
        Name in the results. Default that of the learner.
    options
        Of its class.
    """

    learner: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that it can be constructed."""
        object.__setattr__(self, "name", self.name or self.learner)
        object.__setattr__(self, "options", dict(self.options))
        if learners.unavailable_reason(self.learner) is None:
            self.build()

    def build(self) -> Any:
        """Return the learner, not fitted."""
        return learners.construct(self.learner, self.options)

    @property
    def aligned(self) -> bool:
        """Whether its representations lie in one space."""
        return bool(getattr(learners.get(self.learner), "aligned", True))


@dataclass(frozen=True)
class AlignerSpec:
    """An aligner with its options.

    Attributes
    ----------
    method
        Name in :data:`scgroove.aligners.ALIGNERS`.
    labeled
        Whether mass stays within labels.
    name
        Name in the results. Default that of the method, with ``" unlabeled"`` if so.
    options
        Of its class.
    """

    method: str
    labeled: bool = True
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that it can be constructed."""
        default = self.method if self.labeled else self.method + UNLABELED
        object.__setattr__(self, "name", self.name or default)
        object.__setattr__(self, "options", dict(self.options))
        self.build(0)

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the aligner of a name, such as ``"eot"`` or ``"eot unlabeled"``."""
        return cls(name.removesuffix(UNLABELED), labeled=not name.endswith(UNLABELED))

    def build(self, seed: int) -> Any:
        """Return the aligner. One that draws gets the seed."""
        cls = aligners.get(self.method)
        known = [option.name for option in fields(cls)]
        for option in self.options:
            if option not in known:
                raise SpecError(
                    f"aligner {self.method!r} has no option {option!r}."
                    f"{did_you_mean(option, known)}"
                )
        return cls(**({"seed": seed} if "seed" in known else {}) | dict(self.options))


@dataclass(frozen=True)
class DataSpec:
    """A simulated scenario, or a file with two modalities or more.

    Attributes
    ----------
    name
        Name in the results.
    scenario
        Name in :data:`scgroove.simulations.SCENARIOS`. None for a file.
    parameters
        Of :class:`scgroove.simulations.Scenario`, if they differ from the named one.
    file
        A ``.h5mu`` file. None for a simulation.
    source, target
        The modalities to match. Default the first two.
    label_key, pair_key
        Columns of ``mod[m].obs``. The pairing is hidden from learners and serves as the truth.
        Without it, only scores of labels are made. Default: ``"pair_id"`` if it exists.
    drop_labels
        Labels whose cells are left out.
    min_cells_per_label
        Labels with fewer cells in a modality are left out there.
    n_top_features
        Keep this many of the most variable features. None keeps all.
    control
        Label of unperturbed cells, the zero of effects. None: effects are not scored.
    dose_key
        Column of ``mod[m].obs`` with the dose of a cell, hidden from learners.
    unlabeled_category
        Labels that stand for "no label". Their cells stay, without a label.
    """

    name: str = ""
    scenario: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None
    source: str | None = None
    target: str | None = None
    label_key: str = "label"
    pair_key: str | None = None
    drop_labels: tuple[str, ...] = ()
    min_cells_per_label: int = 2
    n_top_features: int | None = None
    control: str | None = None
    dose_key: str | None = None
    unlabeled_category: UnlabeledCategory = None

    def __post_init__(self) -> None:
        """Check that it is either a scenario or a file, with options that go with it."""
        if (self.scenario is None) == (self.file is None):
            raise SpecError(
                f"data {self.name!r} must name a scenario or a file, one of the two; found "
                f"scenario={self.scenario!r}, file={self.file!r}."
            )
        if self.scenario is None and self.parameters:
            raise SpecError(f"data {self.name!r}: parameters go with a scenario, not with a file.")
        given: Any = self.drop_labels  # one label in TOML is text or a number
        labels = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        values = {
            "parameters": dict(self.parameters),
            "drop_labels": tuple(map(label_name, labels)),
            "unlabeled_category": plain_category(self.unlabeled_category),
            "control": None if self.control is None else label_name(self.control),
            "name": self.name or self._default_name(),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for option in ("min_cells_per_label", "n_top_features"):
            value = getattr(self, option)
            if not (_is_whole(value, 1) or (value is None and option == "n_top_features")):
                raise SpecError(
                    f"data {self.name!r}: {option} must be a whole number of at least 1; "
                    f"found {value!r}."
                )
        if self.scenario is None:
            return
        for option in OF_FILES:
            if getattr(self, option) != type(self).__dataclass_fields__[option].default:
                raise SpecError(
                    f"data {self.name!r}: {option} goes with a file, not with a scenario, whose "
                    "parameters say what is drawn."
                )
        self.simulated()

    def _default_name(self) -> str:
        if self.file is not None:
            return Path(self.file).stem
        changes = [f"{key} {value}" for key, value in self.parameters.items()]
        return ", ".join([str(self.scenario), *changes])

    def as_plain(self) -> dict[str, Any]:
        """Return everything that the data depend on, but the contents of a file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del plain["name"]
        for option in ("control", "dose_key", "unlabeled_category"):
            if plain[option] is None:  # results from before there was this option stay valid
                del plain[option]
        return plain

    def simulated(self) -> Scenario:
        """Return the scenario with its parameters."""
        base = SCENARIOS.get(str(self.scenario)).scenario
        known = [option.name for option in fields(Scenario)]
        for parameter in self.parameters:
            if parameter not in known:
                raise SpecError(
                    f"data {self.name!r}: a scenario has no parameter {parameter!r}."
                    f"{did_you_mean(parameter, known)} Its parameters: {', '.join(known)}."
                )
        changes = {k: tuple(v) if isinstance(v, list) else v for k, v in self.parameters.items()}
        return Scenario(**{name: getattr(base, name) for name in known} | changes)


@dataclass(frozen=True)
class Spec:
    """A grid: every learner on every data set and seed, every aligner on every representation.

    Attributes
    ----------
    data, learners, aligners
        The entries to combine, with different names within each.
    seeds
        Of simulations, learners and aligners that draw.
    metrics
        Names of metrics. Empty for all that the data allow.
    title
        Of the report.
    null
        How often the grid is repeated on permuted labels, whose numbers then stand beside every
        score. Repeat r has the r-th seed, starting again if there are fewer seeds.

    Examples
    --------
    >>> spec = Spec.from_dict(
    ...     {"data": ["reference"], "learners": ["pca_procrustes"], "aligners": ["eot"], "seeds": 2}
    ... )
    >>> spec.n_cells
    4
    """

    data: tuple[DataSpec, ...]
    learners: tuple[LearnerSpec, ...]
    aligners: tuple[AlignerSpec, ...] = ()
    seeds: tuple[int, ...] = tuple(range(N_SEEDS))
    metrics: tuple[str, ...] = ()
    title: str = "Benchmark"
    null: int = 0

    def __post_init__(self) -> None:
        """Check that the grid is not empty, and that no name stands twice."""
        if not _is_whole(self.null, 0):
            raise SpecError(
                "null, how often the grid is repeated on permuted labels, must be a whole number "
                f"of at least 0; found {self.null!r}."
            )
        for axis in ("data", "learners", "aligners", "seeds", "metrics"):
            object.__setattr__(self, axis, tuple(getattr(self, axis)))
        for axis in ("data", "learners", "seeds"):
            if not getattr(self, axis):
                raise SpecError(f"a spec needs at least one of {axis}; found none.")
        for axis in ("data", "learners", "aligners", "seeds"):
            names = [str(getattr(entry, "name", entry)) for entry in getattr(self, axis)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SpecError(
                    f"{axis} must have different names; found {', '.join(map(repr, twice))} "
                    "twice. Give one of them another name=."
                )
        for name in self.metrics:
            metrics.METRICS.get(name)

    @property
    def n_cells(self) -> int:
        """Number of cells of the grid: each representation on its own, and with each aligner."""
        return len(self.data) * len(self.runs) * len(self.learners) * (1 + len(self.aligners))

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Seed and permutation of the labels of each run, 0 for labels as they are."""
        permuted = [(self.seeds[i % len(self.seeds)], i + 1) for i in range(self.null)]
        return [*((seed, 0) for seed in self.seeds), *permuted]

    def quick(self) -> Self:
        """Return the grid with one seed, and at most 8 labels and 20 cells a label simulated."""
        data = tuple(one if one.file else replace(one, parameters=_small(one)) for one in self.data)
        title = f"{self.title} (quick)"
        return replace(self, data=data, seeds=self.seeds[:1], null=min(self.null, 1), title=title)

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a grid that comes along.

        ``"reference"``: all learners and four aligners with and without labels on three shares
        of shared effects. ``"scenarios"``: the main learners on every named scenario.
        """
        if name not in SPECS:
            raise UnknownNameError("grid", name, SPECS)
        folder = files("scgroove.benchmark").joinpath("specs")
        return cls.from_dict(tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")))

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Read a spec as TOML gives it.

        Parameters
        ----------
        given
            ``data``, ``learners``, ``aligners``: lists of names, or of tables. ``seeds``: a list,
            or how many. ``metrics``: a list of names. ``title``. ``null``: a number.
        folder
            Base of relative names of files.

        Raises
        ------
        SpecError
            If it cannot be run. The message says where.
        """
        _check_keys("the spec", given, [option.name for option in fields(cls)])
        try:
            return cls(
                data=tuple(_data(entry, folder) for entry in _listed(given, "data")),
                learners=tuple(_learner(entry) for entry in _listed(given, "learners")),
                aligners=tuple(_aligner(entry) for entry in _listed(given, "aligners")),
                seeds=_seeds(given.get("seeds", N_SEEDS)),
                metrics=tuple(_listed(given, "metrics")),
                title=str(given.get("title", "Benchmark")),
                null=given.get("null", 0),
            )
        except SpecError:
            raise
        except (TypeError, ValueError, KeyError) as error:
            raise SpecError(str(error.args[0] if error.args else error)) from error

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a spec from a TOML file: see :meth:`from_dict`.

        Raises
        ------
        SpecError
            If the file is not TOML, or not a spec.
        FileNotFoundError
            If there is no such file.
        """
        path = Path(path)
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SpecError(
                f"{path} is not TOML: {error}. See the user guide, 'Benchmark', for an example."
            ) from error
        try:
            return cls.from_dict(given, path.resolve().parent)
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from error

    @classmethod
    def read(cls, given: Spec | Mapping[str, Any] | str | Path) -> Spec:
        """Return a spec from a spec, a mapping or a TOML file."""
        if isinstance(given, Spec):
            return given
        return cls.from_dict(given) if isinstance(given, Mapping) else cls.from_toml(given)

    def as_dict(self) -> dict[str, Any]:
        """Return the spec as plain values. :meth:`from_dict` reads it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for axis in ("data", "learners", "aligners"):
            for entry in plain[axis]:
                for key in [key for key, value in entry.items() if value in (None, {}, [])]:
                    del entry[key]
        return plain


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _small(data: DataSpec) -> dict[str, Any]:
    """Return the parameters of a scenario with few labels and cells."""
    scenario = data.simulated()
    n_labels = min(scenario.n_labels, QUICK_LABELS + sum(scenario.exclusive().values()))
    cells: Any = [min(n, QUICK_CELLS) for n in scenario.cells_per_label()[:n_labels]]
    if isinstance(scenario.n_cells_per_label, int):
        cells = min(scenario.n_cells_per_label, QUICK_CELLS)
    return {**data.parameters, "n_labels": n_labels, "n_cells_per_label": cells}


def _check_keys(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise SpecError(
                f"{where} has an unknown entry {key!r}.{did_you_mean(key, known)} "
                f"Expected: {', '.join(known)}."
            )


def _listed(given: Mapping[str, Any], axis: str) -> list[Any]:
    entries = given.get(axis, [])
    if isinstance(entries, str | Mapping):
        return [entries]
    if not isinstance(entries, Sequence):
        raise SpecError(f"{axis} must be a list; found {entries!r}.")
    return list(entries)


def _seeds(given: Any) -> tuple[int, ...]:
    seeds = range(given) if _is_whole(given, 0) else given
    if not isinstance(seeds, Sequence) or not seeds or not all(_is_whole(s, 0) for s in seeds):
        raise SpecError(
            "seeds must be how many (at least 1), or a list of whole numbers of at least 0; "
            f"found {given!r}."
        )
    return tuple(seeds)


def _entry(entry: Any, kind: Any, axis: str, main: str) -> Any:
    """Read an entry of an axis: a name stands for itself, a table has the options of a class."""
    if isinstance(entry, kind):
        return entry
    if isinstance(entry, str):
        return kind(**{main: entry})
    if not isinstance(entry, Mapping):
        raise SpecError(f"an entry of {axis} must be a name or a table; found {entry!r}.")
    _check_keys(f"an entry of {axis}", entry, [option.name for option in fields(kind)])
    if main not in entry and main != "scenario":
        raise SpecError(f"an entry of {axis} must say which {main}; found {dict(entry)!r}.")
    return kind(**entry)


def _learner(entry: Any) -> LearnerSpec:
    spec: LearnerSpec = _entry(entry, LearnerSpec, "learners", "learner")
    return spec


def _aligner(entry: Any) -> AlignerSpec:
    if isinstance(entry, str):
        return AlignerSpec.named(entry)
    spec: AlignerSpec = _entry(entry, AlignerSpec, "aligners", "method")
    return spec


def _data(entry: Any, folder: Path | None) -> DataSpec:
    if isinstance(entry, str) and entry.endswith(".h5mu"):
        entry = {"file": entry}
    if isinstance(entry, Mapping) and "file" in entry and folder is not None:
        entry = {**entry, "file": str((folder / entry["file"]).resolve())}
    spec: DataSpec = _entry(entry, DataSpec, "data", "scenario")
    return spec

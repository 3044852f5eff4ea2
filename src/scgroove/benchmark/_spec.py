"""What to compare: data, learners, aligners, seeds. Read from TOML or written in Python."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Self

from scgroove import aligners, learners
from scgroove._labels import UnlabeledCategory, label_name, plain_category
from scgroove.errors import InputTypeError, SpecError, did_you_mean
from scgroove.simulations import SCENARIOS, Scenario

N_SEEDS: Final = 5
"""Seeds where the spec does not say."""


UNLABELED: Final = " unlabeled"
"""After the name of an aligner: the form that sees no labels."""

QUICK_LABELS: Final = 8
QUICK_CELLS: Final = 20


@dataclass(frozen=True)
class LearnerSpec:
    """A learner with its options.

    Attributes
    ----------
    learner
        Name in :data:`scgroove.learners.LEARNERS`.
    name
        How the results call it; default that of the learner.
    options
        Of its class.
    """

    learner: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be constructed."""
        object.__setattr__(self, "name", self.name or self.learner)
        object.__setattr__(self, "options", dict(self.options))
        if learners.unavailable_reason(self.learner) is None:
            learners.construct(self.learner, self.options)

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
        How the results call it; default that of the method, with ``" unlabeled"`` where it is.
    options
        Of its class.
    """

    method: str
    labeled: bool = True
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be constructed."""
        object.__setattr__(
            self, "name", self.name or self.method + ("" if self.labeled else UNLABELED)
        )
        object.__setattr__(self, "options", dict(self.options))
        self.build(0)

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the aligner of a name; ``" unlabeled"`` after it means what it says."""
        return cls(name.removesuffix(UNLABELED), labeled=not name.endswith(UNLABELED))

    def build(self, seed: int) -> Any:
        """Return the aligner; one that draws gets the seed."""
        cls = aligners.get(self.method)
        known = [option.name for option in fields(cls)]
        for option in self.options:
            if option not in known:
                raise InputTypeError(
                    f"aligner {self.method!r} has no option {option!r}.{did_you_mean(option, known)}"
                )
        drawn = {"seed": seed} if "seed" in known and "seed" not in self.options else {}
        return cls(**{**self.options, **drawn})


@dataclass(frozen=True)
class DataSpec:
    """A simulated scenario, or a file with two modalities or more.

    Attributes
    ----------
    name
        How the results call it.
    scenario
        Name in :data:`scgroove.simulations.SCENARIOS`; None for a file.
    parameters
        Of :class:`scgroove.simulations.Scenario`, where they differ from the named one.
    file
        A ``.h5mu`` file; None for a simulation.
    source, target
        The modalities to match; default the first two.
    label_key, pair_key
        Columns of ``mod[m].obs``. The pairing is hidden from learners, and serves as the truth; without it, only
        scores of labels are made. Default: ``"pair_id"`` if there is one.
    drop_labels
        Labels whose cells are left out.
    min_cells_per_label
        Labels with fewer cells in a modality are left out there.
    n_top_features
        Of a count modality keep the most variable ones, this many; None keeps all.
    control
        Label of the cells without a perturbation, from which effects are counted; None: no scores of effects.
    dose_key
        Column of ``mod[m].obs`` with the dose of a cell, hidden from learners: for metrics that need doses.
        None: there is none.
    unlabeled_category
        Labels that stand for "no label", one or several. Their cells stay, and nobody is told a label for them.
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
        """Refuse what is neither a scenario nor a file."""
        if (self.scenario is None) == (self.file is None):
            raise SpecError(
                f"data {self.name!r} must name a scenario or a file, one of the two; found scenario={self.scenario!r}, "
                f"file={self.file!r}."
            )
        if self.scenario is None and self.parameters:
            raise SpecError(f"data {self.name!r}: parameters go with a scenario, not with a file.")
        object.__setattr__(self, "parameters", dict(self.parameters))
        given: Any = self.drop_labels  # one label in TOML is text or a number
        labels = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        object.__setattr__(self, "drop_labels", tuple(map(label_name, labels)))
        object.__setattr__(self, "unlabeled_category", plain_category(self.unlabeled_category))
        if self.control is not None:
            object.__setattr__(self, "control", label_name(self.control))
        object.__setattr__(self, "name", self.name or self._default_name())
        self._check_numbers()
        if self.scenario is not None:
            self._check_no_file_options()
            self.simulated()

    def _check_numbers(self) -> None:
        for option in ("min_cells_per_label", "n_top_features"):
            value: Any = getattr(self, option)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not (whole or (value is None and option == "n_top_features")):
                raise SpecError(
                    f"data {self.name!r}: {option} must be a whole number of at least 1; found {value!r}."
                )

    def _check_no_file_options(self) -> None:
        """Refuse what has no effect on a simulation."""
        of_files = ("drop_labels", "min_cells_per_label", "n_top_features", "pair_key", "dose_key")
        for option in (*of_files, "unlabeled_category"):
            if getattr(self, option) != type(self).__dataclass_fields__[option].default:
                raise SpecError(
                    f"data {self.name!r}: {option} goes with a file, not with a scenario, whose parameters say what is drawn."
                )

    def _default_name(self) -> str:
        if self.file is not None:
            return Path(self.file).stem
        changes = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"{self.scenario}, {changes}" if changes else str(self.scenario)

    def as_plain(self) -> dict[str, Any]:
        """Return all that the data depend on but the contents of a file, as plain values."""
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
                    f"data {self.name!r}: a scenario has no parameter {parameter!r}.{did_you_mean(parameter, known)} "
                    f"Its parameters: {', '.join(known)}."
                )
        frozen = {key: tuple(v) if isinstance(v, list) else v for key, v in self.parameters.items()}
        given = {option.name: getattr(base, option.name) for option in fields(Scenario)}
        return Scenario(**{**given, **frozen})


@dataclass(frozen=True)
class Spec:
    """A grid: every learner on every data set with every seed, every aligner on every representation.

    Attributes
    ----------
    data, learners, aligners
        What is combined. Names must be different within each.
    seeds
        Of simulations, learners and aligners that draw.
    metrics
        Names of metrics; empty for all that the data allow.
    title
        Of the report.
    null
        How often the grid is repeated on permuted labels, whose numbers then stand beside every score. Repeat r has
        the r-th seed, starting again where there are fewer seeds.

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
        """Refuse an empty grid, names that stand twice, and a number of repeats that is none."""
        null: Any = self.null  # what a file holds may be anything
        if not isinstance(null, int) or isinstance(null, bool) or null < 0:
            raise SpecError(
                f"null, how often the grid is repeated on permuted labels, must be a whole number of at least 0; found "
                f"{self.null!r}."
            )
        for axis in ("data", "learners", "aligners", "seeds", "metrics"):
            object.__setattr__(self, axis, tuple(getattr(self, axis)))
        for axis in ("data", "learners", "seeds"):
            if not getattr(self, axis):
                raise SpecError(f"a spec needs at least one of {axis}; found none.")
        for axis in ("data", "learners", "aligners"):
            _check_different(axis, [entry.name for entry in getattr(self, axis)])
        _check_different("seeds", [str(seed) for seed in self.seeds])
        _check_metrics(self.metrics)

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
        """Return the same with the first seed only, and simulations of at most 8 labels and 20 cells a label."""
        data = tuple(one if one.file else replace(one, parameters=_small(one)) for one in self.data)
        title = f"{self.title} (quick)"
        return replace(self, data=data, seeds=self.seeds[:1], null=min(self.null, 1), title=title)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], folder: Path | None = None) -> Self:
        """Read a spec as TOML gives it.

        Parameters
        ----------
        given
            ``data``, ``learners``, ``aligners``: lists of names, or of tables. ``seeds``: a list, or how many.
            ``metrics``: a list of names. ``title``. ``null``: a number of permutations.
        folder
            What relative names of files are relative to.

        Raises
        ------
        SpecError
            If it cannot be run; the message says where, and names the near miss.
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

    def as_dict(self) -> dict[str, Any]:
        """Return the spec as plain values; :meth:`from_dict` reads it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for axis in ("data", "learners", "aligners"):
            plain[axis] = [
                {key: value for key, value in entry.items() if value not in (None, {}, [])}
                for entry in plain[axis]
            ]
        return plain


def _small(data: DataSpec) -> dict[str, Any]:
    scenario = data.simulated()
    n_labels = min(scenario.n_labels, QUICK_LABELS + sum(scenario.exclusive().values()))
    cells = scenario.cells_per_label()[:n_labels]
    small: dict[str, Any] = {"n_labels": n_labels}
    if isinstance(scenario.n_cells_per_label, int):
        small["n_cells_per_label"] = min(scenario.n_cells_per_label, QUICK_CELLS)
    else:
        small["n_cells_per_label"] = [min(n, QUICK_CELLS) for n in cells]
    return {**data.parameters, **small}


def digest(*parts: Any) -> str:
    """Return 12 hex digits that stand for plain values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _check_keys(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise SpecError(
                f"{where} has an unknown entry {key!r}.{did_you_mean(key, known)} Expected: {', '.join(known)}."
            )


def _check_different(axis: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(
            f"{axis} must have different names; found {', '.join(map(repr, twice))} twice. Give one of them another name=."
        )


def _check_metrics(names: Sequence[str]) -> None:
    from scgroove.benchmark._evaluate import metric_names

    known = metric_names()
    for name in names:
        if name not in known:
            raise SpecError(
                f"unknown metric {name!r}.{did_you_mean(name, known)} Available: {', '.join(known)}."
            )


def _listed(given: Mapping[str, Any], axis: str) -> list[Any]:
    entries = given.get(axis, [])
    if isinstance(entries, str | Mapping):
        return [entries]
    if not isinstance(entries, Sequence):
        raise SpecError(f"{axis} must be a list; found {entries!r}.")
    return list(entries)


def _seeds(given: Any) -> tuple[int, ...]:
    whole = isinstance(given, int) and not isinstance(given, bool)
    seeds = tuple(range(given)) if whole else tuple(given) if isinstance(given, Sequence) else ()
    if not seeds or any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in seeds):
        raise SpecError(
            f"seeds must be how many (at least 1), or a list of whole numbers of at least 0; found {given!r}."
        )
    return seeds


def _table(entry: Any, axis: str, main: str) -> dict[str, Any]:
    """Return an entry as a table: a name stands for itself."""
    if isinstance(entry, str):
        return {main: entry}
    if not isinstance(entry, Mapping):
        raise SpecError(f"an entry of {axis} must be a name or a table; found {entry!r}.")
    return dict(entry)


def _learner(entry: Any) -> LearnerSpec:
    if isinstance(entry, LearnerSpec):
        return entry
    table = _table(entry, "learners", "learner")
    _check_keys("an entry of learners", table, ["learner", "name", "options"])
    if "learner" not in table:
        raise SpecError(f"an entry of learners must say which learner; found {table!r}.")
    return LearnerSpec(**table)


def _aligner(entry: Any) -> AlignerSpec:
    if isinstance(entry, AlignerSpec):
        return entry
    if isinstance(entry, str):
        return AlignerSpec.named(entry)
    table = _table(entry, "aligners", "method")
    _check_keys("an entry of aligners", table, ["method", "labeled", "name", "options"])
    if "method" not in table:
        raise SpecError(f"an entry of aligners must say which method; found {table!r}.")
    return AlignerSpec(**table)


def _data(entry: Any, folder: Path | None) -> DataSpec:
    if isinstance(entry, DataSpec):
        return entry
    table = _table(entry, "data", "scenario")
    if isinstance(entry, str) and entry.endswith(".h5mu"):
        table = {"file": entry}
    _check_keys("an entry of data", table, [option.name for option in fields(DataSpec)])
    if "file" in table and folder is not None:
        table["file"] = str((folder / table["file"]).resolve())
    return DataSpec(**table)

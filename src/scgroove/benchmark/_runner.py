"""Runs a grid: a cell is written when it is done, and what is written is not done again."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scgroove import aligners, learners, metrics
from scgroove._keys import can_be_stored
from scgroove._measure import measured
from scgroove._stops import noticed
from scgroove.aligners.jobs import check_jobs
from scgroove.benchmark._data import Loaded, identity, load
from scgroove.benchmark._evaluate import evaluate_coupling, evaluate_representation
from scgroove.benchmark._held_out import (
    N_FOLDS,
    Spaces,
    held_out_coupling,
    held_out_representation,
    represent,
)
from scgroove.benchmark._results import (
    BY_CONSTRUCTION,
    EVIDENCE,
    Cell,
    Store,
    representation_name,
    versions,
)
from scgroove.benchmark._spec import AlignerSpec, DataSpec, LearnerSpec, Spec, digest
from scgroove.errors import CannotWriteError, SpecError, WorkerKilledError
from scgroove.metrics.registry import Metric

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str, "Progress"], None]


COSTS: Final = ("fit_seconds", "transform_seconds", "fit_memory_mb")
"""What a learner took."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    total
        Cells of the grid.
    kept
        Those found in the folder.
    done, failed, skipped
        Those of this run.
    """

    total: int
    kept: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def finished(self) -> int:
        """Cells that need no more work."""
        return self.kept + self.done + self.failed + self.skipped

    def and_also(self, statuses: Iterable[str]) -> Progress:
        """Return the progress after some more cells."""
        counts = dict.fromkeys(("done", "failed", "skipped"), 0)
        for status in statuses:
            counts[status] += 1
        return replace(self, **{name: getattr(self, name) + n for name, n in counts.items()})


@dataclass(frozen=True)
class Known:
    """The class of a learner, those of aligners, and metrics."""

    learner: type
    aligners: tuple[tuple[str, type], ...]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Job:
    """One learner on one data set with one seed, and the aligners to come: what shares a representation.

    ``known`` is what the process that planned the job has registered: it takes a worker of another process to the module
    that registers it, or comes there as it is if it was defined in a script.
    """

    data: DataSpec
    learner: LearnerSpec
    seed: int
    representation: str
    cells: tuple[tuple[Cell, AlignerSpec | None], ...]
    metrics: tuple[str, ...]
    known: Known
    permutation: int = 0

    @property
    def title(self) -> str:
        """For a progress bar."""
        labels = f", permuted labels {self.permutation}" if self.permutation else ""
        return f"{self.data.name}, seed {self.seed}{labels}: {self.learner.name}"


def run(
    spec: Spec | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    n_jobs: int | None = None,
    shard: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    mix_versions: bool = False,
    progress: bool | Say = True,
) -> pd.DataFrame:
    """Run every combination of data, learner, aligner and seed, and write each as soon as it is done.

    A run that was stopped, by whatever, goes on where it stopped when it is started again; a spec that has grown adds what
    is missing. A learner is fitted once for all aligners. What fails is recorded with its error, and the rest goes on.

    Parameters
    ----------
    spec
        What to compare: a :class:`Spec`, a mapping as :meth:`Spec.from_dict` takes it, or a TOML file.
    out
        Folder of the results: a new one, or that of an earlier run.
    n_jobs
        Processes: None for one, or what ``joblib.parallel_config`` says (a Dask or Ray cluster, whose workers must see ``out``
        and the files of the spec under the same names); -1 for all cores.
    shard
        ``(i, n)``: do only every n-th job, from the i-th on; n processes on a cluster, each with its own i, do all of them
        into one folder.
    retry_failed
        Do again what failed or was skipped.
    mix_versions
        Add to results that another version of scgroove made.
    progress
        Show a bar; or a function that is called with a line and a :class:`Progress`.

    Returns
    -------
    DataFrame
        All results in the folder, as :func:`read` returns them.

    Raises
    ------
    SpecError
        If the spec cannot be run; nothing is written then.
    ResultsError
        If the folder holds something else, or results of another version.
    CannotWriteError
        If results cannot be written (full disk, permissions); what is finished is kept.

    See Also
    --------
    scgroove.benchmark.read, scgroove.benchmark.summarize, scgroove.pl.benchmark_report

    Examples
    --------
    >>> results = scgroove.benchmark.run(
    ...     {"data": ["reference"], "learners": ["groove", "ps_logistic"], "aligners": ["eot"]},
    ...     "results",
    ... )  # doctest: +SKIP
    """
    spec = as_spec(spec)
    check_jobs(n_jobs)
    _check_shard(shard)
    for data in spec.data:
        if data.file is not None:
            load(data, spec.seeds[0])  # a wrong name is told before anything is done
    store = Store(Path(out))
    everything = plan(spec)
    store.open(spec.as_dict(), _cells(everything), mix_versions=mix_versions)
    jobs = everything[shard[0] :: shard[1]]
    open_jobs, kept = _remaining(jobs, store, retry_failed)
    state = Progress(total=sum(len(job.cells) for job in jobs), kept=kept)
    with _reporter(progress) as say:
        say("starting", state)
        for title, statuses in _work(open_jobs, store, n_jobs):
            state = state.and_also(statuses)
            say(title, state)
    return store.read()


def as_spec(spec: Spec | Mapping[str, Any] | str | Path) -> Spec:
    """Return a spec, however it was given."""
    if isinstance(spec, Spec):
        return spec
    return Spec.from_dict(spec) if isinstance(spec, Mapping) else Spec.from_toml(spec)


def _check_shard(shard: tuple[int, int]) -> None:
    i, n = shard
    if not 0 <= i < n:
        raise SpecError(
            f"shard must be (i, n) with 0 <= i < n: the i-th of n parts, from 0; found {shard!r}."
        )


def plan(spec: Spec) -> list[Job]:
    """Return the jobs of a grid: data and seed vary slowest, so that workers can keep the data."""
    jobs, here = [], versions()["scgroove"]
    alone, coupled = _scored(spec.metrics)
    asked = (*((None,) if alone else ()), *(spec.aligners if coupled else ()))
    methods = tuple((one.method, aligners.get(one.method)) for one in spec.aligners)
    scored = tuple(metrics.METRICS.get(name) for name in spec.metrics or metrics.METRICS.names())
    for data in spec.data:
        what = identity(data)
        for seed, permutation in spec.runs:
            for learner in spec.learners:
                who = [
                    *what,
                    learner.learner,
                    learner.options,
                    seed,
                    *([permutation] if permutation else []),
                ]
                cells: list[tuple[Cell, AlignerSpec | None]] = []
                for aligner in asked:
                    how = [aligner.method, aligner.labeled, aligner.options] if aligner else []
                    key = digest(who, how, spec.metrics)
                    name = aligner.name if aligner else ""
                    cells.append(
                        (Cell(data.name, learner.name, name, seed, key, permutation), aligner)
                    )
                kept = representation_name(data.name, learner.name, seed, here, who)
                known = Known(learners.get(learner.learner), methods, scored)
                one = Job(data, learner, seed, kept, tuple(cells), spec.metrics, known, permutation)
                jobs.append(one)
    _check_files(_cells(jobs))
    return jobs


def _check_files(cells: Sequence[Cell]) -> None:
    """Refuse names that no file can hold, and names of which the files would be one and the same."""
    taken: dict[str, Cell] = {}
    for cell in cells:
        name = "".join(map(str, cell.columns.values()))
        if not can_be_stored(name):
            raise SpecError(
                f"a name in {cell.columns} has characters that no file can hold. Rename it."
            )
        other = taken.setdefault(cell.file_name.lower(), cell)
        if other.columns != cell.columns:
            raise SpecError(
                f"the results of {cell.columns} and {other.columns} would be written into one file, {cell.file_name}, as the names "
                "differ only in signs that file names do not have. Rename one."
            )


def _scored(names: Sequence[str]) -> tuple[bool, bool]:
    """Whether metrics are asked for that score representations, and such that score couplings."""
    kinds = {metrics.METRICS.get(name).kind for name in names or metrics.METRICS.names()}
    return "representation" in kinds, bool(kinds & {"coupling", "imputation"})


def cells_of(*specs: Spec) -> list[Cell]:
    """Return all cells of some grids."""
    return [cell for spec in specs for cell in _cells(plan(spec))]


def _cells(jobs: Sequence[Job]) -> list[Cell]:
    return [cell for job in jobs for cell, _ in job.cells]


def _remaining(jobs: Sequence[Job], store: Store, retry_failed: bool) -> tuple[list[Job], int]:
    """Return the jobs with cells that are not there yet, and how many cells are."""
    again = {"failed", "skipped"} if retry_failed else set()
    out, kept = [], 0
    for job in jobs:
        left = tuple(
            (cell, aligner)
            for cell, aligner in job.cells
            if (status := store.status(cell)) is None or status in again
        )
        kept += len(job.cells) - len(left)
        if left:
            out.append(replace(job, cells=left))
    return out, kept


def _work(jobs: Sequence[Job], store: Store, n_jobs: int | None) -> Iterator[tuple[str, list[str]]]:
    """Do the jobs, here or on workers, and yield what became of each as it ends."""
    import joblib

    if joblib.effective_n_jobs(n_jobs) == 1:
        for job in jobs:
            yield do(job, store)
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    _start_tracker()
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from parallel(joblib.delayed(do)(job, store) for job in jobs)
    except TerminatedWorkerError as error:
        raise WorkerKilledError(
            "A process that did a part of the grid was killed, most likely for taking too much memory. What was finished is kept: "
            "the same command goes on from there, and n_jobs=1 (--jobs 1) takes less memory."
        ) from error


def _start_tracker() -> None:
    """Start the process of joblib that cleans up after a run that was stopped, such that it does so without a word."""
    from joblib.externals.loky.backend import resource_tracker

    before = sys.warnoptions[:]
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = before


def do(job: Job, store: Store) -> tuple[str, list[str]]:
    """Do one job: fit or find the representation, then score it alone and with each aligner.

    Returns
    -------
    tuple
        Its title, and the status of each of its cells.

    Raises
    ------
    CannotWriteError
        If a cell could not be written. All other errors are recorded in the cells.
    """
    with noticed() as stops:
        return _do(job, store, stops)


def _do(job: Job, store: Store, stops: Sequence[int]) -> tuple[str, list[str]]:
    """Do one job; ``stops`` has the signals that came meanwhile."""
    _register(job)
    told = _told(learners.get(job.learner.learner))
    base: dict[str, Any] = {
        "versions": "; ".join(f"{name} {v}" for name, v in versions().items()),
        "knows_truth": told,
        **_option_columns("learner", job.learner.options),
    }
    skipped = learners.unavailable_reason(job.learner.learner)
    if skipped is not None:
        return job.title, [_record(store, cell, base, "skipped", skipped) for cell, _ in job.cells]
    try:
        loaded = load(job.data, job.seed).permuted(job.permutation)
        base |= loaded.parameters
        in_sample = _scores_all_cells(job)
        found, cost = _representation(job, loaded, store, stops) if in_sample else ({}, {})
    except CannotWriteError:
        raise
    except (Exception, SystemExit) as error:
        _check_stopped(stops)
        return job.title, [
            _record(store, cell, base, "failed", _said(error)) for cell, _ in job.cells
        ]
    base |= {key: cost[key] for key in (*COSTS, "fit_warnings") if key in cost}
    embedded = _Embedded(job, loaded, store, found, stops)
    return job.title, [_cell(embedded, cell, aligner, base) for cell, aligner in job.cells]


def _check_stopped(stops: Sequence[int]) -> None:
    """Stop if a signal came: Lightning turns its exception into another, and numba swallows it."""
    if stops:
        raise KeyboardInterrupt


def _scores_all_cells(job: Job) -> bool:
    """Whether something is scored on the cells that a learner was fitted on: couplings are, for their cost at least."""
    coupled = any(aligner is not None for _, aligner in job.cells)
    return coupled or bool(_split(job, job.learner.build(), ["representation"])[0])


def _split(job: Job, learner: Any, kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the metrics asked for of some kinds: scored on all cells, and on cells that were held out.

    What a learner remembers of labels raises metrics across labels, what it remembers of pairs all of them.
    """
    known = [metrics.METRICS.get(name) for name in job.metrics or metrics.METRICS.names()]
    asked = [one for one in known if one.kind in kinds]
    pairs = bool(getattr(learner, "uses_pairs", False))
    held_out = [one.name for one in asked if one.across_labels or pairs]
    return [one.name for one in asked if one.name not in held_out], held_out


def _register(job: Job) -> None:
    """Make known what the process that planned the job knew."""
    if job.learner.learner not in learners.LEARNERS:
        learners.LEARNERS.register(job.learner.learner)(job.known.learner)
    for name, cls in job.known.aligners:
        if name not in aligners.ALIGNERS:
            aligners.ALIGNERS.register(name)(cls)
    for metric in job.known.metrics:
        if metric.name not in metrics.METRICS:
            metrics.METRICS.register(metric.name)(metric)


def _representation(
    job: Job, loaded: Loaded, store: Store, stops: Sequence[int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the learner finds, from the folder if it is there."""
    earlier = store.representation(job.representation)
    if earlier is not None:
        return earlier
    learner = job.learner.build()
    mdata = loaded.handed(_told(learner))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fitted = learner.fit(mdata, job.data.label_key, seed=job.seed)
        found = learners.check_output(
            job.learner.name,
            fitted.transform(mdata),
            mdata,
            list(mdata.mod),
            aligned=getattr(learner, "aligned", True),
        )
    _check_stopped(stops)
    evidence = dict(getattr(learner, "evidence", {}))
    evidence["fit_warnings"] = _first_sentences(said)
    evidence["fit_memory_mb"] = evidence.pop("peak_memory_mb", float("nan"))
    evidence["aligned"] = bool(getattr(learner, "aligned", True))
    # what is scored is what is kept: a run that goes on must give what one without a break gives
    kept = {m: np.asarray(z, dtype=np.float32) for m, z in found.items()}
    store.save_representation(job.representation, kept, evidence)
    return kept, evidence


def _told(learner: Any) -> bool:
    """Whether a learner, or its class, is one that is told the truth."""
    return bool(getattr(learner, "uses_pairs", False) or getattr(learner, "uses_truth", False))


@dataclass(frozen=True)
class _Embedded:
    """Data and what a learner makes of them, fitted on all cells, and without those of a fold."""

    job: Job
    loaded: Loaded
    store: Store
    found: Spaces
    stops: Sequence[int]

    @cached_property
    def learner(self) -> Any:
        """The learner, not fitted: what it says of itself."""
        return self.job.learner.build()

    @cached_property
    def held_out(self) -> list[Spaces]:
        """Representations of all cells, each fitted without the cells of one fold; from the folder if they are there."""
        job, name = self.job, f"{self.job.representation}__held_out"
        earlier = self.store.representation(name)
        if earlier is not None:
            return [_of_fold(earlier[0], fold) for fold in range(N_FOLDS)]
        spaces = represent(
            job.learner, self.loaded, job.data.label_key, job.seed, _told(self.learner)
        )
        _check_stopped(self.stops)
        kept = {f"{fold} {m}": z for fold, one in enumerate(spaces) for m, z in one.items()}
        self.store.save_representation(name, kept, {})
        return spaces

    def split(self, *kinds: str) -> tuple[list[str], list[str]]:
        """Return the metrics asked for of some kinds: scored on all cells, and on cells that were held out."""
        return _split(self.job, self.learner, kinds)

    def unseen(
        self, names: Sequence[str], score: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Return scores of held-out cells, or rows that say why there are none."""
        if not names:
            return []
        if not getattr(self.learner, "embeds_new", True):
            reason = f"{self.job.learner.name} cannot embed cells that it was not fitted on, without their labels"
            return [_no_value(name, "skipped", reason) for name in names]
        try:
            return score()
        except CannotWriteError:
            raise
        except (Exception, SystemExit) as error:
            _check_stopped(self.stops)
            return [_no_value(name, "failed", _said(error)) for name in names]


def _of_fold(spaces: Spaces, fold: int) -> Spaces:
    start = f"{fold} "
    return {name.removeprefix(start): z for name, z in spaces.items() if name.startswith(start)}


def _no_value(metric: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "metric": metric,
        "status": status,
        "error": reason,
        "better": metrics.METRICS.get(metric).better,
    }


def _cell(
    embedded: _Embedded, cell: Cell, aligner: AlignerSpec | None, base: Mapping[str, Any]
) -> str:
    """Score one cell of the grid, write it, and return what became of it."""
    job, store, columns = embedded.job, embedded.store, dict(base)
    try:
        if aligner is None:
            if not job.learner.aligned:
                reason = "its modalities share no space: nothing to compare in one"
                return _record(store, cell, columns, "skipped", reason)
            rows = _of_representation(embedded)
        else:
            built = aligner.build(job.seed)
            columns |= _option_columns("aligner", aligner.options)
            columns["knows_truth"] = columns["knows_truth"] or hasattr(built, "pairs_x")
            if not job.learner.aligned and getattr(built, "shared_space", True):
                reason = (
                    f"{aligner.method} needs a shared space, which {job.learner.name} does not make"
                )
                return _record(store, cell, columns, "skipped", reason)
            rows = _of_coupling(embedded, built, aligner, columns)
    except CannotWriteError:
        raise
    except (Exception, SystemExit) as error:
        _check_stopped(embedded.stops)
        return _record(store, cell, columns, "failed", _said(error))
    _check_stopped(embedded.stops)
    if not rows:
        reason = "these data have no truth that a metric asked for needs"
        return _record(store, cell, columns, "skipped", reason)
    store.save(cell, [{**cell.columns, **columns, "status": "done", **row} for row in rows])
    return "failed" if any(row.get("status") == "failed" for row in rows) else "done"


def _of_representation(embedded: _Embedded) -> list[dict[str, Any]]:
    loaded, seed = embedded.loaded, embedded.job.seed
    names, held_out = embedded.split("representation")
    rows = evaluate_representation(loaded, embedded.found, names, seed) if names else []
    return rows + embedded.unseen(
        held_out, lambda: held_out_representation(loaded, embedded.held_out, held_out, seed)
    )


def _of_coupling(
    embedded: _Embedded, built: Any, aligner: AlignerSpec, columns: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return scores of a coupling; what is certain of one that was told the labels is marked so, and has none."""
    loaded, seed = embedded.loaded, embedded.job.seed
    names, held_out = embedded.split("coupling", "imputation")
    certain = [
        name for name in held_out if aligner.labeled and metrics.METRICS.get(name).across_labels
    ]
    held_out = [name for name in held_out if name not in certain]
    coupling = _couple(built, aligner, loaded, embedded.found, columns)
    rows = evaluate_coupling(loaded, embedded.found, coupling, names, seed) if names else []
    rows += embedded.unseen(
        held_out,
        lambda: held_out_coupling(
            loaded,
            embedded.held_out,
            held_out,
            seed,
            lambda part, z: _couple(built, aligner, part, z, {}),
        ),
    )
    reason = f"{aligner.name} was told the labels: any coupling inside labels has this, whatever was learned"
    return rows + [_no_value(name, BY_CONSTRUCTION, reason) for name in certain]


def _couple(
    built: Any,
    aligner: AlignerSpec,
    loaded: Loaded,
    found: Mapping[str, Any],
    columns: dict[str, Any],
) -> Any:
    """Return the coupling; what it took and says of itself goes into the columns."""
    if hasattr(built, "pairs_x") and loaded.partner is not None:
        built = _with_pairs(built, loaded)
    labels = loaded.observed if aligner.labeled else (None, None)
    with (
        warnings.catch_warnings(record=True) as said,
        measured(columns, "align_seconds", "align_memory_mb"),
    ):
        warnings.simplefilter("always")
        coupling = built.align(found[loaded.source], found[loaded.target], *labels)
    columns["warnings"] = _first_sentences(said)
    for name in EVIDENCE:
        value = coupling.evidence.get(name)
        if isinstance(value, bool | int | float):
            columns[name] = float(value)
    return coupling


def _first_sentences(said: Sequence[warnings.WarningMessage]) -> str:
    """Return what was warned of in one line; not what packages say of coming versions of themselves."""
    of_versions = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    return "; ".join(
        sorted(
            {
                str(one.message).split(". ")[0]
                for one in said
                if not issubclass(one.category, of_versions)
            }
        )
    )


def _with_pairs(built: Any, loaded: Loaded) -> Any:
    """Return the oracle with the truth that it needs."""
    partner = loaded.partner
    assert partner is not None
    pairs_x = np.full(partner.size, None, dtype=object)
    pairs_y = np.full(len(loaded.labels[1]), None, dtype=object)
    known = np.flatnonzero(partner >= 0)
    pairs_x[known], pairs_y[partner[known]] = known, known
    return replace(built, pairs_x=pairs_x, pairs_y=pairs_y)


def _record(store: Store, cell: Cell, base: Mapping[str, Any], status: str, reason: str) -> str:
    """Write a cell that has no values, and why."""
    store.save(cell, [{**cell.columns, **base, "status": status, "error": reason}])
    return status


def _said(error: BaseException) -> str:
    """Return what went wrong, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return f"{type(error).__name__}: {text}{where}"


def _option_columns(of: str, options: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the options of a learner or aligner as columns: what results may be plotted against, and what tells them apart."""
    return {f"{of}.{name}": _as_column(value) for name, value in options.items()}


def _as_column(value: Any) -> float | str:
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value)
    )


def _reporter(progress: bool | Say) -> Any:
    """Return a context that gives a function to tell the progress to."""
    from contextlib import nullcontext

    if callable(progress):
        return nullcontext(progress)
    return _Bar() if progress else nullcontext(lambda title, state: None)


class _Bar:
    """A progress bar with what is being done, what failed, and when it will be over."""

    def __enter__(self) -> Say:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar.__enter__()
        self._task = self._bar.add_task("", total=1)
        return self._say

    def _say(self, title: str, state: Progress) -> None:
        trouble = f" [red]({state.failed} failed)[/red]" if state.failed else ""
        self._bar.update(
            self._task, description=f"{title}{trouble}", total=state.total, completed=state.finished
        )

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)  # type: ignore[arg-type]

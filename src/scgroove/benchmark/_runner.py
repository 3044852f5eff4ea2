"""Run a grid: a cell is written when it is done, and is not done again."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from scgroove.benchmark._score import (
    N_FOLDS,
    Rows,
    Spaces,
    represent_folds,
    score_coupling,
    score_held_out,
    score_representation,
)
from scgroove.benchmark.results import (
    BY_CONSTRUCTION,
    EVIDENCE,
    Cell,
    Store,
    digest,
    slug,
    versions,
)
from scgroove.benchmark.spec import AlignerSpec, DataSpec, LearnerSpec, Spec
from scgroove.errors import CannotWriteError, SpecError, WorkerKilledError

if TYPE_CHECKING:
    import pandas as pd

Report = Callable[[str, "Progress"], None]

COSTS: Final = ("fit_seconds", "transform_seconds", "fit_memory_mb")


@dataclass(frozen=True)
class Progress:
    """Counts of cells of a run.

    Attributes
    ----------
    total
        Cells of the grid.
    kept
        Found in the folder.
    done, failed, skipped
        Of this run.
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


@dataclass(frozen=True)
class Job:
    """One learner on one data set and seed, with all aligners: they share a representation.

    ``registered`` holds the learner, aligners and metrics that the planning process knows by name.
    It leads a worker of another process to the module that registers them, or takes them there
    if they were defined in a script.
    """

    data: DataSpec
    learner: LearnerSpec
    seed: int
    permutation: int
    representation: str
    cells: tuple[tuple[Cell, AlignerSpec | None], ...]
    metrics: tuple[str, ...]
    registered: tuple[tuple[str, str, Any], ...]

    @property
    def title(self) -> str:
        """For a progress bar."""
        labels = f", permuted labels {self.permutation}" if self.permutation else ""
        return f"{self.data.name}, seed {self.seed}{labels}: {self.learner.name}"

    @property
    def with_truth(self) -> bool:
        """Whether the learner is told the truth."""
        cls = learners.get(self.learner.learner)
        return bool(getattr(cls, "uses_pairs", False) or getattr(cls, "uses_truth", False))


def run(
    spec: Spec | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    n_jobs: int | None = None,
    shard: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    mix_versions: bool = False,
    progress: bool | Report = True,
) -> pd.DataFrame:
    """Run every combination of data, learner, aligner and seed, and write each when it is done.

    A run that was stopped goes on where it stopped when it is started again. A spec that has grown
    adds its new cells. A learner is fitted once for all aligners. A failure is recorded with its
    error, and the rest goes on.

    Parameters
    ----------
    spec
        A :class:`Spec`, a mapping as :meth:`Spec.from_dict` takes it, or a TOML file.
    out
        Folder of the results: a new one, or that of an earlier run.
    n_jobs
        Processes: None for one, or as ``joblib.parallel_config`` says (a Dask or Ray cluster, whose
        workers must see ``out`` and the files of the spec under the same names). -1 for all cores.
    shard
        ``(i, n)``: do only every n-th job, from the i-th on. n processes on a cluster, each with
        its own i, do all of them into one folder.
    retry_failed
        Do failed or skipped cells again.
    mix_versions
        Add to results that another version of scgroove made.
    progress
        Show a bar, or a function that is called with a line and the counts of cells (``total``,
        ``kept``, ``done``, ``failed``, ``skipped``, ``finished``).

    Returns
    -------
    DataFrame
        All results in the folder, as :func:`read` returns them.

    Raises
    ------
    SpecError
        If the spec cannot be run. Nothing is written then.
    ResultsError
        If the folder holds something else, or results of another version.
    CannotWriteError
        If results cannot be written (full disk, permissions). Finished cells are kept.

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
    spec = Spec.read(spec)
    check_jobs(n_jobs)
    i, n = shard
    if not 0 <= i < n:
        raise SpecError(
            f"shard must be (i, n) with 0 <= i < n: the i-th of n parts, from 0; found {shard!r}."
        )
    for data in spec.data:
        if data.file is not None:
            load(data, spec.seeds[0])  # a wrong name is found before anything is done
    store = Store(Path(out))
    every = plan(spec)
    store.open(spec.as_dict(), _cells(every), mix_versions=mix_versions)
    jobs = every[i::n]
    again = ("failed", "skipped") if retry_failed else ()
    left = [_open_cells(job, store, again) for job in jobs]
    total, open_cells = len(_cells(jobs)), len(_cells(left))
    state = Progress(total=total, kept=total - open_cells)
    with _reporter(progress) as report:
        report("starting", state)
        for title, statuses in _work([job for job in left if job.cells], store, n_jobs):
            counts = {name: statuses.count(name) for name in ("done", "failed", "skipped")}
            state = replace(state, **{k: getattr(state, k) + n for k, n in counts.items()})
            report(title, state)
    return store.read()


def plan(spec: Spec) -> list[Job]:
    """Return the jobs of a grid: data and seed vary slowest, so that workers can keep the data."""
    names = tuple(spec.metrics or metrics.METRICS.names())
    kinds = {metrics.METRICS.get(name).kind for name in names}
    entries: list[AlignerSpec | None] = [None] if "representation" in kinds else []
    entries += spec.aligners if kinds & {"coupling", "imputation"} else ()
    known = [("aligner", one.method, aligners.get(one.method)) for one in spec.aligners]
    known += [("metric", name, metrics.METRICS.get(name)) for name in names]
    here, jobs = versions()["scgroove"], []
    for data in spec.data:
        what = identity(data)
        for seed, permutation in spec.runs:
            for learner in spec.learners:
                who = [*what, learner.learner, learner.options, seed]
                who += [permutation] if permutation else []
                cells = []
                for aligner in entries:
                    how = [aligner.method, aligner.labeled, aligner.options] if aligner else []
                    key = digest(who, how, spec.metrics)
                    name = aligner.name if aligner else ""
                    cell = Cell(data.name, learner.name, name, seed, key, permutation)
                    cells.append((cell, aligner))
                place = f"{slug(data.name)}__{slug(learner.name)}__seed{seed}__{digest(here, who)}"
                cls = learners.get(learner.learner)
                registered = (("learner", learner.learner, cls), *known)
                fit = (data, learner, seed, permutation, place)
                jobs.append(Job(*fit, tuple(cells), names, registered))
    _check_files(_cells(jobs))
    return jobs


def _cells(jobs: Sequence[Job]) -> list[Cell]:
    return [cell for job in jobs for cell, _ in job.cells]


def _check_files(cells: Sequence[Cell]) -> None:
    """Refuse names that no file can hold, and names that would share a file."""
    taken: dict[str, Cell] = {}
    for cell in cells:
        if not can_be_stored("".join(map(str, cell.columns.values()))):
            raise SpecError(
                f"a name in {cell.columns} has characters that no file can hold. Rename it."
            )
        other = taken.setdefault(cell.file_name.lower(), cell)
        if other.columns != cell.columns:
            raise SpecError(
                f"the results of {cell.columns} and {other.columns} would be written into one "
                f"file, {cell.file_name}, as the names differ only in signs that file names do not "
                "have. Rename one."
            )


def _open_cells(job: Job, store: Store, again: Sequence[str]) -> Job:
    """Return the job with the cells that are not there yet, or are to be done again."""
    left = []
    for cell, aligner in job.cells:
        status = store.status(cell)
        if status is None or status in again:
            left.append((cell, aligner))
    return replace(job, cells=tuple(left))


def _work(jobs: Sequence[Job], store: Store, n_jobs: int | None) -> Iterator[tuple[str, list[str]]]:
    """Do the jobs, here or on workers, and yield title and statuses of each as it ends."""
    import joblib

    if joblib.effective_n_jobs(n_jobs) == 1:
        for job in jobs:
            yield do(job, store)
        return
    from joblib.externals.loky.backend import resource_tracker
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # joblib's process that cleans up after a stopped run shall do so without warnings
    before = sys.warnoptions[:]
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = before
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from parallel(joblib.delayed(do)(job, store) for job in jobs)
    except TerminatedWorkerError as error:
        raise WorkerKilledError(
            "A process that did a part of the grid was killed, most likely for taking too much "
            "memory. What was finished is kept: the same command goes on from there, and n_jobs=1 "
            "(--jobs 1) takes less memory."
        ) from error


def do(job: Job, store: Store) -> tuple[str, list[str]]:
    """Fit or find the representation, then score it alone and with each aligner.

    Returns
    -------
    tuple
        The title of the job, and the status of each of its cells. Errors are recorded in the
        cells, but for a CannotWriteError.
    """
    registries: dict[str, Any] = {"learner": learners.LEARNERS, "aligner": aligners.ALIGNERS}
    registries["metric"] = metrics.METRICS
    for kind, name, entry in job.registered:
        if name not in registries[kind]:
            registries[kind].register(name)(entry)
    base: dict[str, Any] = {
        "versions": "; ".join(f"{name} {v}" for name, v in versions().items()),
        "knows_truth": job.with_truth,
        **_option_columns("learner", job.learner.options),
    }
    with noticed() as stops:
        work = _Work(job, store, stops)
        reason, status = learners.unavailable_reason(job.learner.learner), "skipped"
        if reason is None:
            try:
                base |= work.loaded.parameters
                cost = work.fitted[1] if work.is_scored_on_all_cells else {}
                base |= {key: cost[key] for key in (*COSTS, "fit_warnings") if key in cost}
            except CannotWriteError:
                raise
            except (Exception, SystemExit) as error:
                work.check_stopped()
                reason, status = _described(error), "failed"
        if reason is not None:
            row = {**base, "status": status, "error": reason}
            return job.title, [_save(store, cell, [row]) for cell, _ in job.cells]
        return job.title, [_do_cell(work, cell, aligner, dict(base)) for cell, aligner in job.cells]


@dataclass(frozen=True)
class _Work:
    """A job with its data and representations, made when they are needed first."""

    job: Job
    store: Store
    stops: Sequence[int]

    def check_stopped(self) -> None:
        """Stop if a signal came: Lightning turns its exception into another, numba swallows it."""
        if self.stops:
            raise KeyboardInterrupt

    @cached_property
    def loaded(self) -> Loaded:
        """Data and truth."""
        return load(self.job.data, self.job.seed).permuted(self.job.permutation)

    @cached_property
    def learner(self) -> Any:
        """The learner, not fitted: its declarations."""
        return self.job.learner.build()

    @property
    def is_scored_on_all_cells(self) -> bool:
        """Whether anything is scored on the cells of the fit: couplings are, at least for cost."""
        coupled = any(aligner is not None for _, aligner in self.job.cells)
        return coupled or bool(self.split("representation")[0])

    def split(self, *kinds: str) -> tuple[list[str], list[str]]:
        """Return the metrics of some kinds: scored on all cells, and on held-out cells.

        Labels learned by heart raise metrics across labels, pairs learned by heart all of them.
        """
        known = [metrics.METRICS.get(name) for name in self.job.metrics]
        asked = [one for one in known if one.kind in kinds]
        pairs = bool(getattr(self.learner, "uses_pairs", False))
        held_out = [one.name for one in asked if one.across_labels or pairs]
        return [one.name for one in asked if one.name not in held_out], held_out

    @cached_property
    def fitted(self) -> tuple[Spaces, dict[str, Any]]:
        """Representation and evidence of the learner, from the folder if they are there."""
        job = self.job
        earlier = self.store.representation(job.representation)
        if earlier is not None:
            return earlier
        learner, mdata = self.learner, self.loaded.copy(job.with_truth)
        aligned = bool(getattr(learner, "aligned", True))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            fitted = learner.fit(mdata, job.data.label_key, seed=job.seed)
            found = learners.check_output(
                job.learner.name, fitted.transform(mdata), mdata, list(mdata.mod), aligned=aligned
            )
        self.check_stopped()
        evidence = dict(getattr(learner, "evidence", {}))
        evidence["fit_warnings"] = _first_sentences(said)
        evidence["fit_memory_mb"] = evidence.pop("peak_memory_mb", float("nan"))
        # scored as stored: a run that goes on must give the same as one without a break
        spaces = {m: np.asarray(z, dtype=np.float32) for m, z in found.items()}
        self.store.save_representation(job.representation, spaces, evidence)
        return spaces, evidence

    @cached_property
    def folds(self) -> list[Spaces]:
        """Representations of all cells, each fitted without the cells of one fold."""
        job, name = self.job, f"{self.job.representation}__held_out"
        earlier = self.store.representation(name)
        if earlier is None:
            spaces = represent_folds(
                job.learner, self.loaded, job.data.label_key, job.seed, job.with_truth
            )
            self.check_stopped()
            stored = {f"{i} {m}": z for i, one in enumerate(spaces) for m, z in one.items()}
            self.store.save_representation(name, stored, {})
            return spaces
        folds: list[dict[str, Any]] = [{} for _ in range(N_FOLDS)]
        for key, z in earlier[0].items():
            fold, _, modality = key.partition(" ")
            folds[int(fold)][modality] = z
        return list(folds)

    def on_held_out(
        self, names: Sequence[str], score: Callable[[Loaded, Spaces, Sequence[str]], Rows]
    ) -> Rows:
        """Return scores of held-out cells, or rows that say why there are none."""
        if not names:
            return []
        if not getattr(self.learner, "embeds_new", True):
            reason = (
                f"{self.job.learner.name} cannot embed cells that it was not fitted on, without "
                "their labels"
            )
            return [_no_value(name, "skipped", reason) for name in names]
        try:
            return score_held_out(self.loaded, self.folds, names, self.job.seed, score)
        except CannotWriteError:
            raise
        except (Exception, SystemExit) as error:
            self.check_stopped()
            return [_no_value(name, "failed", _described(error)) for name in names]


def _no_value(metric: str, status: str, reason: str) -> dict[str, Any]:
    better = metrics.METRICS.get(metric).better
    return {"metric": metric, "status": status, "error": reason, "better": better}


def _do_cell(work: _Work, cell: Cell, aligner: AlignerSpec | None, columns: dict[str, Any]) -> str:
    """Score one cell of the grid, write it, and return its status."""
    try:
        rows = _score_cell(work, aligner, columns)
    except CannotWriteError:
        raise
    except (Exception, SystemExit) as error:
        work.check_stopped()
        rows = [{"status": "failed", "error": _described(error)}]
    work.check_stopped()
    if not rows:
        reason = "these data have no truth that a metric asked for needs"
        rows = [{"status": "skipped", "error": reason}]
    return _save(work.store, cell, [{"status": "done", **columns, **row} for row in rows])


def _save(store: Store, cell: Cell, rows: Rows) -> str:
    """Write the rows of a cell, and return its status."""
    store.save(cell, [{**cell.columns, **row} for row in rows])
    if any(row["status"] == "failed" for row in rows):
        return "failed"
    whole = rows[0]["status"] == "skipped" and "metric" not in rows[0]
    return "skipped" if whole else "done"


def _score_cell(work: _Work, aligner: AlignerSpec | None, columns: dict[str, Any]) -> Rows:
    """Return the scores of a cell. Cost and evidence of the aligner go into the columns."""
    loaded, seed, name = work.loaded, work.job.seed, work.job.learner.name
    if aligner is None:
        if not work.job.learner.aligned:
            reason = "its modalities share no space: nothing to compare in one"
            return [{"status": "skipped", "error": reason}]
        names, held_out = work.split("representation")
        rows = score_representation(loaded, work.fitted[0], names, seed) if names else []
        return rows + work.on_held_out(
            held_out, lambda part, spaces, asked: score_representation(part, spaces, asked, seed)
        )
    built = aligner.build(seed)
    columns |= _option_columns("aligner", aligner.options)
    columns["knows_truth"] = columns["knows_truth"] or hasattr(built, "pairs_x")
    if not work.job.learner.aligned and getattr(built, "shared_space", True):
        reason = f"{aligner.method} needs a shared space, which {name} does not make"
        return [{"status": "skipped", "error": reason}]
    names, held_out = work.split("coupling", "imputation")
    certain = [
        one for one in held_out if aligner.labeled and metrics.METRICS.get(one).across_labels
    ]
    held_out = [one for one in held_out if one not in certain]
    coupling = _couple(built, aligner, loaded, work.fitted[0], columns)
    rows = score_coupling(loaded, work.fitted[0], coupling, names, seed) if names else []

    def score(part: Loaded, spaces: Spaces, asked: Sequence[str]) -> Rows:
        return score_coupling(part, spaces, _couple(built, aligner, part, spaces, {}), asked, seed)

    rows += work.on_held_out(held_out, score)
    reason = (
        f"{aligner.name} was told the labels: any coupling inside labels has this, whatever was "
        "learned"
    )
    return rows + [_no_value(one, BY_CONSTRUCTION, reason) for one in certain]


def _couple(
    built: Any, aligner: AlignerSpec, loaded: Loaded, spaces: Spaces, columns: dict[str, Any]
) -> Any:
    """Return the coupling. Its cost and evidence go into the columns."""
    partner = loaded.partner
    if hasattr(built, "pairs_x") and partner is not None:  # the oracle
        pairs_x = np.full(partner.size, None, dtype=object)
        pairs_y = np.full(len(loaded.labels[1]), None, dtype=object)
        known = np.flatnonzero(partner >= 0)
        pairs_x[known], pairs_y[partner[known]] = known, known
        built = replace(built, pairs_x=pairs_x, pairs_y=pairs_y)
    labels = loaded.observed if aligner.labeled else (None, None)
    with (
        warnings.catch_warnings(record=True) as said,
        measured(columns, "align_seconds", "align_memory_mb"),
    ):
        warnings.simplefilter("always")
        coupling = built.align(spaces[loaded.source], spaces[loaded.target], *labels)
    columns["warnings"] = _first_sentences(said)
    for name in EVIDENCE:
        value = coupling.evidence.get(name)
        if isinstance(value, bool | int | float):
            columns[name] = float(value)
    return coupling


def _first_sentences(said: Sequence[warnings.WarningMessage]) -> str:
    """Return warnings in one line, without those about coming versions of packages."""
    of_versions = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    kept = [one.message for one in said if not issubclass(one.category, of_versions)]
    return "; ".join(sorted({str(message).split(". ")[0] for message in kept}))


def _described(error: BaseException) -> str:
    """Return class, message and place of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return f"{type(error).__name__}: {text}{where}"


def _option_columns(kind: str, options: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the options of a learner or aligner as columns of the results."""
    columns: dict[str, float | str] = {}
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        columns[f"{kind}.{name}"] = float(value) if is_number else str(value)
    return columns


@contextmanager
def _reporter(progress: bool | Report) -> Iterator[Report]:
    """Yield a function that reports the progress: as given, to a bar, or not at all."""
    if callable(progress) or not progress:
        yield progress if callable(progress) else lambda title, state: None
        return
    from rich import progress as rich

    columns = [
        *(rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn()),
        *(rich.TimeElapsedColumn(), rich.TextColumn("left"), rich.TimeRemainingColumn()),
    ]
    with rich.Progress(*columns) as bar:
        task = bar.add_task("", total=1)

        def show(title: str, state: Progress) -> None:
            trouble = f" [red]({state.failed} failed)[/red]" if state.failed else ""
            line = f"{title}{trouble}"
            bar.update(task, description=line, total=state.total, completed=state.finished)

        yield show

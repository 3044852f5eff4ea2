"""From a MuData to a folder of results: the steps of ``scgroove demo`` and ``scgroove run``.

Each step is one public call, in the order a notebook would have them.
"""

from __future__ import annotations

import builtins
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from scgroove import _keys, _null
from scgroove._files import writing
from scgroove._report import Results, Settings, cell_agreement, label_agreement, render
from scgroove._stages import KEPT, TRAINING, Stages
from scgroove.data.labels import labels_read_once, shared_vocabulary
from scgroove.errors import ScgrooveWarning

if TYPE_CHECKING:
    from mudata import MuData

FIGURES = ("training", "latent", "coupling", "imputation")
SAMPLE = 2000
"""Cells of each modality, at most, that are matched once more without labels."""

NEIGHBORS = 15

FEWEST = 10
"""Cells of each label and modality that a sample of cells kept out of training needs."""

_PACKAGE = str(Path(__file__).parent)


class Progress(Protocol):
    """Listener to the steps of a run."""

    def step(self, name: str, title: str) -> None:
        """Start a step."""

    def advance(self, done: int, total: int, note: str) -> None:
        """Go on within the step."""


def analyze(
    mdata: MuData,
    settings: Settings,
    *,
    data_name: str,
    progress: Progress,
    stages: Stages,
    spent: Mapping[str, float] | None = None,
) -> Results:
    """Set up, train, embed, lay out, align, impute and score.

    Parameters
    ----------
    mdata
        The data. All steps write into it.
    settings, data_name
        Options, and the name of the data in the report.
    progress, stages
        Told of each step, and keeps each step that is done.
    spent
        Seconds of the steps before.
    """
    with labels_read_once():
        return _analyze(
            Results(mdata, settings, data_name, seconds=dict(spent or {})), progress, stages
        )


def _analyze(results: Results, progress: Progress, stages: Stages) -> Results:
    settings = results.settings
    steps: dict[str, tuple[str, Callable[..., None]]] = {
        "set up": ("Checking the data", _set_up),
        "train": ("Training", _train),
        "embed": ("Embedding all cells, and testing the link", _embed),
        "picture": ("Laying cells out in two dimensions", _lay_out),
        "align": (f"Coupling {settings.source} to {settings.target}", _align),
        "impute": (f"Imputing {settings.target} for {settings.source} cells", _impute),
        "score": ("Comparing with what is known", _score),
        "test": ("Testing against permuted labels", _test),
    }
    for name, (title, function) in steps.items():
        with _collected(results):
            is_kept = stages.restore(name, results)
        if is_kept:
            continue
        progress.step(name, title)
        before, start = stages.before(results), time.perf_counter()
        with _collected(results):
            function(results, progress)
        results.seconds[name] = time.perf_counter() - start
        if name == TRAINING:
            stages.keep_model(results)
        if name != "set up":
            stages.keep(name, results, before)
    if settings.null:
        _repeat(results, stages, progress)
    return results


def _repeat(results: Results, stages: Stages, progress: Progress) -> None:
    """Do the analysis on permuted labels, and keep each repetition when it is done."""
    before, name = stages.before(results), "permuted labels"
    stages.restore(name, results)
    while len(results.permuted) < results.settings.null:
        start = time.perf_counter()
        with _collected(
            Results(results.mdata, results.settings, "")
        ):  # what is warned of says nothing
            results.permuted.append(_null.draw(results, UNDRAWN, progress))
        spent = time.perf_counter() - start
        results.seconds[name] = results.seconds.get(name, 0.0) + spent
        stages.keep(name, results, before)
    _null.compare(results)


def write(results: Results, folder: Path, *, command: str, progress: Progress) -> None:
    """Write data, tables, figures and report into an existing folder, which has the model.

    The data come before the figures, so that an error in a figure does not lose them.
    """
    progress.step("write", "Writing")
    start = time.perf_counter()
    with _collected(results), writing(folder, KEPT):
        _write_data(results, folder)
    results.seconds["write"] = time.perf_counter() - start
    progress.step("figures", "Drawing")
    start = time.perf_counter()
    with _collected(results), writing(folder, KEPT), labels_read_once():
        (folder / "figures").mkdir(exist_ok=True)
        images = _draw(results, folder / "figures")
    results.seconds["figures"] = time.perf_counter() - start
    with writing(folder, KEPT):
        (folder / "report.html").write_text(
            render(results, images, command=command), encoding="utf-8"
        )


# -- the steps


def _set_up(results: Results, progress: Progress) -> None:
    from scgroove.model import GROOVE

    asked = results.settings
    GROOVE.setup_mudata(
        results.mdata,
        asked.label_key,
        modalities=list(asked.modalities),
        layers=dict(asked.layers) or None,
        batch_key=asked.batch_key,
        unlabeled_category=asked.unlabeled_category,
        min_cells_per_label=asked.min_cells_per_label,
        paired=asked.paired if asked.pair_key is None else asked.pair_key,
    )
    options: dict[str, Any] = {"n_latent": asked.n_latent, "encoder": asked.encoder}
    results.model = GROOVE(
        results.mdata,
        likelihood={m: asked.likelihood.get(m, "auto") for m in asked.modalities},
        seed=asked.seed,
        **{name: value for name, value in options.items() if value is not None},
    )
    results.labels = results.model.get_label_table()


def _train(results: Results, progress: Progress) -> None:
    asked = results.settings
    try:
        results.model.train(
            asked.epochs,
            accelerator=asked.accelerator,
            seed=asked.seed,
            enable_progress_bar=False,
            callbacks=[_epoch_callback(progress)],
        )
    except SystemExit:  # Lightning's way to stop after Ctrl-C
        raise KeyboardInterrupt from None


def _epoch_callback(progress: Progress) -> Any:
    from lightning.pytorch import Callback

    class Epochs(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            # the training loss rises while back-translation is phased in
            loss = trainer.callback_metrics.get("validation_loss")
            note = "" if loss is None else f"validation loss {float(loss):.3f}"
            progress.advance(trainer.current_epoch + 1, int(trainer.max_epochs), note)

    return Epochs()


def _embed(results: Results, progress: Progress) -> None:
    from scgroove import tl

    tl.embed(results.mdata, results.model)
    results.accuracy = results.model.get_cross_modal_label_accuracy(held_out=False)
    results.tests["groove"] = _null.held_out_tests(results)
    results.mixing = _mixing(results)


def _mixing(results: Results) -> float | None:
    """Share of the nearest neighbors of a cell that are of the other modality."""
    from sklearn.neighbors import NearestNeighbors

    rows = _sampled(results)
    if rows is None:
        return None
    x = np.concatenate([results.mdata.mod[m].obsm[_keys.LATENT][r] for m, r in rows.items()])
    of = np.repeat(np.arange(len(rows)), [len(r) for r in rows.values()])
    n_neighbors = min(NEIGHBORS, len(x) - 1)
    found = NearestNeighbors(n_neighbors=n_neighbors).fit(x).kneighbors(return_distance=False)
    return float((of[found] != of[:, None]).mean())


def _lay_out(results: Results, progress: Progress) -> None:
    from scgroove import tl

    tl.umap(results.mdata, modalities=list(results.settings.modalities), seed=results.settings.seed)


def _align(results: Results, progress: Progress) -> None:
    from scgroove import tl

    asked = results.settings
    tl.align(
        results.mdata,
        asked.source,
        asked.target,
        label_key=asked.label_key,
        unlabeled_category=asked.unlabeled_category,
        method=asked.method,
        labeled=asked.labeled,
    )
    results.evidence = dict(results.mdata.uns[_keys.coupling(asked.source, asked.target)])


def _impute(results: Results, progress: Progress) -> None:
    from scgroove import tl

    asked = results.settings
    tl.impute(
        results.mdata,
        asked.source,
        asked.target,
        method=asked.impute,  # type: ignore[arg-type]  # one of the two, checked where it is read
        model=results.model if asked.impute == "decoder" else None,
        layer=asked.layers.get(asked.target) if asked.impute == "barycentric" else None,
        label_key=asked.label_key,
        unlabeled_category=asked.unlabeled_category,
    )


def _score(results: Results, progress: Progress) -> None:
    from scgroove import get, tl
    from scgroove.data.measured import complete_partners, fill
    from scgroove.data.pairing import known_partners

    asked = results.settings
    imputed = get.imputed(results.mdata, asked.source, asked.target)
    measured = get.measured(results.mdata, asked.source, asked.target)
    partner, _ = known_partners(results.mdata, asked.source, asked.target, quiet=True)
    partner = complete_partners(partner, measured)
    if partner is not None:
        rows = np.flatnonzero(partner >= 0)
        results.pairs = rows, partner[rows]
    results.agreement_test = _null.imputed_labels_test(results)
    labels = {m: results.labels_of(m) for m in (asked.source, asked.target)}
    measured = fill(measured, labels[asked.target])
    if results.pairs is None:
        results.agreement = label_agreement(
            imputed, measured, labels[asked.source], labels[asked.target]
        )
        return
    results.agreement = cell_agreement(imputed, measured, *results.pairs, labels[asked.target])
    results.scores = tl.score_matching(
        results.mdata,
        asked.source,
        asked.target,
        label_key=asked.label_key,
        unlabeled_category=asked.unlabeled_category,
    )


def _test(results: Results, progress: Progress) -> None:
    results.partner_test = _null.imputed_cells_test(results)
    results.label_mean_r = _null.label_mean_baseline(results)
    _null.against_closed_form(results)


UNDRAWN = (_set_up, _train, _embed, _align, _impute, _score)
"""The steps that are repeated on permuted labels: all but pictures and the tests themselves."""


# -- what is written


def _draw_confusion(results: Results, folder: Path) -> dict[str, Path]:
    """Match a sample without labels, and draw where mass goes.

    Labels have as many cells each: a coupling with all mass on the right labels exists, and chance
    is one over the number of labels.
    """
    from mudata import MuData

    from scgroove import get, pl, tl
    from scgroove.data.checks import modality_of

    asked = results.settings
    rows = _sampled(results)
    if rows is None:
        return {}
    sides = (asked.source, asked.target)
    sample = MuData({m: modality_of(results.mdata, m)[rows[m]].copy() for m in sides})
    tl.align(sample, *sides, method=asked.method, labeled=False, label_key=asked.label_key)
    mass = get.coupling(sample, *sides).label_mass(*(results.labels_of(m)[rows[m]] for m in sides))
    results.recovered = pd.Series(np.diag(mass) / mass.sum(axis=1), index=mass.index)
    file = folder / "confusion.png"
    pl.coupling_label_mass(sample, *sides, label_key=asked.label_key, save=file, show=False)
    return {"confusion": file}


def _sampled(results: Results) -> dict[str, np.ndarray[Any, Any]] | None:
    """Rows with equal numbers of shared labels, kept out of training if that gives enough."""
    asked = results.settings
    labels = {m: results.labels_of(m) for m in (asked.source, asked.target)}
    shared = shared_vocabulary(labels)
    if len(shared) < 2:
        return None
    rng = np.random.default_rng(asked.seed)
    kept = getattr(results.model, "validation_indices", None) or {}
    pools: dict[str, dict[str, Any]] = {}
    held_out: dict[str, dict[str, Any]] = {}
    for m, own in labels.items():
        pools[m] = {la: np.flatnonzero(own == la) for la in shared}
        held_out[m] = {la: np.intersect1d(r, kept.get(m, [])) for la, r in pools[m].items()}
    enough = all(len(r) >= FEWEST for of in held_out.values() for r in of.values())
    pools = held_out if enough else pools
    fewest = {}
    for label in shared:
        fewest[label] = min(len(rows[label]) for rows in pools.values())
    used = [la for la in shared if fewest[la] >= FEWEST]
    used = used if len(used) > 1 else shared
    size = min(SAMPLE // len(used), *(fewest[la] for la in used))
    cells = "cell" if size == 1 else "cells"
    seen = "kept out of training" if enough else "that the model was trained on"
    results.sample_held_out = enough
    results.sample = f"{size:,} {cells} of each of {len(used)} labels, {seen}"
    results.sample_size = size
    rows = {}
    for m, of in pools.items():
        drawn = [rng.permutation(of[la])[:size] for la in used]
        rows[m] = np.sort(np.concatenate(drawn)).astype(np.intp)
    return rows


def _draw(results: Results, folder: Path) -> dict[str, Path]:
    """Draw every figure into a folder."""
    import matplotlib.pyplot as plt

    from scgroove import pl

    asked, mdata = results.settings, results.mdata
    files = {name: folder / f"{name}.png" for name in FIGURES}
    data: Any = {
        "label_key": asked.label_key,
        "unlabeled_category": asked.unlabeled_category,
        "show": False,
    }
    pl.training_history(results.model, save=files["training"], show=False)
    pl.latent(mdata, modalities=list(asked.modalities), save=files["latent"], **data)
    pl.coupling_label_mass(mdata, asked.source, asked.target, save=files["coupling"], **data)
    pl.imputed_vs_measured(
        mdata,
        asked.source,
        asked.target,
        by="labels" if results.scores is None else "cells",
        layer=asked.layers.get(asked.target),
        save=files["imputation"],
        **data,
    )
    files.update(_draw_confusion(results, folder))
    plt.close("all")
    return files


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before text that spreadsheets would run as a formula. Numbers stay."""

    def safe(value: Any) -> Any:
        risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        return f"'{value}" if risky else value

    text = table.select_dtypes(exclude="number").columns
    safe_table = table.astype(dict.fromkeys(text, object))
    for name in text:
        safe_table[name] = safe_table[name].map(safe)
    return safe_table.rename(index=safe, columns=safe)


def _write_data(results: Results, folder: Path) -> None:
    as_text(results.labels).to_csv(folder / "labels.csv")
    as_text(results.agreement).to_csv(folder / "imputation.csv", index_label="feature")
    tables = {"scores": results.scores, "null": results.null, "tests": _tests_table(results)}
    for name, table in tables.items():
        if table is not None:
            as_text(table).to_csv(folder / f"{name}.csv", index=False)
    part = folder / "aligned.part"
    results.mdata.write_h5mu(part, compression="gzip")
    os.replace(part, folder / "aligned.h5mu")


def _tests_table(results: Results) -> pd.DataFrame | None:
    rows = []
    for learner, tests in results.tests.items():
        for (source, target), one in tests.items():
            rows.append({"learner": learner, "source": source, "target": target, **asdict(one)})
    return pd.DataFrame(rows) if rows else None


# -- warnings


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _collected(results: Results) -> Iterator[None]:
    """Keep the warnings raised inside, each once: ours apart from those of other packages."""
    records = _Records()
    loggers = [logging.getLogger(name) for name in ("scgroove", "scvi.scgroove")]
    for logger in loggers:
        logger.addHandler(records)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for name in ("Deprecation", "PendingDeprecation", "Import", "Resource"):
                warnings.simplefilter("ignore", getattr(builtins, f"{name}Warning"))
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(records)
    ours = [str(w.message) for w in caught if _is_ours(w)] + records.messages
    others = [f"{w.category.__name__}: {w.message}" for w in caught if not _is_ours(w)]
    results.warnings = list(dict.fromkeys([*results.warnings, *ours]))
    results.other_warnings = list(dict.fromkeys([*results.other_warnings, *others]))


def _is_ours(warning: warnings.WarningMessage) -> bool:
    from_here = isinstance(warning.message, ScgrooveWarning) or str(warning.filename).startswith(
        _PACKAGE
    )
    return from_here and not issubclass(
        warning.category, DeprecationWarning | FutureWarning | RuntimeWarning
    )

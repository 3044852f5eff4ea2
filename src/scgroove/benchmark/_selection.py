"""Choosing an aligner without true pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from scgroove._types import BoolArray, Float64Array, Labels
from scgroove._warnings import warn
from scgroove.aligners import Coupling
from scgroove.benchmark._spec import AlignerSpec
from scgroove.benchmark._truth_free import TRUTH_FREE, Trial, score_all, shared_codes
from scgroove.errors import InputError, ResultsWarning

if TYPE_CHECKING:
    import pandas as pd

CANDIDATES: Final = ("emd", "eot", "egw", "coot", "snn")
"""Aligners that are tried where none are named."""

DEFAULT_SCORE: Final = "agreement"
"""Orders aligners as the truth does best of all scores, by where they move cells: see the user guide, "Benchmark"."""

SAFE_SCORE: Final = "predictability"
"""For two aligners, which agree with one another equally well, and beside floors, whose agreement with others means nothing."""

FLOORS: Final = ("random", "uniform")

N_BOOT: Final = 1000


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, and how sure that is.

    Attributes
    ----------
    best
        Name of the aligner with the highest score.
    score
        Name of the score it was chosen by.
    confidence
        Share of bootstrap samples of the labels in which it has the highest score too. It says how sure the order of the
        scores is, not that the score is right.
    runner_up
        The aligner that is first most often in the other samples; empty if there is none.
    table
        One row an aligner, best first: every score (mean over labels; that of the choice over those scored for every aligner), ``rank``, ``first`` (share of bootstrap samples in
        which it is first), ``seconds``, ``converged``.
    couplings
        What the aligners made.
    n_labels
        Labels that the scores are means over: with few, the confidence is worth little.
    """

    best: str
    score: str
    confidence: float
    runner_up: str
    table: pd.DataFrame
    couplings: Mapping[str, Coupling]
    n_labels: int

    def __repr__(self) -> str:
        """Return the choice in one line."""
        return (
            f"Selection({self.best!r} by {self.score}, confidence {self.confidence:.2f} over {self.n_labels} labels, "
            f"runner-up {self.runner_up!r})"
        )


def select(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    candidates: str | AlignerSpec | Sequence[AlignerSpec | str] = CANDIDATES,
    *,
    score: str | None = None,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Selection:
    """Couple with every candidate, score each without true pairs, and return the best.

    Parameters
    ----------
    x, y
        Representations of source and target, (n_source, d) and (n_target, e).
    labels_x, labels_y
        Label of each cell; None and NaN mean unlabeled.
    candidates
        Names of aligners, or :class:`AlignerSpec` with options.
    score
        The truth-free score to choose by, one of ``TRUTH_FREE.names()``. Default ``"agreement"``, by which what cells are moved
        to is best; between two candidates, or with ``"random"`` or ``"uniform"`` among them, ``"predictability"``, which is also
        the better one where single partners are wanted.
    n_boot
        Bootstrap samples of the labels.
    seed
        Random state.

    Returns
    -------
    Selection
        The choice, its confidence, all scores and all couplings.

    Raises
    ------
    ValueError
        If a name is unknown, fewer than two candidates are given or could be run, no label is shared, or no label could be scored
        for all of them.

    Warns
    -----
    ResultsWarning
        If a candidate fails: it is left out.

    References
    ----------
    User guide, "Benchmark".
    """
    if score is not None:
        TRUTH_FREE.get(score)
    candidates = [candidates] if isinstance(candidates, str | AlignerSpec) else candidates
    specs = [AlignerSpec.named(one) if isinstance(one, str) else one for one in candidates]
    if len({spec.name for spec in specs}) < 2:
        raise InputError(
            f"a choice needs two candidates or more, of different names; found {[spec.name for spec in specs]}."
        )
    trials = _trials(x, y, labels_x, labels_y, specs, seed, leave_out=True)
    if score is None:
        floors = any(spec.method in FLOORS for spec in specs)
        score = DEFAULT_SCORE if len(trials) > 2 and not floors else SAFE_SCORE
    per_label = score_all(trials)
    values = np.array([per_label[name][score] for name in trials])
    usable = _usable(values, score)
    first = _bootstrap_first(values[:, usable], n_boot, seed)
    table = _table(trials, per_label, score, first, values[:, usable].mean(axis=1))
    best, others = str(table.index[0]), table["first"].iloc[1:]
    return Selection(
        best=best,
        score=score,
        confidence=float(table["first"].iloc[0]),
        runner_up=str(others.idxmax()) if others.max() > 0 else "",
        table=table,
        couplings={name: trial.coupling for name, trial in trials.items()},
        n_labels=int(usable.sum()),
    )


def _trials(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels,
    labels_y: Labels,
    specs: Sequence[AlignerSpec],
    seed: int,
    leave_out: bool = False,
) -> dict[str, Trial]:
    """Couple with every aligner, and put together what its scores need; with ``leave_out``, one that fails is left out."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    codes_x, codes_y, n_labels = shared_codes(labels_x, labels_y)
    couplings, failed = {}, {}
    for spec in specs:
        labels = (labels_x, labels_y) if spec.labeled else (None, None)
        try:
            couplings[spec.name] = spec.build(seed).align(x, y, *labels)
        except (ValueError, MemoryError, ArithmeticError) as error:
            if not leave_out:
                raise
            failed[spec.name] = error
    if failed:
        _warn_failed(failed, len(couplings))
    projected = {name: coupling.push(y) for name, coupling in couplings.items()}
    return {
        spec.name: Trial(
            x=x,
            y=y,
            codes_x=codes_x,
            codes_y=codes_y,
            n_labels=n_labels,
            coupling=couplings[spec.name],
            projected=projected[spec.name],
            others=[z for name, z in projected.items() if name != spec.name],
            realign=lambda a, b, spec=spec: spec.build(seed).align(x, y, a, b),  # type: ignore[misc]
            labeled=spec.labeled,
            seed=seed,
        )
        for spec in specs
        if spec.name in couplings
    }


def _warn_failed(failed: Mapping[str, Exception], n_left: int) -> None:
    said = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items())
    if n_left < 2:
        raise InputError(f"fewer than two candidates could be run. {said}") from next(
            iter(failed.values())
        )
    warn(f"left out of the choice, because they failed: {said}", ResultsWarning)


def _usable(values: Float64Array, score: str) -> BoolArray:
    """Return the labels that could be scored for every candidate (rows), so that all are compared on the same."""
    usable: BoolArray = np.asarray(~np.isnan(values).any(axis=0))
    if not usable.any():
        raise InputError(
            f"no label could be scored by {score!r} for every candidate: a label needs at least 4 cells on both sides, some of which "
            f"the coupling reaches, and 'heldout_label_mass' a second label. Use labels with more cells, fewer candidates, or "
            f"another score=."
        )
    return usable


def _bootstrap_first(values: Float64Array, n_boot: int, seed: int) -> Float64Array:
    """Return how often each aligner (row) has the highest mean over resampled labels (columns); ties are shared."""
    draws = np.random.default_rng(seed).integers(values.shape[1], size=(n_boot, values.shape[1]))
    means = values[:, draws].mean(axis=2)  # (n_aligners, n_boot)
    winners = means == means.max(axis=0)
    return np.asarray((winners / winners.sum(axis=0)).mean(axis=1))


def _table(
    trials: Mapping[str, Trial],
    per_label: Mapping[str, Mapping[str, Float64Array]],
    score: str,
    first: Float64Array,
    chosen_by: Float64Array,
) -> pd.DataFrame:
    import pandas as pd

    rows = {}
    for name, share, mean in zip(trials, first, chosen_by, strict=True):
        evidence = trials[name].coupling.evidence
        means = {
            **{key: _mean(value) for key, value in per_label[name].items()},
            score: float(mean),
        }
        rows[name] = {
            **means,
            "first": float(share),
            "seconds": float(evidence.get("seconds", np.nan)),
            "converged": bool(evidence.get("converged", True)),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "aligner"
    table = table.sort_values([score, "first"], ascending=False)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def _mean(values: Float64Array) -> float:
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")

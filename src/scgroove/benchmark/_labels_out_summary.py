"""What labels that were left out say of ways of imputing."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from scgroove.benchmark._compare import holm, signed_rank
from scgroove.benchmark._intervals import Interval, interval_maker
from scgroove.benchmark._labels_out import LABELS_OUT_METRICS
from scgroove.errors import InputError, UnknownNameError, did_you_mean

BASELINES: Final = ("control_mean", "other_labels", "shuffled")
"""Methods that know nothing of the source cells."""

UNIT: Final = ["screen", "label"]


def summarize_labels(
    table: pd.DataFrame,
    metric: str = "effect_pearson",
    *,
    reference: str | None = None,
    interval: Interval = "bootstrap",
    level: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the mean of each method over labels, and how it differs from a reference on the same labels.

    Values of the same label are averaged over seeds first: intervals say what other labels of the same kind would give.

    Parameters
    ----------
    table
        What :func:`leave_labels_out` returns; several with a column ``screen`` that tells them apart, put together.
    metric
        ``"effect_pearson"``, ``"effect_sign_agreement"`` or ``"relative_error"``.
    reference
        Method that the others are compared with; default the best of the baselines (``control_mean``, ``other_labels``,
        ``shuffled``), by the mean of this metric.
    interval, level, n_boot, seed
        As for :func:`summarize`; over labels.

    Returns
    -------
    DataFrame
        Best first: ``method``, ``mean``, ``low``, ``high``, ``n_labels``; ``difference`` from the reference, positive where the
        method is better, ``difference_low``, ``difference_high``; ``p`` of Wilcoxon's signed-rank test over labels, ``p_holm``
        corrected for the number of methods; ``verdict``: ``"better"`` or ``"worse"`` where the interval of the difference leaves
        out 0 and ``p_holm`` is below one minus the level, ``"unclear"`` where the two disagree, ``"no difference shown"``
        otherwise; ``reference``. Labels of which a method is missing, because it failed, are left out for all.

    Raises
    ------
    ValueError
        If the table, metric or reference is not as described, or no label has all methods.
    """
    _check(table, metric)
    wide = _wide(table, metric)
    means = wide.mean()
    higher = LABELS_OUT_METRICS[metric] == "higher"
    chosen = _reference(means, reference, higher)
    ends = interval_maker(interval, level, n_boot, seed)
    rows = []
    for method in means.sort_values(ascending=not higher, kind="stable").index:
        values = wide[method].to_numpy()
        difference = (values - wide[chosen].to_numpy()) * (1 if higher else -1)
        low, high = ends(values)
        d_low, d_high = (np.nan, np.nan) if method == chosen else ends(difference)
        rows.append(
            {
                "method": method,
                "mean": means[method],
                "low": low,
                "high": high,
                "n_labels": len(wide),
                "difference": np.nan if method == chosen else difference.mean(),
                "difference_low": d_low,
                "difference_high": d_high,
                "p": np.nan if method == chosen else signed_rank(difference).p,
            }
        )
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(found["p"])
    found["verdict"] = _verdicts(found, 1 - level)
    return found.assign(reference=chosen)


def _check(table: pd.DataFrame, metric: str) -> None:
    needed = ["method", "label", "seed", *LABELS_OUT_METRICS]
    lacking = [name for name in needed if name not in table]
    if lacking:
        raise InputError(
            f"expected what leave_labels_out returns; the table lacks the columns {lacking}."
        )
    if metric not in LABELS_OUT_METRICS:
        hint = did_you_mean(metric, LABELS_OUT_METRICS)
        raise UnknownNameError(
            f"metric must be one of {list(LABELS_OUT_METRICS)}; found {metric!r}.{hint}"
        )


def _wide(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return one row a label and one column a method, means over seeds."""
    unit = [name for name in UNIT if name in table]
    by_label = table.groupby([*unit, "method"], observed=True, sort=False)[metric].agg(
        lambda v: v.mean(skipna=False)
    )
    wide = (
        by_label.reset_index()
        .pivot_table(index=unit, columns="method", values=metric, observed=True, dropna=False)
        .dropna()
    )
    if wide.empty:
        raise InputError(
            f"no label has a value of {metric!r} for every method. Look at the column error; leave out methods that failed: "
            f"table[table.method != '...']."
        )
    return wide


def _reference(means: pd.Series, reference: str | None, higher: bool) -> str:
    if reference is not None:
        if reference not in means.index:
            hint = did_you_mean(reference, means.index)
            raise UnknownNameError(
                f"reference={reference!r}: no such method; there are {list(means.index)}.{hint}"
            )
        return reference
    present = [name for name in BASELINES if name in means.index]
    if not present:
        raise InputError(
            f"no baseline ({', '.join(BASELINES)}) among the methods {list(means.index)}: name the method that others are "
            f"compared with, reference='...'."
        )
    return str(means[present].idxmax() if higher else means[present].idxmin())


def _verdicts(found: pd.DataFrame, alpha: float) -> list[str]:
    out = []
    for row in found.itertuples():
        if np.isnan(row.difference):
            out.append("reference")
            continue
        apart = row.difference_low > 0 or row.difference_high < 0
        tested = row.p_holm < alpha
        side = "better" if row.difference > 0 else "worse"
        out.append(
            side if apart and tested else "unclear" if apart or tested else "no difference shown"
        )
    return out

"""Spread of the cells of each label in a representation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._labels import UnlabeledCategory, stored_category
from scgroove._types import FloatArray, Labels
from scgroove._warnings import warn
from scgroove.data.checks import PerModality, name_of
from scgroove.data.labels import label_columns, labels_by_modality
from scgroove.data.screen import check_call, check_modality, representation
from scgroove.errors import ArgumentError, InputError
from scgroove.metrics import within_label_rank, within_label_variance

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger("scvi.scgroove")  # follows scvi.settings.verbosity, as the model does

THRESHOLD_RANK: Final = 1.5
"""Effective rank of a line with a little noise.

Labels that have not collapsed have 4 or more in the 16 dimensions of a trained model.
"""
THRESHOLD_VARIANCE: Final = 0.01
"""Share of the variance.

Labels have 0.1 or more in the default model, 0.03 or more with MLP encoders, and 0.003 to 0.02 if
the contrast also has ten times its weight: these have collapsed.
"""
_SHOWN: Final = 8
"""Labels that a message names."""


def collapse(
    mdata: MuData,
    use_rep: PerModality = _keys.LATENT,
    label_key: PerModality = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    unlabeled_category: UnlabeledCategory = None,
    min_cells: int = 10,
    threshold_rank: float = THRESHOLD_RANK,
    threshold_variance: float = THRESHOLD_VARIANCE,
    key_added: str = _keys.COLLAPSE,
) -> None:
    """Look for labels whose cells a representation no longer tells apart, and warn of them.

    A model that learns from labels may pull the cells of a label into one point, or onto one line:
    labels are told apart well then, but the differences between cells of a label are lost, and with
    them any match within labels. In each modality, a label has collapsed if the variance of its
    cells is below ``threshold_variance`` of the variance of all labeled cells
    (:func:`scgroove.metrics.within_label_variance`), or their effective rank is at most
    ``threshold_rank`` (:func:`scgroove.metrics.within_label_rank`) in more than twice as
    many dimensions. :func:`scgroove.metrics.retention` asks whether a covariate of interest is
    among the differences that are left.

    Parameters
    ----------
    mdata
        Modalities with a representation and labels.
    use_rep
        Representation in ``mod[m].obsm``. The modalities need not share it.
    label_key
        Column of ``mod[m].obs`` with the label. By default ``"label"``, or that of the set-up.
    modalities
        The modalities to look at. By default all that have the representation.
    unlabeled_category
        A label that stands for "no label".
    min_cells
        Labels with fewer cells are listed, but not judged: few cells span few directions.
    threshold_rank
        Effective rank, at least 1, up to which a label has collapsed, in representations of more
        than twice as many dimensions.
    threshold_variance
        Share of the variance, from 0 to 1, below which a label has collapsed.
    key_added
        Name of the result.

    Returns
    -------
    None. Sets the following fields:

    ``mdata.uns[key_added]["labels"][m]``
        For each modality m a DataFrame, a row for each label (its index): ``n_cells``,
        ``effective_rank``, ``variance`` as a share of the variance of all labeled cells,
        ``relative_variance``, the same over its mean over labels, and ``collapsed``. Labels with
        fewer than ``min_cells`` cells have NaN and have not collapsed.
    ``mdata.uns[key_added]["params"]``
        The arguments of the call.

    Raises
    ------
    KeyError
        If a modality or a label column does not exist. ``mdata`` is unchanged then.
    ValueError
        If a representation is missing, is no matrix or holds NaN, a modality has fewer than two
        labels or none of ``min_cells`` cells, or a number is out of range. ``mdata`` is unchanged
        then.

    Warns
    -----
    UserWarning
        If a label has collapsed, with its name, the likely cause and a remedy.

    See Also
    --------
    scgroove.metrics.retention : how much of a covariate can be read within labels.

    References
    ----------
    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", EUSIPCO.

    Examples
    --------
    >>> scgroove.tl.embed(mdata, model)  # doctest: +SKIP
    >>> scgroove.tl.collapse(mdata)  # doctest: +SKIP
    >>> mdata.uns["collapse"]["labels"]["rna"].sort_values("effective_rank")  # doctest: +SKIP
    """
    check_call(mdata, key_added, modalities, use_rep)
    if not threshold_rank >= 1:
        raise ArgumentError(
            "threshold_rank must be at least 1, the effective rank of a line; found "
            f"{threshold_rank!r}.",
            "threshold_rank",
        )
    if not 0 <= threshold_variance <= 1:
        raise ArgumentError(
            "threshold_variance must be a share of the variance, between 0 and 1; found "
            f"{threshold_variance!r}.",
            "threshold_variance",
        )
    chosen = _modalities(mdata, use_rep, modalities)
    keys, category = label_columns(mdata, label_key, chosen, unlabeled_category)
    spaces = {m: name_of(use_rep, m, "use_rep") for m in chosen}
    tables = {}
    for m in chosen:
        z = representation(mdata, m, spaces[m])
        labels = labels_by_modality(mdata, keys, [m], category)[m]
        _check_counts(labels, m, keys[m], min_cells)
        tables[m] = _table(z, labels, min_cells, threshold_rank, threshold_variance)
    params: dict[str, Any] = {
        "use_rep": spaces,
        "label_key": keys,
        "min_cells": min_cells,
        "threshold_rank": float(threshold_rank),
        "threshold_variance": float(threshold_variance),
    }
    if category is not None:
        params["unlabeled_category"] = stored_category(category)
    _warn_or_log(tables)
    mdata.uns[key_added] = {"params": params, "labels": tables}


def _modalities(mdata: MuData, use_rep: PerModality, modalities: Sequence[str] | None) -> list[str]:
    """Return the modalities to look at: those with the representation, or all if none has it."""
    known = list(getattr(mdata, "mod", [""]))
    if modalities is not None:
        chosen = [modalities] if isinstance(modalities, str) else list(modalities)
    elif isinstance(use_rep, Mapping):
        chosen = list(use_rep)
    else:
        chosen = [m for m in known if m and use_rep in mdata.mod[m].obsm] or known
    if not chosen:
        raise InputError(f"modalities is empty. Name some of {known}.")
    for m in chosen:
        check_modality(mdata, m, "modality")
    return chosen


def _check_counts(labels: Labels, modality: str, key: str, min_cells: int) -> None:
    """Refuse fewer than two labels, and labels of too few cells."""
    counts = pd.Series(labels, dtype=object).value_counts()
    if len(counts) < 2:
        raise InputError(
            f"mdata.mod[{modality!r}].obs[{key!r}] holds {len(counts)} label(s) in "
            f"{np.size(labels)} cells ({list(counts.index)}), and a spread within labels is read "
            "against that of two or more. Name the column of the labels with label_key=, or leave "
            "this modality out with modalities=."
        )
    if counts.iloc[0] < min_cells:
        raise InputError(
            f"no label of {modality!r} has min_cells={min_cells} cells; the largest, "
            f"{counts.index[0]!r}, has {counts.iloc[0]}. Lower min_cells, and read effective ranks "
            "of so few cells as too low."
        )


def _table(
    z: FloatArray, labels: Labels, min_cells: int, threshold_rank: float, threshold_variance: float
) -> pd.DataFrame:
    """Return the spread of each label, and whether it has collapsed."""
    ranks = pd.Series(within_label_rank(z, labels, per="label"))
    variances = pd.Series(within_label_variance(z, labels, per="label"))
    table = pd.DataFrame({"effective_rank": ranks, "variance": variances})
    n_cells = pd.Series(labels, dtype=object).value_counts()
    table.insert(0, "n_cells", n_cells.reindex(table.index).astype(np.int64))
    table.loc[table["n_cells"] < min_cells, ["effective_rank", "variance"]] = np.nan
    mean = table["variance"].mean()
    table["relative_variance"] = table["variance"] / mean if mean > 0 else np.nan
    low = (table["effective_rank"] <= threshold_rank) & (z.shape[1] > 2 * threshold_rank)
    point = table["effective_rank"] == 0
    table["collapsed"] = low | point | (table["variance"] < threshold_variance)
    table.index = pd.Index(table.index.astype(str), name="label")
    return table


def _warn_or_log(tables: Mapping[str, pd.DataFrame]) -> None:
    """Warn of labels that have collapsed, or log that there are none."""
    found = [_listed(m, table) for m, table in tables.items() if table["collapsed"].any()]
    if not found:
        least = []
        for m, table in tables.items():
            share = _percent(table["variance"].min())
            rank = table["effective_rank"].min()
            least.append(f"{m}: effective rank {rank:.1f}, {share} of the variance")
        logger.info(f"No label has collapsed. Least of a label: {'; '.join(least)}.")
        return
    warn(
        f"labels have collapsed: {'; '.join(found)}. Their cells lie nearly in one point or on one "
        "line, so that their differences are lost, and cells cannot be matched within these "
        "labels. The likely cause: the contrast of labels outweighs reconstruction. Make the model "
        "again with a lower weight, a lower temperature, encoder='linear' or more latent "
        "dimensions, such as scgroove.model.GROOVE(mdata, n_latent=32, "
        "terms=[Reconstruction(), GroupCLIP(0.3), BackTranslation()]) with the terms of "
        "scgroove.losses. If the measured values of these cells hardly differ, there is nothing "
        "to keep."
    )


def _listed(modality: str, table: pd.DataFrame) -> str:
    """Name the labels of a modality that have collapsed, the worst first."""
    rows = table[table["collapsed"]].sort_values("variance", kind="stable")
    shown = [
        f"{label!r} (effective rank {row.effective_rank:.1f}, {_percent(row.variance)} of the "
        "variance)"
        for label, row in rows.head(_SHOWN).iterrows()
    ]
    more = ", ..." if len(rows) > _SHOWN else ""
    return f"{len(rows)} of {len(table)} in {modality!r}: {', '.join(shown)}{more}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"

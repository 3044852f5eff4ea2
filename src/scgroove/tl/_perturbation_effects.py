"""Effects of labels on the features of the target, measured and imputed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scgroove import _keys, get
from scgroove._labels import Label, UnlabeledCategory, encode, find_label, label_name, members
from scgroove._types import Float64Array, IntArray
from scgroove._warnings import warn
from scgroove.data.checks import PerModality
from scgroove.data.screen import check_call, check_modality, labels_of_modality
from scgroove.errors import InputError, UnknownNameError, did_you_mean
from scgroove.metrics.effects import Controls
from scgroove.metrics.values import dense, steps

if TYPE_CHECKING:
    from mudata import MuData

_LOOKS_LIKE_CONTROL: Final = re.compile(
    r"control|ctrl|non.?target|scramble|dmso|vehicle|untreated|mock|wild.?type|^(nt|wt)c?$",
    re.IGNORECASE,
)

SIDES: Final = ("measured", "imputed")
MIN_CELLS: Final = 10
"""Cells of a label, and of the control, that an interval needs."""


def perturbation_effects(
    mdata: MuData,
    source: str,
    target: str,
    control: Label | None = None,
    *,
    key: str | None = None,
    layer: str | None = None,
    controls: Controls = "measured",
    label_key: PerModality = _keys.LABEL,
    unlabeled_category: UnlabeledCategory = None,
    features: Sequence[str] | None = None,
    level: float = 0.95,
    n_boot: int = 1000,
    seed: int = 0,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Return the effects of every label: the mean of its cells minus that of the control cells.

    Measured effects are those of target cells. Imputed effects are those of the values imputed for
    source cells, for labels that the target never saw too. Both refer to the same control cells,
    those measured in the target. With ``controls="own"``, imputed means refer to the mean imputed
    for the control cells of the source instead, so that a constant bias of a feature cancels.

    Parameters
    ----------
    mdata
        With imputed values, as :func:`scgroove.tl.impute` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    control
        The label that effects are differences to. There is no default: it is not guessed.
    key
        Key of the imputed values. Default ``"imputed_<target>"``.
    layer
        Layer of the target that holds the measured values. Default that of the imputation. Counts
        are scaled to the library size of the imputed ones.
    controls
        The control cells of imputed effects: ``"measured"`` in the target, or its ``"own"``,
        imputed for the source.
    label_key
        Column of ``mod[m].obs`` with the label. By default ``"label"``, or that of the set-up.
    unlabeled_category
        A label that stands for "no label".
    features
        Features of the target to look at. Default all.
    level
        Of the bootstrap intervals.
    n_boot
        Bootstrap samples of the cells of each label, and of the control cells.
    seed
        Random state.
    key_added
        Name of the result. Default ``"effects_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row a label and feature: ``label``, ``feature``, ``measured``, ``measured_low``,
        ``measured_high``, ``n_measured`` (cells), and the same of ``imputed``. NaN, and 0 cells,
        where a side lacks the label. NaN in place of intervals of fewer than 10 cells. Labels and
        features in the order of the data, without the control. Intervals say what other cells of
        the same screen would give. An imputed effect can be wrong by more: see
        :func:`scgroove.benchmark.leave_labels_out`. Sets the following fields:

        ``mdata.uns[key_added]``
            The same table.

    Raises
    ------
    ValueError
        If nothing was imputed, no control is named, a name is unknown, the side that effects are
        differences to has no control cell, or numbers are out of range. ``mdata`` is unchanged
        then.

    Warns
    -----
    UserWarning
        If labels have too few cells for an interval.

    References
    ----------
    User guide, "Imputation".

    Examples
    --------
    >>> table = scgroove.tl.perturbation_effects(mdata, "rna", "prot", "control")  # doctest: +SKIP
    >>> table.pivot(index="label", columns="feature", values="imputed")  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    check_modality(mdata, source, "source")
    check_modality(mdata, target, "target")
    imputed = get.imputed(mdata, source, target, key)
    names_of_features = [str(name) for name in imputed.columns]
    columns = _columns(features, names_of_features, target)
    values = {
        "measured": get.measured(mdata, source, target, key, layer=layer)[:, columns],
        "imputed": imputed.to_numpy()[:, columns],
    }
    labels = [labels_of_modality(mdata, m, label_key, unlabeled_category) for m in (target, source)]
    names, codes = encode(*labels)
    control = _named(control, names, source, target)
    _check_control(control, names, codes[0], target)
    if controls == "own":
        _check_control(control, names, codes[1], source)
    rng = np.random.default_rng(seed)
    sides = {}
    for side, own in zip(SIDES, codes, strict=True):
        sides[side] = _Side(values[side], members(own, len(names)), names.index(control), n_boot)
    kept = [code for code, name in enumerate(names) if name != control]
    n_labels, n_features = len(kept), len(columns)
    rows = np.repeat(np.arange(n_labels), n_features)
    places = np.tile(np.arange(n_features), n_labels)
    table = pd.DataFrame(
        {
            "label": pd.Categorical.from_codes(rows, [names[code] for code in kept]),
            "feature": pd.Categorical.from_codes(places, [names_of_features[c] for c in columns]),
        }
    )
    for side, of_side in sides.items():
        reference = of_side if controls == "own" else sides["measured"]
        found = of_side.effects(kept, reference, level, rng)
        for name, effects in zip(("", "_low", "_high"), found, strict=True):
            table[f"{side}{name}"] = effects.ravel()
        table[f"n_{side}"] = np.repeat([of_side.cells[code].size for code in kept], n_features)
    _warn_few(table)
    mdata.uns[key_added if key_added is not None else _keys.effects(source, target)] = table
    return table.copy()


@dataclass(frozen=True, eq=False)
class _Side:
    """Values of the cells of one side, (n, f), and the cells of each label."""

    values: Any
    cells: list[IntArray]
    control: int
    n_boot: int

    def effects(
        self, kept: Sequence[int], reference: _Side, level: float, rng: np.random.Generator
    ) -> Float64Array:
        """Return effects of labels, and the ends of their intervals, (3, n_labels, f)."""
        f = self.values.shape[1]
        out = np.full((3, len(kept), f), np.nan)
        states = rng.integers(2**63, size=len(kept) + 1)
        ends = (0.5 - level / 2, 0.5 + level / 2)
        for columns in steps(f, max(self.n_boot, max(one.size for one in self.cells))):
            control = reference._means(reference.control, columns, int(states[-1]))
            for i, code in enumerate(kept):
                if not self.cells[code].size:
                    continue
                own = self._means(code, columns, int(states[i]))
                out[0, i, columns] = own[0] - control[0]
                if len(own) > 1 and len(control) > 1:
                    out[1:, i, columns] = np.quantile(own[1:] - control[1:], ends, axis=0)
        return out

    def _means(self, code: int, columns: slice, state: int) -> Float64Array:
        """Return the mean of a label's cells, then those of bootstrap samples, (1 + n_boot, f)."""
        n = self.cells[code].size
        values = dense(self.values[self.cells[code]][:, columns])
        known = ~np.isnan(values)
        values[~known] = 0
        mean = _ratio(values.sum(axis=0, keepdims=True), known.sum(axis=0, keepdims=True))
        if n < MIN_CELLS:
            return mean
        rng = np.random.default_rng(state)  # the same samples for every block of features
        weights = rng.multinomial(n, np.full(n, 1.0 / n), size=self.n_boot) / n
        return np.vstack([mean, _ratio(weights @ values, weights @ known.astype(float))])


def _ratio(sums: Float64Array, numbers: Any) -> Float64Array:
    """Return means, NaN of no value."""
    out: Float64Array = np.full(sums.shape, np.nan)
    np.divide(sums, numbers, out=out, where=numbers > 0)
    return out


def _columns(features: Sequence[str] | None, known: list[str], target: str) -> list[int]:
    """Return the positions of features."""
    if features is None:
        return list(range(len(known)))
    place = {name: i for i, name in enumerate(known)}
    missing = [name for name in features if name not in place]
    if missing:
        raise UnknownNameError(
            "feature",
            missing[0],
            known,
            f"features {missing[:5]} are not among the {len(known)} features imputed of {target!r}."
            f"{did_you_mean(missing[0], known)}",
        )
    return [place[name] for name in features]


def _named(control: Label | None, names: list[str], source: str, target: str) -> str:
    """Return the control as a name, or say which labels look like one."""
    if control is not None:
        return label_name(control)
    likely = [name for name in names if _LOOKS_LIKE_CONTROL.search(name)]
    hint = f" These look like one: {', '.join(map(repr, likely[:5]))}." if likely else ""
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise InputError(
        f"effects are differences to control cells, and no control is named.{hint} Call "
        f"scgroove.tl.perturbation_effects(mdata, {source!r}, {target!r}, "
        f"control={(likely or names or ['...'])[0]!r}). Labels: {shown}."
    )


def _check_control(control: str, names: list[str], codes: IntArray, modality: str) -> None:
    present = [names[code] for code in np.unique(codes[codes >= 0])]
    try:
        find_label(control, present)
    except UnknownNameError as error:
        message = f"Nothing is known to subtract from the effects in {modality!r}: {error}"
        raise UnknownNameError("label", control, present, message) from None


def _warn_few(table: pd.DataFrame) -> None:
    for side in SIDES:
        n = table.groupby("label", observed=True)[f"n_{side}"].first()
        few = n[(n > 0) & (n < MIN_CELLS)]
        if len(few):
            shown = ", ".join(f"{name} ({count})" for name, count in few.head(8).items())
            warn(
                f"no interval for {len(few)} {side} label(s) with fewer than {MIN_CELLS} cells: "
                f"{shown}{', ...' if len(few) > 8 else ''}. A bootstrap of so few cells says too "
                "little."
            )

"""Effects of labels on the features of the target, measured and imputed."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    min_cells: int = 10,
    seed: int = 0,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Return what every label does to every feature of the target: the mean of its cells minus that of the control cells.

    Measured: of target cells. Imputed: of the values imputed for source cells, labels that the target never saw included. Both
    refer to the same control cells, those measured in the target. With ``controls="own"`` the mean imputed for the control cells of the
    source is subtracted from imputed means instead, so that a constant bias of a feature plays no part.

    Parameters
    ----------
    mdata
        With imputed values, as :func:`scgroove.tl.impute` writes them.
    source, target
        The cells imputed for, and the modality imputed.
    control
        The label that effects are differences to. There is no default: what a screen calls its control is not guessed.
    key
        Key of the imputed values; default ``"imputed_<target>"``.
    layer
        Layer of the target that holds the measured values; default that of the imputation. Counts are scaled to the library
        size of the imputed ones.
    controls
        The control cells that imputed effects are differences to: ``"measured"`` in the target, or its ``"own"``, imputed for the
        source.
    label_key
        Column of ``mod[m].obs`` with the label.
    unlabeled_category
        A label that stands for "no label".
    features
        Features of the target to look at; default all.
    level
        Of the bootstrap intervals.
    n_boot
        Bootstrap samples of the cells of each label, and of the control cells.
    min_cells
        Labels, and sides, with fewer cells have no interval.
    seed
        Random state.
    key_added
        Name of the result; default ``"effects_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row a label and feature: ``label``, ``feature``; ``measured``, ``measured_low``, ``measured_high``, ``n_measured`` (cells);
        the same of ``imputed``. NaN, and 0 cells, where a side has not the label. Labels and features in the order of the data,
        control left out. Intervals say what other cells of the same screen would give; an imputed effect can be wrong
        by more than its interval: see :func:`scgroove.benchmark.leave_labels_out`. Sets the following fields:

        ``mdata.uns[key_added]``
            The same table.

    Raises
    ------
    ValueError
        If nothing was imputed, no control is named, a name is unknown, the side that effects are differences to has no control
        cell, or numbers are out of range. ``mdata`` is unchanged then.

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
    columns = _columns(features, list(map(str, imputed.columns)), target)
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
    cells = [members(own, len(names)) for own in codes]
    sides = {
        side: _Side(values[side], cells[i], names.index(control)) for i, side in enumerate(SIDES)
    }
    kept = [code for code, name in enumerate(names) if name != control]
    table = pd.DataFrame(
        {
            "label": pd.Categorical.from_codes(
                np.repeat(np.arange(len(kept)), len(columns)), [names[code] for code in kept]
            ),
            "feature": pd.Categorical.from_codes(
                np.tile(np.arange(len(columns)), len(kept)),
                [str(imputed.columns[c]) for c in columns],
            ),
        }
    )
    for side, of in sides.items():
        reference = of if controls == "own" else sides["measured"]
        for name, column in of.effects(kept, reference, level, n_boot, min_cells, rng).items():
            table[f"n_{side}" if name == "n" else f"{side}{name}"] = column
    _warn_few(table, min_cells)
    mdata.uns[key_added if key_added is not None else _keys.effects(source, target)] = table
    return table.copy()


class _Side:
    """Values of the cells of one side, (n, f), and who has which label."""

    def __init__(self, values: Any, cells: list[IntArray], control: int) -> None:
        self.values, self.cells, self.control = values, cells, control

    def effects(
        self,
        kept: Sequence[int],
        reference: _Side,
        level: float,
        n_boot: int,
        min_cells: int,
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        """Return effects of labels against the control cells of a side, with the ends of their intervals and numbers of cells.

        One value for each label and feature.
        """
        f = self.values.shape[1]
        out = np.full((3, len(kept), f), np.nan)
        states = rng.integers(2**63, size=len(kept) + 1)
        for columns in steps(f, max(n_boot, max(one.size for one in self.cells))):
            control = reference._means(
                reference.control, columns, n_boot, min_cells, int(states[-1])
            )
            for i, code in enumerate(kept):
                if self.cells[code].size:
                    own = self._means(code, columns, n_boot, min_cells, int(states[i]))
                    out[0, i, columns] = own[0] - control[0]
                    if len(own) > 1 and len(control) > 1:
                        ends = np.quantile(
                            own[1:] - control[1:], (0.5 - level / 2, 0.5 + level / 2), axis=0
                        )
                        out[1:, i, columns] = ends
        counts = np.repeat([self.cells[code].size for code in kept], f)
        return {"": out[0].ravel(), "_low": out[1].ravel(), "_high": out[2].ravel(), "n": counts}

    def _means(
        self, code: int, columns: slice, n_boot: int, min_cells: int, state: int
    ) -> Float64Array:
        """Return the mean of a label's cells, then those of bootstrap samples of them if there are enough, (1 + n_boot, f)."""
        cells = self.cells[code]
        values = dense(self.values[cells][:, columns])
        known = ~np.isnan(values)
        values[~known] = 0
        mean = _ratio(values.sum(axis=0, keepdims=True), known.sum(axis=0, keepdims=True))
        if cells.size < min_cells:
            return np.asarray(mean)
        # the same samples for every block of features
        rng = np.random.default_rng(state)
        weights = (
            rng.multinomial(cells.size, np.full(cells.size, 1.0 / cells.size), size=n_boot)
            / cells.size
        )
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
        hint = did_you_mean(missing[0], known)
        raise UnknownNameError(
            f"features {missing[:5]} are not among the {len(known)} features imputed of {target!r}.{hint}"
        )
    return [place[name] for name in features]


def _named(control: Label | None, names: list[str], source: str, target: str) -> str:
    """Return the control as a name; where none is named, say which labels look like one."""
    if control is not None:
        return label_name(control)
    likely = [name for name in names if _LOOKS_LIKE_CONTROL.search(name)]
    hint = f" These look like one: {', '.join(map(repr, likely[:5]))}." if likely else ""
    raise InputError(
        f"effects are differences to control cells, and no control is named.{hint} Call scgroove.tl.perturbation_effects(mdata, "
        f"{source!r}, {target!r}, control={(likely or names or ['...'])[0]!r}). Labels: {', '.join(names[:10])}"
        f"{', ...' if len(names) > 10 else ''}."
    )


def _check_control(control: str, names: list[str], codes: IntArray, modality: str) -> None:
    present = [names[code] for code in np.unique(codes[codes >= 0])]
    try:
        find_label(control, present)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"Nothing is known to subtract from the effects in {modality!r}: {error}"
        ) from None


def _warn_few(table: pd.DataFrame, min_cells: int) -> None:
    for side in SIDES:
        n = table.groupby("label", observed=True)[f"n_{side}"].first()
        few = n[(n > 0) & (n < min_cells)]
        if len(few):
            shown = ", ".join(f"{name} ({count})" for name, count in few.head(8).items())
            warn(
                f"no interval for {len(few)} {side} label(s) with fewer than min_cells={min_cells} cells: {shown}"
                f"{', ...' if len(few) > 8 else ''}. A bootstrap of so few cells says too little.",
            )

"""Whether values are in the units that a model was trained on: counts, logged, scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scgroove.errors import UnitsError

from .._types import IntArray
from .._warnings import warn
from .checks import DataProfile, matrix, summarize
from .disk import on_disk, read_rows

SAMPLED_CELLS: Final = 2048
SAMPLED_VALUES: Final = 2**24
SPANS: Final = 8
"""Rows are sampled in so many spans, which cost little to read from disk."""

FACTOR: Final = 10.0
"""Real values whose typical size differs by more from that of the training data are suspect."""

MOVED: Final = 1.5
"""The same for samples of one matrix at two times, whose cells may be in another order."""

ENOUGH: Final = 100
"""With fewer values, nothing follows from the absence of some."""


def sample_profile(
    adata: AnnData,
    layer: str | None,
    columns: IntArray | None = None,
    rows: NDArray[np.int64] | None = None,
) -> DataProfile:
    """Return the profile of a sample of some rows and columns, or of all."""
    x = matrix(adata, layer)
    d = x.shape[1] if columns is None else len(columns)
    cells = np.arange(x.shape[0]) if rows is None else np.unique(rows)
    most = int(np.clip(SAMPLED_VALUES // max(d, 1), SPANS, SAMPLED_CELLS))
    if len(cells) > most:
        width = most // SPANS
        starts = np.linspace(0, len(cells) - width, SPANS).astype(np.int64)
        cells = cells[np.unique(starts[:, None] + np.arange(width))]
    if on_disk(x):
        block = read_rows(x, cells)
    else:
        block = x.iloc[cells].to_numpy() if hasattr(x, "iloc") else x[cells]
    return summarize([_finite(block if columns is None else block[:, columns])], d)


def _finite(block: Any) -> Any:
    """Return values without NaN and infinite ones, which others look for."""
    values = block.data if sp.issparse(block) else block
    if not np.issubdtype(values.dtype, np.floating) or np.isfinite(values).all():
        return block
    clean = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if not sp.issparse(block):
        return clean
    block = block.copy()
    block.data = clean
    return block


def check_units(
    adata: AnnData,
    state: Mapping[str, Any],
    likelihood: str,
    *,
    modality: str,
    layer: str | None,
    columns: IntArray | None,
    rows: NDArray[np.int64] | None = None,
    strict: bool = False,
) -> None:
    """Refuse values that a model cannot have, and warn of values that seem to be in other units.

    Parameters
    ----------
    adata
        The modality as it is now.
    state
        What the registry keeps of the matrix: ``profile`` of the training data, and
        ``registered``, a sample of these data when they were registered.
    likelihood, modality, layer
        Of the model.
    columns
        Where the features of the model stand. None: they are all there is.
    rows
        Cells that are used. None: all.
    strict
        Refuse all that the likelihood cannot have. Otherwise fractional values that are neither
        logged nor normalized lead to a warning, as they may be estimated counts.
    """
    found, known = sample_profile(adata, layer, columns, rows), DataProfile(**state["profile"])
    then = _then(state, adata.n_obs) if rows is None or len(rows) == adata.n_obs else None
    changed = then is not None and _changed(found, then, adata.n_obs)
    where = f"modality {modality!r} ({'X' if layer is None else f'layer {layer!r}'})"
    units = f"The model was trained on {_described(known)} (likelihood {likelihood!r})."
    remedy = _remedy(known, likelihood, changed)
    if problem := found.problem_with(likelihood):
        message = f"The data of {where} have {problem}: {_described(found)}. {units}"
        if strict or changed or found.integer or found.minimum < 0 or found.transformed:
            raise UnitsError(f"{message} {remedy}", modality, found)
        warn(
            f"{message} Estimated counts need not be whole. Anything else gives wrong results. "
            f"{remedy}"
        )
    elif notes := _differences(found, known, likelihood):
        warn(
            f"The data of {where} do not look as if they were in the units of the training data: "
            f"{', '.join(notes)}. {units} {remedy}"
        )
    elif changed:
        warn(
            f"The data of {where} have changed since they were registered: {_described(then)} "
            f"then, {_described(found)} now. {remedy}"
        )


def _then(state: Mapping[str, Any], n_obs: int) -> DataProfile | None:
    """Return what the same cells were when they were registered, where that is known."""
    known = state.get("registered")
    return DataProfile(**known) if known is not None and state["n_obs"] == n_obs else None


def _changed(found: DataProfile, then: DataProfile, n_obs: int) -> bool:
    """Whether values are others. Features and cells may have been put in another order."""
    if found.integer != then.integer or (found.minimum < 0) != (then.minimum < 0):
        return True
    if found.n_obs == n_obs:
        now, before = ([p.minimum, p.maximum, p.median_library, p.size] for p in (found, then))
        return not np.allclose(now, before, rtol=1e-3, atol=1e-3 * then.size)
    return not then.size / MOVED <= found.size <= then.size * MOVED


def _differences(found: DataProfile, known: DataProfile, likelihood: str) -> list[str]:
    """Return what tells that values are in other units than those of the training data."""
    enough = found.n_obs * found.n_vars >= ENOUGH
    ratio = found.size / known.size if known.size > 0 and likelihood == "normal" else 1.0
    counts_now = found.counts and not known.integer
    signs = {
        "values that are not whole numbers": known.integer and not found.integer,
        "whole numbers, as raw counts are": counts_now and enough,
        f"negative values, down to {found.minimum:.4g}": found.minimum < 0 <= known.minimum,
        "no negative values": found.minimum >= 0
        and known.negative * found.n_obs * found.n_vars > ENOUGH,
        f"a typical size {ratio:.3g} times as large": not 1 / FACTOR <= ratio <= FACTOR,
    }
    return [sign for sign, shown in signs.items() if shown]


def _described(seen: DataProfile | None) -> str:
    """Return what values are, in words."""
    assert seen is not None
    kind = "whole numbers" if seen.integer else seen.transformed or "real values"
    return f"{kind} from {seen.minimum:.4g} to {seen.maximum:.4g}"


def _remedy(known: DataProfile, likelihood: str, changed: bool) -> str:
    if changed:
        return (
            "Were they normalized, logged or scaled in place? Put back the values that were "
            "registered, adata.X = ..., or call GROOVE.setup_mudata again and train on the new "
            "ones."
        )
    if likelihood == "bernoulli":
        return "Turn them into 1 (there) and 0 (not): adata.X = (adata.X > 0).astype('float32')."
    if known.integer:
        return (
            "Pass the raw counts: adata.X = adata.layers['counts'].copy(), or adata.raw.to_adata()."
        )
    return "Normalize, log and scale new data as the training data were."

"""Features of modalities: found by name, and normalized, logged and standardized."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from scgroove.errors import FeatureNamesError

from .._numbers import is_constant
from .._types import Float64Array, IntArray
from .checks import profile, row_blocks
from .measured import Measured

if TYPE_CHECKING:
    from anndata import AnnData

N_NEAREST: Final = 5
SHOWN: Final = 10
IDENTIFIER: Final = re.compile(r"^(ENS[A-Z]*[GTP]\d{6,}|[OPQ]\d[A-Z0-9]{3}\d|\d+)(\.\d+)?$")

OF_THE_MODEL: Final = (
    "If these are the data of the model, set them up again, GROOVE.setup_mudata(mdata, ...), and "
    "train on them. New data need all of model.get_var_names()[{modality!r}], in any order and "
    "with "
    "others beside them: pass the unfiltered data, or train a model on the features that both have."
)


def feature_positions(
    found: Iterable[Any], wanted: Iterable[Any], *, modality: str, remedy: str = OF_THE_MODEL
) -> IntArray:
    """Return where features stand in the data now, by name."""
    names, asked = (pd.Index(as_names(one)) for one in (found, wanted))
    again = names.duplicated()
    positions = np.flatnonzero(~again)[names[~again].get_indexer(asked)] if len(names) else None
    missing = asked[~asked.isin(names)]
    remedy = remedy.format(modality=modality)
    if positions is None or len(missing):
        raise _missing(names, asked, missing.unique(), modality, remedy)
    doubled = names[again].unique()
    doubled = doubled[doubled.isin(asked)]
    if len(doubled):
        raise FeatureNamesError(
            f"The var_names of modality {modality!r} are not unique: {_first(doubled)} stand for "
            "more than one feature each, so that names do not tell which is meant. Call "
            f"mdata[{modality!r}].var_names_make_unique(), or drop one of each.",
            modality,
            doubled=doubled,
        )
    return np.asarray(positions, dtype=np.intp)


def take_features(
    values: Any,
    found: Iterable[Any],
    wanted: Iterable[Any],
    *,
    modality: str,
    remedy: str = OF_THE_MODEL,
) -> Any:
    """Return the columns of features, found by name: the values themselves if they are these."""
    columns = columns_of(found, wanted, modality=modality, remedy=remedy)
    return values if columns is None else values[:, columns]


def columns_of(
    found: Iterable[Any], wanted: Iterable[Any], *, modality: str, remedy: str = OF_THE_MODEL
) -> IntArray | None:
    """Return :func:`feature_positions`, or None if the data have these features in this order."""
    names, asked = as_names(found), as_names(wanted)
    if np.array_equal(names, asked):
        return None
    return feature_positions(names, asked, modality=modality, remedy=remedy)


def as_names(names: Iterable[Any]) -> NDArray[Any]:
    """Return names as strings, an object array (n,)."""
    return np.array([str(name) for name in names], dtype=object)


def _missing(
    names: pd.Index, asked: pd.Index, missing: pd.Index, modality: str, remedy: str
) -> FeatureNamesError:
    nearest = get_close_matches(str(missing[0]), list(map(str, names)), n=N_NEAREST, cutoff=0.0)
    near = f"most like {missing[0]!r}: {', '.join(map(repr, nearest))}" if nearest else "none"
    return FeatureNamesError(
        f"Features of modality {modality!r} are missing: {len(missing)} of {len(asked)}, "
        f"{_first(missing)}. Found {len(names)} features, {near}. {_cause(names, asked, missing)} "
        f"{remedy}",
        modality,
        missing=missing,
        nearest=nearest,
    )


def _cause(names: pd.Index, asked: pd.Index, missing: pd.Index) -> str:
    """Say what has likely happened to features that are missing."""
    if len(missing) < len(asked):
        return "Likely they were filtered, or the genome annotation is another."
    identifiers = [bool(len(one)) and bool(IDENTIFIER.match(str(one[0]))) for one in (names, asked)]
    if identifiers[0] != identifiers[1]:
        given, wanted = ("identifiers", "symbols") if identifiers[0] else ("symbols", "identifiers")
        return (
            f"None is there: the data are named by {given}, where {wanted} are expected. Rename "
            "them, adata.var_names = adata.var[column]."
        )
    if set(names.str.lower()) & set(asked.str.lower()):
        return "None is there: the names differ in upper and lower case. Is it another species?"
    return "None is there: are these other features, or named otherwise (symbols, identifiers)?"


def _first(names: Sequence[Any] | pd.Index) -> str:
    """Name the first few."""
    listed = ", ".join(repr(str(name)) for name in names[:SHOWN])
    return listed + (", ..." if len(names) > SHOWN else "")


@dataclass(frozen=True)
class Features:
    """Scaling of a modality: counts are normalized and logged, and every feature is standardized.

    Counts of a panel are logged without a library size. Values that were not measured, by the
    record that set-up left with the data, do not count and become 0, the mean.

    Attributes
    ----------
    modality, names
        Name of the modality, for messages, and of the features, (d,).
    counts
        Whether the values are counts (whole numbers of at least 0 and above 1).
    library
        Median total count of a cell. None without library sizes.
    mean, scale
        Of the training cells, (d,). Features without variance have scale 1.
    shares
        Of the features in the total of a cell, (d,), where batches did not measure some, else None.
    """

    modality: str
    names: NDArray[Any]
    counts: bool
    library: float | None
    mean: Float64Array
    scale: Float64Array
    shares: Float64Array | None = None

    @classmethod
    def fit(cls, adata: AnnData, modality: str) -> Self:
        """Learn the statistics of a modality.

        Raises
        ------
        ValueError
            If it has no cells or features, or values that are not finite.
        """
        seen = profile(adata, modality)
        counts, library = seen.counts, seen.median_library if seen.size_factors else None
        names = adata.var_names.to_numpy(dtype=object)
        d = adata.n_vars
        measured = Measured.of(adata)
        shares = None if library is None or measured is None else measured.shares(adata.X)
        unscaled = cls(modality, names, counts, library, np.zeros(d), np.ones(d), shares)
        x = unscaled(adata).astype(np.float64)
        if measured is None:
            mean, scale = x.mean(axis=0), x.std(axis=0)
        else:
            x[~measured.rows(slice(None))] = np.nan
            mean, scale = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
        scale[is_constant(mean, scale)] = 1.0
        return cls(modality, names, counts, library, mean, scale, shares)

    def __call__(self, adata: AnnData) -> NDArray[np.float32]:
        """Return the features of cells, found by name, float32 (n, d).

        Raises
        ------
        FeatureNamesError
            A feature of the training data is missing, or its name stands twice.
        """
        columns = columns_of(
            adata.var_names,
            self.names,
            modality=self.modality,
            remedy="The learner needs all features that it was fitted on, in any order: pass the "
            "unfiltered data, or fit it anew.",
        )
        out = np.empty((adata.n_obs, self.names.size), dtype=np.float32)
        measured = Measured.of(adata, self.names)
        for rows, block in row_blocks(adata.X):
            kept = block if columns is None else block[:, columns]
            x = np.asarray(kept.todense() if sp.issparse(kept) else kept, dtype=np.float64)
            if self.library is not None:
                total = x.sum(axis=1, keepdims=True)
                if measured is not None and self.shares is not None:
                    total = total / (measured.rows(rows) @ self.shares)[:, None]
                x = x / np.where(total > 0, total, 1.0) * self.library
            if self.counts:
                x = np.log1p(x)
            out[rows] = (x - self.mean) / self.scale
            if measured is not None:
                out[rows] *= measured.rows(rows)
        return out

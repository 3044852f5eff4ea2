"""Features that a batch did not measure: zero in all of its cells, and seldom elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from .. import _keys
from .._labels import label_name, names_of
from .._types import IntArray, Labels
from .._warnings import warn
from .checks import matrix, row_blocks
from .labels import encode_labels

ALPHA: Final = 1e-3
"""Probability, over all features and batches, that a measured feature is called absent."""
MOST_ZEROS: Final = 0.5
"""Features with a larger share of zeros where they were measured are not called absent."""
FEWEST_CELLS: Final = 10
"""Labels of fewer cells are counted together: their own shares of zeros are chance."""

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Zeros:
    """Cells (n_batch,), and cells other than zero (n_batch, d), of each batch."""

    n_cells: NDArray[np.float64]
    nonzero: NDArray[np.float64]

    @classmethod
    def count(
        cls, x: Any, codes: NDArray[np.int64], n_batch: int, columns: IntArray | None = None
    ) -> Self:
        """Count in (columns of) a matrix (n, d). Cells of code -1 are in no batch."""
        nonzero = np.zeros((n_batch, x.shape[1] if columns is None else len(columns)))
        for rows, block in row_blocks(x):
            own = np.flatnonzero(codes[rows] >= 0)
            of_batch = sp.csr_matrix(
                (np.ones(own.size), (codes[rows][own], own)), shape=(n_batch, block.shape[0])
            )
            values = block if columns is None else block[:, columns]
            found = of_batch @ (values != 0).astype(np.float64)
            nonzero += found.toarray() if sp.issparse(found) else found
        n_cells = np.bincount(codes[codes >= 0], minlength=n_batch).astype(np.float64)
        return cls(n_cells, nonzero)

    def largest_shares(self) -> NDArray[np.float64]:
        """Largest share of zeros of a batch that measured the feature, (d,). 1 where none did."""
        shares = (self.n_cells[:, None] - self.nonzero + 1) / (self.n_cells[:, None] + 2)
        measured = self.nonzero > 0
        largest = np.where(measured, shares, 0.0).max(axis=0)
        return np.where(measured.any(axis=0), largest, 1.0)

    def shares_by_label(
        self, x: Any, batches: NDArray[np.int64], labels: Labels
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected share of zeros of each batch by its labels, (n_batch, d), and the largest, (d,).

        Shares of a label are those of the batches that measured the feature, and at least those of
        :meth:`largest_shares`: labels have few cells. ``labels`` (n,) are None where missing.
        """
        floor = self.largest_shares()
        common = np.flatnonzero(floor <= MOST_ZEROS)  # no other feature is ever called absent
        groups, n_groups = _groups_of(labels)
        cells = np.zeros((len(self.n_cells), n_groups))
        known = batches >= 0
        np.add.at(cells, (batches[known], groups[known]), 1)
        nonzero = Zeros.count(x, groups, n_groups, common).nonzero
        n = cells.T @ (self.nonzero[:, common] > 0)
        shares = np.maximum((n - nonzero + 1) / (n + 2), floor[common])
        largest = np.where(n > 0, shares, 0).max(axis=0)
        logs = np.log(np.where(n > 0, shares, largest))
        expected, of_any = np.tile(floor, (len(cells), 1)), floor.copy()
        expected[:, common] = np.exp(cells @ logs / np.maximum(1, self.n_cells)[:, None])
        of_any[common] = largest
        return expected, of_any

    def absent(self, shares: NDArray[np.float64]) -> BoolArray:
        r"""Which features a batch did not measure, (n_batch, d).

        A batch of n cells has no count by chance with probability :math:`q^n`, q the share of zeros
        elsewhere (``shares``, (d,) or (n_batch, d)): less than ``ALPHA`` by Bonferroni's
        correction.
        """
        bound = np.log(ALPHA / max(1, self.nonzero.size))
        by_chance = self.n_cells[:, None] * np.log(shares)
        empty: BoolArray = (self.nonzero == 0) & (self.n_cells[:, None] > 0)
        absent: BoolArray = empty & (by_chance < bound) & (shares <= MOST_ZEROS)
        return absent


def look_for_absent(
    adata: AnnData,
    modality: str,
    layer: str | None,
    batch_key: str | None,
    known: Mapping[str, float] | None = None,
    labels: Labels | None = None,
) -> tuple[dict[str, list[str]], NDArray[np.float64]]:
    """Find the features that batches did not measure, and warn of them.

    Parameters
    ----------
    adata, modality, layer, batch_key
        The data, and their batch column. None: all cells are one batch.
    known
        Feature -> share of zeros where a model was trained. None: those of the data themselves.
    labels
        Of the cells, (n,), None where missing, where the data themselves are looked at.

    Returns
    -------
    absent
        Batch -> features, for batches that lack some.
    shares
        The largest share of zeros in any label, (d,).
    """
    names = _batches(adata, batch_key)
    batches = sorted({name for name in names if name is not None})
    x, codes = matrix(adata, layer), encode_labels(names, batches)
    zeros = Zeros.count(x, codes, len(batches))
    features = adata.var_names.to_numpy(dtype=str)
    if known is not None and adata.uns.get(_keys.NOT_MEASURED) == {}:
        return {}, np.array(list(known.values()))
    if known is None:
        given = np.full(adata.n_obs, None, dtype=object) if labels is None else labels
        expected, shares = zeros.shares_by_label(x, codes, given)
    else:
        expected = shares = np.array(list(known.values()))
        place = {name: j for j, name in enumerate(features)}
        features = np.array(list(known), dtype=str)
        zeros = replace(zeros, nonzero=zeros.nonzero[:, [place[name] for name in features]])
    found = {}
    for batch, lacks in zip(batches, zeros.absent(expected), strict=True):
        if lacks.any():
            found[batch] = features[lacks].tolist()
    if found:
        _warn(found, modality, batch_key, of_model=known is not None)
    return found, shares


def _batches(adata: AnnData, batch_key: str | None) -> NDArray[Any]:
    """Return the batch of each cell, "" where there is no such column."""
    known = batch_key is not None and batch_key in adata.obs
    return names_of(adata.obs[batch_key]) if known else np.full(adata.n_obs, "", dtype=object)


def _groups_of(labels: Labels) -> tuple[NDArray[np.int64], int]:
    """Return codes of labels, (n,), and their number. Cells of rare labels or none share a code."""
    names = pd.Series(np.asarray(labels, dtype=object))
    names = names.where(names.map(names.value_counts()) >= FEWEST_CELLS)
    codes, known = pd.factorize(names)
    return np.where(codes < 0, len(known), codes), len(known) + 1


def _warn(
    found: Mapping[str, list[str]], modality: str, batch_key: str | None, of_model: bool
) -> None:
    shown = []
    for batch, names in list(found.items())[:5]:
        listed = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        place = f"batch {batch!r}" if batch else "the new data"
        shown.append(f"{listed} ({len(names)}) in {place}")
    more = f", and in {len(found) - 5} batches more" if len(found) > 5 else ""
    remedy = "set up without batch_key"
    if of_model:
        uns = f"mdata.mod[{modality!r}].uns[{_keys.NOT_MEASURED!r}]"
        remedy = f"say that all was measured: {uns} = {{}}"
    warn(
        f"Missing features in modality '{modality}': {'; '.join(shown)}{more}. They are zero in "
        "all cells there, and in most cells elsewhere they are not: taken as not measured, so "
        "that these zeros are neither learned, nor compared with what is imputed. If they are "
        f"true zeros, {remedy}."
    )


def mask_of(absent: Mapping[str, list[str]], batches: Any, features: Any) -> BoolArray | None:
    """Return which features each batch measured, (n_batch, d). None if all measured all."""
    mask = np.ones((len(batches), len(features)), dtype=bool)
    for code, batch in enumerate(batches):
        lacks = [] if batch is None else absent.get(label_name(batch) or "", [])
        mask[code] = ~np.isin(np.asarray(features, dtype=str), lacks)
    return None if mask.all() else mask


@dataclass(frozen=True, eq=False)
class Measured:
    """Which values of a modality were measured, by the record that set-up left with it.

    Attributes
    ----------
    codes
        Batch of each cell, (n,).
    mask
        Features that a batch measured, (n_batch, d). The last row, for cells of other batches, is
        True.
    """

    codes: NDArray[np.int64]
    mask: BoolArray

    @classmethod
    def of(cls, adata: AnnData, features: Any = None) -> Self | None:
        """Read the record, for some features by name, else for all. None if all was measured."""
        record = adata.uns.get(_keys.NOT_MEASURED)
        key = str(record["batch_key"]) if record else None
        if not record or (key and key not in adata.obs):
            return None
        pairs = pd.DataFrame({"batch": record["batch"], "feature": record["feature"]}).astype(str)
        absent = pairs.groupby("batch")["feature"].agg(list).to_dict()
        names = adata.var_names if features is None else features
        return cls.by_batch(adata, key or None, absent, names)

    @classmethod
    def by_batch(
        cls, adata: AnnData, batch_key: str | None, absent: Mapping[str, list[str]], features: Any
    ) -> Self | None:
        """Look up what batches lack, of these features. None if all was measured."""
        known = list(absent)
        mask = mask_of(absent, [*known, None], features)
        return None if mask is None else cls(encode_labels(_batches(adata, batch_key), known), mask)

    def rows(self, rows: Any) -> BoolArray:
        """Which values of some cells were measured, (n_rows, d)."""
        measured: BoolArray = self.mask[self.codes[rows]]
        return measured

    def shares(self, x: Any) -> NDArray[np.float64]:
        """Return the share of each feature in the sum of all, (d,), as :func:`expected_shares`."""
        sums = np.zeros(self.mask.shape)
        for rows, block in row_blocks(x):
            for code in np.unique(self.codes[rows]):
                sums[code] += np.asarray(block[self.codes[rows] == code].sum(axis=0)).ravel()
        return expected_shares(sums, self.mask)

    def without(self, values: Any) -> Any:
        """Return values (n, d) with NaN where nothing was measured."""
        dtype = np.result_type(values.dtype, np.float32)
        missing = ~self.rows(slice(None))
        if not sp.issparse(values):
            return np.where(missing, np.array(np.nan, dtype), values)
        return sp.csr_matrix(values, dtype=dtype) + sp.csr_matrix(
            np.where(missing, np.nan, 0).astype(dtype)
        )


def fill(values: Any, labels: Labels) -> Any:
    """Replace values (n, d) that were not measured (NaN) by the measured mean of the label.

    Means of labels stay those of the measured cells. Where a label (None where missing) has none,
    it is the mean of all measured cells.
    """
    values = values.tocsr() if sp.issparse(values) else values
    rows, columns = _missing(values)
    if not len(rows):
        return values
    some, place = np.unique(columns, return_inverse=True)
    part = values[:, some]
    table = pd.DataFrame(part.toarray() if sp.issparse(part) else part)
    known = pd.Series(np.asarray(labels, dtype=object))
    means = table.groupby(known.fillna("").to_numpy()).transform("mean").fillna(table.mean())
    stand_in = np.where(known.isna().to_numpy()[:, None], table.mean(), means)
    filled = np.nan_to_num(stand_in)[rows, place].astype(values.dtype)
    values = values.copy()
    if sp.issparse(values):
        values.data[np.isnan(values.data)] = filled
    else:
        values[rows, columns] = filled
    return values


def complete_partners(partner: IntArray | None, values: Any) -> IntArray | None:
    """Return partners, -1 where not all values (n, d) were measured. None if none is left."""
    if partner is None:
        return None
    found = np.where(incomplete(values)[partner], -1, partner)
    return found if (found >= 0).any() else None


def incomplete(values: Any) -> BoolArray:
    """Return which cells have values that were not measured, (n,)."""
    out = np.zeros(values.shape[0], dtype=bool)
    out[_missing(values.tocsr() if sp.issparse(values) else values)[0]] = True
    return out


def _missing(values: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows and columns of NaN, row after row, of a dense or CSR matrix."""
    if values.dtype.kind != "f":
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    if not sp.issparse(values):
        rows, columns = np.nonzero(np.isnan(values))
        return rows, columns
    at = np.flatnonzero(np.isnan(values.data))
    return np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))[at], values.indices[at]


def record(adata: AnnData, absent: Mapping[str, list[str]], batch_key: str | None) -> None:
    """Record with a modality what its batches did not measure, or remove an old record."""
    if not absent:
        if adata.uns.get(_keys.NOT_MEASURED) != {}:  # the word of the user: all was measured
            adata.uns.pop(_keys.NOT_MEASURED, None)
        return
    pairs = [(batch, feature) for batch, features in absent.items() for feature in features]
    adata.uns[_keys.NOT_MEASURED] = {
        "batch_key": batch_key or "",
        "batch": np.array([batch for batch, _ in pairs], dtype=object),
        "feature": np.array([feature for _, feature in pairs], dtype=object),
    }


def expected_shares(sums: NDArray[np.float64], mask: BoolArray) -> NDArray[np.float64]:
    """Return the share of each feature in the sum of all, (d,), from sums of batches."""
    shares = np.full(sums.shape[1], 1 / sums.shape[1])
    for _ in range(100):  # a sum of rank one: depth of the batch times share of the feature
        depth = sums.sum(axis=1) / (mask @ shares)
        shares = sums.sum(axis=0) / np.maximum(depth @ mask, 1e-12)
        shares /= shares.sum()
    return shares

"""What a learner is given: modalities, labels in one vocabulary, and features on one footing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from scgroove._labels import UnlabeledCategory
from scgroove._numbers import is_constant
from scgroove._types import BoolArray, Float64Array, IntArray
from scgroove.data import (
    check_modalities,
    encode_labels,
    known_partners,
    label_keys,
    labels_by_modality,
    profile,
)
from scgroove.data.checks import row_blocks
from scgroove.data.features import columns_of
from scgroove.data.labels import warn_of_labels
from scgroove.data.measured import Measured
from scgroove.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

FloatMatrix = NDArray[np.float32]


def check_cells(mdata: MuData, modalities: Iterable[str]) -> None:
    """Refuse modalities without cells."""
    empty = [m for m in modalities if mdata.mod[m].n_obs == 0]
    if empty:
        raise InputError(
            f"modality {', '.join(map(repr, empty))} has no cells: did a filter leave none, or was another subset meant?"
        )


@dataclass(frozen=True)
class Screen:
    """A MuData as learners see it.

    Attributes
    ----------
    mdata
        The data; never changed.
    modalities
        Names of the modalities in use.
    label_keys
        Column of the label in each modality.
    labels
        For each modality (n_m,): the label of each cell as a string, None where it has none.
    vocabulary
        The labels of two modalities or more, sorted.
    codes
        For each modality (n_m,): position in ``vocabulary``, -1 for cells without a label or of an exclusive one.
    """

    mdata: MuData
    modalities: tuple[str, ...]
    label_keys: Mapping[str, str]
    labels: Mapping[str, NDArray[Any]]
    vocabulary: tuple[str, ...]
    codes: Mapping[str, IntArray]

    @classmethod
    def read(
        cls,
        mdata: MuData,
        label_key: str | Mapping[str, str] = "label",
        modalities: Sequence[str] | None = None,
        unlabeled_category: UnlabeledCategory = None,
    ) -> Self:
        """Read the labels of a MuData.

        Raises
        ------
        TypeError, KeyError, ValueError
            If it is no MuData, a modality or column is missing or has no cell, or no label is in two modalities.
        """
        names = check_modalities(mdata, modalities)
        check_cells(mdata, names)
        keys = label_keys(mdata, label_key, names)
        labels = labels_by_modality(mdata, keys, names, unlabeled_category)
        warn_of_labels(labels, keys)
        found = [{label for label in labels[m] if label is not None} for m in names]
        every = set().union(*found)
        vocabulary = tuple(
            sorted(label for label in every if sum(label in one for one in found) > 1)
        )
        if not vocabulary:
            raise InputError(
                f"no label is in two modalities, so nothing links them: found {[sorted(one)[:5] for one in found]} in "
                f"{names}. Labels are compared by name; is label_key={label_key!r} the right column?"
            )
        codes = {m: encode_labels(labels[m], vocabulary).astype(np.intp) for m in names}
        return cls(mdata, tuple(names), keys, labels, vocabulary, codes)

    @property
    def n_labels(self) -> int:
        """Number of shared labels."""
        return len(self.vocabulary)

    def n_cells(self, modality: str) -> int:
        """Number of cells of a modality."""
        return int(self.mdata.mod[modality].n_obs)

    def features(self) -> dict[str, Features]:
        """Return, for each modality, how its features are brought on one footing, fitted on all of its cells."""
        return {m: Features.fit(self.mdata.mod[m], m) for m in self.modalities}

    def partners(self, source: str, target: str) -> IntArray:
        """Return the target row of the same cell for each source row, -1 where none is known, (n_source,)."""
        labels = self.labels[source], self.labels[target]
        partner, _ = known_partners(self.mdata, source, target, labels=labels)
        return np.full(self.n_cells(source), -1, dtype=np.intp) if partner is None else partner


@dataclass(frozen=True)
class Features:
    """Counts are normalized to the median library size and logged; then every feature is standardized.

    Counts of a panel are logged as they are (:attr:`scgroove.data.DataProfile.size_factors`). Values that were not measured,
    by the record that set-up left with the data, do not count and become 0, the mean.

    Attributes
    ----------
    modality
        Its name, for messages.
    names
        Names of the features, (d,).
    counts
        Whether the values are counts (whole numbers of at least 0 and above 1).
    library
        Median total count of a cell; None for other values and for panels, whose cells have no size factor.
    mean, scale
        Of the training cells, (d,); features without variance have scale 1.
    shares
        Of the features in the total of a cell, (d,), where batches did not measure some; else None.
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

    def __call__(self, adata: AnnData) -> FloatMatrix:
        """Return the features of cells, float32 (n, d).

        Raises
        ------
        ValueError
            If a feature of the training data is missing, or its name stands twice. Others do no harm, nor does the order.
        """
        columns = columns_of(
            adata.var_names,
            self.names,
            modality=self.modality,
            remedy="The learner needs all features that it was fitted on, in any order: pass the unfiltered data, or fit it anew.",
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


def labeled(codes: IntArray) -> BoolArray:
    """Return which cells have a shared label, (n,)."""
    known: BoolArray = codes >= 0
    return known

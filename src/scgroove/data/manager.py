"""One modality of a registered MuData, as the loaders of scvi-tools expect it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import rich.pretty  # noqa: F401  (scvi-tools 1.4.2 uses it without importing it)
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy.sparse import issparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnTorchDataset
from torch.utils.data import Subset

from .._numbers import canonical
from ..errors import InputTypeError
from .disk import SPAN_BYTES, Window, bytes_of_row, on_disk, read_rows
from .features import columns_of

X = REGISTRY_KEYS.X_KEY
FIELDS, LOCATION = "field_registries", "data_registry"
SUPPORTED = (np.ndarray, pd.DataFrame, h5py.Dataset, CSRDataset, CSCDataset)


class ModalityManager(AnnDataManager):  # type: ignore[misc]
    """Read-only view of one modality of a MuData manager, with the keys X, batch and labels.

    Parameters
    ----------
    parent
        The registered manager of the MuData.
    modality
        The modality to show.
    """

    def __init__(self, parent: AnnDataManager, modality: str) -> None:
        super().__init__()
        self.parent, self.modality, self.adata = parent, modality, parent.adata.mod[modality]
        present = {
            f.registry_key
            for f in parent.fields
            if f.mod_key == modality and not f.absent(parent.adata)
        }
        # the one private name of scvi-tools that is set: there is no public way to make a view
        self._registry = {k: v for k, v in parent.registry.items() if k != FIELDS}
        fields: dict[str, Any] = {}
        for key, state in parent.registry[FIELDS].items():
            if key in present:
                location = {k: v for k, v in state[LOCATION].items() if k != "mod_key"}
                fields[key.removesuffix(f"_{modality}")] = {**state, LOCATION: location}
        self._registry[FIELDS] = fields
        self.columns = self._columns()

    def _columns(self) -> NDArray[np.intp] | None:
        """Where the features of the model stand. None if they are all there is, in this order."""
        names = self._registry[FIELDS][X]["state_registry"]["column_names"]
        return columns_of(self.adata.var_names, names, modality=self.modality)

    def create_torch_dataset(
        self,
        indices: Sequence[int] | None = None,
        data_and_attributes: Any = None,
        load_sparse_tensor: bool = False,
    ) -> Any:
        """Dataset over the cells of the modality. A :class:`ModalityDataset`, or rows of one."""
        dataset = ModalityDataset(self, data_and_attributes, load_sparse_tensor)
        return dataset if indices is None else Subset(dataset, indices)

    def register_fields(self, *args: Any, **kwargs: Any) -> None:
        """Not for a view."""
        raise NotImplementedError("This is a view of one modality; register the MuData instead.")

    def validate(self) -> None:
        """Validate the registration of the MuData."""
        self.parent.validate()


class ModalityDataset(AnnTorchDataset):  # type: ignore[misc]
    """Rows of one modality in the order asked for, dense per batch only. Features of the model."""

    def __init__(self, manager: ModalityManager, *args: Any, **kwargs: Any) -> None:
        super().__init__(manager, *args, **kwargs)
        self.columns = manager.columns
        if X in self.data and not on_disk(self.data[X]) and not hasattr(self.data[X], "iloc"):
            self.data[X] = canonical(self.data[X])
        for key, value in self.data.items():
            if not (isinstance(value, SUPPORTED) or issparse(value) or hasattr(value, "compute")):
                raise InputTypeError(
                    f"'{key}' is a {type(value).__name__}, expected a NumPy array, a SciPy sparse "
                    "matrix, a dask array, or a backed .h5mu/.h5ad. Load it into memory first: "
                    "adata = adata.to_memory()."
                )

    def __getstate__(self) -> dict[str, Any]:
        # spawned workers get the arrays only: a MuData cannot be pickled
        adata = self.adata_manager.adata
        small = SimpleNamespace(isbacked=adata.isbacked, shape=adata.shape)
        return {**self.__dict__, "adata_manager": SimpleNamespace(adata=small)}

    def __getitem__(self, rows: Any) -> dict[str, np.ndarray[Any, Any]]:
        if X in self.keys_and_dtypes and on_disk(self.data[X]):
            wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else np.atleast_1d(rows)
            unique, inverse = np.unique(wanted, return_inverse=True)
            found = read_rows(self.data[X], unique)
            return self.with_values(
                wanted, (found.toarray() if issparse(found) else found)[inverse]
            )
        got = {k: v.toarray() if issparse(v) else v for k, v in super().__getitem__(rows).items()}
        if self.columns is not None and X in got:
            got[X] = got[X][..., self.columns]
        return got

    def values(self, rows: NDArray[np.int64]) -> Any:
        """Values of increasing rows as they are stored, sparse or dense. Features of the model."""
        x = self.data[X]
        if on_disk(x):
            found = read_rows(x, rows)
        else:
            found = x.iloc[rows].to_numpy() if hasattr(x, "iloc") else x[rows]
        return found if self.columns is None else found[:, self.columns]

    def blocks(self, rows: NDArray[np.int64], n: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """``self[rows]``, n rows at a time. What is on disk is read many blocks at a time."""
        x = self.data[X]
        if not on_disk(x):
            yield from (self[rows[i : i + n]] for i in range(0, len(rows), n))
            return
        span = max(1, int(SPAN_BYTES / bytes_of_row(x)) // n) * n
        for start in range(0, len(rows), span):
            part = rows[start : start + span]
            window = Window(np.unique(part), read_rows(x, np.unique(part)))
            for i in range(0, len(part), n):
                yield self.with_values(part[i : i + n], window.take(part[i : i + n]))

    def with_values(
        self, rows: NDArray[np.int64], values: NDArray[Any]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return ``self[rows]``, with dense values (len(rows), d) that were read before."""
        got = {}
        for key, dtype in self.keys_and_dtypes.items():
            data = self.data[key]
            if key == X:
                part = values
            else:
                part = data.iloc[rows].to_numpy() if hasattr(data, "iloc") else data[rows]
            got[key] = part.astype(dtype, copy=False)
        if self.columns is not None:
            got[X] = got[X][..., self.columns]
        return got

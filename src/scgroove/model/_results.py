"""Results of a trained GROOVE: latent coordinates, translations, errors, label accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from .._validate import checked
from .._warnings import warn
from ..data import ModalityManager
from ..data.fields import VOCABULARY
from ..data.manager import FIELDS
from ..errors import InputError, UnknownNameError
from ..losses import negative_log_likelihood, similarity
from ..losses.similarities import Similarity
from ..module import LIKELIHOODS
from ..module.groove import MEASURED
from ._query import check_batches, measured_in_query
from ._registered import Registered
from ._setup import restored_on_error

X, BATCH, LABELS = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY
CELLS_AT_A_TIME = 1024
"""For results, which do not depend on it."""


@checked
class Results(Registered):
    """The methods of :class:`GROOVE` that ask a trained model."""

    similarity: Similarity

    @torch.inference_mode()
    def get_latent_representation(
        self,
        mdata: MuData | AnnData | None = None,
        modality: str | None = None,
        *,
        indices: Sequence[int] | NDArray[Any] | None = None,
        batch_size: int | None = None,
    ) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
        """Latent coordinates of cells, in the order of the modality's cells.

        Under the cosine similarity (the default) rows have length one: Euclidean neighbors are
        cosine neighbors.

        Parameters
        ----------
        mdata
            The model's own data if None, else a MuData with some or all of the modalities, or an
            AnnData of ``modality``. Labels are not needed, and features are found by name.
        modality
            The modality to encode. All that the data have if None.
        indices
            Rows of ``modality`` to encode, in this order.
        batch_size
            Cells at a time. 1,024 by default.

        Returns
        -------
        Float32 array of shape (n, n_latent), or one for each modality if ``modality`` is None.

        Raises
        ------
        ValueError
            ``indices`` without ``modality``, or new data that lack features, or are of a batch
            unknown to encoders that see it.
        KeyError
            The model or the data have no such modality.

        Warns
        -----
        UserWarning
            Cells are of a batch that the model does not know, and its encoders do not see the
            batch.
        """
        if modality is None:
            _check_names_no_rows(indices)
            one: Any = self.get_latent_representation
            return {m: one(mdata, m, batch_size=batch_size) for m in self.present_in(mdata)}

        def encode(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
            latent: torch.Tensor = self.module.inference({modality: tensors})["z"][modality]
            return latent

        return self._map(encode, mdata, modality, indices, batch_size)

    @torch.inference_mode()
    def translate(
        self,
        source: str,
        target: str,
        mdata: MuData | AnnData | None = None,
        *,
        indices: Sequence[int] | NDArray[Any] | None = None,
        batch_size: int | None = None,
        library_size: float | Literal["median"] = "median",
        target_batch: str | None = None,
        return_dataframe: bool = False,
    ) -> NDArray[np.float32] | pd.DataFrame:
        r"""Expected measurements in ``target`` of source cells: :math:`E[p_t(x | d_t(e_s(x)))]`.

        Works for any cells of ``source``: of labels never seen in ``target``, and without a label.

        Parameters
        ----------
        source, target
            Modality of the cells, and modality to predict. Equal ones reconstruct.
        mdata
            The model's own data if None, else a MuData that has ``source``, or an AnnData of it.
        indices
            Rows of ``source`` to translate, in this order.
        batch_size
            Cells at a time. 1,024 by default.
        library_size
            Total counts of the predicted cells where the target is counts. By default the median of
            its training cells.
        target_batch
            Predict as if measured in this batch of the target. By default the mean over its
            batches, weighted by their cells. Features that a batch did not measure are those of
            the others.
        return_dataframe
            Return a DataFrame with cell and feature names.

        Returns
        -------
        Float32 array of shape (n, d_target) in the units of the target, or a DataFrame.

        Raises
        ------
        KeyError
            An unknown modality or batch.
        ValueError
            New data that do not fit the model.
        """
        self._check_modality(target)
        if library_size != "median" and not LIKELIHOODS[self.likelihood[target]].library:
            raise InputError(
                f"library_size={library_size!r}: '{target}' has the likelihood "
                f"'{self.likelihood[target]}', which knows no library sizes. Leave library_size "
                "out."
            )
        weights = self._batch_weights(target, target_batch)
        library: torch.Tensor | None = None
        if library_size != "median":
            library = torch.full((1, 1), float(library_size), device=self.device)

        def expected(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
            z: torch.Tensor = self.module.inference({source: tensors})["z"][source]
            mean = z.new_zeros(())
            for code, share in weights:
                batch = z.new_full((len(z),), code, dtype=torch.long)
                mean = mean + share.to(z.device) * self.module.expected(target, z, batch, library)
            return mean

        values = self._map(expected, mdata, source, indices, batch_size)
        if not return_dataframe:
            return values
        cells = self.adata.mod[source] if mdata is None else mdata
        names = (cells if isinstance(cells, AnnData) else cells.mod[source]).obs_names
        return pd.DataFrame(
            values,
            index=names if indices is None else names[indices],
            columns=self.get_var_names()[target],
        )

    @torch.inference_mode()
    def get_reconstruction_error(
        self,
        mdata: MuData | AnnData | None = None,
        modality: str | None = None,
        *,
        indices: Sequence[int] | NDArray[Any] | None = None,
        batch_size: int | None = None,
    ) -> dict[str, float]:
        """Mean negative log-likelihood per cell and feature of each modality. Lower is better.

        Parameters
        ----------
        mdata, modality, indices, batch_size
            As in :meth:`get_latent_representation`.

        Returns
        -------
        Modality -> nats per feature and cell.
        """
        if modality is None:
            _check_names_no_rows(indices)
        chosen = self.present_in(mdata) if modality is None else [modality]
        errors = {}
        for m in chosen:

            def error(tensors: dict[str, torch.Tensor], m: str = m) -> torch.Tensor:
                _, found = self.module({m: tensors}, compute_loss=False)
                on_device = {k: t.to(self.device) for k, t in tensors.items()}
                measured = self.module.measured(m, on_device)
                return negative_log_likelihood(found["px"][m], on_device[X], measured)

            errors[m] = float(self._map(error, mdata, m, indices, batch_size).mean())
        return errors

    def get_units(self, modality: str) -> dict[str, Any]:
        """Units of the expected values of a modality.

        Returns
        -------
        ``layer``: the layer that the model was trained on, or ``"X"``. Where the likelihood has
        library sizes, ``library_size``: the total at which counts are expected, the median of the
        training cells.
        """
        self._check_modality(modality)
        units: dict[str, Any] = {"layer": self._layer_of(modality) or "X"}
        if LIKELIHOODS[self.likelihood[modality]].library:
            units["library_size"] = float(self.module.encoder_of(modality).transform.median_library)
        return units

    def get_cross_modal_label_accuracy(
        self,
        mdata: MuData | None = None,
        *,
        held_out: bool = True,
        n_neighbors: int = 15,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        """Accuracy of labels that the nearest cells of another modality give to each cell.

        Only shared labels take part. Votes are weighted so that abundant labels do not win by
        number.

        Parameters
        ----------
        mdata
            The model's own data if None, else a MuData with labels in two modalities or more, all
            of whose cells are scored.
        held_out
            Of the model's own data, score the cells kept out of training, by the votes of the cells
            trained on. False: score all cells by all others, which is high on noise too.
        n_neighbors
            Nearest cells of the other modality that vote.
        batch_size
            Cells at a time. 1,024 by default.

        Returns
        -------
        DataFrame with one row for each ordered pair of modalities: ``source``, ``target``,
        ``accuracy``, ``balanced_accuracy`` (mean over labels), ``chance`` (of the balanced
        accuracy: one over the number of labels), ``n_labels``, ``n_cells`` (cells scored).

        Raises
        ------
        ValueError
            No two modalities of the data share a label.

        Warns
        -----
        UserWarning
            No cells were kept out of training, so that all are scored.

        See Also
        --------
        scgroove.metrics.label_test : whether an accuracy is better than chance.
        """
        latent = self.get_latent_representation(mdata, batch_size=batch_size)
        assert isinstance(latent, dict)
        codes = {m: self._manager_of(mdata, m).get_from_registry(LABELS).ravel() for m in latent}
        own = held_out and (mdata is None or mdata is self.adata)
        kept = self._kept_out(latent) if own else None
        rows = []
        for source, target in permutations(latent, 2):
            shared = np.intersect1d(codes[source], codes[target])
            shared = shared[shared >= 0]
            asked, votes = (np.isin(codes[m], shared) for m in (source, target))
            if kept is not None:
                asked, votes = asked & kept[source], votes & ~kept[target]
            truth = codes[source][asked]
            if not truth.size or not votes.any():
                continue
            x, y = latent[source][asked], latent[target][votes]
            hit = self._vote(x, y, codes[target][votes], n_neighbors) == truth
            row = {"source": source, "target": target, "accuracy": float(hit.mean())}
            row["balanced_accuracy"] = float(pd.Series(hit).groupby(truth).mean().mean())
            row |= {"chance": 1 / len(shared), "n_labels": len(shared), "n_cells": len(truth)}
            rows.append(row)
        if not rows:
            raise InputError(
                f"No two of the modalities {list(latent)} of these data share a label."
            )
        return pd.DataFrame(rows)

    def _kept_out(self, latent: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]] | None:
        """Cells of the own data that were not trained on. None, and a warning, if all were."""
        kept = {}
        for m, z in latent.items():
            kept[m] = np.zeros(len(z), dtype=bool)
            for part in (self.validation_indices, self.test_indices):
                kept[m][np.asarray((part or {}).get(m, []), dtype=np.intp)] = True
        if all(one.any() for one in kept.values()):
            return kept
        warn(
            "No cells were kept out of training, so that the accuracy is that of cells whose "
            "labels the model has seen: it is high on noise too. Train with train_size=0.9, or "
            "say held_out=False."
        )
        return None

    def _vote(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        codes: NDArray[np.int64],
        n_neighbors: int,
    ) -> NDArray[np.int64]:
        labels, code, counts = np.unique(codes, return_inverse=True, return_counts=True)
        weights = torch.as_tensor(1.0 / counts, dtype=torch.float32)
        code_t, y_t = torch.as_tensor(code), torch.as_tensor(y)
        k = min(n_neighbors, len(y))
        found = []
        for start in range(0, len(x), 1024):
            block = torch.as_tensor(x[start : start + 1024])
            nearest = code_t[similarity(block, y_t, self.similarity).topk(k, dim=1).indices]
            votes = torch.zeros(len(block), len(labels)).scatter_add_(1, nearest, weights[nearest])
            found.append(labels[votes.argmax(dim=1).numpy()])
        return np.concatenate(found)

    def _batch_weights(self, modality: str, batch: str | None) -> list[tuple[int, torch.Tensor]]:
        """Batches to decode to, and their weights, (1,) or, where some lack features, (d,)."""
        shares = self.module.batch_proportions_of(modality).cpu()[:, None]
        mask = self.module.mask_of(modality)
        weights = shares if mask is None else _measured_shares(shares, mask.cpu())
        if batch is not None:
            known = [str(c) for c in self._state(BATCH, modality)[VOCABULARY]]
            if batch not in known:
                raise UnknownNameError(
                    f"Unknown batch '{batch}' of '{modality}'. Expected one of {known}."
                )
            own = F.one_hot(torch.tensor(known.index(batch)), len(known)).float()[:, None]
            weights = (
                own if mask is None else torch.where(mask.cpu()[known.index(batch)], own, weights)
            )
        return [(code, one) for code, one in enumerate(weights) if one.any()]

    def _query(
        self,
        data: MuData | AnnData | None,
        modality: str,
        indices: Sequence[int] | NDArray[Any] | None,
    ) -> tuple[ModalityManager, NDArray[np.int64]]:
        """Cells to apply the networks to, and their rows. Refused data stay as they were."""
        attached = self._adata, self._adata_manager  # type: ignore[has-type]
        batch_key = self._batch_keys().get(modality)
        try:
            with restored_on_error(data):
                manager = self._manager_of(data, modality)
                rows = _rows(indices, manager.adata.n_obs, modality)
                check_batches(manager, modality, self.module, batch_key)
                state = manager.registry[FIELDS][X]["state_registry"]
                self._check_units(manager.adata, modality, manager.columns, state=state, rows=rows)
        except BaseException:
            self._adata, self._adata_manager = attached
            raise
        return manager, rows

    def _map(
        self,
        function: Any,
        data: MuData | AnnData | None,
        modality: str,
        indices: Sequence[int] | NDArray[Any] | None,
        batch_size: int | None,
    ) -> NDArray[np.float32]:
        """Apply a function of tensors to the cells of a modality, block by block: (n, ...)."""
        self._check_has_weights()
        manager, rows = self._query(data, modality, indices)
        dataset = manager.create_torch_dataset(data_and_attributes=[X, BATCH])
        own = self.adata is not None and manager.adata is self.adata.mod.get(modality)
        measured = None
        if not own:
            layer, batch_key = self._layer_of(modality), self._batch_keys()[modality]
            state = self._state(X, modality)
            measured = measured_in_query(manager.adata, modality, layer, batch_key, state)
        self.module.eval()
        found: NDArray[np.float32] | None = None
        done = 0
        for block in dataset.blocks(rows, batch_size or CELLS_AT_A_TIME):
            tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in block.items()}
            if measured is not None:
                of_block = measured.rows(rows[done : done + len(tensors[X])])
                tensors[MEASURED] = torch.from_numpy(of_block)
            values = function(tensors).float().cpu().numpy()
            if not np.isfinite(values).all():
                raise InputError(
                    f"The model gives NaN or infinite values for cells of modality '{modality}': "
                    "its matrix of values holds some, or values far outside those of the training "
                    "cells. Expected finite numbers in the units of the training data; find them "
                    "with np.isfinite, and impute them or drop those cells."
                )
            if found is None:
                # preallocated: concatenating pieces fragments memory
                found = np.empty((len(rows), *values.shape[1:]), dtype=np.float32)
            found[done : done + len(values)] = values
            done += len(values)
        assert found is not None  # there are rows: see _rows
        return found


def _measured_shares(shares: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Shares (n_batch, 1) among the batches that measured a feature, (n_batch, d).

    All alike if none of these has cells, and the shares of all if no batch measured it.
    """
    of_measured = shares * mask
    some = of_measured.sum(dim=0) > 0
    of_measured = torch.where(some, of_measured, mask.float())
    of_measured = torch.where(mask.any(dim=0), of_measured, shares.expand_as(of_measured))
    return of_measured / of_measured.sum(dim=0).clamp_min(1e-12)


def _check_names_no_rows(indices: Any) -> None:
    if indices is not None:
        raise InputError("indices are rows of one modality: name it, modality='...'.")


def _rows(indices: Sequence[int] | NDArray[Any] | None, n: int, modality: str) -> NDArray[np.int64]:
    if indices is None:
        return np.arange(n)
    rows = np.asarray(indices)
    rows = np.flatnonzero(rows) if rows.dtype == bool and len(rows) == n else rows.astype(np.int64)
    if not len(rows) or rows.min() < 0 or rows.max() >= n:
        raise InputError(
            f"indices must name rows 0 to {n - 1} of modality '{modality}'; found {len(rows)} of "
            "them" + (f", from {rows.min()} to {rows.max()}." if len(rows) else ".")
        )
    return rows

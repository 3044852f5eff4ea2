"""Label tower: latent coordinates of labels from embeddings of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._labels import label_name
from ..errors import InputError
from ._groupclip import TEMPERATURE
from ._terms import Networks, ScreenInfo, Term, TermBatch
from .distributed import total, world_size

LabelEmbeddings: TypeAlias = pd.DataFrame | Mapping[str, Sequence[float]]
WIDTH: Final = 64
NOISE: Final = 0.05
"""Noise of standardized embeddings in training, because labels are few."""


class LabelTower(Term):
    r"""Contrast of cells with a network of the embedding of their label.

    .. math:: t_g = \frac{f(E_g)}{\lVert f(E_g) \rVert}, \qquad
        l_i = -\log \frac{e^{\cos(z_i, t_{y_i}) / \tau}}{\sum_{g \in G_m} e^{\cos(z_i, t_g) / \tau}}

    :math:`G_m` are the labels that modality m has. No label has to be in two modalities: they
    share f. Use it beside
    :class:`GroupCLIP`. :meth:`predict` places labels that were never measured.

    Parameters
    ----------
    embeddings
        A DataFrame with labels as index, or ``{label: vector}``. Other labels in the table do no
        harm.
    weight, warmup
        See :class:`Term`.
    temperature
        :math:`\tau`.

    References
    ----------
    Lu et al. 2025 (CellCLIP), arXiv 2506.06290, contrasts measurements with embeddings of
    perturbations.
    """

    name = "label_tower"
    embeddings: Tensor
    present: Tensor
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        embeddings: LabelEmbeddings,
        weight: float = 1.0,
        *,
        temperature: float = TEMPERATURE,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(weight, warmup=warmup)
        self.table, self.temperature = embeddings, temperature
        self.labels: list[str] = []

    def setup(self, networks: Networks, info: ScreenInfo) -> None:
        """Read the embeddings of all labels, and make the network."""
        self.labels = list(info.labels)
        embeddings = torch.tensor(embedding_matrix(self.table, info.labels), dtype=torch.float32)
        self.register_buffer("embeddings", embeddings)
        self.register_buffer("present", info.present.bool())
        self.register_buffer("center", embeddings.mean(0))
        self.register_buffer("scale", embeddings.std(0, correction=0).clamp_min(1e-6))
        hidden = nn.Linear(embeddings.shape[1], WIDTH)
        self.net = nn.Sequential(
            hidden, nn.LayerNorm(WIDTH), nn.ReLU(), nn.Linear(WIDTH, networks.n_latent)
        )

    def update(self, info: ScreenInfo) -> None:
        """Add the labels that other data have in each modality."""
        self.present |= info.present.to(self.present.device)

    def adapted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep the embeddings of the trained term, and add those of new labels."""
        n_known = len(state["embeddings"])
        embeddings, present = self.embeddings.clone(), self.present.clone()
        embeddings[:n_known] = state["embeddings"]
        present[:, :n_known] |= state["present"].to(present.device)
        return {**state, "embeddings": embeddings, "present": present}

    def forward(self, batch: TermBatch) -> Tensor:
        """Return the weighted mean over labeled cells, then the mean over modalities."""
        labels, terms = self.place(self.embeddings), []
        for m, z in batch.z.items():
            known = batch.codes[m] >= 0
            own = batch.codes[m][known]
            weight = torch.ones_like(own, dtype=torch.float32)
            if batch.weights is not None:
                weight = batch.weights[m][known]
            n = total(weight.sum())
            if n:
                logits = F.normalize(z[known].float(), dim=1) @ labels.T / self.temperature
                absent = ~self.present[batch.networks.modalities.index(m)]
                losses = F.cross_entropy(
                    logits.masked_fill(absent, -torch.inf), own, reduction="none"
                )
                terms.append(world_size() * (weight @ losses) / n)
        return torch.stack(terms).mean() if terms else labels.sum() * 0.0

    def place(self, embeddings: Tensor) -> Tensor:
        """Return latent coordinates (n, k), of length one, of embeddings (n, d)."""
        h = (embeddings - self.center) / self.scale
        if self.training:
            h = h + NOISE * torch.randn_like(h)
        return F.normalize(self.net(h), dim=1)

    @torch.inference_mode()
    def predict(self, embeddings: LabelEmbeddings | None = None) -> pd.DataFrame:
        """Return latent coordinates of labels, also of labels that were never measured.

        Parameters
        ----------
        embeddings
            Embeddings of labels, in the units of those that the term was given. Those of the labels
            of the model if None.

        Returns
        -------
        DataFrame, one row of length one for each label, and n_latent columns.

        Raises
        ------
        ValueError
            Embeddings are of another length, or not finite.
        """
        names, values = self.labels, self.embeddings
        if embeddings is not None:
            names = [label for label, _ in rows_by_label(embeddings)]
            values = torch.tensor(embedding_matrix(embeddings, names), dtype=torch.float32)
        width = self.embeddings.shape[1]
        if values.shape[1] != width:
            raise InputError(
                f"Embeddings of labels have {width} values in this model; "
                f"found shape {tuple(values.shape)}."
            )
        was_training = self.training
        self.eval()
        places = self.place(values.to(self.embeddings.device)).float().cpu().numpy()
        self.train(was_training)
        return pd.DataFrame(places, index=pd.Index(names, name="label"))


def rows_by_label(table: LabelEmbeddings) -> list[tuple[str, Any]]:
    """Return names of labels and their embeddings, in the order of the table."""
    rows: Iterable[tuple[Any, Any]] = table.items()
    if isinstance(table, pd.DataFrame):
        rows = zip(table.index, table.to_numpy(), strict=True)
    return [(label_name(label), row) for label, row in rows]


def embedding_matrix(table: LabelEmbeddings, labels: Sequence[str]) -> list[list[float]]:
    """Return the embeddings of labels, in their order.

    Raises
    ------
    ValueError
        Labels have no embedding or more than one, or embeddings are not finite numbers or of
        different lengths.
    """
    every = rows_by_label(table)
    rows = [(label, row) for label, row in every if label in set(labels)]
    counts = Counter(label for label, _ in rows)
    if twice := sorted(label for label, n in counts.items() if n > 1):
        raise InputError(
            f"The embeddings have labels more than once: {twice[:5]}. Keep one of each, or their "
            "mean: table.groupby(level=0).mean()."
        )
    if missing := [label for label in labels if label not in counts]:
        raise InputError(
            f"The embeddings lack {len(missing)} of {len(labels)} labels: {missing[:5]}. They "
            f"have, for instance, {[label for label, _ in every[:5]]}. Are names spelled alike? "
            "Give each label of the data an embedding (a control may have zeros), or set the "
            "labels of these cells to missing."
        )
    try:
        found = {label: np.asarray(row, dtype=float) for label, row in rows}
    except (TypeError, ValueError):
        raise InputError(
            "The embeddings must hold numbers only. Labels belong into the index: "
            "table.set_index(...)."
        ) from None
    widths = {len(row) if row.ndim == 1 else -1 for row in found.values()}
    is_finite = all(np.isfinite(row).all() for row in found.values())
    if len(widths) != 1 or min(widths) < 1 or not is_finite:
        raise InputError(
            "The embeddings must hold finite numbers, as many for each label; found lengths "
            f"{sorted(widths)} or missing values. Fill them in: table.fillna(table.mean())."
        )
    return [found[label].tolist() for label in labels]

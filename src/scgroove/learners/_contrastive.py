"""Contrastive learners beside GROOVE: supervised contrastive learning, and CLIP on pseudo and true pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from scgroove._types import IntArray
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._base import LEARNERS
from scgroove.learners.training import Cells, Encoders, GroupBatches, Objective, Rows, TorchLearner
from scgroove.losses import Similarity, clip_loss, supcon_loss


@dataclass
class _Contrastive(TorchLearner):
    """Encoders of GROOVE trained by a contrastive loss alone; parameters as in :class:`TorchLearner`.

    Parameters
    ----------
    temperature, similarity
        See :func:`scgroove.losses.group_clip_anchors`.
    """

    temperature: float = 0.2
    similarity: Similarity = "cosine"

    def _networks(self, n_features: Mapping[str, int], n_labels: int) -> Encoders:
        return Encoders(
            n_features,
            self.n_latent,
            encoder=self.encoder,
            hidden=self.hidden,
            dropout=self.dropout,
            spherical=self.similarity == "cosine",
        )

    @property
    def _loss_options(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "kind": self.similarity}


@LEARNERS.register("supcon")
@dataclass
class SupCon(_Contrastive):
    """Supervised contrastive learning on the cells of all modalities together.

    ``-mean_p log( exp(s_ip / tau) / sum_a exp(s_ia / tau) )`` over the positives p of anchor i, which are all cells of its label
    in whatever modality, the sum outside the logarithm; parameters as in :class:`CLIPPseudo`.

    References
    ----------
    Khosla et al. 2020, arXiv 2004.11362, equation 2.
    """

    name: ClassVar[str] = "supcon"

    def _objective(self, networks: Encoders, cells: Cells, screen: Screen, steps: int) -> Objective:
        options = self._loss_options

        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            z = networks(x, codes)
            return supcon_loss(
                torch.cat(list(z.values())), torch.cat(list(codes.values())), **options
            )

        return loss


@LEARNERS.register("clip_pseudo")
@dataclass
class CLIPPseudo(_Contrastive):
    """CLIP on random pairs of cells of the same label, drawn anew in each step: the strong CLIP for weak pairs.

    Other cells of the label count as negatives, which is what GroupCLIP does away with.

    Parameters
    ----------
    n_latent
        Dimension k of the representation.
    encoder
        ``"linear"`` or ``"mlp"``.
    hidden
        Widths of the hidden layers of an MLP.
    dropout
        On the input of a linear encoder; after each hidden layer of an MLP.
    batch_size, n_labels_per_batch, n_cells_per_label
        A step draws P labels and K cells of each from every modality; by default all labels as long as each can have
        8 cells, and about 256 cells of a modality.
    max_epochs
        Default: as many as GROOVE, some 3,000 steps between 10 and 150 epochs.
    lr, weight_decay
        Of AdamW with a one-cycle learning rate.
    device
        ``"cpu"``, or ``"auto"``: CUDA if there is one; ``"cuda"``, ``"mps"``.
    temperature, similarity
        Of :func:`scgroove.losses.clip_loss`.

    References
    ----------
    Radford et al. 2021, arXiv 2103.00020.
    """

    name: ClassVar[str] = "clip_pseudo"

    def _objective(self, networks: Encoders, cells: Cells, screen: Screen, steps: int) -> Objective:
        options = self._loss_options

        def loss(rows: Rows) -> Tensor:
            x, codes = cells.take(rows)
            z = networks(x, codes)
            terms = []
            for a, b in combinations(z, 2):
                i, j = same_label_pairs(codes[a], codes[b])
                if len(i):
                    terms.append(clip_loss(z[a][i], z[b][j], **options))
            return torch.stack(terms).mean()

        return loss


def same_label_pairs(codes_a: Tensor, codes_b: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of a batch that make random pairs of the same label, each row once.

    A batch has the labels in one order in all modalities, and K cells of each in random order: what is left after the
    labels that only one of the two has is pairs.
    """
    return torch.isin(codes_a, codes_b).nonzero()[:, 0], torch.isin(codes_b, codes_a).nonzero()[
        :, 0
    ]


@LEARNERS.register("clip_oracle")
@dataclass
class CLIPOracle(_Contrastive):
    """CLIP on the true pairs of cells: a ceiling of contrastive learning, and no method; parameters as in :class:`CLIPPseudo`.

    Cells that were fitted have been seen with their answer. With linear encoders this is mild; an MLP learns the pairs by
    heart, and scores next to perfect on them whatever is shared.

    References
    ----------
    Radford et al. 2021, arXiv 2103.00020.
    """

    name: ClassVar[str] = "clip_oracle"
    uses_pairs: ClassVar[bool] = True

    temperature: float = 0.1

    def _batches(self, screen: Screen, seed: int) -> GroupBatches:
        rows = paired_rows(screen)
        codes = screen.codes
        seen = [set(codes[m][r][codes[m][r] >= 0]) for m, r in rows.items()]
        if not any(
            a & b for a, b in combinations(seen, 2)
        ):  # pairs without labels are pairs all the same
            codes = {m: np.zeros_like(c) for m, c in codes.items()}
        return self._group_batches(codes, seed, rows=rows, free_fraction=0.25)

    def _objective(self, networks: Encoders, cells: Cells, screen: Screen, steps: int) -> Objective:
        options = self._loss_options
        partners = {(a, b): screen.partners(a, b) for a, b in permutations(screen.modalities, 2)}

        def loss(rows: Rows) -> Tensor:
            terms = []
            for a, b in combinations(rows, 2):
                i = np.union1d(rows[a], partners[b, a][rows[b]])  # -1: no partner
                i = i[(i >= 0) & (partners[a, b][i] >= 0)]
                if len(i):
                    x, codes = cells.take({a: i, b: partners[a, b][i]})
                    z = networks(x, codes)
                    terms.append(clip_loss(z[a], z[b], **options))
            return torch.stack(terms).mean()

        return loss


def paired_rows(screen: Screen) -> dict[str, IntArray]:
    """Return the cells of each modality whose partner in another is known.

    Raises
    ------
    ValueError
        If there is none.
    """
    rows = {m: np.zeros(screen.n_cells(m), dtype=bool) for m in screen.modalities}
    for a, b in combinations(screen.modalities, 2):
        partner = screen.partners(a, b)
        rows[a] |= partner >= 0
        rows[b][partner[partner >= 0]] = True
    if not any(known.any() for known in rows.values()):
        raise InputError(
            f"learner 'clip_oracle' needs true pairs, and none is known: no two of {list(screen.modalities)} have equal cell "
            f"names or obs['pair_id']. It is a ceiling for co-assayed data; for others take 'clip_pseudo'."
        )
    return {m: np.flatnonzero(known) for m, known in rows.items()}

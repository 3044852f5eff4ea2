"""The GROOVE module: encoders and decoders of all modalities around one latent space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import permutations
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import Tensor, nn
from torch.distributions import Distribution

from ..losses import (
    GroupCLIPLoss,
    PrototypeBank,
    back_translation,
    certainty,
    cross_correlation,
    joint_concentration,
    label_refinement,
    negative_log_likelihood,
    similarity,
)
from ..losses._similarity import Positives, Similarity
from ._decoders import LIKELIHOODS, Decoder
from ._encoders import Encoder, EncoderKind, Seen
from ._tower import LabelTower

X, BATCH, LABELS = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY
EFFICACY, CODES, MEASURED = "efficacy", "codes", "measured"
"""Of a batch, where asked for: how likely a cell's perturbation worked, its label also if no other modality has it, and which of its
values were measured, if its batch does not tell."""

EfficacyMode = Literal["weight", "drop", "reassign"]
Independence = Literal["jem", "xcov"]
EFFICACY_FLOOR: Final = 1e-3
"""Least weight of a cell whose perturbation seems not to have worked: a label of nothing else is still there."""

Tensors = Mapping[str, Mapping[str, Tensor]]
"""A batch: modality -> registry key -> tensor. Modalities differ in their number of cells."""


class GROOVEModule(BaseModuleClass):  # type: ignore[misc]
    """Encoders, decoders and the objective of GROOVE.

    Parameters
    ----------
    n_features
        Number of features of each modality; its order is the order of the modalities.
    likelihood
        Likelihood of each modality, keys of :data:`scgroove.module.LIKELIHOODS`.
    batch_proportions
        For each modality, the share of its cells in each batch category (length: number of categories).
    measured
        For modalities of which some batches did not measure all features: which they did, (n_batch, d).
    n_latent
        Dimension k of the latent space.
    encoder
        ``"linear"`` or ``"mlp"``.
    hidden
        Widths of the hidden layers of encoders (``"mlp"``) and decoders.
    dropout_encoder, dropout_decoder
        Dropout rates.
    encode_batch
        Give the batch to the encoders too, not only to the decoders.
    temperature, learn_temperature, kind, positives
        Of :class:`scgroove.losses.GroupCLIPLoss`.
    n_prototypes
        Number of label codes, to contrast cells with prototypes of all labels (:class:`scgroove.losses.PrototypeBank`) and not with the
        cells of the batch; 0: none.
    n_private, private_dropout
        Coordinates of the latent that each modality has for itself, and the share of training cells decoded without them, so
        that the shared ones alone can be decoded too.
    efficacy_mode, control, n_labels
        What the efficacy of cells does, if batches have it: see :class:`scgroove.model.GROOVE`; for ``"reassign"``, code of the control label and
        number of label codes.
    agreement
        How far labels agree, shape (n_labels, n_labels); None: not at all.
    label_embeddings, labels_present
        Of :class:`LabelTower`; None: no tower.
    """

    def __init__(
        self,
        n_features: Mapping[str, int],
        likelihood: Mapping[str, str],
        batch_proportions: Mapping[str, Sequence[float]],
        *,
        measured: Mapping[str, Tensor] | None = None,
        n_latent: int,
        encoder: EncoderKind,
        hidden: Sequence[int],
        dropout_encoder: float,
        dropout_decoder: float,
        encode_batch: bool,
        temperature: float,
        learn_temperature: bool,
        kind: Similarity,
        positives: Positives,
        n_prototypes: int = 0,
        n_private: int = 0,
        private_dropout: float = 0.3,
        efficacy_mode: EfficacyMode = "weight",
        control: int = -1,
        n_labels: int = 0,
        agreement: Tensor | None = None,
        label_embeddings: Tensor | None = None,
        labels_present: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.modalities = list(n_features)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()  # by position: names may hold a "."
        spherical = kind == "cosine"
        self.origin = nn.Parameter(torch.full((n_latent,), n_latent**-0.5)) if spherical else None
        for m, d in n_features.items():
            n_batch = len(batch_proportions[m])
            self.register_buffer(
                f"batch_proportions_{len(self.encoders)}",
                torch.tensor(batch_proportions[m], dtype=torch.float),
            )
            # not in the saved state: the registry tells it
            self.register_buffer(f"measured_{len(self.encoders)}", (measured or {}).get(m), persistent=False)
            self.encoders.append(
                Encoder(
                    d,
                    n_latent,
                    kind=encoder,
                    hidden=hidden,
                    dropout=dropout_encoder,
                    n_batch=n_batch if encode_batch and n_batch > 1 else 0,
                    counts=LIKELIHOODS[likelihood[m]].counts,
                    library=LIKELIHOODS[likelihood[m]].library,
                    origin=self.origin,
                    n_private=n_private,
                )
            )
            self.decoders.append(
                Decoder(
                    n_latent,
                    d,
                    likelihood=likelihood[m],
                    hidden=hidden,
                    dropout=dropout_decoder,
                    n_batch=n_batch,
                    spherical=spherical,
                    n_private=n_private,
                )
            )
        self.n_private, self.private_dropout = n_private, private_dropout
        self.efficacy_mode, self.control, self.n_labels = efficacy_mode, control, n_labels
        self.register_buffer("agreement", agreement)
        self.group_clip = GroupCLIPLoss(
            temperature, learn_temperature=learn_temperature, kind=kind, positives=positives
        )
        self.bank = (
            PrototypeBank(self.modalities, n_prototypes, n_latent, kind=kind) if n_prototypes else None
        )
        self.tower: LabelTower | None = None
        if label_embeddings is not None and labels_present is not None:
            self.tower = LabelTower(label_embeddings, labels_present, n_latent)
        self.dropouts = tuple(layer for layer in self.modules() if isinstance(layer, nn.Dropout))

    def encoder_of(self, modality: str) -> Encoder:
        """Encoder of a modality."""
        return self.encoders[self.modalities.index(modality)]  # type: ignore[return-value]

    def decoder_of(self, modality: str) -> Decoder:
        """Decoder of a modality."""
        return self.decoders[self.modalities.index(modality)]  # type: ignore[return-value]

    def batch_proportions_of(self, modality: str) -> Tensor:
        """Share of the cells of a modality in each batch category, shape (n_batch,)."""
        return getattr(self, f"batch_proportions_{self.modalities.index(modality)}")  # type: ignore[no-any-return]

    # -- the scvi-tools chain: inference, generative, loss ------------------------------------------------

    def _get_inference_input(self, tensors: Tensors, **kwargs: Any) -> dict[str, Any]:
        return {"tensors": tensors}

    @auto_move_data  # type: ignore[untyped-decorator]
    def inference(self, tensors: Tensors) -> dict[str, dict[str, Tensor]]:
        """Encode every modality of a batch: ``{"z": {modality: (n_m, k)}}``, and ``"private"`` of (n_m, n_private) if there are."""
        z, private = {}, {}
        for m, t in tensors.items():
            if len(t[X]):
                encoder = self.encoder_of(m)
                raw = encoder.raw(t[X], self._batch_weights(m, t), self._seen(m, t))
                if self.n_private:
                    raw, private[m] = encoder.split(raw)
                if self.training and encoder.follows and LABELS in t:
                    encoder.follow(raw.detach()[t[LABELS].flatten() >= 0])
                z[m] = encoder.place(raw)
        return {"z": z, "private": private}

    def _get_generative_input(
        self, tensors: Tensors, inference_outputs: dict[str, dict[str, Tensor]], **kwargs: Any
    ) -> dict[str, Any]:
        return {
            "tensors": tensors,
            "z": inference_outputs["z"],
            "private": inference_outputs.get("private"),
        }

    @auto_move_data  # type: ignore[untyped-decorator]
    def generative(
        self, tensors: Tensors, z: Mapping[str, Tensor], private: Mapping[str, Tensor] | None = None
    ) -> dict[str, dict[str, Distribution]]:
        """Decode every modality from its own latent: ``{"px": {modality: distribution}}``."""
        px = {}
        for m, zm in z.items():
            seen = self._seen(m, tensors[m])
            cells = (zm, self._batch_weights(m, tensors[m]), _library(tensors[m][X], seen))
            px[m] = self.decoder_of(m)(*cells, self._sometimes(private[m]) if private else None)
        return {"px": px}

    def _sometimes(self, private: Tensor) -> Tensor:
        """Private coordinates, in training without those of some cells."""
        if not self.training:
            return private
        kept = torch.rand(len(private), 1, device=private.device) >= self.private_dropout
        return private * kept

    def loss(
        self,
        tensors: Tensors,
        inference_outputs: dict[str, dict[str, Tensor]],
        generative_outputs: dict[str, dict[str, Distribution]],
        *,
        reconstruction_weight: float = 1.0,
        groupclip_weight: float = 1.0,
        backtranslation_weight: float = 1.0,
        refinement_weight: float = 0.0,
        refinement: Mapping[str, Any] | None = None,
        independence_weight: float = 0.0,
        independence: Independence = "jem",
        tower_weight: float = 0.0,
    ) -> LossOutput:
        r"""The objective, :math:`w_{rec} L_{rec} + w_{gc} L_{gc} + w_{bt} L_{bt}`, and what is asked for beside it.

        A term of weight zero adds nothing to the graph; terms but reconstruction and GroupCLIP are then not computed at all.

        References
        ----------
        Gorla et al. 2026, arXiv 2602.04021, equations 3, 5 and 6.
        """
        z, px = inference_outputs["z"], generative_outputs["px"]
        private = inference_outputs.get("private") or {}
        rec = {m: negative_log_likelihood(px[m], tensors[m][X], self.measured(m, tensors[m])) for m in z}
        labels = {m: tensors[m][LABELS].long().flatten() for m in z}
        weights = self._cell_weights(tensors, z)
        groupclip = self._contrast(z, labels, weights, tensors)
        zero = groupclip.new_zeros(())
        # NaN, not zero, where it is not computed: the history must not show a loss that was never there
        never = zero.new_full((), torch.nan)
        extra: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "backtranslation": (backtranslation_weight, lambda: self.back_translation(tensors, z))
        }
        if refinement is not None:
            extra["refinement"] = (
                refinement_weight,
                lambda: label_refinement(
                    z,
                    self._responding(labels, tensors),
                    temperature=self.group_clip.temperature,
                    **refinement,
                ),
            )
        if private:
            extra["independence"] = (
                independence_weight,
                lambda: self._independence(z, private, independence),
            )
        if self.tower is not None:
            extra["tower"] = (tower_weight, lambda: self._to_tower(z, tensors, weights))
        terms = {name: compute() if weight else never for name, (weight, compute) in extra.items()}
        total = zero
        if reconstruction_weight:
            total = total + reconstruction_weight * torch.stack([r.mean() for r in rec.values()]).sum()
        if groupclip_weight:
            total = total + groupclip_weight * groupclip
        for name, (weight, _) in extra.items():
            if weight:
                total = total + weight * terms[name]
        return LossOutput(
            loss=total,
            reconstruction_loss=torch.cat(list(rec.values())),
            extra_metrics={
                "groupclip": groupclip.detach(),
                **{name: term.detach() for name, term in terms.items()},
                "label_accuracy": self.label_accuracy(z, labels),
                **{
                    f"reconstruction_{m}": rec[m].detach().mean() if m in rec else never
                    for m in self.modalities
                },
            },
        )

    def _contrast(
        self,
        z: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None,
        tensors: Tensors,
    ) -> Tensor:
        """GroupCLIP against the cells of the batch, or against the prototypes of all labels."""
        if self.bank is None:
            members = self._memberships(labels, tensors)
            return self.group_clip(z, members, weights=weights, agreement=self.agreement)  # type: ignore[no-any-return]
        if self.training:
            self.bank.update(z, labels, weights)
        return self.bank(z, labels, weights, temperature=self.group_clip.temperature)  # type: ignore[no-any-return]

    def _cell_weights(self, tensors: Tensors, z: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """What cells count for, as anchors and as candidates; None: all the same."""
        worked = _worked(tensors, z)
        if worked is None:
            return None
        if self.efficacy_mode == "weight":
            return {m: p.clamp_min(EFFICACY_FLOOR) for m, p in worked.items()}
        if self.efficacy_mode == "drop":
            return {m: (p >= 0.5).float() for m, p in worked.items()}
        return {m: certainty(p).clamp_min(EFFICACY_FLOOR) for m, p in worked.items()}

    def _responding(self, labels: Mapping[str, Tensor], tensors: Tensors) -> Mapping[str, Tensor]:
        """Label codes, negative for cells on which their perturbation more likely had no effect."""
        worked = _worked(tensors, labels)
        if worked is None:
            return labels
        return {m: codes.masked_fill(worked[m] < 0.5, -1) for m, codes in labels.items()}

    def _memberships(self, labels: Mapping[str, Tensor], tensors: Tensors) -> Mapping[str, Tensor]:
        """Label codes, or, where cells may in truth be controls, what share of them belongs where."""
        worked = _worked(tensors, labels) if self.efficacy_mode == "reassign" else None
        if worked is None:
            return labels
        found = {}
        for m, codes in labels.items():
            p = worked[m][:, None]
            own = F.one_hot(codes.clamp_min(0), self.n_labels).float()
            control = F.one_hot(torch.full_like(codes, self.control), self.n_labels).float()
            found[m] = (p * own + (1 - p) * control) * (codes >= 0)[:, None]
        return found

    def _independence(
        self, z: Mapping[str, Tensor], private: Mapping[str, Tensor], kind: Independence
    ) -> Tensor:
        measure = joint_concentration if kind == "jem" else cross_correlation
        return torch.stack([measure(z[m], private[m]) for m in z]).mean()

    def _to_tower(
        self, z: Mapping[str, Tensor], tensors: Tensors, weights: Mapping[str, Tensor] | None
    ) -> Tensor:
        assert self.tower is not None
        at = {m: self.modalities.index(m) for m in z}
        codes = {at[m]: tensors[m][CODES if CODES in tensors[m] else LABELS].long().flatten() for m in z}
        return self.tower.loss(
            {at[m]: v for m, v in z.items()},
            codes,
            None if weights is None else {at[m]: v for m, v in weights.items()},
            self.group_clip.temperature,
        )

    # -- pieces ---------------------------------------------------------------------------------------------

    def encode(self, modality: str, x: Tensor, batch: Tensor, seen: Seen | None = None) -> Tensor:
        """Latent coordinates (n, k) of values (n, d) with batch weights (n, n_batch)."""
        return self.encoder_of(modality)(x, batch, seen)  # type: ignore[no-any-return]

    def mask_of(self, modality: str) -> Tensor | None:
        """Which features each batch of a modality measured, (n_batch, d); None: all."""
        return getattr(self, f"measured_{self.modalities.index(modality)}")  # type: ignore[no-any-return]

    def measured(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Which values of a batch of cells were measured, (n, d); None: all."""
        if MEASURED in tensors:
            return tensors[MEASURED]
        mask = self.mask_of(modality)
        if mask is None:
            return None
        codes = tensors[BATCH].long().flatten()
        return mask[codes.clamp_min(0)] | (codes < 0)[:, None]

    def _seen(self, modality: str, tensors: Mapping[str, Tensor]) -> Seen | None:
        """What encoders and decoders must know of cells if their batches did not measure all features."""
        measured = self.measured(modality, tensors)
        if measured is None:
            return None
        decoder = self.decoder_of(modality)
        library = (tensors[X] * measured).sum(dim=1, keepdim=True)
        if decoder.likelihood.library:  # that of the measured features, over their share in the average cell
            library = library / (measured.float() @ decoder.location.softmax(dim=0)[:, None])
        return Seen(measured, library.clamp_min(1e-8))

    def expected(self, modality: str, z: Tensor, batch: Tensor, library: Tensor | None = None) -> Tensor:
        """Expected measurements E[p_m(x | z)], shape (n, d).

        Parameters
        ----------
        modality
            The modality to decode to.
        z
            Latent coordinates, shape (n, k).
        batch
            Batch codes, shape (n,).
        library
            Library sizes, shape (n, 1) or (1, 1); the training cells' median if None.
        """
        if library is None:
            library = self.encoder_of(modality).transform.median_library
        one_hot = F.one_hot(batch, len(self.batch_proportions_of(modality))).to(z.dtype)
        return self.decoder_of(modality)(z, one_hot, library.expand(len(z), 1)).mean  # type: ignore[no-any-return]

    def back_translation(self, tensors: Tensors, z: Mapping[str, Tensor]) -> Tensor:
        """Sum over modalities of the mean back-translation loss through the other modalities.

        The targets are all other modalities of the model, whether or not this batch has cells of them.
        """
        with _evaluating(self.dropouts), torch.no_grad():
            # without dropout, training and evaluation mode are the same function: use what is known
            clean = {
                m: z[m].detach() if not _is_random(self.encoder_of(m)) else self._encode_batch(m, tensors[m])
                for m in z
            }
        total = next(iter(z.values())).new_zeros(())
        for source in z:
            terms = [
                self._back_translate(source, m, tensors[source], clean[source]) for m in self._others(source)
            ]
            total = total + torch.stack(terms).mean()
        return total

    def _back_translate(
        self, source: str, target: str, tensors: Mapping[str, Tensor], clean: Tensor
    ) -> Tensor:
        x, weights = tensors[X], self._batch_weights(source, tensors)
        share = self.batch_proportions_of(target)
        # a pseudo-cell belongs to no batch: draw one, rather than average the decoder over all of them
        codes = (
            torch.multinomial(share, len(x), replacement=True)
            if len(share) > 1
            else x.new_zeros(len(x)).long()
        )

        def generate() -> Tensor:
            with _evaluating(self.dropouts):
                return self.expected(target, clean, codes)

        def reconstruct(pseudo: Tensor) -> Distribution:
            one_hot = F.one_hot(codes, len(share)).to(x.dtype)
            z = self.encode(target, pseudo, one_hot, self._seen(target, {X: pseudo, BATCH: codes}))
            library = _library(x, self._seen(source, tensors))
            return self.decoder_of(source)(z, weights, library)  # type: ignore[no-any-return]

        return back_translation(x, generate, reconstruct, self.measured(source, tensors)).mean()

    def _encode_batch(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor:
        weights = self._batch_weights(modality, tensors)
        return self.encode(modality, tensors[X], weights, self._seen(modality, tensors))

    def _others(self, modality: str) -> list[str]:
        return [m for m in self.modalities if m != modality]

    def _batch_weights(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """One-hot batches, (n, n_batch); a cell of no known batch (-1) weighs them by their shares of the cells."""
        codes, shares = tensors[BATCH].long().flatten(), self.batch_proportions_of(modality)
        one_hot = F.one_hot(codes.clamp_min(0), len(shares)).to(tensors[X].dtype)
        return torch.where(codes[:, None] < 0, shares.to(one_hot.dtype), one_hot)

    @torch.no_grad()
    def label_accuracy(self, z: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Share of the labelled cells of a batch whose nearest labelled cell of another modality has their label.

        Mean over ordered pairs of modalities; NaN where no pair has labelled cells.
        """
        hits = []
        for source, target in permutations(z, 2):
            rows, columns = labels[source] >= 0, labels[target] >= 0
            if rows.any() and columns.any():
                nearest = similarity(z[source][rows], z[target][columns], self.group_clip.kind).argmax(dim=1)
                hits.append((labels[target][columns][nearest] == labels[source][rows]).float().mean())
        return torch.stack(hits).mean() if hits else torch.full((), torch.nan)

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """Not available: GROOVE is an autoencoder, its latent has no prior to sample from."""
        raise NotImplementedError(
            "GROOVE has no prior to sample from; see GROOVE.translate for expected values."
        )


def _worked(tensors: Tensors, modalities: Iterable[str]) -> dict[str, Tensor] | None:
    """Efficacy of the cells of modalities, (n_m,); None: batches do not have it."""
    names = list(modalities)
    if not all(EFFICACY in tensors[m] for m in names):
        return None
    return {m: tensors[m][EFFICACY].flatten().float() for m in names}


def _library(x: Tensor, seen: Seen | None) -> Tensor:
    return x.sum(dim=1, keepdim=True).clamp_min(1e-8) if seen is None else seen.library


def _is_random(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in module.modules())


@contextmanager
def _evaluating(dropouts: Sequence[nn.Dropout]) -> Iterator[None]:
    """No dropout, and back to where it was: nothing else here differs between training and evaluation."""
    training = [layer.training for layer in dropouts]
    for layer in dropouts:
        layer.training = False
    try:
        yield
    finally:
        for layer, was in zip(dropouts, training, strict=True):
            layer.training = was

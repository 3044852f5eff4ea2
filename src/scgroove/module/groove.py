"""The GROOVE module: encoders and decoders of all modalities around one latent space."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import torch
import torch.nn.functional as F
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import Tensor, nn
from torch.distributions import Distribution

from ..errors import InputError, InputTypeError
from ..losses import ScreenInfo, Term, TermBatch, similarity
from ..losses.similarities import Similarity
from ._decoders import LIKELIHOODS, Decoder
from .encoders import Encoder, EncoderKind, Seen

X, BATCH, LABELS = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY
WEIGHT, CODES, MEASURED = "weight", "codes", "measured"
"""Keys of a batch: weights of cells, codes of all labels, and measured values."""
LEAST_WEIGHT: Final = 1e-3
"""Weight of a cell whose perturbation did not work. A label with such cells only is still there."""

Tensors = Mapping[str, Mapping[str, Tensor]]
"""A batch: modality -> registry key -> tensor. Modalities differ in their number of cells."""


@dataclass(frozen=True)
class Architecture:
    """Options of the networks.

    Attributes
    ----------
    n_latent
        Dimension k of the latent space.
    encoder
        ``"linear"`` or ``"mlp"``.
    hidden
        Widths of the hidden layers of encoders (``"mlp"``) and decoders.
    dropout
        Dropout of the encoders.
    encode_batch
        Give the batch to the encoders too, not only to the decoders.
    """

    n_latent: int = 16
    encoder: EncoderKind = "linear"
    hidden: Sequence[int] = (128, 128)
    dropout: float = 0.4
    encode_batch: bool = False


class GROOVEModule(BaseModuleClass):  # type: ignore[misc]
    """Encoders, decoders and the terms of the objective.

    Parameters
    ----------
    n_features
        Number of features of each modality. Its order is the order of the modalities.
    likelihood
        Likelihood of each modality, keys of :data:`scgroove.module.LIKELIHOODS`.
    batch_proportions
        For each modality, the share of its cells in each batch category (length: number of
        categories).
    terms
        Terms of the objective. The module has copies of them.
    info
        Labels of the screen.
    architecture
        Options of the networks.
    similarity
        ``"cosine"``, ``"dot"`` or ``"euclidean"``, see :func:`scgroove.losses.similarity`.
    measured
        Features that each batch measured, boolean of shape (n_batch, d), for modalities of which
        some batches did not measure all.

    Raises
    ------
    ValueError
        There is no term with a weight, or two have one name.
    TypeError
        Something else than a term is among the terms.
    """

    def __init__(
        self,
        n_features: Mapping[str, int],
        likelihood: Mapping[str, str],
        batch_proportions: Mapping[str, Sequence[float]],
        terms: Iterable[Term],
        info: ScreenInfo,
        architecture: Architecture,
        *,
        similarity: Similarity = "cosine",
        measured: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.modalities, self.similarity = list(n_features), similarity
        self.n_latent = architecture.n_latent
        # by position: names may hold a "."
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        is_spherical = similarity == "cosine"
        self.origin = None
        if is_spherical:
            self.origin = nn.Parameter(torch.full((self.n_latent,), self.n_latent**-0.5))
        for i, (m, d) in enumerate(n_features.items()):
            shares = torch.tensor(batch_proportions[m], dtype=torch.float)
            self.register_buffer(f"batch_proportions_{i}", shares)
            # not in the saved state: the registry tells it
            self.register_buffer(f"measured_{i}", (measured or {}).get(m), persistent=False)
            n_encoded = len(shares) if architecture.encode_batch and len(shares) > 1 else 0
            kind = LIKELIHOODS[likelihood[m]]
            self.encoders.append(
                Encoder(
                    d,
                    self.n_latent,
                    kind=architecture.encoder,
                    hidden=architecture.hidden,
                    dropout=architecture.dropout,
                    n_batch=n_encoded,
                    counts=kind.counts,
                    library=kind.library,
                    origin=self.origin,
                )
            )
            self.decoders.append(
                Decoder(
                    self.n_latent,
                    d,
                    likelihood=likelihood[m],
                    hidden=architecture.hidden,
                    dropout=0.0,
                    n_batch=len(shares),
                    spherical=is_spherical,
                )
            )
        self.dropouts = tuple(layer for layer in self.modules() if isinstance(layer, nn.Dropout))
        self.terms = nn.ModuleDict(_copies(terms))
        for term in self.objective:
            term.setup(self, info)

    def encoder_of(self, modality: str) -> Encoder:
        """Encoder of a modality."""
        return self.encoders[self.modalities.index(modality)]  # type: ignore[return-value]

    def decoder_of(self, modality: str) -> Decoder:
        """Decoder of a modality."""
        return self.decoders[self.modalities.index(modality)]  # type: ignore[return-value]

    def batch_proportions_of(self, modality: str) -> Tensor:
        """Share of the cells of a modality in each batch category, shape (n_batch,)."""
        shares: Tensor = getattr(self, f"batch_proportions_{self.modalities.index(modality)}")
        return shares

    @property
    def objective(self) -> list[Term]:
        """The terms, in order."""
        return list(self.terms.values())  # type: ignore[arg-type]

    @property
    def agreement(self) -> Tensor | None:
        """Agreement of labels by the first term that knows of one, shape (n_labels, n_labels)."""
        return next((term.agreement for term in self.objective if term.agreement is not None), None)

    def _get_inference_input(self, tensors: Tensors, **kwargs: Any) -> dict[str, Any]:
        return {"tensors": tensors}

    @auto_move_data  # type: ignore[untyped-decorator]
    def inference(self, tensors: Tensors) -> dict[str, dict[str, Tensor]]:
        """Encode every modality of a batch: ``{"z": {modality: (n_m, k)}}``."""
        z = {}
        for m, t in tensors.items():
            if len(t[X]):
                encoder = self.encoder_of(m)
                raw = encoder.raw(t[X], self._batch_weights(m, t), self._seen(m, t))
                if self.training and encoder.follows and LABELS in t:
                    encoder.follow(raw.detach()[t[LABELS].flatten() >= 0])
                z[m] = encoder.place(raw)
        return {"z": z}

    def _get_generative_input(
        self, tensors: Tensors, inference_outputs: dict[str, dict[str, Tensor]], **kwargs: Any
    ) -> dict[str, Any]:
        return {"tensors": tensors, "z": inference_outputs["z"]}

    @auto_move_data  # type: ignore[untyped-decorator]
    def generative(
        self, tensors: Tensors, z: Mapping[str, Tensor]
    ) -> dict[str, dict[str, Distribution]]:
        """Decode every modality from its own latent: ``{"px": {modality: distribution}}``."""
        return {"px": {m: self.decode_cells(m, zm, tensors[m]) for m, zm in z.items()}}

    def loss(
        self,
        tensors: Tensors,
        inference_outputs: dict[str, dict[str, Tensor]],
        generative_outputs: dict[str, dict[str, Distribution]],
        weights: Mapping[str, float] | None = None,
    ) -> LossOutput:
        """Sum of the terms, each times its weight.

        Parameters
        ----------
        tensors, inference_outputs, generative_outputs
            A batch, its latent coordinates and the distributions decoded from them.
        weights
            Weight of each term by its name. The final ones if None. A term of weight zero is not
            computed.
        """
        z = inference_outputs["z"]
        batch = _term_batch(self, tensors, z, generative_outputs["px"])
        total = next(iter(z.values())).new_zeros(())
        logged: dict[str, Tensor] = {}
        for term in self.objective:
            weight = term.weight if weights is None else weights[term.name]
            # NaN if it is not computed, so that the history shows no loss
            logged |= {name: total.new_full((), torch.nan) for name in _logged_names(term)}
            if weight:
                value = term(batch)
                if isinstance(value, Mapping):
                    logged |= {f"{term.name}_{part}": one.detach() for part, one in value.items()}
                    value = torch.stack(list(value.values())).sum()
                else:
                    logged[term.name] = value.detach()
                total = total + weight * value
        logged["label_accuracy"] = self.label_accuracy(z, batch.labels)
        return LossOutput(
            loss=total, extra_metrics=logged, n_obs_minibatch=sum(map(len, z.values()))
        )

    # methods of scgroove.losses.Networks, for terms

    def measured(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return which values of cells were measured, (n, d), or None if all were."""
        if MEASURED in tensors:
            return tensors[MEASURED]
        mask = self.mask_of(modality)
        if mask is None:
            return None
        codes = tensors[BATCH].long().flatten()
        return mask[codes.clamp_min(0)] | (codes < 0)[:, None]

    def encode_cells(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Latent coordinates of cells, shape (n, k)."""
        weights, seen = self._batch_weights(modality, tensors), self._seen(modality, tensors)
        return self.encoder_of(modality)(tensors[X], weights, seen)  # type: ignore[no-any-return]

    def decode_cells(self, modality: str, z: Tensor, tensors: Mapping[str, Tensor]) -> Distribution:
        """Return the distribution of values (n, d) of cells at latent coordinates ``z``."""
        seen = self._seen(modality, tensors)
        library = (
            tensors[X].sum(dim=1, keepdim=True).clamp_min(1e-8) if seen is None else seen.library
        )
        decode: Any = self.decoder_of(modality)
        decoded: Distribution = decode(z, self._batch_weights(modality, tensors), library)
        return decoded

    def pseudo_cells(self, modality: str, z: Tensor) -> dict[str, Tensor]:
        """Return cells with expected values at latent coordinates, of random batches."""
        share = self.batch_proportions_of(modality)
        codes = z.new_zeros(len(z)).long()
        if len(share) > 1:
            codes = torch.multinomial(share, len(z), replacement=True)
        return {X: self.expected(modality, z, codes), BATCH: codes}

    def is_random(self, modality: str) -> bool:
        """Whether the encoder of a modality drops values now."""
        return self.training and any(
            isinstance(layer, nn.Dropout) and layer.p > 0
            for layer in self.encoder_of(modality).modules()
        )

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Drop no values in the block. Nothing else differs in training."""
        training = [layer.training for layer in self.dropouts]
        for layer in self.dropouts:
            layer.training = False
        try:
            yield
        finally:
            for layer, was in zip(self.dropouts, training, strict=True):
                layer.training = was

    def mask_of(self, modality: str) -> Tensor | None:
        """Return which features each batch measured, (n_batch, d), or None if all did."""
        mask: Tensor | None = getattr(self, f"measured_{self.modalities.index(modality)}")
        return mask

    def _seen(self, modality: str, tensors: Mapping[str, Tensor]) -> Seen | None:
        """Return masks and library sizes of cells if their batches did not measure all features."""
        measured = self.measured(modality, tensors)
        if measured is None:
            return None
        decoder = self.decoder_of(modality)
        library = (tensors[X] * measured).sum(dim=1, keepdim=True)
        if decoder.likelihood.library:  # divided by their share in the average cell
            library = library / (measured.float() @ decoder.location.softmax(dim=0)[:, None])
        return Seen(measured, library.clamp_min(1e-8))

    def expected(
        self, modality: str, z: Tensor, batch: Tensor, library: Tensor | None = None
    ) -> Tensor:
        """Return expected measurements E[p_m(x | z)], (n, d), of latents (n, k) and batches (n,).

        Library sizes have shape (n, 1) or (1, 1). The median of the training cells if None.
        """
        if library is None:
            library = self.encoder_of(modality).transform.median_library
        one_hot = F.one_hot(batch, len(self.batch_proportions_of(modality))).to(z.dtype)
        expected: Tensor = self.decoder_of(modality)(z, one_hot, library.expand(len(z), 1)).mean
        return expected

    def _batch_weights(self, modality: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return one-hot batches, (n, n_batch), or shares of batches for cells of no batch (-1)."""
        codes, shares = tensors[BATCH].long().flatten(), self.batch_proportions_of(modality)
        one_hot = F.one_hot(codes.clamp_min(0), len(shares)).to(tensors[X].dtype)
        return torch.where(codes[:, None] < 0, shares.to(one_hot.dtype), one_hot)

    @torch.no_grad()
    def label_accuracy(self, z: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the share of labeled cells whose nearest cell of another modality has their label.

        Mean over ordered pairs of modalities. NaN if no pair has labeled cells.
        """
        hits = []
        for source, target in permutations(z, 2):
            rows, columns = labels[source] >= 0, labels[target] >= 0
            if rows.any() and columns.any():
                s = similarity(z[source][rows], z[target][columns], self.similarity)
                found = labels[target][columns][s.argmax(dim=1)]
                hits.append((found == labels[source][rows]).float().mean())
        return torch.stack(hits).mean() if hits else torch.full((), torch.nan)

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """Not available: GROOVE is an autoencoder, its latent has no prior to sample from."""
        raise NotImplementedError(
            "GROOVE has no prior to sample from; see GROOVE.translate for expected values."
        )


def _term_batch(
    module: GROOVEModule, tensors: Tensors, z: Mapping[str, Tensor], px: Mapping[str, Distribution]
) -> TermBatch:
    labels = {m: tensors[m][LABELS].long().flatten() for m in z}
    codes = {m: tensors[m][CODES].long().flatten() if CODES in tensors[m] else labels[m] for m in z}
    weights = None
    if all(WEIGHT in tensors[m] for m in z):
        weights = {m: tensors[m][WEIGHT].flatten().float().clamp_min(LEAST_WEIGHT) for m in z}
    x = {m: tensors[m][X] for m in z}
    return TermBatch(module, tensors, x, z, px, labels, codes, weights)


def _logged_names(term: Term) -> list[str]:
    return [f"{term.name}_{part}" for part in term.parts] or [term.name]


def _copies(terms: Iterable[Term]) -> dict[str, Term]:
    """Return copies of terms by their names: a model does not change what it was given."""
    copies: dict[str, Term] = {}
    for term in terms:
        if not isinstance(term, Term):
            raise InputTypeError(
                f"terms must hold objects such as scgroove.losses.GroupCLIP(); found {term!r}."
            )
        if term.name in copies:
            raise InputError(
                f"Terms must have different names; found {term.name!r} more than once."
            )
        copies[term.name] = copy.deepcopy(term)
    if not any(term.weight for term in copies.values()):
        raise InputError(
            f"At least one term needs a weight above zero; found the terms {list(copies)}."
        )
    return copies

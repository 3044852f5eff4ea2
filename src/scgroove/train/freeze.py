"""Training a part of the networks only, when a trained model goes on with other data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, get_args

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ..errors import InputError, UnknownNameError, did_you_mean
from ..module import GROOVEModule

Freeze = Literal["nothing", "encoders", "all_but_batch"]
FREEZES: Final = get_args(Freeze)


def check_freeze(freeze: str) -> None:
    """Refuse an unknown name.

    Raises
    ------
    ValueError
        The name is not one of :data:`FREEZES`.
    """
    if freeze not in FREEZES:
        raise UnknownNameError(
            f"Unknown freeze {freeze!r}. Expected one of {list(FREEZES)}.{did_you_mean(freeze, FREEZES)}"
        )


def check_learns(module: GROOVEModule, freeze: Freeze) -> None:
    """Refuse to freeze all there is.

    Raises
    ------
    ValueError
        Only weights of batches may learn, and there are none.
    """
    if freeze == "all_but_batch" and not batch_layers(module):
        raise InputError(
            "freeze='all_but_batch' leaves nothing to learn: no modality has more than one batch. Was the reference set up with "
            "a batch_key? Use freeze='encoders' or freeze='nothing'."
        )


def batch_layers(module: GROOVEModule) -> list[tuple[nn.Linear, int]]:
    """First layers that see the batch, each with its number of batch columns: the last ones of its weight."""
    parts = [
        part for m in module.modalities for part in (module.encoder_of(m), module.decoder_of(m))
    ]
    return [(part.net[0], part.n_batch) for part in parts if part.n_batch > 1]  # type: ignore[misc]


@contextmanager
def frozen(module: GROOVEModule, freeze: Freeze) -> Iterator[list[pl.Callback]]:
    """Let only a part of a module learn; afterwards all can learn that could before.

    Parameters
    ----------
    module
        The networks.
    freeze
        ``"nothing"``; ``"encoders"``: latent coordinates stay as they are, decoders learn; ``"all_but_batch"``: only
        what first layers add for a batch is learned.

    Yields
    ------
    Callbacks for the trainer.
    """
    learned = [p for p in module.parameters() if p.requires_grad]
    layers = batch_layers(module) if freeze == "all_but_batch" else []
    if freeze == "encoders":
        chosen = {id(p) for p in module.decoders.parameters()}
    else:
        chosen = {id(layer.weight) for layer, _ in layers}
    try:
        if freeze != "nothing":
            _set_learning(module, learned, chosen)
        yield [KeepColumns(layers)] if layers else []
    finally:
        for p in learned:
            p.requires_grad_(True)
        for encoder in module.encoders:
            encoder.follows = True  # type: ignore[assignment]


def _set_learning(module: GROOVEModule, learned: list[nn.Parameter], chosen: set[int]) -> None:
    for p in learned:
        p.requires_grad_(id(p) in chosen)
    for encoder in module.encoders:
        encoder.follows = False  # type: ignore[assignment]


class KeepColumns(pl.Callback):  # type: ignore[misc]
    """Put back, after every step, the columns of first layers that do not belong to a batch.

    A weight is one parameter, of which no part can be kept from the optimizer: with a gradient of zero, weight decay would still
    shrink it.

    Parameters
    ----------
    layers
        The layers, each with the number of its last columns that learn.
    """

    def __init__(self, layers: list[tuple[nn.Linear, int]]) -> None:
        self.layers = layers
        self.kept: list[Tensor] = []

    @torch.no_grad()
    def on_train_start(self, *args: Any) -> None:
        """Note the columns, on the device of training."""
        self.kept = [layer.weight[:, :-n].clone() for layer, n in self.layers]

    @torch.no_grad()
    def on_train_batch_end(self, *args: Any) -> None:
        """Put them back."""
        for (layer, n), kept in zip(self.layers, self.kept, strict=True):
            layer.weight[:, :-n].copy_(kept)

"""Training a part of the networks only, when a trained model goes on with other data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ..errors import InputError, UnknownNameError
from ..module import GROOVEModule

Freeze = Literal["nothing", "encoders", "all_but_batch"]


def check_freeze(freeze: str) -> None:
    """Refuse an unknown name.

    Raises
    ------
    ValueError
        The name is no :data:`Freeze`.
    """
    if freeze not in get_args(Freeze):
        raise UnknownNameError("freeze", freeze, get_args(Freeze))


def check_learns(module: GROOVEModule, freeze: Freeze) -> None:
    """Refuse to freeze all there is.

    Raises
    ------
    ValueError
        Only weights of batches may learn, and there are none.
    """
    if freeze == "all_but_batch" and not batch_layers(module):
        raise InputError(
            "freeze='all_but_batch' leaves nothing to learn: no modality has more than one batch. "
            "Was the reference set up with a batch_key? Use freeze='encoders' or freeze='nothing'."
        )


def batch_layers(module: GROOVEModule) -> list[tuple[nn.Linear, int]]:
    """Return first layers that see the batch, each with its number of batch columns, the last."""
    layers: list[tuple[Any, int]] = []
    for m in module.modalities:
        for part in (module.encoder_of(m), module.decoder_of(m)):
            if part.n_batch > 1:
                layers.append((part.net[0], part.n_batch))
    return layers


@contextmanager
def frozen(module: GROOVEModule, freeze: Freeze) -> Iterator[list[pl.Callback]]:
    """Let only a part of a module learn in the block, and all that could before afterwards.

    Parameters
    ----------
    module
        The networks.
    freeze
        ``"nothing"``. ``"encoders"``: latent coordinates stay as they are, decoders learn.
        ``"all_but_batch"``: only the columns of first layers for the batch learn.

    Yields
    ------
    Callbacks for the trainer.
    """
    learned = [p for p in module.parameters() if p.requires_grad]
    layers = batch_layers(module) if freeze == "all_but_batch" else []
    chosen = {id(layer.weight) for layer, _ in layers}
    if freeze == "encoders":
        chosen = {id(p) for p in module.decoders.parameters()}
    encoders: list[Any] = list(module.encoders)
    try:
        if freeze != "nothing":
            for p in learned:
                p.requires_grad_(id(p) in chosen)
            for encoder in encoders:
                encoder.follows = False
        yield [RestoreColumns(layers)] if layers else []
    finally:
        for p in learned:
            p.requires_grad_(True)
        for encoder in encoders:
            encoder.follows = True


class RestoreColumns(pl.Callback):  # type: ignore[misc]
    """Restore, after every step, the columns of first layers that do not belong to a batch.

    A weight is one parameter for the optimizer: with a gradient of zero, weight decay would still
    shrink it.

    Parameters
    ----------
    layers
        The layers, each with the number of its last columns that learn.
    """

    def __init__(self, layers: list[tuple[nn.Linear, int]]) -> None:
        self.layers = layers
        self.columns: list[Tensor] = []

    @torch.no_grad()
    def on_train_start(self, *args: Any) -> None:
        """Copy the columns, on the device of training."""
        self.columns = [layer.weight[:, :-n].clone() for layer, n in self.layers]

    @torch.no_grad()
    def on_train_batch_end(self, *args: Any) -> None:
        """Restore them."""
        for (layer, n), columns in zip(self.layers, self.columns, strict=True):
            layer.weight[:, :-n].copy_(columns)

"""The training plan: weights of the terms, optimizer and schedule, and what is logged."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import numpy as np
import torch
from scvi.train import TrainingPlan
from torch import Tensor

from .._validate import checked
from ..errors import DivergedError
from ..module import GROOVEModule

TORCH: Final = tuple(int(part) for part in torch.__version__.split(".")[:2])

Schedule = Literal["one_cycle", "cosine", "constant", "plateau"]


class GROOVETrainingPlan(TrainingPlan):  # type: ignore[misc]
    """One loss and one backward pass per step, over the terms of the module. Each term is logged once per epoch.

    Losses are summed on the device: Lightning's ``log`` at every step costs more time than loading the batch.
    Their names in ``model.history`` end in ``_train`` and ``_validation``: the name of each term,
    ``reconstruction_{modality}``, and ``label_accuracy``. Besides, there are ``train_loss``, ``validation_loss`` and
    the weights of terms that warm up, such as ``backtranslation_weight``. Validation always uses the final weights,
    so that its losses can be compared between epochs.

    Parameters
    ----------
    module
        The networks and terms.
    lr, weight_decay, eps
        Learning rate, weight decay and epsilon of AdamW.
    lr_schedule
        ``"one_cycle"`` (peak at ``lr`` after 30 % of the steps), ``"cosine"`` (to zero), ``"constant"``, or
        ``"plateau"`` (divided by two when ``validation_loss`` has not improved for ``lr_patience`` epochs).
    lr_patience
        See ``lr_schedule``.
    seed
        Random state of dropout and of the batches of pseudo-cells. The random state of torch as it is if None.
    compile, compile_kwargs
        Compile the module with :func:`torch.compile`.

    Raises
    ------
    ValueError
        An option is out of range.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021.
    """

    @checked
    def __init__(
        self,
        module: GROOVEModule,
        *,
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        eps: float = 1e-8,
        lr_schedule: Schedule = "one_cycle",
        lr_patience: int = 10,
        seed: int | None = None,
        compile: bool = False,
        compile_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            module,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,  # scvi's 0.01 is made for losses summed over genes; ours are means
            reduce_lr_on_plateau=lr_schedule == "plateau",
            lr_patience=lr_patience,
            lr_scheduler_metric="validation_loss",
            compile=compile,
            compile_kwargs=compile_kwargs,
        )
        self.terms = module.objective  # the module may be compiled
        self.warming_up = {term.name for term in self.terms if term.warmup}
        self.lr_schedule, self.seed = lr_schedule, seed
        self._sums: dict[str, tuple[list[str], Tensor]] = {}

    def configure_optimizers(self) -> Any:
        """AdamW with the chosen schedule; ours, because scvi's differs between its versions."""
        decay = [p for p in self.module.parameters() if p.requires_grad and p.ndim > 1]
        rest = [p for p in self.module.parameters() if p.requires_grad and p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": self.weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=self.lr,
            eps=self.eps,
            fused=self._can_fuse([*decay, *rest]),
        )
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        scheduler: Any
        if self.lr_schedule == "one_cycle":
            scheduler = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, max_lr=self.lr, total_steps=steps
            )
        elif self.lr_schedule == "cosine":
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        elif self.lr_schedule == "plateau":
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=0.5, patience=self.lr_patience
            )
            config = {"scheduler": scheduler, "monitor": "validation_loss", "interval": "epoch"}
            return {"optimizer": optimizer, "lr_scheduler": config}
        else:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _can_fuse(self, parameters: list[torch.nn.Parameter]) -> bool:
        """Whether one pass over each parameter will do: on a processor; in mixed precision Lightning could not clip gradients."""
        on_cpu = all(p.device.type == "cpu" for p in parameters)
        return TORCH >= (2, 4) and on_cpu and str(self.trainer.precision).startswith("32")

    def weights_now(self) -> dict[str, float]:
        """Weights of the terms at the current step."""
        n_steps = int(self.trainer.estimated_stepping_batches)
        return {term.name: term.weight_at(self.global_step, n_steps) for term in self.terms}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One optimization step."""
        if batch_idx == 0 and self.seed is not None:
            # anew in each epoch, on each rank: training that was interrupted goes on as if it had not been
            torch.manual_seed(_mixed(self.seed, self.current_epoch, self.global_rank))
        return self._step(batch, "train", self.weights_now())

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The same losses with the final weights."""
        return self._step(batch, "validation", {term.name: term.weight for term in self.terms})

    def _step(self, batch: Any, mode: str, weights: dict[str, float]) -> Tensor:
        out = self.forward(batch, loss_kwargs={"weights": weights})[2]
        terms = {
            "loss": out.loss,
            **out.extra_metrics,
        }  # the same names at every step and on every rank
        values = torch.stack([v.detach().float() for v in terms.values()])
        # NaN: a term this batch does not have, such as the reconstruction of an absent modality
        known = ~values.isnan()
        known[0] = True
        new = torch.stack([torch.where(known, values, 0.0), known.float()]) * out.n_obs_minibatch
        self._sums[mode] = (list(terms), self._sums[mode][1] + new if mode in self._sums else new)
        return out.loss  # type: ignore[no-any-return]

    def _log_epoch(self, mode: str) -> None:
        if mode not in self._sums:
            return
        names, sums = self._sums.pop(mode)
        total, n = self.trainer.strategy.reduce(sums, reduce_op="sum")
        for name, value in zip(names, (total / n).tolist(), strict=True):
            key = f"{mode}_loss" if name == "loss" else f"{name}_{mode}"
            self.log(key, value, prog_bar=name == "loss", sync_dist=False)
            if name == "loss" and not math.isfinite(value):
                raise DivergedError(
                    f"The {mode} loss became {value} in epoch {self.current_epoch}. Lower the learning rate, "
                    f'for instance plan_kwargs={{"lr": {self.lr / 10:g}}}, or clip gradients with '
                    "gradient_clip_val=1.0; and look for extreme values in the data."
                )

    def on_train_epoch_end(self) -> None:
        """Log the means of the epoch."""
        self._log_epoch("train")
        for name, weight in self.weights_now().items():
            if name in self.warming_up:
                self.log(f"{name}_weight", weight, sync_dist=False)

    def on_validation_epoch_end(self) -> None:
        """Log the means of the epoch."""
        self._log_epoch("validation")


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1

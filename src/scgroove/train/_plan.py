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
    """One loss and one backward pass per step, over the terms of the module.

    Each term is logged once per epoch: losses are summed on the device, because Lightning's
    ``log`` at every step costs more time than loading the batch. Their names in ``model.history``
    end in ``_train`` and ``_validation``: the name of each term, ``reconstruction_{modality}``,
    and ``label_accuracy``. There are also ``train_loss``, ``validation_loss`` and the weights of
    terms that warm up, such as ``backtranslation_weight``. Validation always uses the final
    weights, so that its losses can be compared between epochs.

    Parameters
    ----------
    module
        The networks and terms.
    lr, weight_decay, eps
        Learning rate, weight decay and epsilon of AdamW.
    lr_schedule
        ``"one_cycle"`` (peak at ``lr`` after 30 % of the steps), ``"cosine"`` (to zero),
        ``"constant"``, or ``"plateau"`` (divided by two when ``validation_loss`` has not improved
        for ``lr_patience`` epochs).
    lr_patience
        See ``lr_schedule``.
    seed
        Random state of dropout and of the batches of pseudo-cells. The random state of torch as it
        is if None.
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
        """AdamW with the chosen schedule. Ours, because scvi's differs between its versions."""
        learned = [p for p in self.module.parameters() if p.requires_grad]
        # one pass over each parameter; in mixed precision Lightning could not clip gradients
        is_on_cpu = all(p.device.type == "cpu" for p in learned)
        is_single = str(self.trainer.precision).startswith("32")
        optimizer = torch.optim.AdamW(
            [
                {
                    "params": [p for p in learned if p.ndim > 1],
                    "weight_decay": self.weight_decay,
                },
                {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=self.lr,
            eps=self.eps,
            fused=TORCH >= (2, 4) and is_on_cpu and is_single,
        )
        schedules = torch.optim.lr_scheduler
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        config: dict[str, Any] = {"interval": "step"}
        if self.lr_schedule == "one_cycle":
            config["scheduler"] = schedules.OneCycleLR(optimizer, self.lr, total_steps=steps)
        elif self.lr_schedule == "cosine":
            config["scheduler"] = schedules.CosineAnnealingLR(optimizer, T_max=steps)
        elif self.lr_schedule == "plateau":
            patience = self.lr_patience
            config["scheduler"] = schedules.ReduceLROnPlateau(optimizer, "min", 0.5, patience)
            config.update(monitor="validation_loss", interval="epoch")
        else:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": config}

    def weights_now(self) -> dict[str, float]:
        """Weights of the terms at the current step."""
        n_steps = int(self.trainer.estimated_stepping_batches)
        return {term.name: term.weight_at(self.global_step, n_steps) for term in self.terms}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One optimization step."""
        if batch_idx == 0 and self.seed is not None:
            # in each epoch, on each rank, so that interrupted training can be resumed
            torch.manual_seed(_mixed(self.seed, self.current_epoch, self.global_rank))
        return self._step(batch, "train", self.weights_now())

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The same losses with the final weights."""
        return self._step(batch, "validation", {term.name: term.weight for term in self.terms})

    def _step(self, batch: Any, mode: str, weights: dict[str, float]) -> Tensor:
        out = self.forward(batch, loss_kwargs={"weights": weights})[2]
        # the same names at every step and on every rank
        terms = {"loss": out.loss, **out.extra_metrics}
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
                    f"The {mode} loss became {value} in epoch {self.current_epoch}. Lower the "
                    f'learning rate, for instance plan_kwargs={{"lr": {self.lr / 10:g}}}, or clip '
                    "gradients with gradient_clip_val=1.0; and look for extreme values in the data."
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

"""Which terms, with which weights, in which order; and what is logged."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from scvi.train import TrainingPlan
from torch import Tensor

from scgroove._warnings import warn

from ..losses import Refinement
from ..module import GROOVEModule, Independence

TORCH: Final = tuple(int(part) for part in torch.__version__.split(".")[:2])

Schedule = Literal["one_cycle", "cosine", "constant", "plateau"]


class GROOVETrainingPlan(TrainingPlan):  # type: ignore[misc]
    """One loss, one backward pass per step; every term is logged once per epoch.

    Terms are summed on the device: Lightning's ``log`` at every step costs more time than loading the batch.
    Their names in ``model.history`` end in ``_train`` and ``_validation``: ``reconstruction_{modality}``,
    ``groupclip``, ``backtranslation``, ``label_accuracy``, and where they are asked for ``refinement``, ``independence``, ``tower``; besides, ``train_loss``, ``validation_loss`` and
    ``backtranslation_weight``.

    Parameters
    ----------
    module
        The networks.
    reconstruction_weight, groupclip_weight, backtranslation_weight
        Weights of the three terms; zero removes one (ablations).
    backtranslation_warmup
        Share of the training steps over which the weight of back-translation rises linearly from zero.
        Validation always uses the final weights, so that its losses can be compared between epochs.
    refine
        Transport between the cells of a label, see :func:`scgroove.losses.label_refinement`: ``"cost"``, ``"contrast"`` or None.
    refinement_weight, refinement_start
        Its weight, and the share of the training steps after which it enters: before, plans follow chance. It rises linearly over as many
        steps again.
    refinement_epsilon, refinement_iterations, refinement_centred
        Of :func:`scgroove.losses.label_refinement`.
    independence_weight, independence
        Where the model has private coordinates: weight and kind, ``"jem"`` (:func:`scgroove.losses.joint_concentration`) or ``"xcov"``
        (:func:`scgroove.losses.cross_correlation`), of the term that keeps them from saying what the shared ones say.
    tower_weight
        Where the model has embeddings of labels: weight of the contrast with them.
    lr, weight_decay, eps
        Of AdamW.
    lr_schedule
        ``"one_cycle"`` (peak at ``lr`` after 30 % of the steps), ``"cosine"`` (to zero), ``"constant"``, or
        ``"plateau"`` (divided by two when ``validation_loss`` has not improved for ``lr_patience`` epochs).
    lr_patience
        See ``lr_schedule``.
    seed
        Of what networks draw while training (dropout, batches of pseudo-cells); None: the random state of torch as it is.
    compile, compile_kwargs
        Compile the module with :func:`torch.compile`.

    Raises
    ------
    ValueError
        A weight is negative, all are zero, or an option is out of range.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021.
    """

    def __init__(
        self,
        module: GROOVEModule,
        *,
        reconstruction_weight: float = 1.0,
        groupclip_weight: float = 1.0,
        backtranslation_weight: float = 1.0,
        backtranslation_warmup: float = 0.2,
        refine: Refinement | None = None,
        refinement_weight: float = 0.3,
        refinement_start: float = 0.3,
        refinement_epsilon: float = 0.1,
        refinement_iterations: int = 50,
        refinement_centred: bool = True,
        independence_weight: float = 0.1,
        independence: Independence = "jem",
        tower_weight: float = 1.0,
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        eps: float = 1e-8,
        lr_schedule: Schedule = "one_cycle",
        lr_patience: int = 10,
        seed: int | None = None,
        compile: bool = False,
        compile_kwargs: dict[str, Any] | None = None,
    ) -> None:
        weights = {
            "reconstruction_weight": reconstruction_weight,
            "groupclip_weight": groupclip_weight,
            "backtranslation_weight": backtranslation_weight,
        }
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"Weights must not be negative, and not all zero; found {weights}.")
        further = {
            "refinement_weight": refinement_weight,
            "independence_weight": independence_weight,
            "tower_weight": tower_weight,
        }
        if min(further.values()) < 0:
            raise ValueError(f"Weights must not be negative; found {further}.")
        absent = {
            "refinement_weight": None if refine else 'plan_kwargs={"refine": "cost"}',
            "independence_weight": None if module.n_private else "GROOVE(mdata, n_private=8)",
            "tower_weight": None if module.tower else "GROOVE(mdata, label_embeddings=table)",
        }
        for name, how in absent.items():
            if how and further[name] not in (0, signature(GROOVETrainingPlan).parameters[name].default):
                warn(
                    f"{name}={further[name]} has no effect: that term is there with {how} only.",
                    UserWarning,
                )
        if refine is not None and refine not in get_args(Refinement):
            raise ValueError(f"Unknown refine={refine!r}. Expected None or one of {get_args(Refinement)}.")
        if independence not in get_args(Independence):
            raise ValueError(
                f"Unknown independence={independence!r}. Expected one of {get_args(Independence)}."
            )
        if not 0 <= refinement_start < 1 or not refinement_epsilon > 0 or refinement_iterations < 1:
            raise ValueError(
                "Expected 0 <= refinement_start < 1, refinement_epsilon > 0 and refinement_iterations >= 1; found "
                f"{refinement_start}, {refinement_epsilon}, {refinement_iterations}."
            )
        if not 0 <= backtranslation_warmup <= 1:
            raise ValueError(
                f"backtranslation_warmup is a share of the training steps, from 0 to 1; found {backtranslation_warmup}."
            )
        if lr_schedule not in get_args(Schedule):
            raise ValueError(f"Unknown lr_schedule {lr_schedule!r}. Expected one of {get_args(Schedule)}.")
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
        self.weights, self.warmup, self.lr_schedule = weights, backtranslation_warmup, lr_schedule
        self.further, self.refinement_start = further, refinement_start
        self.options: dict[str, Any] = {"independence": independence}
        if refine is not None:
            self.options["refinement"] = {
                "kind": refine,
                "epsilon": refinement_epsilon,
                "n_iter": refinement_iterations,
                "centred": refinement_centred,
            }
        self.seed = seed
        self._sums: dict[str, tuple[list[str], Tensor]] = {}

    def configure_optimizers(self) -> Any:
        """AdamW with the chosen schedule; ours, because scvi's differs between its versions."""
        decay = [p for p in self.module.parameters() if p.requires_grad and p.ndim > 1]
        rest = [p for p in self.module.parameters() if p.requires_grad and p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": self.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=self.lr,
            eps=self.eps,
            fused=self._can_fuse([*decay, *rest]),
        )
        steps = max(2, int(self.trainer.estimated_stepping_batches))
        scheduler: Any
        if self.lr_schedule == "one_cycle":
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.lr, total_steps=steps)
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
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _can_fuse(self, parameters: list[torch.nn.Parameter]) -> bool:
        """Whether one pass over each parameter will do: on a processor; in mixed precision Lightning could not clip gradients."""
        on_cpu = all(p.device.type == "cpu" for p in parameters)
        return TORCH >= (2, 4) and on_cpu and str(self.trainer.precision).startswith("32")

    def backtranslation_weight(self) -> float:
        """Weight of back-translation at the current step."""
        n_warm = self.warmup * int(self.trainer.estimated_stepping_batches)
        share = min(1.0, self.global_step / n_warm) if n_warm else 1.0
        return self.weights["backtranslation_weight"] * share

    def refinement_weight(self) -> float:
        """Weight of the transport inside labels at the current step."""
        first = self.refinement_start * int(self.trainer.estimated_stepping_batches)
        share = min(1.0, max(0.0, self.global_step / first - 1)) if first else 1.0
        return self.further["refinement_weight"] * share

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One optimisation step."""
        if batch_idx == 0 and self.seed is not None:
            # anew in each epoch, on each rank: training that was interrupted goes on as if it had not been
            torch.manual_seed(_mixed(self.seed, self.current_epoch, self.global_rank))
        now = {
            "backtranslation_weight": self.backtranslation_weight(),
            "refinement_weight": self.refinement_weight(),
        }
        return self._step(batch, "train", {**self.weights, **self.further, **now})

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The same losses with the final weights."""
        return self._step(batch, "validation", {**self.weights, **self.further})

    def _step(self, batch: Any, mode: str, weights: dict[str, float]) -> Tensor:
        out = self.forward(batch, loss_kwargs={**weights, **self.options})[2]
        terms = {"loss": out.loss, **out.extra_metrics}  # the same names at every step and on every rank
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
                raise RuntimeError(
                    f"The {mode} loss became {value} in epoch {self.current_epoch}. Lower the learning rate, "
                    f'for instance plan_kwargs={{"lr": {self.lr / 10:g}}}, or clip gradients with '
                    "gradient_clip_val=1.0; and look for extreme values in the data."
                )

    def on_train_epoch_end(self) -> None:
        """Log the means of the epoch."""
        self._log_epoch("train")
        self.log("backtranslation_weight", self.backtranslation_weight(), sync_dist=False)

    def on_validation_epoch_end(self) -> None:
        """Log the means of the epoch."""
        self._log_epoch("validation")


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1

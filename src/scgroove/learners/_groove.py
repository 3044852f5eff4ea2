"""GROOVE as a learner."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import anndata
import numpy as np
import pandas as pd

from scgroove._files import make_mudata
from scgroove._labels import Label
from scgroove._types import FloatArray
from scgroove.data.checks import check_modalities, modality_of
from scgroove.data.screen import Screen
from scgroove.learners._base import LEARNERS, Learner, preset
from scgroove.learners.common import components_of
from scgroove.learners.training import Device, resolve_device
from scgroove.losses import BackTranslation, GroupCLIP, Reconstruction, Term
from scgroove.losses.similarities import Similarity
from scgroove.metrics.efficacy import label_efficacy
from scgroove.model import GROOVE
from scgroove.module.encoders import EncoderKind

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

LABEL, WEIGHT = "label", "weight"
N_COMPONENTS: Final = 15
"""Principal components in which the efficacy of cells is estimated."""


@LEARNERS.register("groove")
@dataclass
class GrooveLearner(Learner):
    """GROOVE: group-level contrast, autoencoding and back-translation.

    ``L = w_rec L_rec + w_gc L_gc + w_bt(t) L_bt``. It trains one :class:`scgroove.model.GROOVE` on
    all cells.

    Parameters
    ----------
    n_latent, encoder, hidden, dropout, likelihood, similarity
        See :class:`scgroove.model.GROOVE`.
    temperature, positives
        See :class:`scgroove.losses.GroupCLIP`.
    reconstruction_weight, groupclip_weight, backtranslation_weight, backtranslation_warmup
        Weights of the three terms, and warm-up of back-translation. Terms of weight zero are left
        out.
    terms
        Other terms, such as :class:`scgroove.losses.Prototypes`.
    control
        The control label. Cells are then weighted by their efficacy, estimated as by
        :func:`scgroove.tl.estimate_efficacy`. All cells count the same if None.
    lr, lr_schedule, weight_decay
        See :class:`scgroove.train.GROOVETrainingPlan`. All cells are trained on, so that no
        schedule can follow the loss of others.
    batch_size, n_labels_per_batch, n_cells_per_label, balance, max_epochs
        See :meth:`scgroove.model.GROOVE.train`.
    device
        ``"cpu"``, ``"auto"``, ``"cuda"`` or ``"mps"``.

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021.
    """

    name: ClassVar[str] = "groove"

    n_latent: int = 16
    encoder: EncoderKind = "linear"
    hidden: Sequence[int] = (128, 128)
    dropout: float = 0.4
    likelihood: str | Mapping[str, str] = "auto"
    similarity: Similarity = "cosine"
    temperature: float = 0.2
    positives: Literal["inside", "outside"] = "inside"
    reconstruction_weight: float = 1.0
    groupclip_weight: float = 1.0
    backtranslation_weight: float = 1.0
    backtranslation_warmup: float = 0.2
    terms: Sequence[Term] = ()
    control: Label | None = None
    batch_size: int = 256
    n_labels_per_batch: int | None = None
    n_cells_per_label: int | None = None
    balance: float = 1.0
    max_epochs: int | None = None
    lr: float | None = None
    lr_schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    weight_decay: float = 1e-2
    device: Device = "cpu"

    def _fit(self, screen: Screen, seed: int) -> None:
        resolve_device(self.device)
        contrast = GroupCLIP(
            self.groupclip_weight, temperature=self.temperature, positives=self.positives
        )
        back = BackTranslation(self.backtranslation_weight, warmup=self.backtranslation_warmup)
        terms = [Reconstruction(self.reconstruction_weight), contrast, back, *self.terms]
        plan = {"lr_schedule": self.lr_schedule, "weight_decay": self.weight_decay}
        with quiet():
            data = shared_values(screen)
            if self.control is not None:
                self._estimate_efficacy(screen, data, seed)
            key = WEIGHT if self.control is not None else None
            GROOVE.setup_mudata(data, LABEL, paired=False, min_cells_per_label=1, weight_key=key)
            model = GROOVE(
                data,
                self.n_latent,
                terms=[term for term in terms if term.weight],
                encoder=self.encoder,
                hidden=self.hidden,
                dropout=self.dropout,
                likelihood=self.likelihood,
                similarity=self.similarity,
                seed=seed,
            )
            model.train(
                self.max_epochs,
                accelerator=self.device,
                train_size=1.0,
                batch_size=self.batch_size,
                n_labels_per_batch=self.n_labels_per_batch,
                n_cells_per_label=self.n_cells_per_label,
                seed=seed,
                datasplitter_kwargs={"balance": self.balance},
                plan_kwargs=plan if self.lr is None else {**plan, "lr": self.lr},
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
            )
        self.model_ = model
        self.evidence["steps"] = int(model.trainer.global_step)
        self.evidence["loss"] = float(model.history["train_loss"].iloc[-1, 0])

    def _estimate_efficacy(self, screen: Screen, data: MuData, seed: int) -> None:
        """Write the efficacy of cells into the copy that is learned from."""
        for m in screen.modalities:
            places = components_of(modality_of(screen.mdata, m), m, N_COMPONENTS, seed)
            efficacy = label_efficacy(places, screen.labels[m], self.control)
            data.mod[m].obs[WEIGHT] = efficacy.probability

    def _transform(self, mdata: MuData) -> dict[str, FloatArray]:
        names = check_modalities(mdata, self.modalities_)
        with quiet():
            return {
                m: np.asarray(
                    self.model_.get_latent_representation(_values(modality_of(mdata, m)), m)
                )
                for m in names
            }

    def translate(self, mdata: MuData, source: str, target: str) -> FloatArray:
        """Return expected values of the target for the source cells, (n_source, d_target)."""
        with quiet():
            return np.asarray(
                self.model_.translate(source, target, _values(modality_of(mdata, source)))
            )


preset(
    GrooveLearner,
    "groove_paper",
    "GROOVE as close to the text of the paper as possible: :class:`GrooveLearner` with MLP "
    "encoders, no dropout or warm-up, temperature 0.1, and a constant learning rate of 0.001.",
    encoder="mlp",
    dropout=0.0,
    temperature=0.1,
    backtranslation_warmup=0.0,
    lr=1e-3,
    lr_schedule="constant",
)


def shared_values(screen: Screen) -> MuData:
    """Return a MuData of the values and labels of a screen, without copying the values."""
    return make_mudata(
        {m: _values(modality_of(screen.mdata, m), screen.labels[m]) for m in screen.modalities}
    )


def _values(adata: AnnData, labels: Any = None) -> AnnData:
    obs = pd.DataFrame(index=adata.obs_names)
    if labels is not None:
        obs[LABEL] = pd.Categorical(labels)
    return anndata.AnnData(adata.X, obs=obs, var=pd.DataFrame(index=adata.var_names))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence scvi-tools and Lightning."""
    loggers = [logging.getLogger(name) for name in ("scvi", "lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

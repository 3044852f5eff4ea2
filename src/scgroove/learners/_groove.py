"""GROOVE and its ablations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anndata
import mudata
import numpy as np
import pandas as pd

from scgroove._keys import EFFICACY
from scgroove._labels import Label
from scgroove._types import FloatArray
from scgroove.data import check_modalities
from scgroove.learners._base import LEARNERS, Learner
from scgroove.learners._common import components_of
from scgroove.learners._screen import Screen
from scgroove.learners._torch import Device, resolve_device
from scgroove.losses import Refinement
from scgroove.losses._similarity import Positives, Similarity
from scgroove.metrics._efficacy import label_efficacy
from scgroove.model import GROOVE
from scgroove.module import EfficacyMode
from scgroove.module._encoders import EncoderKind
from scgroove.train._plan import Schedule

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

LABEL = "label"
N_COMPONENTS: Final = 15
"""Principal components in which the efficacy of cells is estimated."""


@LEARNERS.register("groove")
@dataclass
class GrooveLearner(Learner):
    """GROOVE: group-level contrast, autoencoding and back-translation, with linear encoders.

    ``L = w_rec L_rec + w_gc L_gc + w_bt(t) L_bt``: see :class:`scgroove.model.GROOVE`, of which this trains one on all cells.

    Parameters
    ----------
    n_latent, encoder, hidden, likelihood, temperature, similarity, positives, n_private, prototypes, efficacy_mode
        As for :class:`scgroove.model.GROOVE`.
    control
        The control label: the efficacy of cells is then estimated, as :func:`scgroove.tl.estimate_efficacy` does, and used. None: all
        cells count the same.
    dropout
        Of the encoders.
    reconstruction_weight, groupclip_weight, backtranslation_weight, backtranslation_warmup, refine, refinement_weight, \
    independence_weight, lr, lr_schedule, weight_decay
        As for :class:`scgroove.train.GROOVETrainingPlan`.
    batch_size, n_labels_per_batch, n_cells_per_label, balance, max_epochs
        As for :meth:`scgroove.model.GROOVE.train`.
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
    temperature: float = 0.2
    similarity: Similarity = "cosine"
    positives: Positives = "inside"
    n_private: int = 0
    prototypes: bool = False
    control: Label | None = None
    efficacy_mode: EfficacyMode = "weight"
    reconstruction_weight: float = 1.0
    groupclip_weight: float = 1.0
    backtranslation_weight: float = 1.0
    backtranslation_warmup: float = 0.2
    refine: Refinement | None = None
    refinement_weight: float = 0.3
    independence_weight: float = 0.1
    batch_size: int = 256
    n_labels_per_batch: int | None = None
    n_cells_per_label: int | None = None
    balance: float = 1.0
    max_epochs: int | None = None
    lr: float | None = None
    lr_schedule: Schedule = "one_cycle"
    weight_decay: float = 1e-2
    device: Device = "cpu"

    def _fit(self, screen: Screen, seed: int) -> None:
        resolve_device(self.device)
        with quiet():
            data = shared_values(screen)
            key = self._estimate_efficacy(screen, data, seed)
            GROOVE.setup_mudata(data, LABEL, paired=False, min_cells_per_label=1, efficacy_key=key)
            model = GROOVE(
                data,
                self.n_latent,
                encoder=self.encoder,
                hidden=self.hidden,
                dropout_encoder=self.dropout,
                likelihood=self.likelihood,
                temperature=self.temperature,
                similarity=self.similarity,
                positives=self.positives,
                n_private=self.n_private,
                prototypes=self.prototypes,
                efficacy_mode=self.efficacy_mode,
                control=self.control,
                seed=seed,
            )
            self._train(model, seed)
        self.model_ = model
        self.evidence.update(
            steps=int(model.trainer.global_step), loss=float(model.history["train_loss"].iloc[-1, 0])
        )

    def _estimate_efficacy(self, screen: Screen, data: MuData, seed: int) -> str | None:
        """Write how likely each cell shows the effect of its label into the copy that is learned from; return the column."""
        if self.control is None:
            return None
        for m in screen.modalities:
            places = components_of(screen.mdata.mod[m], m, N_COMPONENTS, seed)
            found = label_efficacy(places, screen.labels[m], self.control)
            data.mod[m].obs[EFFICACY] = found.probability
        return EFFICACY

    def _train(self, model: GROOVE, seed: int) -> None:
        model.train(
            self.max_epochs,
            accelerator=self.device,
            train_size=1.0,
            batch_size=self.batch_size,
            n_labels_per_batch=self.n_labels_per_batch,
            n_cells_per_label=self.n_cells_per_label,
            seed=seed,
            datasplitter_kwargs={"balance": self.balance},
            plan_kwargs={
                "reconstruction_weight": self.reconstruction_weight,
                "groupclip_weight": self.groupclip_weight,
                "backtranslation_weight": self.backtranslation_weight,
                "backtranslation_warmup": self.backtranslation_warmup,
                "refine": self.refine,
                "refinement_weight": self.refinement_weight,
                "independence_weight": self.independence_weight,
                **({} if self.lr is None else {"lr": self.lr}),
                "lr_schedule": self.lr_schedule,
                "weight_decay": self.weight_decay,
            },
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )

    def _transform(self, mdata: MuData) -> dict[str, FloatArray]:
        names = check_modalities(mdata, self.modalities_)
        with quiet():
            return {
                m: np.asarray(self.model_.get_latent_representation(_values(mdata.mod[m]), m)) for m in names
            }

    def translate(self, mdata: MuData, source: str, target: str) -> FloatArray:
        """Return expected values of the target for the source cells of a MuData, (n_source, d_target), after :meth:`fit`."""
        with quiet():
            return np.asarray(self.model_.translate(source, target, _values(mdata.mod[source])))


@LEARNERS.register("groove_mlp")
@dataclass
class GrooveMLP(GrooveLearner):
    """GROOVE with encoders of two hidden layers; parameters as in :class:`GrooveLearner`."""

    name: ClassVar[str] = "groove_mlp"

    encoder: EncoderKind = "mlp"
    dropout: float = 0.3


@LEARNERS.register("groove_paper")
@dataclass
class GroovePaper(GrooveLearner):
    """GROOVE with the ``preset="paper"`` of :class:`scgroove.model.GROOVE`; parameters as in :class:`GrooveLearner`."""

    name: ClassVar[str] = "groove_paper"

    encoder: EncoderKind = "mlp"
    dropout: float = 0.0
    temperature: float = 0.1
    backtranslation_warmup: float = 0.0
    lr: float = 1e-3
    lr_schedule: Schedule = "constant"


@LEARNERS.register("groove_no_groupclip")
@dataclass
class GrooveWithoutGroupCLIP(GrooveLearner):
    """Ablation: GROOVE without its contrastive loss, so that nothing but back-translation links the modalities.

    Parameters as in :class:`GrooveLearner`.
    """

    name: ClassVar[str] = "groove_no_groupclip"

    groupclip_weight: float = 0.0


@LEARNERS.register("groove_no_backtranslation")
@dataclass
class GrooveWithoutBackTranslation(GrooveLearner):
    """Ablation: GROOVE without back-translation; parameters as in :class:`GrooveLearner`."""

    name: ClassVar[str] = "groove_no_backtranslation"

    backtranslation_weight: float = 0.0


@LEARNERS.register("groove_autoencoder")
@dataclass
class GrooveAutoencoder(GrooveLearner):
    """Ablation: one autoencoder for each modality, which nothing links; parameters as in :class:`GrooveLearner`."""

    name: ClassVar[str] = "groove_autoencoder"

    groupclip_weight: float = 0.0
    backtranslation_weight: float = 0.0


@LEARNERS.register("groove_groupclip_only")
@dataclass
class GrooveContrastOnly(GrooveLearner):
    """Ablation: the encoders of GROOVE trained by GroupCLIP alone; parameters as in :class:`GrooveLearner`."""

    name: ClassVar[str] = "groove_groupclip_only"

    reconstruction_weight: float = 0.0
    backtranslation_weight: float = 0.0


@LEARNERS.register("groove_outside")
@dataclass
class GrooveOutside(GrooveLearner):
    """Ablation: GROOVE with the sum over positives outside the logarithm; parameters as in :class:`GrooveLearner`."""

    name: ClassVar[str] = "groove_outside"

    positives: Positives = "outside"


def shared_values(screen: Screen) -> MuData:
    """Return the values and labels of a screen, without copying the values: scvi-tools writes into what it is given."""
    options = getattr(mudata, "set_options", None)  # before 0.4, mudata copied columns up unless told not to
    with options(pull_on_update=False) if options else nullcontext():
        return mudata.MuData({m: _values(screen.mdata.mod[m], screen.labels[m]) for m in screen.modalities})


def _values(adata: AnnData, labels: Any = None) -> AnnData:
    obs = pd.DataFrame(index=adata.obs_names)
    if labels is not None:
        obs[LABEL] = pd.Categorical(labels)
    return anndata.AnnData(adata.X, obs=obs, var=pd.DataFrame(index=adata.var_names))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep scvi-tools and Lightning from speaking of what a learner does not need to say."""
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

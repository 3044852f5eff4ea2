"""What a run was asked for, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData

    from scgroove.model import GROOVE


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is asked for.

    Attributes
    ----------
    source, target
        Cells of ``source`` are matched to those of ``target``, and ``target`` is imputed for them.
    modalities
        All modalities to train on, source and target among them.
    label_key
        Column of the labels, one for all modalities or one for each.
    layers, likelihood
        Of some modalities.
    batch_key
        Column of the batch in each modality that has one.
    unlabeled_category, pair_key
        Label that stands for "no label", and column that pairs cells; None where there are none.
    min_cells_per_label
        Fewest cells of a shared label.
    method, labelled
        How cells are coupled.
    impute
        ``"decoder"`` or ``"barycentric"``.
    n_latent, encoder, epochs
        None for the defaults of the model.
    accelerator, seed
        Where to train, and the random state.
    """

    source: str
    target: str
    modalities: tuple[str, ...]
    label_key: str | Mapping[str, str] = "label"
    layers: Mapping[str, str] = field(default_factory=dict)
    likelihood: Mapping[str, str] = field(default_factory=dict)
    batch_key: Mapping[str, str] | None = None
    unlabeled_category: str | None = None
    pair_key: str | None = None
    min_cells_per_label: int = 2
    method: str = "eot"
    labelled: bool = True
    impute: str = "decoder"
    n_latent: int | None = None
    encoder: str | None = None
    epochs: int | None = None
    accelerator: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Note:
    """A finding in plain words.

    Attributes
    ----------
    level
        ``"good"``, ``"caution"`` or ``"problem"``.
    text
        One to three sentences.
    """

    level: str
    text: str


@dataclass
class Results:
    """What a run found; filled step by step.

    Attributes
    ----------
    mdata, model
        The data with all that was written into them, and the trained model.
    settings
        What was asked for.
    data_name
        What the data are called in the report.
    labels
        Cells of each label in each modality, and whether it is shared.
    accuracy, held_out
        Labels found across modalities, over all cells and over those kept out of training.
    mixing
        Share of the nearest neighbours of a cell that are of the other modality, where both have as many cells
        of each label: 0.5 if they mix.
    sample, sample_size
        Cells that were matched once more without labels, in words, and how many of each label; empty where that
        was not possible.
    recovered
        Share of the mass of each label that went to the right label then.
    evidence
        Of the coupling.
    agreement
        Correlation of imputed and measured values, one row a feature.
    scores
        Against the known truth; None where there is none.
    warnings
        Raised on the way: ours, and those of other packages.
    seconds
        Of each step.
    """

    mdata: MuData
    settings: Settings
    data_name: str
    model: GROOVE | Any = None
    labels: pd.DataFrame | Any = None
    accuracy: pd.DataFrame | Any = None
    held_out: pd.DataFrame | None = None
    mixing: float | None = None
    sample: str = ""
    sample_size: int = 0
    recovered: pd.Series | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    agreement: pd.DataFrame | Any = None
    scores: pd.DataFrame | None = None
    warnings: list[str] = field(default_factory=list)
    other_warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

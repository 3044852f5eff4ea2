"""What a run was asked for, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData

    from scgroove.metrics.permutation_tests import CorrelationTest, LabelTest
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
        Label that stands for "no label", and column that pairs cells. None where there are none.
    paired
        Whether equal names of cells mean the same cell: True, False or ``"auto"``.
        ``pair_key`` goes first.
    min_cells_per_label
        Fewest cells of a shared label.
    method, labeled
        How cells are coupled.
    impute
        ``"decoder"`` or ``"barycentric"``.
    n_latent, encoder, epochs
        None for the defaults of the model.
    accelerator, seed
        Where to train, and the random state.
    null
        How often the analysis is repeated on permuted labels.
    """

    source: str
    target: str
    modalities: tuple[str, ...]
    label_key: str | Mapping[str, str] = "label"
    layers: Mapping[str, str] = field(default_factory=dict)
    likelihood: Mapping[str, str] = field(default_factory=dict)
    batch_key: Mapping[str, str] | None = None
    unlabeled_category: str | list[str] | None = None
    pair_key: str | None = None
    paired: bool | str = "auto"
    min_cells_per_label: int = 2
    method: str = "eot"
    labeled: bool = True
    impute: str = "decoder"
    n_latent: int | None = None
    encoder: str | None = None
    epochs: int | None = None
    accelerator: str = "auto"
    seed: int = 0
    null: int = 0


@dataclass
class Results:
    """The findings of a run, filled step by step.

    Attributes
    ----------
    mdata, model
        The data with everything that was written into them, and the trained model.
    settings, data_name
        The settings, and the name of the data in the report.
    labels
        Cells of each label in each modality, and whether it is shared.
    accuracy
        Labels found across modalities, over all cells, which the model has seen in training.
    tests
        Tests of labels found across modalities, for each learner and direction: of ``"groove"``
        over the cells kept out of training, and of a learner in closed form.
    agreement_test
        Of label means of imputed values, over cells kept out of training. None if impossible.
    label_mean_r
        The same correlation for the measured label means of the training cells.
    partner_test
        Of imputed values within labels, if true values are known.
    null
        Scores beside the same on permuted labels, one row for each learner and score.
    permuted
        Scores and agreement of features of each repetition on permuted labels.
    pairs
        Rows of source and target that are the same cell. None if nothing is known.
    mixing
        Share of the nearest neighbors of a cell that are of the other modality, for as many cells
        of each label in both: 0.5 if they mix.
    sample, sample_size, sample_held_out
        Cells that were matched once more without labels, in words, and how many of each label.
        Empty if that was not possible, and whether training kept them out.
    recovered
        Share of the mass of each label that went to the right label then.
    evidence
        Of the coupling.
    agreement
        Correlation of imputed and measured values, one row a feature.
    scores
        Against the known truth. None if there is none.
    warnings, other_warnings
        Raised on the way: ours, and those of other packages.
    split
        Rows of each modality that trained, validated and tested the model.
    seconds
        Of each step.
    """

    mdata: MuData
    settings: Settings
    data_name: str
    model: GROOVE | Any = None
    labels: pd.DataFrame | Any = None
    accuracy: pd.DataFrame | Any = None
    tests: dict[str, dict[tuple[str, str], LabelTest]] = field(default_factory=dict)
    agreement_test: CorrelationTest | None = None
    label_mean_r: float | None = None
    partner_test: CorrelationTest | None = None
    null: pd.DataFrame | None = None
    permuted: list[dict[str, dict[str, float]]] = field(default_factory=list)
    pairs: tuple[Any, Any] | None = None
    mixing: float | None = None
    sample: str = ""
    sample_size: int = 0
    sample_held_out: bool = False
    recovered: pd.Series | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    agreement: pd.DataFrame | Any = None
    scores: pd.DataFrame | None = None
    warnings: list[str] = field(default_factory=list)
    other_warnings: list[str] = field(default_factory=list)
    split: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def by_construction(self) -> bool:
        """Whether imputed label means are those of the target by construction."""
        return self.settings.impute == "barycentric" and self.settings.labeled

    def label_column(self, modality: str) -> str:
        """Return the column of the label in a modality."""
        key = self.settings.label_key
        return key if isinstance(key, str) else key[modality]

    def labels_of(self, modality: str) -> Any:
        """Return the label of each cell as text, None where it has none."""
        from scgroove.data.labels import labels_of

        obs = self.mdata.mod[modality].obs
        return labels_of(obs, self.label_column(modality), self.settings.unlabeled_category)

"""Named simulation settings, frozen so that a benchmark row can point at one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

View: TypeAlias = Literal["tanh", "linear"]
VIEWS: Final[tuple[str, ...]] = ("tanh", "linear")


@dataclass(frozen=True)
class Scenario:
    """Parameters of :func:`scgroove.simulations.weakly_paired` except the seed.

    Checked on construction: an impossible setting never becomes a scenario.

    Attributes
    ----------
    n_labels
        Labels over all modalities, exclusive ones included.
    n_cells_per_label
        Cells of each label in each modality that has it: one number, or one per label.
    modalities, n_features
        Names of the modalities and their numbers of features, in the same order.
    n_latent
        Dimension k of the cell state and of the effects.
    n_private
        Dimension p of what only one modality sees.
    rho
        Share of the variance of the label effect that the modalities have in common, in [0, 1].
    effect
        Standard deviation e of the label effect in units of the cell state.
    noise
        Standard deviation sigma of the measurement noise in units of the signal of a feature.
    view
        ``"tanh"``: a random network with one hidden layer of 64 units; ``"linear"``: a random matrix.
    counts
        Modalities that are negative-binomial counts (CSR); the others are Gaussian and standardised.
    library_size
        Median total count of a cell of a count modality.
    dispersion
        Inverse dispersion theta of the counts: variance = mean + mean**2 / theta.
    co_assayed
        True: the modalities measure the same cells. False: each has cells of its own.
    exclusive_labels
        Labels found in one modality only: a number for every modality, or one per modality.
    unlabeled_fraction
        Share of cells whose label is hidden, drawn in each modality on its own, in [0, 1).
    """

    n_labels: int = 20
    n_cells_per_label: int | Sequence[int] = 60
    modalities: tuple[str, ...] = ("rna", "protein")
    n_features: tuple[int, ...] = (100, 50)
    n_latent: int = 10
    n_private: int = 3
    rho: float = 1.0
    effect: float = 2.0
    noise: float = 0.5
    view: View = "tanh"
    counts: tuple[str, ...] = ()
    library_size: float = 2000.0
    dispersion: float = 10.0
    co_assayed: bool = True
    exclusive_labels: int | Mapping[str, int] = 0
    unlabeled_fraction: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be simulated."""
        _check_modalities(self.modalities, self.n_features, self.counts)
        _check_numbers(self)
        self.cells_per_label()
        self.exclusive()

    def cells_per_label(self) -> tuple[int, ...]:
        """Return the number of cells of each label."""
        given = self.n_cells_per_label
        if isinstance(given, Sequence | np.ndarray):
            cells = tuple(int(n) for n in given)
        else:
            cells = (int(given),) * self.n_labels
        if len(cells) != self.n_labels or min(cells) < 1:
            raise ValueError(
                f"n_cells_per_label must be a positive number, or {self.n_labels} positive numbers (one per "
                f"label, n_labels={self.n_labels}); found {given!r}."
            )
        return cells

    def exclusive(self) -> dict[str, int]:
        """Return the number of exclusive labels of each modality."""
        given = self.exclusive_labels
        if isinstance(given, Mapping):
            _check_known("exclusive_labels", tuple(given), self.modalities)
            counts = {m: int(given.get(m, 0)) for m in self.modalities}
        else:
            counts = dict.fromkeys(self.modalities, int(given))
        if min(counts.values()) < 0 or sum(counts.values()) >= self.n_labels:
            raise ValueError(
                f"exclusive_labels must leave at least one shared label: found {counts} (in all "
                f"{sum(counts.values())}) of n_labels={self.n_labels}. Exclusive labels are taken out of "
                f"n_labels: lower exclusive_labels or raise n_labels."
            )
        return counts

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as a plain dictionary, as given."""
        return asdict(self)


def _check_known(argument: str, given: Sequence[str], modalities: Sequence[str]) -> None:
    unknown = [name for name in given if name not in modalities]
    if unknown:
        raise ValueError(
            f"{argument} names {', '.join(map(repr, unknown))}, which is not among "
            f"modalities={tuple(modalities)!r}."
        )


def _check_modalities(modalities: Sequence[str], n_features: Sequence[int], counts: Sequence[str]) -> None:
    if len(modalities) < 2 or len(set(modalities)) != len(modalities):
        raise ValueError(f"modalities must be two or more different names; found {tuple(modalities)!r}.")
    if len(n_features) != len(modalities) or min(n_features) < 1:
        raise ValueError(
            f"n_features must hold one positive number per modality: expected {len(modalities)} for "
            f"modalities={tuple(modalities)!r}, found {tuple(n_features)!r}."
        )
    _check_known("counts", counts, modalities)


def _check_numbers(s: Scenario) -> None:
    rules: tuple[tuple[str, float, bool, str], ...] = (
        ("n_labels", s.n_labels, s.n_labels >= 1, "at least 1"),
        ("n_latent", s.n_latent, s.n_latent >= 1, "at least 1"),
        ("n_private", s.n_private, s.n_private >= 0, "at least 0"),
        ("rho", s.rho, 0 <= s.rho <= 1, "between 0 (no shared effect) and 1 (all of the effect is shared)"),
        ("effect", s.effect, s.effect >= 0, "at least 0"),
        ("noise", s.noise, s.noise >= 0, "at least 0"),
        ("library_size", s.library_size, s.library_size > 0, "positive"),
        ("dispersion", s.dispersion, s.dispersion > 0, "positive"),
        (
            "unlabeled_fraction",
            s.unlabeled_fraction,
            0 <= s.unlabeled_fraction < 1,
            "at least 0 and below 1",
        ),
    )
    for name, value, fine, expected in rules:
        if not fine:
            raise ValueError(f"{name} must be {expected}; found {value!r}.")
    if s.view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(map(repr, VIEWS))}; found {s.view!r}.")


REFERENCE: Final = Scenario()
"""The reference scenario of the user guide, "Simulated screens": every default. Use it with seeds 0 to 4."""

REFERENCE_HALF_SHARED: Final = Scenario(rho=0.5)
"""The reference scenario with half of the label effect specific to each modality."""

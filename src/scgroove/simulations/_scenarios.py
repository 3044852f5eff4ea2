"""Parameters of a simulation, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from scgroove._validate import checked
from scgroove.errors import InputError
from scgroove.simulations._knobs import zipf_sizes

View: TypeAlias = Literal["tanh", "linear"]

PER_MODALITY: Final = ("escape", "label_noise", "confusion", "n_batches")
"""Parameters that may be one number, or one for each modality."""


@checked
@dataclass(frozen=True)
class Scenario:
    """Parameters of :func:`scgroove.simulations.weakly_paired`, checked on construction.

    Parameters per modality are one number, or ``{modality: number}``.

    Attributes
    ----------
    n_labels
        Labels over all modalities, exclusive ones included.
    n_cells_per_label
        Cells of each label in each modality that has it: one number, or one per label.
    modalities, n_features
        Names of the modalities, two or more, and their numbers of features in the same order.
    n_latent
        Dimension k of the cell state c and of the effects D.
    n_private
        Dimension p of s, what only one modality sees of a cell.
    rho
        Share of the variance of the label effect that the modalities have in common, in [0, 1].
    effect
        Standard deviation e of the label effect, in units of the cell state.
    noise
        Standard deviation sigma of the measurement noise, in units of the signal of a feature.
    view
        ``"tanh"``, a random network with one hidden layer of 64 units, or ``"linear"``.
    counts
        Modalities that are negative-binomial counts (CSR). Others are Gaussian and standardized.
    library_size, dispersion
        Median total count of a cell, and theta of ``variance = mean + mean**2 / theta``, of counts.
    co_assayed
        True: the modalities measure the same cells. False: each has cells of its own.
    exclusive_labels
        Labels found in one modality only, taken out of ``n_labels``, per modality. They come last.
    unlabeled_fraction
        Share of cells whose label is hidden, drawn in each modality on its own, in [0, 1).
    escape
        Share of cells that carry a label without its effect, in [0, 1]. Per modality only with
        ``co_assayed=False``: the same cell escapes in all modalities.
    label_noise
        Share of labeled cells that show any other label of their modality, in [0, 1], per modality.
    confusion
        Share of labeled cells that show the label of their modality whose shared effect is nearest
        to that of their own, in [0, 1], per modality. They are other cells than those of
        ``label_noise``, so that both together are at most 1.
    imbalance
        Zipf exponent s: the label of rank r has cells in proportion to r**-s, and at least 2.
    n_batches, batch_effect
        Batches of equal size, per modality, and the standard deviation b of the shift of a feature
        in a batch, in units of its signal (in log rate for counts).
    n_substates, substate_effect
        Sub-states of equal size in each label, and the standard deviation h of their shift, in
        units of the cell state. All modalities see the same shift, also of cells that escape.
    inert
        Share of labels without any effect, in [0, 1].
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
    escape: float | Mapping[str, float] = 0.0
    label_noise: float | Mapping[str, float] = 0.0
    confusion: float | Mapping[str, float] = 0.0
    imbalance: float = 0.0
    n_batches: int | Mapping[str, int] = 1
    batch_effect: float = 0.0
    n_substates: int = 1
    substate_effect: float = 0.0
    inert: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be simulated."""
        _check_modalities(self)
        _check_numbers(self)
        self.cells_per_label()
        self.exclusive()
        _check_shares(self)
        _check_shifts(self)

    def cells_per_label(self) -> tuple[int, ...]:
        """Return the number of cells of each label."""
        given = self.n_cells_per_label
        several = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
        numbers: list[Any] = [given] * self.n_labels
        if several:
            numbers = list(given)  # type: ignore[arg-type]
        whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in numbers)
        cells = tuple(int(n) for n in numbers) if whole else ()
        if len(cells) != self.n_labels or min(cells) < 1:
            raise InputError(
                f"n_cells_per_label must be a positive number, or {self.n_labels} positive numbers "
                f"(one per label, n_labels={self.n_labels}); found {given!r}."
            )
        if not self.imbalance:
            return cells
        _check_imbalance(self, cells)
        return zipf_sizes(self.n_labels, sum(cells), self.imbalance)

    def exclusive(self) -> dict[str, int]:
        """Return the number of exclusive labels of each modality."""
        given = self.exclusive_labels
        if isinstance(given, Mapping):
            _check_known("exclusive_labels", tuple(given), self.modalities)
        counts = {
            m: given.get(m, 0) if isinstance(given, Mapping) else given for m in self.modalities
        }
        if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in counts.values()):
            raise InputError(
                f"exclusive_labels must be a whole number, or one per modality; found {given!r}."
            )
        if min(counts.values()) < 0 or sum(counts.values()) >= self.n_labels:
            raise InputError(
                f"exclusive_labels must leave at least one shared label: found {counts} (in all "
                f"{sum(counts.values())}) of n_labels={self.n_labels}. Exclusive labels are "
                f"taken out of n_labels: lower exclusive_labels or raise n_labels."
            )
        return counts

    def per_modality(self, parameter: str) -> dict[str, Any]:
        """Return a parameter of each modality. A mapping may leave modalities out."""
        given = getattr(self, parameter)
        if parameter not in PER_MODALITY or not isinstance(given, Mapping):
            return dict.fromkeys(self.modalities, given)
        _check_known(parameter, tuple(given), self.modalities)
        without = 1 if parameter == "n_batches" else 0.0
        return {m: given.get(m, without) for m in self.modalities}

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as a plain dictionary, as given."""
        return asdict(self)

    def differences(self) -> dict[str, Any]:
        """Return the parameters that are not those of the reference scenario.

        Examples
        --------
        >>> Scenario(rho=0.5, escape=0.3).differences()
        {'rho': 0.5, 'escape': 0.3}
        """
        return {
            f.name: value
            for f in fields(self)
            if _differs(value := getattr(self, f.name), f.default)
        }


def _differs(value: Any, reference: Any) -> bool:
    same_shape = np.shape(value) == np.shape(reference)
    return not (same_shape and bool(np.all(np.asarray(value) == np.asarray(reference))))


def _check_known(argument: str, given: Iterable[str], modalities: Sequence[str]) -> None:
    unknown = [name for name in given if name not in modalities]
    if unknown:
        raise InputError(
            f"{argument} names {', '.join(map(repr, unknown))}, which is not among "
            f"modalities={tuple(modalities)!r}."
        )


def _check_modalities(s: Scenario) -> None:
    if len(s.modalities) < 2 or len(set(s.modalities)) != len(s.modalities):
        raise InputError(f"modalities must be two or more different names; found {s.modalities!r}.")
    if len(s.n_features) != len(s.modalities) or min(s.n_features) < 1:
        raise InputError(
            f"n_features must hold one positive number per modality: expected "
            f"{len(s.modalities)} for modalities={s.modalities!r}, found {s.n_features!r}."
        )
    _check_known("counts", s.counts, s.modalities)


_ABOVE_0: Final = math.ulp(0.0)
_BELOW_1: Final = math.nextafter(1.0, 0.0)

_RULES: Final[dict[str, tuple[type, float, float, str]]] = {
    "n_labels": (Integral, 1, math.inf, "at least 1"),
    "n_latent": (Integral, 1, math.inf, "at least 1"),
    "n_private": (Integral, 0, math.inf, "at least 0"),
    "rho": (Real, 0, 1, "between 0 (no shared effect) and 1 (all of the effect is shared)"),
    "effect": (Real, 0, math.inf, "at least 0"),
    "noise": (Real, 0, math.inf, "at least 0"),
    "library_size": (Real, _ABOVE_0, math.inf, "positive"),
    "dispersion": (Real, _ABOVE_0, math.inf, "positive"),
    "unlabeled_fraction": (Real, 0, _BELOW_1, "at least 0 and below 1"),
    "escape": (Real, 0, 1, "between 0 and 1, the share of cells without the effect of their label"),
    "label_noise": (Real, 0, 1, "between 0 and 1, the share of labeled cells with a wrong label"),
    "confusion": (
        Real,
        0,
        1,
        "between 0 and 1, the share of labeled cells with the label nearest to their own",
    ),
    "imbalance": (Real, 0, math.inf, "at least 0 (labels of one size); 1.5 is a long tail"),
    "n_batches": (Integral, 1, math.inf, "at least 1"),
    "batch_effect": (Real, 0, math.inf, "at least 0"),
    "n_substates": (Integral, 1, math.inf, "at least 1"),
    "substate_effect": (Real, 0, math.inf, "at least 0"),
    "inert": (Real, 0, 1, "between 0 and 1, the share of labels without any effect"),
}
"""Kind of number, least and greatest value of each parameter, and the same in words."""


def _check_numbers(s: Scenario) -> None:
    for name, (kind, least, greatest, expected) in _RULES.items():
        for value in s.per_modality(name).values():
            is_number = isinstance(value, kind) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and least <= value <= greatest):
                is_whole = kind is Real or isinstance(value, Integral)
                whole = "" if is_whole else "a whole number, "
                raise InputError(f"{name} must be {whole}{expected}; found {getattr(s, name)!r}.")


def _check_imbalance(s: Scenario, cells: Sequence[int]) -> None:
    given = s.n_cells_per_label
    if isinstance(given, Sequence | np.ndarray):
        raise InputError(
            f"imbalance={s.imbalance!r} shares out the cells of all labels, but n_cells_per_label "
            f"already gives each label its own number: found {given!r}. Give one number, such as "
            f"n_cells_per_label={sum(cells) // s.n_labels}, or leave imbalance at 0."
        )
    if min(cells) < 2:
        raise InputError(
            f"imbalance leaves every label at least 2 cells: expected n_cells_per_label of 2 or "
            f"more, found {given!r}."
        )


def _check_shares(s: Scenario) -> None:
    """Check shares of cells that escape or show a wrong label."""
    if s.co_assayed and isinstance(s.escape, Mapping):
        raise InputError(
            f"escape must be one number where co_assayed=True, found {dict(s.escape)!r}: the "
            f"modalities measure the same cells, and a cell that escapes does so in all of them. "
            f"Give escape={max(s.escape.values(), default=0.0)!r}, or co_assayed=False for "
            f"cells of their own."
        )
    exclusive = s.exclusive()
    n_shared = s.n_labels - sum(exclusive.values())
    noise, confusion = s.per_modality("label_noise"), s.per_modality("confusion")
    for name in s.modalities:
        n_labels = n_shared + exclusive[name]
        for knob, share in (("label_noise", noise[name]), ("confusion", confusion[name])):
            if share > 0 and n_labels < 2:
                raise InputError(
                    f"{knob}={share!r} gives cells another label of their modality, but {name!r} "
                    f"has {n_labels} label(s): raise n_labels (found {s.n_labels}) or set {knob}=0."
                )
        if noise[name] + confusion[name] > 1:
            raise InputError(
                f"label_noise and confusion share out the labeled cells of a modality, so both "
                f"together must be at most 1; found label_noise={noise[name]!r} and "
                f"confusion={confusion[name]!r} in {name!r}."
            )


def _check_shifts(s: Scenario) -> None:
    """Check that there are batches and sub-states to shift."""
    if s.batch_effect > 0 and max(s.per_modality("n_batches").values()) < 2:
        raise InputError(
            f"batch_effect={s.batch_effect!r} shifts one batch against another, but n_batches is "
            f"{s.n_batches!r}. Give n_batches=3, say, or leave batch_effect at 0."
        )
    if s.substate_effect > 0 and s.n_substates < 2:
        raise InputError(
            f"substate_effect={s.substate_effect!r} shifts one sub-state of a label against "
            f"another, but n_substates is {s.n_substates!r}. Give n_substates=2, say, or leave "
            f"substate_effect at 0."
        )

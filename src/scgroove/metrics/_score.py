"""Metrics by name, on what is at hand, each beside what it has by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import numpy.typing as npt
import pandas as pd

from scgroove._labels import Label
from scgroove._registry import Registry
from scgroove._types import IntArray, Labels
from scgroove._validate import checked
from scgroove.errors import InputError, InputTypeError, MissingTruthError, did_you_mean
from scgroove.metrics._candidates import (
    Candidates,
    CandidateSet,
    PlanLike,
    candidates,
    check_partner,
)
from scgroove.metrics._chance import Chance

Kind: TypeAlias = Literal["representation", "coupling", "imputation"]
Better: TypeAlias = Literal["lower", "higher"]
Scope: TypeAlias = Literal["within_label", "global"]
SCOPES: Final[tuple[Scope, ...]] = ("within_label", "global")

T = TypeVar("T")

NEEDS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "x": (("x",), "the representation of the source cells"),
    "y": (("y",), "the representation of the target cells"),
    "coupling": (("coupling",), "a coupling"),
    "partner": (
        ("partner",),
        "the target row that truly matches each source row (-1: none; numpy.arange(n) if they stand in one order)",
    ),
    "labels": (("labels_x", "labels_y"), "the label of each source and target cell"),
    "doses": (("doses_x", "doses_y"), "the dose of each source and target cell"),
    "latents": (("latent_x", "latent_y"), "the true latent of each source and target cell"),
    "predicted": (("predicted",), "the predicted values of each source cell"),
    "measured": (("measured",), "the measured values of each target cell"),
    "control": (("control",), "the name of the control label"),
}
"""What metrics may need: the arguments of :func:`scores`, and what they are."""


@dataclass(frozen=True)
class Score:
    """One value of a metric, and what it is to be read against.

    Attributes
    ----------
    name
        Of the metric.
    value
        What was found.
    chance
        What it has without any knowledge beyond the label (``*_within_label``) or beyond nothing.
    chance_sd
        Standard deviation of ``value`` if the true partners were drawn at random among the candidates: a value is
        more than chance if it is several of these away.
    n
        What was averaged over: source cells; target cells for label transfer; labels for effects and distributions.
    better
        ``"lower"`` or ``"higher"``.
    perfect
        Value of a perfect match; NaN if there is none.
    """

    name: str
    value: float
    chance: float
    chance_sd: float
    n: int
    better: Better
    perfect: float


@dataclass(frozen=True)
class Found:
    """What a metric computes: its value, its mean and spread by :class:`Chance`, and how many it was averaged over."""

    value: float
    chance: Chance
    n: int


class ScoreList(list[Score]):
    """Scores, and which metrics were left out.

    Attributes
    ----------
    skipped
        The reason, for each metric that was left out.
    """

    def __init__(
        self, scores: Iterable[Score] = (), skipped: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(scores)
        self.skipped: dict[str, str] = dict(skipped or {})

    def to_frame(self) -> pd.DataFrame:
        """Return one row a score, one column an attribute of :class:`Score`."""
        return pd.DataFrame(
            [asdict(one) for one in self], columns=[field.name for field in fields(Score)]
        )


@dataclass(frozen=True)
class ScoredMetric:
    """A metric as :func:`scores` knows it.

    Attributes
    ----------
    name
        Under which it is registered in :data:`SCORES`.
    kind
        What it scores: ``"representation"``, ``"coupling"`` or ``"imputation"``.
    better, perfect
        As in :class:`Score`.
    needs
        What must be at hand: names of :data:`NEEDS`.
    compute
        Computes it.
    preset
        Whether it is a peer's definition, which is computed only where it is asked for by name.
    across_labels
        Whether it looks among cells of other labels, so that labels that a learner remembers raise it.
    """

    name: str
    kind: Kind
    better: Better
    perfect: float
    needs: frozenset[str]
    compute: Callable[[Material], Found]
    preset: bool = False
    across_labels: bool = False


SCORES: Final[Registry[ScoredMetric]] = Registry("metric")
"""Every metric that :func:`scores` knows, with what it needs and how to read it."""


def register(
    name: str,
    *,
    kind: Kind,
    better: Better,
    perfect: float,
    needs: Iterable[str],
    preset: bool = False,
    across_labels: bool = False,
) -> Callable[[Callable[[Material], Found]], Callable[[Material], Found]]:
    """Return a decorator that files a function of :class:`Material` as a metric, and hands it back unchanged.

    It is known to :func:`scores` and to the benchmark from then on.

    Parameters
    ----------
    name
        Of the metric; end it in ``_within_label`` or ``_global`` if it asks inside labels or among all cells.
    kind
        What it scores: ``"representation"``, ``"coupling"`` or ``"imputation"`` (in the benchmark: values that a coupling
        imputes).
    better
        ``"lower"`` or ``"higher"``.
    perfect
        Value of a perfect match; NaN if there is none.
    needs
        What must be at hand, else the metric is left out: names of ``scgroove.metrics.NEEDS``, such as ``"coupling"``,
        ``"x"``, ``"y"``, ``"partner"``, ``"labels"``.
    preset
        Compute it only where it is asked for by name.
    across_labels
        Set this if the metric asks which label a cell has, or looks among cells of other labels. The benchmark
        then scores it on cells that the learner has not seen, and not for a coupling that was told the labels.

    Returns
    -------
    callable
        The decorator. What it decorates takes a :class:`Material` and returns a :class:`Found`.

    Raises
    ------
    ValueError
        If the name is taken, or ``kind``, ``better`` or ``needs`` are not known.

    References
    ----------
    User guide, "Extending".
    """
    _check_choice("kind", kind, get_args(Kind))
    _check_choice("better", better, get_args(Better))
    for need in needs:
        _check_choice("needs", need, NEEDS)

    def add(compute: Callable[[Material], Found]) -> Callable[[Material], Found]:
        made = ScoredMetric(
            name, kind, better, perfect, frozenset(needs), compute, preset, across_labels
        )
        SCORES.register(name)(made)
        return compute

    return add


def _check_choice(argument: str, found: object, known: Collection[Any]) -> None:
    if found not in known:
        raise InputError(
            f"{argument} of a metric: unknown {found!r}.{did_you_mean(found, known)} Available: {', '.join(known)}."
        )


def without_presets() -> list[str]:
    """Return the names of the metrics that are computed where none are asked for by name."""
    return [name for name in SCORES.names() if not SCORES.get(name).preset]


def needs_of(scope: Scope, *others: str) -> tuple[str, ...]:
    """Return what a metric of a scope needs."""
    return (*others, "labels") if scope == "within_label" else others


@checked
@dataclass(eq=False)
class Material:
    """What is at hand to score: the arguments of :func:`scores`; and what was computed of it, once for all metrics."""

    x: npt.ArrayLike | None = None
    y: npt.ArrayLike | None = None
    coupling: PlanLike | None = None
    partner: npt.ArrayLike | None = None
    labels_x: Labels | None = None
    labels_y: Labels | None = None
    doses_x: Labels | None = None
    doses_y: Labels | None = None
    latent_x: npt.ArrayLike | None = None
    latent_y: npt.ArrayLike | None = None
    predicted: Any = None
    measured: Any = None
    control: Label | None = None
    metric: Literal["euclidean", "cosine"] = "euclidean"
    n_neighbors: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        self._kept: dict[Any, Any] = {}
        self._sizes = (
            self._size(
                0, "source", ("x", "latent_x", "predicted", "labels_x", "doses_x", "partner")
            ),
            self._size(1, "target", ("y", "latent_y", "measured", "labels_y", "doses_y")),
        )

    def _size(self, axis: int, side: str, names: tuple[str, ...]) -> int:
        """Return the number of cells of a side; 0 if nothing of it is given."""
        given = {name: getattr(self, name) for name in names}
        sizes = {
            name: int(part.shape[0]) if hasattr(part, "shape") else len(part)
            for name, part in given.items()
            if part is not None
        }
        if self.coupling is not None:
            sizes["coupling"] = int(self.coupling.shape[axis])
        if len(set(sizes.values())) > 1:
            raise InputError(
                f"all that is scored must have one row a {side} cell; found {sizes} rows. Give {', '.join(sizes)} of the "
                f"same cells in the same order."
            )
        return next(iter(sizes.values()), 0)

    def lacks(self, needs: Collection[str]) -> list[str]:
        """Return which of the needs are not at hand."""
        return [
            need
            for need in NEEDS
            if need in needs and any(getattr(self, argument) is None for argument in NEEDS[need][0])
        ]

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return what ``make`` returned the first time."""
        if key not in self._kept:
            self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    @property
    def best_scope(self) -> Scope:
        """Within labels if there are labels, else among all cells."""
        return "global" if self.lacks(["labels"]) else "within_label"

    def pool(self, scope: Scope) -> Candidates:
        """Return who is compared with whom."""
        x, y = (self.labels_x, self.labels_y) if scope == "within_label" else (None, None)
        return self.once(("pool", scope), lambda: candidates(*self._sizes, x, y, within_label=None))

    def partners(self) -> IntArray:
        """Return the true partners (n_source,), checked."""
        return self.once("partners", lambda: check_partner(self.partner, *self._sizes))

    def sets(self, scope: Scope) -> list[CandidateSet]:
        """Return the sets of candidates in which a true match is known."""
        return self.once(("sets", scope), lambda: self.pool(scope).sets(self.partners()))


def score(name: str, **given: Any) -> Score:
    """Return one metric by its name: see :func:`scores` for the names and for what can be given.

    Raises
    ------
    MissingTruthError
        If a truth that the metric needs is not given.
    ValueError
        If there is no such metric, or what is given does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(6.0)[:, None]
    >>> found = score("foscttm_global", x=x, y=x, partner=np.arange(6))
    >>> found.value, found.chance, found.n
    (0.0, 0.5, 6)
    """
    return scores([name], **given)[0]


def scores(
    names: Sequence[str] | None = None, *, missing: Literal["raise", "skip"] = "raise", **given: Any
) -> ScoreList:
    """Return metrics by their names, each beside what it has by chance.

    Ranks and distances that several of them rest on are computed once.

    Parameters
    ----------
    names
        Metrics, by their names in :data:`SCORES`; None: all that can be had from what is given, which leaves the
        others out as ``missing="skip"`` does, but the definitions of peers (``perturbot_*``, ``psa_*``).
    missing
        What to do with a metric whose truth is not given: ``"raise"``, or ``"skip"``: leave it out, with the reason in
        ``.skipped[name]``.
    **given
        What is at hand:

        ``x``, ``y``
            Representations of source and target cells in one space, (n_source, d) and (n_target, d).
        ``coupling``
            (n_source, n_target): dense, scipy sparse or in blocks.
        ``partner``
            (n_source,) target row that truly matches each source row, -1 for none.
        ``labels_x``, ``labels_y``
            Label of each cell; None and NaN mean unlabeled.
        ``doses_x``, ``doses_y``
            Dose of each cell; None and NaN mean unknown.
        ``latent_x``, ``latent_y``
            True latent coordinates, (n_source, k) and (n_target, k).
        ``predicted``
            Target values predicted for source cells, (n_source, f).
        ``measured``
            Values of target cells, (n_target, f).
        ``control``
            Name of the label that effects are differences to.
        ``metric``
            Distance of representations: ``"euclidean"`` (default) or ``"cosine"``.
        ``n_neighbors``
            Neighbors that vote in label transfer; default 15.
        ``seed``
            For the samples that the spread by chance rests on where candidates are many; default 0.

    Returns
    -------
    ScoreList
        A list of :class:`Score`, in the order of ``names``, with ``.skipped`` and ``.to_frame()``.

    Raises
    ------
    MissingTruthError
        If a truth that a metric needs is not given, or leaves no cell to score.
    ValueError
        If there is no such metric, or what is given does not fit.
    TypeError
        If an argument is not known.

    See Also
    --------
    chance : mean and spread by chance of a metric of your own.

    References
    ----------
    User guide, "Evaluation".

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(6.0)[:, None]
    >>> found = scores(
    ...     ["foscttm_global", "trace_global"], x=x, y=x, partner=np.arange(6), missing="skip"
    ... )
    >>> [one.name for one in found], list(found.skipped)
    (['foscttm_global'], ['trace_global'])
    """
    if missing not in ("raise", "skip"):
        raise InputError(f"missing must be 'raise' or 'skip'; found {missing!r}.")
    _check_arguments(given)
    material = Material(**given)
    found = ScoreList()
    for name in without_presets() if names is None else names:
        try:
            found.append(_one(SCORES.get(name), material))
        except MissingTruthError as error:
            if missing == "raise" and names is not None:
                raise
            found.skipped[name] = str(error)
    return found


def _check_arguments(given: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(Material)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputTypeError(
            f"scores() has no argument {', '.join(map(repr, unknown))}. What can be given: {', '.join(known)}."
        )


def _one(metric: ScoredMetric, material: Material) -> Score:
    lacking = material.lacks(metric.needs)
    if lacking:
        what = "; ".join(f"{' and '.join(NEEDS[need][0])}, {NEEDS[need][1]}" for need in lacking)
        raise MissingTruthError(
            f"metric {metric.name!r} needs {what}: not given. Pass them to scores(), or leave the metric out with "
            f"missing='skip'."
        )
    found = metric.compute(material)
    certain = found.chance.sd == 0 and math.isclose(found.chance.mean, metric.perfect)
    if certain and math.isclose(found.value, metric.perfect):
        raise MissingTruthError(
            f"metric {metric.name!r} is {metric.perfect:g} by construction here, whatever is scored: each cell has one "
            f"candidate only, or as many candidates as are looked at."
        )
    return Score(
        metric.name,
        float(found.value),
        float(found.chance.mean),
        float(found.chance.sd),
        int(found.n),
        metric.better,
        metric.perfect,
    )

"""The registry of metrics: what each needs, how to read it, and how to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from inspect import getdoc
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from scgroove._labels import Label
from scgroove._registry import Registry
from scgroove._types import Float64Array, IntArray, Labels
from scgroove._validate import checked
from scgroove.errors import InputError, InputTypeError, MissingTruthError, UnknownNameError
from scgroove.metrics._candidates import (
    Candidates,
    CandidateSet,
    PlanLike,
    candidates,
    check_pair,
    check_partner,
)

Kind: TypeAlias = Literal["representation", "coupling", "imputation"]
Better: TypeAlias = Literal["lower", "higher"]
Distance: TypeAlias = Literal["euclidean", "cosine"]

T = TypeVar("T")

NEEDS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "x": (("x",), "the representation of the source cells"),
    "y": (("y",), "the representation of the target cells"),
    "coupling": (("coupling",), "a coupling"),
    "partner": (
        ("partner",),
        "the target row that truly matches each source row (-1: none; numpy.arange(n) if they "
        "stand in one order)",
    ),
    "labels": (("labels_x", "labels_y"), "the label of each source and target cell"),
    "doses": (("doses_x", "doses_y"), "the dose of each source and target cell"),
    "latents": (("latent_x", "latent_y"), "the true latent of each source and target cell"),
    "predicted": (("predicted",), "the predicted values of each source cell"),
    "measured": (("measured",), "the measured values of each target cell"),
    "control": (("control",), "the name of the control label"),
}
"""Needs of metrics: the arguments of :func:`scores`, and what they are."""


@dataclass(frozen=True)
class Score:
    """One value of a metric, beside the value by chance.

    Attributes
    ----------
    name
        Name of the metric.
    value
        The score.
    chance, chance_sd
        Mean and standard deviation if the true partners were drawn at random among the candidates:
        without any knowledge beyond the label (``*_within_label``), or without any.
    n
        Number of source cells averaged over. Target cells for label transfer, labels for effects
        and distributions.
    better, perfect
        ``"lower"`` or ``"higher"``, and the value of a perfect match, NaN if there is none.
    """

    name: str = field(default="", kw_only=True)
    value: float
    chance: float
    chance_sd: float
    n: int
    better: Better = field(default="higher", kw_only=True)
    perfect: float = field(default=math.nan, kw_only=True)


class ScoreList(list[Score]):
    """Scores, and the reason for each metric that was left out in ``skipped``."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped: dict[str, str] = {}

    def to_frame(self) -> pd.DataFrame:
        """Return one row a score, one column an attribute of :class:`Score`."""
        columns = [field.name for field in fields(Score)]
        return pd.DataFrame([asdict(one) for one in self], columns=columns)


@dataclass(frozen=True)
class Metric:
    """A registered metric: the arguments of :func:`register`, and the function that computes it."""

    name: str
    kind: Kind
    better: Better
    perfect: float
    needs: frozenset[str]
    compute: Callable[[MetricInputs], Score]
    title: str
    meaning: str
    across_labels: bool = False


METRICS: Final[Registry[Metric]] = Registry("metric")
"""Every metric that :func:`scores` and the benchmark know."""


def register(
    name: str,
    *,
    kind: Kind,
    better: Better,
    perfect: float,
    needs: Iterable[str],
    title: str = "",
    meaning: str = "",
    across_labels: bool = False,
) -> Callable[[T], T]:
    """Register a function of :class:`MetricInputs` as a metric.

    :func:`scores` and the benchmark know it from then on.

    Parameters
    ----------
    name
        Name of the metric. End it in ``_within_label`` or ``_global`` if it compares cells of a
        label or all cells.
    kind
        ``"representation"``, ``"coupling"`` or ``"imputation"`` (in the benchmark: values that a
        coupling imputes).
    better
        ``"lower"`` or ``"higher"``.
    perfect
        Value of a perfect match. NaN if there is none.
    needs
        Inputs without which the metric is left out: ``"coupling"``, ``"x"``, ``"y"``,
        ``"partner"``, ``"labels"``, ``"latents"``, ``"predicted"``, ``"measured"``, ``"control"``
        or ``"doses"``.
    title, meaning
        Name in figures, and one or two sentences on it. By default the name, and the first line
        of the docstring.
    across_labels
        Set this if the metric asks which label a cell has, or looks among cells of other labels.
        The benchmark then scores it on cells that the learner has not seen, and not for a coupling
        that was told the labels.

    Returns
    -------
    callable
        A decorator of a function that takes :class:`MetricInputs` and returns a :class:`Score`.

    Raises
    ------
    ValueError
        If the name is taken, or ``kind``, ``better`` or ``needs`` are not known.
    """
    needs = frozenset(needs)
    options = [("kind", kind, get_args(Kind)), ("better", better, get_args(Better))]
    for argument, value, known in options + [("needs", need, tuple(NEEDS)) for need in needs]:
        if value not in known:
            raise UnknownNameError(f"{argument} of a metric", value, known)

    def add(compute: Any) -> Any:
        summary = meaning or (getdoc(compute) or "").partition("\n")[0]
        METRICS.register(name)(
            Metric(
                name,
                kind,
                better,
                perfect,
                needs,
                compute,
                title or name.replace("_", " "),
                summary,
                across_labels,
            )
        )
        return compute

    return add


def register_scopes(
    name: str, compute: Callable[..., Score], *, title: str, meaning: str, **options: Any
) -> None:
    """Register ``compute(inputs, within_label=...)`` within labels and among all cells."""
    needs = options.pop("needs")
    register(
        f"{name}_within_label",
        needs=(*needs, "labels"),
        title=f"{title}, within label",
        meaning=f"{meaning} Candidates are cells of the same label, the hard question.",
        **options,
    )(partial(compute, within_label=True))
    register(
        f"{name}_global",
        needs=needs,
        title=f"{title}, all cells",
        meaning=f"{meaning} Candidates are all cells.",
        across_labels=True,
        **options,
    )(partial(compute, within_label=False))


@checked
@dataclass(eq=False)
class MetricInputs:
    """The arguments of :func:`scores`, and results that several metrics share."""

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
    metric: Distance = "euclidean"
    n_neighbors: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parts of different cells."""
        self._cache: dict[Any, Any] = {}
        source = ("x", "latent_x", "predicted", "labels_x", "doses_x", "partner")
        target = ("y", "latent_y", "measured", "labels_y", "doses_y")
        self.sizes = self._size(0, "source", source), self._size(1, "target", target)

    def _size(self, axis: int, side: str, names: tuple[str, ...]) -> int:
        """Return the number of cells of a side. 0 if nothing of it is given."""
        sizes = {}
        for name in names:
            part = getattr(self, name)
            if part is not None:
                sizes[name] = int(part.shape[0]) if hasattr(part, "shape") else len(part)
        if self.coupling is not None:
            sizes["coupling"] = int(self.coupling.shape[axis])
        if len(set(sizes.values())) > 1:
            raise InputError(
                f"all that is scored must have one row a {side} cell; found {sizes} rows. Give "
                f"{', '.join(sizes)} of the same cells in the same order."
            )
        return next(iter(sizes.values()), 0)

    def lacks(self, needs: Collection[str]) -> list[str]:
        """Return the needs that are not given."""
        lacking = []
        for need, (arguments, _) in NEEDS.items():
            missing = [name for name in arguments if getattr(self, name) is None]
            if need in needs and missing:
                lacking.append(need)
        return lacking

    @property
    def has_labels(self) -> bool:
        """Whether the labels of both modalities are given."""
        return not self.lacks(["labels"])

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return the result of the first call of ``make`` with this key."""
        if key not in self._cache:
            self._cache[key] = make()
        result: T = self._cache[key]
        return result

    def pool(self, within_label: bool | None = None) -> Candidates:
        """Return the candidates. None: within labels if there are labels."""
        labels = self.labels_x, self.labels_y
        return self.once(
            ("pool", within_label), lambda: candidates(*self.sizes, *labels, within_label)
        )

    def partners(self) -> IntArray:
        """Return the checked true partners, (n_source,)."""
        return self.once("partners", lambda: check_partner(self.partner, *self.sizes))

    def sets(self, within_label: bool | None = None) -> list[CandidateSet]:
        """Return the sets of candidates with a known true match."""
        return self.once(
            ("sets", within_label), lambda: self.pool(within_label).sets(self.partners())
        )

    def coordinates(self) -> tuple[Float64Array, Float64Array]:
        """Return checked representations whose Euclidean distances rank as ``metric`` does."""
        return self.once("coordinates", self._coordinates)

    def _coordinates(self) -> tuple[Float64Array, Float64Array]:
        assert self.x is not None
        assert self.y is not None
        x, y = check_pair(self.x, self.y)
        if self.metric == "euclidean":
            return x, y
        unit = []
        for name, z in (("x", x), ("y", y)):
            length = np.linalg.norm(z, axis=1, keepdims=True)
            if (length == 0).any():
                raise InputError(
                    f"metric='cosine' needs a direction: {int((length == 0).sum())} rows of "
                    f"{name} are all zero. Leave them out, or use metric='euclidean'."
                )
            unit.append(z / length)
        return unit[0], unit[1]


def scores(
    names: Sequence[str] | None = None, *, missing: Literal["raise", "skip"] = "raise", **given: Any
) -> ScoreList:
    """Evaluate metrics by name, each beside its chance.

    Ranks and distances that several metrics share are computed once.

    Parameters
    ----------
    names
        Names of :data:`METRICS`. None: all that can be computed from ``given``, with the others in
        ``.skipped``.
    missing
        For a metric whose truth is not given: ``"raise"``, or ``"skip"`` to leave it out, with the
        reason in ``.skipped[name]``.
    **given
        ``x`` (n_source, d) and ``y`` (n_target, d), representations in one space. ``coupling``
        (n_source, n_target), dense, scipy sparse or in blocks. ``partner`` (n_source,), target row
        that truly matches each source row, -1 for none. ``labels_x`` and ``labels_y``, ``doses_x``
        and ``doses_y``, None and NaN for unknown. ``latent_x`` and ``latent_y``, true latents.
        ``predicted`` (n_source, f), target values predicted for source cells. ``measured``
        (n_target, f). ``control``, the label that effects are differences to. ``metric``,
        ``"euclidean"`` (default) or ``"cosine"``. ``n_neighbors`` that vote in label transfer,
        default 15. ``seed`` of the samples that the spread by chance rests on, default 0.

    Returns
    -------
    ScoreList
        A list of :class:`Score`, in the order of ``names``, with ``.skipped`` and ``.to_frame()``.

    Raises
    ------
    MissingTruthError
        If a truth that a metric needs is not given, or leaves no cell to score.
    ValueError
        If there is no such metric, or the inputs do not fit.
    TypeError
        If an argument is not known.

    See Also
    --------
    chance : mean and spread by chance of a metric of your own.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(6.0)[:, None]
    >>> result = scores(
    ...     ["foscttm_global", "trace_global"], x=x, y=x, partner=np.arange(6), missing="skip"
    ... )
    >>> result[0].value, result[0].chance, list(result.skipped)
    (0.0, 0.5, ['trace_global'])
    """
    known = [field.name for field in fields(MetricInputs)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputTypeError(
            f"scores() has no argument {', '.join(map(repr, unknown))}. What can be given: "
            f"{', '.join(known)}."
        )
    inputs = MetricInputs(**given)
    result = ScoreList()
    for name in METRICS.names() if names is None else names:
        try:
            result.append(_score(METRICS.get(name), inputs))
        except MissingTruthError as error:
            if missing == "raise" and names is not None:
                raise
            result.skipped[name] = str(error)
    return result


def score(name: str, **given: Any) -> Score:
    """Evaluate one metric by name: :func:`scores` describes the inputs and errors.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(6.0)[:, None]
    >>> result = score("foscttm_global", x=x, y=x, partner=np.arange(6))
    >>> result.value, result.chance, result.n
    (0.0, 0.5, 6)
    """
    return scores([name], **given)[0]


def _score(metric: Metric, inputs: MetricInputs) -> Score:
    lacking = inputs.lacks(metric.needs)
    if lacking:
        words = [f"{' and '.join(NEEDS[need][0])}, {NEEDS[need][1]}" for need in lacking]
        raise MissingTruthError(
            f"metric {metric.name!r} needs {'; '.join(words)}: not given. Pass them to scores(), "
            f"or leave the metric out with missing='skip'."
        )
    score = metric.compute(inputs)
    certain = score.chance_sd == 0 and math.isclose(score.chance, metric.perfect)
    if certain and math.isclose(score.value, metric.perfect):
        raise MissingTruthError(
            f"metric {metric.name!r} is {metric.perfect:g} by construction here, whatever is "
            f"scored: each cell has one candidate only, or as many candidates as are looked at."
        )
    return replace(
        score,
        name=metric.name,
        value=float(score.value),
        chance=float(score.chance),
        chance_sd=float(score.chance_sd),
        n=int(score.n),
        better=metric.better,
        perfect=metric.perfect,
    )

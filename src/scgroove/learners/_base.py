"""The protocol of learners, their registry, and checks of what they return."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from scgroove._labels import UnlabeledCategory
from scgroove._measure import measured
from scgroove._optional import missing
from scgroove._registry import Registry
from scgroove._types import FloatArray
from scgroove._validate import checked
from scgroove.data.checks import check_modalities
from scgroove.data.screen import Screen, check_cells
from scgroove.errors import InputTypeError, LearnerOutputError, StateError, did_you_mean

if TYPE_CHECKING:
    from mudata import MuData

Representations = dict[str, FloatArray]
"""For each modality, coordinates of its cells, (n_m, k)."""


@checked
@dataclass
class Learner(ABC):
    """Base class of learners: ``fit(mdata)``, then ``transform(mdata) -> {modality: array}``.

    Options are given on construction. To add a learner, write a dataclass with :meth:`_fit` and
    :meth:`_transform`, and register it with ``@LEARNERS.register(name)``.

    Attributes
    ----------
    name
        Name in the registry.
    aligned
        The representations lie in one space. Those of other learners go with aligners that need
        none, or into :class:`GroupProcrustes`.
    uses_labels
        The learner sees the labels of the cells.
    uses_pairs
        The learner sees which cells are the same. It is a ceiling, not a method.
    uses_truth
        The learner sees the true latent of a simulation. It is a ceiling, not a method.
    embeds_new
        :meth:`transform` takes cells that were not fitted, without their labels. Other learners
        get no label scores in the benchmark, because remembered labels would raise them.
    extra
        Extra of this package that the learner needs. None if it needs none.
    evidence
        After :meth:`fit` and :meth:`transform`: ``fit_seconds``, ``transform_seconds``,
        ``peak_memory_mb`` (largest resident memory while fitting, above that before) and what the
        learner adds.
    """

    name: ClassVar[str]
    aligned: ClassVar[bool] = True
    uses_labels: ClassVar[bool] = True
    uses_pairs: ClassVar[bool] = False
    uses_truth: ClassVar[bool] = False
    embeds_new: ClassVar[bool] = True
    extra: ClassVar[str | None] = None

    def fit(
        self,
        mdata: MuData,
        label_key: str | Mapping[str, str] = "label",
        *,
        modalities: Sequence[str] | None = None,
        unlabeled_category: UnlabeledCategory = None,
        seed: int = 0,
    ) -> Self:
        """Learn from all cells.

        Parameters
        ----------
        mdata
            Modalities linked by labels. It is not changed.
        label_key
            Column of ``mod[m].obs`` with the label, one name or one per modality.
        modalities
            Modalities to use. All if None.
        unlabeled_category
            A label that stands for "no label".
        seed
            A whole number from 0 to 2**32 - 1. The same seed gives the same result on one machine.

        Returns
        -------
        Learner
            The fitted learner itself.

        Raises
        ------
        TypeError, KeyError, ValueError
            The data are not as described, or lack what the learner needs.
        """
        screen = Screen.read(mdata, label_key, modalities, unlabeled_category)
        self.__dict__.pop("modalities_", None)  # if this fit fails, nothing is fitted
        self.evidence: dict[str, Any] = {}
        with measured(self.evidence, "fit_seconds", "peak_memory_mb"):
            self._fit(screen, seed)
        self.modalities_ = screen.modalities
        return self

    def transform(self, mdata: MuData) -> Representations:
        """Return the representation of every cell, also of cells that were not fitted.

        Parameters
        ----------
        mdata
            Data with the modalities and features that the learner was fitted on.

        Returns
        -------
        dict
            float (n_m, k) for each modality, with one k for all if ``aligned``.

        Raises
        ------
        RuntimeError
            The learner is not fitted.
        TypeError, KeyError, ValueError
            It is no MuData, or a modality is missing, has other features or no cell.
        LearnerOutputError
            The values are not finite or have the wrong shape.
        """
        if not hasattr(self, "modalities_"):
            raise StateError(
                f"{type(self).__name__} is not fitted: call .fit(mdata) before .transform(mdata)."
            )
        check_cells(mdata, check_modalities(mdata, self.modalities_))
        with measured(self.evidence, "transform_seconds"):
            z = self._transform(mdata)
        return check_output(self.name, z, mdata, self.modalities_, aligned=self.aligned)

    def fit_transform(
        self, mdata: MuData, label_key: str | Mapping[str, str] = "label", **options: Any
    ) -> Representations:
        """Fit, and return the representation of the same cells.

        See :meth:`fit` and :meth:`transform`.
        """
        return self.fit(mdata, label_key, **options).transform(mdata)

    @abstractmethod
    def _fit(self, screen: Screen, seed: int) -> None:
        """Learn from the cells of a screen."""

    @abstractmethod
    def _transform(self, mdata: MuData) -> Representations:
        """Return the representations of cells."""


LEARNERS: Final[Registry[Any]] = Registry("learner", checked)
"""Learner classes by name."""


def preset(base: type[Learner], name: str, summary: str, **options: Any) -> None:
    """Register a learner that is another one with other defaults."""
    title = name.title().replace("_", "")
    hints = {option: base.__dataclass_fields__[option].type for option in options}
    members = {"__doc__": summary, "__module__": base.__module__, "__annotations__": hints}
    learner: Any = dataclass(type(title, (base,), {**members, "name": name, **options}))
    setattr(sys.modules[base.__module__], title, learner)  # pickle looks for it there
    LEARNERS.register(name)(learner)


def get(name: str) -> Any:
    """Return the learner class of a name.

    Parameters
    ----------
    name
        For example ``"groove"`` or ``"ps_logistic"``.

    Returns
    -------
    type
        Construct it with its options: ``learners.get("pca")(n_components=20)``.

    Raises
    ------
    ValueError
        There is no such learner. The message names the near miss and the list.
    """
    return LEARNERS.get(name)


def construct(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return a learner with its options.

    Raises
    ------
    ValueError
        There is no such learner.
    TypeError
        It has no such option. The message names the near miss and the list.
    """
    cls = get(name)
    known = [option.name for option in fields(cls)]
    for option in options or {}:
        if option not in known:
            raise InputTypeError(
                f"learner {name!r} has no option {option!r}.{did_you_mean(option, known)} "
                f"Its options: {', '.join(known) or 'none'}."
            )
    return cls(**(options or {}))


def unavailable_reason(name: str) -> str | None:
    """Return why a learner cannot be used here, or None if it can. Nothing is imported.

    Parameters
    ----------
    name
        For example ``"glue"``.

    Returns
    -------
    str or None
        Packages that are missing or too old, and the line that installs them.

    Raises
    ------
    ValueError
        There is no such learner.

    Examples
    --------
    >>> unavailable_reason("pca") is None
    True
    """
    extra = getattr(get(name), "extra", None)
    return None if extra is None else missing(extra)


def check_output(
    name: str, found: Any, mdata: MuData, modalities: Sequence[str], *, aligned: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return representations, or say what is wrong with them.

    Raises
    ------
    LearnerOutputError
        A modality is missing, an array has the wrong shape or values that are not finite, or the
        modalities have different widths although they are ``aligned``.
    """
    if not isinstance(found, Mapping) or set(found) != set(modalities):
        shown = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise LearnerOutputError(
            f"learner {name!r} must return one array for each of {list(modalities)}; found {shown}."
        )
    out: dict[str, npt.NDArray[Any]] = {}
    for m in modalities:
        try:
            z = np.asarray(found[m])
        except Exception as error:  # rows of different lengths, a tensor on another device, ...
            raise LearnerOutputError(
                f"learner {name!r} must return an array for {m!r}; "
                f"found {type(found[m]).__name__}, which is none: {error}"
            ) from error
        n = mdata.mod[m].n_obs
        if z.ndim != 2 or z.shape[0] != n or z.shape[1] == 0 or z.dtype.kind not in "fiub":
            raise LearnerOutputError(
                f"learner {name!r} must return numbers of shape ({n}, k) for {m!r}; "
                f"found {z.dtype} of shape {z.shape}."
            )
        n_bad = int((~np.isfinite(z).all(axis=1)).sum())
        if n_bad:
            raise LearnerOutputError(
                f"learner {name!r} returned NaN or infinite values for {n_bad} of {n} cells of "
                f"{m!r}. Did its training diverge?"
            )
        out[m] = z
    widths = {m: z.shape[1] for m, z in out.items()}
    if aligned and len(set(widths.values())) > 1:
        raise LearnerOutputError(
            f"learner {name!r} says that its modalities share a space, "
            f"but their widths differ: {widths}."
        )
    return out

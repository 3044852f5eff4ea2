"""What every learner has in common: checks of what goes in and comes out, time and memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from scgroove._labels import UnlabeledCategory
from scgroove._measure import measured
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
    """What makes a representation: ``fit(mdata)``, then ``transform(mdata) -> {modality: array}``.

    Options are given on construction. To add one: a dataclass with :meth:`_fit` and :meth:`_transform`, and
    ``@LEARNERS.register(name)``.

    Attributes
    ----------
    name
        Under which it is registered.
    aligned
        Whether its representations lie in one space. Those of others go with aligners that need none, or into
        :class:`GroupProcrustes`.
    uses_labels
        Whether it sees the labels of the cells.
    uses_pairs
        Whether it sees which cells are the same: a ceiling, not a method.
    uses_truth
        Whether it sees the true latent of a simulation: a ceiling, not a method.
    embeds_new
        Whether :meth:`transform` takes cells that were not fitted, and without their labels. Others get no score of
        labels in the benchmark, because labels that are remembered would raise it.
    evidence
        After :meth:`fit` and :meth:`transform`: ``fit_seconds``, ``transform_seconds``, ``peak_memory_mb`` (resident memory
        of the process above what it was before, at most, while fitting) and what the learner adds.
    """

    name: ClassVar[str]
    aligned: ClassVar[bool] = True
    uses_labels: ClassVar[bool] = True
    uses_pairs: ClassVar[bool] = False
    uses_truth: ClassVar[bool] = False
    embeds_new: ClassVar[bool] = True

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
            Modalities linked by labels; left as it is.
        label_key
            Column of ``mod[m].obs`` with the label, one name or one per modality.
        modalities
            Those to use; default all.
        unlabeled_category
            A label that stands for "no label".
        seed
            A whole number from 0 to 2**32 - 1. The same seed gives the same result on one machine.

        Returns
        -------
        Learner
            Itself, fitted.

        Raises
        ------
        TypeError, KeyError, ValueError
            If the data are not as described, or the learner needs what they lack.
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
            With the modalities and features that the learner was fitted on.

        Returns
        -------
        dict
            For each modality float (n_m, k); one k for all if ``aligned``.

        Raises
        ------
        RuntimeError
            If the learner is not fitted.
        TypeError, KeyError, ValueError
            If it is no MuData, or a modality is missing, has other features or no cell.
        LearnerOutputError
            If it made values that are not finite or of the wrong shape.
        """
        if not hasattr(self, "modalities_"):
            raise StateError(
                f"{type(self).__name__} is not fitted: call .fit(mdata) before .transform(mdata)."
            )
        check_cells(mdata, check_modalities(mdata, self.modalities_))
        with measured(self.evidence, "transform_seconds"):
            found = self._transform(mdata)
        return check_output(self.name, found, mdata, self.modalities_, aligned=self.aligned)

    def fit_transform(
        self, mdata: MuData, label_key: str | Mapping[str, str] = "label", **options: Any
    ) -> Representations:
        """Fit, then return the representation of the same cells: see :meth:`fit` and :meth:`transform`."""
        return self.fit(mdata, label_key, **options).transform(mdata)

    @abstractmethod
    def _fit(self, screen: Screen, seed: int) -> None:
        """Learn from the cells of a screen."""

    @abstractmethod
    def _transform(self, mdata: MuData) -> Representations:
        """Return the representations of cells."""


LEARNERS: Final[Registry[Any]] = Registry("learner", checked)
"""Learner classes by name."""


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
        If there is no such learner; the message names the near miss and the list.
    """
    return LEARNERS.get(name)


def construct(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return a learner with its options.

    Raises
    ------
    ValueError
        If there is no such learner.
    TypeError
        If it has no such option; the message names the near miss and the list.
    """
    cls = get(name)
    known = [option.name for option in fields(cls)]
    for option in options or {}:
        if option not in known:
            hint = did_you_mean(option, known)
            raise InputTypeError(
                f"learner {name!r} has no option {option!r}.{hint} Its options: {', '.join(known) or 'none'}."
            )
    return cls(**(options or {}))


def _as_array(name: str, modality: str, found: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(found)
    except Exception as error:  # rows of different lengths, a tensor on another device, ...
        raise LearnerOutputError(
            f"learner {name!r} must return an array for {modality!r}; found {type(found).__name__}, which is none: {error}"
        ) from error


def check_output(
    name: str, found: Any, mdata: MuData, modalities: Sequence[str], *, aligned: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return representations, or say what is wrong with them.

    Raises
    ------
    LearnerOutputError
        If a modality is missing, or its array has the wrong shape or values that are not finite; or, if ``aligned``, the
        modalities have different widths.
    """
    if not isinstance(found, Mapping) or set(found) != set(modalities):
        shown = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise LearnerOutputError(
            f"learner {name!r} must return one array for each of {list(modalities)}; found {shown}."
        )
    out: dict[str, npt.NDArray[Any]] = {}
    for m in modalities:
        z = _as_array(name, m, found[m])
        n = mdata.mod[m].n_obs
        if z.ndim != 2 or z.shape[0] != n or z.shape[1] == 0 or z.dtype.kind not in "fiub":
            raise LearnerOutputError(
                f"learner {name!r} must return numbers of shape ({n}, k) for {m!r}; found {z.dtype} of shape {z.shape}."
            )
        bad = ~np.isfinite(z).all(axis=1)
        if bad.any():
            raise LearnerOutputError(
                f"learner {name!r} returned NaN or infinite values for {int(bad.sum())} of {n} cells of {m!r}. Did its training "
                f"diverge?"
            )
        out[m] = z
    widths = {m: z.shape[1] for m, z in out.items()}
    if aligned and len(set(widths.values())) > 1:
        raise LearnerOutputError(
            f"learner {name!r} says that its modalities share a space, but their widths differ: {widths}."
        )
    return out

"""Representations of each modality on its own, turned into one space by the labels they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

import numpy as np

from scgroove._types import BoolArray, Float64Array, FloatArray
from scgroove.data.screen import Screen
from scgroove.errors import InputError
from scgroove.learners._around import AroundLearner
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners.common import AffineMap, apply, label_means

if TYPE_CHECKING:
    from mudata import MuData

Reference: TypeAlias = Literal["first", "mean"]
Width: TypeAlias = Literal["pad", "reduce"]
Unseen: TypeAlias = Literal["drop", "keep"]

MAX_ROUNDS: Final = 500
"""Rounds of generalized Procrustes at most."""

TOLERANCE: Final = 1e-10
"""Change of the mean configuration, relative to its size, at which generalized Procrustes ends."""


@LEARNERS.register("group_procrustes")
@dataclass
class GroupProcrustes(AroundLearner):
    """Any learner, its modalities turned into one space by the means of their shared labels.

    With C_m the means of the representation of modality m over the labels it shares with the reference, centered, one singular
    value decomposition gives the map::

        R_m = argmin ||C_m R - C_ref||_F,  R' R = I;   C_m' C_ref = U S V',  R_m = U V'
        z = scale_m (z_m - mean_m) R_m + mean_ref,     scale_m = tr(S) / ||C_m||_F^2 or 1

    An isometry, so that inside a label nothing is stretched. With fewer labels than coordinates the labels say nothing of
    some directions, and any R that agrees on the others is a minimum: those directions are dropped (zero) by default rather
    than mapped at will.

    Parameters
    ----------
    learner
        A learner, or its name.
    options
        Options of the learner, if it is given by name.
    reference
        ``"first"``: the first modality stays where it is, and the others go to it. ``"mean"``: all go to their common mean,
        alternating with it until it rests (generalized Procrustes); this also links modalities of which not all share labels.
    width
        Where the modalities have different widths: ``"pad"`` the narrower with zeros, or ``"reduce"`` all to their first
        coordinates, as many as the narrowest has.
    scale
        Whether also to fit a factor for each modality.
    unseen
        What becomes of directions in which no label differs: ``"drop"`` or ``"keep"``.

    References
    ----------
    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem"; Gower 1975, "Generalized Procrustes
    analysis".

    Examples
    --------
    >>> import scgroove
    >>> from scgroove.learners import GroupProcrustes
    >>> mdata = scgroove.simulations.weakly_paired(n_labels=6, n_cells_per_label=20)
    >>> z = GroupProcrustes("pca", {"n_components": 10}).fit_transform(mdata)
    >>> z["rna"].shape, z["protein"].shape
    ((120, 10), (120, 10))
    """

    name: ClassVar[str] = "group_procrustes"
    example: ClassVar[str] = "pca"
    inside_aligned: ClassVar[bool] = False

    learner: Learner | str = "pca"
    reference: Reference = "first"
    width: Width = "pad"
    scale: bool = False
    unseen: Unseen = "drop"

    def _fit(self, screen: Screen, seed: int) -> None:
        z = self._fit_inner(screen, seed)
        self.width_ = (min if self.width == "reduce" else max)(one.shape[1] for one in z.values())
        means, present = {}, {}
        for m, one in z.items():
            means[m], counts = label_means(
                to_width(one, self.width_), screen.codes[m], screen.n_labels
            )
            present[m] = counts > 0
        solve = to_mean if self.reference == "mean" else to_first
        self.maps_ = solve(means, present, scale=self.scale, keep=self.unseen == "keep")
        self.evidence["label_error"] = label_error(means, present, self.maps_)

    def _transform(self, mdata: MuData) -> Representations:
        z = self._represent(mdata, self.modalities_)
        return {m: apply(self.maps_[m], to_width(one, self.width_)) for m, one in z.items()}


@LEARNERS.register("pca_procrustes")
@dataclass
class PCAProcrustes(GroupProcrustes):
    """Principal components of each modality, turned into one space by the labels: :class:`GroupProcrustes` of ``pca``."""

    name: ClassVar[str] = "pca_procrustes"

    learner: Learner | str = "pca"


@LEARNERS.register("lda_procrustes")
@dataclass
class LDAProcrustes(GroupProcrustes):
    """Discriminants of each modality, turned into one space by the labels: :class:`GroupProcrustes` of ``lda``."""

    name: ClassVar[str] = "lda_procrustes"

    learner: Learner | str = "lda"


def to_width(z: FloatArray, width: int) -> FloatArray:
    """Return the first coordinates, or zeros after the last: (n, width)."""
    return np.pad(z, ((0, 0), (0, max(0, width - z.shape[1]))))[:, :width]


def procrustes(
    source: Float64Array, target: Float64Array, *, scale: bool = False, keep: bool = False
) -> Float64Array:
    """Return the isometry that takes one centered configuration of labels nearest to another.

    Parameters
    ----------
    source, target
        Means of the same labels, centered, (labels, k).
    scale
        Whether to return it times the best factor.
    keep
        False: directions that no label speaks about are mapped to zero; True: to one another, so that R' R = I.

    Returns
    -------
    ndarray
        R, (k, k), of ``source @ R ~ target``.
    """
    u, size, vt = np.linalg.svd(source.T @ target)
    rank = len(size) if keep else int((size > 1e-10 * max(size[0], 1e-300)).sum())
    turn: Float64Array = u[:, :rank] @ vt[:rank]
    if scale:
        turn = turn * (size.sum() / max(float((source**2).sum()), 1e-300))
    return turn


def to_first(
    means: Mapping[str, Float64Array], present: Mapping[str, BoolArray], *, scale: bool, keep: bool
) -> dict[str, AffineMap]:
    """Return the maps of all modalities into the space of the first.

    Raises
    ------
    ValueError
        If a modality has fewer than two labels in common with the first.
    """
    first, *others = means
    maps = {}
    spoken = np.zeros_like(present[first])
    for m in others:
        common = present[m] & present[first]
        _check_common(m, first, common)
        spoken |= common
        source, target = means[m][common].mean(axis=0), means[first][common].mean(axis=0)
        turn = procrustes(
            means[m][common] - source, means[first][common] - target, scale=scale, keep=keep
        )
        maps[m] = (source, turn, target)
    center = means[first][spoken].mean(axis=0)
    stay = np.eye(len(center)) if keep else _span(means[first][spoken] - center)
    return {first: (center, stay, center), **maps}


def _check_common(m: str, first: str, common: BoolArray) -> None:
    if common.sum() < 2:
        raise InputError(
            f"{m!r} has {int(common.sum())} labels in common with {first!r}, and two or more are needed to turn one to the "
            f"other. With reference='mean' modalities may also be linked through a third; or name another one first: "
            f"fit(mdata, modalities=[...])."
        )


def _span(rows: Float64Array) -> Float64Array:
    """Return the projection on what rows span, (k, k)."""
    _, size, vt = np.linalg.svd(rows, full_matrices=False)
    kept = vt[size > 1e-10 * max(size[0], 1e-300)]
    projection: Float64Array = kept.T @ kept
    return projection


def to_mean(
    means: Mapping[str, Float64Array], present: Mapping[str, BoolArray], *, scale: bool, keep: bool
) -> dict[str, AffineMap]:
    """Return the maps of all modalities to their common mean: generalized Procrustes, from where the first one is.

    Labels are averaged over the modalities that have them. Modalities enter in an order in which each shares labels with
    those before.

    Raises
    ------
    ValueError
        If the modalities fall into groups without two labels in common.
    """
    maps = _chain(means, present, scale=scale, keep=True)
    size = max(
        float(
            sum(((c - c[present[m]].mean(axis=0))[present[m]] ** 2).sum() for m, c in means.items())
        ),
        1e-300,
    )
    center = _average(means, present, maps)
    for _ in range(MAX_ROUNDS):
        before = center
        maps = {m: _onto(means[m], present[m], center, scale=scale, keep=True) for m in means}
        if scale:  # or all would shrink to a point
            maps = _at_size(means, present, maps, size)
        center = _average(means, present, maps)
        if float(((center - before) ** 2).sum()) <= (TOLERANCE**2) * size:
            break
    if keep:
        return maps
    known = np.any(list(present.values()), axis=0)
    span = _span(center[known] - center[known].mean(axis=0))
    return {m: (mean, turn @ span, offset) for m, (mean, turn, offset) in maps.items()}


def _chain(
    means: Mapping[str, Float64Array], present: Mapping[str, BoolArray], *, scale: bool, keep: bool
) -> dict[str, AffineMap]:
    """Return maps to start from: each modality onto the mean of those before it, the first where it is."""
    first, *waiting = means
    center = means[first][present[first]].mean(axis=0)
    maps = {first: (center, np.eye(len(center)), center)}
    while waiting:
        known = np.any([present[m] for m in maps], axis=0)
        m = max(waiting, key=lambda name: int((present[name] & known).sum()))
        if (present[m] & known).sum() < 2:
            raise InputError(
                f"{waiting} and {list(maps)} have fewer than two labels in common, so that nothing turns them to one another."
            )
        target = _average(means, {n: present[n] for n in maps}, maps)
        maps[m] = _onto(means[m], present[m] & known, target, scale=scale, keep=keep)
        waiting.remove(m)
    return maps


def _onto(
    means: Float64Array, labels: BoolArray, target: Float64Array, *, scale: bool, keep: bool
) -> AffineMap:
    source, goal = means[labels].mean(axis=0), target[labels].mean(axis=0)
    return (
        source,
        procrustes(means[labels] - source, target[labels] - goal, scale=scale, keep=keep),
        goal,
    )


def _average(
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    maps: Mapping[str, AffineMap],
) -> Float64Array:
    """Return the mean over modalities of the mapped label means, over those that have the label; zero where none has."""
    total = sum(apply(maps[m], means[m]) * there[:, None] for m, there in present.items())
    number = np.sum(list(present.values()), axis=0)
    average: Float64Array = np.asarray(total) / np.maximum(number, 1)[:, None]
    return average


def _at_size(
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    maps: Mapping[str, AffineMap],
    size: float,
) -> dict[str, AffineMap]:
    """Return maps with their factors such that the sum of squares over all modalities is ``size``."""
    now = sum(
        float((((means[m] - maps[m][0]) @ maps[m][1])[there] ** 2).sum())
        for m, there in present.items()
    )
    factor = np.sqrt(size / max(now, 1e-300))
    return {m: (mean, factor * turn, offset) for m, (mean, turn, offset) in maps.items()}


def label_error(
    means: Mapping[str, Float64Array],
    present: Mapping[str, BoolArray],
    maps: Mapping[str, AffineMap],
) -> float:
    """Return the share of the spread of the mapped label means that the modalities do not agree on: 0 is perfect."""
    average = _average(means, present, maps)
    apart = spread = 0.0
    for m, there in present.items():
        mapped = apply(maps[m], means[m])[there]
        apart += float(((mapped - average[there]) ** 2).sum())
        spread += float(((mapped - mapped.mean(axis=0)) ** 2).sum())
    return apart / spread if spread > 0 else 0.0

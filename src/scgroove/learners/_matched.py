"""Cells matched inside their labels, and coordinates refitted to what matched cells have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias, get_args

import numpy as np
from scipy.linalg import eigh

from scgroove import aligners
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.learners._around import AroundLearner
from scgroove.learners._base import LEARNERS, Learner, Representations
from scgroove.learners._centred import label_shifts
from scgroove.learners._classical import fix_signs
from scgroove.learners._common import AffineMap, apply, check_number, check_whole, label_means, reduction
from scgroove.learners._screen import Screen

if TYPE_CHECKING:
    from mudata import MuData

Inputs: TypeAlias = Literal["latent", "features"]
RIDGE: Final[Mapping[str, float]] = {"latent": 0.03, "features": 0.3}
"""Ridge for each kind of inputs: features are many, and mostly noise."""

CELLS_PER_COORDINATE: Final = 3
"""Fewer matched cells for each coordinate of the inputs are warned of: covariances of such are mostly chance."""

FLAT: Final = 1e-12
"""Share of the mean square of cells that lies inside labels, up to which it is rounding."""


@dataclass(frozen=True, kw_only=True)
class Rematch:
    """Options of :func:`rematch`; see :class:`LabelMatched`."""

    n_rounds: int = 5
    epsilon: float = 0.1
    regularisation: float = 0.03
    max_cells_per_label: int = 300

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        check_whole("n_rounds", self.n_rounds)
        check_number("epsilon", self.epsilon, 0, above=True)
        check_number("regularisation", self.regularisation, 0, above=True)
        check_whole("max_cells_per_label", self.max_cells_per_label, 2)


def rematch(
    x: Mapping[str, FloatArray],
    z: Mapping[str, FloatArray],
    codes: Mapping[str, IntArray],
    n_labels: int,
    options: Rematch,
    seed: int,
) -> tuple[dict[str, AffineMap], Float64Array]:
    """Match cells inside labels where they lie, refit the coordinates to the matches, and again: see :class:`LabelMatched`.

    Parameters
    ----------
    x
        For each modality what coordinates are made of, (n_m, d_m).
    z
        Where cells lie at first, in one space, (n_m, k).
    codes
        Their labels, negative: none, (n_m,).
    n_labels
        Number of labels.
    options
        How.
    seed
        Of the draw of cells, where a label has more than ``max_cells_per_label``.

    Returns
    -------
    maps
        For each modality the map of x into the new space.
    told
        For each of its coordinates how far matched cells agree on it, r in (0, 1], descending.

    Raises
    ------
    ValueError
        If a modality has no label with two cells there and in another, cells inside labels do not differ, or matched cells have nothing in
        common; :class:`~scgroove.aligners.TooLargeError` if the transport would need more than 2 GB: lower ``max_cells_per_label``.

    Warns
    -----
    UserWarning
        If cells are few for the coordinates of the inputs.
    """
    rng = np.random.default_rng(seed)
    codes = _matchable(codes, n_labels)
    cells = {m: _inside_labels(x[m], z[m], codes[m], n_labels, options, rng, m) for m in codes}
    _warn_of_few_cells(cells)
    places = {m: one.places for m, one in cells.items()}
    for _ in range(options.n_rounds):
        weights, told = _common_coordinates(cells, *_covariances(cells, places, options))
        places = {m: one.inputs @ weights[m] for m, one in cells.items()}
    maps = {m: (one.centre, weights[m], np.zeros(told.size)) for m, one in cells.items()}
    return _together(maps, x, codes, n_labels), told


def _together(
    maps: Mapping[str, AffineMap],
    x: Mapping[str, FloatArray],
    codes: Mapping[str, IntArray],
    n_labels: int,
) -> dict[str, AffineMap]:
    """Return the maps with the offsets that bring label means of modalities nearest to one another, by least squares.

    Each modality was centred on the labels that it has, which need not be those of the others.
    """
    means, present = {}, {}
    for m, step in maps.items():
        of_labels, counts = label_means(x[m], codes[m], n_labels)
        means[m], present[m] = apply(step, of_labels), counts > 0
    has = np.stack(list(present.values())).astype(np.float64)
    wanted = np.stack([shift.sum(axis=0) for shift in label_shifts(means, present).values()])
    laplacian = np.diag(has.sum(axis=1)) - (has / np.maximum(has.sum(axis=0), 1)) @ has.T
    offsets = np.linalg.pinv(laplacian, hermitian=True) @ wanted
    return {
        m: (mean, weights, offset)
        for (m, (mean, weights, _)), offset in zip(maps.items(), offsets, strict=True)
    }


@dataclass(frozen=True, eq=False)
class _InsideLabels:
    """Cells of a modality that are matched, less the means of their labels.

    Attributes
    ----------
    labels
        Their labels, (n,).
    inputs
        What coordinates are made of, (n, d).
    places
        Where they lie in the shared space at first, (n, k).
    centre
        Mean of the label means of the inputs, (d,).
    """

    labels: IntArray
    inputs: Float64Array
    places: Float64Array
    centre: Float64Array


def _inside_labels(
    x: FloatArray,
    z: FloatArray,
    codes: IntArray,
    n_labels: int,
    options: Rematch,
    rng: np.random.Generator,
    modality: str,
) -> _InsideLabels:
    rows = _at_most(codes, n_labels, options.max_cells_per_label, rng)
    inputs, centre = _less_means(x, codes, n_labels, rows, modality)
    places, _ = _less_means(z, codes, n_labels, rows, modality)
    return _InsideLabels(codes[rows], inputs, places, centre)


def _less_means(
    values: FloatArray, codes: IntArray, n_labels: int, rows: IntArray, modality: str
) -> tuple[Float64Array, Float64Array]:
    """Return the rows less the means of their labels, (n, d), and the mean of these means, (d,)."""
    means, counts = label_means(values, codes, n_labels)
    centre = means[counts > 0].mean(axis=0)
    kept = np.asarray(values[rows], dtype=np.float64)
    inside = kept - means[codes[rows]]
    rounding = 10 * float(np.finfo(np.result_type(values.dtype, np.float32)).eps)
    least = max(FLAT * np.square(kept - centre).mean(), rounding**2 * np.square(kept).mean())
    if not np.square(inside).mean() > least:
        raise ValueError(
            f"cells of {modality!r} do not differ inside their labels, so that nothing tells which is which: is each row a mean of its "
            f"label, or has the representation collapsed (scgroove.tl.collapse)?"
        )
    return inside, centre


def _matchable(codes: Mapping[str, IntArray], n_labels: int) -> dict[str, IntArray]:
    """Return the codes, -1 where a label has not two cells in its modality and in another, so that nothing can be matched inside it."""
    enough = {m: np.bincount(code[code >= 0], minlength=n_labels) > 1 for m, code in codes.items()}
    shared = np.sum(list(enough.values()), axis=0) > 1
    without = [m for m, there in enough.items() if not (there & shared).any()]
    if without:
        raise ValueError(
            f"modality {', '.join(map(repr, without))} has no label with two cells or more there and in another of {list(codes)}, so that "
            f"no cells can be matched inside labels. scgroove.data.label_table(mdata) shows how many cells each label has."
        )
    return {
        m: np.where((code >= 0) & (enough[m] & shared)[np.maximum(code, 0)], code, -1)
        for m, code in codes.items()
    }


def _at_most(codes: IntArray, n_labels: int, most: int, rng: np.random.Generator) -> IntArray:
    """Return the rows of cells with a label, of each label at most so many, drawn at random."""
    rows = rng.permutation(np.flatnonzero(codes >= 0))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    counts = np.bincount(codes[rows], minlength=n_labels)
    place = np.arange(rows.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(rows[place < most])


def _warn_of_few_cells(cells: Mapping[str, _InsideLabels]) -> None:
    shapes = {m: one.inputs.shape for m, one in cells.items()}
    few = {m: (n, d) for m, (n, d) in shapes.items() if n < CELLS_PER_COORDINATE * d}
    if few:
        shown = ", ".join(f"{n} cells with {d} coordinates in {m!r}" for m, (n, d) in few.items())
        warnings.warn(
            f"matching inside labels learns one map from all matched cells, and few are there: {shown}; {CELLS_PER_COORDINATE} for each "
            f"coordinate or more are needed. What it makes may be worse than what it began with, labels above all; compare both, or reduce the "
            f"inputs first.",
            stacklevel=4,
        )


def _covariances(
    cells: Mapping[str, _InsideLabels], places: Mapping[str, Float64Array], options: Rematch
) -> tuple[Float64Array, Float64Array]:
    """Return the covariances of matched cells between modalities, and those inside each with their ridge.

    Means over the pairs of modalities that share labels and both sides of each, as the plan weighs its cells; (sum d_m, sum d_m), blocks
    off the diagonal and on it.
    """
    directions = {
        m: one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        for m, one in places.items()
    }
    part, total = _parts(cells)
    between, inside = np.zeros((total, total)), np.zeros((total, total))
    sides = 0
    aligner = aligners.get("eot")(epsilon=options.epsilon, tol=1e-4)
    for a, b in combinations(cells, 2):
        x, y = cells[a], cells[b]
        if not np.intersect1d(x.labels, y.labels).size:
            continue
        coupling = aligner.align(directions[a], directions[b], x.labels, y.labels)
        block = sum(x.inputs[i].T @ (plan @ y.inputs[j]) for i, j, plan in coupling.parts())
        between[part[a], part[b]], between[part[b], part[a]] = block, np.transpose(block)
        for m, mass in ((a, coupling.row_mass()), (b, coupling.column_mass())):
            inside[part[m], part[m]] += _with_ridge(cells[m].inputs, mass, options.regularisation)
        sides += 2
    return between / sides, inside / sides


def _with_ridge(inputs: Float64Array, mass: Float64Array, regularisation: float) -> Float64Array:
    """Return S + lambda tr(S) / d I of the covariance S of cells with these masses, (d, d)."""
    covariance = inputs.T @ (mass[:, None] * inputs)
    ridge = regularisation * np.trace(covariance) / len(covariance)
    found: Float64Array = covariance + ridge * np.eye(len(covariance))
    return found


def _common_coordinates(
    cells: Mapping[str, _InsideLabels], between: Float64Array, inside: Float64Array
) -> tuple[dict[str, Float64Array], Float64Array]:
    """Return for each modality the weights of the coordinates that modalities agree on, times how far they do, and that, (k,)."""
    told, vectors = eigh(between, inside)
    kept = np.flatnonzero(told > 1e-8)[::-1]
    if not kept.size:
        raise ValueError(
            f"matched cells of {list(cells)} have nothing in common inside their labels, so that there are no common coordinates."
        )
    weighted = fix_signs(vectors[:, kept]) * told[kept]
    part, _ = _parts(cells)
    return {m: weighted[rows] for m, rows in part.items()}, told[kept]


def _parts(cells: Mapping[str, _InsideLabels]) -> tuple[dict[str, slice], int]:
    """Return where the coordinates of each modality stand when all are put side by side, and how many they are."""
    ends = np.cumsum([one.inputs.shape[1] for one in cells.values()]).tolist()
    return {m: slice(*ends_of) for m, ends_of in zip(cells, pairwise([0, *ends]), strict=True)}, ends[-1]


@LEARNERS.register("label_matched")
@dataclass
class LabelMatched(AroundLearner):
    """Any learner, its cells matched inside their labels and its coordinates refitted to what matched cells have in common.

    Labels say where a label lies, not which of its cells belongs to which. But one linear map has to be right for the cells of all
    labels at once, so that matches that are only a little better than chance tell how to improve it. With w_m what coordinates
    are made of, less the means of the labels, each round

    1. matches the cells of each label by entropic optimal transport between the directions in which they lie from the mean of
       their label: T_ab for each two modalities that share labels;
    2. solves ``A V = D V diag(r)``: A has the blocks ``w_a' T_ab w_b`` off the diagonal, and D on it the sums over b of
       ``S + lambda tr(S) / d I``, ``S = w_a' diag(T_ab 1) w_a``, both over their number; r in (0, 1] says how far matched cells agree
       on a coordinate. For two modalities these are the canonical correlations of matched cells;
    3. places cells anew, at ``w_m V_m diag(r)``.

    At last each modality is moved as a whole to where the means of its labels lie nearest to those of the others.

    The maps are the same for all cells, whatever their label, so that cells without one have a place too, and effects of labels stay
    in: :class:`LabelCentred` takes off what they do in one modality alone.

    For matching cells inside labels: what tells labels apart counts only as far as it tells cells apart inside them too. What matched
    cells agree on is no evidence that matches are right: they were made to agree. It supposes, as every
    matching inside labels does, that a label is composed alike in all modalities. Anything else that moves cells inside labels
    in all modalities, such as batches that have the same share of each label, is something in common as well.

    Parameters
    ----------
    learner
        A learner with one space for all modalities, or its name: where cells lie at first.
    options
        Options of the learner, if it is given by name.
    inputs
        What coordinates are made of: ``"latent"``, those of the learner, with what it has learned to leave out (batches); ``"features"``, the
        standardised features, which know more.
    n_rounds
        Rounds.
    epsilon
        Of the transport, relative to the mean cost inside each label.
    regularisation
        Ridge of the whitening, in units of the mean variance inside labels; None: 0.03 of latents, 0.3 of features.
    max_features
        Of ``inputs="features"``: wider modalities are first reduced to this many principal components.
    max_cells_per_label
        Where a label has more cells in a modality, this many drawn at random are matched.

    References
    ----------
    Besl and McKay 1992, "A method for registration of 3-D shapes" (matching and refitting by turns); Grave et al. 2019,
    arXiv:1805.11222 (with transport, for word vectors); Zhu et al. 2023, doi:10.1038/s41587-023-01935-0 (MaxFuse, with
    canonical correlation, for cells of linked features).

    Examples
    --------
    >>> import scgroove
    >>> from scgroove.learners import LabelMatched
    >>> mdata = scgroove.simulations.weakly_paired(n_labels=6, n_cells_per_label=20)
    >>> z = LabelMatched("cca_labels").fit_transform(mdata)
    >>> {m: v.shape for m, v in z.items()}
    {'rna': (120, 5), 'protein': (120, 5)}
    """

    name: ClassVar[str] = "label_matched"
    example: ClassVar[str] = "groove"
    inside_aligned: ClassVar[bool] = True

    learner: Learner | str = "groove"
    inputs: Inputs = "latent"
    n_rounds: int = 5
    epsilon: float = 0.1
    regularisation: float | None = None
    max_features: int = 100
    max_cells_per_label: int = 300

    def __post_init__(self) -> None:
        """Refuse options that cannot be used."""
        super().__post_init__()
        self._require_space()
        if self.inputs not in get_args(Inputs):
            raise ValueError(
                f"inputs must be one of {', '.join(map(repr, get_args(Inputs)))}; found {self.inputs!r}."
            )
        check_whole("max_features", self.max_features)
        self._rematch()

    def _rematch(self) -> Rematch:
        ridge = RIDGE[self.inputs] if self.regularisation is None else self.regularisation
        return Rematch(
            n_rounds=self.n_rounds,
            epsilon=self.epsilon,
            regularisation=ridge,
            max_cells_per_label=self.max_cells_per_label,
        )

    def _fit(self, screen: Screen, seed: int) -> None:
        z = self._fit_inner(screen, seed)
        if self.inputs == "features":
            self.features_ = screen.features()
            self.reduce_: dict[str, Callable[[FloatArray], Float64Array]] = {}
            for m in screen.modalities:
                own = self.features_[m](screen.mdata.mod[m])
                self.reduce_[m] = reduction(own, self.max_features, seed)
        x = self._inputs_of(screen.mdata, z)
        self.maps_, told = rematch(x, z, screen.codes, screen.n_labels, self._rematch(), seed)
        self.evidence["told"] = told

    def _inputs_of(self, mdata: MuData, z: Representations) -> dict[str, FloatArray]:
        if self.inputs == "latent":
            return z
        return {m: reduce(self.features_[m](mdata.mod[m])) for m, reduce in self.reduce_.items()}

    def _transform(self, mdata: MuData) -> Representations:
        z = self._represent(mdata, self.modalities_) if self.inputs == "latent" else {}
        return {m: apply(self.maps_[m], one) for m, one in self._inputs_of(mdata, z).items()}


@LEARNERS.register("groove_matched")
@dataclass
class GrooveMatched(LabelMatched):
    """GROOVE, cells matched inside labels and coordinates refitted: :class:`LabelMatched` of ``groove``."""

    name: ClassVar[str] = "groove_matched"


@LEARNERS.register("ps_logistic_matched")
@dataclass
class LogisticMatched(LabelMatched):
    """Propensity logits, cells matched inside labels and coordinates refitted: :class:`LabelMatched` of ``ps_logistic_scaled``."""

    name: ClassVar[str] = "ps_logistic_matched"

    learner: Learner | str = "ps_logistic_scaled"


@LEARNERS.register("cca_matched")
@dataclass
class LabelCCAMatched(LabelMatched):
    """Canonical correlation of label means, then of cells matched inside labels: :class:`LabelMatched` of ``cca_labels``."""

    name: ClassVar[str] = "cca_matched"

    learner: Learner | str = "cca_labels"

"""Imputation that chooses itself: a stack of label maps, judged on labels that were left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import cho_factor, solve_triangular
from scipy.optimize import nnls
from scipy.stats import t as student_t

from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove._validate import checked
from scgroove.errors import InputError, StateError
from scgroove.imputers._imputation import Imputation
from scgroove.learners.common import label_means, principal_components
from scgroove.learners.label_cca import covariance_inside_labels, maxvar, whitening
from scgroove.metrics.values import check_values

RIDGES: Final = (0.03, 0.3, 3.0, 30.0)
"""Penalties of the ridge regressions, in units of the mean squared singular value of the means."""

FEWEST_LABELS: Final = 4
"""Labels of both modalities below which none can be left out."""

BLOCK: Final = 8192


@dataclass(frozen=True, eq=False)
class Moments:
    """Label means and covariance inside labels of one modality.

    Attributes
    ----------
    means
        (n_labels, d).
    counts
        (n_labels,) cells.
    white
        Whitening R inside labels, (d, k), its inverse, (k, d), and the variances after whitening,
        (k,). None if every label has one cell.
    """

    means: Float64Array
    counts: IntArray
    white: tuple[Float64Array, Float64Array, Float64Array] | None = None

    @classmethod
    def of(
        cls, x: FloatArray, codes: IntArray, n_labels: int, stack: LabelStack, seed: int
    ) -> Self:
        """Return the moments of cells (n, d) of labels (n,), -1 for none."""
        means, counts = label_means(x, codes, n_labels)
        basis = None
        reduced = x
        if x.shape[1] > stack.max_features:
            basis = principal_components(x, stack.max_features, seed).components_.T
            reduced = x @ basis
        covariance = covariance_inside_labels(reduced, codes, n_labels)
        if covariance is None:
            return cls(means, counts)
        root, inverse, variances = whitening(covariance, stack.whitening)
        if basis is not None:
            root, inverse = basis @ root, inverse @ basis.T
        return cls(means, counts, (root, inverse, variances))


@checked
@dataclass
class LabelStack:
    """Linear maps of label means, stacked by how well they predict labels that were left out.

    Maps B_k from source to target features are ridge regressions of label means at several
    penalties, label CCA regressed on the target's deviations inside labels, and Procrustes
    rotations of whitened label means. Each is fitted without some labels in turn and predicts the
    effects of those, P_k. Non-negative weights w of the maps are a ridge-regularized regression of
    the measured effects E on P. The slope is honest, with weights refitted without the label that
    they predict::

        slope = sum <E, P> / sum <P, P>,   t = slope / (jackknife standard error over labels)
        kappa = clip(slope, 0, 1) * max(0, 1 - (c / t)^2)

    with c the two-sided 5 % point of Student's t for the number of labels.

    A cell x of label g is imputed as

    - ``mean + kappa (x - mean_x) B``, if the target has no cell of the label, with means over
      labels.
    - ``mean_y,g + sqrt(kappa) (x - mean_x,g) B`` else, each principal direction of the
      deviations times its split-half reliability (Guttman's lambda 4, mean over all halves
      of the source's features), because deviations of single cells are mostly noise.

    Where the labels do not show that the map predicts, values are label means, and the verdict in
    ``evidence`` says so.

    Parameters
    ----------
    whitening
        Ridge of whitening, in units of the mean eigenvalue of the covariance inside labels.
    n_folds
        Folds of labels that are left out. Each label by itself if there are no more labels.
    max_features
        Wider modalities are whitened in this many principal components.

    Attributes
    ----------
    evidence
        After :meth:`fit`: ``weights`` by map, ``slope``, ``t``, ``kappa``, ``n_labels`` and
        ``verdict``.

    References
    ----------
    Wolpert 1992, "Stacked generalization". Breiman 1996, "Stacked regressions". Guttman 1945, "A
    basis for analyzing test-retest reliability" (lambda 4). User guide, "Imputation".
    """

    whitening: float = 3.0
    n_folds: int = 20
    max_features: int = 300
    evidence: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def fit(
        self,
        x: FloatArray,
        y: npt.ArrayLike | sp.spmatrix | sp.sparray,
        codes_x: IntArray,
        codes_y: IntArray,
        *,
        seed: int = 0,
    ) -> Self:
        """Learn from the labels that both modalities have.

        Parameters
        ----------
        x
            Standardized features of the source cells, (n_source, d).
        y
            Values of the target cells, (n_target, f), dense or scipy sparse.
        codes_x, codes_y
            Label of each cell in one vocabulary, -1 for none.
        seed
            Random state of the folds of labels.

        Raises
        ------
        ValueError
            No label is in both.
        """
        n_labels = int(max(codes_x.max(initial=-1), codes_y.max(initial=-1))) + 1
        checked_y = check_values("y", y)
        values = checked_y.toarray() if sp.issparse(checked_y) else checked_y
        values = values.astype(np.float64)
        scale = values.std(axis=0)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        source = Moments.of(x, codes_x, n_labels, self, seed)
        target = Moments.of(values / self.scale_, codes_y, n_labels, self, seed)
        shared = np.flatnonzero((source.counts > 0) & (target.counts > 0))
        if not shared.size:
            raise InputError(
                "no label has cells in both modalities, so that nothing links them. Labels are "
                "compared by name: scgroove.data.label_table(mdata) shows them."
            )
        self.has_target_ = target.counts > 0
        self.means_x_, self.means_y_ = source.means, target.means
        self.mean_x_ = source.means[shared].mean(axis=0)
        self.mean_y_ = target.means[shared].mean(axis=0)
        self.map_, slope, t, weights = self._stack(source, target, shared, seed)
        point = student_t.ppf(0.975, max(shared.size - 1, 1))
        certain = max(0.0, 1.0 - (point / t) ** 2) if t > 0 else 0.0
        self.kappa_ = float(min(max(slope, 0.0), 1.0) * certain)
        self.reliable_map_ = self._reliable(x, codes_x)
        self.evidence = {
            "weights": weights,
            "slope": slope,
            "t": t,
            "n_labels": int(shared.size),
            "kappa": self.kappa_,
            "verdict": _verdict(int(shared.size), slope, t, self.kappa_),
        }
        return self

    def predict(self, x: FloatArray, codes: IntArray) -> Imputation:
        """Return values for cells of standardized features (n, d) and labels (n,).

        Raises
        ------
        RuntimeError
            Nothing is fitted.
        """
        if not hasattr(self, "map_"):
            raise StateError(
                "this imputer is not fitted: call .fit(x, y, codes_x, codes_y) before "
                ".predict(x, codes)."
            )
        known = (codes >= 0) & (codes < self.has_target_.size)
        measured = known & self.has_target_[np.where(known, codes, 0)]
        out = np.empty((len(x), self.scale_.size), dtype=np.float32)
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            values = self._unseen(x[rows])
            of_label, here = codes[rows], measured[rows]
            values[here] = self._measured(x[rows][here], of_label[here])
            out[rows] = values * self.scale_
        evidence = {name: value for name, value in self.evidence.items() if name != "weights"}
        weights = {f"weight_{name}": value for name, value in self.evidence["weights"].items()}
        found = Imputation.of_function(out, evidence={**evidence, **weights})
        found.extrapolated[:] = ~measured
        return found

    def _unseen(self, x: FloatArray) -> Float64Array:
        values: Float64Array = self.mean_y_ + self.kappa_ * ((x - self.mean_x_) @ self.map_)
        return values

    def _measured(self, x: FloatArray, codes: IntArray) -> Float64Array:
        deviations = (x - self.means_x_[codes]) @ self.reliable_map_
        values: Float64Array = self.means_y_[codes] + np.sqrt(self.kappa_) * deviations
        return values

    def _stack(
        self, source: Moments, target: Moments, shared: IntArray, seed: int
    ) -> tuple[Float64Array, float, float, dict[str, float]]:
        """Return the weighted map (d, f), its honest slope, t of the slope, and the weights."""
        d, f = source.means.shape[1], target.means.shape[1]
        if shared.size < FEWEST_LABELS:
            return np.zeros((d, f)), 0.0, 0.0, {}
        grams, moments = [], []
        for out in _folds(shared.size, self.n_folds, seed):
            kept = np.delete(shared, out)
            maps = dict(self._maps(source, target, kept))
            effect = target.means[shared[out]] - target.means[kept].mean(axis=0)
            moved = source.means[shared[out]] - source.means[kept].mean(axis=0)
            predicted = np.stack([moved @ one for one in maps.values()])  # (maps, labels, f)
            grams.append(np.einsum("kgf,lgf->gkl", predicted, predicted, optimize=True))
            moments.append(np.einsum("kgf,gf->gk", predicted, effect, optimize=True))
        gram, moment = np.concatenate(grams), np.concatenate(moments)
        size = np.sqrt(np.einsum("gkk->k", gram) / (shared.size * f))
        usable = np.where(size > 0, size, 1.0)
        gram, moment = gram / np.outer(usable, usable), moment / usable
        ridge = 0.05 * shared.size * f
        slope, t = _honest_slope(gram, moment, ridge)
        weights = _nonnegative(gram.sum(axis=0), moment.sum(axis=0), ridge) / usable
        maps = dict(self._maps(source, target, shared))
        stacked = np.zeros((d, f))
        for weight, one in zip(weights, maps.values(), strict=True):
            stacked += weight * one
        return stacked, slope, t, dict(zip(maps, (weights * usable).tolist(), strict=True))

    def _maps(
        self, source: Moments, target: Moments, labels: IntArray
    ) -> Iterator[tuple[str, Float64Array]]:
        """Yield name and matrix (d, f) of each map that is fitted to some labels."""
        a = source.means[labels] - source.means[labels].mean(axis=0)
        b = target.means[labels] - target.means[labels].mean(axis=0)
        u, s, vt = np.linalg.svd(a, full_matrices=False)
        unit = max(float(s @ s), 1e-12) / min(len(a) - 1, a.shape[1])
        for ridge in RIDGES:
            yield f"ridge_{ridge:g}", (vt.T * (s / (s**2 + ridge * unit))) @ (u.T @ b)
        if source.white is None or target.white is None:
            return
        (root_x, _, _), (root_y, inverse_y, variances) = source.white, target.white
        a, b = a @ root_x, b @ root_y
        yield "cca", root_x @ _cca(a, b, variances) @ inverse_y
        u, s, vt = np.linalg.svd(a.T @ b, full_matrices=False)
        turned = (u * np.sqrt(s / max(s[0], 1e-300))) @ vt
        yield "procrustes", root_x @ turned @ inverse_y

    def _reliable(self, x: FloatArray, codes: IntArray) -> Float64Array:
        """Return the map of deviations inside labels, each direction times its reliability.

        Over all halves of the features, the mean of 4 cov(half, other half) of ``sum_j d_j b_j`` is
        its variance less ``sum_j b_j^2 var(d_j)``.
        """
        known = codes >= 0
        deviations = x[known] - self.means_x_[codes[known]]
        predicted = deviations @ self.map_
        values, vectors = np.linalg.eigh(predicted.T @ predicted / len(predicted))
        kept = values > 1e-8 * max(values.max(initial=0.0), 1e-300)
        variance, directions = values[kept], vectors[:, kept]
        by_direction = self.map_ @ directions
        alone = np.square(deviations).mean(axis=0) @ np.square(by_direction)
        reliability = np.clip(1.0 - alone / variance, 0.0, 1.0)
        reliable: Float64Array = (by_direction * reliability) @ directions.T
        return reliable


def _cca(a: Float64Array, b: Float64Array, variances: Float64Array) -> Float64Array:
    """Return label CCA of whitened label means, regressed on the target inside labels.

    ``variances`` are those of the whitened target inside labels.
    """
    present = np.ones(len(a), dtype=np.bool_)
    maps, _ = maxvar({"x": a, "y": b}, {"x": present, "y": present}, 0.3)
    w_x, w_y = maps["x"][1], maps["y"][1]
    inside = (w_y.T * variances) @ w_y
    inside += 0.1 * np.trace(inside) / len(inside) * np.eye(len(inside))
    regressed: Float64Array = w_x @ np.linalg.solve(inside, w_y.T * variances)
    return regressed


def _folds(n_labels: int, n_folds: int, seed: int) -> list[IntArray]:
    """Return positions of the labels of each fold."""
    order = np.arange(n_labels)
    if n_labels > n_folds:
        order = np.random.default_rng(seed).permutation(n_labels)
    return [np.asarray(part) for part in np.array_split(order, min(n_labels, n_folds))]


def _nonnegative(gram: Float64Array, moment: Float64Array, ridge: float) -> Float64Array:
    """Return w >= 0 that minimizes ``w' gram w - 2 w' moment + ridge w' w``."""
    lower, _ = cho_factor(gram + ridge * np.eye(len(gram)), lower=True)
    lower = np.tril(lower)
    weights: Float64Array = nnls(lower.T, solve_triangular(lower, moment, lower=True))[0]
    return weights


def _honest_slope(gram: Float64Array, moment: Float64Array, ridge: float) -> tuple[float, float]:
    """Return the slope of measured on predicted effects, and its t over labels.

    Parameters
    ----------
    gram, moment
        For each label, (n_labels, maps, maps) and (n_labels, maps): products of predictions with
        each other and with the measured effect.
    ridge
        See :func:`_nonnegative`.
    """
    n = len(gram)
    total, of_all = gram.sum(axis=0), moment.sum(axis=0)
    product, square = np.zeros(n), np.zeros(n)
    for g in range(n):
        weights = _nonnegative(total - gram[g], of_all - moment[g], ridge)
        product[g] = weights @ moment[g]
        square[g] = weights @ gram[g] @ weights
    if np.count_nonzero(square) < FEWEST_LABELS:  # an error from so few labels means nothing
        return 0.0, 0.0
    slope = product.sum() / square.sum()
    error = np.sqrt(n / (n - 1) * np.square(product - slope * square).sum()) / square.sum()
    return float(slope), float(slope / max(error, 1e-300))


def _verdict(n_labels: int, slope: float, t: float, kappa: float) -> str:
    if n_labels < FEWEST_LABELS:
        return (
            f"{n_labels} labels with cells in both modalities are too few to leave any out: values "
            "are label means."
        )
    shown = f"{n_labels} labels left out in turn, slope {slope:.2f}, t {t:.1f}"
    if kappa > 0:
        return f"the map predicts labels that it has not seen ({shown})."
    return (
        f"the labels cannot validate a map ({shown}): labels without target cells get the mean of "
        "the labels. method='label_ridge' shows the prediction without this check."
    )

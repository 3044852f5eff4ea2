"""Votes of the nearest cells, and probabilities from them. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, FloatArray, IntArray

VALUES_AT_A_TIME: Final = 2**22
N_FOLDS: Final = 5
_LEAST, _MOST = (0.1, 1e-3), (10.0, 10.0)
"""Bounds of temperature and pseudo-vote."""


@dataclass(frozen=True, eq=False)
class Votes:
    """Votes of the nearest labeled cells, by neighbor: memory grows with n k, not with the labels.

    Attributes
    ----------
    codes
        Labels of the neighbors, nearest first, (n, k).
    share
        Share of all votes that the label of this neighbor has, (n, k).
    repeats
        Neighbors with the label of this one, (n, k).
    n_labels
        Labels that could have been voted for.
    """

    codes: IntArray
    share: Float64Array
    repeats: IntArray
    n_labels: int

    @classmethod
    def count(cls, codes: IntArray, weights: Float64Array) -> Votes:
        """Count the votes of neighbors (n, k), of each label with its weight (n_labels,)."""
        n, k = codes.shape
        share, repeats = np.empty((n, k)), np.empty((n, k), dtype=np.intp)
        step = max(1, VALUES_AT_A_TIME // k**2)
        for start in range(0, n, step):
            rows = slice(start, start + step)
            repeats[rows] = (codes[rows, :, None] == codes[rows, None, :]).sum(axis=2)
        votes = weights[codes]
        share = repeats * votes / votes.sum(axis=1, keepdims=True)
        return cls(codes, share, repeats, len(weights))

    def rows(self, rows: IntArray) -> Votes:
        """Return the votes for some cells."""
        return Votes(self.codes[rows], self.share[rows], self.repeats[rows], self.n_labels)

    @cached_property
    def winner(self) -> IntArray:
        """Position of the neighbor whose label wins, the nearest of those with most votes, (n,)."""
        return np.asarray(self.share.argmax(axis=1), dtype=np.intp)

    @property
    def label(self) -> IntArray:
        """Label that wins, (n,)."""
        return np.asarray(np.take_along_axis(self.codes, self.winner[:, None], axis=1)[:, 0])

    def share_of(self, codes: IntArray) -> Float64Array:
        """Return the share of one label for each cell, 0 without a vote, (n,)."""
        return np.asarray(np.where(self.codes == codes[:, None], self.share, 0.0).max(axis=1))


def nearest_votes(
    z: FloatArray,
    voters: FloatArray,
    codes: IntArray,
    n_labels: int,
    n_neighbors: int,
    own: IntArray,
) -> Votes:
    """Let the nearest labeled cells vote. All labels weigh the same, whatever their size.

    Parameters
    ----------
    z
        Cells to label, (n, k).
    voters, codes
        Labeled cells and their labels, (m, k) and (m,).
    n_labels
        Labels, each of which some voter has.
    n_neighbors
        Cells that vote. All if there are fewer.
    own
        Position of each cell among the voters, -1 without one, (n,). It does not vote for itself.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(n_neighbors, len(voters) - int((own >= 0).any()))
    search = NearestNeighbors(n_neighbors=min(k + 1, len(voters)), algorithm="brute").fit(voters)
    found = search.kneighbors(z, return_distance=False)
    own_last = np.argsort(found == own[:, None], axis=1, kind="stable")
    near = np.take_along_axis(found, own_last, axis=1)[:, :k]
    return Votes.count(codes[near], 1.0 / np.bincount(codes, minlength=n_labels))


@dataclass(frozen=True)
class Calibration:
    r"""From shares of votes :math:`v_l` to probabilities, :math:`p_l \propto (v_l + a)^{1/T}`.

    The pseudo-vote a gives labels a chance that no neighbor has. The temperature T sharpens (below
    1) or flattens. Both keep the order of the labels. The default keeps the votes.

    Attributes
    ----------
    temperature
        T, above 0.
    pseudovote
        a, 0 or more.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks, ICML.
    """

    temperature: float = 1.0
    pseudovote: float = 0.0

    @classmethod
    def fit(cls, votes: Votes, truth: IntArray) -> Calibration:
        """Return the calibration under which the true labels (n,) are most likely."""
        from scipy.optimize import minimize

        share = votes.share_of(truth)

        def surprise(logs: npt.NDArray[np.float64]) -> float:
            tried = cls(*np.exp(logs))
            return float(-np.log(tried._power(share) / tried._total(votes)).mean())

        bounds = np.log(np.array([_LEAST, _MOST])).T
        found = minimize(surprise, np.log([1.0, 0.01]), method="L-BFGS-B", bounds=bounds)
        return cls(*map(float, np.exp(found.x)))

    def confidence(self, votes: Votes) -> Float64Array:
        """Return the probability of the label that wins, (n,)."""
        return np.asarray(
            (self._power(votes.share.max(axis=1)) / self._total(votes)).clip(0.0, 1.0)
        )

    def probabilities(self, votes: Votes) -> npt.NDArray[np.float32]:
        """Return the probability of every label, (n, n_labels). Rows sum to one."""
        total = self._total(votes)[:, None]
        out = np.empty((len(total), votes.n_labels), dtype=np.float32)
        out[:] = self._power(np.zeros(1)) / total
        np.put_along_axis(
            out, votes.codes, (self._power(votes.share) / total).astype(np.float32), axis=1
        )
        return out

    def _power(self, share: Float64Array) -> Float64Array:
        return np.asarray((share + self.pseudovote) ** (1.0 / self.temperature))

    def _total(self, votes: Votes) -> Float64Array:
        """Return the sum over all labels, those without a vote included, (n,)."""
        n_voted = (1.0 / votes.repeats).sum(axis=1)
        voted = (self._power(votes.share) / votes.repeats).sum(axis=1)
        return np.asarray(voted + (votes.n_labels - n_voted) * self._power(np.zeros(1)))


def cross_validated_confidence(votes: Votes, truth: IntArray, seed: int) -> Float64Array:
    """Return the confidence of cells under calibrations fitted to others, (n,)."""
    from sklearn.model_selection import KFold

    out = np.empty(len(truth))
    for rest, held in KFold(min(N_FOLDS, len(truth)), shuffle=True, random_state=seed).split(truth):
        out[held] = Calibration.fit(votes.rows(rest), truth[rest]).confidence(votes.rows(held))
    return out

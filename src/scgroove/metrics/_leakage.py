"""How much of the label can be read from a representation that should not hold it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scgroove._types import Float64Array, IntArray, Labels
from scgroove.errors import MissingTruthError
from scgroove.metrics._candidates import rows_per_block
from scgroove.metrics._cells import check_representation, codes_of
from scgroove.metrics._chance import Chance
from scgroove.metrics._score import Found

NEIGHBORS = 10
N_PERMUTATIONS = 20


def leakage(
    z: npt.ArrayLike,
    labels: Labels,
    *,
    n_neighbors: int = NEIGHBORS,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> Found:
    """Return how well the labels of cells are told from their nearest neighbors, beside what chance tells.

    Each cell is given the label that weighs most among its nearest other cells, each of which votes with one over the
    cells of its label, so that abundant labels do not win by number. Labels of equal weight: the one with the nearest
    voter wins. The value is the mean over labels of the share of their cells told rightly. By chance: the labels are
    permuted among the cells. A private part of a latent space that holds nothing of the label has the value of chance.

    Parameters
    ----------
    z
        Representation, (n, d), such as the private part of a latent space.
    labels
        Label of each cell, (n,); None and NaN mean unlabeled. Cells without a label, or alone with theirs, are left
        out.
    n_neighbors
        Cells that vote; all others if there are fewer. Of cells equally far, some are taken at random.
    n_permutations
        Permutations of the labels that mean and spread by chance are computed from.
    seed
        The same seed draws the same permutations.

    Returns
    -------
    Found
        ``value``, between 0 and 1; ``chance``, with ``mean``, about one over the number of labels, and ``sd``; and
        ``n``, the cells that were told.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, ``n_neighbors`` is below 1 or ``n_permutations`` below 2.
    MissingTruthError
        If fewer than two labels have two cells.

    See Also
    --------
    retention : what can be read of other covariates.
    label_transfer : the same between modalities, where more is better.

    References
    ----------
    Cover and Hart 1967, "Nearest neighbor pattern classification", IEEE Transactions on Information Theory 13.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.repeat(["a", "b"], 30)
    >>> z = np.random.default_rng(0).normal(size=(60, 2))
    >>> leakage(z + 9 * (labels == "a")[:, None], labels).value
    1.0
    >>> found = leakage(z, labels)
    >>> bool(abs(found.value - found.chance.mean) < 3 * found.chance.sd)
    True
    """
    z = check_representation(z)
    codes = codes_of(labels, len(z))[1]
    kept = with_company(codes)
    if np.unique(codes[kept]).size < 2:
        raise MissingTruthError(
            "no label can be told from another: fewer than two labels have two cells or more. Are the labels names of "
            "cells, or of one group only?"
        )
    rng = np.random.default_rng(seed)
    return Neighbors.of(z[kept], n_neighbors, rng).found(codes[kept], n_permutations, rng)


def with_company(codes: IntArray) -> IntArray:
    """Return the positions of cells whose code another cell has too; those of code -1 are left out."""
    known = np.flatnonzero(codes >= 0)
    counts = np.bincount(codes[known], minlength=1)
    return known[counts[codes[known]] > 1]


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest other cells of each cell.

    Attributes
    ----------
    order
        The cells in random order, (n,): of cells equally far, which are taken must not depend on how they were sorted.
    near
        Positions in ``order`` of the k cells nearest to each, nearest first, (n, k).
    """

    order: IntArray
    near: IntArray

    @classmethod
    def of(cls, z: Float64Array, k: int, rng: np.random.Generator) -> Neighbors:
        """Search the at most k nearest other cells of each of two cells or more."""
        from sklearn.neighbors import NearestNeighbors

        order = rng.permutation(len(z))
        centered = (z - z.mean(axis=0))[
            order
        ]  # squares may be expanded inside, which an offset would make inexact
        search = NearestNeighbors(n_neighbors=min(k, len(z) - 1)).fit(centered)
        return cls(order, np.asarray(search.kneighbors(return_distance=False), dtype=np.intp))

    def found(self, codes: IntArray, n_permutations: int, rng: np.random.Generator) -> Found:
        """Return the balanced accuracy of the codes that neighbors tell, and that of permuted codes."""
        codes = np.unique(codes[self.order], return_inverse=True)[1]
        drawn = [self._accuracy(rng.permutation(codes)) for _ in range(n_permutations)]
        by_chance = Chance(float(np.mean(drawn)), float(np.std(drawn, ddof=1)))
        return Found(self._accuracy(codes), by_chance, codes.size)

    def _accuracy(self, codes: IntArray) -> float:
        counts = np.bincount(codes)
        right = self._told(codes, counts) == codes
        return float((np.bincount(codes[right], minlength=counts.size) / counts).mean())

    def _told(self, codes: IntArray, counts: IntArray) -> IntArray:
        """Return the code with the most votes of each cell; of codes with equal votes, that of the nearest voter."""
        told = np.empty_like(codes)
        step = rows_per_block(self.near.shape[1] ** 2, None)
        for start in range(0, codes.size, step):
            voters = codes[self.near[start : start + step]]
            votes = (voters[:, :, None] == voters[:, None, :]).sum(axis=2) / counts[voters]
            told[start : start + step] = voters[np.arange(len(voters)), votes.argmax(axis=1)]
        return told

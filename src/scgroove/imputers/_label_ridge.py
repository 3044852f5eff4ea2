"""Imputation by a linear map that is fitted to the means of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove._types import FloatArray, IntArray
from scgroove._validate import checked
from scgroove.errors import InputError, StateError
from scgroove.imputers._imputation import Imputation
from scgroove.metrics.values import check_values, label_sums

PENALTIES: Final = tuple(float(penalty) for penalty in np.logspace(-2, 6, 17))
"""Penalties that are tried."""

LEAST_LABELS: Final = 3
"""Labels below which no penalty can be chosen."""

BLOCK: Final = 8192
"""Cells predicted at a time."""


@checked
@dataclass
class LabelRidge:
    """Ridge regression of the label means of the target on those of the source; cells are predicted by the same linear map.

    What links the modalities is the label, so that only its means are known in both: this uses them and nothing else. The
    penalty is chosen by leaving out one label at a time. The mean of the predictions of the cells of a label is the prediction
    of its mean; differences between cells are shrunk as much as the penalty asks for.

    Parameters
    ----------
    penalties
        Those that are tried.

    Attributes
    ----------
    penalty_
        After :meth:`fit`, the one that was chosen.

    References
    ----------
    Hoerl and Kennard 1970, Technometrics 12:55; user guide, "Imputation".
    """

    penalties: tuple[float, ...] = PENALTIES

    def fit(
        self,
        x: FloatArray,
        y: npt.ArrayLike | sp.spmatrix | sp.sparray,
        codes_x: IntArray,
        codes_y: IntArray,
    ) -> Self:
        """Learn from the labels that both modalities have.

        Parameters
        ----------
        x
            Features of the source cells on one footing (standardized), (n_source, d).
        y
            Values of the target cells, (n_target, f), dense or scipy sparse.
        codes_x, codes_y
            Label of each cell in one vocabulary, -1 for none.

        Returns
        -------
        LabelRidge
            Itself, fitted.

        Raises
        ------
        ValueError
            If fewer than three labels are in both.
        """
        from sklearn.linear_model import RidgeCV

        shared = np.intersect1d(codes_x[codes_x >= 0], codes_y[codes_y >= 0])
        if shared.size < LEAST_LABELS:
            raise InputError(
                f"a regression on label means needs {LEAST_LABELS} labels or more that both modalities have; found "
                f"{shared.size}. Use another method, or name the column of the labels with label_key=."
            )
        n_labels = int(shared.max()) + 1
        means = []
        for values, codes in ((x, codes_x), (check_values("y", y), codes_y)):
            sums, counts = label_sums(values, np.where(codes < n_labels, codes, -1), n_labels)
            means.append(sums[shared] / counts[shared, None])
        self.map_ = RidgeCV(alphas=self.penalties).fit(*means)
        self.penalty_ = float(self.map_.alpha_)
        return self

    def predict(self, x: FloatArray) -> Imputation:
        """Return what the linear map gives cells, seen or not.

        Parameters
        ----------
        x
            Features, (n, d), on the footing of those that were fitted.

        Raises
        ------
        RuntimeError
            If nothing is fitted.
        """
        if not hasattr(self, "map_"):
            raise StateError(
                "this regression is not fitted: call .fit(x, y, codes_x, codes_y) before .predict(x)."
            )
        blocks = [x[start : start + BLOCK] for start in range(0, max(len(x), 1), BLOCK)]
        values = np.concatenate([self.map_.predict(block).astype(np.float32) for block in blocks])
        return Imputation.of_function(
            values.reshape(len(x), -1), evidence={"penalty": self.penalty_}
        )

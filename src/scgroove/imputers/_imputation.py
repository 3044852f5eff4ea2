"""The result of an imputer, and the mean over an ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from scgroove._types import BoolArray, Float64Array, FloatArray
from scgroove.errors import InputError


@dataclass(frozen=True, eq=False)
class Imputation:
    """Values of a modality for cells in which it was not measured.

    Attributes
    ----------
    values
        float32 (n, f), in the units of the measured values.
    n_effective
        (n,) number of measured cells that a value averages, ``1 / sum_j w_j**2`` for weights w.
        Infinite for a fitted function.
    extrapolated
        (n,) True for cells without a match, which rest on the representation alone.
    between
        float32 (n, f) variance between the members of an ensemble. None without one.
    evidence
        How the values were made: strings and numbers.
    """

    values: npt.NDArray[np.float32]
    n_effective: Float64Array
    extrapolated: BoolArray
    between: npt.NDArray[np.float32] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_function(cls, values: FloatArray, **others: Any) -> Imputation:
        """Return the predictions of a fitted function."""
        arrays = {"n_effective": np.full(len(values), np.inf)}
        arrays["extrapolated"] = np.zeros(len(values), dtype=np.bool_)
        return cls(values.astype(np.float32, copy=False), **{**arrays, **others})


def ensemble(
    members: Iterable[FloatArray],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return mean and unbiased variance over an ensemble, with one member in memory at a time.

    Parameters
    ----------
    members
        Predictions of each member, (n, f).

    Returns
    -------
    mean
        float32 (n, f).
    variance
        float32 (n, f). None if there is one member.

    Raises
    ------
    ValueError
        There is no member, or shapes differ.

    References
    ----------
    Welford 1962, Technometrics 4:419.
    """
    mean: npt.NDArray[np.float32] | None = None
    squares: npt.NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    n = 0
    for n, member in enumerate(members, start=1):
        values: npt.NDArray[np.float32] = np.asarray(member, dtype=np.float32)
        if mean is None:
            mean, squares = values.copy(), np.zeros_like(values)
            continue
        if values.shape != mean.shape:
            raise InputError(
                f"members of an ensemble must predict the same cells and features: found shapes "
                f"{mean.shape} and {values.shape}."
            )
        step = values - mean
        mean += step / np.float32(n)
        squares += step * (values - mean)
    if mean is None:
        raise InputError("an ensemble needs at least one member; found none.")
    return mean, squares / np.float32(n - 1) if n > 1 else None

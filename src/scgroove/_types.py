"""Type aliases shared by the numerical layers. No runtime cost and no heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
"""Dense floating point array of any precision."""

Float64Array: TypeAlias = npt.NDArray[np.float64]
"""Dense float64 array: what the solvers and metrics compute with."""

IntArray: TypeAlias = npt.NDArray[np.intp]
"""Positions or codes."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""Masks."""

Labels: TypeAlias = npt.ArrayLike | Sequence[Any]
"""One label a cell: strings, numbers or objects. ``None`` and NaN mean *unlabeled*."""

Plan: TypeAlias = npt.NDArray[Any] | sp.csr_matrix | sp.csr_array | sp.spmatrix | sp.sparray
"""A transport plan, (n_source, n_target), dense or scipy sparse."""

Scalar: TypeAlias = str | float | int | bool
"""What an evidence entry may be beside an array: exactly what HDF5 stores without loss."""

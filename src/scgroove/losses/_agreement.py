"""How far labels agree, from what users write to a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pandas as pd
import torch
from torch import Tensor

from .._labels import label_name
from ..errors import InputError, UnknownNameError, did_you_mean

Agreement: TypeAlias = pd.DataFrame | Mapping[str, Mapping[str, float]]


def agreement_matrix(given: Agreement, labels: Sequence[str]) -> Tensor:
    """Return the agreement of all labels, symmetric with ones on the diagonal, shape (n_labels, n_labels).

    Parameters
    ----------
    given
        ``{label: {label: share}}`` or a square DataFrame. Pairs that are not named do not agree.
    labels
        All labels, in the order of their codes.

    Raises
    ------
    KeyError
        A label is not in the data.
    ValueError
        A value is not from 0 to 1, or the two orders of a pair disagree.
    """
    table = given.to_dict(orient="index") if isinstance(given, pd.DataFrame) else given
    position = {label: i for i, label in enumerate(labels)}
    n = len(labels)
    matrix, is_given = torch.eye(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.bool)
    for a, row in table.items():
        for b, share in row.items():
            i, j = (_position(label_name(label), position) for label in (a, b))
            if (
                not 0 <= share <= 1
                or (i == j and share != 1)
                or (is_given[j, i] and share != matrix[j, i])
            ):
                raise InputError(
                    "agreement must be symmetric, from 0 to 1, and 1 of a label with itself; "
                    f"found {share} of ({a!r}, {b!r})."
                )
            matrix[i, j] = matrix[j, i] = share
            is_given[i, j] = True
    return matrix.float()


def _position(label: str, position: Mapping[str, int]) -> int:
    if label not in position:
        hint = did_you_mean(label, position)
        raise UnknownNameError(f"agreement names {label!r}, which is no label of the data.{hint}")
    return position[label]

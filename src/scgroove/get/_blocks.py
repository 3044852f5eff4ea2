"""The blocks of a stored coupling, from the labels and weights of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scgroove._labels import UNLABELED, encode, members
from scgroove._types import Float64Array, IntArray
from scgroove.aligners import CouplingBlock
from scgroove.errors import ChangedError

if TYPE_CHECKING:
    from mudata import MuData
    from pandas import DataFrame


def blocks_of(
    mdata: MuData, source: str, target: str, matrix: sp.csr_matrix, evidence: Mapping[str, Any]
) -> tuple[CouplingBlock, ...]:
    """Return the blocks of a stored matrix, with the masses of cells where they are known."""
    names = (
        [str(name) for name in np.atleast_1d(evidence["labels"])] if evidence["labeled"] else [""]
    )
    sides = tuple(
        _Cells(mdata.mod[m].obs, m, side, names, evidence)
        for m, side in ((source, "source"), (target, "target"))
    )
    whole = matrix.shape == (evidence.get("n_source"), evidence.get("n_target"))
    if whole:
        for side in sides:
            side.check_counts()
    known = whole and "label_mass" in evidence
    masses = np.atleast_1d(evidence["label_mass"]) if known else np.full(len(names), np.nan)
    blocks = []
    for code, rows, columns, plan in _split(matrix, *sides):
        a, b = (side.masses(code, float(masses[code])) for side in sides)
        blocks.append(CouplingBlock(names[code], rows, columns, plan, a, b))
    if sum(block.plan.nnz for block in blocks) != matrix.nnz:  # type: ignore[union-attr]
        raise ChangedError("cells that are matched have no label of both modalities now")
    return tuple(blocks)


class _Cells:
    """The cells of a modality by label.

    Attributes
    ----------
    codes
        Position of the label of each cell among those of the coupling, (n,). -1 for cells that
        take no part.
    members
        Cells of each label, ascending.
    """

    def __init__(
        self,
        obs: DataFrame,
        modality: str,
        side: str,
        names: list[str],
        evidence: Mapping[str, Any],
    ) -> None:
        self._modality, self._side, self._evidence = modality, side, evidence
        self._weights, self._weighted = self._read_weights(obs)
        codes = (
            self._codes(obs, names) if evidence["labeled"] else np.zeros(len(obs), dtype=np.intp)
        )
        taken = np.ones(len(obs), dtype=bool) if self._weights is None else self._weights > 0
        self.codes: IntArray = np.where(taken, codes, UNLABELED)
        self.members = members(self.codes, len(names))

    def _codes(self, obs: DataFrame, names: list[str]) -> IntArray:
        key = str(self._evidence.get(f"label_key_{self._side}"))
        if key not in obs:
            raise ChangedError(f"the label column {key!r} of {self._modality!r} is gone")
        found, (codes,) = encode(obs[key])
        place = {name: code for code, name in enumerate(names)}
        lookup = np.array(
            [place.get(name, UNLABELED) for name in found] + [UNLABELED], dtype=np.intp
        )
        return np.asarray(lookup[codes], dtype=np.intp)

    def _read_weights(self, obs: DataFrame) -> tuple[Float64Array | None, bool]:
        """Return the weights, None if all are alike or not known, and whether they are known."""
        key = self._evidence.get(f"weight_key_{self._side}")
        if key is None:
            return None, True
        try:
            return np.asarray(obs[str(key)], dtype=np.float64), True
        except (KeyError, TypeError, ValueError):
            return None, False

    def check_counts(self) -> None:
        """Refuse labels with other numbers of cells than they had."""
        then = self._evidence.get(f"n_{self._side}_per_label")
        if then is None or [own.size for own in self.members] == np.atleast_1d(then).tolist():
            return
        columns = [self._evidence.get(f"{kind}_key_{self._side}") for kind in ("label", "weight")]
        named = " or ".join(repr(str(key)) for key in columns if key is not None)
        raise ChangedError(
            f"other cells of {self._modality!r} take part now: was {named or 'it'} changed?"
        )

    def masses(self, code: int, mass: float) -> Float64Array | None:
        """Return the masses that the cells of a label were to have, of a sum. None if not known."""
        if not (self._weighted and np.isfinite(mass)):
            return None
        own = self.members[code]
        weights = np.ones(own.size) if self._weights is None else self._weights[own]
        weights = weights / weights.max()  # sums of huge ones are no numbers
        return np.asarray(mass * weights / weights.sum())


def _split(
    matrix: sp.csr_matrix, source: _Cells, target: _Cells
) -> Iterator[tuple[int, IntArray, IntArray, sp.csr_matrix]]:
    """Yield code, rows, columns and plan of each label with cells on both sides."""
    position, codes = np.zeros(matrix.shape[1], dtype=np.int32), target.codes.astype(np.int32)
    for columns in target.members:
        position[columns] = np.arange(columns.size)
    for code, (rows, columns) in enumerate(zip(source.members, target.members, strict=True)):
        if not (rows.size and columns.size):
            continue
        part = matrix[rows]
        if (codes[part.indices] != code).any():
            raise ChangedError("cells are matched whose labels differ now")
        shape = (rows.size, columns.size)
        yield (
            code,
            rows,
            columns,
            sp.csr_matrix((part.data, position[part.indices], part.indptr), shape),
        )

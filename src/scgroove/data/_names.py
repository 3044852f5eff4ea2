"""Whether equal names of cells mean the same cell, or come from chance, a numbering or a plate."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from .._types import IntArray

Names = NDArray[Any]

WHITELIST: Final = 737_280
"""Barcodes of the smallest list in wide use (10x Genomics v2). Longer lists collide less."""

NUMBER: Final = r"\d+(\.0+)?"
WELL: Final = r"([A-Pa-p]|A[A-F])(0?[1-9]|[1-4]\d)"
BARCODE: Final = r"^(.*?)[ACGTN]{10,}(.*)$"
NUMBERED: Final = r"^(.*?)(\d+)$"

SURE: Final = 1e-3
"""Labels agree beyond chance if chance gives such an agreement less often."""

LAGS: Final = 200
"""Labels at equal numbers are compared with those at numbers up to so many apart."""


class Evidence:
    """What speaks for and against equal names being equal cells.

    Parameters
    ----------
    x, y
        Names of the cells of two modalities, (n,) and (m,), None where there is none.
    partner
        Row of ``y`` with the same name, (n,), -1 where there is none.
    labels
        Labels of the cells of both, None where missing.
    """

    def __init__(
        self,
        x: Names,
        y: Names,
        partner: IntArray,
        labels: tuple[NDArray[Any], NDArray[Any]] | None,
    ) -> None:
        self.names = (x, y)
        self.shared = int((partner >= 0).sum())
        self.smaller = min(len(x), len(y))
        self.most = 2 * self.shared >= self.smaller
        labels = (np.full(len(x), None), np.full(len(y), None)) if labels is None else labels
        codes = pd.factorize(np.concatenate([np.asarray(one, dtype=object) for one in labels]))[0]
        self.codes = codes[: len(x)], codes[len(x) :]
        rows = np.flatnonzero(partner >= 0)
        pairs = np.stack([self.codes[0][rows], self.codes[1][partner[rows]]])
        pairs = pairs[:, (pairs >= 0).all(axis=0)]
        self.labeled = pairs.shape[1]
        self.wrong = int((pairs[0] != pairs[1]).sum())
        self.sure = self._chance(pairs) < SURE

    def _chance(self, pairs: IntArray) -> float:
        """Probability of so many equal labels among cells paired at random."""
        if not self.labeled:
            return 1.0
        counts = [np.bincount(codes, minlength=pairs.max() + 1) for codes in pairs]
        share = float(counts[0] @ counts[1]) / self.labeled**2
        return float(binom.sf(self.labeled - self.wrong - 1, self.labeled, min(1.0, share)))

    def disagreement(self, modalities: tuple[str, str]) -> str:
        """Say how many of the cells with equal names have different labels."""
        a, b = modalities
        return f"{self.wrong} of {self.labeled} of them have different labels in '{a}' and '{b}'"

    def against(self, modalities: tuple[str, str]) -> str:
        """Return why equal names are not believed. Empty if they are.

        They are believed where most cells of the smaller modality are in both and labels do not
        speak against it. Elsewhere barcodes are believed where labels agree beyond chance, other
        names where they agree.
        """
        if self._all_match(NUMBER):
            return f"those of {list(modalities)} look like a default numbering ('0', '1', ...)"
        if self._all_match(WELL):
            return (
                f"those of {list(modalities)} look like wells ('A01', ...), which every plate has"
            )
        if self.wrong > (0.5 if self.most else 0.1) * self.labeled or (
            self.wrong and not self.sure
        ):
            return self.disagreement(modalities)
        if self._numbered_alike() and not (self.sure and self._beyond_order()):
            first, second = self.names[0][:2] if len(self.names[0]) > 1 else (*self.names[0], "...")
            return (
                f"those of {list(modalities)} look like a default numbering ('{first}', "
                f"'{second}', ...), and labels do not show that equal numbers are equal cells"
            )
        if self.most or not self._all_match(BARCODE):
            return ""
        expected = self._collisions()
        if self.sure and self.shared > 10 * expected + 3:
            return ""
        return (
            f"they look like barcodes, which all runs draw from one list, and only {self.shared} "
            f"of {self.smaller} cells have one in both ({expected:.2g} expected by chance)"
        )

    def _all_match(self, pattern: str) -> bool:
        known = [pd.Series(names, dtype=object).dropna() for names in self.names]
        return all(bool(one.str.fullmatch(pattern).all()) for one in known)

    def _collisions(self) -> float:
        """Barcodes that two runs share by chance, among names of the same text around them."""
        around = [
            pd.Series(names, dtype=object).str.extract(BARCODE).fillna("") for names in self.names
        ]
        counts = [one.groupby([0, 1]).size() for one in around]
        return float((counts[0] * counts[1]).fillna(0).sum() / WHITELIST)

    def _numbered_alike(self) -> bool:
        """Whether both are one prefix and the number of the row, perhaps before filtering."""
        prefixes: set[str] = set()
        for names in self.names:
            parts = pd.Series(names, dtype=object).str.extract(NUMBERED)
            if parts.isna().any(axis=None):
                return False
            numbers = parts[1].astype(float)
            if (
                not numbers.is_monotonic_increasing
                or numbers.min() > 1
                or numbers.max() > 2 * len(names)
            ):
                return False
            prefixes |= set(parts[0])
        return len(prefixes) == 1

    def _beyond_order(self) -> bool:
        """Whether labels agree at equal numbers beyond what sorting both alike explains."""
        a, b = (
            _by_number(names, codes) for names, codes in zip(self.names, self.codes, strict=True)
        )
        n = min(len(a), len(b))
        a, b = a[:n], b[:n]
        apart = [_share_equal(a[lag:], b[: n - lag]) for lag in range(1, min(LAGS, n // 2))]
        if _share_equal(a, b) < max(apart, default=0.0) + 0.25:
            return False
        known = a[a >= 0]
        changes = int((np.diff(known) != 0).sum())
        return changes > 1.5 * len(np.unique(known))


def _by_number(names: Names, codes: IntArray) -> IntArray:
    """Codes of labels at the place that the number in the name gives, -1 where there is none."""
    number = pd.Series(names, dtype=object).str.extract(NUMBERED)[1].astype(int).to_numpy()
    placed = np.full(number.max() + 1, -1)
    placed[number] = codes
    return placed


def _share_equal(a: IntArray, b: IntArray) -> float:
    known = (a >= 0) & (b >= 0)
    return float((a[known] == b[known]).mean()) if known.any() else 0.0

"""Colors that people with a color-vision deficiency can tell apart.

The first eight are those of Okabe and Ito (2008). Each of the others is as far as possible from all
before it, from white and from light gray, in OKLab, as seen with normal vision, protanopia and
deuteranopia (Machado et al. 2009). The order matters: few labels get the best colors.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Final

_COLORS: Final = """
    #0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00 #000000 #F0E442
    #78003C #3C00A8 #7800FC #844800 #9078FC #B40C78 #84C084 #84FCA8
    #600C78 #D800C0 #0C606C #0000D8 #FC3C6C #60E4FC #3CE478 #FC84C0
"""
LABELS: Final = tuple(_COLORS.split())
"""Colors of labels, best first."""

MODALITIES: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colors of modalities."""

UNLABELED: Final = "#CFCFCF"
"""Cells without a label, and cells that a panel is not about."""

TRAIN: Final = "#0072B2"
VALIDATION: Final = "#D55E00"

SEQUENTIAL: Final = "cividis"
"""Color map of shares and densities, even in lightness."""

DIVERGING: Final = "RdBu_r"
"""Color map of differences, white at 0, for all color-vision deficiencies."""

MARKERS: Final = ("o", "^", "s", "D", "v", "P")
"""Where colors run out, they repeat with the next marker."""


def label_styles(
    labels: Iterable[str], colors: Mapping[str, str] | None = None
) -> dict[str, tuple[str, str]]:
    """Color and marker of each label, in the order given.

    Parameters
    ----------
    labels
        Labels, without repetition.
    colors
        Colors that are asked for. The others keep their own.
    """
    chosen = colors or {}
    return {
        label: (
            chosen.get(label, LABELS[i % len(LABELS)]),
            MARKERS[i // len(LABELS) % len(MARKERS)],
        )
        for i, label in enumerate(labels)
    }


def modality_colors(modalities: Iterable[Hashable]) -> dict[Hashable, str]:
    """Color of each modality, in the order given."""
    return {modality: MODALITIES[i % len(MODALITIES)] for i, modality in enumerate(modalities)}

"""Public screens as MuData, downloaded from their sources and kept in a cache."""

from scgroove._validate import check_room
from scgroove.datasets._published import (
    DATASETS,
    frangieh_2021,
    neurips_2021_cite,
    neurips_2021_multiome,
    papalexi_2021,
    table,
)

__all__ = [
    "DATASETS",
    "frangieh_2021",
    "neurips_2021_cite",
    "neurips_2021_multiome",
    "papalexi_2021",
    "table",
]

check_room(__name__)

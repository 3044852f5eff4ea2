"""Results as ordinary objects: what the verbs wrote into a MuData, read back."""

from scgroove._validate import check_room
from scgroove.get._coupling import coupling
from scgroove.get.values import imputed, imputed_interval, imputed_sd, measured

__all__ = ["coupling", "imputed", "imputed_interval", "imputed_sd", "measured"]

check_room(__name__)

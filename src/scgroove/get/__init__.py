"""Results as ordinary objects: what the verbs wrote into a MuData, read back."""

from scgroove.get._coupling import coupling
from scgroove.get._imputed import imputed, measured

__all__ = ["coupling", "imputed", "measured"]

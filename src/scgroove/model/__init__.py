"""Models with the scvi-tools interface."""

from ._groove import GROOVE

__all__ = ["GROOVE"]

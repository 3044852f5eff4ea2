"""The only place that knows how a MuData is laid out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._datamodule import GroupDataSplitter
    from .features import Features
    from .labels import label_table
    from .manager import ModalityManager
    from .sampler import GroupSampler
    from .screen import Screen

_HOMES = {
    "Features": "features",
    "GroupDataSplitter": "_datamodule",
    "GroupSampler": "sampler",
    "ModalityManager": "manager",
    "Screen": "screen",
    "label_table": "labels",
}
__all__ = [
    "Features",
    "GroupDataSplitter",
    "GroupSampler",
    "ModalityManager",
    "Screen",
    "label_table",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: torch and scvi-tools take seconds."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

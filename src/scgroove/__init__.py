"""scgroove: one latent space for modalities measured on different cells, linked only by a label.

The public API, by layer:

- :mod:`scgroove.model`: ``GROOVE``, the model
- :mod:`scgroove.tl`: verbs that write their results into a MuData
- :mod:`scgroove.pl`: figures of what ``tl`` wrote
- :mod:`scgroove.get`: results as ordinary objects
- :mod:`scgroove.learners`, :mod:`scgroove.benchmark`: methods to compare, and the comparison
- :mod:`scgroove.simulations`: screens with known truth. :mod:`scgroove.datasets`: published ones
- :mod:`scgroove.aligners`, :mod:`scgroove.imputers`, :mod:`scgroove.metrics`,
  :mod:`scgroove.losses`: the numerics, on arrays and tensors
- :mod:`scgroove.errors`: all errors and warnings
- :mod:`scgroove.data`, :mod:`scgroove.module`, :mod:`scgroove.train`: for developers
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        aligners,
        benchmark,
        data,
        datasets,
        get,
        imputers,
        learners,
        losses,
        metrics,
        model,
        module,
        pl,
        simulations,
        tl,
        train,
    )

__version__ = _version("scgroove")

__all__ = [
    "aligners",
    "benchmark",
    "data",
    "datasets",
    "get",
    "imputers",
    "learners",
    "losses",
    "metrics",
    "model",
    "module",
    "pl",
    "simulations",
    "tl",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a part of the package when it is first used: torch and scvi-tools take seconds."""
    if name in (*__all__, "errors"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

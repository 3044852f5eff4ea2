"""Alignments at several eps, in a table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from scgroove._types import Labels
from scgroove._validate import checked
from scgroove.aligners._coupling import Coupling
from scgroove.aligners._epsilon import check_epsilon
from scgroove.aligners.base import get
from scgroove.errors import ConvergenceWarning, InputError, InputTypeError

EPSILONS: Final = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""eps tried by default, relative to the mean cost."""


@checked
def epsilon_scan(
    aligner: Any,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels_x: Labels | None = None,
    labels_y: Labels | None = None,
    *,
    epsilons: Sequence[float] = EPSILONS,
    **inputs: Any,
) -> pd.DataFrame:
    """Align at several eps, largest first, and say what each does.

    Parameters
    ----------
    aligner
        An aligner with an ``epsilon``, such as ``EntropicOT(cost="cosine")``, or the name of one.
    x, y, labels_x, labels_y
        As for ``align``.
    epsilons
        eps to try, relative, as the aligner takes them: positive, and for ``"coot"`` also 0, no
        entropy.
    **inputs
        ``weights_x`` and ``weights_y``, as for ``align``.

    Returns
    -------
    DataFrame
        One row an eps: ``epsilon`` and ``epsilon_absolute``, its mean over labels in units of the
        cost. Means over source cells of ``entropy`` (nats), of its exponential ``partners``, and of
        ``confidence``. ``marginal_error``, of both sides relative to the mass (L1), ``converged``.
        ``transport_cost`` and ``objective``, without and with the entropy. ``iterations``,
        ``seconds``.

    Raises
    ------
    TypeError
        If the aligner has no eps.
    ValueError
        If an eps cannot be used, or the input does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from scgroove.aligners.scan import epsilon_scan
    >>> z = np.random.default_rng(0).normal(size=(50, 4))
    >>> table = epsilon_scan("eot", z, z, epsilons=(0.5, 0.01))
    >>> bool(table["partners"].is_monotonic_decreasing)
    True
    """
    base = get(aligner)() if isinstance(aligner, str) else aligner
    if not is_dataclass(base) or "epsilon" not in {option.name for option in fields(base)}:
        raise InputTypeError(
            f"{getattr(base, 'name', type(base).__name__)!r} has no epsilon to scan. Those that "
            f"have: 'eot', 'uot', 'egw', 'egw_each', 'fgw', 'coot'."
        )
    rows = []
    for epsilon in _grid(base, epsilons):
        with warnings.catch_warnings():  # the table says it
            warnings.simplefilter("ignore", ConvergenceWarning)
            options: Any = {"epsilon": epsilon, "strict": False}
            one: Any = replace(base, **options)  # type: ignore[type-var]
            coupling = one.align(x, y, labels_x, labels_y, **inputs)
        rows.append({"epsilon": epsilon, **_row(coupling)})
    return pd.DataFrame(rows)


def _grid(base: Any, epsilons: Sequence[float]) -> list[float]:
    """Return the eps to try, largest first. 0 among them only if the aligner takes it."""
    grid = sorted({float(epsilon) for epsilon in epsilons}, reverse=True)
    if not grid:
        raise InputError(
            "epsilons is empty: name the eps to try, such as (1, 0.3, 0.1, 0.03, 0.01)."
        )
    for epsilon in grid:
        if epsilon == 0:
            replace(base, epsilon=0.0)  # the aligner says why, if it does not take it
        else:
            check_epsilon(epsilon)
    return grid


def _row(coupling: Coupling) -> dict[str, Any]:
    evidence: Any = coupling.evidence
    entropy = coupling.entropy()
    error = float(evidence["row_error"]) + float(evidence["column_error"])
    return {
        "epsilon_absolute": float(np.mean(evidence["epsilon_absolute"])),
        "entropy": float(np.nanmean(entropy)),
        "partners": float(np.nanmean(np.exp(entropy))),
        "confidence": float(np.nanmean(coupling.confidence())),
        "marginal_error": error / coupling.mass,
        "converged": bool(evidence["converged"]),
        "transport_cost": float(evidence["transport_cost"]),
        "objective": float(evidence["objective"]),
        "iterations": int(np.sum(evidence["iterations"])),
        "seconds": float(evidence["seconds"]),
    }

"""Couplings at several eps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scgroove import _keys
from scgroove._labels import UnlabeledCategory
from scgroove.aligners import scan
from scgroove.data.checks import PerModality
from scgroove.data.screen import check_call
from scgroove.tl._align import Problem, construct

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData


def epsilon_scan(
    mdata: MuData,
    source: str,
    target: str,
    *,
    epsilons: Sequence[float] = scan.EPSILONS,
    label_key: PerModality | None = _keys.LABEL,
    use_rep: PerModality = _keys.LATENT,
    method: str = "eot",
    labeled: bool = True,
    unlabeled_category: UnlabeledCategory = None,
    weight_key: PerModality | None = None,
    structure_rep: PerModality | None = None,
    key_added: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Align at several eps: entropy, marginal error, objective and seconds of each.

    Parameters
    ----------
    mdata
        The modalities.
    source, target
        Names of the modalities.
    epsilons
        Values to try, relative to the mean cost: positive, and for ``"coot"`` also 0, no entropy.
    label_key, use_rep, method, labeled, unlabeled_category, weight_key, structure_rep, **options
        As for :func:`scgroove.tl.align`. The method must have an eps.
    key_added
        Name of the result. Default ``"epsilon_scan_<source>_<target>"``.

    Returns
    -------
    DataFrame
        One row an eps. Columns as of :func:`scgroove.aligners.scan.epsilon_scan`. Sets the
        following fields:

        ``mdata.uns[key_added]``
            The same table.

    Raises
    ------
    ValueError, KeyError
        As :func:`scgroove.tl.align`, or if an eps cannot be used. ``mdata`` is unchanged then.
    TypeError
        If the method has no eps, or no such option. ``mdata`` is unchanged then.

    See Also
    --------
    scgroove.pl.epsilon_scan

    References
    ----------
    User guide, "Alignment".

    Examples
    --------
    >>> scgroove.tl.epsilon_scan(mdata, "rna", "prot", epsilons=(0.1, 0.03, 0.01))  # doctest: +SKIP
    >>> scgroove.pl.epsilon_scan(mdata, "rna", "prot")  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    problem = Problem.read(
        mdata,
        source,
        target,
        construct(method, options),
        label_key=label_key,
        use_rep=use_rep,
        labeled=labeled,
        unlabeled_category=unlabeled_category,
        weight_key=weight_key,
        structure_rep=structure_rep,
    )
    inputs = (problem.x, problem.y, *problem.labels)
    table = scan.epsilon_scan(problem.aligner, *inputs, epsilons=epsilons, **problem.weights)
    table.insert(0, "method", method)
    mdata.uns[key_added if key_added is not None else _keys.epsilon_scan(source, target)] = table
    return table.copy()

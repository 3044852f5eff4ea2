"""Values of one modality for the cells of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from scgroove import _keys, get
from scgroove._registry import Registry
from scgroove._types import BoolArray
from scgroove.aligners import TooLargeError, entropic_map
from scgroove.get._inputs import PerModality, check_modality, check_pair, representations, values_of

if TYPE_CHECKING:
    from mudata import MuData

Method: TypeAlias = Literal["decoder", "barycentric"]
IMPUTERS: Final[Registry[Any]] = Registry("imputation method")

_LINEAR: Final = ("eot", "uot")
"""Methods whose eps is one of costs between the representations."""


class Translator(Protocol):
    """What ``method="decoder"`` needs of a model: :class:`scgroove.model.GROOVE` has it."""

    def translate(self, source: str, target: str, mdata: MuData | None = None) -> Any:
        """Return expected values of the target for source cells, (n_source, d_target)."""


def impute(
    mdata: MuData,
    source: str,
    target: str,
    *,
    method: Method = "decoder",
    model: Translator | None = None,
    coupling_key: str | None = None,
    layer: str | None = None,
    use_rep: PerModality | None = None,
    epsilon: float | None = None,
    key_added: str | None = None,
    max_memory_gb: float = 4.0,
) -> None:
    """Give source cells values of the target modality, all of them: labels never seen in the target included.

    ``"decoder"``: what the model expects, ``E[p_t(x | d_t(e_s(x_i)))]``. ``"barycentric"``: the mean of the target
    cells that the coupling matches with cell i, ``sum_j T_ij x_j / sum_j T_ij``. Source cells without mass in
    the coupling (label not in the target, or no label) get the entropic map of the shared representation instead,
    ``sum_j w_ij x_j`` with ``w_ij`` proportional to ``exp(-c(z_i, z_j) / eps)`` over all target cells, and are
    flagged: they rest on the representation alone.

    Parameters
    ----------
    mdata
        The modalities.
    source, target
        The cells to impute for, and the modality imputed. With ``method="decoder"`` mdata may lack the target.
    method
        ``"decoder"`` or ``"barycentric"``.
    model
        The trained model, for ``"decoder"``.
    coupling_key
        Name of the coupling, for ``"barycentric"``; default ``"coupling_<source>_<target>"``.
    layer
        Layer of the target with the values, for ``"barycentric"``; default X. The decoder predicts in the units that
        the model was trained on.
    use_rep
        Shared representation for cells without mass; default the one that the coupling was made of.
    epsilon
        eps of the entropic map, relative to the mean cost between those cells and the target cells; default that of
        the coupling, or 0.05.
    key_added
        Name of the result; default ``"imputed_<target>"``.
    max_memory_gb
        Refuse, before taking any, if the imputed matrix is larger than this.

    Returns
    -------
    None
        Sets the following fields:

        ``mdata.mod[source].obsm[key_added]``
            Imputed values, float32 (n_source, d_target), in the units of the target.
        ``mdata.mod[source].uns[key_added]``
            ``features`` (names), ``method``, ``target``; for ``"decoder"`` the layer and, where the target is counts,
            the ``library_size`` at which they are expected; and for ``"barycentric"`` the coupling, the layer, the number
            of extrapolated cells and their absolute eps.
        ``mdata.mod[source].obs[key_added + "_extrapolated"]``
            For ``"barycentric"``: True where a cell had no mass in the coupling. Removed by ``"decoder"``.

    Raises
    ------
    ValueError
        If a modality, method, layer, coupling or representation is missing, an argument does not go with the method,
        the model does not return one row per cell, or memory is too small. ``mdata`` is unchanged then.

    See Also
    --------
    scgroove.get.imputed, scgroove.tl.align

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 6 (decoder); Pooladian and Niles-Weed 2021, arXiv 2109.12004
    (entropic map).

    Examples
    --------
    >>> scgroove.tl.impute(mdata, "rna", "prot", model=model)  # doctest: +SKIP
    >>> scgroove.get.imputed(mdata, "rna", "prot")  # doctest: +SKIP
    """
    check_modality(mdata, source, "source")
    chosen = IMPUTERS.get(method)
    key = key_added if key_added is not None else _keys.imputed(target)
    values, made, extrapolated = chosen(
        mdata,
        source,
        target,
        model=model,
        coupling_key=coupling_key,
        layer=layer,
        use_rep=use_rep,
        epsilon=epsilon,
        max_memory_gb=max_memory_gb,
    )
    adata = mdata.mod[source]
    adata.obsm[key] = values
    adata.uns[key] = {**made, "method": method, "source": source, "target": target}
    flag = _keys.extrapolated(key)
    if extrapolated is not None:
        adata.obs[flag] = extrapolated
    elif flag in adata.obs:
        del adata.obs[flag]


Imputed: TypeAlias = tuple[npt.NDArray[np.float32], dict[str, Any], BoolArray | None]


@IMPUTERS.register("decoder")
def _decode(
    mdata: MuData,
    source: str,
    target: str,
    *,
    model: Translator | None,
    coupling_key: str | None,
    layer: str | None,
    max_memory_gb: float,
    **others: Any,
) -> Imputed:
    if model is None:
        raise ValueError(
            "method='decoder' needs the trained model: scgroove.tl.impute(mdata, "
            f"{source!r}, {target!r}, model=model). Without one use method='barycentric', after scgroove.tl.align."
        )
    given = {"coupling_key": coupling_key, "layer": layer, **others}
    _only_for("barycentric", {name: value for name, value in given.items() if value is not None})
    n = mdata.mod[source].n_obs
    if target not in mdata.mod:
        frame = model.translate(source, target, mdata=mdata, return_dataframe=True)  # type: ignore[call-arg]
        values, features = frame.to_numpy(), frame.columns
    else:
        features = mdata.mod[target].var_names
        _check_memory(n, len(features), max_memory_gb)
        values = model.translate(source, target, mdata=mdata)
    values = np.asarray(values, dtype=np.float32)
    if values.shape != (n, len(features)):
        raise ValueError(
            f"the model returned values of shape {values.shape} for {n} cells of {source!r} and {len(features)} features "
            f"of {target!r}. Was it trained on other features?"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"the model returned NaN or infinite values for {int((~np.isfinite(values).all(axis=1)).sum())} of {n} "
            f"cells: its training diverged. Train it again with a lower learning rate."
        )
    made: dict[str, Any] = {"features": _names(features), **_units(model, target)}
    return values, made, None


def _units(model: Translator, target: str) -> dict[str, Any]:
    """Return the layer that the model was trained on, and the library size at which it predicts counts."""
    describe = getattr(model, "get_units", None)
    return {} if describe is None else dict(describe(target))


@IMPUTERS.register("barycentric")
def _barycentre(
    mdata: MuData,
    source: str,
    target: str,
    *,
    model: Translator | None,
    coupling_key: str | None,
    layer: str | None,
    use_rep: PerModality | None,
    epsilon: float | None,
    max_memory_gb: float,
) -> Imputed:
    check_pair(mdata, source, target)
    if model is not None:
        _only_for("decoder", {"model": model})
    coupling = get.coupling(mdata, source, target, coupling_key)
    adata = mdata.mod[target]
    _check_memory(coupling.shape[0], adata.n_vars, max_memory_gb)
    y = values_of(adata, target, layer)
    stored = np.asarray(y.data if sp.issparse(y) else y)
    if not np.isfinite(stored).all():
        raise ValueError(
            f"{'X' if layer is None else f'layer {layer!r}'} of {target!r} holds NaN or infinite values, which would spread "
            f"to every cell matched with them. Leave those cells or features out."
        )
    values = coupling.push(y, dtype=np.float32)
    missing = coupling.row_mass() == 0
    made: dict[str, Any] = {
        "features": _names(adata.var_names),
        "coupling": coupling_key if coupling_key is not None else _keys.coupling(source, target),
        "layer": layer if layer is not None else "X",
        "n_extrapolated": int(missing.sum()),
    }
    if missing.any():
        evidence = coupling.evidence
        used = {
            m: str(evidence.get(f"use_rep_{r}", _keys.LATENT))
            for m, r in ((source, "source"), (target, "target"))
        }
        z_x, z_y = representations(mdata, source, target, use_rep if use_rep is not None else used)
        in_this_space = use_rep is None and evidence.get("method") in _LINEAR
        made_with = evidence.get("epsilon_relative", 0.05) if in_this_space else 0.05
        relative = epsilon if epsilon is not None else float(made_with)  # type: ignore[arg-type]
        cost = str(evidence.get("cost", "sqeuclidean"))
        filled, absolute = entropic_map(z_x[missing], z_y, y, epsilon=relative, cost=cost)  # type: ignore[arg-type]
        values[missing] = filled
        made["epsilon_absolute"] = absolute
    return values.astype(np.float32, copy=False), made, missing


def _only_for(method: str, given: dict[str, Any]) -> None:
    if given:
        raise ValueError(
            f"{', '.join(given)} only goes with method={method!r}. Leave it out, or choose that method."
        )


def _check_memory(n: int, d: int, max_memory_gb: float) -> None:
    needed = 4.0 * n * d / 1e9
    if needed > max_memory_gb:
        raise TooLargeError(
            f"imputing {d} features for {n} cells would take {needed:.1f} GB, more than max_memory_gb={max_memory_gb:g}. "
            f"Impute for fewer cells (mdata[cells].copy()), or raise max_memory_gb if the machine has the memory."
        )


def _names(features: Any) -> npt.NDArray[Any]:
    return np.array([str(name) for name in features], dtype=object)

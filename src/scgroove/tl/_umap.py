"""A joint picture of a shared representation in two dimensions."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgroove import _keys
from scgroove.data.screen import check_call
from scgroove.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from mudata import MuData
    from numpy.typing import NDArray

_FEWEST_CELLS = 10
_EPOCHS = 200  # what umap-learn takes for large data; its 500 for small ones changes little


def umap(
    mdata: MuData,
    *,
    use_rep: str = _keys.LATENT,
    modalities: Sequence[str] | None = None,
    metric: Literal["cosine", "euclidean"] = "cosine",
    n_neighbors: int = 15,
    min_dist: float = 0.3,
    max_cells: int | None = 50_000,
    seed: int = 0,
    key_added: str | None = None,
) -> None:
    """Lay the cells of all modalities out in two dimensions, together.

    One neighborhood graph over the cells of every modality: modalities mix in the picture only where they
    mix in the representation. A picture is for looking at; distances in it mean little, so compute with the
    representation itself.

    Parameters
    ----------
    mdata
        Modalities with a representation in one shared space.
    use_rep
        Key of the representation in ``mod[m].obsm``, of equal width in every modality.
    modalities
        Modalities to lay out; by default all that have ``use_rep``.
    metric
        Distance that defines neighbors. ``"cosine"``, the similarity that GroupCLIP works with, looks at
        the direction of a representation and not at its length.
    n_neighbors, min_dist
        Parameters of UMAP. The number of neighbors is cut to what few cells allow.
    max_cells
        Fit on at most this many cells, a random share of each modality, and place the others afterwards.
        None for all cells.
    seed
        The same seed gives the same picture on one machine.
    key_added
        Where to write; by default ``f"{use_rep}_umap"``.

    Returns
    -------
    None. Sets the following fields:

    ``mdata.mod[m].obsm[key_added]``
        Coordinates, float32 of shape (n_m, 2), in each modality.

    Raises
    ------
    ValueError
        If a modality or its representation is missing, has missing values, or another width than the others.

    References
    ----------
    McInnes, Healy and Melville 2018, arXiv 1802.03426.

    Examples
    --------
    >>> scgroove.tl.embed(mdata, model)  # doctest: +SKIP
    >>> scgroove.tl.umap(mdata)  # doctest: +SKIP
    >>> scgroove.pl.latent(mdata)  # doctest: +SKIP
    """
    check_call(mdata, key_added, modalities, use_rep)
    parts = _representations(mdata, use_rep, modalities)
    coordinates = _layout(
        list(parts.values()),
        metric=metric,
        n_neighbors=n_neighbors,
        min_dist=min_dist,
        max_cells=max_cells,
        seed=seed,
    )
    key = key_added if key_added is not None else _keys.umap(use_rep)
    ends = np.cumsum([len(x) for x in parts.values()])[:-1]
    for modality, xy in zip(parts, np.split(coordinates, ends), strict=True):
        mdata.mod[modality].obsm[key] = np.ascontiguousarray(xy)


def _representations(
    mdata: MuData, use_rep: str, modalities: Sequence[str] | None
) -> dict[str, NDArray[np.float32]]:
    """Check and return the representation of each modality."""
    if modalities is None:
        chosen = [m for m in mdata.mod if use_rep in mdata.mod[m].obsm] or list(mdata.mod)
    else:
        chosen = list(modalities)
    parts: dict[str, NDArray[np.float32]] = {}
    for modality in chosen:
        if modality not in mdata.mod:
            raise InputError(
                f"There is no modality {modality!r}; mdata has {list(mdata.mod)}.{did_you_mean(modality, mdata.mod)}"
            )
        parts[modality] = _checked(mdata.mod[modality].obsm, use_rep, modality)
    widths = {modality: x.shape[1] for modality, x in parts.items()}
    if len(set(widths.values())) > 1:
        raise InputError(
            f"obsm[{use_rep!r}] has another width in each modality ({widths}), so it is no shared space. "
            "Choose a representation that the modalities share, such as the one that "
            "scgroove.tl.embed(mdata, model) writes."
        )
    total = sum(len(x) for x in parts.values())
    if total < _FEWEST_CELLS:
        raise InputError(
            f"UMAP needs at least {_FEWEST_CELLS} cells in all; {use_rep!r} has {total}."
        )
    return parts


def _checked(obsm: Any, use_rep: str, modality: str) -> NDArray[np.float32]:
    if use_rep not in obsm:
        raise InputError(
            f"mod[{modality!r}].obsm has no {use_rep!r}; it has {list(obsm)}.{did_you_mean(use_rep, obsm)} "
            f"Make it with scgroove.tl.embed(mdata, model, key_added={use_rep!r}), or name another "
            "with use_rep=."
        )
    x = np.asarray(obsm[use_rep], dtype=np.float32)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise InputError(
            f"mod[{modality!r}].obsm[{use_rep!r}] has missing or infinite values in {int(bad.sum())} of "
            f"{len(x)} cells (first: row {int(np.argmax(bad))}). If scgroove wrote it, the training "
            "diverged: train again with a lower learning rate."
        )
    return x


def _layout(
    parts: list[NDArray[np.float32]],
    *,
    metric: str,
    n_neighbors: int,
    min_dist: float,
    max_cells: int | None,
    seed: int,
) -> NDArray[np.float32]:
    """Coordinates of all rows, those beyond ``max_cells`` placed after the fit."""
    from umap import UMAP

    x = np.concatenate(parts)
    if metric == "cosine":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    fitted = _fitted_rows([len(part) for part in parts], max_cells, np.random.default_rng(seed))
    reducer = UMAP(
        n_neighbors=max(2, min(n_neighbors, int(fitted.sum()) - 1)),
        min_dist=min_dist,
        n_epochs=_EPOCHS,
        # Rows have unit length for the cosine, and then both metrics order neighbors alike.
        metric="euclidean",
        init="pca" if x.shape[1] > 1 else "random",
        random_state=seed,
        n_jobs=1,
    )
    coordinates = np.empty((len(x), 2), dtype=np.float32)
    with warnings.catch_warnings(), _threads_of_torch():
        warnings.filterwarnings("ignore", module="umap|sklearn|pynndescent|numba")
        coordinates[fitted] = reducer.fit_transform(x[fitted])
        if not fitted.all():
            coordinates[~fitted] = reducer.transform(x[~fitted])
    return coordinates


@contextmanager
def _threads_of_torch() -> Iterator[None]:
    """Keep the number of threads of torch: numba sets that of OpenMP to all cores, and training slows down many times over on busy ones."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def _fitted_rows(
    sizes: Sequence[int], max_cells: int | None, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mark the rows to fit on, the same share of each modality."""
    total = sum(sizes)
    if max_cells is None or total <= max_cells:
        return np.ones(total, dtype=bool)
    chosen: list[NDArray[np.bool_]] = []
    for size in sizes:
        mine = np.zeros(size, dtype=bool)
        mine[rng.permutation(size)[: max(1, round(size * max_cells / total))]] = True
        chosen.append(mine)
    return np.concatenate(chosen)

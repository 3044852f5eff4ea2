"""A joint picture of a shared representation in two dimensions."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from scgroove import _keys
from scgroove._types import BoolArray, FloatArray
from scgroove.data.screen import check_call, check_modality, shared_space
from scgroove.errors import InputError

if TYPE_CHECKING:
    from mudata import MuData

_FEWEST_CELLS: Final = 10
_EPOCHS: Final = 200
"""As umap-learn takes for large data. Its 500 for small ones change little."""


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

    One neighborhood graph over the cells of every modality: modalities mix in the picture only
    where they mix in the representation. Distances in the picture mean little: compute with the
    representation itself.

    Parameters
    ----------
    mdata
        Modalities with a representation in one shared space.
    use_rep
        Key of the representation in ``mod[m].obsm``, of equal width in every modality.
    modalities
        Modalities to lay out. By default all that have ``use_rep``.
    metric
        Distance that defines neighbors. ``"cosine"``, the similarity of GroupCLIP, looks at the
        direction of a representation and not at its length.
    n_neighbors, min_dist
        Parameters of UMAP. The number of neighbors is cut to what few cells allow.
    max_cells
        Fit on at most this many cells, a random share of each modality, and place the others
        afterwards. None for all cells.
    seed
        The same seed gives the same picture on one machine.
    key_added
        Name of the result. Default ``f"{use_rep}_umap"``.

    Returns
    -------
    None. Sets the following fields:

    ``mdata.mod[m].obsm[key_added]``
        Coordinates, float32 of shape (n_m, 2), in each modality.

    Raises
    ------
    ValueError
        If a modality or its representation is missing, has missing values, or another width than
        the others.

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
    if modalities is None:
        modalities = [m for m in mdata.mod if use_rep in mdata.mod[m].obsm] or list(mdata.mod)
    for m in modalities:
        check_modality(mdata, m, "modalities")
    parts = shared_space(mdata, use_rep, modalities)
    x = np.concatenate([np.asarray(part, dtype=np.float32) for part in parts.values()])
    if len(x) < _FEWEST_CELLS:
        raise InputError(
            f"UMAP needs at least {_FEWEST_CELLS} cells in all; {use_rep!r} has {len(x)}."
        )
    if metric == "cosine":
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    sizes = [len(part) for part in parts.values()]
    fitted = _fitted_rows(sizes, max_cells, np.random.default_rng(seed))
    coordinates = _layout(x, fitted, n_neighbors, min_dist, seed)
    key = key_added if key_added is not None else _keys.umap(use_rep)
    pieces = np.split(coordinates, np.cumsum(sizes)[:-1])
    for modality, xy in zip(parts, pieces, strict=True):
        mdata.mod[modality].obsm[key] = np.ascontiguousarray(xy)


def _layout(
    x: FloatArray, fitted: BoolArray, n_neighbors: int, min_dist: float, seed: int
) -> FloatArray:
    """Return coordinates of all rows. Those that are not fitted are placed afterwards."""
    from umap import UMAP

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
    """Keep the number of threads of torch.

    numba sets that of OpenMP to all cores, and training slows down many times over on busy ones.
    """
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def _fitted_rows(
    sizes: Sequence[int], max_cells: int | None, rng: np.random.Generator
) -> BoolArray:
    """Mark the rows to fit on, the same share of each modality."""
    total = sum(sizes)
    if max_cells is None or total <= max_cells:
        return np.ones(total, dtype=bool)
    chosen = []
    for size in sizes:
        mine = np.zeros(size, dtype=bool)
        mine[rng.permutation(size)[: max(1, round(size * max_cells / total))]] = True
        chosen.append(mine)
    return np.concatenate(chosen)

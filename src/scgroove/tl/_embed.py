"""Latent coordinates of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scgroove import _keys
from scgroove.data.screen import check_call

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove.model import GROOVE


def embed(
    mdata: MuData,
    model: GROOVE,
    *,
    modalities: Sequence[str] | None = None,
    key_added: str = _keys.LATENT,
    batch_size: int | None = None,
) -> None:
    """Write the latent coordinates of every cell.

    Parameters
    ----------
    mdata
        The data of the training, or new ones with some or all of its modalities.
    model
        A trained model.
    modalities
        The modalities to embed. By default all that both the data and the model have.
    key_added
        Name of the result.
    batch_size
        Cells at a time.

    Raises
    ------
    KeyError
        The model or the data lack a modality.
    RuntimeError
        The model is not trained.
    ValueError
        The data do not fit the model. ``mdata`` is unchanged then.

    Notes
    -----
    Sets the following fields: ``mdata.mod[m].obsm[key_added]``, float32 of shape (n_m, n_latent),
    for each modality m. Rows have length one if the similarity of the model is the cosine.
    """
    check_call(mdata, key_added, modalities or getattr(model, "modalities", None))
    read = model.get_latent_representation
    if modalities is None:
        latent = read(mdata, batch_size=batch_size)
        assert isinstance(latent, dict)
    else:
        latent = {m: np.asarray(read(mdata, m, batch_size=batch_size)) for m in modalities}
    for m, z in latent.items():  # all computed before any is written
        mdata.mod[m].obsm[key_added] = z

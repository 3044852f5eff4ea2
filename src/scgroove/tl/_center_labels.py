"""Label means of all modalities at one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scgroove import _keys
from scgroove._labels import UnlabeledCategory
from scgroove.data.checks import PerModality, name_of
from scgroove.data.screen import Screen, check_call, modalities_with, shared_space

if TYPE_CHECKING:
    from mudata import MuData


def center_labels(
    mdata: MuData,
    use_rep: PerModality = _keys.LATENT,
    label_key: PerModality = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    unlabeled_category: UnlabeledCategory = None,
    normalize: bool = True,
    key_added: str | None = None,
) -> None:
    """Bring the mean of each label to one place in all modalities.

    A perturbation may do to one modality what another does not see. In a shared space that moves
    all cells of the label in one modality away from those in the other, by the same vector, and
    hides which cells of the label belong together. With C_m the means of the labels in modality m
    and C their mean over the modalities that have the label, cells become ``z - C_m[y] + C[y]``.
    The distance of a cell from the mean of its label tells modalities apart more than cells, so
    all cells come to lie equally far (``normalize``).

    Use it before cells are matched *inside* labels. It supposes that a label is composed alike in
    all modalities (the same cell types, in the same shares). It uses the labels of cells, so do not
    score labels across modalities on the result: they agree by construction.

    Parameters
    ----------
    mdata
        Modalities with a representation in one space.
    use_rep
        Representation in ``mod[m].obsm``, one name or one for each modality.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one for each modality. By default
        ``"label"``, or that of the set-up.
    modalities
        Those to bring together. By default all that have the representation.
    unlabeled_category
        A label that stands for "no label".
    normalize
        Keep only the direction of a cell from the mean of its label. False: its distance too.
    key_added
        Name of the result. Default ``f"{use_rep}_centered"``.

    Raises
    ------
    TypeError
        ``mdata`` is no MuData.
    KeyError
        A modality, column or representation does not exist.
    ValueError
        Fewer than two modalities, no shared label, representations of different widths or with
        values that are not finite. ``mdata`` is unchanged then.

    Notes
    -----
    Sets the following fields: ``mdata.mod[m].obsm[key_added]`` for each modality m, of the type and
    shape of ``use_rep``. Cells without a label, and those of labels of one modality, do not move.

    Examples
    --------
    >>> scgroove.tl.embed(mdata, model)  # doctest: +SKIP
    >>> scgroove.tl.center_labels(mdata)  # doctest: +SKIP
    >>> scgroove.tl.align(mdata, "rna", "protein", use_rep="X_groove_centered")  # doctest: +SKIP
    """
    check_call(mdata, key_added, modalities, use_rep)
    from scgroove.learners.centered import Centering

    names = modalities_with(mdata, use_rep, modalities)
    keys = {m: name_of(label_key, m, "label_key") for m in names}
    screen = Screen.read(mdata, keys, names, unlabeled_category)
    z = shared_space(mdata, use_rep, names)
    centering = Centering.fit(z, screen.codes, screen.n_labels, normalize=normalize)
    moved = {m: centering(m, np.asarray(one), screen.codes[m]) for m, one in z.items()}
    for m, one in moved.items():  # all computed before any is written
        mdata.mod[m].obsm[key_added or f"{name_of(use_rep, m, 'use_rep')}_centered"] = one

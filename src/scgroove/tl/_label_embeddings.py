"""A check of label embeddings against the labels of a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._labels import UnlabeledCategory, encode
from scgroove._types import Float64Array, FloatArray, Labels
from scgroove._warnings import warn
from scgroove.data.checks import PerModality
from scgroove.data.labels import labels_by_modality
from scgroove.data.screen import check_call, modalities_with, shared_space
from scgroove.errors import ArgumentError, InputError, InputTypeError, listed
from scgroove.metrics.embedding_signal import embedding_signal

if TYPE_CHECKING:
    from mudata import MuData

FEWEST_LABELS: Final = 5
"""Labels below which a table cannot be told from a shuffled one."""
FEWEST_PERMUTATIONS: Final = 19
LEVEL: Final = 0.05
"""Of the warning."""
_SHOWN: Final = 5
"""Labels that a message names."""


def check_label_embeddings(
    mdata: MuData,
    label_embeddings: pd.DataFrame | Mapping[str, Sequence[float]],
    use_rep: PerModality = _keys.LATENT,
    label_key: PerModality = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    unlabeled_category: UnlabeledCategory = None,
    n_permutations: int = 200,
    key_added: str = "label_embeddings",
    seed: int = 0,
) -> None:
    """Test whether embeddings of labels predict where labels lie that they were not fitted to.

    Any table gives a model places for labels that one modality alone has, even one of random
    numbers. Before such places are believed: each label is left out, and its mean in the shared
    space is predicted from its embedding by a ridge regression over the other labels. The score is
    1 minus the squared error over that of the mean of the other labels, compared with the scores of
    tables whose labels are shuffled.

    **Train the model without the table first.** A model that was given it puts labels where the
    table says, and the check would confirm itself.

    Parameters
    ----------
    mdata
        Modalities with a representation in one space.
    label_embeddings
        A table as for :class:`scgroove.losses.LabelTower`: labels as index, or a mapping from
        labels to numbers, as many for each.
    use_rep
        Representation in ``mod[m].obsm``.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one for each modality. By default
        ``"label"``, or that of the set-up.
    modalities
        Those to look at. By default all that have the representation. A label lies at the mean over
        the modalities that have it.
    unlabeled_category
        A label that stands for "no label".
    n_permutations
        Shuffled tables, 19 or more.
    key_added
        Name of the result.
    seed
        Random state of the shuffling.

    Returns
    -------
    None. Sets the following field:

    ``mdata.uns[key_added]``
        ``"score"``, at most 1, 0 for no more than the mean. ``"p_value"``. ``"null_mean"``, the
        mean score of shuffled tables. ``"n_labels"``, and ``"labels"``, a table with ``label``,
        ``error`` and ``error_of_mean``, squared errors of each label left out.

    Raises
    ------
    TypeError
        ``mdata`` is no MuData, or ``label_embeddings`` neither a DataFrame nor a mapping.
    KeyError
        A modality, column or representation does not exist.
    ValueError
        Fewer than two modalities, representations of different widths, fewer than five labels with
        cells and an embedding, embeddings that are not finite or of different lengths, or an option
        out of range. ``mdata`` is unchanged then.

    Warns
    -----
    UserWarning
        If labels have no embedding (they are left out), or the table predicts no better than
        shuffled ones (p above 0.05).

    References
    ----------
    Allen 1974, Technometrics 16, 125-127 (the error of an observation left out, in closed form).

    Examples
    --------
    >>> scgroove.tl.embed(mdata, model)  # a model without a LabelTower  # doctest: +SKIP
    >>> scgroove.tl.check_label_embeddings(mdata, table)  # doctest: +SKIP
    >>> mdata.uns["label_embeddings"]["score"]  # doctest: +SKIP
    """
    check_call(mdata, key_added, modalities, use_rep)
    from scgroove.losses.label_tower import embedding_matrix, rows_by_label

    if n_permutations < FEWEST_PERMUTATIONS:
        raise ArgumentError(
            f"n_permutations must be a whole number of at least {FEWEST_PERMUTATIONS}; found "
            f"{n_permutations}.",
            "n_permutations",
        )
    if not isinstance(label_embeddings, pd.DataFrame | Mapping):
        raise InputTypeError(
            "label_embeddings must be a DataFrame with labels as index, or a mapping from labels "
            f"to numbers; found {type(label_embeddings).__name__}. Of an array: "
            "pandas.DataFrame(array, index=labels)."
        )
    names = modalities_with(mdata, use_rep, modalities)
    labels_of_cells = labels_by_modality(mdata, label_key, names, unlabeled_category)
    places = _places(shared_space(mdata, use_rep, names), labels_of_cells)
    known = {label for label, _ in rows_by_label(label_embeddings)}
    labels = [label for label in places if label in known]
    if len(labels) < FEWEST_LABELS:
        raise InputError(
            f"{len(labels)} labels have cells and an embedding, and {FEWEST_LABELS} or more are "
            f"needed. Labels of the data are, for instance, {listed(places, _SHOWN)}, those of the "
            f"table {listed(sorted(known), _SHOWN)}: are names spelled alike?"
        )
    found = embedding_signal(
        np.array(embedding_matrix(label_embeddings, labels)),
        np.array([places[label] for label in labels]),
        n_permutations=n_permutations,
        seed=seed,
    )
    if without := [label for label in places if label not in known]:
        warn(
            f"{len(without)} of {len(places)} labels have no embedding and are left out: "
            f"{listed(without, _SHOWN)}."
        )
    if found.p_value > LEVEL:
        warn(
            f"the embeddings say no more of {len(labels)} labels than shuffled ones do (score "
            f"{found.score:.2f}, p {found.p_value:.2f}): do not believe where they put labels that "
            "a modality lacks."
        )
    errors = {"label": labels, "error": found.error, "error_of_mean": found.error_of_mean}
    mdata.uns[key_added] = {
        "score": found.score,
        "p_value": found.p_value,
        "null_mean": float(found.null.mean()),
        "n_labels": len(labels),
        "labels": pd.DataFrame(errors),
    }


def _places(z: Mapping[str, FloatArray], labels: Mapping[str, Labels]) -> dict[str, Float64Array]:
    """Return the place of each label, (k,): the mean over modalities of the mean of its cells."""
    from scgroove.learners.common import label_means

    names, codes = encode(*(labels[m] for m in z))
    found = [label_means(one, own, len(names)) for one, own in zip(z.values(), codes, strict=True)]
    total = sum(np.where(counts[:, None] > 0, means, 0.0) for means, counts in found)
    number = sum((counts > 0).astype(float) for _, counts in found)
    return dict(zip(names, total / np.asarray(number)[:, None], strict=True))

"""The likeliest label of cells without one, for a model to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import softmax, xlogy

from scgroove import _keys
from scgroove._labels import UnlabeledCategory, encode
from scgroove._types import Float64Array, FloatArray, IntArray
from scgroove.aligners.costs import in_slices
from scgroove.data.checks import PerModality
from scgroove.data.labels import label_columns, labels_by_modality
from scgroove.data.screen import check_call, modalities_with, shared_space
from scgroove.errors import InputError
from scgroove.tl._label_votes import VALUES_AT_A_TIME

if TYPE_CHECKING:
    from mudata import MuData


def infer_labels(
    mdata: MuData,
    use_rep: PerModality = _keys.LATENT,
    label_key: PerModality = _keys.LABEL,
    *,
    modalities: Sequence[str] | None = None,
    unlabeled_category: UnlabeledCategory = None,
    temperature: float = 0.2,
    key_added: str = _keys.INFERRED,
) -> None:
    r"""Give cells without a label the likeliest one, with a certainty, for a second model.

    Where most labels are missing (guides that were not captured, cells that were not
    demultiplexed), a model learns labels from few cells, and then knows most of the others. With
    b_g the mean direction of the labeled cells of label g in the shared space, of all modalities,
    and n_g their number, a cell z has

    .. math:: p_g \propto n_g \exp(\cos(z, b_g) / \tau), \quad
       \text{certainty} = (1 - H(p) / \log G)^2

    with the entropy H. Cells with a label keep it, with certainty 1. Give the second model the
    certainty as ``weight_key``: cells count by it, as anchors and as candidates.

    Parameters
    ----------
    mdata
        Modalities with a representation in one space, learned from the labels that there are.
    use_rep
        Representation in ``mod[m].obsm``.
    label_key
        Column of ``mod[m].obs`` with the label, one name or one for each modality. By default
        ``"label"``, or that of the set-up.
    modalities
        Those to look at. By default all that have the representation.
    unlabeled_category
        A label that stands for "no label".
    temperature
        tau above: that of GroupCLIP in the model.
    key_added
        Name of the result.

    Returns
    -------
    None. Sets the following fields, for each modality m:

    ``mod[m].obs[key_added]``
        Label, categorical.
    ``mod[m].obs[f"{key_added}_certainty"]``
        float64 from 0 to 1.

    Raises
    ------
    TypeError
        ``mdata`` is no MuData.
    KeyError
        A modality, column or representation does not exist.
    ValueError
        Fewer than two modalities or labels, representations of different widths or with values that
        are not finite, or a temperature that is not above 0. ``mdata`` is unchanged then.

    See Also
    --------
    scgroove.tl.transfer_labels : labels of new cells, with a calibrated confidence.

    Notes
    -----
    Every cell gets a label, also one whose true label no cell shows. Do not use this where cells
    may have been left unperturbed, or labels may be new.

    Examples
    --------
    >>> scgroove.tl.embed(mdata, model)  # doctest: +SKIP
    >>> scgroove.tl.infer_labels(mdata)  # doctest: +SKIP
    >>> weights = "inferred_label_certainty"
    >>> GROOVE.setup_mudata(mdata, "inferred_label", weight_key=weights)  # doctest: +SKIP
    """
    check_call(mdata, key_added, modalities, use_rep)
    names = modalities_with(mdata, use_rep, modalities)
    labels = labels_by_modality(mdata, label_key, names, unlabeled_category)
    if key_added in label_columns(mdata, label_key, names)[0].values():
        raise InputError(
            f"key_added={key_added!r} is the column of the labels, which would be lost."
        )
    z = {m: _directions(one) for m, one in shared_space(mdata, use_rep, names).items()}
    vocabulary, codes = encode(*labels.values())
    if len(vocabulary) < 2:
        raise InputError(
            f"the labeled cells of {names} have {len(vocabulary)} label(s) ({vocabulary}), and two "
            "or more are needed. Is label_key= the column of perturbations?"
        )
    found = likeliest(z, dict(zip(names, codes, strict=True)), len(vocabulary), temperature)
    for m, (label, certainty) in found.items():  # all computed before any is written
        obs = mdata.mod[m].obs
        obs[key_added] = pd.Categorical.from_codes(label, categories=vocabulary)
        obs[_keys.certainty(key_added)] = certainty


def likeliest(
    z: Mapping[str, Float64Array], codes: Mapping[str, IntArray], n_labels: int, temperature: float
) -> dict[str, tuple[IntArray, Float64Array]]:
    """Return label codes and certainties of the cells of each modality, (n_m,) each.

    Parameters
    ----------
    z
        Directions of cells, length one, (n_m, k).
    codes
        Their labels, negative without one, (n_m,).
    n_labels, temperature
        Number of labels, and tau.
    """
    every, own = np.concatenate([*z.values()]), np.concatenate([codes[m] for m in z])
    means = np.zeros((n_labels, every.shape[1]))
    np.add.at(means, own[own >= 0], every[own >= 0])
    places, counts = _directions(means), np.bincount(own[own >= 0], minlength=n_labels)
    found = {}
    for m, one in z.items():
        label, certainty = codes[m].copy(), np.ones(len(one))
        missing = np.flatnonzero(codes[m] < 0)
        for start, stop in in_slices(missing.size, n_labels, VALUES_AT_A_TIME):
            rows = missing[start:stop]
            p = softmax(one[rows] @ places.T / temperature + np.log(counts), axis=1)
            label[rows] = p.argmax(axis=1)
            entropy = -xlogy(p, p).sum(axis=1)
            certainty[rows] = np.square(1 - entropy / np.log(n_labels)).clip(0.0, 1.0)
        found[m] = (label, certainty)
    return found


def _directions(x: FloatArray) -> Float64Array:
    y = np.asarray(x, dtype=np.float64)
    directions: Float64Array = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    return directions

"""Labels of cells from the labeled cells nearest to them, with a confidence that means what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from scgroove import _keys
from scgroove._files import make_mudata
from scgroove._labels import UnlabeledCategory, encode
from scgroove._types import BoolArray, FloatArray, IntArray
from scgroove._warnings import warn
from scgroove.data.checks import PerModality, name_of
from scgroove.data.labels import encode_labels, labels_of
from scgroove.data.screen import check_call, check_modality, labels_of_modality, representation
from scgroove.errors import InputError, TooLargeError
from scgroove.metrics import expected_calibration_error, reliability
from scgroove.tl._label_votes import Calibration, Votes, cross_validated_confidence, nearest_votes

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from ..model import GROOVE

CalibrateOn = Literal["reference", "query"]
Metric = Literal["cosine", "euclidean"]
FEWEST_CELLS: Final = 50
"""Labeled cells below which nothing can be said of a confidence."""
MOST_CELLS: Final = 10_000
"""Labeled cells that calibration uses at most, drawn at random: two numbers are fitted."""


def transfer_labels(
    query: MuData | AnnData,
    source: str,
    target: str | None = None,
    *,
    reference: MuData | AnnData | None = None,
    label_key: PerModality = _keys.LABEL,
    unlabeled_category: UnlabeledCategory = None,
    use_rep: PerModality = _keys.LATENT,
    metric: Metric = "cosine",
    n_neighbors: int = 15,
    calibrate_on: CalibrateOn = "reference",
    model: GROOVE | None = None,
    min_confidence: float | None = None,
    probabilities: bool = True,
    seed: int = 0,
    max_memory_gb: float = 4.0,
    key_added: str = _keys.TRANSFERRED,
) -> None:
    r"""Tell the labels of cells from the labeled cells nearest to them, with calibrated probabilities.

    The nearest labeled cells of the target vote, each with a weight of one over the cells of its label, so that all labels weigh
    the same. A cell does not vote for itself, nor for a cell of the same name. Shares of votes :math:`v_l` are no probabilities;
    :math:`p_l \propto (v_l + a)^{1/T}` is fitted to cells of the *source* whose label is known, which are labeled by the same
    voters: what holds inside one modality says nothing of the step to another.

    Parameters
    ----------
    query
        Cells to label: a MuData with ``source``, or an AnnData of it.
    source
        Modality of the cells to label.
    target
        Modality of the labeled cells that vote; that of the cells themselves by default.
    reference
        The data of the labeled cells; by default the query itself, where ``target`` has labels.
    label_key
        Column of ``mod[m].obs`` with the label.
    unlabeled_category
        A label that stands for "no label".
    use_rep
        Representation in ``mod[m].obsm`` that the modalities share, as :func:`scgroove.tl.embed` writes it.
    metric
        Distance that tells who is nearest.
    n_neighbors
        Cells that vote.
    calibrate_on
        Labeled cells of the source to fit probabilities to: those of the ``"reference"``, or those of the ``"query"``, which know
        of its batch, and whose labels the model need not have seen.
    model
        The model that made the representation, attached to the reference: calibration then only takes cells that were held out of
        its training. A model finds the labels that it was trained on more easily than those of new cells.
    min_confidence
        Cells with less confidence get no label (missing).
    probabilities
        Write the probabilities of all labels, too.
    seed
        Random state of the folds, and of the cells if there are more than 10,000 to calibrate on.
    max_memory_gb
        Most that the probabilities may take.
    key_added
        Name of the results.

    Returns
    -------
    None. Sets the following fields, in the modality ``source`` of the query:

    ``obs["transferred_label"]``
        The label, categorical; missing where the confidence is below ``min_confidence``.
    ``obs["transferred_label_confidence"]``
        Probability that it is right, float32.
    ``obsm["transferred_label_probabilities"]``
        Probabilities of all labels, float32 (n_source, n_labels), in the order of ``uns["transferred_label"]["labels"]``.
    ``uns["transferred_label"]``
        The names of the labels, how they were told; ``"calibrated"``; and if so, of the cells calibrated on, ``"accuracy"``, the
        expected calibration errors ``"ece"`` (cross-validated) and ``"ece_votes"`` (of the shares of votes as they are), and bins of
        confidence, ``"bin_confidence"``, ``"bin_accuracy"``, ``"bin_cells"``.

    Raises
    ------
    KeyError
        If a modality or a label column does not exist.
    ValueError
        If the target has fewer than two labels, a representation is missing or of another width, names of voters are not unique, or
        an option is out of range. The query is left as it was.

    Warns
    -----
    UserWarning
        If fewer than 50 cells can be calibrated on: confidences are then shares of votes.

    See Also
    --------
    scgroove.metrics.expected_calibration_error : what is reported.
    scgroove.model.GROOVE.get_cross_modal_label_accuracy : the accuracy for all pairs of modalities of a screen.

    References
    ----------
    User guide, "Mapping new cells". Guo et al. 2017, On calibration of modern neural networks, ICML.

    Examples
    --------
    >>> sg.tl.embed(mdata, model)  # doctest: +SKIP
    >>> query.obsm["X_groove"] = model.get_latent_representation(query, "rna")  # doctest: +SKIP
    >>> sg.tl.transfer_labels(query, "rna", reference=mdata, model=model)  # doctest: +SKIP
    >>> query.obs[["transferred_label", "transferred_label_confidence"]]  # doctest: +SKIP
    """
    target = source if target is None else target
    _check_options(calibrate_on, model, min_confidence)
    new = _as_mudata(query, source)
    known = new if reference is None else _as_mudata(reference, target)
    check_call(new, key_added, source)
    check_call(known, key_added, target)
    adata = check_modality(new, source, "source")
    check_modality(known, target, "target")
    space = _Space(use_rep, metric)
    electorate = _Electorate.of(known, target, label_key, unlabeled_category, space, n_neighbors)
    _check_memory(adata.n_obs * len(electorate.names) if probabilities else 0, max_memory_gb)
    votes = electorate.vote(space.of(new, source), adata.obs_names)

    data = known if calibrate_on == "reference" else new
    truth = _true_codes(data, source, label_key, unlabeled_category, electorate.names, model)
    calibration, evidence = _calibrate(data, source, truth, electorate, space, seed)
    made = {
        "labels": np.array(electorate.names, dtype=object),
        "source": source,
        "target": target,
        "use_rep": name_of(use_rep, source, "use_rep"),
        "metric": metric,
        "n_neighbors": int(votes.codes.shape[1]),
        "n_voters": len(electorate.codes),
        "calibrated": calibration is not None,
        **evidence,
    }
    if calibration is None:
        _warn_uncalibrated(source, target, calibrate_on, int((truth >= 0).sum()))
    else:
        made |= {"calibrated_on": calibrate_on, "held_out": model is not None}
    _write(
        adata, key_added, votes, calibration or Calibration(), made, min_confidence, probabilities
    )


@dataclass(frozen=True)
class _Space:
    """A representation that modalities share, and a distance in it."""

    use_rep: PerModality
    metric: Metric

    def of(self, mdata: MuData, modality: str) -> FloatArray:
        """Return the coordinates of the cells, of length one for the cosine."""
        z = representation(mdata, modality, name_of(self.use_rep, modality, "use_rep"))
        if self.metric == "cosine":
            z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return z


@dataclass(frozen=True, eq=False)
class _Electorate:
    """Labeled cells that vote: coordinates (m, k), labels (m,), cell names, and the names of the labels."""

    z: FloatArray
    codes: IntArray
    cells: pd.Index
    names: list[str]
    n_neighbors: int

    @classmethod
    def of(
        cls,
        mdata: MuData,
        modality: str,
        label_key: PerModality,
        unlabeled_category: UnlabeledCategory,
        space: _Space,
        n_neighbors: int,
    ) -> _Electorate:
        names, (codes,) = encode(labels_of_modality(mdata, modality, label_key, unlabeled_category))
        if len(names) < 2:
            raise InputError(
                f"there are no labels to transfer: the {codes.size} cells of {modality!r} have {len(names)} label(s) in "
                f"obs[{name_of(label_key, modality, 'label_key')!r}], and a choice needs two. Name the column with label_key=, or the "
                f"labeled data with reference=."
            )
        cells = mdata.mod[modality].obs_names
        if not cells.is_unique:
            raise InputError(
                f"the obs_names of {modality!r} are not unique, so that a cell could vote for itself. Call "
                f"mdata[{modality!r}].obs_names_make_unique()."
            )
        labeled = codes >= 0
        return cls(
            space.of(mdata, modality)[labeled], codes[labeled], cells[labeled], names, n_neighbors
        )

    def vote(self, z: FloatArray, cells: pd.Index) -> Votes:
        """Return the votes for cells, which do not vote for themselves."""
        if z.shape[1] != self.z.shape[1]:
            raise InputError(
                f"the representations do not lie in one space: {z.shape[1]} dimensions of the cells to label, {self.z.shape[1]} of "
                f"the labeled ones. Embed both with one model: scgroove.tl.embed(mdata, model)."
            )
        own = np.asarray(self.cells.get_indexer(cells), dtype=np.intp)
        return nearest_votes(z, self.z, self.codes, len(self.names), self.n_neighbors, own)


def _true_codes(
    mdata: MuData,
    source: str,
    label_key: PerModality,
    unlabeled_category: UnlabeledCategory,
    names: list[str],
    model: GROOVE | None,
) -> IntArray:
    """Return the known labels of source cells that may be calibrated on, -1 for the others; none without modality or column."""
    key = label_key.get(source) if isinstance(label_key, Mapping) else label_key
    if source not in mdata.mod or key not in mdata.mod[source].obs:
        return np.empty(0, dtype=np.intp)
    codes = encode_labels(labels_of(mdata.mod[source].obs, str(key), unlabeled_category), names)
    return np.where(_held_out(mdata, source, model), codes, -1).astype(np.intp)


def _held_out(mdata: MuData, source: str, model: GROOVE | None) -> BoolArray:
    """Return which cells a model was not trained on; all if there is no model to ask."""
    cells = mdata.mod[source].obs_names
    if model is None:
        return np.ones(len(cells), dtype=bool)
    parts = [
        (part or {}).get(source, [])
        for part in (model.train_indices, model.validation_indices, model.test_indices)
    ]
    attached = {} if model.adata is None else model.adata.mod
    trained_on = attached[source].obs_names if source in attached else pd.Index([])
    held = np.concatenate([np.asarray(part, dtype=np.intp) for part in parts[1:]])
    if not held.size or sum(map(len, parts)) != len(trained_on):
        raise InputError(
            f"the model does not know of cells of {source!r} held out of its training: it was trained on all of them (train_size=1), "
            f"or is not attached to the data it was trained on. Attach it, GROOVE.load(path, mdata); or leave model= out, and take "
            f"confidences as those of cells that the model has seen."
        )
    return np.asarray(cells.isin(trained_on[held]))


def _calibrate(
    mdata: MuData, source: str, truth: IntArray, electorate: _Electorate, space: _Space, seed: int
) -> tuple[Calibration | None, dict[str, Any]]:
    """Return a calibration and how good it is; None with too few cells."""
    cells = np.flatnonzero(truth >= 0)
    if cells.size < FEWEST_CELLS:
        return None, {}
    if cells.size > MOST_CELLS:
        cells = np.sort(np.random.default_rng(seed).choice(cells, MOST_CELLS, replace=False))
    truth = truth[cells]
    votes = electorate.vote(space.of(mdata, source)[cells], mdata.mod[source].obs_names[cells])
    calibration = Calibration.fit(votes, truth)
    right = votes.label == truth
    confidence = cross_validated_confidence(votes, truth, seed)
    bins = reliability(confidence, right)
    return calibration, {
        "temperature": calibration.temperature,
        "pseudovote": calibration.pseudovote,
        "n_calibration_cells": len(truth),
        "accuracy": float(right.mean()),
        "ece": expected_calibration_error(confidence, right),
        "ece_votes": expected_calibration_error(Calibration().confidence(votes), right),
        "bin_confidence": bins.confidence,
        "bin_accuracy": bins.accuracy,
        "bin_cells": bins.n,
    }


def _write(
    adata: AnnData,
    key: str,
    votes: Votes,
    calibration: Calibration,
    made: dict[str, Any],
    min_confidence: float | None,
    probabilities: bool,
) -> None:
    """Write the results under a key, and take away what an earlier call left there."""
    confidence = calibration.confidence(votes)
    sure = confidence >= (0.0 if min_confidence is None else min_confidence)
    label = pd.Categorical.from_codes(np.where(sure, votes.label, -1), list(made["labels"]))
    table = calibration.probabilities(votes) if probabilities else None
    adata.obs[key] = label
    adata.obs[_keys.confidence(key)] = confidence.astype(np.float32)
    adata.obsm.pop(_keys.probabilities(key), None)
    if table is not None:
        adata.obsm[_keys.probabilities(key)] = table
    adata.uns[key] = made


def _as_mudata(data: MuData | AnnData, modality: str) -> MuData:
    """Return a MuData; an AnnData stands in it as the modality, not copied."""
    from anndata import AnnData

    return make_mudata({modality: data}) if isinstance(data, AnnData) else data


def _check_options(
    calibrate_on: str,
    model: GROOVE | None,
    min_confidence: float | None,
) -> None:
    if min_confidence is not None and not 0 < min_confidence <= 1:
        raise InputError(
            f"min_confidence is a probability, above 0 and at most 1; found {min_confidence!r}."
        )
    if model is not None and calibrate_on == "query":
        raise InputError(
            "model= tells which cells of the reference were held out of training, and calibrate_on='query' takes none of them. "
            "Leave one of the two out."
        )


def _check_memory(values: int, max_memory_gb: float) -> None:
    needed = 4.0 * values / 1e9
    if needed > max_memory_gb:
        raise TooLargeError(
            f"the probabilities of all labels would take {needed:.1f} GB, more than max_memory_gb={max_memory_gb:g}. "
            "probabilities=False keeps the label and its confidence only; or raise max_memory_gb if the machine has the memory."
        )


def _warn_uncalibrated(source: str, target: str, calibrate_on: str, n: int) -> None:
    other = "query" if calibrate_on == "reference" else "reference"
    warn(
        f"confidences are shares of votes, not calibrated: calibration needs {FEWEST_CELLS} cells of {source!r} or more in the "
        f"{calibrate_on} with a label that cells of {target!r} have, and there are {n}. Are the labels of {source!r} in another column "
        f"(label_key=)? calibrate_on={other!r} takes those of the {other}.",
    )

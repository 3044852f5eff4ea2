"""Labels of cells from the labeled cells nearest to them, with calibrated probabilities."""

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
from scgroove.data.labels import encode_labels
from scgroove.data.screen import check_call, check_modality, labels_of_modality, representation
from scgroove.errors import InputError, TooLargeError
from scgroove.metrics import expected_calibration_error
from scgroove.metrics.calibration import reliability
from scgroove.tl._label_votes import Calibration, Votes, cross_validated_confidence, nearest_votes

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scgroove.model import GROOVE

CalibrateOn = Literal["reference", "query"]
FEWEST_CELLS: Final = 50
"""Labeled cells below which a confidence cannot be calibrated."""
MOST_CELLS: Final = 10_000
"""Labeled cells that calibration uses at most, drawn at random: it fits two numbers."""
MOST_GB: Final = 4.0
"""Memory that the probabilities of all labels may take."""


def transfer_labels(
    query: MuData | AnnData,
    source: str,
    target: str | None = None,
    *,
    reference: MuData | AnnData | None = None,
    label_key: PerModality = _keys.LABEL,
    unlabeled_category: UnlabeledCategory = None,
    use_rep: PerModality = _keys.LATENT,
    metric: Literal["cosine", "euclidean"] = "cosine",
    n_neighbors: int = 15,
    calibrate_on: CalibrateOn = "reference",
    model: GROOVE | None = None,
    probabilities: bool = True,
    seed: int = 0,
    key_added: str = _keys.TRANSFERRED,
) -> None:
    r"""Label cells by the labeled cells nearest to them, with calibrated probabilities.

    The nearest labeled cells of the target vote, each with a weight of one over the cells of its
    label, so that all labels weigh the same. A cell does not vote for itself, nor for a cell of the
    same name. Shares of votes :math:`v_l` are no probabilities. The calibration
    :math:`p_l \propto (v_l + a)^{1/T}` is fitted to cells of the *source* whose label is known and
    that the same voters label: calibration inside one modality tells nothing of another.

    Parameters
    ----------
    query
        Cells to label: a MuData with ``source``, or an AnnData of it.
    source
        Modality of the cells to label.
    target
        Modality of the labeled cells that vote. That of the cells themselves by default.
    reference
        The data of the labeled cells. By default the query, where ``target`` has labels.
    label_key
        Column of ``mod[m].obs`` with the label. By default ``"label"``, or that of the set-up.
    unlabeled_category
        A label that stands for "no label".
    use_rep
        Representation in ``mod[m].obsm`` that the modalities share, as :func:`scgroove.tl.embed`
        writes it.
    metric
        Distance to the voters.
    n_neighbors
        Cells that vote.
    calibrate_on
        Labeled cells of the source to fit probabilities to: those of the ``"reference"``, or those
        of the ``"query"``, which know of its batch, and whose labels the model need not have seen.
    model
        The model of the representation, attached to the reference: calibration then takes only
        cells that were held out of its training. A model finds the labels that it was trained on
        more easily than those of new cells.
    probabilities
        Write the probabilities of all labels, too. They take 4 bytes a cell and label.
    seed
        Random state of the folds, and of the cells if there are more than 10,000 to calibrate on.
    key_added
        Name of the results.

    Returns
    -------
    None. Sets the following fields, in the modality ``source`` of the query:

    ``obs["transferred_label"]``
        The label, categorical.
    ``obs["transferred_label_confidence"]``
        Probability that it is right, float32.
    ``obsm["transferred_label_probabilities"]``
        Probabilities of all labels, float32 (n_source, n_labels), in the order of
        ``uns["transferred_label"]["labels"]``.
    ``uns["transferred_label"]``
        The names of the labels, the arguments, ``"calibrated"``, and if so, of the cells calibrated
        on, ``"accuracy"``, the expected calibration errors ``"ece"`` (cross-validated) and
        ``"ece_votes"`` (of the shares of votes), and bins of confidence, ``"bin_confidence"``,
        ``"bin_accuracy"``, ``"bin_cells"``.

    Raises
    ------
    KeyError
        If a modality or a label column does not exist.
    ValueError
        If the target has fewer than two labels, a representation is missing or of another width,
        names of voters are not unique, the probabilities take more than 4 GB, or an option is out
        of range. The query is unchanged then.

    Warns
    -----
    UserWarning
        If fewer than 50 cells can be calibrated on: confidences are then shares of votes.

    See Also
    --------
    scgroove.metrics.expected_calibration_error
    scgroove.model.GROOVE.get_cross_modal_label_accuracy : for all pairs of modalities of a screen.

    References
    ----------
    User guide, "Mapping new cells". Guo et al. 2017, On calibration of modern neural networks,
    ICML.

    Examples
    --------
    >>> query.obsm["X_groove"] = model.get_latent_representation(query, "rna")  # doctest: +SKIP
    >>> sg.tl.transfer_labels(query, "rna", reference=mdata, model=model)  # doctest: +SKIP
    >>> sure = query.obs["transferred_label_confidence"] > 0.9  # doctest: +SKIP
    """
    target = source if target is None else target
    if model is not None and calibrate_on == "query":
        raise InputError(
            "model= tells which cells of the reference were held out of training, and "
            "calibrate_on='query' takes none of them. Leave one of the two out."
        )
    new = _as_mudata(query, source)
    known = new if reference is None else _as_mudata(reference, target)
    check_call(new, key_added, source)
    check_call(known, key_added, target)
    adata = check_modality(new, source, "source")
    check_modality(known, target, "target")
    space = {"label_key": label_key, "unlabeled_category": unlabeled_category}
    voters = _Voters.read(known, target, use_rep, metric, n_neighbors, **space)
    if probabilities:
        _check_memory(adata.n_obs * len(voters.names))
    votes = voters.vote(new, source)
    data = known if calibrate_on == "reference" else new
    truth = _true_codes(data, source, voters.names, model, **space)
    calibration, evidence = _calibrate(voters, data, source, truth, seed)
    if calibration is None:
        _warn_uncalibrated(source, target, calibrate_on, int((truth >= 0).sum()))
    else:
        evidence |= {"calibrated_on": calibrate_on, "held_out": model is not None}
    fitted = calibration or Calibration()
    confidence = fitted.confidence(votes)
    table = fitted.probabilities(votes) if probabilities else None
    adata.obs[key_added] = pd.Categorical.from_codes(votes.label, voters.names)
    adata.obs[_keys.confidence(key_added)] = confidence.astype(np.float32)
    adata.obsm.pop(_keys.probabilities(key_added), None)  # of an earlier call
    if table is not None:
        adata.obsm[_keys.probabilities(key_added)] = table
    adata.uns[key_added] = {
        "labels": np.array(voters.names, dtype=object),
        "source": source,
        "target": target,
        "use_rep": name_of(use_rep, source, "use_rep"),
        "metric": metric,
        "n_neighbors": int(votes.codes.shape[1]),
        "n_voters": len(voters.codes),
        "calibrated": calibration is not None,
        **evidence,
    }


@dataclass(frozen=True, eq=False)
class _Voters:
    """Labeled cells that vote: coordinates (m, k), labels (m,), and names of cells and labels."""

    z: FloatArray
    codes: IntArray
    cells: pd.Index
    names: list[str]
    use_rep: PerModality
    metric: str
    n_neighbors: int

    @classmethod
    def read(
        cls,
        mdata: MuData,
        modality: str,
        use_rep: PerModality,
        metric: str,
        n_neighbors: int,
        **labels: Any,
    ) -> _Voters:
        """Read the voters of a modality, with two labels or more."""
        names, (codes,) = encode(labels_of_modality(mdata, modality, **labels))
        if len(names) < 2:
            key = name_of(labels["label_key"], modality, "label_key")
            raise InputError(
                f"there are no labels to transfer: the {codes.size} cells of {modality!r} have "
                f"{len(names)} label(s) in obs[{key!r}], and a choice needs two. Name the column "
                "with label_key=, or the labeled data with reference=."
            )
        cells = mdata.mod[modality].obs_names
        if not cells.is_unique:
            raise InputError(
                f"the obs_names of {modality!r} are not unique, so that a cell could vote for "
                f"itself. Call mdata[{modality!r}].obs_names_make_unique()."
            )
        z = _coordinates(mdata, modality, use_rep, metric)[codes >= 0]
        return cls(z, codes[codes >= 0], cells[codes >= 0], names, use_rep, metric, n_neighbors)

    def vote(self, mdata: MuData, modality: str, rows: IntArray | None = None) -> Votes:
        """Return the votes for cells, which do not vote for themselves."""
        z = _coordinates(mdata, modality, self.use_rep, self.metric)
        cells = mdata.mod[modality].obs_names
        if rows is not None:
            z, cells = z[rows], cells[rows]
        if z.shape[1] != self.z.shape[1]:
            raise InputError(
                f"the representations do not lie in one space: {z.shape[1]} dimensions of the "
                f"cells to label, {self.z.shape[1]} of the labeled ones. Embed both with one "
                "model: scgroove.tl.embed(mdata, model)."
            )
        own = np.asarray(self.cells.get_indexer(cells), dtype=np.intp)
        return nearest_votes(z, self.z, self.codes, len(self.names), self.n_neighbors, own)


def _coordinates(mdata: MuData, modality: str, use_rep: PerModality, metric: str) -> FloatArray:
    """Return the coordinates of the cells, of length one for the cosine."""
    z = representation(mdata, modality, name_of(use_rep, modality, "use_rep"))
    if metric == "cosine":
        z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return z


def _true_codes(
    mdata: MuData, source: str, names: list[str], model: GROOVE | None, **labels: Any
) -> IntArray:
    """Return the labels of source cells that may be calibrated on, -1 for the others.

    Empty if there is no such modality or column.
    """
    label_key = labels["label_key"]
    if source not in mdata.mod or (isinstance(label_key, Mapping) and source not in label_key):
        return np.empty(0, dtype=np.intp)
    found = labels_of_modality(mdata, source, **labels, optional=True, declared=False)
    codes = encode_labels(np.asarray(found), names)
    return np.where(_held_out(mdata, source, model), codes, -1).astype(np.intp)


def _held_out(mdata: MuData, source: str, model: GROOVE | None) -> BoolArray:
    """Return the cells that a model was not trained on. All without a model."""
    cells = mdata.mod[source].obs_names
    if model is None:
        return np.ones(len(cells), dtype=bool)
    indices = (model.train_indices, model.validation_indices, model.test_indices)
    parts = [(part or {}).get(source, []) for part in indices]
    attached = {} if model.adata is None else model.adata.mod
    known = attached[source].obs_names if source in attached else pd.Index([])
    held = np.concatenate([np.asarray(part, dtype=np.intp) for part in parts[1:]])
    if not held.size or sum(map(len, parts)) != len(known):
        raise InputError(
            f"the model does not know of cells of {source!r} held out of its training: it was "
            "trained on all of them (train_size=1), or is not attached to the data it was trained "
            "on. Attach it, GROOVE.load(path, mdata), or leave model= out, and take confidences as "
            "those of cells that the model has seen."
        )
    return np.asarray(cells.isin(known[held]))


def _calibrate(
    voters: _Voters, mdata: MuData, source: str, truth: IntArray, seed: int
) -> tuple[Calibration | None, dict[str, Any]]:
    """Return a calibration, None with too few cells, and its evidence."""
    cells = np.flatnonzero(truth >= 0)
    if cells.size < FEWEST_CELLS:
        return None, {}
    if cells.size > MOST_CELLS:
        cells = np.sort(np.random.default_rng(seed).choice(cells, MOST_CELLS, replace=False))
    truth = truth[cells]
    votes = voters.vote(mdata, source, cells)
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


def _as_mudata(data: MuData | AnnData, modality: str) -> MuData:
    """Return a MuData. An AnnData stands in it as the modality, not copied."""
    from anndata import AnnData

    return make_mudata({modality: data}) if isinstance(data, AnnData) else data


def _check_memory(values: int) -> None:
    needed = 4.0 * values / 1e9
    if needed > MOST_GB:
        raise TooLargeError(
            f"the probabilities of all labels would take {needed:.1f} GB, more than {MOST_GB:g}. "
            "probabilities=False keeps the label and its confidence only."
        )


def _warn_uncalibrated(source: str, target: str, calibrate_on: str, n: int) -> None:
    other = "query" if calibrate_on == "reference" else "reference"
    warn(
        f"confidences are shares of votes, not calibrated: calibration needs {FEWEST_CELLS} cells "
        f"of {source!r} or more in the {calibrate_on} with a label that cells of {target!r} have, "
        f"and there are {n}. Are the labels of {source!r} in another column (label_key=)? "
        f"calibrate_on={other!r} takes those of the {other}."
    )

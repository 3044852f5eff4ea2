"""Every MuData key that scgroove reads or writes.

Keys of ``mod[m]`` belong to a modality, the others to the MuData.
"""

from __future__ import annotations

from typing import Final

from scgroove.errors import ArgumentError

LATENT: Final = "X_groove"
"""``mod[m].obsm``: latent coordinates of :func:`scgroove.tl.embed`, float32 (n_m, n_latent)."""

LABEL: Final = "label"
"""``mod[m].obs``: default name of the label column."""

PAIR: Final = "pair_id"
"""``mod[m].obs``: default name of the column with the true pairing, where it is known."""

PAIRING: Final = "pairing"
"""``mdata.uns``: ``paired`` and the label columns of ``GROOVE.setup_mudata``.

Verbs and figures use the same labels and pairs as the set-up.
"""

NOT_MEASURED: Final = "not_measured"
"""``mod[m].uns``: features that batches did not measure, and the column of the batch."""

TRANSFERRED: Final = "transferred_label"
"""``mod[source].obs``: label of :func:`scgroove.tl.transfer_labels`, categorical.

The same key of ``mod[source].uns`` holds the names of the labels and the calibration.
"""

INFERRED: Final = "inferred_label"
"""``mod[m].obs``: known or likeliest label of :func:`scgroove.tl.infer_labels`, categorical."""

EFFICACY: Final = "efficacy"
"""``mod[m].obs``: probability that the perturbation of a cell took hold, float64.

The same key of ``mdata.uns`` holds the rates of the labels. Both are of
:func:`scgroove.tl.estimate_efficacy`.
"""

COLLAPSE: Final = "collapse"
"""``mdata.uns``: spread of the cells of each label, of :func:`scgroove.tl.collapse`."""

SIMULATION: Final = "simulation"
"""``mdata.uns``: parameters and truth of a simulation."""

STATE: Final = "state"
"""``mod[m].obsm``: simulated cell state, float (n_m, n_latent)."""

TRUE_LATENT: Final = "latent"
"""``mod[m].obsm``: simulated latent, the state plus perturbation effects, float (n_m, n_latent)."""

SHARED: Final = "shared"
"""``mod[m].obsm``: the state plus the shared effects of a simulation, float (n_m, n_latent)."""


def umap(use_rep: str = LATENT) -> str:
    """``mod[m].obsm``: joint UMAP of a shared representation, float32 (n_m, 2)."""
    return f"{use_rep}_umap"


def coupling(source: str, target: str) -> str:
    """``mdata.obsp``: coupling, CSR (n_obs, n_obs), source rows and target columns.

    The same key of ``mdata.uns`` holds its evidence.
    """
    return f"coupling_{source}_{target}"


def imputed(target: str) -> str:
    """``mod[source].obsm``: imputed values of ``target``, float32 (n_source, d_target).

    The same key of ``mod[source].uns`` holds the feature names and the method.
    """
    return f"imputed_{target}"


def imputed_sd(key: str) -> str:
    """``mod[source].obsm``: standard deviations of imputed values, float32 (n_source, d_target)."""
    return f"{key}_sd"


def extrapolated(key: str) -> str:
    """``mod[source].obs``: bool, True for a cell without a row in the coupling."""
    return f"{key}_extrapolated"


def matching(source: str, target: str) -> str:
    """``mdata.uns``: scores of :func:`scgroove.tl.score_matching`."""
    return f"matching_{source}_{target}"


def imputation(source: str, target: str) -> str:
    """``mdata.uns``: scores of :func:`scgroove.tl.score_imputation`."""
    return f"imputation_{source}_{target}"


def effects(source: str, target: str) -> str:
    """``mdata.uns``: effects of labels, of :func:`scgroove.tl.perturbation_effects`."""
    return f"effects_{source}_{target}"


def epsilon_scan(source: str, target: str) -> str:
    """``mdata.uns``: table of :func:`scgroove.tl.epsilon_scan`."""
    return f"epsilon_scan_{source}_{target}"


def selection(source: str, target: str) -> str:
    """``mdata.uns``: scores of aligners without true pairs, of ``tl.select_aligner``."""
    return f"selection_{source}_{target}"


def confidence(key: str) -> str:
    """``mod[source].obs``: probability that the transferred label is right, float32."""
    return f"{key}_confidence"


def probabilities(key: str) -> str:
    """``mod[source].obsm``: probabilities of all labels, float32 (n_source, n_labels)."""
    return f"{key}_probabilities"


def certainty(key: str) -> str:
    """``mod[m].obs``: certainty of an inferred label, float64 from 0 to 1, 1 if it was known."""
    return f"{key}_certainty"


def can_be_stored(name: object) -> bool:
    """Whether a file can hold a text: HDF5 has no NUL, and no halves of surrogate pairs."""
    try:
        return b"\0" not in str(name).encode()
    except UnicodeEncodeError:
        return False


def check_name(name: object, argument: str) -> None:
    """Refuse a name that cannot be a key of a file. None, for a default, passes.

    Raises
    ------
    ValueError
        It is empty, is no text, or has a slash, a NUL or half of a surrogate pair.
    """
    if name is None or (isinstance(name, str) and name and "/" not in name and can_be_stored(name)):
        return
    plain = "".join("_" if sign == "/" or not can_be_stored(sign) else sign for sign in str(name))
    raise ArgumentError(
        f"{argument}={name!r} cannot be a key of a file: expected text without '/' and NUL. Take "
        f"another name, such as {plain or 'mine'!r}.",
        argument,
    )

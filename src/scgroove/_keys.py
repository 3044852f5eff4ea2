"""Every MuData key that scgroove reads or writes, and what it holds.

Per-modality keys live in ``mdata.mod[modality]``; the others at the level of the MuData.
"""

from __future__ import annotations

from typing import Final

from scgroove.errors import InputError

LATENT: Final = "X_groove"
"""``mod[m].obsm``: latent coordinates, float32 (n_m, n_latent). Written by :func:`scgroove.tl.embed`."""


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

    The same key of ``mod[source].uns`` holds the feature names and how the values were made.
    """
    return f"imputed_{target}"


def imputed_sd(key: str) -> str:
    """``mod[source].obsm``: standard deviations of what would have been measured, float32 (n_source, d_target)."""
    return f"{key}_sd"


def extrapolated(key: str) -> str:
    """``mod[source].obs``: bool, True where a cell had no row in the coupling and was extrapolated."""
    return f"{key}_extrapolated"


def matching(source: str, target: str) -> str:
    """``mdata.uns``: matching scores against the truth. Written by :func:`scgroove.tl.score_matching`."""
    return f"matching_{source}_{target}"


def imputation(source: str, target: str) -> str:
    """``mdata.uns``: scores of imputed values. Written by :func:`scgroove.tl.score_imputation`."""
    return f"imputation_{source}_{target}"


def effects(source: str, target: str) -> str:
    """``mdata.uns``: effects of labels, measured and imputed. Written by :func:`scgroove.tl.perturbation_effects`."""
    return f"effects_{source}_{target}"


def epsilon_scan(source: str, target: str) -> str:
    """``mdata.uns``: what each eps does. Written by :func:`scgroove.tl.epsilon_scan`."""
    return f"epsilon_scan_{source}_{target}"


def selection(source: str, target: str) -> str:
    """``mdata.uns``: scores of aligners without true pairs. Written by :func:`scgroove.tl.select_aligner`."""
    return f"selection_{source}_{target}"


TRANSFERRED: Final = "transferred_label"
"""``mod[source].obs``: label told from labeled cells, categorical. Written by :func:`scgroove.tl.transfer_labels`.

The same key of ``mod[source].uns`` holds the names of the labels and how the probabilities were made.
"""


def confidence(key: str) -> str:
    """``mod[source].obs``: probability that the transferred label is right, float32."""
    return f"{key}_confidence"


def probabilities(key: str) -> str:
    """``mod[source].obsm``: probability of every label, float32 (n_source, n_labels), rows sum to one."""
    return f"{key}_probabilities"


INFERRED: Final = "inferred_label"
"""``mod[m].obs``: label of a cell, its own or the likeliest, categorical. Written by :func:`scgroove.tl.infer_labels`."""


def certainty(key: str) -> str:
    """``mod[m].obs``: how certain an inferred label is, float64 from 0 to 1; 1 where it was there."""
    return f"{key}_certainty"


EFFICACY: Final = "efficacy"
"""``mod[m].obs``: probability that the perturbation of a cell took hold, float64. Written by :func:`scgroove.tl.estimate_efficacy`.

The same key of ``mdata.uns`` holds the rates of the labels and how they were estimated.
"""

COLLAPSE: Final = "collapse"
"""``mdata.uns``: spread of the cells of each label in each modality. Written by :func:`scgroove.tl.collapse`."""

SIMULATION: Final = "simulation"
"""``mdata.uns``: parameters and truth of a simulation."""

STATE: Final = "state"
"""``mod[m].obsm``: simulated cell state c, float (n_m, n_latent), shared truth (user guide, "Simulated screens")."""

TRUE_LATENT: Final = "latent"
"""``mod[m].obsm``: simulated latent u = state + perturbation effects, float (n_m, n_latent)."""

SHARED: Final = "shared"
"""``mod[m].obsm``: what modalities have in common of a simulated cell, the state plus shared effects, float (n_m, n_latent)."""

NOT_MEASURED: Final = "not_measured"
"""``mod[m].uns``: the features that batches did not measure, and the column of the batch. Written by ``GROOVE.setup_mudata``."""

LABEL: Final = "label"
"""``mod[m].obs``: default name of the label column in simulations."""

PAIRING: Final = "pairing"
"""``mdata.uns``: ``paired`` and the label columns of :meth:`~scgroove.model.GROOVE.setup_mudata`.

Scores and figures give the same answer to which cells are the same as the set-up.
"""

PAIR: Final = "pair_id"
"""``mod[m].obs``: default name of the column that holds the true pairing, where it is known."""


def can_be_stored(name: object) -> bool:
    """Whether a text can be written to a file: HDF5 has no NUL, and no halves of surrogate pairs."""
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
    plain = (
        "".join("_" if sign == "/" or not can_be_stored(sign) else sign for sign in str(name))
        or "mine"
    )
    raise InputError(
        f"{argument}={name!r} cannot be a key of a file: expected text without '/' and NUL. Take another name, such as {plain!r}."
    )

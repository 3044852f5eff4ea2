"""Options checked against the data, in the language of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scgroove._files import HOW_TO_MAKE
from scgroove.errors import InputError, UnknownNameError, did_you_mean, listed

if TYPE_CHECKING:
    from mudata import MuData

    from scgroove._report import Settings

LIKELIHOODS = ("auto", "normal", "nb", "poisson", "bernoulli")


def settings_for(mdata: MuData, asked: Mapping[str, Any]) -> Settings:
    """Return the settings of a run from its options, which must fit the data."""
    from scgroove._labels import plain_category
    from scgroove._report import Settings
    from scgroove.data.checks import layers_of, modality_of

    source, target = _source_and_target(mdata, asked["source"], asked["target"])
    modalities = tuple(dict.fromkeys([source, target, *(asked["also"] or [])]))
    for modality in modalities[2:]:
        _check_choice("--also", modality, mdata.mod)
    label_key = _label_key(mdata, modalities, asked["label"] or ["label"])
    _check_unlabeled(mdata, label_key, asked["unlabeled_category"] or [])
    pair_key, paired = asked["pair_key"], asked["paired"]
    if pair_key is not None:
        if paired is not None:
            option = "--paired" if paired else "--not-paired"
            raise InputError(
                f"--pair-key {pair_key} and {option} answer one question. Give one of the two."
            )
        for modality in (source, target):
            _check_column("--pair-key", mdata, modality, pair_key)
    layers = _assignments("--layer", asked["layer"], modalities)
    for modality, layer in layers.items():
        where = f" in the layers of {modality!r}"
        _check_choice(f"--layer {modality}=", layer, layers_of(modality_of(mdata, modality)), where)
    likelihood = _assignments("--likelihood", asked["likelihood"], modalities)
    for modality, name in likelihood.items():
        _check_choice(f"--likelihood {modality}=", name, LIKELIHOODS)
    return Settings(
        source=source,
        target=target,
        modalities=modalities,
        label_key=label_key,
        layers=layers,
        likelihood=likelihood,
        batch_key=_batch_key(mdata, modalities, asked["batch_key"]),
        unlabeled_category=plain_category(asked["unlabeled_category"]),
        pair_key=pair_key,
        paired="auto" if paired is None else paired,
    )


def _source_and_target(mdata: MuData, source: str | None, target: str | None) -> tuple[str, str]:
    sizes = ", ".join(
        f"{m} ({a.n_obs:,} cells x {a.n_vars:,} features)" for m, a in mdata.mod.items()
    )
    if len(mdata.mod) < 2:
        raise InputError(
            f"The file has one modality only, {sizes}; matching needs two. {HOW_TO_MAKE}"
        )
    if source is None or target is None:
        first, second = list(mdata.mod)[:2]
        raise InputError(
            f"Which modality is matched to which? The file has {sizes}. For instance: "
            f"--source {first} --target {second} imputes {second} for the {first} cells."
        )
    _check_choice("--source", source, mdata.mod)
    _check_choice("--target", target, mdata.mod)
    if source == target:
        raise InputError(
            f"--source and --target are both {source!r}; they must differ. The file has {sizes}."
        )
    return source, target


def _label_key(mdata: MuData, modalities: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Return the label column of each modality, from COLUMN and MODALITY=COLUMN."""
    general = [text for text in given if "=" not in text]
    if len(general) > 1:
        raise InputError(
            f"--label names {len(general)} columns for all modalities ({', '.join(general)}). "
            "Give one, and others as MODALITY=COLUMN."
        )
    special = _assignments("--label", [text for text in given if "=" in text], modalities)
    keys = {m: special.get(m, general[0] if general else "label") for m in modalities}
    for modality, column in keys.items():
        _check_column("--label", mdata, modality, column)
    return keys


def _check_unlabeled(mdata: MuData, label_key: Mapping[str, str], given: Sequence[str]) -> None:
    from scgroove._labels import names_of, unlabeled_names

    found: set[str] = set()
    for modality, key in label_key.items():
        found |= set(names_of(mdata.mod[modality].obs[key])) - {None}
    for category in sorted(unlabeled_names(given) - found):
        raise UnknownNameError(
            "label",
            category,
            found,
            f"--unlabeled-category {category!r} is no label of these data."
            f"{did_you_mean(category, found)} There are {len(found)}, such as "
            f"{listed(sorted(found))}.",
        )


def _batch_key(
    mdata: MuData, modalities: Iterable[str], column: str | None
) -> dict[str, str] | None:
    """Return the batch column of the modalities that have it, which must be some."""
    if column is None:
        return None
    having = {m: column for m in modalities if column in mdata.mod[m].obs}
    if not having:
        columns = sorted({str(name) for m in modalities for name in mdata.mod[m].obs.columns})
        raise UnknownNameError(
            "column",
            column,
            columns,
            f"--batch-key {column!r}: no modality has this column in obs."
            f"{did_you_mean(column, columns)} There are {listed(columns)}.",
        )
    return having


def _check_column(option: str, mdata: MuData, modality: str, column: str) -> None:
    columns = [str(name) for name in mdata.mod[modality].obs.columns]
    if column in columns:
        return
    more = ""
    if option == "--label":
        name = columns[0] if columns else "COLUMN"
        more = f" If the modalities name it differently: --label {modality}={name}, and so on."
    raise UnknownNameError(
        "column",
        column,
        columns,
        f"{option} {column}: the obs of {modality!r} has no column {column!r}."
        f"{did_you_mean(column, columns)} It has {listed(columns)}.{more}",
    )


def _check_choice(option: str, value: str, choices: Iterable[str], where: str = "") -> None:
    names = [str(choice) for choice in choices]
    if value not in names:
        gap = "" if option.endswith("=") else " "
        raise UnknownNameError(
            option,
            value,
            names,
            f"{option}{gap}{value}: unknown{where}.{did_you_mean(value, names)} "
            f"Expected one of {listed(names)}.",
        )


def _assignments(
    option: str, given: Iterable[str] | None, modalities: Iterable[str]
) -> dict[str, str]:
    """Read MODALITY=VALUE."""
    read: dict[str, str] = {}
    for text in given or []:
        modality, sign, value = text.partition("=")
        if not sign or not value:
            first = next(iter(modalities))
            raise InputError(
                f"{option} {text!r}: expected MODALITY=VALUE, such as "
                f"{option} {first}={text.strip('=')}."
            )
        _check_choice(option, modality, modalities, " modality")
        read[modality] = value
    return read


def check_accelerator(name: str) -> None:
    """Refuse a device that PyTorch does not see."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    available["gpu"] = any(available.values())
    if not available.get(name, True):
        raise InputError(
            f"--accelerator {name}: PyTorch {torch.__version__} sees no such device on this "
            "machine. Use --accelerator auto, or install a build of PyTorch for the device."
        )


def simulated(labels: int, cells: int, rho: float, seed: int) -> MuData:
    """Return the screen of the demo."""
    from scgroove import simulations

    return simulations.weakly_paired(
        labels,
        cells,
        rho=rho,
        counts=("rna",),
        exclusive_labels={"rna": 2, "protein": 1},
        unlabeled_fraction=0.05,
        seed=seed,
    )

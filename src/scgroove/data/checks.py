"""Shapes, names and values of modalities, and whether a model can use them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

from .._numbers import LARGEST, SMALLEST, canonical
from ..errors import InputError, InputTypeError, UnknownNameError

PerModality: TypeAlias = str | Mapping[str, str]
"""One name for all modalities, or one for each."""

PANEL_FEATURES = 8  # counts of fewer features are those of a panel, which has no library size
PANEL_SHARE = 0.5  # so are counts of which one feature holds more than this share
LARGEST_LOG = 30.0  # no logarithm of a measurement is larger
FEWEST_TOTALS = 3  # cells by which to tell that totals are the same
SAME_TOTAL = 1e-3  # relative spread of totals that differ by rounding only
BLOCK_BYTES = 64 * 2**20  # what one block of rows may take when dense


@dataclass(frozen=True)
class DataProfile:
    """Summary of a data matrix, read once in blocks of rows.

    Attributes
    ----------
    n_obs, n_vars
        Shape.
    minimum, maximum
        Range of the values.
    integer
        All values are whole numbers.
    zeros
        Share of zeros.
    median_library
        Median over cells of the sum of the values.
    largest_share
        Share of the sum of all values that the largest feature has. 0 if unknown.
    size
        Median over cells of the mean absolute value. NaN if unknown (older models).
    transformed
        ``"normalized values"`` if the values of each cell have the same sum, ``"logged normalized
        values"`` if those of ``exp(x) - 1`` have, else ``""``.
    negative
        Share of negative values. 0 if unknown.
    """

    n_obs: int
    n_vars: int
    minimum: float
    maximum: float
    integer: bool
    zeros: float
    median_library: float
    largest_share: float = 0.0
    size: float = math.nan
    transformed: str = ""
    negative: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether all values are whole numbers of at least 0, and some are above 1."""
        return self.integer and self.minimum >= 0 and self.maximum > 1

    @property
    def panel(self) -> str | None:
        """Why library sizes would mislead, None if not: a fall of one feature lifts all others."""
        if self.n_vars < PANEL_FEATURES:
            return f"a panel of {self.n_vars} features, fewer than {PANEL_FEATURES}"
        if self.largest_share > PANEL_SHARE:
            share = f"{self.largest_share:.0%}"
            return f"one feature holds {share} of them, more than {PANEL_SHARE:.0%}"
        return None

    @property
    def size_factors(self) -> bool:
        """Whether cells are to be divided by their library sizes."""
        return self.counts and self.panel is None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, to be kept in a registry."""
        return asdict(self)

    def choose_likelihood(self) -> tuple[str, str]:
        """Likelihood that fits the data, and the reason in words."""
        if self.integer and self.minimum >= 0 and self.maximum <= 1:
            return "bernoulli", "all values are 0 or 1"
        if self.counts:
            span = f"{self.minimum:g} to {self.maximum:g}"
            reason = f"all values are whole numbers from {span} (counts)"
            if self.size_factors:
                return "nb", reason
            return "nb_panel", f"{reason}, without library sizes: {self.panel}"
        kind = "there are negative values" if self.minimum < 0 else "there are fractional values"
        return "normal", f"{kind} (range {self.minimum:.3g} to {self.maximum:.3g})"

    def problem_with(self, likelihood: str) -> str | None:
        """Why the data cannot have this likelihood, or None."""
        if likelihood == "normal":
            return None
        if self.minimum < 0:
            return f"negative values (minimum {self.minimum:.4g})"
        if not self.integer:
            return "values that are not whole numbers"
        if likelihood == "bernoulli" and self.maximum > 1:
            return f"values above 1 (maximum {self.maximum:.4g})"
        return None


def check_modalities(mdata: MuData, modalities: Any = None) -> list[str]:
    """The modalities to use, in the order asked for."""
    if not isinstance(mdata, MuData):
        raise InputTypeError(
            f"Expected a MuData, found {type(mdata).__name__}. Put the modalities together first: "
            'mdata = mudata.MuData({"rna": adata_rna, "protein": adata_protein}).'
        )
    known = list(mdata.mod)
    if modalities is None:
        chosen = known
    else:
        chosen = [modalities] if isinstance(modalities, str) else list(modalities)
    for m in chosen:
        if m not in known:
            near = get_close_matches(str(m), known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            message = f"Unknown modality '{m}'. mdata has {known}.{hint}"
            raise UnknownNameError("modality", m, known, message)
    if len(set(chosen)) < 2:
        raise InputError(
            f"Expected at least two modalities, found {chosen}. mdata has {known}; "
            "GROOVE links modalities, so name two or more of them in modalities=[...]."
        )
    if len(set(chosen)) < len(chosen):
        raise InputError(f"modalities={chosen} names a modality twice.")
    return chosen


def per_modality(
    given: Any,
    modalities: Sequence[str],
    argument: str,
    *,
    optional: bool = False,
    exact: bool = True,
) -> dict[str, Any]:
    """Return one name for each modality, from one for all or a mapping.

    Parameters
    ----------
    given, modalities, argument
        What the user gave, the modalities in use, and the name of the argument.
    optional
        Modalities that the mapping misses have None.
    exact
        Refuse a mapping that names other modalities.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(modalities, _one_name(given, modalities[0], argument))
    unknown = [m for m in given if m not in modalities]
    if exact and unknown:
        raise UnknownNameError(
            f"{argument} names {unknown}, but the modalities in use are {list(modalities)}."
        )
    missing = [m for m in modalities if m not in given]
    if missing and not optional:
        raise InputError(
            f"{argument} names {list(given)}, but not {missing[0]!r}. Pass one name for all "
            "modalities, or one for each: "
            f"{argument}={ {**given, **dict.fromkeys(missing, '...')} }."
        )
    return {m: _one_name(given.get(m), m, argument) for m in modalities}


def _one_name(value: Any, modality: str, argument: str) -> str | None:
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | tuple) and len(value) > 1:
        column = f"mdata['{modality}'].obs"
        joint = "_".join(map(str, value))
        raise InputTypeError(
            f"{argument} must be one column; found {list(value)}. Join them in every modality: "
            f"{column}['{joint}'] = {column}[{list(value)}].astype(str).agg('_'.join, axis=1), "
            f"then {argument}='{joint}'."
        )
    if value is None or isinstance(value, str):
        return value
    raise InputTypeError(
        f"{argument} must be one name for all modalities, or a mapping of modalities to names; "
        f"found {value!r}."
    )


def name_of(given: PerModality, modality: str, argument: str) -> str:
    """Return the name for one modality, as :func:`per_modality`."""
    name: str = per_modality(given, [modality], argument, exact=False)[modality]
    return name


def layers_of(adata: AnnData) -> list[str]:
    """Return the names of the layers. anndata 0.13 lists X as None."""
    names: Iterable[str | None] = adata.layers
    return [name for name in names if name is not None]


def modality_of(mdata: MuData, name: str) -> AnnData:
    """Return a modality that exists.

    Raises
    ------
    TypeError
        It is a MuData of its own.
    """
    adata = mdata.mod[name]
    if isinstance(adata, AnnData):
        return adata
    raise InputTypeError(
        f"mdata.mod[{name!r}] is a {type(adata).__name__}; expected an AnnData. Put its modalities "
        f"beside the others: mudata.MuData({{**mdata.mod, **mdata.mod[{name!r}].mod}})."
    )


def matrix(adata: AnnData, layer: str | None) -> Any:
    """X or a layer, as it is stored."""
    return adata.X if layer is None else adata.layers[layer]


def row_blocks(x: Any) -> Iterator[tuple[slice, Any]]:
    """Blocks of rows, in memory: sparse stays sparse. Works for backed and dask arrays too."""
    step = max(1, BLOCK_BYTES // (4 * max(1, x.shape[1])))
    if sp.issparse(x):
        step, x = max(step, 4096), canonical(x)
    for start in range(0, x.shape[0], step):
        rows = slice(start, min(start + step, x.shape[0]))
        block = x[rows]
        if hasattr(block, "compute"):
            block = block.compute()
        yield rows, canonical(block)


def profile(adata: AnnData, modality: str, layer: str | None = None) -> DataProfile:
    """Read a modality (X, or a layer) once, and check what every model needs."""
    where = f"mdata['{modality}']" + (".X" if layer is None else f".layers['{layer}']")
    _check_shape(adata, modality, layer, where)
    x = matrix(adata, layer)
    zero_rows: list[int] = []

    def checked() -> Iterator[Any]:
        for rows, block in row_blocks(x):
            values = block.data if sp.issparse(block) else block
            if values.dtype.kind not in "buif":
                raise InputTypeError(f"{where} holds {values.dtype} values, expected real numbers.")
            check_finite(block, rows, adata, where)
            nonzero = np.asarray((block != 0).sum(axis=1)).ravel()
            zero_rows.extend((np.flatnonzero(nonzero == 0) + rows.start).tolist())
            yield block

    found = summarize(checked(), adata.n_vars)
    if 0 < max(found.maximum, -found.minimum) < SMALLEST:
        raise InputError(
            f"{where} has no value larger than {max(found.maximum, -found.minimum):.3g}, and "
            f"models compute in float32, which has no squares of sizes below {SMALLEST:g}. Give "
            "it in other units: multiply all values by a constant."
        )
    if zero_rows:
        raise InputError(
            f"{where} has {len(zero_rows)} cell(s) in which every value is zero, the first is "
            f"'{adata.obs_names[zero_rows[0]]}'. They hold nothing to learn from and have no "
            f"library size. Remove them: keep = np.asarray(abs({where}).sum(axis=1)).ravel() > 0; "
            f"mdata.mod['{modality}'] = mdata['{modality}'][keep].copy() before building the "
            "MuData, or scanpy.pp.filter_cells(adata, min_counts=1) on the modality."
        )
    return found


def summarize(blocks: Iterable[Any], n_vars: int) -> DataProfile:
    """Return the profile of blocks of rows, numbers in memory, dense or sparse."""
    low, high, integer, stored = math.inf, -math.inf, True, 0
    sums: list[NDArray[np.float64]] = [np.empty((0, 3))]
    of_features = np.zeros(n_vars)
    negative = 0
    for block in blocks:
        values = block.data if sp.issparse(block) else block
        negative += int((values < 0).sum())
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        integer = integer and bool((values == np.round(values)).all())
        stored += int(np.count_nonzero(values))
        of_features += np.asarray(block.sum(axis=0, dtype=np.float64)).ravel()
        sums.append(_sums(block, logged=not integer and low >= 0 and high < LARGEST_LOG))
    library, size, raw = np.concatenate(sums).T
    total = of_features.sum()
    zeros = 1 - stored / max(1, len(library) * n_vars)
    if zeros > 0:
        low, high = min(low, 0.0), max(high, 0.0)
    return DataProfile(
        n_obs=len(library),
        n_vars=n_vars,
        minimum=low,
        maximum=high,
        integer=integer,
        zeros=zeros,
        median_library=float(np.median(library)),
        largest_share=float(of_features.max() / total) if low >= 0 and total > 0 else 0.0,
        size=float(np.median(size)) / max(1, n_vars),
        transformed="" if integer or low < 0 else _transformed(library, raw),
        negative=negative / max(1, len(library) * n_vars),
    )


def _sums(block: Any, *, logged: bool) -> NDArray[np.float64]:
    """Return sums over features of x, |x| and exp(x) - 1 (NaN unless ``logged``), (n, 3)."""
    parts = [block.sum(axis=1, dtype=np.float64), abs(block).sum(axis=1, dtype=np.float64)]
    raw: Any = np.full(block.shape[0], np.nan)
    if logged:
        raw = (block.expm1() if sp.issparse(block) else np.expm1(block)).sum(
            axis=1, dtype=np.float64
        )
    return np.stack([np.asarray(part, dtype=np.float64).ravel() for part in (*parts, raw)], axis=1)


def _transformed(library: NDArray[np.float64], raw: NDArray[np.float64]) -> str:
    """Tell how values were made, from their sums over the features of each cell."""
    for totals, name in ((library, "normalized values"), (raw, "logged normalized values")):
        if len(totals) >= FEWEST_TOTALS and totals.std() < SAME_TOTAL * abs(totals.mean()):
            return name
    return ""


def check_cell_names(adata: AnnData, modality: str) -> None:
    """Refuse a modality in which two cells share a name."""
    if not adata.obs_names.is_unique:
        name = adata.obs_names[adata.obs_names.duplicated()][0]
        raise InputError(
            f"mdata['{modality}'].obs_names are not unique: '{name}' stands for more than one "
            f"cell. Call mdata['{modality}'].obs_names_make_unique() and mdata.update(), best "
            "before building the MuData."
        )


def _check_shape(adata: AnnData, modality: str, layer: str | None, where: str) -> None:
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise InputError(
            f"Modality '{modality}' is empty: {adata.n_obs} cells x {adata.n_vars} features. A "
            "filter may have removed everything; leave the modality out with modalities=[...] or "
            "check the filter."
        )
    check_cell_names(adata, modality)
    if layer is not None and layer not in adata.layers:
        raise UnknownNameError(
            f"Layer '{layer}' not found in mdata['{modality}'].layers, which has "
            f"{layers_of(adata)}. Modalities that layers does not name use X."
        )
    if layer is None and adata.X is None:
        raise InputTypeError(
            f"{where} is empty (None). Name one of its layers, {list(adata.layers)}, in "
            f"layers={{..., '{modality}': ...}}."
        )


def check_finite(block: Any, rows: slice, adata: AnnData, where: str) -> None:
    """Refuse NaN, infinite and huge values among some rows. The message names cell and feature."""
    values = block.data if sp.issparse(block) else block
    if not values.size or (values.min() >= -LARGEST and values.max() <= LARGEST):  # false for NaN
        return
    coo = sp.coo_matrix(block) if sp.issparse(block) else None
    flat = np.asarray(block).ravel() if coo is None else coo.data
    finite = np.isfinite(flat)
    size = np.abs(flat.astype(np.float64))
    bad = int(size.argmax()) if finite.all() else int(np.flatnonzero(~finite)[0])
    row, column = divmod(bad, block.shape[1]) if coo is None else (coo.row[bad], coo.col[bad])
    place = f"cell '{adata.obs_names[rows.start + row]}', feature '{adata.var_names[column]}'"
    if finite.all():
        raise InputError(
            f"{where} holds a value of size {size[bad]:.3g} in {place}. Expected at most "
            f"{LARGEST:g}: models compute in float32. Does it stand for a missing value? Drop "
            "that cell or feature, or divide the feature by a constant."
        )
    n_nan, n_inf = int(np.isnan(flat).sum()), int(np.isinf(flat).sum())
    stored = where if coo is None else f"{where}.data"
    advice = ""
    if n_nan:
        advice = (
            f"If NaN stands for a feature that a batch did not measure, write 0, {stored} = "
            f"np.nan_to_num({stored}), and set up with batch_key='...': features that are zero in "
            "all cells of a batch, and not elsewhere, are found and masked. Otherwise a"
        )
    raise InputError(
        f"{where} holds {n_nan} NaN and {n_inf} infinite value(s) among the first {rows.stop} "
        f"cells, the first in {place}. Expected finite numbers. {advice or 'A'} division by zero "
        "or the logarithm of zero in preprocessing is likely: mend it there, or drop those cells "
        "or features."
    )

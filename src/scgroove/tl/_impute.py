"""Imputation of one modality for the cells of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from scgroove import _keys
from scgroove._labels import UnlabeledCategory
from scgroove.data.checks import PerModality
from scgroove.data.labels import labels_of_setup
from scgroove.data.screen import check_call, check_modality, warn_of_no_labels

if TYPE_CHECKING:
    from mudata import MuData

AUTO: Final = "auto"


class Translator(Protocol):
    """A model for ``method="decoder"``, such as :class:`scgroove.model.GROOVE`."""

    def translate(self, source: str, target: str, mdata: MuData | None = None) -> Any:
        """Return expected values of the target for source cells, (n_source, d_target)."""


def impute(
    mdata: MuData,
    source: str,
    target: str,
    *,
    method: str = "decoder",
    model: Translator | Sequence[Translator] | None = None,
    layer: str | None = None,
    use_rep: PerModality | None = None,
    shrink: float | None = None,
    uncertainty: bool = True,
    label_key: PerModality | None = "auto",
    unlabeled_category: UnlabeledCategory = None,
    seed: int = 0,
    key_added: str | None = None,
    max_memory_gb: float = 4.0,
    **options: Any,
) -> None:
    """Impute all values of the target modality for source cells.

    Labels that were never measured in the target are included.

    ``"decoder"``
        The values that the model expects, ``E[p_t(x | d_t(e_s(x_i)))]``, the mean of several
        models.
    ``"barycentric"``
        The mean of the coupled target cells, ``sum_j T_ij x_j / sum_j T_ij``. Cells without mass in
        the coupling get the entropic map of the shared representation, ``sum_j w_ij x_j`` with
        ``w_ij`` proportional to ``exp(-c(z_i, z_j) / eps)`` over all target cells.
    ``"knn"``
        The mean of the nearest target cells in the shared representation: of the cells of its
        label, where the target has them, else of all.
    ``"entropic"``
        The entropic map of the shared representation for all cells.
    ``"regression"``
        Networks from the source's features to the target's, fitted to coupled cells:
        :class:`scgroove.imputers.CouplingRegression`.
    ``"label_ridge"``
        A linear map from the source's features to the target's, fitted to label means:
        :class:`scgroove.imputers.LabelRidge`. Hard to beat for labels never measured in the target.

    ``"auto"``
        A stack of linear maps of label means, weighted by how well they predict labels that were
        left out, or the means of labels where no map predicts them:
        :class:`scgroove.imputers.LabelStack`. Its verdict is in ``uns``.

    The standard deviation of measured values around each imputed value comes from the spread of
    measured cells inside the label, the error of a mean of few cells, the bias of the label's mean,
    and the disagreement of an ensemble (user guide, "Imputation"). Read intervals with
    :func:`scgroove.get.imputed_interval`, and measure how often they hold with
    :func:`scgroove.tl.score_imputation` where the truth is known.

    Parameters
    ----------
    mdata
        The modalities.
    source, target
        The cells to impute for, and the modality imputed. With ``method="decoder"`` the target may
        be missing.
    method
        A name of :data:`scgroove.imputers.IMPUTERS`, see above.
    model
        The trained model, for ``"decoder"``. Or several, trained with different seeds, whose
        disagreement is part of the uncertainty.
    layer
        Layer of the target with the values, for all but ``"decoder"``, which predicts in the units
        that the model was trained on. X if None.
    use_rep
        Shared representation: that of the coupling for ``"barycentric"``, ``"X_groove"`` for
        ``"knn"`` and ``"entropic"`` if None. For ``"regression"``, ``"label_ridge"`` and
        ``"auto"``: ``obsm`` key of the source to predict from, its standardized features if None.
    shrink
        Draw values to the measured mean of their label, where the target has it: 0 corrects the
        mean of each label, 1 gives every cell the mean, 0.5 halves differences between its cells.
    uncertainty
        Whether to compute standard deviations, which take as much memory again.
    label_key
        Column of ``mod[m].obs`` with the label. Labels are not known if None. ``"auto"``: that of
        the model, as far as the data have it, else ``"label"`` or the column of the set-up.
    unlabeled_category
        A label that stands for "no label". That of the model, for its own labels, if None.
    seed
        Random state.
    key_added
        Name of the result, ``"imputed_<target>"`` if None.
    max_memory_gb
        Larger results are refused before any memory is taken.
    **options
        ``coupling_key``, the name of the coupling for ``"barycentric"`` and ``"regression"``,
        default ``"coupling_<source>_<target>"``. ``epsilon`` of the entropic map, relative to the
        mean cost, default that of the coupling or 0.05. ``n_neighbors``, cells averaged by
        ``"knn"``, default 30. ``regression``, options of
        :class:`scgroove.imputers.CouplingRegression` such as ``{"n_models": 3}``.

    Returns
    -------
    None
        Sets the following fields:

        ``mdata.mod[source].obsm[key_added]``
            Imputed values, float32 (n_source, d_target), in the units of the target.
        ``mdata.mod[source].obsm[key_added + "_sd"]``
            With ``uncertainty``, where measured cells of the target are at hand: standard
            deviations, float32 (n_source, d_target). Removed otherwise.
        ``mdata.mod[source].uns[key_added]``
            ``features`` (names), ``method``, ``source``, ``target``. For ``"decoder"`` the layer,
            the number of models and, for counts, the ``library_size`` at which they are expected.
            For others the layer and the number of extrapolated cells. Coupling, neighbors,
            absolute eps and ``shrink`` where there are any. With ``uncertainty``, ``levels`` and
            ``quantiles`` (levels, d_target), in standard deviations.
        ``mdata.mod[source].obs[key_added + "_extrapolated"]``
            For all but ``"decoder"``: True where a cell had no mass in the coupling, or its label
            no cell in the target. Removed by ``"decoder"``.

    Raises
    ------
    ValueError
        A modality, method, layer, coupling or representation is missing, an argument does not go
        with the method, the model does not return one row per cell, or memory is too small.
        ``mdata`` is unchanged then.

    Warns
    -----
    UserWarning
        No label is known because there is no column ``"label"``, or every label has one measured
        cell only, so that the spread inside labels is not known.

    See Also
    --------
    scgroove.get.imputed, scgroove.get.imputed_interval, scgroove.tl.score_imputation,
    scgroove.tl.align

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021, equation 6 (decoder). Pooladian and Niles-Weed 2021, arXiv
    2109.12004 (entropic map). Ryu et al. 2024, arXiv 2405.00838 (regression on coupled cells). User
    guide, "Imputation".

    Examples
    --------
    >>> scgroove.tl.impute(mdata, "rna", "prot", model=model)  # doctest: +SKIP
    >>> scgroove.get.imputed(mdata, "rna", "prot")  # doctest: +SKIP
    """
    check_call(mdata, key_added, (source, target))
    from scgroove.imputers import IMPUTERS
    from scgroove.tl._impute_inputs import Request, with_uncertainty

    check_modality(mdata, source, "source")
    IMPUTERS.get(method)
    models: tuple[Any, ...] = tuple(model) if isinstance(model, Sequence) else (model,)
    models = () if model is None else models
    columns, unlabeled = _labels_to_use(
        mdata, (source, target), models, label_key, unlabeled_category
    )
    coupling_key = options.pop("coupling_key", None)
    request = Request(
        mdata=mdata,
        source=source,
        target_name=target,
        method=method,
        models=models,
        coupling_key=coupling_key,
        layer=layer,
        use_rep=use_rep,
        options={name: value for name, value in options.items() if value is not None},
        label_key=columns,
        unlabeled_category=unlabeled,
        labels_optional=label_key == AUTO,
        labels_declared=unlabeled_category is not None,
        seed=seed,
        copies=2 if uncertainty else 1,
        max_memory_gb=max_memory_gb,
    )
    found, evidence = request.impute()
    found, sd, shape = with_uncertainty(
        request, found, evidence, shrink=shrink, uncertainty=uncertainty
    )
    evidence = {**evidence, **shape, "method": method, "source": source, "target": target}
    key = key_added if key_added is not None else _keys.imputed(target)
    flags = None if method == "decoder" else found.extrapolated
    _write(mdata.mod[source], key, found.values, sd, flags, evidence)


def _labels_to_use(
    mdata: MuData,
    pair: tuple[str, str],
    models: tuple[Any, ...],
    label_key: PerModality | None,
    unlabeled_category: UnlabeledCategory,
) -> tuple[PerModality | None, UnlabeledCategory]:
    """Return label columns and the label that stands for none, by default of the model."""
    describe = getattr(models[0], "get_label_columns", None) if models else None
    known: dict[str, Any] = {} if describe is None else dict(describe())
    if label_key in (AUTO, known.get("label_key")) and unlabeled_category is None:
        unlabeled_category = known.get("unlabeled_category")
    if label_key != AUTO:
        return label_key, unlabeled_category
    if known:
        return known["label_key"], unlabeled_category
    without = [m for m in pair if m in mdata.mod and _keys.LABEL not in mdata.mod[m].obs]
    unknown = [m for m in without if labels_of_setup(mdata, m)[0] is None]
    if unknown:
        warn_of_no_labels(unknown)
    return _keys.LABEL, unlabeled_category


def _write(
    adata: Any, key: str, values: Any, sd: Any, flags: Any, evidence: Mapping[str, Any]
) -> None:
    """Write the results under a key, and remove those of an earlier call."""
    adata.obsm[key] = values
    adata.uns[key] = dict(evidence)
    for store, name, part in (
        (adata.obsm, _keys.imputed_sd(key), sd),
        (adata.obs, _keys.extrapolated(key), flags),
    ):
        if part is not None:
            store[name] = part
        elif name in store:
            del store[name]

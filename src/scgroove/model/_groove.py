"""GROOVE as an scvi-tools model over modalities measured on different cells."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck
from scvi.model.base import BaseModelClass
from scvi.train import TrainRunner
from scvi.utils import setup_anndata_dsp

from .. import _keys
from .._labels import UnlabeledCategory, plain_category, stored_category
from .._validate import checked
from ..data import GroupDataSplitter
from ..data.checks import DataProfile, per_modality
from ..data.fields import BatchField, FeatureField, SharedLabelField
from ..data.labels import label_keys, labels_by_modality, labels_read_once
from ..data.pairing import pair_ids
from ..data.resident import data_device
from ..errors import InputError
from ..losses import BackTranslation, GroupCLIP, Reconstruction, Term
from ..losses.similarities import Similarity
from ..module import Architecture, GROOVEModule
from ..module.encoders import EncoderKind
from ..train import Freeze, GROOVETrainingPlan
from ..train.freeze import check_freeze, check_learns, frozen
from ..train.threads import check_threads
from ._options import n_epochs, training_defaults
from ._query import check_screen, copy_weights
from ._results import Results
from ._save import check_model, damage_told, read_saved, replaced_when_done
from ._setup import (
    check_names,
    check_setup,
    check_weights,
    log_what_was_found,
    modalities_in_use,
    resolve_likelihoods,
    restored_on_error,
)
from ._statistics import fit_input_statistics

X, BATCH, LABELS = REGISTRY_KEYS.X_KEY, REGISTRY_KEYS.BATCH_KEY, REGISTRY_KEYS.LABELS_KEY


@checked
class GROOVE(Results):
    r"""One latent space for modalities measured on different cells, linked only by a label.

    One encoder and one decoder for each modality are trained together on the terms of an objective.
    The three default terms are the group-level contrastive loss GroupCLIP, which brings cells of
    one label together across modalities, reconstruction, and on-the-fly back-translation, which
    asks that a cell translated to another modality and back is the cell it was.

    Parameters
    ----------
    adata
        MuData registered with :meth:`setup_mudata`.
    n_latent
        Dimension of the latent space.
    terms
        Terms of the objective, each with its weight and options. By default
        ``[Reconstruction(), GroupCLIP(), BackTranslation()]`` of :mod:`scgroove.losses`.
    encoder
        ``"linear"`` or ``"mlp"``.
    hidden
        Widths of the hidden layers of the decoders, and of the encoders if ``encoder="mlp"``.
    dropout
        After each hidden layer of an MLP encoder, on the input of a linear one.
    likelihood
        ``"normal"``, ``"nb"``, ``"poisson"``, ``"nb_panel"``, ``"poisson_panel"``, ``"bernoulli"``,
        one for all modalities or one for each. Those for panels, such as a few antibodies, have no
        library sizes. ``"auto"``: ``bernoulli`` for zeros and ones, ``nb`` for other non-negative
        whole numbers, or ``nb_panel`` if the features are few or one holds most of the counts, and
        ``normal`` for anything else. :attr:`likelihood_reasons` has the reason.
    encode_batch
        Give the batch covariate to the encoders too, not only to the decoders.
    similarity
        ``"cosine"``, ``"dot"`` or ``"euclidean"``, for terms that compare cells.
    seed
        Random state of the initial weights.
    registry
        Registry of a saved model, to load it without data (:meth:`load` passes it).

    Raises
    ------
    ValueError
        An option is out of range, a modality cannot have the likelihood asked for, or a term does
        not fit the labels.

    Examples
    --------
    >>> import scgroove as sg
    >>> mdata = sg.simulations.weakly_paired()
    >>> sg.model.GROOVE.setup_mudata(mdata, "label")
    >>> model = sg.model.GROOVE(mdata)
    >>> model.train()
    >>> sg.tl.embed(mdata, model)

    References
    ----------
    Gorla et al. 2026, arXiv 2602.04021.
    """

    _module_cls = GROOVEModule
    _data_splitter_cls = GroupDataSplitter
    _training_plan_cls = GROOVETrainingPlan
    _train_runner_cls = TrainRunner

    def __init__(
        self,
        adata: MuData | None = None,
        n_latent: int = 16,
        *,
        terms: Sequence[Term] | None = None,
        encoder: EncoderKind = "linear",
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.4,
        likelihood: str | Mapping[str, str] = "auto",
        encode_batch: bool = False,
        similarity: Similarity = "cosine",
        seed: int = 0,
        registry: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(adata, registry)
        hidden = tuple(hidden)
        # resolved, so that the saved arguments do not depend on the data they are loaded with
        likelihood, self.likelihood_reasons_ = resolve_likelihoods(
            likelihood,
            {m: DataProfile(**self._state(X, m)["profile"]) for m in self.modalities},
            self.registry["setup_args"]["layers"] or {},
        )
        self.likelihood = likelihood
        with _seeded(seed):
            self.module = self._module_cls(
                {m: len(self._state(X, m)["column_names"]) for m in self.modalities},
                likelihood,
                {m: self._batch_proportions(m) for m in self.modalities},
                [Reconstruction(), GroupCLIP(), BackTranslation()] if terms is None else terms,
                self._screen_info(),
                Architecture(n_latent, encoder, hidden, dropout, encode_batch),
                similarity=similarity,
                measured=self._measured(),
            )
        self.similarity, self.encoder = similarity, encoder
        # what training leaves as it is, where the model goes on from a reference
        self.freeze_: Freeze | None = None
        self._model_summary_string = (
            f"GROOVE model: n_latent {n_latent}, encoder {encoder}, hidden {hidden}, "
            f"similarity {similarity}, terms {', '.join(self.module.terms)}"
        )
        self.init_params_ = self._get_init_params(locals())

    # -- setting up

    @classmethod
    @setup_anndata_dsp.dedent
    def setup_mudata(
        cls,
        mdata: MuData,
        label_key: str | Mapping[str, str] = "label",
        *,
        modalities: Sequence[str] | Mapping[str, str] | None = None,
        layers: str | Mapping[str, str | None] | None = None,
        batch_key: str | Sequence[str] | Mapping[str, str | None] | None = None,
        unlabeled_category: UnlabeledCategory = None,
        weight_key: str | Mapping[str, str | None] | None = None,
        paired: bool | str = "auto",
        min_cells_per_label: int = 2,
        **kwargs: Any,
    ) -> None:
        """Register a MuData of modalities measured on different, some, or the same cells.

        Labels are read in each modality and coded in one vocabulary. Cells of exclusive labels, or
        without a label, take part in reconstruction and back-translation only. A feature that is
        zero in all cells of a batch, and not in most cells of all other batches, is taken as not
        measured in that batch: its zeros are neither learned, nor compared with imputed values.

        Parameters
        ----------
        mdata
            The data. Sparse and backed matrices stay as they are.
        label_key
            Column of each modality's ``obs`` with the label (such as the perturbation). One name
            for all modalities or ``{modality: name}``.
        modalities
            The modalities to use. All by default.
        layers
            Layer to use. One name for all modalities or ``{modality: layer}``, X for those not
            named.
        batch_key
            Column of ``obs`` with the batch. One name for all modalities or ``{modality: name}``.
        unlabeled_category
            Values of the label columns that mean "not known": one or a list. Numbers are named like
            labels, so that 0, 0.0 and "0" are the same.
        weight_key
            Column of ``obs`` with the weight of each cell in terms that use labels, from 0 to 1,
            such as the probability that its perturbation worked. One name for all modalities or
            ``{modality: name}``. From :func:`scgroove.tl.estimate_efficacy`, or from elsewhere,
            such as the posterior of pertpy's Mixscape.
        paired
            Whether equal obs names mean the same cell: ``True``, ``False``, ``"auto"``, or the
            ``obs`` column that identifies the measured unit. Known pairs are kept together in the
            validation split, and serve as truth for scores and figures. Training never uses them.
            ``"auto"`` takes the column ``"pair_id"`` where two modalities have it, else equal
            names, unless they look like a numbering, wells or colliding barcodes, or their labels
            disagree. A warning says so.
        min_cells_per_label
            Fewest cells that a shared label must have in each modality.

        Raises
        ------
        KeyError
            A modality, label column, batch column or layer does not exist.
        ValueError
            No label is shared, a label has too few cells, all labels of a modality are missing, a
            modality is empty, has duplicated obs names, NaN or infinite values, or cells without
            any value. ``mdata`` is left as it was.

        Warns
        -----
        UserWarning
            A batch did not measure some features.

        Notes
        -----
        Sets the following fields: ``mdata.uns["_scvi_uuid"]``, ``mdata.uns["_scvi_manager_uuid"]``,
        ``mdata.uns["pairing"]`` (``paired`` and the label columns), in each modality
        ``obs["_scvi_labels_{m}"]`` and ``obs["_scvi_batch_{m}"]``, and ``uns["not_measured"]``
        where a batch did not measure some features.
        """
        unlabeled_category = plain_category(unlabeled_category)
        # resolved before they are recorded: load replays them, perhaps on fewer modalities. A dict,
        # as scvi-tools' own models keep it
        modalities = {m: m for m in modalities_in_use(mdata, modalities, kwargs)}
        layers = per_modality(layers, list(modalities), "layers", optional=True)
        batch_key = per_modality(batch_key, list(modalities), "batch_key", optional=True)
        setup_method_args = cls._get_setup_method_args(**locals())
        with labels_read_once():
            manager = cls._registered_manager(mdata, setup_method_args, kwargs)
        cls.register_manager(manager)

    @classmethod
    def _registered_manager(
        cls, mdata: MuData, setup_method_args: dict[str, Any], kwargs: Mapping[str, Any]
    ) -> AnnDataManager:
        """Check the data, register them, and return their manager."""
        args = setup_method_args["setup_args"]
        label_key, unlabeled_category = args["label_key"], args["unlabeled_category"]
        names, layers, batch_key = list(args["modalities"]), args["layers"], args["batch_key"]
        check_names(mdata, names)
        if kwargs:  # load and transfer: the registry that comes along knows the rest
            keys = label_key if isinstance(label_key, Mapping) else dict.fromkeys(names, label_key)
            profiles: dict[str, DataProfile] = {}
        else:
            keys = label_keys(mdata, label_key, names)
            labels = labels_by_modality(mdata, keys, names, unlabeled_category)
            check_weights(mdata, labels, args["weight_key"])
            min_cells = args["min_cells_per_label"]
            profiles = check_setup(
                mdata, keys, layers, batch_key, labels, unlabeled_category, min_cells
            )
            ids = pair_ids(mdata, names, args["paired"], labels)
            log_what_was_found(labels, ids is not None)
        fields = []
        for m in names:
            seen = profiles[m].as_dict() if m in profiles else None
            fields += [
                FeatureField(m, layers.get(m), seen, batch_key.get(m), keys[m], unlabeled_category),
                BatchField(m, batch_key.get(m)),
                SharedLabelField(m, keys, unlabeled_category),
            ]
        checks = AnnDataManagerValidationCheck(check_fully_paired_mudata=False)
        manager = AnnDataManager(
            fields=fields, setup_method_args=setup_method_args, validation_checks=checks
        )
        with restored_on_error(mdata):
            manager.register_fields(mdata, **kwargs)
            mdata.uns[_keys.PAIRING] = {
                "paired": args["paired"],
                "label_key": dict(keys),
                "unlabeled_category": stored_category(unlabeled_category),
            }
        return manager

    @classmethod
    def setup_anndata(cls, adata: AnnData, **kwargs: Any) -> None:
        """Not for one modality: use :meth:`setup_mudata`."""
        raise NotImplementedError(
            "GROOVE links two or more modalities. Put them in a MuData and call "
            "GROOVE.setup_mudata("
            'mudata.MuData({"rna": adata_rna, "protein": adata_protein}), label_key="label").'
        )

    # -- training

    def train(
        self,
        max_epochs: int | None = None,
        *,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float = 0.9,
        validation_size: float | None = None,
        batch_size: int = 256,
        n_labels_per_batch: int | None = None,
        n_cells_per_label: int | None = None,
        early_stopping: bool = False,
        data_on_device: bool | Literal["auto"] = "auto",
        seed: int = 0,
        plan_kwargs: Mapping[str, Any] | None = None,
        datasplitter_kwargs: Mapping[str, Any] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train the model. A second call, or one after :meth:`load_query_data`, trains it on.

        Parameters
        ----------
        max_epochs
            An epoch sees about as many labeled cells as the largest modality has. Default: enough
            for 1,000 steps with linear encoders, and for 3,000 with others or where a trained
            model goes on, between 10 and 150 epochs.
        accelerator, devices
            Where to train, see :class:`lightning.pytorch.Trainer`.
        train_size, validation_size
            Shares of the cells of each label. The rest of the cells validates by default. Cells
            measured in several modalities fall into the same part in all of them.
        batch_size
            Labeled cells of each modality in a step.
        n_labels_per_batch, n_cells_per_label
            A step draws this many shared labels, and this many cells of each from every modality
            that has it. Default: all shared labels, as long as the batch has 8 cells for each.
        early_stopping
            Stop when ``early_stopping_monitor`` (default ``"validation_loss"``) no longer improves.
            The default one-cycle learning rate is low only after ``max_epochs``: consider
            ``plan_kwargs={"lr_schedule": "plateau"}``.
        data_on_device
            Keep all cells on the device, as dense float32. ``"auto"``: on a single GPU, if they
            take less than a quarter of its free memory.
        seed
            Random state of the split, the batches and dropout. The global state is left alone.
        plan_kwargs
            Of :class:`scgroove.train.GROOVETrainingPlan`: learning rate and schedule. Linear
            encoders have the learning rate 0.01, unless a trained model goes on.
        datasplitter_kwargs
            Of :class:`scgroove.data.GroupDataSplitter`: ``balance``, ``free_fraction``,
            ``external_indexing`` and arguments of the loader such as ``num_workers``.
        **trainer_kwargs
            Of :class:`scvi.train.Trainer`, such as ``callbacks``, ``gradient_clip_val``,
            ``precision``, ``check_val_every_n_epoch``, ``enable_progress_bar``.

        Raises
        ------
        ValueError
            The attached data lack a modality, or an option is out of range.
        RuntimeError
            The loss became NaN or infinite.
        """
        check_threads(int((datasplitter_kwargs or {}).get("num_workers") or 0))
        managers, agreement = self._training_managers(), self.module.agreement
        splitter = self._data_splitter_cls(
            managers,
            train_size,
            validation_size,
            batch_size=batch_size,
            n_labels_per_batch=n_labels_per_batch,
            n_cells_per_label=n_cells_per_label,
            pairs=self._pairs(),
            extras=self._extras(managers),
            agreement=None if agreement is None else agreement.cpu().numpy(),
            seed=seed,
            **(datasplitter_kwargs or {}),
        )
        splitter.device = data_device(data_on_device, managers, accelerator, devices)
        needs = {
            "early_stopping=True": early_stopping,
            "lr_schedule='plateau'": (plan_kwargs or {}).get("lr_schedule") == "plateau",
        }
        for option, asked in needs.items():
            if asked and not splitter.n_val:
                raise InputError(
                    f"{option} needs validation cells, and train_size={train_size} leaves none. "
                    "Use train_size=0.9, or leave the option out."
                )
        goes_on = self.is_trained_ or self.freeze_ is not None
        plan_defaults, n_steps, most_epochs = training_defaults(self.encoder, goes_on)
        plan = self._training_plan_cls(
            self.module, **{"seed": seed, **plan_defaults, **(plan_kwargs or {})}
        )
        # a model that goes on keeps the meaning of its inputs
        if not goes_on:
            for m, manager in managers.items():
                fit_input_statistics(self.module, m, manager, splitter.train_idx[m])
        if max_epochs is None:
            max_epochs = n_epochs(len(splitter.train_dataloader()), n_steps, most_epochs)
        trainer_kwargs.setdefault("early_stopping_monitor", "validation_loss")
        if splitter.n_val:
            trainer_kwargs.setdefault("check_val_every_n_epoch", 1)
        callbacks = list(trainer_kwargs.pop("callbacks", []))  # scvi's Trainer appends to it
        self.module.train()  # results leave it in evaluation mode
        with _seeded(seed), frozen(self.module, self.freeze_ or "nothing") as keep:
            runner = self._train_runner_cls(
                self,
                training_plan=plan,
                data_splitter=splitter,
                max_epochs=max_epochs,
                accelerator=accelerator,
                devices=devices,
                early_stopping=early_stopping,
                callbacks=[*callbacks, *keep],
                **trainer_kwargs,
            )
            runner()

    # -- going on from a trained model

    def save(
        self,
        dir_path: str | PathLike[str],
        prefix: str | None = None,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save the model. Other arguments: :meth:`scvi.model.base.BaseModelClass.save`.

        The files take their place when they are complete: an interruption leaves an old model as
        it was.

        Parameters
        ----------
        dir_path
            Folder of the model.
        prefix
            Start of the names of the files.
        overwrite
            Replace a model that is there. Other files of the folder stay.
        **kwargs
            Such as ``save_anndata``.

        Raises
        ------
        ValueError
            The folder exists, and ``overwrite`` is False.
        """
        if Path(dir_path).exists() and not overwrite:
            raise InputError(
                f"{str(dir_path)!r} exists already. Save to another folder, or replace it with "
                "overwrite=True."
            )
        with replaced_when_done(dir_path, last="model.pt") as folder:
            super().save(str(folder), prefix, overwrite=True, **kwargs)

    @staticmethod
    def load_registry(dir_path: str | PathLike[str], prefix: str | None = None) -> dict[str, Any]:
        """Return what a saved model knows of its data. Arguments are those of scvi-tools.

        Raises
        ------
        FileError
            There is no saved model, or its file is damaged.
        """
        check_model(dir_path, prefix)
        with damage_told(dir_path, prefix):
            registry: dict[str, Any] = BaseModelClass.load_registry(str(dir_path), prefix)
            return registry

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> GROOVE:
        """Load a saved model. Arguments are those of :meth:`scvi.model.base.BaseModelClass.load`.

        ``adata`` may have some of the modalities only, and features in another order or beside
        those of the model. The format of scvi-tools is a pickle: load models of people that you
        trust only.

        Raises
        ------
        FileError
            There is no saved model, or its files are damaged.
        ValueError
            A feature of the model is missing, or the data have labels that a term of the model
            cannot have. ``adata`` is left as it was.
        """
        asked = inspect.signature(super().load).bind(*args, **kwargs)
        adata = read_saved(asked.arguments)
        with (
            warnings.catch_warnings(),
            restored_on_error(adata if isinstance(adata, MuData) else None),
        ):
            # scvi-tools compares positions of features
            warnings.filterwarnings("ignore", message="`var_names` for the loaded")
            try:
                with damage_told(asked.arguments["dir_path"], asked.arguments.get("prefix")):
                    model = super().load(*asked.args, **asked.kwargs)
            except RuntimeError as error:
                if "size mismatch for terms" not in str(error):
                    raise
                raise InputError(
                    "The data contain labels that the model was not trained on. Set the labels of "
                    "these "
                    "cells to missing, or train on them: GROOVE.load_query_data(mdata, path)."
                ) from error
            if model.adata is not None:
                model._checked_managers()
        if model.adata is not None:
            for term in model.module.objective:
                term.update(model._screen_info())
        return model  # type: ignore[no-any-return]

    @classmethod
    def load_query_data(
        cls,
        adata: MuData,
        reference_model: GROOVE | str | PathLike[str],
        *,
        freeze: Freeze = "nothing",
        terms: Sequence[Term] | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
    ) -> GROOVE:
        """Return a model of a new screen that starts from a trained one, to be trained on.

        It has the weights and the input statistics of the reference, and its labels and batches
        with the new ones of the screen appended. A new batch starts as the mean of the known ones.
        It can be used as it is, or fine-tuned on the new screen alone with :meth:`train`. The
        reference stays as it is.

        New cells whose modalities, batches and labels the reference knows need none of this: pass
        them to :meth:`get_latent_representation`, :meth:`translate` or :func:`scgroove.tl.embed`.

        Parameters
        ----------
        adata
            The new screen, a MuData with the columns and layers that the reference was set up with.
            Training needs all modalities of the reference, and labels.
        reference_model
            A trained model, or where it was saved.
        freeze
            What :meth:`train` leaves as it is. ``"nothing"``: all weights go on learning, and
            cells of the reference have to be embedded anew. ``"encoders"``: latent coordinates
            are, to the bit, those of the reference. Decoders learn. ``"all_but_batch"``: decoders
            learn only what a batch adds (and encoders too, with ``encode_batch=True``).
        terms
            Terms with the names of those of the reference, where these have to know more, such as
            the embeddings of new labels. They go on from the weights of the reference. Default:
            those of the reference.
        accelerator, device
            Where a saved reference is loaded to.

        Returns
        -------
        A model with ``adata`` attached. The shares of batches, over which :meth:`translate`
        averages, are those of the new screen.

        Raises
        ------
        TypeError
            ``adata`` is no MuData.
        ValueError
            The reference is not trained. The data lack features, have values that the likelihood
            cannot have, or cells without a batch. A term does not fit new labels. Nothing is left
            to learn. ``adata`` is left as it was.

        Notes
        -----
        Sets the following fields: those of :meth:`setup_mudata`.

        Examples
        --------
        >>> query = GROOVE.load_query_data(new_screen, "model")  # doctest: +SKIP
        >>> query.train(max_epochs=20)  # doctest: +SKIP
        >>> sg.tl.embed(new_screen, query)  # doctest: +SKIP

        References
        ----------
        Lotfollahi et al. 2022, Nature Biotechnology 40, 121-130, trained new weights for new
        batches only.
        """
        check_freeze(freeze)
        reference = (
            reference_model
            if isinstance(reference_model, cls)
            else cls.load(str(reference_model), adata=False, accelerator=accelerator, device=device)
        )
        reference._check_has_weights()
        present = check_screen(adata, reference)
        registry = deepcopy(reference.registry)
        with restored_on_error(adata):
            cls.setup_mudata(
                adata, **registry["setup_args"], source_registry=registry, extend_categories=True
            )
            options = dict(reference.init_params_["non_kwargs"])
            if terms is not None:
                options["terms"] = terms
            model = cls(adata, **options)
            copy_weights(model.module, reference.module, present)
            check_learns(model.module, freeze)
        model.freeze_, model.likelihood_reasons_ = freeze, reference.likelihood_reasons
        model.to_device(reference.device)
        model.module.eval()
        return model


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A torch random state of our own. The global one is as before afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield

"""Run by test_distributed in processes of its own: ``python two_processes.py WHAT FOLDER``."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

import scgroove as sg
from scgroove.losses import group_clip_loss
from scgroove.model import GROOVE

torch.set_num_threads(1)
logging.getLogger("scvi").setLevel(logging.ERROR)
BATCH = 32


def cells(n=48, k=5):
    """Latents and labels of three modalities, of different numbers of cells, some without a label."""
    rng = np.random.default_rng(0)
    z = {
        m: torch.tensor(rng.normal(size=(n + 2 * i, k)), dtype=torch.float64)
        for i, m in enumerate("abc")
    }
    labels = {m: torch.tensor(rng.integers(-1, 6, len(v))) for m, v in z.items()}
    return z, labels


def loss(folder: Path, soft: bool = False) -> None:
    """GroupCLIP and its gradients, of half of the cells; for the whole run it alone. Soft: cells count in part."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("gloo")
    z, labels = cells()
    uneven = {
        m: np.array_split(np.arange(len(v)), [len(v) // 3]) if world > 1 else [np.arange(len(v))]
        for m, v in z.items()
    }
    mine = {m: v[uneven[m][rank]].requires_grad_() for m, v in z.items()}
    how, weights = {m: labels[m][uneven[m][rank]] for m in z}, None
    if soft:
        g = torch.Generator().manual_seed(0)
        w = {m: torch.rand(len(c), generator=g) for m, c in labels.items()}
        weights = {m: w[m][uneven[m][rank]] for m in z}
    found = group_clip_loss(mine, how, weights=weights, temperature=0.3)
    found.backward()
    torch.save(
        {"loss": found.detach(), "grad": {m: v.grad / world for m, v in mine.items()}},
        folder / f"loss_{world}_{rank}.pt",
    )
    if world > 1:  # or one ends while threads of the other still speak with it, and it aborts
        dist.barrier()
        dist.destroy_process_group()


def screen():
    """A screen with labels that one modality lacks, and without noise in training."""
    mdata = sg.simulations.weakly_paired(
        n_labels=6,
        n_cells_per_label=32,
        n_features=(20, 12),
        exclusive_labels=1,
        counts=("rna",),
        seed=0,
    )
    GROOVE.setup_mudata(mdata, "label", paired=False)
    return mdata


def training(folder: Path, devices: int, **train) -> GROOVE:
    """Train on one process or on two."""
    model = GROOVE(screen(), dropout=0.0)
    strategy = {"strategy": "ddp"} if devices > 1 else {}
    model.train(
        4,
        batch_size=BATCH // devices,
        train_size=1.0,
        datasplitter_kwargs={
            "free_fraction": 0.5
        },  # as many without a shared label as with: halves are halves
        accelerator="cpu",
        devices=devices,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_save_dir=str(folder),
        **strategy,
        **train,
    )
    return model


def train(folder: Path, devices: int) -> None:
    """Train, and save what was learned."""
    model = training(folder, devices)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        torch.save(
            {
                "weights": {name: value.cpu() for name, value in model.module.state_dict().items()},
                "history": {
                    name: table.to_numpy(float).ravel() for name, table in model.history.items()
                },
            },
            folder / f"train_{devices}.pt",
        )


def dies(folder: Path) -> None:
    """The second process fails in the third epoch; a checkpoint is written at the end of each."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Failing(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2 and trainer.global_rank == 1:
                os._exit(3)

    keep = ModelCheckpoint(
        dirpath=folder / "checkpoints",
        save_last=True,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
    )
    training(folder, 2, callbacks=[Failing(), keep], enable_checkpointing=True)


def main() -> None:
    """Do what is asked for."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what in ("loss", "soft"):
        loss(folder, soft=what == "soft")
    elif what == "dies":
        dies(folder)
    else:
        train(folder, int(what))


if __name__ == "__main__":
    main()

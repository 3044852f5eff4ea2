"""Cost of training: GROOVE beside a bare torch loop of the same mathematics, and beside models of scvi-tools.

    python benchmarks/training.py throughput            # 2 x 20,000 cells, CSR counts
    python benchmarks/training.py throughput --peers    # and SCVI, MULTIVI, DIAGVI where it is installed
    python benchmarks/training.py options               # time of a step of the default, of its options and of the settings of the paper
    python benchmarks/training.py labels                # time of a step against the number of labels
    python benchmarks/training.py groupclip             # the loss alone: time and memory against the batch
    python benchmarks/training.py imports               # time of importing the package
    python benchmarks/training.py scale --folder DIR    # one epoch from zarr, 10,000 to 1,000,000 cells a modality (7 GB in DIR)
    python benchmarks/training.py results --folder DIR  # latents, translation and imputation of these cells, in blocks
    python benchmarks/training.py all --folder DIR --out benchmarks/results/training.txt  # all of it, on an idle machine

Every ratio is of medians of 5 rounds; in each round every contestant trains once, in turn, so that a busy moment of the
machine meets all of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from mudata import MuData
from torch import Tensor, nn

from _common import quiet
from scgroove.losses import BackTranslation, GroupCLIP, Prototypes, Reconstruction, group_clip_loss
from scgroove.model import GROOVE
from scgroove.simulations import weakly_paired

ROUNDS = 5
TRAINER = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False}
FEATURES = {"rna": 2000, "protein": 2000, "panel": 200}
HIDDEN, LATENT, BATCH, TAU = 128, 16, 256, 0.3
MLP: dict[str, Any] = {"encoder": "mlp", "hidden": (HIDDEN, HIDDEN), "n_latent": LATENT}
PAPER = [Reconstruction(), GroupCLIP(temperature=0.1), BackTranslation(warmup=0.0)]
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "paper": (
        {"encoder": "mlp", "dropout": 0.0, "terms": PAPER},
        {"lr": 1e-3, "lr_schedule": "constant"},
    ),
    "default": ({}, None),
    "prototypes": ({"terms": [Reconstruction(), Prototypes(), BackTranslation()]}, None),
}
"""What is asked the time of a step: options of the model and of the training plan."""


def main() -> None:
    """Run one question."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", choices=[*QUESTIONS, *PARTS])
    parser.add_argument("--cells", type=int, default=20_000, help="of each modality")
    parser.add_argument("--steps", type=int, default=80, help="of a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument(
        "--options", action="store_true", help="mixed precision and torch.compile as well"
    )
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument(
        "--folder", type=Path, help="of the stores of scale and results; made there if they are not"
    )
    parser.add_argument("--out", type=Path, help="file for the answers to all")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    args = parser.parse_args()
    quiet()
    {**QUESTIONS, **PARTS}[args.question](args)


# ------------------------------------------------------------------------------------------------------------- data


def screen(
    n_cells: int, n_labels: int = 100, features: Sequence[int] = (2000, 200), seed: int = 0
) -> MuData:
    """Return counts as CSR: RNA with nine zeros in ten, proteins with few."""
    rng = np.random.default_rng(seed)
    parts = {}
    for name, d, depth in zip(("rna", "protein"), features, (0.15, 8.0), strict=True):
        profiles = rng.gamma(0.5, 2.0, (n_labels, d)) * depth
        labels = rng.permutation(np.arange(n_cells) % n_labels)
        blocks = [
            sp.csr_matrix(
                rng.poisson(profiles[part] * rng.lognormal(0, 0.4, (len(part), 1))),
                dtype=np.float32,
            )
            for part in np.array_split(labels, max(1, n_cells // 5000))
        ]
        x = sp.vstack(blocks, format="csr")
        x[np.asarray(x.sum(axis=1)).ravel() == 0, 0] = 1
        parts[name] = AnnData(x)
        parts[name].obs_names = [f"{name}{i}" for i in range(n_cells)]
        parts[name].obs["label"] = [f"g{i:04}" for i in labels]
    return MuData(parts)


# ------------------------------------------------------------------------------------------------------- contestants


class Bare(nn.Module):
    """The mathematics of GROOVE in plain torch, on dense tensors: what training cannot be expected to beat."""

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()

        def net(n_in: int, n_out: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for width in (HIDDEN, HIDDEN):
                layers += [nn.Linear(n_in, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(0.1)]
                n_in = width
            return nn.Sequential(*layers, nn.Linear(n_in, n_out))

        self.encoders = nn.ModuleList(net(d, LATENT) for d in features)
        self.decoders = nn.ModuleList(net(LATENT, d) for d in features)
        self.log_theta = nn.ParameterList(torch.zeros(d) for d in features)

    def encode(self, m: int, x: Tensor) -> Tensor:
        """Latent coordinates of length one."""
        h = torch.log1p(x * (1e3 / x.sum(dim=1, keepdim=True)))
        return nn.functional.normalize(self.encoders[m](h), dim=1)

    def mean(self, m: int, z: Tensor, library: Tensor) -> Tensor:
        """Expected counts."""
        return self.decoders[m](z).softmax(dim=1) * library

    def nll(self, m: int, z: Tensor, x: Tensor) -> Tensor:
        """Negative log-likelihood, mean over features and cells."""
        mu, theta = self.mean(m, z, x.sum(dim=1, keepdim=True)), self.log_theta[m].exp()
        log_both = (mu + theta).log()
        value = (
            torch.lgamma(x + theta)
            - torch.lgamma(theta)
            - torch.lgamma(x + 1)
            + theta * (theta.log() - log_both)
            + x * ((mu + 1e-8).log() - log_both)
        )
        return -value.mean()

    def forward(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
        """Reconstruction, GroupCLIP and back-translation."""
        z = [self.encode(m, x[m]) for m in (0, 1)]
        loss = sum(self.nll(m, z[m], x[m]) for m in (0, 1))
        logits, same = z[0] @ z[1].T / TAU, y[0][:, None] == y[1]
        positive = logits.masked_fill(~same, -torch.inf)
        for dim in (0, 1):
            loss = loss + 0.5 * (logits.logsumexp(dim) - positive.logsumexp(dim)).mean()
        for m in (0, 1):
            with torch.no_grad():
                self.eval()
                pseudo = self.mean(1 - m, self.encode(m, x[m]), torch.full((len(x[m]), 1), 1e3))
                self.train()
            loss = loss + self.nll(m, self.encode(1 - m, pseudo), x[m])
        return loss


def bare(mdata: MuData, args: argparse.Namespace, *, ours: bool = False) -> Callable[[int], None]:
    """Return a bare training loop on dense tensors; ``ours``: of GROOVE's own module."""
    x = [torch.from_numpy(adata.X.toarray()) for adata in mdata.mod.values()]
    y = [
        torch.from_numpy(
            adata.obs["label"].astype("category").cat.codes.to_numpy().astype(np.int64)
        )
        for adata in mdata.mod.values()
    ]
    module = Bare([v.shape[1] for v in x])
    rng = np.random.default_rng(0)
    of_label = [[np.flatnonzero(v.numpy() == c) for c in range(int(v.max()) + 1)] for v in y]
    p = min(len(of_label[0]), args.batch // 8)
    k = -(-args.batch // p)

    def draw() -> list[Tensor]:
        chosen = rng.choice(len(of_label[0]), p, replace=False)
        return [
            torch.from_numpy(np.concatenate([rng.choice(rows[c], k) for c in chosen]))
            for rows in of_label
        ]

    batches = [draw() for _ in range(args.steps)]
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)

    def train(n_steps: int) -> None:
        for rows in batches[:n_steps]:
            optimizer.zero_grad()
            module(
                [v[r] for v, r in zip(x, rows, strict=True)],
                [v[r] for v, r in zip(y, rows, strict=True)],
            ).backward()
            optimizer.step()

    return train


def groove(
    mdata: MuData,
    args: argparse.Namespace,
    *,
    options: dict[str, Any] = MLP,
    plan: dict[str, Any] | None = None,
    **trainer: object,
) -> Callable[[int], None]:
    """Return the training of GROOVE, through scvi-tools and Lightning."""
    GROOVE.setup_mudata(mdata, "label")
    model = GROOVE(mdata, **options)

    def train(n_steps: int) -> None:
        model.train(
            1000,
            max_steps=n_steps,
            batch_size=args.batch,
            train_size=1.0,
            plan_kwargs=plan,
            **TRAINER,
            **trainer,
        )

    return train


def scvi_model(mdata: MuData, args: argparse.Namespace) -> Callable[[int], None]:
    """Return the training of SCVI on RNA alone: two passes through networks a cell, where GROOVE makes five."""
    from scvi.model import SCVI

    adata = mdata["rna"].copy()
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=HIDDEN, n_latent=LATENT, n_layers=2, gene_likelihood="nb")

    def train(n_steps: int) -> None:
        model.train(1000, max_steps=n_steps, batch_size=args.batch, train_size=1.0, **TRAINER)

    return train


def multivi(mdata: MuData, args: argparse.Namespace) -> Callable[[int], None]:
    """Return the training of MULTIVI on both modalities, as if their cells were the same and proteins were regions."""
    from scvi.model import MULTIVI

    names = [f"cell{i}" for i in range(mdata["rna"].n_obs)]
    same = {}
    for name, m in (("rna", "rna"), ("atac", "protein")):
        same[name] = AnnData(mdata[m].X)
        same[name].obs_names = names
        same[name].var_names = [f"{name}{i}" for i in range(same[name].n_vars)]
    both = MuData(same)
    MULTIVI.setup_mudata(both, modalities={"rna_layer": "rna", "atac_layer": "atac"})
    n_genes, n_regions = (adata.n_vars for adata in same.values())
    model = MULTIVI(both, n_genes=n_genes, n_regions=n_regions, n_hidden=HIDDEN, n_latent=LATENT)

    def train(n_steps: int) -> None:
        model.train(
            1000,
            max_steps=n_steps,
            batch_size=args.batch,
            train_size=1.0,
            early_stopping=False,
            adversarial_mixing=False,
            **TRAINER,
        )

    return train


def diagvi(mdata: MuData, args: argparse.Namespace) -> Callable[[int], None]:
    """Return the training of DIAGVI on both modalities, with one link for each protein."""
    from scvi.external import DIAGVI

    parts = {m: adata.copy() for m, adata in mdata.mod.items()}
    for m, adata in parts.items():
        adata.var_names = [f"{m}{i}" for i in range(adata.n_vars)]
        DIAGVI.setup_anndata(adata, likelihood="nb", normalize_lib=True)
    (a, x), (b, y) = parts.items()
    links = pd.DataFrame({a: x.var_names[: y.n_vars], b: y.var_names})
    model = DIAGVI(parts, mapping_df=links, n_latent=LATENT, n_hidden=HIDDEN, n_layers=2)

    def train(n_steps: int) -> None:
        model.train(
            1000,
            max_steps=n_steps,
            batch_size=args.batch,
            train_size=0.9,
            early_stopping=False,
            accelerator="cpu",
            logger=None,
        )

    return train


# --------------------------------------------------------------------------------------------------------- questions


def rounds(
    contestants: dict[str, Callable[[int], None]], n_steps: int, n_rounds: int
) -> dict[str, float]:
    """Return the median seconds of each contestant; the first round warms up and does not count."""
    took: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(n_rounds + 1):
        for name, train in contestants.items():
            start = time.perf_counter()
            train(n_steps if round_ else 5)
            took[name].append(time.perf_counter() - start)
    return {name: median(found[1:]) for name, found in took.items()}


def throughput(args: argparse.Namespace) -> None:
    """Compare cells per second."""
    mdata = screen(args.cells)
    density = {
        m: round(float(adata.X.nnz / np.prod(adata.shape)), 2) for m, adata in mdata.mod.items()
    }
    print(
        f"{args.cells:,} cells a modality, batches of {args.batch}, share of values that are not zero {density}"
    )
    contestants = {"groove": groove(mdata, args), "bare loop": bare(mdata, args)}
    if args.options:
        contestants["groove, bf16"] = groove(mdata, args, precision="bf16-mixed")
        contestants["groove, compiled"] = groove(mdata, args, plan={"compile": True})
    if args.peers:
        for name, make in (("SCVI", scvi_model), ("MULTIVI", multivi), ("DIAGVI", diagvi)):
            try:
                contestants[name] = make(mdata, args)
            except Exception as error:
                print(f"{name}: left out, {type(error).__name__}: {error}")
    found = rounds(contestants, args.steps, args.rounds)
    for name, seconds in found.items():
        modalities = 1 if name == "SCVI" else 2
        cells = modalities * args.batch * args.steps / seconds
        ratio = (2 * args.batch * args.steps / found["groove"]) / cells
        print(
            f"{name:18} {1e3 * seconds / args.steps:8.1f} ms a step {cells:10,.0f} cells a second; groove / this {ratio:.2f}"
        )


def options(args: argparse.Namespace) -> None:
    """Compare the time of a step between the default, its options and the settings of the paper, on the reference screen."""
    mdata = weakly_paired()
    contestants = {
        name: groove(mdata, args, options=model, plan=plan) for name, (model, plan) in KINDS.items()
    }
    found = rounds(contestants, args.steps, args.rounds)
    for name, seconds in found.items():
        print(
            f"{name:18} {1e3 * seconds / args.steps:8.1f} ms a step, {seconds / found['paper']:.2f} of that of the paper, "
            f"{seconds / found['default']:.2f} of that of the default"
        )


def labels(args: argparse.Namespace) -> None:
    """Compare the time of a step between numbers of labels."""
    found = {}
    for n in (10, 100, 1000, 5000):
        mdata = screen(max(args.cells, 4 * n), n, (200, 50))
        found[n] = rounds({"groove": groove(mdata, args)}, args.steps, args.rounds)["groove"]
        print(
            f"{n:6} labels {1e3 * found[n] / args.steps:8.1f} ms a step, {found[n] / found[10]:.2f} of that of 10"
        )


def groupclip(args: argparse.Namespace) -> None:
    """Measure the loss alone, each batch in a process of its own."""
    for n in (1024, 4096, 16384, 32768):
        command = [sys.executable, __file__, "groupclip-one", "--batch", str(n)]
        print(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(),
            flush=True,
        )


def groupclip_one(args: argparse.Namespace) -> None:
    """One loss and its gradient."""
    n = args.batch
    z = {m: torch.randn(n, LATENT, requires_grad=True) for m in ("rna", "protein")}
    codes = {m: torch.randint(0, n // 8, (n,)) for m in z}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    group_clip_loss(z, codes, temperature=TAU).backward()
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{n:6} cells a modality: {took:7.2f} s, peak of the process {peak / 1e6:.2f} GB, {(peak - before) / 1e6:.2f} GB above before"
    )


def each_size(args: argparse.Namespace, part: str) -> None:
    """Measure each size in a process of its own."""
    for n in args.sizes:
        for name, n_features in FEATURES.items():
            if not (args.folder / f"{name}_{n}.zarr" / "labels.npy").exists():
                write_store(args.folder / f"{name}_{n}.zarr", n, n_features)
        command = [
            sys.executable,
            __file__,
            part,
            "--cells",
            str(n),
            "--folder",
            str(args.folder),
            "--batch",
            str(args.batch),
        ]
        print(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(),
            flush=True,
        )


def write_store(
    path: Path, n_cells: int, n_features: int, n_labels: int = 1000, depth: int = 140
) -> None:
    """Write counts of cells of many labels, 20,000 at a time: ``depth`` molecules each, labels in no order."""
    import zarr
    from anndata.io import sparse_dataset, write_elem

    rng = np.random.default_rng(n_cells)
    cumulative = rng.gamma(0.3, 1.0, (n_labels, n_features)).cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    labels = rng.integers(0, n_labels, n_cells)
    group = zarr.open_group(str(path), mode="w")
    for start in range(0, n_cells, 20_000):
        part = labels[start : start + 20_000]
        rows = np.repeat(np.arange(len(part)), rng.poisson(depth, len(part)) + 1)
        rows = rows[np.argsort(part[rows], kind="stable")]
        draws, columns = rng.random(len(rows)), np.empty(len(rows), dtype=np.int32)
        edges = np.flatnonzero(np.diff(part[rows], prepend=-1, append=-1))
        for first, last in pairwise(edges):
            of_label = cumulative[part[rows[first]]]
            columns[first:last] = np.searchsorted(of_label, draws[first:last])
        x = sp.csr_matrix(
            (np.ones(len(rows), np.float32), (rows, columns)), shape=(len(part), n_features)
        )
        x.sum_duplicates()
        if start:
            sparse_dataset(group["X"]).append(x)
        else:
            write_elem(group, "X", x)
    np.save(path / "labels.npy", labels)


def from_store(args: argparse.Namespace, *names: str) -> MuData:
    """Open the stores of a size; nothing but labels is read."""
    import zarr
    from anndata.io import sparse_dataset

    parts = {}
    for name in names:
        path = args.folder / f"{name}_{args.cells}.zarr"
        parts[name] = AnnData(sparse_dataset(zarr.open_group(str(path), mode="r")["X"]))
        parts[name].obs_names = [f"{name}{i}" for i in range(args.cells)]
        parts[name].obs["label"] = pd.Categorical.from_codes(
            np.load(path / "labels.npy"), [f"g{i:04}" for i in range(1000)]
        )
    return MuData(parts)


def scale_one(args: argparse.Namespace) -> None:
    """One epoch from disk."""
    before = peak_gb()
    start = time.perf_counter()
    mdata = from_store(args, "rna", "protein")
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, encoder="mlp", hidden=(HIDDEN, HIDDEN), n_latent=LATENT)
    ready = time.perf_counter()
    steps: list[float] = []

    class Clock(pl.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            steps.append(time.perf_counter())

    model.train(1, batch_size=args.batch, train_size=1.0, callbacks=[Clock()], **TRAINER)
    done = time.perf_counter()
    stored = sum(
        f.stat().st_size
        for name in mdata.mod
        for f in (args.folder / f"{name}_{args.cells}.zarr").rglob("*")
    )
    print(
        f"{args.cells:9,} + {args.cells:,} cells, {stored / 1e9:.2f} GB on disk: set up {ready - start:6.1f} s, statistics {steps[0] - ready:6.1f} s, "
        f"epoch of {len(steps)} steps {done - steps[0]:7.1f} s, {2 * args.cells / (done - steps[0]):,.0f} cells a second, "
        f"peak {peak_gb():.2f} GB ({peak_gb() - before:.2f} above the imports)"
    )


def results_one(args: argparse.Namespace) -> None:
    """Latents, translation and imputation of all cells."""
    import scgroove as sg

    before = peak_gb()
    mdata = from_store(args, "rna", "panel")
    GROOVE.setup_mudata(mdata, "label", paired=False)
    model = GROOVE(mdata, encoder="mlp", hidden=(HIDDEN, HIDDEN), n_latent=LATENT)
    model.train(1, max_steps=20, batch_size=args.batch, train_size=1.0, **TRAINER)
    took = {}
    for name, call in {
        "latents": lambda: sg.tl.embed(mdata, model),
        "translate to 200 features": lambda: model.translate("rna", "panel"),
        "tl.impute, without uncertainty": lambda: sg.tl.impute(
            mdata, "rna", "panel", model=model, uncertainty=False
        ),
    }.items():
        start = time.perf_counter()
        call()
        took[name] = f"{name} {time.perf_counter() - start:.0f} s, peak so far {peak_gb():.2f} GB"
    print(
        f"{args.cells:9,} + {args.cells:,} cells: {'; '.join(took.values())} ({before:.2f} GB are the imports)"
    )


def imports(args: argparse.Namespace) -> None:
    """Compare the time of importing the package, and of its command line, with what it stands on."""
    timed = {
        "import anndata, mudata": [sys.executable, "-c", "import anndata, mudata"],
        "import anndata, mudata, scgroove": [
            sys.executable,
            "-c",
            "import anndata, mudata, scgroove",
        ],
        "scgroove --help": [sys.executable, "-m", "scgroove", "--help"],
    }
    took: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(args.rounds + 1):
        for name, command in timed.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took[name].append(time.perf_counter() - start)
    for name, found in took.items():
        print(f"{name:34} {median(found[1:]):.2f} s")


def peak_gb() -> float:
    """Peak of the resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def everything(args: argparse.Namespace) -> None:
    """Ask all questions in turn, and keep the answers with the machine, the versions and the date."""
    asked = {
        "throughput": ["--peers", "--options"],
        "options": ["--steps", "200"],
        "labels": ["--steps", "60"],
        "groupclip": [],
        "imports": [],
        "scale": ["--batch", "1024"],
        "results": [],
    }
    answers = [
        f"{date.today()}  {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one thread",
        versions(),
    ]
    for question, options in asked.items():
        command = [sys.executable, __file__, question, *options, "--folder", str(args.folder)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        answers += [
            "",
            f"$ training.py {' '.join([question, *options])}",
            answer.stdout.strip() or answer.stderr.strip(),
        ]
        print(*answers[-2:], sep="\n", flush=True)
        if args.out is not None:
            args.out.write_text("\n".join(answers) + "\n", encoding="utf-8")


def versions() -> str:
    """Return the versions of what speed depends on."""
    names = ("torch", "scvi-tools", "lightning", "numpy", "scipy", "anndata", "zarr")
    return ", ".join(f"{name} {version(name)}" for name in names)


QUESTIONS = {
    "all": everything,
    "throughput": throughput,
    "options": options,
    "labels": labels,
    "groupclip": groupclip,
    "imports": imports,
    "scale": lambda args: each_size(args, "scale-one"),
    "results": lambda args: each_size(args, "results-one"),
}
PARTS = {"groupclip-one": groupclip_one, "scale-one": scale_one, "results-one": results_one}

if __name__ == "__main__":
    main()

"""Which truth-free score orders aligners as the hidden truth does? Simulated scenarios, with the truth hidden and then shown.

    python benchmarks/selection.py --out results-selection          # 16 scenarios x 2 seeds, GROOVE: 30 minutes on 2 cores
    python benchmarks/selection.py --seeds 5 --learner ps_logistic_scaled

A stopped run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _common import quiet
from scgroove import benchmark

SCENARIOS = (
    "reference", "half_shared", "nothing_shared", "weak_effect", "linear_view", "counts", "escape", "label_noise", "zipf",
    "batches", "heterogeneous", "few_cells", "inert", "three_modalities", "exclusive", "unlabelled",
)  # fmt: skip
ALIGNERS = ("emd", "eot", "egw", "coot", "snn", "nn", "random", "uniform")
TRUTHS = ("barycentric_foscttm_within_label", "latent_error", "trace_within_label")


def main() -> None:
    """Run the study and print how well each score ranks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results-selection"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--learner", default="groove")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    args = parser.parse_args()
    quiet()
    study = benchmark.selection_study(
        args.scenarios,
        ALIGNERS,
        learner=args.learner,
        seeds=range(args.seeds),
        out=args.out,
        n_jobs=args.jobs,
    )
    study.to_csv(args.out / "study.csv", index=False, float_format="%.4f")
    for floors, kept in (("with", study), ("without", study[~study["aligner"].isin(["random", "uniform"])])):
        for truth in TRUTHS:
            print(f"\n{args.learner}, truth: {truth}, {floors} the floors random and uniform")
            print(benchmark.selection_ranking(kept, truth).round(3).to_string())


if __name__ == "__main__":
    main()

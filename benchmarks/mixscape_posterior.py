"""The posterior of Mixscape of each RNA cell of the THP-1 screen, as pertpy computes it, for ``crispr_screen.py --mixscape``.

pip install pertpy                                                    # in an environment of its own; scgroove is not needed
python benchmarks/mixscape_posterior.py FOLDER --out mixscape.csv     # FOLDER holds thp1_crispr.h5mu
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mudata
import scanpy as sc


def main() -> None:
    """Run Mixscape at its defaults, and write one column of probabilities."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("mixscape.csv"))
    args = parser.parse_args()
    import pertpy

    cells = mudata.read_h5mu(args.folder / "thp1_crispr.h5mu")["rna"].copy()
    cells.obs["label"] = cells.obs["label"].astype(str)
    sc.pp.normalize_total(cells)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=20)
    mixscape = pertpy.tl.Mixscape()
    mixscape.perturbation_signature(cells, "label", "control", n_neighbors=20)
    cells.X = cells.layers["X_pert"]
    mixscape.mixscape(cells, "label", "control", layer="X_pert", min_de_genes=5)
    cells.obs[["mixscape_class_p_ko"]].to_csv(args.out)


if __name__ == "__main__":
    main()

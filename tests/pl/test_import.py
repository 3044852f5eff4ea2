"""The figures cost nothing before the first one is drawn."""

import subprocess
import sys


def test_importing_the_figures_imports_no_matplotlib():
    code = (
        "import sys, scgroove.pl\n"
        "assert {'benchmark_report', 'epsilon_scan', 'latent'} <= set(scgroove.pl.__all__)\n"
        "heavy = {'matplotlib', 'matplotlib.pyplot', 'torch', 'scvi', 'umap'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

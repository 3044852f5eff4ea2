"""The combinatorial benchmark: learners x aligners x data x seeds, scored against the truth.

:func:`run` does a grid and :func:`read` reads its results. :func:`summarize`, :func:`compare` and
:func:`ranks` are its statistics. ``scgroove.pl.benchmark_report`` writes them as a page.
"""

from scgroove._validate import check_room
from scgroove.benchmark._compare import compare, ranks
from scgroove.benchmark._labels_out import leave_labels_out, summarize_labels
from scgroove.benchmark._runner import run
from scgroove.benchmark._stats import best, costs, failures, gap_closed, summarize
from scgroove.benchmark.results import read
from scgroove.benchmark.spec import AlignerSpec, DataSpec, LearnerSpec, Spec

__all__ = [
    "AlignerSpec",
    "DataSpec",
    "LearnerSpec",
    "Spec",
    "best",
    "compare",
    "costs",
    "failures",
    "gap_closed",
    "leave_labels_out",
    "ranks",
    "read",
    "run",
    "summarize",
    "summarize_labels",
]

check_room(__name__)

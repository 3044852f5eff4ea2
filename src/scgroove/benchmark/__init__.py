"""The combinatorial benchmark: learners x aligners x data x seeds, scored against the truth.

:func:`run` does a grid and :func:`read` reads what is done; :func:`summarize`, :func:`compare` and :func:`ranks` say what may
be said about it; :func:`select` chooses an aligner where there is no truth.
"""

from scgroove._validate import check_room
from scgroove.benchmark._builtin import SPECS, builtin
from scgroove.benchmark._compare import SignedRank, compare, holm, signed_rank
from scgroove.benchmark._evaluate import metric_names
from scgroove.benchmark._labels_out import LABELS_OUT_METRICS, leave_labels_out
from scgroove.benchmark._labels_out_methods import DEFAULT_METHODS as IMPUTATION_METHODS
from scgroove.benchmark._labels_out_methods import IMPUTATIONS, ImputationSpec
from scgroove.benchmark._labels_out_summary import summarize_labels
from scgroove.benchmark._ranks import Ranks, critical_difference, ranks
from scgroove.benchmark._results import about, read
from scgroove.benchmark._runner import Progress, run
from scgroove.benchmark._selection import (
    CANDIDATES,
    DEFAULT_SCORE,
    Selection,
    select,
)
from scgroove.benchmark._sensitivity import FACTORS, Factor, sensitivity
from scgroove.benchmark._spec import AlignerSpec, DataSpec, LearnerSpec, Spec
from scgroove.benchmark._stats import best, costs, failures, gap_closed, gap_shares, summarize
from scgroove.benchmark._truth_free import TRUTH_FREE, Trial

__all__ = [
    "CANDIDATES",
    "DEFAULT_SCORE",
    "FACTORS",
    "IMPUTATIONS",
    "IMPUTATION_METHODS",
    "LABELS_OUT_METRICS",
    "SPECS",
    "TRUTH_FREE",
    "AlignerSpec",
    "DataSpec",
    "Factor",
    "ImputationSpec",
    "LearnerSpec",
    "Progress",
    "Ranks",
    "Selection",
    "SignedRank",
    "Spec",
    "Trial",
    "about",
    "best",
    "builtin",
    "compare",
    "costs",
    "critical_difference",
    "failures",
    "gap_closed",
    "gap_shares",
    "holm",
    "leave_labels_out",
    "metric_names",
    "ranks",
    "read",
    "run",
    "select",
    "sensitivity",
    "signed_rank",
    "summarize",
    "summarize_labels",
]

check_room(__name__)

"""What a run found, and the page that tells it: one file that needs nothing else."""

from scgroove._html import Note
from scgroove._report._agreement import cell_agreement, label_agreement
from scgroove._report._page import TAGS, render
from scgroove._report._reading import notes
from scgroove._report._results import Results, Settings

__all__ = [
    "TAGS",
    "Note",
    "Results",
    "Settings",
    "cell_agreement",
    "label_agreement",
    "notes",
    "render",
]

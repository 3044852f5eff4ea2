"""What a run found, and the page that tells it: one file that needs nothing else."""

from scgroove._html import Note as Note
from scgroove._report._agreement import cell_agreement as cell_agreement
from scgroove._report._agreement import label_agreement as label_agreement
from scgroove._report._page import TAGS as TAGS
from scgroove._report._page import render as render
from scgroove._report._reading import notes as notes
from scgroove._report._results import Results as Results
from scgroove._report._results import Settings as Settings

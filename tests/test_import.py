"""The top level: light to import, complete, and clear about what it does not have."""

import subprocess
import sys
from importlib import import_module
from types import FunctionType

import pytest

import scgroove as sg


def test_import_is_light():
    script = (
        "import sys, scgroove\n"
        "heavy = {'jax', 'lightning', 'matplotlib', 'scanpy', 'scvi', 'torch', 'umap'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize("name", sg.__all__)
def test_every_part_is_there_and_lists_what_it_has(name):
    part = getattr(sg, name)
    assert part is import_module(f"scgroove.{name}")
    assert name in dir(sg)
    for public in part.__all__:
        item = getattr(part, public)
        if isinstance(item, type | FunctionType):
            assert item.__doc__, f"{name}.{public} has no docstring"


def test_unknown_part():
    with pytest.raises(AttributeError, match="module 'scgroove' has no attribute 'nothing'"):
        sg.nothing

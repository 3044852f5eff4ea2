import time

import numpy as np
import pytest

from scgroove._measure import measured


def test_seconds_and_memory_of_a_block():
    found = {}
    with measured(found, "seconds", "memory"):
        held = np.ones(30_000_000)  # 240 MB
        time.sleep(0.1)
        del held
    assert found["seconds"] >= 0.1
    assert 150 < found["memory"] < 400


def test_time_is_noted_when_the_work_fails():
    found = {}
    with pytest.raises(ZeroDivisionError), measured(found, "seconds"):
        1 / 0
    assert found["seconds"] >= 0
    assert set(found) == {"seconds"}

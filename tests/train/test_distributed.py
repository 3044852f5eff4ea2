"""Two processes train as one: they are started here, and talk through gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


def start(what, folder, **environment):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(what), str(folder)],
        cwd=folder,  # scvi-tools keeps checkpoints of its own in the working directory
        env={**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process, timeout=240):
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        pytest.fail(f"not finished after {timeout} s: {said}")
    return process.returncode, said


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "atol"), [("loss", 1e-12), ("soft", 1e-6)])
def test_the_loss_of_two_halves_is_that_of_the_whole(what, atol, tmp_path):
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    running = [start(what, tmp_path, RANK=str(rank), **place) for rank in (0, 1)] + [
        start(what, tmp_path)
    ]
    for process in running:
        code, said = finished(process)
        assert code == 0, said
    whole, *halves = (torch.load(tmp_path / f"loss_{name}.pt") for name in ("1_0", "2_0", "2_1"))
    assert torch.stack([half["loss"] for half in halves]).mean().item() == pytest.approx(
        whole["loss"].item(), abs=atol
    )
    for m, gradient in whole["grad"].items():
        found = torch.cat([half["grad"][m] for half in halves])
        torch.testing.assert_close(found, gradient, rtol=0, atol=atol)


@pytest.mark.slow
def test_training_on_two_processes_is_training_on_one(tmp_path):
    for devices in (1, 2):
        code, said = finished(start(devices, tmp_path))
        assert code == 0, said
    one, two = (torch.load(tmp_path / f"train_{n}.pt", weights_only=False) for n in (1, 2))
    for name, values in one["history"].items():
        if name.startswith("reconstruction") or name in (
            "train_loss",
            "groupclip_train",
            "backtranslation_train",
        ):
            np.testing.assert_allclose(
                two["history"][name], values, rtol=1e-5, atol=1e-5, err_msg=name
            )
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_all_end_if_one_process_dies(tmp_path):
    code, said = finished(start("dies", tmp_path))
    assert code != 0, said
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)
    assert state["epoch"] == 1

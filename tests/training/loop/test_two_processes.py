"""Two gloo processes make one run: the figures of one process with all the volumes, one checkpoint, one end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import tiny
from tests.training.loop.runs import config, lines
from tests.training.loop.two_processes import Shares
from training.loop import checkpoint
from training.loop.engine import Trainer

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("two")
    shared = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    shared |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "tests.training.loop.two_processes", str(made)]
    running = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return made


def test_two_processes_report_what_one_would(folder: Path, tmp_path: Path) -> None:
    Trainer(config(model=tiny.MODEL, steps=2, accumulate=2), Shares(None), tmp_path, cpu=True).run()
    for got, wanted in zip(lines(folder / "whole"), lines(tmp_path), strict=True):
        for name in ("loss", "norm", *(f"{each}_loss" for each in tiny.OBJECTIVES)):
            assert got[name] == pytest.approx(wanted[name], rel=2e-3), name
    found = checkpoint.latest(folder / "whole")
    assert found is not None
    assert (found.state["step"], found.state["volumes"], found.state["processes"]) == (2, 16, 2)


def test_a_signal_to_one_process_ends_both_after_the_same_step(folder: Path) -> None:
    assert [(folder / f"{rank}.txt").read_text() for rank in range(2)] == ["signal 3", "signal 3"]
    found = checkpoint.latest(folder / "stopped")
    assert found is not None
    assert found.state["step"] == 3

"""Gradients, not losses, of two processes equal those of one with all studies, for every objective."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import tiny
from tests.training.objectives.two_ranks import WINDOWS
from training.objectives.base import Batch

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "tests.training.objectives.two_ranks"]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(folder / "meeting"), str(folder / f"{rank}.safetensors")],
            env=environment,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def everything(case: str) -> Batch:
    whole = tiny.batch()
    if case == "empty":
        whole["report"] = [*whole["report"][:3], ""]
        whole["pairs"] = [*whole["pairs"][:3], []]
        whole["labels"][3] = torch.nan
        whole["mask"][3] = 255
    return whole


OBJECTIVES = {**tiny.OBJECTIVES, "detail": tiny.DETAIL}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("case", WINDOWS)
def test_gradients_of_two_processes_equal_those_of_one(
    ranks: list[dict[str, torch.Tensor]], case: str, name: str
) -> None:
    task = tiny.task(OBJECTIVES[name])
    whole = everything(case)
    task.prepare(whole)
    task(whole)["loss"].backward()
    wanted = tiny.gradients(task)
    prefix = f"{case}/{name}/"
    for rank in ranks:
        got = {key.removeprefix(prefix): value for key, value in rank.items() if key.startswith(prefix)}
        tiny.assert_same_gradients(got, wanted)

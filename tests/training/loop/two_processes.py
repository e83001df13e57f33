"""One of two processes of a run, as ``torchrun`` starts them.

``RANK=… WORLD_SIZE=2 … python -m tests.training.loop.two_processes FOLDER``
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from tests.training import tiny
from tests.training.loop.runs import config
from training.loop.engine import Trainer
from training.objectives.base import Batch


class Shares:
    """Of four studies, those of one process; without ``parts`` all of them."""

    def __init__(self, rank: int | None) -> None:
        self.rows = range(4) if rank is None else range(2 * rank, 2 * rank + 2)

    def __getitem__(self, number: int) -> Batch:
        return tiny.batch(self.rows, seed=number)


def run(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    made = config(model=tiny.MODEL, steps=2, accumulate=2)
    Trainer(made, Shares(rank), folder / "whole", cpu=True).run()
    stopped = Trainer(config(model=tiny.MODEL, steps=50), Shares(rank), folder / "stopped", cpu=True)
    if rank == 1:  # only one of them is asked to stop
        update = stopped._update

        def asked(figures: dict[str, float]) -> None:
            update(figures)
            if stopped.step_count == 2:
                signal.raise_signal(signal.SIGTERM)

        stopped._update = asked  # type: ignore[method-assign]
    outcome = stopped.run()
    (folder / f"{rank}.txt").write_text(f"{outcome.reason} {outcome.step}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run(Path(sys.argv[1]))

"""One of two gloo processes: every loss on this process's share, gradients as DDP leaves them.

``python -m tests.training.objectives.two_ranks RANK MEETING_FILE OUT``
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from tests.training import tiny
from training.objectives.window import prepare_window

#: What each process holds, by case: windows of studies. Shares are uneven; in "empty" one process has nothing to say.
WINDOWS = {
    "even": ([range(2)], [range(2, 4)]),
    "uneven": ([range(1)], [range(1, 4)]),
    "window": ([range(1), range(1, 2)], [range(2, 3), range(3, 4)]),
    "empty": ([range(3)], [range(3, 4)]),
}


def run(rank: int, meeting: Path, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=2)
    saved = {}
    for case, shares in WINDOWS.items():
        for name, objectives in {**tiny.OBJECTIVES, "detail": tiny.DETAIL}.items():
            task = tiny.task(objectives)
            wrapped = DistributedDataParallel(task)
            window = [tiny.batch(rows) for rows in shares[rank]]
            if case == "empty" and rank == 1:
                window = [{key: window[0][key] for key in ("image", "visible", "patient", "study")}]
            seeds = list(range(len(window)))
            prepare_window(task, window, seeds)
            for place, batch in enumerate(window):
                with nullcontext() if place == len(window) - 1 else wrapped.no_sync():
                    wrapped(batch)["loss"].backward()
            saved |= {f"{case}/{name}/{key}": value for key, value in tiny.gradients(task).items()}
    save_file(saved, out)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

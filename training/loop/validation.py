"""Losses on studies that are not trained on, along the way: the same batches and masks each time, nothing dropped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from training.loop.source import Source
from training.loop.start import moved, seed_for
from training.objectives.ranks import rank, sum_over_ranks
from training.objectives.task import Task

__all__ = ["validate"]


@torch.no_grad()
def validate(
    task: Task, source: Source, batches: int, autocast: Callable[[], AbstractContextManager[Any]]
) -> dict[str, float]:
    """Return the mean of every loss over ``batches`` batches of each process, as ``valid/…_loss``.

    The contrastive loss has the negatives of one batch over all processes, so it depends on the batch's size.

    Parameters
    ----------
    task
        Not wrapped; left in the mode it had.
    source
        Of held-out studies.
    batches
        Numbers 0 to ``batches - 1`` are taken.
    autocast
        Makes the context of a pass.
    """
    training = task.training
    task.eval()
    names = [f"{objective.name}_loss" for objective in task.each()]
    sums = torch.zeros(2, len(names), device=task.model.device)
    for number in range(batches):
        batch = moved(source[number], task.model.device)
        torch.manual_seed(seed_for(number, rank()))
        task.prepare(batch)
        with autocast():
            out = task(batch)
        for place, name in enumerate(names):
            if name in out:
                sums[:, place] += torch.stack([out[name].float(), torch.ones_like(out[name]).float()])
    task.train(training)
    totals, counts = sum_over_ranks(sums).tolist()
    return {f"valid/{name}": t / n for name, t, n in zip(names, totals, counts, strict=True) if n}

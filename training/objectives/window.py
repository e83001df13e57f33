"""A window: the batches whose gradients are summed before one step. What makes the sum equal to one large batch.

Counts are taken over the whole window and all processes before the first backward pass, and the contrastive loss sees
the whole window at once through its first pass. Each batch draws from its own seed, so both passes drop and mask alike,
and a run that stops and goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from training.objectives.base import Batch
from training.objectives.contrastive import Contrastive, pulls
from training.objectives.ranks import sum_over_ranks, world
from training.objectives.task import Task

__all__ = ["prepare_window"]


def prepare_window(
    task: Task,
    window: Sequence[Batch],
    seeds: Sequence[int],
    autocast: AbstractContextManager[object] | None = None,
) -> dict[str, float]:
    """Make a window ready for its backward passes; return the terms of each objective over all processes.

    Afterwards, for each batch: seed torch with its seed, call the task (in ``no_sync`` for all but the last), go
    backward from ``loss`` as it is.

    Parameters
    ----------
    task
        Not wrapped.
    window
        Batches of this process, on the task's device; objectives' keys, ``counts`` and ``pull`` are added.
    seeds
        One per batch.
    autocast
        Context of the first pass.
    """
    for batch, seed in zip(window, seeds, strict=True):
        torch.manual_seed(seed)
        task.prepare(batch)
    names = [objective.name for objective in task.each()]
    local = [task.counts(batch) for batch in window]
    summed = torch.tensor([float(sum(each[name] for each in local)) for name in names], device=task.model.device)
    totals = dict(zip(names, sum_over_ranks(summed).tolist(), strict=True))
    for batch in window:
        batch["counts"] = {name: total / world() for name, total in totals.items()}
    if len(window) > 1:
        _first_pass(task, window, seeds, autocast or nullcontext())
    return totals


@torch.no_grad()
def _first_pass(
    task: Task, window: Sequence[Batch], seeds: Sequence[int], autocast: AbstractContextManager[object]
) -> None:
    contrastive = next((each for each in task.each() if isinstance(each, Contrastive)), None)
    if contrastive is None or not contrastive.config.shared_negatives:
        return
    embedded = []
    with autocast:
        for batch, seed in zip(window, seeds, strict=True):
            torch.manual_seed(seed)
            embedded.append(contrastive.embed(task.model, dict(batch)))  # a copy: tokens without gradient must not stay
    images, texts = zip(*embedded, strict=True)
    found, _ = pulls(images, texts, task.model, contrastive.config.smoothing)
    for batch, pull in zip(window, found, strict=True):
        batch["pull"] = pull

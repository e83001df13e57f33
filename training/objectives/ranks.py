"""Rows and sums over the processes of a run; with one process each function gives back what it got."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["amplify", "gather_rows", "rank", "sum_over_ranks", "world"]


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of ``values`` over the processes, without gradient."""
    total = values.detach().clone()
    if world() > 1:
        dist.all_reduce(total)
    return total


def gather_rows(rows_nD: Tensor) -> tuple[Tensor, slice]:
    """Return the rows of all processes [N, D], without gradient, and where this process's own are.

    Processes may bring different numbers of rows, none included; each must call.
    """
    if world() == 1:
        return rows_nD.detach(), slice(0, len(rows_nD))
    counts = torch.zeros(world(), dtype=torch.long, device=rows_nD.device)
    counts[rank()] = len(rows_nD)
    dist.all_reduce(counts)
    sizes = counts.tolist()
    padded = rows_nD.new_zeros((max(sizes), *rows_nD.shape[1:]))
    padded[: len(rows_nD)] = rows_nD.detach()
    everyone = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(everyone, padded)
    start = sum(sizes[: rank()])
    together = torch.cat([part[:size] for part, size in zip(everyone, sizes, strict=True)])
    return together, slice(start, start + len(rows_nD))


def amplify(value: Tensor, factor: int) -> Tensor:
    """Return ``value`` with its gradient multiplied by ``factor``.

    Every process computes the whole loss from gathered rows, but only its own rows carry a gradient; gradients are
    then averaged over processes, which divides what was never summed.
    """
    return value if factor == 1 else value * factor - value.detach() * (factor - 1)

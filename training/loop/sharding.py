"""Weights, optimiser and averaged weights spread over processes: FSDP2 through accelerate, one unit over the task.

The whole task is one unit, because batches differ in which objectives they call: the weights are gathered before a pass
and given back after its backward pass, and only what lies between steps is spread. Checkpoints hold whole tensors, so
that a run may go on with another number of processes, or without sharding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from training.loop.config import TrainingConfig
from training.loop.errors import ConfigError

__all__ = ["is_sharded", "laid_out", "make_ready", "plugin", "whole"]


def plugin(config: TrainingConfig, *, on_gpu: bool) -> Any:
    """Return what accelerate needs to shard, or None for ``run.sharding: none``.

    Raises
    ------
    ConfigError
        If the run cannot be sharded here.
    """
    if config.run.sharding == "none":
        return None
    if not on_gpu:
        raise ConfigError("run.sharding: fsdp needs GPUs; on a CPU leave it at none.")
    if config.run.precision == "float16":
        raise ConfigError("run.sharding: fsdp goes with bfloat16 or float32.")
    contrastive = config.objectives.contrastive
    if contrastive is not None and contrastive.shared_negatives and config.run.accumulate > 1:
        raise ConfigError(
            "run.sharding: fsdp does not share negatives over passes: set objectives.contrastive.shared_negatives to "
            "false, or run.accumulate to 1."
        )
    if "fsdp_version" not in {each.name for each in fields(FullyShardedDataParallelPlugin)}:
        raise ConfigError("run.sharding: fsdp needs a newer accelerate, one that knows FSDP2.")
    # the loop's own autocast decides where to compute in half precision, as it does without sharding
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="no_wrap",
        mixed_precision_policy=MixedPrecisionPolicy(),
        activation_checkpointing=False,
        cpu_ram_efficient_loading=False,
    )


def make_ready(task: nn.Module, accelerator: Accelerator) -> frozenset[str]:
    """Prepare a task that will be sharded, before its optimiser is made; any other is left as it is.

    Its passes compute in the run's precision (accelerate sees to that for all others), and its scalars become vectors
    of one, because FSDP2 takes no scalars.

    Returns
    -------
    frozenset of str
        Names of the scalars; :func:`whole` makes scalars of them again.
    """
    if accelerator.distributed_type != DistributedType.FSDP:
        return frozenset()
    scalars = frozenset(name for name, weight in task.named_parameters() if weight.ndim == 0)
    for name in scalars:
        place, _, own = name.rpartition(".")
        weight = task.get_parameter(name)
        setattr(task.get_submodule(place), own, nn.Parameter(weight.detach().reshape(1), weight.requires_grad))
    vars(task)["forward"] = partial(_within, accelerator.autocast, task.forward)
    return scalars


def _within(context: Callable[[], AbstractContextManager[Any]], forward: Callable[..., Any], *args: Any) -> Any:
    with context():
        return forward(*args)


def is_sharded(task: nn.Module) -> bool:
    """Whether every process holds a part of the weights only."""
    return isinstance(task, FSDPModule)


def whole(tensors: Mapping[str, Tensor], scalars: Collection[str] = ()) -> dict[str, Tensor]:
    """Return whole tensors on the CPU, as a run without sharding has them; every process must call.

    Parameters
    ----------
    tensors
        By the name of their weight, alone or followed by ``|`` and what of the optimiser it is.
    scalars
        From :func:`make_ready`.
    """
    out = {}
    for name, value in tensors.items():
        full = value.full_tensor() if isinstance(value, DTensor) else value
        out[name] = (full.reshape(()) if name.partition("|")[0] in scalars else full).cpu()
    return out


def laid_out(value: Tensor, like: Tensor | None) -> Tensor:
    """Return a whole tensor spread as ``like`` is, if it is; every process must call."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device).reshape(like.shape), like.device_mesh, like.placements)

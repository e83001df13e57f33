"""What a run would cost on the device at hand, before it starts: weights, memory, operations, time.

Operations and memory follow from the sizes; the speed of the device is measured on one transformer block of the
vision tower, forward and backward, in the run's precision.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

from training.loop.config import TrainingConfig
from training.loop.cost import Memory, cost, eva_work, memory, parameters

__all__ = ["DryRun", "dry_run", "measure_speed"]

#: Tokens of the measured block on a processor; a GPU takes the whole grid.
_FEW_TOKENS = 1728
_SECONDS = 1.0


@dataclass(frozen=True)
class DryRun:
    """What a run would cost.

    Attributes
    ----------
    device, device_bytes
        Where, and its free memory.
    weights
        Weights by part.
    memory
        Of one process.
    forward, step
        Operations per volume: one forward pass of the vision tower; everything in a step.
    speed
        Measured operations per second.
    volumes_per_step, seconds_per_step, hours
        Of one process; ``hours`` of the whole run, None where it is on the clock.
    checkpointing
        Whether the run recomputes activations.
    """

    device: str
    device_bytes: int
    weights: dict[str, int]
    memory: Memory
    forward: float
    step: float
    speed: float
    volumes_per_step: int
    seconds_per_step: float
    hours: float | None
    checkpointing: bool

    @property
    def fits(self) -> bool:
        """Whether the estimate lies within the device's free memory."""
        return self.memory.total(checkpointing=self.checkpointing) <= self.device_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        totals = {
            "total_without_checkpointing": self.memory.total(checkpointing=False),
            "total_with_checkpointing": self.memory.total(checkpointing=True),
        }
        return {**asdict(self), "memory": {**asdict(self.memory), **totals}, "fits": self.fits}


def dry_run(config: TrainingConfig, *, cpu: bool = False) -> DryRun:
    """Estimate what a run would cost here; nothing of its size is built.

    Parameters
    ----------
    config
        Of the run.
    cpu
        Keep off the GPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    weights = parameters(config)
    vocabulary = config.model.text.vocab_size or 30522
    spent = cost(config, vocabulary)
    speed = measure_speed(config, device)
    run = config.run
    volumes = run.batch * run.accumulate
    seconds = spent.step * volumes / speed
    return DryRun(
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads",
        device_bytes=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available,
        weights=weights,
        memory=memory(config, sum(weights.values())),
        forward=spent.forward,
        step=spent.step,
        speed=speed,
        volumes_per_step=volumes,
        seconds_per_step=seconds,
        hours=None if run.steps is None else seconds * run.steps / 3600,
        checkpointing=run.checkpointing,
    )


def measure_speed(config: TrainingConfig, device: torch.device, seconds: float = _SECONDS) -> float:
    """Return operations per second of one block of the vision tower, forward and backward.

    Parameters
    ----------
    config
        Of the run: width, heads, precision and, on a GPU, tokens.
    device
        To measure.
    seconds
        About how long; at least two passes are made, the first not counted.
    """
    from dynamic_network_architectures.building_blocks.eva import Eva

    model = config.model
    x, y, z = model.grid if device.type == "cuda" or math.prod(model.grid) <= _FEW_TOKENS else (12, 12, 12)
    block = Eva(
        embed_dim=model.embed_dim,
        depth=1,
        num_heads=model.heads,
        use_abs_pos_emb=False,
        ref_feat_shape=(x, y, z),
        init_values=0.1,
        scale_attn_inner=True,
    ).to(device)
    tokens = torch.randn(1, x * y * z, model.embed_dim, device=device, requires_grad=True)
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.run.precision]
    passes, began = 0, 0.0
    while passes < 2 or time.perf_counter() - began < seconds:
        with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            out, _ = block(tokens)
        out.float().square().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        passes += 1
        if passes == 1:
            began = time.perf_counter()
    return eva_work(x * y * z, model.embed_dim, 1).step * (passes - 1) / (time.perf_counter() - began)

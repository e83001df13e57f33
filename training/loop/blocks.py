"""Per-block habits of transformers: recompute activations in the backward pass, or compile.

The blocks' ``forward`` is replaced on the instance, so names of weights do not change. (The public backbone's own
switch for checkpointing raises on current torch.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from training.objectives.llm import Llm
from training.objectives.masked import Masked
from training.objectives.report import Report
from training.objectives.task import Task

__all__ = ["checkpoint_blocks", "compile_blocks", "plain_attention", "transformer_blocks"]

#: Above this many tokens the table of plain attention costs more memory than it saves time.
MOST_PLAIN_TOKENS = 1024


def transformer_blocks(task: Task) -> list[nn.Module]:
    """Return every transformer block of towers and objectives."""
    towers = task.model.towers
    blocks: list[nn.Module] = list(towers.image_encoder.backbone.eva.blocks)
    if towers.text_encoder is not None:
        blocks += list(towers.text_encoder.backbone.encoder.layer)
    for objective in task.each():
        if isinstance(objective, Masked):
            blocks += list(objective.decoder.blocks)
        elif isinstance(objective, Report):
            blocks += list(objective.decoder.layers)
        elif isinstance(objective, Llm):
            blocks += list(objective.blocks)
    return blocks


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def checkpoint_blocks(task: Task) -> None:
    """Keep only what goes into each block; what happens inside is computed again in the backward pass."""
    for block in transformer_blocks(task):
        vars(block)["forward"] = partial(_recomputed, block.forward)


def plain_attention(task: Task) -> None:
    """Write attention of the vision side out as two products.

    On a CPU in bfloat16 torch's fused kernel takes half as long again for forward and backward of 729 tokens; on a GPU
    and for long sequences it stays.
    """
    if math.prod(task.model.config.grid) > MOST_PLAIN_TOKENS:
        return
    for block in transformer_blocks(task):
        attention = getattr(block, "attn", None)
        if attention is not None and hasattr(attention, "fused_attn"):
            attention.fused_attn = False


def compile_blocks(task: Task, backend: str = "inductor") -> None:
    """Compile each block by itself: quick to compile, and blocks that are alike share what was compiled."""
    for block in transformer_blocks(task):
        vars(block)["forward"] = torch.compile(block.forward, backend=backend)

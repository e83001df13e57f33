"""Exponential moving average of the weights: what ships."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """Averaged copy of a module's state, float32; the decay rises with the steps so that the start is forgotten.

    Parameters
    ----------
    module
        To follow.
    decay
        Between 0 and 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def follow(self, module: nn.Module, step: int) -> None:
        """Move towards ``module`` after ``step`` steps."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            kept = self.state[name]
            if kept.is_floating_point():
                kept.lerp_(value.to(kept.dtype), share)
            else:
                kept.copy_(value)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from ``tensors``."""
        for name, kept in self.state.items():
            kept.copy_(tensors[name])

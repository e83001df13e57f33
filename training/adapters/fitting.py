"""What trained decoders share: AdamW with warm-up and cosine, clipping, a log, the best weights by validation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_colipri.progress import Progress, report_nothing
from training.evaluation.scores import EvaluationError

__all__ = ["Fitted", "Schedule", "fit", "label_loss", "picks"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes
    ----------
    steps, batch
        Updates, and studies in each.
    rate, warm_up, weight_decay, clip
        Of AdamW; the rate falls along a cosine to zero.
    validate_every
        Steps between looks at the validation studies.
    seed
        Of weights and order.
    """

    steps: int = 2000
    batch: int = 8
    rate: float = 1e-3
    warm_up: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    validate_every: int = 100
    seed: int = 0

    def factor(self, step: int) -> float:
        """Share of the rate at a step."""
        return min(1.0, (step + 1) / max(self.warm_up, 1)) * 0.5 * (1 + math.cos(math.pi * step / max(self.steps, 1)))


@dataclass(frozen=True)
class Fitted:
    """How a fit ended: the step whose weights were kept, its validation loss, and the last training loss."""

    step: int
    valid_loss: float
    train_loss: float

    def record(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "kept_step": self.step,
            "valid_loss": round(self.valid_loss, 5),
            "train_loss": round(self.train_loss, 5),
        }


def label_loss(logits_BF: Tensor, labels_BF: Tensor) -> Tensor:
    """Return the mean cross-entropy of the labels that are known (NaN: unknown)."""
    known = torch.isfinite(labels_BF)
    terms = F.binary_cross_entropy_with_logits(logits_BF.float(), labels_BF.nan_to_num(), reduction="none")
    return (terms * known).sum() / known.sum().clamp(min=1)


def picks(count: int, batch: int, seed: int) -> Iterator[list[int]]:
    """Yield endless batches of indices; every study comes once before any comes again."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while True:
        while len(order) < batch:
            order += rng.permutation(count).tolist()
        yield order[:batch]
        order = order[batch:]


def fit(
    network: nn.Module,
    loss_of: Callable[[list[int]], Tensor],
    valid_loss: Callable[[], float],
    count: int,
    schedule: Schedule,
    *,
    log: Path | None = None,
    progress: Progress = report_nothing,
) -> Fitted:
    """Train ``network`` in place and leave it with the weights of the lowest validation loss, in evaluation mode.

    Parameters
    ----------
    network
        Whose parameters move.
    loss_of
        Loss of the studies at these indices.
    valid_loss
        Loss on the validation studies; called in evaluation mode without gradient.
    count
        Training studies.
    schedule
        See there.
    log
        JSONL that takes a line every ten steps.
    progress
        Told now and then.

    Raises
    ------
    EvaluationError
        If a loss is not finite.
    """
    moving = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=schedule.rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule.factor)
    best, kept, train = math.inf, {}, math.nan
    at = 0
    lines = []
    for step, picked in zip(range(schedule.steps), picks(count, schedule.batch, schedule.seed), strict=False):
        network.train()
        loss = loss_of(picked)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(moving, schedule.clip)
        optimiser.step()
        scheduler.step()
        train = float(loss.detach())
        if not math.isfinite(train):
            raise EvaluationError(f"The loss is not finite at step {step}.", code="not_finite")
        line: dict[str, Any] = {"step": step, "loss": round(train, 5)}
        if (step + 1) % schedule.validate_every == 0 or step + 1 == schedule.steps:
            network.eval()
            with torch.inference_mode():
                found = valid_loss()
            line["valid_loss"] = round(found, 5)
            if found < best:
                best, at = found, step
                kept = {key: value.detach().clone() for key, value in network.state_dict().items()}
        if step % 10 == 0 or "valid_loss" in line:
            lines.append(json.dumps(line))
            progress(step / schedule.steps, f"loss {train:.3f}")
    network.load_state_dict(kept)
    network.eval()
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Fitted(at, best, train)

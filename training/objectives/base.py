"""What all objectives share: the batch, the contract and the denominator that makes accumulation exact.

A batch is a plain dict; an absent key means "not available":

``image``
    float32 [B, 1, X, Y, Z] in [-1, 1].
``report``
    list of B texts, "" where there is none.
``pairs``
    list of B lists of ``(positive, negated, label)``: a sentence, its negation, and 1 if the study shows what the first
    says, 0 if it does not. Shorter lists are padding's equal.
``labels``
    float32 [B, 18], NaN where unknown.
``mask``
    uint8 [B, X, Y, Z], 255 where unknown.
``finding_mask``
    int32 [B, X, Y, Z], bit ``n`` set where finding ``n`` of the labels is; -1 throughout a volume that nobody marked.
``lungs``
    uint8 [B, X, Y, Z]: 0 outside, 1 left, 2 right lung of scans of which only that is known; 255 in all others.

Objectives add keys of their own in :meth:`Objective.prepare` (token ids, visible patches), and the model leaves tokens
there so that several objectives share one pass through the tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import Tensor, nn

if TYPE_CHECKING:
    from training.objectives.model import Colipri

__all__ = ["Batch", "Objective", "denominator"]

Batch: TypeAlias = dict[str, Any]


class Objective(nn.Module):
    """A loss, and the heads that only this loss needs.

    Every key of what :meth:`forward` returns that ends in ``_loss`` is summed with the objective's weight; the others
    are logged. A loss is the sum of its terms divided by :func:`denominator`, so that gradients summed over the batches
    of a window and averaged over processes equal those of one large batch.
    """

    name: ClassVar[str]

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Add what the loss needs to ``batch`` (token ids, random choices), without gradient."""

    def count(self, batch: Batch) -> int:
        """Return how many terms a prepared batch contributes."""
        raise NotImplementedError

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return losses (keys ending in ``_loss``) and figures to log; {} if the batch has no term."""
        raise NotImplementedError

    def after_step(self, *, moved: bool = True) -> None:
        """Follow the step with what is not learned by gradients; ``moved`` is False if the step was skipped."""


def denominator(objective: Objective, batch: Batch) -> float:
    """Return what a sum over this batch's terms is divided by.

    ``batch["counts"]``, if there, holds the terms of the whole window over all processes, divided by their number
    (gradients are averaged over processes later); otherwise the batch stands for itself.
    """
    counts: dict[str, float] = batch.get("counts", {})
    return max(counts.get(objective.name, float(objective.count(batch))), 1e-6)

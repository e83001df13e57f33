"""Supervision that only the embedded bundle uses: class fractions per patch, and labels of the whole volume.

Neither belongs to the COLIPRI recipe; a bundle trained with them says so in its card.

Shape suffixes: B batch, N patches, K classes, F labels, D joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri, ModelConfig
from training.objectives.ranks import sum_over_ranks

__all__ = ["UNKNOWN", "Dense", "DenseConfig", "Labels", "LabelsConfig", "patch_fractions"]

#: Mask value of voxels that nobody labelled.
UNKNOWN = 255


@dataclass(frozen=True)
class DenseConfig:
    """Weight; number of mask classes, background included; which classes the outline of a lung holds.

    ``left`` and ``right`` make up a lung, ``within`` lies inside of its outline on either side (airways, vessels): for
    scans of which nothing but that outline is known.
    """

    weight: float = 1.0
    classes: int = 32
    left: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    within: tuple[int, ...] = ()

    @property
    def sides(self) -> tuple[list[int], list[int], list[int]]:
        """Classes outside, left and right; those within belong to both sides and to neither."""
        rest = [k for k in range(self.classes) if k not in (*self.left, *self.right)]
        return rest, [*self.left, *self.within], [*self.right, *self.within]


@dataclass(frozen=True)
class LabelsConfig:
    """Weight; number of labels; how fast the centre of the pooled features follows."""

    weight: float = 0.5
    labels: int = 18
    momentum: float = 0.05


def patch_fractions(mask_BXYZ: Tensor, classes: int, patch: int) -> tuple[Tensor, Tensor]:
    """Return class fractions among known voxels [B, N, K] and which patches have any [B, N].

    Raises
    ------
    ValueError
        If the mask holds a class that there is not.
    """
    blocks = mask_BXYZ.unfold(1, patch, patch).unfold(2, patch, patch).unfold(3, patch, patch)
    flat = blocks.flatten(1, 3).flatten(2).long()
    known = flat != UNKNOWN
    if bool((flat[known] >= classes).any()):
        raise ValueError(f"the mask holds class {int(flat[known].max())}, the objective has {classes} classes")
    rows = torch.arange(flat.shape[0] * flat.shape[1], device=flat.device).reshape(*flat.shape[:2], 1)
    index = flat.masked_fill(~known, classes) + rows * (classes + 1)
    counts = torch.bincount(index.flatten(), minlength=rows.numel() * (classes + 1)).float()
    counts = counts.reshape(*flat.shape[:2], classes + 1)
    seen = counts[..., :classes].sum(-1)
    return counts[..., :classes] / seen.clamp(min=1)[..., None], seen > 0


class Dense(Objective):
    """Soft cross-entropy of the classes inside every patch."""

    name = "dense"

    def __init__(self, config: DenseConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config, self.patch = config, model.patch
        self.head = nn.Linear(model.embed_dim, config.classes)

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Count the classes, and the sides where only lungs are outlined."""
        if "mask" in batch:
            batch["fractions"], batch["known"] = patch_fractions(batch["mask"], self.config.classes, self.patch)
        if "lungs" in batch and self.config.left:
            batch["lung_fractions"], batch["lung_known"] = patch_fractions(batch["lungs"], 3, self.patch)

    def count(self, batch: Batch) -> int:
        """Return the number of patches with a known voxel."""
        return sum(int(batch[key].sum()) for key in ("known", "lung_known") if key in batch)

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per patch."""
        if not self.count(batch):
            return {}
        log_p = F.log_softmax(self.head(model.tokens(batch).flatten(1, 3)).float(), dim=-1)
        terms = -(batch["fractions"] * log_p).sum(-1)[batch["known"]].sum()
        if "lung_known" in batch:
            sides = torch.stack([log_p[..., group].logsumexp(-1) for group in self.config.sides], dim=-1)
            terms = terms - (batch["lung_fractions"] * sides).sum(-1)[batch["lung_known"]].sum()
        return {"dense_loss": terms / denominator(self, batch)}


class Labels(Objective):
    """Cross-entropy of labels that are known, from pooled features around their running mean.

    Pooled features of different scans are nearly equal at the start: without their common part the head starts from
    what differs. The centre is a running mean without gradient, so that a window equals one large batch.
    """

    name = "labels"
    centre: Tensor
    spread: Tensor

    def __init__(self, config: LabelsConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.head = nn.Linear(model.projection_dim, config.labels)
        self.register_buffer("centre", torch.zeros(model.projection_dim))
        self.register_buffer("spread", torch.ones(model.projection_dim))
        self._seen: list[Tensor] = []

    def count(self, batch: Batch) -> int:
        """Return the number of known labels."""
        return int(torch.isfinite(batch["labels"]).sum()) if "labels" in batch else 0

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per known label."""
        if not self.count(batch):
            return {}
        pooled, target = model.pooled(batch), batch["labels"]
        if self.training:
            self._seen.append(pooled.detach())
        known = torch.isfinite(target)
        logits = self.head((pooled - self.centre) / self.spread)
        terms = F.binary_cross_entropy_with_logits(logits.float(), target.nan_to_num(), reduction="none")
        return {"labels_loss": (terms * known).sum() / denominator(self, batch)}

    def after_step(self, *, moved: bool = True) -> None:
        """Move the centre and the spread towards those of the step, over all processes."""
        if not moved:
            self._seen.clear()
            return
        zeros = torch.zeros(1, device=self.centre.device)
        rows = torch.cat(self._seen) if self._seen else self.centre.new_zeros((0, len(self.centre)))
        self._seen.clear()
        sums = sum_over_ranks(torch.cat([rows.sum(0), rows.square().sum(0), zeros + len(rows)]))
        count = float(sums[-1])
        if count < 2 or not bool(torch.isfinite(sums).all()):
            return
        mean, square = (sums[:-1] / count).chunk(2)
        self.centre.lerp_(mean, self.config.momentum)
        self.spread.lerp_((square - mean.square()).clamp(min=1e-8).sqrt(), self.config.momentum)

"""Findings and classes of every 4x4x4 voxels, asked of the convolutional path itself.

Through the tower a small finding is one patch in 729, and the path would learn from it by many detours; asked directly
it learns what a nodule or a thick wall looks like from a few hundred volumes. No part of the COLIPRI recipe; a bundle
trained with it says so.

Shape suffixes: B batch, N cells, F findings, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.objectives.base import Batch, Objective, denominator
from training.objectives.lesions import UNMARKED, balanced_terms, lesion_patches, volume_logits, volume_terms
from training.objectives.model import Colipri, ModelConfig
from training.objectives.supervised import patch_fractions

__all__ = ["Detail", "DetailConfig"]

_CELL = 4


@dataclass(frozen=True)
class DetailConfig:
    """Weight; findings, classes; least voxels of a positive cell; weights of positive and hardest cells, of volumes."""

    weight: float = 1.0
    findings: int = 18
    classes: int = 32
    least: int = 2
    positive: float = 0.5
    negative: float = 1.0
    hardest: int = 16
    volume: float = 1.0


class Detail(Objective):
    """Cross-entropy of every finding and of the classes in every cell of marked volumes, and of the volumes' labels.

    Each volume's positive cells count as one term and the hardest of its other cells as one, for every finding.
    """

    name = "detail"

    def __init__(self, config: DetailConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.findings = nn.Linear(2 * model.detail, config.findings)
        self.classes = nn.Linear(2 * model.detail, config.classes)
        nn.init.constant_(self.findings.bias, -3.0)
        self.volume = nn.Linear(2 * model.detail, config.findings)
        nn.init.constant_(self.volume.bias, -10.0)  # thousands of cells are summed
        self.share = nn.Parameter(torch.full((config.findings,), 0.5))

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Find the marked volumes, their positive cells and the classes of every cell."""
        if "finding_mask" not in batch or "mask" not in batch:
            return
        marked = (batch["finding_mask"].flatten(1) != UNMARKED).any(1)
        batch["cells_marked"] = marked
        batch["cells"] = lesion_patches(batch["finding_mask"][marked], self.config.findings, _CELL, self.config.least)
        found = patch_fractions(batch["mask"][marked], self.config.classes, _CELL)
        batch["cell_fractions"], batch["cells_known"] = found

    def count(self, batch: Batch) -> int:
        """Return the number of marked volumes."""
        return int(batch["cells_marked"].sum()) if "cells_marked" in batch else 0

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per volume, findings averaged, plus that of the classes per cell."""
        details = model.details(batch)
        if not self.count(batch) or details is None:
            return {}
        cells_BNC = details[batch["cells_marked"]].flatten(2).transpose(1, 2)
        logits_BNF = self.findings(cells_BNC).float()
        asked = self.config
        each_BF = balanced_terms(logits_BNF, batch["cells"], asked.positive, asked.negative, asked.hardest)
        total = each_BF.mean(1).sum()
        log_p = F.log_softmax(self.classes(cells_BNC).float(), dim=-1)
        known = batch["cells_known"]
        entropy = -(batch["cell_fractions"] * log_p).sum(-1) * known
        total = total + (entropy.sum(1) / known.sum(1).clamp(min=1)).sum()
        out: dict[str, Tensor] = {}
        if "labels" in batch and self.config.volume:
            said_BF = volume_logits(logits_BNF, self.volume(cells_BNC), self.share)
            whole = volume_terms(said_BF, batch["labels"][batch["cells_marked"]])
            total = total + self.config.volume * whole.sum()
            out["detail_volume"] = whole.detach().mean()
        return {"detail_loss": total / denominator(self, batch), **out}

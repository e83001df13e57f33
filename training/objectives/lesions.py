"""Findings per patch, where their truth is known: what makes small findings learnable from few volumes.

No part of the COLIPRI recipe; a bundle trained with it says so in its card.

Shape suffixes: B batch, N patches, F findings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri, ModelConfig

__all__ = ["Lesions", "LesionsConfig", "balanced_terms", "lesion_patches", "volume_logits", "volume_terms"]

#: Value of a volume whose findings nobody marked.
UNMARKED = -1


@dataclass(frozen=True)
class LesionsConfig:
    """Weight; number of findings; voxels that make a patch positive; weights of positive and other patches, of volumes.

    Each volume's positive patches count as one term and the ``hardest`` of its others as one, for every finding: a
    small nodule weighs as much as emphysema of both lungs, and accumulated batches still equal one large batch.
    """

    weight: float = 1.0
    findings: int = 18
    least: int = 2
    positive: float = 0.5
    negative: float = 1.0
    hardest: int = 16
    volume: float = 1.0


def lesion_patches(bits_BXYZ: Tensor, findings: int, patch: int, least: int) -> Tensor:
    """Return which patches hold at least ``least`` voxels of each finding, bool [B, N, F].

    Parameters
    ----------
    bits_BXYZ
        Integers; bit ``n`` is set where finding ``n`` is.
    """
    blocks = bits_BXYZ.unfold(1, patch, patch).unfold(2, patch, patch).unfold(3, patch, patch)
    flat_PBN = blocks.flatten(1, 3).flatten(2).permute(2, 0, 1).contiguous()
    seen = [flat_PBN, *(torch.zeros_like(flat_PBN) for _ in range(least - 1))]  # bit set: so many voxels or more
    while len(seen[0]) > 1:
        seen = _joined(seen)
    places = torch.arange(findings, dtype=torch.int32, device=bits_BXYZ.device)
    return ((seen[-1][0, ..., None].int() >> places) & 1).bool()


def _joined(seen: list[Tensor]) -> list[Tensor]:
    """Join halves of the voxels: so many or more are in both when some are here and the rest there."""
    half = len(seen[0]) // 2
    here, there = [part[:half] for part in seen], [part[half : 2 * half] for part in seen]
    out = []
    for count in range(len(seen)):
        both = here[count] | there[count]
        for some in range(count):
            both = both | (here[some] & there[count - 1 - some])
        out.append(both)
    if len(seen[0]) % 2:
        last = [part[-1:] for part in seen]
        return [torch.cat([part, rest]) for part, rest in zip(out, last, strict=True)]
    return out


def balanced_terms(logits_BNF: Tensor, here_BNF: Tensor, positive: float, negative: float, hardest: int) -> Tensor:
    """Return [B, F]: per volume and finding, the weighted mean losses of its positive places and of the hardest others.

    Of all the others, most are nowhere near: a mean over them lets a model that knows no more than where a finding
    usually lies pass as a good one. The hardest are those places, in a volume without it.
    """
    here = here_BNF.to(logits_BNF.dtype)
    of_positive = (F.softplus(-logits_BNF) * here).sum(1) / here.sum(1).clamp(min=1)
    others_BNF = F.softplus(logits_BNF).masked_fill(here_BNF, 0.0)
    of_others = others_BNF.topk(min(hardest, others_BNF.shape[1]), dim=1, sorted=False).values.mean(1)
    return positive * of_positive + negative * of_others


def volume_logits(logits_BNF: Tensor, spread_BNF: Tensor, share_F: Tensor) -> Tensor:
    """Return what all places together say of a volume [B, F].

    Parameters
    ----------
    logits_BNF
        Of findings in places; the highest speaks for what is small.
    spread_BNF
        Of a second head, whose smooth maximum speaks for what is spread.
    share_F
        How much the first counts.
    """
    return spread_BNF.float().logsumexp(dim=1) + share_F * logits_BNF.float().amax(dim=1)


def volume_terms(logits_BF: Tensor, labels_BF: Tensor) -> Tensor:
    """Return the mean cross-entropy of a volume's known labels [B].

    Balanced places teach where a finding would be; only whole volumes teach that one false alarm in 729 is too many.
    """
    known_BF = torch.isfinite(labels_BF)
    terms = F.binary_cross_entropy_with_logits(logits_BF, labels_BF.nan_to_num(), reduction="none") * known_BF
    return terms.sum(1) / known_BF.sum(1).clamp(min=1)


class Lesions(Objective):
    """Two-way cross-entropy of every finding in every patch, and of every volume by its most suspicious patches."""

    name = "lesions"

    def __init__(self, config: LesionsConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config, self.patch = config, model.patch
        self.head = nn.Linear(model.embed_dim, config.findings)
        nn.init.constant_(self.head.bias, -3.0)  # most patches hold nothing
        self.volume = nn.Linear(model.embed_dim, config.findings)
        nn.init.constant_(self.volume.bias, -8.0)  # hundreds of patches are summed
        self.share = nn.Parameter(torch.full((config.findings,), 0.5))

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Find the marked volumes and their positive patches."""
        if "finding_mask" not in batch:
            return
        bits = batch["finding_mask"]
        batch["marked"] = (bits.flatten(1) != UNMARKED).any(1)
        batch["lesions"] = lesion_patches(bits[batch["marked"]], self.config.findings, self.patch, self.config.least)

    def count(self, batch: Batch) -> int:
        """Return the number of marked volumes times findings."""
        return int(batch["marked"].sum()) * self.config.findings if "marked" in batch else 0

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per volume and finding."""
        if not self.count(batch):
            return {}
        tokens_BNC = model.tokens(batch)[batch["marked"]].flatten(1, 3)
        logits = self.head(tokens_BNC).float()
        asked = self.config
        total = balanced_terms(logits, batch["lesions"], asked.positive, asked.negative, asked.hardest).sum()
        whole = total.new_zeros(())
        if "labels" in batch and self.config.volume:
            said_BF = volume_logits(logits, self.volume(tokens_BNC), self.share)
            whole = volume_terms(said_BF, batch["labels"][batch["marked"]]).sum()
            total = total + self.config.volume * self.config.findings * whole
        share = whole.detach() / max(len(tokens_BNC), 1)
        return {"lesions_loss": total / denominator(self, batch), "lesions_volume": share}

"""Losses of the embedded bundle. Each returns a scalar; names end in ``_loss`` where a task sums them.

Shape suffixes: B batch, X Y Z voxels, x y z tokens, C width, D joint width, F findings, K classes, S sentences.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor

__all__ = [
    "contrast_loss",
    "dense_loss",
    "label_loss",
    "lung_loss",
    "patch_targets",
    "segmentation_loss",
    "sentence_loss",
]


def patch_targets(
    labels_BXYZ: Tensor, truth_BXYZ: Tensor, classes: int, findings: int, patch: int
) -> tuple[Tensor, Tensor]:
    """Per patch: class fractions [B, x, y, z, K] and finding fractions [B, x, y, z, F]."""

    def fractions(hot: Tensor) -> Tensor:
        return F.avg_pool3d(hot, patch).permute(0, 2, 3, 4, 1)

    hot = F.one_hot(labels_BXYZ.long(), classes).permute(0, 4, 1, 2, 3).float()
    bits = torch.stack([((truth_BXYZ.int() >> bit) & 1).float() for bit in range(findings)], dim=1)
    return fractions(hot), fractions(bits)


def dense_loss(
    class_logits: Tensor, finding_logits: Tensor, class_fraction: Tensor, finding_fraction: Tensor
) -> Tensor:
    """Soft cross-entropy of class fractions and balanced cross-entropy of finding presence per patch."""
    histogram = -(class_fraction * F.log_softmax(class_logits.float(), -1)).sum(-1).mean()
    target = (finding_fraction > 0.004).float()
    loss = F.binary_cross_entropy_with_logits(finding_logits.float(), target, reduction="none")
    positive = (loss * target).sum((0, 1, 2, 3)) / target.sum((0, 1, 2, 3)).clamp(min=1)
    negative = (loss * (1 - target)).sum((0, 1, 2, 3)) / (1 - target).sum((0, 1, 2, 3)).clamp(min=1)
    here = (target.sum((0, 1, 2, 3)) > 0).float()
    return histogram + (positive * here * 0.5 + negative * 2.0).mean()


def label_loss(logits_BF: Tensor, present_BF: Tensor) -> Tensor:
    """Cross-entropy over decidable labels (NaN = undecided)."""
    known = torch.isfinite(present_BF)
    loss = F.binary_cross_entropy_with_logits(logits_BF.float(), present_BF.nan_to_num(), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def sentence_loss(
    image_BD: Tensor, present_SD: Tensor, absent_SD: Tensor, finding_S: Tensor, present_BF: Tensor, scale: Tensor
) -> Tensor:
    """Opposite sentences: two-way cross-entropy of a sentence against its negation, the rule of zero-shot answers."""
    margin_BS = (image_BD @ (present_SD - absent_SD).T) * scale
    target_BS = present_BF[:, finding_S]
    return label_loss(margin_BS, target_BS)


def contrast_loss(image_BD: Tensor, text_BD: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy between images and their reports."""
    if image_BD.shape[0] < 2:
        return image_BD.sum() * 0.0
    logits = image_BD @ text_BD.T * scale
    target = torch.arange(logits.shape[0])
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


_DICE = DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)


def segmentation_loss(logits_BKXYZ: Tensor, labels_BXYZ: Tensor, weights_K: Tensor | None = None) -> Tensor:
    """Cross-entropy, classes weighted if weights are given, plus Dice."""
    logits = logits_BKXYZ.float()
    dice: Tensor = _DICE(logits, labels_BXYZ[:, None].long())
    return F.cross_entropy(logits, labels_BXYZ.long(), weights_K) + dice


def lung_loss(logits_BKXYZ: Tensor, labels_BXYZ: Tensor, names: tuple[str, ...]) -> Tensor:
    """Cross-entropy on real scans whose labels hold only the lungs (1 left, 2 right, airway included)."""
    log_p = F.log_softmax(logits_BKXYZ.float(), 1)
    neutral = [names.index("trachea"), names.index("lung_vessels")]
    left, right = names.index("lung_left"), names.index("lung_right")
    rest = [k for k in range(len(names)) if k not in (left, right)]
    groups = (rest, [left, *neutral], [right, *neutral])
    grouped = torch.stack([torch.logsumexp(log_p[:, group], dim=1) for group in groups], dim=1)
    return F.nll_loss(grouped, labels_BXYZ.long())

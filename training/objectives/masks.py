"""Masks from tokens and image: the decoder that the product loads, trained on phantoms and lungs of real scans.

Of a phantom every voxel is known. Of a real scan only the outline of the lungs is, airways and vessels included: there
each side counts as one class together with what lies inside of it, and everything else as another.

Shape suffixes: B batch, n rows of one kind, K classes, X Y Z voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from napari_colipri.engine.decoder import PatchConvDecoder
from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri, ModelConfig
from training.objectives.supervised import UNKNOWN

__all__ = ["Masks", "MasksConfig", "lung_terms", "mask_terms"]

_DICE = DiceLoss(include_background=False, reduction="none")


@dataclass(frozen=True)
class MasksConfig:
    """How masks are learned.

    Attributes
    ----------
    weight
        Of the loss.
    classes, width
        Background included; channels of the decoder at half resolution.
    rare
        Weight of each class in the cross-entropy; null: all alike. About the root of how rare a class is lets thin
        structures be drawn at all: the Dice term of what is never drawn has hardly a gradient.
    left, right, within
        Classes of the lungs, and those inside of a lung's outline that belong to neither side.
    """

    weight: float = 1.0
    classes: int = 13
    width: int = 32
    rare: tuple[float, ...] | None = None
    left: int = 1
    right: int = 2
    within: tuple[int, ...] = (5, 8)


def mask_terms(logits_BKXYZ: Tensor, mask_BXYZ: Tensor, rare_K: Tensor | None = None) -> Tensor:
    """Return cross-entropy plus Dice (MONAI) over the voxels that are known, averaged over the volumes.

    The Dice term of a volume is that of the classes it holds: what it lacks would only add a constant.
    """
    logits, known_BXYZ = logits_BKXYZ.float(), mask_BXYZ != UNKNOWN
    entropy = F.cross_entropy(logits, mask_BXYZ.long(), rare_K, ignore_index=UNKNOWN)
    target = mask_BXYZ.long().masked_fill(~known_BXYZ, 0)
    hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1) * known_BXYZ[:, None]
    dice_BK: Tensor = _DICE(logits.softmax(dim=1) * known_BXYZ[:, None], hot.float()).flatten(1)
    there_BK = hot[:, 1:].flatten(2).any(dim=2)
    return entropy + ((dice_BK * there_BK).sum(1) / there_BK.sum(1).clamp(min=1)).mean()


def lung_terms(logits_nKXYZ: Tensor, lungs_nXYZ: Tensor, config: MasksConfig) -> Tensor:
    """Return the cross-entropy of outside, left and right (0, 1, 2) over the known voxels of real scans."""
    log_p = F.log_softmax(logits_nKXYZ.float(), dim=1)
    sides = (config.left, config.right)
    rest = [k for k in range(config.classes) if k not in sides]
    groups = (rest, [config.left, *config.within], [config.right, *config.within])
    grouped = torch.stack([torch.logsumexp(log_p[:, group], dim=1) for group in groups], dim=1)
    return F.nll_loss(grouped, lungs_nXYZ.long(), ignore_index=UNKNOWN)


class Masks(Objective):
    """Cross-entropy and Dice of the segmentation decoder; the decoder is what the product loads."""

    name = "masks"
    rare: Tensor | None

    def __init__(self, config: MasksConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder: nn.Module = PatchConvDecoder(
            embed_dim=model.embed_dim, classes=config.classes, width=config.width
        )
        self.register_buffer("rare", None if config.rare is None else torch.tensor(config.rare))

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Find the rows with a mask and those with an outline of the lungs."""
        if "mask" in batch:
            batch["drawn"] = (batch["mask"].flatten(1) != UNKNOWN).any(1)
        if "lungs" in batch:
            batch["outlined"] = (batch["lungs"].flatten(1) != UNKNOWN).any(1)

    def count(self, batch: Batch) -> int:
        """Return the number of volumes with a mask or an outline."""
        return sum(int(batch[key].sum()) for key in ("drawn", "outlined") if key in batch)

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per volume, and its two parts to log."""
        if not self.count(batch):
            return {}
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        logits = self.decoder(model.tokens(batch), image)
        out: dict[str, Tensor] = {}
        total = logits.new_zeros((), dtype=torch.float32)
        for key, source in (("drawn", "mask"), ("outlined", "lungs")):
            rows = batch.get(key)
            if rows is None or not bool(rows.any()):
                continue
            found = logits[rows]
            known = batch[source][rows]
            pairs = zip(found.split(1), known.split(1), strict=True)  # one by one: a sum over passes is then exact
            terms = torch.stack(
                [mask_terms(*pair, self.rare) if source == "mask" else lung_terms(*pair, self.config) for pair in pairs]
            )
            out[f"masks_{source}"] = terms.mean().detach()
            total = total + terms.sum()
        return out | {"masks_loss": total / denominator(self, batch)}

"""Masked-image modelling: a quarter of the patches go through the encoder, a light decoder paints the rest.

As in MAE (arXiv 2111.06377) with the defaults of nnssl: 75 % masked, two decoder blocks, squared error on masked
voxels. The encoder never computes what it must not see. Patches are counted as the tower's convolution lays them out
(x slowest, z fastest), on grids that need not be cubes.

Shape suffixes: B images, N patches, V visible patches, M masked patches, C vision width, W decoder width, P voxels of a
patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from dynamic_network_architectures.building_blocks.eva import Eva
from torch import Tensor, nn

from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri, ModelConfig, fused_attention

__all__ = ["Masked", "MaskedConfig", "hidden_patches", "patches", "visible_tokens"]


@dataclass(frozen=True)
class MaskedConfig:
    """Weight; share of masked patches; on which images; sizes of the decoder; targets scaled patch by patch or not.

    ``images``: ``unpaired`` ones are those without a report, ``all`` takes every one.
    """

    weight: float = 1.0
    ratio: float = 0.75
    images: Literal["unpaired", "all"] = "unpaired"
    width: int = 96
    depth: int = 2
    heads: int = 2
    scaled_patches: bool = False


def patches(image_B1XYZ: Tensor, patch: int) -> Tensor:
    """Return voxels by patch [B, N, P], in the order in which the tower counts its tokens."""
    blocks = image_B1XYZ[:, 0].unfold(1, patch, patch).unfold(2, patch, patch).unfold(3, patch, patch)
    return blocks.flatten(1, 3).flatten(2)


def _pick(rows_BNC: Tensor, index_BV: Tensor) -> Tensor:
    return rows_BNC.gather(1, index_BV[..., None].expand(-1, -1, rows_BNC.shape[-1]))


def hidden_patches(visible_BV: Tensor, count: int) -> Tensor:
    """Return the patches [B, M] that are not visible, in order."""
    seen = torch.zeros((len(visible_BV), count), dtype=torch.bool, device=visible_BV.device)
    seen.scatter_(1, visible_BV, value=True)
    return (~seen).nonzero()[:, 1].reshape(len(visible_BV), -1)


def visible_tokens(model: Colipri, image_B1XYZ: Tensor, visible_BV: Tensor) -> Tensor:
    """Return tokens [B, V, C] of the visible patches, at their own rotary positions, from these patches alone."""
    backbone = model.towers.image_encoder.backbone
    project = backbone.down_projection.proj
    kept_BVP = _pick(patches(image_B1XYZ, model.config.patch), visible_BV)
    x_BVC = nn.functional.linear(kept_BVP, project.weight.flatten(1), project.bias)
    rope = backbone.eva.rope.get_embed().to(x_BVC.dtype)[visible_BV][:, None]
    with fused_attention(x_BVC.device):
        for block in backbone.eva.blocks:
            x_BVC = block(x_BVC, rope=rope)
    out: Tensor = backbone.eva.norm(x_BVC)
    return out


class Masked(Objective):
    """Squared error of masked voxels."""

    name = "masked"

    def __init__(self, config: MaskedConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config, self.patch, self.grid = config, model.patch, model.grid
        self.enter = nn.Linear(model.embed_dim, config.width)
        self.hidden = nn.Parameter(torch.randn(config.width) * 0.02)
        self.decoder = Eva(
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            use_abs_pos_emb=False,
            use_rot_pos_emb=True,
            ref_feat_shape=model.grid,
            init_values=0.1,
            scale_attn_inner=True,
        )
        self.paint = nn.Linear(config.width, model.patch**3)

    @property
    def patches(self) -> int:
        """Patches of an image."""
        x, y, z = self.grid
        return x * y * z

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Choose the images and, for each, the patches that stay visible (unless the batch brings ``visible``)."""
        count = len(batch["image"])
        reports: list[str] = batch.get("report", [""] * count)
        rows = [row for row in range(count) if self.config.images == "all" or not reports[row].strip()]
        batch["masked_rows"] = torch.tensor(rows, dtype=torch.long, device=model.device)
        if "visible" not in batch:
            kept = max(1, round(self.patches * (1 - self.config.ratio)))
            order = torch.rand(count, self.patches).argsort(1)[:, :kept].sort(1).values
            batch["visible"] = order.to(model.device)

    def count(self, batch: Batch) -> int:
        """Return the number of masked voxels."""
        return len(batch["masked_rows"]) * (self.patches - batch["visible"].shape[1]) * self.patch**3

    def repaint(self, model: Colipri, image_B1XYZ: Tensor, visible_BV: Tensor) -> Tensor:
        """Return the decoder's idea of every patch [B, N, P], in [-1, 1] units (or standard ones, if scaled)."""
        seen_BVW = self.enter(visible_tokens(model, image_B1XYZ, visible_BV))
        x_BNW = self.hidden.to(seen_BVW.dtype).expand(len(seen_BVW), self.patches, -1)
        x_BNW = x_BNW.scatter(1, visible_BV[..., None].expand(-1, -1, seen_BVW.shape[-1]), seen_BVW)
        rope = self.decoder.rope.get_embed().to(x_BNW.dtype)
        for block in self.decoder.blocks:
            x_BNW = block(x_BNW, rope=rope)
        out: Tensor = self.paint(self.decoder.norm(x_BNW))
        return out

    def terms(self, painted_BNP: Tensor, image_B1XYZ: Tensor, visible_BV: Tensor) -> Tensor:
        """Return the summed squared error over masked voxels; visible ones add nothing."""
        target = patches(image_B1XYZ, self.patch)
        if self.config.scaled_patches:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        hidden_BM = hidden_patches(visible_BV, self.patches)
        return (_pick(painted_BNP, hidden_BM).float() - _pick(target, hidden_BM)).square().sum()

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the mean squared error over masked voxels."""
        rows = batch["masked_rows"]
        if not len(rows):
            return {}
        image, visible = batch["image"][rows], batch["visible"][rows]
        terms = self.terms(self.repaint(model, image, visible), image, visible)
        return {"masked_loss": terms / denominator(self, batch)}

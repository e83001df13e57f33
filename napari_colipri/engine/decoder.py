"""Segmentation decoder: tokens for what and where, a shallow convolutional path for detail."""

from __future__ import annotations

import torch
from dynamic_network_architectures.building_blocks.patch_encode_decode import PatchDecode
from torch import Tensor, nn

__all__ = ["PatchConvDecoder", "PatchDecoder"]


def _up(inside: int, outside: int) -> nn.Module:
    return nn.ConvTranspose3d(inside, outside, kernel_size=2, stride=2)


class PatchConvDecoder(nn.Module):
    """Logits per voxel of the model grid from tokens and the image itself.

    Tokens of 8³ patches carry organ and side but not the voxel's edge; two strides of convolutions over the image carry
    the edge. Patches must be 8 voxels wide.

    Parameters
    ----------
    embed_dim
        Width C of the tokens.
    classes
        Number of classes, background included.
    width
        Channels at half resolution.
    """

    def __init__(self, *, embed_dim: int, classes: int, width: int = 32) -> None:
        super().__init__()
        half = width // 2
        self.tokens_to_half = nn.Sequential(
            nn.Conv3d(embed_dim, 2 * width, 1), _up(2 * width, width), nn.GELU(), _up(width, width), nn.GELU()
        )
        self.image_to_half = nn.Sequential(nn.Conv3d(1, half, 3, stride=2, padding=1), nn.GELU())
        self.fuse = nn.Sequential(
            nn.Conv3d(width + half, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.GELU(),
            nn.Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.GELU(),
        )
        self.to_full = _up(width, half)
        self.image_to_full = nn.Conv3d(1, half // 2, 3, padding=1)
        self.full = nn.Sequential(nn.GELU(), nn.Conv3d(half + half // 2, half, 3, padding=1), nn.GELU())
        self.head = nn.Conv3d(half, classes, 1)

    def forward(self, tokens_BXYZC: Tensor, image_B1XYZ: Tensor) -> Tensor:
        """Return logits [B, classes, X, Y, Z] on the grid of ``image_B1XYZ``."""
        coarse = self.tokens_to_half(tokens_BXYZC.permute(0, 4, 1, 2, 3))
        half = self.fuse(torch.cat([coarse, self.image_to_half(image_B1XYZ)], dim=1))
        full = torch.cat([self.to_full(half), self.image_to_full(image_B1XYZ)], dim=1)
        out: Tensor = self.head(self.full(full))
        return out


class PatchDecoder(nn.Module):
    """The decoder of Primus: transposed convolutions from tokens to voxels, without a look at the image.

    Source: ``PatchDecode`` of dynamic-network-architectures, used as it is.

    Parameters
    ----------
    embed_dim
        Width C of the tokens.
    classes
        Number of classes, background included.
    patch
        Patch edge, voxels.
    """

    def __init__(self, *, embed_dim: int, classes: int, patch: tuple[int, int, int] = (8, 8, 8)) -> None:
        super().__init__()
        self.up_projection = PatchDecode(patch, embed_dim, classes)

    def forward(self, tokens_BXYZC: Tensor, image_B1XYZ: Tensor) -> Tensor:
        """Return logits [B, classes, X, Y, Z]; the image decides nothing."""
        out: Tensor = self.up_projection(tokens_BXYZC.permute(0, 4, 1, 2, 3))
        return out

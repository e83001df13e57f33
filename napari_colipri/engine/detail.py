"""A shallow convolutional path beside the patch embedding, for what is smaller than a patch.

A patch of 8 voxels of 5 mm is 40 mm wide: one linear map must tell a nodule from a vessel wherever in it they lie.
Convolutions say the same of every place. No part of the official model; a bundle has it where ``config.json`` says so.

Shape suffixes: B batch, X Y Z voxels, C vision width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DetailPath"]

_FOLD = 2
#: Windows of the model's [-1, 1], that is of thousands of HU: lung, soft tissue, bone, calcium brighter than contrast
#: medium, air emptier than lung; None: as it is.
_WINDOWS = (None, (-1.0, -0.4), (-0.15, 0.25), (0.2, 1.0), (0.45, 0.95), (-1.0, -0.8))
_FINE, _COARSE = 2, 3
_CELL = 4


class DetailPath(nn.Module):
    """Blocks of 2x2x2 voxels in six windows as channels, then two halvings: one vector for a patch of 8x8x8 voxels.

    Windows, as readers use them, make 40 HU between fluid and muscle as loud as 800 HU between lung and muscle. The
    extremes of every 4x4x4 voxels go straight to the quarter resolution: a fleck of calcium is one voxel in 64.

    Parameters
    ----------
    width
        Channels at half resolution; twice as many at a quarter.
    embed_dim
        Of the tokens to which the result is added.
    """

    def __init__(self, width: int, embed_dim: int) -> None:
        super().__init__()
        self.fold_in = nn.Conv3d(len(_WINDOWS) * _FOLD**3, width, 1)
        self.fine = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(_FINE))
        self.reduce = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)
        self.extremes = nn.Conv3d(2 * len(_WINDOWS), 2 * width, 1)
        self.coarse = nn.ModuleList(nn.Conv3d(2 * width, 2 * width, 3, padding=1) for _ in range(_COARSE))
        self.patches = nn.Conv3d(2 * width, embed_dim, 3, stride=2, padding=1)

    def silence(self) -> None:
        """Make the path add nothing until it is trained: so it joins a tower that was trained without it."""
        nn.init.zeros_(self.patches.weight)
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)

    def features(self, images_B1XYZ: Tensor) -> Tensor:
        """Return [B, 2 width, X/4, Y/4, Z/4]."""
        h = F.gelu(self.fold_in(_folded(_windowed(images_B1XYZ))))
        for convolution in self.fine:
            h = h + F.gelu(convolution(h))
        h = F.gelu(self.reduce(h)) + self.extremes(_extremes(images_B1XYZ))
        for convolution in self.coarse:
            h = h + F.gelu(convolution(h))
        return h

    def forward(self, features: Tensor) -> Tensor:
        """Return [B, C, X/8, Y/8, Z/8] from :meth:`features`."""
        out: Tensor = self.patches(features)
        return out


def _windowed(images_B1XYZ: Tensor) -> Tensor:
    """Return the image in every window, each from -1 to 1 [B, windows, X, Y, Z]."""
    shown = [
        images_B1XYZ if window is None else ((images_B1XYZ - window[0]) / (window[1] - window[0])).clamp(0, 1) * 2 - 1
        for window in _WINDOWS
    ]
    return torch.cat(shown, dim=1)


def _extremes(images_B1XYZ: Tensor) -> Tensor:
    """Return the highest and the lowest voxel of every 4x4x4, in every window [B, 2 windows, X/4, Y/4, Z/4]."""
    highest, lowest = F.max_pool3d(images_B1XYZ, _CELL), -F.max_pool3d(-images_B1XYZ, _CELL)
    return torch.cat([_windowed(highest), _windowed(lowest)], dim=1)


def _folded(values_BKXYZ: Tensor) -> Tensor:
    """Return blocks of 2x2x2 voxels as channels [B, 8 K, X/2, Y/2, Z/2], channels last in memory."""
    batch, count, x, y, z = values_BKXYZ.shape
    split = values_BKXYZ.reshape(batch, count, x // _FOLD, _FOLD, y // _FOLD, _FOLD, z // _FOLD, _FOLD)
    blocks = split.permute(0, 2, 4, 6, 1, 3, 5, 7)
    flat = blocks.reshape(batch, x // _FOLD, y // _FOLD, z // _FOLD, count * _FOLD**3)
    return flat.permute(0, 4, 1, 2, 3)

"""Augmentation with MONAI: small rotations, shifts and zooms, intensity, noise and blur.

Never a flip: left and right are findings here, and an upside-down patient is none. Zoom and rotation stay small, so
that a size in a report and a horizontal fluid level remain true.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Augmentation"]

_Image = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """How samples are varied; called with an image, a label map or None, and a generator.

    Attributes
    ----------
    place, intensity, noise, blur
        Probabilities of the four kinds.
    rotate_deg, shift_voxels, zoom
        Largest rotation about each axis, shift along it, and relative change of size.
    scale, shift_hu
        Largest relative change of contrast (around 0 HU), and shift.
    noise_hu
        Largest standard deviation of added noise.
    blur_voxels
        Largest standard deviation of the blur.
    half_window_hu
        HU of half the model's range: what 1 in the image stands for.
    """

    place: float = 0.5
    intensity: float = 0.5
    noise: float = 0.3
    blur: float = 0.2
    rotate_deg: float = 6.0
    shift_voxels: float = 4.0
    zoom: float = 0.05
    scale: float = 0.05
    shift_hu: float = 20.0
    noise_hu: float = 30.0
    blur_voxels: float = 0.8
    half_window_hu: float = 1000.0

    def _placing(self, masked: bool) -> Any:
        from monai.transforms import RandAffined

        angle = math.radians(self.rotate_deg)
        return RandAffined(
            keys=["image", "mask"] if masked else ["image"],
            prob=self.place,
            rotate_range=[angle] * 3,
            translate_range=[self.shift_voxels] * 3,
            scale_range=[self.zoom] * 3,
            mode=["bilinear", "nearest"] if masked else ["bilinear"],
            padding_mode="border",
        )

    def _values(self) -> list[Any]:
        from monai.transforms import RandGaussianNoised, RandGaussianSmoothd, RandScaleIntensityd, RandShiftIntensityd

        sigma = (0.2, self.blur_voxels)
        half = self.half_window_hu
        return [
            RandGaussianSmoothd(keys=["image"], prob=self.blur, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
            RandScaleIntensityd(keys=["image"], factors=self.scale, prob=self.intensity),
            RandShiftIntensityd(keys=["image"], offsets=self.shift_hu / half, prob=self.intensity),
            RandGaussianNoised(keys=["image"], prob=self.noise, std=self.noise_hu / half),
        ]

    def __call__(self, image: _Image, mask: _Mask | None, rng: np.random.Generator) -> tuple[_Image, _Mask | None]:
        """Return a varied copy.

        Parameters
        ----------
        image
            float32 [X, Y, Z] in [-1, 1]; stays in it.
        mask
            uint8 [X, Y, Z], moved along with the image at the nearest voxel; or None.
        rng
            All randomness comes from it.
        """
        import torch
        from monai.transforms import Compose

        sample = {"image": torch.from_numpy(image)[None]}
        if mask is not None:
            sample["mask"] = torch.from_numpy(mask)[None]
        steps = Compose([self._placing(mask is not None), *self._values()])
        steps.set_random_state(seed=int(rng.integers(2**31)))
        varied = steps(sample)
        out = np.asarray(varied["image"][0].clamp(-1, 1).numpy(), np.float32)
        moved = None if mask is None else np.asarray(varied["mask"][0].numpy()).astype(np.uint8)
        return np.ascontiguousarray(out), moved

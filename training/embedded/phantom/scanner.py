"""From tissue to a scan: field of view, table, arms, slice profile, kernel, noise."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from training.embedded.phantom.anatomy import Body
from training.embedded.phantom.grid import Field

__all__ = ["scan"]


def _surroundings(body: Body, hu: Field, rng: np.random.Generator) -> None:
    p, x, y = body.patient, body.painter.x, body.painter.y
    if rng.random() < 0.8:
        top = -p.half_depth - rng.uniform(2, 10)
        curve = top + 0.0006 * x**2
        table = (y < curve) & (y > curve - rng.uniform(12, 30)) & (np.abs(x) < rng.uniform(180, 240)) & ~body.skin
        hu[np.broadcast_to(table, hu.shape)] = rng.uniform(-900, -250)
    if rng.random() < 0.18:
        for side in (-1, 1):
            centre = side * (p.half_width + 48)
            arm = ((x - centre) / 42) ** 2 + ((y + 10) / 42) ** 2 <= 1
            bone = ((x - centre) / 11) ** 2 + ((y + 10) / 11) ** 2 <= 1
            arm = np.broadcast_to(arm, hu.shape) & ~body.skin
            hu[arm] = 30
            hu[np.broadcast_to(bone, hu.shape) & ~body.skin] = 700
    if rng.random() < 0.3:
        reach = rng.uniform(0.82, 1.05) * max(p.half_width, p.half_depth)
        hu[np.broadcast_to(x**2 + y**2 > reach**2, hu.shape)] = -1024


def _texture(body: Body, hu: Field, rng: np.random.Generator, spacing: tuple[float, ...], grain: float) -> None:
    """Slow variation of tissue and lung, and fine lung texture."""
    shape = hu.shape
    slow = gaussian_filter(rng.normal(size=shape).astype(np.float32), [12.0 / s for s in spacing])
    slow *= 1.0 / max(float(slow.std()), 1e-6)
    lung = body.lung_left | body.lung_right
    hu += slow * np.where(lung, rng.uniform(8, 28), rng.uniform(2, 10))
    fine = rng.normal(size=shape).astype(np.float32)
    hu += fine * np.where(lung, grain * rng.uniform(10, 45), 0.0)


def scan(body: Body, rng: np.random.Generator, *, quiet: bool = False) -> Field:
    """Return HU float32 [X, Y, Z] as a scanner would give them.

    Parameters
    ----------
    body
        Painted patient.
    rng
        Source of randomness.
    quiet
        Full field of view and little noise, for shipped samples.
    """
    hu = body.hu.copy()
    spacing = body.painter.grid.spacing_mm
    _texture(body, hu, rng, spacing, grain=0.3 if quiet else 1.0)
    if not quiet:
        _surroundings(body, hu, rng)
    thickness = rng.choice([0.0, 1.0, 2.5, 5.0, 8.0])
    if quiet:
        hu = gaussian_filter(hu, [0.9 / s for s in spacing])
    elif thickness:
        hu = gaussian_filter1d(hu, thickness / 2.4 / spacing[2], axis=2)
    sd = 4.0 if quiet else float(np.exp(rng.uniform(np.log(6), np.log(60))))
    noise = rng.normal(0, sd, hu.shape).astype(np.float32)
    if not quiet and rng.random() < 0.4:
        noise = gaussian_filter1d(gaussian_filter1d(noise, 0.6, axis=0), 0.6, axis=1) * 1.8
    hu += noise
    return np.clip(hu, -1024, 3071)

"""From tissue to a scan: table, motion, slice profile, kernel, noise, streaks, field of view."""

from __future__ import annotations

import numpy as np
import torch

from training.phantom.body import Body
from training.phantom.findings.base import BIT, Truth
from training.phantom.protocol import Protocol

__all__ = ["blur_axis", "in_view", "scan"]

PADDING_HU = -1024.0


def _neighbours(field: torch.Tensor, axis: int) -> torch.Tensor:
    """Sum of the two neighbours along an axis, the edge repeated."""
    size = field.shape[axis]
    up = torch.cat([field.narrow(axis, 0, 1), field.narrow(axis, 0, size - 1)], axis)
    down = torch.cat([field.narrow(axis, 1, size - 1), field.narrow(axis, size - 1, 1)], axis)
    return up + down


def blur_axis(field: torch.Tensor, sigma_voxels: float, axis: int) -> torch.Tensor:
    """Smooth along one axis by repeated three-point averages that add up to ``sigma_voxels``."""
    variance = sigma_voxels**2
    rounds = int(np.ceil(variance / 0.5))
    if rounds == 0 or variance < 1e-3:
        return field
    side = variance / (2 * rounds)
    for _ in range(rounds):
        field = field * (1 - 2 * side) + side * _neighbours(field, axis)
    return field


def _table(body: Body, protocol: Protocol, rng: np.random.Generator) -> None:
    c, p = body.canvas, body.patient
    if protocol.table == "none":
        return
    top = -p.half_depth - 22 - 0.75 * p.fat_mm - rng.uniform(0, 8)
    bow = rng.uniform(5e-4, 1.4e-3) if protocol.table == "curved" else 0.0
    depth = top + bow * c.x.square() - c.y
    wide = rng.uniform(190, 250)
    outside = (body.chest.skin > 0) & (c.hu < -700) & (c.x.abs() < wide)
    shell = c.occupancy((depth - 1.5).abs() - 1.5) + c.occupancy((depth - rng.uniform(18, 34)).abs() - 1.5)
    core = c.occupancy(torch.maximum(-depth, depth - 18)) * rng.uniform(0.02, 0.12)
    amount = torch.where(outside, (shell * rng.uniform(0.4, 1.0) + core).clamp(max=1.0), 0.0)
    c.hu += amount * (rng.uniform(-200, 300) - c.hu)
    if rng.random() < 0.6:  # mattress
        pad = torch.where(outside, c.occupancy(torch.maximum(depth, -14 - depth)), 0.0)
        c.hu += 0.06 * pad * 1000


def _motion(body: Body, protocol: Protocol) -> None:
    """Breathing: a second picture, shifted along the body, below the carina."""
    c = body.canvas
    shift = protocol.motion_mm / c.grid.spacing_mm[2]
    if shift <= 0:
        return
    whole = min(int(shift), c.hu.shape[2] - 1)
    rest = shift - whole
    moved = torch.roll(c.hu, whole, dims=2) * (1 - rest) + torch.roll(c.hu, whole + 1, dims=2) * rest
    moved[:, :, : whole + 1] = c.hu[:, :, : whole + 1]
    amount = 0.45 * ((body.patient.carina_z - c.z) / 60).clamp(0, 1)
    c.hu += amount * (moved - c.hu)


def _noise(body: Body, protocol: Protocol, rng: np.random.Generator) -> torch.Tensor:
    """Noise of the wanted strength and grain, stronger where more of the beam is absorbed."""
    c = body.canvas
    field = torch.from_numpy(rng.standard_normal(c.hu.shape, dtype=np.float32)).to(c.device)
    for axis in range(2):
        field = blur_axis(field, protocol.grain_mm / 2.4 / c.grid.spacing_mm[axis], axis)
    field = blur_axis(field, protocol.slice_mm / 3.5 / c.grid.spacing_mm[2], 2)
    field /= field.flatten()[:: max(1, field.numel() // 50_000)].double().std().float().clamp(min=1e-6)
    across = (body.chest.skin < 0).float().mean(dim=0).mean(dim=0)
    thick = (0.6 + 1.6 * across).sqrt()
    return field * thick[None, None, :] * protocol.noise_hu


def _streaks(body: Body, truth: Truth, rng: np.random.Generator) -> None:
    """Paint bright and dark streaks round metal, slice by slice."""
    c = body.canvas
    metal = ((truth.bits >> BIT["Medical material"]) & 1).bool() & (c.hu > 1800)
    share = metal.sum(dim=(0, 1))
    chosen = torch.nonzero(share > 0)[:, 0]
    if len(chosen) == 0:
        return
    part = metal[:, :, chosen].float()
    weight = part.sum(dim=(0, 1)).clamp(min=1)
    x, y = c.x[:, :, chosen], c.y[:, :, chosen]
    cx, cy = (part * x).sum(dim=(0, 1)) / weight, (part * y).sum(dim=(0, 1)) / weight
    angle, radius = torch.atan2(y - cy, x - cx), torch.hypot(x - cx, y - cy)
    order, phase = int(rng.integers(3, 8)), float(rng.uniform(0, 6.28))
    strength = rng.uniform(80, 420) * (weight * c.grid.voxel_ml).clamp(0.1, 3.0).sqrt() / 1.7
    wave = torch.cos(order * angle + phase) * torch.exp(-radius / rng.uniform(35, 80))
    c.hu[:, :, chosen] += torch.where(part > 0, 0.0, wave * strength)


def in_view(body: Body, protocol: Protocol) -> torch.Tensor:
    """Return which voxels the scan shows, bool [X, Y, Z]."""
    grid = body.canvas.grid
    x, y, z = (torch.from_numpy(axis).to(body.canvas.device) for axis in grid.axes())
    cx, cy = protocol.centre_xy
    circle = (x[:, None] - cx) ** 2 + (y[None, :] - cy) ** 2 < protocol.radius_mm**2
    return circle[:, :, None] & ((z >= protocol.low_mm) & (z <= protocol.high_mm))[None, None, :]


def scan(body: Body, truth: Truth, protocol: Protocol, rng: np.random.Generator) -> torch.Tensor:
    """Return HU float32 [X, Y, Z] as a scanner would give them; outside of the view it is padding."""
    c = body.canvas
    _table(body, protocol, rng)
    _motion(body, protocol)
    _streaks(body, truth, rng)
    hu = blur_axis(c.hu, protocol.slice_mm / 3.5 / c.grid.spacing_mm[2], 2)
    if protocol.edge < 0:
        for axis in range(2):
            hu = blur_axis(hu, -protocol.edge * 3.0 / c.grid.spacing_mm[axis], axis)
    elif protocol.edge > 0:
        # an edge-enhancing kernel acts over 1-2 mm: little of it is left on a coarse grid
        smooth = hu
        for axis in range(2):
            smooth = blur_axis(smooth, min(0.7, 1.5 / c.grid.spacing_mm[axis]), axis)
        hu = hu + protocol.edge * (hu - smooth)
    hu = (hu + 1000.0) * protocol.gain - 1000.0 + float(rng.normal(0, 2.0))
    hu += _noise(body, protocol, rng)
    hu = torch.where(in_view(body, protocol), hu, PADDING_HU)
    return hu.clamp(-1024.0, 3071.0)

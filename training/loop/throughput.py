"""How fast a run is: volumes and operations per second, share of the device's peak, memory, time lost to waiting."""

from __future__ import annotations

import os

import psutil
import torch

__all__ = ["Meter"]

#: Dense half-precision peak of tensor cores, TFLOP/s, by what the device's name contains (vendors' data sheets).
_PEAK = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "RTX 4090": 165.0, "RTX 3090": 71.0}


class Meter:
    """Collects between two log lines.

    Parameters
    ----------
    operations
        Per volume, for a whole step.
    device
        Of the run.
    """

    def __init__(self, operations: float, device: torch.device) -> None:
        self._operations, self._device = operations, device
        self._volumes = 0
        self._seconds = self._waited = 0.0
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        self._peak = next((peak for part, peak in _PEAK.items() if part in name), None)

    def add(self, volumes: int, seconds: float, waited: float) -> None:
        """Count a step: its volumes over all processes, its time, and how much of that was waiting for data, s."""
        self._volumes += volumes
        self._seconds += seconds
        self._waited += waited

    def read(self) -> dict[str, float]:
        """Return the figures since the last reading, and start anew."""
        speed = self._volumes / max(self._seconds, 1e-9)
        teraflops = speed * self._operations / 1e12
        out = {
            "volumes_per_s": speed,
            "tflop_per_s": teraflops,
            "waiting_share": self._waited / max(self._seconds, 1e-9),
            "memory_gb": self._memory() / 1e9,
        }
        if self._peak is not None:
            processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
            out["share_of_peak"] = teraflops / (self._peak * processes)
        self._volumes = 0
        self._seconds = self._waited = 0.0
        return out

    def _memory(self) -> float:
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device))
        return float(psutil.Process(os.getpid()).memory_info().rss)

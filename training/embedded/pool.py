"""A pool of phantoms on disk: made once by worker processes, read by the trainer with crops and noise.

A pool is a folder of ``.npz`` files without pickle: hu int16, labels uint8, truth uint16, present bool, reports
as bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.embedded.phantom import make_phantom
from training.embedded.phantom.findings import PLANTED
from training.embedded.phantom.report import report_of

__all__ = ["Sample", "fill_pool", "load_sample", "to_model_values"]

REPORTS_PER_PHANTOM = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """One training sample at the embedded grid.

    Attributes
    ----------
    image
        float32 [X, Y, Z] in [-1, 1].
    labels
        uint8 [X, Y, Z].
    truth
        uint16 [X, Y, Z] bits of ``PLANTED``.
    present
        float32 [F]: 1, 0, or NaN where cropping makes it undecidable.
    report
        Text, or "" for a real volume without one.
    real
        Whether labels hold only lungs (pseudo-labels of a real scan).
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint16]
    present: npt.NDArray[np.float32]
    report: str
    real: bool = False


def to_model_values(hu: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Clamp to ±1000 HU and scale to [-1, 1]."""
    return np.asarray(np.clip(hu.astype(np.float32), -1000, 1000) / 1000.0, np.float32)


def _write(folder: Path, seed: int) -> None:
    phantom = make_phantom(seed)
    rng = np.random.default_rng((seed, 7))
    reports = "\n".join(report_of(phantom, rng) for _ in range(REPORTS_PER_PHANTOM))
    target = folder / f"{seed:08d}.npz"
    beside = folder / f".{seed:08d}.{os.getpid()}.npz"
    np.savez(
        beside,
        hu=phantom.hu,
        labels=phantom.labels,
        truth=phantom.truth,
        present=phantom.present,
        reports=np.frombuffer(reports.encode(), np.uint8),
    )
    os.replace(beside, target)


def fill_pool(folder: Path, seeds: Sequence[int]) -> None:
    """Make the phantoms of ``seeds`` that are not in ``folder`` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if not (folder / f"{seed:08d}.npz").exists():
            _write(folder, seed)


def _crop_slab(image: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Limit the scan along z as real scans are; returns what remains, bool [Z]."""
    size = image.shape[2]
    keep = np.ones(size, bool)
    draw = rng.random()
    if draw < 0.45:
        length = int(rng.uniform(0.28, 0.75) * size) if draw < 0.22 else int(rng.uniform(0.7, 0.95) * size)
        start = (size - length) // 2  # the model grid is centred on the scan
        keep[:] = False
        keep[start : start + length] = True
    return keep


def load_sample(path: Path, rng: np.random.Generator, *, augment: bool = True) -> Sample:
    """Read one phantom and, for training, shift it along z, crop a slab and vary the intensities."""
    with np.load(path, allow_pickle=False) as data:
        hu, labels, truth = data["hu"], data["labels"], data["truth"]
        present = data["present"].astype(np.float32)
        reports = data["reports"].tobytes().decode().split("\n")
    image = to_model_values(hu)
    report = reports[int(rng.integers(len(reports)))] if augment else reports[0]
    if not augment:
        return Sample(image, labels, truth, present, report)
    keep = _crop_slab(image, rng)
    if not keep.all():
        shift = int(rng.integers(-18, 19)) if keep.mean() < 0.7 else 0
        image = np.roll(image, shift, axis=2)
        labels, truth = np.roll(labels, shift, axis=2), np.roll(truth, shift, axis=2)
        if shift:  # what was rolled round is not the patient
            lost = slice(0, shift) if shift > 0 else slice(shift, None)
            keep[lost] = False
        present, report = _after_crop(truth, keep, shift, present, report)
        image[:, :, ~keep] = -1.0
        labels[:, :, ~keep] = 0
        truth[:, :, ~keep] = 0
    image = np.clip(image * rng.uniform(0.97, 1.03) + rng.normal(0, 0.008), -1, 1).astype(np.float32)
    if rng.random() < 0.5:
        image = np.clip(image + rng.normal(0, rng.uniform(0.002, 0.03), image.shape).astype(np.float32), -1, 1)
    return Sample(image, labels, truth, present, report)


def _after_crop(
    truth: npt.NDArray[np.uint16],
    keep: npt.NDArray[np.bool_],
    shift: int,
    present: npt.NDArray[np.float32],
    report: str,
) -> tuple[npt.NDArray[np.float32], str]:
    """Mark findings cropped away as absent, half-cropped ones as undecided, and drop a report that no longer fits."""
    out = present.copy()
    for bit in range(len(PLANTED)):
        if present[bit]:
            per_slice = ((truth >> bit) & 1).sum(axis=(0, 1))
            left = per_slice[keep].sum() / max(int(per_slice.sum()), 1)
            out[bit] = 1.0 if left > 0.6 else (0.0 if left < 0.02 else np.nan)
    fits = np.array_equal(out, present)
    return out, report if fits else ""

"""Batches for the trainer: phantoms from a pool, real scans for the decoder, sentences and reports as token ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from training.embedded.pool import Sample, load_sample

__all__ = ["Batch", "PoolDataset", "RealScan", "augment_real", "collate"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of one step.

    Attributes
    ----------
    images
        float32 [B, 1, X, Y, Z] in [-1, 1].
    labels, truth
        uint8 and int32 [B, X, Y, Z]; see :class:`training.embedded.pool.Sample`.
    present
        float32 [B, F], NaN where undecided.
    reports
        One text per sample, "" where cropping made it untrue.
    """

    images: Tensor
    labels: Tensor
    truth: Tensor
    present: Tensor
    reports: list[str]


def collate(samples: list[Sample]) -> Batch:
    """Stack samples."""
    return Batch(
        torch.from_numpy(np.stack([s.image for s in samples])[:, None]),
        torch.from_numpy(np.stack([s.labels for s in samples])),
        torch.from_numpy(np.stack([s.truth for s in samples]).astype(np.int32)),
        torch.from_numpy(np.stack([s.present for s in samples])),
        [s.report for s in samples],
    )


class PoolDataset(IterableDataset[Batch]):
    """Endless batches from a pool that may still be growing.

    Parameters
    ----------
    folder
        Of ``.npz`` phantoms.
    batch
        Samples per batch.
    seed
        Of order and augmentation.
    """

    def __init__(self, folder: Path, batch: int, seed: int) -> None:
        self.folder, self.batch, self.seed = folder, batch, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        paths: list[Path] = []
        step = 0
        while True:
            if step % 50 == 0:
                paths = sorted(p for p in self.folder.glob("*.npz") if not p.name.startswith("."))
            step += 1
            chosen = rng.integers(len(paths), size=self.batch)
            yield collate([load_sample(paths[i], rng) for i in chosen])


@dataclass(frozen=True, eq=False)
class RealScan:
    """A real volume of the training split at the model grid with lung sides (0 rest, 1 left, 2 right)."""

    name: str
    image: npt.NDArray[np.float32]
    lungs: npt.NDArray[np.uint8]


def augment_real(scan: RealScan, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Shift, stretch in intensity and slab-crop one real scan; returns image [1, X, Y, Z] and lungs [X, Y, Z]."""
    image, lungs = scan.image, scan.lungs
    shift = tuple(int(v) for v in rng.integers(-4, 5, 3))
    image, lungs = np.roll(image, shift, (0, 1, 2)), np.roll(lungs, shift, (0, 1, 2))
    image = np.clip(image * rng.uniform(0.95, 1.05) + rng.normal(0, 0.015), -1, 1)
    image = image + rng.normal(0, rng.uniform(0, 0.03), image.shape)
    return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(np.ascontiguousarray(lungs))

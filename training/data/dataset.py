"""Prepared studies to batches: one item is one step of one rank, whatever the number of worker processes.

A batch is a dict: ``image`` float32 [B, 1, X, Y, Z] in [-1, 1], ``report`` list of str, ``labels`` float32 [B, 18] with
NaN for unknown, ``mask`` uint8 [B, X, Y, Z] with 255 for unknown (where any study has one), ``patient`` and ``study``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from training.data.crops import Crop, centre_crop, random_crop, read_crop, read_mask, slab_of, truth_after, within
from training.data.errors import DataError
from training.data.sampling import Mixture
from training.data.store import UNKNOWN, Prepared

__all__ = ["Batch", "Batches", "Sample", "collate", "loader", "read_sample", "read_slab"]

Batch: TypeAlias = dict[str, Any]
#: Varies image and label map; see :class:`training.data.augment.Augmentation`.
Augment: TypeAlias = Callable[
    [npt.NDArray[np.float32], npt.NDArray[np.uint8] | None, np.random.Generator],
    tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8] | None],
]
#: Varies a report, such as by the order of its sentences.
VaryText: TypeAlias = Callable[[str, np.random.Generator], str]


@dataclass(frozen=True, eq=False)
class Sample:
    """One study as the model takes it; see the module's head for the fields."""

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint8] | None
    report: str
    patient: str
    study: str


def read_sample(
    study: Prepared,
    size: tuple[int, int, int],
    rng: np.random.Generator | None = None,
    *,
    window: tuple[float, float] = (-1000.0, 1000.0),
    masks: bool = False,
) -> Sample:
    """Read one study.

    Parameters
    ----------
    study
        Of a prepared folder.
    size
        Of the model grid.
    rng
        For a random crop; None takes the product's centre crop.
    window
        HU that become -1 and 1.
    masks
        Whether to read labels too.
    """
    crop = centre_crop(study, size) if rng is None else random_crop(study, size, rng)
    return _read(study, crop, None, window=window, masks=masks)


def read_slab(
    study: Prepared,
    size: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    window: tuple[float, float] = (-1000.0, 1000.0),
    masks: bool = False,
) -> Sample:
    """Read one study as if a part of its length only had been scanned; parameters as :func:`read_sample`."""
    crop, seen = slab_of(study, size, rng)
    return _read(study, crop, seen, window=window, masks=masks)


def _read(study: Prepared, crop: Crop, seen: Crop | None, *, window: tuple[float, float], masks: bool) -> Sample:
    """Read a crop, of which only ``seen`` was scanned."""
    hu, mask = read_crop(study, crop), read_mask(study, crop) if masks else None
    in_view = crop
    if seen is not None:
        place, in_view = within(crop, seen)
        hidden = np.ones(crop.size, bool)
        hidden[place] = False
        hu[hidden] = study.padding_hu
        if mask is not None:
            mask[hidden] = UNKNOWN
    labels, report = truth_after(study, in_view)
    low, high = window
    image = hu.astype(np.float32)
    np.clip(image, low, high, out=image)
    image -= (low + high) / 2
    image /= (high - low) / 2
    return Sample(image, labels, mask, report, study.patient, study.study)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into a batch."""
    batch: Batch = {
        "image": torch.from_numpy(np.stack([sample.image for sample in samples])[:, None]),
        "report": [sample.report for sample in samples],
        "labels": torch.from_numpy(np.stack([sample.labels for sample in samples])),
        "patient": [sample.patient for sample in samples],
        "study": [sample.study for sample in samples],
    }
    if any(sample.mask is not None for sample in samples):
        unknown = np.full(samples[0].image.shape, UNKNOWN, np.uint8)
        batch["mask"] = torch.from_numpy(
            np.stack([unknown if sample.mask is None else sample.mask for sample in samples])
        )
    return batch


class Batches(Dataset[Batch]):
    """Steps of a run: ``batches[step]`` is the batch of one rank.

    It depends on the mixture's seed, the step and the rank alone: neither on the steps before it nor on the number of
    worker processes. Several ranks together hold exactly the samples that one rank would.

    Parameters
    ----------
    mixture
        What is mixed; its ``batch`` counts the samples over all ranks.
    size
        Of the model grid.
    steps
        Of the run.
    rank, world
        Of this process, and how many there are.
    crop
        ``"centre"`` as the product does, or ``"random"`` within the stored grid.
    slab
        Share of the samples that are read as if a part of the body's length only had been scanned.
    window
        HU that become -1 and 1.
    augment, text
        Vary images with their label maps, and reports. Both get a generator that belongs to the sample's place.

    Raises
    ------
    DataError
        If the batch cannot be shared evenly between the ranks.
    """

    def __init__(
        self,
        mixture: Mixture,
        size: tuple[int, int, int],
        steps: int,
        *,
        rank: int = 0,
        world: int = 1,
        crop: Literal["centre", "random"] = "centre",
        slab: float = 0.0,
        window: tuple[float, float] = (-1000.0, 1000.0),
        augment: Augment | None = None,
        text: VaryText | None = None,
    ) -> None:
        if mixture.batch % world or not 0 <= rank < world:
            raise DataError(f"A batch of {mixture.batch} cannot be shared evenly between {world} processes.")
        self.mixture, self.size, self.steps = mixture, size, steps
        self.rank, self.each = rank, mixture.batch // world
        self.crop, self.slab, self.window, self.augment, self.text = crop, slab, window, augment, text
        self.masks = any(study.has_mask for part in mixture.parts for study in part.studies)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        first = self.rank * self.each
        return collate([self._sample(step, number) for number in range(first, first + self.each)])

    def _sample(self, step: int, number: int) -> Sample:
        place = self.mixture.place(step, number)
        study = self.mixture.parts[place.part].studies[place.study]
        where, look, words = (np.random.default_rng((*place.seed, kind)) for kind in range(3))
        if self.slab and where.random() < self.slab:
            sample = read_slab(study, self.size, where, window=self.window, masks=self.masks)
        else:
            drawn = where if self.crop == "random" else None
            sample = read_sample(study, self.size, drawn, window=self.window, masks=self.masks)
        image, mask, report = sample.image, sample.mask, sample.report
        if self.augment is not None:
            image, mask = self.augment(image, mask, look)
        if self.text is not None and report:
            report = self.text(report, words)
        return Sample(image, sample.labels, mask, report, sample.patient, sample.study)


def _as_it_is(batch: Any) -> Batch:
    return batch


def loader(batches: Batches, *, start: int = 0, workers: int = 0, pin_memory: bool = False) -> DataLoader[Batch]:
    """Return a loader of the steps from ``start`` on, in order.

    Ranks are shared out already: do not let ``accelerate`` prepare it once more.

    Parameters
    ----------
    batches
        Of this rank.
    start
        First step: that of the checkpoint when a run goes on.
    workers
        Processes that read ahead; the batches are the same for any number.
    pin_memory
        For faster copies to a GPU.
    """
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, len(batches)),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        persistent_workers=False,
    )

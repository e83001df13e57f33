"""Pools of phantoms as a source of batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.loop.config import TrainingConfig
from training.loop.errors import ConfigError
from training.loop.words import Wording
from training.objectives.base import Batch
from training.phantom.classes import merge_labels
from training.phantom.pool import read_phantom
from training.phantom.resolvable import visible

__all__ = ["PhantomSample", "PhantomSource", "read_sample", "vary"]

#: Largest shift of a phantom along x, y and z, voxels.
REACH = (3, 3, 6)


@dataclass(frozen=True, eq=False)
class PhantomSample:
    """One phantom on the model grid.

    Attributes
    ----------
    image
        float32 [X, Y, Z] in [-1, 1].
    mask
        uint8 [X, Y, Z].
    bits
        int32 [X, Y, Z], bit ``n`` set where finding ``n`` is.
    present
        float32 [18]: 1, 0, or NaN where it cannot be told.
    report
        "" where what was cropped away makes it untrue.
    """

    image: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint8]
    bits: npt.NDArray[np.int32]
    present: npt.NDArray[np.float32]
    report: str


def read_sample(path: Path, rng: np.random.Generator, *, augment: bool, short: bool = True) -> PhantomSample:
    """Return a phantom of a pool, varied or as it is, with masks in the short or in the whole list of classes."""
    stored = read_phantom(path)
    image = np.clip(stored.hu.astype(np.float32) / 1000.0, -1.0, 1.0)
    texts = stored.reports["train"]
    coarsest_mm = float(np.linalg.norm(stored.affine[:3, :3], axis=0).max())
    whole = PhantomSample(
        image,
        merge_labels(stored.labels) if short else stored.labels,
        stored.truth.astype(np.int32),
        visible(stored.present, stored.findings, coarsest_mm),
        texts[int(rng.integers(len(texts)))] if augment else texts[0],
    )
    return vary(whole, rng) if augment else whole


def _shifted(values: npt.NDArray[Any], shift: npt.NDArray[np.int64], fill: float) -> npt.NDArray[Any]:
    out = np.full_like(values, fill)
    to = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift.tolist(), values.shape, strict=True))
    of = tuple(slice(max(0, -s), n + min(0, -s)) for s, n in zip(shift.tolist(), values.shape, strict=True))
    out[to] = values[of]
    return out


def _kept(rng: np.random.Generator, slices: int) -> slice:
    """Return the slices of a scan that does not cover the whole grid; two in three do."""
    if rng.random() > 1 / 3:
        return slice(0, slices)
    length = int(rng.uniform(0.35, 0.95) * slices)
    start = int(rng.integers(0, slices - length + 1))
    return slice(start, start + length)


def vary(sample: PhantomSample, rng: np.random.Generator) -> PhantomSample:
    """Shift a phantom, cut it to a slab, and vary its densities; never mirrored: left and right mean something.

    A finding of which more than 60 % stay is still there, one of which less than 2 % stay is not, and between the two
    nobody can tell. Where that changes anything, the report no longer fits and is dropped.
    """
    shift = np.array([rng.integers(-most, most + 1) for most in REACH])
    shape = sample.image.shape
    keep = _kept(rng, shape[2])
    image = _shifted(sample.image, shift, -1.0)
    mask, bits = _shifted(sample.mask, shift, 0), _shifted(sample.bits, shift, 0)
    for lost in (slice(0, keep.start), slice(keep.stop, shape[2])):
        image[:, :, lost], mask[:, :, lost], bits[:, :, lost] = -1.0, 0, 0
    present = sample.present.copy()
    for finding in np.flatnonzero(sample.present == 1):
        before = int(((sample.bits >> finding) & 1).sum())
        if before:
            share = int(((bits >> finding) & 1).sum()) / before
            present[finding] = 1.0 if share > 0.6 else (0.0 if share < 0.02 else np.nan)
    fits = np.array_equal(present, sample.present, equal_nan=True)
    noise = rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(0.0, 0.03))
    image = image * np.float32(rng.uniform(0.97, 1.03)) + np.float32(rng.normal(0.0, 0.008)) + noise
    return PhantomSample(np.clip(image, -1.0, 1.0), mask, bits, present, sample.report if fits else "")


def _size(path: Path) -> tuple[int, ...]:
    try:
        with np.load(path, allow_pickle=False) as data:
            shape: tuple[int, ...] = data["labels"].shape
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path.name} is no phantom of `phantom make`.", code="data") from error
    return shape


class PhantomSource:
    """Batches of phantoms, each with report, labels, masks and the truth of its findings.

    Parameters
    ----------
    folder
        Of ``python -m training phantom make``.
    config
        Of the run; its grid must be the phantoms'.
    rank
        Of this process.
    valid
        Take every twentieth phantom, which is never trained on, rather than the others.
    words
        What finishes a batch, if not sentences of these phantoms.

    Raises
    ------
    ConfigError
        If the grid is another one, or there are too few.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        *,
        rank: int = 0,
        valid: bool = False,
        words: Wording | None = None,
    ) -> None:
        found = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
        self._paths = [path for place, path in enumerate(found) if (place % 20 == 19) == valid]
        if not self._paths:
            raise ConfigError(f"{folder} holds {len(found)} phantoms; validation takes every twentieth.", code="data")
        self._config, self._rank = config, rank
        size = _size(self._paths[0])
        if size != config.model.size:
            raise ConfigError(
                f"The phantoms are {'x'.join(map(str, size))} voxels, the model grid is "
                f"{'x'.join(map(str, config.model.size))}.",
                code="data",
            )
        self._words = words or Wording(config, self._reports(config))

    def _reports(self, config: TrainingConfig) -> dict[str, str]:
        if config.objectives.opposite is None:
            return {}
        return {path.stem: read_phantom(path).reports["train"][0] for path in self._paths}

    @property
    def words(self) -> Wording:
        """What finishes a batch."""
        return self._words

    def __len__(self) -> int:
        return len(self._paths)

    def volume(self, index: int) -> Batch:
        """Return the phantom at ``index`` (in the order of seeds) alone, without sentences, its report as it is."""
        rng = np.random.default_rng((self._config.run.seed, 29, index, self._rank))
        return self._read([self._paths[index]], rng)

    def _read(self, paths: list[Path], rng: np.random.Generator) -> Batch:
        wanted = self._config.data
        samples = [read_sample(path, rng, augment=wanted.augment, short=wanted.masks == "short") for path in paths]
        keys = [path.stem for path in paths]
        return {
            "image": torch.from_numpy(np.stack([sample.image for sample in samples])[:, None]),
            "report": [sample.report for sample in samples],
            "labels": torch.from_numpy(np.stack([sample.present for sample in samples])),
            "mask": torch.from_numpy(np.stack([sample.mask for sample in samples])),
            "finding_mask": torch.from_numpy(np.stack([sample.bits for sample in samples])),
            "patient": keys,
            "study": keys,
        }

    def _alone(self, number: int) -> bool:
        """Whether a whole batch, on every process, goes without its reports: there are no image-only phantoms."""
        share = self._config.data.unpaired if self._config.objectives.masked is not None else 0.0
        return bool(np.random.default_rng((self._config.run.seed, 19, number)).random() < share)

    def __getitem__(self, number: int) -> Batch:
        run = self._config.run
        rng = np.random.default_rng((run.seed, 23, number, self._rank))
        chosen = rng.choice(len(self._paths), run.batch, replace=len(self._paths) < run.batch)
        batch = self._read([self._paths[index] for index in chosen], rng)
        if self._alone(number):
            batch["report"] = [""] * len(chosen)
        self._words.finish(batch, number, self._rank, rng)
        return batch

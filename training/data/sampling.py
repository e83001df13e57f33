"""Which study stands where in which batch: a pure function of seed and place, so that a resumed run sees the same.

A slot is a place in the endless row of samples that all ranks eat together. Sources share the slots in fixed
proportions within every hundred; within a source, an epoch visits every patient once, in a new order, and a patient's
studies take turns from epoch to epoch. So a batch never holds a patient twice (but where an epoch ends within it), and
two reconstructions of one scan are never each other's negatives.
"""

from __future__ import annotations

import functools
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data.errors import DataError
from training.data.store import Prepared

__all__ = ["PERIOD", "Mixture", "Part", "Place"]

#: Units in which shares are exact.
PERIOD = 100


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the mixture.

    Attributes
    ----------
    name
        Such as ``"paired"``.
    studies
        What it holds.
    weight
        Its share, relative to the others'.
    """

    name: str
    studies: Sequence[Prepared]
    weight: float = 1.0


@dataclass(frozen=True)
class Place:
    """A study for a slot, and the seed of everything random about it."""

    part: int
    study: int
    seed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Parts mixed by weight.

    Attributes
    ----------
    parts
        At least one.
    batch
        Samples in a step over all ranks.
    seed
        Of order, mixing and augmentation.
    by
        ``"sample"``: every batch holds parts in proportion. ``"batch"``: a whole step, on every rank, comes from one
        part, which objectives that compare the samples of a batch need.

    Raises
    ------
    DataError
        If a part is empty or no weight is above 0.
    """

    parts: tuple[Part, ...]
    batch: int
    seed: int = 0
    by: Literal["sample", "batch"] = "sample"
    _patients: tuple[tuple[tuple[int, ...], ...], ...] = field(init=False, repr=False)
    _counts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for part in self.parts:
            if not part.studies:
                raise DataError(f"The part {part.name!r} of the mixture holds no study.")
            if part.weight < 0:
                raise DataError(f"The part {part.name!r} of the mixture has a weight below 0.")
        if self.batch < 1 or sum(part.weight for part in self.parts) <= 0:
            raise DataError("A mixture needs a batch of at least 1 and a weight above 0.")
        object.__setattr__(self, "_patients", tuple(_by_patient(part.studies) for part in self.parts))
        object.__setattr__(self, "_counts", _shares([part.weight for part in self.parts]))

    def _order(self, part: int, epoch: int) -> npt.NDArray[np.int64]:
        """Return an epoch's order of a part's patients."""
        name = zlib.crc32(self.parts[part].name.encode())
        return _shuffled((self.seed, 2, name, epoch), len(self._patients[part]))

    def _unit(self, number: int) -> tuple[int, int]:
        """Return the part that unit ``number`` takes, and how many units that part had before."""
        period, within = divmod(number, PERIOD)
        row = _period((self.seed, 1, period), self._counts)
        part = int(row[within])
        return part, period * self._counts[part] + int(np.count_nonzero(row[:within] == part))

    def part_of(self, step: int) -> str | None:
        """Return the part that a whole step takes, or None where parts are mixed within it."""
        return self.parts[self._unit(step)[0]].name if self.by == "batch" else None

    def place(self, step: int, number: int) -> Place:
        """Return what stands at place ``number`` (below ``batch``, over all ranks) of a step.

        Parameters
        ----------
        step
            From 0.
        number
            From 0; rank r of n holds ``r * batch / n`` to ``(r + 1) * batch / n - 1``.
        """
        slot = step * self.batch + number
        if self.by == "batch":
            part, before = self._unit(step)
            position = before * self.batch + number
        else:
            part, position = self._unit(slot)
        patients = self._patients[part]
        epoch, index = divmod(position, len(patients))
        patient = int(self._order(part, epoch)[index])
        turns = patients[patient]
        first = np.random.default_rng((self.seed, 3, part, patient)).integers(len(turns)) if len(turns) > 1 else 0
        return Place(part, turns[(epoch + int(first)) % len(turns)], (self.seed, 4, slot))


@functools.lru_cache(16)
def _shuffled(seed: tuple[int, ...], count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)


@functools.lru_cache(16)
def _period(seed: tuple[int, ...], counts: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return which part each unit of a period takes."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def _by_patient(studies: Sequence[Prepared]) -> tuple[tuple[int, ...], ...]:
    """Group studies by patient, patients sorted, so that the order of files on the disk plays no part."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, study in enumerate(studies):
        groups[study.source, study.patient].append(index)
    return tuple(tuple(sorted(groups[key], key=lambda index: studies[index].key)) for key in sorted(groups))


def _shares(weights: Sequence[float]) -> tuple[int, ...]:
    """Return units of a period for each weight, by the largest remainder; none above 0 is left without one."""
    exact = np.asarray(weights, np.float64) / sum(weights) * PERIOD
    counts = np.where(exact > 0, np.maximum(np.floor(exact), 1), 0).astype(int)
    while counts.sum() < PERIOD:
        counts[int(np.argmax(exact - counts))] += 1
    while counts.sum() > PERIOD:
        counts[int(np.argmax(counts))] -= 1
    return tuple(int(count) for count in counts)

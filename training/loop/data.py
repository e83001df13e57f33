"""``--data``: prepared folders, a pool of phantoms, or noise for trials, as a source of numbered batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from napari_colipri.text.findings import FINDING_NAMES
from training.loop.cached import CachedSource, frozen_tower
from training.loop.config import TrainingConfig
from training.loop.errors import ConfigError
from training.loop.outlines import WithOutlines
from training.loop.phantoms import PhantomSource
from training.loop.source import Repeated, Source
from training.loop.words import OppositePairs, text_variation
from training.objectives.base import Batch
from training.text.opposites import Statements, statements

__all__ = ["NOISE", "PreparedSource", "noise", "open_source"]

#: ``--data noise``: no data at all, for trials and measurements.
NOISE = "noise"
#: Batches that a source can be asked for: more than any run has.
_ENDLESS = 2**40


def open_source(
    data: Sequence[str],
    config: TrainingConfig,
    *,
    rank: int = 0,
    world: int = 1,
    valid: bool = False,
    device: torch.device | None = None,
) -> Source:
    """Return the source that ``--data`` names.

    Parameters
    ----------
    data
        Prepared folders (any number), one folder of phantoms, or ``noise``.
    config
        Of the run.
    rank, world
        Of this process, and how many there are.
    valid
        Held-out studies, as they are: the validation split, or every twentieth phantom.
    device
        Where ``data.cached`` encodes; the CPU without it.

    Raises
    ------
    ConfigError
        If a folder is neither.
    DataError
        If a prepared folder is damaged or does not fit.
    """
    if list(data) == [NOISE]:
        return noise(config, seed=int(valid))
    folders = [Path(each) for each in data]
    if folders and all((folder / "plan.json").is_file() for folder in folders):
        return PreparedSource(folders, _quiet(config) if valid else config, rank=rank, world=world, valid=valid)
    if len(folders) == 1 and any(folders[0].glob("*.npz")):
        chosen = _quiet(config) if valid else config
        phantoms = PhantomSource(folders[0], chosen, rank=rank, valid=valid)
        if config.data.outlines and not valid:
            return WithOutlines(phantoms, chosen, rank=rank)
        if not config.data.cached:
            return phantoms
        return CachedSource(phantoms, chosen, frozen_tower(config, device or torch.device("cpu")), rank=rank)
    named = ", ".join(str(each) for each in data) or "nothing"
    raise ConfigError(
        f"--data takes prepared folders (python -m training data preprocess), one folder of phantoms, or {NOISE}; "
        f"this is none of them: {named}.",
        code="data",
    )


def _quiet(config: TrainingConfig) -> TrainingConfig:
    """Return the configuration of held-out batches: nothing is varied."""
    return replace(config, data=replace(config.data, crop="centre", augment=False, vary_text=False))


class PreparedSource:
    """Batches of prepared studies: paired ones, and image-only ones where masked-image modelling wants them.

    Parameters
    ----------
    folders
        Of ``python -m training data preprocess``.
    config
        Of the run.
    rank, world
        Of this process.
    valid
        Take the validation split rather than the training split.

    Raises
    ------
    ConfigError
        If they were prepared at another spacing, or hold no study that the recipe can use.
    """

    def __init__(
        self, folders: Sequence[Path], config: TrainingConfig, *, rank: int = 0, world: int = 1, valid: bool = False
    ) -> None:
        from training.data.augment import Augmentation
        from training.data.dataset import Batches
        from training.data.plan import read_plan
        from training.data.sampling import Mixture, Part
        from training.data.store import studies_in

        split: Literal["train", "valid"] = "valid" if valid else "train"
        for folder in folders:
            _same_grid(read_plan(folder).spacing_mm, config, folder)
        found = [study for folder in folders for study in studies_in(folder, split)]
        paired = [study for study in found if study.report.strip()]
        lonely = [study for study in found if not study.report.strip()]
        wanted = config.data
        masked = config.objectives.masked is not None
        share = wanted.unpaired if masked else 0.0
        parts = [Part("paired", paired, 1.0 - share), Part("unpaired", lonely or paired, share)]
        parts = [part for part in parts if part.studies and part.weight > 0]
        if not parts:
            raise ConfigError(f"The split {split!r} of the prepared folders holds no study that this recipe can use.")
        self._mixture = Mixture(tuple(parts), config.run.batch * world, config.run.seed, by="batch")
        self._batches = Batches(
            self._mixture,
            config.model.size,
            _ENDLESS,
            rank=rank,
            world=world,
            crop=wanted.crop,
            augment=Augmentation() if wanted.augment else None,
            text=text_variation(config),
        )
        self._rank = rank
        self._said: dict[str, Statements] = {}
        self._pairs: OppositePairs | None = None
        if config.objectives.opposite is not None:
            self._said = {s.study: statements(s.study, s.patient, s.report, s.labels) for s in paired}
            self._pairs = OppositePairs(list(self._said.values()), wanted.pairs, config.run.seed)

    def __getitem__(self, number: int) -> Batch:
        batch: Batch = self._batches[number]
        if self._mixture.part_of(number) == "unpaired":  # may be paired studies, where there are no others
            batch["report"] = [""] * len(batch["report"])
        if self._pairs is not None:
            said = [
                self._said.get(study) if report else None
                for study, report in zip(batch["study"], batch["report"], strict=True)
            ]
            batch["pairs"] = self._pairs(said, number, self._rank)
        return batch


def _same_grid(spacing_mm: Sequence[float], config: TrainingConfig, folder: Path) -> None:
    wanted = config.model.spacing_mm
    if any(abs(each - wanted) > 1e-6 for each in spacing_mm):
        shown = " x ".join(f"{each:g}" for each in spacing_mm)
        message = f"{folder} was prepared at {shown} mm, the model's voxels are {wanted:g} mm."
        raise ConfigError(message, code="data")


def noise(config: TrainingConfig, seed: int = 0) -> Repeated:
    """Return two batches of noise, one with reports and one without, again and again."""
    rng = np.random.default_rng(seed)
    size, count = config.model.size, config.run.batch
    present = [f"There is {name.lower()}." for name in FINDING_NAMES]
    absent = [f"There is no {name.lower()}." for name in FINDING_NAMES]
    batches: list[dict[str, Any]] = []
    for with_report in (True, False):
        lines = [[present[int(rng.integers(18))] for _ in range(6)] for _ in range(count)]
        picked = rng.integers(0, 18, (count, config.data.pairs))
        batches.append(
            {
                "image": torch.from_numpy(rng.uniform(-1, 1, (count, 1, *size)).astype(np.float32)),
                "report": [" ".join(each) if with_report else "" for each in lines],
                "pairs": [[(present[i], absent[i], int(i % 2)) for i in row] if with_report else [] for row in picked],
                "labels": torch.from_numpy(rng.integers(0, 2, (count, 18)).astype(np.float32)),
                "mask": torch.from_numpy(rng.integers(0, 2, (count, *size)).astype(np.uint8)),
                "patient": [f"noise-{row}" for row in range(count)],
                "study": [f"noise-{row}" for row in range(count)],
            }
        )
    return Repeated(batches if config.objectives.masked is not None else batches[:1])

"""``--data``: prepared folders, a pool of phantoms, or noise for trials, as a source of numbered batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from napari_colipri.text.findings import FINDING_NAMES
from training.loop.config import TrainingConfig
from training.loop.errors import ConfigError
from training.loop.source import Repeated, Source
from training.objectives.base import Batch
from training.text.opposites import Pool, Statements, statements
from training.text.vary import TextVariation

__all__ = ["NOISE", "PhantomSource", "PreparedSource", "noise", "open_source"]

#: ``--data noise``: no data at all, for trials and measurements.
NOISE = "noise"
#: Batches that a source can be asked for: more than any run has.
_ENDLESS = 2**40


def open_source(
    data: Sequence[str], config: TrainingConfig, *, rank: int = 0, world: int = 1, valid: bool = False
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
        return PhantomSource(folders[0], _quiet(config) if valid else config, rank=rank, valid=valid)
    named = ", ".join(str(each) for each in data) or "nothing"
    raise ConfigError(
        f"--data takes prepared folders (python -m training data preprocess), one folder of phantoms, or {NOISE}; "
        f"this is none of them: {named}.",
        code="data",
    )


def _quiet(config: TrainingConfig) -> TrainingConfig:
    """Return the configuration of held-out batches: nothing is varied."""
    return replace(config, data=replace(config.data, crop="centre", augment=False, vary_text=False))


class _WithPairs:
    """Adds opposite sentences to batches."""

    def __init__(self, studies: Sequence[Statements], count: int, seed: int) -> None:
        self._pool, self._count, self._seed = Pool(studies), count, seed

    def __call__(self, said: Sequence[Statements | None], number: int, rank: int) -> list[list[tuple[str, str, int]]]:
        rng = np.random.default_rng((self._seed, 17, number, rank))
        return [[] if each is None else list(self._pool.pairs(each, self._count, rng)) for each in said]


def _text_variation(config: TrainingConfig) -> TextVariation | None:
    return TextVariation(caption=config.data.captions) if config.data.vary_text else None


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
            text=_text_variation(config),
        )
        self._rank = rank
        self._said: dict[str, Statements] = {}
        self._pairs: _WithPairs | None = None
        if config.objectives.opposite is not None:
            self._said = {s.study: statements(s.study, s.patient, s.report, s.labels) for s in paired}
            self._pairs = _WithPairs(list(self._said.values()), wanted.pairs, config.run.seed)

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


class PhantomSource:
    """Batches of the embedded bundle's phantoms, varied as its own training does.

    Parameters
    ----------
    folder
        Of ``python -m training embedded phantom``.
    config
        Of the run; its grid must be the phantoms'.
    rank
        Of this process.
    valid
        Take every twentieth phantom, which is never trained on, rather than the others.

    Raises
    ------
    ConfigError
        If the grid is another one, or there are too few.
    """

    def __init__(self, folder: Path, config: TrainingConfig, *, rank: int = 0, valid: bool = False) -> None:
        found = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
        self._paths = [path for place, path in enumerate(found) if (place % 20 == 19) == valid]
        if not self._paths:
            raise ConfigError(f"{folder} holds {len(found)} phantoms; validation takes every twentieth.", code="data")
        self._config, self._rank = config, rank
        with np.load(self._paths[0], allow_pickle=False) as first:
            if first["hu"].shape != config.model.size:
                raise ConfigError(
                    f"The phantoms are {'x'.join(map(str, first['hu'].shape))} voxels, the model grid is "
                    f"{'x'.join(map(str, config.model.size))}.",
                    code="data",
                )
        self._vary = _text_variation(config)
        self._pairs: _WithPairs | None = None
        if config.objectives.opposite is not None:
            said = [statements(path.stem, path.stem, _reports(path)[0]) for path in self._paths]
            self._pairs = _WithPairs(said, config.data.pairs, config.run.seed)

    def _alone(self, number: int) -> bool:
        """Whether a whole batch, on every process, goes without its reports: there are no image-only phantoms."""
        share = self._config.data.unpaired if self._config.objectives.masked is not None else 0.0
        return bool(np.random.default_rng((self._config.run.seed, 19, number)).random() < share)

    def __getitem__(self, number: int) -> Batch:
        from training.embedded.phantom.findings import PLANTED
        from training.embedded.pool import load_sample

        run = self._config.run
        rng = np.random.default_rng((run.seed, 23, number, self._rank))
        chosen = rng.choice(len(self._paths), run.batch, replace=len(self._paths) < run.batch)
        samples = [load_sample(self._paths[index], rng, augment=self._config.data.augment) for index in chosen]
        keys = [self._paths[index].stem for index in chosen]
        alone = self._alone(number)
        reports = ["" if alone else sample.report for sample in samples]
        labels = np.full((len(samples), len(FINDING_NAMES)), np.nan, np.float32)
        labels[:, [FINDING_NAMES.index(name) for name in PLANTED]] = [sample.present for sample in samples]
        batch: Batch = {
            "image": torch.from_numpy(np.stack([sample.image for sample in samples])[:, None]),
            "report": [self._vary(text, rng) if self._vary and text else text for text in reports],
            "labels": torch.from_numpy(labels),
            "mask": torch.from_numpy(np.stack([sample.labels for sample in samples])),
            "finding_mask": torch.from_numpy(np.stack([_canonical_bits(sample.truth) for sample in samples])),
            "patient": keys,
            "study": keys,
        }
        if self._pairs is not None:
            said = [
                statements(key, key, text, _known(row)) if text else None
                for key, text, row in zip(keys, reports, labels, strict=True)
            ]
            batch["pairs"] = self._pairs(said, number, self._rank)
        return batch


def _canonical_bits(truth: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return the phantoms' bits in the order of the 18 findings."""
    from training.embedded.phantom.findings import PLANTED

    out = np.zeros(truth.shape, np.int32)
    for bit, name in enumerate(PLANTED):
        out |= ((truth.astype(np.int32) >> bit) & 1) << FINDING_NAMES.index(name)
    return out


def _reports(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as data:
        text: str = data["reports"].tobytes().decode()
    return text.split("\n")


def _known(row: npt.NDArray[np.float32]) -> Mapping[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(FINDING_NAMES, row, strict=True)}


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

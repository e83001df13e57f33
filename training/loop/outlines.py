"""Real scans of which only the lungs are known, joined to batches of phantoms: one volume every so many batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from napari_colipri.text.findings import FINDING_NAMES
from training.data.lungs import read_outline
from training.loop.config import TrainingConfig
from training.loop.errors import ConfigError
from training.loop.source import Source
from training.objectives.base import Batch
from training.objectives.lesions import UNMARKED
from training.objectives.supervised import UNKNOWN

__all__ = ["WithOutlines"]

_REACH = 4


class WithOutlines:
    """Batches of another source, some of them with one scan more; whatever is not known of it is marked so.

    Parameters
    ----------
    source
        Of phantoms.
    config
        ``data.outlines`` is the folder of ``python -m training data lungs``, ``data.outline_every`` how often.
    rank
        Of this process.

    Raises
    ------
    ConfigError
        If the folder holds no scan, or one on another grid.
    """

    def __init__(self, source: Source, config: TrainingConfig, *, rank: int = 0) -> None:
        folder = Path(config.data.outlines or "")
        paths = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
        self._scans = [read_outline(path) for path in paths]
        if not self._scans:
            raise ConfigError(f"{folder} holds no scan with the outline of its lungs.", code="data")
        for path, (image, _) in zip(paths, self._scans, strict=True):
            if image.shape != config.model.size:
                raise ConfigError(f"{path.name} is on another grid than the model's.", code="data")
        self._source, self._config, self._rank = source, config, rank

    def __getitem__(self, number: int) -> Batch:
        batch = self._source[number]
        lungs = torch.full(batch["mask"].shape, UNKNOWN, dtype=torch.uint8)
        if number % self._config.data.outline_every:
            return batch | {"lungs": lungs}
        rng = np.random.default_rng((self._config.run.seed, 37, number, self._rank))
        image, outline = _varied(*self._scans[int(rng.integers(len(self._scans)))], rng)
        shape = (1, *outline.shape)
        added: Batch = {
            "image": torch.from_numpy(image)[None, None],
            "labels": torch.full((1, len(FINDING_NAMES)), torch.nan),
            "mask": torch.full(shape, UNKNOWN, dtype=torch.uint8),
            "finding_mask": torch.full(shape, UNMARKED, dtype=torch.int32),
        }
        out = {key: torch.cat([batch[key], value]) for key, value in added.items()}
        named = {key: [*batch[key], f"outline-{number}"] for key in ("patient", "study")}
        more = {key: [*batch[key], empty] for key, empty in (("report", ""), ("pairs", [])) if key in batch}
        return batch | out | named | more | {"lungs": torch.cat([lungs, torch.from_numpy(outline)[None]])}


def _varied(
    image: npt.NDArray[np.float32], lungs: npt.NDArray[np.uint8], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Shift a scan and vary its densities; never mirrored."""
    shift = tuple(int(value) for value in rng.integers(-_REACH, _REACH + 1, 3))
    image, lungs = np.roll(image, shift, (0, 1, 2)), np.roll(lungs, shift, (0, 1, 2))
    noise = rng.normal(0, rng.uniform(0, 0.03), image.shape).astype(np.float32)
    varied = np.clip(image * rng.uniform(0.95, 1.05) + rng.normal(0, 0.015), -1, 1) + noise
    return varied.astype(np.float32), np.ascontiguousarray(lungs)

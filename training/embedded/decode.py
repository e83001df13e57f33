"""A stage of its own for the masks: the towers of a bundle stay as they are, only its decoder is trained further.

Beside the towers the decoder sees a few hundred updates, too few for thin structures: the Dice term of a class that is
never drawn gives hardly any gradient. Here every step decodes, and cross-entropy weights rare classes up.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.engine.decoder import PatchConvDecoder, PatchDecoder
from napari_colipri.engine.towers import ImageEncoder
from napari_colipri.engine.weights import load_decoder, load_towers
from training.embedded.data import Batch, PoolDataset, RealScan, augment_real
from training.embedded.losses import lung_loss, segmentation_loss
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.ship import with_decoder

__all__ = ["DecoderRecipe", "DecoderTrainer", "train_decoder"]

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True)
class DecoderRecipe:
    """How to train the decoder.

    Attributes
    ----------
    minutes
        Length of the run; the learning rate follows the clock along a cosine.
    learning_rate
        Of AdamW at its highest.
    batch
        Phantoms per step.
    real_every
        One real scan (lung outlines only) joins every so many steps.
    ema
        Decay of the averaged weights.
    """

    minutes: float = 40.0
    learning_rate: float = 2.0e-3
    batch: int = 2
    real_every: int = 3
    ema: float = 0.995
    seed: int = 5


#: Cross-entropy weights in the order of ``CLASSES``: about the root of how rare a class is.
CLASS_WEIGHTS = (0.5, 1.0, 1.0, 1.2, 2.0, 3.0, 1.5, 1.2, 4.0)


class DecoderTrainer:
    """Frozen vision tower, moving decoder.

    Parameters
    ----------
    encoder
        Vision tower in evaluation mode.
    decoder
        To be trained.
    recipe
        How.
    real
        Real scans of the training split.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: PatchConvDecoder | PatchDecoder,
        recipe: DecoderRecipe,
        real: list[RealScan],
    ) -> None:
        self.encoder, self.recipe, self.real = encoder, recipe, real
        self.decoder = decoder.requires_grad_(True).train()
        self.average = {key: value.detach().clone() for key, value in decoder.state_dict().items()}
        self.optimiser = torch.optim.AdamW(decoder.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
        self.weights = torch.tensor(CLASS_WEIGHTS)
        self.rng = np.random.default_rng(recipe.seed)
        self.steps = 0
        self.seconds = 0.0

    def rate(self) -> float:
        """Learning rate now: warm-up over 40 steps, cosine over the clock."""
        done = min(1.0, self.seconds / (self.recipe.minutes * 60))
        warm = min(1.0, (self.steps + 1) / 40)
        return self.recipe.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def _scores(self, images_B1XYZ: Tensor) -> Tensor:
        with torch.no_grad():
            tokens = self.encoder.tokens(images_B1XYZ)
        out: Tensor = self.decoder(tokens, images_B1XYZ.contiguous(memory_format=torch.channels_last_3d))
        return out

    def step(self, batch: Batch) -> dict[str, float]:
        """One update; returns the losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = self._scores(batch.images)
        losses = {"segment_loss": segmentation_loss(scores, batch.labels, self.weights)}
        if self.real and self.steps % self.recipe.real_every == 0:
            image, lungs = augment_real(self.real[int(self.rng.integers(len(self.real)))], self.rng)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = self._scores(image[None])
            losses["lung_loss"] = lung_loss(scores, lungs[None], CLASSES)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(f"step {self.steps}: the loss is not finite")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimiser.step()
        self._follow()
        self.steps += 1
        return {key: float(value.detach()) for key, value in losses.items()}

    def _follow(self) -> None:
        decay = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        for key, value in self.decoder.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)


def _batches(pool: Path, recipe: DecoderRecipe, workers: int) -> Iterator[Batch]:
    data = PoolDataset(pool, recipe.batch, recipe.seed * 1000)
    loader = DataLoader(data, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)
    yield from loader


def train_decoder(
    source: Path, pool: Path, target: Path, recipe: DecoderRecipe, real: list[RealScan], *, workers: int = 1
) -> Path:
    """Train the decoder of a bundle further and write a bundle with the same towers.

    Parameters
    ----------
    source
        Bundle to start from.
    pool
        Phantoms.
    target
        Bundle folder to write; rewritten every two minutes with the averaged weights.
    recipe
        How to train.
    real
        Real scans of the training split, for the outline of the lungs.
    workers
        Processes that read phantoms.

    Returns
    -------
    Path
        ``target``.
    """
    torch.manual_seed(recipe.seed)
    bundle = open_bundle(source)
    trainer = DecoderTrainer(load_towers(bundle).image_encoder, load_decoder(bundle), recipe, real)
    last_save = time.monotonic()
    target.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".log.jsonl").open("a", encoding="utf-8") as file:
        for batch in _batches(pool, recipe, workers):
            start = time.monotonic()
            losses = trainer.step(batch)
            now = time.monotonic()
            trainer.seconds += now - start
            if trainer.steps % 20 == 0:
                line = {"step": trainer.steps, "seconds": round(trainer.seconds, 1), **losses}
                file.write(json.dumps({key: round(value, 4) for key, value in line.items()}) + "\n")
                file.flush()
            over = trainer.seconds >= recipe.minutes * 60
            if over or now - last_save > CHECKPOINT_SECONDS:
                _write(bundle, trainer, pool, target)
                last_save = now
            if over:
                break
    return target


def _write(bundle: Bundle, trainer: DecoderTrainer, pool: Path, target: Path) -> None:
    """Write the bundle with the averaged decoder; the configuration comes last."""
    stage: dict[str, Any] = {
        "steps": trainer.steps,
        "phantoms": sum(1 for item in pool.glob("*.npz") if not item.name.startswith(".")),
        "minutes": round(trainer.seconds / 60),
        "class_weights": list(CLASS_WEIGHTS),
        "recipe": asdict(trainer.recipe),
    }
    with_decoder(bundle, trainer.average, target, stage)

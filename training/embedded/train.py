"""The training loop of the embedded bundle: restartable, on the clock, with a log line every few steps."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from training.embedded.config import Recipe, Sizes
from training.embedded.data import Batch, PoolDataset, RealScan, augment_real
from training.embedded.losses import (
    contrast_loss,
    dense_loss,
    label_loss,
    lung_loss,
    patch_targets,
    segmentation_loss,
    sentence_loss,
)
from training.embedded.model import TrainingModel
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.findings import PLANTED
from training.embedded.phantom.report import absent_sentences, present_sentences, vocabulary
from training.embedded.text import encode, make_tokenizer

__all__ = ["Trainer", "run"]

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 180.0


@dataclass
class _State:
    step: int = 0
    volumes: int = 0
    seconds: float = 0.0
    totals: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Owns the model, its averaged copy, the optimiser and the clock.

    Parameters
    ----------
    folder
        Where checkpoints (safetensors) and ``log.jsonl`` go.
    sizes, recipe
        What to train and how.
    real
        Real scans of the training split for the decoder.
    """

    def __init__(self, folder: Path, sizes: Sizes, recipe: Recipe, real: list[RealScan]) -> None:
        torch.manual_seed(recipe.seed)
        self.folder, self.sizes, self.recipe, self.real = folder, sizes, recipe, real
        folder.mkdir(parents=True, exist_ok=True)
        vocab = vocabulary()
        self.tokenizer = make_tokenizer(vocab)
        self.model = TrainingModel(sizes, len(vocab))
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
        )
        self.state = _State()
        self.rng = np.random.default_rng(recipe.seed)
        self._sentences = {
            "present": [present_sentences(name) for name in PLANTED],
            "absent": [absent_sentences(name) for name in PLANTED],
        }

    def rate(self) -> float:
        """Learning rate now: linear warm-up, then a cosine over the clock."""
        done = min(1.0, self.state.seconds / (self.recipe.minutes * 60))
        warm = min(1.0, (self.state.step + 1) / self.recipe.warm_up)
        return self.recipe.learning_rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """All losses of one batch, weighted."""
        recipe, model = self.recipe, self.model
        tokens = model.towers.image_encoder.tokens(batch.images)
        fractions = patch_targets(batch.labels, batch.truth, len(CLASSES), len(PLANTED), self.sizes.patch)
        pooled = model.pooled(tokens).float()
        out = {
            "dense_loss": recipe.dense * dense_loss(model.class_head(tokens), model.finding_head(tokens), *fractions),
            "label_loss": recipe.label * label_loss(model.label_head(model.centre(pooled)), batch.present),
        }
        if self.state.step % recipe.decoder_every == 0:
            out["segment_loss"] = recipe.segment * self._decode(tokens, batch)
        image = F.normalize(pooled, dim=1)
        present, absent, which = self.opposite_sentences()
        out["sentence_loss"] = recipe.sentence * sentence_loss(
            image, present, absent, which, batch.present, model.scale
        )
        said = [i for i, report in enumerate(batch.reports) if report]
        if len(said) > 1 and self.state.step % recipe.contrast_every == 0:
            text = self.embed([batch.reports[i] for i in said])
            out["contrast_loss"] = recipe.contrast * contrast_loss(image[said], text, model.scale)
        return out

    def embed(self, texts: list[str]) -> Tensor:
        """Return text embeddings [n, D]."""
        ids, mask = encode(self.tokenizer, texts, self.sizes.text_length)
        encoder = self.model.towers.text_encoder
        if encoder is None:
            raise ValueError("training needs a text tower")
        out: Tensor = encoder(ids, mask)
        return out.float()

    def opposite_sentences(self, each: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings of ``each`` random sentences per finding and of their negations, and whose they are."""
        texts: dict[str, list[str]] = {"present": [], "absent": []}
        which = torch.arange(len(PLANTED)).repeat_interleave(each)
        for side, lines in texts.items():
            for index in which.tolist():
                choices = self._sentences[side][index]
                lines.append(choices[int(self.rng.integers(len(choices)))])
        embedded = self.embed(texts["present"] + texts["absent"])
        present, absent = embedded.chunk(2)
        return present, absent, which

    def _decode(self, tokens: Tensor, batch: Batch) -> Tensor:
        n = self.recipe.decoder_samples
        logits = self.model.decoder(tokens[:n], batch.images[:n].contiguous(memory_format=torch.channels_last_3d))
        loss = segmentation_loss(logits, batch.labels[:n])
        if self.real and self.state.step % self.recipe.real_every == 0:
            scan = self.real[int(self.rng.integers(len(self.real)))]
            image, lungs = augment_real(scan, self.rng)
            real_tokens = self.model.towers.image_encoder.tokens(image[None])
            loss = loss + lung_loss(self.model.decoder(real_tokens, image[None]), lungs[None], CLASSES)
        return loss

    def step(self, batch: Batch) -> dict[str, float]:
        """One update; returns the losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = self.losses(batch)
            total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            log.warning("step %d: loss is not finite, skipped", self.state.step)
            return {}
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.follow()
        shown = {"loss": total, "norm": norm, **losses}
        return {key: float(value.detach()) for key, value in shown.items()}

    def follow(self) -> None:
        """Move the averaged weights towards the current ones."""
        decay = min(self.recipe.ema, (1 + self.state.step) / (10 + self.state.step))
        for key, value in self.model.state_dict().items():
            kept = self.average[key]
            if value.is_floating_point():
                kept.lerp_(value, 1 - decay)
            else:
                kept.copy_(value)

    def save(self) -> None:
        """Write weights, averaged weights and optimiser moments beside the old ones, then replace."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, parameter in enumerate(self.model.parameters()):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{key}"] = value
        meta: dict[str, Any] = {"step": self.state.step, "volumes": self.state.volumes, "seconds": self.state.seconds}
        meta |= {"sizes": asdict(self.sizes), "recipe": asdict(self.recipe)}
        beside = self.folder / "checkpoint.part"
        save_file({k: v.contiguous() for k, v in tensors.items()}, beside, {"meta": json.dumps(meta)})
        beside.replace(self.folder / "checkpoint.safetensors")

    def restore(self) -> bool:
        """Continue from the folder's checkpoint, if there is one."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return False
        tensors = load_file(path)
        meta = read_meta(path)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        for index, parameter in enumerate(self.model.parameters()):
            prefix = f"optimiser.{index}."
            moments = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if moments:
                self.optimiser.state[parameter] = moments
        self.state.step, self.state.volumes, self.state.seconds = meta["step"], meta["volumes"], meta["seconds"]
        self.rng = np.random.default_rng((self.recipe.seed, self.state.step))
        return True


def read_meta(path: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        out: dict[str, Any] = json.loads(file.metadata()["meta"])
    return out


def run(folder: Path, pool: Path, sizes: Sizes, recipe: Recipe, real: list[RealScan], *, workers: int = 1) -> None:
    """Train until the clock of the recipe runs out, or continue an interrupted run."""
    trainer = Trainer(folder, sizes, recipe, real)
    if trainer.restore():
        log.info("continued at step %d", trainer.state.step)
    data = PoolDataset(pool, recipe.batch, recipe.seed * 1000 + trainer.state.step)
    loader = DataLoader(data, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)
    trainer.model.train()
    state, last_save = trainer.state, time.monotonic()
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        for batch in loader:
            start = time.monotonic()
            losses = trainer.step(batch)
            now = time.monotonic()
            state.step += 1
            state.volumes += recipe.batch
            state.seconds += now - start
            if state.step % 20 == 0:
                line = {"step": state.step, "volumes": state.volumes, "seconds": round(state.seconds, 1), **losses}
                file.write(json.dumps({k: round(v, 4) for k, v in line.items()}) + "\n")
                file.flush()
            over = state.seconds >= recipe.minutes * 60
            if over or now - last_save > CHECKPOINT_SECONDS:
                trainer.save()
                last_save = now
            if over:
                return

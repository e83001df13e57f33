"""The second stage: the vision tower is frozen and its tokens are cached, so that large batches align image and text.

At batch 8 the pooled embedding learns slowly, while the tokens already tell the findings apart. With cached tokens a
step on 64 volumes costs less than a step on 8 whole ones, and only projector, pooling and text tower move.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_colipri.engine.bundle import open_bundle
from napari_colipri.engine.weights import load_towers
from training.embedded.config import Recipe, Sizes
from training.embedded.losses import contrast_loss, label_loss, sentence_loss
from training.embedded.pool import load_sample
from training.embedded.ship import with_towers
from training.embedded.train import Trainer, read_meta

__all__ = ["Tokens", "align", "align_bundle", "cache_tokens"]

log = logging.getLogger(__name__)
BATCH = 64
WARM_UP = 40
RATE = 1.0e-3


class Tokens:
    """Tokens of augmented phantoms in memory: float16 [N, x, y, z, C], labels [N, F], one report each."""

    def __init__(self, tokens: Tensor, present: Tensor, reports: list[str]) -> None:
        self.tokens, self.present, self.reports = tokens, present, reports


def cache_tokens(trainer: Trainer, pool: Path, limit: int, seed: int) -> Tokens:
    """Encode up to ``limit`` phantoms of ``pool`` once, augmented as in training (about 0.3 MB each)."""
    paths = sorted(p for p in pool.glob("*.npz") if not p.name.startswith("."))[:limit]
    encoder = trainer.model.towers.image_encoder
    rng = np.random.default_rng(seed)
    edge = trainer.sizes.grid // trainer.sizes.patch
    tokens = torch.empty((len(paths), edge, edge, edge, trainer.sizes.embed_dim), dtype=torch.float16)
    present, reports = [], []
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for index, path in enumerate(paths):
            sample = load_sample(path, rng)
            tokens[index] = encoder.tokens(torch.from_numpy(sample.image)[None, None])[0].half()
            present.append(torch.from_numpy(sample.present))
            reports.append(sample.report)
    return Tokens(tokens, torch.stack(present), reports)


def _losses(trainer: Trainer, cached: Tokens, picked: list[int], step: int) -> Tensor:
    model, recipe = trainer.model, trainer.recipe
    pooled = model.pooled(cached.tokens[picked].float()).float()
    truth = cached.present[picked]
    image = F.normalize(pooled, dim=1)
    present, absent, which = trainer.opposite_sentences(each=2)
    total = sentence_loss(image, present, absent, which, truth, model.scale)
    total = total + recipe.label * label_loss(model.label_head(model.centre(pooled)), truth)
    said = [place for place, index in enumerate(picked) if cached.reports[index]][:32]
    if step % recipe.contrast_every == 0 and len(said) > 1:
        text = trainer.embed([cached.reports[picked[place]] for place in said])
        total = total + recipe.contrast * contrast_loss(image[said], text, model.scale)
    return total


def align(folder: Path, pool: Path, target: Path, *, minutes: float, limit: int = 5000) -> None:
    """Align from the averaged weights of a finished run and write a checkpoint that ``ship`` takes.

    Parameters
    ----------
    folder
        Of the run.
    pool
        Phantoms.
    target
        Folder that takes the new checkpoint and its log.
    minutes
        Of training, after the tokens are cached.
    limit
        Phantoms to cache.
    """
    meta = read_meta(folder / "checkpoint.safetensors")
    recipe = replace(Recipe(**meta["recipe"]), ema=0.99)
    trainer = Trainer(folder, Sizes(**meta["sizes"]), recipe, [])
    trainer.restore()
    trainer.folder = target
    trainer.model.load_state_dict(trainer.average)
    _move(trainer, pool, target, minutes=minutes, limit=limit)
    trainer.save()


def align_bundle(source: Path, pool: Path, target: Path, *, minutes: float, limit: int = 5000) -> Path:
    """Align a bundle further on new phantoms: its vision tower and its masks stay as they are.

    Parameters
    ----------
    source
        Bundle to start from.
    pool
        Phantoms, of seeds that the bundle has not seen if possible.
    target
        Bundle folder to write.
    minutes
        Of training, after the tokens are cached.
    limit
        Phantoms to cache.

    Returns
    -------
    Path
        ``target``.
    """
    bundle = open_bundle(source)
    trainer = Trainer(target, Sizes(), Recipe(ema=0.99, seed=2), [])
    towers = load_towers(bundle)
    trainer.model.towers.load_state_dict(towers.state_dict())
    with torch.no_grad():
        trainer.model.log_scale.copy_(-torch.log(towers.softmax_temperature))
    trainer.average = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    count = _move(trainer, pool, target, minutes=minutes, limit=limit)
    stage = {"phantoms": count, "steps": trainer.state.step, "minutes": round(trainer.state.seconds / 60)}
    with_towers(bundle, trainer.average, target, stage)
    return target


def _move(trainer: Trainer, pool: Path, target: Path, *, minutes: float, limit: int) -> int:
    """Cache tokens, then train projector, pooling and text tower; returns the number of phantoms cached."""
    target.mkdir(parents=True, exist_ok=True)
    model, recipe = trainer.model, trainer.recipe
    model.eval()
    cached = cache_tokens(trainer, pool, limit, seed=trainer.state.step)
    model.train()
    moving = [model.log_scale, *model.label_head.parameters()]
    towers = model.towers
    for part in (towers.image_encoder.projector, towers.image_encoder.pooler, towers.text_encoder):
        if part is not None:
            moving.extend(part.parameters())
    optimiser = torch.optim.AdamW(moving, lr=RATE, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    start = time.monotonic()
    rng = np.random.default_rng(recipe.seed)
    with target.with_suffix(".log.jsonl").open("a", encoding="utf-8") as file:
        for step in range(10**6):
            done = (time.monotonic() - start) / (60 * minutes)
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
            picked = rng.permutation(len(cached.reports))[:BATCH].tolist()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                total = _losses(trainer, cached, picked, step)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(moving, recipe.clip)
            optimiser.step()
            trainer.follow()
            trainer.state.step += 1
            if step % 20 == 0:
                file.write(json.dumps({"step": step, "loss": round(float(total.detach()), 4)}) + "\n")
                file.flush()
    trainer.state.seconds += time.monotonic() - start
    return len(cached.reports)

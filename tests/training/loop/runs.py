"""Small runs on the tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.training import tiny
from training.loop.config import OptimiserConfig, RunConfig, TrainingConfig
from training.loop.engine import Trainer
from training.loop.source import Source
from training.objectives.base import Batch
from training.objectives.model import ModelConfig
from training.objectives.task import ObjectivesConfig


def config(objectives: ObjectivesConfig = tiny.ALL, *, model: ModelConfig = tiny.WOBBLY, **run: Any) -> TrainingConfig:
    usual = {
        "steps": 6,
        "batch": 2,
        "accumulate": 2,
        "save_every": 100,
        "log_every": 1,
        "tensorboard": False,
        "seed": 5,
    }
    return TrainingConfig(
        name="tiny",
        vocabulary=str(tiny.VOCABULARY),
        model=model,
        objectives=objectives,
        optimiser=OptimiserConfig(learning_rate=2e-3, warm_up=2),
        run=RunConfig(**(usual | run)),
    )


class Numbered:
    """A batch for every number: two of the four studies, noise of their own, masks drawn by the objective."""

    def __init__(self, spoil: range = range(0)) -> None:
        self.spoil = spoil
        self.asked: list[int] = []

    def __getitem__(self, number: int) -> Batch:
        self.asked.append(number)
        first = 2 * (number % 2)
        batch = tiny.batch(range(first, first + 2), seed=number)
        del batch["visible"]
        if number in self.spoil:
            batch["image"] = batch["image"] * torch.nan
        return batch


def trainer(folder: Path, source: Source | None = None, made: TrainingConfig | None = None, **run: Any) -> Trainer:
    given = made or config()
    return Trainer(replace(given, run=replace(given.run, **run)), source or Numbered(), folder, cpu=True)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]

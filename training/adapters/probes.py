"""Probes by the field's protocol: four rates × five poolings on frozen tokens, the best by validation AUPRC kept.

The protocol (12,500 steps of 16 studies, binary cross-entropy, rates 0.1, 0.03, 0.01, 0.003, five poolings,
thresholds of highest F1 on validation studies) is known from others' code, which does not state the optimiser; SGD
with momentum 0.9 and a cosine to zero is ours. All twenty probes see the same batches, so that a batch of tokens is
read once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_colipri.engine.probe import POOLINGS, Pooling, Probe
from napari_colipri.progress import Progress, report_nothing
from training.adapters.artifact import Adapter, write_adapter
from training.adapters.fitting import label_loss, picks
from training.adapters.tokens import TokenBatch, TokenSet, check_pair
from training.evaluation.bootstrap import Floats, mean_known
from training.evaluation.ranking import average_precision, best_threshold
from training.evaluation.scores import EvaluationError, Scores

__all__ = ["RATES", "ProbeRecipe", "TrainedProbe", "probe_scores", "save_probe", "train_probes"]

RATES = (0.1, 0.03, 0.01, 0.003)


@dataclass(frozen=True)
class ProbeRecipe:
    """How to train the grid.

    Attributes
    ----------
    steps, batch
        Of each probe.
    rates, poolings
        The grid.
    momentum
        Of SGD.
    seed
        Of weights and order.
    """

    steps: int = 12_500
    batch: int = 16
    rates: tuple[float, ...] = RATES
    poolings: tuple[Pooling, ...] = POOLINGS
    momentum: float = 0.9
    seed: int = 0


@dataclass(frozen=True, eq=False)
class TrainedProbe:
    """The winner of a grid.

    Attributes
    ----------
    probe
        With its weights.
    findings
        Of its outputs: those with positives and negatives in training and validation.
    rate
        Of learning.
    thresholds
        Per finding, highest F1 on the validation studies.
    grid
        (pooling, rate) to macro AUPRC on the validation studies; NaN where training did not stay finite.
    """

    probe: Probe
    findings: tuple[str, ...]
    rate: float
    thresholds: dict[str, float]
    grid: dict[tuple[Pooling, float], float]

    def record(self) -> dict[str, Any]:
        """Return what a bundle's training record says about the grid."""
        rows = [
            {"pooling": pooling, "rate": rate, "validation_auprc": round(value, 4) if math.isfinite(value) else None}
            for (pooling, rate), value in self.grid.items()
        ]
        return {"pooling": self.probe.pooling, "rate": self.rate, "grid": rows}


def _statistics(tokens: TokenSet, limit: int = 256) -> tuple[Tensor, Tensor]:
    """Mean and spread per channel of the tokens that hold image, on at most ``limit`` studies."""
    total = square = torch.zeros(1, dtype=torch.float64)
    count = 0
    for index in range(min(len(tokens), limit)):
        batch = tokens.batch([index])
        held = batch.tokens[batch.inside].double()
        total, square, count = total + held.sum(0), square + (held**2).sum(0), count + len(held)
    mean = total / max(count, 1)
    spread = (square / max(count, 1) - mean**2).clamp(min=1e-12).sqrt()
    return mean.float(), spread.clamp(min=1e-4).float()


def _flat(batch: TokenBatch) -> tuple[Tensor, Tensor]:
    return batch.tokens.flatten(1, 3), batch.inside.flatten(1)


def _learnable(train: TokenSet, valid: TokenSet) -> list[int]:
    """Columns that have positives and negatives on both sides."""
    both = [(labels == value).any(axis=0) for labels in (train.labels, valid.labels) for value in (0, 1)]
    return [int(column) for column in np.flatnonzero(np.logical_and.reduce(both))]


def train_probes(
    train: TokenSet, valid: TokenSet, recipe: ProbeRecipe | None = None, progress: Progress = report_nothing
) -> TrainedProbe:
    """Train the grid and keep the best.

    Parameters
    ----------
    train, valid
        Cached tokens of disjoint patients.
    recipe
        The grid and its length.
    progress
        Told now and then.

    Raises
    ------
    EvaluationError
        If patients are shared, the sets do not fit, nothing can be learned, or no probe stayed finite.
    """
    recipe = recipe or ProbeRecipe()
    check_pair(train, valid)
    columns = _learnable(train, valid)
    if not columns:
        raise EvaluationError("No finding has positives and negatives in training and validation.", code="empty")
    findings = tuple(train.findings[column] for column in columns)
    grid = list(itertools.product(recipe.poolings, recipe.rates))
    centre, spread = _statistics(train)
    probes, optimisers, schedules = [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        for pooling, rate in grid:
            probe = Probe(embed_dim=centre.numel(), findings=len(columns), pooling=pooling)
            probe.centre.copy_(centre)
            probe.spread.copy_(spread)
            optimiser = torch.optim.SGD(probe.parameters(), lr=rate, momentum=recipe.momentum)
            probes.append(probe)
            optimisers.append(optimiser)
            schedules.append(torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps))
    batches = picks(len(train), recipe.batch, recipe.seed)
    for step, picked in zip(range(recipe.steps), batches, strict=False):
        batch = train.batch(picked)
        tokens, inside = _flat(batch)
        x = probes[0].standardised(tokens)  # all of them centre alike
        for probe, optimiser, schedule in zip(probes, optimisers, schedules, strict=True):
            loss = label_loss(probe.logits(x, inside), batch.labels[:, columns])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
        if step % 50 == 0:
            progress(step / recipe.steps, "Training probes")
    return _best(probes, grid, valid, columns, findings)


def _best(
    probes: Sequence[Probe],
    grid: Sequence[tuple[Pooling, float]],
    valid: TokenSet,
    columns: Sequence[int],
    findings: tuple[str, ...],
) -> TrainedProbe:
    truth = valid.labels[:, list(columns)]
    answers = [_probabilities(probe, valid) for probe in probes]
    values = []
    for given in answers:
        per = [_auprc(given[:, i], truth[:, i]) for i in range(len(columns))]
        values.append(float(mean_known(np.array(per))) if np.isfinite(given).all() else float("nan"))
    if not np.isfinite(values).any():
        raise EvaluationError("No probe of the grid stayed finite.", code="not_finite")
    place = int(np.nanargmax(values))
    thresholds = {}
    for i, name in enumerate(findings):
        known = np.isfinite(truth[:, i])
        thresholds[name] = best_threshold(answers[place][known, i], truth[known, i] > 0)
    winner = probes[place].eval().requires_grad_(False)
    return TrainedProbe(winner, findings, grid[place][1], thresholds, dict(zip(grid, values, strict=True)))


def _auprc(scores: Floats, labels: Any) -> float:
    known = np.isfinite(labels)
    return float(average_precision(scores[known], labels[known] > 0, np.ones((1, int(known.sum()))))[0])


@torch.inference_mode()
def _probabilities(probe: Probe, tokens: TokenSet, batch: int = 16) -> Floats:
    rows = [
        probe(*_flat(tokens.batch(range(start, min(start + batch, len(tokens)))))).sigmoid().numpy()
        for start in range(0, len(tokens), batch)
    ]
    return np.concatenate(rows).astype(np.float64)


def probe_scores(trained: TrainedProbe, tokens: TokenSet) -> Scores:
    """Return the probe's probabilities on cached studies beside their labels."""
    columns = [tokens.findings.index(name) for name in trained.findings]
    return Scores(
        trained.findings,
        _probabilities(trained.probe, tokens),
        tokens.labels[:, columns].astype(np.float64),
        tuple(study.patient for study in tokens.studies),
        tuple(study.study for study in tokens.studies),
    )


def save_probe(folder: Path, trained: TrainedProbe, recipe: ProbeRecipe, *, towers: str, studies: int) -> Adapter:
    """Write the adapter; a threshold that is never reached is null."""
    thresholds = [trained.thresholds[name] for name in trained.findings]
    config = {
        "pooling": trained.probe.pooling,
        "findings": list(trained.findings),
        "thresholds": [value if math.isfinite(value) else None for value in thresholds],
    }
    training = {"studies": studies, "recipe": asdict(recipe), **trained.record()}
    return write_adapter(folder, "probes", trained.probe.state_dict(), config, towers=towers, training=training)

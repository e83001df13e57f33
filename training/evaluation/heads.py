"""What the heads of a run know of findings: per cell, per patch and per volume. Says where along the way they get lost.

The convolutional path is asked per cell, the tower per patch, the pooling per volume; a finding that the first sees and
the last does not is one that pooling drops. Studies are those of a pool that training leaves out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from napari_colipri.progress import CancelToken, Progress
from napari_colipri.text.findings import FINDING_NAMES
from training.evaluation.scores import EvaluationError, Scores
from training.loop import checkpoint
from training.loop.config import TrainingConfig, parse_config
from training.loop.phantoms import PhantomSource
from training.objectives.base import Batch
from training.objectives.detail import Detail
from training.objectives.lesions import Lesions, volume_logits
from training.objectives.supervised import Labels
from training.objectives.task import Task, build_task

__all__ = ["head_scores", "load_run"]


def load_run(run: Path) -> tuple[Task, TrainingConfig, int]:
    """Return the task of a run's newest checkpoint, averaged weights where it has them, its configuration and step.

    Raises
    ------
    EvaluationError
        If there is no checkpoint.
    CheckpointError, ConfigError
        If it cannot be read.
    """
    found = checkpoint.latest(run)
    if found is None:
        raise EvaluationError(f"{run.name} holds no checkpoint of a run.", code="no_run")
    config = parse_config(found.state["config"], run.name)
    task = build_task(config.model, config.objectives, config.vocabulary_folder)
    task.load_state_dict(found.tensors("average" if config.run.ema else "weights"))
    return task.eval(), config, int(found.state["step"])


def head_scores(
    task: Task, config: TrainingConfig, pool: Path, count: int, progress: Progress, cancel: CancelToken
) -> dict[str, Scores]:
    """Return the scores of every head of a run over the phantoms of a pool that training leaves out.

    Parameters
    ----------
    task, config
        From :func:`load_run`.
    pool
        Folder of ``python -m training phantom make``.
    count
        Phantoms at most.
    progress, cancel
        Asked and told before every phantom.

    Returns
    -------
    dict
        ``cells``, ``patches``, ``volume``: those that the run trained. Logits, higher = more likely present.

    Raises
    ------
    EvaluationError
        If the run has no head that knows findings.
    ConfigError
        If the pool does not fit the run.
    Cancelled
        If it was cancelled.
    """
    plain = replace(config, data=replace(config.data, augment=False, vary_text=False, cached=0))
    source = PhantomSource(pool, plain, valid=True)
    number = min(count, len(source))
    labels, rows = [], list[dict[str, Tensor]]()
    kind = torch.bfloat16 if config.run.precision == "bfloat16" else torch.float32
    for index in range(number):
        cancel.check()
        progress(index / number, f"Phantom {index + 1} of {number}")
        batch = source.volume(index)
        labels.append(batch["labels"][0].numpy())
        with torch.inference_mode(), torch.autocast("cpu", dtype=kind, enabled=kind is not torch.float32):
            rows.append(_of_volume(task, batch))
    if not rows[0]:
        raise EvaluationError(f"The run {config.name} has no head that knows findings.", code="no_heads")
    keys = tuple(f"phantom {index}" for index in range(number))
    truth = np.array(labels, dtype=np.float64)
    return {
        name: Scores(
            FINDING_NAMES, np.array([row[name].double().numpy() for row in rows], dtype=np.float64), truth, keys, keys
        )
        for name in rows[0]
    }


def _of_volume(task: Task, batch: Batch) -> dict[str, Tensor]:
    """Return logits [F] of each head for a batch of one volume."""
    model, out = task.model, {}
    for objective in task.each():
        if isinstance(objective, Detail):
            details = model.details(batch)
            if details is not None:
                out["cells"] = _all_places(objective.findings, objective, details.flatten(2).transpose(1, 2))
        elif isinstance(objective, Lesions):
            out["patches"] = _all_places(objective.head, objective, model.tokens(batch).flatten(1, 3))
        elif isinstance(objective, Labels):
            pooled = (model.pooled(batch) - objective.centre) / objective.spread
            out["volume"] = objective.head(pooled).float()[0]
    return out


def _all_places(head: nn.Linear, objective: Detail | Lesions, places_1NC: Tensor) -> Tensor:
    return volume_logits(head(places_1NC), objective.volume(places_1NC), objective.share)[0]

"""A task owns the model, the objectives and their weights; its forward turns a batch into one loss.

Everything that has a weight is reached through :meth:`Task.forward`, so that wrapping the task (DDP, autocast) wraps it
all, and every parameter takes part in every backward pass, whatever the batch lacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from training.objectives.base import Batch, Objective
from training.objectives.contrastive import Contrastive, ContrastiveConfig
from training.objectives.detail import Detail, DetailConfig
from training.objectives.lesions import Lesions, LesionsConfig
from training.objectives.llm import Llm, LlmConfig
from training.objectives.masked import Masked, MaskedConfig
from training.objectives.masks import Masks, MasksConfig
from training.objectives.model import Colipri, ModelConfig
from training.objectives.opposite import Opposite, OppositeConfig
from training.objectives.report import Report, ReportConfig
from training.objectives.supervised import Dense, DenseConfig, Labels, LabelsConfig

__all__ = ["ObjectivesConfig", "Task", "build_task"]


@dataclass(frozen=True)
class ObjectivesConfig:
    """Which losses are summed; null: not this one. The last six are no part of the COLIPRI recipe."""

    contrastive: ContrastiveConfig | None = None
    opposite: OppositeConfig | None = None
    report: ReportConfig | None = None
    masked: MaskedConfig | None = None
    dense: DenseConfig | None = None
    labels: LabelsConfig | None = None
    lesions: LesionsConfig | None = None
    masks: MasksConfig | None = None
    detail: DetailConfig | None = None
    llm: LlmConfig | None = None


class Task(nn.Module):
    """Model and weighted objectives.

    Parameters
    ----------
    model
        Towers.
    objectives
        Each with its weight.
    """

    def __init__(self, model: Colipri, objectives: Iterable[tuple[Objective, float]]) -> None:
        super().__init__()
        given = list(objectives)
        self.model = model
        self.objectives = nn.ModuleDict({objective.name: objective for objective, _ in given})
        self._held: list[nn.Module] = []
        self.weights = {objective.name: weight for objective, weight in given}

    def hold(self, part: nn.Module) -> None:
        """Keep ``part`` in evaluation mode: it is not trained."""
        self._held.append(part)
        part.eval()

    def train(self, mode: bool = True) -> Self:
        """Enter training mode, but for what is held."""
        super().train(mode)
        for part in self._held:
            part.eval()
        return self

    def each(self) -> list[Objective]:
        """Return the objectives in order."""
        return [objective for objective in self.objectives.values() if isinstance(objective, Objective)]

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Let every objective add what it needs to ``batch``."""
        for objective in self.each():
            objective.prepare(self.model, batch)

    def counts(self, batch: Batch) -> dict[str, int]:
        """Return the terms of each objective in a prepared batch."""
        return {objective.name: objective.count(batch) for objective in self.each()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` (the weighted sum), every objective's own keys, and nothing else.

        Parameters
        ----------
        batch
            Prepared; tokens are left in it for whoever comes next in this pass.
        """
        out: dict[str, Tensor] = {}
        total = self._touch()
        for objective in self.each():
            found = objective(self.model, batch)
            weight = self.weights[objective.name]
            for key, value in found.items():
                if key.endswith("_loss"):
                    total = total + weight * value
                out[key] = value
        return out | {"loss": total}

    def _touch(self) -> Tensor:
        """Return a zero that depends on every parameter: a process whose batch lacks a part still joins the average."""
        corners = [parameter.reshape(-1)[0].float() for parameter in self.parameters() if parameter.requires_grad]
        return torch.stack(corners).sum() * 0.0

    def after_step(self, *, moved: bool = True) -> None:
        """Let every objective follow the step; ``moved`` is False if the step was skipped."""
        for objective in self.each():
            objective.after_step(moved=moved)


def build_task(model: ModelConfig, objectives: ObjectivesConfig, vocabulary: Path) -> Task:
    """Build a task with fresh weights.

    Parameters
    ----------
    model, objectives
        Sizes and weights.
    vocabulary
        Folder that holds ``vocab.txt`` or ``tokenizer.json``.

    Raises
    ------
    ValueError
        If there is no objective at all.
    """
    towers = Colipri(model, vocabulary)
    made: list[tuple[Objective, float]] = []
    if objectives.contrastive is not None:
        made.append((Contrastive(objectives.contrastive), objectives.contrastive.weight))
    if objectives.opposite is not None:
        made.append((Opposite(objectives.opposite), objectives.opposite.weight))
    if objectives.report is not None:
        made.append((Report(objectives.report, model, towers.vocab_size), objectives.report.weight))
    if objectives.masked is not None:
        made.append((Masked(objectives.masked, model), objectives.masked.weight))
    if objectives.dense is not None:
        made.append((Dense(objectives.dense, model), objectives.dense.weight))
    if objectives.labels is not None:
        made.append((Labels(objectives.labels, model), objectives.labels.weight))
    if objectives.lesions is not None:
        made.append((Lesions(objectives.lesions, model), objectives.lesions.weight))
    if objectives.masks is not None:
        made.append((Masks(objectives.masks, model), objectives.masks.weight))
    if objectives.detail is not None:
        made.append((Detail(objectives.detail, model), objectives.detail.weight))
    if objectives.llm is not None:
        made.append((Llm(objectives.llm, model), objectives.llm.weight))
    if not made:
        raise ValueError("a run needs at least one objective")
    return Task(towers, made)

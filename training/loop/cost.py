"""What a step costs, from sizes alone: floating-point operations and memory. No weights are made.

Operations: 2 per multiply-add. Backward of a matrix product costs twice its forward; fused attention's costs 2.5 times,
because it computes the scores again. Primus-M at 192³ comes out at 14.5 TFLOP forward, 49 per training step and volume,
63 with checkpointing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.loop.config import TrainingConfig
from training.objectives.language_model import count_weights, language_folder
from training.objectives.llm import LlmConfig
from training.objectives.masked import MaskedConfig
from training.objectives.model import ModelConfig
from training.objectives.report import ReportConfig

__all__ = ["Cost", "Memory", "Work", "cost", "eva_work", "memory", "parameters"]

#: Hidden width of Primus' gated MLP over its width (timm's EVA block, as the public backbone sets it).
_MLP = 8 / 3
#: Activations that a block keeps for its backward pass, in token widths of half precision: 11.6 GB over 16 blocks of
#: 13,824 tokens, 864 wide, were measured for Primus-M.
_KEPT_WIDTHS = 30.4
#: Words of a report and of a sentence that the estimate assumes.
_REPORT_WORDS, _SENTENCE_WORDS = 256, 16
#: Share of visible patches.
_VISIBLE = 0.25


@dataclass(frozen=True)
class Work:
    """Operations of one forward pass: matrix products and attention (scores and mixing)."""

    products: float = 0.0
    attention: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.products + other.products, self.attention + other.attention)

    def times(self, factor: float) -> Work:
        """Return ``factor`` times as much."""
        return Work(self.products * factor, self.attention * factor)

    @property
    def forward(self) -> float:
        """Operations forward."""
        return self.products + self.attention

    @property
    def step(self) -> float:
        """Operations forward and backward."""
        return 3 * self.products + 3.5 * self.attention


@dataclass(frozen=True)
class Cost:
    """Operations per volume of one step.

    Attributes
    ----------
    forward, step
        One forward pass of the vision tower; everything that a step computes for a volume, on average.
    """

    forward: float
    step: float


@dataclass(frozen=True)
class Memory:
    """Bytes of one process: weights and what follows them, activations without and with checkpointing."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    kept: int
    recomputed: int

    def total(self, *, checkpointing: bool) -> int:
        """Return the sum."""
        fixed = self.weights + self.gradients + self.optimiser + self.average
        return fixed + (self.recomputed if checkpointing else self.kept)


def eva_work(tokens: float, width: int, depth: int) -> Work:
    """Return the work of ``depth`` blocks of the vision tower on one volume."""
    hidden = int(width * _MLP)
    products = depth * tokens * (8 * width**2 + 6 * width * hidden)
    return Work(products, depth * 4 * tokens**2 * width)


def _bert(words: float, width: int, depth: int, intermediate: int) -> Work:
    return Work(depth * words * (8 * width**2 + 4 * width * intermediate), depth * 4 * words**2 * width)


def _writer(config: ReportConfig, model: ModelConfig, tokens: float, vocab: int) -> Work:
    width, words = config.width, min(_REPORT_WORDS, model.text.length)
    layer = words * (8 * width**2 + 4 * width**2 + 16 * width**2) + tokens * 4 * width**2
    mixing = 4 * words**2 * width + 4 * words * tokens * width
    products = config.depth * layer + tokens * 2 * model.projection_dim * width + words * 2 * width * vocab
    return Work(products, config.depth * mixing)


def _language(config: LlmConfig) -> Work:
    """Two operations per stored weight and token, attention left away; still weights count as trained ones."""
    if config.folder is None:
        return Work()
    tokens = math.prod(config.tokens) + min(_REPORT_WORDS, config.length)
    return Work(2.0 * count_weights(language_folder(config.folder)) * tokens)


def _painter(config: MaskedConfig, model: ModelConfig, tokens: float) -> Work:
    seen = eva_work(tokens * (1 - config.ratio), model.embed_dim, model.depth)
    return seen + eva_work(tokens, config.width, config.depth) + Work(tokens * 2 * config.width * model.patch**3)


def _detail(model: ModelConfig) -> Work:
    w, half = model.detail, math.prod(model.size) / 8
    quarter, patches = half / 8, _tokens(model)
    return Work(
        2 * 27 * (half * (8 * w + w * w) + quarter * (2 * w * w + 4 * w * w) + patches * 2 * w * model.embed_dim)
    )


def _tokens(model: ModelConfig) -> float:
    x, y, z = model.grid
    return float(x * y * z)


def cost(config: TrainingConfig, vocab_size: int) -> Cost:
    """Return the operations that a step spends per volume.

    Parameters
    ----------
    config
        Of the run. ``data.unpaired`` says which share of the volumes has no report.
    vocab_size
        Words of the report decoder.
    """
    model, wanted = config.model, config.objectives
    tokens, width = _tokens(model), model.embed_dim
    patch = Work(tokens * 2 * width * model.patch**3)
    tower = eva_work(tokens, width, model.depth) + patch + _detail(model)
    head = Work(tokens * 2 * width * model.projection_dim + tokens * 4 * model.projection_dim**2)
    paired = 1.0 - (config.data.unpaired if wanted.masked is not None else 0.0)
    text = _bert(
        min(_REPORT_WORDS, model.text.length), model.projection_dim, model.text.layers, model.text.intermediate
    )
    seen = Work()
    heads = (wanted.report, wanted.llm, wanted.dense, wanted.labels, wanted.lesions)
    if any((wanted.contrastive, wanted.opposite, *heads)):
        seen = tower + head
    if wanted.contrastive is not None:
        seen = seen + text
    if wanted.opposite is not None:
        sentence = _bert(_SENTENCE_WORDS, model.projection_dim, model.text.layers, model.text.intermediate)
        seen = seen + sentence.times(2 * wanted.opposite.pairs)
    if wanted.report is not None:
        seen = seen + _writer(wanted.report, model, tokens, vocab_size)
    if wanted.llm is not None:
        seen = seen + _language(wanted.llm)
    both = seen.times(paired)
    if wanted.masked is not None:
        share = 1.0 if wanted.masked.images == "all" else config.data.unpaired
        both = both + _painter(wanted.masked, model, tokens).times(share)
    step = both.step + (both.forward if config.run.checkpointing else 0.0)
    if wanted.contrastive is not None and wanted.contrastive.shared_negatives and config.run.accumulate > 1:
        step += paired * (tower + head + text).forward  # the first pass
    return Cost(tower.forward, step)


def memory(config: TrainingConfig, weights: int) -> Memory:
    """Return what a process holds in memory at the height of a step.

    Parameters
    ----------
    config
        Of the run.
    weights
        Number of trained weights.
    """
    model, run = config.model, config.run
    size = 4 if run.precision == "float32" else 2
    row = _tokens(model) * model.embed_dim * size * run.batch
    kept = _KEPT_WIDTHS * row
    stream = _tokens(model) * model.embed_dim * 4 * run.batch  # between blocks, tokens are float32
    average = 4 * weights if run.ema else 0
    return Memory(
        weights=4 * weights,
        gradients=4 * weights,
        optimiser=8 * weights,
        average=average,
        kept=int(model.depth * kept),
        recomputed=int(model.depth * stream + kept),
    )


def parameters(config: TrainingConfig) -> dict[str, int]:
    """Return the number of weights of each part; built without memory for them."""
    import torch

    from training.objectives.task import build_task

    with torch.device("meta"):
        task = build_task(config.model, config.objectives, config.vocabulary_folder)
    parts = {"vision": task.model.towers.image_encoder, "text": task.model.towers.text_encoder}
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None}
    heads = {objective.name: sum(p.numel() for p in objective.parameters()) for objective in task.each()}
    return counted | {name: count for name, count in heads.items() if count}

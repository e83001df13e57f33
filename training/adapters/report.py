"""The report decoder on frozen towers: next-word cross-entropy over projected tokens, the best by validation kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.report_decoder import ReportDecoder
from napari_colipri.engine.tokenizer import load_tokenizer
from napari_colipri.engine.weights import load_towers
from napari_colipri.progress import Progress, report_nothing
from training.adapters.artifact import Adapter, towers_of, write_adapter
from training.adapters.fitting import Fitted, Schedule, fit
from training.adapters.tokens import TokenSet, check_pair
from training.evaluation.scores import EvaluationError
from training.objectives.report import next_word_terms

__all__ = ["ReportRecipe", "save_report", "train_report"]


@dataclass(frozen=True)
class ReportRecipe:
    """What to train.

    Attributes
    ----------
    width, depth, heads
        Of the decoder.
    length
        Longest text, tokens; None takes the bundle's.
    beams
        With which the product writes.
    dropout
        While training.
    schedule
        How long and how fast.
    """

    width: int = 192
    depth: int = 3
    heads: int = 4
    length: int | None = None
    beams: int = 1
    dropout: float = 0.1
    schedule: Schedule = field(default_factory=lambda: Schedule(batch=16))


def _with_reports(tokens: TokenSet) -> list[int]:
    rows = [index for index, study in enumerate(tokens.studies) if study.report.strip()]
    if not rows:
        raise EvaluationError(f"{tokens.folder.name} holds no study with a report.", code="empty")
    return rows


def train_report(
    bundle: Bundle,
    train: TokenSet,
    valid: TokenSet,
    recipe: ReportRecipe | None = None,
    *,
    log: Path | None = None,
    progress: Progress = report_nothing,
) -> tuple[ReportDecoder, Fitted]:
    """Train a decoder on the bundle's frozen towers.

    Parameters
    ----------
    bundle
        Whose projector and vocabulary are used.
    train, valid
        Tokens of disjoint patients, cached with this bundle; studies without a report are passed over,
        and where a study has its report in several wordings, one is drawn at each step.
    recipe
        What and how long.
    log
        JSONL for learning curves.
    progress
        Told now and then.

    Raises
    ------
    EvaluationError
        If the sets do not fit, or none has a report.
    """
    recipe = recipe or ReportRecipe()
    check_pair(train, valid, towers=towers_of(bundle))
    text = bundle.config.text
    length = min(recipe.length or text.max_length, text.max_length)
    tokenizer = load_tokenizer(bundle.path, max_length=length, lower_case=text.lower_case)
    encoder = load_towers(bundle).image_encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.schedule.seed)
        decoder = ReportDecoder(
            vocab_size=text.vocab_size,
            memory_dim=bundle.config.vision.projection_dim,
            width=recipe.width,
            depth=recipe.depth,
            heads=recipe.heads,
            length=length,
            dropout=recipe.dropout,
        )
    rows, held_out = _with_reports(train), _with_reports(valid)

    rng = np.random.default_rng(recipe.schedule.seed)

    def wording(index: int) -> str:
        every = (train.studies[index].report, *train.studies[index].other_reports)
        return every[int(rng.integers(len(every)))]

    def terms(tokens: TokenSet, picked: Sequence[int], texts: list[str]) -> tuple[Tensor, int]:
        with torch.no_grad():
            memory = encoder.project(tokens.batch(picked).tokens)
        ids, mask = (torch.from_numpy(each) for each in tokenizer.encode(texts))
        return next_word_terms(decoder(ids, memory), ids, mask), int(mask[:, 1:].sum())

    def loss_of(picked: list[int]) -> Tensor:
        chosen = [rows[index] for index in picked]
        total, words = terms(train, chosen, [wording(index) for index in chosen])
        return total / words

    def valid_loss() -> float:
        parts = [held_out[start : start + 16] for start in range(0, len(held_out), 16)]
        found = [terms(valid, part, [valid.studies[index].report for index in part]) for part in parts]
        return sum(float(total) for total, _ in found) / sum(words for _, words in found)

    fitted = fit(decoder, loss_of, valid_loss, len(rows), recipe.schedule, log=log, progress=progress)
    return decoder.requires_grad_(False), fitted


def save_report(
    folder: Path, decoder: ReportDecoder, recipe: ReportRecipe, fitted: Fitted, *, towers: str, studies: int
) -> Adapter:
    """Write the adapter."""
    config = {
        "width": recipe.width,
        "depth": recipe.depth,
        "heads": recipe.heads,
        "length": decoder.length,
        "beams": recipe.beams,
    }
    training = {"studies": studies, "schedule": asdict(recipe.schedule), **fitted.record()}
    return write_adapter(folder, "report", decoder.state_dict(), config, towers=towers, training=training)

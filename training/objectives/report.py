"""Report generation: the report, word by word, from image tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from napari_colipri.engine.report_decoder import ReportDecoder
from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri, ModelConfig

__all__ = ["Report", "ReportConfig", "next_word_terms"]


@dataclass(frozen=True)
class ReportConfig:
    """Weight, and sizes of the decoder."""

    weight: float = 1.0
    width: int = 192
    depth: int = 3
    heads: int = 4
    dropout: float = 0.1


def next_word_terms(logits_nLV: Tensor, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
    """Return the summed cross-entropy of every word given those before it; padding adds nothing.

    Parameters
    ----------
    logits_nLV
        At each place, of the word after it.
    ids_nL, mask_nL
        Token ids ([CLS] first, [SEP] last) and 1 where they are no padding.
    """
    target = ids_nL[:, 1:].masked_fill(mask_nL[:, 1:] == 0, -100)
    return F.cross_entropy(logits_nLV[:, :-1].flatten(0, 1).float(), target.flatten(), reduction="sum")


class Report(Objective):
    """Causal language modelling of the report; the decoder is what the product loads."""

    name = "report"

    def __init__(self, config: ReportConfig, model: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.decoder = ReportDecoder(
            vocab_size=vocab_size,
            memory_dim=model.projection_dim,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            length=model.text.length,
            dropout=config.dropout,
        )

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Read the reports."""
        model.read_reports(batch)

    def count(self, batch: Batch) -> int:
        """Return the number of words to guess."""
        return int(batch["report_mask"][:, 1:].sum())

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per word."""
        if not len(batch["said"]):
            return {}
        memory = model.projected(batch)[batch["said"]]
        ids, mask = batch["report_ids"], batch["report_mask"]
        terms = next_word_terms(self.decoder(ids, memory), ids, mask)
        return {"report_loss": terms / denominator(self, batch)}

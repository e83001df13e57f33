"""Opposite sentences: a sentence against its negation, in the light of the image (form of the zero-shot rule).

Per study K pairs: sentences that are true of it (label 1) and positive sentences of other studies that are not (label
0). The loss of a pair is the cross-entropy of its label under softmax([cos(v, s+), cos(v, s-)] · scale).
Definition: facts quoted by third parties from Algorithm 1 of arXiv 2510.15042.

Shape suffixes: P pairs, S distinct sentences, D joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri

__all__ = ["Opposite", "OppositeConfig", "opposite_terms"]


@dataclass(frozen=True)
class OppositeConfig:
    """Weight (0.5 with K = 8 pairs per study in one public re-implementation); pairs used per study, 0: all."""

    weight: float = 0.5
    pairs: int = 8


def opposite_terms(image_PD: Tensor, said_PD: Tensor, negated_PD: Tensor, label_P: Tensor, scale: Tensor) -> Tensor:
    """Return the cross-entropy of every pair [P]; label 1 if the sentence holds, 0 if its negation does."""
    margin_P = ((said_PD - negated_PD) * image_PD).sum(1) * scale
    return F.binary_cross_entropy_with_logits(margin_P, label_P, reduction="none")


class Opposite(Objective):
    """Opposite sentence loss; studies with fewer than K pairs add fewer terms."""

    name = "opposite"

    def __init__(self, config: OppositeConfig) -> None:
        super().__init__()
        self.config = config

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Add study, label and place of both sentences of every pair; equal sentences are read once."""
        places: dict[str, int] = {}
        rows: list[tuple[int, int, int]] = []
        labels: list[float] = []
        for study, pairs in enumerate(batch.get("pairs", [])):
            for said, negated, label in pairs[: self.config.pairs or None]:
                if label in (0, 1) and said and negated:
                    first = places.setdefault(said, len(places))
                    rows.append((study, first, places.setdefault(negated, len(places))))
                    labels.append(float(label))
        batch["pair_rows"] = torch.tensor(rows, dtype=torch.long, device=model.device).reshape(-1, 3)
        batch["pair_labels"] = torch.tensor(labels, device=model.device)
        batch["sentence_ids"], batch["sentence_mask"] = model.words(list(places))

    def count(self, batch: Batch) -> int:
        """Return the number of pairs."""
        return len(batch["pair_labels"])

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and how often the right sentence of a pair is nearer."""
        label = batch["pair_labels"]
        if not len(label):
            return {}
        study, said, negated = batch["pair_rows"].unbind(1)
        image = model.image_embedding(batch)[study]
        sentences_SD = model.text_embedding(batch["sentence_ids"], batch["sentence_mask"])
        terms = opposite_terms(image, sentences_SD[said], sentences_SD[negated], label, model.scale)
        with torch.no_grad():
            closer = ((sentences_SD[said] - sentences_SD[negated]) * image).sum(1) > 0
            right = (closer == (label > 0.5)).float().mean()
        return {"opposite_loss": terms.sum() / denominator(self, batch), "opposite_right": right}

"""Image against report: InfoNCE over all processes and all batches of a window, with a learned temperature.

Negatives of a large batch fit a small device by two passes (GradCache, arXiv 2101.06983): the first embeds every batch
without keeping activations and takes the exact gradient of the whole loss at the embeddings; the second embeds again
and pulls along that gradient. Every process computes the whole loss from gathered rows, so no gradient crosses
processes by itself and none can be lost.

Shape suffixes: n rows of this process, N rows of all, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import Batch, Objective, denominator
from training.objectives.model import Colipri
from training.objectives.ranks import amplify, gather_rows, world

__all__ = ["Contrastive", "ContrastiveConfig", "Pull", "info_nce", "pulls"]


@dataclass(frozen=True)
class ContrastiveConfig:
    """Weight; whether the batches of a window share their negatives (two passes); label smoothing."""

    weight: float = 1.0
    shared_negatives: bool = True
    smoothing: float = 0.0


@dataclass(frozen=True, eq=False)
class Pull:
    """What the first pass tells the second about a batch: gradients at embeddings [n, D] and temperature, its share."""

    image: Tensor
    text: Tensor
    log_scale: Tensor
    value: Tensor


def info_nce(image_ND: Tensor, text_ND: Tensor, scale: Tensor, smoothing: float = 0.0) -> Tensor:
    """Symmetric cross-entropy, mean over 2N; 0 if there is nothing to tell apart."""
    if len(image_ND) < 2:
        return (image_ND.sum() + text_ND.sum()) * 0.0
    logits_NN = image_ND @ text_ND.T * scale
    target = torch.arange(len(logits_NN), device=logits_NN.device)
    rows = F.cross_entropy(logits_NN, target, label_smoothing=smoothing)
    columns = F.cross_entropy(logits_NN.T, target, label_smoothing=smoothing)
    return (rows + columns) / 2


def pulls(
    images: Sequence[Tensor], texts: Sequence[Tensor], model: Colipri, smoothing: float = 0.0
) -> tuple[list[Pull], Tensor]:
    """Return one pull per batch of this process's window, and the value of the whole loss.

    Parameters
    ----------
    images, texts
        Embeddings [n, D] of each batch, without gradient.
    model
        Of the temperature.
    smoothing
        Of the targets.
    """
    own_image, own_text = torch.cat(list(images)), torch.cat(list(texts))
    every_image, mine = gather_rows(own_image)
    every_text, _ = gather_rows(own_text)
    log_scale = model.log_scale.detach().clone().requires_grad_()
    every_image.requires_grad_()
    every_text.requires_grad_()
    with torch.enable_grad():
        loss = info_nce(every_image, every_text, log_scale.exp().clamp(max=100.0), smoothing)
        wanted = [every_image, every_text, log_scale]
        d_image, d_text, d_scale = torch.autograd.grad(loss, wanted, allow_unused=True)
    d_scale = torch.zeros_like(log_scale) if d_scale is None else d_scale
    sizes = [len(rows) for rows in images]
    value = loss.detach()
    parts = zip((d_image[mine] * world()).split(sizes), (d_text[mine] * world()).split(sizes), strict=True)
    return [Pull(image, text, d_scale / len(sizes), value / len(sizes)) for image, text in parts], value


class Contrastive(Objective):
    """InfoNCE between images and their reports."""

    name = "contrastive"

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.config = config

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Read the reports."""
        model.read_reports(batch)

    def count(self, batch: Batch) -> int:
        """Return the number of studies with a report."""
        return len(batch["said"])

    def embed(self, model: Colipri, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return image and text embeddings [n, D] of the studies that have both."""
        if not len(batch["said"]):
            nothing = model.log_scale.new_zeros((0, model.config.projection_dim))
            return nothing, nothing
        image = model.image_embedding(batch)[batch["said"]]
        return image, model.text_embedding(batch["report_ids"], batch["report_mask"])

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss over all processes, or the share that the first pass assigned to this batch."""
        pull: Pull | None = batch.get("pull")
        image, text = self.embed(model, batch)
        if pull is not None:
            along = (image * pull.image).sum() + (text * pull.text).sum() + model.log_scale * pull.log_scale
            return {"contrastive_loss": along - along.detach() + pull.value}
        every_image, mine = gather_rows(image)
        every_text, _ = gather_rows(text)
        if len(every_image) < 2:
            return {}
        every_image, every_text = every_image.clone(), every_text.clone()
        every_image[mine] = amplify(image, world())
        every_text[mine] = amplify(text, world())
        loss = info_nce(every_image, every_text, model.scale, self.config.smoothing)
        share = len(every_image) / (denominator(self, batch) * world()) if "counts" in batch else 1.0
        with torch.no_grad():
            nearest = (every_image @ every_text.T).argmax(1)
            hits = (nearest == torch.arange(len(nearest), device=nearest.device)).float().mean()
        return {"contrastive_loss": loss * share, "contrastive_top1": hits}

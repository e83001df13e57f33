"""Segmentation decoders on cached tokens: Primus's patch decoder, or the one with a shallow convolutional path.

Shape suffixes: B batch, K classes, X Y Z voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from napari_colipri.engine.decoder import PatchConvDecoder, PatchDecoder
from napari_colipri.engine.towers import ImageEncoder
from napari_colipri.progress import Progress, report_nothing
from training.adapters.artifact import Adapter, write_adapter
from training.adapters.fitting import Fitted, Schedule, fit
from training.adapters.tokens import TokenBatch, TokenSet, check_pair
from training.data.store import UNKNOWN
from training.evaluation.scores import EvaluationError
from training.objectives.masks import mask_terms

__all__ = ["Architecture", "Decoder", "SegmentationRecipe", "mask_loss", "save_segmentation", "train_segmentation"]

Architecture: TypeAlias = Literal["patch-conv", "patch"]
Decoder: TypeAlias = PatchConvDecoder | PatchDecoder


@dataclass(frozen=True)
class SegmentationRecipe:
    """What to train.

    Attributes
    ----------
    architecture
        ``patch`` (tokens only) or ``patch-conv`` (with the image).
    width
        Of ``patch-conv``.
    schedule
        How long and how fast.
    """

    architecture: Architecture = "patch-conv"
    width: int = 32
    schedule: Schedule = field(default_factory=lambda: Schedule(batch=2))


def mask_loss(logits_BKXYZ: Tensor, mask_BXYZ: Tensor) -> Tensor:
    """Cross-entropy plus Dice (MONAI) over the voxels that somebody labelled."""
    if not bool((mask_BXYZ != UNKNOWN).any()):
        return logits_BKXYZ.float().sum() * 0.0
    return mask_terms(logits_BKXYZ, mask_BXYZ)


def _check_masks(tokens: TokenSet, name: str) -> None:
    """Raise if no study of a set has a labelled voxel: a loss of nothing would look like a perfect one."""
    for index in range(len(tokens)):
        mask = tokens.batch([index], images=True).mask
        if mask is not None and bool((mask != UNKNOWN).any()):
            return
    raise EvaluationError(
        f"No study of the {name} tokens has a mask; cache them with images and masks.", code="no_masks"
    )


def _tokens_of(batch: TokenBatch, encoder: ImageEncoder | None) -> Tensor:
    if encoder is None or batch.image is None:
        return batch.tokens
    return encoder.tokens(batch.image)


class _Joint(nn.Module):
    """Decoder and, where it is trained along, the vision tower: one list of parameters and one state."""

    def __init__(self, decoder: Decoder, encoder: ImageEncoder | None) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, batch: TokenBatch) -> Tensor:
        if batch.image is None or batch.mask is None:
            raise ValueError("tokens were cached without images and masks")
        out: Tensor = self.decoder(_tokens_of(batch, self.encoder), batch.image)
        return mask_loss(out, batch.mask)


def train_segmentation(
    train: TokenSet,
    valid: TokenSet,
    classes: int,
    recipe: SegmentationRecipe | None = None,
    *,
    encoder: ImageEncoder | None = None,
    log: Path | None = None,
    progress: Progress = report_nothing,
) -> tuple[Decoder, Fitted]:
    """Train a decoder.

    Parameters
    ----------
    train, valid
        Tokens of disjoint patients, cached with images and masks.
    classes
        Background included.
    recipe
        What and how long.
    encoder
        Given, it is trained along and its weights change: tokens are then computed anew from the cached images.
    log
        JSONL for learning curves.
    progress
        Told now and then.

    Raises
    ------
    EvaluationError
        If the sets do not fit, or one has no mask at all.
    """
    recipe = recipe or SegmentationRecipe()
    check_pair(train, valid)
    _check_masks(train, "training")
    _check_masks(valid, "validation")
    width = train.batch([0]).tokens.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.schedule.seed)
        decoder: Decoder = (
            PatchDecoder(embed_dim=width, classes=classes)
            if recipe.architecture == "patch"
            else PatchConvDecoder(embed_dim=width, classes=classes, width=recipe.width)
        )
    whole = _Joint(decoder, encoder.requires_grad_(True) if encoder is not None else None)

    def loss_of(picked: list[int]) -> Tensor:
        out: Tensor = whole(train.batch(picked, images=True))
        return out

    def valid_loss() -> float:
        losses = [float(whole(valid.batch([index], images=True))) for index in range(len(valid))]
        return sum(losses) / len(losses)

    fitted = fit(whole, loss_of, valid_loss, len(train), recipe.schedule, log=log, progress=progress)
    return decoder.requires_grad_(False), fitted


def save_segmentation(
    folder: Path,
    decoder: Decoder,
    classes: Sequence[Mapping[str, Any]],
    recipe: SegmentationRecipe,
    fitted: Fitted,
    *,
    towers: str,
    studies: int,
) -> Adapter:
    """Write the adapter; ``classes`` are ``{"label", "name", "display_name", "code"}`` without the background."""
    config: dict[str, Any] = {"architecture": recipe.architecture, "classes": [dict(item) for item in classes]}
    if recipe.architecture == "patch-conv":
        config["width"] = recipe.width
    training = {"studies": studies, "schedule": asdict(recipe.schedule), **fitted.record()}
    return write_adapter(folder, "segmentation", decoder.state_dict(), config, towers=towers, training=training)

"""Both towers as objectives see them: tokens, projected tokens and embeddings, each computed once per batch.

Shape suffixes: B batch, n rows with a text, x y z tokens, N tokens in a row, C vision width, D joint width, L text.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_colipri.engine.tokenizer import TextTokenizer, load_tokenizer
from napari_colipri.engine.towers import ColipriModel, build_model
from training.objectives.base import Batch

__all__ = ["Colipri", "ModelConfig", "TextConfig", "fused_attention"]

#: Largest inverse temperature, as in CLIP.
_LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the text tower, a BERT as wide as the joint space."""

    layers: int = 3
    heads: int = 4
    intermediate: int = 512
    length: int = 256
    vocab_size: int | None = None
    dropout: float = 0.1


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of both towers; the defaults are the embedded bundle's.

    Attributes
    ----------
    size, spacing_mm
        Model grid, voxels per axis, and their edge, mm.
    patch, embed_dim, depth, heads
        Of Primus; ``embed_dim / heads / 1.5`` must be a multiple of 4.
    projection_dim, pool_heads
        Of the joint space and its pooling.
    drop_path
        Stochastic depth.
    detail
        Width of a convolutional path beside the patch embedding; 0, as in the official model: none.
    text
        Of the text tower; ``vocab_size`` null: as many words as the vocabulary has.
    temperature
        At the start; learned.
    """

    size: tuple[int, int, int] = (72, 72, 72)
    spacing_mm: float = 5.0
    patch: int = 8
    embed_dim: int = 216
    depth: int = 6
    heads: int = 3
    projection_dim: int = 192
    pool_heads: int = 4
    drop_path: float = 0.05
    detail: int = 0
    text: TextConfig = field(default_factory=TextConfig)
    temperature: float = 0.07

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens per axis."""
        x, y, z = (edge // self.patch for edge in self.size)
        return x, y, z

    def towers(self, vocab_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keyword arguments of both towers."""
        vision = {
            "size": self.size,
            "patch": (self.patch,) * 3,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "heads": self.heads,
            "projection_dim": self.projection_dim,
            "pool_heads": self.pool_heads,
            "drop_path": self.drop_path,
            "detail": self.detail,
        }
        bert = {
            "vocab_size": self.text.vocab_size or vocab_size,
            "hidden_size": self.projection_dim,
            "num_hidden_layers": self.text.layers,
            "num_attention_heads": self.text.heads,
            "intermediate_size": self.text.intermediate,
            "max_position_embeddings": self.text.length,
            "hidden_dropout_prob": self.text.dropout,
            "attention_probs_dropout_prob": self.text.dropout,
        }
        return vision, {"config": bert, "pool_heads": self.pool_heads}


def fused_attention(device: torch.device) -> AbstractContextManager[None]:
    """On a GPU, allow only attention that never writes its scores: at 192³ they take 4.6 GB a copy and layer."""
    if device.type != "cuda":
        return nullcontext()
    kernels = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    pinned: AbstractContextManager[None] = sdpa_kernel(kernels)
    return pinned


class Colipri(nn.Module):
    """Towers, learned temperature and tokenizer.

    Parameters
    ----------
    config
        Sizes.
    vocabulary
        Folder that holds ``vocab.txt`` or ``tokenizer.json``.

    Raises
    ------
    BundleError
        If the vocabulary is missing or malformed.
    """

    def __init__(self, config: ModelConfig, vocabulary: Path) -> None:
        super().__init__()
        self.config = config
        self.tokenizer: TextTokenizer = load_tokenizer(vocabulary, max_length=config.text.length)
        self.vocab_size = config.text.vocab_size or self.tokenizer.vocab_size
        self.towers: ColipriModel = build_model(*config.towers(self.vocab_size), temperature=config.temperature)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))

    @property
    def scale(self) -> Tensor:
        """Inverse temperature, at most 100."""
        return self.log_scale.exp().clamp(max=_LARGEST_SCALE)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_scale.device

    def tokens(self, batch: Batch) -> Tensor:
        """Return tokens [B, x, y, z, C]; tokens that the batch brings along are taken as they are."""
        if "tokens" not in batch:
            with fused_attention(self.device):
                batch["tokens"] = self.towers.image_encoder.tokens(batch["image"], details=self.details(batch))
        out: Tensor = batch["tokens"]
        return out

    def details(self, batch: Batch) -> Tensor | None:
        """Return the features of the convolutional path [B, c, X/4, Y/4, Z/4], or None where there is none."""
        if "details" not in batch:
            batch["details"] = self.towers.image_encoder.details(batch["image"])
        out: Tensor | None = batch["details"]
        return out

    def projected(self, batch: Batch) -> Tensor:
        """Return projected tokens [B, N, D]."""
        if "projected" not in batch:
            batch["projected"] = self.towers.image_encoder.project(self.tokens(batch))
        out: Tensor = batch["projected"]
        return out

    def pooled(self, batch: Batch) -> Tensor:
        """Return pooled embeddings before normalisation, float32 [B, D]."""
        if "pooled" not in batch:
            batch["pooled"] = self.towers.image_encoder.pooler(self.projected(batch)).float()
        out: Tensor = batch["pooled"]
        return out

    def image_embedding(self, batch: Batch) -> Tensor:
        """Return L2-normalised image embeddings, float32 [B, D]."""
        return F.normalize(self.pooled(batch), dim=1)

    def text_embedding(self, ids_nL: Tensor, mask_nL: Tensor) -> Tensor:
        """Return L2-normalised text embeddings, float32 [n, D]; n may be 0."""
        if not len(ids_nL):
            return self.log_scale.new_zeros((0, self.config.projection_dim))
        encoder = self.towers.text_encoder
        if encoder is None:
            raise ValueError("these towers have no text side")
        out: Tensor = encoder(ids_nL, mask_nL).float()
        return F.normalize(out, dim=1)

    def words(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return token ids and mask [n, L] on the model's device, L the longest of the texts."""
        if not texts:
            return torch.zeros((0, 1), dtype=torch.long), torch.zeros((0, 1), dtype=torch.long)
        ids, mask = self.tokenizer.encode(texts)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def read_reports(self, batch: Batch) -> None:
        """Add ``said`` (rows with a report, [n]), ``report_ids`` and ``report_mask`` [n, L]."""
        if "said" in batch:
            return
        reports: list[str] = batch.get("report", [])
        rows = [row for row, text in enumerate(reports) if text.strip()]
        batch["said"] = torch.tensor(rows, dtype=torch.long, device=self.device)
        batch["report_ids"], batch["report_mask"] = self.words([reports[row] for row in rows])

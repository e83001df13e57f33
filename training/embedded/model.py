"""The network that is trained: both towers, the decoder, and heads that only training sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_colipri.engine.decoder import PatchConvDecoder
from napari_colipri.engine.towers import ColipriModel, build_model
from training.embedded.config import Sizes
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.findings import PLANTED

__all__ = ["TrainingModel", "tower_arguments"]


def tower_arguments(sizes: Sizes, vocab_size: int, drop_path: float = 0.05) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments of both towers."""
    vision = {
        "size": (sizes.grid,) * 3,
        "patch": (sizes.patch,) * 3,
        "embed_dim": sizes.embed_dim,
        "depth": sizes.depth,
        "heads": sizes.heads,
        "projection_dim": sizes.projection_dim,
        "pool_heads": sizes.pool_heads,
        "drop_path": drop_path,
    }
    text = {
        "config": {
            "vocab_size": vocab_size,
            "hidden_size": sizes.projection_dim,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "intermediate_size": sizes.text_intermediate,
            "max_position_embeddings": sizes.text_length,
        },
        "pool_heads": sizes.pool_heads,
    }
    return vision, text


class TrainingModel(nn.Module):
    """Towers, decoder and the supervision heads (dropped when a bundle is written).

    Parameters
    ----------
    sizes
        Of the towers and the decoder.
    vocab_size
        Of the text tower.
    """

    def __init__(self, sizes: Sizes, vocab_size: int) -> None:
        super().__init__()
        vision, text = tower_arguments(sizes, vocab_size)
        self.towers: ColipriModel = build_model(vision, text)
        self.decoder = PatchConvDecoder(embed_dim=sizes.embed_dim, classes=len(CLASSES), width=sizes.decoder_width)
        self.class_head = nn.Linear(sizes.embed_dim, len(CLASSES))
        self.finding_head = nn.Linear(sizes.embed_dim, len(PLANTED))
        self.centre = nn.BatchNorm1d(sizes.projection_dim, affine=False, momentum=0.05)
        self.label_head = nn.Linear(sizes.projection_dim, len(PLANTED))
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def pooled(self, tokens_BXYZC: Tensor) -> Tensor:
        """Pooled embedding before normalisation [B, D]."""
        encoder = self.towers.image_encoder
        out: Tensor = encoder.pooler(encoder.project(tokens_BXYZC))
        return out

    @property
    def scale(self) -> Tensor:
        """Inverse temperature, at most 100."""
        return self.log_scale.exp().clamp(max=100.0)

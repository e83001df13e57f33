"""The two towers of a COLIPRI model, in the state-dict layout of the public package.

Shape suffixes: B batch, X Y Z grid, N tokens, C vision width, D joint width, L text length.
Sources: ``colipri`` 0.1.3 (model/image.py, model/text.py, pooling.py), Primus (arXiv 2503.01835) from
dynamic-network-architectures, BERT from transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.primus import Primus
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from napari_colipri.engine._public import pooling_module
from napari_colipri.engine.detail import DetailPath

__all__ = ["ColipriModel", "ImageEncoder", "TextEncoder", "build_model"]


def _no_check() -> None:
    return None


class ImageEncoder(nn.Module):
    """Primus backbone, 1×1×1 projector and attention pooling.

    Parameters
    ----------
    size
        Model grid, voxels per axis.
    patch
        Patch edge, voxels per axis.
    embed_dim, depth, heads
        Of the Primus transformer; ``embed_dim / heads / 1.5`` must be a multiple of 4.
    projection_dim, pool_heads
        Of the joint space and its pooling.
    drop_path
        Stochastic depth while training.
    detail
        Width of a convolutional path beside the patch embedding; 0: none, as in the official model.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int, int],
        patch: tuple[int, int, int],
        embed_dim: int,
        depth: int,
        heads: int,
        projection_dim: int,
        pool_heads: int,
        drop_path: float = 0.0,
        detail: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = Primus(
            input_channels=1,
            embed_dim=embed_dim,
            patch_embed_size=patch,
            num_classes=1,
            eva_depth=depth,
            eva_numheads=heads,
            input_shape=size,
            use_rot_pos_emb=True,
            use_abs_pos_embed=False,
            drop_path_rate=drop_path,
            init_values=0.1,
            scale_attn_inner=True,
        )
        self.backbone.up_projection = nn.Identity()  # the public model drops it as well
        self.detail = DetailPath(detail, embed_dim) if detail else None
        self.projector = nn.Conv3d(embed_dim, projection_dim, kernel_size=1)
        self.pooler = pooling_module().AttentionPool1D(projection_dim, pool_heads)

    def details(self, images_B1XYZ: Tensor) -> Tensor | None:
        """Return the features of the convolutional path, where there is one, to hand to :meth:`tokens`."""
        return None if self.detail is None else self.detail.features(images_B1XYZ)

    def tokens(
        self, images_B1XYZ: Tensor, check: Callable[[], None] = _no_check, *, details: Tensor | None = None
    ) -> Tensor:
        """Return tokens [B, x, y, z, C]; ``check`` is called before every block and may raise to cancel."""
        grid = self.backbone.down_projection(images_B1XYZ)
        if self.detail is not None:
            grid = grid + self.detail(self.detail.features(images_B1XYZ) if details is None else details)
        shape = grid.shape[2:]
        x_BNC = grid.flatten(2).transpose(1, 2)
        eva = self.backbone.eva
        x_BNC, rope, _ = eva._pos_embed(x_BNC)  # noqa: SLF001 - the public forward cannot be interrupted
        if rope is not None:
            rope = rope.to(x_BNC.dtype)  # the table is fp32: casting it once per call saves 2-8 % of attention
        for block in eva.blocks:
            check()
            x_BNC = block(x_BNC, rope=rope)
        x_BNC = eva.norm(x_BNC)
        return x_BNC.unflatten(1, shape)

    def project(self, tokens_BXYZC: Tensor) -> Tensor:
        """Return projected tokens [B, N, D]."""
        weight = self.projector.weight.flatten(1)
        return F.linear(tokens_BXYZC.flatten(1, 3), weight, self.projector.bias)

    def pool(self, tokens_BXYZC: Tensor) -> Tensor:
        """Return L2-normalised pooled embeddings [B, D]."""
        return F.normalize(self.pooler(self.project(tokens_BXYZC)), dim=1)

    def dense(self, tokens_BXYZC: Tensor) -> Tensor:
        """Return L2-normalised embeddings per token [B, x, y, z, D] that can be compared with text."""
        attention = self.pooler.attn
        dim = attention.embed_dim
        value = F.linear(
            self.project(tokens_BXYZC), attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :]
        )
        out = F.linear(value, attention.out_proj.weight, attention.out_proj.bias)
        return F.normalize(out, dim=-1).unflatten(1, tokens_BXYZC.shape[1:4])


class TextEncoder(nn.Module):
    """BERT built from a configuration (no remote code) with attention pooling.

    Parameters
    ----------
    config
        Keyword arguments of ``transformers.BertConfig``.
    pool_heads
        Heads of the pooling.
    """

    def __init__(self, *, config: dict[str, Any], pool_heads: int) -> None:
        super().__init__()
        bert = BertConfig(**config, attn_implementation="sdpa")
        self.backbone = BertModel(bert, add_pooling_layer=False)
        self.pooler = pooling_module().AttentionPool1D(bert.hidden_size, pool_heads)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, *, pool_padding: bool = False) -> Tensor:
        """Return L2-normalised embeddings [B, D].

        Parameters
        ----------
        ids_BL, mask_BL
            Token ids and attention mask.
        pool_padding
            Pool padding positions too, as ``colipri`` up to 0.1.2 did.
        """
        hidden_BLD = self.backbone(ids_BL, attention_mask=mask_BL).last_hidden_state
        pooled_BD = self.pooler(hidden_BLD, attention_mask=None if pool_padding else mask_BL)
        return F.normalize(pooled_BD, dim=1)


class ColipriModel(nn.Module):
    """Both towers and the softmax temperature; state-dict keys equal the public ``colipri`` package's."""

    softmax_temperature: Tensor

    def __init__(self, image_encoder: ImageEncoder, text_encoder: TextEncoder | None, temperature: float = 1.0) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.register_buffer("softmax_temperature", torch.tensor(temperature))


def build_model(vision: dict[str, Any], text: dict[str, Any] | None, *, temperature: float = 1.0) -> ColipriModel:
    """Build a model with fresh weights.

    Parameters
    ----------
    vision
        Keyword arguments of :class:`ImageEncoder`.
    text
        Keyword arguments of :class:`TextEncoder`, or None for a bundle without text.
    temperature
        Softmax temperature.
    """
    return ColipriModel(ImageEncoder(**vision), TextEncoder(**text) if text is not None else None, temperature)

"""Attention pooling over any number of tokens in parts: memory of one part, the numbers of the whole.

Projection, keys and values are linear, so with the mean token as query the pooled vector needs of each head only the
weighted mean of the raw tokens; softmax over all tokens is accumulated part by part (Milakov and Gimelshein, "Online
normalizer calculation for softmax", arXiv 1805.02867).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_colipri.engine.towers import ImageEncoder

__all__ = ["pool_in_parts"]


def pool_in_parts(image: ImageEncoder, parts: Callable[[], Iterable[Tensor]]) -> Tensor:
    """Return the L2-normalised pooled embedding [D], equal to :meth:`ImageEncoder.pool` over all tokens.

    Parameters
    ----------
    image
        Its projector and pooler are used, in float32.
    parts
        Called twice; each time yields all tokens, float32 [n, C], in any parts.
    """
    weight_DC, bias_D = image.projector.weight.flatten(1), image.projector.bias
    if bias_D is None:
        raise ValueError("a projector without a bias")
    attention = image.pooler.attn
    heads, width = attention.num_heads, attention.head_dim
    query_w, key_w, value_w = attention.in_proj_weight.chunk(3)
    query_b, _, value_b = attention.in_proj_bias.chunk(3)
    mean_D = F.linear(_mean(parts()), weight_DC, bias_D)
    query_Hd = F.linear(mean_D, query_w, query_b).view(heads, width) / width**0.5
    # A key's bias adds the same to every score of a head: softmax does not see it.
    look_HD = torch.einsum("hd,hde->he", query_Hd, key_w.view(heads, width, -1))
    mean_HC = _weighted_means(parts(), look_HD @ weight_DC)
    projected_HD = F.linear(mean_HC, weight_DC, bias_D)
    value_Hd = torch.einsum("he,hde->hd", projected_HD, value_w.view(heads, width, -1)) + value_b.view(heads, width)
    return F.normalize(attention.out_proj(value_Hd.flatten()), dim=0)


def _mean(parts: Iterable[Tensor]) -> Tensor:
    total, count = None, 0
    for part_nC in parts:
        summed = part_nC.double().sum(dim=0) if part_nC.device.type != "mps" else part_nC.sum(dim=0)
        total = summed if total is None else total + summed
        count += len(part_nC)
    if total is None:
        raise ValueError("there are no tokens to pool")
    return (total / count).float()


def _weighted_means(parts: Iterable[Tensor], look_HC: Tensor) -> Tensor:
    """Return each head's mean of the tokens, weighted by softmax of their scores."""
    top_H = torch.full_like(look_HC[:, 0], -torch.inf)
    weight_H = torch.zeros_like(top_H)
    sum_HC = torch.zeros_like(look_HC)
    for part_nC in parts:
        scores_Hn = look_HC @ part_nC.T
        higher_H = torch.maximum(top_H, scores_Hn.amax(dim=1))
        shrink_H = torch.exp(top_H - higher_H)
        share_Hn = torch.exp(scores_Hn - higher_H[:, None])
        weight_H = weight_H * shrink_H + share_Hn.sum(dim=1)
        sum_HC = sum_HC * shrink_H[:, None] + share_Hn @ part_nC
        top_H = higher_H
    return sum_HC / weight_H[:, None]

"""Probe: frozen tokens, one of five poolings, one linear layer. A second opinion beside the zero-shot answer.

Shape suffixes: B batch, N tokens, C token width, Q queries, F findings.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

__all__ = ["POOLINGS", "Pooling", "Probe"]

Pooling: TypeAlias = Literal["average", "max", "attention", "mean-query", "four-query"]
#: The five poolings of the field's probing protocol.
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

_QUERIES = {"average": 0, "max": 0, "attention": 1, "mean-query": 1, "four-query": 4}


class Probe(nn.Module):
    """Logits per finding from frozen tokens.

    Tokens are standardised per channel with the mean and the spread of the training tokens, so that one learning rate
    suits every channel.

    Parameters
    ----------
    embed_dim
        Width C of the tokens.
    findings
        Number F of outputs.
    pooling
        ``average`` and ``max`` over tokens; ``attention`` with one learned query; ``mean-query``, whose query is made
        of the token mean; ``four-query``, four learned queries side by side.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, *, embed_dim: int, findings: int, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        queries = _QUERIES[pooling]
        self.register_buffer("centre", torch.zeros(embed_dim))
        self.register_buffer("spread", torch.ones(embed_dim))
        if queries:
            self.key = nn.Linear(embed_dim, embed_dim, bias=False)
        if pooling == "mean-query":
            self.query = nn.Linear(embed_dim, embed_dim, bias=False)
        elif queries:
            self.queries = nn.Parameter(torch.randn(queries, embed_dim) * embed_dim**-0.5)
        self.head = nn.Linear(embed_dim * max(queries, 1), findings)

    def forward(self, tokens_BNC: Tensor, inside_BN: Tensor) -> Tensor:
        """Return logits [B, F].

        Parameters
        ----------
        tokens_BNC
            Before the projector.
        inside_BN
            bool: tokens that hold image; padding is not pooled. Each row needs at least one.
        """
        return self.logits(self.standardised(tokens_BNC), inside_BN)

    def standardised(self, tokens_BNC: Tensor) -> Tensor:
        """Return tokens around their training mean, in units of their spread."""
        return (tokens_BNC - self.centre) / self.spread

    def logits(self, x_BNC: Tensor, inside_BN: Tensor) -> Tensor:
        """Return logits [B, F] of standardised tokens."""
        out: Tensor = self.head(self.pool(x_BNC, inside_BN))
        return out

    def pool(self, x_BNC: Tensor, inside_BN: Tensor) -> Tensor:
        """Return the pooled, standardised tokens [B, C], or [B, 4 C]."""
        outside_BN1 = ~inside_BN[..., None]
        if self.pooling == "max":
            return x_BNC.masked_fill(outside_BN1, -torch.inf).amax(dim=1)
        mean_BC = x_BNC.masked_fill(outside_BN1, 0.0).sum(dim=1) / inside_BN.sum(dim=1, keepdim=True)
        if self.pooling == "average":
            return mean_BC
        queries_BQC = self.query(mean_BC)[:, None] if self.pooling == "mean-query" else self.queries[None]
        # q·(Wx) is (qW)·x: a few queries go through the matrix instead of every token
        scores_BQN = queries_BQC @ self.key.weight @ x_BNC.transpose(1, 2) * x_BNC.shape[-1] ** -0.5
        weights_BQN = scores_BQN.masked_fill(outside_BN1.transpose(1, 2), -torch.inf).softmax(dim=-1)
        return (weights_BQN @ x_BNC).flatten(1)

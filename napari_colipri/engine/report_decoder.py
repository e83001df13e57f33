"""Report decoder: a causal transformer whose words look at projected image tokens.

The layers are ``torch.nn.TransformerDecoderLayer`` (pre-norm), so that the state dict is torch's own and training runs
torch's own forward. Generation reads the same weights word by word, with keys and values kept.

Shape suffixes: B batch, L words, N image tokens, D joint width, W decoder width, H heads, V vocabulary, K beams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Generated", "ReportDecoder"]


def _no_check() -> None:
    return None


@dataclass(frozen=True)
class Generated:
    """One generated text.

    Attributes
    ----------
    ids
        Token ids without the start and the stop token.
    log_probability
        Sum over the tokens, the stop token included.
    finished
        False if the text was cut at ``max_length``.
    """

    ids: tuple[int, ...]
    log_probability: float
    finished: bool


@dataclass
class _Cache:
    """Keys and values of one image: per layer [K, H, t, d] of the words so far and [1, H, N, d] of the image."""

    image: list[tuple[Tensor, Tensor]]
    words: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def follow(self, parents_K: Tensor) -> None:
        """Let beam k continue what beam ``parents_K[k]`` said."""
        self.words = [(key.index_select(0, parents_K), value.index_select(0, parents_K)) for key, value in self.words]

    @property
    def length(self) -> int:
        """Words so far."""
        return self.words[0][0].shape[2] if self.words else 0


class ReportDecoder(nn.Module):
    """Logits of the next word from the words before it and the image tokens.

    Parameters
    ----------
    vocab_size
        Words; the embedding is also the output layer.
    memory_dim
        Width D of the projected image tokens.
    width, depth, heads
        Of the transformer.
    length
        Longest text, tokens.
    dropout
        While training.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        memory_dim: int,
        width: int,
        depth: int,
        heads: int,
        length: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.length = length
        self.words = nn.Embedding(vocab_size, width)
        self.places = nn.Embedding(length, width)
        self.memory = nn.Linear(memory_dim, width)
        self.memory_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids_BL: Tensor, memory_BND: Tensor, memory_mask_BN: Tensor | None = None) -> Tensor:
        """Return logits [B, L, V] of the word after each word.

        Parameters
        ----------
        ids_BL
            Token ids, padded on the right: what comes later cannot be seen, so padding needs no mask.
        memory_BND
            Projected image tokens.
        memory_mask_BN
            True where an image token may be looked at; all of them if None.
        """
        x_BLW = self._embed(ids_BL, 0)
        memory_BNW = self._remember(memory_BND)
        causal = nn.Transformer.generate_square_subsequent_mask(ids_BL.shape[1], device=x_BLW.device, dtype=x_BLW.dtype)
        ignored = None if memory_mask_BN is None else ~memory_mask_BN.bool()
        for layer in self.layers:
            x_BLW = layer(x_BLW, memory_BNW, causal, memory_key_padding_mask=ignored, tgt_is_causal=True)
        return self._logits(x_BLW)

    def _stack(self) -> list[nn.TransformerDecoderLayer]:
        return [layer for layer in self.layers if isinstance(layer, nn.TransformerDecoderLayer)]

    def _embed(self, ids_BL: Tensor, start: int) -> Tensor:
        places = torch.arange(start, start + ids_BL.shape[1], device=ids_BL.device)
        out: Tensor = self.words(ids_BL) + self.places(places)
        return out

    def _remember(self, memory_BND: Tensor) -> Tensor:
        out: Tensor = self.memory_norm(self.memory(memory_BND))
        return out

    def _logits(self, x_BLW: Tensor) -> Tensor:
        return F.linear(self.norm(x_BLW), self.words.weight, self.bias)

    def remember(self, memory_1ND: Tensor) -> _Cache:
        """Return the cache of one image, with no word said yet."""
        memory_1NW = self._remember(memory_1ND)
        return _Cache([_keys_and_values(layer.multihead_attn, memory_1NW) for layer in self._stack()])

    def advance(self, ids_KL: Tensor, cache: _Cache) -> Tensor:
        """Say further words: return logits [K, L, V] and extend ``cache``; equal to :meth:`forward` on all words."""
        x_KLW = self._embed(ids_KL, cache.length)
        earlier = list(cache.words)
        cache.words = []
        for index, layer in enumerate(self._stack()):
            query_source = layer.norm1(x_KLW)
            key, value = _keys_and_values(layer.self_attn, query_source)
            if earlier:
                key = torch.cat([earlier[index][0], key], dim=2)
                value = torch.cat([earlier[index][1], value], dim=2)
            cache.words.append((key, value))
            x_KLW = x_KLW + _attend(layer.self_attn, query_source, key, value, causal=True)
            key, value = (each.expand(len(ids_KL), -1, -1, -1) for each in cache.image[index])
            x_KLW = x_KLW + _attend(layer.multihead_attn, layer.norm2(x_KLW), key, value, causal=False)
            x_KLW = x_KLW + layer.linear2(F.gelu(layer.linear1(layer.norm3(x_KLW))))
        return self._logits(x_KLW)

    @torch.inference_mode()
    def generate(
        self,
        memory_BND: Tensor,
        *,
        start: int,
        stop: int,
        max_length: int | None = None,
        beams: int = 1,
        length_penalty: float = 1.0,
        forbidden: Sequence[int] = (),
        check: Callable[[], None] = _no_check,
    ) -> list[Generated]:
        """Write one text per image; the same input gives the same text.

        Parameters
        ----------
        memory_BND
            Projected image tokens.
        start, stop
            Ids of the first token and of the one that ends a text ([CLS] and [SEP]).
        max_length
            Tokens at most, start and stop included; the decoder's own length if None.
        beams
            1 takes the likeliest word each time; more is beam search.
        length_penalty
            Finished beams are compared by log probability / length to this power.
        forbidden
            Ids that are never said ([PAD], [UNK], …).
        check
            Called before every word; may raise to cancel.
        """
        limit = min(max_length or self.length, self.length)
        training = self.training
        self.eval()
        try:
            search = _Search(self, start, stop, limit, beams, length_penalty, tuple(forbidden), check)
            return [search.run(memory_ND[None]) for memory_ND in memory_BND]
        finally:
            self.train(training)


@dataclass(frozen=True)
class _Search:
    """Beam search over one image at a time; one beam is greedy decoding."""

    decoder: ReportDecoder
    start: int
    stop: int
    limit: int
    beams: int
    length_penalty: float
    forbidden: tuple[int, ...]
    check: Callable[[], None]

    def run(self, memory_1ND: Tensor) -> Generated:
        cache = self.decoder.remember(memory_1ND)
        said_KL = torch.full((1, 1), self.start, device=memory_1ND.device)
        scores_K = torch.zeros(1, device=memory_1ND.device)
        finished: list[tuple[float, Generated]] = []
        while said_KL.shape[1] < self.limit and len(finished) < self.beams:
            self.check()
            logits_KV = self.decoder.advance(said_KL[:, -1:], cache)[:, -1].float()
            if self.forbidden:
                logits_KV[:, list(self.forbidden)] = -torch.inf
            totals_KV = scores_K[:, None] + F.log_softmax(logits_KV, dim=-1)
            best = totals_KV.flatten().topk(min(2 * self.beams, totals_KV.numel()))
            kept: list[tuple[float, int, int]] = []
            for rank, (total, place) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
                parent, word = divmod(place, totals_KV.shape[1])
                if word != self.stop:
                    kept.append((total, parent, word))
                elif rank < self.beams:
                    ids = tuple(said_KL[parent, 1:].tolist())
                    finished.append((self._worth(total, len(ids) + 1), Generated(ids, total, finished=True)))
            kept = kept[: self.beams]
            parents = torch.tensor([parent for _, parent, _ in kept], device=said_KL.device)
            words = torch.tensor([[word] for _, _, word in kept], device=said_KL.device)
            said_KL = torch.cat([said_KL[parents], words], dim=1)
            scores_K = torch.tensor([total for total, _, _ in kept], device=said_KL.device)
            cache.follow(parents)
        if finished:
            return max(finished, key=lambda each: each[0])[1]
        return Generated(tuple(said_KL[0, 1:].tolist()), float(scores_K[0]), finished=False)

    def _worth(self, total: float, length: int) -> float:
        return total / length**self.length_penalty


def _keys_and_values(attention: nn.MultiheadAttention, x_BLW: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [B, H, L, d] as ``attention`` would compute them."""
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight[width:], attention.in_proj_bias[width:]
    key, value = F.linear(x_BLW, weight, bias).unflatten(-1, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return key, value


def _attend(attention: nn.MultiheadAttention, x_BLW: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """Attention of the newest L words to ``key`` and ``value``; of words to words, none sees a later one."""
    width = attention.embed_dim
    query = F.linear(x_BLW, attention.in_proj_weight[:width], attention.in_proj_bias[:width])
    query = query.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    mask = None
    if causal and query.shape[2] > 1:
        new, all_words = query.shape[2], key.shape[2]
        mask = torch.ones(new, all_words, dtype=torch.bool, device=query.device).tril(all_words - new)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    out: Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return out

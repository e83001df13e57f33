"""Token ids of training text, by the same tokenizer that the product uses."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from training.embedded.phantom.report import vocabulary

__all__ = ["encode", "make_tokenizer", "write_vocabulary"]


def write_vocabulary(path: Path) -> None:
    """Write ``vocab.txt``, one token a line."""
    path.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")


def make_tokenizer(vocab: list[str]) -> Tokenizer:
    """WordPiece as in BERT, lower case."""
    ids = {token: index for index, token in enumerate(vocab)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    tokenizer.enable_padding(pad_id=ids["[PAD]"], pad_token="[PAD]")
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, L], L the longest of the batch and at most ``length``."""
    tokenizer.enable_truncation(length)
    rows = tokenizer.encode_batch(texts)
    return torch.tensor([row.ids for row in rows]), torch.tensor([row.attention_mask for row in rows])

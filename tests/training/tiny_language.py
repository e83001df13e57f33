"""A random causal language model of a few thousand weights with a tokenizer of whole words, as folders hold them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.training import tiny

PROMPT = "Report :"


def write_language_model(folder: Path, *, seed: int = 0, tied: bool = False, places: int = 64) -> Path:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer's files; return the folder."""
    split = Whitespace()
    found = [word for text in [*tiny.REPORTS, PROMPT] for word, _ in split.pre_tokenize_str(text)]
    words = {word: index for index, word in enumerate(dict.fromkeys(["<unk>", "<s>", "</s>", *found]))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(str(folder))
    sizes = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=places,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(sizes)
        for weight in model.parameters():  # as sure of itself as a trained one: the start is not near zero
            weight.data.mul_(4.0) if weight.ndim > 1 else None
        model.save_pretrained(str(folder), safe_serialization=True)
    return folder

"""A WordPiece vocabulary of our own text, written as the ``vocab.txt`` that the engine reads.

Merges come from the ``tokenizers`` library. Of its pieces, whole words of the text and pieces of one or two letters are
kept: a word that the text does not hold then falls apart into letters, and the rule "this model does not know these
words" keeps its meaning. Numbers are spelled by digits, so that every size can be written with ten pieces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from napari_colipri.atomic import write_text
from napari_colipri.text.findings import FINDING_NAMES, default_prompts
from training.text.opposites import statements

__all__ = ["SPECIAL", "prompt_words", "train_vocabulary", "with_opposites", "write_vocabulary"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_MARKS = ".,:;-+/()?!'\"%<>=×"
_PIECE = 2  # characters of the longest piece that need not be a whole word


def train_vocabulary(texts: Iterable[str], *, size: int = 8192, at_least: int = 2) -> tuple[str, ...]:
    """Return the tokens of a vocabulary in the order of their ids.

    Parameters
    ----------
    texts
        Reports, captions and prompts' words. The same texts in any order give the same tokens.
    size
        Most tokens; the letters, digits and marks are always among them.
    at_least
        How often a word must occur.

    Raises
    ------
    ValueError
        If there is no text, or ``size`` leaves no room for words.
    """
    words = _counted(texts)
    if not words:
        raise ValueError("A vocabulary needs text.")
    base = [*SPECIAL, *_DIGITS, *_LETTERS, *(f"##{each}" for each in _DIGITS + _LETTERS), *_MARKS]
    if size <= len(base):
        raise ValueError(f"A vocabulary of {size} tokens has no room for words: {len(base)} are letters and marks.")
    merged = _merged(words, base, at_least)
    whole = {word for word, count in words.items() if count >= at_least}
    kept = [each for each in merged if each in whole or len(each.removeprefix("##")) <= _PIECE]
    rank = {each: (-words.get(each, 0), each) for each in kept}
    return (*base, *sorted(kept, key=lambda each: rank[each])[: size - len(base)])


def with_opposites(reports: Iterable[str]) -> Iterator[str]:
    """Yield each report, then the opposites of its positive sentences: a text tower in training reads both."""
    for report in reports:
        yield report
        for statement in statements("", "", report).positive:
            yield statement.negation


def prompt_words() -> tuple[str, ...]:
    """Return the words of the default prompts of all 18 findings, each once."""
    sentences = (each for name in FINDING_NAMES for side in default_prompts(name) for each in side)
    return tuple(_counted(sentences))


def _counted(texts: Iterable[str]) -> Counter[str]:
    """Words as the engine sees them, without what holds a digit or stands in no alphabet."""
    normalise, split = BertNormalizer(lowercase=True), BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in split.pre_tokenize_str(normalise.normalize_str(text)))
    return Counter({word: count for word, count in words.items() if re.fullmatch(rf"[{_LETTERS}]+", word)})


def _merged(words: Counter[str], base: Sequence[str], at_least: int) -> list[str]:
    """Every piece that merging makes.

    The trainer numbers letters as it meets them in a hash table; given as special tokens they keep one order, and ties
    between merges fall the same way in every process.
    """
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    trainer = WordPieceTrainer(
        vocab_size=len(base) + sum(len(word) for word in words) + 1,
        min_frequency=at_least,
        special_tokens=list(base),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join([word] * count) for word, count in sorted(words.items())), trainer=trainer)
    known = set(base)
    return [piece for piece in tokenizer.get_vocab() if piece not in known]


def write_vocabulary(path: Path, tokens: Sequence[str]) -> None:
    """Write one token a line, whole or not at all."""
    write_text(path, "\n".join(tokens) + "\n")

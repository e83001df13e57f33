"""Text to token ids: WordPiece from ``vocab.txt`` or a ``tokenizer.json``, and the words that a model does not know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.errors import BundleError

__all__ = ["TextTokenizer", "load_tokenizer"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
#: Pieces at least this long must make up more than half of a word of three letters or more, or it counts as unknown.
_KNOWN_PIECE = 3


class TextTokenizer:
    """Tokens as ``transformers.BertTokenizer`` makes them, without importing transformers.

    Parameters
    ----------
    tokenizer
        A ``tokenizers.Tokenizer``.
    max_length
        Tokens kept, [CLS] and [SEP] included.
    """

    def __init__(self, tokenizer: Any, *, max_length: int) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        self._unknown = tokenizer.token_to_id("[UNK]")
        self._pad = tokenizer.token_to_id("[PAD]")
        tokenizer.no_padding()
        tokenizer.no_truncation()

    @property
    def vocab_size(self) -> int:
        """Highest token id + 1."""
        return 1 + max(self._tokenizer.get_vocab().values())

    def length(self, text: str) -> int:
        """Tokens of ``text`` before truncation, special ones included."""
        return len(self._tokenizer.encode(text).ids)

    def encode(
        self, texts: list[str], *, pad_to_max: bool = False
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return token ids and attention mask, both [B, L].

        Parameters
        ----------
        texts
            B texts; longer ones are cut after ``max_length`` tokens, [SEP] kept.
        pad_to_max
            Pad to ``max_length`` rather than to the longest text: only pooling that counts padding needs it.
        """
        rows = [self._cut(self._tokenizer.encode(text).ids) for text in texts]
        width = self.max_length if pad_to_max else max(len(row) for row in rows)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask

    def _cut(self, ids: list[int]) -> list[int]:
        return ids if len(ids) <= self.max_length else [*ids[: self.max_length - 1], ids[-1]]

    @property
    def markers(self) -> tuple[int, int, tuple[int, ...]]:
        """Ids that begin and end a text, and those that are never written."""
        held = {token: self._tokenizer.token_to_id(token) for token in (*_SPECIAL, "[MASK]")}
        never = tuple(held[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[MASK]") if held[token] is not None)
        return held["[CLS]"], held["[SEP]"], never

    @property
    def entries(self) -> dict[str, int]:
        """The whole vocabulary: words and pieces with their ids."""
        held: dict[str, int] = self._tokenizer.get_vocab()
        return held

    def decode(self, ids: Sequence[int]) -> str:
        """Return running text: pieces joined, punctuation where a reader expects it, sentences capitalised.

        The vocabulary is lower case, so names and abbreviations stay lower case within a sentence.
        """
        tokens = [self._tokenizer.id_to_token(index) or "" for index in ids]
        text = " ".join(token for token in tokens if token not in (*_SPECIAL, "[MASK]")).replace(" ##", "")
        text = re.sub(r"(?<=\d) ([.,]) (?=\d)", r"\1", text)
        text = re.sub(r"(?<=\w) ([-/]) (?=\w)", r"\1", text)
        text = re.sub(r" (?=[.,;:!?)%])|(?<=\() ", "", text)
        return re.sub(r"(?:^|(?<=[.!?:] ))[a-z]", lambda match: match.group().upper(), text)

    def words(self, text: str) -> list[str]:
        """Return the words of ``text`` as the model sees them (normalised, punctuation apart)."""
        normalised = self._tokenizer.normalizer.normalize_str(text) if self._tokenizer.normalizer else text
        splitter = self._tokenizer.pre_tokenizer
        return [word for word, _ in splitter.pre_tokenize_str(normalised)] if splitter else normalised.split()

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that say nothing to this vocabulary.

        A word is unknown if it becomes [UNK], or if it has three letters or more and half of it or more falls apart
        into pieces of one or two characters: spelling is not knowledge, nor is "gas" in "gastrointestinal". Numbers and
        punctuation are never unknown for falling apart.
        """
        return [word for word in self.words(text) if not self._known(word)]

    def _known(self, word: str) -> bool:
        encoded = self._tokenizer.encode(word, add_special_tokens=False)
        if self._unknown in encoded.ids or not encoded.tokens:
            return False
        if sum(character.isalpha() for character in word) < _KNOWN_PIECE:
            return True
        pieces = [len(token.removeprefix("##")) for token in encoded.tokens]
        return 2 * sum(piece for piece in pieces if piece >= _KNOWN_PIECE) > sum(pieces)


def _word_piece(vocab_file: Path, *, lower_case: bool) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import BertProcessing

    words = vocab_file.read_text(encoding="utf-8").split("\n")
    vocab = {word.rstrip("\r"): index for index, word in enumerate(words) if word.strip()}
    missing = [token for token in _SPECIAL if token not in vocab]
    if missing:
        raise BundleError(f"{vocab_file.name} lacks the special tokens {', '.join(missing)}.", code="bad_vocab")
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens([*_SPECIAL, *(["[MASK]"] if "[MASK]" in vocab else [])])
    tokenizer.normalizer = BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    return tokenizer


def _from_json(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the Rust library raises plain Exception for every malformed file
        raise BundleError(f"{file.name} is not a tokenizer that can be read: {error}", code="bad_vocab") from error
    missing = [token for token in _SPECIAL if tokenizer.token_to_id(token) is None]
    if missing:
        raise BundleError(f"{file.name} lacks the special tokens {', '.join(missing)}.", code="bad_vocab")
    return tokenizer


def load_tokenizer(folder: Path, *, max_length: int, lower_case: bool = True) -> TextTokenizer:
    """Read the tokenizer of a bundle; ``vocab.txt`` goes before ``tokenizer.json``.

    Parameters
    ----------
    folder
        Bundle folder, its files verified.
    max_length
        Longest text in tokens.
    lower_case
        Whether words are lower-cased first (``vocab.txt`` only; a ``tokenizer.json`` says so itself).

    Raises
    ------
    BundleError
        If neither file is there or special tokens are missing.
    """
    vocab = folder / "vocab.txt"
    if vocab.is_file():
        try:
            return TextTokenizer(_word_piece(vocab, lower_case=lower_case), max_length=max_length)
        except UnicodeDecodeError as error:
            raise BundleError("vocab.txt is not UTF-8 text.", code="bad_vocab") from error
    file = folder / "tokenizer.json"
    if file.is_file():
        return TextTokenizer(_from_json(file), max_length=max_length)
    raise BundleError("The bundle has neither vocab.txt nor tokenizer.json.", code="missing_vocab")

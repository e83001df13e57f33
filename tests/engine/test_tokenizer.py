"""Tokens equal those of transformers; words that a model cannot know are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_colipri.engine.tokenizer import TextTokenizer, load_tokenizer
from napari_colipri.errors import BundleError
from tests.bundles import write_tiny_bundle

_TEXT = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] no not is are present lung ##s nod ##ule nodule heart enlarged card ##io ##meg "
    "##aly right left pleural effusion . , - ( ) 12 mm cafe ü"
)
_WORDS = _TEXT.split()
_LETTERS = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for mark in ("", "##")]

TEXTS = [
    "No lung nodules present.",
    "  Cardiomegaly;  heart ENLARGED (12 mm)\n",
    "café naïve Ünd",
    "right-left, right/left",
    "zzyzx 99 µ 肺 nodule",
    "",
    "a" * 150,
    "lung " * 60,
    "tab\tand\u00a0space\u200b\x00end",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys([*_WORDS, *_LETTERS])) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def tokenizer(folder: Path) -> TextTokenizer:
    return load_tokenizer(folder, max_length=32)


def test_equals_transformers(folder: Path, tokenizer: TextTokenizer) -> None:
    from transformers import BertTokenizer

    reference = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    expected = reference(TEXTS, padding="max_length", truncation=True, max_length=32, return_tensors="np")
    ids, mask = tokenizer.encode(TEXTS, pad_to_max=True)
    np.testing.assert_array_equal(ids, expected["input_ids"])
    np.testing.assert_array_equal(mask, expected["attention_mask"])


def test_a_tokenizer_json_gives_the_same_tokens(folder: Path, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    other = tmp_path / "json"
    other.mkdir()
    (other / "tokenizer.json").write_text(tokenizer._tokenizer.to_str(), encoding="utf-8")
    again = load_tokenizer(other, max_length=32)
    for mine, theirs in zip(tokenizer.encode(TEXTS), again.encode(TEXTS), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert again.unknown_words("zzyzx nodule") == ["zzyzx"]


def test_pads_to_the_longest_only(tokenizer: TextTokenizer) -> None:
    ids, mask = tokenizer.encode(["lung", "lung nodule present"])
    assert ids.shape == mask.shape == (2, 5)
    assert mask.sum(axis=1).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("No lung nodules present.", []),
        ("cardiomegaly", []),  # pieces, most of it in such as are long enough to mean something
        ("lungs nodules", []),  # an ending more
        ("lungfish", ["lungfish"]),  # a known beginning is not a known word
        ("zzyzx", ["zzyzx"]),  # spelt out letter by letter
        ("heart 肺", ["肺"]),  # [UNK]
        ("nodule 99 mm", []),  # a number is never unknown for falling apart
        ("is it", []),  # short words have short pieces
    ],
)
def test_words_that_say_nothing_to_the_model(tokenizer: TextTokenizer, text: str, unknown: list[str]) -> None:
    assert tokenizer.unknown_words(text) == unknown


def test_missing_special_tokens_are_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nlung\n")
    with pytest.raises(BundleError, match=r"\[CLS\], \[SEP\]"):
        load_tokenizer(tmp_path, max_length=32)


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(BundleError) as caught:
        load_tokenizer(tmp_path, max_length=32)
    assert caught.value.code == "bad_vocab"


def test_no_vocabulary_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        load_tokenizer(tmp_path, max_length=32)
    assert caught.value.code == "missing_vocab"


def test_generated_tokens_read_as_a_person_would_write_them(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tiny_bundle(tmp_path), max_length=64)
    text = "The heart is enlarged. There is no left-lower lung nodule of 12.5 mm, and no effusion."
    ids, _ = tokenizer.encode([text])
    start, stop, never = tokenizer.markers
    assert (ids[0, 0], ids[0, -1]) == (start, stop)
    assert start in never
    assert stop not in never
    assert tokenizer.decode(ids[0].tolist()) == text
    assert tokenizer.decode([start, stop]) == ""

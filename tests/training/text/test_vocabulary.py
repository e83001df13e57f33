"""A vocabulary of our own text: the engine reads it, its words are known, others are not, and it is always the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_colipri.engine.tokenizer import TextTokenizer, load_tokenizer
from training.__main__ import app
from training.text.vocabulary import SPECIAL, prompt_words, train_vocabulary, with_opposites, write_vocabulary

TEXTS = [
    "There is a nodule of 12 mm in the right upper lobe. No pleural effusion.",
    "No nodule is seen. A pleural effusion of 1.5 cm lies on the right.",
    "The heart is enlarged; nodules are seen in both lungs (8 x 5 mm).",
    "The lungs show nodules, the heart is not enlarged. Is the upper lobe seen?",
]


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    write_vocabulary(tmp_path / "vocab.txt", train_vocabulary(TEXTS))
    return load_tokenizer(tmp_path, max_length=64)


def test_words_of_the_text_are_one_token(tokenizer: TextTokenizer) -> None:
    assert tokenizer.length("Nodule pleural effusion right") == 4 + 2  # [CLS] and [SEP]
    assert tokenizer.unknown_words("There is a nodule in the right upper lobe, pleural effusion.") == []


def test_words_that_the_text_does_not_hold_are_unknown(tokenizer: TextTokenizer) -> None:
    words = "bronchiectasis pneumothorax cardiomegaly xylophone"
    assert tokenizer.unknown_words(f"nodules {words}") == words.split()


def test_numbers_are_digits(tokenizer: TextTokenizer) -> None:
    assert tokenizer.length("127") == 3 + 2
    assert tokenizer.unknown_words("127 mm 3.4 x 90 ?!") == []
    digits = {token.removeprefix("##") for token in train_vocabulary(TEXTS) if any(c.isdigit() for c in token)}
    assert digits == set("0123456789")


def test_no_long_piece_that_is_not_a_word() -> None:
    words = {word for text in TEXTS for word in "".join(c if c.isalpha() else " " for c in text.lower()).split()}
    for token in train_vocabulary(TEXTS)[len(SPECIAL) :]:
        assert token in words or len(token.removeprefix("##")) <= 2


def test_order_of_the_texts_and_of_the_run_do_not_matter() -> None:
    tokens = train_vocabulary(TEXTS)
    for seed in range(5):
        assert train_vocabulary(random.Random(seed).sample(TEXTS, len(TEXTS))) == tokens
    assert len(set(tokens)) == len(tokens)
    assert tokens[: len(SPECIAL)] == SPECIAL


def test_opposites_are_part_of_what_is_read() -> None:
    read = list(with_opposites(["A nodule of 9 mm is present. Emphysema."]))
    assert read == ["A nodule of 9 mm is present. Emphysema.", "No nodule is present.", "No emphysema."]
    assert {"no", "not", "present", "cardiomegaly", "septal"} <= set(prompt_words())


def test_size_and_rarity_bound_it() -> None:
    assert len(train_vocabulary(TEXTS, size=110)) == 110
    assert "cm" not in train_vocabulary(TEXTS, at_least=2)
    assert "cm" in train_vocabulary(TEXTS, at_least=1)
    with pytest.raises(ValueError, match="no room for words"):
        train_vocabulary(TEXTS, size=50)
    with pytest.raises(ValueError, match="needs text"):
        train_vocabulary(["12 34"])


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner()
    report = tmp_path / "report.txt"
    report.write_text("FINDINGS: A nodule of 8 mm is seen in the left lung. No effusion.\n" * 2, encoding="utf-8")
    done = run.invoke(app, ["text", "vocabulary", str(tmp_path / "out" / "vocab.txt"), str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert load_tokenizer(tmp_path / "out", max_length=16).unknown_words("nodule seen") == []
    assert "does not teach" in done.output
    assert "cardiomegaly" in done.output
    done = run.invoke(app, ["text", "extract", str(report)])
    found = json.loads(done.output)
    assert found["labels"]["Lung nodule"] == 1
    assert found["mentions"][0]["size_mm"] == 8
    done = run.invoke(app, ["text", "negate", "A nodule is seen.", "No effusion."])
    assert done.output.splitlines() == ["No nodule is seen.", "An effusion."]


def test_a_manifest_gives_its_training_reports(tmp_path: Path) -> None:
    from training.text.corpus import read_texts

    (tmp_path / "b.txt").write_text("Emphysema.", encoding="utf-8")
    lines = [
        {
            "image": "a.nii.gz",
            "report": f"Report {split}.",
            "labels": {},
            "masks": None,
            "patient": split,
            "study": split,
        }
        | {"split": split, "source": "ours"}
        for split in ("train", "test")
    ]
    manifest = tmp_path / "all.jsonl"
    manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert list(read_texts([manifest, tmp_path / "b.txt"])) == ["Report train.", "Emphysema."]
    assert list(read_texts([manifest], split=None)) == ["Report train.", "Report test."]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfa"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "report.txt"
    if content is not None:
        file.write_bytes(content)
    done = CliRunner().invoke(app, ["text", "extract", str(file)])
    assert done.exit_code == 2
    assert "report.txt" in done.output

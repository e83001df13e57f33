"""Classifiers and judges from folders: tiny models that the tests write, asked and refused; the command, whole."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner

from napari_colipri.engine.bundle_files import file_sha256
from napari_colipri.errors import Cancelled
from napari_colipri.progress import CancelToken
from training.__main__ import app
from training.evaluation.green_judge import ask_judge
from training.evaluation.local_models import LocalModel, describe_model
from training.evaluation.radbert import Labelled, classify_reports, label_columns, label_table, read_label_names
from training.evaluation.reports import ReportPair, evaluate_reports
from training.evaluation.scores import EvaluationError
from training.evaluation.tables import label_markdown

SENTENCE = "the heart is large there no nodule effusion in left right lung . and small"
NAMES = ("cardiomegaly", "LUNG NODULE", "Pleural_effusion")
FINDINGS = ("Cardiomegaly", "Lung nodule", "Pleural effusion")
ANSWER = "[Clinically Significant Errors]:\n(b) Missing: 1. x\n\n[Matched Findings]:\n3. a; b; c"
TEXTS = ["the heart is large .", "no nodule in the left lung . small effusion", "effusion", "there is the lung and ."]


def write_tokenizer(folder: Path, first: str, **settings: Any) -> int:
    vocabulary = {word: n for n, word in enumerate([first, "[PAD]", "[UNK]", "[EOS]", *SENTENCE.split()])}
    tokens = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokens.pre_tokenizer = Whitespace()
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=tokens, **marks, **settings).save_pretrained(folder)
    return len(vocabulary)


def bert(size: int, **settings: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertConfig(vocab_size=size, max_position_embeddings=12, pad_token_id=1, **sizes, **settings)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-classifier"
    size = write_tokenizer(folder, "[CLS]")
    torch.manual_seed(0)
    names = dict(enumerate(NAMES))
    network = BertForSequenceClassification(
        bert(size, id2label=names, label2id={v: k for k, v in names.items()}, problem_type="multi_label_classification")
    )
    with torch.no_grad():
        network.classifier.weight.mul_(50)
        network.bert.embeddings.word_embeddings.weight.mul_(50)
    network.save_pretrained(folder)
    return folder


def write_judge(folder: Path, places: int = 4096, **settings: Any) -> Path:
    """A judge whose final norm is zero: all words tie, and the first of its vocabulary, an answer, wins."""
    size = write_tokenizer(folder, ANSWER, **settings)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        max_position_embeddings=places,
        pad_token_id=1,
        bos_token_id=None,
        eos_token_id=3,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        network.model.norm.weight.zero_()
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    return write_judge(tmp_path / "tiny-judge")


def pairs() -> list[ReportPair]:
    return [ReportPair(f"s{n}", f"p{n // 2}", text, TEXTS[-1 - n]) for n, text in enumerate(TEXTS)]


def test_labels_are_the_networks_own_whatever_shares_a_batch(classifier: Path) -> None:
    got = classify_reports(TEXTS, describe_model(classifier))
    network = BertForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(classifier)
    assert got.findings == FINDINGS
    for text in TEXTS:
        with torch.inference_mode():
            probabilities = network(**tokenizer(text, return_tensors="pt")).logits.sigmoid()[0]
        assert got.labels[text] == {name for name, p in zip(FINDINGS, probabilities, strict=True) if p >= 0.5}
    assert len(set(got.labels.values())) > 1
    assert not got.shortened


def test_names_given_by_hand_take_the_place_of_the_models(classifier: Path, tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text('["Emphysema", null, "bronchiectasis"]')
    own = classify_reports(TEXTS, describe_model(classifier))
    got = classify_reports(TEXTS, describe_model(classifier), read_label_names(path))
    assert got.findings == ("Emphysema", "Bronchiectasis")
    renamed = {"Cardiomegaly": "Emphysema", "Pleural effusion": "Bronchiectasis"}
    for text in TEXTS:
        assert got.labels[text] == {renamed[name] for name in own.labels[text] if name in renamed}
    with pytest.raises(EvaluationError, match="3 outputs, but 1 names"):
        classify_reports(TEXTS, describe_model(classifier), ["Emphysema"])
    path.write_text('{"0": "Emphysema"}')
    with pytest.raises(EvaluationError, match=r"names\.json is not a JSON list"):
        read_label_names(path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["LABEL_0"], "'LABEL_0' is none of the 18"),
        (["Emphysema", "emphysema"], "'emphysema' stands twice"),
        ([None], "names none of the 18"),
    ],
)
def test_names_that_are_no_findings_are_refused(names: list[str | None], said: str) -> None:
    with pytest.raises(EvaluationError, match=f"m.*{said}"):
        label_columns(names, "m")


def test_agreement_by_hand_is_that_of_the_extractors_table() -> None:
    stated = {"a": {"Cardiomegaly"}, "b": {"Cardiomegaly", "Lung nodule"}, "c": {"Lung nodule"}, "d": set[str]()}
    read = Labelled(FINDINGS, {text: frozenset(names) for text, names in stated.items()}, frozenset("d"))
    two = [ReportPair("1", "1", "b", "a"), ReportPair("2", "2", "d", "c"), ReportPair("3", "3", "a", "a")]
    table = label_table(two, read, LocalModel(Path("by-hand"), "0" * 64), resamples=50)
    heart, nodule = table.findings["Cardiomegaly"][2], table.findings["Lung nodule"][2]
    assert (heart.precision.value, heart.recall.value, heart.f1.value) == (1, 1, 1)
    assert (nodule.precision.value, nodule.recall.value, nodule.f1.value) == (0, 0, 0)
    assert np.isnan(table.findings["Pleural effusion"][2].recall.value)  # neither stated nor true
    assert (table.macro.precision.value, table.macro.recall.value) == (0.5, 0.5)
    assert (table.micro.precision.value, table.micro.recall.value) == pytest.approx((2 / 3, 2 / 3))
    plain = evaluate_reports(two, read.read, FINDINGS, resamples=50)
    assert (table.macro.f1, table.micro.f1) == (plain.macro, plain.micro)
    assert table.shortened == 1
    assert len(table.unknown) == 15
    assert "The ends of 1 of 6 texts were not read" in label_markdown(table)


def test_what_a_classifier_does_not_read_is_counted(classifier: Path) -> None:
    long = "heart " * 13
    assert classify_reports([long, "heart"], describe_model(classifier)).shortened == {long}


def test_weights_are_named_by_their_hash(classifier: Path) -> None:
    whole = describe_model(classifier)
    assert whole.sha256 == file_sha256(classifier / "model.safetensors")
    (classifier / "model.safetensors").rename(classifier / "part-1.safetensors")
    index = classifier / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"classifier.bias": "part-1.safetensors"}}))
    assert describe_model(classifier) == whole
    index.write_text(json.dumps({"weight_map": {"classifier.bias": "../part-1.safetensors"}}))
    with pytest.raises(EvaluationError, match=r"tiny-classifier: .* names \.\./part-1\.safetensors"):
        describe_model(classifier)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pickled, "pickled weights are never loaded"),
        (adapter, "is an adapter of another model"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    ],
)
def test_folders_that_are_no_whole_model_are_refused(
    classifier: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(classifier)
    with pytest.raises(EvaluationError, match=f"tiny-classifier.*{said}"):
        describe_model(classifier)


def test_a_model_without_a_head_or_with_broken_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "headless"
    BertModel(bert(write_tokenizer(folder, "[CLS]"))).save_pretrained(folder)
    with pytest.raises(EvaluationError, match=r"headless lacks \d+ tensors, such as classifier"):
        classify_reports(TEXTS, describe_model(folder))
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EvaluationError, match="headless cannot be loaded as a classifier"):
        classify_reports(TEXTS, describe_model(folder))


def test_a_folder_that_brings_code_is_refused_and_none_of_it_runs(classifier: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (classifier / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    config = json.loads((classifier / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (classifier / "config.json").write_text(json.dumps(config))
    with pytest.raises(EvaluationError, match="tiny-classifier cannot be loaded"):
        classify_reports(TEXTS, describe_model(classifier))
    assert not ran.exists()


def test_a_judge_answers_every_pair_that_fits(judge: Path, tmp_path: Path) -> None:
    assert ask_judge(pairs(), describe_model(judge), limit=1) == (ANSWER,) * 4
    small = describe_model(write_judge(tmp_path / "small", places=16))
    answers = ask_judge(pairs(), small, prompt="{reference} {candidate}", limit=2)
    lengths = [len((pair.reference + " " + pair.generated).split()) for pair in pairs()]
    assert [answer is None for answer in answers] == [length + 2 > 16 for length in lengths]
    assert ask_judge(pairs(), small, limit=1) == (None,) * 4


@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_the_models_own_template_holds_the_question(tmp_path: Path, keys: tuple[str, str]) -> None:
    template = "{% for m in messages %}{{ m['KEY'] }} heart {{ m['WORDS'] }}{% endfor %}"
    template = template.replace("KEY", keys[0]).replace("WORDS", keys[1])
    folder = write_judge(tmp_path / "chat", places=8, chat_template=template)
    one = [ReportPair("s", "p", "lung", "heart")]
    bare, asked = "{reference}{candidate}", "{reference} {candidate} . . . ."
    assert ask_judge(one, describe_model(folder), prompt=bare, limit=5) == (" ".join([ANSWER] * 5),)
    assert ask_judge(one, describe_model(folder), prompt=asked, limit=1) == (None,)  # 6 words, 2 more, and the answer


def test_a_judge_stops_between_two_words(judge: Path) -> None:
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        ask_judge(pairs(), describe_model(judge), limit=500, progress=lambda *_: cancel.cancel(), cancel=cancel)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(vars(pair)) + "\n" for pair in pairs()))
    return path


def ask(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", "reports", *map(str, words), "--resamples", "20"])


def test_the_command_writes_all_into_one_table(classifier: Path, judge: Path, written: Path, tmp_path: Path) -> None:
    graph = {"text": "", "entities": {"1": {"tokens": "heart", "label": "Anatomy", "relations": []}}}
    annotations = tmp_path / "graphs.json"
    annotations.write_text(json.dumps({str(n): graph for n in range(4)}))
    out = tmp_path / "out"
    options = ("--radbert", classifier, "--green", judge, "--green-tokens", 1, "--device", "cpu")
    done = ask(written, "--out", out, *options, "--radgraph", annotations, annotations)
    assert done.exit_code == 0, done.output
    values = json.loads((out / "reports.json").read_text())
    assert values["radbert"]["model"] == "tiny-classifier"
    assert values["radbert"]["weights_sha256"] == file_sha256(classifier / "model.safetensors")
    assert set(values["radbert"]["findings"]) == set(FINDINGS)
    assert values["green"]["score"]["value"] == 0.75
    assert values["green"]["weights_sha256"] == file_sha256(judge / "model.safetensors")
    assert values["radgraph"]["complete"]["f1"]["value"] == 1
    text = (out / "reports.md").read_text()
    assert "clinical F1, macro" in text
    assert f"GREEN by `tiny-judge`, weights sha256 `{values['green']['weights_sha256'][:12]}`" in text
    lines = [json.loads(line) for line in (out / "green-answers.jsonl").read_text().splitlines()]
    assert [line["study"] for line in lines] == ["s0", "s1", "s2", "s3"]
    assert lines[0] == {"study": "s0", "score": 0.75, "matched": 3, "errors": [0, 1, 0, 0, 0, 0], "answer": ANSWER}


def test_without_options_the_command_is_as_before(written: Path, tmp_path: Path) -> None:
    assert ask(written, "--out", tmp_path / "out").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["reports.json", "reports.md"]
    assert not {"radbert", "green", "radgraph"} & set(json.loads((tmp_path / "out" / "reports.json").read_text()))


def test_wrong_options_are_one_sentence(written: Path, tmp_path: Path) -> None:
    done = ask(written, "--out", tmp_path / "out", "--radbert-labels", tmp_path / "names.json")
    assert done.exit_code == 2
    assert "--radbert-labels says something about --radbert, which is not given." in done.output
    done = ask(written, "--out", tmp_path / "out", "--green", tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "nowhere is no model folder" in done.output
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_nothing_half_written(
    judge: Path, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return ask_judge(*args, **kwargs)

    monkeypatch.setattr("training.evaluation.report_metrics.ask_judge", interrupted)
    done = ask(written, "--out", tmp_path / "out", "--green", judge, "--green-tokens", 500, "--device", "cpu")
    assert done.exit_code == 130
    assert not (tmp_path / "out").exists()

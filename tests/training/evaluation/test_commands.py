"""Every command on files, whole: tables in both forms and plots that are pictures."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from training.__main__ import app, main
from training.evaluation.facts import Fact
from training.evaluation.files import Embeddings, read_embeddings, write_embeddings
from training.evaluation.plots import learning_curves
from training.evaluation.scores import EvaluationError, Scores, write_scores

RNG = np.random.default_rng(2)


def ask(*words: object) -> str:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def table(count: int, name: str) -> Scores:
    labels = (RNG.random((count, 2)) < 0.4).astype(float)
    scores = 1 / (1 + np.exp(-RNG.normal(3 * labels - 1.5, 1)))
    keys = tuple(f"{name}{i}" for i in range(count))
    return Scores(("Cardiomegaly", "Lung nodule"), scores, labels, keys, keys)


def assert_is_a_picture(path: Path) -> None:
    with Image.open(path) as image:
        values = np.asarray(image.convert("L"))
    assert values.std() > 1


def test_findings(tmp_path: Path) -> None:
    write_scores(table(60, "t"), tmp_path / "test.jsonl")
    write_scores(table(60, "v"), tmp_path / "valid.jsonl")
    files = (tmp_path / "test.jsonl", "--validation", tmp_path / "valid.jsonl", "--out", tmp_path / "out")
    said = ask("findings", *files, "--resamples", 40)
    assert "highest F1 on the validation studies" in said
    values = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert 0.8 < values["macro"]["auroc"]["value"] <= 1
    assert (tmp_path / "out" / "findings.md").read_text() in said
    assert json.loads((tmp_path / "out" / "reliability.json").read_text())["Cardiomegaly"]["n"] == 60
    assert_is_a_picture(tmp_path / "out" / "roc.png")
    assert_is_a_picture(tmp_path / "out" / "reliability.png")
    with pytest.raises(EvaluationError, match="60 patients stand in both files"):
        ask("findings", tmp_path / "test.jsonl", "--validation", tmp_path / "test.jsonl", "--out", tmp_path / "out")


def test_retrieval(tmp_path: Path) -> None:
    image = RNG.normal(size=(30, 8))
    facts = tuple((Fact("Lung nodule", "left", float(size)),) for size in range(4, 34))
    keys = tuple(f"p{i}" for i in range(30))
    write_embeddings(Embeddings(image, image + 0.01, facts, keys, keys), tmp_path)
    np.testing.assert_allclose(read_embeddings(tmp_path).image, image, rtol=1e-6)
    assert "30 items" in ask("retrieval", tmp_path, "--out", tmp_path / "out", "--resamples", 20)
    values = json.loads((tmp_path / "out" / "retrieval.json").read_text())
    assert values["image_to_report"]["1"]["value"] == 1
    assert values["resolved"]["10"]["value"] is None  # findings alone do not tell them apart
    (tmp_path / "facts.jsonl").write_text('{"study": "a", "patient": "a", "facts": []}\n')
    with pytest.raises(EvaluationError, match="they must agree"):
        read_embeddings(tmp_path)


def test_masks(tmp_path: Path) -> None:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[3:9, 3:9, 3:9] = 1
    for folder, shift in (("ours", 1), ("theirs", 0)):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(np.roll(labels, shift, 0), np.diag([2.0, 2, 2, 1])), tmp_path / folder / "a.nii.gz")
    (tmp_path / "classes.json").write_text('{"heart": 1}')
    folders = (tmp_path / "ours", tmp_path / "theirs", "--classes", tmp_path / "classes.json", "--out", tmp_path)
    ask("masks", *folders, "--resamples", 10)
    values = json.loads((tmp_path / "masks.json").read_text())
    assert values["classes"]["heart"]["dice"]["value"] == pytest.approx(5 / 6)
    assert values["classes"]["heart"]["nsd"]["value"] == 1
    (tmp_path / "ours" / "a.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"a\.nii\.gz has no prediction"):
        ask("masks", *folders)


def test_planted(tmp_path: Path) -> None:
    line = {"patient": "p", "volume": "v", "finding": "Emphysema", "unplanted": 0.1, "planted": 0.7, "sham": 0.2}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(line) + "\n")
    assert "A description of these patients" in ask("planted", tmp_path / "pairs.jsonl", "--out", tmp_path)
    assert json.loads((tmp_path / "planted.json").read_text())[0]["over_sham"]["value"] == pytest.approx(0.5)
    (tmp_path / "pairs.jsonl").write_text('{"patient": "p"}\n')
    with pytest.raises(EvaluationError, match="line 1"):
        ask("planted", tmp_path / "pairs.jsonl", "--out", tmp_path)


def test_learning_curves(tmp_path: Path) -> None:
    for run in ("c", "crm"):
        (tmp_path / run).mkdir()
        lines = [json.dumps({"step": s, "contrastive_loss": 1 / (s + 1), "seconds": 2.0}) for s in range(30)]
        (tmp_path / run / "log.jsonl").write_text("\n".join(lines) + "\n")
    logs = [tmp_path / run / "log.jsonl" for run in ("c", "crm")]
    ask("curves", *logs, "--out", tmp_path / "curves.png")
    assert_is_a_picture(tmp_path / "curves.png")
    logs[0].write_text('{"seconds": 1}\n')
    with pytest.raises(EvaluationError, match="no line with a step and a loss"):
        learning_curves(logs[:1], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_wrong_file_is_one_sentence_and_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "findings", str(tmp_path / "missing.jsonl"), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["training", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("missing.jsonl cannot be read")
    assert said.count("\n") == 1

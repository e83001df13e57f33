"""``train``, ``resume`` and the dry run, whole, at a tiny size."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.training.loop.runs import lines
from training.__main__ import app

TINY = """
base: crm-toy
name: tiny
model:
  size: [16, 24, 32]
  embed_dim: 36
  depth: 2
  heads: 3
  projection_dim: 32
  text: {layers: 1, heads: 2, intermediate: 32, length: 32}
objectives:
  report: {width: 24, depth: 1, heads: 2}
  masked: {width: 24, heads: 2}
run: {steps: 4, batch: 2, accumulate: 2, precision: float32, log_every: 1, save_every: 2, tensorboard: false}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_run_from_the_command_line_and_its_continuation(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = command("train", recipe, "--data", "noise", "--out", out, "--cpu")
    assert first.exit_code == 0, first.output
    assert "finished after step 4" in first.output
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-00000002", "step-00000004"]
    assert {"contrastive_loss", "opposite_loss", "report_loss", "masked_loss"} <= set(lines(out)[-1])
    longer = command("resume", out, "--set", "run.steps=6", "--cpu")
    assert longer.exit_code == 0, longer.output
    assert [line["step"] for line in lines(out)] == [1, 2, 3, 4, 5, 6]
    bundle = command("bundle", out, tmp_path / "bundle", "--licence", "None.")
    assert bundle.exit_code == 0, bundle.output
    assert (tmp_path / "bundle" / "report.safetensors").is_file()
    again = command("train", recipe, "--data", "noise", "--out", out, "--cpu")
    assert again.exit_code == 2
    assert "holds a run already" in again.output


def test_the_dry_run_says_what_it_would_cost_and_makes_nothing(recipe: Path, tmp_path: Path) -> None:
    done = command("train", recipe, "--dry-run", "--json", "--cpu")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output[done.output.index("{") :])
    assert {"vision", "text", "report", "masked"} == set(found["weights"])
    assert found["fits"]
    assert found["seconds_per_step"] > 0
    assert found["hours"] == pytest.approx(found["seconds_per_step"] * 4 / 3600)
    assert found["memory"]["recomputed"] < found["memory"]["kept"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
    table = command("train", recipe, "--dry-run", "--cpu")
    assert re.search(r"weights in all.*M", table.output)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("train", "nothing", "--data", "noise", "--out", "OUT"), 2, "There is no configuration nothing"),
        (("train", "c-toy"), 2, "needs --data and --out"),
        (("train", "c-toy", "--data", "OUT", "--out", "OUT"), 2, "none of them"),
        (("train", "c-toy", "--dry-run", "--set", "run.stepz=1"), 2, "unknown key run.stepz"),
        (("resume", "OUT"), 4, "holds no run"),
    ],
)
def test_mistakes_cost_one_sentence(words: tuple[str, ...], status: int, message: str, tmp_path: Path) -> None:
    done = command(*(str(tmp_path) if word == "OUT" else word for word in words))
    assert done.exit_code == status, done.output
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output

"""The heads of a run are asked about phantoms that training leaves out, each where it looks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_colipri.progress import CancelToken, report_nothing
from napari_colipri.text.findings import FINDING_NAMES
from tests.training import tiny
from tests.training.loop.runs import config
from training.__main__ import app
from training.evaluation.heads import head_scores, load_run
from training.evaluation.scores import EvaluationError
from training.loop.data import open_source
from training.loop.engine import Trainer
from training.loop.errors import ConfigError
from training.objectives.detail import DetailConfig
from training.phantom.pool import fill_pool, read_phantom

MODEL = replace(tiny.MODEL, size=(32, 32, 32), spacing_mm=11.0, detail=8)
HEADS = replace(
    tiny.ALL,
    contrastive=None,
    opposite=None,
    report=None,
    masked=None,
    dense=None,
    masks=None,
    detail=DetailConfig(classes=36),
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty phantoms, of which the twentieth and the fortieth are left out of training: three of them are different."""
    root = tmp_path_factory.mktemp("phantoms")
    made = list(fill_pool(root, range(3), shape=MODEL.size, spacing_mm=(11.0, 11.0, 11.0), chance=0.5))
    assert made
    first, second, third = sorted(root.glob("*.npz"))
    second.rename(root / "00000019.npz")
    third.rename(root / "00000039.npz")
    for place in (*range(1, 19), *range(20, 39)):
        (root / f"{place:08d}.npz").hardlink_to(first)
    return root


@pytest.fixture(scope="module")
def run(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "run"
    made = config(HEADS, model=MODEL, steps=2)
    made = replace(made, data=replace(made.data, masks="all"))
    Trainer(made, open_source([str(pool)], made), folder, cpu=True).run()
    return folder


def test_each_head_scores_the_phantoms_left_out(run: Path, pool: Path) -> None:
    task, made, step = load_run(run)
    assert step == 2
    scores = head_scores(task, made, pool, 10, report_nothing, CancelToken())
    assert set(scores) == {"cells", "patches", "volume"}
    truth = np.array([read_phantom(pool / f"000000{place}.npz").present for place in (19, 39)])
    for table in scores.values():
        assert table.findings == FINDING_NAMES
        assert table.scores.shape == (2, len(FINDING_NAMES))
        known = np.isfinite(table.labels)
        np.testing.assert_array_equal(table.labels[known], truth[known])
    assert not np.allclose(scores["cells"].scores, scores["volume"].scores)


def test_the_command_prints_a_column_per_head(run: Path, pool: Path, tmp_path: Path) -> None:
    words = ["evaluate", "heads", run, pool, "--out", tmp_path, "--count", 2, "--resamples", 5]
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "tiny, step 2." in done.output
    for column in ("AUROC, cells", "AUROC, patches", "AUROC, volume"):
        assert column in done.output
    assert json.loads((tmp_path / "heads.json").read_text())["step"] == 2


def test_no_run_and_a_pool_of_another_grid_are_refused(run: Path, pool: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="holds no checkpoint"):
        load_run(tmp_path)
    task, made, _ = load_run(run)
    other = replace(made, model=replace(made.model, size=(16, 16, 16)))
    with pytest.raises(ConfigError, match="model grid"):
        head_scores(task, other, pool, 2, report_nothing, CancelToken())

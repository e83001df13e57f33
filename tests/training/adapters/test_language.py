"""The language model of a run writes: it learns a report by heart, ends by itself, can be stopped, and is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from napari_colipri.errors import Cancelled
from napari_colipri.progress import CancelToken
from tests.training import tiny
from tests.training.loop.runs import config, trainer
from tests.training.tiny_language import PROMPT, write_language_model
from tests.training.toy_studies import toy_study
from training.__main__ import app
from training.adapters.language import LanguageWriter, open_writer, write_reports
from training.evaluation.reports import read_reports
from training.loop.errors import CheckpointError
from training.objectives.llm import LlmConfig
from training.objectives.task import ObjectivesConfig, Task


@pytest.fixture(scope="module")
def objectives(tmp_path_factory: pytest.TempPathFactory) -> ObjectivesConfig:
    folder = write_language_model(tmp_path_factory.mktemp("language"))
    return ObjectivesConfig(llm=LlmConfig(folder=str(folder), tokens=(1, 2, 2), prompt=PROMPT, length=20, train="all"))


@pytest.fixture(scope="module")
def taught(objectives: ObjectivesConfig) -> Task:
    task = tiny.task(objectives)
    optimiser = torch.optim.AdamW(task.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for _ in range(200):
        batch = tiny.batch()
        task.prepare(batch)
        optimiser.zero_grad()
        loss = task(batch)["loss"]
        loss.backward()
        optimiser.step()
        if float(loss.detach()) < 0.02:
            break
    return task


def test_each_image_gets_its_own_report_which_ends_by_itself(taught: Task) -> None:
    writer = LanguageWriter(taught)
    tokens = writer.tokens(tiny.batch()["image"][:, 0])
    written = [writer.write(each) for each in tokens]
    assert [each.text.replace(" .", ".") for each in written] == tiny.REPORTS
    assert all(each.finished for each in written)
    assert not taught.training


def test_a_text_is_cut_at_the_limit(taught: Task) -> None:
    writer = LanguageWriter(taught, length=3)
    written = writer.write(writer.tokens(tiny.batch()["image"][:1, 0])[0])
    assert (written.text, written.finished) == ("There is a", False)


def test_writing_stops_between_two_words(taught: Task) -> None:
    class Third(CancelToken):
        asked = 0

        def check(self) -> None:
            self.asked += 1
            if self.asked == 3:
                self.cancel()
            super().check()

    writer, cancel = LanguageWriter(taught), Third()
    with pytest.raises(Cancelled):
        writer.write(writer.tokens(tiny.batch()["image"][:1, 0])[0], cancel)
    assert cancel.asked == 3


def test_a_run_writes_what_evaluation_reads(
    objectives: ObjectivesConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(objectives, steps=2)
    trainer(tmp_path / "run", made=made).run()
    studies = [toy_study(1), toy_study(2)]
    unknown = replace(studies[1], report="", facts=None, study="unknown")
    monkeypatch.setattr("training.evaluation.studies.studies_of", lambda *_, **__: iter([*studies, unknown]))
    out = tmp_path / "reports.jsonl"
    done = CliRunner().invoke(app, ["adapt", "write", str(tmp_path / "run"), "any", str(out), "--length", "4", "--cpu"])
    assert done.exit_code == 0, done.output
    assert "2 reports" in done.output
    pairs = read_reports(out)
    assert [pair.study for pair in pairs] == [study.study for study in studies]
    assert [pair.reference for pair in pairs] == [study.report for study in studies]
    assert [pair.facts for pair in pairs] == [study.facts for study in studies]
    assert all(len(pair.generated.split()) <= 4 for pair in pairs)


def test_a_run_without_a_language_model_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, made=config(tiny.OBJECTIVES["labels"], steps=1)).run()
    with pytest.raises(CheckpointError, match="trained no language model"):
        open_writer(tmp_path)


def test_nothing_is_left_where_writing_was_stopped(taught: Task, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        write_reports(LanguageWriter(taught), tiny.MODEL, [toy_study(1)], tmp_path / "out.jsonl", cancel=cancel)
    assert list(tmp_path.iterdir()) == []

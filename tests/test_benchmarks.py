"""Rows of measurements are appended to the table of their heading and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import _common, report_labels


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "RESULTS.md"
    monkeypatch.setattr(_common, "RESULTS", path)
    return path


def _rows(text: str, heading: str) -> list[str]:
    part = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in part.splitlines() if line.startswith("| 2")]


def test_rows_gather_below_their_heading(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _common.publish("Speed", [{"seconds": "1"}], write=True)
    _common.publish("Parity", [{"difference": "0"}], write=True)
    _common.publish("Speed", [{"seconds": "2"}, {"seconds": "3"}], write=True)
    text = results.read_text(encoding="utf-8")
    assert [row.split(" | ")[1] for row in _rows(text, "Speed")] == ["1", "2", "3"]
    assert len(_rows(text, "Parity")) == 1
    assert text.count("| date | seconds |") == 1
    assert "python -m benchmarks" in capsys.readouterr().out


def test_other_columns_start_a_new_table(results: Path) -> None:
    _common.publish("Speed", [{"seconds": "1"}], write=True)
    _common.publish("Speed", [{"milliseconds": "2"}], write=True)
    text = results.read_text(encoding="utf-8")
    assert sum(line.startswith("| ---") for line in text.splitlines()) == 2
    assert text.count("## Speed") == 1


def test_nothing_is_written_unless_asked(results: Path) -> None:
    _common.publish("Speed", [{"seconds": "1"}], write=False)
    assert not results.exists()


def test_runs_take_turns() -> None:
    order: list[str] = []
    medians = _common.alternate(2, ours=lambda: order.append("ours"), public=lambda: order.append("public"))
    assert order == ["ours", "public"] * 3
    assert sorted(medians) == ["ours", "public"]


def test_reports_are_split_once_and_equal_texts_stay_together() -> None:
    texts = [f"report {number % 60}" for number in range(80)]
    tune, score = report_labels.split(texts, tune=50)
    assert (len(tune), len(score)) == (50, 30)
    assert not {texts[index] for index in tune} & {texts[index] for index in score}
    assert report_labels.split(texts, tune=50) == (tune, score)


def test_f1_of_each_finding() -> None:
    predicted = np.array([[True, False], [True, False], [False, False]])
    truth = np.array([[True, False], [False, False], [True, False]])
    assert report_labels.f1(predicted, truth).tolist() == [0.5, 0.0]

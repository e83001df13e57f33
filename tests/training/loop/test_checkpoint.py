"""Checkpoints are there whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_colipri.errors import OutOfResources
from tests.training.loop.runs import lines, trainer
from training.loop import checkpoint
from training.loop.errors import CheckpointError

FILES = {"weights": {"a": torch.arange(3.0)}, "optimiser": {"a|step": torch.tensor(1.0)}}


def full_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Let the ``after``-th file of a checkpoint end in the middle."""
    real, written = checkpoint.save_file, 0

    def save_file(tensors: dict[str, torch.Tensor], path: Path, *args: Any) -> None:
        nonlocal written
        written += 1
        if written > after:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path, *args)

    monkeypatch.setattr(checkpoint, "save_file", save_file)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_full_disk_leaves_the_former_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 1, FILES, {"step": 1}, keep=1)
    full_disk(monkeypatch, after=1)
    with pytest.raises(OutOfResources, match="step 2 could not be written: the disk is full"):
        checkpoint.save(tmp_path, 2, FILES, {"step": 2}, keep=1)
    assert names(tmp_path) == ["step-00000001"]
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert torch.equal(found.tensors("weights")["a"], torch.arange(3.0))


def test_a_run_outlives_a_full_disk_until_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = trainer(tmp_path, steps=2)
    first.run()
    full_disk(monkeypatch, after=0)
    second = trainer(tmp_path, steps=4, save_every=1)
    with pytest.raises(OutOfResources):
        second.run()
    assert second.step_count == 4
    assert [line["step"] for line in lines(tmp_path) if line.get("event") == "checkpoint_failed"] == [3, 4]
    assert names(tmp_path) == ["step-00000002"]
    monkeypatch.undo()
    assert trainer(tmp_path, steps=4).step_count == 2


def test_only_the_newest_stay(tmp_path: Path) -> None:
    for step in (1, 2, 10, 11):
        checkpoint.save(tmp_path, step, FILES, {"step": step}, keep=2)
    assert names(tmp_path) == ["step-00000010", "step-00000011"]


def test_what_an_ended_process_left_behind_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, FILES, {"step": 1}, keep=2)
    (tmp_path / "checkpoints" / ".step-00000002.part").mkdir()
    (tmp_path / "checkpoints" / "step-00000003").mkdir()
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.state == {"step": 1}
    checkpoint.save(tmp_path, 2, FILES, {"step": 2}, keep=2)
    assert ".step-00000002.part" not in names(tmp_path)


def test_damage_is_said_and_not_unpickled(tmp_path: Path) -> None:
    found = checkpoint.save(tmp_path, 1, FILES, {"step": 1}, keep=2)
    assert {path.suffix for path in found.folder.iterdir()} == {".safetensors", ".json"}
    (found.folder / "weights.safetensors").write_bytes(b"damage")
    with pytest.raises(CheckpointError, match=r"step-00000001/weights.safetensors cannot be read"):
        found.tensors("weights")
    (found.folder / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state.json cannot be read"):
        checkpoint.latest(tmp_path)

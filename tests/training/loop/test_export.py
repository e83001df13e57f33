"""A run becomes a bundle that the product opens and asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_colipri.engine.session import Session
from tests.training import tiny
from tests.training.loop.runs import config, trainer
from training.loop import checkpoint
from training.loop.errors import CheckpointError
from training.loop.export import export_bundle, run_state
from training.objectives.task import build_task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer(folder, steps=2, ema=0.5).run()
    return folder


def test_a_bundle_answers_as_the_trained_model_does(run: Path, tmp_path: Path) -> None:
    bundle = export_bundle(run, tmp_path / "bundle", name="tiny", title="Tiny", licence="None.")
    assert bundle.config.training["recipe"] == "tiny"
    assert bundle.config.training["averaged_weights"] is True
    assert "dense, labels" in (bundle.path / "README.md").read_text()
    task = build_task(tiny.MODEL, config().objectives, tiny.VOCABULARY)
    _, averaged, _ = run_state(run)
    task.load_state_dict(averaged)
    task.eval()
    image = tiny.batch()["image"][:1]
    session = Session(bundle, device="cpu", precision="float32")
    session.load()
    with torch.no_grad():
        wanted = task.model.image_embedding({"image": image})[0].numpy()
        text = task.model.text_embedding(*task.model.words(["There is a nodule."]))[0].numpy()
    _, pooled = session._networks.encode(image[0, 0].numpy(), lambda *_: None, _never())  # type: ignore[union-attr]
    assert float(np.dot(pooled, wanted)) > 0.9999  # weights are rounded to half precision
    assert float(np.dot(session._networks.embed(["There is a nodule."])[0], text)) > 0.9999  # type: ignore[union-attr]
    assert session._networks.temperature == pytest.approx(1 / float(task.model.scale.detach()))  # type: ignore[union-attr]
    assert bundle.has_report_decoder


def test_weights_as_they_are_may_be_taken_too(run: Path, tmp_path: Path) -> None:
    plain = export_bundle(run, tmp_path / "plain", name="tiny", title="Tiny", licence="None.", averaged=False)
    found = checkpoint.latest(run)
    assert found is not None
    key = "image_encoder.projector.bias"
    held = load_file(plain.path / "model.safetensors")[key]
    assert torch.equal(held, found.tensors("weights")[f"model.towers.{key}"].half())
    assert not torch.equal(held, found.tensors("average")[f"model.towers.{key}"].half())


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        export_bundle(tmp_path, tmp_path / "out", name="tiny", title="Tiny", licence="None.")


def _never() -> object:
    from napari_colipri.progress import CancelToken

    return CancelToken()

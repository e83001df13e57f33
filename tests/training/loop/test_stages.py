"""The stages of the embedded bundle: outlines join batches, tokens are cached, decoders are trained on still towers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.engine.weights import load_towers
from napari_colipri.text.findings import FINDING_NAMES
from tests.training import tiny
from tests.training.loop.runs import config, trainer
from training.adapters.artifact import read_adapter
from training.loop.cached import CachedSource
from training.loop.config import TrainingConfig, load_config
from training.loop.data import open_source
from training.loop.engine import Trainer
from training.loop.errors import CheckpointError, ConfigError
from training.loop.export import export_adapter, export_bundle
from training.objectives.masks import MasksConfig
from training.objectives.model import ModelConfig
from training.objectives.task import ObjectivesConfig
from training.phantom.classes import class_table
from training.phantom.pool import fill_pool

MODEL: ModelConfig = replace(tiny.MODEL, size=(32, 32, 32), spacing_mm=11.0, detail=8)
ALIGN = replace(tiny.ALL, masked=None, dense=None, lesions=None, masks=None, report=None)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    list(fill_pool(root, range(6), shape=MODEL.size, spacing_mm=(11.0, 11.0, 11.0), chance=0.5))
    return root


@pytest.fixture(scope="module")
def outlines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outlines")
    lungs = np.zeros(MODEL.size, np.uint8)
    lungs[4:12, 8:24, 8:24], lungs[20:28, 8:24, 8:24] = 1, 2
    np.savez(root / "scan.npz", image=np.where(lungs, -0.8, 0.0).astype(np.float16), lungs=lungs)
    return root


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("first")
    made = config(ALIGN, model=MODEL, steps=1)
    Trainer(made, trainer_source(made), folder / "run", cpu=True).run()
    return export_bundle(folder / "run", folder / "bundle", name="first", title="First", licence="None.")


def trainer_source(made: TrainingConfig) -> object:
    from training.loop.data import noise

    return noise(made)


def stage(first: Bundle, objectives: ObjectivesConfig, freeze: str, **data: object) -> TrainingConfig:
    made = config(objectives, model=MODEL, steps=3, batch=4, accumulate=1)
    wanted = {"augment": False, "vary_text": False, "unpaired": 0.0, **data}
    return replace(
        made,
        vocabulary=None,
        start=str(first.path),
        freeze=(freeze,),
        data=replace(made.data, **wanted),  # type: ignore[arg-type]
    )


def test_cached_tokens_are_those_of_the_frozen_tower_and_every_label_is_asked(first: Bundle, pool: Path) -> None:
    made = stage(first, ALIGN, "vision", cached=5, pairs_by="finding", pairs=1)
    source = open_source([str(pool)], made)
    assert isinstance(source, CachedSource)
    assert len(source) == 5
    batch = source[0]
    assert "image" not in batch
    plain = open_source([str(pool)], replace(made, data=replace(made.data, cached=0)))
    tower = load_towers(first).image_encoder
    for key, tokens in zip(batch["study"], batch["tokens"], strict=True):
        image = plain.volume(sorted(path.stem for path in pool.glob("*.npz")).index(key))["image"]  # type: ignore[attr-defined]
        with torch.no_grad():
            torch.testing.assert_close(tokens, tower.tokens(image)[0], atol=2e-3, rtol=2e-3)
    asked = {said for pairs in batch["pairs"] for said, _, _ in pairs}
    assert all(len(pairs) <= len(FINDING_NAMES) for pairs in batch["pairs"])
    assert asked
    again = open_source([str(pool)], made)[0]
    assert torch.equal(again["tokens"], batch["tokens"])
    assert again["pairs"] == batch["pairs"]


def test_alignment_moves_everything_but_the_vision_tower(first: Bundle, pool: Path, tmp_path: Path) -> None:
    made = stage(first, ALIGN, "vision", cached=5, pairs_by="finding", pairs=1)
    run = Trainer(made, open_source([str(pool)], made), tmp_path, cpu=True)
    before = {name: value.clone() for name, value in run.task.model.towers.state_dict().items()}
    assert run.run().reason == "finished"
    assert run.volumes == 12
    for name, value in run.task.model.towers.state_dict().items():
        still = name.startswith(("image_encoder.backbone.", "image_encoder.detail.", "softmax"))
        assert torch.equal(value, before[name]) == still or "running" in name or "position_ids" in name, name


def test_caching_needs_a_tower_that_stays(first: Bundle, pool: Path) -> None:
    made = replace(stage(first, ALIGN, "vision", cached=5), freeze=())
    with pytest.raises(ConfigError, match=r"data\.cached needs a vision tower that stays as it is"):
        open_source([str(pool)], made)


def test_every_third_batch_takes_a_real_scan_along(pool: Path, outlines: Path, first: Bundle) -> None:
    made = stage(first, ALIGN, "vision", outlines=str(outlines), outline_every=3)
    source = open_source([str(pool)], made)
    with_scan, without = source[3], source[4]
    assert len(with_scan["image"]) == 5
    assert len(without["image"]) == 4
    assert all(
        len(with_scan[key]) == 5 for key in ("report", "pairs", "labels", "mask", "finding_mask", "lungs", "study")
    )
    assert set(with_scan["lungs"][4].unique().tolist()) == {0, 1, 2}
    assert with_scan["lungs"][:4].min() == 255
    assert with_scan["mask"][4].min() == 255
    assert with_scan["finding_mask"][4].max() == -1
    assert not torch.isfinite(with_scan["labels"][4]).any()
    left = (with_scan["lungs"][4] == 1).nonzero()[:, 0].float().mean()
    assert left < (with_scan["lungs"][4] == 2).nonzero()[:, 0].float().mean()
    with pytest.raises(ConfigError, match="holds no scan with the outline"):
        open_source([str(pool)], stage(first, ALIGN, "vision", outlines=str(pool.parent)))


@pytest.mark.parametrize("kind", ["masks", "report"])
def test_a_decoder_trained_on_still_towers_becomes_an_adapter(
    kind: str, first: Bundle, pool: Path, outlines: Path, tmp_path: Path
) -> None:
    if kind == "masks":
        made = stage(first, ObjectivesConfig(masks=MasksConfig(width=8)), "towers", outlines=str(outlines))
    else:
        made = stage(first, ObjectivesConfig(report=tiny.ALL.report), "towers", cached=5)
    run = Trainer(made, open_source([str(pool)], made), tmp_path / "run", cpu=True)
    before = {name: value.clone() for name, value in run.task.model.state_dict().items()}
    run.run()
    assert all(torch.equal(value, before[name]) for name, value in run.task.model.state_dict().items())
    made_adapter = export_adapter(tmp_path / "run", tmp_path / "adapter", class_table())
    assert read_adapter(tmp_path / "adapter") == made_adapter
    assert made_adapter.name == {"masks": "segmentation", "report": "report"}[kind]
    if kind == "masks":
        with pytest.raises(CheckpointError, match="draws 12 classes, the list names 1"):
            export_adapter(tmp_path / "run", tmp_path / "other", class_table()[:1])


def test_a_run_that_moved_its_towers_gives_no_adapter(first: Bundle, tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    with pytest.raises(CheckpointError, match="moved the towers"):
        export_adapter(tmp_path, tmp_path / "out", class_table())


def test_presets_of_the_stages_fit_each_other() -> None:
    stages = [load_config(name) for name in ("embedded", "embedded-align", "embedded-masks", "embedded-report")]
    assert len({replace(made.model, drop_path=0.0) for made in stages}) == 1
    assert open_bundle(None).config.vision.embed_dim == stages[0].model.embed_dim
    with pytest.raises(ConfigError, match="masked needs 0"):
        load_config("embedded", ["objectives.masked={}"])
    with pytest.raises(ConfigError, match="keeps neither image nor masks, which dense and lesions need"):
        load_config("embedded", ["data.cached=4", "objectives.detail=null"])
    with pytest.raises(ConfigError, match=r"model\.detail is 0"):
        load_config("embedded", ["model.detail=0"])

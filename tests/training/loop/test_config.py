"""Configurations: presets build, a wrong key is named, costs are those that were measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.tiny_language import write_language_model
from training.loop.config import PRESETS, OptimiserConfig, RunConfig, load_config, parse_config
from training.loop.cost import cost, memory, parameters
from training.loop.errors import ConfigError
from training.loop.schedule import progress, rate
from training.objectives.task import build_task

NAMES = sorted(path.stem for path in PRESETS.glob("*.yaml"))
OTHERS = ["crm-llm", "embedded", *(f"embedded-{stage}" for stage in ("align", "detail", "masks", "report"))]
FAMILY = {"c": [], "cr": ["report"], "cm": ["masked"], "crm": ["report", "masked"]}


def test_the_family_is_complete_and_pure() -> None:
    assert sorted([*FAMILY, *(f"{name}-toy" for name in FAMILY), *OTHERS]) == NAMES
    for name, added in FAMILY.items():
        for size in (name, f"{name}-toy"):
            config = load_config(size)
            assert config.name == size
            wanted = {key for key, value in config.as_dict()["objectives"].items() if value is not None}
            assert wanted == {"contrastive", "opposite", *added}
            assert (config.data.unpaired > 0) == ("masked" in added)
            assert config.model.size == ((72, 72, 72) if size.endswith("toy") else (192, 192, 192))


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_trains_at_toy_size(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    wanted = config.objectives
    if wanted.report is not None:
        wanted = replace(wanted, report=replace(wanted.report, width=24, depth=1, heads=2))
    if wanted.masked is not None:
        wanted = replace(wanted, masked=replace(wanted.masked, width=24, heads=2))
    if wanted.llm is not None:
        folder = str(write_language_model(tmp_path, places=512))
        wanted = replace(wanted, llm=replace(wanted.llm, folder=folder, tokens=(1, 2, 2)))
    task = build_task(replace(tiny.MODEL, detail=8 if config.model.detail else 0), wanted, tiny.VOCABULARY)
    batch = tiny.batch()
    batch["report"] = ["", *batch["report"][1:]]
    task.prepare(batch)
    out = task(batch)
    assert {key.removesuffix("_loss") for key in out if key.endswith("_loss")} == set(task.weights)
    out["loss"].backward()
    assert all(bool(torch.isfinite(each.grad).all()) for each in task.parameters() if each.requires_grad)


def test_official_sizes_are_those_of_the_public_checkpoint() -> None:
    config = load_config("crm", [f"vocabulary={tiny.VOCABULARY}"])
    counted = parameters(config)
    assert (counted["vision"] + 5e4) // 1e5 == 1471  # 144.1 M of Primus-M, projector and pooling on top
    assert counted["text"] == pytest.approx(111.25e6, rel=1e-3)


def test_the_analytic_cost_is_what_was_measured() -> None:
    """Primus-M at 192³: 14.5 TFLOP forward, 49 a step, 63 with checkpointing; 11.6 GB of activations, 1.5 with it."""
    only_tower = ["run.batch=1", "run.accumulate=1", "objectives={opposite: null, contrastive: null, labels: {}}"]
    config = load_config("c", only_tower)
    assert cost(config, 30522).forward == pytest.approx(14.5e12, rel=0.01)
    assert cost(config, 30522).step == pytest.approx(63e12, rel=0.015)
    assert cost(load_config("c", [*only_tower, "run.checkpointing=false"]), 30522).step == pytest.approx(
        49e12, rel=0.01
    )
    assert memory(config, 0).kept == pytest.approx(11.6e9, rel=0.01)
    assert memory(config, 0).recomputed == pytest.approx(1.5e9, rel=0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objectives: {contrastve: {}}", "unknown key objectives.contrastve"),
        ("base: c-toy\nmodel: {text: {layer: 3}}", "unknown key model.text.layer"),
        ("stepz: 3", "unknown key stepz"),
        ("base: c-toy\nrun: {batch: eight}", "run.batch: input should be a valid integer"),
        ("base: c-toy\nrun: {precision: half}", "run.precision: input should be 'float32'"),
        ("base: c-toy\nrun: {batch: 0}", "run.batch must be at least 1"),
        ("base: c-toy\nrun: {steps: null}", "the run would never end"),
        ("base: c-toy\nmodel: {size: [70, 72, 72]}", "must be a multiple of model.patch"),
        ("base: c-toy\nmodel: {embed_dim: 200}", "multiple of 6 x model.heads"),
        ("base: c-toy\nobjectives: {contrastive: null, opposite: null}", "names no objective"),
        ("base: nothing", "There is no configuration nothing; give a .yaml file or one of the presets: c, c-toy"),
        ("base: own.yaml", "builds on itself"),
        ("- 1", "must hold a mapping"),
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert caught.value.exit_status == 2


def test_a_file_builds_on_a_preset_and_overrides_come_last(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: crm-toy\nname: own\nobjectives: {report: null}\nrun: {steps: 5}\n")
    config = load_config(path, ["run.batch=2", "optimiser.betas=[0.8, 0.9]"])
    assert (config.name, config.run.steps, config.run.batch) == ("own", 5, 2)
    assert config.objectives.report is None
    assert config.objectives.masked is not None
    assert config.optimiser.betas == (0.8, 0.9)
    assert parse_config(json.loads(json.dumps(config.as_dict())), "again") == config
    with pytest.raises(ConfigError, match="key=value"):
        load_config(path, ["run.batch"])


def test_the_rate_rises_then_falls() -> None:
    optimiser = OptimiserConfig(learning_rate=1.0, warm_up=10, schedule="cosine", floor=0.1)
    assert rate(optimiser, 0, 0.0) == pytest.approx(0.1)
    assert rate(optimiser, 9, 0.0) == 1.0
    assert rate(optimiser, 50, 0.5) == pytest.approx(0.55)
    assert rate(optimiser, 99, 1.0) == pytest.approx(0.1)
    power = replace(optimiser, schedule="polynomial", power=2.0, floor=0.0)
    assert rate(power, 50, 0.5) == pytest.approx(0.25)
    assert rate(replace(optimiser, schedule="constant"), 99, 1.0) == 1.0


def test_the_nearer_limit_counts() -> None:
    assert progress(RunConfig(steps=100, minutes=None), 25, 1e9) == 0.25
    assert progress(RunConfig(steps=100, minutes=10), 25, 300) == 0.5
    assert progress(RunConfig(steps=None, minutes=10), 25, 900) == 1.0

"""A run may begin with a bundle, hold parts of it still, and look at held-out studies without being disturbed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.weights import load_towers
from tests.training import tiny
from tests.training.loop.runs import Numbered, config, lines, trainer
from training.loop.config import load_config
from training.loop.engine import Trainer
from training.loop.errors import CheckpointError, ConfigError
from training.loop.export import export_bundle, run_state
from training.objectives.model import ModelConfig


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("first")
    trainer(folder / "run", steps=1).run()
    return export_bundle(folder / "run", folder / "bundle", name="first", title="First", licence="None.")


def test_a_run_begins_with_a_bundle_and_its_words(bundle: Bundle, tmp_path: Path) -> None:
    made = replace(config(), vocabulary=None, start=str(bundle.path))
    assert made.vocabulary_folder == bundle.path
    run = trainer(tmp_path, made=made, steps=1)
    held = load_towers(bundle).state_dict()
    for name, value in run.task.model.towers.state_dict().items():
        assert torch.equal(value, held[name]), name
    assert float(run.task.model.scale.detach()) == pytest.approx(1 / float(held["softmax_temperature"]))
    run.run()
    moved = trainer(tmp_path, made=made, steps=1)  # going on, the checkpoint counts and not the bundle
    key = "image_encoder.projector.bias"
    assert not torch.equal(moved.task.model.towers.state_dict()[key], held[key])


def test_a_run_begins_with_another_run_and_the_heads_that_both_have(tmp_path: Path) -> None:
    trainer(tmp_path / "first", steps=2, ema=0.5).run()
    _, averaged, _ = run_state(tmp_path / "first")
    fewer = replace(config().objectives, report=None, dense=replace(tiny.ALL.dense, classes=9))
    made = replace(config(fewer), vocabulary=None, start=str(tmp_path / "first"))
    assert made.vocabulary_folder == tiny.VOCABULARY
    second = trainer(tmp_path / "second", made=made).task.state_dict()
    for name, value in second.items():
        if "dense" in name or name == "model.towers.softmax_temperature":
            continue  # of another size; follows the scale, which is trained
        torch.testing.assert_close(value, averaged[name], msg=name)
    assert second["objectives.dense.head.weight"].shape[0] == 9


def test_a_bundle_of_other_sizes_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other: ModelConfig = replace(tiny.MODEL, embed_dim=72)
    with pytest.raises(ConfigError, match="has other sizes than the configuration"):
        trainer(tmp_path, made=replace(config(model=other), start=str(bundle.path)))


def test_another_number_of_heads_is_refused_although_the_shapes_agree(bundle: Bundle, tmp_path: Path) -> None:
    run, heads = tmp_path / "first", tiny.MODEL.pool_heads
    trainer(run, steps=1).run()
    other: ModelConfig = replace(tiny.WOBBLY, pool_heads=2 * heads)
    for start in (str(bundle.path), str(run)):
        held = replace(config(model=other), start=start, freeze=("vision",))
        with pytest.raises(ConfigError, match=f"has {heads} pool_heads, the configuration {2 * heads}"):
            trainer(tmp_path / "held", made=held)
        trainer(tmp_path / f"learning-{Path(start).name}", made=replace(held, freeze=()))  # pooling learns again
    text = replace(tiny.WOBBLY.text, heads=2 * tiny.WOBBLY.text.heads)
    with pytest.raises(ConfigError, match=r"text\.heads"):
        trainer(tmp_path / "text", made=replace(config(model=replace(tiny.WOBBLY, text=text)), start=str(run)))


@pytest.mark.parametrize(("more", "refused"), [(0, False), (5, False), (500, True), (-1, True)])
def test_a_vocabulary_that_does_not_belong_to_the_sizes_is_refused(more: int, refused: bool, tmp_path: Path) -> None:
    words = trainer(tmp_path / "first", steps=1).task.model.tokenizer.vocab_size
    text = replace(tiny.MODEL.text, vocab_size=words + more)
    made = config(model=replace(tiny.MODEL, text=text))
    if refused:
        with pytest.raises(ConfigError, match=f"has {words} words, model.text.vocab_size is {words + more}"):
            trainer(tmp_path / "second", made=made)
    else:
        assert trainer(tmp_path / "second", made=made).task.model.vocab_size == words + more


def test_frozen_parts_do_not_move_and_do_not_drop(tmp_path: Path) -> None:
    made = replace(config(), freeze=("vision", "text"))
    run = trainer(tmp_path, made=made, steps=2)
    before = {name: value.clone() for name, value in run.task.state_dict().items()}
    run.run()
    towers = run.task.model.towers
    assert towers.training
    assert not towers.image_encoder.backbone.training
    still = ("model.towers.image_encoder.backbone.", "model.towers.text_encoder.backbone.")
    for name, value in run.task.state_dict().items():
        if name.startswith(still):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(before["model.towers.image_encoder.projector.weight"], towers.image_encoder.projector.weight)
    with pytest.raises(CheckpointError, match="another freeze"):
        trainer(tmp_path)


def test_freezing_reads_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: c-toy\nfreeze: [vision]\n")
    assert load_config(path).freeze == ("vision",)
    path.write_text("base: c-toy\nfreeze: [eyes]\n")
    with pytest.raises(ConfigError, match=r"freeze.0: input should be 'vision', 'text' or 'towers'"):
        load_config(path)


def test_looking_at_held_out_studies_disturbs_nothing(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "plain", steps=3)
    plain.run()
    made = config(steps=3, validate_every=1, validate_batches=2)
    held_out = Numbered()
    looking = Trainer(made, Numbered(), tmp_path / "looking", cpu=True, valid=held_out)
    looking.run()
    for name, value in plain.task.state_dict().items():
        assert torch.equal(value, looking.task.state_dict()[name]), name
    looks = [line for line in lines(tmp_path / "looking") if "valid/loss" not in line and "valid/report_loss" in line]
    assert [line["step"] for line in looks] == [1, 2, 3]
    assert {f"valid/{name}_loss" for name in tiny.OBJECTIVES} <= set(looks[0])
    assert held_out.asked == [0, 1] * 3


def test_held_out_losses_are_the_same_for_the_same_weights(tmp_path: Path) -> None:
    made = config(steps=2, validate_every=1)
    made = replace(made, optimiser=replace(made.optimiser, learning_rate=0.0))
    Trainer(made, Numbered(), tmp_path, cpu=True, valid=Numbered()).run()
    first, second = (line for line in lines(tmp_path) if "valid/report_loss" in line)
    names = [f"valid/{name}_loss" for name in tiny.OBJECTIVES if name != "labels"]  # its centre follows the data
    assert [first[name] for name in names] == [second[name] for name in names]

"""The engine: what stops goes on bit for bit, what is not finite moves nothing, a signal is an orderly end."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import tiny
from tests.training.loop.runs import Numbered, config, lines, trainer
from training.loop import checkpoint
from training.loop.blocks import checkpoint_blocks, compile_blocks, plain_attention, transformer_blocks
from training.loop.engine import Trainer
from training.loop.errors import CheckpointError, ConfigError, Diverged


def assert_bitwise_equal(one: Trainer, other: Trainer) -> None:
    for name, value in one.task.state_dict().items():
        assert torch.equal(value, other.task.state_dict()[name]), name
    assert one.average is not None
    assert other.average is not None
    for name, value in one.average.state.items():
        assert torch.equal(value, other.average.state[name]), name
    moments, others = one._moments(), other._moments()
    assert moments.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in moments.items())


def test_a_run_that_stops_and_goes_on_is_bitwise_the_run_that_did_not(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    before = Numbered()
    first = trainer(tmp_path / "parts", before, save_every=2)

    def stop(step: int, _: Mapping[str, float]) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGTERM)

    first.log._watch = stop
    assert first.run().reason == "signal"
    after = Numbered()
    second = trainer(tmp_path / "parts", after)
    assert second.step_count == 3
    assert second.run().step == 6
    assert_bitwise_equal(whole, second)
    assert (before.asked, after.asked) == (list(range(6)), list(range(6, 12)))
    figures = [line["loss"] for line in lines(tmp_path / "parts") if "loss" in line]
    assert figures == [line["loss"] for line in lines(tmp_path / "whole")]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_the_step_finish_and_leaves_a_checkpoint(tmp_path: Path, number: int, status: int) -> None:
    run = trainer(tmp_path)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    def stop(step: int, _: Mapping[str, float]) -> None:
        if step == 2:
            signal.raise_signal(number)

    run.log._watch = stop
    outcome = run.run()
    assert (outcome.reason, outcome.step, outcome.exit_status) == ("signal", 2, status)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.state["step"] == 2
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert lines(tmp_path)[-1]["event"] == "stopped"


def test_a_step_without_a_finite_gradient_moves_nothing_and_is_recorded(tmp_path: Path) -> None:
    run = trainer(tmp_path, Numbered(spoil=range(3, 4)), steps=3)
    run.step([run.source[0], run.source[1]])
    before = {name: value.clone() for name, value in run.task.state_dict().items()}
    figures = run.step([run.source[2], run.source[3]])
    assert figures["skipped"] == 1
    assert all(torch.equal(value, before[name]) for name, value in run.task.state_dict().items())
    assert [(line["step"], line["event"]) for line in lines(tmp_path)] == [(2, "not_finite")]
    assert run.step([run.source[4], run.source[5]])["skipped"] == 0
    assert run.failed_in_a_row == 0


def test_too_many_such_steps_in_a_row_end_the_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, Numbered(spoil=range(4, 1000)), steps=50, patience=3)
    with pytest.raises(Diverged, match="3 steps in a row gave no finite gradient, the last one at step 5"):
        run.run()
    assert [line["in_a_row"] for line in lines(tmp_path) if "event" in line] == [1, 2, 3]


def test_checkpointed_blocks_give_the_gradients_of_plain_ones() -> None:
    gradients = []
    for recompute in (False, True):
        task = tiny.task(model=tiny.WOBBLY)
        if recompute:
            checkpoint_blocks(task)
        names = set(task.state_dict())
        batch = tiny.batch()
        torch.manual_seed(3)
        task.prepare(batch)
        task(batch)["loss"].backward()
        gradients.append(tiny.gradients(task))
        assert names == set(tiny.task(model=tiny.WOBBLY).state_dict())
        assert len(transformer_blocks(task)) == 2 + 1 + 2 + 1
    tiny.assert_same_gradients(gradients[1], gradients[0])


def test_attention_written_out_gives_the_gradients_of_the_fused_one() -> None:
    gradients = []
    for written_out in (False, True):
        task = tiny.task()
        if written_out:
            plain_attention(task)
            assert not any(block.attn.fused_attn for block in task.model.towers.image_encoder.backbone.eva.blocks)
        batch = tiny.batch()
        torch.manual_seed(3)
        task.prepare(batch)
        task(batch)["loss"].backward()
        gradients.append(tiny.gradients(task))
    tiny.assert_same_gradients(gradients[1], gradients[0])


def test_long_sequences_keep_the_fused_attention() -> None:
    task = tiny.task(model=replace(tiny.MODEL, size=(128, 128, 128)))
    plain_attention(task)
    assert all(block.attn.fused_attn for block in task.model.towers.image_encoder.backbone.eva.blocks)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_compiled_blocks_give_the_gradients_of_plain_ones_and_are_compiled_once() -> None:
    from torch._dynamo.utils import counters

    gradients = []
    for compiled in (False, True):
        task = tiny.task(tiny.OBJECTIVES["dense"])
        if compiled:
            counters.clear()
            compile_blocks(task, backend="aot_eager")  # traced as on a GPU, without its code generator
            checkpoint_blocks(task)
        batch = tiny.batch()
        task.prepare(batch)
        task(batch)["loss"].backward()
        gradients.append(tiny.gradients(task))
    tiny.assert_same_gradients(gradients[1], gradients[0])
    assert counters["stats"]["unique_graphs"] == 1  # two blocks of the vision tower, one graph
    assert not counters["graph_break"]


def test_recomputing_blocks_keeps_less() -> None:
    kept = []
    for recompute in (False, True):
        task = tiny.task(tiny.OBJECTIVES["dense"])
        if recompute:
            checkpoint_blocks(task)
        batch, sizes = tiny.batch(), []
        task.prepare(batch)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            task(batch)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


def test_bfloat16_passes_leave_float32_weights(tmp_path: Path) -> None:
    run = trainer(tmp_path, precision="bfloat16", steps=2)
    run.run()
    assert {value.dtype for value in run.task.parameters()} == {torch.float32}
    assert all(line["skipped"] == 0 and line["loss"] > 0 for line in lines(tmp_path))


def test_float16_on_a_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        trainer(tmp_path, precision="float16")


def test_the_log_says_what_every_loss_was_and_how_fast(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    line = lines(tmp_path)[0]
    assert {f"{name}_loss" for name in tiny.OBJECTIVES} <= set(line)
    assert {"loss", "norm", "learning_rate", "volumes_per_s", "tflop_per_s", "memory_gb", "waiting_share"} <= set(line)
    weights = trainer(tmp_path).task.weights
    assert line["loss"] == pytest.approx(sum(weights[name] * line[f"{name}_loss"] for name in weights), rel=1e-4)


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trainer(tmp_path, steps=1, tensorboard=True).run()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_an_objective_without_terms_is_named(tmp_path: Path) -> None:
    made = config(tiny.OBJECTIVES["masked"], steps=20, accumulate=1)
    assert made.objectives.masked is not None
    made = replace(made, objectives=replace(made.objectives, masked=replace(made.objectives.masked, images="unpaired")))
    trainer(tmp_path, made=made).run()
    events = [line for line in lines(tmp_path) if "event" in line]
    assert [(event["event"], event["objective"]) for event in events] == [("idle_objective", "masked")]


def test_a_run_may_end_by_the_clock(tmp_path: Path) -> None:
    outcome = trainer(tmp_path, steps=None, minutes=1e-6).run()
    assert (outcome.reason, outcome.step) == ("finished", 1)


def test_averaged_weights_follow(tmp_path: Path) -> None:
    run = trainer(tmp_path, ema=0.5, steps=1)
    start = {name: value.clone() for name, value in run.average.state.items()}  # type: ignore[union-attr]
    run.run()
    assert run.average is not None
    share = 1 - 1 / 10
    for name, value in run.task.state_dict().items():
        torch.testing.assert_close(run.average.state[name], torch.lerp(start[name], value, share))


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, steps=1).run()
    with pytest.raises(CheckpointError, match="another objectives"):
        trainer(tmp_path, made=config(tiny.OBJECTIVES["masked"]))
    assert trainer(tmp_path, steps=9).step_count == 1  # a longer run is the same recipe


def test_batches_read_ahead_by_other_processes_change_nothing(tmp_path: Path) -> None:
    alone, ahead = trainer(tmp_path / "alone", steps=2), trainer(tmp_path / "ahead", steps=2, workers=1)
    alone.run()
    ahead.run()
    assert_bitwise_equal(alone, ahead)

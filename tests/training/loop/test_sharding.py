"""Sharding: where it is refused, and checkpoints of a task that FSDP2 holds (here one process on a CPU)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from tests.training import tiny
from tests.training.loop.runs import Numbered, config, trainer
from training.loop.checkpoint import latest
from training.loop.config import TrainingConfig
from training.loop.engine import Trainer
from training.loop.errors import ConfigError
from training.loop.sharding import plugin
from training.loop.start import launch
from training.objectives.contrastive import ContrastiveConfig
from training.objectives.task import ObjectivesConfig

OBJECTIVES = ObjectivesConfig(opposite=tiny.OBJECTIVES["opposite"].opposite, labels=tiny.OBJECTIVES["labels"].labels)


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Sharding(Accelerator):  # type: ignore[misc]
    """Shards as accelerate does on GPUs: the task as one unit, the optimiser over its parts."""

    distributed_type = DistributedType.FSDP

    def prepare(self, *args: Any, **_: Any) -> Any:
        task, optimiser = args
        names = {weight: name for name, weight in task.named_parameters()}
        fully_shard(task, mesh=init_device_mesh("cpu", (1,)))
        parts = dict(task.named_parameters())
        for group in optimiser.param_groups:
            group["params"] = [parts[names[weight]] for weight in group["params"]]
        return task, optimiser


def sharded(folder: Path, made: TrainingConfig) -> Trainer:
    return Trainer(made, Numbered(), folder, accelerator=Sharding(cpu=True))


def test_on_a_cpu_sharding_is_refused() -> None:
    with pytest.raises(ConfigError, match="fsdp needs GPUs"):
        launch(config(OBJECTIVES, sharding="fsdp"), cpu=True)


def test_what_sharding_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="bfloat16 or float32"):
        plugin(config(OBJECTIVES, sharding="fsdp", precision="float16"), on_gpu=True)
    contrastive = ObjectivesConfig(contrastive=ContrastiveConfig())
    with pytest.raises(ConfigError, match="shared_negatives"):
        plugin(config(contrastive, sharding="fsdp"), on_gpu=True)
    assert plugin(config(contrastive), on_gpu=True) is None


def test_on_gpus_accelerate_is_asked_for_its_second_fsdp_over_the_whole_task() -> None:
    made = plugin(config(OBJECTIVES, sharding="fsdp"), on_gpu=True)
    assert (made.fsdp_version, made.auto_wrap_policy) == (2, None)
    made.set_mixed_precision("bf16")
    assert made.mixed_precision_policy.param_dtype is None  # autocast decides, as without sharding


@pytest.mark.usefixtures("one_process")
def test_a_sharded_run_computes_and_keeps_what_a_plain_one_does(tmp_path: Path) -> None:
    made = config(OBJECTIVES, steps=3)
    plain = trainer(tmp_path / "plain", made=made)
    plain.run()
    parts = sharded(tmp_path / "parts", made)
    assert all(isinstance(weight, DTensor) for weight in parts.task.parameters())
    parts.run()
    kept, wanted = latest(tmp_path / "parts"), latest(tmp_path / "plain")
    assert kept is not None
    assert wanted is not None
    for name in ("weights", "average", "optimiser"):
        found, right = kept.tensors(name), wanted.tensors(name)
        assert found.keys() == right.keys()
        for key, value in right.items():
            assert_close(found[key], value, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")


@pytest.mark.usefixtures("one_process")
def test_a_sharded_run_goes_on_and_so_does_a_plain_one_from_its_checkpoint(tmp_path: Path) -> None:
    made = config(OBJECTIVES, steps=4)
    made = replace(made, optimiser=replace(made.optimiser, schedule="constant"))  # half as long a run, same rates
    whole = sharded(tmp_path / "whole", made)
    whole.run()
    sharded(tmp_path / "halves", replace(made, run=replace(made.run, steps=2))).run()
    halves = sharded(tmp_path / "halves", made)
    assert halves.step_count == 2
    plain = trainer(tmp_path / "halves", made=made)
    plain.run()
    halves.run()
    for name, value in whole.task.state_dict().items():
        other = halves.task.state_dict()[name]
        assert isinstance(value, DTensor) == isinstance(other, DTensor)
        value, other = (each.full_tensor() if isinstance(each, DTensor) else each for each in (value, other))
        assert torch.equal(value, other), name
        assert_close(plain.task.state_dict()[name].reshape(value.shape), value, atol=1e-5, rtol=1e-4)

"""A language model writes the report: what it reads, what moves, what is refused, what a checkpoint holds."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import tiny
from tests.training.objectives.test_objectives import window_gradients
from tests.training.tiny_language import PROMPT, write_language_model
from training.loop.blocks import checkpoint_blocks
from training.loop.config import load_config
from training.loop.cost import cost, parameters
from training.loop.errors import CheckpointError, ConfigError
from training.objectives.language_model import count_weights
from training.objectives.llm import Llm, LlmConfig
from training.objectives.task import ObjectivesConfig, Task, build_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("language"))


def chosen(folder: Path, **values: Any) -> ObjectivesConfig:
    usual = {"folder": str(folder), "tokens": (1, 2, 2), "prompt": PROMPT, "length": 24}
    return ObjectivesConfig(llm=LlmConfig(**(usual | values)))


def of(task: Task) -> Llm:
    found = task.objectives["llm"]
    assert isinstance(found, Llm)
    return found


def loss_of(task: Task, batch: dict[str, Any]) -> torch.Tensor:
    task.prepare(batch)
    out: torch.Tensor = task(batch)["llm_loss"]
    return out


@pytest.mark.parametrize("train", ["projector", "all"])
def test_accumulation_equals_the_large_batch(folder: Path, train: str) -> None:
    objectives = chosen(folder, train=train)
    wanted, loss = window_gradients(tiny.task(objectives), [tiny.batch()])
    parts = [tiny.batch(range(1)), tiny.batch(range(1, 3)), tiny.batch(range(3, 4))]
    got, summed = window_gradients(tiny.task(objectives), parts)
    tiny.assert_same_gradients(got, wanted)
    assert summed == pytest.approx(loss, rel=1e-4)


def test_the_loss_is_of_the_report_and_its_end_alone(folder: Path) -> None:
    task = tiny.task(chosen(folder))
    batch = tiny.batch()
    got = loss_of(task, batch)
    llm = of(task)
    ids = [llm.words(text, add_special_tokens=False)["input_ids"] + [llm.end] for text in tiny.REPORTS]
    assert task.counts(batch) == {"llm": sum(len(row) for row in ids)}
    lead = llm.lead(batch["tokens"])
    assert lead.shape == (4, 1 + 4 + 2, 32)  # start token, image tokens, prompt
    terms = 0.0
    for row, said in enumerate(ids):
        words = llm.language.get_input_embeddings()(torch.tensor([said]))
        logits = llm.language(inputs_embeds=torch.cat([lead[row : row + 1], words], 1)).logits[0]
        log_p = logits.log_softmax(-1)
        terms -= sum(float(log_p[6 + place, word].detach()) for place, word in enumerate(said))
    assert float(got.detach()) == pytest.approx(terms / sum(len(row) for row in ids), rel=1e-4)


def test_studies_without_a_report_cost_nothing_and_reach_every_weight(folder: Path) -> None:
    task = tiny.task(chosen(folder))
    batch = tiny.batch() | {"report": [""] * 4}
    task.prepare(batch)
    out = task(batch)
    assert set(out) == {"loss"}
    out["loss"].backward()
    assert all(weight.grad is not None for weight in task.parameters() if weight.requires_grad)


def test_a_report_longer_than_the_limit_teaches_no_end(folder: Path) -> None:
    task = tiny.task(chosen(folder, length=5))
    batch = tiny.batch()
    task.prepare(batch)
    assert batch["llm_ids"].shape == (4, 5)
    ends = (batch["llm_ids"] == of(task).end) & (batch["llm_mask"] == 1)
    assert ends.sum(1).tolist() == [0, 0, 0, 0]  # the shortest has four words and a full stop


@pytest.mark.parametrize("train", ["projector", "all"])
def test_frozen_parts_do_not_move(folder: Path, train: str) -> None:
    task = tiny.task(chosen(folder, train=train))
    task.train()
    assert of(task).language.training == (train == "all")
    before = {name: value.clone() for name, value in task.named_parameters()}
    optimiser = torch.optim.AdamW([each for each in task.parameters() if each.requires_grad], lr=1e-3)
    loss_of(task, tiny.batch()).backward()
    optimiser.step()
    for name, value in task.named_parameters():
        if name.startswith("objectives.llm.language."):
            assert torch.equal(value, before[name]) == (train == "projector"), name
    for part in (
        "objectives.llm.projector.1.weight",
        "model.towers.image_encoder.backbone.down_projection.proj.weight",
    ):
        assert not torch.equal(task.get_parameter(part), before[part]), part


def test_image_tokens_change_what_is_likely(folder: Path) -> None:
    task = tiny.task(chosen(folder)).eval()
    batch = tiny.batch()
    task.prepare(batch)
    with torch.no_grad():
        lead = of(task).lead(task.model.tokens(batch))
        log_p = of(task).language(inputs_embeds=lead).logits[:, -1].log_softmax(-1)
        blind = of(task).language(inputs_embeds=lead * torch.tensor([1, 0, 0, 0, 0, 1, 1.0])[:, None]).logits[:, -1]
    assert float((log_p[0] - log_p[1]).abs().max()) > 1e-3
    torch.testing.assert_close(blind[0], blind[1])


def test_checkpointing_keeps_the_gradients(folder: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        task = tiny.task(chosen(folder))
        assert len(of(task).blocks) == 2
        if checkpointing:
            checkpoint_blocks(task)
        loss_of(task.train(), tiny.batch()).backward()
        gradients.append(tiny.gradients(task))
    tiny.assert_same_gradients(gradients[1], gradients[0])


@pytest.mark.parametrize(("train", "tied"), [("projector", False), ("all", False), ("all", True)])
def test_a_checkpoint_holds_what_was_trained_and_no_more(tmp_path: Path, train: str, tied: bool) -> None:
    objectives = chosen(write_language_model(tmp_path / "language", tied=tied), train=train)
    task = tiny.task(objectives)
    state = {name: value.clone() + (1 if value.is_floating_point() else 0) for name, value in task.state_dict().items()}
    held = {name for name in state if name.startswith("objectives.llm.language.")}
    trained = {name for name, value in task.named_parameters() if value.requires_grad}
    assert held == {name for name in trained if name.startswith("objectives.llm.language.")}
    assert bool(held) == (train == "all")
    again = tiny.task(objectives, seed=3)
    again.load_state_dict(state)
    for name, value in again.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_another_language_model_in_the_folder_is_noticed(tmp_path: Path) -> None:
    objectives = chosen(write_language_model(tmp_path / "language"))
    state = tiny.task(objectives).state_dict()
    write_language_model(tmp_path / "language", seed=1)
    with pytest.raises(CheckpointError, match="is not the one that the run began with"):
        tiny.task(objectives).load_state_dict(state)


def refused(folder: Path, **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        tiny.task(chosen(folder, **values))
    return caught.value.message


def test_a_folder_that_is_no_language_model_is_named(folder: Path, tmp_path: Path) -> None:
    assert "there is no folder" in refused(tmp_path / "nowhere")
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    torch.save({}, own / "pytorch_model.bin")
    (own / "model.safetensors").rename(tmp_path / "kept")
    assert f"{own} holds no *.safetensors" in refused(own)
    (own / "model.safetensors").write_bytes(b"not weights")
    assert f"{own} cannot be read as a language model" in refused(own)
    shutil.copy(tmp_path / "kept", own / "model.safetensors")
    sizes = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(sizes | {"num_hidden_layers": 3}))
    assert "lacks" in refused(own)
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (own / "own.py").write_text("raise SystemExit('remote code was run')\n")
    (own / "config.json").write_text(json.dumps(sizes | {"model_type": "own", "auto_map": auto}))
    assert f"{own} cannot be read" in refused(own)
    (own / "config.json").unlink()
    assert f"{own} holds no config.json" in refused(own)


def test_sizes_that_do_not_fit_are_refused(folder: Path) -> None:
    assert "objectives.llm.tokens" in refused(folder, tokens=(9, 1, 1))
    assert "takes 64" in refused(folder, length=60)
    assert "at least 2" in refused(folder, length=1)


def test_lora_without_peft_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "install the extra lora" in refused(folder, train="lora")


def test_the_preset_says_which_key_is_missing_and_costs_are_known_beforehand(folder: Path) -> None:
    config = load_config("crm-llm", [f"vocabulary={tiny.VOCABULARY}"])
    with pytest.raises(ConfigError, match=r"objectives\.llm\.folder is null"):
        build_task(tiny.MODEL, config.objectives, tiny.VOCABULARY)
    small = replace(config, model=tiny.MODEL, objectives=chosen(folder))
    assert parameters(small)["llm"] == count_weights(folder) + sum(
        weight.numel() for weight in of(tiny.task(chosen(folder))).projector.parameters()
    )
    assert cost(small, 100).step > 6 * count_weights(folder) * 28

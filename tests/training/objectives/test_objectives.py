"""Every objective: accumulation equals the large batch, four volumes are learned by heart, padding counts nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.training import tiny
from training.objectives.base import Batch
from training.objectives.contrastive import Contrastive, info_nce
from training.objectives.opposite import opposite_terms
from training.objectives.report import next_word_terms
from training.objectives.supervised import Labels, patch_fractions
from training.objectives.task import ObjectivesConfig, Task, build_task
from training.objectives.window import prepare_window


def window_gradients(task: Task, window: list[Batch]) -> tuple[dict[str, torch.Tensor], float]:
    """Summed gradients and loss of a window, as the loop takes them."""
    seeds = list(range(7, 7 + len(window)))
    prepare_window(task, window, seeds)
    total = 0.0
    for batch, seed in zip(window, seeds, strict=True):
        torch.manual_seed(seed)
        loss = task(batch)["loss"]
        loss.backward()
        total += float(loss.detach())
    return tiny.gradients(task), total


OBJECTIVES = {**tiny.OBJECTIVES, "detail": tiny.DETAIL}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_accumulation_equals_the_large_batch(name: str) -> None:
    objectives = OBJECTIVES[name]
    wanted, loss = window_gradients(tiny.task(objectives), [tiny.batch()])
    parts = [tiny.batch(range(1)), tiny.batch(range(1, 3)), tiny.batch(range(3, 4))]
    got, summed = window_gradients(tiny.task(objectives), parts)
    tiny.assert_same_gradients(got, wanted)
    assert summed == pytest.approx(loss, rel=1e-4)


def test_both_passes_of_the_contrastive_loss_drop_alike() -> None:
    task = tiny.task(tiny.OBJECTIVES["contrastive"], tiny.WOBBLY)
    window = [tiny.batch(range(2)), tiny.batch(range(2, 4))]
    seeds = [1, 2]
    prepare_window(task, window, seeds)
    contrastive = task.objectives["contrastive"]
    assert isinstance(contrastive, Contrastive)
    again, fresh = [], []
    for batch, seed in zip(window, seeds, strict=True):
        torch.manual_seed(seed)
        again.append(contrastive.embed(task.model, dict(batch)))
        fresh.append(contrastive.embed(task.model, dict(batch)))
    value = sum(float(batch["pull"].value) for batch in window)
    image, text = (torch.cat(rows) for rows in zip(*again, strict=True))
    assert value == pytest.approx(float(info_nce(image, text, task.model.scale).detach()), rel=1e-5)
    assert not torch.allclose(fresh[0][1], again[0][1])  # they do drop


def test_the_cached_loss_follows_the_temperature_too() -> None:
    whole = tiny.task(tiny.OBJECTIVES["contrastive"])
    wanted, _ = window_gradients(whole, [tiny.batch()])
    got, _ = window_gradients(
        tiny.task(tiny.OBJECTIVES["contrastive"]), [tiny.batch(range(2)), tiny.batch(range(2, 4))]
    )
    assert got["model.log_scale"].item() == pytest.approx(wanted["model.log_scale"].item(), rel=1e-4)
    assert wanted["model.log_scale"] != 0


LEARNED = {
    "contrastive": 0.05,
    "opposite": 0.02,
    "report": 0.15,
    "masked": 0.02,
    "dense": 0.25,
    "labels": 0.05,
    "lesions": 0.1,
    "masks": 0.6,
    "detail": 0.3,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_four_volumes_are_learned_by_heart(name: str) -> None:
    task = tiny.task(OBJECTIVES[name])
    optimiser = torch.optim.AdamW(task.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)
    loss = torch.tensor(torch.inf)
    first = None
    for step in range(250):
        batch = tiny.batch()
        torch.manual_seed(step)
        task.prepare(batch)
        optimiser.zero_grad()
        out = task(batch)
        loss = out[f"{name}_loss"]
        first = float(loss.detach()) if first is None else first
        out["loss"].backward()
        optimiser.step()
        task.after_step()
        if float(loss.detach()) < LEARNED[name]:
            break
    assert first is not None
    assert float(loss.detach()) < LEARNED[name] < first


def test_a_batch_that_offers_nothing_costs_nothing_and_reaches_every_weight() -> None:
    task = tiny.task()
    batch = {"image": tiny.batch()["image"], "report": tiny.REPORTS}
    batch["report"] = [""] * 4
    task.objectives["masked"].config = replace(task.objectives["masked"].config, images="unpaired")
    task.prepare(batch)
    out = task(batch)
    assert {key for key in out if key.endswith("_loss")} == {"masked_loss"}
    out["loss"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_weights_multiply_losses() -> None:
    once, twice = tiny.task(tiny.OBJECTIVES["labels"]), tiny.task(tiny.OBJECTIVES["labels"])
    twice.weights = {"labels": 2 * once.weights["labels"]}
    losses = []
    for task in (once, twice):
        batch = tiny.batch()
        task.prepare(batch)
        losses.append(float(task(batch)["loss"].detach()))
    assert losses[1] == pytest.approx(2 * losses[0])


def test_the_opposite_sentence_loss_is_the_rule_of_zero_shot() -> None:
    generator = torch.Generator().manual_seed(0)
    image, said, negated = (F.normalize(torch.randn(5, 8, generator=generator)) for _ in range(3))
    label, scale = torch.tensor([1.0, 0, 1, 0, 0]), torch.tensor(10.0)
    got = opposite_terms(image, said, negated, label, scale)
    logits = torch.stack([(image * negated).sum(1), (image * said).sum(1)], 1) * scale
    torch.testing.assert_close(got, F.cross_entropy(logits, label.long(), reduction="none"))


def test_padding_pairs_and_the_pairs_beyond_k_are_not_counted() -> None:
    task = tiny.task(tiny.OBJECTIVES["opposite"])
    batch = tiny.batch()
    task.prepare(batch)
    assert task.counts(batch) == {"opposite": 4}
    batch["pairs"] = [[("a", "b", 1)] * 20, [("", "b", 1)], [("a", "b", -1)], []]
    task.prepare(batch)
    assert task.counts(batch) == {"opposite": 8}
    assert len(batch["sentence_ids"]) == 2


def test_padding_words_are_not_guessed() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    log_p = logits.log_softmax(-1)
    wanted = -(log_p[0, 0, 4] + log_p[0, 1, 5] + log_p[0, 2, 2] + log_p[1, 0, 6] + log_p[1, 1, 2])
    torch.testing.assert_close(next_word_terms(logits, ids, mask), wanted)
    ids[1, 4] = 6
    torch.testing.assert_close(next_word_terms(logits, ids, mask), wanted)


def test_fractions_are_of_known_voxels_and_unknown_classes_are_refused() -> None:
    mask = torch.full((1, 8, 16, 24), 255, dtype=torch.uint8)
    mask[0, :, 8:, 16:] = 3
    mask[0, :, 8:, 16:20] = 1
    mask[0, :4, 8:, 16:] = 255
    fractions, known = patch_fractions(mask, 4, 8)
    assert known.nonzero().tolist() == [[0, 5]]
    assert fractions[0, 5].tolist() == [0, 0.5, 0, 0.5]
    with pytest.raises(ValueError, match="class 3"):
        patch_fractions(mask, 3, 8)


def test_the_centre_of_the_labels_follows_the_pooled_features() -> None:
    task = tiny.task(tiny.OBJECTIVES["labels"])
    labels = task.objectives["labels"]
    assert isinstance(labels, Labels)
    batch = tiny.batch()
    task.prepare(batch)
    for _ in range(120):
        task(dict(batch))
        task.after_step()
    pooled = task.model.pooled(batch).detach()
    centre = labels.centre.clone()
    task(dict(batch))
    task.after_step(moved=False)
    assert torch.equal(labels.centre, centre)
    torch.testing.assert_close(labels.centre, pooled.mean(0), atol=5e-3, rtol=1e-2)


def test_a_task_without_objectives_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one objective"):
        build_task(tiny.MODEL, ObjectivesConfig(), tiny.VOCABULARY)

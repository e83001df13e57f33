"""Findings per patch: which patches count, unmarked volumes say nothing, small and large findings weigh the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.training import tiny
from training.objectives.lesions import Lesions, LesionsConfig, balanced_terms, lesion_patches
from training.objectives.task import ObjectivesConfig


def test_a_patch_is_positive_from_two_voxels_on_and_in_the_towers_order() -> None:
    bits = torch.zeros((1, 16, 24, 32), dtype=torch.int32)
    bits[0, 8, 16, 0:2] |= 1 << 17
    bits[0, 0, 0, 0] |= 1
    found = lesion_patches(bits, 18, 8, least=2)
    assert found.shape == (1, 2 * 3 * 4, 18)
    assert found.nonzero().tolist() == [[0, (1 * 3 + 2) * 4 + 0, 17]]


def test_volumes_that_nobody_marked_give_no_gradient() -> None:
    task = tiny.task(ObjectivesConfig(lesions=LesionsConfig()))
    batch = tiny.batch()
    batch["image"].requires_grad_()
    task.prepare(batch)
    task(batch)["loss"].backward()
    assert batch["image"].grad[:3].abs().sum() > 0
    assert batch["image"].grad[3].abs().sum() == 0
    only = tiny.batch(range(3, 4))
    task.prepare(only)
    assert task.counts(only) == {"lesions": 0}
    assert "lesions_loss" not in task(only)


def test_a_finding_of_one_patch_weighs_as_much_as_one_of_many() -> None:
    objective = Lesions(LesionsConfig(findings=2, negative=0.0), tiny.MODEL)
    torch.nn.init.zeros_(objective.head.weight)
    small, large = (torch.zeros((1, *tiny.SIZE), dtype=torch.int32) for _ in range(2))
    small[0, :8, :8, :8] = 1
    large[:] = 1
    losses = []
    for bits in (small, large):
        batch = {"image": torch.zeros((1, 1, *tiny.SIZE)), "finding_mask": bits}
        task = tiny.task(ObjectivesConfig(lesions=LesionsConfig()))
        objective.prepare(task.model, batch)
        losses.append(objective(task.model, batch)["lesions_loss"])
    torch.testing.assert_close(losses[0], losses[1])


def test_a_false_alarm_where_a_finding_usually_lies_is_not_lost_among_thousands_of_easy_places() -> None:
    logits = torch.full((1, 5832, 1), -12.0)
    logits[0, 7] = 6.0
    nothing = torch.zeros((1, 5832, 1), dtype=torch.bool)
    found = balanced_terms(logits, nothing, 0.5, 1.0, hardest=4)
    assert float(found) == pytest.approx(float(F.softplus(torch.tensor(6.0))) / 4, rel=1e-4)


def test_positive_places_are_never_among_the_hardest_others() -> None:
    logits = torch.tensor([[[5.0], [-1.0], [-2.0], [4.0]]])
    here = torch.tensor([[[True], [False], [False], [True]]])
    expected = F.softplus(torch.tensor([-5.0, -4.0])).mean() + F.softplus(torch.tensor([-1.0, -2.0])).mean()
    torch.testing.assert_close(balanced_terms(logits, here, 1.0, 1.0, hardest=2), expected[None, None])
    everywhere = torch.ones_like(here)
    assert float(balanced_terms(logits, everywhere, 0.0, 1.0, hardest=9)) == 0.0  # no others: nothing to pay

"""Masks: what is not known says nothing, an outlined lung counts with what lies in it, sides are told apart."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.training import tiny
from training.objectives.masks import MasksConfig, lung_terms, mask_terms
from training.objectives.supervised import DenseConfig
from training.objectives.task import ObjectivesConfig

CONFIG = MasksConfig(classes=4, width=8, left=1, right=2, within=(3,))


def logits_of(classes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(classes.long(), 4).movedim(-1, 1).float() * 20 - 10


def test_unknown_voxels_give_no_gradient() -> None:
    logits = torch.randn(1, 4, 4, 4, 4, requires_grad=True)
    mask = torch.randint(0, 4, (1, 4, 4, 4))
    mask[:, :2] = 255
    mask_terms(logits, mask, torch.tensor([0.5, 1.0, 1.0, 2.0])).backward()
    assert logits.grad is not None
    assert logits.grad[:, :, :2].abs().max() == 0
    assert logits.grad[:, :, 2:].abs().min() > 0


def test_an_outline_holds_its_lung_and_what_lies_within_but_not_the_other_lung() -> None:
    lungs = torch.zeros(1, 4, 4, 4, dtype=torch.uint8)
    lungs[:, :2], lungs[:, 3] = 1, 2
    drawn = lungs.clone()
    assert float(lung_terms(logits_of(drawn), lungs, CONFIG)) < 1e-3
    drawn[:, 0] = 3  # an airway
    assert float(lung_terms(logits_of(drawn), lungs, CONFIG)) < 1e-3
    drawn[:, 0] = 2
    assert float(lung_terms(logits_of(drawn), lungs, CONFIG)) > 1


def test_dense_supervision_learns_sides_from_outlines_alone() -> None:
    dense = DenseConfig(classes=4, left=(1,), right=(2,), within=(3,))
    task = tiny.task(ObjectivesConfig(dense=dense))
    batch = tiny.batch()
    batch["mask"] = torch.full_like(batch["mask"], 255)
    batch["lungs"] = torch.zeros_like(batch["mask"])
    batch["lungs"][:, :, :, :16] = 1
    batch["lungs"][3] = 255
    batch["image"].requires_grad_()
    task.prepare(batch)
    assert task.counts(batch) == {"dense": 3 * 24}
    task(batch)["loss"].backward()
    assert batch["image"].grad[:3].abs().sum() > 0
    assert batch["image"].grad[3].abs().sum() == 0


def test_volumes_with_neither_mask_nor_outline_are_no_terms() -> None:
    task = tiny.task(ObjectivesConfig(masks=replace(CONFIG, rare=(0.5, 1.0, 1.0, 2.0))))
    batch = tiny.batch()
    batch["mask"] = torch.full_like(batch["mask"], 255)
    task.prepare(batch)
    assert task.counts(batch) == {"masks": 0}
    assert "masks_loss" not in task(batch)
    assert task.objectives["masks"].rare.tolist() == [0.5, 1.0, 1.0, 2.0]

"""Masked-image modelling on a grid that is no cube: what is hidden is not seen, what is seen is not scored."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.training import tiny
from training.objectives.masked import Masked, hidden_patches, patches, visible_tokens

GRID = (2, 3, 4)


@pytest.fixture
def masked() -> Masked:
    objective = tiny.task(tiny.OBJECTIVES["masked"]).objectives["masked"]
    assert isinstance(objective, Masked)
    return objective


def visible_voxels(visible: torch.Tensor) -> torch.Tensor:
    """True where a voxel belongs to a visible patch, written down voxel by voxel."""
    where = torch.zeros((len(visible), *tiny.SIZE), dtype=torch.bool)
    for image, kept in enumerate(visible.tolist()):
        for number, (x, y, z) in enumerate(itertools.product(*(range(edge) for edge in GRID))):
            if number in kept:
                where[image, 8 * x : 8 * x + 8, 8 * y : 8 * y + 8, 8 * z : 8 * z + 8] = True
    return where


def to_volume(rows_BNP: torch.Tensor) -> torch.Tensor:
    """Patches put back where they belong, one by one."""
    volume = torch.zeros((len(rows_BNP), *tiny.SIZE))
    for number, (x, y, z) in enumerate(itertools.product(*(range(edge) for edge in GRID))):
        block = rows_BNP[:, number].reshape(-1, 8, 8, 8)
        volume[:, 8 * x : 8 * x + 8, 8 * y : 8 * y + 8, 8 * z : 8 * z + 8] = block
    return volume


def test_visible_voxels_get_no_gradient_and_masked_ones_do(masked: Masked) -> None:
    batch = tiny.batch()
    painted = torch.randn((4, 24, 512), generator=torch.Generator().manual_seed(0), requires_grad=True)
    masked.terms(painted, batch["image"], batch["visible"]).backward()
    assert painted.grad is not None
    gradient = to_volume(painted.grad)
    seen = visible_voxels(batch["visible"])
    assert torch.equal(gradient == 0, seen)
    wanted = 2 * (to_volume(painted.detach()) - batch["image"][:, 0])
    torch.testing.assert_close(gradient[~seen], wanted[~seen])


def test_nothing_hidden_reaches_the_encoder(masked: Masked) -> None:
    model = tiny.task(tiny.OBJECTIVES["masked"]).model
    batch = tiny.batch()
    image = batch["image"].clone().requires_grad_()
    visible_tokens(model, image, batch["visible"]).square().sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad[:, 0] != 0, visible_voxels(batch["visible"]))


@torch.no_grad()
def test_with_every_patch_visible_the_tokens_are_the_towers_own() -> None:
    model = tiny.task(tiny.OBJECTIVES["masked"]).model.eval()
    image = tiny.batch()["image"]
    everything = torch.arange(24).expand(4, -1)
    whole = model.towers.image_encoder.tokens(image).flatten(1, 3)
    torch.testing.assert_close(visible_tokens(model, image, everything), whole, atol=1e-5, rtol=1e-5)
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(0)).expand(4, -1)
    torch.testing.assert_close(visible_tokens(model, image, shuffled), whole[:, shuffled[0]], atol=1e-5, rtol=1e-5)


def test_patches_are_counted_as_the_tower_counts_its_tokens() -> None:
    image = tiny.batch()["image"]
    torch.testing.assert_close(to_volume(patches(image, 8)), image[:, 0])


def test_each_image_hides_three_quarters_and_draws_anew(masked: Masked) -> None:
    task = tiny.task(tiny.OBJECTIVES["masked"])
    drawn = []
    for seed in (0, 1, 0):
        batch = tiny.batch()
        del batch["visible"]
        torch.manual_seed(seed)
        task.prepare(batch)
        assert batch["visible"].shape == (4, 6)
        assert hidden_patches(batch["visible"], 24).shape == (4, 18)
        assert masked.count(batch) == 4 * 18 * 512
        drawn.append(batch["visible"])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert len({tuple(row) for row in drawn[0].tolist()}) == 4

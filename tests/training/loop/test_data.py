"""What ``--data`` names becomes numbered batches of the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.data.files import prepared, record, tiny_set, write_lines
from tests.training.loop.runs import config
from training.loop.config import TrainingConfig
from training.loop.data import PreparedSource, noise, open_source
from training.loop.errors import ConfigError
from training.loop.phantoms import PhantomSample, PhantomSource, vary
from training.loop.source import Source
from training.objectives.base import Batch
from training.phantom.pool import fill_pool


def at(size: tuple[int, int, int], spacing_mm: float, **data: Any) -> TrainingConfig:
    made = config()
    data = {"captions": 0.0, "augment": False, "crop": "centre", "unpaired": 0.5} | data
    return replace(made, model=replace(made.model, size=size, spacing_mm=spacing_mm), data=replace(made.data, **data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies with reports, two without, one of the validation split."""
    root = tmp_path_factory.mktemp("set")
    manifest = tiny_set(root, 6)
    texts = ["Nodule in the right upper lobe.", "Small left pleural effusion.", "Cardiomegaly."]
    lines = [record(n, report=text, labels={}) for n, text in enumerate(texts)]
    lines += [record(n, report=None, labels={}) for n in (3, 4)]
    lines += [record(5, split="valid")]
    prepared(write_lines(manifest, *lines), root / "out")
    return root / "out"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    list(fill_pool(root, range(4), shape=(72, 72, 72), spacing_mm=(5.0, 5.0, 5.0)))
    return root


def same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(value.nan_to_num(9), b[key].nan_to_num(9)) if torch.is_tensor(value) else value == b[key]
        for key, value in a.items()
    )


def assert_contract(batch: Batch, size: tuple[int, int, int]) -> None:
    assert (batch["image"].dtype, batch["image"].shape) == (torch.float32, (2, 1, *size))
    assert -1 <= float(batch["image"].min()) < float(batch["image"].max()) <= 1
    assert (batch["labels"].dtype, batch["labels"].shape) == (torch.float32, (2, 18))
    assert [len(batch[key]) for key in ("report", "pairs", "patient", "study")] == [2, 2, 2, 2]


def test_prepared_folders_give_paired_and_image_only_batches(folder: Path) -> None:
    source = open_source([str(folder)], at((32, 24, 32), 10.0))
    assert isinstance(source, PreparedSource)
    seen = [source[number] for number in range(12)]
    kinds = {bool(batch["report"][0]) for batch in seen}
    assert kinds == {True, False}
    for batch in seen:
        assert_contract(batch, (32, 24, 32))
        assert len({bool(report) for report in batch["report"]}) == 1
        assert "s5" not in batch["study"]
        for report, pairs in zip(batch["report"], batch["pairs"], strict=True):
            assert bool(pairs) == bool(report)
            assert {label for _, _, label in pairs} <= {0, 1}
            assert all((said in report) == (label == 1) for said, _, label in pairs)


def test_a_recipe_without_masked_images_takes_no_image_only_study(folder: Path) -> None:
    made = at((32, 24, 32), 10.0)
    source = PreparedSource([folder], replace(made, objectives=replace(made.objectives, masked=None)))
    assert all(all(source[number]["report"]) for number in range(8))


def test_a_folder_at_another_spacing_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="prepared at 10 x 10 x 10 mm, the model's voxels are 5 mm"):
        open_source([str(folder)], at((32, 24, 32), 5.0))


def test_phantoms_give_everything_that_the_objectives_ask_for(pool: Path) -> None:
    source = open_source([str(pool)], at((72, 72, 72), 5.0, unpaired=0.5))
    assert isinstance(source, PhantomSource)
    seen = [source[number] for number in range(8)]
    for batch in seen:
        assert_contract(batch, (72, 72, 72))
        assert batch["mask"].shape == (2, 72, 72, 72)
        assert torch.isfinite(batch["labels"]).sum() > 0
        for present, bits in zip(batch["labels"], batch["finding_mask"], strict=True):
            marked = torch.tensor([bool(((bits >> finding) & 1).any()) for finding in range(18)])
            assert not (marked & (present == 0)).any()
    assert {bool("".join(batch["report"])) for batch in seen} == {True, False}
    assert any(pairs for batch in seen for pairs in batch["pairs"])
    with pytest.raises(ConfigError, match="72x72x72 voxels, the model grid is 32x24x32"):
        open_source([str(pool)], at((32, 24, 32), 5.0))


@pytest.mark.parametrize("kind", ["folder", "pool"])
def test_a_batch_depends_on_its_number_and_process_alone(
    kind: str, folder: Path, pool: Path, request: pytest.FixtureRequest
) -> None:
    made = at((72, 72, 72), 5.0) if kind == "pool" else at((32, 24, 32), 10.0)

    def opened(rank: int = 0, world: int = 1) -> Source:
        return open_source([str(request.getfixturevalue(kind))], made, rank=rank, world=world)

    one, other = opened(), opened()
    [other[number] for number in range(3)]
    assert same(one[5], other[5])
    assert not all(same(one[5], one[number]) for number in range(6, 12))
    assert opened(1, 2)[5]["study"] != opened(0, 2)[5]["study"] or opened(1, 2)[6]["study"] != opened(0, 2)[6]["study"]


def test_noise_serves_every_objective() -> None:
    source = noise(config())
    assert source[0]["report"][0]
    assert not source[1]["report"][0]
    assert same(source[0], source[2])


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is none of them"):
        open_source([str(tmp_path)], config())


def test_held_out_batches_are_the_validation_split_as_it_is(folder: Path) -> None:
    made = at((32, 24, 32), 10.0, augment=True, vary_text=True, crop="random", unpaired=0.0)
    source = open_source([str(folder)], made, valid=True)
    assert set(source[0]["study"]) == {"s5"}
    assert same(source[0], source[3])


def test_every_twentieth_phantom_is_held_out(pool: Path, tmp_path: Path) -> None:
    made = at((72, 72, 72), 5.0)
    with pytest.raises(ConfigError, match="validation takes every twentieth"):
        open_source([str(pool)], made, valid=True)
    phantom = next(iter(sorted(pool.glob("*.npz"))))
    for number in range(20):
        (tmp_path / f"{number:08d}.npz").symlink_to(phantom)
    held = open_source([str(tmp_path)], made, valid=True)
    trained = open_source([str(tmp_path)], made)
    assert {study for number in range(3) for study in held[number]["study"]} == {"00000019"}
    assert "00000019" not in {study for number in range(30) for study in trained[number]["study"]}
    bits = held[0]["finding_mask"]
    assert bits.dtype == torch.int32
    assert bits.shape == held[0]["mask"].shape


def planted(low: int, high: int) -> PhantomSample:
    """A phantom of a bright box with one finding, between two slices."""
    image = np.full((8, 8, 40), -1.0, np.float32)
    image[2:6, 2:6, low:high] = 0.5
    bits = (image > 0).astype(np.int32) << 9
    present = np.zeros(18, np.float32)
    present[9] = 1.0
    return PhantomSample(image, (image > 0).astype(np.uint8), bits, present, "A nodule.")


def test_a_finding_that_is_cut_away_is_not_called_present() -> None:
    whole = planted(10, 30)
    states = set()
    for seed in range(80):
        got = vary(whole, np.random.default_rng(seed))
        left = int(((got.bits >> 9) & 1).sum()) / int(((whole.bits >> 9) & 1).sum())
        assert got.present[9] == (1.0 if left > 0.6 else 0.0 if left < 0.02 else pytest.approx(np.nan, nan_ok=True))
        assert (got.report == whole.report) == bool(got.present[9] == 1.0)
        assert np.array_equal(got.mask > 0, got.bits > 0)
        states.add(str(got.present[9]))
    assert {"1.0", "nan"} <= states


def test_what_is_varied_keeps_its_sides() -> None:
    whole = planted(15, 25)
    whole.image[2:4] = 0.9
    for seed in range(30):
        got = vary(whole, np.random.default_rng(seed))
        here = np.argwhere(got.mask > 0)
        if len(here):
            bright = np.argwhere(got.image > 0.7)
            assert bright[:, 0].mean() < here[:, 0].mean()

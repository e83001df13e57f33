"""Batches follow the contract and are the same for any number of workers, ranks and restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.training.data.files import chest_hu, prepared, record, tiny_set, write_lines, write_nifti
from training.data.dataset import Batch, Batches, loader
from training.data.errors import DataError
from training.data.sampling import Mixture, Part
from training.data.store import Prepared

SIZE = (32, 22, 32)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    """Five paired studies, the first with a label map, and three without reports."""
    folder = tmp_path_factory.mktemp("set")
    manifest = tiny_set(folder, 8)
    hu, affine = chest_hu(0)
    write_nifti(folder / "mask.nii.gz", (hu > -500).astype(np.uint8), affine)
    lines = [record(n, masks="mask.nii.gz" if n == 0 else None) for n in range(5)]
    lines += [record(n, report=None, labels={}, source="scans") for n in range(5, 8)]
    return prepared(write_lines(manifest, *lines), folder / "out")


def mixture(studies: list[Prepared], batch: int = 4, seed: int = 0) -> Mixture:
    paired = [study for study in studies if study.report]
    images = [study for study in studies if not study.report]
    return Mixture((Part("paired", paired, 0.75), Part("images", images, 0.25)), batch, seed)


def same(a: Batch, b: Batch) -> bool:
    if a.keys() != b.keys():
        return False
    for name, value in a.items():
        other = b[name]
        equal = torch.equal(value.nan_to_num(9), other.nan_to_num(9)) if torch.is_tensor(value) else value == other
        if not equal:
            return False
    return True


def test_a_batch_is_what_the_contract_says(studies: list[Prepared]) -> None:
    batch = Batches(mixture(studies), SIZE, 10)[0]
    assert set(batch) == {"image", "report", "labels", "mask", "patient", "study"}
    assert (batch["image"].dtype, batch["image"].shape) == (torch.float32, (4, 1, *SIZE))
    assert (batch["labels"].dtype, batch["labels"].shape) == (torch.float32, (4, 18))
    assert (batch["mask"].dtype, batch["mask"].shape) == (torch.uint8, (4, *SIZE))
    assert batch["image"].min() >= -1
    assert batch["image"].max() <= 1
    for place, report in enumerate(batch["report"]):
        assert bool(report) == (not torch.isnan(batch["labels"][place]).all())
        masked = batch["study"][place] == "s0"
        assert bool((batch["mask"][place] != 255).any()) == masked


def test_there_is_no_mask_where_no_study_has_one(studies: list[Prepared]) -> None:
    part = Part("images", [study for study in studies if not study.report])
    assert "mask" not in Batches(Mixture((part,), 2), SIZE, 1)[0]


def test_left_and_right_are_where_they_were(studies: list[Prepared]) -> None:
    """The schematic chest has its heart on the left and its liver on the right; RAS indices grow to the right."""
    part = Part("one", studies[:1])
    image = Batches(Mixture((part,), 1), (34, 24, 34), 1)[0]["image"][0, 0]
    low = image[:, 6:18, 4:7].numpy()  # at the height of the liver
    assert low[18:26].mean() > low[8:16].mean()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(studies: list[Prepared], workers: int) -> None:
    batches = Batches(mixture(studies), SIZE, 7, crop="random", augment=add_noise, text=turned)
    alone = list(loader(batches))
    assert len(alone) == 7
    for a, b in zip(alone, loader(batches, workers=workers), strict=True):
        assert same(a, b)


def add_noise(
    image: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8] | None, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8] | None]:
    return np.clip(image + rng.normal(0, 0.1, image.shape), -1, 1).astype(np.float32), mask


def turned(text: str, rng: np.random.Generator) -> str:
    return " ".join(rng.permutation(text.split()))


def test_a_resumed_run_sees_what_the_uninterrupted_one_would(studies: list[Prepared]) -> None:
    whole = list(loader(Batches(mixture(studies), SIZE, 9, crop="random", augment=add_noise)))
    rest = list(loader(Batches(mixture(studies), SIZE, 9, crop="random", augment=add_noise), start=5))
    assert len(rest) == 4
    assert all(same(a, b) for a, b in zip(whole[5:], rest, strict=True))


def test_ranks_share_a_batch_without_overlap(studies: list[Prepared]) -> None:
    options: dict[str, Any] = {"crop": "random", "augment": add_noise, "text": turned}
    alone = Batches(mixture(studies), SIZE, 6, **options)
    ranks = [Batches(mixture(studies), SIZE, 6, rank=rank, world=2, **options) for rank in range(2)]
    for step in range(6):
        parts = [rank[step] for rank in ranks]
        for name, value in alone[step].items():
            joined = [part[name] for part in parts]
            together = torch.cat(joined) if torch.is_tensor(value) else joined[0] + joined[1]
            assert same({name: value}, {name: together})
        assert parts[0]["study"] != parts[1]["study"]
    with pytest.raises(DataError, match="cannot be shared evenly between 3"):
        Batches(mixture(studies), SIZE, 6, world=3)


def test_random_crops_differ_from_visit_to_visit(studies: list[Prepared]) -> None:
    part = Part("one", studies[:1])
    batches = Batches(Mixture((part,), 1), (12, 12, 12), 4, crop="random")
    assert not torch.equal(batches[0]["image"], batches[1]["image"])
    centre = Batches(Mixture((part,), 1), (12, 12, 12), 4)
    assert torch.equal(centre[0]["image"], centre[1]["image"])


def test_a_share_of_the_samples_are_slabs(studies: list[Prepared]) -> None:
    part = Part("all", [study for study in studies if study.report])
    whole = Batches(Mixture((part,), 5), SIZE, 8)
    some = Batches(Mixture((part,), 5), SIZE, 8, slab=0.5)
    same_images = [
        torch.equal(a, b) for n in range(8) for a, b in zip(whole[n]["image"], some[n]["image"], strict=True)
    ]
    assert 5 < sum(same_images) < 35
    assert same(some[3], some[3])


def test_reading_past_the_end_stops(studies: list[Prepared]) -> None:
    batches = Batches(mixture(studies), SIZE, 2)
    with pytest.raises(IndexError):
        batches[2]
    assert len(list(loader(batches, start=2))) == 0

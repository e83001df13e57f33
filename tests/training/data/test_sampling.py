"""What stands in which batch follows from seed and place alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from training.data.errors import DataError
from training.data.sampling import PERIOD, Mixture, Part
from training.data.store import Origin, Prepared, key_of


def study(source: str, patient: str, number: int = 0) -> Prepared:
    name = f"{patient}-{number}"
    return Prepared(
        key=key_of(source, name),
        source=source,
        patient=patient,
        study=name,
        split="train",
        report="",
        labels={},
        boxes={},
        boxes_complete=False,
        shape=(1, 1, 1),
        affine=[],
        field_shape=(1, 1, 1),
        field_start=(0, 0, 0),
        padding_hu=0,
        body=((0, 0, 0), (1, 1, 1)),
        has_mask=False,
        image_bytes=0,
        fingerprint="",
        verdict="ok",
        codes=[],
        corrected=[],
        origin=Origin("", 0, 0, "", ""),
        folder=Path(),
    )


PAIRED = Part("paired", [study("a", f"p{n // 2}", n % 2) for n in range(46)], 3.0)  # 23 patients, 2 studies each
IMAGES = Part("images", [study("b", f"q{n}") for n in range(11)], 1.0)


def row(mixture: Mixture, steps: range) -> list[tuple[int, int]]:
    places = [mixture.place(step, number) for step in steps for number in range(mixture.batch)]
    return [(place.part, place.study) for place in places]


@pytest.mark.parametrize("by", ["sample", "batch"])
def test_parts_come_in_exact_proportion(by: str) -> None:
    mixture = Mixture((PAIRED, IMAGES), 4, seed=1, by=by)  # type: ignore[arg-type]
    steps = PERIOD if by == "batch" else PERIOD // 4
    for start in (0, steps, 7 * steps):
        counts = Counter(part for part, _ in row(mixture, range(start, start + steps)))
        assert counts[0] == 3 * counts[1]


def test_by_batch_a_step_comes_from_one_part() -> None:
    mixture = Mixture((PAIRED, IMAGES), 8, by="batch")
    for step in range(200):
        parts = {mixture.place(step, number).part for number in range(8)}
        assert len(parts) == 1
        assert mixture.part_of(step) == mixture.parts[parts.pop()].name
    assert Mixture((PAIRED, IMAGES), 8).part_of(0) is None


@pytest.mark.parametrize("by", ["sample", "batch"])
def test_an_epoch_visits_each_patient_once_and_studies_take_turns(by: str) -> None:
    mixture = Mixture((PAIRED, IMAGES), 1, by=by)  # type: ignore[arg-type]
    seen = [study for part, study in row(mixture, range(600)) if part == 0]
    for start in (0, 23, 46):
        patients = {PAIRED.studies[index].patient for index in seen[start : start + 23]}
        assert len(patients) == 23
    assert sorted(seen[:46]) == list(range(46))  # two epochs: every study of every patient
    assert seen[:23] != seen[46:69]


def test_a_batch_holds_no_patient_twice_within_an_epoch() -> None:
    mixture = Mixture((Part("all", PAIRED.studies[:40]),), 5, seed=3)  # 20 patients: epochs end with a batch
    for step in range(40):
        patients = [PAIRED.studies[mixture.place(step, number).study].patient for number in range(5)]
        assert len(set(patients)) == 5


def test_places_do_not_depend_on_what_was_asked_before() -> None:
    first = Mixture((PAIRED, IMAGES), 4, seed=5)
    forwards = [first.place(step, 1) for step in range(300)]
    second = Mixture((PAIRED, IMAGES), 4, seed=5)
    assert [second.place(step, 1) for step in reversed(range(300))] == forwards[::-1]
    other = Mixture((PAIRED, IMAGES), 4, seed=6)
    assert [other.place(step, 1) for step in range(300)] != forwards


def test_the_order_of_files_on_the_disk_plays_no_part() -> None:
    turned = Part("paired", PAIRED.studies[::-1], 3.0)
    names = [
        [part.studies[mixture.place(step, 0).study].study for step in range(50)]
        for part in (PAIRED, turned)
        for mixture in [Mixture((part,), 1)]
    ]
    assert names[0] == names[1]


def test_every_place_has_its_own_seed() -> None:
    mixture = Mixture((PAIRED, IMAGES), 4)
    seeds = {mixture.place(step, number).seed for step in range(100) for number in range(4)}
    assert len(seeds) == 400


def test_a_small_weight_is_not_lost() -> None:
    mixture = Mixture((PAIRED, Part("rare", IMAGES.studies, 0.001)), 1)
    counts = Counter(part for part, _ in row(mixture, range(10 * PERIOD)))
    assert counts == {0: 990, 1: 10}
    assert Counter(p for p, _ in row(Mixture((PAIRED, Part("off", IMAGES.studies, 0.0)), 1), range(300))) == {0: 300}


def test_empty_parts_and_weights_are_refused() -> None:
    for parts in ((Part("none", []),), (Part("a", IMAGES.studies, -1.0),), (Part("a", IMAGES.studies, 0.0),)):
        with pytest.raises(DataError):
            Mixture(parts, 4)

"""Prepared once: equal to the product's grid, resumable, whole or not at all, nothing dropped silently."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_colipri.ct.open import open_volume
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import to_model_grid
from napari_colipri.errors import OutOfResources
from tests.training.data.files import COARSE, chest_hu, prepared, record, tiny_set, write_lines, write_nifti
from tests.volumes import ORIENTATIONS, chest, sheared_volume, tilted_volume, uneven_volume, volume_in
from training.data import preprocess as preparing
from training.data import store
from training.data.crops import Crop, centre_crop, read_crop, read_mask
from training.data.errors import DataError, PlanError
from training.data.manifest import read_manifest
from training.data.plan import Plan, freeze_plan, plan_for, read_plan
from training.data.preprocess import Outcome, Shard, preprocess, skipped_file
from training.data.resample import store_grid
from training.data.store import key_of, load_prepared, studies_in, write_prepared
from training.data.verify import verify


def run(manifest: Path, out: Path, plan: Plan = COARSE, **options: object) -> list[Outcome]:
    outcomes: list[Outcome] = []
    preprocess(read_manifest(manifest), manifest.parent, out, plan, done=outcomes.append, **options)  # type: ignore[arg-type]
    return sorted(outcomes, key=lambda item: item.line)


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [item.status for item in outcomes]


def stored_volume(volume: CTVolume, plan: Plan, folder: Path) -> store.Prepared:
    """Store a volume that is in memory."""
    grid = store_grid(volume, plan)
    study = store.Prepared(
        key="00" * 8,
        source="t",
        patient="p",
        study="s",
        split="train",
        report="",
        labels={},
        boxes={},
        boxes_complete=False,
        has_mask=False,
        image_bytes=0,
        fingerprint="",
        verdict="ok",
        codes=[],
        shape=grid.hu.shape,
        affine=grid.affine.tolist(),
        field_shape=grid.field_shape,
        field_start=grid.field_start,
        padding_hu=grid.padding_hu,
        body=grid.body,
        corrected=[],
        origin=store.Origin("", 0, 0, "", ""),
        folder=folder,
    )  # type: ignore[arg-type]
    write_prepared(study, grid.hu, None, plan)
    return study


VOLUMES = {
    "".join(codes): volume_in(
        codes, shape_ras=(31, 22, 27), spacing_ras=(9.0, 8.0, 11.0), anatomy=chest, dtype=np.int16
    )
    for codes in ORIENTATIONS[::7]
} | {
    "tilted": tilted_volume(12.0, anatomy=chest, shape=(20, 20, 20)),
    "sheared": sheared_volume(15.0, anatomy=chest, shape=(20, 20, 20)),
    "uneven": uneven_volume(anatomy=chest, size=(20, 20)),
}


@pytest.mark.parametrize("size", [(9, 16, 24), (40, 10, 33)], ids=["crop", "pad"])
@pytest.mark.parametrize("name", VOLUMES)
def test_the_centre_of_what_is_stored_is_the_products_model_grid(
    name: str, size: tuple[int, int, int], tmp_path: Path
) -> None:
    volume = VOLUMES[name]
    spacing = (10.0, 9.0, 8.0) if name.isupper() else (2.1, 2.3, 1.9)
    spec = InputSpec("RAS", spacing, size, integer_hu=True)
    for plan in (plan_for(spec, whole=True), plan_for(spec, whole=False)):
        study = stored_volume(volume, plan, tmp_path)
        crop = centre_crop(study, size)
        values = np.clip(read_crop(study, crop).astype(np.float32), -1000, 1000) / 1000
        grid = to_model_grid(volume, spec)
        # whole numbers are stored: truncated ones are kept, others rounded
        tolerance = 1e-6 if volume.hu.dtype == np.int16 else 0.5e-3 + 1e-6
        np.testing.assert_allclose(values, grid.values, atol=tolerance)
        affine = np.array(study.affine)
        start = affine[:3, :3] @ np.array(crop.start) + affine[:3, 3]
        np.testing.assert_allclose(start, grid.affine[:3, 3], atol=1e-6)


def test_files_are_named_by_a_hash_and_private(tmp_path: Path) -> None:
    (study,) = prepared(tiny_set(tmp_path, 1), tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(names) == sorted(["plan.json", f"{study.key}.b2nd", f"{study.key}.json"])
    assert study.key == key_of("tiny", "s0")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert stat.S_IMODE(study.image_file.stat().st_mode) == 0o600
    assert study.fingerprint == open_volume(tmp_path / "images/0.nii.gz").fingerprint
    assert (study.report, study.labels) == ("Study 0 shows a nodule.", {"Lung nodule": 1, "Emphysema": 0})


def test_masks_follow_their_own_affine_and_are_unknown_outside(tmp_path: Path) -> None:
    manifest = tiny_set(tmp_path, 1, masks="mask.nii.gz")
    hu, affine = chest_hu(0)
    half = np.ascontiguousarray((hu > -500).astype(np.uint8)[:21, :, ::-1])  # left half of the patient, flipped in z
    flipped = affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    flipped[:3, 3] = affine[:3, :3] @ np.array([0, 0, hu.shape[2] - 1]) + affine[:3, 3]
    write_nifti(tmp_path / "mask.nii.gz", half, flipped)
    plan = Plan(axis_order="RAS", spacing_mm=(8.0, 8.0, 8.0), chunk=16, block=8)
    (study,) = prepared(manifest, tmp_path / "out", plan)
    crop = Crop((0, 0, 0), study.shape)
    mask, image = read_mask(study, crop), read_crop(study, crop)
    assert (mask[21:] == 255).all()
    np.testing.assert_array_equal(mask[:21], (image[:21] > -500))
    assert (read_mask(study, Crop((-3, 0, 0), (3, 5, 5))) == 255).all()


def test_a_second_run_keeps_what_is_finished_and_follows_changes(tmp_path: Path) -> None:
    manifest, out = tiny_set(tmp_path, 3), tmp_path / "out"
    assert statuses(run(manifest, out)) == ["prepared"] * 3
    assert statuses(run(manifest, out)) == ["kept"] * 3
    write_nifti(tmp_path / "images/0.nii.gz", *chest_hu(9, shape=(42, 30, 41)))
    write_lines(manifest, record(0), record(1, report="Another text."), record(2))
    before = load_prepared(out, key_of("tiny", "s1"))
    assert statuses(run(manifest, out)) == ["prepared", "described", "kept"]
    after = load_prepared(out, key_of("tiny", "s1"))
    assert before is not None
    assert after is not None
    assert after.report == "Another text."
    assert after.fingerprint == before.fingerprint


def test_a_folder_keeps_its_plan(tmp_path: Path) -> None:
    manifest, out = tiny_set(tmp_path, 1), tmp_path / "out"
    run(manifest, out)
    assert read_plan(out) == COARSE
    with pytest.raises(PlanError, match=r"prepared with spacing_mm \[10\.0, 10\.0, 10\.0\], not \[5\.0"):
        run(manifest, out, COARSE.model_copy(update={"spacing_mm": (5.0, 5.0, 5.0)}))
    (out / "plan.json").write_text("{}")
    with pytest.raises(PlanError, match="damaged or of another version"):
        freeze_plan(out, COARSE)
    with pytest.raises(PlanError, match="no prepared folder"):
        read_plan(tmp_path)


def test_bad_studies_are_skipped_with_a_record_and_tried_again(tmp_path: Path) -> None:
    manifest, out = tiny_set(tmp_path, 5), tmp_path / "out"
    hu, affine = chest_hu(0)
    whole = (tmp_path / "images/0.nii.gz").read_bytes()
    (tmp_path / "images/0.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_nifti(tmp_path / "images/1.nii.gz", (hu > 0).astype(np.uint8), affine)
    write_nifti(tmp_path / "far.nii.gz", (hu > 0).astype(np.uint8), affine + np.array([[0, 0, 0, 9e3]] * 3 + [[0] * 4]))
    lines = [record(n) for n in range(5)]
    lines[2]["masks"] = "far.nii.gz"
    lines[3]["masks"] = "images/4.nii.gz"
    write_lines(manifest, *lines)
    assert statuses(run(manifest, out)) == ["skipped"] * 4 + ["prepared"]
    skipped = [json.loads(text) for text in (out / "skipped.jsonl").read_text().splitlines()]
    assert [(item["line"], item["code"]) for item in skipped] == [
        (1, "truncated"),
        (2, "not_hu"),
        (3, "mask_elsewhere"),
        (4, "not_labels"),
    ]
    assert set(skipped[0]) == {"line", "key", "code", "message"}
    assert not any(str(tmp_path) in json.dumps(item) or "s0" in item["message"] for item in skipped)
    assert [study.study for study in studies_in(out)] == ["s4"]
    (tmp_path / "images/0.nii.gz").write_bytes(whole)
    assert statuses(run(manifest, out)) == ["prepared"] + ["skipped"] * 3 + ["kept"]
    assert len((out / "skipped.jsonl").read_text().splitlines()) == 3


def test_a_full_disk_stops_the_run_and_a_later_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, out = tiny_set(tmp_path, 3), tmp_path / "out"
    writes = 0
    real = store.write_bytes

    def full(path: Path, data: bytes, *, private: bool) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data, private=private)

    monkeypatch.setattr(store, "write_bytes", full)
    with pytest.raises(OutOfResources, match="disk is full") as caught:
        run(manifest, out)
    assert caught.value.code == "disk_full"
    assert len(studies_in(out)) == 1
    assert not list(out.rglob("*.part*"))
    assert not skipped_file(out, Shard()).exists()
    assert sorted(statuses(run(manifest, out))) == ["kept", "prepared", "prepared"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_stops_and_goes_on(tmp_path: Path, jobs: int) -> None:
    manifest, out = tiny_set(tmp_path, 6), tmp_path / "out"

    def interrupt(_outcome: Outcome) -> None:
        raise KeyboardInterrupt

    lines = read_manifest(manifest)
    with pytest.raises(KeyboardInterrupt):
        preprocess(lines, tmp_path, out, COARSE, jobs=jobs, done=interrupt)
    finished = len(studies_in(out))
    assert finished >= 1
    assert verify(out) == []
    again = statuses(run(manifest, out))
    assert again.count("kept") == finished
    assert again.count("prepared") == 6 - finished


KILLED = """
import os, sys
from pathlib import Path
from tests.training.data.files import COARSE
from training.data import store
from training.data.manifest import read_manifest
from training.data.preprocess import preprocess

manifest, out = Path(sys.argv[1]), Path(sys.argv[2])
writes, real = 0, store.write_bytes

def write(path, data, *, private):
    global writes
    writes += 1
    if writes == 2:  # half an image in a temporary file, as when the process is killed while it writes
        path.with_name(f".{path.name}.0123456789ab.part.b2nd").write_bytes(data[: len(data) // 2])
        os._exit(9)
    real(path, data, private=private)
    if sys.argv[3] == "between":
        os._exit(9)  # the image is there, its sidecar is not

store.write_bytes = write
preprocess(read_manifest(manifest), manifest.parent, out, COARSE)
"""


@pytest.mark.parametrize(("when", "finished"), [("within", 1), ("between", 0)])
def test_a_killed_run_leaves_nothing_that_is_taken_for_whole(tmp_path: Path, when: str, finished: int) -> None:
    manifest, out = tiny_set(tmp_path, 3), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(manifest), str(out), when]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[3]).returncode == 9
    assert len(studies_in(out)) == finished
    assert sorted(statuses(run(manifest, out))) == ["kept"] * finished + ["prepared"] * (3 - finished)
    assert len(studies_in(out)) == 3
    assert not list(out.rglob("*.part*"))


def test_shards_share_the_studies_without_overlap(tmp_path: Path) -> None:
    manifest, out = tiny_set(tmp_path, 6), tmp_path / "out"
    done = [{item.key for item in run(manifest, out, shard=Shard.parse(f"{n}/3"))} for n in (1, 2, 3)]
    assert sum(map(len, done)) == len(set().union(*done)) == 6
    assert len(studies_in(out)) == 6
    (tmp_path / "images/1.nii.gz").write_bytes(b"")
    shard = next(Shard(n, 3) for n in (1, 2, 3) if Shard(n, 3).holds(key_of("tiny", "s1")))
    run(manifest, out, shard=shard)
    assert json.loads(skipped_file(out, shard).read_text())["code"] == "empty"
    for wrong in ("0/2", "3/2", "1", "a/b"):
        with pytest.raises(DataError, match="A shard is written like"):
            Shard.parse(wrong)


def test_several_processes_make_the_same_files(tmp_path: Path) -> None:
    manifest = tiny_set(tmp_path, 4)
    (tmp_path / "images/3.nii.gz").write_bytes(b"no image")
    one = run(manifest, tmp_path / "one")
    two = run(manifest, tmp_path / "two", jobs=2)
    assert statuses(one) == statuses(two) == ["prepared"] * 3 + ["skipped"]
    for a, b in zip(studies_in(tmp_path / "one"), studies_in(tmp_path / "two"), strict=True):
        assert a == b
        assert a.image_file.read_bytes() == b.image_file.read_bytes()


def test_a_volume_that_no_check_foresaw_is_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ValueError("secret path")

    monkeypatch.setattr(preparing, "store_grid", broken)
    (outcome,) = run(tiny_set(tmp_path, 1), tmp_path / "out")
    assert (outcome.code, outcome.message) == ("unprocessable", "The volume cannot be sampled (ValueError).")


def test_damaged_files_are_one_sentence_and_made_anew(tmp_path: Path) -> None:
    manifest, out = tiny_set(tmp_path, 2), tmp_path / "out"
    first, second = prepared(manifest, out)
    first.image_file.write_bytes(first.image_file.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        read_crop(first, Crop((0, 0, 0), (4, 4, 4)))
    sidecar = second.image_file.with_suffix(".json")
    sidecar.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        studies_in(out)
    assert statuses(run(manifest, out)) == ["prepared", "prepared"]
    first.image_file.unlink()
    assert sorted(statuses(run(manifest, out))) == ["kept", "prepared"]


def test_a_real_scan_keeps_its_values(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "acrin-flt-013/acrin-flt-013.nii.gz"
    manifest = write_lines(tmp_path / "m.jsonl", record(0, image=str(path)))
    spec = InputSpec("RAS", (5.0, 5.0, 5.0), (72, 72, 72), integer_hu=True)
    (study,) = prepared(manifest, tmp_path / "out", plan_for(spec, whole=True))
    values = np.clip(read_crop(study, centre_crop(study, spec.size)).astype(np.float32), -1000, 1000) / 1000
    np.testing.assert_allclose(values, to_model_grid(open_volume(path), spec).values, atol=1e-6)

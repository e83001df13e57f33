"""A prepared folder is looked through: damage, leaks between splits, studies that no manifest names."""

from __future__ import annotations

from pathlib import Path

from tests.training.data.files import prepared, record, tiny_set, write_lines
from training.data.store import key_of, studies_in
from training.data.verify import prune, unnamed, verify


def test_a_sound_folder_has_nothing_to_say(tmp_path: Path) -> None:
    prepared(tiny_set(tmp_path, 2), tmp_path / "out")
    seen: list[str] = []
    assert verify(tmp_path / "out", done=lambda study: seen.append(study.study)) == []
    assert sorted(seen) == ["s0", "s1"]


def test_damage_is_found(tmp_path: Path) -> None:
    first, second = prepared(tiny_set(tmp_path, 2), tmp_path / "out")
    first.image_file.write_bytes(first.image_file.read_bytes()[:-500])
    second.image_file.unlink()
    assert [(item.key, item.code) for item in verify(tmp_path / "out")] == [
        (first.key, "unreadable"),
        (second.key, "unreadable"),
    ]


def test_patients_and_voxels_that_cross_splits_are_found_over_manifests(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(tiny_set(tmp_path, 2), out)
    other = write_lines(
        tmp_path / "other.jsonl",
        record(1, patient="p0", study="again", split="test"),  # p0 trains under another study, with these voxels of p1
        record(0, source="copy", patient="x", study="y", split="train"),
    )
    prepared(other, out)
    again = key_of("tiny", "again")
    found = verify(out)
    assert sorted(item.code for item in found) == ["patient_in_two_splits", "voxels_in_two_splits"]
    # whichever of a pair comes first, the other one's sentence names it
    assert all(again in item.key + item.message for item in found)
    assert not any("p0" in item.message for item in found)


def test_studies_that_no_manifest_names_can_be_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(tiny_set(tmp_path, 3), out)
    names = [("tiny", "s0"), ("tiny", "s2")]
    assert [study.study for study in unnamed(out, names)] == ["s1"]
    assert prune(out, names) == 1
    assert sorted(study.study for study in studies_in(out)) == ["s0", "s2"]
    assert not list(out.rglob(f"*{key_of('tiny', 's1')}*"))
    assert prune(out, names) == 0

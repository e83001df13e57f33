"""napari's reader and the manifest: what is taken, what is declined, and that nothing raises before it reads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_colipri.desktop.metadata import study_metadata
from napari_colipri.desktop.reader import get_reader, read_study
from napari_colipri.desktop.sample import sample_path
from napari_colipri.errors import StudyRefused
from tests.desktop.conftest import PATIENCE, write_chest

MANIFEST = Path(__file__).resolve().parents[2] / "napari.yaml"


def test_a_nifti_is_read_onto_the_display_axes(study: Path) -> None:
    reader = get_reader(str(study))
    assert reader is not None
    [(data, attributes, kind)] = reader(str(study))
    assert kind == "image"
    assert data.shape == (56, 48, 64)
    assert attributes["units"] == ("mm", "mm", "mm")
    assert np.allclose(attributes["scale"], (6, 5, 5))
    assert attributes["metadata"]["napari_colipri"]["volume"].geometry.shape == (64, 48, 56)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.nii.gz", b"not a gzip"),
        ("empty.nii", b""),
        ("picture.mha", b"\x89PNG\r\n"),
        ("notes.nrrd", b"hello"),
        ("plain.dcm", b"\0" * 200),
        ("broken.zip", b"PK\x03\x04 and nothing"),
        ("movie.avi", b"RIFF"),
    ],
)
def test_what_is_not_ct_is_left_to_others(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert get_reader(str(path)) is None


def test_nothing_raises_for_paths_that_are_not_there(tmp_path: Path) -> None:
    assert get_reader(str(tmp_path / "gone.nii.gz")) is None
    assert get_reader([str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm")]) is None
    assert get_reader("bad\0name.nii") is None


def test_a_folder_is_taken_only_if_it_holds_dicom(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here", encoding="utf-8")
    assert get_reader(str(tmp_path)) is None
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 64)
    assert get_reader(str(tmp_path)) is read_study


def test_a_zip_is_taken_if_a_study_is_in_it(tmp_path: Path, study: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(study, "chest.nii.gz")
    assert get_reader(str(archive)) is read_study
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("letter.txt", "Dear colleague")
    assert get_reader(str(archive)) is None


def test_a_bad_study_is_refused_in_one_sentence(tmp_path: Path) -> None:
    bad = tmp_path / "cut.nii.gz"
    bad.write_bytes(write_chest(tmp_path / "whole.nii.gz").read_bytes()[:2000])
    with pytest.raises(StudyRefused) as refusal:
        read_study(str(bad))
    assert refusal.value.code == "truncated"


def test_with_the_dock_open_napari_s_own_ways_to_open_do_not_hold_the_window_up(
    make_dock: Any, study: Path, tmp_path: Path, qtbot: Any
) -> None:
    dock = make_dock()
    viewer = dock.viewer
    assert viewer.open(str(study), plugin="napari-colipri") == []  # what File → Open and a drop on the canvas call
    assert dock.state.phase == "opening"
    qtbot.waitUntil(lambda: dock.state.phase == "ready", timeout=PATIENCE)
    assert [layer.name for layer in viewer.layers] == ["chest-01"]
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(study.read_bytes()[:2000])
    viewer.open(str(cut), plugin="napari-colipri")
    qtbot.waitUntil(lambda: dock.state.phase == "refused", timeout=PATIENCE)
    assert dock.screen.study in viewer.layers


def test_without_the_dock_napari_gets_the_layer_itself(make_napari_viewer: Any, study: Path) -> None:
    viewer = make_napari_viewer()
    [layer] = viewer.open(str(study), plugin="napari-colipri")
    assert study_metadata(layer) is not None


def test_samples_open_beside_the_dock(make_dock: Any) -> None:
    dock = make_dock()
    dock.viewer.open_sample("napari-colipri", "normal")
    assert dock.state.phase == "ready"
    assert dock.screen.study in dock.viewer.layers


def test_the_manifest_is_valid_and_leads_to_code() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    contributions: Any = manifest.contributions
    assert [widget.display_name for widget in contributions.widgets] == ["COLIPRI"]
    assert {sample.display_name for sample in contributions.sample_data} == {
        "Normal chest phantom",
        "Chest phantom with findings",
    }
    [reader] = contributions.readers
    assert reader.accepts_directories
    assert "*.nii.gz" in reader.filename_patterns
    assert "*.gz" not in reader.filename_patterns


def test_samples_are_found_inside_the_package() -> None:
    for name in ("normal", "findings"):
        assert sample_path(name).parts[-3:] == ("studies", name, "ct.nii.gz")


def test_a_layer_of_somebody_else_is_not_ours() -> None:
    class Foreign:
        metadata = {"napari_colipri": "something"}  # noqa: RUF012

    assert study_metadata(Foreign()) is None

"""An analysis is on disk whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from napari_colipri.errors import Cancelled, OutOfResources
from napari_colipri.export import file_set
from napari_colipri.export.analysis import ANALYSIS_FILES, write_analysis
from napari_colipri.export.result import AnalysisResult, path_hash
from napari_colipri.progress import CancelToken


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_of_the_contract(result: AnalysisResult, tmp_path: Path) -> None:
    written = write_analysis(tmp_path / "deep" / "out", result)
    assert tuple(path.name for path in written) == ANALYSIS_FILES
    assert {path.name for path in (tmp_path / "deep" / "out").iterdir()} == set(ANALYSIS_FILES)
    read = {path.name: json.loads(path.read_text("utf-8")) for path in written if path.suffix == ".json"}
    assert read["passport.json"].keys() >= {"display", "analyse", "verdict", "reasons"}
    assert read["findings.json"]["findings"][9]["peak_ras_mm"] == [75.0, 5.0, 25.0]
    assert read["segmentation.json"]["classes"][0]["name"] == "lung_left"
    assert read["similar.json"]["hits"][0]["case_id"] == "phantom-03"
    assert read["run.json"]["timings_s"] == {"encode": 1.235}
    assert read["run.json"]["versions"].keys() >= {"napari-colipri", "numpy", "torch"}


def test_without_masks_and_library_the_places_say_so(result: AnalysisResult, tmp_path: Path) -> None:
    bare = replace(result, segmentation=None, no_segmentation="No decoder.", similar=None, no_similar="No library.")
    write_analysis(tmp_path / "out", bare)
    assert not (tmp_path / "out" / "segmentation.nii.gz").exists()
    assert json.loads((tmp_path / "out" / "segmentation.json").read_text())["notes"] == ["No decoder."]
    assert json.loads((tmp_path / "out" / "similar.json").read_text())["notes"] == ["No library."]


def test_a_new_set_replaces_the_old_one_and_leaves_other_files_alone(result: AnalysisResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_analysis(out, result)
    (out / "my notes.txt").write_text("mine")
    write_analysis(out, replace(result, segmentation=None))
    names = {path.name for path in out.iterdir()}
    assert names == (set(ANALYSIS_FILES) - {"segmentation.nii.gz"}) | {"my notes.txt"}


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("at", ANALYSIS_FILES)
def test_a_full_disk_leaves_the_folder_as_it_was(
    result: AnalysisResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, existing: bool
) -> None:
    out = tmp_path / "out"
    if existing:
        write_analysis(out, result)
    before = content(out) if existing else None
    replace_file = os.replace

    def full(source: str, target: str) -> None:
        if Path(target).name == at and ".part" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutOfResources, check=lambda error: error.exit_status == 5):
        write_analysis(out, result)
    assert (content(out) if existing else None) == before
    assert out.exists() == existing
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if existing else [])


def test_an_analysis_that_was_cut_short_is_finished_before_the_next_is_written(
    result: AnalysisResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_analysis(out, replace(result, record=replace(result.record, device="old")))
    with monkeypatch.context() as patch:
        patch.setattr(file_set, "_swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_analysis(out, replace(result, record=replace(result.record, device="new")))
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        write_analysis(out, result, cancel=token)
    assert json.loads((out / "run.json").read_text("utf-8"))["device"] == "new"
    assert {path.name for path in out.iterdir()} == set(ANALYSIS_FILES)


def test_cancelling_leaves_nothing(result: AnalysisResult, tmp_path: Path) -> None:
    token = CancelToken()
    with pytest.raises(Cancelled):
        write_analysis(tmp_path / "out", result, progress=lambda *_: token.cancel(), cancel=token)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_not_replaced(result: AnalysisResult, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(NotADirectoryError):
        write_analysis(tmp_path / "out", result)
    assert (tmp_path / "out").read_text() == "a file"


def test_a_path_hash_tells_files_apart_and_names_none(tmp_path: Path) -> None:
    one, other = path_hash(tmp_path / "DOE^JANE.nii"), path_hash(tmp_path / "b.nii")
    assert one != other
    assert one == path_hash(str(tmp_path / "DOE^JANE.nii"))
    assert len(one) == 64
    assert "JANE" not in one

"""A bundle is opened only if every file is the one that its configuration names; nothing in it is ever executed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_colipri.engine import add_bundle, list_bundles, open_bundle, remove_bundle
from napari_colipri.engine.bundle import bundles_dir
from napari_colipri.engine.bundle_store import install, record_verified
from napari_colipri.errors import BundleError
from tests.bundles import refresh_checksums, write_tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def _edit(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(values))


def _refused(folder: Path | str, code: str, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert caught.value.code == code
    for word in words:
        assert word in caught.value.message
    assert caught.value.exit_status == 4


def test_a_whole_bundle_opens(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.name == "tiny"
    assert bundle.has_decoder
    assert bundle.input_spec.size == (32, 32, 32)
    assert len(bundle.hash) == 64
    assert not bundle.raw


@pytest.mark.parametrize("name", ["model.safetensors", "segmentation.safetensors", "vocab.txt"])
def test_a_changed_byte_is_refused_and_the_file_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))
    _refused(folder, "changed_file", name)


@pytest.mark.parametrize("name", ["model.safetensors", "segmentation.safetensors", "vocab.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    _refused(folder, "missing_file", name)


def test_an_unexpected_file_is_named(folder: Path) -> None:
    (folder / "extra.safetensors").write_bytes(b"")
    _refused(folder, "unexpected_file", "extra.safetensors")


def test_only_the_readme_may_change(folder: Path) -> None:
    before = open_bundle(folder).hash
    (folder / "README.md").write_text("other words")
    assert open_bundle(folder).hash == before


def test_weights_outside_the_table_of_checksums_are_refused(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    del values["sha256"]["model.safetensors"]
    _edit(folder, sha256=values["sha256"])
    _refused(folder, "missing_file", "model.safetensors")


@pytest.mark.parametrize("name", ["weights.bin", "weights.pt", "weights.pkl", "modeling.py", "weights.ckpt"])
def test_pickles_and_code_are_refused_even_with_a_checksum(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"anything")
    refresh_checksums(folder)
    _refused(folder, "unsafe_file", name)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "..", "sub/inner.json", ""])
def test_a_table_that_points_outside_is_refused(folder: Path, name: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    _edit(folder, sha256=values["sha256"] | {name: "0" * 64})
    _refused(folder, "unsafe_file")


@pytest.mark.skipif(sys.platform == "win32", reason="links need privileges on Windows")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_link_that_leaves_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / f"elsewhere-{name}"
    shutil.move(folder / name, outside)
    (folder / name).symlink_to(outside)
    _refused(folder, "unsafe_file", name)


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling"])
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file kinds")
def test_anything_but_a_plain_file_is_refused(folder: Path, kind: str) -> None:
    (folder / "vocab.txt").unlink()
    if kind == "fifo":
        os.mkfifo(folder / "vocab.txt")
    elif kind == "folder":
        (folder / "vocab.txt").mkdir()
    else:
        (folder / "vocab.txt").symlink_to(folder / "nothing")
    with pytest.raises(BundleError, match=r"vocab\.txt"):
        open_bundle(folder)


def test_an_oversized_file_is_refused_before_it_is_read(folder: Path) -> None:
    with (folder / "vocab.txt").open("wb") as handle:
        handle.truncate(17 << 20)
    _refused(folder, "unsafe_file", "vocab.txt")


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 100_000])
def test_damaged_json_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    _refused(folder, "bad_config", "config.json")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"format": 2}, "format"),
        ({"input": {"size": [32, 32, 30], "spacing_mm": [8, 8, 8]}}, "size"),
        ({"input": {"size": [32, 32, 99999], "spacing_mm": [8, 8, 8]}}, "size"),
        ({"input": {"size": [32, 32, 32], "spacing_mm": [8, 8, 0]}}, "spacing_mm"),
        ({"input": {"size": [32, 32, 32], "spacing_mm": [8, 8, 8], "axis_order": "RAL"}}, "axis_order"),
        ({"input": {"size": [32, 32, 32], "spacing_mm": [8, 8, 8], "window": [0, 1]}}, "window"),
        ({"vision": {"embed_dim": 10**9, "depth": 2, "heads": 2, "projection_dim": 16, "pool_heads": 2}}, "embed_dim"),
        ({"vision": {"embed_dim": 24, "depth": 2, "heads": 2, "projection_dim": 32, "pool_heads": 2}}, "text"),
        ({"name": "../evil"}, "name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_setting_is_named(folder: Path, changes: dict[str, Any], where: str) -> None:
    _edit(folder, **changes)
    _refused(folder, "bad_config", where)


def test_the_hash_follows_what_decides_results_and_nothing_else(folder: Path) -> None:
    before = open_bundle(folder).hash
    _edit(folder, title="Another title", settings={"axis_order": "assumed"})
    assert open_bundle(folder).hash == before
    _edit(folder, unresolved=[])
    assert open_bundle(folder).hash != before


def test_notes_stand_beside_every_result(folder: Path) -> None:
    assert open_bundle(folder).notes == ("demonstration model trained on phantoms: not for patients",)
    _edit(folder, settings={"pooling": "assumed"}, demonstration=False)
    assert open_bundle(folder).notes == ("settings not verified",)


def test_an_unknown_name_says_what_to_do() -> None:
    _refused("no-such-model", "not_found", "model list")


def test_add_copies_verifies_lists_and_removes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    added = add_bundle(folder, name="mine")
    assert added.path == bundles_dir() / "mine"
    assert added.name == "mine"
    assert added.hash == open_bundle(folder).hash
    assert open_bundle("mine").hash == added.hash
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    listed = {info.name: info for info in list_bundles()}
    assert listed["mine"].demonstration
    assert listed["mine"].size_bytes > 100_000
    json.dumps(listed["mine"].to_json())
    remove_bundle("mine")
    assert "mine" not in {info.name for info in list_bundles()}
    assert not any(bundles_dir().iterdir())


def test_a_name_is_given_only_once(folder: Path) -> None:
    add_bundle(folder)
    with pytest.raises(BundleError, match="already"):
        add_bundle(folder)


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "demo", "x" * 80, "-"])
def test_a_bundle_cannot_be_called_anything(folder: Path, name: str) -> None:
    with pytest.raises(BundleError):
        add_bundle(folder, name=name)


@pytest.mark.parametrize("name", ["../up", "demo", "unknown", "."])
def test_only_added_bundles_can_be_removed(name: str) -> None:
    with pytest.raises(BundleError):
        remove_bundle(name)


def test_a_bundle_that_states_its_settings_keeps_them(folder: Path) -> None:
    with pytest.raises(BundleError) as caught:
        add_bundle(folder, axis_order="SAR")
    assert caught.value.code == "settings_fixed"


def test_an_addition_that_fails_leaves_nothing() -> None:
    def broken_off() -> None:
        with install("half") as staging:
            (staging / "config.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert not any(bundles_dir().iterdir())


def test_a_damaged_bundle_is_not_added(folder: Path) -> None:
    (folder / "vocab.txt").write_text("changed")
    with pytest.raises(BundleError, match=r"vocab\.txt has changed"):
        add_bundle(folder)
    assert not bundles_dir().exists() or not any(bundles_dir().iterdir())


def test_a_damaged_bundle_is_listed_with_its_problem(folder: Path) -> None:
    add_bundle(folder, name="mine")
    (bundles_dir() / "mine" / "config.json").write_text("{")
    info = next(info for info in list_bundles() if info.name == "mine")
    assert info.problem is not None
    assert "config.json" in info.problem


def test_a_setting_can_be_recorded_as_verified(folder: Path) -> None:
    _edit(folder, settings={"axis_order": "assumed", "pooling": "verified", "preset": "verified"})
    added = add_bundle(folder, name="mine")
    assert "settings not verified" in added.notes
    after = record_verified("mine", "axis_order")
    assert "settings not verified" not in after.notes
    assert after.hash == added.hash


def test_opening_a_bundle_imports_no_torch(folder: Path) -> None:
    code = (
        "import sys, napari_colipri.engine as engine; engine.open_bundle(sys.argv[1]); engine.list_bundles(); "
        "import napari_colipri.engine.session, napari_colipri.engine.text; "
        "heavy = {'torch', 'transformers', 'monai', 'colipri', 'timm', 'torchio'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)

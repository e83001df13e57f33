"""NRRD and MetaImage: the values and places of the file, or one typed refusal."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from napari_colipri.ct.geometry import lps_to_ras, ras_to_lps
from napari_colipri.ct.readers import itk_header, values
from napari_colipri.ct.readers.itk import is_itk, read_itk
from napari_colipri.errors import Cancelled, StudyRefused
from napari_colipri.progress import CancelToken
from tests.volumes import ORIENTATIONS, affine_for, oblique_affine, ramp, volume_in

SHAPE = (6, 5, 4)
AFFINE = affine_for("LPS", (0.8, 0.8, 2.0), SHAPE)
NAMES = ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"]


def voxels(dtype: object = np.int16, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)  # type: ignore[call-overload]


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, *, compress: bool = False) -> Path:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.transpose()))
    lps = ras_to_lps(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection([float(value) for value in (lps[:3, :3] / spacing).ravel()])
    SimpleITK.WriteImage(image, str(path), useCompression=compress)
    return path


def edited(path: Path, old: str, new: str) -> Path:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(StudyRefused) as caught:
        read_itk(path)
    assert str(path) not in caught.value.message
    return caught.value.code


def codes(path: Path) -> list[str]:
    return [item.code for item in read_itk(path).passport.reasons]


# --- values and place ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True], ids=["raw", "compressed"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint8, np.float32, np.float64])
def test_values_come_back_as_stored(tmp_path: Path, name: str, dtype: type, compress: bool) -> None:
    data = (np.abs(voxels()) % 200).astype(dtype)
    volume = read_itk(save(tmp_path / name, data, compress=compress))
    np.testing.assert_array_equal(volume.hu, data)
    assert volume.hu.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.int16)
    assert not volume.hu.flags.writeable
    assert volume.source.kind == ("mha" if ".m" in name else "nrrd")
    assert volume.passport.verdict == "ok"
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("axes", ORIENTATIONS, ids="".join)
def test_every_orientation_keeps_hu_and_place(tmp_path: Path, name: str, axes: tuple[str, str, str]) -> None:
    written = volume_in(axes)
    volume = read_itk(save(tmp_path / name, np.asarray(written.hu), written.affine))
    assert volume.geometry.axis_codes == axes
    np.testing.assert_array_equal(volume.hu, written.hu)
    np.testing.assert_allclose(volume.affine, written.affine, atol=1e-5)
    np.testing.assert_allclose(volume.hu[1, 2, 3], ramp(volume.affine[:3] @ [1, 2, 3, 1]), atol=1e-3)


def test_rotations_are_kept(tmp_path: Path) -> None:
    affine = oblique_affine(17, (1, 2, 3), shape=SHAPE)
    for name in ("a.mha", "a.nrrd"):
        volume = read_itk(save(tmp_path / name, voxels(), affine))
        np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
        assert [item.code for item in volume.passport.reasons] == ["oblique"]


@pytest.mark.parametrize(("space", "signs"), [("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1))])
def test_nrrd_spaces_are_honoured(tmp_path: Path, space: str, signs: tuple[int, int, int]) -> None:
    path = edited(save(tmp_path / "a.nrrd", voxels(), np.eye(4)), "left-posterior-superior", space)
    text = path.read_bytes().split(b"\n\n")[0].decode()
    stored = np.array([float(v) for v in text.split("space directions: (")[1].split(")")[0].split(",")])
    volume = read_itk(path)
    np.testing.assert_allclose(volume.affine[:3, 0], stored * signs, atol=1e-9)
    assert volume.geometry.orientation_known


def test_without_a_space_or_a_matrix_the_orientation_is_unknown(tmp_path: Path) -> None:
    plain = edited(save(tmp_path / "a.mha", voxels()), "TransformMatrix", "Comment")
    assert codes(plain) == ["unknown_orientation"]
    nrrd = edited(save(tmp_path / "a.nrrd", voxels()), "space: left-posterior-superior\n", "space dimension: 3\n")
    assert codes(nrrd) == ["unknown_orientation"]


def test_big_endian_nan_and_padding_are_treated_as_in_nifti(tmp_path: Path) -> None:
    data = voxels(np.float32)
    data[0, 0, 0], data[1, 0, 0] = np.nan, -3024
    path = edited(save(tmp_path / "a.nrrd", data), "endian: little", "endian: big")
    head, _, body = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head + b"\n\n" + np.frombuffer(body, "<f4").astype(">f4").tobytes())
    volume = read_itk(path)
    assert list(volume.hu[:2, 0, 0]) == [-1024, -1024]
    np.testing.assert_array_equal(volume.hu[2:], data[2:])
    assert [item.code for item in volume.passport.reasons] == ["nan_voxels"]
    assert volume.passport.study["padding_voxels"] == 1


@pytest.mark.parametrize("encoding", ["text", "bzip2", "hex"])
def test_rare_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    data = voxels()
    head, _, body = save(tmp_path / "a.nrrd", data).read_bytes().partition(b"\n\n")
    stored = {
        "text": " ".join(str(value) for value in data.ravel(order="F")).encode(),
        "bzip2": bz2.compress(body),
        "hex": body.hex().encode(),
    }[encoding]
    (tmp_path / "a.nrrd").write_bytes(
        head.replace(b"encoding: raw", f"encoding: {encoding}".encode()) + b"\n\n" + stored
    )
    np.testing.assert_array_equal(read_itk(tmp_path / "a.nrrd").hu, data)
    content = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(content[: len(content) - len(stored) // 2])
    assert refusal(tmp_path / "a.nrrd") in {"truncated", "unreadable"}


def test_skips_before_the_voxels_are_honoured(tmp_path: Path) -> None:
    data = voxels()
    path = save(tmp_path / "a.nhdr", data)
    raw = (tmp_path / "a.raw").read_bytes()
    edited(path, "encoding: raw", "encoding: raw\nbyte skip: 7")
    (tmp_path / "a.raw").write_bytes(b"x" * 7 + raw)
    np.testing.assert_array_equal(read_itk(path).hu, data)
    edited(path, "byte skip: 7", "byte skip: -1")
    np.testing.assert_array_equal(read_itk(path).hu, data)
    meta = save(tmp_path / "b.mhd", data)
    edited(meta, "DimSize", "HeaderSize = -1\nDimSize")
    (tmp_path / "b.raw").write_bytes(b"x" * 9 + raw)
    np.testing.assert_array_equal(read_itk(meta).hu, data)


# --- detached data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
@pytest.mark.parametrize("where", ["../secret.raw", "ABSOLUTE", "sub/../../secret.raw", "link.raw", "..\\secret.raw"])
def test_data_outside_the_folder_are_refused(tmp_path: Path, name: str, where: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(2000))
    (folder / "link.raw").symlink_to(secret)
    path = edited(save(folder / name, voxels()), "a.raw", where.replace("ABSOLUTE", str(secret)))
    assert refusal(path) == "archive_unsafe"


@pytest.mark.parametrize(
    ("first", "second"), [("ElementDataFile = LIST", "../b.raw"), ("ElementDataFile = ../%d.raw 1 4 1", "")]
)
def test_lists_and_patterns_outside_the_folder_are_refused(tmp_path: Path, first: str, second: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    path = edited(save(folder / "a.mhd", voxels()), "ElementDataFile = a.raw", f"{first}\na.raw\n{second}")
    assert refusal(path) == "archive_unsafe"


def test_one_file_per_slice_is_read_and_a_short_one_is_truncated(tmp_path: Path) -> None:
    data = voxels()
    path = edited(save(tmp_path / "a.mhd", data), "ElementDataFile = a.raw", "ElementDataFile = s%03d.raw 1 4 1")
    for k in range(4):
        (tmp_path / f"s{k + 1:03d}.raw").write_bytes(data[..., k].tobytes(order="F"))
    np.testing.assert_array_equal(read_itk(path).hu, data)
    (tmp_path / "s003.raw").write_bytes(b"12")
    assert refusal(path) == "truncated"
    (tmp_path / "s003.raw").unlink()
    assert refusal(path) == "unreadable"


def test_endless_lists_of_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mhd", voxels())
    edited(path, "ElementDataFile = a.raw", "ElementDataFile = s%03d.raw 1 999999999999 1")
    assert refusal(path) == "unreadable"
    edited(path, "s%03d.raw 1 999999999999 1", "%s%n.raw 1 4 1")
    assert refusal(path) == "unreadable"


# --- odd shapes ------------------------------------------------------------------------------------------------------


def test_vectors_and_colours_are_refused(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    for name in ("a.mha", "a.nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
        assert refusal(tmp_path / name) == "colour"


def four_dimensional(path: Path, data: np.ndarray, *, first: bool) -> Path:
    """NRRD as 3D Slicer writes sequences: a list axis before or behind the axes in space."""
    space = ["(-1,0,0)", "(0,-1,0)", "(0,0,2)"]
    kinds = ["domain"] * 3
    place = 0 if first else 3
    space.insert(place, "none")
    kinds.insert(place, "list")
    stored = np.moveaxis(data, 3, place)
    lines = [
        "NRRD0005",
        "type: int16",
        "dimension: 4",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in stored.shape),
        "space directions: " + " ".join(space),
        "kinds: " + " ".join(kinds),
        "endian: little",
        "encoding: gzip",
        "space origin: (1,2,3)",
    ]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(stored.tobytes(order="F")))
    return path


@pytest.mark.parametrize("first", [True, False], ids=["interleaved", "one after another"])
def test_of_several_volumes_the_first_is_shown_and_models_refuse(tmp_path: Path, first: bool) -> None:
    data = voxels(shape=(*SHAPE, 3))
    volume = read_itk(four_dimensional(tmp_path / "a.nrrd", data, first=first))
    np.testing.assert_array_equal(volume.hu, data[..., 0])
    assert volume.geometry.axis_codes == ("R", "A", "S")
    np.testing.assert_allclose(volume.affine[:3, 3], (-1, -2, 3))
    (found,) = volume.passport.reasons
    assert (found.code, found.value, volume.passport.analyse) == ("four_d", 3, "refuse")


def test_a_plane_is_a_single_slice(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels(shape=(5, 6))), str(tmp_path / "a.mha"))
    assert "single_slice" in codes(tmp_path / "a.mha")
    assert codes(save(tmp_path / "b.nrrd", voxels(shape=(6, 5, 1)))) == ["single_slice"]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True], ids=["raw", "compressed"])
@pytest.mark.parametrize(("name", "data"), [("a.mha", "a.mha"), ("a.mhd", ""), ("a.nrrd", "a.nrrd"), ("a.nhdr", "")])
def test_cut_files_are_truncated(tmp_path: Path, name: str, data: str, compress: bool) -> None:
    path = save(tmp_path / name, voxels(shape=(30, 30, 10)), compress=compress)
    victim = tmp_path / data if data else next(file for file in tmp_path.iterdir() if file != path)
    content = victim.read_bytes()
    for keep in (0.95, 0.6):
        victim.write_bytes(content[: int(len(content) * keep)])
        assert refusal(path) == "truncated"


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_header_cut_short_is_truncated(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, voxels())
    path.write_bytes(path.read_bytes()[:120])
    assert refusal(path) == "truncated"


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("a.mha", "DimSize = 6 5 4", "DimSize = 60000 60000 60000", "too_large"),
        ("a.nrrd", "sizes: 6 5 4", "sizes: 60000 60000 60000", "too_large"),
        ("a.mha", "DimSize = 6 5 4", "DimSize = 1000 1000 1000", "truncated"),
        ("a.nrrd", "sizes: 6 5 4", "sizes: 6 -5 4", "unreadable"),
        ("a.nrrd", "sizes: 6 5 4", "sizes: 6 5", "unreadable"),
        ("a.mha", "DimSize = 6 5 4", "DimSize = six 5 4", "unreadable"),
        ("a.mha", "MET_SHORT", "MET_STRANGE", "unreadable"),
        ("a.nrrd", "type: short", "type: block", "unreadable"),
        ("a.nrrd", "encoding: raw", "encoded: raw", "unreadable"),
        ("a.mha", "ElementSpacing = ", "ElementSpacing = 0 ", "singular_affine"),
        ("a.mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 1 0 0 1 0 0 0 0 1", "singular_affine"),
        ("a.nrrd", "(0,0,2)", "(0,0,nan)", "singular_affine"),
        ("a.nrrd", "(0,0,2)", "(0,0,0)", "singular_affine"),
        ("a.mha", "NDims = 3", "NDims = 6", "unreadable"),
    ],
)
def test_damaged_headers_are_refused_with_their_code(tmp_path: Path, name: str, old: str, new: str, code: str) -> None:
    assert refusal(edited(save(tmp_path / name, voxels()), old, new)) == code


def test_files_that_are_not_itk(tmp_path: Path) -> None:
    (tmp_path / "empty.mha").write_bytes(b"")
    (tmp_path / "text.mha").write_bytes(b"no image " * 100)
    assert refusal(tmp_path / "empty.mha") == "empty"
    assert refusal(tmp_path / "text.mha") == "not_an_image"
    assert refusal(tmp_path / "missing.mha") == "unreadable"
    assert not is_itk(tmp_path / "text.mha")
    assert not is_itk(tmp_path / "missing.mha")
    assert is_itk(save(tmp_path / "a.nrrd", voxels()))


def test_a_compression_bomb_stops_at_the_declared_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = voxels()
    head, _, body = save(tmp_path / "a.nrrd", data, compress=True).read_bytes().partition(b"\n\n")
    bomb = gzip.compress(gzip.decompress(body) + bytes(64 << 20), 1)
    (tmp_path / "a.nrrd").write_bytes(head + b"\n\n" + bomb)
    monkeypatch.setattr("napari_colipri.ct.readers.stream._SLACK", 1 << 12)
    np.testing.assert_array_equal(read_itk(tmp_path / "a.nrrd").hu, data)


def test_headers_without_end_are_read_to_a_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itk_header, "_MAX_HEADER", 4096)
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"# comment\n" * 5000)
    assert refusal(tmp_path / "a.nrrd") == "truncated"


def test_reading_tells_its_progress_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_BLOCK", 10)
    path = save(tmp_path / "a.mha", voxels(), compress=True)
    seen: list[float] = []
    read_itk(path, lambda fraction, text: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    token = CancelToken()
    with pytest.raises(Cancelled):
        read_itk(path, lambda fraction, text: token.cancel(), token)


# --- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["3DCT_lung.mha", "3DCT_lung_baseline_small.mha", "3DCT_lung_followup_mask.mha"])
def test_real_files_equal_simpleitk(real_data: Path, name: str) -> None:
    path = real_data / "elastix-3dct-lung" / name
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    volume = read_itk(path)
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, lps_to_ras(affine))
    assert volume.passport.verdict == "ok"

"""NIfTI: the values and places of the file, or one typed refusal."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_colipri.ct.geometry import lps_to_ras
from napari_colipri.ct.passport import CODES
from napari_colipri.ct.readers import stream, values
from napari_colipri.ct.readers.nifti import is_nifti, read_nifti
from napari_colipri.errors import Cancelled, StudyRefused
from napari_colipri.progress import CancelToken
from tests.volumes import ORIENTATIONS, affine_for, oblique_affine, ramp, volume_in

SHAPE = (6, 5, 4)
AFFINE = affine_for("LPS", (0.8, 0.8, 2.0), SHAPE)


def voxels(dtype: Any = np.int16, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, **header: Any) -> Path:
    image = nib.Nifti1Image(data, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def codes(path: Path) -> list[str]:
    return [item.code for item in read_nifti(path).passport.reasons]


def refusal(path: Path) -> str:
    with pytest.raises(StudyRefused) as caught:
        read_nifti(path)
    assert caught.value.path == path
    assert str(path) not in caught.value.message
    return caught.value.code


def patched(path: Path, offset: int, layout: str, *numbers: float) -> Path:
    """Overwrite header fields of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *numbers)
    path.write_bytes(content)
    return path


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", ">i4", "<u2", "u1", "i1", "<i8", "<f4", ">f4", "<f8", ">f8"])
def test_values_come_back_as_stored(tmp_path: Path, name: str, dtype: str) -> None:
    data = (voxels() % 100).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(data, AFFINE, header), tmp_path / name)
    volume = read_nifti(tmp_path / name)
    np.testing.assert_array_equal(volume.hu, data.astype(np.float64))
    assert volume.hu.dtype == (np.float32 if "f" in dtype else np.int16)
    assert volume.hu.dtype.isnative
    assert not volume.hu.flags.writeable
    assert volume.passport.verdict == "ok"
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        (np.uint16, 1.0, -1024.0, np.int16),
        (np.int16, 2.0, -10.0, np.int16),
        (np.uint8, 7.5, -1024.0, np.float32),
        (np.int16, 1.0, 0.25, np.float32),
        (np.float32, 2.0, 1.0, np.float32),
        (np.int16, 0.0, 5.0, np.int16),
        (np.int16, np.nan, 5.0, np.int16),
    ],
)
def test_rescale_is_applied_and_integers_stay_integers(
    tmp_path: Path, dtype: Any, slope: float, intercept: float, expected: Any
) -> None:
    data = (np.abs(voxels()) % 200).astype(dtype)
    path = patched(save(tmp_path / "a.nii", data), 112, "<ff", slope, intercept)
    volume = read_nifti(path)
    ignored = slope == 0 or np.isnan(slope)
    wanted = data.astype(np.float64) if ignored else data.astype(np.float64) * slope + intercept
    assert volume.hu.dtype == expected
    np.testing.assert_allclose(volume.hu, wanted, rtol=1e-6)


def test_integers_beyond_int16_become_float32_from_first_to_last_voxel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "_BLOCK", 17)
    data = voxels(np.int32)
    data[3, 3, 3] = 70_000
    volume = read_nifti(save(tmp_path / "a.nii", data))
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, data)
    stored = np.abs(voxels())
    wide = read_nifti(patched(save(tmp_path / "b.nii", stored), 112, "<ff", 100.0, 0.0))
    assert wide.hu.dtype == np.float32
    np.testing.assert_array_equal(wide.hu, stored.astype(np.float32) * 100)


def test_voxels_without_a_number_become_air_and_are_counted(tmp_path: Path) -> None:
    data = voxels(np.float32)
    data[0, 0, 0], data[1, 1, 1], data[2, 2, 2] = np.nan, np.inf, -np.inf
    path = save(tmp_path / "a.nii", data)
    volume = read_nifti(path)
    assert [volume.hu[i, i, i] for i in range(3)] == [-1024] * 3
    (found,) = volume.passport.reasons
    assert (found.code, found.value) == ("nan_voxels", 3)


def test_padding_outside_the_reconstruction_circle_is_air_and_real_noise_is_kept(tmp_path: Path) -> None:
    data = voxels()
    data[0, 0, :3] = -3024, -2000, -1500
    data[0, 1, 0] = -1255
    volume = read_nifti(save(tmp_path / "a.nii", data))
    assert list(volume.hu[0, 0, :3]) == [-1024] * 3
    assert volume.hu[0, 1, 0] == -1255
    assert volume.passport.study["padding_voxels"] == 3


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_BLOCK", 7)
    for dtype in (np.int16, np.uint16, np.float64):
        data = np.abs(voxels()).astype(dtype)
        np.testing.assert_array_equal(read_nifti(save(tmp_path / "a.nii.gz", data)).hu, data)


def test_nifti2_and_several_gzip_members_are_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(voxels(), AFFINE), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "two.nii.gz").hu, voxels())
    content = save(tmp_path / "a.nii", voxels()).read_bytes()
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    np.testing.assert_array_equal(read_nifti(tmp_path / "members.nii.gz").hu, voxels())


def test_bytes_decide_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", voxels())
    (tmp_path / "a.nii.gz").rename(tmp_path / "scan.dat")
    save(tmp_path / "b.nii", voxels())
    (tmp_path / "b.nii").rename(tmp_path / "b.nii.gz")
    for name in ("scan.dat", "b.nii.gz"):
        assert is_nifti(tmp_path / name)
        np.testing.assert_array_equal(read_nifti(tmp_path / name).hu, voxels())
    (tmp_path / "text.nii").write_text("hello")
    assert not is_nifti(tmp_path / "text.nii")
    assert not is_nifti(tmp_path / "missing.nii")


def test_without_isal_the_standard_library_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii.gz", voxels())
    monkeypatch.setitem(__import__("sys").modules, "isal", None)
    np.testing.assert_array_equal(read_nifti(path).hu, voxels())
    path.write_bytes(path.read_bytes()[:100])
    assert refusal(path) == "truncated"


# --- place -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ORIENTATIONS, ids="".join)
def test_every_orientation_keeps_hu_and_place(tmp_path: Path, axes: tuple[str, str, str]) -> None:
    written = volume_in(axes)
    volume = read_nifti(save(tmp_path / "a.nii", np.asarray(written.hu), written.affine))
    assert volume.geometry.axis_codes == axes
    np.testing.assert_array_equal(volume.hu, written.hu)
    np.testing.assert_allclose(volume.affine, written.affine, atol=1e-5)
    np.testing.assert_allclose(volume.hu[1, 2, 3], ramp(volume.affine[:3] @ [1, 2, 3, 1]), atol=1e-3)


def test_the_sform_wins_and_a_differing_qform_is_said(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(oblique_affine(30, spacing_mm=(0.8, 0.8, 2.0), shape=SHAPE), 1)
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    (found,) = volume.passport.reasons
    assert found.code == "form_mismatch"
    assert "sform is used" in found.message
    assert "mm" in found.message


def test_the_qform_is_used_where_it_alone_has_a_code(tmp_path: Path) -> None:
    wanted = oblique_affine(30, spacing_mm=(0.8, 0.8, 2.0), shape=SHAPE)
    image = nib.Nifti1Image(voxels(), wanted)
    image.set_qform(wanted, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.affine, wanted, atol=1e-4)
    assert volume.passport.study["form"] == "qform"
    assert [item.code for item in volume.passport.reasons] == ["oblique"]


def test_no_code_means_unknown_orientation(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), None)
    image.header["pixdim"][1:4] = 0.8, 0.8, 2.0
    nib.save(image, tmp_path / "a.nii")
    patched(tmp_path / "a.nii", 252, "<hh", 0, 0)
    volume = read_nifti(tmp_path / "a.nii")
    assert not volume.geometry.orientation_known
    assert codes(tmp_path / "a.nii") == ["unknown_orientation"]
    assert volume.geometry.spacing_mm == pytest.approx((0.8, 0.8, 2.0))


def test_metres_are_honoured_only_where_they_make_sense(tmp_path: Path) -> None:
    metres = AFFINE.copy()
    metres[:3] /= 1000
    path = save(tmp_path / "a.nii", voxels(), metres, xyzt_units=1)
    assert read_nifti(path).geometry.spacing_mm == pytest.approx((0.8, 0.8, 2.0), rel=1e-4)
    wrong = save(tmp_path / "b.nii", voxels(), AFFINE, xyzt_units=1)
    assert read_nifti(wrong).geometry.spacing_mm == pytest.approx((0.8, 0.8, 2.0), rel=1e-4)


# --- odd shapes ------------------------------------------------------------------------------------------------------


def test_of_several_volumes_the_first_is_shown_and_models_refuse(tmp_path: Path) -> None:
    data = voxels(shape=(*SHAPE, 3))
    volume = read_nifti(save(tmp_path / "a.nii.gz", data))
    np.testing.assert_array_equal(volume.hu, data[..., 0])
    (found,) = volume.passport.reasons
    assert (found.code, found.value) == ("four_d", 3)
    assert (volume.passport.display, volume.passport.analyse) == ("warn", "refuse")
    assert codes(save(tmp_path / "b.nii", data[..., :1])) == []


def test_a_plane_is_a_single_slice(tmp_path: Path) -> None:
    for shape in ((6, 5), (6, 5, 1), (1, 6, 5)):
        volume = read_nifti(save(tmp_path / "a.nii", voxels(shape=shape)))
        assert [item.code for item in volume.passport.reasons] == ["single_slice"]
        assert volume.hu.ndim == 3
        assert volume.passport.analyse == "refuse"


def test_rows_and_vectors_are_no_volume(tmp_path: Path) -> None:
    assert refusal(save(tmp_path / "a.nii", voxels(shape=(9,)))) == "not_a_volume"
    assert refusal(save(tmp_path / "b.nii", voxels(shape=(1, 9, 1)))) == "not_a_volume"
    assert refusal(save(tmp_path / "c.nii", voxels(np.float32, (4, 4, 4, 1, 3)))) == "not_a_volume"


def test_colour_and_complex_are_refused(tmp_path: Path) -> None:
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refusal(save(tmp_path / "a.nii", colour)) == "colour"
    assert refusal(save(tmp_path / "b.nii", voxels(np.complex64))) == "not_ct"


# --- damage ----------------------------------------------------------------------------------------------------------

DAMAGE: dict[str, tuple[int, str, tuple[float, ...], str]] = {
    "negative size": (40, "<4h", (3, -6, 5, 4), "unreadable"),
    "size zero": (40, "<4h", (3, 0, 5, 4), "unreadable"),
    "huge sizes": (40, "<4h", (3, 32767, 32767, 32767), "too_large"),
    "more than is there": (40, "<4h", (3, 500, 500, 500), "truncated"),
    "nine dimensions": (40, "<h", (9,), "unreadable"),
    "unknown type": (70, "<h", (999,), "unreadable"),
    "bits": (70, "<h", (1,), "unreadable"),
    "long double": (70, "<h", (1536,), "unreadable"),
    "NaN in the sform": (280, "<f", (np.nan,), "singular_affine"),
    "sform without extent": (280, "<12f", (0.0,) * 12, "singular_affine"),
    "flat sform": (280, "<12f", (1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0), "singular_affine"),
    "infinite origin": (292, "<f", (np.inf,), "singular_affine"),
    "infinite intercept": (112, "<ff", (1.0, np.inf), "unreadable"),
    "voxels at NaN": (108, "<f", (np.nan,), "unreadable"),
    "voxels before the file": (108, "<f", (-1e6,), "unreadable"),
    "voxels behind the file": (108, "<f", (1e6,), "truncated"),
    "half of a pair": (344, "<4s", (b"ni1\x00",), "unreadable"),  # type: ignore[dict-item]
    "no magic": (344, "<4s", (b"none",), "not_an_image"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_headers_are_refused_with_their_code(tmp_path: Path, name: str) -> None:
    offset, layout, numbers, code = DAMAGE[name]
    assert refusal(patched(save(tmp_path / "a.nii", voxels()), offset, layout, *numbers)) == code


def test_zero_spacing_and_impossible_rotations_are_refused_where_they_count(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "zero.nii")
    nib.save(image, tmp_path / "quaternion.nii")
    assert refusal(patched(tmp_path / "zero.nii", 80, "<f", 0.0)) == "singular_affine"
    assert refusal(patched(tmp_path / "quaternion.nii", 256, "<fff", 3.0, 3.0, 3.0)) == "singular_affine"
    good = save(tmp_path / "sform.nii", voxels())
    assert codes(patched(good, 80, "<f", 0.0)) == []  # the sform places the voxels


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_changed_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = save(tmp_path_factory.getbasetemp() / "changed.nii", voxels())
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place] = value
    path.write_bytes(content)
    try:
        volume = read_nifti(path)
    except StudyRefused as error:
        assert error.code in CODES  # noqa: PT017
    else:
        assert np.isfinite(volume.hu).all()
        assert np.isfinite(volume.affine).all()


def test_an_unused_qform_may_be_damaged_without_a_warning(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.set_qform(AFFINE, 1)
    nib.save(image, tmp_path / "a.nii")
    for size in (np.inf, 3e38, np.nan):
        assert codes(patched(tmp_path / "a.nii", 80, "<fff", size, size, size)) in ([], ["form_mismatch"])


def test_files_that_are_not_nifti(tmp_path: Path) -> None:
    for name, content, code in (
        ("empty.nii.gz", b"", "empty"),
        ("text.nii.gz", b"not an image", "not_an_image"),
        ("text.nii", b"no image " * 100, "not_an_image"),
        ("zipped-text.nii.gz", gzip.compress(b"no image " * 100), "not_an_image"),
        ("half-magic.nii.gz", b"\x1f\x8b", "truncated"),
        ("not-gzip.nii.gz", b"\x1f\x8b" + bytes(range(200)) * 4, "unreadable"),
    ):
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name) == code, name
    assert refusal(tmp_path / "missing.nii") == "unreadable"
    assert refusal(tmp_path) == "unreadable"


@pytest.mark.parametrize("keep", [0.001, 0.3, 0.9, 0.999])
def test_cut_files_are_truncated(tmp_path: Path, keep: float) -> None:
    data = voxels(shape=(40, 40, 20))
    for name in ("a.nii", "a.nii.gz"):
        content = save(tmp_path / name, data).read_bytes()
        (tmp_path / name).write_bytes(content[: max(400 if name == "a.nii" else 15, int(len(content) * keep))])
        assert refusal(tmp_path / name) == "truncated"


def test_a_changed_byte_in_gzip_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", voxels(shape=(40, 40, 20)))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # the checksum behind the voxels
    path.write_bytes(content)
    assert refusal(path) in {"unreadable", "truncated"}


def test_a_compression_bomb_stops_at_the_declared_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = save(tmp_path / "a.nii", voxels()).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(header + bytes(64 << 20), 1))
    inflated = 0
    gunzip: Callable[[Any], Any] = stream._gunzip

    class Counting(io.RawIOBase):
        def __init__(self, raw: Any) -> None:
            self.inner = gunzip(raw)

        def readinto(self, buffer: Any) -> int:
            nonlocal inflated
            count = int(self.inner.readinto(buffer))
            inflated += count
            return count

    monkeypatch.setattr(stream, "_gunzip", Counting)
    np.testing.assert_array_equal(read_nifti(tmp_path / "bomb.nii.gz").hu, voxels())
    assert inflated <= len(header) + (1 << 20)


def test_a_small_file_that_announces_gigabytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = patched(save(tmp_path / "a.nii", voxels()), 40, "<4h", 3, 2000, 1000, 1000)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert refusal(tmp_path / "b.nii.gz") == "truncated"


# --- progress --------------------------------------------------------------------------------------------------------


def test_reading_tells_its_progress_and_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_BLOCK", 10)
    path = save(tmp_path / "a.nii.gz", voxels())
    seen: list[float] = []
    read_nifti(path, lambda fraction, text: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    token = CancelToken()
    with pytest.raises(Cancelled):
        read_nifti(path, lambda fraction, text: token.cancel(), token)


# --- real files ------------------------------------------------------------------------------------------------------

VERDICTS: dict[str, tuple[str, str]] = {
    "nifti/shear.nii.gz": ("warn", "sheared"),
    "nifti-derived/oblique_sheared.nii.gz": ("warn", "sheared"),
    "nifti-derived/axes_flipped_same_anatomy.nii.gz": ("ok", ""),
    "nifti-derived/big_endian.nii": ("ok", ""),
    "nifti-derived/no_form_codes.nii.gz": ("warn", "unknown_orientation"),
    "nifti-derived/single_slice.nii.gz": ("refuse", "single_slice"),
    "nifti-derived/truncated_gzip.nii.gz": ("raise", "truncated"),
    "nifti-derived/truncated_raw.nii": ("raise", "truncated"),
    "nifti-derived/empty_file.nii.gz": ("raise", "empty"),
    "nifti-derived/text_named_nii.nii.gz": ("raise", "not_an_image"),
}


def test_every_bad_input_has_an_expected_verdict(real_data: Path) -> None:
    folder = real_data / "bad-inputs"
    there = {str(path.relative_to(folder)) for path in folder.glob("nifti*/*.nii*")}
    assert there == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_bad_inputs_end_in_their_verdict(real_data: Path, name: str) -> None:
    verdict, code = VERDICTS[name]
    path = real_data / "bad-inputs" / name
    if verdict == "raise":
        assert refusal(path) == code
        return
    passport = read_nifti(path).passport
    assert passport.analyse == verdict
    assert not code or code in [item.code for item in passport.reasons]


def by_simpleitk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), lps_to_ras(affine)


@pytest.mark.parametrize(
    "name",
    [
        "lidc-0314/lidc-0314.nii.gz",
        "lungfcp-01-0001/lungfcp-01-0001.nii.gz",
        "totalsegmentator-example/example_ct.nii.gz",
        "bad-inputs/nifti-derived/big_endian.nii",
        "bad-inputs/nifti-derived/axes_flipped_same_anatomy.nii.gz",
    ],
)
def test_real_files_equal_simpleitk_bit_for_bit(real_data: Path, name: str) -> None:
    wanted, affine = by_simpleitk(real_data / name)
    volume = read_nifti(real_data / name)
    np.testing.assert_array_equal(volume.hu, wanted)
    assert volume.hu.dtype == np.int16
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)


def test_flipped_storage_is_the_same_anatomy_in_the_same_place(real_data: Path) -> None:
    folder = real_data / "bad-inputs/nifti-derived"
    flipped, source = read_nifti(folder / "axes_flipped_same_anatomy.nii.gz"), read_nifti(folder / "big_endian.nii")
    np.testing.assert_array_equal(flipped.hu[::-1, ::-1], source.hu)
    np.testing.assert_allclose(flipped.affine @ [56, 77, 0, 1], source.affine @ [0, 0, 0, 1], atol=1e-3)

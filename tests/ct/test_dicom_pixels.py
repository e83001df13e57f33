"""Stored values to HU: per slice, exactly, whatever the transfer syntax and the bits around them."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from napari_colipri.ct.readers import dicom_pixels
from napari_colipri.ct.readers.dicom import read_dicom
from napari_colipri.ct.readers.dicom_codestream import declared_size
from napari_colipri.errors import Cancelled, StudyRefused
from napari_colipri.progress import CancelToken
from tests.dicom_files import AXIAL, stored_chest, write_image, write_series


def codes(path: Path) -> list[str]:
    return [item.code for item in read_dicom(path).passport.reasons]


def hu_of(stored: np.ndarray, intercept: int = -1024) -> np.ndarray:
    return (stored.astype(np.int32) + intercept).transpose(2, 1, 0)


def setter(**values: Any) -> Any:
    def edit(image: Dataset, _: int) -> None:
        for keyword, value in values.items():
            setattr(image, keyword, value)

    return edit


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_lossless_syntaxes_give_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    for path in write_series(tmp_path):
        image = dcmread(path)
        if syntax == RLELossless:
            image.compress(RLELossless)
        write_image(image, path, syntax)
    volume = read_dicom(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))
    assert volume.passport.reasons == ()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_jpeg_family_gives_the_same_voxels(tmp_path: Path, syntax: str) -> None:
    # the encoders want unsigned values of a stated depth
    stored = stored_chest().astype(np.uint16)
    for path in write_series(tmp_path, stored, edit=setter(BitsStored=12, HighBit=11)):
        image = dcmread(path)
        try:
            image.compress(syntax)
        except RuntimeError:
            pytest.skip("no encoder for this syntax is installed here")
        write_image(image, path, syntax)
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored))


def test_big_endian_is_turned(tmp_path: Path) -> None:
    def turned(image: Dataset, k: int) -> None:
        image.PixelData = stored_chest()[k].astype(">i2").tobytes()

    write_series(tmp_path, syntax=ExplicitVRBigEndian, edit=turned)
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored_chest()))


def test_pixels_that_are_not_compressed_although_the_header_says_so_are_read(tmp_path: Path) -> None:
    for path in write_series(tmp_path):
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored_chest()))


def test_slope_and_intercept_are_those_of_each_slice(tmp_path: Path) -> None:
    stored = stored_chest()

    def edit(image: Dataset, k: int) -> None:
        image.RescaleSlope, image.RescaleIntercept = 1 + k % 2, -1024 - 10 * k

    write_series(tmp_path, stored, edit=edit)
    volume = read_dicom(tmp_path)
    k = np.arange(len(stored))[:, None, None]
    expected = stored.astype(np.int32) * (1 + k % 2) - 1024 - 10 * k
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, expected.transpose(2, 1, 0))


def test_a_decimal_slope_in_one_slice_makes_the_volume_float32(tmp_path: Path) -> None:
    stored = stored_chest()

    def edit(image: Dataset, k: int) -> None:
        image.RescaleSlope = "1.25" if k == 3 else "1"

    write_series(tmp_path, stored, edit=edit)
    volume = read_dicom(tmp_path)
    slopes = np.where(np.arange(len(stored)) == 3, 1.25, 1.0)[:, None, None]
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, (stored * slopes - 1024).astype(np.float32).transpose(2, 1, 0))


def test_a_missing_rescale_is_said(tmp_path: Path) -> None:
    def edit(image: Dataset, _: int) -> None:
        del image.RescaleSlope, image.RescaleIntercept

    write_series(tmp_path, stored_chest() - 1024, edit=edit)
    volume = read_dicom(tmp_path)
    assert [item.code for item in volume.passport.reasons] == ["missing_tags"]
    assert volume.passport.reasons[0].value == "RescaleSlope, RescaleIntercept"
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))


def test_values_beyond_int16_are_kept_as_float32(tmp_path: Path) -> None:
    stored = stored_chest().astype(np.uint16)
    stored[4, 20, 20] = 60000
    write_series(tmp_path, stored)
    volume = read_dicom(tmp_path)
    assert volume.hu.dtype == np.float32
    assert volume.hu[20, 20, 4] == 60000 - 1024


def test_unsigned_values_above_32767_that_fit_after_the_intercept_stay_int16(tmp_path: Path) -> None:
    stored = stored_chest().astype(np.uint16) + 32000 - 1024
    write_series(tmp_path, stored, edit=setter(RescaleIntercept=-32000))
    volume = read_dicom(tmp_path)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))


@pytest.mark.parametrize("padding", [-2000, 63536])
def test_padding_outside_the_circle_becomes_air(tmp_path: Path, padding: int) -> None:
    stored = stored_chest()
    stored[:, :3, :3] = -2000

    def edit(image: Dataset, _: int) -> None:
        image.add_new(0x00280120, "SS" if padding < 0 else "US", padding)

    write_series(tmp_path, stored, edit=edit)
    volume = read_dicom(tmp_path)
    assert (volume.hu[:3, :3] == -1024).all()
    np.testing.assert_array_equal(volume.hu[3:], hu_of(stored_chest())[3:])


def test_a_padding_value_within_tissue_is_not_believed(tmp_path: Path) -> None:
    stored = stored_chest() - 1024

    def edit(image: Dataset, _: int) -> None:
        image.RescaleIntercept = 0
        image.add_new(0x00280120, "SS", 40)

    write_series(tmp_path, stored, edit=edit)
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored, 0))


def test_overlay_bits_above_bits_stored_are_cleared(tmp_path: Path) -> None:
    stored = stored_chest().astype(np.uint16)
    marked = stored.copy()
    marked[:, 5:10, 5:10] |= 0x8000
    write_series(tmp_path, marked, edit=setter(BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored))


def test_signed_values_in_twelve_bits_get_their_sign_back(tmp_path: Path) -> None:
    stored = stored_chest() - 1024
    write_series(tmp_path, stored & 0x0FFF, edit=setter(BitsStored=12, HighBit=11, RescaleIntercept=0))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored, 0))


def test_a_series_of_which_every_file_is_cut_short_is_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StudyRefused) as caught:
        read_dicom(tmp_path)
    assert caught.value.code == "truncated"


def test_a_damaged_compressed_slice_is_left_out_and_the_rest_keeps_its_place(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    for k, path in enumerate(paths):
        image = dcmread(path)
        image.compress(RLELossless)
        if k == 6:
            image.PixelData = encapsulate([b"\1\2\3\4"])
        write_image(image, path, RLELossless)
    volume = read_dicom(tmp_path)
    assert [item.code for item in volume.passport.reasons] == ["skipped_files", "missing_slices"]
    np.testing.assert_array_equal(volume.hu, np.delete(hu_of(stored_chest()), 6, axis=2))


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">IIII", 60000, 50000, 0, 0) + b"\0" * 20, (50000, 60000)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc3\0\x0b\x10" + struct.pack(">HH", 512, 640) + b"\0" * 20, (512, 640)),
        (b"\xff\xd8\xff\xf7\0\x0b\x10" + struct.pack(">HH", 512, 640) + b"\0" * 20, (512, 640)),
        (b"\xff\xd8\xff", None),
        (b"\0" * 64, None),
        (b"", None),
    ],
)
def test_the_size_that_a_stream_declares_is_read_without_decoding(stream: bytes, size: tuple[int, int] | None) -> None:
    assert declared_size(stream) == size


def test_a_stream_larger_than_its_header_says_is_not_decoded(tmp_path: Path) -> None:
    path = write_series(tmp_path, stored_chest(1))[0]
    image = dcmread(path)
    bomb = b"\xff\x4f\xff\x51\0\x29\0\0" + struct.pack(">IIII", 60000, 60000, 0, 0) + b"\0" * 200
    image.PixelData = encapsulate([bomb])
    image["PixelData"].is_undefined_length = True
    write_image(image, path, JPEG2000Lossless)
    with pytest.raises(StudyRefused) as caught:
        read_dicom(path)
    assert caught.value.code == "truncated"


def test_several_frames_without_places_are_not_a_volume(tmp_path: Path) -> None:
    path = write_series(tmp_path, stored_chest(1))[0]
    image = dcmread(path)
    image.NumberOfFrames = 3
    image.PixelData = stored_chest(3).tobytes()
    write_image(image, path)
    with pytest.raises(StudyRefused) as caught:
        read_dicom(path)
    assert caught.value.code == "not_a_volume"


def test_a_missing_codec_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        is_available = False
        available_plugins = ()

    monkeypatch.setattr("pydicom.pixels.decoders.base.get_decoder", lambda _: Absent())
    for path in write_series(tmp_path):
        image = dcmread(path)
        image.compress(RLELossless)
        write_image(image, path, RLELossless)
    with pytest.raises(StudyRefused, match=r"RLE Lossless \(1\.2\.840\.10008\.1\.2\.5\).*dicom-codecs") as caught:
        read_dicom(tmp_path)
    assert caught.value.code == "unsupported_syntax"


def test_a_deflated_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = write_series(tmp_path, stored_chest(1))[0]
    image = dcmread(path)
    image.Rows = image.Columns = 8192
    image.PixelData = b"\0" * (2 * 8192 * 8192)
    write_image(image, path, DeflatedExplicitVRLittleEndian)
    del image
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(StudyRefused) as caught:
            read_dicom(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code == "too_large"


def test_a_damaged_deflate_stream_is_truncated(tmp_path: Path) -> None:
    path = write_series(tmp_path, stored_chest(1))[0]
    write_image(dcmread(path), path, DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(StudyRefused) as caught:
        read_dicom(path)
    assert caught.value.code in ("truncated", "not_an_image")


def test_a_header_that_announces_absurd_sizes_is_refused(tmp_path: Path) -> None:
    path = write_series(tmp_path, stored_chest(1))[0]
    image = dcmread(path)
    image.compress(RLELossless)
    image.Rows = image.Columns = 65535
    write_image(image, path, RLELossless)
    with pytest.raises(StudyRefused) as caught:
        read_dicom(path)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"LossyImageCompression": "01"}, "lossy"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_text"),
        ({"RescaleType": "HU"}, None),
        ({"RescaleType": "US"}, None),
        ({"RescaleType": "Houndsfield Unit"}, None),
        ({"RescaleType": "Z_EFF"}, "not_hu"),
        ({"RescaleType": "US", "ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "MTT"]}, "not_hu"),
        ({"Modality": ""}, "missing_tags"),
    ],
)
def test_what_the_header_says_of_the_values_is_passed_on(
    tmp_path: Path, change: dict[str, Any], code: str | None
) -> None:
    write_series(tmp_path, edit=setter(**change))
    assert codes(tmp_path) == ([] if code is None else [code])


def test_cancel_stops_between_slices(tmp_path: Path) -> None:
    write_series(tmp_path)
    token = CancelToken()

    def cancel_when_reading(_: float, said: str) -> None:
        if said == "Reading slices":
            token.cancel()

    with pytest.raises(Cancelled):
        read_dicom(tmp_path, progress=cancel_when_reading, cancel=token)


def enhanced(tmp_path: Path, *, groups: int = 6) -> Path:
    """Six frames of a chest in one file, top first, each with its own intercept."""
    path = write_series(tmp_path, stored_chest(1))[0]
    image = dcmread(path)
    planes = stored_chest(6)
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    image.SOPInstanceUID = generate_uid()
    image.NumberOfFrames = 6
    image.PixelData = planes.tobytes()
    for keyword in (
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(image, keyword)
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].PixelSpacing = [8.0, 7.0]
    shared.PixelMeasuresSequence[0].SliceThickness = 3.0
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(groups):
        frame = Dataset()
        frame.PlanePositionSequence = Sequence([Dataset()])
        frame.PlanePositionSequence[0].ImagePositionPatient = [-160.0, -150.0, 30.0 - 3 * k]
        frame.PixelValueTransformationSequence = Sequence([Dataset()])
        frame.PixelValueTransformationSequence[0].RescaleSlope = 1
        frame.PixelValueTransformationSequence[0].RescaleIntercept = -1024 - k
        frame.PixelValueTransformationSequence[0].RescaleType = "HU"
        frames.append(frame)
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return write_image(image, path)


def test_enhanced_multi_frame_takes_geometry_and_rescale_from_its_functional_groups(tmp_path: Path) -> None:
    volume = read_dicom(enhanced(tmp_path))
    k = np.arange(6)[:, None, None]
    expected = (stored_chest(6) - 1024 - k)[::-1]
    np.testing.assert_array_equal(volume.hu, expected.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine[:3, 3], (160, 150, 15))
    np.testing.assert_allclose(volume.geometry.spacing_mm, (7, 8, 3))
    assert volume.passport.reasons == ()


def test_enhanced_multi_frame_with_fewer_groups_than_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyRefused) as caught:
        read_dicom(enhanced(tmp_path, groups=4))
    assert caught.value.code == "truncated"


def test_too_many_voxels_are_refused_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_pixels, "MAX_VOXELS", 1000)
    write_series(tmp_path)
    with pytest.raises(StudyRefused) as caught:
        read_dicom(tmp_path)
    assert caught.value.code == "too_large"

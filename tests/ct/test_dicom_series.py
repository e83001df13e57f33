"""Which files make a volume, in which order, and what is said about those that do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from napari_colipri.ct.geometry import apply, index_to_ras
from napari_colipri.ct.readers.dicom import find_series, read_dicom
from napari_colipri.ct.volume import CTVolume
from napari_colipri.errors import Cancelled, StudyRefused
from napari_colipri.progress import CancelToken
from tests.dicom_files import stored_chest, write_series

OTHER = "1.2.826.0.1.3680043.8.498.3"


def codes(volume: CTVolume) -> list[str]:
    return [item.code for item in volume.passport.reasons]


def said(volume: CTVolume, code: str) -> str:
    return next(item.message for item in volume.passport.reasons if item.code == code)


def refused(path: Path) -> str:
    with pytest.raises(StudyRefused) as caught:
        read_dicom(path)
    assert caught.value.path == path
    return caught.value.code


def hu_of(stored: np.ndarray) -> np.ndarray:
    return (stored.astype(np.int32) - 1024).transpose(2, 1, 0)


def test_slices_are_sorted_along_their_normal_whatever_the_files_are_called(tmp_path: Path) -> None:
    write_series(tmp_path)
    volume = read_dicom(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))
    assert volume.hu.dtype == np.int16
    assert volume.hu.transpose(2, 1, 0).flags.c_contiguous
    assert not volume.hu.flags.writeable
    assert volume.passport.reasons == ()
    assert volume.geometry.axis_codes == ("L", "P", "S")


def test_the_affine_places_columns_rows_and_slices_in_ras_millimetres(tmp_path: Path) -> None:
    write_series(tmp_path)
    affine = read_dicom(tmp_path).affine
    # LPS (-160, -150, -60), 7 mm between columns, 8 mm between rows, 10 mm between slices
    np.testing.assert_allclose(apply(affine, (0, 0, 0)), (160, 150, -60))
    np.testing.assert_allclose(apply(affine, (1, 2, 3)), (160 - 7, 150 - 16, -30))


def test_feet_first_order_of_writing_changes_nothing(tmp_path: Path) -> None:
    down = [(-160.0, -150.0, 50.0 - 10 * k) for k in range(12)]
    write_series(tmp_path, stored_chest()[::-1], positions=down)
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored_chest()))


def test_one_file_opens_the_series_around_it(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    write_series(tmp_path, stored_chest(20), series=OTHER)
    volume = read_dicom(paths[4])
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))
    assert volume.passport.reasons == ()


def test_one_file_alone_is_a_single_slice(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "all")
    alone = tmp_path / "IM0001"
    shutil.copy(paths[0], alone)
    assert read_dicom(alone).hu.shape == (48, 40, 1)


def test_the_largest_of_several_series_is_taken_and_the_choice_is_said(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", stored_chest(20), series=OTHER)
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[2] == 20
    assert codes(volume) == ["other_series"]
    assert "12 images" in said(volume, "other_series")
    assert read_dicom(tmp_path, "1.2.826.0.1.3680043.8.498.2").hu.shape[2] == 12


def test_series_are_listed_with_what_they_are(tmp_path: Path) -> None:
    def localizer(image: Dataset, _: int) -> None:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", stored_chest(2), series=OTHER, edit=localizer)
    found = find_series(tmp_path)
    assert [(info.kind, info.images) for info in found] == [("ct", 12), ("localizer", 2)]


@pytest.mark.parametrize(
    ("kind", "code", "change"),
    [
        ("localizer", "localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("dose or protocol", "not_ct", {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}),
        ("dose or protocol", "not_ct", {"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}),
        ("secondary capture", "not_ct", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        ("another modality", "not_ct", {"Modality": "PT"}),
        ("colour", "colour", {"PhotometricInterpretation": "PALETTE COLOR"}),
    ],
)
def test_images_that_are_no_ct_slices_are_left_out_and_listed(
    tmp_path: Path, kind: str, code: str, change: dict[str, object]
) -> None:
    def edit(image: Dataset, _: int) -> None:
        for keyword, value in change.items():
            setattr(image, keyword, value)

    write_series(tmp_path / "b", stored_chest(2), series=OTHER, edit=edit)
    assert refused(tmp_path) == code
    write_series(tmp_path / "a")
    volume = read_dicom(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))
    assert kind in said(volume, "other_series")


def test_repeated_positions_are_dropped_and_counted(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    shutil.copy(paths[3], tmp_path / "copy-a.dcm")
    shutil.copy(paths[7], tmp_path / "copy-b.dcm")
    volume = read_dicom(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))
    assert codes(volume) == ["duplicate_slices"]
    assert volume.passport.reasons[0].value == 2


def test_a_named_file_is_kept_among_images_at_its_position(tmp_path: Path) -> None:
    first = write_series(tmp_path, stored_chest(1))
    brighter = write_series(tmp_path / "later", stored_chest(1) + 50)[0].rename(tmp_path / "zz.dcm")
    for path, offset in ((first[0], 0), (brighter, 50)):
        np.testing.assert_array_equal(read_dicom(path).hu, hu_of(stored_chest(1) + offset))


def test_of_several_passes_over_the_same_positions_one_is_taken_whole(tmp_path: Path) -> None:
    def numbered(number: int) -> object:
        def edit(image: Dataset, _: int) -> None:
            image.AcquisitionNumber = number

        return edit

    write_series(tmp_path / "a", edit=numbered(1))  # type: ignore[arg-type]
    write_series(tmp_path / "b", stored_chest() + 50, edit=numbered(2))  # type: ignore[arg-type]
    volume = read_dicom(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))
    assert codes(volume) == ["other_series"]


def test_a_missing_slice_is_named_in_mm_and_nothing_is_stretched(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    paths[5].unlink()
    volume = read_dicom(tmp_path)
    assert codes(volume) == ["missing_slices"]
    assert "20.0 mm between slices 5 and 6 of 11" in said(volume, "missing_slices")
    # the slice behind the gap still lies where its header says
    np.testing.assert_allclose(index_to_ras(volume, (0, 0, 5)), (160, 150, 0))
    np.testing.assert_array_equal(volume.hu[..., 5], hu_of(stored_chest())[..., 6])


def test_two_far_blocks_are_split_and_the_larger_is_taken(tmp_path: Path) -> None:
    heights = [10.0 * k for k in range(4)] + [400 + 10.0 * k for k in range(8)]
    write_series(tmp_path, positions=[(0.0, 0.0, z) for z in heights])
    volume = read_dicom(tmp_path)
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()[4:]))
    assert "370 mm apart" in said(volume, "other_series")
    assert volume.geometry.slice_positions_mm is None


def test_uneven_slices_keep_their_true_positions(tmp_path: Path) -> None:
    heights = [0.0, 4, 8, 12, 16, 20, 21.1, 28, 35, 42, 49, 56]
    write_series(tmp_path, positions=[(0.0, 0.0, z) for z in heights])
    volume = read_dicom(tmp_path)
    np.testing.assert_allclose(volume.geometry.slice_positions_mm, heights)
    for k, z in enumerate(heights):
        np.testing.assert_allclose(index_to_ras(volume, (0, 0, k)), (0, 0, z), atol=1e-9)


def test_positions_rounded_to_a_tenth_of_a_mm_are_still_even(tmp_path: Path) -> None:
    write_series(tmp_path, positions=[(0.0, 0.0, round(0.625 * k, 1)) for k in range(12)])
    volume = read_dicom(tmp_path)
    assert volume.geometry.slice_positions_mm is None
    assert volume.geometry.spacing_mm[2] == pytest.approx(0.625, abs=0.01)


@pytest.mark.parametrize("degrees", [-20.0, 5.0, 18.5])
def test_gantry_tilt_is_measured_from_positions_and_kept_in_the_affine(tmp_path: Path, degrees: float) -> None:
    angle = np.deg2rad(degrees)
    tilted = (1.0, 0.0, 0.0, 0.0, np.cos(angle), np.sin(angle))
    positions = [(-160.0, -150.0, 5.0 * k) for k in range(12)]

    def edit(image: Dataset, _: int) -> None:
        image.ImageOrientationPatient = [f"{item:.12f}" for item in tilted]

    write_series(tmp_path, positions=positions, edit=edit)
    volume = read_dicom(tmp_path)
    assert volume.geometry.shear_deg == pytest.approx(abs(degrees), abs=1e-3)
    for k, place in enumerate(positions):
        np.testing.assert_allclose(apply(volume.affine, (0, 0, k)), (160, 150, place[2]), atol=1e-6)


def test_slices_off_a_straight_line_are_not_one_volume(tmp_path: Path) -> None:
    write_series(tmp_path, positions=[(20.0 * (k % 2), 0.0, 10.0 * k) for k in range(12)])
    assert refused(tmp_path) == "not_a_volume"


def test_other_orientations_of_one_series_are_left_out(tmp_path: Path) -> None:
    def coronal(image: Dataset, k: int) -> None:
        if k >= 10:
            image.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(tmp_path, edit=coronal)
    volume = read_dicom(tmp_path)
    assert codes(volume) == ["mixed_orientation"]
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()[:10]))


def test_without_orientation_the_order_is_kept_and_no_side_is_claimed(tmp_path: Path) -> None:
    def edit(image: Dataset, _: int) -> None:
        del image.ImageOrientationPatient

    write_series(tmp_path, edit=edit)
    volume = read_dicom(tmp_path)
    assert not volume.geometry.orientation_known
    assert codes(volume) == ["missing_tags"]
    np.testing.assert_array_equal(volume.hu, hu_of(stored_chest()))


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient"])
def test_no_geometry_is_invented(tmp_path: Path, keyword: str) -> None:
    def edit(image: Dataset, _: int) -> None:
        delattr(image, keyword)

    write_series(tmp_path, edit=edit)
    assert refused(tmp_path) == "not_a_volume"


@pytest.mark.parametrize(
    ("position", "column", "mismatch"),
    [("HFS", 1, False), ("HFP", -1, False), ("HFP", 1, True), ("FFS", 1, False), ("HFDR", 1, True), ("", 1, False)],
)
def test_patient_position_is_held_against_the_affine(
    tmp_path: Path, position: str, column: int, mismatch: bool
) -> None:
    def edit(image: Dataset, _: int) -> None:
        image.PatientPosition = position
        image.ImageOrientationPatient = [column, 0, 0, 0, column, 0]

    write_series(tmp_path, edit=edit)
    assert (codes(read_dicom(tmp_path)) == ["position_mismatch"]) is mismatch


def test_subfolders_a_dicomdir_and_strangers_do_not_disturb(tmp_path: Path) -> None:
    write_series(tmp_path / "DICOM" / "PA0" / "ST0" / "SE0")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "readme.txt").write_text("made by a viewer")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1")
    volume = read_dicom(tmp_path)
    assert volume.hu.shape == (48, 40, 12)
    assert volume.passport.reasons == ()


def test_a_damaged_file_is_left_out_and_counted_and_the_rest_loads(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    whole = paths[5].read_bytes()
    paths[5].write_bytes(whole[: len(whole) // 2])
    paths[11].write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 300)
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[2] == 10
    assert set(codes(volume)) == {"skipped_files", "missing_slices"}
    assert next(item for item in volume.passport.reasons if item.code == "skipped_files").value == 2


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    for path in write_series(tmp_path, edit=lambda image, _: setattr(image, "SpecificCharacterSet", "ISO_IR 100")):
        body = path.read_bytes()
        # group 2 is left out as well: the data set starts at (0008,0005)
        path.write_bytes(body[body.index(b"\x08\x00\x05\x00CS") :])
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, hu_of(stored_chest()))


@pytest.mark.parametrize("content", [b"", b"plain text", b"\0" * 500])
def test_a_folder_without_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert refused(tmp_path) == "not_dicom"


def test_cancel_stops_between_files(tmp_path: Path) -> None:
    write_series(tmp_path)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        read_dicom(tmp_path, cancel=token)


def test_progress_reaches_the_end_without_stepping_back(tmp_path: Path) -> None:
    write_series(tmp_path)
    seen: list[float] = []
    read_dicom(tmp_path, progress=lambda part, _: seen.append(part))
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= 1


def test_the_study_uid_and_series_uid_travel_and_the_patient_does_not(tmp_path: Path) -> None:
    write_series(tmp_path, series=generate_uid())
    source = read_dicom(tmp_path).source
    assert source.study_uid == "1.2.826.0.1.3680043.8.498.1"
    assert (source.age_band, source.sex) == ("60-69", "F")
    assert source.patient_key is not None
    assert len(source.patient_key) == 64

"""A look-up table in the place of slope and intercept is applied where it is whole, and named where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from napari_colipri.ct.open import open_volume
from napari_colipri.ct.readers.dicom import read_dicom
from napari_colipri.ct.resample import AIR_HU
from tests.dicom_files import stored_chest, write_image, write_series

#: Of stored values in tests: 0 to 1300.
FIRST, COUNT = 0, 1300


def table(
    entries: npt.ArrayLike, *, first: int = FIRST, bits: int = 16, kind: str = "HU", vr: str = "US", count: int = -1
) -> Dataset:
    """A table as files hold it."""
    item = Dataset()
    values = np.asarray(entries)
    number = len(values) if count < 0 else count
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [number % 65536, first, bits])
    if kind:
        item.ModalityLUTType = kind
    if vr == "OW":
        item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    else:
        item.add_new("LUTData", vr, values.tolist())
    return item


def tabled(*items: Dataset, keep: bool = False) -> Callable[[Dataset, int], None]:
    def edit(image: Dataset, _: int) -> None:
        if not keep:
            del image.RescaleSlope, image.RescaleIntercept
        image.ModalityLUTSequence = Sequence(items)

    return edit


def bent(first: int = FIRST, count: int = COUNT) -> npt.NDArray[np.int64]:
    """Entries that no slope and intercept could stand for."""
    stored = np.arange(first, first + count)
    return np.asarray(np.where(stored < 600, stored - 1024, stored - 1024 + (stored % 3)))


def codes(path: Path) -> list[str]:
    return [item.code for item in read_dicom(path).passport.reasons]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless])
def test_a_table_of_hu_is_applied_to_every_slice(tmp_path: Path, syntax: str) -> None:
    stored = stored_chest()
    for path in write_series(tmp_path, stored, edit=tabled(table(bent(), vr="SS"))):
        if syntax == RLELossless:
            image = dcmread(path)
            image.compress(RLELossless)
            write_image(image, path, syntax)
    volume = read_dicom(tmp_path)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, bent()[stored].transpose(2, 1, 0))
    assert volume.passport.reasons == ()


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_entries_are_unsigned_and_equal_what_pydicom_makes_of_them(tmp_path: Path, vr: str) -> None:
    stored = stored_chest()
    paths = write_series(tmp_path, stored, edit=tabled(table(bent() + 1024, vr=vr)), shuffled=False)
    volume = read_dicom(tmp_path)
    for k, path in enumerate(paths):
        image = dcmread(path)
        np.testing.assert_array_equal(volume.hu[:, :, k].T, apply_modality_lut(image.pixel_array, image))


def test_entries_of_twelve_bits_stand_in_sixteen(tmp_path: Path) -> None:
    stored = stored_chest()
    write_series(tmp_path, stored, edit=tabled(table(bent() + 1024, bits=12)))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, (bent() + 1024)[stored].transpose(2, 1, 0))


def test_big_endian_files_give_the_same(tmp_path: Path) -> None:
    stored = stored_chest(3)
    entries = np.ascontiguousarray(bent() + 1024).astype(">u2").tobytes()

    def edit(image: Dataset, k: int) -> None:
        tabled(table(bent() + 1024, vr="OW"))(image, k)
        image.ModalityLUTSequence[0].LUTData = entries
        image.PixelData = np.frombuffer(image.PixelData, "<i2").astype(">i2").tobytes()

    write_series(tmp_path, stored, edit=edit, syntax=ExplicitVRBigEndian)
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, (bent() + 1024)[stored].transpose(2, 1, 0))


def test_values_beyond_the_ends_take_the_last_entry_there(tmp_path: Path) -> None:
    stored = stored_chest()
    entries = bent(200, 300)
    write_series(tmp_path, stored, edit=tabled(table(entries, first=200, vr="SS")))
    expected = entries[np.clip(stored - 200, 0, 299)]
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, expected.transpose(2, 1, 0))


def test_the_first_value_is_signed_where_the_stored_values_are(tmp_path: Path) -> None:
    stored = (stored_chest() - 1024).astype(np.int16)
    entries = np.arange(-1024, 400) // 2 * 2
    write_series(tmp_path, stored, edit=tabled(table(entries, first=-1024, vr="SS")))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, (stored // 2 * 2).transpose(2, 1, 0))


def test_two_entries_of_eight_bits_share_a_word(tmp_path: Path) -> None:
    stored = (stored_chest() // 6).astype(np.int16)
    entries = np.arange(255, dtype=np.uint8)[::-1]
    item = table(np.arange(10), bits=8, vr="OW", count=255)
    item.LUTData = np.append(entries, np.uint8(0)).tobytes()
    write_series(tmp_path, stored, edit=tabled(item))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, entries[np.clip(stored, 0, 254)].transpose(2, 1, 0))


def test_zero_entries_mean_all_of_them(tmp_path: Path) -> None:
    stored = stored_chest(2)
    entries = np.minimum(np.arange(65536), 3000)
    write_series(tmp_path, stored, edit=tabled(table(entries, vr="OW")))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, stored.transpose(2, 1, 0))


def test_padding_is_air_by_its_stored_value(tmp_path: Path) -> None:
    stored = stored_chest()
    stored[:, :3, :3] = 5
    stored[:, -1, :] = 5

    def edit(image: Dataset, k: int) -> None:
        tabled(table(bent(), vr="SS"))(image, k)
        image.PixelPaddingValue = 5

    write_series(tmp_path, stored, edit=edit)
    assert set(np.unique(read_dicom(tmp_path).hu[:3, :3])) == {AIR_HU}


def test_a_table_goes_before_a_slope_that_should_not_be_there(tmp_path: Path) -> None:
    stored = stored_chest()
    write_series(tmp_path, stored, edit=tabled(table(bent(), vr="SS"), keep=True))
    np.testing.assert_array_equal(read_dicom(tmp_path).hu, bent()[stored].transpose(2, 1, 0))


def test_entries_beyond_int16_make_the_volume_float32(tmp_path: Path) -> None:
    stored = stored_chest()
    entries = np.where(np.arange(COUNT) == int(stored[4, 20, 20]), 60000, np.arange(COUNT))
    write_series(tmp_path, stored, edit=tabled(table(entries)))
    volume = read_dicom(tmp_path)
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, entries[stored].transpose(2, 1, 0))


@pytest.mark.parametrize("kind", ["OD", "Z_EFF", "ED"])
def test_a_table_of_something_else_than_hu_is_named(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path, edit=tabled(table(bent(), vr="SS", kind=kind)))
    volume = read_dicom(tmp_path)
    assert [item.code for item in volume.passport.reasons] == ["not_hu"]
    assert volume.passport.analyse == "refuse"
    assert kind in volume.passport.reasons[0].message


@pytest.mark.parametrize("kind", ["HU", "US", ""])
def test_a_table_of_hu_or_of_an_unspecified_kind_is_judged_by_its_values(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path, edit=tabled(table(bent(), vr="SS", kind=kind)))
    assert codes(tmp_path) == []
    write_series(tmp_path, stored_chest(), edit=tabled(table(np.arange(COUNT), kind=kind)))
    assert "not_hu" in [item.code for item in open_volume(tmp_path).passport.reasons]


def broken(**changes: Any) -> Dataset:
    item = table(bent(), vr="SS")
    for keyword, value in changes.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    "items",
    [
        (broken(LUTData=None),),
        (broken(LUTDescriptor=None),),
        (broken(LUTDescriptor=[COUNT + 5, 0, 16]),),
        (broken(LUTDescriptor=[COUNT - 5, 0, 16]),),
        (broken(LUTDescriptor=[COUNT, 0, 40]),),
        (broken(LUTDescriptor=[COUNT, 0]),),
        (table(bent(), vr="SS"), table(bent(), vr="SS")),
    ],
    ids=["no data", "no descriptor", "too few", "too many", "bits", "two numbers", "two tables"],
)
def test_a_table_that_does_not_fit_its_description_is_not_guessed_at(
    tmp_path: Path, items: tuple[Dataset, ...]
) -> None:
    write_series(tmp_path, edit=tabled(*items))
    volume = read_dicom(tmp_path)
    assert [item.code for item in volume.passport.reasons] == ["not_hu", "missing_tags"]
    assert volume.passport.display == "warn"
    assert volume.passport.analyse == "refuse"

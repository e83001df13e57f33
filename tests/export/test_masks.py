"""A saved mask lies on its source, byte for byte."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_colipri.ct.open import open_volume
from napari_colipri.ct.volume import CTVolume
from napari_colipri.errors import Cancelled
from napari_colipri.export.masks import write_labels_nifti
from napari_colipri.progress import CancelToken
from tests.volumes import ORIENTATIONS, affine_for, make_volume, sheared_volume, tilted_volume

SHAPE = (14, 12, 10)
#: Fields of a NIfTI header that place a voxel.
PLACE = ("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y")
PLACE += ("qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units")


def labels_like(volume: CTVolume) -> np.ndarray:
    random = np.random.default_rng(3)
    return random.integers(0, 4, volume.hu.shape, dtype=np.uint8)


def header_of(path: Path) -> nib.Nifti1Header:
    return nib.load(path).header  # type: ignore[return-value]


def same_place(one: Path, other: Path) -> None:
    a, b = header_of(one), header_of(other)
    assert a.endianness == b.endianness
    for field in PLACE:
        assert np.asarray(a[field]).tobytes() == np.asarray(b[field]).tobytes(), field


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_every_orientation_comes_back(codes: tuple[str, str, str], tmp_path: Path) -> None:
    source = tmp_path / "ct.nii"
    affine = affine_for(codes, (0.7, 0.9, 2.5), SHAPE, (3, -5, 8))
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, source)
    volume = make_volume(affine, SHAPE, path=str(source))
    labels = labels_like(volume)
    write_labels_nifti(tmp_path / "mask.nii.gz", labels, volume)
    same_place(tmp_path / "mask.nii.gz", source)
    back = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(back.dataobj), labels)
    assert back.get_data_dtype() == np.uint8


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_versions_byte_orders_and_odd_codes_are_kept(version: int, order: str, tmp_path: Path) -> None:
    kind, header_kind = (nib.Nifti1Image, nib.Nifti1Header) if version == 1 else (nib.Nifti2Image, nib.Nifti2Header)
    header = header_kind(endianness=order)
    header.set_data_dtype(np.int16)
    affine = affine_for(("L", "A", "S"), (1, 1, 2), SHAPE)
    image = kind(np.zeros(SHAPE, np.int16), affine, header)
    image.set_sform(affine, 4)
    image.set_qform(affine_for(("L", "A", "S"), (1, 1, 2), SHAPE, (1, 1, 1)), 2)
    image.header["descrip"] = b"DOE^JANE"
    nib.save(image, tmp_path / "ct.nii.gz")
    volume = make_volume(affine, SHAPE, path=str(tmp_path / "ct.nii.gz"))
    write_labels_nifti(tmp_path / "mask.nii", labels_like(volume), volume)
    same_place(tmp_path / "mask.nii", tmp_path / "ct.nii.gz")
    assert b"DOE" not in (tmp_path / "mask.nii").read_bytes()
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "mask.nii").dataobj), labels_like(volume))


def test_real_studies_keep_their_bytes(real_data: Path, tmp_path: Path) -> None:
    names = ("crlm-1004/crlm-1004_-1004_STANDARD_1.nii.gz", "totalsegmentator-example/example_ct_sm.nii.gz")
    for name in (*names, "bad-inputs/nifti-derived/big_endian.nii"):
        source = real_data / name
        volume = open_volume(source)
        mask = tmp_path / "mask.nii.gz"
        write_labels_nifti(mask, labels_like(volume), volume)
        same_place(mask, source)


@pytest.mark.parametrize("made", [tilted_volume, sheared_volume])
def test_other_sources_get_their_affine(made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    volume = made(13.0)
    write_labels_nifti(tmp_path / "mask.nii.gz", labels_like(volume), volume)
    back = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-4)
    assert int(back.header["qform_code"]) == (1 if volume.geometry.orthogonal else 0)


def test_without_an_orientation_no_scanner_space_is_claimed(tmp_path: Path) -> None:
    volume = make_volume(np.eye(4), SHAPE, orientation_known=False, path="gone.nrrd")
    write_labels_nifti(tmp_path / "mask.nii.gz", labels_like(volume), volume)
    assert int(header_of(tmp_path / "mask.nii.gz")["sform_code"]) == 2


def test_a_source_that_changed_is_not_trusted(tmp_path: Path) -> None:
    affine = affine_for(("L", "P", "S"), (1, 1, 2), SHAPE)
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5), np.int16), np.eye(4)), tmp_path / "ct.nii.gz")
    volume = make_volume(affine, SHAPE, path=str(tmp_path / "ct.nii.gz"))
    write_labels_nifti(tmp_path / "mask.nii.gz", labels_like(volume), volume)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii.gz").affine, affine, atol=1e-5)


def test_equal_masks_make_equal_files_without_a_name_inside(tmp_path: Path) -> None:
    volume = make_volume(affine_for(("L", "P", "S"), (1, 1, 2), SHAPE), SHAPE)
    write_labels_nifti(tmp_path / "jane-doe.nii.gz", labels_like(volume), volume)
    write_labels_nifti(tmp_path / "b.nii.gz", labels_like(volume), volume)
    data = (tmp_path / "jane-doe.nii.gz").read_bytes()
    assert data == (tmp_path / "b.nii.gz").read_bytes()
    assert b"jane" not in data
    assert len(gzip.decompress(data)) == 352 + np.prod(SHAPE)


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    volume = make_volume(affine_for(("L", "P", "S"), (1, 1, 2), SHAPE), SHAPE)
    token = CancelToken()
    with pytest.raises(Cancelled):
        write_labels_nifti(
            tmp_path / "m.nii.gz", labels_like(volume), volume, progress=lambda *_: token.cancel(), cancel=token
        )
    assert list(tmp_path.iterdir()) == []


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    volume = make_volume(affine_for(("L", "P", "S"), (1, 1, 2), SHAPE), SHAPE)
    with pytest.raises(ValueError, match="do not lie on the grid"):
        write_labels_nifti(tmp_path / "m.nii.gz", np.zeros((2, 2, 2), np.uint8), volume)

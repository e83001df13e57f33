"""Every file of the collection of bad inputs ends in its verdict, with its code, and never in a traceback."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from napari_colipri.ct import open_volume, read_passport
from napari_colipri.ct.passport import Passport
from napari_colipri.errors import StudyRefused

SLICE = "transfer-syntaxes-one-chest-slice"
LOSSLESS = ("1.2.840.10008.1.2.2.dcm", "1.2.1.99.dcm", "1.2.5.dcm", "4.57.dcm", "4.70.dcm", "4.80.dcm", "4.90.dcm")

#: File (or the end of its name), verdict of the collection's README: what may be done with it at best, and why.
VERDICTS: list[tuple[str, str, tuple[str, ...]]] = [
    (f"{SLICE}/CTImage.dcm", "warn", ("single_slice",)),
    (f"{SLICE}/*LittleEndianImplicit*1.2.dcm", "warn", ("single_slice",)),
    (f"{SLICE}/*LittleEndianExplicit*1.2.1.dcm", "warn", ("single_slice",)),
    *[(f"{SLICE}/*{name}", "warn", ("single_slice",)) for name in LOSSLESS],
    *[(f"{SLICE}/*4.{number}.dcm", "warn", ("lossy", "single_slice")) for number in (51, 81, 91)],
    (f"{SLICE}/*4.50.dcm", "warn", ("lossy_8bit", "single_slice")),
    *[(f"{SLICE}/*4.{number}.dcm", "refuse", ("unsupported_syntax",)) for number in (53, 55)],
    (f"{SLICE}/no-pixel-spacing.dcm", "refuse", ("not_ct",)),
    ("enhanced-multiframe/eCT_Supplemental.dcm", "refuse", ("not_hu",)),
    ("gantry-tilt-18.5-variable-spacing-GE.tar.xz", "refuse", ("not_an_image",)),
    ("philips-phantom-localizer/I10", "refuse", ("localizer",)),
    ("philips-phantom-localizer", "refuse", ("localizer",)),
    ("ricord-sagittal-mixed-orientation", "warn", ("mixed_orientation",)),
    ("lungmask-minimal-tags", "warn", ("missing_tags",)),
    ("lungmask-minimal-tags/1.dcm", "warn", ("missing_tags",)),
    ("rgb-secondary-capture/pl-lungct_0000.dcm", "refuse", ("not_ct",)),
    ("pydicom/MR_truncated.dcm", "refuse", ("not_ct",)),
    ("pydicom/no_meta.dcm", "refuse", ("not_dicom",)),
    ("pydicom/CT_small.dcm", "warn", ("single_slice",)),
    ("pydicom/CT2N_6293", "refuse", ("localizer",)),
    ("pydicom/bad_sequence.dcm", "warn", ("single_slice",)),
    ("nifti/shear.nii.gz", "warn", ("sheared",)),
    ("nifti-derived/oblique_sheared.nii.gz", "warn", ("sheared", "oblique")),
    ("nifti-derived/axes_flipped_same_anatomy.nii.gz", "ok", ()),
    ("nifti-derived/big_endian.nii", "ok", ()),
    ("nifti-derived/no_form_codes.nii.gz", "warn", ("unknown_orientation",)),
    ("nifti-derived/single_slice.nii.gz", "warn", ("single_slice",)),
    ("nifti-derived/truncated_gzip.nii.gz", "refuse", ("truncated",)),
    ("nifti-derived/truncated_raw.nii", "refuse", ("truncated",)),
    ("nifti-derived/empty_file.nii.gz", "refuse", ("empty",)),
    ("nifti-derived/text_named_nii.nii.gz", "refuse", ("not_an_image",)),
]
#: Shown, while models do not run on them: there the collection's one word speaks of what matters for the file.
SHOWN_ONLY = {"single_slice", "not_hu"}


@pytest.fixture(scope="module")
def bad(real_data: Path) -> Path:
    return real_data / "bad-inputs"


def find(bad: Path, pattern: str) -> Path:
    found = sorted(bad.glob(pattern))
    assert len(found) == 1, f"{pattern} names {len(found)} files"
    return found[0]


def codes(passport: Passport) -> set[str]:
    return {item.code for item in passport.reasons}


@pytest.mark.parametrize(("pattern", "verdict", "expected"), VERDICTS, ids=[item[0][-40:] for item in VERDICTS])
def test_the_verdict_and_its_code(bad: Path, pattern: str, verdict: str, expected: tuple[str, ...]) -> None:
    path = find(bad, pattern)
    passport = read_passport(path)
    assert set(expected) <= codes(passport)
    if SHOWN_ONLY & codes(passport):
        assert (passport.display, passport.analyse) == ("warn", "refuse")
    else:
        assert passport.analyse == verdict
    assert (passport.display == "refuse") == (verdict == "refuse" and not SHOWN_ONLY & codes(passport))
    for item in passport.reasons:
        assert item.message.endswith(".")
        assert path.stem not in item.message
    json.dumps(passport.to_json(), allow_nan=False)
    if passport.display == "refuse":
        with pytest.raises(StudyRefused) as caught:
            open_volume(path)
        assert caught.value.code in expected
        assert caught.value.path == path


def test_every_file_has_a_passport(bad: Path) -> None:
    for path in sorted(bad.rglob("*")):
        if path.parent.name.startswith("ricord") and path.stem > "1-002":
            continue  # each of them opens the same series
        assert read_passport(path).verdict in ("ok", "warn", "refuse")


def test_lossless_transfer_syntaxes_are_voxel_identical(bad: Path) -> None:
    reference = open_volume(bad / SLICE / "CTImage.dcm")
    assert (reference.hu.min(), reference.hu.max()) == (-1024, 1378)
    for name in LOSSLESS:
        other = open_volume(find(bad, f"{SLICE}/*{name}"))
        np.testing.assert_array_equal(other.hu, reference.hu)
        np.testing.assert_array_equal(other.affine, reference.affine)
        assert other.fingerprint == reference.fingerprint


def test_lossy_transfer_syntaxes_are_near_the_reference(bad: Path) -> None:
    reference = open_volume(bad / SLICE / "CTImage.dcm").hu.astype(np.float64)
    for number, apart in ((51, 40), (81, 10), (91, 40), (50, 60)):
        other = open_volume(find(bad, f"{SLICE}/*4.{number}.dcm")).hu
        tissue = reference > -500
        assert np.abs(other - reference)[tissue].mean() < apart


def test_the_tilted_unevenly_spaced_series_keeps_every_slice_in_its_place(bad: Path, tmp_path: Path) -> None:
    with tarfile.open(bad / "gantry-tilt-18.5-variable-spacing-GE.tar.xz") as packed:
        careful = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Debian 12's Python lacks it
        packed.extractall(tmp_path, **careful)
    volume = open_volume(tmp_path)
    assert {"gantry_tilt", "variable_spacing"} <= codes(volume.passport)
    assert volume.geometry.shear_deg == pytest.approx(18.5, abs=0.05)
    steps = np.diff(volume.geometry.slice_positions_mm or ())
    np.testing.assert_allclose(np.sort(steps)[[0, 1, 13, 14, -1]], [1.08, 4, 4, 7, 7], atol=0.02)


def test_nothing_is_lost_of_the_mixed_series_but_the_coronal_image(bad: Path) -> None:
    volume = open_volume(bad / "ricord-sagittal-mixed-orientation")
    assert volume.hu.shape == (512, 512, 19)
    assert volume.geometry.axis_codes[2] in "LR"
    assert volume.geometry.spacing_mm[2] == pytest.approx(3.0, abs=1e-3)
    left_out = next(item for item in volume.passport.reasons if item.code == "mixed_orientation")
    assert left_out.value == 1


def test_the_enhanced_file_takes_its_geometry_from_the_functional_groups(bad: Path) -> None:
    volume = open_volume(bad / "enhanced-multiframe" / "eCT_Supplemental.dcm")
    np.testing.assert_allclose(volume.geometry.spacing_mm, (0.388672, 0.388672, 10), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "code", "analyse"),
    [
        ("crlm-1004/crlm-1004_-1004_STANDARD_1.nii.gz", "wrong_body_part", "warn"),
        ("crlm-1004/crlm-1004_-1006_k_0.nii.gz", "wrong_body_part", "warn"),
        ("vtkjs-lidc2/LIDC2_uint8.nii.gz", "not_hu", "refuse"),
        ("lidc-0314/lidc-0314_lungs-pseudo.nii.gz", "not_hu", "refuse"),
        ("totalsegmentator-example/example_ct.nii.gz", "wrong_body_part", "warn"),
        ("lungfcp-01-0001/lungfcp-01-0001.nii.gz", "small_field_of_view", "warn"),  # upper chest only
        ("lungfcp-01-0001/dicom", "small_field_of_view", "warn"),
        ("totalsegmentator-aorta/ct_cropped.nii.gz", "small_field_of_view", "warn"),
        ("totalsegmentator-pulmonary/ct_cropped.nii.gz", "small_field_of_view", "warn"),
    ],
)
def test_unsuitable_volumes_are_named_for_what_they_are(real_data: Path, name: str, code: str, analyse: str) -> None:
    passport = read_passport(real_data / name)
    assert codes(passport) == {code}
    assert passport.analyse == analyse


@pytest.mark.parametrize(
    "name",
    [
        "lidc-0314/lidc-0314.nii.gz",
        "lungdx/lungdx_A0001_B_1.nii.gz",
        "lungdx/lungdx_A0001_L_0.nii.gz",
        "lungdx/lungdx_A0002_B40f_3.nii.gz",
        "lungdx/lungdx_A0002_B70f_2.nii.gz",
        "acrin-flt-013/acrin-flt-013.nii.gz",
    ],
)
def test_chests_are_taken_without_a_word(real_data: Path, name: str) -> None:
    assert read_passport(real_data / name).reasons == ()


@pytest.mark.parametrize("name", ["3DCT_lung.mha", "3DCT_lung_baseline_small.mha"])
def test_a_crop_of_one_lung_is_hu(real_data: Path, name: str) -> None:
    assert read_passport(real_data / "elastix-3dct-lung" / name).analyse == "ok"


def test_twelve_bit_jpeg_without_its_codec_names_the_extra(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "available_plugins", property(lambda _: ("gdcm",)))
    with pytest.raises(StudyRefused, match="dicom-codecs") as refused:
        open_volume(find(bad, f"{SLICE}/*4.51.dcm"))
    assert refused.value.code == "unsupported_syntax"

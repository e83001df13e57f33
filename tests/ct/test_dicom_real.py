"""The DICOM reader beside SimpleITK's on a real series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_colipri.ct.geometry import apply, lps_to_ras
from napari_colipri.ct.readers.dicom import read_dicom


@pytest.fixture(scope="module")
def series(real_data: Path) -> Path:
    return real_data / "lungfcp-01-0001" / "dicom"


def test_values_and_millimetres_equal_simpleitk(series: Path) -> None:
    import SimpleITK

    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(names)
    image = reader.Execute()
    volume = read_dicom(series)
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayViewFromImage(image).transpose(2, 1, 0))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    corners = [(0, 0, 0), (511, 511, 97), (511, 0, 0), (0, 511, 97)]
    np.testing.assert_allclose(apply(volume.affine, corners), apply(lps_to_ras(affine), corners), atol=1e-4)
    assert volume.passport.reasons == ()


def test_one_of_its_files_opens_the_same_volume(series: Path) -> None:
    one = read_dicom(series / "1-050.dcm")
    assert one.hu.shape == (512, 512, 98)
    assert one.source.series_uid is not None

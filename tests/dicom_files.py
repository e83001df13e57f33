"""DICOM series written for tests: every element that a reader looks at can be set, per slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

__all__ = ["AXIAL", "CT_IMAGE", "PATIENT_NAME", "stored_chest", "write_image", "write_series"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
#: Stands in every file: nothing that leaves a reader may carry it.
PATIENT_NAME, PATIENT_ID = "Doe^Jane^Unmistakable", "PID-4711-UNMISTAKABLE"

Edit = Callable[[Dataset, int], None]


def stored_chest(slices: int = 12, rows: int = 40, columns: int = 48) -> npt.NDArray[np.int16]:
    """Stored values [slice, row, column] (HU + 1024): a body with two lungs in air, no two slices or sides alike."""
    k, y, x = np.meshgrid(np.arange(slices), np.arange(rows), np.arange(columns), indexing="ij")
    hu = np.full((slices, rows, columns), -1000)
    hu[((x - columns / 2) / (columns * 0.45)) ** 2 + ((y - rows / 2) / (rows * 0.4)) ** 2 < 1] = 40
    for centre, hu_lung in ((columns * 0.3, -850), (columns * 0.7, -800)):
        hu[((x - centre) / (columns * 0.12)) ** 2 + ((y - rows / 2) / (rows * 0.25)) ** 2 < 1] = hu_lung
    return np.asarray(hu + k + x % 5 + 1024, dtype=np.int16)


def _image(plane: npt.NDArray[Any], series: str, number: int) -> Dataset:
    image = Dataset()
    image.SOPClassUID = CT_IMAGE
    image.SOPInstanceUID = generate_uid()
    image.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    image.SeriesInstanceUID = series
    image.Modality = "CT"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.PatientName, image.PatientID = PATIENT_NAME, PATIENT_ID
    image.PatientAge, image.PatientSex = "063Y", "F"
    image.PatientPosition = "HFS"
    image.InstanceNumber = number + 1
    image.SeriesNumber = 1
    image.ImageOrientationPatient = list(AXIAL)
    image.PixelSpacing = [8.0, 7.0]
    image.SliceThickness = 10.0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = plane.shape[:2]
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = int(plane.dtype.kind == "i")
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.PixelData = np.ascontiguousarray(plane).tobytes()
    return image


def write_image(image: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one image as a DICOM file with preamble and file meta group."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = image.get("SOPClassUID", CT_IMAGE)
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    image.file_meta = meta
    image.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    planes: npt.NDArray[Any] | None = None,
    *,
    positions: Sequence[Sequence[float]] | None = None,
    spacing_mm: float = 10.0,
    series: str = "1.2.826.0.1.3680043.8.498.2",
    syntax: str = ExplicitVRLittleEndian,
    edit: Edit | None = None,
    shuffled: bool = True,
) -> list[Path]:
    """Write one file per slice and return the paths in order of the slices.

    Parameters
    ----------
    planes
        Stored values [slice, row, column]; :func:`stored_chest` without.
    positions
        ImagePositionPatient per slice, LPS mm; without them steps of ``spacing_mm`` upwards.
    edit
        Called with every data set and its number before it is written.
    shuffled
        Whether the order of file names differs from that of the slices.
    """
    planes = stored_chest() if planes is None else planes
    if positions is None:
        positions = [(-160.0, -150.0, -60.0 + spacing_mm * k) for k in range(len(planes))]
    names = np.random.default_rng(3).permutation(len(planes)) if shuffled else np.arange(len(planes))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k, (plane, position) in enumerate(zip(planes, positions, strict=True)):
        image = _image(plane, series, k)
        image.ImagePositionPatient = [float(item) for item in position]
        if edit is not None:
            edit(image, k)
        paths.append(write_image(image, folder / f"{series[-4:]}-{names[k]:04d}.dcm", syntax))
    return paths

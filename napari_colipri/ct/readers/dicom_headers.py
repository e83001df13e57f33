"""DICOM headers without pixels: one frozen value per image, and what kind of image it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from napari_colipri.ct.readers.dicom_elements import (
    DEFLATED,
    Opened,
    integer,
    number,
    numbers,
    open_header,
    text,
    texts,
    value,
    words,
)
from napari_colipri.ct.readers.dicom_table import ModalityTable, has_table, modality_table
from napari_colipri.errors import StudyRefused

__all__ = [
    "ENHANCED",
    "NATIVE",
    "SliceHeader",
    "Vector",
    "directions",
    "kind_of",
    "read_headers",
    "spacing",
    "speaks_of_hu",
]

Vector = tuple[float, ...]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED)

#: Lossy by definition; 4.91, 4.93 and 4.203 may be either: there the file's own statement counts.
_LOSSY = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 52, 53, 54, 55, 56, 59, 60, 61, 62, 63, 64, 81))
_EITHER = ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.93", "1.2.840.10008.1.2.4.203")

_LOCALIZER = ("LOCALIZER", "SCOUT", "TOPOGRAM", "CT_SOM5 TOP", "CT_SOM7 TOP")
_SUMMARY = ("DOSE", "SCREEN", "SUMMARY", "REPORT", "PROT")

_KEYWORDS = [
    "",
    "AcquisitionNumber",
    "BitsAllocated",
    "BitsStored",
    "BurnedInAnnotation",
    "Columns",
    "ConvolutionKernel",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "LossyImageCompression",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PatientPosition",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SliceLocation",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "TemporalPositionIdentifier",
]


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What must be known of one image (a file, or a frame of a multi-frame file) to place and read it.

    Attributes
    ----------
    offset, length
        Where the value of PixelData begins and how long it is, bytes (in the inflated stream of a deflated file);
        length is -1 for encapsulated data.
    position, orientation
        ImagePositionPatient (mm) and ImageOrientationPatient, LPS, or None.
    pixel_spacing
        Distance between rows, then between columns, mm, or None.
    thickness
        Spacing between slices, else slice thickness, mm, or None.
    slope, intercept
        Of stored values to HU; None where the file has none.
    table, table_damaged
        A look-up table in the place of slope and intercept, and whether there is one that cannot be used.
    padding
        PixelPaddingValue as stored.
    phase
        Acquisition number and temporal position: what may tell images at one position apart.
    """

    path: Path = field(repr=False)
    frame: int
    frames: int
    syntax: str
    encapsulated: bool
    big_endian: bool
    offset: int
    length: int
    truncated: bool
    series_uid: str
    study_uid: str
    series_number: int
    sop_uid: str
    sop_class: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    position: Vector | None
    orientation: Vector | None
    pixel_spacing: Vector | None
    slice_location: float | None
    thickness: float | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    table: ModalityTable | None
    table_damaged: bool
    padding: int | None
    instance_number: int
    phase: tuple[int, int]
    patient_position: str
    lossy: bool
    burned_in: bool
    description: str = field(repr=False)
    kernel: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.samples * max(1, self.bits_allocated // 8)


def read_headers(path: Path) -> list[SliceHeader]:
    """Read the header of one DICOM file: one entry, or one per frame of an enhanced multi-frame CT.

    Must run inside :func:`~napari_colipri.ct.readers.dicom_elements.lenient`.

    Raises
    ------
    StudyRefused
        ``empty``, ``not_dicom``, ``unreadable``, ``truncated``, ``too_large``; ``not_an_image`` for a DICOM object
        without pixels (a report, a directory, a plan).
    """
    try:
        opened = open_header(path, list(_KEYWORDS))
        sop_class = text(opened.dataset, "SOPClassUID")
        if not (sop_class or text(opened.dataset, "Modality") or value(opened.dataset, "Rows")):
            raise StudyRefused("The file is not DICOM: no usable element was found.", code="not_dicom")
        if not value(opened.dataset, "Rows") or not value(opened.dataset, "Columns"):
            raise StudyRefused("The DICOM file holds no image.", code="not_an_image")
        header = _header(path, opened)
        if sop_class in ENHANCED:
            from napari_colipri.ct.readers.dicom_enhanced import frames_of

            return frames_of(header, open_header(path, None).dataset)
    except StudyRefused as error:
        raise error.at(path) from error
    except OSError as error:
        raise StudyRefused("The file cannot be read.", code="unreadable", path=path) from error
    return [header]


def _is_lossy(syntax: str, stated: str) -> bool:
    return stated == "01" or syntax in _LOSSY or (syntax in _EITHER and stated != "00")


def _header(path: Path, opened: Opened) -> SliceHeader:
    dataset = opened.dataset
    rows, columns = integer(dataset, "Rows", 0), integer(dataset, "Columns", 0)
    bits = integer(dataset, "BitsAllocated", 16)
    samples = integer(dataset, "SamplesPerPixel", 1)
    frames = max(1, integer(dataset, "NumberOfFrames", 1))
    expected = rows * columns * samples * max(1, bits // 8) * frames
    # Some writers state a compressed syntax over pixels that are not: their length tells.
    encapsulated = opened.length < 0 or (opened.syntax not in ("", *NATIVE) and opened.length != expected)
    stored = integer(dataset, "BitsStored", bits)
    padding = number(dataset, "PixelPaddingValue")
    signed = integer(dataset, "PixelRepresentation", 0) == 1
    table = modality_table(dataset, signed=signed, big_endian=opened.big_endian)
    whole = opened.length >= expected and opened.offset + expected <= opened.size
    return SliceHeader(
        path=path,
        frame=0,
        frames=frames,
        syntax=opened.syntax,
        encapsulated=encapsulated,
        big_endian=opened.big_endian,
        offset=opened.offset,
        length=opened.length,
        truncated=opened.length == 0 or not (encapsulated or whole),
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_number=integer(dataset, "SeriesNumber", 0),
        sop_uid=text(dataset, "SOPInstanceUID"),
        sop_class=text(dataset, "SOPClassUID"),
        modality=text(dataset, "Modality").upper(),
        image_type=words(dataset, "ImageType"),
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=text(dataset, "PhotometricInterpretation").upper(),
        bits_allocated=bits,
        bits_stored=stored if 0 < stored <= bits else bits,
        signed=signed,
        position=numbers(dataset, "ImagePositionPatient", 3),
        orientation=directions(numbers(dataset, "ImageOrientationPatient", 6)),
        pixel_spacing=spacing(numbers(dataset, "PixelSpacing", 2)),
        slice_location=number(dataset, "SliceLocation"),
        thickness=number(dataset, "SpacingBetweenSlices") or number(dataset, "SliceThickness"),
        # a slope of 0 would make every voxel equal: no slope at all
        slope=number(dataset, "RescaleSlope") or None,
        intercept=number(dataset, "RescaleIntercept"),
        rescale_type=text(dataset, "RescaleType").upper() if table is None else table.kind,
        table=table,
        table_damaged=table is None and has_table(dataset),
        padding=None if padding is None else int(padding),
        instance_number=integer(dataset, "InstanceNumber", 0),
        phase=(integer(dataset, "AcquisitionNumber", 0), integer(dataset, "TemporalPositionIdentifier", 0)),
        patient_position=text(dataset, "PatientPosition").upper(),
        lossy=_is_lossy(opened.syntax, text(dataset, "LossyImageCompression")),
        burned_in=text(dataset, "BurnedInAnnotation").upper() == "YES",
        description=text(dataset, "SeriesDescription"),
        kernel="/".join(texts(dataset, "ConvolutionKernel")),
    )


def directions(cosines: Vector | None) -> Vector | None:
    """Return the six cosines, or None where they are not two directions at a right angle."""
    if cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    lengths = [sum(item * item for item in vector) for vector in (row, column)]
    across = sum(a * b for a, b in zip(row, column, strict=True))
    return cosines if max(abs(length - 1) for length in lengths) < 0.02 and abs(across) < 0.01 else None


def spacing(stated: Vector | None) -> Vector | None:
    """Return the two distances, or None where one of them is not positive."""
    return stated if stated and min(stated) > 0 else None


def kind_of(header: SliceHeader) -> str:
    """Sort an image.

    Returns
    -------
    str
        ``ct``, ``localizer``, ``colour``, ``summary`` (dose and protocol pages), ``secondary`` (secondary capture)
        or ``not_ct``.
    """
    by_class = header.sop_class == CT_IMAGE or header.sop_class in ENHANCED
    if header.modality != "CT" and (header.modality or not by_class):
        return "not_ct"
    if header.samples != 1 or (header.photometric and not header.photometric.startswith("MONOCHROME")):
        return "colour"
    if header.sop_class.startswith(SECONDARY_CAPTURE):
        return "secondary"
    if header.sop_class and not by_class:
        return "not_ct"
    if any(word in _LOCALIZER for word in header.image_type):
        return "localizer"
    if any(part in word for word in header.image_type for part in _SUMMARY):
        return "summary"
    return "ct"


_MAPS = ("PERFUSION", "RCBF", "RCBV", "MTT", "TTP", "IODINE", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY")


def speaks_of_hu(header: SliceHeader) -> bool:
    """Whether nothing in the header says that the values are something else than HU.

    ``US`` means unspecified (PS3.3 C.11.1.1.2): then the image type decides.
    """
    stated = header.rescale_type
    if stated and stated != "US" and not stated.startswith(("HU", "HOUN")):
        return False
    return not any(word.startswith(_MAPS) for word in header.image_type)

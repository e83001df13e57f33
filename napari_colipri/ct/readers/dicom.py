"""DICOM studies: which files belong together, which of them make a CT volume, and the volume itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from napari_colipri.ct.geometry import measure
from napari_colipri.ct.passport import Passport, Reason
from napari_colipri.ct.patient import patient_facts
from napari_colipri.ct.readers.dicom_elements import lenient
from napari_colipri.ct.readers.dicom_headers import SliceHeader, kind_of, read_headers
from napari_colipri.ct.readers.dicom_pixels import read_planes, unsupported
from napari_colipri.ct.readers.dicom_reasons import header_reasons, left_out_reasons
from napari_colipri.ct.readers.dicom_stack import Stack, stack
from napari_colipri.ct.volume import CTVolume, Source
from napari_colipri.errors import StudyRefused
from napari_colipri.progress import CancelToken, Progress, report_nothing

__all__ = ["LEAST_IMAGES", "AskSeries", "SeriesInfo", "find_series", "read_dicom"]

#: More files than this are an archive, not a study.
MAX_FILES = 20_000
#: A CT series of fewer images (a test slice, a key image) is no volume that anybody has to choose against.
LEAST_IMAGES = 4
#: Codes that say a file is no DICOM image: nothing is lost by passing over it in a folder.
_PASSED_OVER = ("not_dicom", "not_an_image", "empty")


@dataclass(frozen=True)
class SeriesInfo:
    """Images of one series, orientation and matrix.

    Attributes
    ----------
    kind
        ``ct``, or why the images are left out: ``localizer``, ``colour``, ``summary``, ``secondary``, ``not_ct``.
    images
        How many.
    voxels
        Of the volume they would make.
    description
        SeriesDescription, free text: for the screen, never for a log or a record.
    """

    series_uid: str
    study_uid: str
    kind: str
    images: int
    voxels: int
    description: str = field(repr=False)
    headers: tuple[SliceHeader, ...] = field(repr=False)


#: Told every series of a folder with several CT volumes; returns the series UID to read, and may raise to stop.
AskSeries: TypeAlias = Callable[[list[SeriesInfo]], str | None]


@dataclass(frozen=True)
class _Scan:
    """What a folder holds: images, codes of DICOM files that could not be read, and how many files were not DICOM."""

    headers: list[SliceHeader]
    skipped: Counter[str]
    named: StudyRefused | None


def find_series(path: Path, progress: Progress = report_nothing, cancel: CancelToken | None = None) -> list[SeriesInfo]:
    """List what a folder holds (subfolders too), or the series to which one file belongs, largest CT volume first.

    Raises
    ------
    StudyRefused
        If there is no DICOM image at all.
    """
    with lenient():
        scan = _scan(path, progress, cancel)
    if not scan.headers:
        raise _nothing(path, scan)
    return _group(scan.headers)


def read_dicom(
    path: Path,
    series_uid: str | None = None,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
    ask: AskSeries | None = None,
) -> CTVolume:
    """Read a CT volume from a DICOM folder or from one file of it.

    Parameters
    ----------
    path
        A folder (searched with its subfolders), or a file: then the images of its series in the same folder are read.
    series_uid
        Which series; without it the one with most voxels, and the passport says so.
    progress, cancel
        Told and asked per file.
    ask
        Asked which series, where neither ``series_uid`` nor a file says so and several CT volumes are there.

    Returns
    -------
    CTVolume
        With the reasons that headers show; geometry and voxel reasons are added by ``open_volume``.

    Raises
    ------
    StudyRefused
        With a passport code.
    """
    with lenient():
        try:
            return _read(path, series_uid, progress, cancel, ask)
        except StudyRefused as error:
            raise error.at(path) from error


def _read(
    path: Path, series_uid: str | None, progress: Progress, cancel: CancelToken | None, ask: AskSeries | None
) -> CTVolume:
    scan = _scan(path, lambda part, said: progress(0.3 * part, said), cancel)
    if not scan.headers:
        raise _nothing(path, scan)
    groups = _group(scan.headers)
    volumes = {info.series_uid for info in groups if info.kind == "ct" and info.images >= LEAST_IMAGES}
    if ask is not None and series_uid is None and len(volumes) > 1 and not path.is_file():
        series_uid = ask(groups)
    chosen = _choose(groups, path, series_uid)
    preferred = path if path.is_file() else None
    usable, skipped = _decodable(chosen, scan.skipped, path)
    while True:
        made = stack(usable, preferred)
        planes, bad = read_planes(made.headers, lambda part, said: progress(0.3 + 0.7 * part, said), cancel)
        if not bad:
            break
        # without the damaged slices the grid may be another one: measure it again
        broken = {(made.headers[n].path, made.headers[n].frame) for n in bad}
        usable = [item for item in usable if (item.path, item.frame) not in broken]
        skipped["truncated"] += len(bad)
        if not usable or len(bad) == len(made.headers):
            raise StudyRefused("The pixel data is damaged.", code="truncated", path=path)
    reasons = [
        *left_out_reasons(chosen, groups, skipped),
        *made.reasons,
        *header_reasons(made),
    ]
    return _volume(path, made, planes, reasons)


def _volume(path: Path, made: Stack, planes: np.ndarray[Any, Any], reasons: list[Reason]) -> CTVolume:
    first = made.headers[0]
    hu = planes.transpose(2, 1, 0)
    hu.setflags(write=False)
    geometry = measure(
        hu.shape,
        made.affine,
        orientation_known=made.orientation_known,
        slice_positions_mm=made.slice_positions_mm,
    )
    patient = patient_facts(first.path)
    source = Source(
        kind="dicom",
        path=str(path),
        series_uid=first.series_uid or None,
        study_uid=first.study_uid or None,
        patient_key=patient.key,
        age_band=patient.age_band,
        sex=patient.sex,
        series_description=first.description or None,
        kernel=first.kernel or None,
    )
    study = {"transfer_syntaxes": sorted({item.syntax for item in made.headers}), "lossy": first.lossy}
    return CTVolume(hu, made.affine, geometry, source, Passport(tuple(reasons), {}, study))


def _files(path: Path) -> list[Path]:
    """Files to look at: those beside a file, or all below a folder."""
    if path.is_file():
        beside = [Path(entry.path) for entry in os.scandir(path.parent) if entry.is_file()]
        # a download folder with thousands of files: then the file stands for itself
        return sorted(beside) if len(beside) <= MAX_FILES else [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".") and name != "DICOMDIR"]
        if len(found) > MAX_FILES:
            raise StudyRefused(f"The folder holds more than {MAX_FILES} files.", code="too_large", path=path)
    return found


def _scan(path: Path, progress: Progress, cancel: CancelToken | None) -> _Scan:
    headers: list[SliceHeader] = []
    skipped: Counter[str] = Counter()
    named: StudyRefused | None = None
    files = _files(path)
    for index, file in enumerate(files):
        if cancel is not None:
            cancel.check()
        if index % 32 == 0:
            progress(index / len(files), "Reading headers")
        try:
            headers += read_headers(file)
        except StudyRefused as error:
            if file == path:
                raise
            named = error if named is None or named.code in _PASSED_OVER else named
            if error.code not in _PASSED_OVER or file.suffix.lower() in (".dcm", ".ima"):
                skipped[error.code] += 1
    if path.is_file():
        wanted = next(item.series_uid for item in headers if item.path == path)
        headers = [item for item in headers if item.path == path or (wanted and item.series_uid == wanted)]
        skipped.clear()  # what lies beside the named file is none of its business
    return _Scan(headers, skipped, named)


def _nothing(path: Path, scan: _Scan) -> StudyRefused:
    if scan.named is not None and scan.named.code not in _PASSED_OVER:
        return StudyRefused(scan.named.message, code=scan.named.code, path=path)
    return StudyRefused("The folder holds no DICOM image.", code="not_dicom", path=path)


def _group(headers: list[SliceHeader]) -> list[SeriesInfo]:
    """Part images by series, kind, matrix, pixel spacing and orientation."""
    groups: dict[tuple[Any, ...], list[SliceHeader]] = {}
    directions: list[np.ndarray[Any, Any]] = []
    for header in headers:
        plane = _same_direction(header, directions)
        spacing = None if header.pixel_spacing is None else tuple(round(item, 3) for item in header.pixel_spacing)
        key = (header.series_uid, kind_of(header), header.rows, header.columns, spacing, plane)
        groups.setdefault(key, []).append(header)
    infos = [
        SeriesInfo(
            series_uid=items[0].series_uid,
            study_uid=items[0].study_uid,
            kind=kind_of(items[0]),
            images=len(items),
            voxels=items[0].rows * items[0].columns * len({item.position for item in items}),
            description=items[0].description,
            headers=tuple(items),
        )
        for items in groups.values()
    ]
    return sorted(infos, key=lambda info: (info.kind != "ct", -info.voxels, info.headers[0].series_number))


def _same_direction(header: SliceHeader, known: list[np.ndarray[Any, Any]]) -> int:
    """Return the number of the orientation within 0.01 of this one (0.6 degrees), -1 for none."""
    if header.orientation is None:
        return -1
    mine = np.array(header.orientation)
    for index, other in enumerate(known):
        if np.abs(mine - other).max() < 0.01:
            return index
    known.append(mine)
    return len(known) - 1


_REFUSALS = {
    "localizer": ("localizer", "This is a localizer (scout) image, not a CT volume."),
    "colour": ("colour", "These are colour images, not CT values."),
    "summary": ("not_ct", "These are dose or protocol pages, not a CT volume."),
    "secondary": ("not_ct", "These are secondary captures (screenshots), not a CT volume."),
    "not_ct": ("not_ct", "These images are not CT."),
}


def _choose(groups: list[SeriesInfo], path: Path, series_uid: str | None) -> SeriesInfo:
    """Pick the largest CT volume, or of the series asked for."""
    if path.is_file():
        own = next(info for info in groups if any(item.path == path for item in info.headers))
        if own.kind != "ct":
            code, message = _REFUSALS[own.kind]
            raise StudyRefused(message, code=code, path=path)
    offered = [info for info in groups if series_uid is None or info.series_uid == series_uid]
    if not offered:
        raise StudyRefused("The study holds no series with this UID.", code="unreadable", path=path)
    if offered[0].kind != "ct":
        kinds = {info.kind for info in offered}
        code, message = _REFUSALS[offered[0].kind if len(kinds) == 1 else "not_ct"]
        raise StudyRefused(message, code=code, path=path)
    return offered[0]


def _decodable(chosen: SeriesInfo, skipped: Counter[str], path: Path) -> tuple[list[SliceHeader], Counter[str]]:
    """Leave out slices whose pixels are cut short or cannot be decoded here; refuse if none remains."""
    usable: list[SliceHeader] = []
    refusal: StudyRefused | None = None
    skipped = Counter(skipped)
    sentences: dict[str, str | None] = {}
    for header in chosen.headers:
        key = header.syntax if header.encapsulated else ""
        if key not in sentences:
            sentences[key] = unsupported(header)
        sentence = sentences[key]
        if not header.truncated and sentence is None:
            usable.append(header)
            continue
        code = "truncated" if header.truncated else "unsupported_syntax"
        if refusal is None or header.path == path:
            message = sentence or "The pixel data is shorter than the header says."
            refusal = StudyRefused(message, code=code, path=path)
        skipped[code] += 1
    # a file that the user named is not replaced by another one at its position
    if refusal is not None and (not usable or _stands_alone(chosen, path, usable)):
        raise refusal
    return usable, skipped


def _stands_alone(chosen: SeriesInfo, path: Path, usable: list[SliceHeader]) -> bool:
    if not path.is_file() or any(item.path == path for item in usable):
        return False
    return len({item.position for item in chosen.headers}) < 2

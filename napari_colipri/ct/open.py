"""From a path to a CT volume and its passport, by what the bytes are and not by what the file is called."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_colipri.ct.checks import sample, voxel_reasons
from napari_colipri.ct.geometry import geometry_facts, geometry_reasons
from napari_colipri.ct.passport import CODES, Passport, Reason, passport_from_reasons, reason
from napari_colipri.ct.readers.archive import unpacked
from napari_colipri.ct.readers.dicom_elements import looks_like_dicom
from napari_colipri.ct.readers.nifti import is_nifti
from napari_colipri.ct.readers.stream import GZIP_MAGIC
from napari_colipri.ct.volume import CTVolume
from napari_colipri.errors import ColipriError, OutOfResources, StudyRefused
from napari_colipri.progress import CancelToken, Progress, report_nothing

if TYPE_CHECKING:
    from napari_colipri.ct.readers.dicom import AskSeries

__all__ = ["format_of", "open_volume", "read_passport"]

_LOG = logging.getLogger(__name__)

Format = Literal["folder", "dicom", "nifti", "itk", "zip"]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def open_volume(
    path: Path | str,
    *,
    series_uid: str | None = None,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
    ask: AskSeries | None = None,
) -> CTVolume:
    """Open a study.

    Parameters
    ----------
    path
        A NIfTI, NRRD or MetaImage file, a DICOM folder or one file of it, or a zip of any of these.
    series_uid, progress, cancel, ask
        As :func:`napari_colipri.ct.readers.dicom.read_dicom` takes them; other formats hold one volume.

    Returns
    -------
    CTVolume
        With all reasons that header, geometry and voxels give in its passport.

    Raises
    ------
    StudyRefused
        If it cannot be shown; whatever a file library raised on the way.
    OutOfResources
        If memory or disk do not suffice.
    Cancelled
        If ``cancel`` was set.
    """
    path = Path(path)
    try:
        volume = _read(path, series_uid, progress, cancel, ask)
    except StudyRefused as error:
        raise error.at(path) from error
    except ColipriError:
        raise
    except MemoryError:
        raise OutOfResources("There is not enough memory to read this study.", code="out_of_memory") from None
    except ImportError as error:
        message = f"A library that reads this format is not installed: {error.name}."
        raise StudyRefused(message, code="unreadable", path=path) from None
    except OSError as error:
        message = f"The study cannot be read: {error.strerror or 'the file system refused'}."
        raise StudyRefused(message, code="unreadable", path=path) from None
    except Exception as error:  # file libraries answer hostile bytes with any type; their texts may quote patient data
        _LOG.warning("A reader failed with %s.", type(error).__name__)
        raise StudyRefused(
            "The study cannot be read: its structure is damaged.", code="unreadable", path=path
        ) from None
    volume = _examined(volume)
    blocking = volume.passport.blocking("display")
    if blocking is not None:
        raise StudyRefused(blocking.message, code=blocking.code, path=path, passport=volume.passport)
    return volume


def read_passport(path: Path | str) -> Passport:
    """Say what may be done with any input; never raises for one.

    Returns
    -------
    Passport
        For what cannot be opened, the reason alone.
    """
    try:
        volume = open_volume(path)
        return replace(volume.passport, study={**volume.passport.study, "fingerprint": volume.fingerprint})
    except StudyRefused as error:
        return error.passport or _refusal(error.code, error.message)
    except ColipriError as error:
        return _refusal("too_large" if isinstance(error, OutOfResources) else "unreadable", error.message)
    except Exception as error:  # promised to every caller: any input has a passport
        _LOG.warning("A passport could not be made: %s.", type(error).__name__)
        return _refusal("unreadable", "The study cannot be read.")


def _refusal(code: str, message: str) -> Passport:
    known = code if code in CODES else "unreadable"
    return passport_from_reasons(reason(known, message, display="refuse", analyse="refuse"))


def format_of(path: Path) -> Format:
    """Tell a study's format from its bytes.

    Raises
    ------
    StudyRefused
        ``unreadable``, ``empty``, ``not_dicom`` (named as DICOM) or ``not_an_image``.
    """
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise StudyRefused("There is no such file or folder.", code="unreadable", path=path)
    if not path.is_file():
        raise StudyRefused("This is neither a file nor a folder.", code="unreadable", path=path)
    with path.open("rb") as file:
        head = file.read(2048)
    if not head:
        raise StudyRefused("The file is empty (0 bytes).", code="empty", path=path)
    found = _known(head, path)
    if found is not None:
        return found
    if path.suffix.lower() in (".dcm", ".ima", ".dicom"):
        raise StudyRefused("The file is not DICOM, although it is named so.", code="not_dicom", path=path)
    message = "The file is no CT image of a known kind (NIfTI, NRRD, MetaImage, DICOM, or a zip of one)."
    raise StudyRefused(message, code="not_an_image", path=path)


def _known(head: bytes, path: Path) -> Format | None:
    if head.startswith(_ZIP):
        return "zip"
    if is_nifti(path) or (_may_be_nifti(head) and path.name.lower().endswith((".nii", ".nii.gz", ".hdr"))):
        return "nifti"
    if head.startswith(b"NRRD00") or b"NDims" in head[:512] or b"ObjectType" in head[:512]:
        return "itk"
    return "dicom" if looks_like_dicom(head) else None


def _may_be_nifti(head: bytes) -> bool:
    """Whether a file named as NIfTI is a broken one rather than something else: the NIfTI reader then says why."""
    sizes = [struct.pack(order + "i", size) for size in (348, 540) for order in "<>"]
    return head.startswith((GZIP_MAGIC, *sizes))


def _read(
    path: Path, series_uid: str | None, progress: Progress, cancel: CancelToken | None, ask: AskSeries | None
) -> CTVolume:
    kind = format_of(path)
    if kind == "zip":
        with unpacked(path, lambda part, said: progress(0.4 * part, said), cancel) as folder:
            inner = _read(folder, series_uid, lambda part, said: progress(0.4 + 0.6 * part, said), cancel, ask)
        return replace(inner, source=replace(inner.source, path=str(path)))
    if kind == "nifti":
        from napari_colipri.ct.readers.nifti import read_nifti

        return read_nifti(path, progress, cancel)
    if kind == "itk":
        from napari_colipri.ct.readers.itk import read_itk

        return read_itk(path, progress, cancel)
    from napari_colipri.ct.readers.dicom import read_dicom

    try:
        return read_dicom(path, series_uid, progress, cancel, ask)
    except StudyRefused as error:
        only = _only_image(path) if kind == "folder" and error.code == "not_dicom" else None
        if only is None:
            raise
    return _read(only, series_uid, progress, cancel, ask)


def _only_image(folder: Path) -> Path | None:
    """Return the one NIfTI, NRRD or MetaImage file of a folder without DICOM, or None where there is a choice."""
    found = [item for item in folder.rglob("*") if item.is_file() and item.name.lower().endswith(_IMAGE_SUFFIXES)]
    return found[0] if len(found) == 1 else None


def _examined(volume: CTVolume) -> CTVolume:
    """Return the volume with the reasons of geometry and voxels, and the facts, in its passport."""
    passport = volume.passport
    reasons = list(passport.reasons)
    named = {item.code for item in reasons}
    # a regular stack with holes is described by its holes
    hidden = {"variable_spacing"} if "missing_slices" in named else set()
    shear = geometry_reasons(volume.geometry, gantry_tilt=volume.source.kind == "dicom")
    more: list[Reason] = [*shear, *voxel_reasons(volume)]
    reasons += [item for item in more if item.code not in named | hidden]
    voxels = sample(volume)
    study = {
        "kind": volume.source.kind,
        "dtype": volume.hu.dtype.name,
        "hu_range_sampled": [float(voxels.min()), float(voxels.max())],
        "same_patient_can_be_told": volume.source.patient_key is not None,
        **({} if volume.source.kernel is None else {"kernel": volume.source.kernel}),
        **passport.study,
    }
    geometry = {**geometry_facts(volume.geometry), **passport.geometry}
    return replace(volume, passport=Passport(tuple(reasons), geometry, study))

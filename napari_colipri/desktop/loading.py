"""Reading a study off the main thread: volume, display copy and fingerprint in one go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_colipri.desktop.series import several_series
from napari_colipri.errors import ColipriError, StudyRefused
from napari_colipri.progress import CancelToken, Progress

if TYPE_CHECKING:
    from napari_colipri.ct.display import DisplayVolume
    from napari_colipri.ct.readers.dicom import SeriesInfo
    from napari_colipri.ct.volume import CTVolume
    from napari_colipri.engine.bundle import Bundle

__all__ = ["LoadedStudy", "advice_for", "in_training_range", "load_study", "sentence_for", "study_name"]

_NAMELESS = {"dicom", "dcm", "dicomdir", "images", "image", "series", "ct", "ct.nii.gz"}


@dataclass(frozen=True, eq=False)
class LoadedStudy:
    """A study that is ready to be shown."""

    volume: CTVolume
    display: DisplayVolume
    name: str


def study_name(path: str | Path) -> str:
    """Return what the layer list and the dock call a study: its file's or folder's name without the format's ending.

    A folder that is only called "dicom" or the like takes the name of the one around it.
    """
    whole = Path(path)
    name = whole.name or str(path)
    if name.lower() in _NAMELESS and whole.absolute().parent.name:
        return whole.absolute().parent.name
    for ending in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip", ".dcm"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def load_study(
    path: str | Path, progress: Progress, cancel: CancelToken, *, series_uid: str | None = None, ask: bool = False
) -> LoadedStudy:
    """Read a study and prepare its display copy.

    Parameters
    ----------
    path
        File or folder.
    progress, cancel
        Told and asked while reading.
    series_uid
        Which series of a DICOM folder.
    ask
        Whether to ask where there are several; if not, the largest CT volume is read and its passport says so.

    Raises
    ------
    SeveralSeries
        Only with ``ask``.
    StudyRefused
        With the reason's sentence.
    Cancelled
        If ``cancel`` was set.
    """
    from napari_colipri.ct.display import to_display
    from napari_colipri.ct.open import open_volume
    from napari_colipri.desktop.layers import warm_up

    def several(groups: list[SeriesInfo]) -> str | None:
        from napari_colipri.ct.readers.dicom import LEAST_IMAGES

        raise several_series(groups, LEAST_IMAGES)

    def reading(fraction: float, text: str) -> None:
        progress(0.85 * fraction, text)

    question = several if ask else None
    volume = open_volume(path, series_uid=series_uid, progress=reading, cancel=cancel, ask=question)
    cancel.check()
    progress(0.88, "Preparing the planes")
    display = to_display(volume)
    cancel.check()
    progress(0.95, "Fingerprint")
    _ = volume.fingerprint  # computed here once, so that the main thread never waits for it
    progress(0.98, "Preparing the planes")
    warm_up()
    progress(1.0, "Ready")
    return LoadedStudy(volume, display, study_name(path))


def in_training_range(study: LoadedStudy, bundle: Bundle) -> LoadedStudy:
    """Return ``study`` with what a bundle says about input like it in its passport, in place of another bundle's."""
    from napari_colipri.report.training_range import training_range_reasons

    volume = study.volume
    own = tuple(item for item in volume.passport.reasons if item.code != "outside_training_range")
    plain = replace(volume.passport, reasons=own)
    passport = plain.with_reasons(*training_range_reasons(volume, bundle.config.input.trained_on))
    if passport.reasons == volume.passport.reasons:
        return study
    wider = replace(volume, passport=passport)
    vars(wider)["fingerprint"] = volume.fingerprint  # of values and affine only: both are unchanged
    return replace(study, volume=wider)


def sentence_for(error: BaseException) -> str:
    """Return what went wrong, in one sentence without a traceback or a path."""
    if isinstance(error, ColipriError):
        return error.message
    if isinstance(error, MemoryError):
        return "There is not enough memory for this study."
    return f"The study could not be read ({type(error).__name__})."


def advice_for(error: BaseException) -> str:
    """Return what to do about an error that stopped a study from opening or an analysis from finishing."""
    code = error.code if isinstance(error, ColipriError) else ""
    if isinstance(error, StudyRefused):
        return {
            "unsupported_syntax": "Install the codec, if it names one, or export the series uncompressed.",
            "truncated": "Copy or export the study again.",
            "localizer": "Choose the folder of the axial series.",
            "not_ct": "This viewer is for CT.",
        }.get(code, "Choose another file or folder.")
    if code == "out_of_memory":
        return "Close other programs, or choose the CPU as device."
    if code in ("shared_memory", "disk_full"):
        return "Make room, then try again."
    if isinstance(error, (OSError, MemoryError)):
        return "Check the disk and the memory of this computer, then try again."
    return "Try again; `napari-colipri doctor` shows what works on this computer."

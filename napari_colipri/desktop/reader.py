"""napari's reader: looks at bytes, declines what is not CT, never raises before it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from napari_colipri.desktop.layers import study_layer_data
from napari_colipri.desktop.loading import load_study
from napari_colipri.desktop.open_docks import dock_of_current_viewer

__all__ = ["get_reader", "looks_like_ct", "read_study"]

LayerData: TypeAlias = tuple[Any, dict[str, Any], str]
_Path: TypeAlias = str | Path

#: So many files of a folder are looked at before it is declined; napari offers every folder to every plugin.
_FILES_TO_PEEK = 40
_HEAD = 512


def get_reader(path: _Path | Sequence[_Path]) -> Callable[[_Path | Sequence[_Path]], list[Any]] | None:
    """Return a reader where ``path`` may be a CT study, else None.

    With the dock open in the window, it is the dock that reads: in the background, with progress and *Cancel*, while
    :func:`read_study` would hold the window up until the study is there.

    Parameters
    ----------
    path
        A file, a folder, or a list of them (napari's stack); only a single study is taken.
    """
    one = _single(path)
    if one is None:
        return None
    try:
        if not looks_like_ct(Path(one)):
            return None
    except (OSError, ValueError):  # unreadable, vanished, a name the system cannot take: not ours
        return None
    return read_study if dock_of_current_viewer() is None else _hand_over


def _hand_over(path: _Path | Sequence[_Path]) -> list[Any]:
    """Let the dock open the study; napari takes the answer for "done, nothing to add"."""
    dock, one = dock_of_current_viewer(), _single(path)
    if dock is None or one is None:
        return list(read_study(path))
    if not _beside(dock.opener.opening, Path(one)):
        dock.open_study(one)
    return [(None,)]


def _beside(opening: Path | None, path: Path) -> bool:
    """Whether ``path`` is another slice of what is being opened: napari hands over a dropped selection file by file."""
    return opening is not None and opening != path and opening.parent == path.parent and _is_dicom(opening)


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(132)[128:132] == b"DICM"


def looks_like_ct(path: Path) -> bool:
    """Whether the first bytes of a file, or of files in a folder, are of a format that can hold a CT."""
    if path.is_dir():
        return _folder_holds_dicom(path)
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return head[:2] == b"\x1f\x8b" or head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] == b"n+2\0"
    if name.endswith((".nrrd", ".nhdr")):
        return head.startswith(b"NRRD000")
    if name.endswith((".mha", ".mhd")):
        return b"NDims" in head or b"ObjectType" in head
    if name.endswith(".zip"):
        return head.startswith(b"PK\x03\x04") and _zip_holds_study(path)
    return head[128:132] == b"DICM"


def read_study(path: _Path | Sequence[_Path]) -> list[LayerData]:
    """Read a study as one image layer [I, P, L] in HU.

    Raises
    ------
    StudyRefused
        With the reason in one sentence; napari shows it.
    """
    from napari_colipri.progress import CancelToken, report_nothing

    one = _single(path)
    if one is None:
        raise ValueError("COLIPRI opens one study at a time.")
    study = load_study(one, report_nothing, CancelToken())
    return [study_layer_data(study.volume, study.display, study.name)]


def _single(path: _Path | Sequence[_Path]) -> str | None:
    if isinstance(path, (str, Path)):
        return str(path)
    return str(path[0]) if len(path) == 1 else None


def _folder_holds_dicom(folder: Path) -> bool:
    looked = 0
    for item in sorted(folder.rglob("*"))[: 10 * _FILES_TO_PEEK]:
        if not item.is_file():
            continue
        looked += 1
        if _is_dicom(item):
            return True
        if looked >= _FILES_TO_PEEK:
            break
    return False


def _zip_holds_study(path: Path) -> bool:
    import zipfile

    endings = (".dcm", ".nii", ".nii.gz", ".nrrd", ".mha")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[: 10 * _FILES_TO_PEEK]
            if any(name.lower().endswith(endings) for name in names):
                return True
            for name in [name for name in names if not name.endswith("/")][:3]:
                with archive.open(name) as handle:
                    if handle.read(132)[128:132] == b"DICM":
                        return True
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):  # damaged, exotic or encrypted
        return False
    return False

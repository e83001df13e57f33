"""The shipped samples: two phantom studies with truth and report, and a library of sixteen phantom cases."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_colipri.atomic import write_json, write_text
from napari_colipri.ct.geometry import measure
from napari_colipri.ct.open import open_volume
from napari_colipri.ct.volume import CTVolume, Source
from napari_colipri.library import add_case, create
from training.phantom.classes import SHORT_CLASSES, merge_labels
from training.phantom.generate import Phantom, make_phantom
from training.phantom.report import write_report

if TYPE_CHECKING:
    from napari_colipri.engine.session import Session

__all__ = ["CASES", "STUDIES", "list_phantoms", "write_library", "write_studies"]

#: Folder name, seed, findings to plant.
STUDIES: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("normal", 20_000_001, ()),
    (
        "findings",
        20_000_002,
        ("Arterial wall calcification", "Cardiomegaly", "Lung nodule", "Pleural effusion", "Consolidation"),
    ),
)

#: Findings of the library's cases; the seed is 21,000,000 and the place in this list.
CASES: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("Cardiomegaly",),
    ("Cardiomegaly", "Pleural effusion"),
    ("Pleural effusion",),
    ("Pleural effusion", "Atelectasis"),
    ("Emphysema",),
    ("Emphysema", "Lung nodule"),
    ("Lung nodule",),
    ("Consolidation",),
    ("Lung opacity",),
    ("Lung opacity", "Consolidation"),
    ("Pericardial effusion",),
    ("Hiatal hernia",),
    ("Medical material", "Cardiomegaly"),
    ("Lymphadenopathy", "Arterial wall calcification"),
)
_FIRST_CASE = 21_000_000
_STUDY_GRID = ((240, 240, 160), (1.5, 1.5, 2.2))
_CASE_GRID = ((144, 144, 144), (2.5, 2.5, 2.5))
_STEP_HU = 5


def write_studies(folder: Path) -> None:
    """Write ``<study>/ct.nii.gz``, ``truth.nii.gz``, ``truth.json``, ``report.txt``, ``ORIGIN.md``; list them."""
    shape, spacing = _STUDY_GRID
    for name, seed, wanted in STUDIES:
        phantom = make_phantom(seed, shape=shape, spacing_mm=spacing, wanted=wanted, quiet=True)
        target = folder / "studies" / name
        target.mkdir(parents=True, exist_ok=True)
        # HU in steps of 5 halve the file and stay below the noise of a scanner
        _save((np.round(phantom.hu / _STEP_HU) * _STEP_HU).astype(np.int16), phantom.affine, target / "ct.nii.gz")
        _save(merge_labels(phantom.labels), phantom.affine, target / "truth.nii.gz")
        found = [vars(item) for item in phantom.findings]
        write_json(target / "truth.json", {"seed": seed, "classes": list(SHORT_CLASSES), "findings": found})
        write_text(target / "report.txt", _report(phantom) + "\n")
        write_text(
            target / "ORIGIN.md",
            "A procedural phantom of this project, not a patient.\n"
            f"Made by `python -m training phantom samples`, seed {seed}. Apache-2.0.\n",
        )
    list_phantoms(folder)


def list_phantoms(folder: Path) -> None:
    """Write the fingerprints by which the engine knows that a volume is one of these phantoms."""
    from napari_colipri.engine.domain import PHANTOMS_FILE

    volumes = (open_volume(path) for path in sorted((folder / "studies").glob("*/ct.nii.gz")))
    write_json(folder / PHANTOMS_FILE, {"phantoms": [volume.fingerprint for volume in volumes]})


def _report(phantom: Phantom) -> str:
    return write_report(phantom.findings, phantom.undecided, phantom.seed).text


def _save(array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64], path: Path) -> None:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)


def thumbnail(phantom: Phantom, size: int = 96) -> bytes:
    """Return a PNG of a coronal slice, lung-to-soft-tissue window, the patient's right on the left."""
    plane = phantom.hu[::-1, phantom.hu.shape[1] // 2, ::-1].T.astype(np.float32)
    grey = np.clip((plane + 1000) / 1400, 0, 1) * 255
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).resize((size, size)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_library(folder: Path, session: Session) -> None:
    """Encode the sixteen cases with ``session`` and write the case library."""
    target = folder / "library"
    bundle = session.bundle
    create(target, "Phantom cases", bundle.hash, bundle.config.vision.projection_dim)
    shape, spacing = _CASE_GRID
    for number, wanted in enumerate(CASES):
        phantom = make_phantom(_FIRST_CASE + number, shape=shape, spacing_mm=spacing, wanted=wanted, quiet=True)
        geometry = measure(phantom.hu.shape, phantom.affine)
        encoding = session.encode(
            CTVolume(phantom.hu, phantom.affine, geometry, Source("nifti", f"phantom-{number:02d}"))
        )
        add_case(
            target,
            case_id=f"phantom-{number:02d}",
            vector=encoding.pooled,
            text=_report(phantom),
            labels=[item.name for item in phantom.findings],
            thumbnail_png=thumbnail(phantom),
            origin="phantom of this project, not a patient",
        )

"""The shipped samples: two phantom studies with truth and report, and a library of sixteen phantom cases."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from napari_colipri.atomic import write_json
from napari_colipri.ct.open import open_volume
from napari_colipri.engine.domain import PHANTOMS_FILE
from napari_colipri.engine.session import Session
from napari_colipri.library import add_case, create
from training.embedded.evaluate import volume_of
from training.embedded.phantom import Grid, Phantom, make_phantom
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.report import plain_report_of

__all__ = ["CASES", "STUDIES", "list_phantoms", "write_library", "write_studies"]

#: Folder name, seed, findings to plant.
STUDIES: tuple[tuple[str, int, frozenset[str]], ...] = (
    ("normal", 20_000_001, frozenset()),
    (
        "findings",
        20_000_002,
        frozenset({"Cardiomegaly", "Pleural effusion", "Lung nodule", "Consolidation", "Arterial wall calcification"}),
    ),
)

#: Seeds and findings of the library's cases.
CASES: tuple[tuple[int, frozenset[str]], ...] = (
    (21_000_000, frozenset()),
    (21_000_001, frozenset()),
    (21_000_002, frozenset({"Cardiomegaly"})),
    (21_000_003, frozenset({"Cardiomegaly", "Pleural effusion"})),
    (21_000_004, frozenset({"Pleural effusion"})),
    (21_000_005, frozenset({"Pleural effusion", "Atelectasis"})),
    (21_000_006, frozenset({"Emphysema"})),
    (21_000_007, frozenset({"Emphysema", "Lung nodule"})),
    (21_000_008, frozenset({"Lung nodule"})),
    (21_000_009, frozenset({"Consolidation"})),
    (21_000_010, frozenset({"Lung opacity"})),
    (21_000_011, frozenset({"Lung opacity", "Consolidation"})),
    (21_000_012, frozenset({"Pericardial effusion"})),
    (21_000_013, frozenset({"Hiatal hernia"})),
    (21_000_014, frozenset({"Medical material", "Cardiomegaly"})),
    (21_000_015, frozenset({"Lymphadenopathy", "Arterial wall calcification"})),
)
_SAMPLE_GRID = Grid((256, 256, 160), (1.5, 1.5, 2.0), (0.0, -5.0, 0.0))
_CASE_GRID = Grid((144, 144, 120), (2.5, 2.5, 2.7), (0.0, -5.0, 0.0))


def write_studies(folder: Path) -> None:
    """Write ``<study>/ct.nii.gz``, ``truth.nii.gz``, ``truth.json``, ``report.txt``, ``ORIGIN.md``; list them."""
    for name, seed, wanted in STUDIES:
        phantom = make_phantom(seed, grid=_SAMPLE_GRID, wanted=wanted, quiet=True)
        target = folder / "studies" / name
        target.mkdir(parents=True, exist_ok=True)
        # HU in steps of 5 halve the file and stay below the noise of a scanner
        hu = (np.round(phantom.hu / 5.0) * 5).astype(np.int16)
        _save(hu, phantom.affine, target / "ct.nii.gz")
        _save(phantom.labels, phantom.affine, target / "truth.nii.gz")
        truth = {
            "seed": seed,
            "classes": list(CLASSES),
            "findings": [vars(item) for item in phantom.findings],
        }
        (target / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
        (target / "report.txt").write_text(plain_report_of(phantom) + "\n", encoding="utf-8")
        (target / "ORIGIN.md").write_text(
            "A procedural phantom of this project, not a patient.\n"
            f"Made by `python -m training samples`, seed {seed}. Apache-2.0.\n",
            encoding="utf-8",
        )
    list_phantoms(folder)


def list_phantoms(folder: Path) -> None:
    """Write the fingerprints by which the engine knows that a volume is one of these phantoms."""
    volumes = (open_volume(path) for path in sorted((folder / "studies").glob("*/ct.nii.gz")))
    write_json(folder / PHANTOMS_FILE, {"phantoms": [volume.fingerprint for volume in volumes]})


def _save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)


def thumbnail(phantom: Phantom, size: int = 96) -> bytes:
    """PNG of the coronal slice through the heart, lung-to-soft-tissue window, the patient's right on the left."""
    middle = phantom.hu.shape[1] // 2 + 6
    plane = phantom.hu[::-1, middle, ::-1].T.astype(np.float32)
    grey = np.clip((plane + 1000) / 1400, 0, 1) * 255
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).resize((size, size)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_library(folder: Path, session: Session) -> None:
    """Encode the sixteen cases with ``session`` and write the case library."""
    target = folder / "library"
    bundle = session.bundle
    create(target, "Phantom cases", bundle.hash, bundle.config.vision.projection_dim)
    for seed, wanted in CASES:
        phantom = make_phantom(seed, grid=_CASE_GRID, wanted=wanted, quiet=True)
        encoding = session.encode(volume_of(phantom))
        add_case(
            target,
            case_id=f"phantom-{seed - 21_000_000:02d}",
            vector=encoding.pooled,
            text=plain_report_of(phantom),
            labels=[item.name for item in phantom.findings],
            thumbnail_png=thumbnail(phantom),
            origin="phantom of this project, not a patient",
        )

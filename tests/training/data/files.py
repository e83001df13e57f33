"""Small CT files for tests: a schematic chest on disk, manifests of it, prepared folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from tests.volumes import affine_for, chest, make_volume
from training.data.manifest import read_manifest
from training.data.plan import Plan
from training.data.preprocess import preprocess
from training.data.store import Prepared, studies_in

SHAPE = (42, 30, 40)
SPACING = (8.0, 8.0, 8.0)
COARSE = Plan(axis_order="RAS", spacing_mm=(10.0, 10.0, 10.0), chunk=16, block=8)


def chest_hu(seed: int = 0, shape: Sequence[int] = SHAPE, codes: str = "RAS") -> tuple[npt.NDArray[np.int16], Any]:
    """HU of a noisy schematic chest and its affine."""
    affine = affine_for(codes, SPACING, shape)
    hu = make_volume(affine, shape, chest, dtype=np.int16).hu
    noise = np.random.default_rng(seed).normal(0, 10, hu.shape)
    return np.clip(hu + noise, -1020, 3000).astype(np.int16), affine


def write_nifti(path: Path, values: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def record(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "image": f"images/{number}.nii.gz",
        "report": f"Study {number} shows a nodule.",
        "labels": {"Lung nodule": 1, "Emphysema": 0},
        "masks": None,
        "patient": f"p{number}",
        "study": f"s{number}",
        "split": "train",
        "source": "tiny",
    } | changes


def write_lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in records), encoding="utf-8")
    return path


def tiny_set(folder: Path, count: int = 3, **changes: Any) -> Path:
    """Write so many chests and their manifest; returns the manifest."""
    for number in range(count):
        write_nifti(folder / f"images/{number}.nii.gz", *chest_hu(number))
    return write_lines(folder / "manifest.jsonl", *(record(number, **changes) for number in range(count)))


def prepared(manifest: Path, out: Path, plan: Plan = COARSE) -> list[Prepared]:
    """Prepare a manifest's studies."""
    preprocess(read_manifest(manifest), manifest.parent, out, plan)
    return studies_in(out)

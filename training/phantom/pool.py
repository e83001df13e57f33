"""A pool of phantoms on disk: one small file each, made once, resumable; and the manifest lines that lead to them.

A file is an ``.npz`` without pickle, deflated at the fastest level: ``hu`` int16, ``labels`` uint8, ``truth`` uint32,
``present`` float32, ``affine`` float64, and ``text``, a JSON text as bytes with findings, reports and settings.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.atomic import replace_file
from napari_colipri.errors import ColipriError
from napari_colipri.text.findings import FINDING_NAMES
from training.phantom.findings import BIT, CHANCE, Finding
from training.phantom.generate import Phantom, make_phantom
from training.phantom.protocol import Regime
from training.phantom.report import WORDINGS, write_report

__all__ = [
    "FORMAT",
    "Stored",
    "boxes_of",
    "fill_pool",
    "manifest_record",
    "path_of",
    "read_phantom",
    "write_nifti",
    "write_phantom",
]

FORMAT = "phantom-2"
REPORTS = 4  # texts per phantom and wording


@dataclass(frozen=True, eq=False)
class Stored:
    """A phantom read back; arrays as in :class:`~training.phantom.generate.Phantom`.

    Attributes
    ----------
    reports
        Texts by wording, several of each.
    facts
        Seed, regime, settings and patient, as written.
    """

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint32]
    present: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    findings: tuple[Finding, ...]
    undecided: tuple[str, ...]
    reports: dict[str, tuple[str, ...]]
    facts: dict[str, Any]


def path_of(folder: Path, seed: int) -> Path:
    """Return where the phantom of a seed lies in a pool."""
    return folder / f"{seed:08d}.npz"


def write_phantom(path: Path, phantom: Phantom) -> None:
    """Write a phantom with its reports, whole or not at all."""
    reports = {
        wording: [
            write_report(phantom.findings, phantom.undecided, phantom.seed, variant=n, wording=wording).text
            for n in range(REPORTS if wording == "train" else 1)
        ]
        for wording in WORDINGS
    }
    text = {
        "format": FORMAT,
        "seed": phantom.seed,
        "findings": [asdict(item) for item in phantom.findings],
        "undecided": phantom.undecided,
        "reports": reports,
        "patient": asdict(phantom.patient),
        "protocol": asdict(phantom.protocol),
    }
    arrays = {
        "hu": phantom.hu,
        "labels": phantom.labels,
        "truth": phantom.truth,
        "present": phantom.present,
        "affine": phantom.affine,
        "text": np.frombuffer(json.dumps(text, allow_nan=False).encode(), np.uint8),
    }
    with replace_file(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def read_phantom(path: Path) -> Stored:
    """Read a phantom.

    Raises
    ------
    ColipriError
        If the file is no phantom of this format.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            text = json.loads(data["text"].tobytes())
            arrays = {name: data[name] for name in ("hu", "labels", "truth", "present", "affine")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ColipriError(f"{path.name} is no phantom that can be read: {error}.", code="phantom_unreadable") from None
    if text.get("format") != FORMAT:
        raise ColipriError(f"{path.name} was written in another format than {FORMAT}.", code="phantom_format")
    findings = tuple(Finding(**{**item, "centre_mm": tuple(item["centre_mm"])}) for item in text["findings"])
    reports = {wording: tuple(lines) for wording, lines in text["reports"].items()}
    facts = {key: text[key] for key in ("seed", "patient", "protocol")}
    return Stored(**arrays, findings=findings, undecided=tuple(text["undecided"]), reports=reports, facts=facts)


def fill_pool(
    folder: Path,
    seeds: Sequence[int],
    *,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    regime: Regime = "train",
    randomised: bool = False,
    chance: float = CHANCE,
    device: str = "cpu",
) -> Iterator[int]:
    """Make the phantoms of ``seeds`` that ``folder`` lacks; yields each seed when its file is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = path_of(folder, seed)
        if not path.exists():
            phantom = make_phantom(
                seed,
                shape=shape,
                spacing_mm=spacing_mm,
                chance=chance,
                regime=regime,
                randomised=randomised,
                device=device,
            )
            write_phantom(path, phantom)
        yield seed


def boxes_of(stored: Stored) -> dict[str, list[tuple[float, ...]]]:
    """Return the box of each finding's voxels: lower and upper corner, RAS mm."""
    out: dict[str, list[tuple[float, ...]]] = {}
    spacing = np.diag(stored.affine)[:3]
    for item in stored.findings:
        where = np.argwhere((stored.truth >> np.uint32(BIT[item.name])) & np.uint32(1))
        if len(where):
            low = stored.affine[:3, 3] + (where.min(axis=0) - 0.5) * spacing
            high = stored.affine[:3, 3] + (where.max(axis=0) + 0.5) * spacing
            out[item.name] = [tuple(round(float(v), 2) for v in (*low, *high))]
    return out


def write_nifti(stored: Stored, stem: Path) -> tuple[Path, Path]:
    """Write image and label map beside ``stem`` as NIfTI, each whole or not at all; returns both paths."""
    import nibabel

    paths = (stem.with_name(f"{stem.name}.nii.gz"), stem.with_name(f"{stem.name}_labels.nii.gz"))
    for path, values in zip(paths, (stored.hu, stored.labels), strict=True):
        image = nibabel.Nifti1Image(values, stored.affine)
        image.set_sform(stored.affine, 1)
        image.set_qform(stored.affine, 1)
        with replace_file(path) as beside:
            nibabel.save(image, beside)
    return paths


def manifest_record(
    stored: Stored, image: str, masks: str | None, *, split: str, wording: str = "train", variant: int = 0
) -> dict[str, Any]:
    """Return a manifest line as an object: image, report, labels, masks, patient, study, split, source, boxes.

    Parameters
    ----------
    stored
        Phantom.
    image, masks
        Paths as the manifest shall hold them.
    split
        ``train``, ``valid`` or ``test``.
    wording, variant
        Which of the stored reports.
    """
    texts = stored.reports[wording]
    labels = {
        name: None if np.isnan(value) else int(value) for name, value in zip(FINDING_NAMES, stored.present, strict=True)
    }
    name = f"phantom-{stored.facts['seed']:08d}"
    return {
        "image": image,
        "report": texts[variant % len(texts)],
        "labels": labels,
        "masks": masks,
        "patient": name,
        "study": name,
        "split": split,
        "source": "phantom",
        "boxes": boxes_of(stored),
        "boxes_complete": True,
    }

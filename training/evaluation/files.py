"""Inputs of the evaluation commands that are not score tables: embeddings with facts, folders of masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.text.findings import FINDING_NAMES
from training.evaluation.bootstrap import Floats
from training.evaluation.facts import Fact, facts_from_json
from training.evaluation.scores import EvaluationError, read_lines

__all__ = ["Embeddings", "mask_pairs", "read_classes", "read_embeddings", "read_json", "write_embeddings"]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Image and text embeddings of studies whose facts are known.

    Attributes
    ----------
    image, text
        float64 [N, D].
    facts
        Per study.
    patient, study
        Keys.
    sizeless
        Embeddings of the reports without their sizes, [N, D], or None.
    """

    image: Floats
    text: Floats
    facts: tuple[tuple[Fact, ...], ...]
    patient: tuple[str, ...]
    study: tuple[str, ...]
    sizeless: Floats | None = None

    @property
    def labels(self) -> npt.NDArray[np.bool_]:
        """Findings present [N, F]; the canonical ones first."""
        names = dict.fromkeys([*FINDING_NAMES, *(fact.finding for facts in self.facts for fact in facts)])
        held = [{fact.finding for fact in facts} for facts in self.facts]
        return np.array([[name in row for name in names] for row in held], dtype=np.bool_)


def write_embeddings(values: Embeddings, folder: Path) -> None:
    """Write ``embeddings.npz`` and ``facts.jsonl`` into ``folder``."""
    from napari_colipri.atomic import replace_file, write_text

    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / "embeddings.npz") as temporary:
        arrays = {"image": values.image, "text": values.text}
        arrays |= {} if values.sizeless is None else {"sizeless": values.sizeless}
        np.savez(temporary, **{key: array.astype(np.float32) for key, array in arrays.items()})  # type: ignore[arg-type]
    lines = [
        json.dumps({"study": study, "patient": patient, "facts": [vars(fact) for fact in facts]})
        for study, patient, facts in zip(values.study, values.patient, values.facts, strict=True)
    ]
    write_text(folder / "facts.jsonl", "\n".join(lines) + "\n")


def read_embeddings(folder: Path) -> Embeddings:
    """Read what :func:`write_embeddings` wrote.

    Raises
    ------
    EvaluationError
        Naming what is missing or does not fit.
    """
    path = folder / "embeddings.npz"
    try:
        with np.load(path, allow_pickle=False) as data:
            image, text = (data[key].astype(np.float64) for key in ("image", "text"))
            sizeless = data["sizeless"].astype(np.float64) if "sizeless" in data.files else None
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{path.name} cannot be read: {error}.", code="unreadable") from error
    patient, study, facts = [], [], []
    for number, item in read_lines(folder / "facts.jsonl"):
        try:
            patient.append(str(item["patient"]))
            study.append(str(item["study"]))
            facts.append(facts_from_json(item["facts"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EvaluationError(f"facts.jsonl line {number}: missing or wrong {error}.", code="bad_line") from error
    if image.shape != text.shape or image.ndim != 2 or len(image) != len(study):
        raise EvaluationError(
            f"embeddings.npz holds {image.shape} and {text.shape}, facts.jsonl {len(study)} studies: they must agree.",
            code="mismatch",
        )
    return Embeddings(image, text, tuple(facts), tuple(patient), tuple(study), sizeless)


def read_classes(path: Path) -> dict[str, int]:
    """Read class names and labels from ``{name: label}``, ``segmentation.json`` or a bundle's list of classes.

    Raises
    ------
    EvaluationError
        If it is none of them.
    """
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and "classes" in values:
            values = values["classes"]
        if isinstance(values, list):
            return {str(item["name"]): int(item["label"]) for item in values}
        return {str(name): int(label) for name, label in values.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path.name} holds no table of classes: {error}.", code="bad_classes") from error


def mask_pairs(predicted: Path, reference: Path) -> Iterator[tuple[str, Any, Any, tuple[float, ...]]]:
    """Yield case, predicted and reference labels uint8 [X, Y, Z], spacing in mm, for files of the same name.

    Raises
    ------
    EvaluationError
        If a reference has no prediction, or affines differ.
    """
    import nibabel as nib

    paths = sorted(reference.glob("*.nii.gz")) + sorted(reference.glob("*.nii"))
    if not paths:
        raise EvaluationError("The reference folder holds no NIfTI file.", code="empty")
    for path in paths:
        other = predicted / path.name
        if not other.is_file():
            raise EvaluationError(f"{path.name} has no prediction.", code="missing_file")
        ours: Any = nib.load(other)
        theirs: Any = nib.load(path)
        if ours.shape != theirs.shape or not np.allclose(ours.affine, theirs.affine, atol=1e-3):
            raise EvaluationError(f"{path.name}: prediction and reference lie on different grids.", code="mismatch")
        labels = [np.asarray(each.dataobj).astype(np.uint8) for each in (ours, theirs)]
        yield (
            path.name.partition(".nii")[0],
            labels[0],
            labels[1],
            tuple(float(z) for z in theirs.header.get_zooms()[:3]),
        )


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    EvaluationError
        Naming the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise EvaluationError(f"{path.name} cannot be read as JSON: {reason}.", code="unreadable") from error

"""One line of a manifest: where a study lies, what is known about it, and to which split its patient belongs."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from napari_colipri.ct.geometry import is_singular
from napari_colipri.text.findings import FINDING_NAMES, finding_term

__all__ = ["SPLITS", "Box", "Correction", "Record", "Split", "label_vector", "report_text"]

Split: TypeAlias = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

_Text = Annotated[str, Field(min_length=1)]
_Row = tuple[float, float, float, float]
#: Two opposite corners, RAS mm: x, y, z of the lower, then of the upper one.
Box: TypeAlias = tuple[float, float, float, float, float, float]


class _Strict(BaseModel):
    """Immutable; a misspelt field is an error, since ignoring it would lose what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Correction(_Strict):
    """What an image's own header does not say, from a table beside it.

    Attributes
    ----------
    slope, intercept
        HU = slope · stored + intercept.
    affine
        Voxel to RAS mm, four rows, instead of the header's; None keeps the header's.
    apply
        ``"if_needed"`` rescales only where the stored values are not HU yet: public data sets have been published
        before and after such a correction under the same file names.
    """

    slope: float = 1.0
    intercept: float = 0.0
    affine: tuple[_Row, _Row, _Row, _Row] | None = None
    apply: Literal["if_needed", "always"] = "if_needed"

    @field_validator("slope", "intercept")
    @classmethod
    def _number(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value

    @field_validator("slope")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if value == 0:
            raise ValueError("a slope of 0 would erase the image")
        return value

    @field_validator("affine")
    @classmethod
    def _places_voxels(cls, value: Any) -> Any:
        if value is not None and is_singular(np.asarray(value, np.float64)):
            raise ValueError("places voxels nowhere: zero, absurd or parallel axes")
        return value


class Record(_Strict):
    """One study. Paths may be relative to the manifest's folder.

    Attributes
    ----------
    image
        A file or folder that the product's readers take, or an ``.npz`` of RAD-ChestCT.
    report
        The text itself, the path of a ``.txt`` file (one line that ends so), or None.
    labels
        Finding (CT-RATE's names) to 1, 0 or None (unknown); a finding that is not named is unknown.
    masks
        Label map as NIfTI, NRRD or MetaImage, 0 to 254; 255 is unknown. Or None.
    patient, study
        Identifiers within ``source``. All studies of a patient belong to one split.
    split, source
        Where it belongs and which data set it comes from.
    correction
        See :class:`Correction`.
    boxes
        Finding to boxes that hold it, RAS mm: a crop that leaves the box out makes the label unknown.
    boxes_complete
        Whether the boxes hold every place of their findings, as a phantom's truth does: a finding whose boxes are all
        cropped away is then absent rather than unknown.
    """

    image: _Text
    report: str | None = None
    labels: dict[str, Literal[0, 1] | None] = Field(default_factory=dict)
    masks: str | None = None
    patient: _Text
    study: _Text
    split: Split
    source: _Text
    correction: Correction | None = None
    boxes: dict[str, tuple[Box, ...]] = Field(default_factory=dict)
    boxes_complete: bool = False

    @field_validator("labels", "boxes")
    @classmethod
    def _known_findings(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name not in FINDING_NAMES:
                raise ValueError(f"{name!r} is no finding of CT-RATE{_suggestion(name)}")
        return value

    def image_path(self, folder: Path) -> Path:
        """Return the image's path; ``folder`` is the manifest's."""
        return folder / self.image

    def masks_path(self, folder: Path) -> Path | None:
        """Return the label map's path, or None."""
        return folder / self.masks if self.masks else None

    def report_path(self, folder: Path) -> Path | None:
        """Return the path of the report's file, or None where the text stands in the manifest."""
        text = self.report or ""
        return folder / text if text.lower().endswith(".txt") and "\n" not in text else None


def _suggestion(name: str) -> str:
    term = finding_term(name)
    near = [term.name] if term else difflib.get_close_matches(name, FINDING_NAMES, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def report_text(record: Record, folder: Path) -> str:
    """Return a record's report, "" where there is none.

    Raises
    ------
    OSError
        If its file cannot be read.
    """
    path = record.report_path(folder)
    text = path.read_text(encoding="utf-8") if path else record.report or ""
    return text.strip()


def label_vector(labels: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return float32 [18] in canonical order: 1, 0, NaN where unknown."""
    values = [labels.get(name) for name in FINDING_NAMES]
    return np.array([np.nan if value is None else float(value) for value in values], np.float32)

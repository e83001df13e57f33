"""Values that travel between the engine and the rest of the house: frozen, numpy only, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "Encoding",
    "Finding",
    "Findings",
    "GeneratedReport",
    "HeatMap",
    "ModelGrid",
    "Segmentation",
    "SegmentationClass",
]


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """A volume as the encoder takes it.

    Attributes
    ----------
    values
        float32 [X, Y, Z] in [-1, 1].
    affine
        Model-grid index to RAS mm, 4 x 4 float64.
    inside
        Slices (start, stop) per axis of ``values`` that hold image rather than padding.
    """

    values: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    inside: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Encoding:
    """What a vision tower makes of one volume, once.

    Attributes
    ----------
    tokens
        float16 [X, Y, Z, C], before the projector.
    pooled
        float32 [D], L2-normalised, comparable with text.
    affine
        Token index (centre of its patch) to RAS mm, 4 x 4 float64.
    inside
        bool [X, Y, Z]: tokens whose patch holds image rather than padding only.
    preset, precision, bundle_hash, volume_fingerprint
        Together with the preprocess version, the cache key.
    """

    tokens: npt.NDArray[np.float16]
    pooled: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    inside: npt.NDArray[np.bool_]
    preset: str
    precision: str
    bundle_hash: str
    volume_fingerprint: str


@dataclass(frozen=True)
class Finding:
    """One zero-shot answer.

    Attributes
    ----------
    name
        CT-RATE finding, or the user's own prompt.
    probability
        In [0, 1], or None where ``note`` says why there is no number.
    present, absent
        The two prompt ensembles that were compared.
    calibration
        None (uncalibrated) or {"method", "set", "n", "prevalence", "domain", "ece"}.
    note
        Such as "this model does not know these words".
    probe
        A second answer where the bundle has a probe: {"probability", "threshold", "called", "calibration"}; else None.
        It never takes the place of the first.
    """

    name: str
    probability: float | None
    present: tuple[str, ...]
    absent: tuple[str, ...]
    calibration: dict[str, Any] | None = None
    note: str | None = None
    probe: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        out: dict[str, Any] = {
            "name": self.name,
            "probability": self.probability,
            "prompts": {"present": list(self.present), "absent": list(self.absent)},
            "calibration": self.calibration,
        }
        if self.note is not None:
            out["note"] = self.note
        if self.probe is not None:
            out["probe"] = self.probe
        return out


@dataclass(frozen=True)
class Findings:
    """All answers for one encoding.

    Attributes
    ----------
    bundle
        Name of the bundle.
    bundle_hash
        Hash of its files.
    items
        In canonical order, the user's own prompts last.
    notes
        Sentences that must stand beside the numbers, such as "settings not verified".
    """

    bundle: str
    bundle_hash: str
    items: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "bundle": self.bundle,
            "bundle_hash": self.bundle_hash,
            "findings": [item.to_json() for item in self.items],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class GeneratedReport:
    """Text that a report decoder wrote, not checked by anybody.

    Attributes
    ----------
    sentences
        In the order in which they were written.
    finished
        False if the text was cut at the decoder's length.
    bundle, bundle_hash
        Which model wrote it.
    """

    sentences: tuple[str, ...]
    finished: bool
    bundle: str
    bundle_hash: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where a model responded to a text. Not a segmentation.

    Attributes
    ----------
    values
        float32 [X, Y, Z], difference of cosines with the present and the absent prompts; NaN outside the image.
    affine
        Index to RAS mm.
    peak_mm
        RAS mm of the highest value, refined between tokens.
    peak_value
        Its value.
    text
        What was asked.
    bundle
        Name of the bundle.
    """

    values: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    peak_mm: tuple[float, float, float]
    peak_value: float
    text: str
    bundle: str


@dataclass(frozen=True)
class SegmentationClass:
    """One class of a mask.

    Attributes
    ----------
    label
        Value in the label array.
    name, display_name
        TotalSegmentator's name where it has one, and the words on screen.
    volume_ml
        On the source grid, ml.
    mean_hu
        HU, or None for an empty class.
    touches_border
        Whether any voxel lies on the border of the volume: the structure may be cut off.
    code
        {"scheme", "value", "meaning"} (SNOMED CT), or None.
    """

    label: int
    name: str
    display_name: str
    volume_ml: float
    mean_hu: float | None
    touches_border: bool
    code: dict[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Masks on the source grid.

    Attributes
    ----------
    labels
        uint8 [i, j, k], 0 = background, same shape as the volume's HU.
    classes
        One entry per class the decoder knows, empty ones included.
    bundle, bundle_hash
        Which model made it.
    """

    labels: npt.NDArray[np.uint8]
    classes: tuple[SegmentationClass, ...]
    bundle: str
    bundle_hash: str
    notes: tuple[str, ...] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "bundle": self.bundle,
            "bundle_hash": self.bundle_hash,
            "classes": [item.to_json() for item in self.classes],
            "notes": list(self.notes),
        }

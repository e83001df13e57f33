"""What can be checked about a sentence without a person: geometry, borders, sides, claims of change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_colipri.ct.geometry import index_to_ras
from napari_colipri.ct.passport import Passport
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Segmentation, SegmentationClass
from napari_colipri.text.extract import sentence_mentions
from napari_colipri.text.side_and_size import comparison_words, side_of_name, sides_in, without_side

__all__ = ["Check", "answer_check", "border_check", "geometry_check", "mirrored_pairs", "text_checks"]

# Codes that bear on where things are and how large they measure.
_GEOMETRY_CODES = frozenset(
    {
        "unknown_orientation",
        "sheared",
        "gantry_tilt",
        "oblique",
        "variable_spacing",
        "missing_slices",
        "duplicate_slices",
        "mixed_orientation",
        "non_axial",
        "position_mismatch",
    }
)
_STRIDE = 4  # every 4th voxel along each axis places a lung's centre to a fraction of a millimetre


@dataclass(frozen=True)
class Check:
    """One automatic check.

    Attributes
    ----------
    code
        ``geometry``, ``border``, ``laterality``, ``no_prior`` or ``answer``.
    result
        ``"ok"``, or ``"warn"``: shown beside the sentence, never in its way.
    message
        One sentence.
    """

    code: str
    result: Literal["ok", "warn"]
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return dict(vars(self))


def geometry_check(passport: Passport) -> Check:
    """Carry the verdict on the study's geometry to a measurement or a place."""
    odd = [item for item in passport.reasons if item.code in _GEOMETRY_CODES]
    if not odd:
        return Check("geometry", "ok", "Orthogonal grid with evenly spaced slices and a known orientation.")
    return Check("geometry", "warn", " ".join(item.message for item in odd))


def border_check(item: SegmentationClass) -> Check:
    """Say whether a structure may be cut off by the edge of the volume."""
    if item.touches_border:
        return Check(
            "border", "warn", "Touches the border of the volume: it may be cut off and its true volume larger."
        )
    return Check("border", "ok", "Does not touch the border of the volume.")


def text_checks(text: str, *, orientation_known: bool) -> tuple[Check, ...]:
    """Check the words of a sentence.

    Parameters
    ----------
    text
        One sentence.
    orientation_known
        Whether the file says where left is.

    Returns
    -------
    tuple of Check
        ``no_prior`` always; ``laterality`` where the sentence names a side.
    """
    words = comparison_words(text)
    if words:
        named = ", ".join(f"'{word}'" for word in words)
        checks = [Check("no_prior", "warn", f"{named} compares with an earlier study, and none was given.")]
    else:
        checks = [Check("no_prior", "ok", "Makes no comparison with an earlier study.")]
    if sides_in(text):
        if orientation_known:
            checks.append(Check("laterality", "ok", "Left and right follow the orientation that the file states."))
        else:
            checks.append(Check("laterality", "warn", "The file states no orientation: left and right cannot be told."))
    return tuple(checks)


def answer_check(text: str, answers: Iterable[Mapping[str, Any]]) -> Check | None:
    """Compare what a sentence says about the 18 findings with what the model answered.

    Parameters
    ----------
    text
        One sentence, as a reader has written it.
    answers
        Evidence of a draft; what is not of kind ``finding`` or has no probability is passed over.

    Returns
    -------
    Check or None
        ``answer``: a warning where the sentence says the opposite of an answer; None where it speaks of no finding that
        the model answered, or only of possibilities. The reader may well be right: the check says what to look at.
    """
    known = {
        item["name"]: item for item in answers if item.get("kind") == "finding" and item["probability"] is not None
    }
    said = {m.finding: m.polarity == "present" for m in sentence_mentions(text) if m.polarity != "uncertain"}
    differing, compared = [], False
    for name in said.keys() & known.keys():
        compared = True
        probability, threshold = known[name]["probability"], known[name]["threshold"]
        if said[name] != (probability >= threshold):
            words = "is there" if said[name] else "is absent"
            differing.append(f"{name} {words} by this sentence, while the model answers {probability:.2f}.")
    if not compared:
        return None
    return Check(
        "answer", "warn" if differing else "ok", " ".join(sorted(differing)) or "Agrees with the model's answer."
    )


def mirrored_pairs(segmentation: Segmentation, volume: CTVolume) -> frozenset[str]:
    """Return the classes of left-right pairs whose masks lie on the wrong sides of each other.

    Mask and affine are two witnesses of the side; a pair on which they disagree (a flipped file, or a model that does
    not know left from right) must not be reported as if they agreed.

    Parameters
    ----------
    segmentation, volume
        On the same source grid.

    Returns
    -------
    frozenset of str
        Class names; empty where the orientation is unknown.
    """
    if not volume.geometry.orientation_known:
        return frozenset()
    coarse = segmentation.labels[::_STRIDE, ::_STRIDE, ::_STRIDE]
    pairs: dict[str, dict[str, SegmentationClass]] = {}
    for item in segmentation.classes:
        side = side_of_name(item.name)
        if side is not None and item.volume_ml > 0:
            pairs.setdefault(without_side(item.name), {})[side] = item
    wrong: set[str] = set()
    for pair in pairs.values():
        if len(pair) == 2:
            left, right = (_centre_r(coarse == pair[side].label, volume) for side in ("left", "right"))
            if left is not None and right is not None and left > right:  # R grows to the patient's right
                wrong.update(item.name for item in pair.values())
    return frozenset(wrong)


def _centre_r(mask: np.ndarray[Any, np.dtype[np.bool_]], volume: CTVolume) -> float | None:
    index = np.argwhere(mask)
    if not len(index):
        return None
    return float(index_to_ras(volume, index.mean(axis=0) * _STRIDE)[0])

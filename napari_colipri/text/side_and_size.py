"""Words for left and right, sizes in millimetres, and words that compare with an earlier scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = [
    "Side",
    "comparison_words",
    "nearest",
    "side_of_name",
    "side_spans",
    "sides_in",
    "size_spans",
    "sizes_mm",
    "without_side",
]

Side: TypeAlias = Literal["left", "right"]

_LEFT = re.compile(r"\bleft(?:-sided)?\b", re.I)
_RIGHT = re.compile(r"\bright(?:-sided)?\b", re.I)
_BOTH = re.compile(r"\b(?:bilateral(?:ly)?|both (?:lungs|sides|kidneys|pleural spaces|hemithoraces))\b", re.I)

_SIZE = re.compile(r"(?<![\d.,])(\d+(?:[.,]\d+)?(?:\s*[x×]\s*\d+(?:[.,]\d+)?){0,2})\s*(mm|cm)\b", re.I)
_BETWEEN = re.compile(r"\s*[x×]\s*", re.I)

_JOINT = re.compile(r",| and ")
_JOINT_DISTANCE = 30  # characters: "effusion on the right and atelectasis on the left"

# Words that claim a change over time. "Hemodynamically stable" speaks of a patient, not of a finding.
_COMPARISON = re.compile(
    r"\b(?:(?<!hemodynamically )(?<!haemodynamically )stable|unchanged|no (?:\w+ )?(?:change|difference)|"
    r"interval|interim|increas(?:ed|ing)|decreas(?:ed|ing)|enlarging|progress(?:ed|ion|ing)|regress(?:ed|ion|ing)|"
    r"improv(?:ed|ing|ement)|worsen(?:ed|ing)|resolv(?:ed|ing)|resolution of|newly|new|previous(?:ly)?|"
    r"prior|persist(?:s|ed|ent|ing)|"
    r"compar(?:ed|ing|ison|atively)(?: (?:with|to|was made))?|"
    r"again (?:seen|noted|demonstrated|observed)|re-?demonstrated|"
    r"no longer|than before|since the (?:last|previous|prior)|still (?:seen|present|visible|noted)|"
    r"(?:old|earlier|last|former|outside) (?:ct|mri?|scan|study|studies|exam(?:ination)?s?|films?|images?|imaging)|"
    r"(?:ct|mri?|scan|study|exam(?:ination)?) (?:\w+ )?dated|(?:has|have) (?:grown|shrunk|enlarged|appeared|developed|"
    r"emerged|disappeared|cleared|formed)|just (?:appeared|emerged))\b",
    re.I,
)
# These describe a density or a size on one scan, measured against the normal.
_QUANTITY = (
    r"(?:attenuation|densit(?:y|ies)|lucency|opacity|aeration|heart size|cardio-?thoracic (?:ratio|index)|"
    r"(?:wall |septal )?thickness|calib(?:er|re)|diameters?|kyphosis|trabeculation|vascularity)"
)
_AGAINST_NORMAL = re.compile(
    rf"\b(?:in|de)creas(?:ed|ing) (?:\w+ )?{_QUANTITY}\b|"
    rf"\b{_QUANTITY} (?:is|are|was|were|has|have)? ?(?:in|de)creased\b"
    r"|\b(?:in|de)creased in favou?r of\b",
    re.I,
)


def sides_in(text: str) -> frozenset[Side]:
    """Return the sides that ``text`` speaks of; "bilateral" means both."""
    found: set[Side] = set()
    if _LEFT.search(text):
        found.add("left")
    if _RIGHT.search(text):
        found.add("right")
    if _BOTH.search(text):
        found.update(("left", "right"))
    return frozenset(found)


def side_of_name(name: str) -> Side | None:
    """Return the side in a class name such as ``lung_left`` or ``lung_upper_lobe_right``, or None."""
    parts = name.lower().replace(" ", "_").split("_")
    if "left" in parts:
        return "left"
    return "right" if "right" in parts else None


def without_side(name: str) -> str:
    """Return a class name or display name without its word for the side."""
    separator = "_" if "_" in name else " "
    return separator.join(part for part in name.split(separator) if part.lower() not in {"left", "right"})


def side_spans(text: str) -> tuple[tuple[int, int, frozenset[Side]], ...]:
    """Return where ``text`` names sides, (start, stop, sides), in reading order."""
    kinds: tuple[tuple[re.Pattern[str], frozenset[Side]], ...] = (
        (_LEFT, frozenset({"left"})),
        (_RIGHT, frozenset({"right"})),
        (_BOTH, frozenset({"left", "right"})),
    )
    return tuple(sorted((*match.span(), sides) for pattern, sides in kinds for match in pattern.finditer(text)))


def size_spans(text: str) -> tuple[tuple[int, int, float], ...]:
    """Return where ``text`` gives sizes, (start, stop, mm), the largest extent of each ("12 x 8 mm" gives 12)."""
    found = []
    for match in _SIZE.finditer(text):
        values = [float(part.replace(",", ".")) for part in _BETWEEN.split(match[1].strip())]
        found.append((*match.span(), max(values) * (10.0 if match[2].lower() == "cm" else 1.0)))
    return tuple(found)


def sizes_mm(text: str) -> tuple[float, ...]:
    """Return every size in ``text`` in millimetres, the largest extent of each."""
    return tuple(size for *_, size in size_spans(text))


def nearest(text: str, mark: tuple[int, int], words: Sequence[tuple[int, int]]) -> int:
    """Return which of ``words`` a side or a size belongs to: the nearest, where "and" and commas count as distance.

    Parameters
    ----------
    text
        One statement.
    mark
        Span of the side or size in it.
    words
        Spans of what it may belong to; at least one.
    """

    def distance(span: tuple[int, int]) -> int:
        between = text[min(span[1], mark[1]) : max(span[0], mark[0])]
        return len(between) + _JOINT_DISTANCE * len(_JOINT.findall(between))

    return min(range(len(words)), key=lambda index: distance(words[index]))


def comparison_words(text: str) -> tuple[str, ...]:
    """Return the words of ``text`` that compare with an earlier scan, in lower case.

    A single scan supports none of them. "Increased attenuation" or "heart size is increased" measure against the normal
    and are not meant.
    """
    return tuple(match.group().lower() for match in _COMPARISON.finditer(_AGAINST_NORMAL.sub("", text)))

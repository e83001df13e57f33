"""Where a finding lies, how many there are and how severe: the words around a mention."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from napari_colipri.text.scope import last_match

__all__ = ["Severity", "count_in", "places_in", "severity_in"]

Severity: TypeAlias = Literal["mild", "moderate", "severe"]

_LOBE = re.compile(
    r"\b(?:(?P<side>right|left) (?:lung )?)?(?P<lobe>upper|middle|lower)"
    r"(?: and (?P<other>upper|middle|lower))? lobes?\b(?: of (?:the )?(?P<after>right|left) lung)?"
)
_ABBREVIATED = {
    "rul": "right upper lobe",
    "rml": "right middle lobe",
    "rll": "right lower lobe",
    "lul": "left upper lobe",
    "lll": "left lower lobe",
}
_PLACE = re.compile(
    r"\b(?:lingula|apex|apices|apical|basal|bases?|hil(?:um|ar|a)|mediastin(?:um|al)|subcarinal|paratracheal|"
    r"prevascular|axilla(?:ry|e)?|aortic arch|ascending aorta|descending aorta|abdominal aorta|thoracic aorta|"
    r"coronary arteries|subpleural|peripheral|perihilar|central|fissure|pericardial|retrocardiac)\b|"
    rf"\b(?:{'|'.join(_ABBREVIATED)})\b"
)
_SAME = {
    "apices": "apex",
    "apical": "apex",
    "bases": "base",
    "basal": "base",
    "hilar": "hilum",
    "hila": "hilum",
    "mediastinal": "mediastinum",
    "axillary": "axilla",
    "axillae": "axilla",
}

_SEVERITY: tuple[tuple[Severity, re.Pattern[str]], ...] = (
    ("severe", re.compile(r"\b(?:severe|marked(?:ly)?|massive|extensive|large|advanced)\b")),
    ("moderate", re.compile(r"\bmoderate(?:ly)?\b")),
    (
        "mild",
        re.compile(r"\b(?:mild(?:ly)?|minimal(?:ly)?|slight(?:ly)?|small|trace|minor|subtle|tiny|millimetric|smear)\b"),
    ),
)

_NUMBERS = {"one": 1, "single": 1, "solitary": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_COUNT = re.compile(
    rf"(?<![\w.,:/-])(?:(?P<number>{'|'.join(_NUMBERS)}|\d{{1,2}}) (?!mm\b|cm\b|x |to )(?:\w+[ -]){{0,4}}?$|"
    r"(?P<many>multiple|several|numerous|few|many)\b)"
)
_ARTICLE = re.compile(r"\b(?:an?|another) (?:[\w.-]+ ){0,4}$")


def places_in(text: str) -> tuple[str, ...]:
    """Return the lobes and places named in lower-case ``text``, each once, in reading order."""
    found: dict[str, int] = {}
    for match in _LOBE.finditer(text):
        side = match["side"] or match["after"]
        for lobe in (match["lobe"], match["other"]):
            if lobe:
                found.setdefault(f"{side} {lobe} lobe" if side else f"{lobe} lobe", match.start())
    for match in _PLACE.finditer(text):
        word = match.group()
        found.setdefault(_ABBREVIATED.get(word) or _SAME.get(word, word), match.start())
    return tuple(sorted(found, key=lambda place: found[place]))


def severity_in(text: str) -> Severity | None:
    """Return the strongest word for how much of a finding there is, or None."""
    return next((name for name, pattern in _SEVERITY if pattern.search(text)), None)


def count_in(before: str, words: str) -> tuple[int | None, bool]:
    """Return how many are meant.

    Parameters
    ----------
    before
        Lower-case text of the clause before the finding's words.
    words
        The finding's words.

    Returns
    -------
    tuple
        The number, or None where none is given; and whether there are several.
    """
    match = last_match(_COUNT, before[-60:])
    if match is not None and match["number"]:
        number = _NUMBERS.get(match["number"]) or int(match["number"])
        return number, number > 1
    plural = words.endswith("s") and not words.endswith(("sis", "ss"))
    if match is not None or plural:
        return None, True
    return (1, False) if _ARTICLE.search(before[-60:]) else (None, False)

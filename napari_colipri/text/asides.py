"""What falls away when a sentence is denied: sizes, degrees, doubts, and the asides that carry them."""

from __future__ import annotations

import re

from napari_colipri.text.extract import sentence_mentions

__all__ = ["BE", "DEGREE", "SHOWS", "VERB", "is_aside", "plainer", "tidy"]

BE = r"(?:is|are|was|were|has been|have been|can be|could be|may be|might be)"
SHOWS = (
    r"(?:shows?|showed|demonstrates?|demonstrated|reveals?|revealed|contains?|has|have|had|includes?|included|holds?)"
)
#: A verb that makes a statement.
VERB = re.compile(rf"\b(?:{BE}|there|{SHOWS})\b", re.I)
#: One word of number or degree before a finding.
DEGREE = (
    r"(?:an?|some|several|multiple|numerous|a few|few|many|one|two|three|four|five|six|seven|eight|nine|ten|eleven|"
    r"twelve|\d{1,2}|single|solitary|mild(?:ly)?|small|minimal|moderate|severe|slight|trace|marked|massive|large|"
    r"extensive|tiny|subtle|minor|possible|probable|likely|suspected|questionable|millimetric|prominent|new|at least|"
    r"another)"
)
HINTS = r"(?:suspicious|suggestive|compatible|consistent)\b"

_SIZE = r"\d+(?:[.,]\d+)?(?:\s*[x×]\s*\d+(?:[.,]\d+)?){0,2}\s*-?(?:mm|cm)\b"
_EXTENT = r"(?:diameters?|sizes?|thickness|depth|length|width|(?:short|long) axis)"
_BEFORE = (
    r"(?:(?:that |which |and )?measur\w+|with|of|over|reaching|up to|about|approximately|and|less than|more than|"
    rf"(?:great|larg|small)er than|not exceeding|transverse|axial|maxim(?:al|um)|{_EXTENT})"
)
_AFTER = rf"(?: (?:in {_EXTENT}|across|deep|thick|long|wide|high|{_EXTENT}))?"
_SIZES = re.compile(
    rf",?\s*(?:\((?:[^()]*?){_SIZE}[^()]*\)|{_BEFORE}\s+(?:(?:{_BEFORE}|an?)\s+)*{_SIZE}{_AFTER}|{_SIZE}{_AFTER})"
    r"(?! (?:apart|from)\b)|\s*\((?:mild|moderate|severe|small)\)",
    re.I,
)
_HAS_SIZE = re.compile(_SIZE, re.I)
_SUPERLATIVE = re.compile(
    r"\s*(?:and )?(?:the )?(?:largest|biggest|longest|larger|thickest|some|most|all)\b|\s*(?:it|they|each)\b", re.I
)
_ONLY_DEGREE = re.compile(rf"\s*{DEGREE}(?: to {DEGREE})?\s*\Z", re.I)
_PLACE = re.compile(r"\s*(?:in|of|on|at|within)\b", re.I)
_DOUBT = re.compile(
    r"\s*\(?\?\)?|\b(?:possibly|probably|likely|suspected|possible|probable|questionable)\s+(?=\w)", re.I
)
# What is said about change and doubt goes before the rest is denied.
_PLAINER = (
    (re.compile(r"\bcan ?not be (?:completely )?(?:excluded|ruled out)", re.I), "is present"),
    (re.compile(r"\b(?:no|without) (?:\w+ ){0,2}(?:change|difference|increase|decrease|progression) in ", re.I), ""),
    (re.compile(r",? (?:which|that) [^,]*\b(?:previous|prior|earlier|last)\b[^,]*,", re.I), ""),
    (re.compile(r"\b(?:may|might|could) (?:also )?(represent|reflect|indicate|suggest)\b", re.I), r"does not \1"),
    (re.compile(rf"\b(is|are|was|were) (?=(?:\w+ )?{HINTS})", re.I), r"\1 not "),
)


def is_aside(part: str) -> bool:
    """Whether a part of a sentence only adds size, degree or an example to what the others name."""
    if sentence_mentions(part):
        return False
    return bool(
        _SUPERLATIVE.match(part)
        or _ONLY_DEGREE.match(part)
        or (_HAS_SIZE.search(part) and not VERB.search(part) and not re.match(r"\s*(?:and|or|with)\b", part))
    )


def plainer(text: str) -> str:
    """Return a statement without sizes, doubt and change, ready to be denied."""
    first, *rest = re.split(r",(?=\s)", text)
    text, dropped = first, False
    for part in rest:
        if is_aside(part):
            dropped = True
        else:
            text += part if dropped and _PLACE.match(part) else f",{part}"
            dropped = False
    text = _DOUBT.sub("", _SIZES.sub("", text))
    for pattern, change in _PLAINER:
        text = pattern.sub(change, text)
    return tidy(text)


def tidy(text: str) -> str:
    """Return ``text`` with single spaces, none before a mark, and "a" or "an" as the next word asks."""
    text = re.sub(r"\s+([,;.])", r"\1", " ".join(text.split()))
    return re.sub(r"\ba (?=[aeio]\w)", "an ", re.sub(r"\ban (?=[bcdfgjklmnpqrstvwxyz]\w)", "a ", text)).strip(" ,")

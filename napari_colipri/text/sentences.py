"""Cut a report into sections and sentences without losing a character that carries meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Section",
    "SectionKind",
    "impression_or_start",
    "section_kind",
    "sentence_spans",
    "split_sections",
    "split_sentences",
]

SectionKind: TypeAlias = Literal["findings", "impression", "technique", "history", "comparison", "other"]

# A heading stands alone at the start of a line and ends with a colon, or is a Markdown heading. The usual names of
# whole sections are headings after a full stop too: reports are often stored as one line.
_USUAL = (
    r"findings?|impressions?|conclusions?|opinion|technique|procedure|protocol|clinical (?:history|information|data|"
    r"indication)|history|indications?|reason for (?:exam(?:ination)?|study)|comparisons?|summary|results?"
)
# "Pleural effusion: none." is a line of a form, a sentence of its own; so is "Absent: emphysema."
_VERDICT = r"[ \t]*(?i:none|no|nil|absent|negative|yes|present|positive|not \w+)[ \t]*"
_FORM = rf"(?!{_VERDICT}(?:[.,;]|$))"
_FORM_LINE = re.compile(rf"[ \t]*[A-Z][A-Za-z /&-]{{2,40}}:{_VERDICT}[.,;]?\s*\Z")
_HEADING = re.compile(
    rf"^[ \t]*(?:#{{1,6}}[ \t]+(?P<mark>[^\n]+)$|(?!(?i:absent|present|negative|positive):)"
    rf"(?P<word>[A-Z][A-Za-z /&-]{{2,40}}):{_FORM})"
    rf"|(?:(?<=[.!?]\s)|(?<=[.!?]))(?P<inline>(?i:{_USUAL})):",
    re.M,
)
_KINDS: tuple[tuple[SectionKind, re.Pattern[str]], ...] = (
    (
        "history",
        re.compile(
            r"(?:clinical |patient |medical )?(?:histor(?:y|ies)|indications?|information|data|question)|"
            r"reason for (?:the )?(?:exam(?:ination)?|study|scan)|complaints?",
            re.I,
        ),
    ),
    (
        "technique",
        re.compile(r"(?:scan(?:ning)? |imaging |ct )?(?:techniques?|procedures?|protocols?)|contrast|dose", re.I),
    ),
    ("comparison", re.compile(r"comparisons?|(?:prior|previous) (?:stud(?:y|ies)|exam(?:ination)?s?|scans?)", re.I)),
    ("impression", re.compile(r"impressions?|conclusions?|opinion|summary|results?", re.I)),
    ("findings", re.compile(r"(?:\w+ )?(?:findings?|observations?)", re.I)),
)

# A full stop after these does not end a sentence.
_ABBREVIATIONS = frozenset(
    {"dr", "e.g", "i.e", "vs", "approx", "ca", "cf", "fig", "no", "st", "max", "min", "resp", "incl", "seg", "im"}
)
# Full stops, and marks of a list inside a line: a bullet, or a quotation mark that quotes nothing because a space
# follows it.
_END = re.compile(r"[.!?]+(?=[\s\"'”)\]•]|$)|(?<=\s)[\"“”](?=\s+[A-Z])|•")
_GLUED = re.compile(r"[.?!](?=[A-Z][a-z])")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+")
_NUMBER = re.compile(r"\d{1,2}[.)]\s+(?=\D)")
_LINE = re.compile(r"[^\n]*\n?")
_MARKS = ' \t\r\n"“”•'


@dataclass(frozen=True)
class Section:
    """A heading and the text below it.

    Attributes
    ----------
    name
        Heading as written, or ``""`` for text before the first one.
    text
        What stands below it, stripped.
    start
        Where ``text`` begins in the report, characters.
    """

    name: str
    text: str
    start: int = 0

    @property
    def kind(self) -> SectionKind:
        """What the heading announces; ``"other"`` for organs and for text without a heading."""
        return section_kind(self.name)


def section_kind(name: str) -> SectionKind:
    """Return what a heading announces: findings, impression, technique, history, comparison or something else."""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(name.strip())), "other")


def split_sections(text: str) -> tuple[Section, ...]:
    """Cut ``text`` at its headings ("IMPRESSION:", "## Findings").

    Parameters
    ----------
    text
        A whole report, in lines or as one line.

    Returns
    -------
    tuple of Section
        In the order of the text; empty text before the first heading is left out. A text without headings is one
        section without a name.
    """
    sections: list[Section] = []
    name, start = "", 0
    for match in _HEADING.finditer(text):
        _add(sections, name, text, start, match.start())
        name = (match["mark"] or match["word"] or match["inline"]).strip(" :#")
        start = match.end()
    _add(sections, name, text, start, len(text))
    return tuple(sections)


def _add(sections: list[Section], name: str, text: str, start: int, stop: int) -> None:
    body = text[start:stop]
    if name or body.strip():
        sections.append(Section(name, body.strip(), start + len(body) - len(body.lstrip())))


def split_sentences(text: str) -> tuple[str, ...]:
    """Cut ``text`` into sentences.

    Decimal points ("1.5 cm"), abbreviations ("e.g.") and initials do not end a sentence; a list item is a sentence of
    its own.

    Parameters
    ----------
    text
        One section.

    Returns
    -------
    tuple of str
        Sentences with single spaces, never empty ones.
    """
    return tuple(" ".join(text[start:stop].split()) for start, stop in sentence_spans(text))


def sentence_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Return where the sentences of :func:`split_sentences` stand, as (start, stop) in characters of ``text``."""
    spans: list[tuple[int, int]] = []
    for first, last in _blocks(text):
        block = text[first:last]
        start = 0
        for stop in _stops(block):
            _add_span(spans, text, first + start, first + stop)
            start = stop
        _add_span(spans, text, first + start, last)
    return tuple(spans)


def _add_span(spans: list[tuple[int, int]], text: str, start: int, stop: int) -> None:
    """Add a span without the white space and list marks around it; a quotation of several words keeps its marks."""
    while start < stop and text[start] in _MARKS:
        start += 1
    number = _NUMBER.match(text, start, stop)
    start = number.end() if number else start
    while stop > start and text[stop - 1] in _MARKS:
        stop -= 1
    if stop < len(text) and text[stop] in '"”' and any(mark in text[start:stop] for mark in '"“'):
        stop += 1
    if stop > start:
        spans.append((start, stop))


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield runs of lines that belong together; a blank line, a list item or a line of a form begins anew."""
    start = stop = 0
    alone = False
    for match in _LINE.finditer(text):
        bullet = _BULLET.match(match.group())
        form = _FORM_LINE.match(match.group()) is not None
        if bullet or form or alone or not match.group().strip():
            yield start, stop
            start = match.start() + (bullet.end() if bullet else 0)
        stop, alone = match.end(), form
    yield start, stop


def _stops(block: str) -> Iterator[int]:
    """Yield where sentences of a block end."""
    start = 0
    ends = sorted({*(m.span() for m in _END.finditer(block)), *(m.span() for m in _GLUED.finditer(block))})
    for first, last in ends:
        mark = block[first:last]
        if mark in '"“”•' or _ends_sentence(block[start:first], mark, block[last : last + 20]):
            start = first if mark in '"“”•' else last
            yield start


def _ends_sentence(before: str, stop: str, after: str) -> bool:
    if stop != "." or not after.strip():
        return True
    word = before.rsplit(maxsplit=1)[-1].lower().lstrip("(\"'") if before.split() else ""
    if word.isdigit() and word == before.strip():  # "1. Nodule": the number of a list item
        return False
    if word in _ABBREVIATIONS:
        # "There is no." never occurs, while "no. 3" does: a digit after "no" continues the sentence.
        return word == "no" and not after.strip()[:1].isdigit()
    return not (len(word) == 1 and word.isalpha() and word not in {"a", "i"} and after.strip()[:1].isupper())


def impression_or_start(text: str, limit: int = 160) -> str:
    """Return the beginning of a report's impression, or of the report, in at most ``limit`` characters.

    Whole sentences are kept while they fit; a first sentence that does not is cut at a word and ends with "…".
    """
    sections = split_sections(text)
    chosen = next((s for s in sections if s.name.lower() in {"impression", "conclusion"} and s.text), None)
    body = chosen.text if chosen else " ".join(section.text for section in sections)
    out = ""
    for sentence in split_sentences(body):
        longer = f"{out} {sentence}".strip()
        if len(longer) > limit:
            break
        out = longer
    if out or not body:
        return out
    cut = " ".join(body.split())[: limit - 1]
    return cut.rsplit(" ", 1)[0].rstrip(" ,;:") + "…"

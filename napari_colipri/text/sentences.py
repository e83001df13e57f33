"""Cut a report into sections and sentences without losing a character that carries meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Section", "impression_or_start", "split_sections", "split_sentences"]

# A heading stands alone at the start of a line and ends with a colon, or is a Markdown heading.
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+(?P<mark>[^\n]+)$|(?P<word>[A-Z][A-Za-z /&-]{2,40}):)", re.M)

# A full stop after these does not end a sentence.
_ABBREVIATIONS = frozenset(
    {"dr", "e.g", "i.e", "vs", "approx", "ca", "cf", "fig", "no", "st", "max", "min", "resp", "incl", "seg", "im"}
)
_END = re.compile(r"[.!?]+(?=[\s\"')\]]|$)")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+")


@dataclass(frozen=True)
class Section:
    """A heading and the text below it.

    Attributes
    ----------
    name
        Heading as written, or ``""`` for text before the first one.
    text
        What stands below it, stripped.
    """

    name: str
    text: str


def split_sections(text: str) -> tuple[Section, ...]:
    """Cut ``text`` at its headings ("IMPRESSION:", "## Findings").

    Parameters
    ----------
    text
        A whole report.

    Returns
    -------
    tuple of Section
        In the order of the text; empty text before the first heading is left out.
    """
    sections: list[Section] = []
    name, start = "", 0
    for match in _HEADING.finditer(text):
        body = text[start : match.start()].strip()
        if name or body:
            sections.append(Section(name, body))
        name = (match["mark"] or match["word"]).strip(" :#")
        start = match.end()
    body = text[start:].strip()
    if name or body:
        sections.append(Section(name, body))
    return tuple(sections)


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
        Stripped sentences, never empty ones.
    """
    sentences: list[str] = []
    for block in _blocks(text):
        start = 0
        for match in _END.finditer(block):
            if _ends_sentence(block[start : match.start()], match.group(), block[match.end() :]):
                sentences.append(block[start : match.end()].strip())
                start = match.end()
        rest = block[start:].strip()
        if rest:
            sentences.append(rest)
    return tuple(sentences)


def _blocks(text: str) -> list[str]:
    """Join lines of running text; begin anew at blank lines and list items."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        bullet = _BULLET.match(line)
        if bullet or not line.strip():
            blocks.append([])
        blocks[-1].append(line[bullet.end() if bullet else 0 :].strip())
    joined = (" ".join(part for part in block if part) for block in blocks)
    return [block for block in joined if block]


def _ends_sentence(before: str, stop: str, after: str) -> bool:
    if stop != "." or not after.strip():
        return True
    word = before.rsplit(maxsplit=1)[-1].lower().lstrip("(\"'") if before.split() else ""
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

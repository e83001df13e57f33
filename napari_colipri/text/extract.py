"""The 18 findings in a report: which are said to be there, where, how large, and which are denied.

Rules only: words of :mod:`~napari_colipri.text.lexicon`, governed by :mod:`~napari_colipri.text.scope`. They read
English reports, with or without headings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from napari_colipri.text.findings import FINDING_NAMES
from napari_colipri.text.lexicon import ANY_FINDING, TERMS, Term, body_region
from napari_colipri.text.places import Severity, count_in, places_in, severity_in
from napari_colipri.text.scope import Polarity, clauses, lowered, polarity, without_parentheses
from napari_colipri.text.sentences import SectionKind, sentence_spans, split_sections
from napari_colipri.text.side_and_size import Side, comparison_words, nearest, side_spans, size_spans

__all__ = ["Mention", "extract", "plain_findings", "report_labels", "sentence_mentions"]

_T = TypeVar("_T")
_Key: TypeAlias = tuple[str, Polarity]
_Said: TypeAlias = dict[_Key, list[tuple[int, int, bool]]]

#: Sections that say why and how a scan was made, not what it shows.
_NOT_COUNTED: frozenset[SectionKind] = frozenset({"history", "technique", "comparison"})
#: Characters of the longest sentence that is read in one piece.
_LONGEST = 1500
#: Regions in which "nodule", "opacity" and the like mean something else.
_ELSEWHERE = frozenset({"thyroid", "elsewhere"})


@dataclass(frozen=True)
class Mention:
    """One finding in one sentence.

    Attributes
    ----------
    finding
        Canonical name.
    polarity
        ``present``, ``absent`` or ``uncertain``.
    sentence, span
        The sentence, and where it stands in the report (characters).
    words
        The words that name the finding, as written.
    sides
        Sides that the clause names for it.
    places
        Lobes and places that the clause names, such as ``"right upper lobe"``.
    size_mm
        Largest size that the clause gives it, mm; None where none is given, and for what is absent.
    count, several
        How many, where said; whether more than one.
    severity
        ``mild``, ``moderate``, ``severe`` or None.
    section
        Heading that the sentence stands below, or ``""``.
    compares
        Words of the sentence that compare with an earlier scan.
    counted
        Whether the words are strong enough for the label of a report.
    """

    finding: str
    polarity: Polarity
    sentence: str
    span: tuple[int, int]
    words: str
    sides: frozenset[Side] = frozenset()
    places: tuple[str, ...] = ()
    size_mm: float | None = None
    count: int | None = None
    several: bool = False
    severity: Severity | None = None
    section: str = ""
    compares: tuple[str, ...] = ()
    counted: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**vars(self), "sides": sorted(self.sides), "places": list(self.places), "compares": list(self.compares)}


def extract(report: str) -> tuple[Mention, ...]:
    """Return every mention of one of the 18 findings in ``report``, in reading order.

    Sections on history, technique and comparison are passed over. A finding that several words of one clause name
    counts once there.

    Parameters
    ----------
    report
        English text, with or without headings.
    """
    found: list[Mention] = []
    for section in split_sections(report):
        if section.kind in _NOT_COUNTED:
            continue
        region = body_region(section.name.lower())
        for start, stop in _readable(section.text):
            sentence = " ".join(section.text[start:stop].split())
            span = (section.start + start, section.start + stop)
            small = lowered(sentence)
            region = body_region(small) or region
            if ANY_FINDING.search(small):
                found += _mentions(sentence, small, region, section.name, span)
    return tuple(found)


def _readable(text: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences; text without full stops is cut at spaces, so that reading time grows with length only."""
    for start, stop in sentence_spans(text):
        while stop - start > _LONGEST:
            cut = text.rfind(" ", start, start + _LONGEST)
            cut = cut if cut > start else start + _LONGEST
            yield start, cut
            start = cut
        yield start, stop


def sentence_mentions(sentence: str) -> tuple[Mention, ...]:
    """Return the mentions in one sentence, read without its surroundings."""
    text = " ".join(sentence.split())
    small = lowered(text)
    return tuple(_mentions(text, small, body_region(small), "", (0, len(sentence))))


def _mentions(sentence: str, small: str, region: str, section: str, span: tuple[int, int]) -> Iterator[Mention]:
    compares = comparison_words(sentence)
    plain = without_parentheses(small)
    for first, last in clauses(plain):
        clause = plain[first:last]
        full = small[first:last]
        local = body_region(clause) or region
        said = _said(clause, local)
        sizes = _shared(full, size_spans(full), said)
        sides = _shared(full, side_spans(full), said)
        for (finding, verdict), spans in said.items():
            start, stop, counted = spans[0]
            own = sizes[finding, verdict] if verdict != "absent" else []
            count, several = count_in(clause[:start], clause[start:stop])
            yield Mention(
                finding=finding,
                polarity=verdict,
                sentence=sentence,
                span=span,
                words=sentence[first + start : first + stop],
                sides=frozenset[Side]().union(*(sides[finding, verdict])),
                places=places_in(clause),
                size_mm=max(own, default=None),
                count=count,
                several=several,
                severity=severity_in(clause),
                section=section,
                compares=compares,
                counted=counted,
            )


def _said(clause: str, region: str) -> _Said:
    """Return findings with what a clause says about them, each with the places of its words."""
    said: _Said = {}
    for term, start, stop in _named(clause, region):
        verdict = polarity(clause, start, stop)
        if verdict is not None:
            key = (term.finding, "uncertain" if verdict == "present" and term.weak else verdict)
            said.setdefault(key, []).append((start, stop, term.counted))
    return said


def _shared(clause: str, marks: Sequence[tuple[int, int, _T]], said: _Said) -> dict[_Key, list[_T]]:
    """Give sides or sizes to the findings of a clause.

    What a clause says once belongs to all its findings ("consolidation and atelectasis on the left"); where it says
    different things, each belongs to the words nearest to it.
    """
    values = [value for *_, value in marks]
    if len(said) < 2 or all(value == values[0] for value in values):
        return {key: list(values) for key in said}
    words = [(start, stop, key) for key, spans in said.items() for start, stop, _ in spans]
    given: dict[_Key, list[_T]] = {key: [] for key in said}
    for start, stop, value in marks:
        key = words[nearest(clause, (start, stop), [(first, last) for first, last, _ in words])][2]
        given[key].append(value)
    return given


def _named(clause: str, region: str) -> Iterator[tuple[Term, int, int]]:
    """Yield the findings that a clause names and where; weak words only for what no strong ones name."""
    strong: set[str] = set()
    for term in TERMS:
        if (term.weak and term.finding in strong) or (term.lung and region in _ELSEWHERE):
            continue
        found = tuple(term.pattern.finditer(clause))
        if not found or (term.unless is not None and term.unless.search(clause)):
            continue
        strong.add(term.finding)
        for match in found:
            yield term, match.start(), match.end()


def report_labels(mentions: tuple[Mention, ...]) -> dict[str, int]:
    """Return 1 for each finding that some mention says is there, else 0, in canonical order.

    An uncertain mention counts as present: reports that raise a finding label it.
    """
    there = {mention.finding for mention in mentions if mention.polarity != "absent" and mention.counted}
    return {name: int(name in there) for name in FINDING_NAMES}


def plain_findings(report: str) -> dict[str, bool]:
    """Return what a report says without doubt: True for what is there, False for what is only denied.

    A finding that the report does not name, or names in doubt, is left out.
    """
    said: dict[str, set[Polarity]] = {}
    for mention in extract(report):
        if mention.counted:
            said.setdefault(mention.finding, set()).add(mention.polarity)
    return {
        name: "present" in polarities
        for name, polarities in said.items()
        if "present" in polarities or "uncertain" not in polarities
    }

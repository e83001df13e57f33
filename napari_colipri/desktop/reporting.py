"""A draft as text to edit, and back: which line is which sentence, and what it rests on. No Qt."""

from __future__ import annotations

from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

from napari_colipri.report.checks import Check
from napari_colipri.report.types import Draft, Section, Sentence, edited

__all__ = ["draft_from_json", "draft_text", "evidence_words", "fixed_words", "sentence_of", "with_line", "with_text"]

#: Sections that are not the reader's to change: they stand under the editor.
FIXED = ("Generated text", "About this draft")

_HEADING = "# "
#: From this similarity on, a line counts as an edit of a sentence rather than as a new one.
_SAME = 0.55


def draft_text(draft: Draft) -> str:
    """Return the sections a reader may change: a heading line each, then one sentence a line."""
    blocks = []
    for section in _open_sections(draft):
        lines = [sentence.text for sentence in section.sentences if sentence.status != "removed"]
        blocks.append("\n".join([_HEADING + section.name, *lines]))
    return "\n\n".join(blocks) + "\n"


def fixed_words(draft: Draft) -> str:
    """Return the sentences that stand under the editor."""
    fixed = [section for section in draft.sections if section.name in FIXED]
    return " ".join(sentence.text for section in fixed for sentence in section.sentences)


def with_text(draft: Draft, text: str) -> Draft:
    """Return ``draft`` as a reader has edited it.

    A line that resembles a sentence of its section is an edit of it and keeps its id, origin and evidence; other lines
    become sentences of the reader's own; sentences without a line are marked as removed.

    Parameters
    ----------
    draft
        As it was made.
    text
        As :func:`draft_text` returned it, then edited.
    """
    wanted = _lines_by_section(text)
    out = draft
    sections: list[Section] = []
    for section in draft.sections:
        if section.name in FIXED:
            sections.append(section)
            continue
        lines = wanted.pop(section.name, [])
        pairs = _match(lines, section.sentences)
        for sentence in section.sentences:
            line = next((lines[number] for number, matched in pairs.items() if matched is sentence), "")
            if line != sentence.text:
                out = edited(out, sentence.id, line)
        changed = {sentence.id: sentence for sentence in out}
        placed = [changed[pairs[n].id] if n in pairs else _own(line, section, n, draft) for n, line in enumerate(lines)]
        gone = [changed[s.id] for s in section.sentences if s not in pairs.values()]
        sections.append(replace(section, sentences=(*placed, *gone)))
    for name, lines in wanted.items():
        if lines:
            fresh = Section(name, ())
            sections.insert(-1, replace(fresh, sentences=tuple(_own(x, fresh, n, draft) for n, x in enumerate(lines))))
    return replace(draft, sections=tuple(sections))


def with_line(text: str, draft: Draft, section: str, line: str) -> str:
    """Return an edited text with one more line at the end of a section; unchanged where the line is there.

    Parameters
    ----------
    text
        As edited.
    draft
        Whose order of sections decides where a section that the text lacks is put.
    section, line
        Where to, and what.
    """
    lines = text.splitlines()
    if line in lines:
        return text
    places = {item[len(_HEADING) :].strip(): number for number, item in enumerate(lines) if item.startswith(_HEADING)}
    if section in places:
        later = [number for number in places.values() if number > places[section]]
        end = min(later, default=len(lines))
        while not lines[end - 1].strip():
            end -= 1
        return "\n".join([*lines[:end], line, *lines[end:]]) + "\n"
    names = [part.name for part in draft.sections]
    following = names[names.index(section) + 1 :] if section in names else []
    place = next((places[name] for name in following if name in places), None)
    if place is None:
        return "\n".join([*lines, "", _HEADING + section, line]) + "\n"
    return "\n".join([*lines[:place], _HEADING + section, line, "", *lines[place:]]) + "\n"


def sentence_of(draft: Draft, line: str) -> Sentence | None:
    """Return the sentence that a line is or was, or None."""
    if not line.strip() or line.startswith(_HEADING):
        return None
    scored = [(_alike(line, sentence.text), sentence) for part in _open_sections(draft) for sentence in part.sentences]
    best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return best[1] if best[0] >= _SAME else None


def evidence_words(sentence: Sentence) -> tuple[str, str]:
    """Return what a sentence rests on in words, and the text whose heat map shows it (or nothing)."""
    heat = ""
    words: list[str] = []
    for item in sentence.evidence:
        kind = item.get("kind")
        if kind == "finding":
            probability = item.get("probability")
            number = "no number" if probability is None else f"{probability:.2f}"
            words.append(f"{item.get('name')} {number}")
            heat = heat or (str(item.get("name")) if probability is not None else "")
        elif kind == "mask":
            words.append(f"mask of {str(item.get('display_name') or item.get('class') or 'a class').lower()}")
        elif kind == "cases":
            words.append(f"{len(item.get('case_ids', ()))} similar cases")
        elif kind in ("geometry", "passport"):
            words.append("the study's geometry" if kind == "geometry" else f"the passport ({item.get('code')})")
    several = sum(item.get("kind") == "finding" for item in sentence.evidence) > 1
    found = [check.message for check in sentence.checks if check.result == "warn"]
    basis = "; ".join(words[:4]) + (" …" if len(words) > 4 else "")
    parts = [f"Rests on: {basis}." if basis else "Fixed wording, rests on no result.", *(f"Check: {m}" for m in found)]
    return " ".join(parts), "" if several else heat


def draft_from_json(value: dict[str, Any]) -> Draft:
    """Return the draft that :meth:`Draft.to_json` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is something else.
    """
    sections = tuple(
        Section(str(part["name"]), tuple(_sentence(item) for item in part["sentences"])) for part in value["sections"]
    )
    notes = tuple(str(note) for note in value["notes"])
    return Draft(
        sections, str(value["bundle"]), str(value["bundle_hash"]), notes, bool(value.get("orientation_known", True))
    )


def _sentence(value: dict[str, Any]) -> Sentence:
    checks = tuple(Check(**item) for item in value["checks"])
    return Sentence(
        str(value["id"]), str(value["text"]), value["origin"], tuple(value["evidence"]), checks, value["status"]
    )


def _open_sections(draft: Draft) -> list[Section]:
    return [section for section in draft.sections if section.name not in FIXED]


def _lines_by_section(text: str) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    name = "Notes"
    for raw in text.splitlines():
        line = " ".join(raw.split())
        if line.startswith(_HEADING):
            name = line[len(_HEADING) :].strip()
            out.setdefault(name, [])
        elif line:
            out.setdefault(name, []).append(line)
    return out


def _match(lines: list[str], sentences: tuple[Sentence, ...]) -> dict[int, Sentence]:
    """Return line number -> sentence: equal ones first, then the most alike."""
    pairs: dict[int, Sentence] = {}
    free = list(sentences)
    for number, line in enumerate(lines):
        same = next((sentence for sentence in free if sentence.text == line), None)
        if same is not None:
            pairs[number] = same
            free.remove(same)
    scored = [
        (_alike(line, sentence.text), number, position)
        for number, line in enumerate(lines)
        if number not in pairs
        for position, sentence in enumerate(free)
    ]
    taken: set[int] = set()
    for score, number, position in sorted(scored, key=lambda item: (-item[0], item[1], item[2])):
        if score >= _SAME and number not in pairs and position not in taken:
            pairs[number] = free[position]
            taken.add(position)
    return pairs


def _alike(a: str, b: str) -> float:
    if a == b:
        return 1.0
    return SequenceMatcher(None, a.split(), b.split(), autojunk=False).ratio()


def _own(line: str, section: Section, number: int, draft: Draft) -> Sentence:
    slug = "-".join("".join(letter if letter.isalnum() else " " for letter in section.name.lower()).split())
    return Sentence(f"{slug}-reader-{number + 1}", line, "reader", (), draft.checks_of(line), "edited")

"""A draft: sections of sentences that know where they come from. Frozen; an edit makes a new draft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from napari_colipri.report.checks import Check, answer_check, text_checks

__all__ = ["Check", "Draft", "Origin", "Parts", "Section", "Sentence", "Status", "added", "edited"]

Origin: TypeAlias = Literal["findings", "masks", "library", "passport", "template", "model", "reader"]
Status: TypeAlias = Literal["draft", "edited", "removed"]
#: Text, origin, evidence and checks of a sentence that has no id yet.
Parts: TypeAlias = tuple[str, Origin, tuple[dict[str, Any], ...], tuple[Check, ...]]


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Attributes
    ----------
    id
        Stable within the draft, such as ``"lungs-2"``.
    text
        What a reader sees.
    origin
        What it was made from: ``"template"`` says the same whatever the scan shows, ``"model"`` was written by a report
        decoder, ``"reader"`` was typed by a person.
    evidence
        JSON objects, each with a ``kind``: ``finding`` (name, probability, threshold …), ``heat_map`` (peak in
        RAS mm), ``mask`` (class, volume_ml, mean_hu), ``cases`` (case ids), ``geometry``, ``passport`` (code),
        ``generated`` (bundle and its hash).
    checks
        What was looked at automatically.
    status
        ``"draft"`` until a person edits or removes it.
    """

    id: str
    text: str
    origin: Origin
    evidence: tuple[dict[str, Any], ...] = ()
    checks: tuple[Check, ...] = ()
    status: Status = "draft"

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "id": self.id,
            "text": self.text,
            "origin": self.origin,
            "evidence": list(self.evidence),
            "checks": [check.to_json() for check in self.checks],
            "status": self.status,
        }


@dataclass(frozen=True)
class Section:
    """A heading and its sentences."""

    name: str
    sentences: tuple[Sentence, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {"name": self.name, "sentences": [sentence.to_json() for sentence in self.sentences]}


@dataclass(frozen=True)
class Draft:
    """A report that nobody has signed.

    Attributes
    ----------
    sections
        In reading order.
    bundle, bundle_hash
        Which model the answers come from.
    notes
        Sentences that stand at its head: research use, demonstration model, settings not verified.
    orientation_known
        Whether the file says where left is; without that no sentence may.
    """

    sections: tuple[Section, ...]
    bundle: str
    bundle_hash: str
    notes: tuple[str, ...]
    orientation_known: bool = True

    def __iter__(self) -> Iterator[Sentence]:
        return (sentence for section in self.sections for sentence in section.sentences)

    def section(self, name: str) -> Section | None:
        """Return the section called ``name``, or None."""
        return next((section for section in self.sections if section.name == name), None)

    def checks_of(self, text: str) -> tuple[Check, ...]:
        """Return the checks of a sentence that a reader writes into this draft."""
        answers = (item for sentence in self for item in sentence.evidence)
        answer = answer_check(text, answers)
        return (*text_checks(text, orientation_known=self.orientation_known), *([answer] if answer else []))

    @property
    def warnings(self) -> tuple[tuple[Sentence, Check], ...]:
        """Every check that found something, with its sentence."""
        return tuple((sentence, check) for sentence in self for check in sentence.checks if check.result == "warn")

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "format": 1,
            "status": "draft",
            "bundle": self.bundle,
            "bundle_hash": self.bundle_hash,
            "notes": list(self.notes),
            "sections": [section.to_json() for section in self.sections],
        }


def added(draft: Draft, section: str, sentence: Sentence, *, before: tuple[str, ...] = ()) -> Draft:
    """Return ``draft`` with one more sentence at the end of a section.

    Parameters
    ----------
    draft
        As it is.
    section
        Name of the section; it is made where there is none.
    sentence
        With an id that the draft does not use yet.
    before
        Sections that a new one stands before: the first of these that the draft has.
    """
    if draft.section(section) is not None:
        parts = (replace(p, sentences=(*p.sentences, sentence)) if p.name == section else p for p in draft.sections)
        return replace(draft, sections=tuple(parts))
    names = [part.name for part in draft.sections]
    place = next((names.index(name) for name in before if name in names), len(names))
    fresh = Section(section, (sentence,))
    return replace(draft, sections=(*draft.sections[:place], fresh, *draft.sections[place:]))


def edited(draft: Draft, sentence_id: str, text: str) -> Draft:
    """Return ``draft`` with another text for one sentence, its text checks made anew.

    Origin and evidence stay: they say what the sentence was made from. An empty text marks it as removed, and its old
    text stays in the record.

    Parameters
    ----------
    draft
        As it is.
    sentence_id, text
        Which sentence, and its new words.

    Raises
    ------
    KeyError
        If the draft has no such sentence.
    """
    if sentence_id not in {sentence.id for sentence in draft}:
        raise KeyError(sentence_id)

    def change(sentence: Sentence) -> Sentence:
        if sentence.id != sentence_id:
            return sentence
        words = " ".join(text.split())
        if not words:
            return replace(sentence, status="removed")
        fresh = draft.checks_of(words)
        kept = tuple(check for check in sentence.checks if check.code not in {"no_prior", "laterality", "answer"})
        return replace(sentence, text=words, checks=(*kept, *fresh), status="edited")

    sections = tuple(replace(part, sentences=tuple(change(s) for s in part.sentences)) for part in draft.sections)
    return replace(draft, sections=sections)

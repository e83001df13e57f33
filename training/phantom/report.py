"""The written report of a phantom: findings by organ, an impression, varied style, never about an earlier scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_colipri.text.findings import CT_RATE_FINDINGS, FINDING_NAMES, ORGAN_GROUPS, default_prompts
from training.phantom.findings import Finding
from training.phantom.report_words import HEDGES, NORMAL, TRAIN
from training.phantom.report_words_held_out import HELD_OUT

__all__ = ["WORDINGS", "Report", "check_disjoint", "sentence_for", "training_sentences", "write_report"]

Wordings = Literal["train", "held_out"]
WORDINGS: tuple[Wordings, ...] = ("train", "held_out")
SENTENCES = {"train": TRAIN, "held_out": HELD_OUT}
_ORGAN = {term.name: term.organ for term in CT_RATE_FINDINGS}
_SLOT = re.compile(r"\{([^}]*)\}")
_NUMBER = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_KIND_WORD = {"solid": "solid", "ground glass": "ground-glass"}
_HEDGED = 0.25  # of the mild findings
_ORDERS: tuple[tuple[str, ...], ...] = (
    (*ORGAN_GROUPS, "Abdomen", "Bones"),
    ("Devices", "Mediastinum", "Heart", "Vessels", "Airways", "Lungs", "Pleura", "Abdomen", "Bones"),
    ("Heart", "Vessels", "Mediastinum", "Lungs", "Airways", "Pleura", "Devices", "Abdomen", "Bones"),
)


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes
    ----------
    text
        All of it.
    stated
        Sentence that states each finding, by name.
    denied
        Names that the report says are not there.
    hedged
        Names that are stated as uncertain.
    """

    text: str
    stated: dict[str, str]
    denied: tuple[str, ...]
    hedged: tuple[str, ...]


def _size(mm: float, *, in_cm: bool) -> str:
    return f"{mm / 10:.1f} cm" if in_cm and mm >= 10 else f"{max(1, round(mm))} mm"


def _slots(item: Finding, *, in_cm: bool) -> dict[str, str]:
    one_lung = (
        f"the {item.side} lung" if item.side in ("left", "right") else "both lungs" if item.side == "both" else ""
    )
    out = {"place": item.place, "degree": item.severity, "kind": _KIND_WORD.get(item.kind, item.kind)}
    if item.size_mm > 0:
        out["size"] = _size(item.size_mm, in_cm=in_cm)
    if item.side in ("left", "right"):
        out["side"] = item.side
    if one_lung:
        out["lungs"] = one_lung
    if item.count > 1:
        out["number"] = _NUMBER[item.count] if item.count < len(_NUMBER) else str(item.count)
        out["many"] = ""
    else:
        out["one"] = ""
    if item.side == "both":
        out["both"] = ""
    out[f"is:{item.kind}"] = ""
    return out


def _fill(template: str, slots: dict[str, str]) -> str | None:
    if any(name not in slots for name in _SLOT.findall(template)):
        return None
    text = " ".join(_SLOT.sub(lambda match: slots[match[1]], template).split())
    text = text.replace("the both lungs", "both lungs")
    text = re.sub(r"\b([Aa]) (?=[aeiou]|8\b|11\b|18\b)", r"\1n ", text)
    return text[:1].upper() + text[1:]


def sentence_for(
    item: Finding, rng: np.random.Generator, *, wording: Wordings = "train", detailed: bool = True, in_cm: bool = False
) -> str:
    """Return one sentence that states a finding, in detail or in short."""
    slots = _slots(item, in_cm=in_cm)
    words = SENTENCES[wording][item.name]
    for group in (words.detail, words.short) if detailed else (words.short, words.detail):
        fitting = [text for template in group if (text := _fill(template, slots)) is not None]
        if fitting:
            return fitting[int(rng.integers(len(fitting)))]
    raise ValueError(f"No sentence fits {item.name} ({item.kind or 'no kind'}).")


def _hedge(sentence: str, rng: np.random.Generator, wording: Wordings) -> str:
    form = HEDGES[wording][int(rng.integers(len(HEDGES[wording])))]
    plain = re.sub(r"^(?:An?|The) ", "", sentence)
    return form.format(plain[:1].lower() + plain[1:])


def write_report(
    findings: Sequence[Finding],
    undecided: Sequence[str],
    seed: int,
    *,
    variant: int = 0,
    wording: Wordings = "train",
) -> Report:
    """Write the report of a phantom.

    Every finding is stated; of those that are absent a varying share is denied; undecided ones are not spoken of.

    Parameters
    ----------
    findings, undecided
        Of a :class:`~training.phantom.generate.Phantom`.
    seed, variant
        Same numbers, same text; variants of one seed differ in words, order and length.
    wording
        ``"train"`` or ``"held_out"``.

    Raises
    ------
    ValueError
        If ``wording`` is neither.
    """
    if wording not in WORDINGS:
        raise ValueError(f"Unknown wording {wording!r}: {', '.join(WORDINGS)}.")
    rng = np.random.default_rng((seed, 909, variant, WORDINGS.index(wording)))
    in_cm, terse = bool(rng.random() < 0.3), bool(rng.random() < 0.2)
    share = float(rng.choice([0.0, 0.25, 0.5, 0.9]))
    by_organ: dict[str, list[str]] = {organ: [] for organ in _ORDERS[0]}
    stated: dict[str, str] = {}
    hedged = []
    for item in findings:
        sentence = sentence_for(
            item, rng, wording=wording, detailed=rng.random() < (0.6 if terse else 0.9), in_cm=in_cm
        )
        if item.severity == "mild" and item.name not in ("Cardiomegaly", "Medical material") and rng.random() < _HEDGED:
            simple = item.name.lower() in sentence.lower()
            if simple and not re.search(r"\b(?:is|are|lies|measures|shows)\b", sentence):
                sentence = _hedge(sentence, rng, wording)
                hedged.append(item.name)
        stated[item.name] = sentence
        by_organ[_ORGAN[item.name]].append(sentence)
    absent = [name for name in FINDING_NAMES if name not in stated and name not in undecided]
    denied = tuple(name for name in absent if rng.random() < share)
    for name in denied:
        choice = SENTENCES[wording][name].absent
        by_organ[_ORGAN[name]].append(choice[int(rng.integers(len(choice)))])
    if not terse:
        _add_normal(by_organ, rng, wording, {_ORGAN[item.name] for item in findings}, set(undecided))
    text = _compose(by_organ, [(item, stated[item.name]) for item in findings], rng, wording, terse, in_cm)
    return Report(text, stated, denied, tuple(hedged))


def _add_normal(
    by_organ: dict[str, list[str]], rng: np.random.Generator, wording: Wordings, taken: set[str], undecided: set[str]
) -> None:
    """Add sentences on organs without a finding."""
    for organ, lines in NORMAL[wording].items():
        free = organ not in taken and not any(_ORGAN[name] == organ for name in undecided)
        if lines and free and rng.random() < 0.5:
            by_organ[organ].append(lines[int(rng.integers(len(lines)))])


def _compose(
    by_organ: dict[str, list[str]],
    stated: list[tuple[Finding, str]],
    rng: np.random.Generator,
    wording: Wordings,
    terse: bool,
    in_cm: bool,
) -> str:
    order = _ORDERS[int(rng.integers(len(_ORDERS)))]
    for lines in by_organ.values():
        if rng.random() < 0.5:
            rng.shuffle(lines)
    groups = [(organ, by_organ[organ]) for organ in order if by_organ[organ]]
    style = str(rng.choice(["headed", "paragraph", "lines"]))
    if not groups:
        return "No abnormality of the chest." if wording == "train" else "Unremarkable study of the chest."
    if terse:
        return " ".join(line for _, lines in groups for line in lines)
    if style == "headed":
        body = "\n".join(f"{organ}: {' '.join(lines)}" for organ, lines in groups)
    else:
        body = (" " if style == "paragraph" else "\n").join(line for _, lines in groups for line in lines)
    parts = [f"FINDINGS:\n{body}" if rng.random() < 0.6 else body]
    if rng.random() < 0.7:
        parts.append(f"IMPRESSION:\n{_impression(stated, rng, wording, in_cm)}")
    return "\n".join(parts)


def _impression(stated: list[tuple[Finding, str]], rng: np.random.Generator, wording: Wordings, in_cm: bool) -> str:
    """Up to four findings again, the severe ones first, each in its own or in other words."""
    if not stated:
        return "Normal chest CT." if wording == "train" else "Nothing abnormal on this chest CT."
    rank = {"severe": 0, "moderate": 1, "mild": 2}
    chosen = sorted(stated, key=lambda pair: rank[pair[0].severity])[:4]
    lines = []
    for item, sentence in chosen:
        again = sentence_for(item, rng, wording=wording, detailed=bool(rng.random() < 0.5), in_cm=in_cm)
        lines.append(sentence if sentence.startswith(tuple(h.split("{")[0] for h in HEDGES[wording])) else again)
    if rng.random() < 0.5:
        return "\n".join(f"{n}. {line}" for n, line in enumerate(lines, start=1))
    return " ".join(lines)


def training_sentences(wording: Wordings = "train") -> set[str]:
    """Return every sentence of a wording that holds no slot, and every template of the others."""
    out: set[str] = set()
    for words in SENTENCES[wording].values():
        out.update(words.detail + words.short + words.absent)
    for lines in NORMAL[wording].values():
        out.update(lines)
    return {re.sub(r"\{(?:one|many|both|is:[^}]*)\}", "", line) for line in out}


def check_disjoint() -> None:
    """Raise if a prompt stands in training text, or a training sentence among the held-out ones.

    Raises
    ------
    ValueError
        Naming the first offenders.
    """

    def plain(lines: set[str]) -> set[str]:
        return {" ".join(re.findall(r"[a-z{}]+", line.lower())) for line in lines}

    prompts = {line for name in FINDING_NAMES for side in default_prompts(name) for line in side}
    prompts |= {f"{name} is {word}present." for name in FINDING_NAMES for word in ("", "not ")}
    groups = {
        "prompts and training text": plain(prompts) & plain(training_sentences("train")),
        "training and held-out wording": plain(training_sentences("train")) & plain(training_sentences("held_out")),
    }
    for what, both in groups.items():
        if both:
            raise ValueError(f"Shared by {what}: {sorted(both)[:3]}.")

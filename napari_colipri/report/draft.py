"""Draft a report from findings, masks and similar cases; what a model wrote stands in a section of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_colipri import RESEARCH_USE_ONLY
from napari_colipri.ct.geometry import ras_to_index
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Finding, Findings, GeneratedReport, HeatMap, Segmentation
from napari_colipri.library.search import SimilarCases
from napari_colipri.report.checks import Check, geometry_check, text_checks
from napari_colipri.report.generated import generated_sentences
from napari_colipri.report.measurements import measurement_sentences
from napari_colipri.report.types import Draft, Parts, Section, Sentence, added
from napari_colipri.text.findings import ORGAN_GROUPS, finding_term
from napari_colipri.text.side_and_size import side_of_name, without_side

__all__ = ["PRESENT_FROM", "QUESTIONS", "draft", "with_answer", "with_answers_of"]

#: Probability from which a finding is called suggested: where the present prompts win over the absent ones. It is no
#: operating point that anybody has chosen for a clinical purpose.
PRESENT_FROM = 0.5

#: Section of the answers to questions in the reader's own words.
QUESTIONS = "The reader's questions"
_AFTER_QUESTIONS = ("Measurements", "Similar cases", "Impression", "Generated text", "About this draft")


def draft(
    findings: Findings,
    segmentation: Segmentation | None,
    hits: SimilarCases | None,
    volume: CTVolume,
    *,
    heat_maps: Sequence[HeatMap] = (),
    generated: GeneratedReport | None = None,
) -> Draft:
    """Draft a report.

    Parameters
    ----------
    findings
        Answers for this volume.
    segmentation
        Masks on the volume's source grid, or None where the bundle has no decoder.
    hits
        Similar cases, or None where no library fits the bundle.
    volume
        For geometry and passport; its voxels are not read.
    heat_maps
        Of findings, their ``text`` being the finding's name; a finding's place is taken from its peak.
    generated
        What the bundle's report decoder wrote, or None where it has none.

    Returns
    -------
    Draft
        Technique, findings by organ, the reader's own questions, measurements, similar cases, impression, generated
        text, about this draft; sections that would be empty are left out.
    """
    peaks = {heat_map.text: heat_map for heat_map in heat_maps}
    body: list[tuple[str, list[Parts]]] = [("Technique", _technique(volume))]
    body += _by_organ(findings, segmentation, volume, peaks)
    body.append(("Measurements", measurement_sentences(segmentation, volume)))
    body.append(("Similar cases", _similar(hits)))
    body.append(("Impression", _impression(findings)))
    body.append(("Generated text", generated_sentences(generated, [_proof(item) for item in findings.items])))
    body.append(("About this draft", _about(findings)))
    known = volume.geometry.orientation_known
    sections = tuple(_section(name, sentences, orientation_known=known) for name, sentences in body if sentences)
    return Draft(sections, findings.bundle, findings.bundle_hash, findings.notes, known)


def with_answer(
    given: Draft, item: Finding, segmentation: Segmentation | None, volume: CTVolume, heat_map: HeatMap | None = None
) -> tuple[Draft, Sentence]:
    """Add the answer to a question in the reader's own words to a draft that was made without it.

    Parameters
    ----------
    given
        The draft, by the same model.
    item
        The answer, with a probability.
    segmentation, volume
        As :func:`draft` took them.
    heat_map
        Of the same question, if its place was asked for.

    Returns
    -------
    tuple
        The draft, and the sentence as :func:`draft` would have written it; one that is there already is not repeated.
    """
    peaks = {} if heat_map is None else {item.name: heat_map}
    parts = _present(item, segmentation, volume, peaks)
    made = _section(QUESTIONS, [parts], orientation_known=given.orientation_known).sentences[0]
    known = given.section(QUESTIONS)
    there = next((s for s in known.sentences if s.text == made.text), None) if known is not None else None
    if there is not None:
        return given, there
    sentence = replace(made, id=_free_id(given, made.id))
    return added(given, QUESTIONS, sentence, before=_AFTER_QUESTIONS), sentence


def with_answers_of(given: Draft, earlier: Draft) -> Draft:
    """Return ``given`` with the answers that a reader had added to an earlier draft of the same study and model."""
    before = earlier.section(QUESTIONS)
    own = given.section(QUESTIONS)
    there = {sentence.text for sentence in own.sentences} if own is not None else set()
    for sentence in before.sentences if before is not None else ():
        if sentence.text not in there:
            kept = replace(sentence, id=_free_id(given, sentence.id))
            given = added(given, QUESTIONS, kept, before=_AFTER_QUESTIONS)
    return given


def _free_id(given: Draft, wanted: str) -> str:
    taken = {sentence.id for sentence in given}
    stem = wanted.rpartition("-")[0]
    return next(
        name for name in itertools.chain((wanted,), (f"{stem}-{n}" for n in itertools.count(1))) if name not in taken
    )


def _section(name: str, sentences: Sequence[Parts], *, orientation_known: bool) -> Section:
    slug = "-".join("".join(letter if letter.isalnum() else " " for letter in name.lower()).split())
    out = []
    for number, (text, origin, evidence, checks) in enumerate(sentences, start=1):
        known = {check.code for check in checks}
        # The passport and the fixed sentences speak about the file and the draft, not about the patient.
        spoken = origin not in ("template", "passport")
        words = text_checks(text, orientation_known=orientation_known) if spoken else ()
        fresh = (check for check in words if check.code not in known)
        out.append(Sentence(f"{slug}-{number}", text, origin, evidence, (*checks, *fresh)))
    return Section(name, tuple(out))


def _plain(text: str) -> Parts:
    return text, "template", (), ()


def _technique(volume: CTVolume) -> list[Parts]:
    geometry = volume.geometry
    voxels = " × ".join(str(n) for n in geometry.shape)
    spacing = " × ".join(f"{mm:.2f}" for mm in geometry.spacing_mm)
    extent = [round(n * mm, 1) for n, mm in zip(geometry.shape, geometry.spacing_mm, strict=True)]
    evidence = {
        "kind": "geometry",
        "shape": list(geometry.shape),
        "spacing_mm": list(geometry.spacing_mm),
        "extent_mm": extent,
        "axis_codes": "".join(geometry.axis_codes) if geometry.orientation_known else None,
    }
    covered = " × ".join(f"{mm:.0f}" for mm in extent)
    text = f"CT volume of {voxels} voxels of {spacing} mm, covering {covered} mm."
    sentences: list[Parts] = [(text, "template", (evidence,), (geometry_check(volume.passport),))]
    for item in volume.passport.reasons:
        proof = {"kind": "passport", "code": item.code, "value": item.value}
        sentences.append((item.message, "passport", (proof,), ()))
    sentences.append(_plain("No earlier study was given: nothing here compares with one."))
    return sentences


def _by_organ(
    findings: Findings, segmentation: Segmentation | None, volume: CTVolume, peaks: dict[str, HeatMap]
) -> list[tuple[str, list[Parts]]]:
    groups: dict[str, list[Finding]] = {organ: [] for organ in ORGAN_GROUPS}
    own: list[Finding] = []
    for item in findings.items:
        term = finding_term(item.name)
        (groups[term.organ] if term else own).append(item)
    out = []
    for organ, items in groups.items():
        out.append((f"Findings: {organ.lower()}", _organ(items, segmentation, volume, peaks)))
    answers = [_present(item, segmentation, volume, peaks) for item in own if item.probability is not None]
    answers += _silent(own)
    out.append((QUESTIONS, answers))
    return out


def _organ(
    items: Sequence[Finding], segmentation: Segmentation | None, volume: CTVolume, peaks: dict[str, HeatMap]
) -> list[Parts]:
    answered = [item for item in items if item.probability is not None]
    present = [item for item in answered if (item.probability or 0.0) >= PRESENT_FROM]
    present.sort(key=lambda item: -(item.probability or 0.0))
    sentences = [_present(item, segmentation, volume, peaks) for item in present]
    absent = [item for item in answered if item not in present]
    if absent:
        sentences.append(_absent(absent))
    return sentences + _silent(items)


def _present(item: Finding, segmentation: Segmentation | None, volume: CTVolume, peaks: dict[str, HeatMap]) -> Parts:
    term = finding_term(item.name)
    noun = term.noun if term else f"“{item.name}”"
    number = f"model probability {item.probability:.2f} ({_calibration(item)})"
    evidence = [_proof(item)]
    checks: list[Check] = []
    where = ""
    heat_map = peaks.get(item.name)
    if heat_map is not None:
        where = _where(heat_map, segmentation, volume)
        evidence.append(
            {
                "kind": "heat_map",
                "peak_ras_mm": [round(mm, 1) for mm in heat_map.peak_mm],
                "peak_value": round(heat_map.peak_value, 4),
                "note": "where the model responded most; not a segmentation",
            }
        )
        checks.append(geometry_check(volume.passport))
    verb = "suggested" if (item.probability or 0.0) >= PRESENT_FROM else "not suggested"
    text = f"{noun[:1].upper()}{noun[1:]}: {verb}{where}; {number}."
    if item.note:
        text += f" {item.note[:1].upper()}{item.note[1:].rstrip('.')}."
    return text, "findings", tuple(evidence), tuple(checks)


def _absent(items: Sequence[Finding]) -> Parts:
    terms = [finding_term(item.name) for item in items]
    names = _listed([term.phrase if term else item.name for term, item in zip(terms, items, strict=True)])
    values = sorted(item.probability or 0.0 for item in items)
    spread = f"{values[0]:.2f}" if len(values) == 1 else f"{values[0]:.2f} to {values[-1]:.2f}"
    how = _listed(sorted({_calibration(item) for item in items}), last="and")
    text = f"The model does not suggest {names}; model probability {spread} ({how})."
    return text, "findings", tuple(_proof(item) for item in items), ()


def _silent(items: Sequence[Finding]) -> list[Parts]:
    """One sentence for all that have no number for the same reason."""
    by_reason: dict[str, list[Finding]] = {}
    for item in items:
        if item.probability is None:
            by_reason.setdefault((item.note or "this bundle cannot detect it").rstrip("."), []).append(item)
    out: list[Parts] = []
    for why, group in by_reason.items():
        names = _listed([item.name.lower() for item in group], last="and")
        out.append((f"Not assessed: {names} ({why}).", "findings", tuple(_proof(item) for item in group), ()))
    return out


def _proof(item: Finding) -> dict[str, Any]:
    return {
        "kind": "finding",
        "name": item.name,
        "probability": item.probability,
        "threshold": PRESENT_FROM,
        "calibration": item.calibration,
    }


def _calibration(item: Finding) -> str:
    if item.calibration is None:
        return "uncalibrated"
    return f"calibrated on {item.calibration.get('set', 'an unnamed set')}, n = {item.calibration.get('n', 'unknown')}"


def _listed(words: Sequence[str], last: str = "or") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _where(heat_map: HeatMap, segmentation: Segmentation | None, volume: CTVolume) -> str:
    """Name the structure under the peak, if one was segmented there."""
    if segmentation is None:
        return ""
    index = np.rint(ras_to_index(volume, np.asarray(heat_map.peak_mm))).astype(int)
    if (index < 0).any() or (index >= segmentation.labels.shape).any():
        return ""
    label = int(segmentation.labels[tuple(index)])
    found = next((item for item in segmentation.classes if item.label == label), None)
    if found is None:
        return ""
    name = found.display_name.lower()
    if side_of_name(found.name) and not volume.geometry.orientation_known:
        return f", strongest response in a {without_side(name)}"
    return f", strongest response in the {name}"


def _similar(hits: SimilarCases | None) -> list[Parts]:
    if hits is None:
        return [_plain("No case library fits this bundle: similar cases were not looked for.")]
    notes: list[Parts] = [(note, "library", (), ()) for note in hits.notes]
    if not len(hits):
        return [(f"The library “{hits.library}” has no similar case to show.", "library", (), ()), *notes]
    evidence = {
        "kind": "cases",
        "library": hits.library,
        "case_ids": [hit.case_id for hit in hits],
        "similarities": [round(hit.similarity, 4) for hit in hits],
    }
    named = _listed([f"{hit.case_id} ({hit.similarity:.2f})" for hit in hits], last="and")
    sentences: list[Parts] = [
        (f"Most similar cases of the library “{hits.library}” (centred cosine): {named}.", "library", (evidence,), ())
    ]
    counts = Counter(label for hit in hits for label in hit.labels)
    if counts:
        shared = _listed([f"{name.lower()} ({n})" for name, n in counts.most_common(5)], last="and")
        sentences.append((f"Labels among these {len(hits)} cases: {shared}.", "library", (evidence,), ()))
    return [*sentences, *notes]


def _impression(findings: Findings) -> list[Parts]:
    answered = [item for item in findings.items if item.probability is not None and finding_term(item.name)]
    present = sorted(
        (item for item in answered if (item.probability or 0.0) >= PRESENT_FROM), key=lambda i: -(i.probability or 0.0)
    )
    out: list[Parts] = []
    for item in present:
        text = f"{item.name} suggested by the model ({item.probability:.2f}, {_calibration(item)})"
        out.append((f"{text}; to be confirmed on the images.", "findings", (_proof(item),), ()))
    if not answered:
        out.append(_plain("No finding was assessed."))
    elif not present:
        text = f"No assessed finding reaches the threshold of {PRESENT_FROM:.2f}; this does not exclude disease."
        out.append((text, "findings", tuple(_proof(item) for item in answered), ()))
    return out


def _about(findings: Findings) -> list[Parts]:
    notes = [_plain(f"{note[:1].upper()}{note[1:].rstrip('.')}.") for note in findings.notes]
    source = f"Made from the answers of the bundle {findings.bundle} (hash {findings.bundle_hash[:12]})"
    return [
        _plain(RESEARCH_USE_ONLY),
        *notes,
        _plain(f"{source}; a qualified reader must confirm, change or remove each sentence."),
    ]

"""Generated reports: words (BLEU, ROUGE-L) and, what matters, findings, sides, sizes and false comparisons.

BLEU: Papineni et al., ACL 2002, by sacrebleu (13a tokens). ROUGE-L: Lin 2004, by rouge-score (stemmed F-measure).
Clinical F1: our extractor reads both reports; a finding counts where it is stated as present. Where the truth is
known as facts (phantoms), they take the place of the reference's words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from napari_colipri.text.extract import extract
from napari_colipri.text.findings import FINDING_NAMES
from napari_colipri.text.sentences import split_sections, split_sentences
from napari_colipri.text.side_and_size import comparison_words
from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, mean_known
from training.evaluation.facts import Fact, facts_from_json
from training.evaluation.ranking import f1
from training.evaluation.scores import EvaluationError, read_lines

__all__ = [
    "Extract",
    "ReportPair",
    "ReportTable",
    "Said",
    "evaluate_reports",
    "facts_said",
    "read_reports",
    "said_by_facts",
    "said_in",
]

#: A stated size is wrong if it differs from every true one by more than both.
SIZE_TOLERANCE_MM = 3.0
SIZE_TOLERANCE = 0.25


@dataclass(frozen=True)
class Said:
    """What a report states about one finding that it calls present.

    Attributes
    ----------
    sides
        Subset of ``{"left", "right"}``.
    sizes_mm
        Largest extents, mm.
    """

    sides: frozenset[str] = frozenset()
    sizes_mm: tuple[float, ...] = ()


#: Report to the findings that it states as present.
Extract: TypeAlias = Callable[[str], Mapping[str, Said]]


@dataclass(frozen=True)
class ReportPair:
    """A generated report and what it should have said.

    Attributes
    ----------
    study, patient
        Keys.
    generated, reference
        Texts.
    facts
        The truth where it is known, else None and the reference's words count.
    """

    study: str
    patient: str
    generated: str
    reference: str
    facts: tuple[Fact, ...] | None = None


@dataclass(frozen=True)
class ReportTable:
    """Figures of a set of generated reports.

    Attributes
    ----------
    reports, patients
        How many.
    bleu, rouge_l
        0 to 100 over the corpus, and mean F-measure.
    findings
        Finding to (reports that should state it, reports that do, F1).
    macro, micro
        Clinical F1: mean over the findings that occur, and over all decisions.
    sided, wrong_side
        Positive statements with a side whose true side is known, and those naming a side that is not there.
    sized, wrong_size
        Positive statements with a size whose true size is known, and those with a size that no true one explains.
    sentences, comparing
        Generated sentences, and those that compare with an earlier scan.
    """

    reports: int
    patients: int
    bleu: float
    rouge_l: Interval
    findings: dict[str, tuple[int, int, Interval]]
    macro: Interval
    micro: Interval
    sided: int
    wrong_side: int
    sized: int
    wrong_size: int
    sentences: int
    comparing: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        out: dict[str, Any] = {k: v for k, v in vars(self).items() if isinstance(v, int | float)}
        out |= {k: getattr(self, k).to_json() for k in ("rouge_l", "macro", "micro")}
        out["findings"] = {n: {"true": t, "said": s, "f1": v.to_json()} for n, (t, s, v) in self.findings.items()}
        return out


def read_reports(path: Path) -> tuple[ReportPair, ...]:
    """Read JSONL of ``{"study", "patient", "generated", "reference", "facts": optional}``.

    Raises
    ------
    EvaluationError
        Naming file and line.
    """
    out = []
    for number, item in read_lines(path):
        words = {key: item.get(key) for key in ("study", "patient", "generated", "reference")}
        if not all(isinstance(word, str) for word in words.values()):
            raise EvaluationError(
                f"{path.name} line {number} needs study, patient, generated and reference as texts.", code="bad_line"
            )
        try:
            facts = None if item.get("facts") is None else facts_from_json(item["facts"])
        except (TypeError, ValueError, AttributeError) as error:
            raise EvaluationError(f"{path.name} line {number}: {error}.", code="bad_line") from error
        out.append(ReportPair(**words, facts=facts))  # type: ignore[arg-type]
    return tuple(out)


def said_in(report: str) -> dict[str, Said]:
    """Return what a report states, by the product's own rules; a finding that it raises as uncertain counts."""
    out: dict[str, Said] = {}
    for mention in extract(report):
        if mention.polarity != "absent" and mention.counted:
            known = out.get(mention.finding, Said())
            size = () if mention.size_mm is None else (mention.size_mm,)
            out[mention.finding] = Said(known.sides | mention.sides, known.sizes_mm + size)
    return out


def facts_said(report: str) -> tuple[Fact, ...]:
    """Return what a report states as facts: one per finding, with its side and its largest size."""
    out = []
    for name, said in said_in(report).items():
        side = "both" if len(said.sides) == 2 else next(iter(said.sides), "")
        out.append(Fact(name, side, max(said.sizes_mm, default=None)))
    return tuple(out)


def said_by_facts(facts: Sequence[Fact]) -> dict[str, Said]:
    """Return facts as what a perfect report would state."""
    out: dict[str, Said] = {}
    for fact in facts:
        sides = {"both": {"left", "right"}, "bilateral": {"left", "right"}}.get(fact.side, {fact.side} - {""})
        known = out.get(fact.finding, Said())
        size = () if fact.size_mm is None else (fact.size_mm,)
        out[fact.finding] = Said(known.sides | sides, known.sizes_mm + size)
    return out


def _sizes_fit(said: Sequence[float], true: Sequence[float]) -> bool:
    return all(any(abs(s - t) <= max(SIZE_TOLERANCE_MM, SIZE_TOLERANCE * t) for t in true) for s in said)


def _sides_and_sizes(
    made: Sequence[Mapping[str, Said]], true: Sequence[Mapping[str, Said]]
) -> tuple[int, int, int, int]:
    sided = wrong_side = sized = wrong_size = 0
    for ours, theirs in zip(made, true, strict=True):
        for name in ours.keys() & theirs.keys():
            if ours[name].sides and theirs[name].sides:
                sided += 1
                wrong_side += bool(ours[name].sides - theirs[name].sides)
            if ours[name].sizes_mm and theirs[name].sizes_mm:
                sized += 1
                wrong_size += not _sizes_fit(ours[name].sizes_mm, theirs[name].sizes_mm)
    return sided, wrong_side, sized, wrong_size


def _words(pairs: Sequence[ReportPair]) -> tuple[float, Floats]:
    """Corpus BLEU, and ROUGE-L of every report."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize="13a").corpus_score([p.generated for p in pairs], [[p.reference for p in pairs]]).score
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    rouge = [scorer.score(p.reference, p.generated)["rougeL"].fmeasure for p in pairs]
    return float(bleu), np.array(rouge, np.float64)


def evaluate_reports(
    pairs: Sequence[ReportPair],
    read: Extract = said_in,
    findings: Sequence[str] = FINDING_NAMES,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ReportTable:
    """Score generated reports.

    Parameters
    ----------
    pairs
        Of held-out studies.
    read
        Reads a report.
    findings
        Labels over which F1 is taken.
    resamples, seed
        Of the bootstrap over patients.

    Raises
    ------
    ValueError
        Without a report.
    """
    if not pairs:
        raise ValueError("there is no report")
    made = [read(pair.generated) for pair in pairs]
    true = [said_by_facts(p.facts) if p.facts is not None else read(p.reference) for p in pairs]
    ours, theirs = (
        np.array([[name in each for name in findings] for each in side], dtype=np.bool_) for side in (made, true)
    )
    bleu, rouge = _words(pairs)

    def statistic(weights: Floats) -> Floats:
        every = [f1(ours[:, i].astype(float), theirs[:, i], weights, 0.5) for i in range(len(findings))]
        per = np.stack(every, axis=1)
        pooled = np.repeat(weights, len(findings), axis=1)
        micro = f1(ours.reshape(-1).astype(float), theirs.reshape(-1), pooled, 0.5)
        mean = weights @ rouge / weights.sum(axis=1)
        return np.concatenate([per, mean_known(per)[:, None], micro[:, None], mean[:, None]], axis=1)

    patients = [pair.patient for pair in pairs]
    figures = bootstrap(statistic, patients, resamples=resamples, seed=seed)
    macro, micro, rouge_l = figures[len(findings) :]
    spoken = [s for p in pairs for part in split_sections(p.generated) for s in split_sentences(part.text)]
    rows = {name: (int(theirs[:, i].sum()), int(ours[:, i].sum()), figures[i]) for i, name in enumerate(findings)}
    comparing = sum(bool(comparison_words(sentence)) for sentence in spoken)
    sided, wrong_side, sized, wrong_size = _sides_and_sizes(made, true)
    return ReportTable(
        reports=len(pairs),
        patients=len(set(patients)),
        bleu=bleu,
        rouge_l=rouge_l,
        findings=rows,
        macro=macro,
        micro=micro,
        sided=sided,
        wrong_side=wrong_side,
        sized=sized,
        wrong_size=wrong_size,
        sentences=len(spoken),
        comparing=comparing,
    )

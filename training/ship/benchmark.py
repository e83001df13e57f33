"""Is a new bundle worse than the one it replaces? Figure by figure, differences paired within the same studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_colipri.text.findings import FINDING_NAMES
from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap, mean_known
from training.evaluation.bundle import BundleAnswers
from training.evaluation.facts import fact_key
from training.evaluation.ranking import auroc, f1
from training.evaluation.reports import ReportPair, said_by_facts, said_in
from training.evaluation.retrieval import distinct_items, expected_hits
from training.evaluation.scores import EvaluationError, Scores

__all__ = ["TOLERANCE", "Difference", "Verdict", "compare_answers"]

#: A figure may fall by so much before a bundle counts as worse.
TOLERANCE = 0.005


@dataclass(frozen=True)
class Difference:
    """One figure of both bundles on the same studies; ``change`` is new minus old."""

    name: str
    new: float
    old: float
    change: Interval

    @property
    def worse(self) -> bool:
        """Whether it fell by more than the tolerance."""
        return self.change.value < -TOLERANCE


@dataclass(frozen=True)
class Verdict:
    """All differences, and what the older bundle answers and the new one does not."""

    differences: tuple[Difference, ...]
    lost: tuple[str, ...]

    @property
    def worse(self) -> tuple[str, ...]:
        """Reasons to refuse, in words."""
        fell = [f"{d.name} falls from {d.old:.3f} to {d.new:.3f}" for d in self.differences if d.worse]
        return (*fell, *(f"no answer any more for {name}" for name in self.lost))

    def markdown(self) -> str:
        """Table of the differences."""
        lines = ["| figure | new | before | change (95 % interval) |", "| --- | --- | --- | --- |"]
        lines += [f"| {d.name} | {d.new:.3f} | {d.old:.3f} | {d.change} |" for d in self.differences]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        rows = [{"name": d.name, "new": d.new, "old": d.old, "change": d.change.to_json()} for d in self.differences]
        return {"differences": rows, "lost": list(self.lost), "worse": list(self.worse)}


def _aurocs(scores: Scores, weights: Floats) -> Floats:
    """AUROC of every finding in every draw, [R, F]."""
    columns = []
    for i in range(len(scores.findings)):
        known = np.isfinite(scores.scores[:, i]) & np.isfinite(scores.labels[:, i])
        columns.append(auroc(scores.scores[known, i], scores.labels[known, i] > 0, weights[:, known]))
    return np.stack(columns, axis=1)


def _difference(name: str, new: Any, old: Any, patients: Sequence[str], resamples: int) -> Difference:
    """Compare two statistics, each taking weights [R, N] and returning [R, M]; M is averaged over what both know."""

    def statistic(weights: Floats) -> Floats:
        a, b = new(weights), old(weights)
        both = np.isfinite(a) & np.isfinite(b)
        means = [mean_known(np.where(both, each, np.nan)) for each in (a, b)]
        return np.stack([*means, means[0] - means[1]], axis=1)

    ours, theirs, change = bootstrap(statistic, patients, resamples=resamples)
    return Difference(name, ours.value, theirs.value, change)


def _scores(name: str, new: Scores, old: Scores, resamples: int) -> tuple[Difference | None, list[str]]:
    shared = [finding for finding in old.answered if finding in new.answered]
    lost = [f"{finding} ({name})" for finding in old.answered if finding not in new.answered]
    if not shared:
        return None, lost
    a, b = new.select(shared), old.select(shared)
    found = _difference(
        f"macro AUROC, {name}", lambda w: _aurocs(a, w), lambda w: _aurocs(b, w), new.patient, resamples
    )
    return found, lost


def _masks(new: BundleAnswers, old: BundleAnswers, resamples: int) -> tuple[Difference | None, list[str]]:
    theirs = {case.case: case for case in old.masks}
    pairs = [(case, theirs[case.case]) for case in new.masks if case.case in theirs]
    known = {name for case in old.masks for name in case.dice}
    drawn = {name for case in new.masks for name in case.dice}
    lost = [f"the mask {name}" for name in sorted(known - drawn)]
    shared = sorted(known & drawn)
    if not pairs or not shared:
        return None, lost
    tables = [
        np.array([[pair[side].dice.get(name, np.nan) for name in shared] for pair in pairs], np.float64)
        for side in (0, 1)
    ]

    def mean(table: Floats) -> Any:
        finite = np.isfinite(table)

        def statistic(weights: Floats) -> Floats:
            total = weights @ finite.astype(float)
            return np.where(total > 0, weights @ np.where(finite, table, 0) / np.maximum(total, 1e-9), np.nan)

        return statistic

    patients = [ours.patient for ours, _ in pairs]
    return _difference("mean Dice", mean(tables[0]), mean(tables[1]), patients, resamples), lost


def _retrieval(new: BundleAnswers, old: BundleAnswers, resamples: int) -> tuple[Difference | None, list[str]]:
    if new.embeddings is None or old.embeddings is None:
        return None, []
    kept = distinct_items([fact_key(facts) for facts in old.embeddings.facts])
    if kept.size < 2:
        return None, []
    hits = []
    for values in (new.embeddings, old.embeddings):
        a, b = (each[kept] / np.linalg.norm(each[kept], axis=1, keepdims=True) for each in (values.image, values.text))
        hits.append(expected_hits(a @ b.T, (10,)))
    patients = [old.embeddings.patient[index] for index in kept]
    both = [lambda w, h=h: w @ h / w.sum(1, keepdims=True) for h in hits]
    return _difference("image → report R@10", both[0], both[1], patients, resamples), []


def _clinical(pairs: Sequence[ReportPair]) -> Any:
    """Return the statistic of clinical F1 per finding; every report is read once."""
    made = [said_in(pair.generated) for pair in pairs]
    true = [said_by_facts(p.facts) if p.facts is not None else said_in(p.reference) for p in pairs]
    called, there = (np.array([[name in each for name in FINDING_NAMES] for each in side]) for side in (made, true))

    def statistic(weights: Floats) -> Floats:
        columns = [f1(called[:, i].astype(float), there[:, i], weights, 0.5) for i in range(len(FINDING_NAMES))]
        return np.stack(columns, axis=1)

    return statistic


def _reports(new: BundleAnswers, old: BundleAnswers, resamples: int) -> tuple[Difference | None, list[str]]:
    if not old.reports:
        return None, []
    if not new.reports:
        return None, ["written reports"]
    patients = [pair.patient for pair in old.reports]
    a, b = (_clinical(answers.reports) for answers in (new, old))
    return _difference("clinical F1, macro", a, b, patients, resamples), []


def compare_answers(new: BundleAnswers, old: BundleAnswers, *, resamples: int = RESAMPLES) -> Verdict:
    """Compare two bundles' answers to the same studies.

    Parameters
    ----------
    new, old
        From :func:`training.evaluation.bundle.score_bundle` on the same studies in the same order.
    resamples
        Of the bootstrap over patients.

    Raises
    ------
    EvaluationError
        If the studies differ.
    """
    if new.zero_shot.study != old.zero_shot.study:
        raise EvaluationError("The bundles were asked about different studies.", code="mismatch")
    results = [_scores("zero-shot", new.zero_shot, old.zero_shot, resamples)]
    if old.probe is not None and new.probe is not None:
        results.append(_scores("probe", new.probe, old.probe, resamples))
    elif old.probe is not None:
        results.append((None, ["the probe"]))
    results += [each(new, old, resamples) for each in (_masks, _retrieval, _reports)]
    found = tuple(difference for difference, _ in results if difference is not None)
    return Verdict(found, tuple(name for _, lost in results for name in lost))

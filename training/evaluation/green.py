"""GREEN: a language model counts matched findings and clinically significant errors of a report by kind.

Ostmeier et al., Findings of EMNLP 2024: score = matched / (matched + significant errors), 0 where nothing matched.
The headings and the six kinds of error are the published ones, so that models trained to answer in that form do; the
wording of the question here is ours. An answer that cannot be read has no score and is counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap
from training.evaluation.local_models import LocalModel
from training.evaluation.reports import ReportPair
from training.evaluation.scores import EvaluationError

__all__ = [
    "ERRORS",
    "PROMPT",
    "GreenTable",
    "Judgement",
    "fill_prompt",
    "green_table",
    "parse_answer",
    "read_prompt",
]

#: The published kinds (a) to (f), in short.
ERRORS = (
    "finding that the reference lacks",
    "finding left out",
    "wrong place",
    "wrong severity",
    "comparison that the reference lacks",
    "comparison left out",
)
_LETTERS = "abcdef"

PROMPT = """\
You compare a candidate radiology report with the reference report that radiologists wrote about the same scan, and \
count where the two agree and where the candidate is wrong. Judge what is said about the patient, not style.

Errors are of six kinds:
(a) the candidate reports a finding that the reference does not have;
(b) the candidate leaves out a finding of the reference;
(c) a finding is put in the wrong place;
(d) the severity of a finding is wrong;
(e) the candidate mentions a comparison that the reference does not make;
(f) the candidate leaves out a comparison with an earlier study.
An error is clinically significant if it could change what is done for the patient.

Reference report:
{reference}

Candidate report:
{candidate}

Answer in exactly this form. Give a count for every kind, 0 where there is none:
[Explanation]:
<a few sentences>

[Clinically Significant Errors]:
(a) <kind>: <count>. <error>; <error>
...
(f) <kind>: <count>. <error>; <error>

[Clinically Insignificant Errors]:
(a) <kind>: <count>. <error>; <error>
...
(f) <kind>: <count>. <error>; <error>

[Matched Findings]:
<count>. <finding>; <finding>
"""

_PLACE = re.compile(r"\{(reference|candidate)\}")
_SECTION = r"\[{}\]\**\s*:?\**(.*?)(?=\n[\s*]*\[[A-Z]|\Z)"
_SIGNIFICANT = re.compile(_SECTION.format("Clinically Significant Errors"), re.DOTALL)
_MATCHED = re.compile(_SECTION.format("Matched Findings"), re.DOTALL)
#: A line such as "(b) Missing a finding present in the reference: 2. …"; some judges number the kinds.
_KIND = re.compile(r"^\s*\(([a-f1-6])\)([^\n]*)", re.MULTILINE)
_COUNT = r"(\d{1,3})(?!\.?\d)\b"
_KIND_COUNT = re.compile(rf"[^:]*:\s*(?:{_COUNT}|(?:no|none)\b)", re.IGNORECASE)
_FIRST_COUNT = re.compile(rf"\s*(?:{_COUNT}|(?:no|none)\b)", re.IGNORECASE)
_NOTHING = re.compile(r"\s*(?:no|none)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Judgement:
    """What an answer counts.

    Attributes
    ----------
    matched
        Findings on which both reports agree.
    errors
        Clinically significant ones, one count for each of :data:`ERRORS`.
    """

    matched: int
    errors: tuple[int, ...]

    @property
    def score(self) -> float:
        """GREEN, 0 to 1."""
        return self.matched / (self.matched + sum(self.errors)) if self.matched else 0.0


@dataclass(frozen=True)
class GreenTable:
    """GREEN of a set of reports.

    Attributes
    ----------
    model
        The judge.
    prompt_sha256
        Of the question, its places for the reports still empty.
    reports, patients
        How many.
    unparsable, too_long
        Reports without a score: the answer is not in the form, or the question does not fit into the model.
    score
        Mean over the reports that have one.
    matched
        Mean count of matched findings per report.
    errors
        Kind to mean count of clinically significant errors per report.
    """

    model: LocalModel
    prompt_sha256: str
    reports: int
    patients: int
    unparsable: int
    too_long: int
    score: Interval
    matched: Interval
    errors: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        counts = ("prompt_sha256", "reports", "patients", "unparsable", "too_long")
        return {
            **self.model.to_json(),
            **{name: getattr(self, name) for name in counts},
            "score": self.score.to_json(),
            "matched": self.matched.to_json(),
            "errors": {name: value.to_json() for name, value in self.errors.items()},
        }


def read_prompt(path: Path) -> str:
    """Read a question of the user's own, with one ``{reference}`` and one ``{candidate}``.

    Raises
    ------
    EvaluationError
        Naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path.name} cannot be read: {error}.", code="unreadable") from error
    if sorted(_PLACE.findall(text)) != ["candidate", "reference"]:
        raise EvaluationError(f"{path.name} needs {{reference}} and {{candidate}}, each once.", code="bad_prompt")
    return text


def fill_prompt(prompt: str, reference: str, candidate: str) -> str:
    """Put two reports into a question; braces in the reports themselves mean nothing."""
    texts = {"reference": reference.strip(), "candidate": candidate.strip()}
    return _PLACE.sub(lambda place: texts[place.group(1)], prompt)


def _significant(text: str) -> tuple[int, ...] | None:
    lines = _KIND.findall(text)
    if not lines:
        return (0,) * len(ERRORS) if _NOTHING.match(text) else None
    counts: dict[int, int] = {}
    for mark, rest in lines:
        place = _LETTERS.find(mark) if mark in _LETTERS else int(mark) - 1
        found = _KIND_COUNT.match(rest)
        if found is None or place in counts:
            return None
        counts[place] = int(found.group(1) or 0)
    return tuple(counts.get(place, 0) for place in range(len(ERRORS)))


def parse_answer(text: str) -> Judgement | None:
    """Return the counts of an answer, or None where it is not in the form.

    Both headings must be there. A kind that is not listed counts 0; one without a number, or twice, spoils the answer.
    """
    significant, matched = _SIGNIFICANT.search(text), _MATCHED.search(text)
    if significant is None or matched is None:
        return None
    errors, first = _significant(significant.group(1)), _FIRST_COUNT.match(matched.group(1))
    return None if errors is None or first is None else Judgement(int(first.group(1) or 0), errors)


def green_table(
    pairs: Sequence[ReportPair],
    answers: Sequence[str | None],
    model: LocalModel,
    *,
    prompt: str = PROMPT,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> GreenTable:
    """Score the answers; what cannot be read is counted and has no score.

    Parameters
    ----------
    pairs, answers
        Reports and what the judge says of them, None where it was not asked.
    model, prompt
        The judge and the question.
    resamples, seed
        Of the bootstrap over patients.
    """
    judged = [None if answer is None else parse_answer(answer) for answer in answers]
    rows = [
        [np.nan] * (2 + len(ERRORS)) if each is None else [each.score, each.matched, *each.errors] for each in judged
    ]
    values = np.array(rows, dtype=np.float64).reshape(len(pairs), -1)
    known = np.isfinite(values[:, 0]).astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        count = (weights @ known)[:, None]
        return np.where(count > 0, weights @ np.nan_to_num(values) / np.maximum(count, 1), np.nan)

    patients = [pair.patient for pair in pairs]
    score, matched, *errors = bootstrap(statistic, patients, resamples=resamples, seed=seed)
    too_long = sum(answer is None for answer in answers)
    return GreenTable(
        model=model,
        prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
        reports=len(pairs),
        patients=len(set(patients)),
        unparsable=sum(each is None for each in judged) - too_long,
        too_long=too_long,
        score=score,
        matched=matched,
        errors=dict(zip(ERRORS, errors, strict=True)),
    )

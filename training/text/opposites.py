"""Opposite sentences of a study: what is true of it, what is true of others only, each with its negation.

Per study K pairs (as third parties quote Algorithm 1 of arXiv 2510.15042): up to ceil(K/2) of its own positive findings
(label 1); up to floor(K/2) positive findings of other patients, from organ sections in which this study has none (label
0). Fewer pairs are fewer terms of the loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from napari_colipri.text.extract import Mention, extract
from napari_colipri.text.findings import FINDING_NAMES, default_prompts, finding_term
from napari_colipri.text.negation import negate

__all__ = ["HELD_OUT", "Pair", "Pool", "Statement", "Statements", "plain", "statements"]

#: A sentence, its negation, and 1 if the study shows what the sentence says, else 0.
Pair: TypeAlias = tuple[str, str, int]


def plain(sentence: str) -> str:
    """Return ``sentence`` without capitals, marks at its end and double spaces: the form in which two are compared."""
    return " ".join(sentence.lower().split()).rstrip(" .!?")


#: The default prompts of all 18 findings, as :func:`plain` has them: what is asked in a test is not trained verbatim.
HELD_OUT = frozenset(plain(each) for name in FINDING_NAMES for side in default_prompts(name) for each in side)

_TRIES = 20  # draws for each sentence of another patient before the search ends


@dataclass(frozen=True)
class Statement:
    """A sentence that says what is there.

    Attributes
    ----------
    sentence, negation
        Both as they go into the text tower.
    findings
        What it names, all of it present.
    """

    sentence: str
    negation: str
    findings: frozenset[str]

    @property
    def organs(self) -> frozenset[str]:
        """Organ sections of its findings."""
        return frozenset(_organ(name) for name in self.findings)


@dataclass(frozen=True)
class Statements:
    """What one study says.

    Attributes
    ----------
    study, patient
        Keys.
    positive
        Sentences that say what is there.
    organs
        Organ sections in which something is, or may be, there.
    """

    study: str
    patient: str
    positive: tuple[Statement, ...]
    organs: frozenset[str]


def _organ(finding: str) -> str:
    term = finding_term(finding)
    return term.organ if term else ""


def statements(
    study: str,
    patient: str,
    report: str,
    labels: Mapping[str, float | None] | None = None,
    *,
    held_out: Collection[str] = HELD_OUT,
) -> Statements:
    """Return the positive sentences of a report.

    A sentence counts if every finding that it names is there, none is in doubt, and it does not compare with an earlier
    scan: image and sentence then agree or disagree by what the image shows.

    Parameters
    ----------
    study, patient
        Keys.
    report
        May be empty.
    labels
        Known labels; a positive one marks its organ as not free of findings even where the report is silent.
    held_out
        Prompts of a test, as :func:`plain` has them. A sentence that is one of them, or whose negation is ("There is a
        12 mm lung nodule." loses its size), is left out.
    """
    by_sentence: dict[str, list[Mention]] = {}
    for mention in extract(report):
        by_sentence.setdefault(mention.sentence, []).append(mention)
    positive = []
    for sentence, said in by_sentence.items():
        if all(each.polarity == "present" and each.counted for each in said) and not said[0].compares:
            negation = negate(sentence)
            if plain(sentence) not in held_out and plain(negation) not in held_out:
                positive.append(Statement(sentence, negation, frozenset(each.finding for each in said)))
    there = {each.finding for said in by_sentence.values() for each in said if each.polarity != "absent"}
    there |= {name for name, value in (labels or {}).items() if value is not None and value > 0}
    return Statements(study, patient, tuple(positive), frozenset(_organ(name) for name in there))


class Pool:
    """Sentences of all studies by organ, to draw those of other patients from.

    Parameters
    ----------
    studies
        Of the training split.
    """

    def __init__(self, studies: Iterable[Statements]) -> None:
        self._by_organ: dict[str, list[tuple[str, Statement]]] = {}
        for study in studies:
            for statement in study.positive:
                for organ in sorted(statement.organs):
                    self._by_organ.setdefault(organ, []).append((study.patient, statement))

    def pairs(self, study: Statements, count: int, rng: np.random.Generator) -> tuple[Pair, ...]:
        """Return up to ``count`` pairs for one study: its own first, then those of others.

        Parameters
        ----------
        study
            Need not be among the pool's.
        count
            K.
        rng
            Decides which; the same state gives the same pairs.
        """
        own = study.positive
        chosen = [own[index] for index in rng.permutation(len(own))[: -(-count // 2)]]
        others = self._of_others(study, count // 2, rng)
        return tuple((each.sentence, each.negation, 1) for each in chosen) + tuple(
            (each.sentence, each.negation, 0) for each in others
        )

    def _of_others(self, study: Statements, count: int, rng: np.random.Generator) -> Sequence[Statement]:
        organs = [organ for organ in sorted(self._by_organ) if organ not in study.organs]
        found: dict[str, Statement] = {}
        for _ in range(count * _TRIES if organs else 0):
            if len(found) == count:
                break
            entries = self._by_organ[organs[rng.integers(len(organs))]]
            patient, statement = entries[rng.integers(len(entries))]
            if patient != study.patient and not statement.organs & study.organs:
                found.setdefault(statement.sentence, statement)
        return tuple(found.values())

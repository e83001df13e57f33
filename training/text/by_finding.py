"""Sentences of reports by finding: those that say it is there, and those that say it is not.

A batch that asks the same few sentences of every volume teaches what a zero-shot answer asks, for every finding at
once; pairs of a study's own sentences (:mod:`training.text.opposites`) leave most findings out of most batches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_colipri.text.extract import extract
from napari_colipri.text.findings import FINDING_NAMES
from napari_colipri.text.negation import negate
from training.text.opposites import HELD_OUT, Pair, plain

__all__ = ["Sentences", "sentences_of"]


@dataclass(frozen=True)
class Sentences:
    """Distinct sentences of each of the 18 findings.

    Attributes
    ----------
    present, absent
        By finding, in the order of ``FINDING_NAMES``.
    """

    present: tuple[tuple[str, ...], ...]
    absent: tuple[tuple[str, ...], ...]

    def couples(self, each: int, rng: np.random.Generator) -> tuple[tuple[int, str, str], ...]:
        """Return ``each`` couples (finding, present, absent) per finding that has sentences of both kinds."""
        return tuple(
            (finding, _one(self.present[finding], rng), _one(self.absent[finding], rng))
            for finding in range(len(FINDING_NAMES))
            if self.present[finding] and self.absent[finding]
            for _ in range(each)
        )

    def pairs(self, labels_BF: npt.NDArray[np.float32], each: int, rng: np.random.Generator) -> list[list[Pair]]:
        """Return for each study the couples of a batch with its labels; what is unknown is not asked."""
        couples = self.couples(each, rng)
        return [
            [(there, gone, int(row[finding])) for finding, there, gone in couples if not np.isnan(row[finding])]
            for row in labels_BF
        ]


def _one(texts: tuple[str, ...], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def sentences_of(reports: Iterable[str], *, held_out: Collection[str] = HELD_OUT) -> Sentences:
    """Collect the sentences that speak of one finding alone, without doubt and without comparing.

    Parameters
    ----------
    reports
        Texts of the training split.
    held_out
        Prompts of a test, as :func:`training.text.opposites.plain` has them; they are left out.
    """
    present: list[set[str]] = [set() for _ in FINDING_NAMES]
    absent: list[set[str]] = [set() for _ in FINDING_NAMES]
    place = {name: index for index, name in enumerate(FINDING_NAMES)}
    for report in reports:
        said: dict[str, list[tuple[str, str]]] = {}
        for mention in extract(report):
            usable = mention.counted and not mention.compares
            kind: str = mention.polarity if usable else ""
            said.setdefault(mention.sentence, []).append((mention.finding, kind))
        for sentence, found in said.items():
            if len(set(found)) != 1:
                continue
            finding, kind = found[0]
            if kind == "present":
                present[place[finding]].add(sentence)
                absent[place[finding]].add(negate(sentence))
            elif kind == "absent":
                absent[place[finding]].add(sentence)
    return Sentences(_kept(present, held_out), _kept(absent, held_out))


def _kept(sides: list[set[str]], held_out: Collection[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(sorted(text for text in side if plain(text) not in held_out)) for side in sides)

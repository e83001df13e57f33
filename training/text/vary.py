"""Variation of a report while training: sections and sentences shuffled, or a short caption in its place.

Re-implementations of the recipe shuffle sections and sentences with p = 0.5 each and mix captions of one finding with
whole reports; everything here is decided by the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_colipri.text.extract import extract
from napari_colipri.text.sentences import split_sections, split_sentences
from training.text.opposites import HELD_OUT, plain

__all__ = ["TextVariation", "captions", "shuffle_report"]


def shuffle_report(report: str, rng: np.random.Generator, *, sections: float = 0.5, sentences: float = 0.5) -> str:
    """Return ``report`` with its sections, and the sentences within each section, in another order.

    Parameters
    ----------
    report
        With or without headings; a report without them is one section.
    rng
        Decides whether and how.
    sections, sentences
        Probability that sections are shuffled, and, drawn once for the report, that sentences are.

    Returns
    -------
    str
        One line for each section, its heading first. The same sentences, each once.
    """
    parts = [(section.name, list(split_sentences(section.text))) for section in split_sections(report)]
    if rng.random() < sections:
        parts = [parts[index] for index in rng.permutation(len(parts))]
    if rng.random() < sentences:
        parts = [(name, [said[index] for index in rng.permutation(len(said))]) for name, said in parts]
    return "\n".join(" ".join(([f"{name}:"] if name else []) + [_ended(each) for each in said]) for name, said in parts)


def _ended(sentence: str) -> str:
    return sentence if sentence[-1:] in ".!?" else f"{sentence}."


def captions(report: str) -> tuple[str, ...]:
    """Return the sentences of ``report`` that say of exactly one finding that it is there, each once.

    A sentence that compares with an earlier scan is no caption, because an image alone cannot show it; nor is one that
    is a default prompt word for word, which a test would ask.
    """
    spoken: dict[str, set[tuple[str, str]]] = {}
    comparing = set()
    for mention in extract(report):
        spoken.setdefault(mention.sentence, set()).add((mention.finding, mention.polarity))
        if mention.compares:
            comparing.add(mention.sentence)
    return tuple(
        _ended(sentence)
        for sentence, said in spoken.items()
        if len(said) == 1
        and next(iter(said))[1] == "present"
        and sentence not in comparing
        and plain(sentence) not in HELD_OUT
    )


@dataclass(frozen=True)
class TextVariation:
    """How a report is varied; an instance is called with a report and a generator.

    Attributes
    ----------
    sections, sentences
        Probability that sections and sentences are shuffled.
    caption
        Probability that a caption of one finding takes the report's place, where it has any.
    """

    sections: float = 0.5
    sentences: float = 0.5
    caption: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value}; a probability lies between 0 and 1.")

    def __call__(self, report: str, rng: np.random.Generator) -> str:
        """Return the report varied; an empty one stays empty."""
        if not report.strip():
            return ""
        short = captions(report) if rng.random() < self.caption else ()
        if short:
            return short[rng.integers(len(short))]
        return shuffle_report(report, rng, sections=self.sections, sentences=self.sentences)

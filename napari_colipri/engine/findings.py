"""Zero-shot probabilities: cosines of one image with two prompt ensembles per finding. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from napari_colipri.engine.config import BundleConfig, ProbesConfig
from napari_colipri.engine.types import Finding
from napari_colipri.text.findings import FINDING_NAMES

__all__ = [
    "UNRESOLVED",
    "UNTRAINED",
    "Embed",
    "Question",
    "answer",
    "ensemble",
    "probability",
    "questions",
    "with_probe",
]

_Vectors: TypeAlias = npt.NDArray[np.float32]
#: Texts to L2-normalised vectors [n, D].
Embed: TypeAlias = Callable[[list[str]], _Vectors]

UNTRAINED = "this demonstration model was not trained to see this finding"
UNRESOLVED = "this model cannot see this finding"


@dataclass(frozen=True)
class Question:
    """One thing to ask about an image.

    Attributes
    ----------
    name
        Finding or the user's words.
    present, absent
        Prompt ensembles; empty where there is nothing to ask.
    note
        Why there is no number, or None.
    """

    name: str
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    note: str | None = None


def questions(config: BundleConfig) -> tuple[Question, ...]:
    """Return what a bundle is asked about every image: CT-RATE's findings in canonical order, then its own.

    Findings that the bundle names as unresolved, or was not trained on, are there with a note and get no number.
    """
    own = {item.name: item for item in config.findings}
    rank = {name: index for index, name in enumerate(FINDING_NAMES)}
    names = sorted(dict.fromkeys([*own, *config.unresolved]), key=lambda name: rank.get(name, len(rank)))
    out = []
    for name in names:
        item = own.get(name)
        blind = item is None or not item.trained or name in config.unresolved
        note = (UNTRAINED if config.demonstration else UNRESOLVED) if blind else None
        out.append(Question(name, item.present if item else (), item.absent if item else (), note))
    return tuple(out)


def ensemble(vectors: _Vectors) -> _Vectors:
    """Return the mean of L2-normalised vectors [n, D], normalised again, [D]."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = unit.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def probability(pooled: _Vectors, present: _Vectors, absent: _Vectors, temperature: float) -> float:
    """Return softmax([cos present, cos absent] / temperature)[0].

    Parameters
    ----------
    pooled, present, absent
        L2-normalised [D].
    temperature
        Of the bundle.
    """
    difference = float(pooled.astype(np.float64) @ (present.astype(np.float64) - absent)) / temperature
    return float(1.0 / (1.0 + np.exp(-np.clip(difference, -700, 700))))


def answer(pooled: _Vectors, asked: Sequence[Question], embed: Embed, temperature: float) -> tuple[Finding, ...]:
    """Answer every question about one image.

    Parameters
    ----------
    pooled
        L2-normalised image embedding [D].
    asked
        Questions; those with a note get no number.
    embed
        Text tower.
    temperature
        Softmax temperature of the bundle.
    """
    out = []
    for question in asked:
        value = None
        if question.note is None:
            present, absent = ensemble(embed(list(question.present))), ensemble(embed(list(question.absent)))
            value = probability(pooled, present, absent, temperature)
        out.append(Finding(question.name, value, question.present, question.absent, note=question.note))
    return tuple(out)


def with_probe(
    items: Sequence[Finding], adapter: ProbesConfig | None, probabilities: _Vectors | None
) -> tuple[Finding, ...]:
    """Return findings with the probe's answer beside the zero-shot one.

    A finding that the bundle gives no number for gets none from the probe either.

    Parameters
    ----------
    items
        Zero-shot answers.
    adapter, probabilities
        Of the probe, [F]; None where the bundle has none.
    """
    if adapter is None or probabilities is None:
        return tuple(items)
    told = dict(zip(adapter.findings, zip(probabilities.tolist(), adapter.thresholds, strict=True), strict=True))
    out = []
    for item in items:
        if item.probability is not None and item.name in told:
            value, threshold = told[item.name]
            called = threshold is not None and value >= threshold
            second = {"probability": value, "threshold": threshold, "called": called, "calibration": None}
            item = replace(item, probe=second)
        out.append(item)
    return tuple(out)

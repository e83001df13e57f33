"""Image-to-report and report-to-image retrieval over items that differ in their facts, beside chance and an oracle.

R@k is the share of queries whose own partner is among the k nearest by cosine. Studies with the same facts are one
item: no text could tell them apart, so all but the first are left out. Where scores tie, the expected hit over random
orders of the tied items counts. Chance is k / n. The oracle knows the labels of every query and ranks by their
overlap (Jaccard index); what it cannot resolve within k, findings alone cannot.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.bootstrap import RESAMPLES, Floats, Interval, bootstrap

__all__ = ["CUTS", "Retrieval", "distinct_items", "expected_hits", "label_overlap", "retrieve"]

CUTS = (1, 5, 10, 50)
_Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Retrieval:
    """Retrieval in one pool.

    Attributes
    ----------
    items, dropped
        Items in the pool, and studies left out because their facts are those of an earlier one.
    image_to_report, report_to_image
        k to R@k.
    chance, oracle
        k to R@k of a random order, and of ranking by label overlap.
    resolved
        k to (number of queries for which the oracle is certain of its k, image-to-report R@k among them).
    """

    items: int
    dropped: int
    image_to_report: dict[int, Interval]
    report_to_image: dict[int, Interval]
    chance: dict[int, float]
    oracle: dict[int, float]
    resolved: dict[int, tuple[int, Interval]]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "items": self.items,
            "dropped": self.dropped,
            "image_to_report": {str(k): v.to_json() for k, v in self.image_to_report.items()},
            "report_to_image": {str(k): v.to_json() for k, v in self.report_to_image.items()},
            "chance": {str(k): v for k, v in self.chance.items()},
            "oracle": {str(k): v for k, v in self.oracle.items()},
            "resolved": {str(k): {"queries": n, **v.to_json()} for k, (n, v) in self.resolved.items()},
        }


def distinct_items(keys: Sequence[Hashable]) -> _Indices:
    """Return the first study of each key, in order."""
    first: dict[Hashable, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    return np.array(list(first.values()), dtype=np.int64)


def expected_hits(similarity: Floats, cuts: Sequence[int] = CUTS) -> Floats:
    """Return for each query [N] and cut [K] the chance that its partner is within the cut, [N, K].

    Parameters
    ----------
    similarity
        [N, N]; row = query, the diagonal holds its partner.
    cuts
        Numbers of results looked at.
    """
    own = np.diagonal(similarity)[:, None]
    better = (similarity > own).sum(axis=1)[:, None]
    tied = (similarity == own).sum(axis=1)[:, None]  # the partner itself included
    return np.clip((np.asarray(cuts) - better) / tied, 0.0, 1.0)


def label_overlap(labels: npt.NDArray[np.bool_]) -> Floats:
    """Jaccard index of every pair of rows [N, F]; two studies without any finding agree entirely."""
    y = labels.astype(np.float64)
    both = y @ y.T
    either = y.sum(1)[:, None] + y.sum(1)[None] - both
    return np.where(either > 0, both / np.maximum(either, 1.0), 1.0)


def retrieve(
    image: Floats,
    text: Floats,
    keys: Sequence[Hashable],
    labels: npt.NDArray[np.bool_],
    patients: Sequence[str],
    *,
    cuts: Sequence[int] = CUTS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Retrieval:
    """Score a pool of studies.

    Parameters
    ----------
    image, text
        Embeddings [N, D]; normalised here.
    keys
        Facts of each study, see :func:`training.evaluation.facts.fact_key`.
    labels
        Findings present, [N, F], for the oracle.
    patients
        One key per study, for the bootstrap; the pool itself is not redrawn.
    cuts, resamples, seed
        Values of k, and the bootstrap.

    Raises
    ------
    ValueError
        If fewer than two items are left.
    """
    kept = distinct_items(keys)
    if kept.size < 2:
        raise ValueError("retrieval needs at least two studies whose facts differ")
    a, b = (each[kept] / np.linalg.norm(each[kept], axis=1, keepdims=True) for each in (image, text))
    similarity = a @ b.T
    who = [patients[index] for index in kept]
    forward, backward = expected_hits(similarity, cuts), expected_hits(similarity.T, cuts)
    oracle = expected_hits(label_overlap(labels[kept]), cuts)
    certain = oracle >= 1.0
    number = len(cuts)

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        sure = weights @ certain.astype(float)
        among = np.where(sure > 0, (weights @ (forward * certain)) / np.where(sure > 0, sure, 1.0), np.nan)
        return np.concatenate([weights @ forward / total, weights @ backward / total, among], axis=1)

    figures = bootstrap(statistic, who, resamples=resamples, seed=seed)
    return Retrieval(
        int(kept.size),
        len(keys) - int(kept.size),
        dict(zip(cuts, figures[:number], strict=True)),
        dict(zip(cuts, figures[number : 2 * number], strict=True)),
        {k: min(k / kept.size, 1.0) for k in cuts},
        {k: float(oracle[:, i].mean()) for i, k in enumerate(cuts)},
        {k: (int(certain[:, i].sum()), figures[2 * number + i]) for i, k in enumerate(cuts)},
    )

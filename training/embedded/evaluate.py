"""Held-out figures of a bundle, through the product's own session, on phantoms never trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from napari_colipri.ct.geometry import measure
from napari_colipri.ct.volume import CTVolume, Source
from napari_colipri.engine.session import Session
from training.embedded.phantom import Phantom, make_phantom
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.findings import PLANTED

__all__ = ["HELD_OUT", "Figures", "evaluate", "table", "volume_of"]

#: First seed of the held-out phantoms; training seeds stay below it.
HELD_OUT = 10_000_000
_RESAMPLES = 500


@dataclass(frozen=True)
class Figures:
    """Held-out figures.

    Attributes
    ----------
    phantoms
        How many.
    auroc
        Finding to (AUROC, low, high, positives); the interval is a 95 % bootstrap over phantoms.
    macro
        Mean AUROC with interval.
    dice
        Class to mean Dice over the phantoms that hold it.
    """

    phantoms: int
    auroc: dict[str, tuple[float, float, float, int]]
    macro: tuple[float, float, float]
    dice: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable copy."""
        return json.loads(json.dumps(vars(self)))


def volume_of(phantom: Phantom) -> CTVolume:
    """Return a phantom as the product sees a scan."""
    geometry = measure(phantom.hu.shape, phantom.affine)
    return CTVolume(phantom.hu, phantom.affine, geometry, Source("nifti", f"phantom-{phantom.seed}"))


def _auroc(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_], picks: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """AUROC of every finding on the picked phantoms; NaN where one class is empty."""
    out = np.full(truth.shape[1], np.nan)
    for column in range(truth.shape[1]):
        y = truth[picks, column]
        if 0 < y.sum() < y.size:
            out[column] = roc_auc_score(y, scores[picks, column])
    return out


def evaluate(
    session: Session,
    count: int,
    *,
    skip: int = 0,
    dice_on: int = 60,
    progress: Callable[[int], None] = lambda done: None,
) -> Figures:
    """Score ``count`` held-out phantoms.

    Parameters
    ----------
    session
        Loaded session of the bundle.
    count
        Phantoms for AUROC, seeds from :data:`HELD_OUT`.
    skip
        Held-out seeds to leave out first, such as those that an earlier bundle was chosen on.
    dice_on
        The first so many are also segmented.
    progress
        Called with the number done.
    """
    scores, truth, dice = [], [], []
    for index in range(count):
        phantom = make_phantom(HELD_OUT + skip + index)
        volume = volume_of(phantom)
        encoding = session.encode(volume)
        answers = {item.name: item.probability for item in session.findings(encoding).items}
        scores.append([answers[name] for name in PLANTED])
        truth.append(phantom.present)
        if index < dice_on:
            dice.append(_dice(session.segment(volume, encoding).labels, phantom.labels))
        progress(index + 1)
    p, y = np.array(scores, float), np.array(truth)
    rng = np.random.default_rng(0)
    draws = np.stack([_auroc(p, y, rng.integers(0, count, count)) for _ in range(_RESAMPLES)])
    point = _auroc(p, y, np.arange(count))
    low, high = np.array([_interval(column) for column in draws.T]).T
    auroc = {
        name: (float(point[i]), float(low[i]), float(high[i]), int(y[:, i].sum())) for i, name in enumerate(PLANTED)
    }
    macro = (_mean(point), *_interval(np.array([_mean(row) for row in draws])))
    per_class = [_mean(column) for column in np.array(dice).T]
    return Figures(count, auroc, macro, dict(zip(CLASSES[1:], per_class, strict=True)))


def _mean(values: npt.NDArray[np.float64]) -> float:
    """Mean of what is known, NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of what is known."""
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _dice(predicted: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> list[float]:
    out = []
    for label in range(1, len(CLASSES)):
        a, b = predicted == label, labels == label
        total = int(a.sum()) + int(b.sum())
        out.append(2 * int((a & b).sum()) / total if b.any() else float("nan"))
    return out


def table(figures: Figures) -> str:
    """Markdown tables of the figures."""
    lines = [
        f"Zero-shot AUROC on {figures.phantoms} held-out phantoms (95 % bootstrap interval):",
        "",
        "| finding | AUROC | interval | positives |",
        "|---|---|---|---|",
    ]
    for name, (value, low, high, n) in figures.auroc.items():
        lines.append(f"| {name} | {value:.3f} | {low:.3f}-{high:.3f} | {n} |")
    value, low, high = figures.macro
    lines += [
        f"| **macro** | **{value:.3f}** | {low:.3f}-{high:.3f} | |",
        "",
        "| class | mean Dice on phantoms |",
        "|---|---|",
    ]
    lines += [f"| {name} | {value:.3f} |" for name, value in figures.dice.items()]
    return "\n".join(lines) + "\n"


def write(figures: Figures, path: Path) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(figures.to_json(), indent=2) + "\n", encoding="utf-8")

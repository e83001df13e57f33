"""ROC curves, reliability diagrams and learning curves as PNG; drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_colipri.atomic import replace_file
from training.evaluation.ranking import auroc, roc_curve
from training.evaluation.reliability import Reliability
from training.evaluation.scores import EvaluationError, Scores, read_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["learning_curves", "plot_reliability", "plot_roc"]

_WIDTH = 3.2  # inches per panel


def _panels(count: int) -> tuple[Figure, list[Any]]:
    """Return a figure without pyplot's global state, and ``count`` axes in rows of at most four."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    columns = min(count, 4)
    rows = -(-count // columns)
    figure = NewFigure(figsize=(_WIDTH * columns, _WIDTH * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).reshape(-1))
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def _save(figure: Figure, path: Path) -> Path:
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path


def plot_roc(scores: Scores, path: Path) -> Path:
    """Draw the ROC curve of every finding that has positives and negatives.

    Raises
    ------
    EvaluationError
        If there is none.
    """
    curves = []
    for column, name in enumerate(scores.findings):
        known = np.isfinite(scores.scores[:, column]) & np.isfinite(scores.labels[:, column])
        values, labels = scores.scores[known, column], scores.labels[known, column] > 0
        if labels.any() and not labels.all():
            area = float(auroc(values, labels, np.ones((1, values.size)))[0])
            curves.append((name, area, *roc_curve(values, labels)))
    if not curves:
        raise EvaluationError("No finding has both positives and negatives: there is no ROC curve.", code="empty")
    figure, axes = _panels(len(curves))
    for axis, (name, area, false, true) in zip(axes, curves, strict=True):
        axis.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        axis.plot(false, true, color="tab:blue")
        axis.set_title(f"{name}\nAUROC {area:.3f}", fontsize=9)
        axis.set_xlabel("1 − specificity", fontsize=8)
        axis.set_ylabel("sensitivity", fontsize=8)
        axis.set_aspect("equal")
    return _save(figure, path)


def plot_reliability(figures: Mapping[str, Reliability], path: Path) -> Path:
    """Draw what is said against what happens, one panel per finding; dots grow with the number of studies."""
    if not figures:
        raise EvaluationError("No finding has probabilities and labels: nothing to draw.", code="empty")
    panels, axes = _panels(len(figures))
    for axis, (name, each) in zip(axes, figures.items(), strict=True):
        said, happened, count = np.array(each.curve, float).T
        axis.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        axis.plot(said, happened, color="tab:blue", linewidth=1)
        axis.scatter(said, happened, s=8 + 60 * count / count.max(), color="tab:blue")
        axis.set_title(f"{name}\nECE {each.ece.value:.3f}, Brier skill {each.brier_skill.value:.2f}", fontsize=9)
        axis.set_xlabel("mean probability", fontsize=8)
        axis.set_ylabel("share of positives", fontsize=8)
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.02)
    return _save(panels, path)


def learning_curves(logs: Sequence[Path], path: Path, *, smooth: int = 20) -> Path:
    """Draw every loss and validation figure of ``log.jsonl`` files over their steps, one panel per key.

    Parameters
    ----------
    logs
        One per run; each line holds ``step`` and numbers.
    path
        PNG to write.
    smooth
        Running mean over so many lines.

    Raises
    ------
    EvaluationError
        If no line holds a step and a loss.
    """
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for log in logs:
        run = log.parent.name or log.stem
        for _, line in read_lines(log):
            step = line.get("step")
            if not isinstance(step, int | float):
                continue
            for key, value in line.items():
                shown = "loss" in key or "valid" in key or "auroc" in key
                if shown and isinstance(value, int | float) and np.isfinite(value):
                    series.setdefault(key, {}).setdefault(run, []).append((float(step), float(value)))
    if not series:
        raise EvaluationError("The logs hold no line with a step and a loss.", code="empty")
    figure, axes = _panels(len(series))
    for axis, (key, runs) in zip(axes, series.items(), strict=True):
        for run, points in runs.items():
            steps, values = np.array(points).T
            window = min(smooth, values.size)
            mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
            axis.plot(steps[window - 1 :], mean, label=run, linewidth=1, marker="." if mean.size == 1 else None)
        axis.set_title(key, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
    if any(len(runs) > 1 for runs in series.values()):
        axes[0].legend(fontsize=7)
    return _save(figure, path)

"""The 18 findings read from real reports by rule, against the labels that a research group gave them.

800 reports are split once: 500 to tune on, 300 that are only scored. Reports with the same text stay in one half. Rules
are changed by what the first half shows; texts and errors of the second are never looked at.
"""

from __future__ import annotations

import csv
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks._common import data_folder, parser, publish
from napari_colipri.text.extract import extract, report_labels
from napari_colipri.text.findings import FINDING_NAMES
from napari_colipri.text.sentences import split_sentences

SEED = 2024
TUNE = 500
DRAWS = 2000

#: One plain word for each finding, to show what the rules add to a search for words.
KEYWORDS = {
    "Medical material": r"catheter|stent|pacemaker|suture|prosthe|metallic|clip",
    "Arterial wall calcification": r"(?:calcif|ather).*aort|aort.*(?:calcif|ather)",
    "Cardiomegaly": r"cardiomegaly|heart size.* increased",
    "Pericardial effusion": r"pericardial effusion",
    "Coronary artery wall calcification": r"coronary.*(?:calcif|ather|plaque)|(?:calcif|ather|plaque).*coronary",
    "Hiatal hernia": r"hiatal hernia",
    "Lymphadenopathy": r"lymphadenopath|lymph node",
    "Emphysema": r"emphysem",
    "Atelectasis": r"atelecta",
    "Lung nodule": r"nodule",
    "Lung opacity": r"opacit|ground[- ]glass",
    "Pulmonary fibrotic sequela": r"sequela|fibro",
    "Pleural effusion": r"pleural effusion",
    "Mosaic attenuation pattern": r"mosaic",
    "Peribronchial thickening": r"peribronchial thicken",
    "Consolidation": r"consolidation",
    "Bronchiectasis": r"bronchiect",
    "Interlobular septal thickening": r"septal thicken",
}
_DENIED = re.compile(r"\b(?:no|not|without)\b")

Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reports:
    """Texts and their labels [N, 18]."""

    texts: tuple[str, ...]
    labels: Labels


def read_reports(path: Path) -> Reports:
    """Read the table of reports: a column ``report_text`` and one column for each finding."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([[float(row[name]) > 0 for name in FINDING_NAMES] for row in rows])
    return Reports(tuple(row["report_text"] for row in rows), labels)


def split(texts: Sequence[str], tune: int = TUNE, seed: int = SEED) -> tuple[list[int], list[int]]:
    """Return the indices of both halves; equal texts are never parted."""
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(" ".join(text.split()), []).append(index)
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    first: set[int] = set()
    for index in order:
        group = groups[" ".join(texts[index].split())]
        if index not in first and len(first) + len(group) <= tune:
            first |= set(group)
    return sorted(first), sorted(set(order) - first)


def by_rules(text: str) -> list[bool]:
    return [bool(value) for value in report_labels(extract(text)).values()]


def by_keywords(text: str) -> list[bool]:
    sentences = [each.lower() for each in split_sentences(text)]
    kept = [each for each in sentences if not _DENIED.search(each)]
    return [any(re.search(KEYWORDS[name], each) for each in kept) for name in FINDING_NAMES]


def f1(predicted: Labels, truth: Labels) -> npt.NDArray[np.float64]:
    """F1 of each finding [18]; 0 where nothing is right."""
    both = 2.0 * (predicted & truth).sum(axis=0)
    return np.asarray(both / np.maximum(predicted.sum(axis=0) + truth.sum(axis=0), 1), dtype=np.float64)


def interval(score: Callable[[npt.NDArray[np.int64]], float], count: int) -> str:
    """95 % interval of a score over reports drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = [score(rng.integers(0, count, count)) for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{low:.3f} to {high:.3f}"


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--half", choices=("tune", "score"), default="tune")
    chosen = options.parse_args(arguments)
    reports = read_reports(data_folder() / "reports" / "ct-clip" / "train.csv")
    half = split(reports.texts)[chosen.half == "score"]
    texts, truth = [reports.texts[index] for index in half], reports.labels[half]
    began = time.process_time()
    rules = np.array([by_rules(text) for text in texts])
    each_ms = (time.process_time() - began) / len(texts) * 1e3
    words = np.array([by_keywords(text) for text in texts])
    rows: list[Mapping[str, str]] = []
    for number, name in enumerate(FINDING_NAMES):
        mine, right = rules[:, number : number + 1], truth[:, number : number + 1]
        rows.append(
            {
                "finding": name,
                "F1": f"{f1(mine, right)[0]:.3f}",
                "95 % interval": interval(lambda rows, a=mine, b=right: float(f1(a[rows], b[rows])[0]), len(texts)),  # type: ignore[misc]
                "true, false, missed": f"{(mine & right).sum()}, {(mine & ~right).sum()}, {(~mine & right).sum()}",
                "plain keywords, F1": f"{f1(words[:, number : number + 1], right)[0]:.3f}",
                "CPU ms a report": "",
                "reports": f"{len(texts)}, {chosen.half}",
                "target": "",
            }
        )
    rows.append(
        {
            "finding": "macro, 18 findings",
            "F1": f"{f1(rules, truth).mean():.3f}",
            "95 % interval": interval(lambda rows: float(f1(rules[rows], truth[rows]).mean()), len(texts)),
            "true, false, missed": f"{(rules & truth).sum()}, {(rules & ~truth).sum()}, {(~rules & truth).sum()}",
            "plain keywords, F1": f"{f1(words, truth).mean():.3f}",
            "CPU ms a report": f"{each_ms:.1f}",
            "reports": f"{len(texts)}, {chosen.half}",
            "target": "≥ 0.94, ≤ 5 ms",
        }
    )
    publish("Findings read from real reports by rule", rows, write=chosen.write)


if __name__ == "__main__":
    main()

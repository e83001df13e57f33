"""Sentences by finding: sure ones about one finding only, no prompt of a test, and every label of a batch asked."""

from __future__ import annotations

import numpy as np

from napari_colipri.text.findings import FINDING_NAMES
from training.text.by_finding import sentences_of

NODULE, EFFUSION = FINDING_NAMES.index("Lung nodule"), FINDING_NAMES.index("Pleural effusion")
REPORTS = (
    "A 9 mm nodule lies in the left upper lobe. No fluid in the pleural spaces.",
    "Fluid in the right pleural space, 20 mm deep. There is no lung nodule.",
    "Possible nodule in the right lower lobe. Nodule and pleural effusion on the left.",
)


def test_doubt_company_and_prompts_are_left_out() -> None:
    found = sentences_of(REPORTS)
    assert found.present[NODULE] == ("A 9 mm nodule lies in the left upper lobe.",)
    assert found.present[EFFUSION] == ("Fluid in the right pleural space, 20 mm deep.",)
    assert "No fluid in the pleural spaces." in found.absent[EFFUSION]
    assert "There is no lung nodule." not in found.absent[NODULE]  # a default prompt
    assert all(text for side in (found.present, found.absent) for texts in side for text in texts)


def test_every_known_label_of_a_batch_is_asked_with_the_same_sentences() -> None:
    found = sentences_of(REPORTS)
    labels = np.full((3, len(FINDING_NAMES)), np.nan, np.float32)
    labels[:2, NODULE] = (1, 0)
    labels[:2, EFFUSION] = (0, 1)
    first, second, third = found.pairs(labels, 2, np.random.default_rng(0))
    assert [pair[:2] for pair in first] == [pair[:2] for pair in second]
    assert sorted(label for *_, label in first) == [0, 0, 1, 1]
    assert [a[2] + b[2] for a, b in zip(first, second, strict=True)] == [1] * len(first)
    assert third == []

"""Reports agree with the truth, never with an earlier scan, and the two wordings share nothing."""

from __future__ import annotations

import re
from functools import cache

import pytest

from napari_colipri.text.extract import extract
from napari_colipri.text.findings import FINDING_NAMES, default_prompts
from napari_colipri.text.side_and_size import comparison_words, sizes_mm
from training.phantom import Finding, make_phantom
from training.phantom.report import WORDINGS, Report, check_disjoint, training_sentences, write_report


@cache
def cases() -> tuple[tuple[int, tuple[Finding, ...], tuple[str, ...]], ...]:
    """Findings of some phantoms on a small grid: a report does not look at voxels."""
    made = [make_phantom(seed, shape=(28, 28, 28), spacing_mm=(13.0, 13.0, 13.0)) for seed in range(700, 718)]
    return tuple((phantom.seed, phantom.findings, phantom.undecided) for phantom in made)


def reports(wording: str) -> list[tuple[tuple[Finding, ...], tuple[str, ...], Report]]:
    return [
        (findings, undecided, write_report(findings, undecided, seed, variant=n, wording=wording))  # type: ignore[arg-type]
        for seed, findings, undecided in cases()
        for n in range(5)
    ]


def test_prompts_training_text_and_held_out_text_are_disjoint() -> None:
    check_disjoint()
    assert not training_sentences("train") & training_sentences("held_out")


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_extractor_reads_findings_sides_and_sizes_back(wording: str) -> None:
    right = 0
    everything = reports(wording)
    for findings, _, report in everything:
        mentions = extract(report.text)
        good = True
        for item in findings:
            own = [m for m in mentions if m.finding == item.name]
            good &= any(m.polarity != "absent" for m in own)
            good &= all(m.polarity != "absent" for m in own)
            if item.side in ("left", "right"):
                good &= all(m.sides <= {item.side} for m in own)
            good &= all(m.size_mm is None or abs(m.size_mm - item.size_mm) <= 1.0 for m in own)
        here = {item.name for item in findings}
        good &= not any(m.polarity == "present" and m.finding not in here for m in mentions)
        right += good
    assert right >= 0.98 * len(everything)


@pytest.mark.parametrize("wording", WORDINGS)
def test_every_size_in_a_report_is_one_of_the_truth(wording: str) -> None:
    for findings, _, report in reports(wording):
        true = [item.size_mm for item in findings]
        for size in sizes_mm(report.text):
            assert any(abs(size - mm) <= 0.51 for mm in true) or size == 1.0


@pytest.mark.parametrize("wording", WORDINGS)
def test_no_report_compares_with_an_earlier_scan(wording: str) -> None:
    assert not [report.text for _, _, report in reports(wording) if comparison_words(report.text)]


def test_undecided_findings_are_not_spoken_of() -> None:
    report = write_report((), FINDING_NAMES, 3)
    assert not report.denied
    assert not extract(report.text)


def test_reports_vary_and_repeat_by_seed() -> None:
    _, findings, undecided = cases()[1]
    texts = [write_report(findings, undecided, 1, variant=n).text for n in range(12)]
    assert len(set(texts)) > 6
    assert texts[3] == write_report(findings, undecided, 1, variant=3).text
    assert max(map(len, texts)) > 1.5 * min(map(len, texts))


def test_an_unknown_wording_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown wording"):
        write_report((), (), 1, wording="klingon")  # type: ignore[arg-type]


def test_every_word_of_the_default_prompts_is_trained() -> None:
    def words(lines: set[str]) -> set[str]:
        return {word for line in lines for word in re.findall(r"[a-z]+", re.sub(r"{.*?}", " ", line.lower()))}

    asked = {line for name in FINDING_NAMES for side in default_prompts(name) for line in side}
    unknown = words(asked) - words(training_sentences("train"))
    assert not unknown

"""Phantoms as studies to score, and findings planted into real scans, each beside the plain scan and a sham edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.geometry import measure
from napari_colipri.ct.volume import CTVolume, Source
from napari_colipri.engine.session import Session
from napari_colipri.progress import Progress, report_nothing
from napari_colipri.text.findings import FINDING_NAMES
from training.evaluation.facts import Fact
from training.evaluation.planted import Planted
from training.evaluation.studies import Study
from training.phantom.classes import SHORT_CLASSES, merge_labels
from training.phantom.generate import Phantom, make_phantom
from training.phantom.plant import PLANTABLE, plant_into, sham_edit
from training.phantom.protocol import Regime
from training.phantom.report import write_report
from training.phantom.resolvable import resolvable

__all__ = ["phantom_studies", "planted_scores"]

#: Edge of the box that a phantom's grid covers, mm.
_BOX_MM = 360.0
#: Texts per phantom.
_REPORTS = 4


def _labels(phantom: Phantom, spacing_mm: float) -> dict[str, int]:
    """Return labels; what is there but finer than the grid can show is nobody's to know."""
    fine = {item.name for item in phantom.findings if not resolvable(item, spacing_mm)}
    known = np.isfinite(phantom.present)
    return {
        name: int(phantom.present[column])
        for column, name in enumerate(FINDING_NAMES)
        if known[column] and name not in fine
    }


def phantom_studies(seeds: Sequence[int], *, regime: Regime = "train", spacing_mm: float = 5.0) -> Iterator[Study]:
    """Yield phantoms, each its own patient.

    Parameters
    ----------
    seeds
        Never trained on.
    regime
        ``held_out`` takes scanner settings and wordings that no training phantom has.
    spacing_mm
        Of a cubic grid over 360 mm; findings that it cannot show get no label.
    """
    edge = round(_BOX_MM / spacing_mm / 8) * 8
    for seed in seeds:
        phantom = make_phantom(seed, shape=(edge,) * 3, spacing_mm=(spacing_mm,) * 3, regime=regime)
        source = Source("nifti", f"phantom-{seed}")
        volume = CTVolume(phantom.hu, phantom.affine, measure(phantom.hu.shape, phantom.affine), source)
        report, *others = (
            write_report(phantom.findings, phantom.undecided, seed, variant=variant, wording=regime).text
            for variant in range(_REPORTS)
        )
        facts = tuple(Fact(item.name, item.side or "", item.size_mm or None) for item in phantom.findings)
        key = f"phantom-{regime}-{seed}"
        labels = _labels(phantom, spacing_mm)
        mask = merge_labels(phantom.labels)
        yield Study(key, key, volume, labels, report, facts, mask, SHORT_CLASSES, tuple(others))


def _with(volume: CTVolume, hu: npt.NDArray[Any]) -> CTVolume:
    """Return a copy with other values; what was cached about the old ones stays behind."""
    values: Any = np.asarray(hu, dtype=volume.hu.dtype)
    return replace(volume, hu=values)


def _probabilities(session: Session, volume: CTVolume) -> dict[str, float]:
    items = session.findings(session.encode(volume)).items
    return {
        item.name: item.probability if item.calibration is None else float(item.calibration["uncalibrated"])
        for item in items
        if item.probability is not None
    }


def planted_scores(
    session: Session,
    studies: Iterable[Study],
    *,
    findings: Sequence[str] = PLANTABLE,
    seeds: Sequence[int] = (0,),
    progress: Progress = report_nothing,
) -> tuple[Planted, ...]:
    """Plant one finding at a time into real scans and ask a bundle about it before, after, and after a sham edit.

    Parameters
    ----------
    session
        Of the bundle.
    studies
        Scans of the evaluation split whose mask holds 1 for the left and 2 for the right lung.
    findings
        Out of those that can be planted; what the bundle gives no number for is passed over.
    seeds
        One planting of each finding per seed.
    progress
        Told after each scan.
    """
    out: list[Planted] = []
    for number, study in enumerate(studies, start=1):
        if study.mask is None:
            continue
        plain = _probabilities(session, study.volume)
        lungs = np.where(study.mask <= 2, study.mask, 0).astype(np.uint8)
        for name in (each for each in findings if each in plain):
            for seed in seeds:
                made = plant_into(study.volume.hu, study.volume.affine, lungs, (name,), seed)
                if not made.findings:
                    continue  # it found no place in this scan
                sham = sham_edit(study.volume.hu, made, lungs, seed)
                after, edited = (_probabilities(session, _with(study.volume, hu))[name] for hu in (made.hu, sham))
                out.append(Planted(study.patient, f"{study.study}:{seed}", name, plain[name], after, edited))
        progress(0.0, f"Planted into {number} scans")
    return tuple(out)

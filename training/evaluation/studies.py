"""Studies with what is known about them, whatever they come from: what gets scored and what adapters learn from."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.open import open_volume
from napari_colipri.ct.volume import CTVolume
from napari_colipri.errors import StudyRefused
from training.data.manifest import read_manifest
from training.data.records import Split, report_text
from training.data.study import open_study
from training.evaluation.facts import Fact
from training.evaluation.scores import EvaluationError

__all__ = ["Study", "manifest_studies", "studies_of"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Study:
    """One study.

    Attributes
    ----------
    study, patient
        Keys.
    volume
        As the product sees it.
    labels
        Finding to 1, 0; what is not there is unknown.
    report
        Text, or "".
    facts
        What is true, where known.
    mask
        uint8 [i, j, k] on the volume's grid, 255 = unknown; or None.
    classes
        Names of the mask's labels, background first.
    other_reports
        The same facts in other words, for training.
    """

    study: str
    patient: str
    volume: CTVolume
    labels: dict[str, int] = field(default_factory=dict)
    report: str = ""
    facts: tuple[Fact, ...] | None = None
    mask: npt.NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = ()
    other_reports: tuple[str, ...] = ()


def _mask_of(path: Path | None, volume: CTVolume) -> npt.NDArray[np.uint8] | None:
    """Read a label map that lies on the volume's own grid; another grid is no reference for it."""
    if path is None:
        return None
    labels = open_volume(path)
    if labels.hu.shape != volume.hu.shape or not np.allclose(labels.affine, volume.affine, atol=1e-3):
        log.warning("a label map lies on another grid than its image and is left out")
        return None
    return np.asarray(labels.hu, dtype=np.uint8)


def manifest_studies(path: Path, split: Split, classes: Sequence[str] = ()) -> Iterator[Study]:
    """Yield the studies of one split of a manifest; one that the product refuses is named in the log and left out.

    Parameters
    ----------
    path
        See :mod:`training.data.manifest`.
    split
        Which.
    classes
        Names of the masks' labels, background first.

    Raises
    ------
    EvaluationError
        If the split is empty.
    """
    lines = [line for line in read_manifest(path) if line.record.split == split]
    if not lines:
        raise EvaluationError(f"{path.name} holds no study of the split {split!r}.", code="empty")
    for line in lines:
        record = line.record
        try:
            volume, _ = open_study(record, path.parent)
            mask = _mask_of(record.masks_path(path.parent), volume)
        except StudyRefused as error:
            log.warning("line %d of the manifest is left out: %s", line.number, error.code)
            continue
        yield Study(
            study=f"{record.source}/{record.study}",
            patient=f"{record.source}/{record.patient}",
            volume=volume,
            labels={name: value for name, value in record.labels.items() if value is not None},
            report=report_text(record, path.parent),
            mask=mask,
            classes=tuple(classes),
        )


_PHANTOMS = re.compile(r"(phantom|phantom-held-out):(\d+):(\d+)(?::(\d+(?:\.\d+)?))?")


def studies_of(source: str, *, split: Split = "test", classes: Path | None = None) -> Iterator[Study]:
    """Return the studies that a command names.

    Parameters
    ----------
    source
        ``phantom:START:COUNT``, ``phantom-held-out:START:COUNT`` (scanner settings and wordings that are never trained
        on), each optionally with ``:SPACING_MM``; else the path of a manifest.
    split, classes
        Of a manifest; ``classes`` is a JSON list of the masks' class names, background first.

    Raises
    ------
    EvaluationError
        If the words name nothing.
    """
    found = _PHANTOMS.fullmatch(source)
    if found is not None:
        start, count = int(found[2]), int(found[3])
        seeds = range(start, start + count)
        from training.evaluation.phantoms import phantom_studies

        spacing = float(found[4] or 5.0)
        return phantom_studies(seeds, regime="train" if found[1] == "phantom" else "held_out", spacing_mm=spacing)
    if source.partition(":")[0] in ("phantom", "phantom-held-out"):
        raise EvaluationError(f"{source!r} is not KIND:START:COUNT.", code="bad_source")
    names = tuple(json.loads(classes.read_text(encoding="utf-8"))) if classes else ()
    return manifest_studies(Path(source), split, names)

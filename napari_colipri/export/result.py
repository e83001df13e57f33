"""Everything that one analysis gave, and the record that lets somebody repeat it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from napari_colipri import RESEARCH_USE_ONLY, __version__
from napari_colipri.ct.passport import Passport
from napari_colipri.ct.patient import patient_key
from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Findings, HeatMap, Segmentation
from napari_colipri.library.search import SimilarCases
from napari_colipri.report.types import Draft

__all__ = ["AnalysisResult", "RunRecord", "path_hash", "versions"]

_PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "colipri",
    "dynamic-network-architectures",
    "nibabel",
    "pydicom",
    "SimpleITK",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of what computes; nothing is imported for it."""
    out = {"python": platform.python_version(), "platform": platform.platform(), "napari-colipri": __version__}
    for name in _PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def path_hash(path: str | os.PathLike[str]) -> str:
    """Return a keyed hash of a path under this installation's secret, or "" where there is no secret.

    A path may carry a patient's name: with this, a record tells two files apart without naming either.
    """
    # The keyed hash of the patient guard, with "path" where that has the issuer: the two can never be equal.
    return patient_key(os.path.abspath(path), "path") or ""


@dataclass(frozen=True)
class RunRecord:
    """What has to be the same to get the same answers again. Holds no path and nothing about the patient.

    Attributes
    ----------
    fingerprint
        Of the volume's values and affine.
    path_hash
        Keyed hash of the study's path under this installation's secret: tells files apart here and means nothing
        elsewhere.
    source_kind
        ``nifti``, ``nrrd``, ``mha`` or ``dicom``.
    bundle, bundle_hash, preset, precision, device
        The model, how it sampled the volume, and on what it ran.
    preprocess_version
        Of the sampling code.
    library
        Name of the case library, or None.
    prompts
        The user's own questions.
    seeds
        Of everything random; inference draws nothing, so it is empty unless something says otherwise.
    timings_s
        Seconds per step.
    started, finished
        ISO 8601, UTC.
    notes
        What happened on the way, such as a retry at lower precision.
    versions
        See :func:`versions`.
    """

    fingerprint: str
    path_hash: str
    source_kind: str
    bundle: str
    bundle_hash: str
    preset: str
    precision: str
    device: str
    preprocess_version: str
    library: str | None
    prompts: tuple[str, ...]
    timings_s: Mapping[str, float]
    started: str
    finished: str
    notes: tuple[str, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """Return the object of ``run.json``."""
        return {
            "format": 1,
            "research_use": RESEARCH_USE_ONLY,
            "input": {"fingerprint": self.fingerprint, "path_hash": self.path_hash, "kind": self.source_kind},
            "bundle": {"name": self.bundle, "hash": self.bundle_hash},
            "preset": self.preset,
            "precision": self.precision,
            "device": self.device,
            "preprocess_version": self.preprocess_version,
            "library": self.library,
            "prompts": list(self.prompts),
            "seeds": dict(self.seeds),
            "versions": dict(self.versions),
            "timings_s": {name: round(seconds, 3) for name, seconds in self.timings_s.items()},
            "started": self.started,
            "finished": self.finished,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class AnalysisResult:
    """The answers about one volume.

    Attributes
    ----------
    volume
        What was analysed.
    passport
        Its passport, with what the bundle says about its range added.
    findings, heat_maps
        Answers, and where the leading ones responded.
    segmentation
        Masks on the source grid, or None; ``no_segmentation`` then says why.
    similar
        Cases, or None; ``no_similar`` then says why.
    draft
        The report.
    record
        How to get all of it again.
    """

    volume: CTVolume
    passport: Passport
    findings: Findings
    heat_maps: tuple[HeatMap, ...]
    segmentation: Segmentation | None
    similar: SimilarCases | None
    draft: Draft
    record: RunRecord
    no_segmentation: str = ""
    no_similar: str = ""

    def segmentation_json(self) -> dict[str, Any]:
        """Return the object of ``segmentation.json``."""
        geometry = {"display": self.passport.display, "codes": [item.code for item in self.passport.reasons]}
        if self.segmentation is None:
            return {"classes": [], "notes": [self.no_segmentation], "geometry": geometry}
        return {**self.segmentation.to_json(), "geometry": geometry}

    def similar_json(self) -> dict[str, Any]:
        """Return the object of ``similar.json``."""
        if self.similar is None:
            return {"library": None, "hits": [], "left_out": [], "notes": [self.no_similar]}
        return self.similar.to_json()

    def findings_json(self) -> dict[str, Any]:
        """Return the object of ``findings.json``, with the places of the leading findings."""
        out = self.findings.to_json()
        peaks = {heat_map.text: heat_map for heat_map in self.heat_maps}
        for item in out["findings"]:
            heat_map = peaks.get(item["name"])
            if heat_map is not None:
                item["peak_ras_mm"] = [round(mm, 1) for mm in heat_map.peak_mm]
        return out

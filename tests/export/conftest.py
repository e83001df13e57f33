"""A finished analysis of the schematic chest, without a model."""

from __future__ import annotations

import pytest

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.types import Findings, HeatMap, Segmentation
from napari_colipri.export.result import AnalysisResult, RunRecord
from napari_colipri.library import SimilarCases
from napari_colipri.report import draft
from tests.report.conftest import HASH, findings, heat_map, hits, segmentation, volume

__all__ = ["findings", "heat_map", "hits", "segmentation", "volume"]


@pytest.fixture
def result(
    volume: CTVolume, findings: Findings, heat_map: HeatMap, segmentation: Segmentation, hits: SimilarCases
) -> AnalysisResult:
    record = RunRecord(
        fingerprint=volume.fingerprint,
        path_hash="p" * 64,
        source_kind="nifti",
        bundle="demo",
        bundle_hash=HASH,
        preset="whole-5mm",
        precision="float32",
        device="CPU, float32",
        preprocess_version="1",
        library="Phantoms",
        prompts=("rib fracture",),
        timings_s={"encode": 1.23456},
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:01+00:00",
    )
    return AnalysisResult(
        volume=volume,
        passport=volume.passport,
        findings=findings,
        heat_maps=(heat_map,),
        segmentation=segmentation,
        similar=hits,
        draft=draft(findings, segmentation, hits, volume, heat_maps=[heat_map]),
        record=record,
    )

"""Ranking is exact, centred, and never finds the patient's own scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_colipri import library
from napari_colipri.errors import LibraryError
from tests.library.conftest import BUNDLE, DIM, encoding_of


def test_ranking_is_that_of_centred_cosines(folder: Path, vectors: np.ndarray) -> None:
    random = np.random.default_rng(1)
    query = vectors[2] + random.normal(size=DIM) * 0.02
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    wanted = centred @ (query / np.linalg.norm(query) - mean)
    wanted /= np.linalg.norm(centred, axis=1) * np.linalg.norm(query / np.linalg.norm(query) - mean)
    hits = library.open_library(folder).search(encoding_of(query), 10)
    assert [hit.case_id for hit in hits] == [f"case-{i}" for i in np.argsort(-wanted)]
    np.testing.assert_allclose([hit.similarity for hit in hits], np.sort(wanted)[::-1], atol=1e-4)


def test_plain_cosines_would_hardly_tell_cases_apart(folder: Path, vectors: np.ndarray) -> None:
    hits = library.open_library(folder).search(encoding_of(vectors[6]), 10)
    assert (vectors @ vectors[6]).min() > 0.98
    assert hits[0].case_id == "case-6"
    assert hits[0].similarity == pytest.approx(1.0, abs=1e-4)
    assert hits[-1].similarity < 0.0


def test_a_hit_carries_what_the_window_shows(folder: Path, vectors: np.ndarray) -> None:
    hit = library.open_library(folder).search(encoding_of(vectors[2]), 1)[0]
    assert hit.excerpt == "Case number 2. Nothing else."
    assert hit.labels == ("Lung nodule",)
    assert hit.origin == "phantom"
    assert hit.to_json().keys() >= {"case_id", "similarity", "excerpt"}


def test_two_cases_are_ranked_without_a_mean(tmp_path: Path) -> None:
    library.create(tmp_path, "two", BUNDLE, 2)
    library.add_case(tmp_path, case_id="x", vector=[1, 0], origin="phantom")
    library.add_case(tmp_path, case_id="y", vector=[0, 1], origin="phantom")
    hits = library.open_library(tmp_path).search(encoding_of(np.array([1.0, 0.2])), 5)
    assert [hit.case_id for hit in hits] == ["x", "y"]


def test_an_empty_library_has_no_hits(tmp_path: Path) -> None:
    library.create(tmp_path, "empty", BUNDLE, 2)
    assert tuple(library.open_library(tmp_path).search(encoding_of(np.ones(2)), 5)) == ()


def test_the_same_volume_is_left_out_and_said(folder: Path, vectors: np.ndarray) -> None:
    found = library.open_library(folder).search(encoding_of(vectors[2], fingerprint="volume-2"), 10, patient_key="x")
    assert "case-2" not in [hit.case_id for hit in found]
    assert found.left_out == ("case-2",)
    assert found.notes == ("This very volume is in the library and was left out.",)


def test_the_same_patient_is_left_out_and_said(folder: Path, vectors: np.ndarray) -> None:
    found = library.open_library(folder).search(encoding_of(vectors[3]), 10, patient_key="same")
    assert len(found) == 8
    assert found.left_out == ("case-3", "case-4")
    assert found.notes == ("2 cases of the same patient left out.",)


def test_without_a_patient_key_the_guard_cannot_tell(folder: Path, vectors: np.ndarray) -> None:
    opened = library.open_library(folder)
    phantoms_only = opened.search(encoding_of(vectors[0]), 1)
    assert phantoms_only[0].origin == "phantom"
    assert phantoms_only.notes == ()
    assert "cannot be told" in opened.search(encoding_of(vectors[9]), 3).notes[0]


def test_vectors_of_another_bundle_are_refused(folder: Path, vectors: np.ndarray) -> None:
    opened = library.open_library(folder)
    with pytest.raises(LibraryError, check=lambda e: e.code == "bundle_mismatch"):
        opened.search(encoding_of(vectors[0], bundle_hash="other"))
    with pytest.raises(LibraryError, check=lambda e: e.code == "dimension_mismatch"):
        opened.search(encoding_of(np.ones(DIM + 1)))


def test_json_of_the_contract(folder: Path, vectors: np.ndarray) -> None:
    out = library.open_library(folder).search(encoding_of(vectors[1]), 2).to_json()
    assert out["library"] == "Ten cases"
    assert [set(hit) >= {"case_id", "similarity", "excerpt"} for hit in out["hits"]] == [True, True]

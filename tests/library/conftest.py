"""A library of a few cases whose vectors lie in a narrow cone, as pooled encodings do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_colipri import library
from napari_colipri.engine.types import Encoding

BUNDLE = "b" * 64
DIM = 16
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def encoding_of(pooled: np.ndarray, *, bundle_hash: str = BUNDLE, fingerprint: str = "query") -> Encoding:
    """Encoding with this pooled vector and nothing else of interest."""
    return Encoding(
        tokens=np.zeros((1, 1, 1, 4), np.float16),
        pooled=(pooled / np.linalg.norm(pooled)).astype(np.float32),
        affine=np.eye(4),
        inside=np.ones((1, 1, 1), bool),
        preset="test",
        precision="float32",
        bundle_hash=bundle_hash,
        volume_fingerprint=fingerprint,
    )


@pytest.fixture(scope="session")
def vectors() -> np.ndarray:
    """Ten unit vectors [10, 16] with cosines above 0.99 to each other."""
    random = np.random.default_rng(7)
    rows = np.ones(DIM) * 3 + random.normal(size=(10, DIM)) * 0.2
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    """Folder of a library with ten cases; case 3 and 4 are of one patient."""
    path = tmp_path_factory.mktemp("made") / "library"
    library.create(path, "Ten cases", BUNDLE, DIM)
    for i, vector in enumerate(vectors):
        library.add_case(
            path,
            case_id=f"case-{i}",
            vector=vector,
            text=f"FINDINGS: Something.\nIMPRESSION: Case number {i}. Nothing else.",
            labels={"Lung nodule": i % 2 == 0, "Emphysema": i == 5},
            thumbnail_png=PNG if i else None,
            origin="phantom" if i < 8 else "local",
            patient_key="same" if i in (3, 4) else f"patient-{i}",
            fingerprint=f"volume-{i}",
        )
    return path


@pytest.fixture
def folder(made_once: Path, tmp_path: Path) -> Path:
    """A copy of that library that a test may change."""
    return Path(shutil.copytree(made_once, tmp_path / "library"))

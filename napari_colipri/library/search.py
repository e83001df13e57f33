"""Exact search for similar cases, ranked after centring on the library's mean."""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from napari_colipri.engine.types import Encoding
from napari_colipri.errors import LibraryError
from napari_colipri.library.store import Meta, read_meta, reading
from napari_colipri.text.sentences import impression_or_start

__all__ = ["Hit", "Library", "SimilarCases", "open_library", "shipped_library_dir"]

# With fewer cases the mean is (almost) one of them, and what is left without it has no direction worth comparing.
_CENTRE_FROM = 3


@dataclass(frozen=True)
class Hit:
    """One similar case.

    Attributes
    ----------
    case_id
        Its name in the library.
    similarity
        Cosine with the query in [-1, 1], both centred on the library's mean: it ranks, it is not a probability.
    excerpt
        Beginning of its impression.
    labels
        Findings that are present in it.
    origin
        Where it comes from.
    thumbnail_png
        PNG picture, or None.
    """

    case_id: str
    similarity: float
    excerpt: str
    labels: tuple[str, ...]
    origin: str
    thumbnail_png: bytes | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "case_id": self.case_id,
            "similarity": round(self.similarity, 4),
            "excerpt": self.excerpt,
            "labels": list(self.labels),
            "origin": self.origin,
        }


@dataclass(frozen=True)
class SimilarCases(Sequence[Hit]):
    """The answer of a search: a sequence of hits, best first, and what must be said beside it.

    Attributes
    ----------
    library
        Name of the library.
    hits
        Best first.
    left_out
        Cases that are the same volume or the same patient.
    notes
        Sentences to show with the hits.
    """

    library: str
    hits: tuple[Hit, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def to_json(self) -> dict[str, Any]:
        """Return the object of the command-line contract."""
        return {
            "library": self.library,
            "hits": [hit.to_json() for hit in self.hits],
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }


class Library:
    """A library opened for searching: its vectors as they were when first asked for.

    Parameters
    ----------
    folder
        Folder that holds the SQLite file.

    Raises
    ------
    LibraryError
        If it is missing, damaged or not a library.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with reading(folder) as connection:
            self.meta: Meta = read_meta(connection)

    @property
    def name(self) -> str:
        """Name on screen."""
        return self.meta.name

    @property
    def bundle_hash(self) -> str:
        """Bundle that made the vectors."""
        return self.meta.bundle_hash

    def __len__(self) -> int:
        return len(self._cases[0])

    @cached_property
    def _cases(self) -> tuple[list[str], npt.NDArray[np.float32], list[str | None], list[str | None]]:
        with reading(self.folder) as connection:
            rows = connection.execute(
                "SELECT case_id, vector, patient_key, fingerprint FROM cases ORDER BY case_id"
            ).fetchall()
        width = 4 * self.meta.dim
        for case_id, blob, _, _ in rows:
            if len(blob) != width:
                raise LibraryError(f"Case '{case_id}' has a vector of the wrong length.", code="damaged")
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(-1, self.meta.dim)
        return [row[0] for row in rows], matrix, [row[2] for row in rows], [row[3] for row in rows]

    def fits(self, bundle_hash: str) -> bool:
        """Whether vectors of this bundle can be compared with the library's."""
        return bundle_hash == self.meta.bundle_hash

    def search(self, encoding: Encoding, k: int = 5, *, patient_key: str | None = None) -> SimilarCases:
        """Return the ``k`` most similar cases of other patients.

        Parameters
        ----------
        encoding
            Of the volume in question; its bundle must be the library's.
        k
            How many.
        patient_key
            ``volume.source.patient_key``; None ("cannot tell") for files that carry none.

        Returns
        -------
        SimilarCases
            Best first; equal similarities in the order of their case ids.

        Raises
        ------
        LibraryError
            ``bundle_mismatch`` or ``dimension_mismatch``.
        """
        if not self.fits(encoding.bundle_hash):
            raise LibraryError(
                f"The library '{self.name}' was made with another bundle; vectors of two bundles cannot be compared.",
                code="bundle_mismatch",
            )
        if encoding.pooled.shape != (self.meta.dim,):
            raise LibraryError(
                f"The library '{self.name}' holds vectors of length {self.meta.dim}, not {encoding.pooled.size}.",
                code="dimension_mismatch",
            )
        ids, matrix, patients, fingerprints = self._cases
        same_volume = np.array([f == encoding.volume_fingerprint for f in fingerprints], bool)
        same_patient = np.array([patient_key is not None and p == patient_key for p in patients], bool)
        scores = _similarities(matrix, encoding.pooled)
        order = [int(i) for i in np.argsort(-scores, kind="stable") if not (same_volume[i] or same_patient[i])][:k]
        hits = self._hits([ids[i] for i in order], [float(scores[i]) for i in order])
        left_out = tuple(ids[i] for i in np.flatnonzero(same_volume | same_patient))
        notes = _guard_notes(
            hits,
            same_volume=int(same_volume.sum()),
            same_patient=int((same_patient & ~same_volume).sum()),
            cannot_tell=patient_key is None or any(patients[i] is None for i in order),
        )
        return SimilarCases(self.name, hits, left_out, notes)

    def _hits(self, ids: list[str], scores: list[float]) -> tuple[Hit, ...]:
        hits = []
        with reading(self.folder) as connection:
            for case_id, score in zip(ids, scores, strict=True):
                row = connection.execute(
                    "SELECT text, labels, origin, thumbnail FROM cases WHERE case_id = ?", (case_id,)
                ).fetchone()
                if row is None:  # removed by another program since the vectors were read
                    continue
                text, labels, origin, thumbnail = row
                hits.append(
                    Hit(case_id, score, impression_or_start(text), tuple(json.loads(labels)), origin, thumbnail)
                )
        return tuple(hits)

    def text_of(self, case_id: str) -> str:
        """Return a case's whole report.

        Raises
        ------
        LibraryError
            ``unknown_case``.
        """
        with reading(self.folder) as connection:
            row = connection.execute("SELECT text FROM cases WHERE case_id = ?", (case_id,)).fetchone()
        if row is None:
            raise LibraryError(f"The library has no case '{case_id}'.", code="unknown_case")
        return str(row[0])


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    out: npt.NDArray[np.float32] = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 1e-6)
    return out


def _similarities(matrix: npt.NDArray[np.float32], query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosines [N] of ``query`` [D] with the rows of ``matrix`` [N, D], centred on the rows' mean.

    Pooled encodings lie in a narrow cone (cosines of 0.997 were measured), so plain cosines rank by noise.
    """
    query = _unit(query.astype(np.float32))
    if len(matrix) >= _CENTRE_FROM:
        mean = matrix.mean(axis=0, dtype=np.float64).astype(np.float32)
        matrix, query = _unit(matrix - mean), _unit(query - mean)
    out: npt.NDArray[np.float32] = np.clip(matrix @ query, -1.0, 1.0)
    return out


def _guard_notes(hits: Sequence[Hit], *, same_volume: int, same_patient: int, cannot_tell: bool) -> tuple[str, ...]:
    notes = []
    if same_volume:
        notes.append("This very volume is in the library and was left out.")
    if same_patient:
        word = "case" if same_patient == 1 else "cases"
        notes.append(f"{same_patient} {word} of the same patient left out.")
    if cannot_tell and any(not hit.origin.lower().startswith("phantom") for hit in hits):
        notes.append("Whether a case is of the same patient cannot be told: patient keys are missing.")
    return tuple(notes)


def shipped_library_dir() -> Path:
    """Return the folder of the library that comes with the package."""
    return Path(os.fspath(str(importlib.resources.files("napari_colipri") / "sample_data" / "library")))


def open_library(folder: str | os.PathLike[str] | None = None) -> Library:
    """Open a library for searching.

    Parameters
    ----------
    folder
        Its folder; None for the one that comes with the package.

    Raises
    ------
    LibraryError
        If it is missing, damaged, not a library or of a newer format.
    """
    return Library(Path(folder) if folder is not None else shipped_library_dir())

"""What a library holds, and whether it is sound."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_colipri.library.store import FILE_NAME, PNG_START, read_meta, reading

__all__ = ["Stats", "check", "stats"]


@dataclass(frozen=True)
class Stats:
    """Counts of a library; see :func:`stats`."""

    name: str
    bundle_hash: str
    dim: int
    cases: int
    labels: Mapping[str, int]
    origins: Mapping[str, int]
    with_patient_key: int
    with_thumbnail: int
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**vars(self), "labels": dict(self.labels), "origins": dict(self.origins)}


def stats(folder: str | os.PathLike[str]) -> Stats:
    """Count what a library holds.

    Raises
    ------
    LibraryError
        As :func:`~napari_colipri.library.store.reading`.
    """
    labels: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    keys = thumbnails = 0
    with reading(folder) as connection:
        meta = read_meta(connection)
        query = "SELECT labels, origin, patient_key IS NOT NULL, thumbnail IS NOT NULL FROM cases"
        for names, origin, has_key, has_thumbnail in connection.execute(query):
            labels.update(json.loads(names))
            origins[origin] += 1
            keys += has_key
            thumbnails += has_thumbnail
    return Stats(
        name=meta.name,
        bundle_hash=meta.bundle_hash,
        dim=meta.dim,
        cases=sum(origins.values()),
        labels=dict(labels.most_common()),
        origins=dict(origins.most_common()),
        with_patient_key=keys,
        with_thumbnail=thumbnails,
        size_bytes=(Path(folder) / FILE_NAME).stat().st_size,
    )


def check(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Look for damage.

    Returns
    -------
    tuple of str
        One sentence per problem; empty if the library is sound.

    Raises
    ------
    LibraryError
        As :func:`~napari_colipri.library.store.reading`, where it cannot be opened at all.
    """
    problems: list[str] = []
    with reading(folder) as connection:
        meta = read_meta(connection)
        first = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if first != "ok":
            problems.append(f"SQLite finds the file damaged: {first}.")
        seen: dict[str, str] = {}
        for case_id, blob, names, png, fingerprint in connection.execute(
            "SELECT case_id, vector, labels, thumbnail, fingerprint FROM cases ORDER BY case_id"
        ):
            problems.extend(f"Case '{case_id}': {text}" for text in _case_problems(meta.dim, blob, names, png))
            if fingerprint and fingerprint in seen:
                problems.append(f"Cases '{seen[fingerprint]}' and '{case_id}' are the same volume.")
            elif fingerprint:
                seen[fingerprint] = case_id
    return tuple(problems)


def _case_problems(dim: int, blob: bytes, names: str, png: bytes | None) -> Iterator[str]:
    if len(blob) != 4 * dim:
        yield f"its vector has {len(blob) / 4:g} values, {dim} expected."
    elif not np.isclose(np.linalg.norm(np.frombuffer(blob, "<f4").astype(np.float64)), 1.0, atol=1e-3):
        yield "its vector is not of length one."
    try:
        if not isinstance(json.loads(names), list):
            yield "its labels are not a list."
    except json.JSONDecodeError:
        yield "its labels cannot be read."
    if png is not None and not png.startswith(PNG_START):
        yield "its thumbnail is not a PNG picture."

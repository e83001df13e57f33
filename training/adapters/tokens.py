"""Tokens of frozen towers on disk, one file per study: encoded once, read by every adapter.

A folder of ``.npz`` files (tokens float16 [x, y, z, C], inside bool [x, y, z], labels float32 [F]; for segmentation
also image float16 and mask uint8 on the model grid), ``studies.jsonl`` and ``tokens.json``, which names the towers. A
file that is there is not made again, so that an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_colipri.atomic import replace_file, write_json, write_text
from napari_colipri.engine.preprocess import to_model_grid
from napari_colipri.engine.session import Session
from napari_colipri.progress import Progress, report_nothing
from napari_colipri.text.findings import FINDING_NAMES
from training.adapters.artifact import towers_of
from training.data.resample import labels_on
from training.data.store import UNKNOWN
from training.evaluation.facts import Fact, facts_from_json
from training.evaluation.scores import EvaluationError, read_lines
from training.evaluation.studies import Study

__all__ = ["CachedStudy", "TokenBatch", "TokenSet", "cache_tokens", "check_pair"]

_RECORD = "tokens.json"
_LIST = "studies.jsonl"


@dataclass(frozen=True)
class CachedStudy:
    """What ``studies.jsonl`` says about one file."""

    study: str
    patient: str
    file: str
    report: str = ""
    facts: tuple[Fact, ...] | None = None
    other_reports: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Tensors of some studies.

    Attributes
    ----------
    tokens
        float32 [B, x, y, z, C].
    inside
        bool [B, x, y, z].
    labels
        float32 [B, F], NaN = unknown.
    image, mask
        float32 [B, 1, X, Y, Z] and uint8 [B, X, Y, Z] (255 = unknown), or None.
    """

    tokens: Tensor
    inside: Tensor
    labels: Tensor
    image: Tensor | None = None
    mask: Tensor | None = None


def _mask_on_grid(study: Study, affine: npt.NDArray[np.float64], size: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Return the mask on the model grid, 255 where nobody knows."""
    if study.mask is None:
        return np.full(size, UNKNOWN, np.uint8)
    return labels_on(replace(study.volume, hu=study.mask.astype(np.int16)), size, affine)


def cache_tokens(
    session: Session,
    studies: Iterable[Study],
    folder: Path,
    *,
    findings: Sequence[str] = FINDING_NAMES,
    images: bool = False,
    progress: Progress = report_nothing,
) -> TokenSet:
    """Encode studies with the product's own session and keep what adapters need.

    Parameters
    ----------
    session
        Its bundle's towers are frozen from here on.
    studies
        Anything that yields them; a study whose file is there is not encoded again.
    folder
        Made if need be.
    findings
        Columns of the labels.
    images
        Keep image and mask on the model grid too (segmentation).
    progress
        Told after each study; the fraction is not known and stays 0.

    Raises
    ------
    EvaluationError
        If the folder holds tokens of another bundle, or of other findings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {"towers": towers_of(session.bundle), "findings": list(findings), "images": images}
    if (folder / _RECORD).exists() and json.loads((folder / _RECORD).read_text(encoding="utf-8")) != record:
        raise EvaluationError("This folder holds tokens of another bundle or of other findings.", code="other_bundle")
    write_json(folder / _RECORD, record)
    spec = session.bundle.input_spec
    listed: dict[str, dict[str, Any]] = {}
    for number, study in enumerate(studies, start=1):
        name = hashlib.blake2b(study.study.encode(), digest_size=12).hexdigest() + ".npz"
        listed[study.study] = {
            "study": study.study,
            "patient": study.patient,
            "file": name,
            "report": study.report,
            "other_reports": list(study.other_reports),
            "facts": None if study.facts is None else [vars(fact) for fact in study.facts],
        }
        if not (folder / name).exists():
            encoding = session.encode(study.volume)
            labels = np.array([study.labels.get(each, np.nan) for each in findings], np.float32)
            arrays: dict[str, Any] = {"tokens": encoding.tokens, "inside": encoding.inside, "labels": labels}
            if images:
                grid = to_model_grid(study.volume, spec)
                arrays |= {
                    "image": grid.values.astype(np.float16),
                    "mask": _mask_on_grid(study, grid.affine, spec.size),
                }
            with replace_file(folder / name) as temporary:
                np.savez(temporary, **arrays)
        progress(0.0, f"Encoded {number} studies")
    lines = [json.dumps(item, ensure_ascii=False) for item in listed.values()]
    write_text(folder / _LIST, "\n".join(lines) + "\n")
    return TokenSet(folder)


@dataclass(eq=False)
class TokenSet:
    """Cached studies.

    Parameters
    ----------
    folder
        That :func:`cache_tokens` wrote.
    keep_bytes
        Arrays are kept in memory up to this size.

    Raises
    ------
    EvaluationError
        If a file is missing or the list is damaged.
    """

    folder: Path
    keep_bytes: int = 2 << 30
    studies: tuple[CachedStudy, ...] = ()
    findings: tuple[str, ...] = ()
    towers: str = ""
    _kept: dict[int, dict[str, npt.NDArray[Any]]] = field(default_factory=dict, repr=False)
    _size: int = 0

    def __post_init__(self) -> None:
        try:
            record = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            self.findings, self.towers = tuple(record["findings"]), str(record["towers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{self.folder.name} holds no cached tokens.", code="not_tokens") from error
        found = []
        for number, item in read_lines(self.folder / _LIST):
            facts = None if item.get("facts") is None else facts_from_json(item["facts"])
            study = CachedStudy(
                item["study"],
                item["patient"],
                Path(item["file"]).name,
                item.get("report", ""),
                facts,
                tuple(item.get("other_reports", ())),
            )
            if not (self.folder / study.file).is_file():
                raise EvaluationError(f"{_LIST} line {number}: {study.file} is missing.", code="missing_file")
            found.append(study)
        if not found:
            raise EvaluationError(f"{self.folder.name} holds no study.", code="empty")
        self.studies = tuple(found)

    def __len__(self) -> int:
        return len(self.studies)

    def arrays(self, index: int) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of one study."""
        if index in self._kept:
            return self._kept[index]
        with np.load(self.folder / self.studies[index].file, allow_pickle=False) as data:
            out = {key: data[key] for key in data.files}
        size = sum(array.nbytes for array in out.values())
        if self._size + size <= self.keep_bytes:
            self._kept[index] = out
            self._size += size
        return out

    def batch(self, picked: Sequence[int], *, images: bool = False) -> TokenBatch:
        """Stack studies."""
        rows = [self.arrays(index) for index in picked]

        def stack(key: str) -> Tensor:
            return torch.from_numpy(np.stack([row[key] for row in rows]))

        image = stack("image").float()[:, None] if images else None
        mask = stack("mask") if images else None
        return TokenBatch(stack("tokens").float(), stack("inside"), stack("labels"), image, mask)

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """Labels of every study [N, F]."""
        return np.stack([self.arrays(index)["labels"] for index in range(len(self))])


def check_pair(train: TokenSet, valid: TokenSet, *, towers: str | None = None) -> None:
    """Make sure that two sets were made by the same towers and share no patient.

    Raises
    ------
    EvaluationError
        Saying which of it is not so.
    """
    if train.towers != valid.towers or train.findings != valid.findings:
        raise EvaluationError("Training and validation tokens are of different towers or findings.", code="mismatch")
    if towers is not None and train.towers != towers:
        raise EvaluationError("These tokens were made by the towers of another bundle.", code="other_bundle")
    shared = {study.patient for study in train.studies} & {study.patient for study in valid.studies}
    if shared:
        raise EvaluationError(
            f"{len(shared)} patients stand in the training and the validation tokens.", code="shared_patients"
        )

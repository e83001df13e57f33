"""Prepared studies on disk: a blosc2 array of int16 HU, one of labels where there are masks, and a JSON sidecar.

The sidecar is written last: a study without one is not there. A crop inflates only the blocks that it touches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt

from napari_colipri.atomic import write_bytes, write_json
from training.data.errors import DataError
from training.data.plan import Plan
from training.data.records import Split

__all__ = [
    "UNKNOWN",
    "Origin",
    "Prepared",
    "key_of",
    "load_prepared",
    "read_block",
    "remove_prepared",
    "studies_in",
    "write_prepared",
]

#: Label of a voxel of which nothing is known.
UNKNOWN = 255
_CODECS = {"zstd": blosc2.Codec.ZSTD, "lz4": blosc2.Codec.LZ4}
_Three = tuple[int, int, int]


@dataclass(frozen=True)
class Origin:
    """What a prepared study was made from: a run skips it while this stays the same.

    Attributes
    ----------
    plan
        Hash of the plan.
    size, mtime_ns
        Of the image's file (of a folder: summed and latest), and of the label map's.
    image
        Hash of everything in the record that shapes voxels.
    text
        Hash of report, labels, boxes and split: where only these change, the sidecar alone is written anew.
    """

    plan: str
    size: int
    mtime_ns: int
    image: str
    text: str


@dataclass(frozen=True)
class Prepared:
    """One study of a prepared folder, as its sidecar describes it.

    Attributes
    ----------
    key
        Name of its files: a hash of source and study.
    source, patient, study, split
        As in the manifest.
    report
        The text, "" where there is none.
    labels
        As in the manifest.
    boxes, boxes_complete
        As in the manifest: RAS mm.
    shape
        Stored voxels [X, Y, Z].
    affine
        Stored index to RAS mm, four rows.
    field_shape, field_start
        Size of the whole field of view at this spacing, and where the stored part starts in it.
    padding_hu
        What surrounds the field: its minimum, as in the product.
    body
        Stored voxels (first, one past the last) of the box that holds the body.
    has_mask
        Whether a label map is stored.
    image_bytes
        Size of the array's file.
    fingerprint
        Of the volume's values and affine, as the product computes it.
    verdict, codes
        Of the passport, for analysis.
    corrected
        What was applied from a table: ``"rescale"``, ``"affine"``.
    origin
        See :class:`Origin`.
    """

    key: str
    source: str
    patient: str
    study: str
    split: Split
    report: str
    labels: dict[str, int | None]
    boxes: dict[str, list[list[float]]]
    boxes_complete: bool
    shape: _Three
    affine: list[list[float]]
    field_shape: _Three
    field_start: _Three
    padding_hu: int
    body: tuple[_Three, _Three]
    has_mask: bool
    image_bytes: int
    fingerprint: str
    verdict: str
    codes: list[str]
    corrected: list[str]
    origin: Origin
    folder: Path = field(default=Path(), compare=False)

    @property
    def image_file(self) -> Path:
        """The array of HU."""
        return _file(self.folder, self.key, ".b2nd")

    @property
    def mask_file(self) -> Path:
        """The array of labels."""
        return _file(self.folder, self.key, ".mask.b2nd")


def key_of(source: str, study: str) -> str:
    """Return the name of a study's files: no identifier stands in a file name."""
    return hashlib.blake2b(f"{source}\0{study}".encode(), digest_size=8).hexdigest()


def _file(folder: Path, key: str, suffix: str) -> Path:
    return folder / "studies" / key[:2] / f"{key}{suffix}"


def _packed(array: npt.NDArray[Any], plan: Plan) -> bytes:
    chunks = [min(plan.chunk, size) for size in array.shape]
    blocks = [min(plan.block, size) for size in chunks]
    settings = blosc2.CParams(
        codec=_CODECS[plan.codec], clevel=plan.level, filters=[blosc2.Filter.BITSHUFFLE], nthreads=1
    )
    packed = blosc2.asarray(np.ascontiguousarray(array), chunks=chunks, blocks=blocks, cparams=settings)
    frame: bytes = packed.to_cframe()
    return frame


def write_prepared(
    study: Prepared, hu: npt.NDArray[np.int16] | None, mask: npt.NDArray[np.uint8] | None, plan: Plan
) -> None:
    """Write a study's arrays, then its sidecar; each whole or not at all.

    Parameters
    ----------
    study
        Its sidecar; ``folder`` says where, and ``image_bytes`` is set here where ``hu`` is given.
    hu, mask
        [X, Y, Z]; None leaves what is there.
    plan
        Of the folder.
    """
    study.image_file.parent.mkdir(parents=True, exist_ok=True)
    sidecar = _file(study.folder, study.key, ".json")
    if hu is not None:
        sidecar.unlink(missing_ok=True)  # from here on the study counts as not there, until it is there anew
        packed = _packed(hu, plan)
        study = replace(study, image_bytes=len(packed))
        write_bytes(study.image_file, packed, private=True)
    if mask is not None:
        write_bytes(study.mask_file, _packed(mask, plan), private=True)
    described = asdict(study)
    del described["folder"]
    write_json(sidecar, described, private=True)


def remove_prepared(study: Prepared) -> None:
    """Remove a study's files, the sidecar first: from then on it is not there."""
    for suffix in (".json", ".b2nd", ".mask.b2nd"):
        _file(study.folder, study.key, suffix).unlink(missing_ok=True)


def load_prepared(folder: Path, key: str) -> Prepared | None:
    """Read a study's sidecar; None where there is none.

    Raises
    ------
    DataError
        If it is damaged.
    """
    path = _file(folder, key, ".json")
    try:
        raw = json.loads(path.read_bytes())
        origin = Origin(**raw.pop("origin"))
        for name in ("shape", "field_shape", "field_start"):
            raw[name] = tuple(raw[name])
        raw["body"] = tuple(map(tuple, raw["body"]))
        return Prepared(**raw, origin=origin, folder=folder)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"The sidecar {path.name} is damaged: delete it and prepare the folder again."
        raise DataError(message, code="sidecar") from None


def studies_in(folder: Path, split: Split | None = None) -> list[Prepared]:
    """Return the prepared studies of a folder, sorted by key, of one split or of all.

    Raises
    ------
    DataError
        If a sidecar is damaged.
    """
    keys = sorted(path.stem for path in (folder / "studies").glob("*/*.json") if not path.name.startswith("."))
    found = [study for study in (load_prepared(folder, key) for key in keys) if study is not None]
    return [study for study in found if split is None or study.split == split]


def read_block(file: Path, start: Sequence[int], size: Sequence[int], outside: int) -> npt.NDArray[Any]:
    """Read a box of a stored array; what lies beyond the array is ``outside``.

    Parameters
    ----------
    file
        Of :attr:`Prepared.image_file` or :attr:`Prepared.mask_file`.
    start
        First voxel, negative where the box begins before the array.
    size
        Voxels along each axis.
    outside
        Value beyond the array.

    Returns
    -------
    ndarray
        [X, Y, Z] in C order, of the stored type.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    try:
        array = blosc2.open(str(file), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        lows = [max(low, 0) for low in start]
        highs = [min(low + n, there) for low, n, there in zip(start, size, array.shape, strict=True)]
        if all(high - low == n for low, high, n in zip(lows, highs, size, strict=True)):
            whole: npt.NDArray[Any] = array[tuple(map(slice, lows, highs))]
            return whole
        out = np.full(tuple(size), outside, array.dtype)
        if all(high > low for low, high in zip(lows, highs, strict=True)):
            target = tuple(slice(low - s, high - s) for low, high, s in zip(lows, highs, start, strict=True))
            out[target] = array[tuple(map(slice, lows, highs))]
        return out
    except (RuntimeError, ValueError, OSError) as error:
        message = f"The prepared file {file.name} cannot be read ({type(error).__name__}): prepare the folder again."
        raise DataError(message, code="prepared_file") from None

"""Write a bundle folder whole or not at all: half precision, checksums, sizes, and a rehearsal through the product."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from napari_colipri.atomic import write_json, write_text
from napari_colipri.ct.geometry import measure
from napari_colipri.ct.volume import CTVolume, Source
from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.engine.bundle_files import CONFIG, file_sha256, parse_config
from napari_colipri.engine.session import Session
from napari_colipri.errors import ColipriError

__all__ = ["EMBEDDED_LIMITS", "ShipError", "SizeLimits", "halved", "rehearse", "write_bundle"]

#: Kept as they are: half precision would move every probability, or a threshold past a score.
_WHOLE = ("softmax_temperature",)
_WHOLE_FILES = ("probes.safetensors",)


class ShipError(ColipriError):
    """A bundle cannot be shipped; the message says why."""

    exit_status = 4


@dataclass(frozen=True)
class SizeLimits:
    """Largest file and largest bundle, bytes."""

    file_bytes: int
    total_bytes: int


#: Of the bundle inside the package.
EMBEDDED_LIMITS = SizeLimits(15 << 20, 30_000_000)


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in half precision, the softmax temperature whole.

    Raises
    ------
    ShipError
        If a weight is too large for half precision.
    """
    out = {}
    for name, value in tensors.items():
        whole = name in _WHOLE or not value.is_floating_point()
        out[name] = value.contiguous() if whole else value.half().contiguous()
        if not bool(torch.isfinite(out[name]).all()):
            raise ShipError(f"{name} is not finite in half precision.", code="not_finite")
    return out


def _check_sizes(folder: Path, limits: SizeLimits) -> None:
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    for name, size in sizes.items():
        if size > limits.file_bytes:
            raise ShipError(
                f"{name} has {size / 2**20:.1f} MiB, more than the {limits.file_bytes / 2**20:.0f} MiB of one file.",
                code="too_large",
            )
    total = sum(sizes.values())
    if total > limits.total_bytes:
        raise ShipError(
            f"The bundle has {total / 1e6:.1f} MB, more than {limits.total_bytes / 1e6:.0f} MB.", code="too_large"
        )


def _made_up_volume() -> CTVolume:
    """Return a body of soft tissue with two air-filled halves: nothing that a model must understand."""
    hu = np.full((64, 64, 48), -1000, np.int16)
    hu[8:56, 12:52] = 40
    hu[14:28, 20:44, 6:42] = hu[36:50, 20:44, 6:42] = -850
    affine = np.diag([5.0, 5.0, 6.0, 1.0])
    affine[:3, 3] = (-160.0, -160.0, -144.0)
    return CTVolume(hu, affine, measure(hu.shape, affine), Source("nifti", "rehearsal"))


def rehearse(bundle: Bundle) -> None:
    """Ask a bundle everything that it offers, through the product, on a made-up volume.

    Raises
    ------
    ShipError
        If an answer is missing or not made of numbers.
    BundleError
        If it cannot be loaded.
    """
    session = Session(bundle)
    volume = _made_up_volume()
    encoding = session.encode(volume)
    for item in session.findings(encoding).items:
        if item.note is None and (item.probability is None or not 0 <= item.probability <= 1):
            raise ShipError(f"The bundle gives no number for {item.name}.", code="no_answer")
    if bundle.has_decoder:
        session.segment(volume, encoding)
    if bundle.has_report_decoder:
        session.generate_report(encoding)
    session.unload()


def write_bundle(
    target: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
    files: Mapping[str, Path],
    card: str,
    *,
    limits: SizeLimits | None = None,
) -> Bundle:
    """Write a bundle, rehearse it, and put it in the place of an older one.

    Parameters
    ----------
    target
        Bundle folder; one that is there is replaced as a whole, at the end.
    config
        ``config.json`` without checksums.
    tensors
        Weights by file name, rounded to half precision here (probes stay whole).
    files
        Other files by name, copied as they are.
    card
        ``README.md``.
    limits
        Of size, or None.

    Returns
    -------
    Bundle
        Opened and verified where it lies.

    Raises
    ------
    ShipError
        If it is too large or gives no answers.
    BundleError
        If configuration and files do not fit.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    staging.mkdir()
    try:
        for name, values in tensors.items():
            plain = {key: value.contiguous() for key, value in values.items()}
            save_file(plain if name in _WHOLE_FILES else halved(values), staging / name)
        for name, source in files.items():
            shutil.copyfile(source, staging / name)
        for file in staging.iterdir():
            file.chmod(0o644)
        checksums = {file.name: file_sha256(file) for file in sorted(staging.iterdir())}
        checked = parse_config({**config, "sha256": checksums})
        write_text(staging / "README.md", card)
        write_json(staging / CONFIG, checked.model_dump(mode="json"))
        if limits is not None:
            _check_sizes(staging, limits)
        rehearse(open_bundle(staging))
        _swap(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # gone already where it became the bundle
    return open_bundle(target)


def _swap(staging: Path, target: Path) -> None:
    """Put ``staging`` in the place of ``target``; the older folder comes back if that fails."""
    if not target.exists():
        os.rename(staging, target)
        return
    older = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    os.rename(target, older)
    try:
        os.rename(staging, target)
    except OSError:
        os.rename(older, target)
        raise
    shutil.rmtree(older, ignore_errors=True)

"""A random crop from a prepared study beside inflating the whole file, and how many volumes a second that makes.

Both sides hold the same voxels: the benchmark volume at its own spacing. nibabel reads the ``.nii.gz`` whole, then
cuts; the prepared study inflates the blocks that the crop touches. One thread on each side, files in the cache.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._common import OFFICIAL, alternate, parser, publish
from benchmarks.make_volume import benchmark_volume

_SIZES = (96, 192)


def _prepared(path: Path, out: Path, plan: Any) -> tuple[Any, float]:
    """Prepare one file; returns its study and the seconds that took."""
    from training.data.manifest import Line
    from training.data.preprocess import preprocess
    from training.data.records import Record
    from training.data.store import studies_in

    record = Record(image=str(path), patient="p", study="s", split="test", source="benchmark")
    began = time.perf_counter()
    preprocess([Line(1, record)], path.parent, out, plan)
    return studies_in(out)[0], time.perf_counter() - began


def _crop_row(study: Any, path: Path, size: int, rounds: int) -> dict[str, str]:
    """Time crops of one size on both sides, and hold that they are the same HU."""
    import nibabel
    import numpy as np

    from training.data.crops import Crop, random_crop, read_crop

    rng = np.random.default_rng(size)
    order = range(3)

    def whole(crop: Crop | None = None) -> Any:
        crop = crop or random_crop(study, (size, size, size), rng)
        voxels = np.asanyarray(nibabel.load(path).dataobj)
        return np.ascontiguousarray(voxels[tuple(slice(crop.start[n], crop.start[n] + size) for n in order)])

    def prepared(crop: Crop | None = None) -> Any:
        return read_crop(study, crop or random_crop(study, (size, size, size), rng))

    crop = random_crop(study, (size, size, size), rng)
    equal = np.array_equal(whole(crop), prepared(crop))
    seconds = alternate(rounds, prepared=prepared, whole=whole)
    return {
        "crop": f"{size}³ of {'×'.join(str(n) for n in study.shape)}",
        "prepared (ms)": f"{seconds['prepared'] * 1000:.1f}",
        "whole .nii.gz, nibabel (ms)": f"{seconds['whole'] * 1000:.0f}",
        "ratio": f"{seconds['whole'] / seconds['prepared']:.0f}×",
        "HU equal": "yes" if equal else "no",
        "files (MiB)": f"{study.image_file.stat().st_size / 2**20:.0f}, {path.stat().st_size / 2**20:.0f}",
    }


def _rate_row(study: Any, took: float, size: int, seconds: float) -> dict[str, str]:
    """Measure batches of the product's centre crop, with and without augmentation, by the processor time they take."""
    from training.data.augment import Augmentation
    from training.data.dataset import Batches
    from training.data.sampling import Mixture, Part

    rates = []
    for augment in (None, Augmentation()):
        batches = Batches(Mixture((Part("all", [study]),), 4), (size,) * 3, 10**6, augment=augment)
        _warm = batches[0]
        began, step = time.process_time(), 0
        while time.process_time() - began < seconds:
            step += 1
            _warm = batches[step]
        rates.append(4 * step / (time.process_time() - began))
    return {
        "grid": f"{size}³",
        "volumes per core and second": f"{rates[0]:.1f}",
        "with augmentation": f"{rates[1]:.1f}",
        "preparing a study (s)": f"{took:.1f}",
        "stored (MiB)": f"{study.image_file.stat().st_size / 2**20:.1f}",
    }


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=8.0)
    chosen = options.parse_args(arguments)
    import torch

    from napari_colipri.ct.open import open_volume
    from napari_colipri.engine.bundle import open_bundle
    from training.data.plan import Plan, plan_for

    torch.set_num_threads(1)
    path = benchmark_volume()
    geometry = open_volume(path).geometry
    native = Plan(axis_order="".join(geometry.axis_codes), spacing_mm=geometry.spacing_mm)
    with tempfile.TemporaryDirectory() as folder:
        study, _ = _prepared(path, Path(folder) / "native", native)
        rows = [_crop_row(study, path, size, chosen.rounds) for size in _SIZES]
        publish("A random crop, prepared and from .nii.gz", rows, write=chosen.write)
        rates = []
        for spec in (open_bundle(None).config.input.spec(), OFFICIAL):
            study, took = _prepared(path, Path(folder) / spec.preset, plan_for(spec, whole=True))
            rates.append(_rate_row(study, took, spec.size[0], chosen.seconds))
        publish("Batches from prepared studies", rates, write=chosen.write)


if __name__ == "__main__":
    main()

"""The whole of ``analyse`` on the benchmark volume: read, encode, answer, draw, search, draft, write.

Target: at most the public package's reading and preprocessing of the same file + 6 s, imports and weights excluded on
both sides; cold start (imports and weights) at most 7 s, apart; at most 3 GB. Each run is a fresh process; the two
sides alternate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._common import OFFICIAL, parser, public_processor, publish, quiet
from benchmarks.make_volume import benchmark_volume


def _peak_mib() -> float:
    """Return the largest resident size of this process, MiB."""
    import psutil

    status = Path("/proc/self/status")
    if status.exists():
        line = next(each for each in status.read_text(encoding="ascii").splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return float(psutil.Process().memory_info().rss) / 2**20


def _analyse(path: Path, session: Any) -> None:
    """Do what ``napari-colipri analyse`` does once everything is loaded."""
    from napari_colipri.analysis import analyse, fitting_library
    from napari_colipri.ct.open import open_volume
    from napari_colipri.export.analysis import write_analysis

    library, why = fitting_library(session.bundle.hash)
    with tempfile.TemporaryDirectory() as folder:
        result = analyse(open_volume(path), session, library, no_library=why)
        write_analysis(Path(folder) / "out", result)


def _small_study(folder: Path) -> Path:
    """Write a study of one voxel in 512 of the benchmark volume: it triggers every lazy import and little else."""
    import nibabel
    import numpy as np

    source: Any = nibabel.load(benchmark_volume())
    small = nibabel.Nifti1Image(np.asarray(source.dataobj[::8, ::8, ::8]), source.affine @ np.diag([8, 8, 8, 1]))
    nibabel.save(small, folder / "small.nii.gz")
    return folder / "small.nii.gz"


def _ours(chosen: argparse.Namespace) -> dict[str, float]:
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session

    session = Session(open_bundle(chosen.bundle), device="cpu")
    session.load()
    ready = time.time()
    with tempfile.TemporaryDirectory() as folder:
        _analyse(_small_study(Path(folder)), session)
    began = time.perf_counter()
    _analyse(benchmark_volume(), session)
    return {"seconds": time.perf_counter() - began, "ready": ready, "peak": _peak_mib()}


def _public() -> dict[str, float]:
    quiet()
    from colipri.processor import tio

    image: Any = tio.ScalarImage
    processor = public_processor(OFFICIAL)
    with tempfile.TemporaryDirectory() as folder:
        processor.process_images(image(_small_study(Path(folder))))
    began = time.perf_counter()
    processor.process_images(image(benchmark_volume()))
    return {"seconds": time.perf_counter() - began}


def _child(side: str, bundle: str | None) -> dict[str, float]:
    """Run one side in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.analyse", "--side", side]
    began = time.time()
    done = subprocess.run(
        [*command, *(["--bundle", bundle] if bundle else [])], check=True, stdout=subprocess.PIPE, text=True
    )
    out: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    out["cold"] = out.get("ready", began) - began
    return out


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--bundle", help="name or folder; the embedded one without it")
    options.add_argument("--side", choices=("ours", "public"), help=argparse.SUPPRESS)
    chosen = options.parse_args(arguments)
    if chosen.side is not None:
        print(json.dumps(_ours(chosen) if chosen.side == "ours" else _public()))
        return
    benchmark_volume()
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "public": []}
    for _ in range(chosen.rounds):
        for side, done in runs.items():
            done.append(_child(side, chosen.bundle))
    ours, theirs = (statistics.median(run["seconds"] for run in runs[side]) for side in ("ours", "public"))
    publish(
        "Analyse, 512×512×300 .nii.gz, CPU",
        [
            {
                "bundle": chosen.bundle or "embedded",
                "analyse (s)": f"{ours:.2f}",
                "public reading and preprocessing (s)": f"{theirs:.2f}",
                "difference (s)": f"{ours - theirs:+.2f}",
                "cold start (s)": f"{statistics.median(run['cold'] for run in runs['ours']):.2f}",
                "peak memory (MiB)": f"{max(run['peak'] for run in runs['ours']):.0f}",
                "target": "≤ +6 s; ≤ 7 s; ≤ 3 GB",
            }
        ],
        write=chosen.write,
    )


if __name__ == "__main__":
    main()

"""Phantoms a second at the embedded grid, at 4 mm and at 2 mm, in one process on one thread, and the size of a file."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks._common import parser, publish

#: Voxels along an edge, mm, how many are made.
GRIDS = ((72, 5.0, 12), (96, 4.0, 8), (192, 2.0, 3))


def row(edge: int, spacing_mm: float, count: int, device: str) -> dict[str, str]:
    """Time the making of phantoms and of their reports and files."""
    from training.phantom import make_phantom
    from training.phantom.pool import write_phantom

    shape, spacing = (edge, edge, edge), (spacing_mm, spacing_mm, spacing_mm)
    make_phantom(0, shape=shape, spacing_mm=spacing, device=device)
    making, working, writing, sizes = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, count + 1):
            began, busy = time.perf_counter(), time.process_time()
            phantom = make_phantom(seed, shape=shape, spacing_mm=spacing, device=device)
            making.append(time.perf_counter() - began)
            working.append(time.process_time() - busy)
            path = Path(folder) / f"{seed}.npz"
            began = time.perf_counter()
            write_phantom(path, phantom)
            writing.append(time.perf_counter() - began)
            sizes.append(path.stat().st_size / 2**20)
    seconds, core = statistics.mean(making), statistics.mean(working)
    return {
        "grid": f"{edge}³ at {spacing_mm:g} mm",
        "device": device,
        "make (s)": f"{seconds:.2f}",
        "of it on the core (s)": f"{core:.2f}",
        "per second of a core": f"{1 / core:.2f}",
        "reports and file (s)": f"{statistics.mean(writing):.2f}",
        "file (MiB)": f"{statistics.mean(sizes):.2f}",
        "target": "≥ 1 per second of a core" if edge == 72 else "reported",
    }


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args(arguments)
    rows: list[Mapping[str, str]] = [row(*grid, chosen.device) for grid in GRIDS]
    publish("Phantoms: rate of making", rows, write=chosen.write)


if __name__ == "__main__":
    main()

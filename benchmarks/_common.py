"""What every measurement shares: the machine in one line, alternating runs, and rows of RESULTS.md."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_colipri.ct.volume import CTVolume
from napari_colipri.engine.config import InputSpec

__all__ = [
    "OFFICIAL",
    "alternate",
    "data_folder",
    "machine",
    "parser",
    "public_image",
    "public_processor",
    "publish",
    "quiet",
    "work_folder",
]

RESULTS = Path(__file__).with_name("RESULTS.md")
#: How the public package samples a volume.
OFFICIAL = InputSpec("RAS", (2.0, 2.0, 2.0), (192, 192, 192), preset="colipri-0.1.3")

_INTRODUCTION = """# Results

Rows are written by the commands they name (`--write`), never by hand. Times are medians; a ratio compares runs that
alternated in one process or one command on the same machine. Rows of a bundle leave when the bundle is replaced.
"""


def machine() -> str:
    """Return processor, cores, memory and Python in one line; the load says how much company the runs had."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    parts = [f"{model}, {os.cpu_count()} cores"]
    if hasattr(os, "sysconf"):
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    parts.append(f"{platform.system()}, Python {platform.python_version()}")
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    return ", ".join(parts)


def data_folder() -> Path:
    """Return the folder of real CT studies.

    Raises
    ------
    SystemExit
        If ``NAPARI_COLIPRI_DATA`` names none.
    """
    folder = Path(os.environ.get("NAPARI_COLIPRI_DATA", ""))
    if not os.environ.get("NAPARI_COLIPRI_DATA") or not folder.is_dir():
        raise SystemExit("NAPARI_COLIPRI_DATA must name the folder of real CT studies.")
    return folder


def work_folder() -> Path:
    """Return the folder for volumes and checkpoints that measurements make, kept between runs."""
    from napari_colipri.paths import cache_dir

    folder = cache_dir() / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all measurements have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--write", action="store_true", help="append the rows to benchmarks/RESULTS.md")
    return made


def alternate(rounds: int, **runs: Callable[[], Any]) -> dict[str, float]:
    """Return the median time of each run, s, taken in turns so that company on the machine meets all alike.

    Parameters
    ----------
    rounds
        How often each runs, after one round that is not counted.
    **runs
        What to time, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def quiet() -> None:
    """Silence the warnings of libraries that are only compared with."""
    warnings.simplefilter("ignore")


def public_processor(spec: InputSpec = OFFICIAL) -> Any:
    """Return the processor of the public package for the sampling of ``spec``."""
    from colipri.processor import get_processor

    return get_processor(
        image_only=True, orientation=spec.axis_order, spacing=spec.spacing_mm[0], input_size=spec.size[0]
    )


def public_image(volume: CTVolume, *, as_float: bool = True) -> Any:
    """Return a volume as the public package takes it, in memory; a float32 copy is not truncated on its way."""
    import numpy as np
    import torch
    from colipri.processor import tio

    values = volume.hu.astype(np.float32) if as_float else np.array(volume.hu)
    image: Any = tio.ScalarImage
    return image(tensor=torch.from_numpy(np.ascontiguousarray(values))[None], affine=volume.affine)


def _command() -> str:
    """Return the command as a reader would type it."""
    options = [each for each in sys.argv[1:] if each != "--write"]
    name = Path(sys.argv[0]).stem
    words = ["python -m benchmarks", *([] if name == "__main__" else [name]), *options]
    return f"`{' '.join(words)}`"


def publish(title: str, rows: list[Mapping[str, str]], *, write: bool) -> None:
    """Print Markdown rows, and with ``write`` append them to the table of ``title`` in RESULTS.md.

    Parameters
    ----------
    title
        Heading of the table.
    rows
        Cells by column; date, machine and command are added.
    write
        Whether to write.
    """
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    full = [{"date": today, **row, "machine": machine(), "command": _command()} for row in rows]
    header = _line(full[0].keys())
    lines = [_line(row.values()) for row in full]
    rule = _line("---" for _ in full[0])
    print("\n".join([header, rule, *lines]), flush=True)
    if write:
        text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else _INTRODUCTION
        RESULTS.write_text(_inserted(text, f"## {title}", header, rule, lines), encoding="utf-8")


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def _inserted(text: str, heading: str, header: str, rule: str, lines: list[str]) -> str:
    """Return ``text`` with ``lines`` at the end of the table below ``heading``; other columns start a new table."""
    body = text.rstrip("\n").split("\n")
    if heading not in body:
        return "\n".join([*body, "", heading, "", header, rule, *lines, ""])
    start = body.index(heading) + 1
    stop = next((n for n in range(start, len(body)) if body[n].startswith("## ")), len(body))
    while stop > start and not body[stop - 1].strip():
        stop -= 1
    heads = [body[n] for n in range(start, stop - 1) if body[n + 1].startswith("| ---")]
    new = lines if heads and heads[-1] == header else ["", header, rule, *lines]
    return "\n".join([*body[:stop], *new, *body[stop:], ""])

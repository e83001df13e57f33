"""Event-loop stall while a first Analyse runs in a real napari window.

A timer that should fire every 5 ms notes how late it fires; that lateness is the stall. The window opens the benchmark
volume, and as soon as it has drawn it Analyse is pressed, with the engine's process still loading the model. Without
a display an Xvfb is started: drawing in software on the processor is the slow case.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import parser, publish
from benchmarks.make_volume import benchmark_volume

BEAT_MS = 5
#: Beats on time, one after the other, before a freshly opened window counts as calm.
CALM_BEATS = 40
LIMIT_S = 540.0


@dataclass
class Record:
    """Lateness of every beat, by phase of the run.

    Attributes
    ----------
    late_ms
        Phase to lateness, ms.
    worst
        (lateness in ms, seconds since the phase began, what the dock showed).
    seconds
        Duration of each phase.
    """

    late_ms: dict[str, list[float]] = field(default_factory=dict)
    worst: list[tuple[float, float, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    outcome: str = ""


def has_display() -> bool:
    """Return whether windows can be opened here."""
    return not sys.platform.startswith("linux") or any(os.environ.get(key) for key in ("DISPLAY", "WAYLAND_DISPLAY"))


def with_display(arguments: list[str]) -> None:
    """Run this measurement in a process of its own on an Xvfb that outlives its window."""
    reading, writing = os.pipe()
    screen = ["-screen", "0", "1600x1000x24", "-displayfd", str(writing), "-nolisten", "tcp"]
    server = subprocess.Popen(["Xvfb", *screen], pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            environment = {**os.environ, "DISPLAY": f":{told.readline().strip()}", "QT_QPA_PLATFORM": "xcb"}
        subprocess.run([sys.executable, "-m", "benchmarks", "stall", *arguments], env=environment, check=True)
    finally:
        server.terminate()
        server.wait()


def measure(study: Path, bundle: str | None) -> Record:
    """Open a study, press Analyse, and note every beat until the answers are there."""
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    from napari_colipri.desktop.launch import open_viewer
    from napari_colipri.desktop.services import Services
    from napari_colipri.desktop.state import Phase
    from napari_colipri.engine.bundle import open_bundle

    viewer, dock = open_viewer(str(study), services=Services(bundle=lambda _name: open_bundle(bundle)))
    loop = QEventLoop()
    record = Record()
    phase, began, last, calm = "opening", time.perf_counter(), time.perf_counter(), 0
    start = began
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)

    def beat() -> None:
        nonlocal phase, began, last, calm
        now = time.perf_counter()
        late = max(0.0, (now - last) * 1000 - BEAT_MS)
        last = now
        record.late_ms.setdefault(phase, []).append(late)
        if phase == "analyse":
            record.worst.append((late, now - began, dock.state.text or dock.state.phase.value))
        calm = calm + 1 if late < 2 * BEAT_MS else 0
        state = dock.state.phase
        if phase == "opening" and state is Phase.READY and calm >= CALM_BEATS:
            record.seconds[phase] = now - began
            phase, began = "analyse", now
            dock.analyse()
        elif phase == "analyse" and state is not Phase.BUSY and calm >= CALM_BEATS:
            record.seconds[phase] = now - began
            record.outcome = f"{state.value} {dock.state.message}".strip()
            loop.quit()
        elif state in (Phase.FAILED, Phase.REFUSED) or now - start > LIMIT_S:
            record.outcome = f"{state.value} {dock.state.message}".strip()
            loop.quit()

    timer.timeout.connect(beat)
    timer.start(BEAT_MS)
    loop.exec()
    timer.stop()
    viewer.close()
    record.worst = sorted(record.worst, reverse=True)[:8]
    return record


def row(record: Record, study: Path, model: str) -> dict[str, str]:
    late = np.asarray(record.late_ms["analyse"])
    return {
        "study": study.name,
        "model": model,
        "beats": str(late.size),
        "99th percentile, ms": f"{np.percentile(late, 99):.0f}",
        "maximum, ms": f"{late.max():.0f}",
        "time in stalls > 50 ms": f"{late[late > 50].sum() / 1000 / record.seconds['analyse']:.1%}",
        "analyse, s": f"{record.seconds['analyse']:.1f}",
        "target": "99th percentile <= 50, maximum <= 150",
    }


def main(arguments: list[str] | None = None) -> None:
    options_of: Any = parser(__doc__)
    options_of.add_argument("--study", type=Path, help="the benchmark volume without it")
    options_of.add_argument("--bundle", help="name or folder; the embedded one without it")
    options = options_of.parse_args(arguments)
    if not has_display():
        with_display(sys.argv[1:] if arguments is None else arguments)
        return
    study = options.study or benchmark_volume()
    # settings, drafts and logs of this run go to a folder of its own
    with tempfile.TemporaryDirectory() as home:
        os.environ["NAPARI_COLIPRI_HOME"] = home
        os.environ["NAPARI_CONFIG"] = str(Path(home) / "napari.yaml")
        record = measure(study, options.bundle)
    print(f"outcome: {record.outcome}; opening {record.seconds.get('opening', float('nan')):.1f} s")
    if "analyse" not in record.seconds:
        raise SystemExit("the analysis did not end")
    for late, moment, text in record.worst:
        print(f"  {late:6.0f} ms late at {moment:5.1f} s: {text}")
    publish(
        "Event-loop stall while a first Analyse runs",
        [row(record, study, Path(options.bundle).name if options.bundle else "embedded")],
        write=options.write,
    )


if __name__ == "__main__":
    main()

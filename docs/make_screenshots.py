"""Make the pictures of docs/images: every state of the dock, in a real napari window.

    python docs/make_screenshots.py STUDY [--scripted] [--theme dark|light] [--out docs/images]

Needs a display (``xvfb-run -a -s "-screen 0 1600x1000x24"`` will do). Answers come from the embedded bundle; with
``--scripted`` from the scripted engine of the tests, whose findings and masks mean nothing: for the looks only.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image
from qtpy.QtCore import QBuffer
from qtpy.QtWidgets import QApplication

from napari_colipri.desktop.launch import open_viewer
from napari_colipri.desktop.services import Services

_SIZE = (1400, 900)
_PATIENCE_S = 300.0


class Camera:
    """Takes pictures of one window."""

    def __init__(self, dock: Any, out: Path, prefix: str) -> None:
        self._window, self._out, self._prefix = dock.window(), out, prefix
        self._window.resize(*_SIZE)

    def _viewer_box(self) -> tuple[int, int, int, int]:
        centre = self._window.centralWidget().geometry()
        return centre.left(), centre.top(), centre.right(), centre.bottom()

    def wait(self, until: Callable[[], bool], seconds: float = _PATIENCE_S) -> None:
        """Let the window live until something is so."""
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def take(self, name: str, settle_s: float = 0.6) -> None:
        """Write a picture that stays below 400 KB."""
        self.wait(lambda: False, settle_s)
        buffer = QBuffer()
        buffer.open(QBuffer.OpenModeFlag.ReadWrite)
        self._window.grab().save(buffer, "PNG")
        picture = Image.open(io.BytesIO(bytes(buffer.data().data()))).convert("RGB")
        target = self._out / f"{self._prefix}{name}.png"
        canvas = self._viewer_box()
        # Grain of the image is what makes a picture large; the dock keeps its exact colours.
        few = picture.crop(canvas).quantize(72, dither=Image.Dither.NONE).convert("RGB")
        picture.paste(few, canvas[:2])
        picture.save(target, optimize=True)


def finish(camera: Camera, dock: Any, engine: Any) -> None:
    """Wait for the end of an analysis; a scripted engine is told to answer."""
    if engine is not None:
        camera.wait(lambda: engine.client.volume is not None)
        engine.client.answer_analysis()
        camera.wait(lambda: "localise" in [kind for kind, _ in engine.client.asked.values()])
        engine.client.answer_places()
    camera.wait(lambda: dock.state.phase in ("done", "failed"))


def pages(camera: Camera, dock: Any, engine: Any) -> None:
    """Take the pages of an analysed study."""
    camera.take("analysed")
    items = dock.tabs.findings.model.items()
    if items:
        dock.tabs.findings.select(items[0].name)
        dock.answers.show_finding(items[0].name)
        if engine is not None:
            engine.client.answer_places()
        camera.wait(lambda: len(dock.screen.heats) > 0, 60)
    camera.take("heat-map")
    for page in ("Masks", "Similar", "Report"):
        dock.tabs.show_page(page)
        camera.take(page.lower())
    dock.show_models(True)
    camera.wait(lambda: dock.panels.models.models.count() > 0)
    camera.take("models")
    dock.show_models(False)
    dock.screen.choose_window("Mediastinum")
    for plane in ("Coronal", "Sagittal", "3D"):
        dock.screen.choose_plane(plane)
        camera.take(plane.lower())
    dock.screen.choose_plane("Axial")


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--scripted", action="store_true")
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--prefix", default="")
    parser.add_argument("--one", metavar="NAME", help="only one picture, of the analysed study")
    chosen = parser.parse_args()
    engine: Any = None
    if chosen.scripted:
        from tests.desktop.fakes import Engine

        engine = Engine()
    chosen.out.mkdir(parents=True, exist_ok=True)
    viewer, dock = open_viewer(None, services=Services() if engine is None else engine.services())
    viewer.theme = chosen.theme
    camera = Camera(dock, chosen.out, chosen.prefix)
    camera.wait(lambda: dock.model.bundle is not None or dock.model.problem is not None)
    if chosen.one:
        dock.open_study(chosen.study, then=dock.analyse)
        camera.wait(lambda: dock.state.phase == "busy")
        finish(camera, dock, engine)
        camera.take(chosen.one)
        viewer.close()
        return
    states(camera, dock, engine, chosen.study)
    pages(camera, dock, engine)
    dock.bridge.died.emit("The engine's process was ended from outside; it starts again with the next request.")
    camera.take("failed")
    viewer.close()


def states(camera: Camera, dock: Any, engine: Any, study: str) -> None:
    """Take every state on the way to an analysed study."""
    camera.take("empty")
    with tempfile.TemporaryDirectory() as folder:
        letter = Path(folder) / "letter.nii.gz"
        letter.write_bytes(b"Dear colleague")
        dock.open_study(letter)
        camera.wait(lambda: dock.state.phase == "refused")
        camera.take("refused")
    dock.open_study(study)
    camera.take("opening", settle_s=0.0)
    camera.wait(lambda: dock.state.phase != "opening")
    camera.take("ready")
    dock.analyse()
    if engine is not None:
        engine.client.load()
        engine.client.progress(0.4, "Encoding")
    camera.wait(lambda: dock.state.fraction > 0.2 or dock.state.phase != "busy", 120)
    camera.take("busy")
    finish(camera, dock, engine)


if __name__ == "__main__":
    main()

"""An engine that answers from a script, and the values it answers with."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from napari_colipri.ct.volume import CTVolume
from napari_colipri.desktop.services import Services
from napari_colipri.engine import events
from napari_colipri.engine.bundle_store import BundleInfo
from napari_colipri.engine.config import TrainedOn
from napari_colipri.engine.types import Encoding, Finding, Findings, HeatMap, Segmentation, SegmentationClass
from napari_colipri.errors import BundleError, Cancelled, WorkerDied
from napari_colipri.library.search import Hit, SimilarCases
from napari_colipri.progress import CancelToken, Progress

#: Name, probability and note of the findings that the fake engine reports.
FINDINGS = (
    ("Pleural effusion", 0.87, None),
    ("Cardiomegaly", 0.72, None),
    ("Lung nodule", 0.61, None),
    ("Consolidation", 0.41, None),
    ("Atelectasis", 0.33, None),
    ("Emphysema", 0.12, None),
    ("Coronary artery wall calcification", 0.09, None),
    ("Medical material", None, "this bundle cannot detect it"),
    ("Mosaic attenuation pattern", None, "this bundle cannot detect it"),
)

UNKNOWN = "this model does not know these words: zyzzyva"

CLASSES = (
    (1, "lung_left", "Left lung"),
    (2, "lung_right", "Right lung"),
    (3, "heart", "Heart"),
    (4, "liver", "Liver"),
)


def findings(prompts: tuple[str, ...] = ()) -> Findings:
    """Return the scripted findings and one more for each prompt."""
    asked = [(prompt, None, UNKNOWN) if prompt == "zyzzyva" else (prompt, 0.55, None) for prompt in prompts]
    rows = [*FINDINGS, *asked]
    items = tuple(
        Finding(name, value, (f"{name.lower()} is present",), (f"no {name.lower()}",), None, note)
        for name, value, note in rows
    )
    return Findings("demo", "0" * 64, items, DEMONSTRATION)


def encoding(volume: CTVolume) -> Encoding:
    """Return an encoding of the right type."""
    return Encoding(
        tokens=np.zeros((2, 2, 2, 4), np.float16),
        pooled=np.ones(4, np.float32) / 2,
        affine=np.diag([40.0, 40.0, 40.0, 1.0]),
        inside=np.ones((2, 2, 2), bool),
        preset="whole-5mm",
        precision="float32",
        bundle_hash="0" * 64,
        volume_fingerprint=volume.fingerprint,
    )


def heat_map(volume: CTVolume, text: str, peak_ras: tuple[float, float, float] | None = None) -> HeatMap:
    """Return a blob around a RAS point (mm), by default a quarter into the volume, on a 20 mm grid over the volume."""
    shape = np.asarray(volume.geometry.shape)
    corners = np.array([volume.affine @ [*(bit * (shape - 1)), 1.0] for bit in np.ndindex(2, 2, 2)])[:, :3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.maximum(2, np.ceil((high - low) / 20.0).astype(int))
    step = (high - low) / size
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = low + step / 2
    grid = np.moveaxis(np.indices(tuple(size)), 0, -1) * step + affine[:3, 3]
    peak = np.asarray(peak_ras if peak_ras is not None else low + 0.25 * (high - low))
    values = np.exp(-(((grid - peak) / 35.0) ** 2).sum(axis=-1)).astype(np.float32) * 0.2 - 0.02
    return HeatMap(values, affine, (float(peak[0]), float(peak[1]), float(peak[2])), float(values.max()), text, "demo")


def segmentation(volume: CTVolume) -> Segmentation:
    """Return four classes by place: left and right lung by HU and side, a heart, a liver that touches the border."""
    index = np.indices(volume.geometry.shape, dtype=np.float32)
    linear, offset = volume.affine[:3, :3], volume.affine[:3, 3]
    r, a, s = (
        linear[row, 0] * index[0] + linear[row, 1] * index[1] + linear[row, 2] * index[2] + offset[row]
        for row in range(3)
    )
    middle = [float((part.min() + part.max()) / 2) for part in (r, a, s)]
    extent = [float(part.max() - part.min()) for part in (r, a, s)]
    labels = np.zeros(volume.geometry.shape, np.uint8)
    body = ((r - middle[0]) / extent[0]) ** 2 + ((a - middle[1]) / extent[1]) ** 2 < 0.13
    lung = (volume.hu < -500) & body
    labels[lung & (r < middle[0])] = 1
    labels[lung & (r >= middle[0])] = 2
    soft = (volume.hu > 0) & body
    labels[soft & (np.abs(s - middle[2]) < extent[2] / 6) & (r < middle[0]) & (a > middle[1])] = 3
    labels[soft & (s < middle[2] - extent[2] / 4) & (r > middle[0])] = 4
    values = [(labels == number) for number, _, _ in CLASSES]
    classes = tuple(
        SegmentationClass(
            number,
            name,
            display,
            float(where.sum()) * volume.voxel_ml,
            float(volume.hu[where].mean()) if where.any() else None,
            name == "liver",
        )
        for (number, name, display), where in zip(CLASSES, values, strict=True)
    )
    return Segmentation(labels, classes, "demo", "0" * 64)


def similar_cases() -> SimilarCases:
    """Return three phantoms with pictures."""
    rows = (
        ("phantom-007", 0.83, "Small left pleural effusion. Heart size at the upper limit.", ("Pleural effusion",)),
        (
            "phantom-012",
            0.61,
            "Enlarged heart and a 9 mm nodule in the right upper lobe.",
            ("Cardiomegaly", "Lung nodule"),
        ),
        ("phantom-003", 0.12, "No abnormality of lungs, heart or pleura.", ()),
    )
    hits = tuple(
        Hit(case, value, text, labels, "Phantom of this project, CC0", _picture(number))
        for number, (case, value, text, labels) in enumerate(rows)
    )
    return SimilarCases("Phantom cases", hits)


def _picture(number: int) -> bytes:
    from PIL import Image

    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    body = (x**2 + (1.3 * y) ** 2 < 0.8) * 120
    for side in (-1, 1):
        body[((x - side * 0.4) / 0.28) ** 2 + (y / (0.35 + 0.05 * number)) ** 2 < 1] = 20
    out = io.BytesIO()
    Image.fromarray(body.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


class FakeClient:
    """Stands in for ``EngineClient``: nothing happens by itself, tests say what does.

    Parameters
    ----------
    on_event
        As the real one's.
    decoder
        Whether the bundle can segment.
    """

    def __init__(self, on_event: Callable[[events.Event], None], *, decoder: bool = True) -> None:
        self._emit = on_event
        self._next = 0
        self.decoder = decoder
        self.volume: CTVolume | None = None
        self.started = 0
        self.chosen = ("", "", "")
        self.bundle: Any = fake_bundle("COLIPRI demo", "0" * 64, "demo")
        self.closed = False
        self.asked: dict[int, tuple[str, dict[str, Any]]] = {}
        self.cancelled: list[int] = []

    # what the desktop calls

    def start(self, bundle: object = None, device: str = "auto", precision: str = "auto") -> int:
        self.started += 1
        for number in list(self.asked):  # as the real one does: what was asked of another model is given up
            del self.asked[number]
            self._emit(events.Failed(number, Cancelled()))
        if bundle is not None:
            self.bundle = bundle
        self.chosen = (getattr(bundle, "title", ""), device, precision)
        return self.submit("load")

    def put(self, volume: CTVolume | None) -> None:
        self.volume = volume

    def submit(self, kind: str, **values: Any) -> int:
        self._next += 1
        self.asked[self._next] = (kind, values)
        return self._next

    def cancel(self, request: int) -> None:
        self.cancelled.append(request)
        if self.asked.pop(request, None) is not None:
            self._emit(events.Failed(request, Cancelled()))

    def close(self) -> None:
        self.closed = True
        self.volume = None
        self._emit = _to_nobody

    # what tests call

    def last(self, kind: str) -> int:
        """Return the id of the latest open request of a kind."""
        return max(number for number, (name, _) in self.asked.items() if name == kind)

    def load(self, description: str = "CPU, float32") -> None:
        """Say that the model is ready."""
        number = self.last("load")
        self._emit(events.Loaded(number, "cpu", "float32", description, ("cuda", "cpu")))
        self._finish(number)

    def refuse_to_load(self, error: Any) -> None:
        """Say that the model cannot be loaded."""
        number = self.last("load")
        del self.asked[number]
        self._emit(events.Failed(number, error))

    def progress(self, fraction: float, text: str) -> None:
        """Move the analysis on."""
        self._emit(events.Progressed(self.last("analyse"), fraction, text))

    def answer_analysis(self) -> None:
        """Give every answer of an analysis."""
        assert self.volume is not None
        number = self.last("analyse")
        self._emit(events.Progressed(number, 0.4, "Encoding"))
        made = {"bundle": self.bundle.name, "bundle_hash": self.bundle.hash}
        self._emit(events.Answered(number, replace(encoding(self.volume), bundle_hash=self.bundle.hash)))
        prompts = tuple(self.asked[number][1].get("prompts", ()))
        self._emit(events.Answered(number, replace(findings(prompts), **made)))
        masks: Any = replace(segmentation(self.volume), **made) if self.decoder else _no_decoder()
        self._emit(events.Answered(number, masks))
        self._finish(number)

    def answer_places(self) -> None:
        """Answer every open question about a place."""
        for number, (kind, values) in list(self.asked.items()):
            if kind == "localise" and self.volume is not None:
                found = replace(heat_map(self.volume, values["text"]), bundle=self.bundle.name)
                self._emit(events.Answered(number, found))
                self._finish(number)

    def answer_findings(self) -> None:
        """Answer the latest question in the user's own words."""
        number = self.last("findings")
        self._emit(events.Answered(number, findings(tuple(self.asked[number][1]["prompts"]))))
        self._finish(number)

    def fail(self, error: Any) -> None:
        """Let the analysis fail."""
        number = self.last("analyse")
        del self.asked[number]
        self._emit(events.Failed(number, error))

    def die(self) -> None:
        """End the engine's process."""
        error = WorkerDied("The engine's process was ended from outside; it starts again with the next request.")
        self._emit(events.Died(error))
        for number in list(self.asked):
            del self.asked[number]
            self._emit(events.Failed(number, error))

    def _finish(self, number: int) -> None:
        del self.asked[number]
        self._emit(events.Progressed(number, 1.0, "Done"))
        self._emit(events.Done(number))


def _no_decoder() -> events.Absent:
    return events.Absent("segmentation", "This bundle has no mask decoder: masks come with one that has.", "no_decoder")


def _to_nobody(_event: events.Event) -> None:
    return None


class FakeLibrary:
    """Finds the same three phantoms for everything."""

    def search(self, _encoding: Encoding, _k: int = 5, *, patient_key: str | None = None) -> SimilarCases:
        return similar_cases()


class Engine:
    """Services whose engine is a :class:`FakeClient`; ``client`` is the latest one made."""

    def __init__(self, *, decoder: bool = True, bundle_error: Exception | None = None) -> None:
        self.decoder, self.bundle_error = decoder, bundle_error
        self.client: FakeClient = FakeClient(_to_nobody)

        #: Added models by name.
        self.models: dict[str, Any] = {"other": fake_bundle("Another model", "1" * 64, "other")}
        self.add_error: Exception | None = None
        self.slow_adding = False
        self.waiting = threading.Event()

    def services(self) -> Services:
        return Services(self._make, self._bundle, self._bundles, self._add, FakeLibrary)

    def _make(self, on_event: Callable[[events.Event], None]) -> FakeClient:
        self.client = FakeClient(on_event, decoder=self.decoder)
        return self.client

    def _bundle(self, name: str | None) -> Any:
        if self.bundle_error is not None:
            raise self.bundle_error
        if name is None:
            return fake_bundle("COLIPRI demo", "0" * 64, "demo", DEMONSTRATION)
        if name not in self.models:
            raise BundleError(f"There is no bundle {name!r}.", code="not_found")
        return self.models[name]

    def _bundles(self) -> tuple[BundleInfo, ...]:
        demo = BundleInfo("demo", "COLIPRI demo", Path("demo"), True, True, 20_000_000, "MIT", {})
        broken = BundleInfo("old", "old", Path("old"), False, False, 1, "", {}, "config.json is missing.")
        added = [
            BundleInfo(name, bundle.title, Path(name), False, False, 900_000_000, "MIT", {"axis_order": "assumed"})
            for name, bundle in self.models.items()
        ]
        return (demo, *added, broken)

    def _add(self, folder: str, progress: Progress, cancel: CancelToken) -> Any:
        progress(0.25, "Copying the model")
        if self.add_error is not None:
            raise self.add_error
        while self.slow_adding and not cancel.cancelled:
            self.waiting.wait(0.01)
        cancel.check()
        self.models["new"] = fake_bundle("New model", "2" * 64, "new")
        return self.models["new"]


DEMONSTRATION = ("demonstration model trained on phantoms: not for patients",)


def fake_bundle(title: str, bundle_hash: str, name: str, notes: tuple[str, ...] = ()) -> Any:
    """Return as much of a bundle as the dock looks at."""
    config = SimpleNamespace(input=SimpleNamespace(trained_on=TrainedOn(extent_mm=(50.0, 500.0))))
    return SimpleNamespace(title=title, notes=notes, config=config, hash=bundle_hash, name=name, path=Path(name))

"""A session without networks for tests of the two processes; its behaviour is chosen by its bundle."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.volume import CTVolume, fingerprint_of
from napari_colipri.engine import protocol, wire
from napari_colipri.engine.shared import Parcel
from napari_colipri.engine.types import (
    Encoding,
    Finding,
    Findings,
    GeneratedReport,
    HeatMap,
    Segmentation,
    SegmentationClass,
)
from napari_colipri.errors import BundleError, OutOfResources
from napari_colipri.progress import CancelToken, Progress, report_nothing

SECRET = "/home/someone/DOE^JANE/scan.nii.gz"


def fake_bundle(mode: str = "well", *, decoder: bool = True) -> str:
    """Name of a bundle that says what the session shall do when it encodes."""
    return json.dumps({"mode": mode, "decoder": decoder})


class FakeSession:
    """Answers made of simple facts about the volume, so that a test can compare them."""

    device = "cpu"
    precision = "float32"
    description = "CPU, float32"
    devices = ("cpu",)

    def __init__(self, bundle: str, *, device: str = "auto", precision: str = "auto") -> None:
        told = json.loads(bundle)
        self.mode, self.decoder = told["mode"], told["decoder"]
        self.device = "cpu" if device == "auto" else device
        self.encoded = 0
        self.cached: dict[str, Encoding] = {}

    def load(self, progress: Progress = report_nothing) -> None:
        if self.mode == "unloadable":
            raise BundleError("The file model.safetensors was changed.", code="changed")
        progress(0.5, "Reading weights")

    def encode(self, volume: CTVolume, progress: Progress, cancel: CancelToken) -> Encoding:
        if volume.fingerprint in self.cached:
            return self.cached[volume.fingerprint]
        self.encoded += 1
        _misbehave(self.mode, progress, cancel)
        for block in range(6):
            cancel.check()
            progress((block + 1) / 6, "Encoding")
        facts = {
            "same": fingerprint_of(volume.hu, volume.affine) == volume.fingerprint,
            "writeable": volume.hu.flags.writeable,
            "path": volume.source.path,
            "encoded": self.encoded,
            "pid": os.getpid(),
            "nice": os.nice(0) if hasattr(os, "nice") else None,
            "napari": "napari" in sys.modules,
        }
        encoding = Encoding(
            tokens=np.full((4, 4, 4, 8), 0.5, dtype=np.float16),
            pooled=np.ones(8, dtype=np.float32),
            affine=volume.affine,
            inside=np.ones((4, 4, 4), dtype=bool),
            preset=json.dumps(facts),
            precision=self.precision,
            bundle_hash="0" * 32,
            volume_fingerprint=volume.fingerprint,
        )
        self.cached[volume.fingerprint] = encoding
        return encoding

    def findings(self, encoding: Encoding, prompts: Sequence[str] = ()) -> Findings:
        items = [Finding(name, 0.5, (name,), (f"no {name}",)) for name in ("Pleural effusion", *prompts)]
        return Findings("fake", encoding.bundle_hash, tuple(items))

    def localise(self, encoding: Encoding, text: str) -> HeatMap:
        return HeatMap(np.zeros((4, 4, 4), np.float32), encoding.affine, (1.0, 2.0, 3.0), 0.5, text, "fake")

    def segment(self, volume: CTVolume, encoding: Encoding, progress: Progress, cancel: CancelToken) -> Segmentation:
        if not self.decoder:
            raise BundleError("This bundle has no segmentation decoder.", code="no_decoder")
        cancel.check()
        progress(0.5, "Masks")
        labels = np.asfortranarray((volume.hu > 0).astype(np.uint8))
        body = SegmentationClass(1, "body", "Body", 1.0, 40.0, False)
        return Segmentation(labels, (body,), "fake", encoding.bundle_hash)

    def generate_report(self, encoding: Encoding, progress: Progress, cancel: CancelToken) -> GeneratedReport:
        if self.mode != "writes":
            raise BundleError("This model has no report decoder: it writes no text.", code="no_report_decoder")
        cancel.check()
        progress(0.5, "Writing")
        return GeneratedReport(("The heart is enlarged.",), True, "fake", encoding.bundle_hash)

    def embed_text(self, texts: list[str]) -> npt.NDArray[np.float32]:
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    def unload(self) -> None:
        self.cached.clear()


HALF = "half a message"

#: What a broken process may write into its pipe.
GARBAGE = (
    "noise",
    "a pickle",
    "an unknown type",
    "a wrong field",
    "a block that was not lent",
    "a length beyond measure",
)


def _to_the_client(mode: str) -> None:
    (pipe,) = (item for item in gc.get_objects() if isinstance(item, Connection) and item.writable)
    parcel = protocol.Delivered(1, Parcel(b"{}", (), block="nobody-lent-this"))
    if mode == "noise":
        pipe.send_bytes(bytes(range(200)))
    elif mode == "a pickle":
        pipe.send(protocol.Started(1))
    elif mode == "an unknown type":
        wire.send(pipe, protocol.Cancel(1))
    elif mode == "a wrong field":
        wire.send(pipe, protocol.Started("one"))  # type: ignore[arg-type]
    elif mode == "a block that was not lent":
        wire.send(pipe, parcel)
    elif mode == HALF:
        os.write(pipe.fileno(), (1000).to_bytes(4, "big") + bytes(10))
    else:
        os.write(pipe.fileno(), (1 << 30).to_bytes(4, "big"))


def _misbehave(mode: str, progress: Progress, cancel: CancelToken) -> None:
    if mode == "endless":
        step = threading.Event()
        progress(0.01, "Endless")
        while not step.wait(0.002):
            cancel.check()
    if mode == "deaf":
        progress(0.01, "Deaf")
        threading.Event().wait()
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "defect":
        raise RuntimeError(f"cannot read {SECRET}")
    if mode == "memory":
        raise MemoryError
    if mode == "device memory":
        raise OutOfResources("The GPU is full.", code="out_of_memory")
    if mode == HALF:
        progress(0.01, HALF)
    if mode in (*GARBAGE, HALF):
        _to_the_client(mode)
        threading.Event().wait()
    if mode == "uneven progress":
        for fraction in (0.5, 0.2, 0.9, 0.1):
            progress(fraction, "Uneven")

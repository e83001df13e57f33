"""One bundle on one device: everything that is asked of a volume, in the process that imports this module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.engine.calibration import Calibration, calibrated, read_calibration
from napari_colipri.engine.domain import domain_of
from napari_colipri.engine.findings import answer, ensemble, questions, with_probe
from napari_colipri.engine.localise import heat_values, layers, peak
from napari_colipri.engine.memory_cache import EncodingCache
from napari_colipri.engine.preprocess import PREPROCESS_VERSION, to_model_grid
from napari_colipri.engine.stages import Stages
from napari_colipri.engine.text import UNKNOWN_WORDS, question_for
from napari_colipri.engine.types import Encoding, Findings, GeneratedReport, HeatMap, ModelGrid, Segmentation
from napari_colipri.engine.windows import Piece, pieces, scaled, slices
from napari_colipri.engine.writing import no_report_decoder, sentences_of
from napari_colipri.errors import BundleError, OutOfResources, StudyRefused
from napari_colipri.progress import CancelToken, Progress, report_nothing

if TYPE_CHECKING:
    from napari_colipri.ct.volume import CTVolume
    from napari_colipri.engine.device import Choice
    from napari_colipri.engine.networks import Networks

__all__ = ["Session", "open_session"]

_T = TypeVar("_T")


class Session:
    """A bundle, loaded on a device.

    Parameters
    ----------
    bundle
        Opened and verified.
    device
        ``"auto"`` (CUDA before MPS before CPU), ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision
        ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    cache_bytes
        Ceiling of the encodings kept in memory, bytes.
    """

    def __init__(
        self, bundle: Bundle, *, device: str = "auto", precision: str = "auto", cache_bytes: int = 256 << 20
    ) -> None:
        self.bundle = bundle
        self._wanted = (device, precision)
        self._choice: Choice | None = None
        self._networks: Networks | None = None
        self._cache = EncodingCache(cache_bytes)
        self._notes: tuple[str, ...] = ()

    # -- life ------------------------------------------------------------

    def load(self, progress: Progress = report_nothing) -> None:
        """Import the networks' code and read their weights; nothing happens if that was done already.

        Raises
        ------
        BundleError
            If device, precision or weights do not fit.
        """
        if self._networks is None:
            progress(0.0, "Loading the model")
            from napari_colipri.engine.device import choose
            from napari_colipri.engine.networks import Networks

            self._choice = choose(*self._wanted)
            progress(0.5, "Loading the model")
            self._networks = self._retried(lambda: Networks(self.bundle, self._chosen))
            progress(1.0, "Model ready")

    def unload(self) -> None:
        """Free the device and the encodings kept in memory; the next call loads again."""
        networks, self._networks = self._networks, None
        self._cache.clear()
        if networks is not None:
            networks.free()

    @property
    def _chosen(self) -> Choice:
        if self._choice is None:
            from napari_colipri.engine.device import choose

            self._choice = choose(*self._wanted)
        return self._choice

    @property
    def _loaded(self) -> Networks:
        self.load()
        if self._networks is None:
            raise OutOfResources("The model could not be loaded.", code="out_of_memory")
        return self._networks

    @property
    def device(self) -> str:
        """``"cpu"``, ``"cuda"`` or ``"mps"``."""
        return self._chosen.device

    @property
    def precision(self) -> str:
        """Precision of the vision tower, such as ``"float32"``."""
        return self._chosen.precision

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that could be chosen on this machine, such as ``("cuda", "cpu")``."""
        from napari_colipri.engine.device import available_devices

        return available_devices()

    @property
    def description(self) -> str:
        """Words for a label, such as ``"CPU, float32"``."""
        return self._chosen.description

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that must stand beside every result of this session."""
        return (*self.bundle.notes, *self._notes)

    def _retried(self, work: Callable[[], _T]) -> _T:
        """Do ``work``; when memory runs out, once more at lower precision or on the CPU, and say so in a note."""
        from napari_colipri.engine.device import is_out_of_memory, lower

        try:
            return work()
        except (RuntimeError, MemoryError, OutOfResources) as error:
            if not is_out_of_memory(error):
                raise
            before, after = self._chosen, lower(self._chosen)
            cause = error
        if after is None:
            raise OutOfResources(f"Memory ran out on {before.description}.", code="out_of_memory") from cause
        self._choice = after
        if self._networks is not None:
            self._networks.move(after)
        self._notes = (*self._notes, f"memory ran out on {before.description}: computed on {after.description}")
        try:
            return work()
        except (RuntimeError, MemoryError, OutOfResources) as error:
            if not is_out_of_memory(error):
                raise
            message = f"Memory ran out on {before.description} and again on {after.description}."
            raise OutOfResources(message, code="out_of_memory") from error

    # -- one encoding per volume ------------------------------------------------------------

    def encode(
        self, volume: CTVolume, progress: Progress = report_nothing, cancel: CancelToken | None = None
    ) -> Encoding:
        """Encode a volume, or return the encoding kept from before.

        Parameters
        ----------
        volume
            Any geometry.
        progress, cancel
            Called and checked before every transformer block.

        Raises
        ------
        StudyRefused
            If the volume's passport forbids analysis.
        Cancelled, OutOfResources, BundleError
            As they say.
        """
        refusal = volume.passport.blocking("analyse")
        if refusal is not None:
            raise StudyRefused(refusal.message, code=refusal.code, passport=volume.passport)
        self.load(progress)
        found = self._cache.get(self._key(volume))
        if found is None:
            progress(0.0, "Sampling the volume")
            grid = to_model_grid(volume, self.bundle.input_spec)
            token = cancel or CancelToken()
            token.check()
            tokens, pooled = self._retried(lambda: self._loaded.encode(grid.values, progress, token))
            found = self._encoding(volume, grid, tokens, pooled)
            self._cache.put(self._key(volume), found)
        progress(1.0, "Encoded")
        return found

    def _key(self, volume: CTVolume) -> tuple[str, str, str, str, int]:
        preset = self.bundle.config.input.preset
        return (volume.fingerprint, self.bundle.hash, preset, self.precision, PREPROCESS_VERSION)

    def _encoding(
        self, volume: CTVolume, grid: ModelGrid, tokens: npt.NDArray[np.float16], pooled: npt.NDArray[np.float32]
    ) -> Encoding:
        patch = np.array(self.bundle.config.vision.patch)
        to_grid = np.diag([*patch.astype(np.float64), 1.0])
        to_grid[:3, 3] = (patch - 1) / 2
        inside = np.zeros(tokens.shape[:3], dtype=np.bool_)
        box = [slice(low // p, -(-high // p)) for (low, high), p in zip(grid.inside, patch.tolist(), strict=True)]
        inside[tuple(box)] = True
        return Encoding(
            tokens=tokens,
            pooled=pooled,
            affine=grid.affine @ to_grid,
            inside=inside,
            preset=self.bundle.config.input.preset,
            precision=self.precision,
            bundle_hash=self.bundle.hash,
            volume_fingerprint=volume.fingerprint,
        )

    def _check_mine(self, encoding: Encoding) -> None:
        if encoding.bundle_hash != self.bundle.hash:
            raise BundleError("This encoding was made by another model: encode the volume again.", code="other_bundle")

    # -- what is read from it ------------------------------------------------------------

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return L2-normalised text embeddings [n, D]; each text is embedded once per session."""
        return self._retried(lambda: self._loaded.embed(list(texts)))

    def findings(self, encoding: Encoding, prompts: Sequence[str] = ()) -> Findings:
        """Answer the bundle's findings, then ``prompts``.

        Parameters
        ----------
        encoding
            Of this bundle.
        prompts
            Any texts; one that the model cannot read gets a note instead of a number.
        """
        self._check_mine(encoding)
        networks = self._loaded
        asked = [*questions(self.bundle.config)]
        asked += [question_for(prompt, self.bundle.config, networks.tokenizer) for prompt in prompts]
        items = answer(encoding.pooled, asked, self.embed_text, networks.temperature)
        second = self._retried(lambda: self._loaded.probe(encoding.tokens, encoding.inside))
        items = with_probe(items, self.bundle.config.adapters.probes, second)
        items = calibrated(items, self._calibration, domain_of(encoding.volume_fingerprint))
        return Findings(self.bundle.name, self.bundle.hash, items, self.notes)

    @cached_property
    def _calibration(self) -> Calibration | None:
        adapter = self.bundle.config.adapters.calibration
        return None if adapter is None else read_calibration(self.bundle.file(adapter.file))

    def generate_report(
        self, encoding: Encoding, progress: Progress = report_nothing, cancel: CancelToken | None = None
    ) -> GeneratedReport:
        """Let the report decoder write.

        Parameters
        ----------
        encoding
            Of this bundle.
        progress, cancel
            Called and checked before every word.

        Raises
        ------
        BundleError
            Code ``no_report_decoder`` if the bundle has none.
        Cancelled
            When ``cancel`` was set.
        """
        self._check_mine(encoding)
        if not self.bundle.has_report_decoder:
            raise no_report_decoder()
        token = cancel or CancelToken()
        text, finished = self._retried(lambda: self._loaded.write(encoding.tokens, progress, token))
        progress(1.0, "Written")
        return GeneratedReport(sentences_of(text), finished, self.bundle.name, self.bundle.hash, self.notes)

    def localise(self, encoding: Encoding, text: str) -> HeatMap:
        """Return where the model responds to a finding's name or any prompt.

        Raises
        ------
        BundleError
            Code ``unknown_words`` for words that the model does not know, ``untrained`` for a finding that it was not
            trained to see.
        """
        self._check_mine(encoding)
        question = question_for(text, self.bundle.config, self._loaded.tokenizer)
        if question.note is not None:
            code = "unknown_words" if question.note.startswith(UNKNOWN_WORDS) else "untrained"
            raise BundleError(f"No heat map for {question.name!r}: {question.note}.", code=code)
        present = ensemble(self.embed_text(question.present))
        absent = ensemble(self.embed_text(question.absent))
        parts = [
            heat_values(self._dense(encoding.tokens[part]), present, absent, encoding.inside[part])
            for part in layers(encoding.inside.shape)
        ]
        values = np.concatenate(parts)
        point, highest = peak(values, encoding.affine)
        return HeatMap(values, encoding.affine, point, highest, question.name, self.bundle.name)

    def _dense(self, tokens: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        return self._retried(lambda: self._loaded.dense(tokens))

    def segment(
        self,
        volume: CTVolume,
        encoding: Encoding,
        progress: Progress = report_nothing,
        cancel: CancelToken | None = None,
    ) -> Segmentation:
        """Draw masks on the source grid.

        Raises
        ------
        BundleError
            Code ``no_decoder`` if the bundle has none, ``other_volume`` if the encoding is not this volume's.
        Cancelled
            When ``cancel`` was set.
        """
        from napari_colipri.engine.segment import class_statistics, covered_box, labels_of_pieces

        self._check_mine(encoding)
        adapter = self.bundle.config.adapters.segmentation
        if adapter is None:
            raise BundleError("This model has no segmentation decoder: it draws no masks.", code="no_decoder")
        if encoding.volume_fingerprint != volume.fingerprint:
            raise BundleError("This encoding belongs to another volume: encode this one first.", code="other_volume")
        token = cancel or CancelToken()
        progress(0.0, "Segmenting")
        grid = to_model_grid(volume, self.bundle.input_spec)
        token.check()
        spec, patch = self.bundle.input_spec, self.bundle.config.vision.patch
        todo = list(pieces(spec.size, spec.tower_size, grid.inside))

        def decode(piece: Piece) -> npt.NDArray[np.float32]:
            tokens = encoding.tokens[slices(scaled(piece.shown, patch))]
            return self._retried(lambda: self._loaded.decode(tokens, grid.values[slices(piece.shown)]))

        later = Stages(progress).part(0.0, 0.9)
        labels = labels_of_pieces(todo, decode, grid.affine, volume, progress=later, cancel=token)
        classes = class_statistics(labels, volume, adapter.classes, box=covered_box(grid.affine, spec.size, volume))
        progress(1.0, "Segmented")
        return Segmentation(labels, classes, self.bundle.name, self.bundle.hash, self.notes)


def open_session(bundle: Bundle | str | None, *, device: str = "auto", precision: str = "auto") -> Session:
    """Return the session of an opened bundle, or of one by name or folder: what the engine's process runs.

    Raises
    ------
    BundleError
        As :func:`~napari_colipri.engine.bundle.open_bundle` and :class:`Session`.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    return Session(opened, device=device, precision=precision)

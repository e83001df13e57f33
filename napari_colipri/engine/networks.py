"""The networks of one bundle on one device: arrays in, arrays out. Every torch call of inference is here."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.device import Choice, pinned_attention
from napari_colipri.engine.tokenizer import TextTokenizer, load_tokenizer
from napari_colipri.engine.windows import Box, Triple, scaled, slices, windows
from napari_colipri.engine.writing import no_report_decoder
from napari_colipri.errors import BundleError
from napari_colipri.progress import CancelToken, Progress

with warnings.catch_warnings():
    # timm scripts a class that torch is about to retire; nothing that a user can do about it
    warnings.filterwarnings("ignore", message=r".*torch\.jit.*")
    from napari_colipri.engine.pooling import pool_in_parts
    from napari_colipri.engine.report_decoder import ReportDecoder
    from napari_colipri.engine.weights import load_decoder, load_probe, load_report_decoder, load_towers

__all__ = ["Networks"]

_BATCH = 16
_TEXTS_KEPT = 4096


def _whole(size: Triple) -> Box:
    return (0, size[0]), (0, size[1]), (0, size[2])


class Networks:
    """Towers and adapters of a bundle; adapters are read when they are first asked.

    The transformer of the vision tower computes in the chosen precision; projection, pooling, text and whatever is
    compared are float32.

    Parameters
    ----------
    bundle
        Opened and verified.
    choice
        Device and precision.
    """

    def __init__(self, bundle: Bundle, choice: Choice) -> None:
        text = bundle.config.text
        self._bundle = bundle
        self._pool_padding = text.pooling == "unmasked"
        self.tokenizer: TextTokenizer = load_tokenizer(
            bundle.path, max_length=text.max_length, lower_case=text.lower_case
        )
        if self.tokenizer.vocab_size > text.vocab_size:
            raise BundleError(
                f"The vocabulary has {self.tokenizer.vocab_size} words, the text tower {text.vocab_size}: they do not "
                "belong together.",
                code="bad_vocab",
            )
        self._texts: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()
        self._model = load_towers(bundle)
        self._adapters: dict[str, torch.nn.Module] = {}
        self.temperature = float(self._model.softmax_temperature)
        self.move(choice)

    def move(self, choice: Choice) -> None:
        """Bring the networks to another device or precision."""
        self._choice = choice
        image = self._model.image_encoder
        if choice.precision == "float32" and next(image.backbone.parameters()).dtype != torch.float32:
            self._model = load_towers(self._bundle)  # rounded weights do not come back by casting
            image = self._model.image_encoder
        self._model.to(choice.device)
        image.backbone.to(choice.dtype)
        for adapter in self._adapters.values():
            adapter.to(choice.device)
        if choice.device != "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def free(self) -> None:
        """Drop everything and give the device's memory back."""
        del self._model
        self._adapters.clear()
        self._texts.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def encode(
        self, values: npt.NDArray[np.float32], progress: Progress, cancel: CancelToken
    ) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """Return tokens float16 [x, y, z, C] and the pooled embedding float32 [D].

        Parameters
        ----------
        values
            Model grid [X, Y, Z] in [-1, 1]. Where it is larger than the tower's window, the windows are encoded one by
            one, and what is kept of each are its tokens in float16, in main memory.
        progress, cancel
            Called and checked before every block.

        Raises
        ------
        Cancelled
            Before the next block once ``cancel`` was set.
        BundleError
            Code ``not_finite`` if the answer is not made of numbers.
        """
        spec, vision = self._bundle.input_spec, self._bundle.config.vision
        boxes = windows(spec.size, spec.tower_size)
        done = 0

        def check() -> None:
            nonlocal done
            cancel.check()
            progress(0.05 + 0.9 * done / (vision.depth * len(boxes)), "Encoding")
            done += 1

        if len(boxes) == 1:
            tokens_1xyzc = self._window(values, check)
            pooled = self._model.image_encoder.pool(tokens_1xyzc)[0]
            tokens = tokens_1xyzc[0].to(torch.float16).cpu().numpy()
        else:
            grid = scaled(_whole(spec.size), vision.patch)
            tokens = np.empty((*(stop for _, stop in grid), vision.embed_dim), np.float16)
            for box in boxes:
                window = self._window(values[slices(box)], check)[0].to(torch.float16)
                tokens[slices(scaled(box, vision.patch))] = window.cpu().numpy()
            pooled = pool_in_parts(self._model.image_encoder, lambda: self._parts(tokens))
        cancel.check()
        if not bool(torch.isfinite(pooled).all()):
            raise self._not_finite()
        return tokens, pooled.cpu().numpy()

    def _window(self, values: npt.NDArray[np.float32], check: Callable[[], None]) -> Tensor:
        """Return the tokens [1, x, y, z, C] of what the tower takes at once, float32 on the device."""
        vision = self._bundle.config.vision
        count = int(np.prod([size // patch for size, patch in zip(values.shape, vision.patch, strict=True)]))
        grid_11xyz = torch.from_numpy(np.ascontiguousarray(values))[None, None].to(
            self._choice.device, self._choice.dtype
        )
        with pinned_attention(self._choice, tokens=count, heads=vision.heads):
            tokens = self._model.image_encoder.tokens(grid_11xyz, check).float()
        if not bool(torch.isfinite(tokens).all()):
            raise self._not_finite()
        return tokens

    def _not_finite(self) -> BundleError:
        return BundleError(
            f"The model answered with values that are not numbers in {self._choice.precision}; try float32.",
            code="not_finite",
        )

    def _parts(self, tokens: npt.NDArray[np.float16]) -> Iterator[Tensor]:
        """Yield tokens float32 [n, C] on the device, a layer of the grid at a time."""
        for layer in tokens:
            yield torch.from_numpy(layer).to(self._choice.device).float().flatten(0, 1)

    @torch.inference_mode()
    def dense(self, tokens: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
        """Return L2-normalised embeddings per token [x, y, z, D], comparable with text."""
        out: Tensor = self._model.image_encoder.dense(self._tokens(tokens))
        return np.asarray(out[0].cpu().numpy(), dtype=np.float32)

    def _tokens(self, tokens: npt.NDArray[np.float16]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens))[None].to(self._choice.device).float()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return L2-normalised text embeddings [n, D]; texts seen before are not computed again."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._texts]
        rows = {text: self._texts[text] for text in texts if text in self._texts}
        for start in range(0, len(fresh), _BATCH):
            batch = fresh[start : start + _BATCH]
            rows.update(zip(batch, self._embed(batch), strict=True))
        for text, vector in rows.items():
            self._texts[text] = vector
            self._texts.move_to_end(text)
        while len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)
        width = self._bundle.config.text.hidden_size
        return np.stack([rows[text] for text in texts]) if texts else np.empty((0, width), np.float32)

    @torch.inference_mode()
    def _embed(self, batch: list[str]) -> npt.NDArray[np.float32]:
        encoder = self._model.text_encoder
        if encoder is None:
            raise BundleError("This model has no text tower.", code="no_text")
        ids, mask = (torch.from_numpy(each).to(self._choice.device) for each in self._padded(batch))
        out: Tensor = encoder(ids, mask, pool_padding=self._pool_padding)
        return np.asarray(out.float().cpu().numpy(), dtype=np.float32)

    def _padded(self, batch: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return self.tokenizer.encode(batch, pad_to_max=self._pool_padding)

    @torch.inference_mode()
    def decode(self, tokens: npt.NDArray[np.float16], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return class scores float32 [K, X, Y, Z] on the model grid.

        Channels last and bfloat16 take a third to a half of the time of plain float32 where the processor has it, and
        move the best class of 0.03 % of the voxels.
        """
        device = self._choice.device
        if "segmentation" not in self._adapters:
            decoder = load_decoder(self._bundle).to(device)
            self._adapters["segmentation"] = decoder.to(memory_format=torch.channels_last_3d)
        image = torch.from_numpy(np.ascontiguousarray(values))[None, None].to(device)
        quick = device == "cuda" or (device == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability())
        with torch.autocast(device, dtype=torch.bfloat16, enabled=quick):
            scores = self._adapters["segmentation"](
                self._tokens(tokens), image.to(memory_format=torch.channels_last_3d)
            )
        return np.ascontiguousarray(scores[0].float().cpu().numpy())

    @torch.inference_mode()
    def probe(self, tokens: npt.NDArray[np.float16], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32] | None:
        """Return the probe's probabilities [F], or None if the bundle has no probe."""
        if "probes" not in self._adapters:
            probe = load_probe(self._bundle)
            if probe is None:
                return None
            self._adapters["probes"] = probe.to(self._choice.device)
        held = torch.from_numpy(np.ascontiguousarray(inside)).to(self._choice.device).flatten()[None]
        logits: Tensor = self._adapters["probes"](self._tokens(tokens).flatten(1, 3), held)
        return np.asarray(logits.sigmoid()[0].cpu().numpy(), dtype=np.float32)

    @torch.inference_mode()
    def write(self, tokens: npt.NDArray[np.float16], progress: Progress, cancel: CancelToken) -> tuple[str, bool]:
        """Return the text that the report decoder writes, and whether it came to its own end.

        Parameters
        ----------
        tokens
            Of one encoding.
        progress, cancel
            Called and checked before every word.
        """
        if "report" not in self._adapters:
            self._adapters["report"] = load_report_decoder(self._bundle).to(self._choice.device)
        decoder, adapter = self._adapters["report"], self._bundle.config.adapters.report
        if not isinstance(decoder, ReportDecoder) or adapter is None:
            raise no_report_decoder()
        said = 0

        def check() -> None:
            nonlocal said
            cancel.check()
            progress(min(said / adapter.length, 0.99), "Writing")
            said += 1

        start, stop, never = self.tokenizer.markers
        never = (*never, *range(self.tokenizer.vocab_size, self._bundle.config.text.vocab_size))
        memory = self._model.image_encoder.project(self._tokens(tokens))
        (out,) = decoder.generate(memory, start=start, stop=stop, beams=adapter.beams, forbidden=never, check=check)
        return self.tokenizer.decode(out.ids), out.finished

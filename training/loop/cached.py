"""Tokens of a frozen vision tower, encoded once and kept in memory: batches as large as alignment wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from training.loop.config import TrainingConfig
from training.loop.errors import ConfigError
from training.loop.phantoms import PhantomSource
from training.objectives.base import Batch
from training.objectives.model import fused_attention

__all__ = ["CachedSource", "frozen_tower"]

Encode = Callable[[Tensor], Tensor]


def frozen_tower(config: TrainingConfig, device: torch.device) -> Encode:
    """Return what turns images [B, 1, X, Y, Z] into tokens [B, x, y, z, C] of the bundle that the run begins with.

    Raises
    ------
    ConfigError
        If the run has no frozen tower to begin with.
    BundleError
        If there is no such bundle.
    """
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.weights import load_towers

    if config.start is None or not {"vision", "towers"} & set(config.freeze) or "vision" not in config.start_with:
        raise ConfigError("data.cached needs a vision tower that stays as it is: start, and freeze: [vision].")
    tower = load_towers(open_bundle(config.start)).image_encoder.to(device)
    kind = torch.bfloat16 if config.run.precision == "bfloat16" else torch.float32

    def encode(images: Tensor) -> Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32),
            fused_attention(device),
        ):
            return tower.tokens(images.to(device)).to(torch.float16).cpu()

    return encode


class CachedSource:
    """Batches of cached phantoms: their tokens instead of image and masks.

    Parameters
    ----------
    source
        Of phantoms; each is encoded once, varied as the source varies them.
    config
        ``data.cached`` says how many to keep at most; a volume of 9 x 9 x 9 tokens 216 wide takes 0.3 MB.
    encode
        See :func:`frozen_tower`.
    rank
        Of this process.
    """

    def __init__(self, source: PhantomSource, config: TrainingConfig, encode: Encode, *, rank: int = 0) -> None:
        count = min(config.data.cached, len(source))
        x, y, z = config.model.grid
        self._tokens = torch.empty((count, x, y, z, config.model.embed_dim), dtype=torch.float16)
        self._rows: list[Batch] = []
        for number in range(count):
            row = source.volume(number)
            self._tokens[number] = encode(row["image"])[0]
            self._rows.append({key: row[key] for key in ("report", "labels", "patient", "study")})
        self._config, self._rank, self._words = config, rank, source.words

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Batch:
        run = self._config.run
        rng = np.random.default_rng((run.seed, 31, number, self._rank))
        chosen = rng.choice(len(self), run.batch, replace=len(self) < run.batch).tolist()
        rows = [self._rows[index] for index in chosen]
        out: Batch = {
            "tokens": self._tokens[chosen].float(),
            "labels": torch.cat([row["labels"] for row in rows]),
            "report": _joined(rows, "report"),
            "patient": _joined(rows, "patient"),
            "study": _joined(rows, "study"),
        }
        self._words.finish(out, number, self._rank, rng)
        return out


def _joined(rows: Sequence[Batch], key: str) -> list[str]:
    return [text for row in rows for text in row[key]]

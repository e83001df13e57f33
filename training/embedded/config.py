"""Settings of a training run: frozen, written into the run's log and the model card."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Recipe", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the embedded bundle's towers and decoder."""

    grid: int = 72
    spacing_mm: float = 5.0
    patch: int = 8
    embed_dim: int = 216
    depth: int = 6
    heads: int = 3
    projection_dim: int = 192
    pool_heads: int = 4
    text_layers: int = 3
    text_heads: int = 4
    text_intermediate: int = 512
    text_length: int = 256
    decoder_width: int = 32


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    batch
        Phantoms per step.
    learning_rate, warm_up, weight_decay, clip
        Of AdamW; the rate falls along a cosine to a twentieth.
    minutes
        Length of the run; the schedule follows the clock, so that a slower machine trains less, not longer.
    dense, label, sentence, contrast, segment
        Weights of the losses.
    decoder_samples
        Phantoms per decoding step whose masks are decoded.
    decoder_every
        Masks are decoded every so many steps: the decoder costs as much as the tower.
    contrast_every
        Whole reports are embedded and contrasted every so many steps; single sentences at every step.
    real_every
        One real volume (lung pseudo-labels only) joins the decoder's batch every so many steps.
    ema
        Decay of the averaged weights that are shipped.
    """

    batch: int = 8
    learning_rate: float = 1.2e-3
    warm_up: int = 300
    weight_decay: float = 0.05
    clip: float = 1.0
    minutes: float = 90.0
    dense: float = 1.5
    label: float = 0.5
    sentence: float = 1.0
    contrast: float = 0.1
    segment: float = 1.0
    decoder_samples: int = 2
    decoder_every: int = 4
    real_every: int = 8
    contrast_every: int = 3
    ema: float = 0.998
    seed: int = 1

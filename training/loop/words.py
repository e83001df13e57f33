"""What the reports of a source become: varied texts and opposite sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.loop.config import TrainingConfig
from training.text.opposites import Pool, Statements
from training.text.vary import TextVariation

__all__ = ["OppositePairs", "text_variation"]


class OppositePairs:
    """Opposite sentences for the studies of a batch.

    Parameters
    ----------
    studies
        What every study of the source states; other patients' sentences come from here.
    count
        Pairs per study, at most.
    seed
        With the number of a batch and the process, it decides which.
    """

    def __init__(self, studies: Sequence[Statements], count: int, seed: int) -> None:
        self._pool, self._count, self._seed = Pool(studies), count, seed

    def __call__(self, said: Sequence[Statements | None], number: int, rank: int) -> list[list[tuple[str, str, int]]]:
        """Return a list of (sentence, opposite, label) for each study; [] for None."""
        rng = np.random.default_rng((self._seed, 17, number, rank))
        return [[] if each is None else list(self._pool.pairs(each, self._count, rng)) for each in said]


def text_variation(config: TrainingConfig) -> TextVariation | None:
    """Return how reports are varied, or None for as they are."""
    return TextVariation(caption=config.data.captions) if config.data.vary_text else None

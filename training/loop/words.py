"""What the reports of a source become: varied texts and opposite sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from napari_colipri.text.findings import FINDING_NAMES
from training.loop.config import TrainingConfig
from training.objectives.base import Batch
from training.text.by_finding import sentences_of
from training.text.opposites import Pool, Statements, statements
from training.text.vary import TextVariation

__all__ = ["OppositePairs", "Wording", "text_variation"]


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


class Wording:
    """Varied reports and opposite sentences for batches whose labels are known.

    Parameters
    ----------
    config
        Of the run; without the opposite objective no sentence is sought.
    reports
        One of each study of the source, by key; sentences of others come from here.
    """

    def __init__(self, config: TrainingConfig, reports: Mapping[str, str]) -> None:
        self._config, self._vary = config, text_variation(config)
        wanted = config.data
        opposite = config.objectives.opposite is not None
        by_finding = wanted.pairs_by == "finding"
        self._sentences = sentences_of(reports.values()) if opposite and by_finding else None
        self._pairs: OppositePairs | None = None
        if opposite and not by_finding:
            said = [statements(key, key, text) for key, text in reports.items()]
            self._pairs = OppositePairs(said, wanted.pairs, config.run.seed)

    def finish(self, batch: Batch, number: int, rank: int, rng: np.random.Generator) -> None:
        """Vary the reports of a batch with its ``labels`` and add ``pairs``."""
        texts: list[str] = batch["report"]
        labels: npt.NDArray[np.float32] = batch["labels"].numpy()
        batch["report"] = [self._vary(text, rng) if self._vary and text else text for text in texts]
        if self._sentences is not None:
            own = np.random.default_rng((self._config.run.seed, 17, number, rank))
            batch["pairs"] = self._sentences.pairs(labels, self._config.data.pairs, own)
        elif self._pairs is not None:
            said = [
                statements(key, key, text, _known(row)) if text else None
                for key, text, row in zip(batch["study"], texts, labels, strict=True)
            ]
            batch["pairs"] = self._pairs(said, number, rank)


def _known(row: npt.NDArray[np.float32]) -> Mapping[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(FINDING_NAMES, row, strict=True)}


def text_variation(config: TrainingConfig) -> TextVariation | None:
    """Return how reports are varied, or None for as they are."""
    return TextVariation(caption=config.data.captions) if config.data.vary_text else None

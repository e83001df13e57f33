"""Score, compare, write: a bundle takes the place of another only if it is not worse on the same held-out studies."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.bundle_files import parse_config
from napari_colipri.engine.session import Session
from training.evaluation.bundle import BundleAnswers, Limits, score_bundle, write_answers
from training.evaluation.results import write_figures
from training.evaluation.studies import Study
from training.ship.benchmark import Verdict, compare_answers
from training.ship.card import CardFacts, model_card
from training.ship.compose import Parts
from training.ship.writing import ShipError, SizeLimits, write_bundle

__all__ = ["Benchmark", "Shipped", "ship_bundle"]


@dataclass(frozen=True)
class Benchmark:
    """Held-out studies.

    Attributes
    ----------
    studies
        Yields them anew at each call, the same each time.
    limits
        How many are segmented and written about.
    resamples
        Of every interval.
    """

    studies: Callable[[], Iterable[Study]]
    limits: Limits = field(default_factory=Limits)
    resamples: int = 1000

    def answers(self, bundle: Bundle) -> BundleAnswers:
        """Ask a bundle."""
        session = Session(bundle, cache_bytes=0)
        out = score_bundle(session, self.studies(), limits=self.limits)
        session.unload()
        return out


@dataclass(frozen=True)
class Shipped:
    """The bundle where it lies, and how it compares; None where there was nothing to compare with."""

    bundle: Bundle
    verdict: Verdict | None


def ship_bundle(
    parts: Parts,
    target: Path,
    facts: CardFacts,
    benchmark: Benchmark,
    *,
    against: Bundle | None = None,
    even_if_worse: bool = False,
    limits: SizeLimits | None = None,
    figures: Path | None = None,
) -> Shipped:
    """Write a bundle if it is not worse.

    Parameters
    ----------
    parts
        What it is made of.
    target
        Bundle folder; an older one is replaced whole, at the very end.
    facts
        For the card.
    benchmark
        Held-out studies; the figures go into the card.
    against
        Bundle that it must not fall behind.
    even_if_worse
        Write it all the same; the card says by how much it fell.
    limits
        Of size.
    figures
        Folder that takes tables and plots.

    Raises
    ------
    ShipError
        Code ``worse``, naming every figure that fell and every answer that is gone; nothing is written then.
    """
    config = parse_config({**parts.config, "sha256": {}})
    target.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=".ship.") as name:
        # what is scored is the rounded bundle that users would get
        trial = write_bundle(
            Path(name) / "bundle", parts.config, parts.tensors, parts.files, "# Trial\n", limits=limits
        )
        new = benchmark.answers(trial)
        verdict = None
        if against is not None:
            verdict = compare_answers(new, benchmark.answers(against), resamples=benchmark.resamples)
            if verdict.worse and not even_if_worse:
                raise ShipError(f"The new bundle is worse: {'; '.join(verdict.worse)}.", code="worse")
        shown = figures or Path(name) / "figures"
        text = write_answers(new, shown, resamples=benchmark.resamples)
        if verdict is not None:
            write_figures(shown, "comparison", verdict.to_json(), verdict.markdown())
            if verdict.worse:
                text += f"\n### Beside the bundle before\n\n{verdict.markdown()}"
        bundle = write_bundle(
            target, parts.config, parts.tensors, parts.files, model_card(config, facts, text), limits=limits
        )
    return Shipped(bundle, verdict)

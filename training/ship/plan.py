"""What to ship, as one JSON file that stays beside the result: towers, adapters, card, benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from training.data.records import Split
from training.evaluation.bundle import Limits
from training.evaluation.studies import studies_of
from training.ship.card import CardFacts
from training.ship.shipping import Benchmark
from training.ship.writing import ShipError

__all__ = ["BenchmarkPlan", "ShipPlan", "read_plan"]

_STRICT = ConfigDict(extra="forbid")


@checked(frozen=True, config=_STRICT)
class BenchmarkPlan:
    """Held-out studies.

    Attributes
    ----------
    studies
        A manifest, or phantoms: see :func:`training.evaluation.studies.studies_of`.
    split, classes
        Of a manifest; ``classes`` is a JSON list of the masks' class names, background first.
    masks, reports
        Studies that are segmented and written about, from the first on; null means all.
    resamples
        Of every interval.
    """

    studies: str
    split: Split = "test"
    classes: Path | None = None
    masks: int | None = None
    reports: int | None = None
    resamples: int = 1000

    def benchmark(self, folder: Path) -> Benchmark:
        """Return the benchmark; paths may be relative to ``folder``."""
        path = folder / self.studies
        source = str(path) if path.is_file() else self.studies
        classes = None if self.classes is None else folder / self.classes
        return Benchmark(
            lambda: studies_of(source, split=self.split, classes=classes),
            Limits(self.masks, self.reports),
            self.resamples,
        )


@checked(frozen=True, config=_STRICT)
class ShipPlan:
    """See the fields; paths may be relative to the file.

    Attributes
    ----------
    base
        Name or folder of the bundle whose towers are shipped.
    card
        What the model card says.
    benchmark
        Held-out studies.
    adapters
        Folders of trained adapters.
    calibration
        ``calibration.json``, or null.
    name, title, intended_use, demonstration
        Of the new bundle; null keeps the base's.
    small
        Keep to the sizes of the bundle inside the package: 15 MiB a file, 30 MB in all.
    """

    base: str
    card: CardFacts
    benchmark: BenchmarkPlan
    adapters: tuple[Path, ...] = ()
    calibration: Path | None = None
    name: str | None = None
    title: str | None = None
    intended_use: str | None = None
    demonstration: bool | None = None
    small: bool = True

    @property
    def changes(self) -> dict[str, Any]:
        """What the new bundle says of itself other than the base."""
        given = {key: getattr(self, key) for key in ("name", "title", "intended_use", "demonstration")}
        return {key: value for key, value in given.items() if value is not None}


def read_plan(path: Path) -> ShipPlan:
    """Read a plan.

    Raises
    ------
    ShipError
        Naming the first mistake.
    """
    try:
        return TypeAdapter(ShipPlan).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its whole"
        raise ShipError(f"{path.name} is wrong at {where}: {first['msg']}.", code="bad_plan") from error
    except (OSError, ValueError) as error:
        raise ShipError(f"{path.name} cannot be read: {error}.", code="bad_plan") from error

"""Studies with what is known about them, whatever they come from: what gets scored and what adapters learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.volume import CTVolume
from training.evaluation.facts import Fact

__all__ = ["Study", "embedded_phantoms"]


@dataclass(frozen=True, eq=False)
class Study:
    """One study.

    Attributes
    ----------
    study, patient
        Keys.
    volume
        As the product sees it.
    labels
        Finding to 1, 0; what is not there is unknown.
    report
        Text, or "".
    facts
        What is true, where known.
    mask
        uint8 [i, j, k] on the volume's grid, 255 = unknown; or None.
    classes
        Names of the mask's labels, background first.
    """

    study: str
    patient: str
    volume: CTVolume
    labels: dict[str, int] = field(default_factory=dict)
    report: str = ""
    facts: tuple[Fact, ...] | None = None
    mask: npt.NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = ()


def embedded_phantoms(seeds: Sequence[int]) -> Iterator[Study]:
    """Yield the phantoms of the embedded recipe, each its own patient."""
    from training.embedded.evaluate import volume_of
    from training.embedded.phantom import make_phantom
    from training.embedded.phantom.anatomy import CLASSES
    from training.embedded.phantom.findings import PLANTED
    from training.embedded.phantom.report import report_of

    for seed in seeds:
        phantom = make_phantom(seed)
        labels = {name: int(there) for name, there in zip(PLANTED, phantom.present, strict=True)}
        facts = tuple(Fact(item.name, item.side or "", item.size_mm) for item in phantom.findings)
        key = f"phantom-{seed}"
        report = report_of(phantom, np.random.default_rng((seed, 7)))
        yield Study(key, key, volume_of(phantom), labels, report, facts, phantom.labels, CLASSES)

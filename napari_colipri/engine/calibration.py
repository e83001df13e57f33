"""Calibration of a bundle's probabilities: read, checked, and applied only in the domain it was fitted in. No torch.

A calibration fitted on phantoms says nothing about patients, so it belongs to a domain; everywhere else the word is
"uncalibrated".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_colipri.engine.domain import Domain
from napari_colipri.engine.types import Finding
from napari_colipri.errors import BundleError

__all__ = [
    "Calibration",
    "CalibrationEntry",
    "CalibrationRule",
    "Figure",
    "Method",
    "Origin",
    "calibrated",
    "read_calibration",
]

Method: TypeAlias = Literal["temperature", "logistic", "isotonic"]
#: Which of a bundle's two answers an entry belongs to.
Origin: TypeAlias = Literal["zero-shot", "probe"]
_Share: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0)]
#: Probabilities are kept this far from 0 and 1 before their logarithm is taken.
_EDGE = 1e-7


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Frozen):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class CalibrationRule(_Frozen):
    """How a probability becomes a calibrated one.

    ``temperature``: logit(p) / temperature. ``logistic``: slope × logit(p) + intercept. ``isotonic``: straight lines
    between the points (x, y), both rising.
    """

    method: Method
    temperature: float | None = Field(default=None, gt=0)
    slope: float | None = None
    intercept: float | None = None
    x: tuple[_Share, ...] = Field(default=(), max_length=4096)
    y: tuple[_Share, ...] = Field(default=(), max_length=4096)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.method == "temperature" and self.temperature is None:
            raise ValueError("temperature is missing")
        if self.method == "logistic" and (self.slope is None or self.intercept is None):
            raise ValueError("slope or intercept is missing")
        if self.method == "isotonic":
            rising = all(a < b for a, b in zip(self.x, self.x[1:], strict=False))
            if not self.x or len(self.x) != len(self.y) or not rising or list(self.y) != sorted(self.y):
                raise ValueError("x and y must be equally long and rise")
        return self

    def apply(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, one for each of ``probabilities``."""
        p = np.asarray(probabilities, np.float64)
        if self.method == "isotonic":
            return np.asarray(np.interp(p, self.x, self.y), np.float64)
        clipped = np.clip(p, _EDGE, 1 - _EDGE)
        logit = np.log(clipped) - np.log1p(-clipped)
        if self.temperature is not None:
            logit = logit / self.temperature
        else:
            logit = (self.slope or 0.0) * logit + (self.intercept or 0.0)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -700, 700))))


class CalibrationEntry(CalibrationRule):
    """One finding's rule and how well it works, on studies kept out of training and of fitting."""

    finding: str = Field(min_length=1, max_length=80)
    origin: Origin = "zero-shot"
    fitted_on: int = Field(ge=1)
    n: int = Field(ge=1)
    prevalence: _Share
    ece: Figure
    brier_skill: Figure
    curve: tuple[tuple[_Share, _Share, int], ...] = Field(default=(), max_length=256)


class Calibration(_Frozen):
    """The whole of ``calibration.json``: domain, name of the set, one entry per finding and origin."""

    format: Literal[1]
    domain: Domain
    set: str = Field(min_length=1, max_length=120)
    entries: tuple[CalibrationEntry, ...] = Field(max_length=1024)

    @model_validator(mode="after")
    def _once(self) -> Calibration:
        keys = [(entry.finding, entry.origin) for entry in self.entries]
        if len(keys) != len(set(keys)):
            raise ValueError("a finding has two entries")
        return self

    def entry(self, finding: str, origin: Origin) -> CalibrationEntry | None:
        """Return the entry of a finding, or None."""
        return next((e for e in self.entries if e.finding == finding and e.origin == origin), None)

    def statement(self, entry: CalibrationEntry, raw: float) -> dict[str, Any]:
        """Return what findings.json says about a calibrated number; ``uncalibrated`` is the number before."""
        return {
            "method": entry.method,
            "set": self.set,
            "n": entry.n,
            "prevalence": entry.prevalence,
            "domain": self.domain,
            "ece": entry.ece.value,
            "ece_interval": [entry.ece.low, entry.ece.high],
            "brier_skill": entry.brier_skill.value,
            "uncalibrated": raw,
        }


def read_calibration(path: Path) -> Calibration:
    """Read ``calibration.json``.

    Raises
    ------
    BundleError
        In one sentence: where the first mistake is.
    """
    try:
        return Calibration.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its whole"
        raise BundleError(f"{path.name} is wrong at {where}: {first['msg']}.", code="bad_config") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path.name} is not JSON: it is damaged.", code="bad_config") from error


def calibrated(items: Iterable[Finding], calibration: Calibration | None, domain: Domain) -> tuple[Finding, ...]:
    """Return findings with calibrated probabilities where ``calibration`` was fitted in ``domain``, else as they are.

    Parameters
    ----------
    items
        Answers; those without a number, and those without an entry, stay.
    calibration
        Of the bundle, or None.
    domain
        Of the volume.
    """
    if calibration is None or calibration.domain != domain:
        return tuple(items)
    return tuple(_calibrated(item, calibration) for item in items)


def _calibrated(item: Finding, calibration: Calibration) -> Finding:
    entry = calibration.entry(item.name, "zero-shot")
    if entry is not None and item.probability is not None:
        said = calibration.statement(entry, item.probability)
        item = replace(item, probability=float(entry.apply(item.probability)), calibration=said)
    second = calibration.entry(item.name, "probe")
    if second is not None and item.probe is not None:
        raw = float(item.probe["probability"])
        said = calibration.statement(second, raw)
        item = replace(item, probe={**item.probe, "probability": float(second.apply(raw)), "calibration": said})
    return item

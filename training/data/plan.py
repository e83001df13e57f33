"""The plan of a prepared folder: every decision that shaped its files, written once and checked on every later run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_colipri.atomic import write_json
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import PREPROCESS_VERSION
from training.data.errors import PlanError

__all__ = ["PLAN_FILE", "Plan", "freeze_plan", "plan_for", "read_plan"]

PLAN_FILE = "plan.json"
_Three = tuple[int, int, int]


class Plan(BaseModel):
    """How volumes were sampled and stored.

    Attributes
    ----------
    format_version, preprocess_version
        Of these files, and of the product's sampling.
    axis_order, spacing_mm
        Of the stored grid, as in ``InputSpec``.
    keep
        Voxels that remain around the centre, or None: the whole field of view, from which crops of any size are taken.
    hu_range
        HU are clamped to it before they are stored as int16.
    integer_hu
        As in ``InputSpec``. Without it stored HU are rounded, by at most 0.5 HU.
    chunk, block, codec, level
        Of blosc2: voxels along each axis of a chunk and of a block within it, the smallest part that is inflated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    preprocess_version: int = PREPROCESS_VERSION
    axis_order: str = Field(min_length=3, max_length=3)
    spacing_mm: tuple[float, float, float]
    keep: _Three | None = None
    hu_range: tuple[int, int] = (-1024, 3071)
    integer_hu: bool = False
    chunk: int = Field(default=64, ge=8, le=512)
    block: int = Field(default=32, ge=4, le=256)
    codec: Literal["zstd", "lz4"] = "zstd"
    level: int = Field(default=5, ge=1, le=9)

    @field_validator("spacing_mm", "keep")
    @classmethod
    def _positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("must be above 0")
        return value

    @property
    def hash(self) -> str:
        """Hash of all decisions; stands in every sidecar."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def spec(self, size: _Three, window: tuple[float, float]) -> InputSpec:
        """Return how the product would sample a volume at this plan's spacing."""
        return InputSpec(self.axis_order, self.spacing_mm, size, window, integer_hu=self.integer_hu, preset="training")


def plan_for(spec: InputSpec, *, whole: bool) -> Plan:
    """Return the plan that serves a bundle's input: its model grid alone, or with ``whole`` the whole field of view."""
    return Plan(
        axis_order=spec.axis_order,
        spacing_mm=spec.spacing_mm,
        keep=None if whole else spec.size,
        integer_hu=spec.integer_hu,
    )


def read_plan(folder: Path) -> Plan:
    """Read the plan of a prepared folder.

    Raises
    ------
    PlanError
        If there is none, or it is damaged or of another version.
    """
    path = folder / PLAN_FILE
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError:
        raise PlanError(f"There is no {PLAN_FILE} in {folder}: this is no prepared folder.") from None
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PlanError(f"The {PLAN_FILE} of this folder is damaged or of another version (field {field}).") from None


def freeze_plan(folder: Path, plan: Plan) -> None:
    """Write the plan of a new folder; for an older one, hold that it is the same.

    Raises
    ------
    PlanError
        Naming the first decision that differs.
    """
    path = folder / PLAN_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # reports and patients' identifiers lie in it
        write_json(path, plan.model_dump(mode="json"))
        return
    there = read_plan(folder).model_dump(mode="json")
    for name, value in plan.model_dump(mode="json").items():
        if there[name] != value:
            raise PlanError(
                f"This folder was prepared with {name} {there[name]}, not {value}: name another folder, or the same "
                "settings."
            )

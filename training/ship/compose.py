"""A bundle from another bundle's towers and adapters that were trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.calibration import read_calibration
from training.adapters.artifact import Adapter, towers_of
from training.ship.writing import ShipError

__all__ = ["Parts", "compose"]

_TEXT_FILES = ("vocab.txt", "tokenizer.json", "LICENSE")


@dataclass(frozen=True)
class Parts:
    """What :func:`training.ship.writing.write_bundle` takes: configuration, new tensors, files to copy."""

    config: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def compose(
    base: Bundle,
    adapters: Sequence[Adapter],
    *,
    calibration: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Parts:
    """Join towers and adapters.

    Parameters
    ----------
    base
        Towers, prompts, and those adapters that are not replaced. Its calibration stays behind where the probe changes:
        it was fitted to other numbers.
    adapters
        Each trained on these towers.
    calibration
        ``calibration.json``, or None.
    changes
        Values of the configuration that are other than the base's, such as name and title.

    Raises
    ------
    ShipError
        If an adapter belongs to other towers, or two have the same name.
    BundleError
        If the calibration is malformed.
    """
    names = [adapter.name for adapter in adapters]
    if len(set(names)) != len(names):
        raise ShipError("Two adapters have the same name.", code="twice")
    towers = towers_of(base) if adapters else ""
    for adapter in adapters:
        if adapter.towers != towers:
            raise ShipError(f"The adapter {adapter.name!r} was trained on other towers.", code="other_towers")
    config = base.config.model_dump(mode="json", exclude={"sha256"})
    held = dict(config["adapters"])
    if "probes" in names:
        held.pop("calibration", None)
    training = dict(config["training"])
    for adapter in adapters:
        held[adapter.name] = adapter.config
        training[adapter.name] = adapter.training
    if calibration is not None:
        read_calibration(calibration)
        held["calibration"] = {"file": "calibration.json"}
    config |= {"adapters": held, "training": training, **(changes or {})}
    new = {adapter.config["file"]: load_file(adapter.file) for adapter in adapters}
    old = [item["file"] for item in held.values() if item["file"] not in new and item["file"] != "calibration.json"]
    files = {file: base.file(file) for file in ("model.safetensors", *old)}
    files |= {file: base.path / file for file in _TEXT_FILES if (base.path / file).is_file()}
    if "calibration" in held:
        files["calibration.json"] = calibration or base.file("calibration.json")
    return Parts(config, new, files)

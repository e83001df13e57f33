"""A trained adapter on disk: its tensors, its part of a bundle's configuration, and which towers it belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from safetensors.torch import save_file
from torch import Tensor

from napari_colipri.atomic import replace_file, write_json
from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.bundle_files import file_sha256
from training.evaluation.scores import EvaluationError

__all__ = ["Adapter", "AdapterName", "read_adapter", "towers_of", "write_adapter"]

AdapterName: TypeAlias = Literal["segmentation", "report", "probes"]
_RECORD = "adapter.json"


@dataclass(frozen=True)
class Adapter:
    """What ``adapter.json`` says.

    Attributes
    ----------
    name
        Key in a bundle's ``adapters``.
    config
        Its value there.
    towers
        See :func:`towers_of`: an adapter fits no others.
    training
        How it was made.
    file
        The tensors.
    """

    name: AdapterName
    config: dict[str, Any]
    towers: str
    training: dict[str, Any]
    file: Path


def towers_of(bundle: Bundle) -> str:
    """Return a hash of what an adapter depends on: sampling, sizes, weights of the towers, vocabulary.

    Prompts, titles and other adapters may change without making an adapter useless.
    """
    values = bundle.config.model_dump(mode="json", include={"input", "vision", "text"})
    values["input"].pop("trained_on")
    names = ("model.safetensors", "vocab.txt", "tokenizer.json")
    files = {name: file_sha256(bundle.path / name) for name in names if (bundle.path / name).is_file()}
    text = json.dumps([values, files], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_adapter(
    folder: Path,
    name: AdapterName,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    towers: str,
    training: Mapping[str, Any],
) -> Adapter:
    """Write tensors (float32, rounded only when a bundle is made) and record; the record comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.safetensors"
    with replace_file(file) as temporary:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, temporary)
    values = {"file": file.name, **config}
    write_json(folder / _RECORD, {"name": name, "config": values, "towers": towers, "training": dict(training)})
    return Adapter(name, values, towers, dict(training), file)


def read_adapter(folder: Path) -> Adapter:
    """Read what :func:`write_adapter` wrote.

    Raises
    ------
    EvaluationError
        If the folder holds none.
    """
    try:
        values = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        name, config = values["name"], dict(values["config"])
        file = folder / Path(config["file"]).name
        if name not in get_args(AdapterName) or not file.is_file():
            raise ValueError(f"{name!r} has no file {file.name}")
        return Adapter(name, config, str(values["towers"]), dict(values["training"]), file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{folder.name} holds no adapter: {error}.", code="not_an_adapter") from error

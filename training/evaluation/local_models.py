"""Models that others trained, from a folder on this disk: safetensors only, none of the folder's code, no network."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_colipri.engine.bundle_files import file_sha256
from napari_colipri.errors import OutOfResources
from training.evaluation.files import read_json
from training.evaluation.scores import EvaluationError

__all__ = ["LocalModel", "describe_model", "load_model", "memory_watched"]

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
#: What the library raises on folders that are not what it expects.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


@dataclass(frozen=True)
class LocalModel:
    """A folder in the Hugging Face layout.

    Attributes
    ----------
    folder
        Where it lies.
    sha256
        Of its one weights file; of the lines "sha256  name" where the weights are several files.
    """

    folder: Path
    sha256: str

    @property
    def name(self) -> str:
        """Last part of the folder's path."""
        return self.folder.name

    @property
    def words(self) -> str:
        """Name and weights, for a table."""
        return f"`{self.name}`, weights sha256 `{self.sha256[:12]}`"

    def to_json(self) -> dict[str, str]:
        """Return a JSON object."""
        return {"model": self.name, "weights_sha256": self.sha256}


def _weight_files(folder: Path) -> list[str]:
    """Names of the files that hold the weights, in the order in which the library looks for them."""
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    if not (folder / _INDEX).is_file():
        raise EvaluationError(
            f"{folder.name} holds no {_WEIGHTS}: pickled weights are never loaded, save it as safetensors first.",
            code="no_safetensors",
        )
    index = read_json(folder / _INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    for name in names:
        if name != Path(name).name or not name.endswith(".safetensors") or not (folder / name).is_file():
            raise EvaluationError(f"{folder.name}: {_INDEX} names {name}, which is not there.", code="missing_file")
    if not names:
        raise EvaluationError(f"{folder.name}: {_INDEX} names no file.", code="missing_file")
    return names


def describe_model(folder: Path) -> LocalModel:
    """Look at a model's folder without loading it.

    Raises
    ------
    EvaluationError
        If it is no folder of a whole model in safetensors.
    """
    folder = folder.expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise EvaluationError(f"{folder.name} is no model folder: it holds no config.json.", code="missing_file")
    if (folder / "adapter_config.json").exists():
        raise EvaluationError(
            f"{folder.name} is an adapter of another model: merge the two and save the whole.", code="adapter_only"
        )
    names = _weight_files(folder)
    sums = [file_sha256(folder / name) for name in names]
    if len(sums) == 1:
        return LocalModel(folder, sums[0])
    lines = "".join(f"{each}  {name}\n" for each, name in zip(sums, names, strict=True))
    return LocalModel(folder, hashlib.sha256(lines.encode()).hexdigest())


@contextlib.contextmanager
def memory_watched(model: LocalModel) -> Iterator[None]:
    """Turn memory that runs out into one sentence.

    Raises
    ------
    OutOfResources
        Naming the model.
    """
    from napari_colipri.engine.device import is_out_of_memory

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfResources(f"There is not enough memory for {model.name}.", code="out_of_memory") from error
        raise


def load_model(model: LocalModel, kind: Literal["classifier", "writer"], device: str) -> tuple[Any, Any]:
    """Return the network, ready to be asked, and its tokeniser.

    Parameters
    ----------
    model
        A folder.
    kind
        Classifier of sequences, or causal language model.
    device
        Where to.

    Raises
    ------
    EvaluationError
        If the folder cannot be read as such a model, or its weights are not whole.
    OutOfResources
        If it does not fit into memory.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    from napari_colipri.engine.device import is_out_of_memory

    auto = AutoModelForSequenceClassification if kind == "classifier" else AutoModelForCausalLM
    only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with memory_watched(model):
        try:
            tokenizer = AutoTokenizer.from_pretrained(model.folder, **only)
            network, loaded = auto.from_pretrained(model.folder, use_safetensors=True, output_loading_info=True, **only)
        except (*_UNREADABLE, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise EvaluationError(f"{model.name} cannot be loaded as a {kind}: {reason}.", code="bad_model") from error
        missing = sorted(loaded["missing_keys"])
        if missing:
            raise EvaluationError(
                f"{model.name} lacks {len(missing)} tensors, such as {missing[0]}: they would be random.",
                code="bad_model",
            )
        return network.to(device).eval(), tokenizer

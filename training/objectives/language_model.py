"""A causal language model of a folder on this machine, read by transformers.

Weights are safetensors, code is transformers' own: no network, no remote code, nothing unpickled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from training.loop.errors import ConfigError

__all__ = ["add_lora", "count_weights", "fingerprint", "language_folder", "layers_of", "open_language", "open_words"]

_KEY = "objectives.llm.folder"
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
_CHUNK = 1 << 24


def language_folder(folder: str | None) -> Path:
    """Return the folder, if it can hold a language model.

    Raises
    ------
    ConfigError
        Naming the key if there is none, else the folder and what it lacks.
    """
    if not folder:
        raise ConfigError(
            f"{_KEY} is null: give a folder that holds a causal language model (config.json, *.safetensors, tokenizer)."
        )
    path = Path(folder)
    if not path.is_dir():
        raise ConfigError(f"{_KEY}: there is no folder {path}.")
    if not (path / "config.json").is_file():
        raise ConfigError(f"{_KEY}: {path} holds no config.json.")
    if not _weights(path):
        raise ConfigError(f"{_KEY}: {path} holds no *.safetensors; weights in any other format are not read.")
    return path


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def open_words(folder: Path) -> Any:
    """Return the tokenizer; it has an end token.

    Raises
    ------
    ConfigError
        If it cannot be read, or names no end token.
    """
    from transformers import AutoTokenizer

    try:
        words = AutoTokenizer.from_pretrained(str(folder), **_LOCAL)
    except _UNREADABLE as error:
        raise ConfigError(f"{_KEY}: the tokenizer of {folder} cannot be read: {_sentence(error)}") from error
    if words.eos_token_id is None:
        raise ConfigError(f"{_KEY}: the tokenizer of {folder} names no end token (eos_token).")
    return words


def open_language(folder: Path) -> Any:
    """Return the model in float32; on the meta device without its weights.

    Raises
    ------
    ConfigError
        If it cannot be read, or lacks a weight that would then be random.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        if torch.empty(0).device.type == "meta":
            sizes = AutoConfig.from_pretrained(str(folder), **_LOCAL)
            return AutoModelForCausalLM.from_config(sizes, trust_remote_code=False).float()
        model, found = AutoModelForCausalLM.from_pretrained(
            str(folder), use_safetensors=True, output_loading_info=True, **_LOCAL
        )
    except _UNREADABLE as error:
        raise ConfigError(f"{_KEY}: {folder} cannot be read as a language model: {_sentence(error)}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ConfigError(f"{_KEY}: {folder} lacks {len(missing)} weights of its config.json, such as {missing[0]}.")
    return model.float()


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def add_lora(language: Any, rank: int, alpha: float) -> None:
    """Put trainable matrices of low rank beside every linear map; all else stays as it is.

    Raises
    ------
    ConfigError
        If the optional package peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        message = "objectives.llm.train: lora needs the package peft; install the extra lora, or train the projector."
        raise ConfigError(message) from error
    chosen = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    inject_adapter_in_model(chosen, language)


def layers_of(language: Any) -> Sequence[nn.Module]:
    """Return the transformer blocks in order; empty where the model has no list of as many as its config states."""
    depth = getattr(language.config, "num_hidden_layers", None)
    lists = (each for each in language.modules() if isinstance(each, nn.ModuleList) and len(each) == depth)
    return list(next(lists, []))


def count_weights(folder: Path) -> int:
    """Return the number of stored weights, from the headers of the files.

    Raises
    ------
    ConfigError
        Naming a file that is no whole safetensors file.
    """
    total = 0
    for path in _weights(folder):
        try:
            with safe_open(path, framework="pt") as file:
                total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{_KEY}: {path} cannot be read: {_sentence(error)}") from error
    return total


def fingerprint(folder: Path) -> bytes:
    """Return the SHA-256 of ``config.json`` and the weights: what a run must find again when it goes on."""
    found = hashlib.sha256()
    for path in (folder / "config.json", *_weights(folder)):
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                found.update(part)
    return found.digest()

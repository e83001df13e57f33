"""How a run starts: process and device, optimiser, weights of a bundle to begin with, parts that stay as they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from napari_colipri.engine.bundle import open_bundle
from napari_colipri.engine.tokenizer import load_tokenizer
from napari_colipri.engine.weights import load_towers
from training.loop import checkpoint
from training.loop.config import TrainingConfig
from training.loop.errors import CheckpointError, ConfigError
from training.loop.sharding import plugin
from training.objectives.base import Batch
from training.objectives.task import Task

__all__ = [
    "begin",
    "check_words",
    "freeze",
    "launch",
    "make_optimiser",
    "moved",
    "same_recipe",
    "seed_for",
    "take_weights",
]

#: Vocabulary sizes are rounded up to a multiple of at most this.
_ROUNDED = 128
_WORDS = "text_encoder.backbone.embeddings.word_embeddings.weight"


def seed_for(*numbers: int) -> int:
    """Return a seed that belongs to ``numbers`` (run, step, process, pass)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def launch(config: TrainingConfig, *, cpu: bool = False) -> Accelerator:
    """Join the processes of this run (as ``torchrun`` started them; else there is one) and choose the device.

    Raises
    ------
    ConfigError
        If precision or sharding does not work here.
    """
    names = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
    on_gpu = torch.cuda.is_available() and not cpu
    if config.run.precision == "float16" and not on_gpu:
        raise ConfigError("float16 needs a GPU; on a CPU take bfloat16 or float32.")
    wrapping = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(
        mixed_precision=names[config.run.precision],
        cpu=cpu,
        kwargs_handlers=[wrapping],
        fsdp_plugin=plugin(config, on_gpu=on_gpu),
    )


def make_optimiser(config: TrainingConfig, task: nn.Module) -> torch.optim.AdamW:
    """Return AdamW over what is trained; vectors and scalars are not decayed."""
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    chosen = config.optimiser
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": chosen.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=chosen.learning_rate,
        betas=chosen.betas,
    )


def check_words(task: Task) -> None:
    """Refuse a vocabulary that is not the one the sizes were chosen for.

    Raises
    ------
    ConfigError
        If ``model.text.vocab_size`` is stated and the vocabulary has more words, or far fewer (sizes are rounded up).
    """
    words, wanted = task.model.tokenizer.vocab_size, task.model.config.text.vocab_size
    if wanted is not None and not words <= wanted < words + _ROUNDED:
        raise ConfigError(
            f"The vocabulary has {words} words, model.text.vocab_size is {wanted}: give --vocabulary, a folder with "
            "the vocab.txt that belongs to it."
        )


def take_weights(task: Task, start: str, parts: tuple[str, ...] = ("vision", "text")) -> None:
    """Begin with the towers of a bundle (verified as ever) or of a run, and with the temperature where both are taken.

    Of a run its averaged weights are taken, and with them the heads of objectives that both have.

    Parameters
    ----------
    task
        Of the same sizes; a convolutional path that the bundle lacks is kept and made silent, and words that it does
        not know keep their fresh embeddings.
    start
        Name or folder of a bundle, or folder of a run.
    parts
        ``vision``, ``text``.

    Raises
    ------
    ConfigError
        If sizes differ.
    BundleError
        If there is no such bundle.
    """
    held, words = _towers_of_run(task, Path(start)) if checkpoint.latest(Path(start)) else _towers_of_bundle(start)
    towers = task.model.towers
    of = {"vision": "image_encoder.", "text": "text_encoder."}
    prefixes = (*(of[part] for part in parts), *(("softmax_temperature",) if len(parts) == len(of) else ()))
    wanted = {key: value for key, value in towers.state_dict().items() if key.startswith(prefixes)}
    path = towers.image_encoder.detail
    if path is not None and "image_encoder.detail.patches.weight" not in held:
        path.silence()
        wanted = {key: value for key, value in wanted.items() if not key.startswith("image_encoder.detail.")}
    if _WORDS in wanted:
        held[_WORDS] = _same_words(task, words, held[_WORDS], wanted[_WORDS])
    wrong = [key for key, value in wanted.items() if key not in held or held[key].shape != value.shape]
    if wrong:
        raise ConfigError(f"{start} has other sizes than the configuration: {wrong[0]} does not fit.")
    towers.load_state_dict({key: held[key] for key in wanted}, strict=False)
    if len(parts) == len(of):
        with torch.no_grad():
            task.model.log_scale.fill_(-math.log(float(held["softmax_temperature"])))


def begin(task: Task, config: TrainingConfig) -> None:
    """Give a fresh task the weights that ``start`` names.

    Raises
    ------
    ConfigError
        If they do not fit.
    """
    if config.start is not None:
        _same_heads(config, config.start)
        take_weights(task, config.start, config.start_with)


def _same_heads(config: TrainingConfig, start: str) -> None:
    """Refuse another number of heads: the weights have the same shape, and say something else."""
    model = config.model
    if checkpoint.latest(Path(start)):
        from training.loop.export import run_state

        theirs = run_state(Path(start))[0].model
        held = {"heads": theirs.heads, "text.heads": theirs.text.heads, "pool_heads": theirs.pool_heads}
    else:
        sizes = open_bundle(start).config
        held = {"heads": sizes.vision.heads, "pool_heads": sizes.vision.pool_heads}
        held |= {"text.heads": sizes.text.num_attention_heads} if sizes.text is not None else {}
    own = {"heads": model.heads, "text.heads": model.text.heads, "pool_heads": model.pool_heads}
    for name, count in held.items():
        if own[name] != count and (config.freeze or name != "pool_heads"):  # pooling learns again, where all goes on
            raise ConfigError(f"{start} has {count} {name}, the configuration {own[name]}: set model.{name}={count}.")


def _towers_of_bundle(name: str) -> tuple[dict[str, Tensor], Path]:
    bundle = open_bundle(name)
    return load_towers(bundle).state_dict(), bundle.path


def _towers_of_run(task: Task, run: Path) -> tuple[dict[str, Tensor], Path]:
    """Take the heads that fit, and return the averaged towers and the folder of their words."""
    from training.loop.export import TOWERS, part_of, run_state

    config, tensors, _ = run_state(run)
    own = task.state_dict()
    heads = {key: value for key, value in tensors.items() if key.startswith("objectives.") and key in own}
    task.load_state_dict({k: v for k, v in heads.items() if v.shape == own[k].shape}, strict=False)
    scale = tensors["model.log_scale"].exp().clamp(max=100.0)
    return {**part_of(tensors, TOWERS), "softmax_temperature": 1.0 / scale}, config.vocabulary_folder


def _same_words(task: Task, folder: Path, held: Tensor, fresh: Tensor) -> Tensor:
    """Return the embeddings of this run's words: those that are known there as they are, the others fresh."""
    theirs = load_tokenizer(folder, max_length=8).entries
    ours = task.model.tokenizer.entries
    if ours == theirs or held.shape[1] != fresh.shape[1]:
        return held
    out = fresh.clone()
    for word, index in ours.items():
        if word in theirs:
            out[index] = held[theirs[word]]
    return out


def freeze(task: Task, parts: tuple[str, ...]) -> None:
    """Keep parts as they are.

    Parameters
    ----------
    task
        Of the run.
    parts
        ``vision``, ``text``: the transformer of that tower, while projector and poolings go on; ``towers``: everything
        but the heads of the objectives.
    """
    towers = task.model.towers
    image, text = towers.image_encoder, towers.text_encoder
    found: dict[str, tuple[torch.nn.Module | None, ...]] = {
        "vision": (image.backbone, image.detail),
        "text": (text.backbone if text is not None else None,),
        "towers": (task.model,),
    }
    for part in parts:
        for module in found[part]:
            if module is not None:
                module.requires_grad_(False)
                task.hold(module)


def moved(batch: Batch, device: torch.device) -> Batch:
    """Return a copy of a batch with its tensors on ``device``."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }


def same_recipe(before: dict[str, Any], now: TrainingConfig) -> None:
    """Refuse to go on with other weights or other losses; length, habits and rate may change.

    Raises
    ------
    CheckpointError
        Naming what differs.
    """
    wanted = now.as_dict()
    changed = [key for key in ("model", "objectives", "freeze") if _plain(before.get(key)) != _plain(wanted[key])]
    if changed:
        raise CheckpointError(
            f"The folder holds a run with another {' and '.join(changed)}; give it a folder of its own.",
            code="other_run",
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back, tuples as lists, without keys that are null: an older run lacks them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value

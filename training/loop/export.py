"""A run becomes a bundle: towers, words, prompts, and the report decoder where the run trained one.

What comes out is a base for ``training adapters`` and ``training ship``; its card says what it was trained with and
that nothing about it has been measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_colipri.engine.bundle import Bundle, open_bundle
from napari_colipri.text.findings import FINDING_NAMES, default_prompts
from training.adapters.artifact import Adapter, towers_of, write_adapter
from training.loop import checkpoint
from training.loop.config import TrainingConfig, parse_config
from training.loop.errors import CheckpointError
from training.phantom.resolvable import never_resolvable
from training.ship.writing import write_bundle

__all__ = ["TOWERS", "export_adapter", "export_bundle", "part_of", "run_state"]

TOWERS, _REPORT, _MASKS = "model.towers.", "objectives.report.decoder.", "objectives.masks.decoder."
#: Objectives that are no part of the COLIPRI recipe.
_BEYOND = ("dense", "labels", "lesions", "masks", "detail")
_VISION = ("patch", "embed_dim", "depth", "heads", "projection_dim", "pool_heads", "detail")
_TEXT_FILES = ("vocab.txt", "tokenizer.json")


def run_state(run: Path, *, averaged: bool = True) -> tuple[TrainingConfig, dict[str, Tensor], dict[str, Any]]:
    """Return configuration, weights and record of a run's newest checkpoint.

    Parameters
    ----------
    run
        Folder of the run.
    averaged
        Take the averaged weights, where the run kept them.

    Raises
    ------
    CheckpointError
        If there is none, or it is damaged.
    """
    found = checkpoint.latest(run)
    if found is None:
        raise CheckpointError(f"{run} holds no checkpoint.")
    config = parse_config(found.state["config"], f"{found.folder.name}/state.json")
    kept = averaged and bool(config.run.ema)
    return config, found.tensors("average" if kept else "weights"), {**found.state, "averaged": kept}


def part_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors below ``prefix``, named without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def export_bundle(run: Path, target: Path, *, name: str, title: str, licence: str, averaged: bool = True) -> Bundle:
    """Write the newest checkpoint of a run as a bundle and open it.

    Parameters
    ----------
    run
        Folder of the run.
    target
        Bundle folder; one that is there is replaced as a whole, at the end.
    name, title, licence
        As the bundle states them.
    averaged
        Take the averaged weights, where the run kept them.

    Raises
    ------
    CheckpointError
        If the run has no checkpoint.
    ShipError, BundleError
        If what comes out does not work in the product.
    """
    config, tensors, state = run_state(run, averaged=averaged)
    towers = part_of(tensors, TOWERS)
    scale = float(tensors["model.log_scale"].exp().clamp(max=100.0))
    towers["softmax_temperature"] = torch.tensor(1.0 / scale)
    files = {"model.safetensors": towers}
    report = part_of(tensors, _REPORT)
    if report:
        files["report.safetensors"] = report
    vocabulary = config.vocabulary_folder
    texts = {each: vocabulary / each for each in _TEXT_FILES if (vocabulary / each).is_file()}
    vocab_size = int(towers["text_encoder.backbone.embeddings.word_embeddings.weight"].shape[0])
    described = _described(config, state, vocab_size, name=name, title=title, licence=licence)
    return write_bundle(target, described, files, texts, _card(config, state, title, licence))


def export_adapter(run: Path, folder: Path, classes: Sequence[Mapping[str, Any]], *, averaged: bool = True) -> Adapter:
    """Write what a run trained on the towers of a bundle, which stayed as they were, as an adapter of that bundle.

    Parameters
    ----------
    run
        Folder of the run; its objective is ``masks`` or ``report``.
    folder
        Takes the adapter.
    classes
        Of masks: label, name, display name and code, without the background.
    averaged
        Take the averaged weights, where the run kept them.

    Raises
    ------
    CheckpointError
        If the run has no checkpoint, moved the towers, or trained neither.
    """
    config, tensors, state = run_state(run, averaged=averaged)
    if config.start is None or "towers" not in config.freeze:
        raise CheckpointError(f"{run} moved the towers: an adapter needs start, and freeze: [towers].")
    towers = towers_of(open_bundle(config.start))
    training = {"recipe": config.name, "steps": state["step"], "volumes": state["volumes"]}
    training["hours"] = round(state["seconds"] / 3600, 2)
    masks, report = config.objectives.masks, config.objectives.report
    if masks is not None:
        if len(classes) + 1 != masks.classes:
            raise CheckpointError(f"The run draws {masks.classes - 1} classes, the list names {len(classes)}.")
        values: dict[str, Any] = {"architecture": "patch-conv", "width": masks.width, "classes": list(classes)}
        parts = part_of(tensors, _MASKS)
        return write_adapter(folder, "segmentation", parts, values, towers=towers, training=training)
    if report is not None:
        sizes = {"width": report.width, "depth": report.depth, "heads": report.heads}
        values = {**sizes, "length": config.model.text.length}
        return write_adapter(folder, "report", part_of(tensors, _REPORT), values, towers=towers, training=training)
    raise CheckpointError(f"{run} trained neither masks nor reports.")


def _described(
    config: TrainingConfig, state: dict[str, Any], vocab_size: int, *, name: str, title: str, licence: str
) -> dict[str, Any]:
    model = config.model
    vision, text = model.towers(vocab_size)
    bert = {key: value for key, value in text["config"].items() if not key.endswith("_prob")}
    unresolved = never_resolvable(model.spacing_mm)
    prompts = {each: default_prompts(each) for each in FINDING_NAMES if each not in unresolved}
    written = config.objectives.report
    adapters: dict[str, Any] = {}
    if written is not None:
        sizes = {"width": written.width, "depth": written.depth, "heads": written.heads}
        adapters["report"] = {**sizes, "length": model.text.length}
    return {
        "format": 1,
        "name": name,
        "title": title,
        "input": {
            "axis_order": "RAS",
            "spacing_mm": [model.spacing_mm] * 3,
            "size": list(model.size),
            "hu_window": [-1000, 1000],
            "preset": f"whole-{model.spacing_mm:g}mm",
        },
        "vision": {key: vision[key] for key in _VISION},
        "text": {**bert, "pool_heads": model.pool_heads, "pooling": "masked", "max_length": model.text.length},
        "settings": {"axis_order": "verified", "pooling": "verified", "preset": "verified"},
        "findings": [{"name": each, "present": p, "absent": a} for each, (p, a) in prompts.items()],
        "unresolved": list(unresolved),
        "adapters": adapters,
        "intended_use": "Research use only, not for clinical decisions.",
        "licence": licence,
        "training": {
            "recipe": config.name,
            "objectives": [key for key, value in config.as_dict()["objectives"].items() if value is not None],
            "steps": state["step"],
            "volumes": state["volumes"],
            "hours": round(state["seconds"] / 3600, 2),
            "averaged_weights": state["averaged"],
        },
    }


def _card(config: TrainingConfig, state: dict[str, Any], title: str, licence: str) -> str:
    wanted = [key for key, value in config.as_dict()["objectives"].items() if value is not None]
    beyond = [key for key in wanted if key in _BEYOND]
    extra = (
        f"\nBeyond the COLIPRI recipe it saw supervision that only phantoms or label maps offer: {', '.join(beyond)}.\n"
        if beyond
        else ""
    )
    x, y, z = config.model.size
    return f"""# {title}

Research use only, not for clinical decisions. Nothing about this model has been measured yet.

Recipe `{config.name}`: {", ".join(wanted)}. {state["step"]} steps, {state["volumes"]} volumes of {x}x{y}x{z} voxels of
{config.model.spacing_mm:g} mm. Probabilities are uncalibrated.
{extra}
## Licence
{licence}
"""

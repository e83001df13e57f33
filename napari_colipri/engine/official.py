"""A raw official folder (public ``colipri`` weights + CXR-BERT vocabulary) as a bundle: preset ``colipri-0.1.3``.

Sizes are read from the tensors' shapes. What weights cannot tell (axis order, text pooling, sampling) comes from the
public package 0.1.3 and is recorded as *assumed* until somebody verifies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_colipri.engine.bundle_files import file_sha256, parse_config, safe_file
from napari_colipri.engine.config import CXR_BERT, BundleConfig
from napari_colipri.errors import BundleError
from napari_colipri.text.findings import FINDING_NAMES

__all__ = ["HARMLESS_KEYS", "PRESETS", "official_config", "tensor_shapes"]


@dataclass(frozen=True)
class Preset:
    """A way for a public checkpoint to sample a volume: mm per voxel, voxels per axis of the grid and of a window."""

    spacing_mm: float
    size: int
    window: int | None = None


#: The public processor's own way, and the 1 mm one with the public model's sliding window.
PRESETS = {"colipri-0.1.3": Preset(2.0, 192), "stitched-1mm": Preset(1.0, 384, 192)}
#: Embedding width of the published Primus sizes (S, B, M, L) -> heads; weights do not reveal the number of heads.
_PRIMUS_HEADS = {396: 6, 792: 12, 864: 12, 1056: 16}
#: Widths of a published BERT -> heads (BERT heads are 64 wide).
_BERT_HEAD = 64
#: Text pooling of the public package.
_POOL_HEADS = 12
#: Keys that official checkpoints may hold beyond the towers and that change no result.
HARMLESS_KEYS = (
    "text_encoder.backbone.embeddings.position_ids",
    "text_encoder.backbone.embeddings.token_type_ids",
    "text_encoder.backbone.pooler.",
    "text_encoder.backbone.cls.",
    "text_encoder.backbone.cls_projection_head.",
    "image_encoder.backbone.mask_token",
    "image_encoder.backbone.eva.rope.",
    "image_encoder.backbone.up_projection.",
)
_BLOCK = "image_encoder.backbone.eva.blocks."
_LAYER = "text_encoder.backbone.encoder.layer."


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a safetensors file; only its header is read.

    Raises
    ------
    BundleError
        If it is not a valid safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as handle:
            return {key: tuple(handle.get_slice(key).get_shape()) for key in handle.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path.name} is not a whole safetensors file: {error}", code="bad_weights") from error


def _shape(shapes: dict[str, tuple[int, ...]], key: str, rank: int) -> tuple[int, ...]:
    shape = shapes.get(key)
    if shape is None or len(shape) != rank:
        raise BundleError(f"model.safetensors is not a public colipri checkpoint: it lacks {key}.", code="bad_weights")
    return shape


def _count(shapes: dict[str, tuple[int, ...]], prefix: str) -> int:
    """Return how many blocks there are below ``prefix``."""
    return len({key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)})


def _vision(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    width, _, *patch = _shape(shapes, "image_encoder.backbone.down_projection.proj.weight", 5)
    joint = _shape(shapes, "image_encoder.projector.weight", 5)[0]
    if width not in _PRIMUS_HEADS:
        known = ", ".join(str(each) for each in _PRIMUS_HEADS)
        raise BundleError(
            f"The vision tower is {width} wide, which is no published Primus ({known}): its number of heads cannot be "
            "known without a config.json.",
            code="unknown_size",
        )
    return {
        "patch": patch,
        "embed_dim": width,
        "depth": _count(shapes, _BLOCK),
        "heads": _PRIMUS_HEADS[width],
        "projection_dim": joint,
        "pool_heads": _POOL_HEADS,
    }


def _text(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    embeddings = "text_encoder.backbone.embeddings."
    vocab, hidden = _shape(shapes, f"{embeddings}word_embeddings.weight", 2)
    positions = _shape(shapes, f"{embeddings}position_embeddings.weight", 2)[0]
    if hidden % _BERT_HEAD:
        raise BundleError(
            f"The text tower is {hidden} wide, which is no published BERT: its number of heads cannot be known without "
            "a config.json.",
            code="unknown_size",
        )
    return {
        "hidden_size": hidden,
        "num_hidden_layers": _count(shapes, _LAYER),
        "num_attention_heads": hidden // _BERT_HEAD,
        "intermediate_size": _shape(shapes, f"{_LAYER}0.intermediate.dense.weight", 2)[0],
        "max_position_embeddings": positions,
        "type_vocab_size": _shape(shapes, f"{embeddings}token_type_embeddings.weight", 2)[0],
        "vocab_size": vocab,
        "pool_heads": _POOL_HEADS,
        "max_length": min(512, positions),
        "lower_case": True,
    }


def _prompts(name: str) -> dict[str, Any]:
    """Return the prompts of the model card ("… present") and of CT-CLIP ("… is present.")."""
    lower = name.lower()
    return {
        "name": name,
        "present": [f"{name} present", f"{name} is present."],
        "absent": [f"No {lower} present", f"{name} is not present."],
    }


def _token_file(folder: Path) -> str:
    for name in ("vocab.txt", "tokenizer.json"):
        if (folder / name).exists():
            return name
    raise BundleError(
        f"vocab.txt is missing beside model.safetensors: it is a file of {CXR_BERT} on huggingface.co; "
        "copy it into the folder.",
        code="missing_vocab",
    )


def official_config(
    folder: Path,
    *,
    name: str = "colipri",
    axis_order: str | None = None,
    pooling: str | None = None,
    preset: str | None = None,
    source: dict[str, Any] | None = None,
) -> BundleConfig:
    """Make the configuration of a raw official folder, checksums included; nothing is written.

    Parameters
    ----------
    folder
        With ``model.safetensors`` and ``vocab.txt`` or ``tokenizer.json``; other files are left alone.
    name
        Name of the bundle.
    axis_order, pooling, preset
        Settings; one that is None is the public package's and recorded as assumed.
    source
        Where the files came from, pinned.

    Raises
    ------
    BundleError
        Code ``missing_vocab``, ``bad_weights``, ``unknown_size``, ``unsupported_preset``, ``not_a_bundle`` …
    """
    chosen = preset or "colipri-0.1.3"
    if chosen not in PRESETS:
        raise BundleError(
            f"There is no preset {chosen!r}: use {' or '.join(PRESETS)}.",
            code="unsupported_preset",
        )
    if not (folder / "model.safetensors").exists():
        raise BundleError(
            "The folder holds no model.safetensors: it is neither a bundle nor the official weights "
            "(only safetensors are read).",
            code="not_a_bundle",
        )
    weights = safe_file(folder, "model.safetensors", blobs=True)
    tokens = _token_file(folder)
    shapes = tensor_shapes(weights)
    sampling = PRESETS[chosen]
    return parse_config(
        {
            "format": 1,
            "name": name,
            "title": "COLIPRI (official weights)",
            "input": {
                "axis_order": axis_order or "RAS",
                "spacing_mm": [sampling.spacing_mm] * 3,
                "size": [sampling.size] * 3,
                "window": None if sampling.window is None else [sampling.window] * 3,
                "hu_window": [-1000, 1000],
                "preset": chosen,
            },
            "vision": _vision(shapes),
            "text": {**_text(shapes), "pooling": pooling or "masked"},
            "settings": {
                "axis_order": "verified" if axis_order else "assumed",
                "pooling": "verified" if pooling else "assumed",
                "preset": "verified" if preset else "assumed",
            },
            "findings": [_prompts(each) for each in FINDING_NAMES],
            "intended_use": "Research use only.",
            "licence": "MIT (as published with microsoft/colipri)",
            "source": source,
            "sha256": {
                each: file_sha256(safe_file(folder, each, blobs=True)) for each in ("model.safetensors", tokens)
            },
        }
    )

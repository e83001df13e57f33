"""A complete, small, random bundle for tests: own vocabulary, valid configuration, valid checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["TINY_WORDS", "refresh_checksums", "write_tiny_bundle"]

TINY_WORDS = tuple(
    """
    no not is are present there heart enlarged cardiomegaly pleural effusion lung nodule mosaic attenuation pattern
    bronchiectasis consolidation the of in left right lower upper liver aorta and with . , - mm
    """.split()  # noqa: SIM905 - a vocabulary reads better as text
)
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = [mark + letter for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]


def _finding(name: str, *, trained: bool = True) -> dict[str, Any]:
    lower = name.lower()
    return {
        "name": name,
        "present": [f"{lower} is present.", f"there is {lower}"],
        "absent": [f"{lower} is not present.", f"no {lower}"],
        "trained": trained,
    }


def _config(vocab_size: int, size: tuple[int, int, int], decoder: bool) -> dict[str, Any]:
    classes = [
        {
            "label": 1,
            "name": "lung_left",
            "display_name": "Left lung",
            "code": {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"},
        },
        {
            "label": 2,
            "name": "lung_right",
            "display_name": "Right lung",
            "code": {"scheme": "SCT", "value": "3341006", "meaning": "Right lung"},
        },
        {"label": 3, "name": "heart", "display_name": "Heart", "code": None},
    ]
    adapters = {"segmentation": {"file": "segmentation.safetensors", "width": 8, "classes": classes}}
    return {
        "format": 1,
        "name": "tiny",
        "title": "Tiny random model",
        "demonstration": True,
        "input": {"axis_order": "RAS", "spacing_mm": [8, 8, 8], "size": list(size), "preset": "whole-8mm"},
        "vision": {"embed_dim": 24, "depth": 2, "heads": 2, "projection_dim": 16, "pool_heads": 2},
        "text": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 32,
            "vocab_size": vocab_size,
            "pool_heads": 2,
            "max_length": 32,
        },
        "settings": {"axis_order": "verified", "pooling": "verified", "preset": "verified"},
        "findings": [
            _finding("Cardiomegaly"),
            _finding("Lung nodule"),
            _finding("Pleural effusion"),
            _finding("Bronchiectasis", trained=False),
        ],
        "unresolved": ["Mosaic attenuation pattern"],
        "adapters": adapters if decoder else {},
        "intended_use": "Tests.",
        "licence": "Apache-2.0",
    }


def refresh_checksums(folder: Path, **changes: Any) -> None:
    """Apply ``changes`` to the configuration and write the checksums of the files as they are now."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    files = sorted(path for path in folder.iterdir() if path.name not in {"config.json", "README.md"})
    config["sha256"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def write_tiny_bundle(
    folder: str | Path,
    *,
    seed: int = 0,
    decoder: bool = True,
    size: tuple[int, int, int] = (32, 32, 32),
    temperature: float = 0.07,
    **changes: Any,
) -> Path:
    """Write a complete bundle with random weights into ``folder`` (created) and return it.

    Parameters
    ----------
    folder
        Where.
    seed
        Of the weights.
    decoder
        Whether it can segment (classes lung_left, lung_right, heart).
    size
        Model grid at 8 mm: multiples of 8.
    temperature
        Of the softmax.
    **changes
        Top-level keys of ``config.json`` to replace, e.g. ``settings={...}``.
    """
    import torch
    from safetensors.torch import save_file

    from napari_colipri.engine.decoder import PatchConvDecoder
    from napari_colipri.engine.towers import build_model

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    vocab = list(dict.fromkeys([*_SPECIAL, *TINY_WORDS, *_LETTERS]))
    config = _config(len(vocab), size, decoder)
    vision = {**config["vision"], "size": size, "patch": (8, 8, 8)}
    bert = {key: value for key, value in config["text"].items() if key not in {"pool_heads", "max_length"}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(vision, {"config": bert, "pool_heads": 2}, temperature=temperature)
        adapter = PatchConvDecoder(embed_dim=24, classes=4, width=8)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, target / "model.safetensors")
    if decoder:
        save_file(adapter.state_dict(), target / "segmentation.safetensors")
    (target / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    (target / "README.md").write_text("# Tiny random model\n", encoding="utf-8")
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    refresh_checksums(target, **changes)
    return target

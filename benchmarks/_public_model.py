"""A public model with random weights, and the same weights as a bundle of ours."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._common import OFFICIAL
from napari_colipri.engine.config import InputSpec
from napari_colipri.text.findings import FINDING_NAMES

__all__ = ["FULL", "SMALL", "STITCHED", "Sizes", "public_model", "public_texts", "write_bundle", "write_vocabulary"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Sizes:
    """Of the two towers; the text tower is a BERT as wide as the joint space."""

    grid: InputSpec
    embed_dim: int
    depth: int
    heads: int
    joint: int
    text_layers: int
    text_heads: int
    pool_heads: int
    vocabulary: int


SMALL = Sizes(InputSpec("RAS", (5.0, 5.0, 5.0), (72, 72, 72)), 216, 3, 3, 192, 2, 3, 4, 600)
STITCHED = replace(
    SMALL, grid=InputSpec("RAS", (2.5, 2.5, 2.5), (144, 144, 144), preset="stitched-2.5mm", window=(72, 72, 72))
)
FULL = Sizes(OFFICIAL, 864, 16, 12, 768, 12, 12, 12, 30522)


def public_model(sizes: Sizes, *, seed: int = 0) -> Any:
    """Return the public package's model with random weights; nothing is downloaded."""
    import torch
    from colipri.model.image import ImageEncoder
    from colipri.model.multimodal import Model
    from colipri.model.text import TextEncoder
    from colipri.pooling import AttentionPool1D
    from dynamic_network_architectures.architectures.primus import Primus
    from transformers import BertModel

    torch.manual_seed(seed)
    backbone = Primus(
        input_channels=1,
        num_classes=1,
        eva_depth=sizes.depth,
        eva_numheads=sizes.heads,
        embed_dim=sizes.embed_dim,
        patch_embed_size=(8, 8, 8),
        input_shape=sizes.grid.tower_size,
        use_rot_pos_emb=True,
        use_abs_pos_embed=False,
        drop_path_rate=0.2,
        init_values=0.1,
        scale_attn_inner=True,
        num_register_tokens=0,
    )
    projector = torch.nn.Conv3d(sizes.embed_dim, sizes.joint, 1)
    image = ImageEncoder(backbone, projector, AttentionPool1D(sizes.joint, sizes.pool_heads))
    bert = BertModel(_bert(sizes), add_pooling_layer=False)
    text = TextEncoder(bert, AttentionPool1D(sizes.joint, sizes.pool_heads))
    return Model(image, text, temperature=_TEMPERATURE).eval()


def _bert(sizes: Sizes) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.joint,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
        intermediate_size=4 * sizes.joint,
    )


def write_vocabulary(folder: Path, sizes: Sizes) -> Path:
    """Write a WordPiece vocabulary that knows every finding, filled up to the tower's size."""
    words = [*" ".join(FINDING_NAMES).lower().split(), "no", "not", "is", "present", "there", ".", ","]
    letters = [mark + letter for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    known = list(dict.fromkeys([*_SPECIAL, *words, *letters]))
    filler = [f"[unused{number}]" for number in range(sizes.vocabulary - len(known))]
    path = folder / "vocab.txt"
    path.write_text("\n".join([*known, *filler]) + "\n", encoding="utf-8")
    return path


def write_bundle(folder: Path, model: Any, sizes: Sizes) -> None:
    """Write weights and vocabulary; official sizes as a raw official folder, others with a configuration."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    write_vocabulary(folder, sizes)
    if sizes is FULL:
        return
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "config.json").write_text(json.dumps({**_config(sizes), "sha256": files}), encoding="utf-8")


def _config(sizes: Sizes) -> dict[str, Any]:
    bert = _bert(sizes)
    return {
        "format": 1,
        "name": "random",
        "title": "Random weights",
        "input": asdict(sizes.grid),
        "vision": {
            "embed_dim": sizes.embed_dim,
            "depth": sizes.depth,
            "heads": sizes.heads,
            "projection_dim": sizes.joint,
            "pool_heads": sizes.pool_heads,
        },
        "text": {
            "hidden_size": sizes.joint,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "intermediate_size": bert.intermediate_size,
            "max_position_embeddings": bert.max_position_embeddings,
            "vocab_size": sizes.vocabulary,
            "pool_heads": sizes.pool_heads,
            "max_length": 512,
        },
        "findings": [
            {"name": name, "present": [f"{name} is present."], "absent": [f"No {name.lower()} present"]}
            for name in FINDING_NAMES
        ],
    }


def public_texts(model: Any, vocabulary: Path, texts: list[str]) -> npt.NDArray[np.float32]:
    """Return the public package's embeddings [n, D] of ``texts``, padded to 512 tokens as it does."""
    import torch
    from colipri.processor import Processor
    from transformers import BertTokenizer

    processor = Processor(None, BertTokenizer(str(vocabulary), do_lower_case=True))
    rows = []
    with torch.inference_mode():
        for text in texts:
            ids, mask = processor.process_text([text])
            rows.append(model.encode_text(ids, mask)[0].numpy())
    return np.stack(rows)

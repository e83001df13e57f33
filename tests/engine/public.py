"""A small model of the public package's classes with random weights, and its processor: the peer in parity tests."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_colipri.ct.volume import CTVolume

__all__ = ["VOCABULARY", "Public", "make_public", "public_model"]

_TEXT = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] no not is are present there lung nodule nodules opacity heart pleural effusion "
    "cardiomegaly . , - emphysema"
)
_LETTERS = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
VOCABULARY = list(dict.fromkeys([*_TEXT.split(), *_LETTERS]))


def public_model(size: int) -> Any:
    """A small model of the public package's own classes: Primus-S width, one block, a BERT of one layer."""
    import torch
    from colipri.model.image import ImageEncoder
    from colipri.model.multimodal import Model
    from colipri.model.text import TextEncoder
    from colipri.pooling import AttentionPool1D
    from dynamic_network_architectures.architectures.primus import Primus
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    backbone = Primus(
        input_channels=1,
        embed_dim=396,
        patch_embed_size=(8, 8, 8),
        num_classes=1,
        eva_depth=1,
        eva_numheads=6,
        input_shape=(size,) * 3,
        use_rot_pos_emb=True,
        use_abs_pos_embed=False,
        init_values=0.1,
        scale_attn_inner=True,
    )
    bert = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=192,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=256,
        max_position_embeddings=512,
    )
    model = Model(
        ImageEncoder(backbone, torch.nn.Conv3d(396, 192, 1), AttentionPool1D(192, 12)),
        TextEncoder(BertModel(bert, add_pooling_layer=False), AttentionPool1D(192, 12)),
        temperature=0.05,
    )
    with torch.no_grad():
        for parameter in model.parameters():  # off the initial zeros and ones, so that every tensor matters
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


@dataclass(frozen=True)
class Public:
    """The public package's model and processor, and its weights on disk."""

    model: Any
    processor: Any
    folder: Path

    def image(self, volume: CTVolume) -> Any:
        import torch
        import torchio

        image = torchio.ScalarImage(
            tensor=torch.from_numpy(np.ascontiguousarray(volume.hu))[None], affine=volume.affine
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.processor.to_images_batch(self.processor.process_images([image]))

    def encode(self, volume: CTVolume, **options: Any) -> npt.NDArray[np.float32]:
        import torch

        with torch.no_grad():
            out = self.model.encode_image(self.image(volume), **{"project": True, "normalize": True, **options})
        return np.asarray(out[0].numpy())

    def text(self, texts: list[str]) -> npt.NDArray[np.float32]:
        import torch

        with torch.no_grad():
            return np.asarray(self.model.encode_text(*self.processor.process_text(texts)).numpy())

    def probabilities(self, volume: CTVolume, texts: list[str]) -> npt.NDArray[np.float32]:
        import torch

        with torch.no_grad():
            pooled = self.model.encode_image(self.image(volume), project=True, pool=True, normalize=True)
            return np.asarray(self.model.classify(pooled, torch.from_numpy(self.text(texts)))[0].numpy())


def make_public(folder: Path, *, window: int, size: int, spacing: float) -> Public:
    """Make a model and a processor, and write weights and vocabulary into ``folder`` (created).

    Parameters
    ----------
    folder
        Where.
    window
        Voxels per axis that the tower takes at once.
    size, spacing
        Of the processor: voxels per axis, mm.
    """
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchio's and hydra's own dependencies
        from colipri.processor import Processor, get_processor
        from transformers import BertTokenizer

        model = public_model(window)
        transform = get_processor(image_only=True, input_size=size, spacing=spacing)._image_transform
        processor = Processor(transform, BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True))
    model.save_weights(folder / "model.safetensors")
    return Public(model, processor, folder)

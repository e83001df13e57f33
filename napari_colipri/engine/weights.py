"""From verified files to networks with their weights, float32 on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.decoder import PatchConvDecoder, PatchDecoder
from napari_colipri.engine.official import HARMLESS_KEYS
from napari_colipri.engine.probe import Probe
from napari_colipri.engine.report_decoder import ReportDecoder
from napari_colipri.engine.towers import ColipriModel, build_model
from napari_colipri.engine.writing import no_report_decoder
from napari_colipri.errors import BundleError

__all__ = ["load_decoder", "load_probe", "load_report_decoder", "load_towers"]

#: Of the public layout, without any part in inference.
_DISPENSABLE = {"image_encoder.backbone.mask_token"}
#: Steps of random initial values. 255 million of them cost seconds and are overwritten at once.
_DRAWS = frozenset({"normal_", "uniform_", "kaiming_uniform_", "trunc_normal_", "xavier_uniform_", "erfinv_"})
_SCALES = frozenset({"mul_", "add_", "clamp_", "div_"})


class _NoDraws(torch.overrides.TorchFunctionMode):
    """Leave fresh parameters as memory gave them; buffers, such as rotary tables, are computed as ever."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        name, target = getattr(func, "__name__", ""), args[0] if args else given.get("tensor")
        if name in _DRAWS or (name in _SCALES and isinstance(target, nn.Parameter)):
            return target
        return func(*args, **given)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path.name} is not a whole safetensors file: {error}", code="bad_weights") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _fit(network: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Load ``tensors`` into ``network``; every name and shape must be accounted for."""
    wanted = network.state_dict()
    missing = wanted.keys() - tensors.keys() - _DISPENSABLE
    if missing:
        raise BundleError(f"{file} lacks the tensors {_some(missing)}.", code="bad_weights")
    extra = {key for key in tensors.keys() - wanted.keys() if not key.startswith(HARMLESS_KEYS)}
    if extra:
        raise BundleError(f"{file} holds tensors that this version does not know: {_some(extra)}.", code="bad_weights")
    held = {key: value for key, value in tensors.items() if key in wanted}
    wrong = {key for key, value in held.items() if value.shape != wanted[key].shape}
    wrong.discard("softmax_temperature")
    if wrong:
        raise BundleError(f"{file} does not fit config.json: {_some(wrong)} have other shapes.", code="bad_weights")
    if "softmax_temperature" in held:
        held["softmax_temperature"] = _temperature(held["softmax_temperature"], file)
    network.load_state_dict(held, strict=False, assign=False)


def _temperature(value: Tensor, file: str) -> Tensor:
    if value.numel() != 1 or not 0 < float(value) < 100:
        raise BundleError(f"{file} holds a softmax temperature that is no positive number.", code="bad_weights")
    return value.reshape(())


def load_towers(bundle: Bundle) -> ColipriModel:
    """Build both towers in float32 on the CPU, ready for inference.

    Raises
    ------
    BundleError
        Naming the tensors that are missing, unknown or of another shape.
    """
    config = bundle.config
    vision = {**config.vision.model_dump(), "size": bundle.input_spec.tower_size}
    text = {"config": config.text.bert(), "pool_heads": config.text.pool_heads}
    tensors = _read(bundle.file("model.safetensors"))
    with _NoDraws():
        model = build_model(vision, text)
    _fit(model, tensors, "model.safetensors")
    return model.eval().requires_grad_(False)


def load_decoder(bundle: Bundle) -> PatchConvDecoder | PatchDecoder:
    """Build the segmentation decoder in float32 on the CPU.

    Raises
    ------
    BundleError
        Code ``no_decoder`` if the bundle has none.
    """
    adapter = bundle.config.adapters.segmentation
    if adapter is None:
        raise BundleError("This model has no segmentation decoder: it draws no masks.", code="no_decoder")
    vision, classes = bundle.config.vision, len(adapter.classes) + 1
    decoder: PatchConvDecoder | PatchDecoder
    if adapter.architecture == "patch":
        decoder = PatchDecoder(embed_dim=vision.embed_dim, classes=classes, patch=vision.patch)
    else:
        decoder = PatchConvDecoder(embed_dim=vision.embed_dim, classes=classes, width=adapter.width)
    _fit(decoder, _read(bundle.file(adapter.file)), adapter.file)
    return decoder.eval().requires_grad_(False)


def load_probe(bundle: Bundle) -> Probe | None:
    """Build the probe in float32 on the CPU, or None if the bundle has none."""
    adapter = bundle.config.adapters.probes
    if adapter is None:
        return None
    width, count = bundle.config.vision.embed_dim, len(adapter.findings)
    probe = Probe(embed_dim=width, findings=count, pooling=adapter.pooling)
    _fit(probe, _read(bundle.file(adapter.file)), adapter.file)
    return probe.eval().requires_grad_(False)


def load_report_decoder(bundle: Bundle) -> ReportDecoder:
    """Build the report decoder in float32 on the CPU.

    Raises
    ------
    BundleError
        Code ``no_report_decoder`` if the bundle has none.
    """
    adapter = bundle.config.adapters.report
    if adapter is None:
        raise no_report_decoder()
    decoder = ReportDecoder(
        vocab_size=bundle.config.text.vocab_size,
        memory_dim=bundle.config.vision.projection_dim,
        width=adapter.width,
        depth=adapter.depth,
        heads=adapter.heads,
        length=adapter.length,
    )
    _fit(decoder, _read(bundle.file(adapter.file)), adapter.file)
    return decoder.eval().requires_grad_(False)

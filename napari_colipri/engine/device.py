"""Where and how precisely a model computes, and what to do when memory runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from napari_colipri.errors import BundleError, OutOfResources

__all__ = [
    "Choice",
    "DeviceName",
    "PrecisionName",
    "available_devices",
    "choose",
    "is_out_of_memory",
    "lower",
    "pinned_attention",
]

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Above this many tokens attention that writes its scores to memory is refused (4.6 GB per copy and layer at 13,824).
UNFUSED_TOKENS = 2048


@dataclass(frozen=True)
class Choice:
    """A device and the precision of the vision tower's transformer; everything after it is float32.

    Attributes
    ----------
    device
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    """

    device: str
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return _DTYPES[self.precision]

    @property
    def description(self) -> str:
        """Words for a label, such as ``"CPU, float32"`` or ``"NVIDIA RTX 4090, bfloat16"``."""
        if self.device == "cuda":
            return f"{torch.cuda.get_device_name()}, {self.precision}"
        return f"{ {'cpu': 'CPU', 'mps': 'Apple GPU'}[self.device] }, {self.precision}"


def _available(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_available()
    return device == "cpu" or (device == "mps" and torch.backends.mps.is_available())


def available_devices() -> tuple[str, ...]:
    """Return the devices of this machine that torch can use, fastest first."""
    return tuple(name for name in ("cuda", "mps", "cpu") if _available(name))


def choose(device: str = "auto", precision: str = "auto") -> Choice:
    """Pick a device (CUDA before MPS before CPU) and a precision.

    Automatic precision is bfloat16 where a CUDA device computes in it natively and float32 everywhere else: half
    precision on a CPU or on MPS is only for those who ask, because nothing guarantees the same answers there.

    Raises
    ------
    BundleError
        If the device is not there (code ``no_device``) or a name is unknown.
    """
    if device == "auto":
        device = available_devices()[0]
    elif device not in {"cpu", "cuda", "mps"}:
        raise BundleError(f"There is no device called {device!r}: use auto, cpu, cuda or mps.", code="no_device")
    elif not _available(device):
        raise BundleError(f"This machine has no {device.upper()} device that torch can use.", code="no_device")
    if precision == "auto":
        native = device == "cuda" and torch.cuda.get_device_capability()[0] >= 8
        precision = "bfloat16" if native else "float32"
    if precision not in _DTYPES:
        raise BundleError(
            f"There is no precision called {precision!r}: use auto or {', '.join(_DTYPES)}.", code="usage"
        )
    return Choice(device, precision)


def lower(choice: Choice) -> Choice | None:
    """Return what to try once when memory ran out under ``choice``, or None."""
    if choice.device == "cuda" and choice.precision == "float32":
        return Choice("cuda", "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float16")
    if choice.device != "cpu":
        return Choice("cpu", "float32")
    return Choice("cpu", "bfloat16") if choice.precision == "float32" else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that device or main memory ran out, in any of the ways torch says it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfResources):
        return True
    text = str(error).lower()
    said = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(words in text for words in said)


@contextlib.contextmanager
def pinned_attention(choice: Choice, *, tokens: int, heads: int) -> Iterator[None]:
    """Allow only fused attention around a large vision tower on a GPU; a CPU's is always fused.

    Raises
    ------
    OutOfResources
        Code ``no_fused_attention``, with the estimated GB, if there is none and ``tokens`` is large.
    """
    gigabytes = heads * tokens**2 * 4 / 1e9
    refused = OutOfResources(
        f"This device has no fused attention for {tokens} tokens: it would need {2 * gigabytes:.1f} GB for one layer.",
        code="no_fused_attention",
    )
    if choice.device == "cpu" or tokens <= UNFUSED_TOKENS:
        yield
        return
    if choice.device == "mps":
        raise refused
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    try:
        with sdpa_kernel(fused):
            yield
    except RuntimeError as error:
        if "no available kernel" in str(error).lower():
            raise refused from error
        raise

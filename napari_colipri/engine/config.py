"""What a bundle says about itself: the models of ``config.json``. No torch.

Every number that decides how much memory is asked for has a ceiling: a bundle is data from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

__all__ = [
    "CXR_BERT",
    "AdapterConfig",
    "AdaptersConfig",
    "BundleConfig",
    "CalibrationConfig",
    "ClassConfig",
    "FindingConfig",
    "InputConfig",
    "InputSpec",
    "ProbesConfig",
    "ReportConfig",
    "SettingsConfig",
    "TextConfig",
    "TrainedOn",
    "Verified",
    "VisionConfig",
]

Verified: TypeAlias = Literal["verified", "assumed"]
_Size: TypeAlias = Annotated[int, Field(ge=8, le=768)]
_Spacing: TypeAlias = Annotated[float, Field(gt=0.05, le=50.0)]
_Pair: TypeAlias = tuple[float, float]

#: Where the text tower of the official checkpoint and its vocabulary come from.
CXR_BERT = "microsoft/BiomedVLP-CXR-BERT-specialized (revision 5157bdb)"


@dataclass(frozen=True)
class InputSpec:
    """How a bundle samples a volume.

    Attributes
    ----------
    axis_order
        Axis codes of the model grid as nibabel writes them: the direction in which each index grows, e.g. ``"RAS"``.
    spacing_mm
        Voxel size of the model grid, mm, along its axes.
    size
        Voxels of the model grid along its axes.
    window
        Voxels that the tower takes at once, where that is less than the grid: windows of this size are encoded one
        after the other and their tokens stitched to one grid, which is pooled once. None: the whole grid at once.
    hu_window
        HU that become -1 and 1; values outside are clamped.
    padding
        What surrounds a volume smaller than the grid: ``"minimum"`` of the clamped volume.
    integer_hu
        Truncate HU toward zero after resampling, as the public chain does on integer input.
    preset
        Name of this way of sampling; part of the cache key.
    """

    axis_order: str
    spacing_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    hu_window: tuple[float, float] = (-1000.0, 1000.0)
    padding: str = "minimum"
    integer_hu: bool = False
    preset: str = "whole-5mm"
    window: tuple[int, int, int] | None = None

    @property
    def tower_size(self) -> tuple[int, int, int]:
        """Voxels that the vision tower takes at once."""
        return self.window or self.size


class _Frozen(BaseModel):
    """Immutable, and an unknown key is an error: a misspelt setting must not be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainedOn(_Frozen):
    """Range of input that the bundle has seen: body region, slice spacing in mm, extent along the body in mm."""

    body: str = "chest"
    spacing_mm: _Pair = (0.5, 8.0)
    extent_mm: _Pair = (90.0, 500.0)


class InputConfig(_Frozen):
    """``input`` of ``config.json``; see :class:`InputSpec` for the fields."""

    axis_order: str = "RAS"
    spacing_mm: tuple[_Spacing, _Spacing, _Spacing]
    size: tuple[_Size, _Size, _Size]
    hu_window: _Pair = (-1000.0, 1000.0)
    padding: Literal["minimum"] = "minimum"
    integer_hu: bool = False
    preset: str = Field(default="whole-5mm", min_length=1, max_length=64)
    window: tuple[_Size, _Size, _Size] | None = None
    trained_on: TrainedOn = TrainedOn()

    @field_validator("axis_order")
    @classmethod
    def _three_axes(cls, value: str) -> str:
        if len(value) != 3 or any(sum(letter in pair for letter in value) != 1 for pair in ("LR", "PA", "IS")):
            raise ValueError("axis_order must name each body axis once, such as RAS")
        return value

    @field_validator("hu_window")
    @classmethod
    def _rising(cls, value: _Pair) -> _Pair:
        if not value[0] < value[1]:
            raise ValueError("hu_window must rise")
        return value

    @model_validator(mode="after")
    def _window_fits(self) -> InputConfig:
        if self.window is not None and any(part > whole for part, whole in zip(self.window, self.size, strict=True)):
            raise ValueError("input.window must not be larger than input.size")
        return self

    @model_serializer(mode="wrap")
    def _without_a_window(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A bundle whose grid is taken whole keeps the hash, and the libraries, that it had before windows were known.
        values: dict[str, Any] = handler(self)
        if self.window is None:
            values.pop("window", None)
        return values

    def spec(self) -> InputSpec:
        """Return the frozen value that preprocessing takes."""
        values = self.model_dump(exclude={"trained_on"})
        return InputSpec(**values)


class VisionConfig(_Frozen):
    """Sizes of the vision tower (Primus); ``detail`` is the width of its convolutional path, 0 where it has none."""

    patch: tuple[Literal[8], Literal[8], Literal[8]] = (8, 8, 8)
    embed_dim: int = Field(ge=12, le=2048)
    depth: int = Field(ge=1, le=64)
    heads: int = Field(ge=1, le=64)
    projection_dim: int = Field(ge=4, le=4096)
    pool_heads: int = Field(ge=1, le=64)
    detail: int = Field(default=0, ge=0, le=256)

    @model_serializer(mode="wrap")
    def _without_detail(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As with a window: a tower without the path keeps the hash that it had before there was one.
        values: dict[str, Any] = handler(self)
        if not self.detail:
            values.pop("detail", None)
        return values

    @model_validator(mode="after")
    def _rotary(self) -> VisionConfig:
        # dynamic-network-architectures: three axes share a head's rotary table in pairs of pairs
        if self.embed_dim % (6 * self.heads):
            raise ValueError(f"embed_dim {self.embed_dim} must be a multiple of 6 x heads ({self.heads})")
        if self.projection_dim % self.pool_heads:
            raise ValueError("projection_dim must be a multiple of pool_heads")
        return self


class TextConfig(_Frozen):
    """Sizes of the text tower (BERT) and how its tokens are made and pooled."""

    hidden_size: int = Field(ge=4, le=4096)
    num_hidden_layers: int = Field(ge=1, le=48)
    num_attention_heads: int = Field(ge=1, le=64)
    intermediate_size: int = Field(ge=4, le=16384)
    max_position_embeddings: int = Field(ge=8, le=8192)
    vocab_size: int = Field(ge=5, le=262144)
    type_vocab_size: int = Field(default=2, ge=1, le=16)
    layer_norm_eps: float = Field(default=1e-12, gt=0, lt=1e-2)
    pool_heads: int = Field(ge=1, le=64)
    pooling: Literal["masked", "unmasked"] = "masked"
    max_length: int = Field(default=256, ge=8, le=8192)
    lower_case: bool = True

    @model_validator(mode="after")
    def _fits(self) -> TextConfig:
        if self.max_length > self.max_position_embeddings:
            raise ValueError("max_length exceeds max_position_embeddings")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % self.pool_heads:
            raise ValueError("hidden_size must be a multiple of both numbers of heads")
        return self

    def bert(self) -> dict[str, Any]:
        """Return the keyword arguments of ``transformers.BertConfig``."""
        return self.model_dump(exclude={"pool_heads", "pooling", "max_length", "lower_case"})


class SettingsConfig(_Frozen):
    """Which of the choices that weights do not reveal were verified, and which only assumed."""

    axis_order: Verified = "assumed"
    pooling: Verified = "assumed"
    preset: Verified = "assumed"

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of the settings that nobody has verified."""
        return tuple(name for name, state in self.model_dump().items() if state == "assumed")


class FindingConfig(_Frozen):
    """One finding and its two prompt ensembles."""

    name: str = Field(min_length=1, max_length=80)
    present: tuple[str, ...] = Field(min_length=1, max_length=64)
    absent: tuple[str, ...] = Field(min_length=1, max_length=64)
    trained: bool = True


class ClassConfig(_Frozen):
    """One class of a segmentation adapter."""

    label: int = Field(ge=1, le=255)
    name: str
    display_name: str
    code: dict[str, str] | None = None


class AdapterConfig(_Frozen):
    """A segmentation decoder: its file, architecture, width and classes (labels 1, 2, … without gaps).

    ``patch`` decodes tokens alone, as Primus does; ``patch-conv`` adds a shallow convolutional path over the image, and
    only it has a width.
    """

    file: str = "segmentation.safetensors"
    architecture: Literal["patch-conv", "patch"] = "patch-conv"
    width: int = Field(default=32, ge=8, le=256, multiple_of=8)
    classes: tuple[ClassConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _labels(self) -> AdapterConfig:
        if [item.label for item in self.classes] != list(range(1, len(self.classes) + 1)):
            raise ValueError("labels must be 1, 2, … in order: they are the decoder's output channels")
        return self


class ProbesConfig(_Frozen):
    """A probe: its file, how it pools, and per finding the threshold of highest F1 on validation studies."""

    file: str = "probes.safetensors"
    pooling: Literal["average", "max", "attention", "mean-query", "four-query"]
    findings: tuple[str, ...] = Field(min_length=1, max_length=512)
    thresholds: tuple[float | None, ...]

    @model_validator(mode="after")
    def _one_each(self) -> ProbesConfig:
        if len(self.thresholds) != len(self.findings) or len(set(self.findings)) != len(self.findings):
            raise ValueError("findings must differ, and each needs one threshold")
        return self


class ReportConfig(_Frozen):
    """A report decoder: its file and sizes; longest text in tokens; how many texts are weighed against each other."""

    file: str = "report.safetensors"
    width: int = Field(ge=8, le=4096)
    depth: int = Field(ge=1, le=48)
    heads: int = Field(ge=1, le=64)
    length: int = Field(ge=8, le=8192)
    beams: int = Field(default=1, ge=1, le=16)

    @model_validator(mode="after")
    def _fits(self) -> ReportConfig:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


class CalibrationConfig(_Frozen):
    """A table of calibrated findings; what is in it is checked when it is read."""

    file: Literal["calibration.json"] = "calibration.json"


class AdaptersConfig(_Frozen):
    """What a bundle brings beside its towers; each is optional, and what is absent is not written."""

    segmentation: AdapterConfig | None = None
    report: ReportConfig | None = None
    probes: ProbesConfig | None = None
    calibration: CalibrationConfig | None = None

    @model_serializer(mode="wrap")
    def _present(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # a bundle's hash covers this table: an adapter that is not there must leave no trace in it
        return {name: value for name, value in serialise(self).items() if value is not None}

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the adapters' files."""
        every = (self.segmentation, self.report, self.probes, self.calibration)
        return tuple(each.file for each in every if each is not None)


class BundleConfig(_Frozen):
    """The whole of ``config.json``."""

    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    title: str = Field(min_length=1, max_length=120)
    demonstration: bool = False
    input: InputConfig
    vision: VisionConfig
    text: TextConfig
    settings: SettingsConfig = SettingsConfig()
    findings: tuple[FindingConfig, ...] = Field(default=(), max_length=512)
    unresolved: tuple[str, ...] = ()
    adapters: AdaptersConfig = AdaptersConfig()
    intended_use: str = ""
    licence: str = ""
    source: dict[str, Any] | None = None
    training: dict[str, Any] = {}
    sha256: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_space(self) -> BundleConfig:
        if self.vision.projection_dim != self.text.hidden_size:
            raise ValueError("vision.projection_dim and text.hidden_size must be equal: the towers share one space")
        for name, size in (("size", self.input.size), ("window", self.input.window or self.input.size)):
            if any(voxels % patch for voxels, patch in zip(size, self.vision.patch, strict=True)):
                raise ValueError(f"input.{name} must be a multiple of vision.patch")
        return self

"""The configuration of a run: frozen dataclasses, read from YAML, every key checked by name.

A file may build on a preset or another file by its first key, ``base``; mappings are merged key by key, and null takes
something away (``objectives: {report: null}``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from training.loop.errors import ConfigError
from training.objectives.model import ModelConfig
from training.objectives.task import ObjectivesConfig

__all__ = [
    "PRESETS",
    "DataConfig",
    "OptimiserConfig",
    "RunConfig",
    "TrainingConfig",
    "load_config",
    "override",
    "parse_config",
]

_NEED_VOXELS = ("masked", "dense", "lesions", "detail", "masks")
PRESETS = Path(__file__).resolve().parents[1] / "presets"


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW and its schedule.

    Attributes
    ----------
    learning_rate, weight_decay, betas
        Of AdamW; vectors and scalars are not decayed.
    clip
        Largest norm of the gradient; 0: no limit.
    warm_up
        Steps of linear rise.
    schedule, power, floor
        After that, from the whole rate to ``floor`` of it along a cosine or ``(1 - progress) ** power``.
    """

    learning_rate: float = 3.0e-4
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    warm_up: int = 100
    schedule: Literal["cosine", "polynomial", "constant"] = "cosine"
    power: float = 1.0
    floor: float = 0.0


@dataclass(frozen=True)
class RunConfig:
    """Length, size and habits of a run.

    Attributes
    ----------
    steps, minutes
        The run ends with whichever comes first; null: no such limit. The schedule follows the nearer end, so a run that
        is to resume bit for bit states steps only.
    batch, accumulate
        Volumes of a process in one pass, and passes per step: a step sees ``batch · accumulate · processes`` volumes.
    precision
        Of the passes; weights and optimiser stay float32. float16 needs a GPU.
    checkpointing, compile
        Per transformer block: recompute in the backward pass instead of keeping activations; ``torch.compile``.
    ema
        Decay of the averaged weights; 0: none.
    seed
        Of weights, order and everything random.
    patience
        Steps without a finite gradient in a row that end the run.
    log_every, save_every, keep
        Steps between log lines and between checkpoints, and how many checkpoints stay.
    workers
        Processes that read batches ahead.
    validate_every, validate_batches
        Steps between looks at held-out studies (0: none), and batches of each look.
    sharding
        ``fsdp``: processes share weights, optimiser and averaged weights instead of each holding all; on GPUs only.
    """

    steps: int | None = 1000
    minutes: float | None = None
    batch: int = 8
    accumulate: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpointing: bool = False
    compile: bool = False
    ema: float = 0.998
    seed: int = 1
    patience: int = 8
    log_every: int = 10
    save_every: int = 200
    keep: int = 3
    workers: int = 0
    validate_every: int = 0
    validate_batches: int = 8
    tensorboard: bool = True
    sharding: Literal["none", "fsdp"] = "none"


@dataclass(frozen=True)
class DataConfig:
    """How prepared studies become batches.

    Attributes
    ----------
    unpaired
        Share of batches that hold image-only studies, where there are any.
    crop
        ``random`` within the stored grid, or ``centre`` as the product does.
    augment, vary_text
        Vary images; shuffle sections and sentences.
    captions
        Share of reports that a single sentence on one finding stands in for; the report decoder wants whole ones.
    pairs
        Opposite sentences made per study (at most), or per finding.
    pairs_by
        ``study``: a study's own sentences and those of others; ``finding``: each finding of every study in a batch.
    cached
        Of phantoms: encode so many once, with a vision tower that stays as it is, and train on the kept tokens; 0: no.
    outlines, outline_every
        Folder of ``python -m training data lungs``: every so many batches of phantoms take one of these scans along.
    masks
        Of phantoms: the ``short`` list of classes that the decoder draws, or ``all`` 35 (lobes, chambers).
    """

    unpaired: float = 0.5
    crop: Literal["random", "centre"] = "random"
    augment: bool = True
    vary_text: bool = True
    captions: float = 0.0
    pairs: int = 8
    pairs_by: Literal["study", "finding"] = "study"
    cached: int = 0
    outlines: str | None = None
    outline_every: int = 4
    masks: Literal["short", "all"] = "short"


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about a run but its data and its folder.

    Attributes
    ----------
    name
        Of the recipe.
    vocabulary
        Folder that holds ``vocab.txt`` or ``tokenizer.json``; null: the embedded bundle's, or that of ``start``.
    start
        Bundle whose towers the run begins with, by name or folder, or a run, whose heads are taken along; null: fresh
        weights.
    start_with
        Which of its towers. A convolutional path that the bundle lacks starts silent, words that it does not know start
        fresh.
    freeze
        Transformers that stay as they are: ``vision``, ``text``; ``towers``: both, with projector and poolings.
    model, objectives, optimiser, run, data
        See there.
    """

    name: str = "run"
    vocabulary: str | None = None
    start: str | None = None
    start_with: tuple[Literal["vision", "text"], ...] = ("vision", "text")
    freeze: tuple[Literal["vision", "text", "towers"], ...] = ()
    model: ModelConfig = field(default_factory=ModelConfig)
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def with_run(self, **values: Any) -> TrainingConfig:
        """Return a copy with other values in ``run``."""
        return replace(self, run=replace(self.run, **values))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and YAML can hold."""
        return asdict(self)

    @property
    def vocabulary_folder(self) -> Path:
        """Where the words come from."""
        if self.vocabulary is not None:
            return Path(self.vocabulary)
        from napari_colipri.engine.bundle import open_bundle
        from training.loop import checkpoint

        if self.start is not None and (found := checkpoint.latest(Path(self.start))) is not None:
            return parse_config(found.state["config"], self.start).vocabulary_folder
        return open_bundle(self.start).path


def _strict(kind: type[TrainingConfig]) -> TypeAdapter[TrainingConfig]:
    """Return a reader that refuses unknown keys at every depth and never guesses types."""
    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(kind))


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}


def _read(source: str | Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    path = Path(source)
    if not path.suffix:
        path = PRESETS / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in PRESETS.glob("*.yaml")))
        raise ConfigError(f"There is no configuration {source}; give a .yaml file or one of the presets: {known}.")
    if path.resolve() in seen:
        raise ConfigError(f"{path.name} builds on itself.")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name} must hold a mapping, such as `run: {{steps: 100}}`.")
    base = found.pop("base", None)
    if base is None:
        return found
    beside = path.parent / str(base)
    below = _read(beside if beside.suffix else str(base), (*seen, path.resolve()))
    merged: dict[str, Any] = _merged(below, found)
    return merged


def override(values: dict[str, Any], assignment: str) -> dict[str, Any]:
    """Return ``values`` with one ``key=value`` on top."""
    key, sign, text = assignment.partition("=")
    if not sign or not key:
        raise ConfigError(f"An override reads key=value, such as run.steps=100, not {assignment!r}.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value of {key} is not YAML: {text!r}.") from error
    for part in reversed(key.split(".")):
        value = {part: value}
    merged: dict[str, Any] = _merged(values, value)
    return merged


def parse_config(values: Mapping[str, Any], where: str) -> TrainingConfig:
    """Return the configuration that ``values`` describe.

    Raises
    ------
    ConfigError
        Naming ``where``, the key and what is wrong with it.
    """
    try:
        config = _strict(TrainingConfig).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            raise ConfigError(f"{where}: unknown key {key}.") from error
        raise ConfigError(f"{where}: {key}: {first['msg'].lower()} (it is {first['input']!r}).") from error
    _check(config, where)
    return config


def _check(config: TrainingConfig, where: str) -> None:
    """Refuse values whose types are right and that still cannot be."""
    model, run = config.model, config.run
    if model.embed_dim % (6 * model.heads):
        raise ConfigError(f"{where}: model.embed_dim must be a multiple of 6 x model.heads.")
    if any(edge % model.patch for edge in model.size):
        raise ConfigError(f"{where}: model.size must be a multiple of model.patch.")
    if run.steps is None and run.minutes is None:
        raise ConfigError(f"{where}: run.steps and run.minutes are both null; the run would never end.")
    positive = {"batch": run.batch, "accumulate": run.accumulate, "keep": run.keep, "patience": run.patience}
    positive |= {"log_every": run.log_every, "save_every": run.save_every}
    for key, value in positive.items():
        if value < 1:
            raise ConfigError(f"{where}: run.{key} must be at least 1.")
    if model.detail and config.objectives.masked is not None:
        raise ConfigError(f"{where}: with model.detail, visible patches know of hidden ones: masked needs 0.")
    without = [key for key in _NEED_VOXELS if getattr(config.objectives, key) is not None]
    if config.data.cached and without:
        raise ConfigError(f"{where}: data.cached keeps neither image nor masks, which {' and '.join(without)} need.")
    if config.objectives.detail is not None and not model.detail:
        raise ConfigError(f"{where}: objectives.detail asks the convolutional path, and model.detail is 0.")
    if not any(asdict(config.objectives).values()):
        raise ConfigError(f"{where}: objectives names no objective.")


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a preset by name or a YAML file.

    Parameters
    ----------
    source
        ``crm-toy``, or a path that ends in ``.yaml``.
    overrides
        ``key=value`` with dots, such as ``run.steps=100``; values are YAML.

    Raises
    ------
    ConfigError
        If there is no such file, it is not YAML, or a key or value cannot be.
    """
    values = _read(source)
    for assignment in overrides:
        values = override(values, assignment)
    return parse_config(values, Path(source).name)

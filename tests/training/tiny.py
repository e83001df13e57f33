"""Models of a few thousand weights and volumes of a few thousand voxels, on a grid that is no cube."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from training.objectives.base import Batch
from training.objectives.contrastive import ContrastiveConfig
from training.objectives.detail import DetailConfig
from training.objectives.lesions import LesionsConfig
from training.objectives.masked import MaskedConfig
from training.objectives.masks import MasksConfig
from training.objectives.model import ModelConfig, TextConfig
from training.objectives.opposite import OppositeConfig
from training.objectives.report import ReportConfig
from training.objectives.supervised import DenseConfig, LabelsConfig
from training.objectives.task import ObjectivesConfig, Task, build_task

VOCABULARY = Path(__file__).parents[2] / "napari_colipri" / "bundles" / "demo"
SIZE = (16, 24, 32)

MODEL = ModelConfig(
    size=SIZE,
    embed_dim=36,
    depth=2,
    heads=3,
    projection_dim=32,
    pool_heads=4,
    drop_path=0.0,
    text=TextConfig(layers=1, heads=2, intermediate=32, length=24, dropout=0.0),
)
WOBBLY = replace(MODEL, drop_path=0.3, text=replace(MODEL.text, dropout=0.2))
OBJECTIVES = {
    "contrastive": ObjectivesConfig(contrastive=ContrastiveConfig()),
    "opposite": ObjectivesConfig(opposite=OppositeConfig()),
    "report": ObjectivesConfig(report=ReportConfig(width=24, depth=1, heads=2, dropout=0.0)),
    "masked": ObjectivesConfig(masked=MaskedConfig(images="all", width=24, heads=2)),
    "dense": ObjectivesConfig(dense=DenseConfig(classes=4)),
    "labels": ObjectivesConfig(labels=LabelsConfig()),
    "lesions": ObjectivesConfig(lesions=LesionsConfig()),
    "masks": ObjectivesConfig(masks=MasksConfig(classes=4, width=8, left=1, right=2, within=(3,))),
}
ALL = ObjectivesConfig(**{name: getattr(config, name) for name, config in OBJECTIVES.items()})
#: Asks a part of the tower that ``MODEL`` has not; masked images have no use for that part.
DETAIL = ObjectivesConfig(detail=DetailConfig(classes=4))

REPORTS = [
    "There is a nodule in the right upper lobe.",
    "There is a left pleural effusion.",
    "The heart is enlarged. There is a hiatal hernia.",
    "The lungs are clear.",
]
PAIRS = [
    [("There is a nodule.", "There is no nodule.", 1), ("There is emphysema.", "There is no emphysema.", 0)],
    [("There is a pleural effusion.", "There is no pleural effusion.", 1)],
    [("The heart is enlarged.", "The heart is not enlarged.", 1), ("", "", -1)],
    [],
]


def task(objectives: ObjectivesConfig = ALL, model: ModelConfig = MODEL, seed: int = 0) -> Task:
    """A task with the weights that ``seed`` gives."""
    if objectives.detail is not None:
        model = replace(model, detail=8)
    torch.manual_seed(seed)
    return build_task(model, objectives, VOCABULARY)


def batch(rows: range = range(4), seed: int = 0) -> Batch:
    """Studies ``rows`` of four that differ in brightness and texture, with everything that an objective can ask for."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((4, 1, *SIZE), generator=generator) * 0.1
    image = noise + torch.linspace(-0.6, 0.6, 4).reshape(4, 1, 1, 1, 1)
    image[1, :, :, :8] += 0.3
    image[2, :, 8:] -= 0.3
    labels = torch.randint(0, 2, (4, 18), generator=generator).float()
    labels[0, :3] = torch.nan
    mask = (image[:, 0] > 0).to(torch.uint8) + (image[:, 0] > 0.3).to(torch.uint8)
    mask[3, :8] = 255
    bits = (image[:, 0] > 0.5).int() + 2 * (image[:, 0] < -0.7).int()
    bits[3] = -1
    visible = torch.rand((4, 24), generator=generator).argsort(1)[:, :6].sort(1).values
    return {
        "image": image[rows.start : rows.stop],
        "report": REPORTS[rows.start : rows.stop],
        "pairs": PAIRS[rows.start : rows.stop],
        "labels": labels[rows.start : rows.stop],
        "mask": mask[rows.start : rows.stop],
        "finding_mask": bits[rows.start : rows.stop],
        "visible": visible[rows.start : rows.stop],
        "patient": [f"p{row}" for row in rows],
        "study": [f"s{row}" for row in rows],
    }


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter's gradient."""
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}


def assert_same_gradients(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Equal but for rounding, and not all zero."""
    assert got.keys() == wanted.keys()
    largest = max(float(value.abs().max()) for value in wanted.values())
    assert largest > 1e-4
    for name, value in wanted.items():
        torch.testing.assert_close(got[name], value, atol=2e-5 * max(1.0, largest), rtol=2e-4, msg=name)

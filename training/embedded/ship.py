"""From a training run to a bundle: averaged weights in fp16, configuration, vocabulary and model card."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from napari_colipri.atomic import write_text
from napari_colipri.engine.bundle import Bundle
from napari_colipri.engine.bundle_files import file_sha256
from napari_colipri.engine.config import BundleConfig, InputSpec
from training.embedded.config import Sizes
from training.embedded.phantom.anatomy import CLASSES
from training.embedded.phantom.findings import PLANTED
from training.embedded.phantom.report import check_disjoint, prompts, vocabulary
from training.embedded.real import TRAINING_SCANS
from training.embedded.text import write_vocabulary
from training.embedded.train import read_meta
from training.ship.writing import EMBEDDED_LIMITS, write_bundle

__all__ = ["CT_RATE_UNRESOLVED", "input_spec", "seal", "ship", "with_decoder", "with_towers"]

#: Findings of CT-RATE that 5 mm voxels cannot show; the bundle gives no number for them.
CT_RATE_UNRESOLVED = (
    "Pulmonary fibrotic sequela",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Bronchiectasis",
    "Interlobular septal thickening",
)

_DISPLAY: dict[str, tuple[str, dict[str, str] | None]] = {
    "lung_left": ("Left lung", {"scheme": "SCT", "value": "44029006", "meaning": "Left lung"}),
    "lung_right": ("Right lung", {"scheme": "SCT", "value": "3341006", "meaning": "Right lung"}),
    "heart": ("Heart", {"scheme": "SCT", "value": "80891009", "meaning": "Heart"}),
    "aorta": ("Aorta", {"scheme": "SCT", "value": "15825003", "meaning": "Aorta"}),
    "lung_vessels": (
        "Central pulmonary vessels",
        {"scheme": "SCT", "value": "81040000", "meaning": "Pulmonary artery"},
    ),
    "bones": ("Bones", {"scheme": "SCT", "value": "272673000", "meaning": "Bone"}),
    "liver": ("Liver", {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}),
    "trachea": ("Trachea and main bronchi", {"scheme": "SCT", "value": "44567001", "meaning": "Trachea"}),
}

ATTRIBUTION = (
    "ACRIN-FLT-Breast, The Cancer Imaging Archive, CC BY 3.0",
    "Lung-PET-CT-Dx (patient A0002), The Cancer Imaging Archive, CC BY 4.0",
    "Colorectal-Liver-Metastases (CRLM-CT-1004, CRLM-CT-1006), The Cancer Imaging Archive, CC BY 4.0",
)


def input_spec(sizes: Sizes) -> InputSpec:
    """How the embedded bundle samples a volume."""
    return BundleConfig.model_validate(_config(sizes, {})).input.spec()


def _towers(average: dict[str, Tensor]) -> dict[str, Tensor]:
    scale = float(average["log_scale"].exp().clamp(max=100.0))
    out = {k[len("towers.") :]: v for k, v in average.items() if k.startswith("towers.")}
    return {**out, "softmax_temperature": torch.tensor(1.0 / scale)}


def _config(sizes: Sizes, training: dict[str, Any]) -> dict[str, Any]:
    findings = []
    for name in PLANTED:
        present, absent = prompts(name)
        findings.append({"name": name, "present": present, "absent": absent, "trained": True})
    classes = [
        {"label": label, "name": name, "display_name": _DISPLAY[name][0], "code": _DISPLAY[name][1]}
        for label, name in enumerate(CLASSES)
        if label
    ]
    return {
        "format": 1,
        "name": "demo",
        "title": "Demonstration model (trained on phantoms)",
        "demonstration": True,
        "input": {
            "axis_order": "RAS",
            "spacing_mm": [sizes.spacing_mm] * 3,
            "size": [sizes.grid] * 3,
            "hu_window": [-1000, 1000],
            "padding": "minimum",
            "integer_hu": False,
            "preset": "whole-5mm",
            "trained_on": {"body": "chest", "spacing_mm": [0.5, 8.0], "extent_mm": [90, 400]},
        },
        "vision": {
            "patch": [sizes.patch] * 3,
            "embed_dim": sizes.embed_dim,
            "depth": sizes.depth,
            "heads": sizes.heads,
            "projection_dim": sizes.projection_dim,
            "pool_heads": sizes.pool_heads,
        },
        "text": {
            "hidden_size": sizes.projection_dim,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "intermediate_size": sizes.text_intermediate,
            "max_position_embeddings": sizes.text_length,
            "vocab_size": len(vocabulary()),
            "pool_heads": sizes.pool_heads,
            "pooling": "masked",
            "max_length": sizes.text_length,
            "lower_case": True,
        },
        "settings": {"axis_order": "verified", "pooling": "verified", "preset": "verified"},
        "findings": findings,
        "unresolved": list(CT_RATE_UNRESOLVED),
        "adapters": {
            "segmentation": {
                "file": "segmentation.safetensors",
                "architecture": "patch-conv",
                "width": sizes.decoder_width,
                "classes": classes,
            }
        },
        "intended_use": "Shows what the software does, on a CPU. Research use only, not for clinical decisions.",
        "licence": "Apache-2.0; real volumes in training: " + "; ".join(ATTRIBUTION),
        "training": training,
    }


def _card(config: dict[str, Any], figures_table: str) -> str:
    training = config["training"]
    return f"""# {config["title"]}

{config["intended_use"]}

A small COLIPRI-style model: Primus vision tower ({config["vision"]["embed_dim"]} wide,
{config["vision"]["depth"]} blocks), BERT text tower, both pooled by attention into one space, and a segmentation
decoder. It sees a volume at 5 mm voxels and cannot show fine structure. No number at all for:
{", ".join(config["unresolved"])}.

## Training data
- {training["phantoms"]} procedural chest phantoms of our own: 13 findings, 8 classes, reports in our own words.
- {len(TRAINING_SCANS)} real volumes of 4 patients, for the outline of the lungs only (threshold pseudo-labels):
{chr(10).join("  - " + line for line in ATTRIBUTION)}

## Supervision
Image and report are aligned by a contrastive loss and by opposite sentences (a sentence against its negation). Because
the phantoms' truth is known, three further signals are used: class fractions and findings per patch, a label head on
the pooled embedding (both heads are dropped from the bundle), and masks for the decoder. {training["steps"]} steps,
{training["volumes"]} volumes drawn, {training["minutes"]} minutes on two CPU cores. In a second stage the vision tower
is frozen and image and text are aligned in batches of 64 on cached tokens.{_later_stages(training)}

## Held-out figures
Phantoms from seeds never trained on; the prompts of the bundle stand nowhere verbatim in training text.
These figures say nothing about patients.

{figures_table}
## Limits
Phantoms are simpler than people. Probabilities are uncalibrated. Findings on real scans are a demonstration only.

## Licence
Apache-2.0. Attribution for the real volumes above.
"""


def _later_stages(training: dict[str, Any]) -> str:
    """Say what was trained after the towers, one sentence a stage."""
    out = ""
    if (stage := training.get("alignment_stage")) is not None:
        out += (
            f"\nThat alignment went on for {stage['steps']} steps in {stage['minutes']} minutes on "
            f"{stage['phantoms']} further phantoms."
        )
    if (stage := training.get("decoder_stage")) is not None:
        out += (
            f"\nThe decoder alone was then trained for {stage['steps']} steps in {stage['minutes']} minutes on "
            f"{stage['phantoms']} further phantoms\nand the real volumes, rare classes weighted up."
        )
    return out


def _phantoms(pool: Path) -> int:
    return sum(1 for item in pool.glob("*.npz") if not item.name.startswith("."))


def seal(folder: Path, config: dict[str, Any], figures_table: str = "") -> None:
    """Write model card and configuration, with the checksums of every other file, into ``folder``."""
    held = sorted(file for file in folder.iterdir() if file.name not in ("README.md", "config.json"))
    config["sha256"] = {file.name: file_sha256(file) for file in held}
    texts = {"README.md": _card(config, figures_table), "config.json": json.dumps(config, indent=1) + "\n"}
    for name, text in texts.items():
        write_text(folder / name, text)


def with_decoder(bundle: Bundle, decoder: dict[str, Tensor], target: Path, stage: dict[str, Any]) -> None:
    """Write ``bundle`` with another decoder into ``target``; ``stage`` says how it was trained."""
    _renew(bundle, "segmentation.safetensors", decoder, target, {"decoder_stage": stage})


def with_towers(bundle: Bundle, average: dict[str, Tensor], target: Path, stage: dict[str, Any]) -> None:
    """Write ``bundle`` with other towers into ``target``; ``stage`` says how they were aligned."""
    _renew(bundle, "model.safetensors", _towers(average), target, {"alignment_stage": stage})


def _renew(bundle: Bundle, name: str, tensors: dict[str, Tensor], target: Path, stage: dict[str, Any]) -> None:
    """Write a bundle anew, one of its files replaced by ``tensors``."""
    config: dict[str, Any] = json.loads((bundle.path / "config.json").read_text(encoding="utf-8"))
    for key, record in stage.items():
        before = config["training"].get(key)
        config["training"][key] = record if before is None else _both(before, record)
    files = {other: bundle.file(other) for other in bundle.config.sha256 if other != name}
    write_bundle(target, config, {name: tensors}, files, _card(config, ""), limits=EMBEDDED_LIMITS)


def _both(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a stage that went on from an earlier one: the steps and minutes of both."""
    return record | {key: before[key] + record[key] for key in ("steps", "minutes")}


def ship(run: Path, pool: Path, target: Path, figures_table: str = "") -> Path:
    """Write a bundle from the averaged weights of a run.

    Parameters
    ----------
    run
        Folder with ``checkpoint.safetensors``.
    pool
        Phantoms it was trained on, to be counted.
    target
        Bundle folder; one that is there is replaced as a whole, at the end.
    figures_table
        Markdown for the model card.
    """
    check_disjoint()
    checkpoint = run / "checkpoint.safetensors"
    meta = read_meta(checkpoint)
    average = {k[len("average.") :]: v for k, v in load_file(checkpoint).items() if k.startswith("average.")}
    training = {
        "phantoms": _phantoms(pool),
        "real_volumes": list(TRAINING_SCANS),
        "steps": meta["step"],
        "volumes": meta["volumes"],
        "minutes": round(meta["seconds"] / 60),
        "recipe": meta["recipe"],
        "attribution": list(ATTRIBUTION),
    }
    config = _config(Sizes(**meta["sizes"]), training)
    decoder = {k[len("decoder.") :]: v for k, v in average.items() if k.startswith("decoder.")}
    tensors = {"model.safetensors": _towers(average), "segmentation.safetensors": decoder}
    with tempfile.TemporaryDirectory() as name:
        vocabulary_file = Path(name) / "vocab.txt"
        write_vocabulary(vocabulary_file)
        card = _card(config, figures_table)
        write_bundle(target, config, tensors, {"vocab.txt": vocabulary_file}, card, limits=EMBEDDED_LIMITS)
    return target

"""The model card: what a model is for, what it learned from, what it scored, what it cannot do, whose data it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from napari_colipri.engine.config import BundleConfig

__all__ = ["CardFacts", "model_card"]


@dataclass(frozen=True)
class CardFacts:
    """What the configuration does not say.

    Attributes
    ----------
    data
        One line per source of training data.
    supervision
        Which signals were used, in sentences; anything beyond the published recipe is named.
    evaluation
        What the held-out studies are, and what the figures do not say.
    limits
        One line each.
    attribution
        One line per collection with its licence.
    """

    data: tuple[str, ...]
    supervision: str
    evaluation: str
    limits: tuple[str, ...] = ("Research use only. Not for clinical decisions.",)
    attribution: tuple[str, ...] = field(default=())


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) if lines else "- none"


def _parts(config: BundleConfig) -> list[str]:
    vision, text = config.vision, config.text
    spacing = " × ".join(f"{mm:g}" for mm in config.input.spacing_mm)
    size = " × ".join(str(n) for n in config.input.size)
    lines = [
        f"Vision tower: Primus, {vision.embed_dim} wide, {vision.depth} blocks, {size} voxels of {spacing} mm.",
        f"Text tower: BERT, {text.hidden_size} wide, {text.num_hidden_layers} layers, {text.vocab_size} word pieces.",
    ]
    adapters = config.adapters
    if adapters.segmentation is not None:
        names = ", ".join(item.display_name for item in adapters.segmentation.classes)
        lines.append(f"Segmentation decoder ({adapters.segmentation.architecture}): {names}.")
    if adapters.report is not None:
        lines.append(f"Report decoder: {adapters.report.depth} layers, {adapters.report.width} wide.")
    if adapters.probes is not None:
        lines.append(f"Probe ({adapters.probes.pooling} pooling) for {len(adapters.probes.findings)} findings.")
    if adapters.calibration is not None:
        lines.append("Calibration of probabilities, shown only in the domain it was fitted in.")
    return lines


def model_card(config: BundleConfig, facts: CardFacts, figures: str) -> str:
    """Return ``README.md``.

    Parameters
    ----------
    config
        Of the bundle.
    facts
        See :class:`CardFacts`.
    figures
        Markdown tables of held-out figures.
    """
    blind = f"\nNo number at all for: {', '.join(config.unresolved)}.\n" if config.unresolved else ""
    return f"""# {config.title}

{config.intended_use}

## What it is
{_list(_parts(config))}
{blind}
## Training data
{_list(facts.data)}

## Supervision
{facts.supervision}

## Held-out figures
{facts.evaluation}

{figures.strip()}

## Limits
{_list(facts.limits)}

## Licence
{config.licence}

Attribution:
{_list(facts.attribution)}
"""

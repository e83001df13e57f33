"""Zero-shot findings and masks on phantoms whose seeds were never trained on. Says nothing about patients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks._common import parser, publish


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--bundle", help="name or folder; the embedded one without it")
    options.add_argument("--count", type=int, default=400, help="phantoms")
    options.add_argument("--skip", type=int, default=0, help="held-out seeds to leave out first")
    options.add_argument("--table", type=Path, help="write the Markdown tables of the model card here")
    chosen = options.parse_args(arguments)
    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.embedded.evaluate import evaluate, table

    session = Session(open_bundle(chosen.bundle))
    session.load()
    figures = evaluate(session, chosen.count, skip=chosen.skip)
    if chosen.table is not None:
        chosen.table.write_text(table(figures), encoding="utf-8")
    bundle = f"{session.bundle.name} {session.bundle.hash[:8]}"
    rows: list[Mapping[str, str]] = [
        {
            "finding": name,
            "AUROC": f"{value:.3f}",
            "95 % interval": f"{low:.3f} to {high:.3f}",
            "positives": f"{positives} of {figures.phantoms}",
            "bundle": bundle,
            "target": "",
        }
        for name, (value, low, high, positives) in figures.auroc.items()
    ]
    value, low, high = figures.macro
    rows.append(
        {
            "finding": f"macro, {len(figures.auroc)} findings",
            "AUROC": f"{value:.3f}",
            "95 % interval": f"{low:.3f} to {high:.3f}",
            "positives": "",
            "bundle": bundle,
            "target": "≥ 0.80",
        }
    )
    publish("Zero-shot findings on held-out phantoms", rows, write=chosen.write)
    dice: list[Mapping[str, str]] = [
        {"class": name, "mean Dice": f"{value:.3f}", "bundle": bundle} for name, value in figures.dice.items()
    ]
    publish("Masks on held-out phantoms, bare argmax", dice, write=chosen.write)


if __name__ == "__main__":
    main()

"""COLIPRI-C, -CR, -CM and -CRM at equal compute and toy size: zero-shot, probe, retrieval, report.

Every member gets the operations that ``c`` spends in ``--steps`` steps, so that a member whose step costs more makes
fewer. Weights are averaged, exported as a bundle and asked through the product; probes are trained on frozen tokens.
A run that stops goes on where it was, and finished ones are not repeated. Figures say nothing about patients.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._common import parser, publish, quiet, work_folder

if TYPE_CHECKING:
    from napari_colipri.engine.session import Session
    from training.loop.config import TrainingConfig

MEMBERS = ("c", "cr", "cm", "crm")
_METRICS = {
    "zero-shot AUROC": "zero_shot",
    "probe AUROC": "probe",
    "image→report R@10": "retrieval",
    "report clinical F1": "report",
}


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--data", help="phantoms or prepared folder to train on; made without it")
    options.add_argument("--phantoms", type=int, default=2000, help="phantoms to make without --data")
    options.add_argument("--steps", type=int, default=300, help="of c; the others get the same operations")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--accumulate", type=int, default=1)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--held-out", type=int, default=200, help="phantoms that are scored")
    options.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    options.add_argument("--gpu", action="store_true", help="train on the GPU, where there is one")
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args(arguments)
    quiet()
    import torch

    torch.set_num_threads(chosen.threads)
    data = chosen.data or str(_phantoms(chosen.phantoms))
    named = f"{Path(data).name}-{chosen.steps}-{chosen.batch}x{chosen.accumulate}-{chosen.held_out}"
    folder = work_folder() / "family" / named
    found: dict[str, list[dict[str, float]]] = {member: [] for member in chosen.members}
    for seed in range(1, chosen.seeds + 1):
        for member in chosen.members:
            found[member].append(_scored(member, seed, data, folder, chosen))
    rows = [_row(member, results, chosen) for member, results in found.items()]
    publish("The family at equal compute, toy size, held-out phantoms", rows, write=chosen.write)


def _phantoms(count: int) -> Path:
    from training.phantom.pool import fill_pool

    folder = work_folder() / f"phantoms-{count}"
    for _ in fill_pool(folder, range(count), shape=(72, 72, 72), spacing_mm=(5.0, 5.0, 5.0)):
        pass
    return folder


def _config(member: str, seed: int, chosen: Any) -> TrainingConfig:
    """Return the configuration of a member with as many steps as ``c``'s operations pay for."""
    from training.loop.config import load_config
    from training.loop.cost import cost

    settings = [f"run.batch={chosen.batch}", f"run.accumulate={chosen.accumulate}", f"run.seed={seed}"]
    settings += ["run.tensorboard=false", "run.save_every=100", "run.keep=1"]
    own, first = load_config(f"{member}-toy", settings), load_config("c-toy", settings)
    share = cost(first, 3000).step / cost(own, 3000).step
    return own.with_run(steps=round(chosen.steps * share))


def _scored(member: str, seed: int, data: str, folder: Path, chosen: Any) -> dict[str, float]:
    from accelerate.state import AcceleratorState

    from napari_colipri.engine.bundle import open_bundle
    from napari_colipri.engine.session import Session
    from training.loop.cost import cost
    from training.loop.data import open_source
    from training.loop.engine import Trainer
    from training.loop.export import export_bundle

    run = folder / f"{member}-{seed}"
    kept = run / "scores.json"
    if kept.exists():
        done: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return done
    config = _config(member, seed, chosen)
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 - one process, many runs
    trainer = Trainer(config, open_source([data], config), run, cpu=not chosen.gpu)
    if trainer.run().reason != "finished":
        raise SystemExit("stopped; the same command goes on")
    operations = cost(config, trainer.task.model.vocab_size).step * trainer.volumes
    figures = {"steps": float(trainer.step_count), "volumes": float(trainer.volumes), "pflop": operations / 1e15}
    bundle = export_bundle(run, run / "bundle", name=f"{member}-{seed}", title=member, licence="Not for release.")
    session = Session(open_bundle(str(bundle.path)), device="cpu")
    session.load()
    figures |= _answers(session, chosen.held_out) | {"probe": _probe(session, run, chosen.held_out)}
    kept.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def _answers(session: Session, count: int) -> dict[str, float]:
    from training.evaluation.bundle import Limits, score_bundle
    from training.evaluation.classification import classify
    from training.evaluation.facts import fact_key
    from training.evaluation.phantoms import phantom_studies
    from training.evaluation.reports import evaluate_reports
    from training.evaluation.retrieval import retrieve

    held_out = phantom_studies(range(900_000, 900_000 + count))
    answers = score_bundle(session, held_out, limits=Limits(masks=0, reports=min(count, 100)))
    out = {"zero_shot": classify(answers.zero_shot, resamples=10).macro["auroc"].value}
    if answers.embeddings is not None:
        values = answers.embeddings
        keys = [fact_key(facts) for facts in values.facts]
        found = retrieve(values.image, values.text, keys, values.labels, values.patient, resamples=10)
        out |= {"retrieval": found.image_to_report[10].value, "chance": found.chance[10]}
    if answers.reports:
        out["report"] = evaluate_reports(answers.reports, resamples=10).macro.value
    return out


def _probe(session: Session, run: Path, count: int) -> float:
    """Return the macro AUROC of the best probe of a small grid on the held-out phantoms."""
    from training.adapters.probes import ProbeRecipe, probe_scores, train_probes
    from training.adapters.tokens import cache_tokens
    from training.evaluation.classification import classify
    from training.evaluation.phantoms import phantom_studies

    sets = {"train": range(800_000, 800_000 + 2 * count), "valid": range(850_000, 850_000 + count)}
    sets["test"] = range(900_000, 900_000 + count)
    cached = {name: cache_tokens(session, phantom_studies(seeds), run / name) for name, seeds in sets.items()}
    recipe = ProbeRecipe(steps=400, rates=(0.1,), poolings=("average", "attention"))
    trained = train_probes(cached["train"], cached["valid"], recipe)
    return classify(probe_scores(trained, cached["test"]), resamples=10).macro["auroc"].value


def _row(member: str, results: list[dict[str, float]], chosen: Any) -> Mapping[str, str]:
    def shown(key: str) -> str:
        values = [each[key] for each in results if key in each]
        if not values:
            return "no decoder" if key == "report" else ""
        return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    first = results[0]
    return {
        "member": member.upper(),
        "seeds": str(len(results)),
        "steps x volumes": f"{first['steps']:.0f} x {chosen.batch * chosen.accumulate}",
        "PFLOP": f"{first['pflop']:.3f}",
        **{title: shown(key) for title, key in _METRICS.items()},
        "R@10 by chance": shown("chance"),
        "held-out phantoms": str(chosen.held_out),
    }


if __name__ == "__main__":
    main()

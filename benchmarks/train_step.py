"""A training step at toy size beside a plain PyTorch loop in the same run, and the cost of one at the official size.

Both sides train the same towers on the same batch with the contrastive loss, AdamW and clipping. Ours also counts
terms, averages weights, checks for finite gradients and seeds every pass. ``--device cuda`` measures a GPU where there
is one; ``--size official`` then takes the official size (Primus-M at 192³) instead of the toy's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._common import alternate, parser, publish, quiet

if TYPE_CHECKING:
    import torch

    from training.loop.config import TrainingConfig

#: As measured by counting operations of the public backbone; see the head of ``training/loop/cost.py``.
_KNOWN = {"forward": 14.5, "step": 49.0, "step, checkpointing": 63.0}


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.add_argument("--size", choices=["toy", "official"], default="toy")
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args(arguments)
    quiet()
    _measured(chosen)
    _analytic(chosen.write)


def _config(chosen: Any) -> TrainingConfig:
    from training.loop.config import load_config

    settings = ["objectives.opposite=null", "run.accumulate=1", "run.tensorboard=false", "run.compile=false"]
    settings += [f"run.batch={chosen.batch}", f"run.precision={chosen.precision}"]
    return load_config("c-toy" if chosen.size == "toy" else "c", settings)


def _measured(chosen: Any) -> None:
    import torch

    from training.loop.cost import cost
    from training.loop.data import noise
    from training.loop.engine import Trainer

    config = _config(chosen)
    source = noise(config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, source, Path(folder), cpu=chosen.device == "cpu")
        trainer.task.train()
        plain = _plain(config, source[0], trainer.accelerator.device)

        def ours() -> None:
            trainer.step([source[0]])

        times = alternate(chosen.rounds, ours=ours, plain=plain)
    operations = cost(config, trainer.task.model.vocab_size).step * config.run.batch
    memory = torch.cuda.max_memory_allocated() / 1e9 if chosen.device == "cuda" else 0.0
    grid = f"{config.model.size[0]}³, {config.model.embed_dim} x {config.model.depth}"
    row = {
        "step": f"{grid}, batch {config.run.batch}, {config.run.precision}, {chosen.device}",
        "ours s": f"{times['ours']:.3f}",
        "plain PyTorch s": f"{times['plain']:.3f}",
        "ratio": f"{times['ours'] / times['plain']:.2f}",
        "volumes/s": f"{config.run.batch / times['ours']:.2f}",
        "TFLOP/s": f"{operations / times['ours'] / 1e12:.3f}",
        "peak GB": f"{memory:.1f}" if memory else "",
    }
    publish("Training step", [row], write=chosen.write)


def _plain(config: TrainingConfig, batch: dict[str, Any], device: torch.device) -> Callable[[], None]:
    """Return a step as one would write it without any of this project's training code."""
    import torch
    import torch.nn.functional as F

    from napari_colipri.engine.tokenizer import load_tokenizer
    from napari_colipri.engine.towers import build_model

    tokenizer = load_tokenizer(config.vocabulary_folder, max_length=config.model.text.length)
    towers = build_model(*config.model.towers(tokenizer.vocab_size)).to(device).train()
    log_scale = torch.nn.Parameter(torch.tensor(2.66, device=device))
    weights = [*towers.parameters(), log_scale]
    optimiser = torch.optim.AdamW(weights, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    half = config.run.precision == "bfloat16"

    def step() -> None:
        ids, mask = (torch.from_numpy(each).to(device) for each in tokenizer.encode(batch["report"]))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            image = towers.image_encoder.pool(towers.image_encoder.tokens(batch["image"].to(device))).float()
            assert towers.text_encoder is not None
            text = towers.text_encoder(ids, mask).float()
            logits = image @ text.T * log_scale.exp()
            target = torch.arange(len(logits), device=device)
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        float(loss.detach())

    return step


def _analytic(write: bool) -> None:
    from training.loop.config import load_config
    from training.loop.cost import cost, memory

    tower = ["run.batch=1", "run.accumulate=1", "objectives={opposite: null, contrastive: null, labels: {}}"]
    plain = load_config("c", [*tower, "run.checkpointing=false"])
    recomputed = load_config("c", tower)
    found = {
        "forward": cost(plain, 30522).forward / 1e12,
        "step": cost(plain, 30522).step / 1e12,
        "step, checkpointing": cost(recomputed, 30522).step / 1e12,
    }
    rows = [
        {"Primus-M at 192³, one volume": f"{name} (TFLOP)", "by formula": f"{found[name]:.1f}", "known": f"{known:g}"}
        for name, known in _KNOWN.items()
    ]
    recomputed_gb = memory(plain, 0).recomputed / 1e9
    label = "activations, checkpointing (GB)"
    rows.append({"Primus-M at 192³, one volume": label, "by formula": f"{recomputed_gb:.1f}", "known": "1.5"})
    publish("Training step at the official size, by formula", rows, write=write)


if __name__ == "__main__":
    main()

"""The engine of a run: windows in, weights and figures out; on one CPU or on many GPUs through ``accelerate``.

What is random in a step is seeded by run, step, process and pass, and a batch by its number. A run that stops and goes
on therefore does, bit for bit, what it would have done (on a CPU, for limits in steps).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from napari_colipri.errors import OutOfResources
from training.loop import checkpoint
from training.loop.average import Average
from training.loop.blocks import checkpoint_blocks, compile_blocks, plain_attention
from training.loop.config import TrainingConfig
from training.loop.cost import cost
from training.loop.errors import Diverged
from training.loop.log import RunLog, Watch
from training.loop.schedule import progress, rate
from training.loop.sharding import is_sharded, laid_out, make_ready, whole
from training.loop.signals import StopRequest
from training.loop.source import Source, batches_from
from training.loop.start import begin, check_words, freeze, launch, make_optimiser, moved, same_recipe, seed_for
from training.loop.throughput import Meter
from training.loop.validation import validate
from training.objectives.base import Batch
from training.objectives.ranks import rank, sum_over_ranks, world
from training.objectives.task import build_task
from training.objectives.window import prepare_window

__all__ = ["Outcome", "Trainer"]

#: After so many steps without a single term, an objective is reported as idle.
_IDLE_AFTER = 20


@dataclass(frozen=True)
class Outcome:
    """How a run ended: at its limit or by a signal, after which step, and with which exit status."""

    reason: Literal["finished", "signal"]
    step: int
    exit_status: int = 0


class Trainer:
    """Owns the task, its averaged copy, the optimiser, the position and the folder of a run.

    Parameters
    ----------
    config
        Of the run.
    source
        Batches of this process by number.
    folder
        Takes ``checkpoints/``, ``log.jsonl`` and ``tensorboard/``; a run found there goes on.
    cpu
        Keep off the GPU.
    accelerator
        From :func:`training.loop.start.launch`, where the source had to know its process first.
    valid
        Batches of held-out studies, for ``run.validate_every``.
    watch
        Called with step and figures of every log entry.

    Raises
    ------
    ConfigError
        If the precision does not work here.
    CheckpointError
        If the folder holds a run of another configuration.
    """

    def __init__(
        self,
        config: TrainingConfig,
        source: Source,
        folder: Path,
        *,
        cpu: bool = False,
        accelerator: Accelerator | None = None,
        valid: Source | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.config, self.source, self.valid, self.folder = config, source, valid, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = accelerator or launch(config, cpu=cpu)
        torch.manual_seed(seed_for(config.run.seed))
        self.task = build_task(config.model, config.objectives, config.vocabulary_folder)
        check_words(self.task)
        if checkpoint.latest(folder) is None:
            begin(self.task, config)
        freeze(self.task, config.freeze)
        if config.run.compile and self.accelerator.device.type == "cuda":
            compile_blocks(self.task)
        if config.run.precision == "bfloat16" and self.accelerator.device.type == "cpu":
            plain_attention(self.task)
        if config.run.checkpointing:
            checkpoint_blocks(self.task)
        self.task.to(self.accelerator.device)
        self._scalars = make_ready(self.task, self.accelerator)
        self.optimiser = make_optimiser(config, self.task)
        self.step_count = self.volumes = self.failed_in_a_row = 0
        self.seconds = 0.0
        self._idle = {objective.name: 0 for objective in self.task.each()}
        first = self.accelerator.is_main_process
        self.wrapped, self._stepper = self.accelerator.prepare(self.task, self.optimiser)
        self.sharded = is_sharded(self.wrapped)
        self.average = Average(self.task, config.run.ema) if config.run.ema and (first or self.sharded) else None
        self._restore()
        self.meter = Meter(cost(config, self.task.model.vocab_size).step, self.accelerator.device)
        self.log = RunLog(folder, active=first, tensorboard=config.run.tensorboard, step=self.step_count, watch=watch)

    # ------------------------------------------------------------------ a step

    def step(self, window: list[Batch]) -> dict[str, float]:
        """Make one update from the passes of a window; return its figures, the same on every process.

        If the gradient is not finite nothing moves, and ``skipped`` is 1.

        Raises
        ------
        Diverged
            After ``patience`` such steps in a row.
        """
        run = self.config.run
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.config.optimiser, self.step_count, progress(run, self.step_count, self.seconds))
        window = [moved(batch, self.accelerator.device) for batch in window]
        seeds = [seed_for(run.seed, self.step_count, rank(), place) for place in range(len(window))]
        totals = prepare_window(self.task, window, seeds, self.accelerator.autocast())
        sums: dict[str, Tensor] = {}
        for place, (batch, seed) in enumerate(zip(window, seeds, strict=True)):
            torch.manual_seed(seed)
            with self._sync(last=place == len(window) - 1):
                out = self.wrapped(batch)
                self.accelerator.backward(out["loss"])
            for key, value in out.items():
                share = value.detach().float() / (1 if key == "loss" or key.endswith("_loss") else len(window))
                sums[key] = sums[key] + share if key in sums else share
        norm = self._clip()
        figures = self._averaged(sums) | {"norm": float(norm)}
        self._update(figures)
        self.step_count += 1
        self.volumes += sum(len(batch["tokens"] if "tokens" in batch else batch["image"]) for batch in window) * world()
        self._watch_idle(totals)
        return figures | {"learning_rate": self.optimiser.param_groups[0]["lr"]}

    def _sync(self, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def _clip(self) -> Tensor:
        limit = self.config.optimiser.clip or math.inf
        norm: Tensor = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), limit)
        return whole({"norm": norm})["norm"] if self.sharded else norm  # of the parts of all processes

    def _averaged(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Average every figure over the processes that have it."""
        names = sorted({f"{objective.name}_loss" for objective in self.task.each()} | {"loss"} | set(sums))
        if world() > 1:  # processes may lack figures of others: agree on what every objective could say
            names = [name for name in names if name.endswith("loss")]
        zero = torch.zeros((), device=self.accelerator.device)
        have = torch.stack([zero + float(name in sums) for name in names])
        values = sum_over_ranks(torch.cat([torch.stack([sums.get(name, zero) for name in names]), have]))
        both = values.reshape(2, -1).T.tolist()
        return {
            name: total / (world() if name.endswith("loss") else count)
            for name, (total, count) in zip(names, both, strict=True)
            if count
        }

    def _update(self, figures: dict[str, float]) -> None:
        finite = math.isfinite(figures["norm"]) and math.isfinite(figures["loss"])
        if finite or self.accelerator.scaler is not None:  # a scaler skips by itself, and learns from it
            self._stepper.step()
        self._stepper.zero_grad(set_to_none=True)
        figures["skipped"] = float(not finite)
        self.failed_in_a_row = 0 if finite else self.failed_in_a_row + 1
        self.task.after_step(moved=finite)
        if finite:
            if self.average is not None:
                self.average.follow(self.task, self.step_count)
            return
        self.log.event(self.step_count + 1, "not_finite", in_a_row=self.failed_in_a_row)
        if self.failed_in_a_row >= self.config.run.patience:
            raise Diverged(
                f"{self.failed_in_a_row} steps in a row gave no finite gradient, the last one at step "
                f"{self.step_count + 1}; try a lower learning rate or bfloat16."
            )

    def _watch_idle(self, totals: dict[str, float]) -> None:
        for name, terms in totals.items():
            self._idle[name] = 0 if terms else self._idle[name] + 1
            if self._idle[name] == _IDLE_AFTER:
                self.log.event(self.step_count, "idle_objective", objective=name, steps=_IDLE_AFTER)

    # ------------------------------------------------------------------ a run

    def run(self) -> Outcome:
        """Train to the end, or until a signal; a checkpoint is written either way.

        Raises
        ------
        Diverged
            See :meth:`step`; no checkpoint is written then.
        OutOfResources
            If the last checkpoint cannot be written.
        """
        run = self.config.run
        self.task.train()
        numbers = batches_from(
            self.source,
            self.step_count * run.accumulate,
            workers=run.workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        try:
            with StopRequest() as asked:
                return self._loop(numbers, asked)
        finally:
            self.log.close()

    def _loop(self, numbers: Iterator[Batch], asked: StopRequest) -> Outcome:
        run = self.config.run
        saved = self.step_count
        while not self._over():
            began = time.perf_counter()
            window = [next(numbers) for _ in range(run.accumulate)]
            waited = time.perf_counter() - began
            before = self.volumes
            figures = self.step(window)
            took = time.perf_counter() - began
            self.seconds += took
            self.meter.add(self.volumes - before, took, waited)
            if self.valid is not None and run.validate_every and self.step_count % run.validate_every == 0:
                held_out = validate(self.task, self.valid, run.validate_batches, self.accelerator.autocast)
                self.log.figures(self.step_count, held_out)
            if self.step_count % run.log_every == 0 or self._over():
                self.log.figures(self.step_count, figures | self.meter.read())
            if self._stop_asked(asked):
                self.save()
                self.log.event(self.step_count, "stopped", signal=asked.received.name if asked.received else "other")
                return Outcome("signal", self.step_count, asked.exit_status)
            if self.step_count % run.save_every == 0:
                saved = self.step_count if self._save_or_note() else saved
        if saved != self.step_count or checkpoint.latest(self.folder) is None:
            self.save()
        return Outcome("finished", self.step_count)

    def _over(self) -> bool:
        run = self.config.run
        late = bool(run.minutes) and self.seconds >= 60 * (run.minutes or 0)
        if world() > 1 and run.minutes:
            late = bool(sum_over_ranks(torch.tensor(float(late), device=self.accelerator.device)) > 0)
        return late or (run.steps is not None and self.step_count >= run.steps)

    def _stop_asked(self, asked: StopRequest) -> bool:
        """Whether any process was asked to stop: all must leave after the same step."""
        mine = torch.tensor(float(asked.received is not None), device=self.accelerator.device)
        return bool(sum_over_ranks(mine) > 0)

    def _save_or_note(self) -> bool:
        try:
            self.save()
        except OutOfResources as error:
            self.log.event(self.step_count, "checkpoint_failed", message=error.message)
            return False
        return True

    # ------------------------------------------------------------------ checkpoints

    def save(self) -> None:
        """Write a checkpoint (first process); where weights are sharded, every process must call.

        Raises
        ------
        OutOfResources
            If it cannot be written; the one before is whole.
        """
        first = self.accelerator.is_main_process
        if first or self.sharded:
            files = {"weights": self.task.state_dict(), "optimiser": self._moments()}
            if self.average is not None:
                files["average"] = self.average.state
            if self.sharded:
                files = {name: whole(tensors, self._scalars) for name, tensors in files.items()}
        if first:
            scaler = self.accelerator.scaler
            state = {
                "step": self.step_count,
                "next_batch": self.step_count * self.config.run.accumulate,
                "volumes": self.volumes,
                "seconds": self.seconds,
                "failed_in_a_row": self.failed_in_a_row,
                "processes": world(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "config": self.config.as_dict(),
                "versions": {"torch": torch.__version__},
            }
            checkpoint.save(self.folder, self.step_count, files, state, self.config.run.keep)

    def _moments(self) -> dict[str, Tensor]:
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.task.named_parameters()}
        return {
            f"{names[parameter]}|{key}": value
            for parameter, held in self.optimiser.state.items()
            for key, value in held.items()
        }

    def _restore(self) -> None:
        found = checkpoint.latest(self.folder)
        if found is None:
            return
        same_recipe(found.state["config"], self.config)
        device = self.accelerator.device
        held = self.task.state_dict()
        self.task.load_state_dict({key: laid_out(v, held.get(key)) for key, v in found.tensors("weights").items()})
        if self.average is not None:
            state = self.average.state
            self.average.load({key: laid_out(v, state.get(key)) for key, v in found.tensors("average").items()})
        parameters = dict(self.task.named_parameters())
        for key, value in found.tensors("optimiser").items():
            name, _, what = key.rpartition("|")
            # AdamW keeps its count of steps on the CPU unless it is fused or captured
            weight = parameters[name]
            self.optimiser.state[weight][what] = value if what == "step" else laid_out(value.to(device), weight)
        if self.accelerator.scaler is not None and found.state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(found.state["scaler"])
        self.step_count, self.volumes = found.state["step"], found.state["volumes"]
        self.seconds, self.failed_in_a_row = found.state["seconds"], found.state["failed_in_a_row"]

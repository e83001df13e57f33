"""Reports that a run's language model writes: from image tokens, word by word, one study at a time.

For evaluation and for trying out; the product writes with the small decoder that a bundle holds.

Shape suffixes: x y z tokens, C vision width.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_colipri.atomic import write_text
from napari_colipri.engine.config import InputSpec
from napari_colipri.engine.preprocess import to_model_grid
from napari_colipri.progress import CancelToken, Progress, report_nothing
from training.evaluation.studies import Study
from training.loop.errors import CheckpointError
from training.loop.export import run_state
from training.objectives.llm import Llm
from training.objectives.model import ModelConfig, fused_attention
from training.objectives.task import Task, build_task

__all__ = ["LanguageWriter", "Written", "open_writer", "write_reports"]


@dataclass(frozen=True)
class Written:
    """A text, and whether the model ended it by itself (else it was cut)."""

    text: str
    finished: bool


class LanguageWriter:
    """Writes the likeliest next word each time; the same tokens give the same text.

    Parameters
    ----------
    task
        With the objective ``llm``; it is left in evaluation mode.
    length
        Longest report, tokens of the language model; None: as while training.

    Raises
    ------
    CheckpointError
        If the task has no language model.
    """

    def __init__(self, task: Task, *, length: int | None = None) -> None:
        found = next((each for each in task.each() if isinstance(each, Llm)), None)
        if found is None:
            raise CheckpointError("The run trained no language model (objectives.llm).")
        self.task, self._llm = task.eval(), found
        # transformers is renaming it
        known = inspect.signature(found.language.forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"
        self._length = min(length or found.config.length, found.config.length)

    @torch.inference_mode()
    def tokens(self, image_BXYZ: Tensor) -> Tensor:
        """Return tokens [B, x, y, z, C] of images [B, X, Y, Z] in [-1, 1]."""
        model = self.task.model
        with fused_attention(model.device):
            return model.tokens({"image": image_BXYZ[:, None].to(model.device)})

    @torch.inference_mode()
    def write(self, tokens_xyzC: Tensor, cancel: CancelToken | None = None) -> Written:
        """Write the report of one study.

        Parameters
        ----------
        tokens_xyzC
            Of the vision tower, before any projector.
        cancel
            Checked before every word.

        Raises
        ------
        Cancelled
            If asked to stop.
        """
        llm, said = self._llm, list[int]()
        given: dict[str, Any] = {"inputs_embeds": llm.lead(tokens_xyzC[None].to(self.task.model.device))}
        while len(said) < self._length:
            if cancel is not None:
                cancel.check()
            out = llm.language(**given, use_cache=True)
            word = int(out.logits[0, -1].argmax())
            if word == llm.end:
                return Written(self._text(said), finished=True)
            said.append(word)
            ids = torch.tensor([[word]], device=self.task.model.device)
            given = {"input_ids": ids, self._cache: out[self._cache]}
        return Written(self._text(said), finished=False)

    def _text(self, ids: list[int]) -> str:
        text: str = self._llm.words.decode(ids, skip_special_tokens=True)
        return text.strip()


def open_writer(
    run: Path, *, averaged: bool = True, length: int | None = None, device: torch.device | None = None
) -> tuple[LanguageWriter, ModelConfig]:
    """Return what writes with a run's newest checkpoint, and the sizes of its model.

    Raises
    ------
    CheckpointError
        If there is no checkpoint, or the run trained no language model.
    ConfigError
        If its language model is not where it was.
    """
    config, tensors, _ = run_state(run, averaged=averaged)
    if config.objectives.llm is None:
        raise CheckpointError(f"{run} trained no language model (objectives.llm).")
    task = build_task(config.model, config.objectives, config.vocabulary_folder)
    task.load_state_dict(tensors)
    return LanguageWriter(task.to(device or torch.device("cpu")), length=length), config.model


def write_reports(
    writer: LanguageWriter,
    model: ModelConfig,
    studies: Iterable[Study],
    out: Path,
    *,
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> int:
    """Write a report for every study of which something is known, in the form that ``evaluate reports`` reads.

    Parameters
    ----------
    writer, model
        From :func:`open_writer`.
    studies
        One without report and facts could not be judged and is passed over.
    out
        JSONL, there whole or not at all.
    progress, cancel
        Told after each study; checked before every word.

    Returns
    -------
    int
        Reports written.

    Raises
    ------
    Cancelled
        If asked to stop; nothing is written then.
    """
    spec = InputSpec(axis_order="RAS", spacing_mm=(model.spacing_mm,) * 3, size=model.size)
    lines = []
    for study in studies:
        if not study.report.strip() and study.facts is None:
            continue
        image = torch.from_numpy(to_model_grid(study.volume, spec).values)
        written = writer.write(writer.tokens(image[None])[0], cancel)
        line: dict[str, Any] = {"study": study.study, "patient": study.patient, "generated": written.text}
        line |= {"reference": study.report, "finished": written.finished}
        if study.facts is not None:
            line["facts"] = [vars(fact) for fact in study.facts]
        lines.append(json.dumps(line, ensure_ascii=False))
        progress(0.0, f"Wrote {len(lines)} reports")
    write_text(out, "".join(f"{line}\n" for line in lines))
    return len(lines)

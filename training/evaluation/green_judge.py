"""Asking a causal language model about pairs of reports: greedy, in batches, stopped between two words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_colipri.progress import CancelToken, Progress, report_nothing
from training.evaluation.green import PROMPT, fill_prompt
from training.evaluation.local_models import LocalModel, load_model, memory_watched
from training.evaluation.reports import ReportPair
from training.evaluation.scores import EvaluationError

__all__ = ["ask_judge"]

_BATCH = 4


def _as_turn(tokenizer: Any, words: str, model: LocalModel) -> str:
    """Put the question into the model's own template; GREEN's published one calls role and content otherwise."""
    if not getattr(tokenizer, "chat_template", None):
        return words
    turn = {"role": "user", "content": words, "from": "human", "value": words}
    try:
        return str(tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))
    except Exception as error:  # the template is the folder's own, and so is what it raises
        raise EvaluationError(f"{model.name}: its chat template fails: {error}.", code="bad_model") from error


def _encode(tokenizer: Any, words: str) -> list[int]:
    marked = bool(tokenizer.bos_token) and words.startswith(tokenizer.bos_token)
    return list(tokenizer(words, add_special_tokens=not marked, verbose=False)["input_ids"])


def _write(network: Any, tokenizer: Any, batch: Sequence[list[int]], limit: int, cancel: CancelToken) -> list[str]:
    """Greedy answers to a batch, padded on the left; stops between two words if cancelled."""
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    longest = max(map(len, batch))
    empty = next((n for n in (tokenizer.pad_token_id, tokenizer.eos_token_id) if n is not None), 0)
    ids_BT = torch.tensor([[empty] * (longest - len(ids)) + ids for ids in batch])
    mask_BT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in batch])

    def stop(written_BT: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.full((len(written_BT),), cancel.cancelled, dtype=torch.bool, device=written_BT.device)

    ends = getattr(network.generation_config, "eos_token_id", None)
    out_BT = network.generate(
        input_ids=ids_BT.to(network.device),
        attention_mask=mask_BT.to(network.device),
        generation_config=GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=tokenizer.eos_token_id if ends is None else ends,
            pad_token_id=empty,
        ),
        stopping_criteria=StoppingCriteriaList([stop]),
    )
    cancel.check()
    return [str(text) for text in tokenizer.batch_decode(out_BT[:, longest:], skip_special_tokens=True)]


def ask_judge(
    pairs: Sequence[ReportPair],
    model: LocalModel,
    *,
    prompt: str = PROMPT,
    limit: int = 1024,
    device: str = "cpu",
    progress: Progress = report_nothing,
    cancel: CancelToken | None = None,
) -> tuple[str | None, ...]:
    """Ask a language model about every pair; greedy, so that the same model gives the same answers.

    Parameters
    ----------
    pairs
        Reports.
    model
        A folder of a causal language model.
    prompt
        The question.
    limit
        Longest answer, tokens.
    device, progress, cancel
        As everywhere.

    Returns
    -------
    tuple of str or None
        Answers; None where question and answer do not fit into the model together: nothing is cut off.

    Raises
    ------
    EvaluationError
        If the folder does not fit.
    Cancelled
        If asked to stop.
    """
    import torch

    cancel = cancel or CancelToken()
    network, tokenizer = load_model(model, "writer", device)
    places = getattr(network.config, "max_position_embeddings", None)
    questions = [
        _encode(tokenizer, _as_turn(tokenizer, fill_prompt(prompt, pair.reference, pair.generated), model))
        for pair in pairs
    ]
    fitting = [n for n, ids in enumerate(questions) if places is None or len(ids) + limit <= places]
    answers: list[str | None] = [None] * len(pairs)
    with memory_watched(model), torch.inference_mode():
        for start in range(0, len(fitting), _BATCH):
            cancel.check()
            progress(start / len(fitting), f"Judged by {model.name}: {start} of {len(fitting)}")
            batch = fitting[start : start + _BATCH]
            written = _write(network, tokenizer, [questions[n] for n in batch], limit, cancel)
            for n, text in zip(batch, written, strict=True):
                answers[n] = text
    return tuple(answers)

"""Report generation by a language model: image tokens, projected to its width, stand before prompt and report.

The form is LLaVA's (arXiv 2304.08485): pooled tokens of the vision tower, a two-layer perceptron, next-word
cross-entropy on the report alone. What is not trained stays in the model's own folder and out of checkpoints.

Shape suffixes: n rows with a report, x y z tokens, C vision width, I image tokens, P tokens before the report, L words
of the report, W width of the language model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.loop.errors import CheckpointError, ConfigError
from training.objectives.base import Batch, Objective, denominator
from training.objectives.language_model import (
    add_lora,
    fingerprint,
    language_folder,
    layers_of,
    open_language,
    open_words,
)
from training.objectives.model import Colipri, ModelConfig
from training.objectives.report import next_word_terms

__all__ = ["Llm", "LlmConfig"]


@dataclass(frozen=True)
class LlmConfig:
    """How a language model learns to write.

    Attributes
    ----------
    weight
        Of the loss.
    folder
        Of the language model: ``config.json``, ``*.safetensors`` and tokenizer files.
    tokens
        Image tokens along each axis, to which the token grid is pooled: 4 x 4 x 4 are 64.
    prompt
        Stands between image tokens and report, as it is.
    length
        Longest report, tokens of the language model; a longer one is cut and then teaches no end.
    train
        ``projector`` alone; ``lora``: also matrices of low rank in the language model (needs peft); ``all`` of it.
    rank, alpha
        Of LoRA.
    """

    weight: float = 1.0
    folder: str | None = None
    tokens: tuple[int, int, int] = (4, 4, 4)
    prompt: str = "Report of this chest CT:\n"
    length: int = 384
    train: Literal["projector", "lora", "all"] = "projector"
    rank: int = 16
    alpha: float = 32.0


class Llm(Objective):
    """Next-word cross-entropy of the report, given image tokens and prompt.

    Parameters
    ----------
    config
        See there.
    model
        Sizes of the towers.

    Raises
    ------
    ConfigError
        If the folder, a size, or peft does not allow it.
    """

    name = "llm"
    origin: Tensor

    def __init__(self, config: LlmConfig, model: ModelConfig) -> None:
        super().__init__()
        self.config = config
        folder = language_folder(config.folder)
        self.words = open_words(folder)
        self.language = open_language(folder)
        table = self.language.get_input_embeddings()
        self._before = [] if self.words.bos_token_id is None else [int(self.words.bos_token_id)]
        self._prompt = self._read(config.prompt)
        self._check(model, table.num_embeddings)
        if config.train != "all":
            self.language.requires_grad_(False)
        if config.train == "lora":
            add_lora(self.language, config.rank, config.alpha)
        width = table.embedding_dim
        self.projector = nn.Sequential(
            nn.LayerNorm(model.embed_dim), nn.Linear(model.embed_dim, width), nn.GELU(), nn.Linear(width, width)
        )
        meta = table.weight.device.type == "meta"
        self.register_buffer(
            "origin", torch.tensor(list(bytes(32) if meta else fingerprint(folder)), dtype=torch.uint8)
        )
        self.register_state_dict_post_hook(_leave_out_the_untrained)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_take_the_untrained_from_the_folder)  # type: ignore[no-untyped-call]

    def _check(self, model: ModelConfig, entries: int) -> None:
        config = self.config
        if any(not 1 <= wanted <= there for wanted, there in zip(config.tokens, model.grid, strict=True)):
            raise ConfigError(f"objectives.llm.tokens: {config.tokens} of a grid of {model.grid} tokens.")
        if config.length < 2 or config.rank < 1:
            raise ConfigError("objectives.llm.length must be at least 2, and rank at least 1.")
        if len(self.words) > entries:
            raise ConfigError(
                f"objectives.llm.folder: {config.folder} has {len(self.words)} words, its model knows {entries}."
            )
        longest = len(self._before) + math.prod(config.tokens) + len(self._prompt) + config.length
        places = getattr(self.language.config, "max_position_embeddings", None) or longest
        if longest > places:
            raise ConfigError(
                f"objectives.llm: image, prompt and report are up to {longest} tokens, {config.folder} takes {places}."
            )

    @property
    def end(self) -> int:
        """Id of the token that ends a report."""
        return int(self.words.eos_token_id)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The transformer blocks of the language model."""
        return layers_of(self.language)

    def train(self, mode: bool = True) -> Self:
        """Enter training mode; a language model whose own weights stay drops nothing."""
        super().train(mode)
        if self.config.train != "all":
            self.language.eval()
        return self

    def _read(self, text: str) -> list[int]:
        ids: list[int] = self.words(text, add_special_tokens=False)["input_ids"]
        return ids

    def prepare(self, model: Colipri, batch: Batch) -> None:
        """Read the reports: ``llm_rows`` [n], ``llm_ids`` and ``llm_mask`` [n, L], the end token included."""
        texts: list[str] = batch.get("report", [])
        rows = [row for row, text in enumerate(texts) if text.strip()]
        read = [[*self._read(texts[row].strip()), self.end][: self.config.length] for row in rows]
        longest = max((len(ids) for ids in read), default=0)
        padded = [ids + [self.end] * (longest - len(ids)) for ids in read]
        mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in read]
        shape = (len(rows), longest)
        batch["llm_rows"] = torch.tensor(rows, dtype=torch.long, device=model.device)
        batch["llm_ids"] = torch.tensor(padded, dtype=torch.long, device=model.device).reshape(shape)
        batch["llm_mask"] = torch.tensor(mask, dtype=torch.long, device=model.device).reshape(shape)

    def count(self, batch: Batch) -> int:
        """Return the number of words to guess."""
        return int(batch["llm_mask"].sum())

    def lead(self, tokens_nxyzC: Tensor) -> Tensor:
        """Return what stands before the report: start token, image tokens and prompt, [n, P, W]."""
        pooled = F.adaptive_avg_pool3d(tokens_nxyzC.movedim(-1, 1).float(), self.config.tokens)
        image_nIW = self.projector(pooled.flatten(2).transpose(1, 2))
        start, prompt = (self._embed(ids, len(image_nIW)) for ids in (self._before, self._prompt))
        return torch.cat([start, image_nIW.to(start.dtype), prompt], dim=1)

    def _embed(self, ids: list[int], count: int) -> Tensor:
        """Return the embeddings of the same ids for ``count`` rows."""
        table = self.language.get_input_embeddings()
        found: Tensor = table(torch.tensor(ids, dtype=torch.long, device=table.weight.device))
        return found.expand(count, -1, -1)

    def forward(self, model: Colipri, batch: Batch) -> dict[str, Tensor]:
        """Return the loss per word."""
        rows, ids, mask = batch["llm_rows"], batch["llm_ids"], batch["llm_mask"]
        if not len(rows):
            return {}
        lead_nPW = self.lead(model.tokens(batch)[rows])
        both = torch.cat([lead_nPW, self.language.get_input_embeddings()(ids).to(lead_nPW.dtype)], dim=1)
        # no mask: padding stands on the right, where a causal model does not look
        logits = self.language(inputs_embeds=both, use_cache=False).logits[:, lead_nPW.shape[1] - 1 :]
        terms = next_word_terms(logits, F.pad(ids, (1, 0)), F.pad(mask, (1, 0)))
        return {"llm_loss": terms / denominator(self, batch)}


def _leave_out_the_untrained(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Keep of the language model only what is trained; a tied weight once."""
    language = module.get_submodule("language")
    below = f"{prefix}language."
    kept = {f"{below}{name}" for name, weight in language.named_parameters() if weight.requires_grad}
    for key in [key for key in state if key.startswith(below) and key not in kept]:
        del state[key]


def _take_the_untrained_from_the_folder(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Add the weights that no checkpoint holds; they must come from the same files as before."""
    before, now = state.get(f"{prefix}origin"), module.get_buffer("origin")
    if before is not None and not torch.equal(before.cpu(), now.cpu()):
        raise CheckpointError(
            "The language model in objectives.llm.folder is not the one that the run began with.", code="other_run"
        )
    for name, value in module.get_submodule("language").state_dict().items():
        state.setdefault(f"{prefix}language.{name}", value)

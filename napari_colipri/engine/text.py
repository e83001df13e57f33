"""Questions from words: a bundle's findings by name, and any prompt of the user's. No torch."""

from __future__ import annotations

import re

from napari_colipri.engine.config import BundleConfig
from napari_colipri.engine.findings import Question, questions
from napari_colipri.engine.tokenizer import TextTokenizer
from napari_colipri.text.extract import sentence_mentions
from napari_colipri.text.findings import prompts_for_text
from napari_colipri.text.negation import sentence_prompts

__all__ = ["UNKNOWN_WORDS", "question_for"]

UNKNOWN_WORDS = "this model does not know these words"
_FRAME = frozenset("a an the no not without there is are present absent".split())  # noqa: SIM905 - reads better
_NEGATED = re.compile(r"^(there (is|are) )?(no|not|without)\b|\b(is|are) (not present|absent)\W*$", re.IGNORECASE)


def question_for(text: str, config: BundleConfig, tokenizer: TextTokenizer) -> Question:
    """Turn a finding's name or a prompt into a question.

    A name of the bundle's findings (any case, also inside "there is …" or "no …") gets the bundle's own ensembles. Any
    other text is put into sentences of presence and absence; those whose frame the model does not know are left out.
    Asked for an absence ("no nodule"), the two sides change places, so that the number answers what was asked. A whole
    statement ("the heart is enlarged") is asked as it stands, against its opposite.

    Parameters
    ----------
    text
        What the user typed.
    config, tokenizer
        Of the bundle.

    Returns
    -------
    Question
        With a note, and without a number, if the model cannot read the text or was not trained to see it.
    """
    clean = " ".join(text.split())
    if not any(word not in _FRAME for word in re.findall(r"\w+", clean.lower())):
        return Question(clean, note="this prompt holds no words")
    known = {question.name.lower(): question for question in questions(config)}
    statement = sentence_prompts(clean)
    if statement is not None:
        said, opposite = statement
        return Question(clean, (said,), (opposite,), _unreadable(clean, statement, tokenizer) or _unseen(clean, known))
    present, absent = prompts_for_text(clean)
    noun = absent[0].removeprefix("There is no ").removesuffix(".")
    own = known.get(clean.lower()) or known.get(noun.lower())
    if own is not None:
        present, absent, note = own.present, own.absent, own.note
    else:
        note = _unreadable(clean, (*present, *absent), tokenizer) or _unseen(clean, known)
        pairs = [
            pair
            for pair in zip(present, absent, strict=True)
            if not any(tokenizer.unknown_words(each) for each in pair)
        ]
        present, absent = ((*side,) for side in zip(*(pairs or [(noun, f"no {noun}")]), strict=True))
    if _NEGATED.search(clean):
        present, absent = absent, present
    return Question(own.name if own is not None and own.name.lower() == clean.lower() else clean, present, absent, note)


def _unseen(clean: str, known: dict[str, Question]) -> str | None:
    """Why the bundle cannot answer for a finding that the text names in other words, or None."""
    named = (known.get(mention.finding.lower()) for mention in sentence_mentions(clean))
    return next((question.note for question in named if question is not None and question.note), None)


def _unreadable(clean: str, prompts: tuple[str, ...], tokenizer: TextTokenizer) -> str | None:
    unknown = tokenizer.unknown_words(clean)
    if unknown:
        return f"{UNKNOWN_WORDS}: {', '.join(dict.fromkeys(unknown))}"
    if max(tokenizer.length(prompt) for prompt in prompts) > tokenizer.max_length:
        return f"this prompt is longer than the {tokenizer.max_length} tokens that this model reads"
    return None

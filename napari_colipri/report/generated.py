"""Text that a report decoder wrote, as sentences of a draft: checked, and never mixed with what numbers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_colipri.engine.types import GeneratedReport
from napari_colipri.report.checks import Check, answer_check
from napari_colipri.report.types import Parts
from napari_colipri.text.side_and_size import comparison_words

__all__ = ["generated_sentences"]

_NO_DECODER = "This bundle has no report decoder: no text was generated from the image."
_EMPTY = "The report decoder wrote nothing that can stand here."
_INTRODUCTION = "Written by the model from the image alone; nobody has checked it."
_CUT = "The text was cut at the decoder's longest length."


def generated_sentences(written: GeneratedReport | None, answers: Sequence[Mapping[str, Any]]) -> list[Parts]:
    """Return the section *Generated text*.

    A sentence that compares with an earlier study is left out, because none was given, and counted. One that says of a
    finding the opposite of the model's own answer carries a warning.

    Parameters
    ----------
    written
        What the decoder wrote, or None where the bundle has none.
    answers
        The model's answers for the same volume, as evidence of kind ``finding``.
    """
    if written is None:
        return [(_NO_DECODER, "template", (), ())]
    kept = [sentence for sentence in written.sentences if not comparison_words(sentence)]
    evidence = {"kind": "generated", "bundle": written.bundle, "bundle_hash": written.bundle_hash}
    out: list[Parts] = [(_INTRODUCTION if kept else _EMPTY, "template", (), ())]
    out += [(sentence, "model", (evidence,), _checks(sentence, answers)) for sentence in kept]
    left_out = len(written.sentences) - len(kept)
    if left_out:
        subject = "sentence was left out: it compares" if left_out == 1 else "sentences were left out: they compare"
        text = f"{left_out} generated {subject} with an earlier study, and none was given."
        out.append((text, "template", (), ()))
    if not written.finished:
        out.append((_CUT, "template", (), ()))
    return out


def _checks(sentence: str, answers: Sequence[Mapping[str, Any]]) -> tuple[Check, ...]:
    found = answer_check(sentence, answers)
    return () if found is None else (found,)

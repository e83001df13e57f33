"""Generated text: how it is cut into sentences, and what is said where a bundle writes none. No torch."""

from __future__ import annotations

from napari_colipri.errors import BundleError
from napari_colipri.text.sentences import split_sections, split_sentences

__all__ = ["no_report_decoder", "sentences_of"]


def no_report_decoder() -> BundleError:
    """Return the error of a bundle that cannot write, code ``no_report_decoder``."""
    return BundleError("This model has no report decoder: it writes no text.", code="no_report_decoder")


def sentences_of(text: str) -> tuple[str, ...]:
    """Return the sentences of a generated text, its headings left out, no sentence twice."""
    every = (sentence for section in split_sections(text) for sentence in split_sentences(section.text))
    return tuple(dict.fromkeys(every))

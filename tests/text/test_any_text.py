"""Whatever the text: nothing is lost by splitting, spans are true, and no rule stumbles."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from napari_colipri.text.extract import extract
from napari_colipri.text.negation import negate
from napari_colipri.text.sentences import sentence_spans, split_sections, split_sentences
from tests.text.findings_wording import ABSENT, PHRASES, PRESENT, sentence

PIECES = st.sampled_from(
    [
        *(
            "No ",
            "not ",
            "is seen",
            " but ",
            " and ",
            ", ",
            ". ",
            "? ",
            ": ",
            "; ",
            "\n",
            "\n- ",
            "\n\n",
            ' "',
            "(",
            ") ",
            "• ",
            "İ ",
        ),
        *(
            "1.5 cm ",
            "12 x 8 mm ",
            "FINDINGS: ",
            "Impression:",
            "## Lungs\n",
            "e.g. ",
            "1. ",
            "there is ",
            "without ",
            "the ",
        ),
        *(phrase for phrases in PHRASES.values() for phrase in phrases),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(PIECES, max_size=30).map("".join),
    st.lists(
        st.builds(
            sentence, st.sampled_from([*PRESENT, *ABSENT]), st.sampled_from([p for ps in PHRASES.values() for p in ps])
        ),
        max_size=6,
    ).map(" ".join),
)


def letters(text: str) -> str:
    return "".join(each for each in text if each.isalpha())


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_splitting_loses_no_letter(text: str) -> None:
    assert letters("".join(split_sentences(text))) == letters(text)
    sections = split_sections(text)
    assert letters("".join(part.name + part.text for part in sections)) == letters(text)
    assert all(text[part.start : part.start + len(part.text)] == part.text for part in sections)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_spans_are_in_order_and_true(text: str) -> None:
    spans = sentence_spans(text)
    assert list(spans) == sorted(spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for mention in extract(text):
        assert " ".join(text[slice(*mention.span)].split()) == mention.sentence
        assert mention.words in mention.sentence


@settings(max_examples=150, deadline=None)
@given(TEXTS.filter(lambda text: any(each.isalnum() for each in text)))
def test_every_text_has_an_opposite(text: str) -> None:
    assert negate(text).strip()

"""The report decoder: what is cached equals what is not, no word sees a later one, generation is repeatable."""

from __future__ import annotations

import itertools

import pytest
import torch

from napari_colipri.engine.report_decoder import ReportDecoder
from napari_colipri.errors import Cancelled

START, STOP, WORDS = 2, 3, 11


@pytest.fixture
def decoder() -> ReportDecoder:
    torch.manual_seed(0)
    made = ReportDecoder(vocab_size=WORDS, memory_dim=6, width=16, depth=2, heads=2, length=12).eval()
    for parameter in made.parameters():  # words that differ in probability
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made


@pytest.fixture
def memory() -> torch.Tensor:
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_word_by_word_equals_all_at_once(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    ids = torch.randint(0, WORDS, (1, 9), generator=torch.Generator().manual_seed(2))
    whole = decoder(ids, memory[:1])
    cache = decoder.remember(memory[:1])
    pieces = [decoder.advance(ids[:, a:b], cache) for a, b in itertools.pairwise((0, 4, 5, 6, 9))]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=2e-5, rtol=1e-5)


def test_no_word_sees_a_later_one_and_training_equals_evaluation(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    ids = torch.tensor([[2, 5, 6, 7]])
    decoder.train()
    before = decoder(ids, memory[:1])
    changed = decoder(torch.tensor([[2, 5, 9, 0]]), memory[:1])
    torch.testing.assert_close(before[:, :2], changed[:, :2])
    assert not torch.allclose(before[:, 2], changed[:, 2])
    torch.testing.assert_close(decoder.eval()(ids, memory[:1]), before, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_masked_image_tokens_are_not_looked_at(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    ids = torch.tensor([[2, 5, 6]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    torch.testing.assert_close(decoder(ids, memory[:1], mask), decoder(ids, memory[:1, :3]), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def greedy_without_cache(decoder: ReportDecoder, memory: torch.Tensor, limit: int) -> tuple[int, ...]:
    said = [START]
    while len(said) < limit:
        word = int(decoder(torch.tensor([said]), memory)[0, -1].argmax())
        if word == STOP:
            break
        said.append(word)
    return tuple(said[1:])


def test_greedy_generation_equals_the_uncached_loop(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    texts = decoder.generate(memory, start=START, stop=STOP)
    assert [text.ids for text in texts] == [greedy_without_cache(decoder, memory[i : i + 1], 12) for i in range(2)]
    assert texts == decoder.generate(memory, start=START, stop=STOP)
    assert len({text.ids for text in texts}) == 2


def test_wide_beams_find_the_likeliest_text(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    """Against every text of up to two words."""

    @torch.no_grad()
    def log_probability(words: tuple[int, ...]) -> float:
        log_p = decoder(torch.tensor([[START, *words]]), memory[:1])[0].log_softmax(-1)
        return sum(float(log_p[place, word]) for place, word in enumerate((*words, STOP)))

    others = [word for word in range(WORDS) if word != STOP]
    texts = [words for n in range(3) for words in itertools.product(others, repeat=n)]
    best = max(texts, key=log_probability)
    found = decoder.generate(memory[:1], start=START, stop=STOP, max_length=4, beams=120, length_penalty=0.0)[0]
    assert found.finished
    assert found.ids == best
    assert found.log_probability == pytest.approx(log_probability(best), abs=1e-4)


def test_forbidden_words_are_never_said_and_long_texts_are_cut(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    first = decoder.generate(memory, start=START, stop=STOP, max_length=6)[0]
    other = decoder.generate(memory, start=START, stop=STOP, max_length=6, forbidden=[*first.ids, STOP])[0]
    assert not set(other.ids) & set(first.ids)
    assert len(other.ids) == 5
    assert not other.finished


def test_a_cancel_stops_before_the_next_word(decoder: ReportDecoder, memory: torch.Tensor) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        decoder.generate(memory, start=START, stop=STOP, forbidden=[STOP], check=check)
    assert calls == 3

"""Beam search: the best text where all can be tried, the same texts as slow lists of plain numbers, greedy with one.

Would break it: texts that go on from another's, ends that are counted or ranked wrongly, a search that is over before
its time, scores of another length, images of a batch that know of each other.
"""

import math
import random

import pytest
import torch

from snnkit.errors import InvalidArgumentError
from snnkit.models.beam_search import beam_search

VOCABULARY, CONTEXT = 3, 4


def table(seed, sharp=2.0):
    """A model that says of every text what comes next, at random and always the same: log p (V,)."""

    def log_p(text):
        drawn = random.Random(f"{seed} {text}")
        return torch.tensor([drawn.gauss(0, sharp) for _ in range(VOCABULARY)]).log_softmax(0)

    return log_p


def step_of(*tables):
    """What ``beam_search`` asks, of one table an image; the texts must be those that the rows go on from."""
    before = []

    def step(texts, rows):
        if before:
            assert torch.equal(before[-1][rows], texts[:, :-1])
        before.append(texts)
        per_image = len(texts) // len(tables)
        return torch.stack([tables[n // per_image](tuple(text)) for n, text in enumerate(texts.tolist())])

    step.before = before
    return step


def every_text(log_p):
    """All texts and Σ log p: those that end, and those of full length that do not."""
    found, open_ = {}, {(): 0.0}
    for length in range(1, CONTEXT + 1):
        longer = {
            (*text, token): total + float(log_p(text)[token])
            for text, total in open_.items()
            for token in range(VOCABULARY)
        }
        found |= {text: total for text, total in longer.items() if text[-1] == 0 or length == CONTEXT}
        open_ = {text: total for text, total in longer.items() if text[-1] != 0}
    return found


def in_lists(log_p, beam, penalty):
    """The same search of one image, by lists: (text, score)."""
    live, complete = [((), 0.0)], []
    for length in range(1, CONTEXT + 1):
        longer = sorted(
            (
                ((*text, token), total + float(log_p(text)[token]))
                for text, total in live
                for token in range(VOCABULARY)
            ),
            key=lambda one: -one[1],
        )
        complete += [(text, total / length**penalty) for text, total in longer[:beam] if text[-1] == 0]
        live = [one for one in longer if one[0][-1] != 0][:beam]
        if len(complete) >= beam:
            break
    else:
        complete += [(text, total / CONTEXT**penalty) for text, total in live]
    return max(complete, key=lambda one: one[1])


def padded(text):
    return [*text, *[0] * (CONTEXT - len(text))]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_best_of_all_texts(seed, penalty):
    log_p = table(seed)
    texts = every_text(log_p)
    assert len(texts) == 1 + 2 + 4 + 8 + 16
    assert math.isclose(sum(map(math.exp, texts.values())), 1.0, rel_tol=1e-5)
    best, score = max(((text, total / len(text) ** penalty) for text, total in texts.items()), key=lambda one: one[1])
    found = beam_search(step_of(log_p), 1, CONTEXT, 40, penalty)
    assert found.tokens[0].tolist() == padded(best)
    assert math.isclose(float(found.scores[0]), score, rel_tol=1e-5)


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_narrow_beams_find_what_lists_find_and_images_do_not_mix(beam, penalty):
    tables = [table(seed, sharp=1.0) for seed in range(8)]
    found = beam_search(step_of(*tables), len(tables), CONTEXT, beam, penalty)
    for log_p, tokens, score in zip(tables, found.tokens.tolist(), found.scores.tolist(), strict=True):
        text, expected = in_lists(log_p, beam, penalty)
        assert tokens == padded(text)
        assert math.isclose(score, expected, rel_tol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
def test_one_beam_is_greedy_search(penalty):
    tables = [table(seed, sharp=1.0) for seed in range(12)]
    found = beam_search(step_of(*tables), len(tables), CONTEXT, 1, penalty)
    for log_p, tokens in zip(tables, found.tokens.tolist(), strict=True):
        text = ()
        while len(text) < CONTEXT and not (text and text[-1] == 0):
            text = (*text, int(log_p(text).argmax()))
        assert tokens == padded(text)


def test_length_penalty_lets_longer_texts_win():
    """Ending at once has p = 0.3, the best text of four tokens 0.4 · 0.8³ = 0.2, but more of each token."""

    def log_p(text):
        return torch.tensor([0.3, 0.4, 0.3] if not text else [0.1, 0.8, 0.1]).log()

    short = beam_search(step_of(log_p), 1, CONTEXT, 40, 0.0)
    long = beam_search(step_of(log_p), 1, CONTEXT, 40, 1.0)
    assert short.tokens[0].tolist() == [0, 0, 0, 0]
    assert math.isclose(float(short.scores[0]), math.log(0.3), rel_tol=1e-5)
    assert long.tokens[0].tolist() == [1, 1, 1, 1]
    assert math.isclose(float(long.scores[0]), (math.log(0.4) + 3 * math.log(0.8)) / 4, rel_tol=1e-5)


def test_a_search_is_over_when_nothing_can_be_better():
    def log_p(text):
        return torch.tensor([0.9, 0.05, 0.05]).log()

    step = step_of(log_p, log_p)
    assert beam_search(step, 2, CONTEXT, 3, 0.0).tokens.tolist() == [[0] * CONTEXT] * 2
    assert len(step.before) == 1


@pytest.mark.parametrize(
    ("beam", "penalty", "words"),
    [
        (0, 0.0, "beam=0.*≥ 1"),
        (1.5, 0.0, "beam=1.5"),
        (True, 0.0, "beam=True"),
        (2, -1.0, "length_penalty=-1.0"),
        (2, math.nan, "length_penalty=nan"),
        (2, math.inf, "length_penalty=inf"),
    ],
)
def test_what_no_search_can_have(beam, penalty, words):
    with pytest.raises(InvalidArgumentError, match=words):
        beam_search(step_of(table(0)), 1, CONTEXT, beam, penalty)

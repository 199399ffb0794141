"""Texts from scores: the beam finds what a search over all paths finds, and only what the grammar allows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.strings.amount_grammar import AmountGrammar
from pipelines.strings.ctc_decoding import beam_candidates, greedy_text
from pipelines.strings.string_alphabet import BLANK
from tests.support.amounts import is_amount


def log_scores(rows: list[dict[int, float]]) -> NDArray[np.float64]:
    """Log probabilities of these classes at each step; the rest shares what is left."""
    scores = np.full((len(rows), BLANK + 1), 0.0)
    for step, row in enumerate(rows):
        scores[step] = (1 - sum(row.values())) / (BLANK + 1 - len(row))
        for place, probability in row.items():
            scores[step, place] = probability
    logs: NDArray[np.float64] = np.log(np.maximum(scores, 1e-12))
    return logs


def text_of_path(path: tuple[int, ...]) -> str:
    merged = [place for place, _ in itertools.groupby(path)]
    return "".join(str(place) for place in merged if place != BLANK)


def exact_probabilities(scores: NDArray[np.float64]) -> dict[str, float]:
    """The sum over all paths of each text."""
    found: dict[str, float] = {}
    for path in itertools.product(range(BLANK + 1), repeat=len(scores)):
        text = text_of_path(path)
        found[text] = found.get(text, 0.0) + math.exp(sum(scores[step, place] for step, place in enumerate(path)))
    return found


def test_the_best_path_merges_repeats_and_drops_blanks() -> None:
    path = [1, 1, BLANK, 1, 0, 0, BLANK]
    assert greedy_text(log_scores([{place: 0.9} for place in path])) == "110"
    assert greedy_text(log_scores([{BLANK: 0.9}])) == ""


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_gives_the_sum_over_all_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.log(rng.dirichlet(np.full(BLANK + 1, 0.3), size=4) * 0.98 + 0.02 / (BLANK + 1))
    exact = {text: p for text, p in exact_probabilities(scores).items() if is_amount(text)}
    candidates = beam_candidates(scores, AmountGrammar(), width=5_000)
    assert candidates[0].text == max(exact, key=lambda text: exact[text])
    for candidate in candidates[:20]:
        assert math.exp(candidate.log_probability) == pytest.approx(exact[candidate.text], rel=1e-6)


def test_many_paths_of_one_text_outweigh_the_best_path() -> None:
    scores = log_scores([{BLANK: 0.4, 7: 0.35, 3: 0.2}, {BLANK: 0.4, 7: 0.35, 3: 0.2}])
    assert greedy_text(scores) == ""
    assert beam_candidates(scores, AmountGrammar())[0].text == "7"


def test_a_zero_in_front_gives_way_to_what_the_grammar_allows() -> None:
    scores = log_scores([{0: 0.6, 6: 0.3}, {BLANK: 0.9}, {5: 0.9}])
    assert greedy_text(scores) == "05"
    assert beam_candidates(scores, AmountGrammar())[0].text == "65"


def test_without_steps_or_without_anything_allowed_there_is_no_candidate() -> None:
    assert beam_candidates(np.zeros((0, BLANK + 1)), AmountGrammar()) == ()
    assert beam_candidates(log_scores([{BLANK: 0.99999}]), AmountGrammar()) == ()


def test_a_length_beyond_the_longest_is_never_read() -> None:
    rows = [row for _ in range(3) for row in ({5: 0.9}, {BLANK: 0.9})]
    assert all(len(found.text) <= 2 for found in beam_candidates(log_scores(rows), AmountGrammar(longest=2)))

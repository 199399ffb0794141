"""Reads texts from the scores of a connectionist temporal classifier: the best path, or a beam under a grammar.

Prefix search of Graves et al. (ICML 2006) and Hannun et al., "First-Pass Large Vocabulary Continuous Speech
Recognition using Bi-Directional Recurrent DNNs" (2014): the paths of one text are summed, since many spell the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.strings.amount_grammar import AmountGrammar, GrammarState
from pipelines.strings.string_alphabet import BLANK, DIGITS

BEAM_WIDTH: Final = 12
LEAST_LIKELY: Final = math.log(1e-4)
"""Classes that are less likely at a step are not followed there."""
NEVER: Final = -math.inf


@dataclass(frozen=True)
class Candidate:
    """One reading of a string, and the logarithm of the probability that the network gives it."""

    text: str
    log_probability: float


def greedy_text(scores: NDArray[np.floating]) -> str:
    """The text of the likeliest class at each step of log probabilities (steps, classes): repeats merged, no blanks."""
    path = np.argmax(scores, axis=1)
    starts = np.concatenate([[True], path[1:] != path[:-1]])
    return "".join(DIGITS[place] for place in path[starts & (path != BLANK)])


@dataclass
class _Prefix:
    """The paths that spell a text so far: those that end in a blank and those that end in its last character."""

    state: GrammarState
    blank: float = NEVER
    character: float = NEVER
    next_blank: float = field(default=NEVER, init=False)
    next_character: float = field(default=NEVER, init=False)

    @property
    def total(self) -> float:
        return _add(self.blank, self.character)

    @property
    def next_total(self) -> float:
        return _add(self.next_blank, self.next_character)

    def advanced(self) -> _Prefix:
        """One step further."""
        return _Prefix(self.state, self.next_blank, self.next_character)


def beam_candidates(
    scores: NDArray[np.floating], grammar: AmountGrammar, width: int = BEAM_WIDTH
) -> tuple[Candidate, ...]:
    """The likeliest texts that the grammar allows, best first, from log probabilities (steps, classes)."""
    beam = {"": _Prefix(grammar.start, blank=0.0)}
    for row in scores.tolist():
        following = dict[str, _Prefix]()
        likely = [place for place in range(BLANK) if row[place] > LEAST_LIKELY]
        for text, prefix in beam.items():
            _stay(text, prefix, row, following)
            for place in likely:
                _extend(text, prefix, place, row[place], grammar, following)
        best = sorted(following.items(), key=lambda item: item[1].next_total, reverse=True)[:width]
        beam = {text: prefix.advanced() for text, prefix in best}
    whole = [Candidate(text, prefix.total) for text, prefix in beam.items() if grammar.is_accepting(prefix.state)]
    return tuple(sorted(whole, key=lambda candidate: candidate.log_probability, reverse=True))


def _stay(text: str, prefix: _Prefix, row: list[float], following: dict[str, _Prefix]) -> None:
    """The same text after a blank, or after its last character once more."""
    kept = following.setdefault(text, _Prefix(prefix.state))
    kept.next_blank = _add(kept.next_blank, prefix.total + row[BLANK])
    if text:
        kept.next_character = _add(kept.next_character, prefix.character + row[DIGITS.index(text[-1])])


def _extend(
    text: str,
    prefix: _Prefix,
    place: int,
    score: float,
    grammar: AmountGrammar,
    following: dict[str, _Prefix],
) -> None:
    """The text with one more character, where the grammar allows it; a repeated one needs a blank before it."""
    character = DIGITS[place]
    state = grammar.following(prefix.state, character)
    if state is None:
        return
    before = prefix.blank if text.endswith(character) else prefix.total
    longer = following.setdefault(text + character, _Prefix(state))
    longer.next_character = _add(longer.next_character, before + score)


def _add(first: float, second: float) -> float:
    """The logarithm of the sum of two probabilities given as logarithms."""
    if first < second:
        first, second = second, first
    return first if second == NEVER else first + math.log1p(math.exp(second - first))

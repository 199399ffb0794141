"""Reads pictures of strings with an exported network: text, confidence of the whole and of each character."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.engines.graph_check import declared_shape, graph_inputs, load_plain_graph
from pipelines.engines.onnx_engine import open_graph, open_session
from pipelines.errors import ModelFormatError
from pipelines.strings.amount_grammar import AmountGrammar
from pipelines.strings.ctc_decoding import Candidate, beam_candidates
from pipelines.strings.ink import HEIGHT, network_input
from pipelines.strings.string_alphabet import BLANK
from pipelines.strings.string_confidence import candidate_probabilities, position_confidences

if TYPE_CHECKING:
    import onnxruntime

INPUT_NAME, OUTPUT_NAME = "ink", "scores"
TEMPERATURE_KEY: Final = "temperature"
"""Of the graph's metadata: what its confidences are divided by."""
BUNDLED_MODEL: Final = Path(__file__).with_name("amounts.onnx")
"""Trained on the training part of ORAND-CAR-A and on synthetic strings; `benchmarks.strings` says how good it is."""


@dataclass(frozen=True)
class StringReading:
    """What was read: the likeliest text, how sure it is, each character of it, and the candidates it was chosen from.

    The text is empty, with confidence 0, where the grammar allows nothing of what the network saw.
    """

    text: str
    confidence: float
    positions: tuple[float, ...]
    candidates: tuple[Candidate, ...]


class StringEngine:
    """A network of strings, ready to read; it holds no state between calls, so threads may share it."""

    def __init__(
        self, session: onnxruntime.InferenceSession, temperature: float, grammar: AmountGrammar | None = None
    ) -> None:
        self._session, self.temperature = session, temperature
        self._grammar = AmountGrammar() if grammar is None else grammar

    def scores(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The log probabilities (steps, 11) of a grey picture, dark on light."""
        [answer] = self._session.run([OUTPUT_NAME], {INPUT_NAME: network_input(picture)})
        scores: NDArray[np.float32] = answer[0]
        return scores

    def read(self, picture: NDArray[np.uint8]) -> StringReading:
        """The likeliest amount of a grey picture, dark on light."""
        candidates = beam_candidates(self.scores(picture), self._grammar)
        if not candidates:
            return StringReading("", 0.0, (), ())
        probabilities = candidate_probabilities(candidates, self.temperature)
        positions = position_confidences(candidates, probabilities)
        return StringReading(candidates[0].text, float(probabilities[0]), positions, candidates)


def load_string_engine(path: Path = BUNDLED_MODEL, threads: int = 1) -> StringEngine:
    """Read a graph that is proved plain; raises ModelFormatError, or ModelUnreadableError for what passes."""
    return open_graph(path, lambda content: string_engine_from_bytes(content, threads))


def string_engine_from_bytes(content: bytes, threads: int = 1, grammar: AmountGrammar | None = None) -> StringEngine:
    """The graph in these bytes, ready to read with so many intra-op threads, amounts of at most nine digits if no
    grammar says otherwise."""
    model = load_plain_graph(content)
    inputs, outputs = graph_inputs(model.graph), list(model.graph.output)
    taken = [declared_shape(value)[:3] for value in inputs]
    given = [declared_shape(value)[2:] for value in outputs]
    if taken != [[1, 1, HEIGHT]] or given != [[BLANK + 1]]:
        raise ModelFormatError(
            f"the graph takes {taken} and answers {given}; give one of strings: [1, 1, {HEIGHT}, any] in, "
            f"[1, any, {BLANK + 1}] out"
        )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return StringEngine(open_session(content, threads), _temperature(metadata.get(TEMPERATURE_KEY, "1.0")), grammar)


def _temperature(written: str) -> float:
    try:
        temperature = float(written)
    except ValueError:
        temperature = math.nan
    if not (math.isfinite(temperature) and temperature > 0):
        raise ModelFormatError(f"the graph's temperature is {written[:40]!r}; give a finite number above 0")
    return temperature

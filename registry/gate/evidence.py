"""The evidence a verdict follows from, rows of both models and the policy, and its JSON text in the run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import GateError
from registry.gate.paired_comparison import IntArray, PairedPredictions
from registry.gate.policy import GatePolicy

EVIDENCE_FILE = "gate_evidence.json"
MODELS = ("champion", "candidate")
EVIDENCE_VERSION = 4
"""Raised when the same evidence leads to another verdict, so that no old verdict is replayed by new rules."""


@dataclass(frozen=True, eq=False)
class BestVersion:
    """The version with the best golden score among all that ever were champion.

    `right` is 1 or 0 for each golden row, in the order of the golden comparison; None when only counts were kept.
    """

    version: int
    correct: int
    total: int
    right: IntArray | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total or not self.total:
            raise GateError(f"The best version got {self.correct} of {self.total} golden rows right: give its counts")


@dataclass(frozen=True, eq=False)
class PairedConfidence:
    """How sure both models were of the answer they gave on each golden row, from 0 to 1, (n,)."""

    champion: NDArray[np.floating]
    candidate: NDArray[np.floating]

    def __post_init__(self) -> None:
        for name in MODELS:
            values = np.asarray(getattr(self, name), np.float64)
            if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
                raise GateError(f"The {name}'s confidences are not all from 0 to 1: give the answer's probability")
            object.__setattr__(self, name, values)


@dataclass(frozen=True, eq=False)
class GateEvidence:
    """Both models on the same rows, what each costs to run, the best there ever was, and the policy.

    `robustness` holds the golden rows under each named mild corruption, `strong` some under strong ones. `groups` tags
    each of `all_rows` ("" for no tag); it is empty where nothing is tagged. A digest is "" for a version without one.
    """

    golden: PairedPredictions
    feedback: PairedPredictions | None
    classes: tuple[str, ...]
    champion_latency_p95_ms: float
    candidate_latency_p95_ms: float
    champion_bytes: int
    candidate_bytes: int
    policy: GatePolicy = field(default_factory=GatePolicy)
    golden_digest: str = ""
    champion_digest: str = ""
    unlearnt: bool = True
    """Whether the golden rows are known to have taught neither model."""
    best: BestVersion | None = None
    confidence: PairedConfidence | None = None
    robustness: Mapping[str, PairedPredictions] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    strong: Mapping[str, PairedPredictions] = field(default_factory=dict)
    attempt: int = 1
    """Which candidate this is among those compared on these golden rows since the last promotion, from 1."""
    labels: int = 0
    """How many labels of production were given."""
    labels_set_aside: int = 0
    """How many of them neither train nor judge, because the file holds their events or judges their days."""

    def __post_init__(self) -> None:
        costs = (
            self.champion_latency_p95_ms,
            self.candidate_latency_p95_ms,
            self.champion_bytes,
            self.candidate_bytes,
        )
        if not all(0 < cost < float("inf") for cost in costs):
            raise GateError(f"Latencies and sizes are {costs}: measure both models, each is above 0")
        if self.attempt < 1:
            raise GateError(f"attempt is {self.attempt}: count the candidates since the last promotion from 1")
        labels = self.all_rows.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise GateError(f"A label is outside 0..{len(self.classes) - 1}: drop rows of unknown classes")
        _check_rows("the best version's golden rows", None if self.best is None else self.best.right, self.golden.n)
        if self.confidence is not None:
            for values in (self.confidence.champion, self.confidence.candidate):
                _check_rows("confidences", values, self.golden.n)
        if self.groups:
            _check_rows("group tags", self.groups, len(labels))

    @property
    def all_rows(self) -> PairedPredictions:
        """The golden rows, then the recent ones."""
        return self.golden if self.feedback is None else self.golden.concatenate(self.feedback)

    def to_json(self) -> str:
        """Everything, whole; `from_json` gives it back to the last bit."""
        return _dump(asdict(self))


@dataclass(frozen=True)
class FirstVersionEvidence:
    """What a first version shows: there is no champion to beat, so its golden accuracy must surely reach a floor."""

    correct: int
    total: int
    floor: float = 0.90
    alpha: float = 0.05

    def to_json(self) -> str:
        """Everything, whole."""
        return _dump(asdict(self))


def evidence_from_json(text: str) -> GateEvidence | FirstVersionEvidence:
    """The evidence whose `to_json` this is; GateError for anything else, and for evidence of other rules."""
    try:
        raw = json.loads(text)
        rules = raw.pop("rules")
        if rules != EVIDENCE_VERSION:
            raise GateError(
                f"The evidence follows rules {rules}, this gate {EVIDENCE_VERSION}: replay it with the "
                "commit its run names"
            )
        return _gate_evidence(raw) if "golden" in raw else FirstVersionEvidence(**raw)
    except GateError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise GateError(f"{text[:60]!r} is no evidence: give the text of GateEvidence.to_json") from error


def _gate_evidence(raw: dict[str, Any]) -> GateEvidence:
    best, sure = raw["best"], raw["confidence"]
    values = {
        "golden": _paired_predictions(raw["golden"]),
        "feedback": None if raw["feedback"] is None else _paired_predictions(raw["feedback"]),
        "classes": tuple(raw["classes"]),
        "policy": GatePolicy(**raw["policy"]),
        "best": None if best is None else BestVersion(**{**best, "right": _integer_array(best["right"])}),
        "confidence": None if sure is None else PairedConfidence(*(np.array(sure[m], np.float64) for m in MODELS)),
        "robustness": {name: _paired_predictions(rows) for name, rows in raw["robustness"].items()},
        "groups": tuple(raw["groups"]),
        "strong": {name: _paired_predictions(rows) for name, rows in raw["strong"].items()},
    }
    return GateEvidence(**{**raw, **values})


def _paired_predictions(raw: Mapping[str, Any]) -> PairedPredictions:
    labels, champion, candidate = (np.array(raw[name], np.int64) for name in ("labels", *MODELS))
    shares = None if raw["shares"] is None else np.array(raw["shares"], np.float64)
    return PairedPredictions(labels, champion, candidate, raw["origin"], shares, _integer_array(raw["blocks"]))


def _integer_array(values: list[int] | None) -> IntArray | None:
    return None if values is None else np.array(values, np.int64)


def _dump(values: dict[str, Any]) -> str:
    return json.dumps({**values, "rules": EVIDENCE_VERSION}, default=np.ndarray.tolist, sort_keys=True, allow_nan=False)


def _check_rows(name: str, values: Any, rows: int) -> None:  # noqa: ANN401 - an array, a tuple or nothing
    if values is not None and len(values) != rows:
        raise GateError(f"There are {len(values)} {name} for {rows} rows: give one per row, in the same order")

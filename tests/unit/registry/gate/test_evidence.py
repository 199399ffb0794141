"""All that a verdict follows from."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from registry.errors import GateError
from registry.gate.evidence import BestVersion, FirstVersionEvidence, GateEvidence, PairedConfidence, evidence_from_json
from registry.gate.policy import GatePolicy
from tests.support.gate_evidence import evidence, exact


@pytest.mark.parametrize(
    "setting",
    [
        {"alpha": 0.0},
        {"alpha": 0.6},
        {"golden_margin": -0.1},
        {"golden_tolerance": -0.1},
        {"class_margin": 1.0},
        {"group_margin": -0.1},
        {"robustness_margin": 1.0},
        {"calibration_margin": -1.0},
        {"min_benefit": 1.0},
        {"min_rows": 0},
    ],
)
def test_a_policy_that_means_nothing_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=next(iter(setting))):
        replace(GatePolicy(), **setting)


def test_evidence_without_measured_costs_or_with_foreign_labels_is_refused() -> None:
    with pytest.raises(GateError, match="measure both models"):
        evidence(exact(9, 9, 10), champion_bytes=0)
    with pytest.raises(GateError, match="measure both models"):
        evidence(exact(9, 9, 10), champion_latency_p95_ms=float("nan"))
    with pytest.raises(GateError, match="attempt is 0"):
        evidence(exact(9, 9, 10), attempt=0)
    with pytest.raises(GateError, match=r"outside 0\.\.9"):
        evidence(exact(9, 9, 10, label=10))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"best": BestVersion(1, 1, 2, np.array([0, 1]))}, "2 the best version's golden rows for 10 rows"),
        ({"confidence": PairedConfidence(np.ones(10), np.ones(9))}, "9 confidences for 10 rows"),
        ({"groups": ("north",)}, "1 group tags for 10 rows"),
    ],
)
def test_rows_that_do_not_pair_up_are_refused(others: dict[str, Any], message: str) -> None:
    with pytest.raises(GateError, match=message):
        evidence(exact(9, 9, 10), **others)


def test_impossible_counts_and_confidences_are_refused() -> None:
    with pytest.raises(GateError, match="5 of 4"):
        BestVersion(1, 5, 4)
    with pytest.raises(GateError, match="champion's confidences"):
        PairedConfidence(np.array([1.5]), np.array([0.5]))


def test_everything_survives_being_stored() -> None:
    seen = evidence(
        exact(9, 8, 10),
        replace(exact(2, 3, 4, origin="feedback"), shares=np.array([1, 0.5, 1 / 3, 1]), blocks=np.array([7, 7, 1, 2])),
        policy=GatePolicy(min_benefit=0.01),
        golden_digest="a",
        best=BestVersion(2, 9, 10, np.array([1] * 9 + [0])),
        confidence=PairedConfidence(np.linspace(0, 1, 10, dtype=np.float32), np.full(10, 1 / 3)),
        robustness={"noise": exact(5, 6, 10)},
        groups=("north", "") * 7,
        attempt=3,
    )
    again = evidence_from_json(seen.to_json())
    assert isinstance(again, GateEvidence)
    assert again.to_json() == seen.to_json()
    assert (again.policy, again.groups, again.classes) == (seen.policy, seen.groups, seen.classes)
    assert again.feedback is not None
    assert again.feedback.shares is not None
    assert again.feedback.shares[2] == 1 / 3
    assert again.feedback.blocks is not None
    assert again.feedback.blocks.tolist() == [2, 2, 0, 1]
    assert again.attempt == 3
    assert again.confidence is not None
    assert again.confidence.champion[3] == np.float32(1 / 3)
    assert evidence_from_json(FirstVersionEvidence(9, 10).to_json()) == FirstVersionEvidence(9, 10)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rules": 4, "golden": 3}', '{"rules": 4, "wrong": 3}'])
def test_text_that_is_no_evidence_is_refused(text: str) -> None:
    with pytest.raises(GateError, match="is no evidence"):
        evidence_from_json(text)


def test_evidence_of_other_rules_is_not_replayed() -> None:
    other = json.loads(FirstVersionEvidence(9, 10).to_json()) | {"rules": 99}
    with pytest.raises(GateError, match="follows rules 99, this gate 4"):
        evidence_from_json(json.dumps(other))

"""Rules with a budget of false alarms: their detectors, and what is decided with them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from monitors.decisions.decision import decide, resolved_streams
from monitors.decisions.detectors.label_detector import LabelDetector, restart
from monitors.decisions.detectors.label_reading import ReadPosition, plan_reading
from monitors.decisions.detectors.rule_detectors import (
    WHOLE_STREAM,
    detectors_digest,
    null_hypothesis,
    update_detectors,
)
from monitors.errors import WindowError
from monitors.rules.alerts_config import Rule, Source
from monitors.statistics.e_detector import simple_null, start_detector
from monitors.statistics.golden_evidence import golden_null
from monitors.windows.window_counts import Outcome
from tests.support.monitor_examples import DIGITS, NOON, golden, labelled, rule, tally

GOLDEN = golden(2976, 3000)
DROP = rule(false_alarms="1 per 90d", min_samples=20)
CLASSES = rule("class_error", false_alarms="1 per 90d", min_samples=10)
HOUR = timedelta(hours=1)
LATER = NOON + 100_000 * HOUR


def stream(
    wrong: Sequence[bool], truth: str = "3", source: Source = "audit", before: tuple[str, ...] = (), first: int = 1
) -> list[Outcome]:
    """Labels of one class, an hour apart."""
    return [
        Outcome(
            seq=first + place,
            prediction_id=f"p{first + place}",
            at=NOON + place * HOUR,
            known_at=NOON + place * HOUR,
            label="5" if is_wrong else truth,
            truth=truth,
            source=source,
            source_sequence={**dict.fromkeys(before, 0), source: first + place},
            confidence=0.9,
            weight=1.0,
            loss=float(is_wrong),
        )
        for place, is_wrong in enumerate(wrong)
    ]


def read(the_rule: Rule, held: dict[str, LabelDetector], rows: Sequence[Outcome]) -> dict[str, LabelDetector]:
    """The detectors after rows of which none was read before."""
    reading = plan_reading(the_rule, ReadPosition(), rows, LATER)
    return update_detectors(the_rule, GOLDEN, DIGITS, held, rows, reading, NOON)


def watched(the_rule: Rule, rows: Sequence[Outcome]) -> dict[str, LabelDetector]:
    return read(the_rule, {}, rows)


def test_the_null_is_the_golden_error_whatever_it_truly_is_plus_the_threshold() -> None:
    null = null_hypothesis(DROP, GOLDEN)
    assert null == golden_null(24, 3000, 0.005)
    assert null.best == pytest.approx(0.013)
    assert null_hypothesis(CLASSES, GOLDEN) == simple_null(0.10)
    assert null_hypothesis(DROP, golden(0, 0)) is None


def test_a_drop_is_proved_and_stays_so_until_the_window_is_clear() -> None:
    held = watched(DROP, stream([True] * 12 + [False] * 18))
    assert list(held) == [WHOLE_STREAM]
    assert held[WHOLE_STREAM].alarmed_at is not None
    [found] = decide(DROP, tally(labelled(18, 12, "3")), GOLDEN, held)
    assert (found.state, found.evidence) == ("breach", 1.0)
    assert found.sentence.endswith("is proved request by request; such a proof is a false alarm at most 1 per 90d.")
    assert resolved_streams([found], held) == frozenset()
    [better] = decide(DROP, tally(labelled(200, 0, "3")), GOLDEN, held)
    assert (better.state, better.clear) == ("ok", True)
    assert resolved_streams([better], held) == {WHOLE_STREAM}


def test_an_alarm_outlasts_a_window_without_labels_and_one_of_too_few() -> None:
    held = watched(DROP, stream([True] * 30))
    for rows in ([], labelled(19, 0)):
        [found] = decide(DROP, tally(rows), GOLDEN, held)
        assert found.state == "breach"


def test_between_the_clear_level_and_the_threshold_an_alarm_stays() -> None:
    hysteresis = rule(false_alarms="1 per 90d", min_samples=20, above="5 points", clear="1 points")
    held = watched(hysteresis, stream([True] * 30))
    for wrong, state in ((8, "breach"), (3, "breach"), (1, "ok")):
        [found] = decide(hysteresis, tally(labelled(100 - wrong, wrong)), GOLDEN, held)
        assert found.state == state


def test_without_an_alarm_a_high_value_is_suspect_and_says_how_many_labels_would_prove_it() -> None:
    held = watched(DROP, stream([place % 25 == 20 for place in range(100)]))
    assert held[WHOLE_STREAM].alarmed_at is None
    [found] = decide(DROP, tally(labelled(96, 4, "3")), GOLDEN, held)
    assert found.state == "suspect"
    assert found.needed is not None
    assert "but not yet proved within 1 per 90d; about" in found.sentence
    assert found.evidence is not None
    assert 0 < found.evidence < 1


def test_the_labels_still_needed_are_about_right() -> None:
    generator = np.random.default_rng(5)
    ratios = []
    for _ in range(40):
        held = watched(DROP, stream((generator.random(100) < 0.04).tolist()))
        if held[WHOLE_STREAM].alarmed_at is not None:
            continue
        [found] = decide(DROP, tally(labelled(96, 4, "3")), GOLDEN, held)
        more = stream((generator.random(4000) < 0.04).tolist(), first=101)
        after = read(DROP, held, more)
        at = after[WHOLE_STREAM].alarmed_at
        assert found.needed is not None
        assert at is not None
        ratios.append(((at - NOON) / HOUR) / found.needed)
    assert 0.5 < float(np.median(ratios)) < 2


def test_fewer_than_five_labels_raise_no_alarm_and_a_proof_waits_for_no_more() -> None:
    held = watched(DROP, stream([True] * 4))
    [found] = decide(DROP, tally(labelled(0, 4, "3")), GOLDEN, held)
    assert found.state == "insufficient"
    held = read(DROP, held, stream([True], first=5))
    [found] = decide(DROP, tally(labelled(0, 5, "3")), GOLDEN, held)
    assert found.state == "breach"
    [found] = decide(DROP, tally(labelled(19, 0, "3")), GOLDEN, held)
    assert found.state == "breach", "an end waits for as many labels as the rule asks for"


def test_each_class_has_its_own_stream_and_only_the_failing_one_is_blamed() -> None:
    good = [row for name in "0124" for row in stream([False] * 40, truth=name)]
    held = watched(CLASSES, [*good, *stream([True] * 20 + [False] * 20)])
    assert set(held) == set(DIGITS)
    rows = [each for name in "0124" for each in labelled(40, 0, name)] + labelled(20, 20, "3")
    found = decide(CLASSES, tally(rows), GOLDEN, held)
    assert {each.key: each.state for each in found} == {**dict.fromkeys("0124", "ok"), "3": "breach"}
    unheard = {each.key: each.state for each in decide(CLASSES, tally(labelled(40, 0, "1")), GOLDEN, held)}
    assert unheard == {"1": "ok", "3": "breach"}, "no label of the class is no sign of health"


def test_two_classes_whose_evidence_is_each_half_an_alarm_prove_it_together() -> None:
    def half(evidence: float, n: int = 20) -> LabelDetector:
        part = replace(start_detector(0.1, NOON), wealth=(evidence / 12,) * 12, n=n)
        return LabelDetector(simple_null(0.1), NOON, {"audit": part})

    alone = read(CLASSES, {"3": half(0.6), "6": half(0.4)}, [])
    assert [each.alarmed_at for each in alone.values()] == [None] * 10
    both = read(CLASSES, {"3": half(0.6), "6": half(0.5), "7": half(0.9, n=4)}, [])
    assert {name for name, each in both.items() if each.alarmed_at is not None} == {"3", "6"}


def test_classes_that_have_alarmed_do_not_let_a_healthy_one_alarm_with_less() -> None:
    fired = LabelDetector(simple_null(0.1), NOON, {"audit": replace(start_detector(0.1, NOON), n=20)}, alarmed_at=NOON)

    def holding(evidence: float) -> LabelDetector:
        part = replace(start_detector(0.1, NOON), wealth=(evidence / 12,) * 12, n=20)
        return LabelDetector(simple_null(0.1), NOON, {"audit": part})

    after = read(CLASSES, {"3": fired, "5": fired, "8": fired, "6": holding(0.4)}, [])
    assert after["6"].alarmed_at is None
    both = read(CLASSES, {"3": fired, "6": holding(0.5), "7": holding(0.5)}, [])
    assert {name for name, each in both.items() if each.alarmed_at is not None} == {"3", "6", "7"}


def test_healthy_classes_keep_their_part_of_the_budget_beside_broken_ones() -> None:
    """Five of ten classes have alarmed, five are as bad as the rule allows: theirs is half of the budget."""
    generator, false_alarms, runs, per_day = np.random.default_rng(4), 0, 10, 10
    fired = {
        name: LabelDetector(simple_null(0.1), NOON, {"audit": start_detector(0.1, NOON)}, alarmed_at=NOON)
        for name in "56789"
    }
    for _ in range(runs):
        held: dict[str, LabelDetector] = dict(fired)
        for day in range(90):
            wrong = generator.random((5, per_day)) < 0.1
            rows = [
                replace(each, known_at=NOON + timedelta(days=day + place / per_day), prediction_id=f"{name}{place}")
                for name, errors in zip("01234", wrong, strict=True)
                for place, each in enumerate(stream(errors.tolist(), name))
            ]
            held = read(CLASSES, held, rows)
            over = [name for name in "01234" if held[name].alarmed_at is not None]
            false_alarms += len(over)
            held |= {name: restart(held[name], NOON + timedelta(days=day + 1)) for name in over}
    assert false_alarms <= runs / 2


def test_corrections_move_no_detector() -> None:
    assert watched(DROP, stream([True] * 30, source="correction"))[WHOLE_STREAM].n == 0
    assert watched(DROP, stream([True] * 30, before=("correction",)))[WHOLE_STREAM].n == 5


def test_reading_in_parts_is_reading_at_once() -> None:
    rows = stream((np.random.default_rng(8).random(300) < 0.02).tolist())
    held: dict[str, LabelDetector] = {}
    for first in range(0, 300, 37):
        held = read(DROP, held, rows[first : first + 37])
    assert held == watched(DROP, rows)


def test_a_rule_without_budget_or_baseline_has_no_detectors() -> None:
    for the_rule, baseline in ((rule(), GOLDEN), (DROP, golden(0, 0))):
        reading = plan_reading(the_rule, ReadPosition(), [], NOON)
        with pytest.raises(WindowError, match="no detectors"):
            update_detectors(the_rule, baseline, DIGITS, {}, [], reading, NOON)


def test_the_definition_changes_with_what_the_memory_rests_on_and_with_nothing_else() -> None:
    same = detectors_digest(DROP, GOLDEN, DIGITS)
    assert same == detectors_digest(rule(false_alarms="1 per 90d", min_samples=50, repeat="1d"), GOLDEN, DIGITS)
    others = [
        detectors_digest(rule(false_alarms="2 per 90d"), GOLDEN, DIGITS),
        detectors_digest(rule(false_alarms="1 per 90d", above="1 points"), GOLDEN, DIGITS),
        detectors_digest(rule(false_alarms="1 per 90d", sources=["delayed"]), GOLDEN, DIGITS),
        detectors_digest(DROP, golden(2970, 3000), DIGITS),
        detectors_digest(DROP, GOLDEN, DIGITS[:9]),
    ]
    assert len({same, *others}) == 6


@pytest.mark.slow
def test_a_healthy_model_keeps_the_budget_however_often_the_rule_looks() -> None:
    """Twenty times ninety days at 200 labels a day and the allowed error, asked after each label."""
    generator, alarms, labels = np.random.default_rng(3), 0, 18_000
    null = null_hypothesis(DROP, GOLDEN)
    assert null is not None
    gap = timedelta(days=90) / labels
    for _ in range(20):
        wrong = np.flatnonzero(generator.random(labels) < null.best)
        rows = [
            Outcome(
                n, "", NOON, NOON + n * gap, "5" if bad else "3", "3", "audit", {"audit": n}, 0.9, 1.0, loss=float(bad)
            )
            for n, bad in enumerate(np.isin(np.arange(labels), wrong))
        ]
        held: dict[str, LabelDetector] = {}
        for first in range(0, labels, 500):
            held = read(DROP, held, rows[first : first + 500])
            at = held[WHOLE_STREAM].alarmed_at
            if at is not None:
                alarms += 1
                held = {WHOLE_STREAM: restart(held[WHOLE_STREAM], rows[first + 499].known_at)}
    assert alarms <= 20


def test_a_detector_of_a_slice_reads_only_the_answers_of_the_slice() -> None:
    sliced = rule(false_alarms="1 per 90d", min_samples=20, slice={"scanner": "flatbed"})
    rows = [replace(each, tags={"scanner": "phone"}) for each in stream([True] * 30)]
    assert watched(sliced, rows)[WHOLE_STREAM].n == 0
    rows = [replace(each, tags={"scanner": "flatbed", "client": "till"}) for each in rows]
    assert watched(sliced, rows)[WHOLE_STREAM].alarmed_at is not None


def test_a_changed_slice_lets_the_detectors_begin_anew_and_none_leaves_them_as_they_were() -> None:
    whole, flatbed, phone = (
        rule(false_alarms="1 per 90d", min_samples=20, **({"slice": {"scanner": name}} if name else {}))
        for name in ("", "flatbed", "phone")
    )
    digests = {detectors_digest(each, GOLDEN, DIGITS) for each in (whole, flatbed, phone)}
    assert len(digests) == 3
    assert detectors_digest(DROP, GOLDEN, DIGITS) == detectors_digest(whole, GOLDEN, DIGITS)

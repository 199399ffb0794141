"""Groups of answers held against the others: who is blamed, on how much, and how seldom by luck."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from monitors.decisions.decision import decide
from monitors.decisions.finding import NO_DATA, Finding
from monitors.decisions.group_gap import MAX_GROUPS, count_by_group
from monitors.notices.notice import keys_text
from monitors.rules.block_unit import DAY_UNIT, LABEL_UNIT, REQUEST_UNIT, BlockUnit
from monitors.windows.window_counts import LabelCount, Outcome, WindowCounts
from tests.support.monitor_examples import NOON, golden, rule, tally

GAP = rule("group_gap", above="3 points", by="scanner", min_samples=50)


def grouped(counts: Mapping[str, tuple[int, int]], weight: float = 1.0) -> WindowCounts:
    """Labels by scanner: how many right, how many wrong."""
    groups = {
        name: tuple(LabelCount("audit", "1", label, weight, n) for label, n in (("1", right), ("2", wrong)) if n)
        for name, (right, wrong) in counts.items()
    }
    return replace(tally([]), predictions=9, groups=groups)


def judged(counts: Mapping[str, tuple[int, int]], **written: object) -> dict[str, Finding]:
    made = rule("group_gap", **{"above": "3 points", "by": "scanner", "min_samples": 50, **written})
    return {finding.key: finding for finding in decide(made, grouped(counts), golden(1, 1))}


def test_only_the_group_that_is_read_worse_is_blamed() -> None:
    found = judged({"flatbed": (160, 40), "phone": (990, 10), "fax": (20, 0)})
    assert {key: finding.state for key, finding in found.items()} == {
        "fax": "insufficient",
        "flatbed": "breach",
        "phone": "ok",
    }
    worst = found["flatbed"]
    assert worst.value == pytest.approx(1010 / 1020 - 0.8)
    assert worst.low is not None
    assert 0.03 < worst.low < (worst.value or 0)
    assert worst.sentence.startswith(
        "scanner flatbed: 80.0 % right on 200 labelled answers, against 99.0 % on 1,020 others: 19.0 points lower. With"
    )
    assert found["fax"].needed == 30


def test_a_group_of_all_there_is_has_nothing_to_be_held_against() -> None:
    [found] = judged({"phone": (100, 50)}).values()
    assert (found.state, found.sentence) == (
        "insufficient",
        "scanner phone has all 150 labels in the window; there is nothing to compare.",
    )


def test_labels_without_the_tag_are_no_group() -> None:
    [found] = judged({"": (100, 50)}).values()
    assert (found.state, found.key) == ("no-data", "")
    assert found.sentence.endswith("Only labels of answers sent with the tag scanner count.")


def test_a_tag_of_any_number_of_values_is_judged_by_its_largest_groups() -> None:
    found = judged({f"client {place:03}": (60 + place, 0) for place in range(200)})
    assert len(found) == MAX_GROUPS
    assert min(found) == "client 150"


def test_a_group_named_like_missing_data_is_not_taken_for_it() -> None:
    assert NO_DATA not in judged({NO_DATA: (60, 0), "phone": (60, 0)})


def test_notices_say_which_groups() -> None:
    assert keys_text(GAP, ["flatbed", "phone"]) == "scanner flatbed, phone"
    assert keys_text(GAP, [""]) == ""


def test_holm_lets_the_next_group_reach_a_little_less_once_one_is_proved() -> None:
    counts = {"a": (400, 600), "b": (880, 120), "c": (950, 50)}
    first = judged(counts, confidence=0.95)
    assert first["a"].state == "breach"
    assert first["b"].low is not None
    alone = judged({**counts, "a": (970, 30)}, confidence=0.95)
    assert alone["a"].state == "ok"
    assert alone["b"].low is not None
    two_left = 1 - 0.05 / 2
    three = 1 - 0.05 / 3
    assert first["b"].low == pytest.approx(_low(first["b"], {**counts}, "b", two_left))
    assert alone["b"].low == pytest.approx(_low(alone["b"], {**counts, "a": (970, 30)}, "b", three))


def _low(found: Finding, counts: Mapping[str, tuple[int, int]], name: str, confidence: float) -> float:
    """The limit by counts that this module does not share: Newcombe on the pooled others."""
    from monitors.statistics.intervals import newcombe_difference

    right, wrong = counts[name]
    others = [each for other, each in counts.items() if other != name]
    rest_wrong, rest = sum(bad for _, bad in others), sum(sum(each) for each in others)
    return newcombe_difference(wrong, right + wrong, rest_wrong, rest, confidence)[0]


def test_groups_just_at_the_threshold_are_blamed_together_at_most_as_often_as_promised() -> None:
    generator = np.random.default_rng(31)
    for labels, share in ((80, 0.05), (400, 0.02)):
        blamed, looks = 0, 250
        for _ in range(looks):
            wrong = [int(generator.binomial(labels, share + 0.03)), *generator.binomial(labels, share, 4).tolist()]
            counts = {str(place): (labels - bad, bad) for place, bad in enumerate(wrong)}
            blamed += any(each.state == "breach" for each in judged(counts, confidence=0.95).values())
        assert blamed / looks <= 0.05 + 3 * (0.05 * 0.95 / looks) ** 0.5


def test_a_group_that_is_really_read_worse_is_found() -> None:
    generator = np.random.default_rng(32)
    found = 0
    for _ in range(50):
        wrong = generator.binomial(400, [0.15, 0.02, 0.02, 0.02])
        counts = {str(place): (400 - int(bad), int(bad)) for place, bad in enumerate(wrong)}
        found += judged(counts)["0"].state == "breach"
    assert found >= 45


def test_labels_drawn_with_other_chances_weigh_more() -> None:
    light = LabelCount("audit", "1", "1", 1.0, 400)
    heavy = LabelCount("audit", "1", "2", 20.0, 20)
    groups = {"flatbed": (light, heavy), "phone": (LabelCount("audit", "1", "1", 1.0, 400),)}
    found = {each.key: each for each in decide(GAP, replace(tally([]), groups=groups), golden(1, 1))}
    assert found["flatbed"].value == pytest.approx(0.5)


def labelled(place: int, group: str, request: str = "", *, wrong: bool = False, weight: float = 1.0) -> Outcome:
    """One labelled answer, a minute after the one before."""
    at, said = NOON + timedelta(minutes=place), "2" if wrong else "1"
    return Outcome(
        place, f"p{place}", at, at, said, "1", "audit", {"audit": place}, 0.9, weight, 1.0, {"scanner": group},
        request, loss=float(wrong),
    )  # fmt: skip


def test_labels_of_one_request_are_one_observation_of_each_group() -> None:
    rows = [labelled(place, "phone" if place % 2 else "fax", "sheet 1", wrong=place == 1) for place in range(1, 5)]
    rows += [labelled(5, "phone", "sheet 2"), labelled(6, "phone"), labelled(7, "")]
    found = count_by_group(rows, "scanner", REQUEST_UNIT)
    assert {name: {(cell.block, cell.correct): cell.n for cell in cells} for name, cells in found.items()} == {
        "": {("", True): 1},
        "fax": {("1", True): 2},
        "phone": {("", True): 2, ("1", True): 1, ("1", False): 1},
    }
    assert not any(cell.block for cells in count_by_group(rows, "scanner", LABEL_UNIT).values() for cell in cells)
    by_day = count_by_group(rows, "scanner", DAY_UNIT)
    assert {cell.block for cells in by_day.values() for cell in cells} == {"1"}, "one day of three groups is one block"


def test_a_sheet_that_is_misread_as_a_whole_blames_no_group_and_the_finding_says_why() -> None:
    rows = [labelled(place, "phone", f"sheet {place // 60}", wrong=place < 60) for place in range(240)]
    rows += [labelled(1000 + place, "fax", f"page {place}") for place in range(400)]
    by_request, by_label = (
        {each.key: each for each in decide(GAP, replace(tally([]), groups=groups), golden(1, 1))}
        for groups in (count_by_group(rows, "scanner", unit) for unit in (REQUEST_UNIT, LABEL_UNIT))
    )
    assert by_label["phone"].state == "breach"
    assert by_request["phone"].state == "suspect"
    assert by_request["phone"].value == pytest.approx(0.25)
    assert by_request["phone"].sentence.endswith(
        "It decides by request: what goes wrong together is one observation (4 of this group, 400 of others)."
    )
    assert "one observation" not in by_label["phone"].sentence


@pytest.mark.parametrize(("unit", "least", "most"), [(LABEL_UNIT, 0.15, 1.0), (REQUEST_UNIT, 0.0, 0.06)])
def test_requests_that_are_wrong_together_blame_a_healthy_group_only_label_by_label(
    unit: BlockUnit, least: float, most: float
) -> None:
    """100 looks at two groups of 60 requests of ten answers, 9 and 6 % wrong: the gap is just what is allowed."""
    generator, blamed, looks = np.random.default_rng(33), 0, 100
    written = rule("group_gap", above="3 points", by="scanner", min_samples=50, confidence=0.95)
    for _ in range(looks):
        wrong = generator.random((2, 60)) < np.array([[0.09], [0.06]])
        rows = [
            labelled(10 * request + page, group, f"{group} {request}", wrong=bool(bad))
            for group, of_group in zip(("phone", "fax"), wrong, strict=True)
            for request, bad in enumerate(of_group)
            for page in range(10)
        ]
        counts = replace(tally([]), groups=count_by_group(rows, "scanner", unit))
        blamed += any(each.state == "breach" for each in decide(written, counts, golden(1, 1)))
    assert least <= blamed / looks <= most

"""The replay of a table's rows: alarms where errors rise, rollbacks and harm by what both versions answered."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from benchmarks.employment import employment_stream
from benchmarks.tables.replay import (
    Promotion,
    alarm_days,
    figures,
    harmful,
    rollback_day,
    run_platform,
    wrong_of_course,
)
from benchmarks.tables.stream import Flags, TableStream, Trained, Versions, table_rules
from mlplatform.pipeline import Classification, TrainingContext, table
from monitors.windows.window import Baseline

PER_DAY, TAUGHT_DAYS, DAYS, CHANGE = 80, 30, 60, 30
BEGINS = datetime(2026, 1, 1, tzinfo=UTC)


def _train(context: TrainingContext) -> object:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=2, random_state=context.seed).fit(context.x, context.y, context.weights)


def stream() -> TableStream:
    """Ten per cent errors; from a day on the truth lies elsewhere on the axis."""
    rng = np.random.default_rng(0)
    count = (TAUGHT_DAYS + DAYS) * PER_DAY
    day = np.arange(count) / PER_DAY - TAUGHT_DAYS
    a = rng.uniform(0, 1, count)
    truth = (a > np.where(day < CHANGE, 0.5, 0.8)) ^ (rng.random(count) < 0.1)
    frame = pd.DataFrame({"a": a, "b": rng.uniform(0, 1, count), "truth": np.where(truth, "yes", "no")})
    frame["at"] = pd.Timestamp(BEGINS.replace(tzinfo=None)) + pd.to_timedelta(day, unit="D")
    pipeline = table(
        name="axis", columns=["a", "b"], target="truth", task=Classification(("no", "yes")), time="at",
        rows=lambda _folder: pd.DataFrame(), train=_train, about="A test.",
    )  # fmt: skip
    return TableStream(pipeline, frame, BEGINS, table_rules("axis"), 0.02)


@dataclass
class Known:
    """Versions whose mistakes are known."""

    mistakes: dict[int, Flags]

    def wrong(self, version: int) -> Flags:
        return self.mistakes[version]


def errors(made: TableStream, share: float, seed: int, since: float = -1e9, then: float | None = None) -> Flags:
    shares = np.where(made.days >= since, share if then is None else then, share)
    flags: Flags = np.random.default_rng(seed).random(len(made.days)) < shares
    return flags


def known(**mistakes: Flags) -> Versions:
    return cast(Versions, Known({int(name[1:]): flags for name, flags in mistakes.items()}))


def test_an_alarm_comes_after_the_change_and_none_before() -> None:
    made = stream()
    wrong = errors(made, 0.1, 1, since=CHANGE, then=0.3)
    found = alarm_days(made, wrong, Baseline(9_000, 10_000), "1d", most=1)
    assert CHANGE < found[0] <= CHANGE + 10
    assert alarm_days(made, errors(made, 0.1, 2), Baseline(9_000, 10_000), "1d") == []
    assert alarm_days(made, wrong, Baseline(9_000, 10_000), "1d", since=40.0, most=1)[0] > 40


def test_a_version_that_is_worse_is_rolled_back_and_one_that_is_as_good_is_not() -> None:
    made = stream()
    versions = known(v1=errors(made, 0.1, 1), v2=errors(made, 0.5, 2), v3=errors(made, 0.1, 3))
    day = rollback_day(made, versions, 2, 1, 10.0)
    assert day is not None
    assert 10 < day <= 19
    assert rollback_day(made, versions, 3, 1, 10.0) is None


def test_harm_is_a_month_of_more_errors_that_was_not_rolled_back() -> None:
    made = stream()
    versions = known(v1=errors(made, 0.1, 1), v2=errors(made, 0.15, 2))
    stood, undone = Promotion(2, 1, 10.0, None), Promotion(2, 1, 10.0, 14.0)
    assert harmful(made, versions, [stood, undone]) == 1
    assert harmful(made, versions, [Promotion(1, 2, 10.0, None)]) == 0


def test_the_version_that_answered_counts_on_each_day() -> None:
    made = stream()
    none, every = np.zeros(len(made.days), dtype=bool), np.ones(len(made.days), dtype=bool)
    wrong = wrong_of_course(made, known(v1=none, v2=every), [(0.0, 1), (10.0, 2), (20.0, 1)])
    assert set(np.floor(made.days[wrong]).astype(int)) == set(range(10, 20))


@pytest.mark.slow
def test_the_loop_trains_on_all_rows_until_the_alarm_and_asks_the_gate(tmp_path: Path) -> None:
    made = stream()
    versions = Versions(made, tmp_path, by_day=True)
    first = versions.train(0.0, None)
    assert isinstance(first, Trained)
    course = run_platform(made, versions, first, "1d")
    assert course.alarms
    assert min(course.alarms) > CHANGE
    assert len(course.verdicts) == len(versions.catalog.tracking.runs) - 1
    assert set(course.verdicts) <= {"promote", "keep", "inconclusive"}


@pytest.mark.slow
def test_all_keys_that_are_promised_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = figures(stream(), tmp_path)
    keys = {"alarm_by_block", "alarm_by_label", "alarms_allowed", "alarms_block", "alarms_label", "promotions"}
    assert keys | {"harmful_promotions", "error_platform", "error_never", "error_monthly"} <= told.keys()
    assert told["alarm_by_block"] >= "2026-01-31"
    assert told["error_never"] > told["error_monthly"]
    assert "by label" in capsys.readouterr().out


def test_years_are_spread_evenly_and_the_first_one_is_shuffled() -> None:
    rows = pd.DataFrame({"year": [2015] * 50 + [2016] * 50, "id": range(100), "employed": 0, "prediction": 0})
    made = employment_stream(rows, quick=False, points=0.5)
    assert made.frame["at"].is_monotonic_increasing
    assert (made.days >= 0).sum() == 50
    assert made.frame["id"].tolist()[50:] == list(range(50, 100))
    assert made.frame["id"].tolist()[:50] != list(range(50))

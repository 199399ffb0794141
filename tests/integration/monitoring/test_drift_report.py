"""What people see behind an early warning."""

from pathlib import Path

import pytest

from mlplatform.alerting.evaluations import Evaluation
from mlplatform.context import AppContext
from mlplatform.monitoring.drift_report import reference_window, write_drift_report
from mlplatform.monitoring.evaluation_report import write_report
from mlplatform.monitoring.row_inputs import load_window
from mlplatform.promotion import promotion_history
from monitors.errors import MetricsError
from monitors.rules.alerts_config import Rule
from monitors.windows.window import Window
from tests.support.monitoring_world import counting, reports, rule, with_rules
from tests.support.unlabelled_world import SURE, WATCHED, crown, look, serve


@pytest.fixture
def world(context: AppContext) -> AppContext:
    crown(with_rules(context, WATCHED), 1, None)
    return context


def drifted(context: AppContext) -> Evaluation:
    serve(context, 13, [SURE] * 100)
    look(context, "prediction-drift")
    serve(context, 13, [SURE] * 100, labels="01")
    made = look(context, "prediction-drift")
    assert made.state == "breach"
    return made


def window(context: AppContext, name: str = "prediction-drift") -> Window:
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, "digits")
        assert champion is not None
        return load_window(connection, context.contracts, rule(context, name), champion, context.clock())


@pytest.mark.both_databases
def test_the_first_answers_are_those_of_the_reference(world: AppContext) -> None:
    serve(world, 3, [SURE] * 100)
    assert reference_window(world, rule(world, "prediction-drift"), window(world)) is None
    drifted(world)
    first = reference_window(world, rule(world, "prediction-drift"), window(world))
    assert first is not None
    assert len(first.rows) == 1_000
    assert {row.label for row in first.rows} == set("0123456789")


def test_before_the_first_answers_are_complete_nothing_is_drawn(world: AppContext, tmp_path: Path) -> None:
    serve(world, 3, [SURE] * 100)
    assert not write_drift_report(world, rule(world, "prediction-drift"), window(world), tmp_path / "beside.html")
    assert list(tmp_path.glob("*.html")) == []


def test_the_report_of_an_early_warning_shows_the_window_beside_the_first_answers(world: AppContext) -> None:
    examined = write_report(world, rule(world, "prediction-drift"), drifted(world), counting, fake)
    assert examined.report is not None
    assert Path(examined.report).read_text(encoding="utf-8") == "1300 beside the first"
    assert examined.measured is not None


def test_without_first_answers_it_shows_the_window_alone(world: AppContext) -> None:
    examined = write_report(world, rule(world, "prediction-drift"), drifted(world), counting, lambda *_: False)
    assert examined.report is not None
    assert "evidence" in Path(examined.report).read_text(encoding="utf-8")


def test_a_comparison_that_fails_leaves_the_decision(world: AppContext) -> None:
    def fail(context: AppContext, of: Rule, seen: Window, path: Path) -> bool:
        raise MetricsError("Evidently could not compute this window")

    made = drifted(world)
    assert write_report(world, rule(world, "prediction-drift"), made, counting, fail) == made
    assert reports(world) == []


def test_evidently_draws_the_answers_beside_the_first(world: AppContext, tmp_path: Path) -> None:
    drifted(world)
    assert write_drift_report(world, rule(world, "prediction-drift"), window(world), tmp_path / "beside.html")
    assert (tmp_path / "beside.html").stat().st_size > 10_000


def fake(context: AppContext, of: Rule, seen: Window, path: Path) -> bool:
    path.write_text(f"{len(seen.rows) - 1_300} beside the first", encoding="utf-8")
    return True

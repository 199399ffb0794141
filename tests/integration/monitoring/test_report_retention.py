"""The report behind a notice is there as long as its alert, and reports take little room."""

import json
import re
from pathlib import Path
from typing import cast

import pytest

from mlplatform.alerting import evaluations
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.evaluation_report import measure_with_evidently, write_missing_reports, write_report
from mlplatform.monitoring.report_files import deduplicate_scripts, inline_scripts
from mlplatform.operations import queries
from mlplatform.settings import Settings
from mlplatform.watcher.scheduler import create_watcher
from tests.support.monitoring_world import (
    RULES,
    all_alerts,
    all_evaluations,
    answer,
    counting,
    notices,
    promote,
    reports,
    rule,
    tick,
    with_rules,
)

QUIET = RULES + "  - {name: quiet, metric: volume, below: 5 answers, window: 5m, notify: [team-slack]}\n"
LIBRARY = "/* plotly */" + "x" * 300_000


@pytest.fixture
def world(context: AppContext, settings: Settings) -> AppContext:
    """A platform with a public address that keeps two reports beside those of alerts."""
    vars(context)["settings"] = settings.model_copy(update={"public_url": "https://platform.test", "reports_kept": 2})
    promote(with_rules(context, QUIET))
    return context


def look(context: AppContext, name: str = "accuracy-drop") -> Evaluation:
    made = evaluate(context, rule(context, name), context.clock())
    assert made is not None
    return write_report(context, rule(context, name), made, counting)


def linked(context: AppContext, place: int) -> str:
    """The evaluation whose report a notice to the team leads to; empty for none."""
    told = [message for message in notices(context) if message.channel == "team-slack"][place]
    found = re.search(r"/v1/evaluations/([0-9a-f-]+)/report", json.dumps(told.payload))
    return found[1] if found else ""


def kinds(context: AppContext) -> list[str]:
    return [cast("str", each.payload["kind"]) for each in notices(context) if each.channel == "team-slack"]


@pytest.mark.both_databases
def test_the_report_of_a_firing_notice_is_kept_however_many_are_newer_and_though_the_alert_is_over(
    world: AppContext,
) -> None:
    answer(world, 18, 12)
    fired = look(world)
    assert linked(world, 0) == fired.id
    answer(world, 3000)
    look(world)
    for number in range(40):
        (world.settings.home / "reports" / f"other-{number}.html").write_text("newer")
    tick(world, minutes=61)
    answer(world, 18, 12)
    again = look(world)
    assert kinds(world) == ["firing", "resolved", "firing"]
    assert [alert.state for alert in all_alerts(world)] == ["firing", "resolved"]
    assert len(reports(world)) == 2 + world.settings.reports_kept
    for each in (fired, again):
        assert queries.find_report(world, each.id).read_text() == "<html>evidence</html>"


def test_a_breach_that_lasts_is_drawn_once(world: AppContext) -> None:
    answer(world, 18, 12)
    fired = look(world)
    for _ in range(45):
        tick(world, seconds=60)
        assert look(world).state == "breach"
    assert [str(path.resolve()) for path in reports(world)] == [fired.report]


def test_an_alert_that_fires_late_is_drawn_though_its_rule_was_in_breach_before(world: AppContext) -> None:
    with_rules(world, RULES.replace("window: 5m, min_samples: 50,", "window: 1h, min_samples: 50,"))
    with world.database.write() as connection:
        evaluations.store_baseline(connection, "digits", 1, "latency", "", {"p95_ms": 1.0, "calls": 500}, world.clock())
    answer(world, 600, latency_ms=90.0)
    drawn = []
    for _ in range(5):
        drawn.append(look(world, "latency"))
        tick(world, minutes=1)
    assert {each.state for each in drawn} == {"breach"}
    [alert] = [each for each in all_alerts(world) if each.rule == "latency"]
    assert [each.at for each in drawn if each.report] == [alert.opened_at, alert.fired_at]


def test_a_reminder_and_the_end_lead_to_the_report_of_the_firing(world: AppContext) -> None:
    answer(world, 18, 12)
    fired = look(world)
    tick(world, hours=4, minutes=1)
    answer(world, 18, 12)
    later = look(world)
    assert (kinds(world), later.report) == (["firing", "repeat"], None)
    assert linked(world, 1) == fired.id
    answer(world, 3000)
    look(world)
    assert kinds(world)[-1] == "resolved"
    assert linked(world, -1) == fired.id


def test_a_report_that_a_killed_watcher_did_not_draw_is_drawn_with_the_next_evaluation(world: AppContext) -> None:
    answer(world, 18, 12)
    fired = evaluate(world, rule(world, "accuracy-drop"), world.clock())
    assert fired is not None
    with pytest.raises(NotFoundError):
        queries.find_report(world, fired.id)
    tick(world, minutes=1)
    look(world)
    assert [each.id for each in write_missing_reports(world, rule(world, "accuracy-drop"), counting)] == [fired.id]
    assert queries.find_report(world, fired.id).is_file()
    assert write_missing_reports(world, rule(world, "accuracy-drop"), counting) == []


def test_a_firing_that_was_overtaken_while_evidently_was_busy_is_drawn_too(world: AppContext) -> None:
    answer(world, 18, 12)
    watcher = create_watcher(world, counting)
    accuracy = rule(world, "accuracy-drop")
    fired = evaluate(world, accuracy, world.clock())
    tick(world, minutes=1)
    newer = evaluate(world, accuracy, world.clock())
    assert fired is not None
    assert newer is not None
    watcher.jobs.reports.write(accuracy, newer)
    assert queries.find_report(world, fired.id).is_file()


def test_an_alert_about_a_window_without_rows_has_a_report_that_says_so(world: AppContext) -> None:
    tick(world, minutes=10)
    made = evaluate(world, rule(world, "quiet"), world.clock())
    assert made is not None
    fired = write_report(world, rule(world, "quiet"), made, measure_with_evidently)
    assert linked(world, 0) == fired.id
    page = queries.find_report(world, fired.id).read_text()
    assert "There is nothing to draw: no answer between 2026-01-01 12:05 and 2026-01-01 12:10 UTC." in page


def test_no_evaluation_names_a_report_that_was_removed(world: AppContext) -> None:
    for share in (12, 300, 12, 300, 12):
        answer(world, 18, share) if share == 12 else answer(world, share)
        look(world)
        tick(world, minutes=61)
    on_disk = {str(path.resolve()) for path in reports(world)}
    assert {each.report for each in all_evaluations(world) if each.report is not None} == on_disk
    with world.database.read() as connection:
        assert evaluations.reports_of_alerts(connection) <= on_disk


def test_evidentlys_scripts_are_kept_once_and_the_page_is_whole_where_it_is_shown(world: AppContext) -> None:
    drawn = []
    for _ in range(2):
        answer(world, 18, 12)
        made = evaluate(world, rule(world, "accuracy-drop"), world.clock())
        assert made is not None
        drawn.append(write_report(world, rule(world, "accuracy-drop"), made, measure_with_evidently))
        promote(world, 2) if len(drawn) == 1 else None
        answer(world, 18, 12, version=2)
        tick(world, minutes=1)
    pages = [Path(each.report) for each in drawn if each.report]
    assert len(pages) == 2
    assert max(page.stat().st_size for page in pages) < 500_000
    [library] = (pages[0].parent / "shared").iterdir()
    assert library.stat().st_size > 1_000_000
    for page in pages:
        assert library.read_text() in inline_scripts(page)
        assert f'src="shared/{library.name}"' in page.read_text()


@pytest.mark.parametrize(
    "text",
    [
        f"<p>é</p><script>{LIBRARY}</script><script>let data = 1</script>",
        f"<script>a</script><script>{LIBRARY}</script><script>{LIBRARY}</script>",
        "<script>never closed" + LIBRARY,
        "no script at all",
    ],
)
def test_a_page_put_together_again_is_the_page_that_was_drawn(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(text, encoding="utf-8")
    for _ in range(2):
        deduplicate_scripts(page)
        assert inline_scripts(page) == text
    assert page.stat().st_size < 1000 or "</script>" not in text


def test_a_library_that_was_torn_is_written_again_and_one_that_is_gone_breaks_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    text = f"<script>{LIBRARY}</script>"
    page.write_text(text)
    deduplicate_scripts(page)
    [library] = (tmp_path / "shared").iterdir()
    library.write_text("torn")
    page.write_text(text)
    deduplicate_scripts(page)
    assert inline_scripts(page) == text
    library.unlink()
    assert inline_scripts(page) == page.read_text()
    page.write_text('<script src="shared/../../../etc/passwd"></script>')
    assert inline_scripts(page) == page.read_text()

"""What a retraining did with the labels stands where people look: verdict, status, doctor, notice, task."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlplatform.context import AppContext
from mlplatform.ids import uuid7
from mlplatform.operations.label_status import status_sentences
from mlplatform.operations.queries import platform_status
from mlplatform.operations.views import LabelStatus
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.label_use import is_quota_starved, label_usage, usage_sentence
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.retraining.supervisor import retraining_supervisor
from mlplatform.store import leases, tasks
from pipelines.labels.label_curation import ExcludedLabel, ExclusionReason
from tests.support.diagnostics_world import look
from tests.support.monitoring_world import RULES, notices, promote, with_rules
from tests.support.platform_world import FakeClock

CUT = "client 'app': 1810 of 2000 rows, 50 are taken; if this giver is right, name it in retraining.quotas.trusted"


def aside(count: int, reason: ExclusionReason, detail: str = "d") -> list[ExcludedLabel]:
    return [ExcludedLabel(uuid7(), reason, detail) for _ in range(count)]


STARVED = label_usage(2_100, 45, 37, [*aside(1_810, "over quota", CUT), *aside(130, "near-duplicate of a held image")])


def test_the_sentence_names_every_reason_and_explains_those_that_took_much() -> None:
    assert STARVED is not None
    assert STARVED["set_aside"] == {"over quota": 1_810, "near-duplicate of a held image": 130}
    said = usage_sentence({"labels": STARVED})
    assert said.startswith(
        "It learnt from 45 of 2,100 labels and was judged on 37. Set aside: 1,810 over quota (client"
    )
    assert CUT in said
    assert "130 near-duplicate of a held image (they look like golden" in said
    few = label_usage(1_000, 900, 90, aside(10, "conflict"))
    assert few is not None
    assert few["sentence"].endswith("Set aside: 10 conflict.")
    assert label_usage(0, 0, 0, []) is None
    assert usage_sentence(None) == usage_sentence({"labels": None}) == ""


def test_quotas_starve_where_they_take_most() -> None:
    assert is_quota_starved({"labels": STARVED})
    assert not is_quota_starved({"labels": label_usage(100, 60, 30, aside(10, "over quota"))})
    assert not is_quota_starved({"labels": label_usage(100, 6, 3, aside(91, "suspicious"))})
    assert not is_quota_starved(None)


def stall(context: AppContext) -> AppContext:
    """Three retrainings brought nothing, because quotas took the labels."""
    verdict: dict[str, Any] = {"outcome": "inconclusive", "reasons": ["On 37 rows no benefit."], "labels": STARVED}
    for _ in range(3):
        assert isinstance(context.clock, FakeClock)
        now = context.clock.tick(hours=7)
        with context.database.write() as connection:
            retraining_queue.request(
                connection, pipeline="digits", reason="r", trigger="alert", requested_by="w", now=now
            )
            row = retraining_queue.claim(connection, "digits", "me", RetrainingLimits(timedelta(0), 10), now)
            assert row is not None
            retraining_endings.finish(connection, row.id, "me", "succeeded", now, candidate_version=2, verdict=verdict)
    return context


@pytest.fixture
def stalled(context: AppContext) -> AppContext:
    promote(with_rules(context, RULES))
    return stall(context)


def governed(context: AppContext) -> None:
    with context.database.write() as connection:
        lease = leases.acquire(connection, "watcher:digits", "w", context.rules.retraining.cooldown, context.clock())
    assert lease is not None
    retraining_supervisor(context).tick(lease)
    retraining_supervisor(context).tick(lease)  # another watcher says nothing twice


def test_a_breaker_never_stops_for_a_reason_that_nobody_is_told(stalled: AppContext) -> None:
    governed(stalled)
    told = [message for message in notices(stalled) if message.payload["kind"] == "retraining-useless"]
    assert len({message.channel for message in told}) == len(told) > 0
    for message in told:
        assert "1810 of 2000 rows" in str(message.payload).replace("=\\n", "").replace("\\n", " ")
    with stalled.database.read() as connection:
        [task] = tasks.open_tasks(connection, "digits", "review-retraining")
    assert any(CUT in sentence for sentence in task.details["why"])


@pytest.mark.both_databases
def test_status_says_what_was_set_aside_and_why(stalled: AppContext) -> None:
    shown = platform_status(stalled)
    assert CUT in shown.labels.last_retraining
    assert CUT in (shown.retrainings[0].verdict or {})["labels"]["sentence"]
    assert any(CUT in sentence for sentence in status_sentences(shown.labels))


def test_the_doctor_calls_starved_retrainings_and_a_stopped_breaker_problems(deployment: AppContext) -> None:
    assert look(deployment, "labels") == [("ok", "no label waits in vain, and none was set aside")]
    stall(deployment)
    [(mark, detail)] = look(deployment, "labels")
    assert mark == "problem"
    assert CUT in detail
    governed(deployment)
    marks = [mark for mark, detail in look(deployment, "labels") if CUT in detail]
    assert marks == ["problem", "problem"]


def test_each_thing_that_waits_or_counts_for_nothing_is_said() -> None:
    said = status_sentences(LabelStatus(3, datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC), 2, 1_044, "It."))
    assert said[0] == "3 label(s) wait for their prediction since 2026-01-01 12:00 UTC"
    assert [sentence.partition(" ")[0] for sentence in said] == ["3", "2", "1,044", "the"]
    assert status_sentences(LabelStatus(0, None, 0, 0, "")) == []

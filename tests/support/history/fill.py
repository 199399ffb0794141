"""A store filled with a history, by the platform's own writers or in bulk with the same rows; it measures nothing."""

import json
import sys
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Table, insert, select, text

from mlplatform.alerting import evaluations
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from mlplatform.predictions import prediction_records
from mlplatform.predictions.prediction_counts import minute_index
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.promotion import promotion_history
from mlplatform.store import rollups
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.feedback import feedback as feedback_rows
from mlplatform.store.tables.feedback import label_count_rollups, label_counts, outcomes, sequence_counters
from mlplatform.store.tables.predictions import (
    inputs,
    prediction_count_rollups,
    prediction_counts,
    review_samples,
    sampling_plans,
)
from mlplatform.store.tables.predictions import predictions as prediction_rows
from monitors.statistics.review_sampling import stratum_of
from monitors.windows.latency_bins import latency_bin
from pipelines.data import image_row
from pipelines.image.grey_png import decode_png
from registry.confidence_bins import bin_of
from tests.support.history import world
from tests.support.history.world import Answer, Span

WRITTEN_TOGETHER: Final = 500
"""As many as the recorder writes in one transaction at most."""
REVIEWER: Final = "benchmark"
GOLDEN: Final = {"correct": 2_970, "total": 3_000}
LATENCY: Final = {"p95_ms": 3.3, "calls": 1_000}
COUNTED: Final = (label_counts, label_count_rollups, prediction_counts, prediction_count_rollups, sequence_counters)
FILLED: Final = (prediction_rows, feedback_rows, outcomes, sampling_plans, review_samples, *COUNTED)
PNGS = dict[str, bytes]
Received = dict[str, datetime]


def prepare(database: Database) -> PNGS:
    """Make version 1 champion with its baselines, and keep the pictures; returns them by hash."""
    pngs, key = dict(world.pictures()), (world.MODEL, world.VERSION)
    with database.write() as connection:
        promotion_history.append(
            connection,
            model_name=world.MODEL,
            expected=None,
            to_version=world.VERSION,
            kind="first",
            now=world.START,
            actor="benchmark",
            reason="a history to judge",
            fence=1,
        )
        evaluations.store_baseline(connection, *key, "accuracy", "", GOLDEN, world.START)
        evaluations.store_baseline(connection, *key, "latency", world.HOST_CLASS, LATENCY, world.START)
        evaluations.store_baseline(connection, *key, "calibration", "", _calibration(), world.START)
        connection.execute(
            insert(inputs), [{"hash": each, "content": pngs[each], "form": "28x28", "at": world.START} for each in pngs]
        )
    return pngs


def _calibration() -> dict[str, Any]:
    """What the golden set says of the model's confidence: that it may be taken at its word."""
    rows = GOLDEN["total"]
    golden = world.span(world.START, timedelta(days=1), rows, 0, [""], world.plan_of(rows, 0), seed=2)
    steps = Counter(str(bin_of(answer.row["confidence"])) for answer in golden.answers)
    return {"offset": 0.0, "slope": 1.0, "rows": rows, "golden": dict(steps)}


def by_writers(database: Database, rows: int, pngs: PNGS) -> None:
    """Fill through the functions that the recorder and the API server call."""
    for each in world.spans(rows, list(pngs)):
        publish(database, each)
        record(database, each.answers, pngs)
        take_labels(database, each.answers)


def publish(database: Database, span: Span) -> None:
    """Put the span's plan in force, with the salt its answers were drawn by."""
    with database.write() as connection:
        connection.execute(insert(sampling_plans), [_plan(span)])


_image = cache(decode_png)


def record(database: Database, answers: list[Answer], pngs: PNGS, together: int = WRITTEN_TOGETHER) -> None:
    """Write answers as two servers' recorders do, so many in one transaction."""
    for server in world.SERVERS:
        mine = [answer.row for answer in answers if answer.instance == server]
        for first in range(0, len(mine), together):
            batch = mine[first : first + together]
            given = [
                PredictionWithInput(
                    PredictionRecord(**row), image_row(_image(pngs[row["image_hash"]])), world.HOST_CLASS
                )
                for row in batch
            ]
            with database.write() as connection:
                prediction_records.insert_predictions(connection, given, server)


def take_labels(database: Database, answers: list[Answer], together: int = world.BATCH) -> None:
    """Take the labels of these answers as the API server does, so many in one request."""
    for received_at, batch in world.batches(answers, together):
        labels = [
            label_records.SubmittedLabel(each.row["id"], each.truth, each.source, REVIEWER, each.row["at"])
            for each in batch
            if each.source is not None
        ]
        with database.write() as connection:
            label_records.insert_labels(connection, labels, received_at)


def in_bulk(database: Database, rows: int, pngs: PNGS) -> None:
    """Fill with the same rows, a day at a time and table by table."""
    seq = 0
    for each in world.spans(rows, list(pngs)):
        received = {
            answer.row["id"]: received_at for received_at, batch in world.batches(each.answers) for answer in batch
        }
        labelled = [answer for answer in each.answers if answer.source is not None]
        with database.write() as connection:
            _put(connection, sampling_plans, [_plan(each)])
            _put(connection, prediction_rows, [answer.row for answer in each.answers])
            drawn = [answer for answer in each.answers if answer.inclusion is not None]
            _put(connection, review_samples, [_draw(each, answer, received) for answer in drawn])
            _put(connection, feedback_rows, [_feedback(answer, received) for answer in labelled])
            _put(
                connection, outcomes, [_judged(each, *numbered, received) for numbered in enumerate(labelled, seq + 1)]
            )
            _put(connection, label_counts, _label_counts(labelled, 1))
            _put(connection, prediction_counts, _tallies(each.answers, 1))
            for wide in rollups.ROLLUP_SPANS:  # a day's answers lie in no other day's spans
                _put(connection, label_count_rollups, [{"span": wide, **row} for row in _label_counts(labelled, wide)])
                _put(
                    connection,
                    prediction_count_rollups,
                    [{"span": wide, **row} for row in _tallies(each.answers, wide)],
                )
        seq += len(labelled)
    with database.write() as connection:
        _put(connection, sequence_counters, [{"name": f"outcomes:{world.MODEL}", "value": seq}])


def content(database: Database) -> dict[str, list[dict[str, Any]]]:
    """What a filling has left, by table in the order of keys; a label's own random id is passed over."""
    with database.read() as connection:
        return {table.name: _rows(connection, table) for table in FILLED}


def _rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    keys = [table.c.prediction_id] if table is feedback_rows else list(table.primary_key)
    kept = [column for column in table.c if table is not feedback_rows or column.name != "id"]
    return [dict(row) for row in connection.execute(select(*kept).order_by(*keys)).mappings()]


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _plan(span: Span) -> dict[str, Any]:
    key = {"id": f"{span.at:%Y%m%dT%H%M}", "model_name": world.MODEL, "model_version": world.VERSION, "at": span.at}
    return {**key, "plan": span.plan.to_json(), "salt": world.SALT}


def _draw(span: Span, answer: Answer, received: Received) -> dict[str, Any]:
    row = answer.row
    return {
        "prediction_id": row["id"],
        "model_name": world.MODEL,
        "model_version": world.VERSION,
        "at": row["at"],
        "inclusion": answer.inclusion,
        "heaviest": span.plan.max_weight,
        "stratum": stratum_of(row["label"], row["confidence"]),
        "place": world.place_of(row["id"]),
        "finished_at": received[row["id"]] if answer.source == "audit" else None,
    }


def _feedback(answer: Answer, received: Received) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "prediction_id": answer.row["id"],
        "label": answer.truth,
        "source": answer.source,
        "reviewer": REVIEWER,
        "feed": REVIEWER,
        "at": answer.row["at"],
        "received_at": received[answer.row["id"]],
    }


def _judged(span: Span, seq: int, answer: Answer, received: Received) -> dict[str, Any]:
    row, weight = answer.row, _weight(answer)
    kept = ("model_name", "model_version", "at", "label", "confidence", "request_id")
    return {name: row[name] for name in kept} | {
        "prediction_id": row["id"],
        "seq": seq,
        "known_at": received[row["id"]],
        "truth": answer.truth,
        "source": answer.source,
        "seen": f"{answer.source}:{seq}",
        "weight": weight,
        "share": weight / span.plan.max_weight if answer.source == "audit" else 1.0,
        "tags": {"client": row["client_id"]},
    }


def _weight(answer: Answer) -> float:
    return 1 / answer.inclusion if answer.source == "audit" and answer.inclusion is not None else 1.0


def _begin(answer: Answer, span: int) -> int:
    return rollups.span_start(minute_index(answer.row["at"]), span)


def _label_counts(labelled: list[Answer], span: int) -> list[dict[str, Any]]:
    names = ("minute", "source", "truth", "label", "weight")
    cells = Counter(
        (_begin(each, span), each.source, each.truth, each.row["label"], _weight(each)) for each in labelled
    )
    model = {"model_name": world.MODEL, "model_version": world.VERSION}
    return [model | dict(zip(names, cell, strict=True)) | {"n": n} for cell, n in cells.items()]


def _tallies(answers: list[Answer], span: int) -> list[dict[str, Any]]:
    latency: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    labels: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for each in answers:
        row = each.row
        key = (_begin(each, span), each.instance)
        latency[key][str(latency_bin(row["latency_ms"]))] += 1
        labels[key][f"{bin_of(row['confidence'])} {row['label']}"] += 1
    return [
        {
            "model_name": world.MODEL,
            "model_version": world.VERSION,
            "minute": minute,
            "host_class": world.HOST_CLASS,
            "instance": instance,
            "answers": labels[minute, instance].total(),
            "latency": dict(latency[minute, instance]),
            "labels": dict(labels[minute, instance]),
        }
        for minute, instance in sorted(labels)
    ]


def main() -> None:
    """`python -m tests.support.history.fill URL ROWS`: prepare and fill a store; 0 rows only prepare it."""
    begun, database, rows = time.perf_counter(), Database(sys.argv[1]), int(sys.argv[2])
    database.upgrade()
    pngs = prepare(database)
    if rows:
        in_bulk(database, rows, pngs)
    if not database.is_sqlite:  # as autovacuum does soon: else the peers' joins are planned for empty tables
        with database.write() as connection:
            for table in (inputs, *FILLED):
                connection.execute(text(f"ANALYZE {table.name}"))
    database.close()
    print(json.dumps({"seconds": round(time.perf_counter() - begun, 1)}))  # noqa: T201 - what the command says


if __name__ == "__main__":
    main()

"""What the platform computes, keeps and sends, held byte for byte against a golden file.

A small world with a clock, ids and random numbers of the test's own goes through everything whose bytes must outlive
any rebuilding of the code: content hashes, the gate's evidence and verdicts, recorded predictions with their batches
and chains, labels of every source, evaluations by every metric until alarms with what the detectors remember, notices
in the form of every channel, audit entries, anchors, rows of the spool, and alerts.yaml with its schema.

`PLATFORM_WRITE_GOLDEN=1 python -m pytest tests/system/test_golden.py` writes the file anew. Do so only for a change of
behaviour that is wanted, and say in the commit which section changed and why.

How to read a difference:

- Numbers of the golden file that were computed in floating point are rounded to SIGNIFICANT digits, because another
  kind of processor may differ in the last bits. Texts, hashes and whole numbers are compared as they are. No hash
  covers a number that was computed otherwise than by sums and quotients, which IEEE 754 makes the same everywhere, but
  one: the `definition` of a detector, which rests on logarithms and beta quantiles. Where only definitions differ, and
  only on another kind of processor, that is the processor's doing; on the same one it makes detectors begin anew.
- Ids that the platform makes are counted in the order in which they are made, anew for each moment of the clock. In
  `rows` and `notices` they are replaced by names that do not depend on that order. They are hashed into the audit
  log's chain, so where only `watching/hashes` differs, ids are made in another order at one moment. That alone is no
  change of what is kept.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.policy import default as email_policy
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Connection, select, text

from mlplatform.alerting import evaluations
from mlplatform.alerting.recording_loss import notify_recording_loss
from mlplatform.audit import checkpoints
from mlplatform.audit.checkpoint_file import checkpoint_path
from mlplatform.audit.verification import verify_with_checkpoint_file
from mlplatform.context import AppContext
from mlplatform.feedback.label_ingestion import match_pending_labels, record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.sampling_plan import update_sampling_plan
from mlplatform.operations.operator_actions import (
    acknowledge_alert,
    create_key,
    quarantine_version,
    revoke_key,
    silence_alerts,
)
from mlplatform.predictions import prediction_counts
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.recording.spool.record_format import decode_prediction, encode_frames, encode_prediction
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.base import metadata
from monitors.alerts import Silence
from monitors.errors import RulesError
from monitors.rules.alerts_config import json_schema, parse_rules
from monitors.windows.window import Window
from pipelines.data import content_hash, hash_fraction, image_row, is_holdout
from pipelines.discovery import find_pipeline
from pipelines.image.image_examples import image_examples
from pipelines.input_row import image_size
from registry.card import FeedbackUse
from registry.catalog import Catalog, RegisteredVersion
from registry.errors import UnknownVersionError
from registry.gate.evidence import BestVersion, FirstVersionEvidence, GateEvidence, PairedConfidence
from registry.gate.paired_comparison import PairedPredictions
from registry.gate.policy import GatePolicy
from registry.gate.verdict import gate_verdict, replay_verdict
from registry.model_contract import ModelContract
from tests.support.version_folder import write_contract

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden" / "behaviour.json"
POSTGRES: Final = os.environ.get("PLATFORM_TEST_POSTGRES_URL", "")
SIGNIFICANT: Final = 9
START: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLASSES: Final = tuple("0123456789")

RENAMED_KEYS: Final[Mapping[str, str]] = {
    "alert_changes": "alert_transitions",
    "audit_anchor_files": "audit_checkpoint_files",
    "audit_batches": "prediction_attestations",
    "audit_chains": "hash_chain_heads",
    "audits": "review_samples",
    "counters": "sequence_counters",
    "detectors": "detector_states",
    "feedback_keys": "feedback_idempotency_keys",
    "judged": "outcomes",
    "label_sums": "label_count_rollups",
    "plans": "sampling_plans",
    "shadow_answers": "shadow_predictions",
    "tallies": "prediction_counts",
    "tally_sums": "prediction_count_rollups",
    "trials": "rollouts",
    "tunings": "compute_configs",
    "waiting_labels": "pending_labels",
}
"""Names that were changed on purpose since the golden file was written: the name in the file -> the name in the code.

It takes keys of JSON objects, columns and tables (`"judged": "outcomes"`). What the code makes now is given back its
old names before it is compared, so the file stays as it was written: a renaming is a line here, and anything else is a
difference. Keys that are hashed (details of audit entries, the gate's evidence, rows of the spool) cannot be renamed
without changing what is kept; a line here does not make such a difference go away.
"""
RENAMED_COUNTERS: Final[Mapping[str, str]] = {"judged:": "outcomes:"}
"""Beginnings of the names of counters, which are values in rows: the one in the file -> the one in the code."""

RULES: Final = """\
version: 1
model: digits
schedule: {every: 1m}
retraining: {cooldown: 1h, daily_cap: 2, min_feedback: 10}
audit: {per_day: 400, uniform: 0.5, boost: 4}
probation: {period: 1d, notify: [team-slack, mail, events, on-call, phone]}
mute:
  - {from: "02:00", to: "03:00", timezone: UTC, severities: [info]}
channels:
  team-slack: {type: slack, url: "https://hooks.example.org/in"}
  mail: {type: email, host: mail.example.org, sender: platform@example.org, to: [ada@example.org, bob@example.org]}
  events: {type: webhook, url: "https://events.example.org", secret: whsec_a2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw==}
  on-call: {type: alertmanager, url: "https://alerts.example.org/in"}
  phone: {type: apprise, url: "ntfys://ntfy.example.org/topic"}
  nobody: {type: slack, url: ""}
rules:
  - {name: accuracy-drop, metric: accuracy_drop, above: 0.5 points, window: 1h, min_samples: 20, severity: critical,
      action: retrain, false_alarms: 1 per 90d, clear: 0.2 points, repeat: 10m, no_data: 30m,
      escalate: {after: 10m, notify: [phone]}, notify: [team-slack, mail, events, on-call, phone, nobody]}
  - {name: fixed-confidence, metric: accuracy_drop, above: 1 points, window: 1h, min_samples: 20, confidence: 0.99}
  - {name: slice, metric: accuracy_drop, above: 1 points, window: 1h, min_samples: 20, slice: {scanner: phone},
      false_alarms: 1 per 90d}
  - {name: latency, metric: latency_ratio, above: 2 x, window: 5m, min_samples: 50, action: tune-serving, for: 1m,
      notify: [team-slack, on-call]}
  - {name: class-error, metric: class_error, above: 10 %, window: 1h, min_samples: 10, action: label-audit,
      false_alarms: 1 per 90d, notify: [team-slack, mail, events, on-call, phone]}
  - {name: macro-f1, metric: macro_f1, below: 98 %, window: 1h, min_samples: 20}
  - {name: calibration, metric: calibration_error, above: 5 %, window: 1h, min_samples: 20}
  - {name: gap, metric: group_gap, by: scanner, above: 3 points, window: 1h, min_samples: 20, notify: [events]}
  - {name: errors, metric: error_rate, above: 1 %, window: 15m, min_samples: 100, inhibited_by: [accuracy-drop]}
  - {name: unusable, metric: schema_violations, above: 2 %, window: 15m, min_samples: 100, notify: [events]}
  - {name: volume, metric: volume, below: 100 answers, window: 10m}
  - {name: lag, metric: label_lag, above: 10m, quantile: 0.9, window: 1h, min_samples: 10}
  - {name: expected-drop, metric: expected_drop, above: 2 points, window: 1h, min_samples: 100, severity: info,
      false_alarms: 1 per 90d, notify: [team-slack]}
  - {name: prediction-drift, metric: prediction_drift, above: 15 %, window: 1h, min_samples: 200, severity: info,
      every: 1h, reference: 10m, false_alarms: 1 per 90d, notify: [team-slack]}
  - {name: input-drift, metric: input_drift, above: 30 %, window: 1h, min_samples: 100, severity: info, every: 1h,
      reference: 10m, false_alarms: 1 per 90d, notify: [team-slack]}
  - {name: own, metric: "python:tests.system.test_golden:share_of_fives", above: 0.25, window: 1h, min_samples: 20}
"""
FAULTY: Final = """\
version: 1
model: digits
channels: {team: {type: slack, url: nowhere}}
rules:
  - {name: a, metric: accuracy, above: 1 points, window: 1h}
  - {name: b, metric: accuracy_drop, above: 1 x, window: soon, min_samples: 1, notify: [mail]}
  - {name: b, metric: expected_drop, above: 1 points, window: 1h, min_samples: 1, action: retrain}
"""
BULKY: Final = ("predictions", "inputs", "feedback", "judged", "audits", "audit_log", "label_counts", "label_sums")
MOST_SHOWN: Final = 40
CALIBRATION: Final = {"offset": 0.0, "slope": 1.0, "rows": 160, "golden": {"54": 980, "30": 20}}


def share_of_fives(window: Window) -> float:
    """A metric of somebody's own, named by a rule."""
    return sum(row.label == "5" for row in window.rows) / len(window.rows)


# --- The world's clock, ids, registry and pictures


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **amount: float) -> datetime:
        self.now += timedelta(**amount)
        return self.now


class Ids:
    """UUIDs of version 7 that tell a moment and are counted within it; `series` keeps two makers apart."""

    def __init__(self, clock: Clock, series: int) -> None:
        self._clock, self._series, self._last, self._n = clock, series, START, 0
        self.made: set[str] = set()

    def __call__(self, _clock: object = None) -> str:
        now = self._clock()
        self._n = self._n + 1 if now == self._last else 1
        self._last = now
        milliseconds = int(now.timestamp() * 1000)
        digits = f"{milliseconds << 80 | 0x7 << 76 | 0x2 << 62 | self._series << 32 | self._n:032x}"
        made = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        self.made.add(made)
        return made


class Registry(Catalog):
    """A model registry in memory, whose versions have a file that is no network."""

    def __init__(self, folder: Path) -> None:
        self._tagged: dict[int, dict[str, str]] = {}
        self._pointers: dict[str, int] = {}
        self._folder = folder

    def add(self, version: int, tags: Mapping[str, str]) -> None:
        self._tagged[version] = dict(tags)

    def version(self, name: str, version: int) -> RegisteredVersion:
        if version not in self._tagged:
            raise UnknownVersionError(f"Model {name!r} has no version {version}")
        return RegisteredVersion(name, version, f"run-{version}", START, dict(self._tagged[version]), "card", (), "")

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        return tuple(self.version(name, version) for version in sorted(self._tagged, reverse=True))

    def alias(self, name: str, alias: str) -> int | None:
        return self._pointers.get(alias)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._pointers[alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        self._pointers.pop(alias, None)

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        self._tagged[version][key] = value

    def delete_tag(self, name: str, version: int, key: str) -> None:
        self._tagged[version].pop(key, None)

    def contract(self, name: str, version: int) -> ModelContract:
        return find_pipeline("digits").contract

    def download(self, name: str, version: int, target: Path) -> Path:
        return self._folder


class World:
    """A platform on a database of its own, and what its users do."""

    def __init__(self, folder: Path, url: str, rules: str, ids: Ids, clock: Clock) -> None:
        self.clock, self.ids, self._chosen = clock, ids, Ids(clock, 7)
        (folder / "alerts.yaml").write_text(rules, encoding="utf-8")
        (folder / "key").write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
        (folder / "data").mkdir()
        self.settings = Settings(
            _env_file=None,
            home=folder,
            database_url=url,
            alerts_file=folder / "alerts.yaml",
            audit_key_file=folder / "key",
            public_url="https://ml.example.org",
            mlflow_public_url="https://mlflow.example.org",
        )
        write_contract(folder, find_pipeline("digits").contract)
        self.registry = Registry(folder)
        self.parts = platform_of(self.settings, clock, self.registry)

    def crown(self, version: int, expected: int | None, kind: str = "promote", verdict: object = None) -> None:
        """Register a version and make it champion."""
        tags = {"golden_correct": "990", "golden_total": "1000", "calibration": json.dumps(CALIBRATION)}
        self.registry.add(version, {**tags, "model_sha256": f"{version:064x}"})
        change = PromotionRequest("digits", version, expected, kind, "ada", "better", verdict)  # type: ignore[arg-type]
        promotion_service(self.parts).promote(change)

    def row(self, truth: str, label: str, n: int, **other: Any) -> PredictionWithInput:  # noqa: ANN401 - any field of a prediction
        """A prediction for the nth picture of a class."""
        confidence = other.pop("confidence", 0.9375)
        image = picture(int(truth), n, other.pop("light", 0))
        made = self._chosen()
        fields = {
            "id": made,
            "at": self.clock(),
            "model_name": "digits",
            "model_version": 1,
            "image_hash": content_hash(image),
            "label": label,
            "probabilities": [confidence if name == label else (1 - confidence) / 9 for name in CLASSES],
            "confidence": confidence,
            "latency_ms": 2.0,
            "request_id": f"request {made}",
            "client_id": "desk",
        }
        return StoredUncompressed(PredictionRecord(**{**fields, **other}), image_row(image), "cpu-4")

    def record(self, server: str, *rows: PredictionWithInput) -> list[str]:
        with self.parts.database.write() as connection:
            insert_predictions(connection, rows, server)
        return [row.prediction.id for row in rows]

    def label(self, ids: list[str], truth: str, source: str = "audit", reviewer: str = "ann", **other: Any) -> Any:  # noqa: ANN401 - plain values
        wait = other.pop("wait", False)
        labels = [SubmittedLabel(key, truth, source, reviewer, self.clock(), **other) for key in ids]  # type: ignore[arg-type]
        return [
            {"outcome": told.outcome, "counts": told.counts} for told in record_labels(self.parts, labels, wait=wait)
        ]

    def evaluate(self, *names: str) -> list[dict[str, Any]]:
        """Every rule, or these, looked at in one slot."""
        every = [rule for rule in self.parts.rules.rules if not names or rule.name in names]
        made = [evaluate(self.parts, rule, self.clock()) for rule in every]
        self.clock.move(seconds=1)
        return [{"rule": each.rule, "state": each.state} for each in made if each is not None]


def platform_of(settings: Settings, clock: Clock, registry: Registry) -> AppContext:
    """The platform with the test's registry and a name that tells no host: the one place that knows how it is built."""
    database = Database(settings.store_url)
    database.upgrade()
    return AppContext(settings, clock, database=database, catalog=registry, instance="host:1:golden")


@contextmanager
def made_by(maker: Ids) -> Iterator[None]:
    """Let every module of the platform make its ids by this one, wherever it has the function from."""

    def put(now: object, then: object) -> None:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "mlplatform":
                for attribute, value in list(vars(module).items()):
                    if value is now:
                        setattr(module, attribute, then)

    number, original = iter(range(10_000)), uuid7
    put(original, maker)
    try:
        with (
            patch.object(secrets, "token_hex", lambda size: f"{next(number):0{2 * size}x}"),
            patch.object(secrets, "choice", lambda letters: letters[next(number) % len(letters)]),
        ):
            yield
    finally:
        put(maker, original)


def picture(digit: int, n: int, light: int = 0) -> NDArray[np.uint8]:
    """A picture of strokes by whole numbers alone: the same bytes on every machine."""
    y, x = np.mgrid[0:28, 0:28]
    ink = (abs(x - 8 - digit + (y * (n % 5)) // 14) < 2 + n % 3) & (y > 3 + n % 4) & (y < 24)
    ground = (x * 7 + y * 13 + n * 31 + digit * 17) % 23 + light
    return np.where(ink, 235 - n % 40, ground).astype(np.uint8)


class StoredUncompressed(PredictionWithInput):
    """A prediction whose input is kept as a PNG that no compressor has a say in."""

    @cached_property
    def packed_input(self) -> bytes:
        return png(np.frombuffer(self.input.content, np.uint8).reshape(image_size(self.input.form)))


def png(image: NDArray[np.uint8]) -> bytes:
    """The picture as a PNG whose pixels are stored as they are, so that no compressor has a say in its bytes."""
    height, width = image.shape
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    stored = (
        b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw + struct.pack(">I", zlib.adler32(raw))
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", stored) + chunk(b"IEND", b"")


# --- Plain values in one form


def plainly(value: Any) -> Any:  # noqa: ANN401 - JSON is any of its types
    """The value as JSON, floats rounded, bytes as their hash."""
    if isinstance(value, Mapping):
        return {str(key): plainly(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plainly(item) for item in items]
    if isinstance(value, bytes):
        return f"sha256 {sha256(value).hexdigest()}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, np.generic):
        return plainly(value.item())
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}")
    return value


def canonical(value: object) -> str:
    """The file's text: a line for each value, so that a difference can be read."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


def compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def as_before(value: Any) -> Any:  # noqa: ANN401 - JSON is any of its types
    """Give renamed keys the names they have in the golden file."""
    old = {new: was for was, new in RENAMED_KEYS.items()}
    if isinstance(value, dict):
        return {old.get(key, key): as_before(item) for key, item in value.items()}
    return [as_before(item) for item in value] if isinstance(value, list) else value


def every_row(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """All tables that hold anything, under the names of the golden file, with the columns that say anything."""
    tables = {
        table.name: [
            plainly(dict(row._mapping)) for row in connection.execute(select(table).order_by(*table.primary_key))
        ]
        for table in metadata.sorted_tables
    }
    for row in tables["sequence_counters"]:
        for was, now in RENAMED_COUNTERS.items():
            row["name"] = re.sub(rf"^{now}", was, row["name"])
    return dict(sorted(as_before({name: rows for name, rows in tables.items() if rows}).items()))


def without_order(tables: Mapping[str, list[dict[str, Any]]], made: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows in an order of their content, and ids that the platform made under names in that order."""
    pattern = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

    def named(row: object, name: Callable[[str], str]) -> str:
        written = compact(row)
        return pattern.sub(lambda found: name(found[0]) if found[0] in made else found[0], written)

    names: dict[str, str] = {}
    ordered = {table: sorted(rows, key=lambda row: named(row, lambda _: "id")) for table, rows in tables.items()}
    for rows in ordered.values():
        for row in rows:
            named(row, lambda key: names.setdefault(key, f"id {len(names) + 1}"))
    return {table: [json.loads(named(row, names.__getitem__)) for row in rows] for table, rows in ordered.items()}


def kept(world: World) -> dict[str, Any]:
    """What the database holds: rows without the order of ids, and the hashes that cover ids by themselves."""
    with world.parts.database.read() as connection:
        tables = every_row(connection)
    entries = sorted(tables["audit_log"], key=lambda row: row["number"])
    hashes: dict[str, Any] = {
        "entries": [[row["number"], row.pop("hash"), row["details"].pop("rows", None)] for row in entries],
        "heads": {row["name"]: [row["number"], row.pop("hash")] for row in tables["audit_chains"]},
        "anchor file": [row.pop("digest") for row in tables.pop("audit_anchor_files", [])],
    }
    of_entries = [json.dumps(entry, sort_keys=True) for entry in hashes["entries"]]
    hashes["entries"] = of_entries if len(of_entries) <= MOST_SHOWN else {"sha256": digest_of(of_entries)}
    for row in tables.get("outbox", ()):
        if row["payload"]["type"] == "email":
            row["payload"]["message"] = parts_of_email(row["payload"]["message"])
    rows = without_order(tables, world.ids.made)
    return {"rows": {name: shown(each, name in BULKY) for name, each in rows.items()}, "hashes": hashes}


def shown(rows: list[dict[str, Any]], bulky: bool) -> Any:  # noqa: ANN401 - JSON is any of its types
    """The rows; of many there is a digest, and those that say the most."""
    if not bulky or len(rows) <= MOST_SHOWN:
        return rows
    acts = [row for row in rows if row.get("action", "feedback") != "feedback"]
    return {"n": len(rows), "sha256": digest_of(rows), "all but labels": acts}


def parts_of_email(written: str) -> dict[str, Any]:
    """An email's headers and contents: what separates its parts is drawn at random by the standard library."""
    message = message_from_string(written, policy=email_policy)
    heads = {name: value for name, value in message.items() if name.lower() != "content-type"}
    leaves = [part for part in message.walk() if not part.is_multipart()]
    parts = [[part.get_content_type(), part.get("content-id", ""), part.get_content()] for part in leaves]
    return {"headers": heads, "parts": plainly(parts)}


def digest_of(rows: object) -> str:
    return sha256(compact(rows).encode()).hexdigest()


# --- The sections


def contents() -> dict[str, Any]:
    """Identities by content: of pictures, of sets, of the bundled digits, and the sides they are dealt to."""
    images = np.stack([picture(n % 10, n) for n in range(20)])
    made = image_examples(images, np.arange(20, dtype=np.int64) % 10, "made up")
    split = find_pipeline("digits").load(None)
    sides = {"train": split.train, "validation": split.validation, "golden": split.golden, "stream": split.stream}
    return {
        "pictures": list(made.ids),
        "set": made.digest,
        "buckets": [
            [repr(hash_fraction(key)), repr(hash_fraction(key, "gate")), is_holdout(key)] for key in made.ids[:5]
        ],
        "digits": {name: [len(side), side.digest] for name, side in sides.items()},
        "labels of a training": FeedbackUse.of(["b", "a", "c", "a"]).digest,
    }


def compared(n: int, right: int, gained: int, lost: int, origin: str) -> PairedPredictions:
    """Rows of all classes on which both models are right, then those that one alone gets right."""
    labels = np.arange(n) % 10
    rank, wrong = (np.arange(n) * 7) % n, (labels + 1) % 10
    both, first = rank < right, (rank >= right) & (rank < right + gained)
    second = (rank >= right + gained) & (rank < right + gained + lost)
    return PairedPredictions(
        labels, np.where(both | second, labels, wrong), np.where(both | first, labels, wrong), origin
    )


def gate() -> dict[str, Any]:
    """Evidence as it is kept, and the verdicts that follow."""
    golden, recent = compared(400, 380, 8, 3, "golden"), compared(120, 90, 20, 2, "feedback")
    worse = compared(400, 340, 4, 30, "golden")
    costs: dict[str, Any] = {
        "champion_latency_p95_ms": 2.0, "candidate_latency_p95_ms": 2.25,
        "champion_bytes": 1000, "candidate_bytes": 1100,
    }  # fmt: skip
    sure = PairedConfidence(np.tile([0.5, 0.75, 0.875, 0.9375], 100), np.tile([0.5625, 0.75, 0.875, 1.0], 100))
    cases: dict[str, GateEvidence | FirstVersionEvidence] = {
        "promote": GateEvidence(golden, recent, CLASSES, **costs),
        "keep": GateEvidence(worse, compared(120, 80, 30, 2, "feedback"), CLASSES, **costs),
        "inconclusive": GateEvidence(compared(40, 36, 2, 2, "golden"), None, CLASSES, **costs),
        "slow and large": GateEvidence(golden, recent, CLASSES, 2.0, 9.0, 1000, 9000),
        "another golden set": GateEvidence(golden, recent, CLASSES, **costs, golden_digest="a", champion_digest="b"),
        "everything": GateEvidence(
            golden, recent, CLASSES, **costs,
            policy=GatePolicy(alpha=0.1, golden_margin=0.015625, min_rows=30),
            best=BestVersion(1, 391, 400, (np.arange(400) % 40 != 3).astype(np.int64)),
            confidence=sure,
            robustness={"blur": compared(400, 350, 10, 12, "blur"), "noise": compared(400, 300, 5, 40, "noise")},
            strong={"dark": compared(100, 50, 2, 30, "dark")},
            groups=tuple(("flatbed", "phone", "")[n % 3] for n in range(520)),
        ),
        "first": FirstVersionEvidence(465, 480),
        "first below its floor": FirstVersionEvidence(200, 480),
    }  # fmt: skip
    return {
        name: {
            "evidence": evidence.to_json() if len(evidence.to_json()) < 3000 else None,
            "sha256": sha256(evidence.to_json().encode()).hexdigest(),
            "verdict": plainly(json.loads(gate_verdict(evidence).to_json())),
            "replayed alike": replay_verdict(evidence.to_json()) == gate_verdict(evidence),
        }
        for name, evidence in cases.items()
    }


def rules() -> dict[str, Any]:
    """alerts.yaml as it is understood, the faults of a wrong one, and the schema that editors are given."""
    shipped = (ROOT / "alerts.yaml").read_text(encoding="utf-8")
    texts = {"shipped": shipped, "every kind": RULES}
    try:
        parse_rules(FAULTY, "alerts.yaml", {})
        faults = []
    except RulesError as error:
        faults = str(error).splitlines()
    return {
        "parsed": {
            name: plainly(parse_rules(written, "alerts.yaml", {}).model_dump(mode="json", by_alias=True))
            for name, written in texts.items()
        },
        "faults": faults,
        "schema": as_written(json_schema()),
    }


def as_written(schema: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON is any of its types
    """What the schema allows, without the names and the sentences of the classes it is made from."""
    parts = schema["$defs"]

    def flat(part: Any, is_names: bool = False) -> Any:  # noqa: ANN401
        if isinstance(part, list):
            return [flat(each) for each in part]
        if not isinstance(part, dict):
            return part.replace("#/$defs/", "") if isinstance(part, str) else part
        if "$ref" in part:
            return flat(parts[part["$ref"].rpartition("/")[2]])
        left = () if is_names else ("title", "description", "$defs", "discriminator")
        return {key: flat(item, key == "properties") for key, item in part.items() if key not in left}

    return flat(schema)


def spool(world: World) -> dict[str, Any]:
    """Rows as they lie on disk before the database has them."""
    image = picture(3, 1)[:6, :5]
    whole = world.row("3", "3", 0, tags={"scanner": "flatbed"}, image_hash="").prediction
    plain = world.row("3", "5", 0, role="canary", client_id="Zoë", image_hash=content_hash(image)).prediction
    payloads = [encode_prediction(PredictionWithInput(each, image_row(image), "cpu-4")) for each in (whole, plain)]
    return {
        "payloads": [payload.hex() for payload in payloads],
        "texts": [payload[4 : 4 + int.from_bytes(payload[:4], "little")].decode() for payload in payloads],
        "frames": encode_frames(payloads).hex(),
        "read again": [plainly(vars(decode_prediction(payload).prediction)) for payload in payloads],
    }


def ledger(world: World) -> dict[str, Any]:
    """Few predictions, labels of every source, changes of champion, a key and a quarantine; every row is shown."""
    world.crown(1, None, "first")
    told = {}
    first = world.record("host:1:a", *(world.row(str(n), str(n), n, tags={"scanner": "flatbed"}) for n in range(4)))
    world.clock.move(minutes=1)
    second = world.record("host:2:b", *(world.row("5", label, n, latency_ms=8.5) for n, label in enumerate("5353")))
    world.clock.move(seconds=10)
    told["audit"] = world.label(first[:2], "0")
    told["delayed"] = world.label(first[1:3], "2", "delayed", "", feed="ledger")
    told["correction"] = world.label(second[1:2], "5", "correction", "client", key="giving 1")
    told["the same key"] = world.label(second[1:2], "5", "correction", "client", key="giving 1")
    told["review"] = world.label(second[:1], "5", "review", "bob")
    world.clock.move(seconds=10)
    told["superseded"] = world.label(first[:1], "1")
    told["repeated"] = world.label(first[:1], "1")
    late = world.row("7", "7", 3)
    told["before its prediction"] = world.label([late.prediction.id], "7", "delayed", "", wait=True)
    checkpoints.write_checkpoint(world.parts, checkpoint_path(world.parts), world.clock.move(seconds=10))
    world.record("host:1:a", late)
    told["matched"] = match_pending_labels(world.parts)
    world.clock.move(hours=1)
    world.crown(2, 1, verdict={"outcome": "promote", "points": 1.5})
    _, key = create_key(world.parts, "scanner", ["predict", "feedback"], timedelta(days=30), "ada")
    revoke_key(world.parts, key.id, "ada")
    world.clock.move(hours=1)
    promotion_service(world.parts).rollback("digits", "ada", "it reads 5 as 3")
    world.registry.add(3, {})
    quarantine_version(world.parts, 3, "trained on wrong labels", "bob", lift=False)
    checkpoints.write_checkpoint(world.parts, checkpoint_path(world.parts), world.clock.move(minutes=1))
    report = verify_with_checkpoint_file(world.parts)
    lines = checkpoint_path(world.parts).read_text(encoding="utf-8").splitlines()
    return {"told": told, "anchors": lines, "verified": report.text, **kept(world)}


def watching(world: World) -> dict[str, Any]:
    """Every rule in slots: healthy, broken until the alarm, well again; then another version, and back."""
    world.crown(1, None, "first")
    with world.parts.database.write() as connection:  # as the first server measures it
        pace = {"p95_ms": 2.5, "calls": 200}
        evaluations.store_baseline(connection, "digits", 1, "latency", "cpu-4", pace, world.clock())
    update_sampling_plan(world.parts)
    slots: dict[str, Any] = {"empty": world.evaluate()}
    for minute in range(10):
        day(world, minute, wrong=0)
    slots["healthy"] = world.evaluate()
    update_sampling_plan(world.parts)
    for minute in range(10, 16):
        day(world, minute, wrong=12, latency_ms=40.0, light=120, confidence=0.5625)
    note_requests(world)
    post_loss(world)
    slots["broken"] = world.evaluate()
    update_sampling_plan(world.parts)
    slots["at once again"] = world.evaluate()
    firing = by_rule(world)
    acknowledge_alert(world.parts, firing["class-error"], "ada")
    until = world.clock() + timedelta(hours=1)
    silence_alerts(world.parts, Silence(rule="gap", key="*", severity="*", until=until), "bob")
    world.clock.move(minutes=11)
    slots["still broken"] = world.evaluate()
    world.clock.move(hours=2)
    for minute in range(16, 20):
        day(world, minute, wrong=0)
    slots["well again"] = world.evaluate()
    world.clock.move(minutes=40)
    slots["silent"] = world.evaluate("accuracy-drop", "volume")
    world.crown(2, 1, verdict={"outcome": "promote", "points": 1.5})
    slots["another version"] = world.evaluate("accuracy-drop")
    world.clock.move(hours=1)
    promotion_service(world.parts).rollback("digits", "ada", "it reads 5 as 3")
    checkpoints.write_checkpoint(world.parts, checkpoint_path(world.parts), world.clock())
    return {"slots": slots, "verified": verify_with_checkpoint_file(world.parts).text, **kept(world)}


def day(world: World, minute: int, wrong: int, **other: Any) -> None:  # noqa: ANN401 - any field of a prediction
    """A hundred answers within a minute; those to a 3 come from a phone, and so many of them are wrong."""
    rows = []
    for n in range(100):
        truth = str(n % 10)
        scanner = "phone" if truth in "35" else "flatbed"
        label = "5" if truth == "3" and n // 10 < wrong else "3" if truth == "5" and n // 10 + 10 < wrong else truth
        rows.append(world.row(truth, label, 100 * minute + n, tags={"scanner": scanner}, **other))
    ids = world.record(f"host:{1 + minute % 2}:a", *rows)
    world.clock.move(seconds=20)
    for digit in range(10):
        audited = digit in (1, 2, 7)
        world.label(ids[digit::10][:6], str(digit), "audit" if audited else "delayed", "ann" if audited else "")
    world.label(ids[3:4], "3", "correction", "client")
    world.clock.move(seconds=40)


def note_requests(world: World) -> None:
    """How requests ended, as a server counts it."""
    counts = {"200": 600, "422": 30, "503": 20}
    with world.parts.database.write() as connection:
        prediction_counts.record_request_counts(
            connection, "host:1:a", "digits", {(1, prediction_counts.minute_index(world.clock()) - 1): counts}
        )


def post_loss(world: World) -> None:
    """A server says in its sign of life that it lost rows, and people are told."""
    recorder = {"dropped": 1200, "refused": 7, "set_aside": 3, "aside_since": "2026-01-01"}
    with world.parts.database.write() as connection:
        details = {"model": "digits", "recorder": recorder}
        leases.record_heartbeat(connection, "api", "host:1:a", world.clock(), details)
        notify_recording_loss(connection, world.parts)


def by_rule(world: World) -> dict[str, str]:
    """The id of the firing alert of each rule."""
    with world.parts.database.read() as connection:
        table = metadata.tables["alerts"]
        rows = connection.execute(select(table.c.rule, table.c.id).where(table.c.state == "firing"))
        return {row.rule: row.id for row in rows}


def golden_of(url_of: Callable[[str], str]) -> dict[str, Any]:
    """Every section; `url_of` gives each world the URL of a database of its own."""
    found: dict[str, Any] = {"contents": contents(), "gate": gate(), "rules": rules()}
    for name, section in (("spool", spool), ("ledger", ledger), ("watching", watching)):
        with TemporaryDirectory() as folder:
            clock = Clock()
            ids = Ids(clock, 1)
            with made_by(ids):
                world = World(Path(folder), url_of(name), RULES, ids, clock)
                try:
                    found[name] = section(world)
                finally:
                    world.parts.database.close()
            written = canonical(found[name]).replace(folder, "HOME")
            found[name] = json.loads(written)
    return as_before(found)  # type: ignore[no-any-return]


def in_the_home(_name: str) -> str:
    return ""


# --- The tests


def test_everything_is_as_the_golden_file_says() -> None:
    found = canonical(golden_of(in_the_home))
    if os.environ.get("PLATFORM_WRITE_GOLDEN") == "1":
        GOLDEN.write_text(found + "\n", encoding="utf-8")
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for section, values in json.loads(found).items():
        assert values == expected[section], section
    assert found + "\n" == GOLDEN.read_text(encoding="utf-8")


def test_another_process_with_other_hashes_finds_the_same() -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    env = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": path, "TZ": "Asia/Kathmandu"}
    command = [sys.executable, "-m", "tests.system.test_golden"]
    seen = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=280)
    assert seen.stdout == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.postgres
def test_postgresql_keeps_and_sends_the_same() -> None:
    if not POSTGRES:
        pytest.skip("PLATFORM_TEST_POSTGRES_URL is not set: no PostgreSQL to test on")
    server, schemas = Database(POSTGRES), list[str]()

    def url_of(name: str) -> str:
        schema = f"golden_{name}_{os.getpid()}"
        with server.write() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        schemas.append(schema)
        return f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}options=-csearch_path%3D{schema}"

    try:
        found = golden_of(url_of)
    finally:
        with server.write() as connection:
            for schema in schemas:
                connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        server.close()
    assert canonical(found) + "\n" == GOLDEN.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(canonical(golden_of(in_the_home)) + "\n")

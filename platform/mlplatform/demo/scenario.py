"""Runs the demo: the whole loop once, in six acts, each checked; a step that does not happen fails it."""

import secrets
import time
from base64 import b64encode
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from mlplatform.alerting import evaluations
from mlplatform.client import Client, RetryPolicy
from mlplatform.clock import utc_now
from mlplatform.context import AppContext, create_context
from mlplatform.demo.demo_images import (
    ALERT_RULES_TEMPLATE,
    LABEL_SHARE_AFTER_SHIFT,
    LABEL_SHARE_BEFORE_SHIFT,
    TRAFFIC_BATCHES,
    DemoData,
    expected_label_count,
    split_for_acts,
)
from mlplatform.demo.demo_settings import child_environment, demo_settings
from mlplatform.demo.errors import DemoFailedError
from mlplatform.demo.presenter import Presenter
from mlplatform.demo.receivers import Mailbox, run_receivers
from mlplatform.demo.traffic import AnsweredRequest, TrafficCounts, TrafficGenerator, accuracy
from mlplatform.host.processes import ProcessGroup, exit_on_signals, free_port, http_ok
from mlplatform.operations.local_stack import mlflow_url, start_platform
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.training_pipeline import training_pipeline
from mlplatform.retraining.worker import TrainingOutcome, training_worker
from mlplatform.settings import Settings, load_settings
from monitors.notices.webhook_signature import verify
from registry.catalog import CHAMPION

REQUEST_PAUSE_SECONDS = 0.05
HEALTH_TIMEOUT_SECONDS = 60.0
ALERT_TIMEOUT_SECONDS = 90.0
NOTICE_TIMEOUT_SECONDS = 30.0
RETRAINING_TIMEOUT_SECONDS = 420.0
SWAP_TIMEOUT_SECONDS = 60.0


def run_demo(*, data_dir: Path | None, keep: bool, quiet: bool) -> dict[str, Any]:
    """Run the demo; returns its figures. Raises DemoFailedError naming the step that did not happen."""
    base = load_settings(data_dir=data_dir)
    home = (base.home / "demo" / f"{utc_now():%Y%m%dT%H%M%S}").resolve()
    stage = Presenter(quiet)
    with exit_on_signals(), ExitStack() as stack:
        ports = [free_port() for _ in range(4)]
        settings = demo_settings(base, home, api=ports[0], mlflow=ports[1])
        mailbox = stack.enter_context(run_receivers(ports[2], ports[3]))
        figures = _DemoRun(stage, settings, mailbox, ports[2], ports[3], stack).run()
        stage.print_addresses(figures["addresses"])
        if keep:
            stage.print_line("everything stays up until Ctrl-C")
            _wait_for_ctrl_c()
    return figures


class _DemoRun:
    """The acts in order; each leaves what the next needs."""

    def __init__(
        self, stage: Presenter, settings: Settings, mailbox: Mailbox, http_port: int, smtp_port: int, stack: ExitStack
    ) -> None:
        self.presenter, self.settings, self.mailbox, self.stack = stage, settings, mailbox, stack
        self.http_port, self.smtp_port = http_port, smtp_port
        self.secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
        self.counts = TrafficCounts()
        self.context: AppContext = create_context(settings)

    def run(self) -> dict[str, Any]:
        """All six acts."""
        stage = self.presenter
        with stage.act("1", "train version 1 on the bundled data and make it champion"):
            first, world = self.train_initial_version()
        with stage.act("2", "start MLflow, the API server and the watcher"):
            self.start_services(world)
        with stage.act("3", "real traffic, with labels for a random sample of the answers"):
            before = self.send_known_traffic(world)
        with stage.act("4", "another scanner: traffic until the accuracy monitor fires"):
            shifted = self.send_shifted_traffic(world)
        with stage.act("5", "the alert retrains, the gate compares, the server swaps under traffic"):
            row = self.wait_for_retraining(world)
        with stage.act("6", "the new world with the new version"):
            after_swap = self.send_traffic_after_swap(world, row)
        figures = self.summarise(first, row, before, shifted, after_swap)
        stage.print_accuracy(figures)
        return figures

    def train_initial_version(self) -> tuple[TrainingOutcome, DemoData]:
        """Act 1."""
        pipeline = training_pipeline(self.settings)
        split = pipeline.load(self.settings.data_dir)
        world = split_for_acts(split.stream, self.settings.seed)
        sides = {name: len(getattr(split, name)) for name in ("train", "validation", "golden", "stream")}
        self.presenter.print_line(
            ", ".join(f"{count} {name}" for name, count in sides.items()) + " images, split by hash"
        )
        with self.presenter.progress_bar("training") as bar:
            outcome = training_worker(self.context).train(
                pipeline,
                "first version of the demo",
                "demo",
                on_epoch=lambda m: bar(m.epoch, m.epochs, f"validation accuracy {m.validation_accuracy:.3f}"),
            )
        judgement = outcome.candidate.scores
        _require(outcome.promotion is not None, f"the gate did not pass version 1: {outcome.candidate.verdict.reasons}")
        _require(self.context.catalog.alias("digits", CHAMPION) == 1, "MLflow's alias champion does not name version 1")
        self.presenter.print_line(
            f"version 1: {judgement.accuracy:.1%} of {judgement.n} golden images right "
            f"(95 %: {judgement.accuracy_low:.1%} to {judgement.accuracy_high:.1%}); model card registered"
        )
        return outcome, world

    def _classes(self) -> tuple[str, ...]:
        """The classes of the model, by whose places its images are labelled."""
        with self.context.database.read() as connection:
            return self.context.contracts.label_rules(connection, self.context.model_name).classes

    def start_services(self, world: DemoData) -> None:
        """Act 2."""
        needed = expected_label_count(world, self.settings.seed)
        rules = ALERT_RULES_TEMPLATE.format(
            http_port=self.http_port, smtp_port=self.smtp_port, secret=self.secret, min_feedback=needed
        )
        self.settings.alerts_file.write_text(rules, encoding="utf-8")
        self.process_group = self.stack.enter_context(ProcessGroup(self.settings.home / "logs", cwd=self.settings.home))
        took = start_platform(self.process_group, self.settings, child_environment(self.settings))
        api = self.process_group.processes[1]
        took["model loaded"] = self.process_group.wait_healthy(
            api, http_ok(f"{self.settings.public_url}/readyz"), HEALTH_TIMEOUT_SECONDS
        )
        self.presenter.print_line(", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
        once = RetryPolicy(max_attempts=1)  # a request that fails is to be seen, not mended
        client = self.stack.enter_context(Client(self.settings.public_url, timeout=30.0, retry_policy=once))
        self.traffic = TrafficGenerator(client, self._classes(), self.counts)

    def send_known_traffic(self, world: DemoData) -> list[AnsweredRequest]:
        """Act 3."""
        with self.presenter.progress_bar("traffic") as bar:
            sent = self.traffic.send_images(world.before_shift, "branch-1", lambda n: bar(n, len(world.before_shift)))
        labels = self.traffic.send_labels(sent, LABEL_SHARE_BEFORE_SHIFT, self.settings.seed)
        state = self._wait_for_evaluation("accuracy-drop", ("ok", "suspect"))
        self.presenter.print_line(
            f"{len(sent)} answers, {accuracy(sent):.1%} right; {labels} labels given; monitor accuracy-drop: {state}"
        )
        return sent

    def send_shifted_traffic(self, world: DemoData) -> list[AnsweredRequest]:
        """Act 4."""
        started_at, sent = utc_now(), []
        with self.presenter.progress_bar("traffic") as bar:
            for part in range(TRAFFIC_BATCHES):
                images = world.after_shift.take(range(part, len(world.after_shift), TRAFFIC_BATCHES))
                answered = self.traffic.send_images(images, "branch-2")
                self.traffic.send_labels(answered, LABEL_SHARE_AFTER_SHIFT, part)
                sent += answered
                bar(len(sent), len(world.after_shift), f"{accuracy(sent):.1%} right")
        self._wait_until("the accuracy alert", ALERT_TIMEOUT_SECONDS, lambda: self._is_firing("accuracy-drop"))
        _require(
            self.mailbox.wait_for_messages(1, 1, NOTICE_TIMEOUT_SECONDS), "no notice arrived at the local receivers"
        )
        self._wait_until("a signed webhook", NOTICE_TIMEOUT_SECONDS, self._has_signed_webhook)
        slack = next(post.json for post in self.mailbox.posts if post.path == "/slack")
        self.presenter.print_line(f"{accuracy(sent):.1%} of {len(sent)} answers right; the alert fired")
        fields = (field for block in slack["blocks"] for field in block.get("fields", ()))
        facts = [field["text"].replace("*", "").replace("\n", ": ") for field in fields]
        self.presenter.print_notice(
            "Slack message", "\n".join([slack["text"], *facts]), f"{len(slack['blocks'])} blocks"
        )
        mail = self.mailbox.mails[0]
        body = mail.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        self.presenter.print_notice("Email", f"Subject: {mail['Subject']}\n\n{text.strip()}", f"to {mail['To']}")
        self.presenter.print_line(
            f"alert to notices: {(utc_now() - started_at).total_seconds():.0f} s after the world changed"
        )
        return sent

    def wait_for_retraining(self, world: DemoData) -> retraining_queue.Retraining:
        """Act 5."""
        with (
            self.traffic.in_background(world.after_shift, "branch-2", REQUEST_PAUSE_SECONDS),
            self.presenter.progress_bar("retraining") as bar,
        ):
            deadline = time.monotonic() + RETRAINING_TIMEOUT_SECONDS
            while True:
                with self.context.database.read() as connection:
                    newest = retraining_queue.recent(connection, limit=1)
                row = newest[0] if newest else None
                if row is not None and row.state not in retraining_queue.OPEN_STATES:
                    break
                _require(
                    time.monotonic() < deadline, f"no retraining ended within {RETRAINING_TIMEOUT_SECONDS:g} s: {row}"
                )
                _require(
                    self.process_group.find_exited() is None,
                    "a process ended by itself; its log is in the demo's folder",
                )
                progress = (row and row.progress) or {}
                bar(progress.get("epoch", 0), progress.get("epochs", 1), row.state if row else "waiting")
                time.sleep(0.3)
            _require(row.state == "succeeded", f"the retraining {row.state}: {row.error}")
            _require(row.alert_id is not None, "the retraining was not started by the alert")
            _require(row.promoted, f"the gate did not promote: {(row.verdict or {}).get('reasons')}")
            version = row.candidate_version or 0
            self._wait_until("the swap", SWAP_TIMEOUT_SECONDS, lambda: self.counts.versions[version] > 20)
        for reason in (row.verdict or {})["reasons"]:
            self.presenter.print_line(f"gate: {reason}")
        _require(
            not self.counts.failures,
            f"{len(self.counts.failures)} requests failed, the first: {self.counts.failures[:1]}",
        )
        versions = ", ".join(f"{count} by version {v}" for v, count in sorted(self.counts.versions.items()))
        self.presenter.print_line(f"{self.counts.requests} requests so far, 0 failed; answers {versions}")
        return row

    def send_traffic_after_swap(self, world: DemoData, row: retraining_queue.Retraining) -> list[AnsweredRequest]:
        """Act 6."""
        with self.presenter.progress_bar("traffic") as bar:
            sent = self.traffic.send_images(world.after_swap, "branch-2", lambda n: bar(n, len(world.after_swap)))
        self.traffic.send_labels(sent, LABEL_SHARE_AFTER_SHIFT, 99)
        _require(all(item.version == row.candidate_version for item in sent), "an answer came from the old version")
        _require(not self.counts.failures, f"requests failed: {self.counts.failures[:3]}")
        self._wait_until(
            "the old alert to be superseded",
            ALERT_TIMEOUT_SECONDS,
            lambda: not self._is_firing("accuracy-drop", version=1),
        )
        return sent

    def summarise(
        self,
        first: TrainingOutcome,
        row: retraining_queue.Retraining,
        before_shift: list[AnsweredRequest],
        shifted: list[AnsweredRequest],
        after_swap: list[AnsweredRequest],
    ) -> dict[str, Any]:
        """What the demo reports, after checking that accuracy came back."""
        before, after = accuracy(shifted), accuracy(after_swap)
        _require(after > before + 0.1, f"accuracy on the new world went from {before:.1%} to {after:.1%} only")
        golden = self.context.catalog.version("digits", row.candidate_version or 0).tags
        report = self._write_report()
        api, mlflow = self.settings.public_url, mlflow_url(self.settings)
        return {
            "accuracy": {
                "known_world_v1": accuracy(before_shift),
                "new_world_v1": before,
                "new_world_v2": after,
                "golden_v1": first.candidate.scores.accuracy,
                "golden_v2": int(golden["golden_correct"]) / int(golden["golden_total"]),
            },
            "answers": {"known": len(before_shift), "new_before": len(shifted), "new_after": len(after_swap)},
            "training_seconds": round(first.candidate.seconds + float(golden["train_seconds"]), 1),
            "requests": self.counts.requests,
            "failed": len(self.counts.failures),
            "versions": {str(version): count for version, count in sorted(self.counts.versions.items())},
            "notices": {"posts": len(self.mailbox.posts), "mails": len(self.mailbox.mails)},
            "seconds": self.presenter.seconds,
            "addresses": {"MLflow UI": mlflow, "API docs": f"{api}/docs", "report": str(report)},
        }

    def _write_report(self) -> Path:
        """Evidently's comparison of the champions' windows."""
        from mlplatform.monitoring.row_inputs import load_window
        from monitors.windows.evidently_adapter import write_window_comparison

        [rule] = [rule for rule in self.context.rules.rules if rule.name == "accuracy-drop"]
        with self.context.database.read() as connection:
            history = promotion_history.promotion_history(connection, "digits")
            windows = [load_window(connection, self.context.contracts, rule, item, utc_now()) for item in history[:2]]
        path = self.settings.home / "report.html"
        write_window_comparison(windows[0], windows[1], rule.sources, path)
        return path

    def _is_firing(self, rule: str, version: int | None = None) -> bool:
        from mlplatform.alerting import alert_records

        with self.context.database.read() as connection:
            alerts = alert_records.open_alerts(connection, "digits")
        return any(
            alert.rule == rule and alert.state == "firing" and version in (None, alert.version) for alert in alerts
        )

    def _wait_for_evaluation(self, rule: str, states: tuple[str, ...]) -> str:
        newest: list[evaluations.Evaluation] = []
        since: datetime = utc_now()

        def is_evaluated() -> bool:
            with self.context.database.read() as connection:
                newest[:] = evaluations.recent(connection, limit=1, rule=rule)
            return bool(newest) and newest[0].at > since and newest[0].state in states

        self._wait_until(f"rule {rule} to be {' or '.join(states)}", HEALTH_TIMEOUT_SECONDS, is_evaluated)
        return newest[0].state

    def _has_signed_webhook(self) -> bool:
        return any(
            verify(
                self.secret,
                post.headers["webhook-id"],
                int(post.headers["webhook-timestamp"]),
                post.body,
                post.headers["webhook-signature"],
                int(time.time()),
            )
            for post in list(self.mailbox.posts)
            if post.path == "/webhook"
        )

    def _wait_until(self, what: str, seconds: float, condition: "Any") -> None:  # noqa: ANN401 - a question
        deadline = time.monotonic() + seconds
        while not condition():
            _require(time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s")
            dead = self.process_group.find_exited()
            _require(dead is None, f"{dead.name if dead else ''} ended by itself")
            time.sleep(0.2)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DemoFailedError(f"demo: {message}")


def _wait_for_ctrl_c() -> None:
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return

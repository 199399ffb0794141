"""The story: the whole loop turned once, in six acts, each checked; a step that does not happen fails the demo."""

import json
import secrets
import time
from base64 import b64encode
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from mlplatform.alerting import evaluations
from mlplatform.client import Client, Retries
from mlplatform.clock import utc_now
from mlplatform.context import Parts, build
from mlplatform.demo.data import RULES, World, deal
from mlplatform.demo.presenter import Stage
from mlplatform.demo.receivers import Mailbox, receivers
from mlplatform.demo.traffic import Sent, Tally, Traffic, accuracy, sample
from mlplatform.errors import DemoFailedError
from mlplatform.host.processes import Fleet, answers, ended_by_signals, free_port
from mlplatform.operations.local_stack import mlflow_url, start_platform
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.worker import Outcome, train
from mlplatform.settings import Settings, load_settings
from monitors.notices.webhook_signature import verify
from registry.catalog import CHAMPION

KNOWN_LABELS = 0.6
CHANGED_LABELS = 0.85
CHUNKS = 8
PAUSE_SECONDS = 0.05
HEALTHY_SECONDS = 60.0
ALERT_SECONDS = 90.0
NOTICE_SECONDS = 30.0
RETRAIN_SECONDS = 420.0
SWAP_SECONDS = 60.0


def tell(*, data_dir: Path | None, keep: bool, quiet: bool) -> dict[str, Any]:
    """Run the demo; returns its figures. Raises DemoFailedError naming the step that did not happen."""
    base = load_settings(data_dir=data_dir)
    home = (base.home / "demo" / f"{utc_now():%Y%m%dT%H%M%S}").resolve()
    stage = Stage(quiet)
    with ended_by_signals(), ExitStack() as stack:
        ports = [free_port() for _ in range(4)]
        settings = _settings(base, home, api=ports[0], mlflow=ports[1])
        mailbox = stack.enter_context(receivers(ports[2], ports[3]))
        figures = _Demo(stage, settings, mailbox, ports[2], ports[3], stack).run()
        stage.addresses(figures["addresses"])
        if keep:
            stage.say("everything stays up until Ctrl-C")
            _wait_for_ctrl_c()
    return figures


def _settings(base: Settings, home: Path, api: int, mlflow: int) -> Settings:
    """The demo's own platform: embedded stores in a fresh folder, whatever the environment says."""
    return base.model_copy(
        update={
            "home": home,
            "data_dir": None if base.data_dir is None else base.data_dir.resolve(),
            "database_url": "",
            "mlflow_uri": "",
            "mlflow_backend_uri": "",
            "mlflow_artifacts": "",
            "mlflow_host": "127.0.0.1",
            "mlflow_port": mlflow,
            "host": "127.0.0.1",
            "port": api,
            "auth": "off",
            "mlflow_auth": "off",
            "allowed_hosts": (),
            "rate_limit": 0,
            "allowed_receivers": ("127.0.0.1",),
            "public_url": f"http://127.0.0.1:{api}",
            "mlflow_public_url": f"http://127.0.0.1:{mlflow}",
            "alerts_file": home / "alerts.yaml",
            "pipeline": "digits",
            "recipe": "compact",
            "gate_margin_points": 3.0,  # about 400 golden rows cannot settle less
            "poll_seconds": 1.0,
            "log_level": "warning",
        }
    )


def _environment(settings: Settings) -> dict[str, str]:
    """The same settings for the child processes: an empty one wins over the parent's, and `home` holds no .env."""
    given = {name: value for name, value in settings.model_dump(mode="json").items() if value is not None}
    return {
        f"PLATFORM_{name.upper()}": json.dumps(value) if isinstance(value, list) else str(value)
        for name, value in given.items()
    }


class _Demo:
    """The acts in order; each leaves what the next needs."""

    def __init__(
        self, stage: Stage, settings: Settings, mailbox: Mailbox, http_port: int, smtp_port: int, stack: ExitStack
    ) -> None:
        self.stage, self.settings, self.mailbox, self.stack = stage, settings, mailbox, stack
        self.http_port, self.smtp_port = http_port, smtp_port
        self.secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
        self.tally = Tally()
        self.parts: Parts = build(settings)

    def run(self) -> dict[str, Any]:
        """All six acts."""
        stage = self.stage
        with stage.act("1", "train version 1 on the bundled data and make it champion"):
            first, world = self.train_first()
        with stage.act("2", "start MLflow, the API server and the watcher"):
            self.start(world)
        with stage.act("3", "real traffic, with labels for a random sample of the answers"):
            known = self.known_world(world)
        with stage.act("4", "another scanner: traffic until the accuracy monitor fires"):
            changed = self.changed_world(world)
        with stage.act("5", "the alert retrains, the gate compares, the server swaps under traffic"):
            row = self.retraining(world)
        with stage.act("6", "the new world with the new version"):
            later = self.later_world(world, row)
        figures = self.figures(first, row, known, changed, later)
        stage.table(figures)
        return figures

    def train_first(self) -> tuple[Outcome, World]:
        """Act 1."""
        split = self.parts.family.load(self.settings.data_dir)
        world = deal(split.stream, self.settings.seed)
        sides = {name: len(getattr(split, name)) for name in ("train", "validation", "golden", "stream")}
        self.stage.say(", ".join(f"{count} {name}" for name, count in sides.items()) + " images, split by hash")
        with self.stage.bar("training") as bar:
            outcome = train(
                self.parts,
                self.parts.family,
                "first version of the demo",
                "demo",
                on_epoch=lambda m: bar(m.epoch, m.epochs, f"validation accuracy {m.validation_accuracy:.3f}"),
            )
        judgement = outcome.candidate.judgement
        _need(outcome.promotion is not None, f"the gate did not pass version 1: {outcome.candidate.verdict.reasons}")
        _need(self.parts.catalog.alias("digits", CHAMPION) == 1, "MLflow's alias champion does not name version 1")
        self.stage.say(
            f"version 1: {judgement.accuracy:.1%} of {judgement.n} golden images right "
            f"(95 %: {judgement.accuracy_low:.1%} to {judgement.accuracy_high:.1%}); model card registered"
        )
        return outcome, world

    def start(self, world: World) -> None:
        """Act 2."""
        needed = _labels_to_come(world, self.settings.seed)
        rules = RULES.format(
            http_port=self.http_port, smtp_port=self.smtp_port, secret=self.secret, min_feedback=needed
        )
        self.settings.alerts_file.write_text(rules, encoding="utf-8")
        self.fleet = self.stack.enter_context(Fleet(self.settings.home / "logs", cwd=self.settings.home))
        took = start_platform(self.fleet, self.settings, _environment(self.settings))
        api = self.fleet.children[1]
        took["model loaded"] = self.fleet.wait_healthy(
            api, answers(f"{self.settings.public_url}/readyz"), HEALTHY_SECONDS
        )
        self.stage.say(", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
        once = Retries(tries=1)  # a request that fails is to be seen, not mended
        client = self.stack.enter_context(Client(self.settings.public_url, timeout=30.0, retries=once))
        self.traffic = Traffic(client, self.parts.family.classes, self.tally)

    def known_world(self, world: World) -> list[Sent]:
        """Act 3."""
        with self.stage.bar("traffic") as bar:
            sent = self.traffic.send(world.known, "branch-1", lambda n: bar(n, len(world.known)))
        labels = self.traffic.label(sent, KNOWN_LABELS, self.settings.seed)
        state = self._evaluated("accuracy-drop", ("ok", "suspect"))
        self.stage.say(
            f"{len(sent)} answers, {accuracy(sent):.1%} right; {labels} labels given; monitor accuracy-drop: {state}"
        )
        return sent

    def changed_world(self, world: World) -> list[Sent]:
        """Act 4."""
        begun, sent = utc_now(), []
        with self.stage.bar("traffic") as bar:
            for part in range(CHUNKS):
                images = world.changed.take(range(part, len(world.changed), CHUNKS))
                answered = self.traffic.send(images, "branch-2")
                self.traffic.label(answered, CHANGED_LABELS, part)
                sent += answered
                bar(len(sent), len(world.changed), f"{accuracy(sent):.1%} right")
        self._wait("the accuracy alert", ALERT_SECONDS, lambda: self._firing("accuracy-drop"))
        _need(self.mailbox.wait(1, 1, NOTICE_SECONDS), "no notice arrived at the local receivers")
        self._wait("a signed webhook", NOTICE_SECONDS, self._signed_webhook)
        slack = next(post.json for post in self.mailbox.posts if post.path == "/slack")
        self.stage.say(f"{accuracy(sent):.1%} of {len(sent)} answers right; the alert fired")
        facts = [field["text"].replace("*", "").replace("\n", ": ") for field in slack["blocks"][2]["fields"]]
        self.stage.notice("Slack message", "\n".join([slack["text"], *facts]), f"{len(slack['blocks'])} blocks")
        mail = self.mailbox.mails[0]
        body = mail.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        self.stage.notice("Email", f"Subject: {mail['Subject']}\n\n{text.strip()}", f"to {mail['To']}")
        self.stage.say(f"alert to notices: {(utc_now() - begun).total_seconds():.0f} s after the world changed")
        return sent

    def retraining(self, world: World) -> retraining_queue.Retraining:
        """Act 5."""
        with self.traffic.in_background(world.changed, "branch-2", PAUSE_SECONDS), self.stage.bar("retraining") as bar:
            deadline = time.monotonic() + RETRAIN_SECONDS
            while True:
                with self.parts.database.read() as connection:
                    newest = retraining_queue.recent(connection, limit=1)
                row = newest[0] if newest else None
                if row is not None and row.state not in retraining_queue.OPEN:
                    break
                _need(time.monotonic() < deadline, f"no retraining ended within {RETRAIN_SECONDS:g} s: {row}")
                _need(self.fleet.dead() is None, "a process ended by itself; its log is in the demo's folder")
                progress = (row and row.progress) or {}
                bar(progress.get("epoch", 0), progress.get("epochs", 1), row.state if row else "waiting")
                time.sleep(0.3)
            _need(row.state == "succeeded", f"the retraining {row.state}: {row.error}")
            _need(row.alert_id is not None, "the retraining was not started by the alert")
            _need(row.promoted, f"the gate did not promote: {(row.verdict or {}).get('reasons')}")
            version = row.candidate_version or 0
            self._wait("the swap", SWAP_SECONDS, lambda: self.tally.versions[version] > 20)
        for reason in (row.verdict or {})["reasons"]:
            self.stage.say(f"gate: {reason}")
        _need(
            not self.tally.failures, f"{len(self.tally.failures)} requests failed, the first: {self.tally.failures[:1]}"
        )
        versions = ", ".join(f"{count} by version {v}" for v, count in sorted(self.tally.versions.items()))
        self.stage.say(f"{self.tally.requests} requests so far, 0 failed; answers {versions}")
        return row

    def later_world(self, world: World, row: retraining_queue.Retraining) -> list[Sent]:
        """Act 6."""
        with self.stage.bar("traffic") as bar:
            sent = self.traffic.send(world.later, "branch-2", lambda n: bar(n, len(world.later)))
        self.traffic.label(sent, CHANGED_LABELS, 99)
        _need(all(item.version == row.candidate_version for item in sent), "an answer came from the old version")
        _need(not self.tally.failures, f"requests failed: {self.tally.failures[:3]}")
        self._wait(
            "the old alert to be superseded", ALERT_SECONDS, lambda: not self._firing("accuracy-drop", version=1)
        )
        return sent

    def figures(
        self,
        first: Outcome,
        row: retraining_queue.Retraining,
        known: list[Sent],
        changed: list[Sent],
        later: list[Sent],
    ) -> dict[str, Any]:
        """What the demo reports, after checking that accuracy came back."""
        before, after = accuracy(changed), accuracy(later)
        _need(after > before + 0.1, f"accuracy on the new world went from {before:.1%} to {after:.1%} only")
        golden = self.parts.catalog.version("digits", row.candidate_version or 0).tags
        report = self._report()
        api, mlflow = self.settings.public_url, mlflow_url(self.settings)
        return {
            "accuracy": {
                "known_world_v1": accuracy(known),
                "new_world_v1": before,
                "new_world_v2": after,
                "golden_v1": first.candidate.judgement.accuracy,
                "golden_v2": int(golden["golden_correct"]) / int(golden["golden_total"]),
            },
            "answers": {"known": len(known), "new_before": len(changed), "new_after": len(later)},
            "training_seconds": round(first.candidate.seconds + float(golden["train_seconds"]), 1),
            "requests": self.tally.requests,
            "failed": len(self.tally.failures),
            "versions": {str(version): count for version, count in sorted(self.tally.versions.items())},
            "notices": {"posts": len(self.mailbox.posts), "mails": len(self.mailbox.mails)},
            "seconds": self.stage.seconds,
            "addresses": {"MLflow UI": mlflow, "API docs": f"{api}/docs", "report": str(report)},
        }

    def _report(self) -> Path:
        """Evidently's comparison of the champions' windows."""
        from mlplatform.monitoring.rule_inputs import window_of
        from monitors.windows.evidently_adapter import html_report

        [rule] = [rule for rule in self.parts.rules.rules if rule.name == "accuracy-drop"]
        with self.parts.database.read() as connection:
            history = promotion_history.history(connection, "digits")
            windows = [window_of(connection, self.parts.family.classes, rule, item, utc_now()) for item in history[:2]]
        path = self.settings.home / "report.html"
        html_report(windows[0], windows[1], rule.sources, path)
        return path

    def _firing(self, rule: str, version: int | None = None) -> bool:
        from mlplatform.alerting import alert_records

        with self.parts.database.read() as connection:
            found = alert_records.open_alerts(connection, "digits")
        return any(a.rule == rule and a.state == "firing" and version in (None, a.version) for a in found)

    def _evaluated(self, rule: str, states: tuple[str, ...]) -> str:
        found: list[evaluations.Evaluation] = []
        since: datetime = utc_now()

        def look() -> bool:
            with self.parts.database.read() as connection:
                found[:] = evaluations.recent(connection, limit=1, rule=rule)
            return bool(found) and found[0].at > since and found[0].state in states

        self._wait(f"rule {rule} to be {' or '.join(states)}", HEALTHY_SECONDS, look)
        return found[0].state

    def _signed_webhook(self) -> bool:
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

    def _wait(self, what: str, seconds: float, happened: "Any") -> None:  # noqa: ANN401 - a question
        deadline = time.monotonic() + seconds
        while not happened():
            _need(time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s")
            dead = self.fleet.dead()
            _need(dead is None, f"{dead.name if dead else ''} ended by itself")
            time.sleep(0.2)


def _labels_to_come(world: World, seed: int) -> int:
    """How many labels acts 3 and 4 give: the retraining waits for all of them, so that every run learns the same."""
    parts = [len(range(part, len(world.changed), CHUNKS)) for part in range(CHUNKS)]
    changed = sum(int(sample(rows, CHANGED_LABELS, part).sum()) for part, rows in enumerate(parts))
    return int(sample(len(world.known), KNOWN_LABELS, seed).sum()) + changed


def _need(happened: bool, otherwise: str) -> None:
    if not happened:
        raise DemoFailedError(f"demo: {otherwise}")


def _wait_for_ctrl_c() -> None:
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return

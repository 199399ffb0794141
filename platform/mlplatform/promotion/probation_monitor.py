"""The probation of a new champion: the version before answers the same labelled pictures, and may serve again.

`Warden.round` is one look, off the alarm's path: begin or end, compare new labels and latencies, decide, carry out.
Each step is a transaction that proves the leader's lease. A decision is written before it is carried out, and carried
out in the transaction that appends to the history of promotions, with its quarantine and its notices. So a watcher
killed anywhere leaves a step that the next one takes, once; a promotion made meanwhile ends the probation instead.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.feedback import outcomes
from mlplatform.feedback.distinct_inputs import first_occurrences
from mlplatform.predictions import prediction_counts
from mlplatform.predictions.stored_image import decode_png
from mlplatform.promotion import probations, promotion_history, quarantines
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.promotion_notices import enqueue_rollback_notice
from mlplatform.promotion.promotion_service import PromotionRequest, PromotionService, promotion_service
from mlplatform.store import leases
from monitors.decisions.latency_regression import LatencyRegression, find_latency_regression, latency_limits
from monitors.statistics.paired_test import PairedOutcome, PairedTest, describe_test, update_test
from monitors.windows.window import HostLatency
from pipelines.errors import PipelineError
from registry.errors import RegistryError, UnknownVersionError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
ACTOR: Final = "watcher/probation"
ESTIMATING_SOURCES: Final = ("audit", "delayed")
"""Labels that may estimate: corrections were picked for being wrong, and would blame whichever version serves."""
MAX_LABELS_PER_READ: Final = 256
LATENCY_REFERENCE_PERIOD: Final = timedelta(days=1)
"""How much of the version before's service says what pace is usual."""
LOAD_GRACE_PERIOD: Final = timedelta(hours=1)
"""How long past its end a probation waits for a version before that cannot be loaded."""
Predictor = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]
LoadVersion = Callable[[AppContext, int], Predictor]


def load_version(context: AppContext, version: int) -> Predictor:
    """A registered version, ready to answer on one thread."""
    from pipelines.candidate.training_spec import load_champion
    from pipelines.engines.torch_engine import set_threads
    from registry.model_package import MODEL_FILE

    set_threads(1)
    return load_champion(context.catalog, context.pipeline, version, context.model_cache, MODEL_FILE).predictor


@dataclass
class ProbationMonitor:
    """Looks after the probation of one model's champion; `load` gives the version before."""

    context: AppContext
    load: LoadVersion = load_version
    promotions: PromotionService | None = None
    """Who carries a rollback out; by default the service that the context makes."""
    _loaded_version: tuple[int, Predictor] | None = None

    def tick(self, lease: leases.Lease) -> Probation | None:
        """One look; returns the probation as it stands then, None where nothing is on probation."""
        probation = self._current_probation(lease)
        if probation is None:
            self._loaded_version = None
            return None
        if probation.state == "running":
            after = self._evaluate(probation)
            if after != probation:
                self._save(lease, probation, after)
            probation = after
        return self._roll_back(lease, probation) if probation.state == "failed" else probation

    def _current_probation(self, lease: leases.Lease) -> Probation | None:
        """The champion's probation, begun where it is due; those of versions that no longer serve are ended."""
        name, now, terms = self.context.rules.model, self.context.clock(), self.context.rules.probation
        with self.context.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, name)
            if champion is None:
                return None
            waiting = probations.list_open(connection, name)
            known = probations.find_by_promotion(connection, champion.seq)
            due = None if known is not None or not terms.period else self._new_probation(connection, champion, now)
        for each in waiting:
            if each.promotion_seq != champion.seq:
                self._end_probation(
                    lease, each, f"{champion.actor} made version {champion.to_version} champion ({champion.kind})"
                )
            elif not terms.period:
                self._end_probation(lease, each, "probation was switched off in alerts.yaml")
        if due is not None:
            with self.context.database.write() as connection:
                leases.require_lease(connection, lease)
                probations.start(connection, due)
            log.info("version %d is on probation until %s", due.version, due.until)
            return due
        return known if known is not None and known.state in probations.OPEN_STATES and terms.period else None

    def _new_probation(
        self, connection: Connection, champion: promotion_history.Promotion, now: datetime
    ) -> Probation | None:
        """The probation that this promotion begins; a first version and a restored one are on none."""
        terms, name = self.context.rules.probation, champion.model_name
        if champion.kind != "promote" or now >= champion.at + terms.period:
            return None
        history = promotion_history.promotion_history(connection, name, limit=10_000)
        before = promotion_history.rollback_target(history, quarantines.quarantined_versions(connection, name))
        if before is None:
            return None
        return Probation(
            promotion_seq=champion.seq,
            model_name=name,
            version=champion.to_version,
            before=before,
            state="running",
            at=champion.at,
            until=champion.at + terms.period,
            label_level=terms.label_level,
            latency_level=terms.latency_level,
            cursor=outcomes.cursor_before(connection, name, champion.to_version, champion.at),
            duel=PairedTest().to_json(),
            latency_until=champion.at,
        )

    def _evaluate(self, probation: Probation) -> Probation:
        """The probation after the labels and latencies that are new; pure but for reading."""
        now, new, before = self.context.clock(), probation.version, probation.before
        after, everything_read = self._compare_labels(probation)
        duel = PairedTest.from_json(after.duel)
        if duel.rejects(after.label_level):
            return _as_failed(after, describe_test(duel, new, before), now)
        after, found = self._compare_latency(after, now)
        if found is not None:
            return _as_failed(after, found.sentence(new, before), now)
        if after.reason and now >= after.until + LOAD_GRACE_PERIOD:  # the version before could not be asked
            return replace(after, state="ended", ended_at=now)
        if after.reason or not everything_read or now < after.until:
            return after
        return replace(after, state="passed", reason=describe_test(duel, new, before), ended_at=now)

    def _compare_labels(self, probation: Probation) -> tuple[Probation, bool]:
        """The duel after the next labels, and whether no more are known."""
        name, version = probation.model_name, probation.version
        with self.context.database.read() as connection:
            rows = outcomes.outcomes_after(connection, name, version, probation.cursor, MAX_LABELS_PER_READ)
            telling = [
                row for row in rows if row.at >= probation.at and row.is_new_for(ESTIMATING_SOURCES, probation.cursor)
            ]
            pictures = first_occurrences(connection, name, version, telling, ESTIMATING_SOURCES, probation.at)
        first = [row for row in telling if row.prediction_id in pictures]
        try:
            answers = self._previous_predictions(probation.before, [pictures[row.prediction_id] for row in first])
        except (RegistryError, PipelineError, OSError) as error:
            log.error("version %d cannot be asked what it would have answered: %s", probation.before, error)
            return replace(probation, reason=f"version {probation.before} cannot be asked: {error}"), False
        bouts = [
            PairedOutcome(answer, row.label, row.truth, row.share) for answer, row in zip(answers, first, strict=True)
        ]
        duel = update_test(PairedTest.from_json(probation.duel), bouts, probation.label_level)
        cursor = rows[-1].seq if rows else probation.cursor
        after = replace(probation, duel=duel.to_json(), cursor=cursor, reason="")
        return after, len(rows) < MAX_LABELS_PER_READ or rows[-1].known_at >= probation.until

    def _previous_predictions(self, version: int, pictures: list[bytes]) -> list[str]:
        """What that version answers to the pictures; it stays loaded while it is needed."""
        if not pictures:
            return []
        import numpy as np

        if self._loaded_version is None or self._loaded_version[0] != version:
            self._loaded_version = (version, self.load(self.context, version))
        probabilities = self._loaded_version[1](np.stack([decode_png(png) for png in pictures]))
        return [self.context.pipeline.classes[place] for place in probabilities.argmax(axis=1).tolist()]

    def _compare_latency(self, probation: Probation, now: datetime) -> tuple[Probation, LatencyRegression | None]:
        """The newest whole window of the latency rule looked at, once; the level is shared among all such windows."""
        rule = next((rule for rule in self.context.rules.rules if rule.metric == "latency_ratio"), None)
        if rule is None:
            return probation, None
        begun, name = probation.at, probation.model_name
        end = begun + (min(now, probation.until) - begun) // rule.window * rule.window
        if end <= probation.latency_until:
            return probation, None
        with self.context.database.read() as connection:
            seen = prediction_counts.latency_histograms(connection, name, probation.version, end - rule.window, end)
            usual = prediction_counts.latency_histograms(
                connection, name, probation.before, begun - LATENCY_REFERENCE_PERIOD, begun
            )
            measured = evaluations.load_baselines(connection, name, probation.before).get("latency", {})
        known = {host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in measured.items()}
        allowed = self.context.rules.probation.latency_ratio_max or rule.threshold
        looks = max(1, ceil((probation.until - begun) / rule.window))
        level, least = probation.latency_level / looks, rule.min_samples
        found = find_latency_regression(seen, latency_limits(known, usual), allowed, least, level, rule.floor_ms)
        return replace(probation, latency_until=end), found

    def _roll_back(self, lease: leases.Lease, probation: Probation) -> Probation:
        """Send the version back, which appends to the history once; it is tried again until that or its end."""
        name, version, before = probation.model_name, probation.version, probation.before
        with self.context.database.read() as connection:
            barred = before in quarantines.quarantined_versions(connection, name)
        if barred:
            return self._end_probation(
                lease, probation, f"{probation.reason} But version {before} is in quarantine itself."
            )
        reason, done = probation.reason, partial(self._on_rollback, lease, probation)
        change = PromotionRequest(
            name, before, version, "rollback", ACTOR, reason, expected_seq=probation.promotion_seq, in_transaction=done
        )
        try:
            (self.promotions or promotion_service(self.context)).promote(change)
        except UnknownVersionError as error:
            return self._end_probation(lease, probation, f"{probation.reason} But it cannot be undone: {error}")
        log.warning("version %d was rolled back to version %d: %s", version, before, reason)
        with self.context.database.read() as connection:
            return probations.find_by_promotion(connection, probation.promotion_seq) or probation

    def _on_rollback(
        self, lease: leases.Lease, probation: Probation, connection: Connection, promotion: promotion_history.Promotion
    ) -> None:
        """What else is written with the rollback: the end of the probation, and the notices."""
        leases.require_lease(connection, lease)
        after = replace(probation, state="rolled-back", ended_at=promotion.at)
        probations.advance(connection, probation, after)
        enqueue_rollback_notice(connection, self.context, after)

    def _end_probation(self, lease: leases.Lease, probation: Probation, reason: str) -> Probation:
        log.warning("the probation of version %d ends: %s", probation.version, reason)
        after = replace(probation, state="ended", reason=reason, ended_at=self.context.clock())
        self._save(lease, probation, after)
        return after

    def _save(self, lease: leases.Lease, before: Probation, after: Probation) -> None:
        with self.context.database.write() as connection:
            leases.require_lease(connection, lease)
            probations.advance(connection, before, after)
            if after.state != before.state:
                subject = f"{after.model_name}/{after.version}"
                details = {"probation": after.state, "before": after.before, "reason": after.reason}
                audit_entries.append(connection, ACTOR, "probation", subject, self.context.clock(), details)


def _as_failed(probation: Probation, reason: str, now: datetime) -> Probation:
    return replace(probation, state="failed", reason=reason, decided_at=now)

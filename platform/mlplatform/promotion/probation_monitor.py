"""Compares a new champion with the version before it on new labels and latencies, and rolls it back when it is worse.

`ProbationMonitor.tick` is one look, off the alert's path: begin or end, ask, compare, decide, roll back. The version
before is asked about the answers of the last minutes, or about a part of them drawn by the hash of their input, before
anything is known of their truth; of those on which the two differ more are drawn for review. Each step is a
transaction that proves the leader's lease. A decision is written before it is carried out, and carried out in the
transaction that appends to the history of promotions, with its quarantine and its notices. So a watcher killed anywhere
leaves a step that the next one takes, once; a promotion made meanwhile ends the probation instead.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.audit import audit_entries
from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.feedback import outcomes
from mlplatform.predictions import prediction_counts, shadow_predictions
from mlplatform.predictions.review_samples import COMPARISON_PERIOD
from mlplatform.promotion import probations, promotion_history, quarantines, version_comparisons
from mlplatform.promotion.previous_version import Predictor, PreviousVersion, load_predictor
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.promotion_notices import enqueue_rollback_notice
from mlplatform.promotion.promotion_service import PromotionRequest, PromotionService, promotion_service
from mlplatform.store import leases
from mlplatform.store.database import Database
from monitors.decisions.latency_regression import LatencyRegression, find_latency_regression, latency_limits
from monitors.decisions.version_comparison import ComparisonTerms, VersionComparison
from monitors.rules.alerts_config import AlertsConfig
from monitors.windows.window import HostLatency
from pipelines.inputs.codec_of import codec_of
from registry.errors import UnknownVersionError
from registry.model_contract import Truth

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)
ACTOR: Final = "watcher/probation"
LATENCY_REFERENCE_PERIOD: Final = timedelta(days=1)
"""The last stretch of the version before's service, whose latencies count as usual."""
LOAD_GRACE_PERIOD: Final = timedelta(hours=1)
"""How long past its end a probation waits for a version before that cannot be loaded."""


@dataclass
class ProbationMonitor:
    """Watches the probation of one model's champion.

    `enqueue_notice` puts the notice about a rollback into the outbox.
    """

    rules: AlertsConfig
    clock: Clock
    database: Database
    promotions: PromotionService
    previous: PreviousVersion
    enqueue_notice: Callable[[Connection, Probation], object]
    truth: Callable[[Connection, int], Truth]
    """Of what a version's labels are the truth."""
    _last_look: tuple[object, ...] = ()

    def tick(self, lease: leases.Lease) -> Probation | None:
        """Look once; returns the probation as it stands then, None where nothing is on probation."""
        probation = self._current_probation(lease)
        if probation is None:
            self.previous.forget()
            return None
        if probation.state == "running":
            problem = self.previous.ask(lease, probation)
            after = self._evaluate(probation, problem)
            if after != probation:
                self._save(lease, probation, after)
            probation = after
        return self._roll_back(lease, probation) if probation.state == "failed" else probation

    def _current_probation(self, lease: leases.Lease) -> Probation | None:
        """The champion's probation, begun where it is due; those of versions that no longer serve are ended."""
        name, now, policy = self.rules.model, self.clock(), self.rules.probation
        with self.database.read() as connection:
            champion = promotion_history.latest_promotion(connection, name)
            if champion is None:
                return None
            open_probations = probations.list_open(connection, name)
            current = probations.find_by_promotion(connection, champion.seq)
            due = None if current is not None or not policy.period else self._new_probation(connection, champion, now)
        for probation in open_probations:
            if probation.promotion_seq != champion.seq:
                reason = f"{champion.actor} made version {champion.to_version} champion ({champion.kind})"
                self._end_probation(lease, probation, reason)
            elif not policy.period:
                self._end_probation(lease, probation, "probation was switched off in alerts.yaml")
        if due is not None:
            with self.database.write() as connection:
                leases.require_lease(connection, lease)
                probations.start(connection, due)
            log.info("version %d is on probation until %s", due.version, due.until)
            return due
        return current if current is not None and current.state in probations.OPEN_STATES and policy.period else None

    def _new_probation(
        self, connection: Connection, champion: promotion_history.Promotion, now: datetime
    ) -> Probation | None:
        """The probation that this promotion begins; a first version and a restored one are on none."""
        policy, name = self.rules.probation, champion.model_name
        if champion.kind != "promote" or now >= champion.at + policy.period:
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
            until=champion.at + policy.period,
            label_level=policy.label_level,
            latency_level=policy.latency_level,
            cursor=0,
            duel=VersionComparison().to_json(),
            latency_until=champion.at,
        )

    def _evaluate(self, probation: Probation, problem: str) -> Probation:
        """The probation after the labels and latencies that are new; it reads and writes nothing."""
        now, new, before = self.clock(), probation.version, probation.before
        after, is_settled = self._compare_labels(replace(probation, reason=problem), now)
        comparison = VersionComparison.from_json(after.duel)
        if comparison.proved_worse:
            return _as_failed(after, comparison.sentence(new, before), now)
        after, regression = self._compare_latency(after, now)
        if regression is not None:
            return _as_failed(after, regression.sentence(new, before), now)
        if after.reason and now >= after.until + LOAD_GRACE_PERIOD:  # the version before could not be asked
            return replace(after, state="ended", ended_at=now)
        if after.reason or not is_settled or now < after.until:
            return after
        return replace(after, state="passed", reason=comparison.sentence(new, before), ended_at=now)

    def _compare_labels(self, probation: Probation, now: datetime) -> tuple[Probation, bool]:
        """How the labels stand, and whether no label is waited for; nothing is computed again without need."""
        name, before = probation.model_name, probation.before
        trial_id = version_comparisons.probation_trial_id(probation.promotion_seq)
        with self.database.read() as connection:
            cursor = outcomes.last_sequence(connection, name)
            compared, _ = shadow_predictions.count_compared(connection, trial_id, now)
            look = (probation.promotion_seq, cursor, compared, (now - probation.at) // COMPARISON_PERIOD)
            if look == self._last_look and now < probation.until:
                return probation, False
            terms = ComparisonTerms(
                started_at=probation.at,
                until=probation.until,
                level=probation.label_level,
                margin=self.rules.probation.early_margin,
                mature=version_comparisons.label_maturity(connection, self.rules, [before], probation.at),
            )
            comparison, is_settled = version_comparisons.load_comparison(
                connection,
                trial_id,
                probation.version,
                terms,
                self.rules.probation.block,
                now,
                self.truth(connection, probation.version),
            )
        self._last_look = look
        return replace(probation, duel=comparison.to_json(), cursor=cursor), is_settled

    def _compare_latency(self, probation: Probation, now: datetime) -> tuple[Probation, LatencyRegression | None]:
        """Compare the newest whole window of the latency rule, once; the level is shared among all such windows."""
        rule = next((rule for rule in self.rules.rules if rule.metric == "latency_ratio"), None)
        if rule is None:
            return probation, None
        started_at, name = probation.at, probation.model_name
        end = started_at + (min(now, probation.until) - started_at) // rule.window * rule.window
        if end <= probation.latency_until:
            return probation, None
        with self.database.read() as connection:
            new = prediction_counts.latency_histograms(connection, name, probation.version, end - rule.window, end)
            usual = prediction_counts.latency_histograms(
                connection, name, probation.before, started_at - LATENCY_REFERENCE_PERIOD, started_at
            )
            stored = evaluations.load_baselines(connection, name, probation.before).get("latency", {})
        baselines = {host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in stored.items()}
        max_ratio = self.rules.probation.latency_ratio_max or rule.threshold
        windows = max(1, ceil((probation.until - started_at) / rule.window))
        level, limits = probation.latency_level / windows, latency_limits(baselines, usual)
        regression = find_latency_regression(new, limits, max_ratio, rule.min_samples, level, rule.floor_ms)
        return replace(probation, latency_until=end), regression

    def _roll_back(self, lease: leases.Lease, probation: Probation) -> Probation:
        """Roll the version back, which appends to the history once; it is tried again until that or its end."""
        name, version, before = probation.model_name, probation.version, probation.before
        with self.database.read() as connection:
            is_quarantined = before in quarantines.quarantined_versions(connection, name)
        if is_quarantined:
            return self._end_probation(
                lease, probation, f"{probation.reason} But version {before} is in quarantine itself."
            )
        reason, on_rollback = probation.reason, partial(self._on_rollback, lease, probation)
        request = PromotionRequest(
            name,
            before,
            version,
            "rollback",
            ACTOR,
            reason,
            expected_seq=probation.promotion_seq,
            in_transaction=on_rollback,
        )
        try:
            self.promotions.promote(request)
        except UnknownVersionError as error:
            return self._end_probation(lease, probation, f"{probation.reason} But it cannot be undone: {error}")
        log.warning("version %d was rolled back to version %d: %s", version, before, reason)
        with self.database.read() as connection:
            return probations.find_by_promotion(connection, probation.promotion_seq) or probation

    def _on_rollback(
        self, lease: leases.Lease, probation: Probation, connection: Connection, promotion: promotion_history.Promotion
    ) -> None:
        """What else is written with the rollback: the end of the probation, and the notices."""
        leases.require_lease(connection, lease)
        after = replace(probation, state="rolled-back", ended_at=promotion.at)
        probations.advance(connection, probation, after)
        self.enqueue_notice(connection, after)

    def _end_probation(self, lease: leases.Lease, probation: Probation, reason: str) -> Probation:
        log.warning("the probation of version %d ends: %s", probation.version, reason)
        after = replace(probation, state="ended", reason=reason, ended_at=self.clock())
        self._save(lease, probation, after)
        return after

    def _save(self, lease: leases.Lease, before: Probation, after: Probation) -> None:
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            probations.advance(connection, before, after)
            if after.state != before.state:
                subject = f"{after.model_name}/{after.version}"
                details = {"probation": after.state, "before": after.before, "reason": after.reason}
                audit_entries.append(connection, ACTOR, "probation", subject, self.clock(), details)


def _as_failed(probation: Probation, reason: str, now: datetime) -> Probation:
    return replace(probation, state="failed", reason=reason, decided_at=now)


def probation_monitor(context: AppContext, load: Callable[[int], Predictor] | None = None) -> ProbationMonitor:
    """The monitor of the model that alerts.yaml watches; `load` stands in for the registry's versions."""

    def enqueue_notice(connection: Connection, probation: Probation) -> int:
        return enqueue_rollback_notice(connection, context, probation)

    return ProbationMonitor(
        rules=context.rules,
        clock=context.clock,
        database=context.database,
        promotions=promotion_service(context),
        previous=PreviousVersion(
            codec=lambda connection, version: codec_of(
                context.contracts.of(connection, context.model_name, version).inputs
            ),
            compared_per_day=context.rules.probation.compared_per_day,
            clock=context.clock,
            database=context.database,
            load=load or partial(load_predictor, context.catalog, context.model_name, context.model_cache),
        ),
        enqueue_notice=enqueue_notice,
        truth=lambda connection, version: context.contracts.of(connection, context.model_name, version).truth,
    )

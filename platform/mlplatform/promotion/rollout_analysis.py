"""Ends the rollout of a challenger that labels or latencies show to be worse than the champion.

`RolloutAnalysis.tick` is one look of the leading watcher: at the labels of answers that both versions gave
(`monitors.decisions.version_comparison`), and for a canary at the latencies of both. Of the answers on which they
differ more are drawn for review. Servers end a rollout whose challenger fails.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.feedback import outcomes
from mlplatform.predictions import prediction_counts, review_samples, shadow_predictions
from mlplatform.predictions.review_samples import COMPARISON_PERIOD
from mlplatform.promotion import promotion_history, quarantines, rollouts, version_comparisons
from mlplatform.promotion.rollout_service import end_rollout
from mlplatform.promotion.rollouts import Rollout, RolloutState
from mlplatform.store import leases
from mlplatform.store.database import Database
from monitors.decisions.latency_regression import find_latency_regression, latency_limits
from monitors.decisions.version_comparison import ComparisonTerms, VersionComparison
from monitors.rules.alerts_config import AlertsConfig
from registry.model_contract import Truth

ACTOR: Final = "watcher/trial"
SIGNIFICANCE_LEVEL: Final = 0.01
"""The chance to end the rollout of a challenger that is as good as the champion, over all looks together."""
MAX_LATENCY_RATIO: Final = 2.0
"""So many times the champion's 95th percentile of latency is allowed."""
MIN_PREDICTIONS: Final = 200
LOOK_INTERVAL: Final = timedelta(minutes=1)
"""So often labels are compared anew: a rollout may have very many answers."""
WRITE_DELAY: Final = timedelta(minutes=1)
"""So late a server may write what a version in the shadow said."""
MAX_EVALUATIONS: Final = 10_000
"""One look at latencies is taken at this share of SIGNIFICANCE_LEVEL: a rollout may be looked at so often."""


@dataclass
class RolloutAnalysis:
    """Watches the rollout of one model's challenger."""

    rules: AlertsConfig
    clock: Clock
    database: Database
    truth: Callable[[Connection, int], Truth]
    """Of what a version's labels are the truth."""
    _last_look: tuple[object, ...] = ()
    _drawn_until: datetime | None = None

    def tick(self, lease: leases.Lease) -> Rollout | None:
        """Look once; returns the rollout as it was read, None where nothing is tried."""
        # 1. Read the rollout, the answers on which the versions differ, and a canary's latencies.
        with self.database.read() as connection:
            rollout = rollouts.running_rollout(connection, self.rules.model)
            if rollout is None:
                return None
            now = self.clock()
            champion = promotion_history.latest_promotion(connection, self.rules.model)
            is_quarantined = rollout.version in quarantines.quarantined_versions(connection, self.rules.model)
            comparison, cursor = self._compare_labels(connection, rollout, now)
            differing = shadow_predictions.differing_since(connection, rollout.id, self._draw_since(now))
            latency_problem = self._latency_problem(connection, rollout) if rollout.role == "canary" else None
        # 2. Decide.
        state: RolloutState = "failed"
        if champion is None or champion.to_version != rollout.beside:
            state, reason = "stopped", "another version is champion now"
        elif is_quarantined:
            state, reason = "stopped", "the version went into quarantine"
        elif comparison.proved_worse:
            reason = comparison.sentence(rollout.version, rollout.beside)
        else:
            reason = latency_problem or ""
        if comparison.to_json() == rollout.duel and not differing and not reason:
            return rollout
        self._drawn_until = now
        # 3. Save how the labels stand, draw among what differs, and end the rollout where there is a reason to.
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            is_saved = rollouts.save_progress(connection, rollout, cursor, comparison.to_json())
            of_champion = [record for record in differing if record.model_version == rollout.beside]
            review_samples.draw_disagreements(connection, of_champion, {record.id for record in of_champion})
            if is_saved and reason:
                end_rollout(connection, rollout, state, ACTOR, reason, self.clock())
        return rollout

    def _compare_labels(self, connection: Connection, rollout: Rollout, now: datetime) -> tuple[VersionComparison, int]:
        """How the labels stand, and the newest label's number."""
        cursor = outcomes.last_sequence(connection, self.rules.model)
        look = (rollout.id, (now - rollout.at) // LOOK_INTERVAL)
        if look == self._last_look:
            return VersionComparison.from_json(rollout.duel), cursor
        terms = ComparisonTerms(
            started_at=rollout.at,
            until=None,
            level=SIGNIFICANCE_LEVEL,
            margin=self.rules.probation.early_margin,
            mature=version_comparisons.label_maturity(connection, self.rules, [rollout.beside], rollout.at),
        )
        comparison, _ = version_comparisons.load_comparison(
            connection,
            rollout.id,
            rollout.version,
            terms,
            self.rules.probation.block,
            now,
            self.truth(connection, rollout.version),
        )
        self._last_look = look
        return comparison, cursor

    def _draw_since(self, now: datetime) -> datetime:
        """From when on answers that differ are new to the draw; what is written late is looked at twice."""
        earliest = now - COMPARISON_PERIOD
        return earliest if self._drawn_until is None else max(earliest, self._drawn_until - WRITE_DELAY)

    def _latency_problem(self, connection: Connection, rollout: Rollout) -> str | None:
        """Why a canary is too slow, in words: compared with the champion on the same hosts, in the same time."""
        now, name = self.clock(), rollout.model_name
        canary = prediction_counts.latency_histograms(connection, name, rollout.version, rollout.at, now)
        usual = prediction_counts.latency_histograms(connection, name, rollout.beside, rollout.at, now)
        level = SIGNIFICANCE_LEVEL / MAX_EVALUATIONS
        regression = find_latency_regression(
            canary, latency_limits({}, usual), MAX_LATENCY_RATIO, MIN_PREDICTIONS, level
        )
        return None if regression is None else regression.sentence(rollout.version, rollout.beside)


def rollout_analysis(context: AppContext) -> RolloutAnalysis:
    """The analysis of the rollouts of the model that alerts.yaml watches."""

    def truth(connection: Connection, version: int) -> Truth:
        return context.contracts.of(connection, context.model_name, version).truth

    return RolloutAnalysis(context.rules, context.clock, context.database, truth)


def describe_rollout(connection: Connection, rollout: Rollout) -> str:
    """How a rollout stands, in words for people."""
    comparison = VersionComparison.from_json(rollout.duel)
    answers, agree = shadow_predictions.count_agreement(connection, rollout.id)
    role = f"canary for {rollout.share:.0%} of clients" if rollout.role == "canary" else "shadow"
    about = f"version {rollout.version}, {role} beside version {rollout.beside} since {rollout.at:%Y-%m-%d %H:%M} UTC"
    both = f"{answers:,} pictures answered by both" + (f", {agree / answers:.1%} alike" if answers else "")
    ending = (
        ""
        if rollout.state == "running"
        else f" {rollout.state.capitalize()} by {rollout.ended_by}: {rollout.ended_reason}"
    )
    return f"{about}: {both}. {comparison.sentence(rollout.version, rollout.beside)}{ending}"

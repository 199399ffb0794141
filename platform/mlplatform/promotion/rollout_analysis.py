"""Ends the rollout of a challenger that labels or latencies show to be worse than the champion.

`RolloutAnalysis.tick` is one look of the leading watcher: a sequential test on labels
(`monitors.statistics.paired_test`), which may be asked after every label, and for a canary the latencies of both
versions. Servers end a rollout whose challenger fails.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from mlplatform.clock import Clock
from mlplatform.context import AppContext
from mlplatform.feedback import outcomes
from mlplatform.predictions import prediction_counts, shadow_predictions
from mlplatform.promotion import promotion_history, quarantines, rollouts
from mlplatform.promotion.rollout_service import end_rollout
from mlplatform.promotion.rollouts import Rollout, RolloutState
from mlplatform.store import leases
from mlplatform.store.database import Database
from monitors.decisions.latency_regression import find_latency_regression, latency_limits
from monitors.statistics.paired_test import PairedOutcome, PairedTest, describe_test, update_test

ACTOR: Final = "watcher/trial"
SIGNIFICANCE_LEVEL: Final = 0.01
"""The chance to end the rollout of a challenger that is as good as the champion, over all looks together."""
MAX_LATENCY_RATIO: Final = 2.0
"""So many times the champion's 95th percentile of latency is allowed."""
MIN_PREDICTIONS: Final = 200
MAX_EVALUATIONS: Final = 10_000
"""One look at latencies is taken at this share of SIGNIFICANCE_LEVEL: a rollout may be looked at so often."""
MAX_PAIRS_PER_READ: Final = 500


@dataclass(frozen=True)
class RolloutAnalysis:
    """Watches the rollout of one model's challenger."""

    model: str
    clock: Clock
    database: Database

    def tick(self, lease: leases.Lease) -> Rollout | None:
        """Look once; returns the rollout as it was read, None where nothing is tried."""
        # 1. Read the rollout, the pairs of predictions whose label is new, and a canary's latencies.
        with self.database.read() as connection:
            rollout = rollouts.running_rollout(connection, self.model)
            if rollout is None:
                return None
            champion = promotion_history.latest_promotion(connection, self.model)
            is_quarantined = rollout.version in quarantines.quarantined_versions(connection, self.model)
            pairs, cursor = shadow_predictions.labelled_pairs(
                connection, rollout.id, rollout.cursor, outcomes.ESTIMATION_SOURCES, MAX_PAIRS_PER_READ
            )
            latency_problem = self._latency_problem(connection, rollout) if rollout.role == "canary" else None
        # 2. Decide.
        outcome_pairs = [_paired_outcome(rollout, pair) for pair in pairs]
        test = update_test(PairedTest.from_json(rollout.duel), outcome_pairs, SIGNIFICANCE_LEVEL)
        state: RolloutState = "failed"
        if champion is None or champion.to_version != rollout.beside:
            state, reason = "stopped", "another version is champion now"
        elif is_quarantined:
            state, reason = "stopped", "the version went into quarantine"
        elif test.rejects(SIGNIFICANCE_LEVEL):
            reason = describe_test(test, rollout.version, rollout.beside)
        else:
            reason = latency_problem or ""
        if cursor == rollout.cursor and not reason:
            return rollout
        # 3. Save how far labels were read, and end the rollout where there is a reason to.
        with self.database.write() as connection:
            leases.require_lease(connection, lease)
            is_saved = rollouts.save_progress(connection, rollout, cursor, test.to_json())
            if is_saved and reason:
                end_rollout(connection, rollout, state, ACTOR, reason, self.clock())
        return rollout

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
    return RolloutAnalysis(context.rules.model, context.clock, context.database)


def _paired_outcome(rollout: Rollout, pair: shadow_predictions.ShadowPair) -> PairedOutcome:
    if pair.served_version == rollout.version:
        return PairedOutcome(pair.shadow_label, pair.label, pair.truth, pair.share)
    return PairedOutcome(pair.label, pair.shadow_label, pair.truth, pair.share)


def describe_rollout(connection: Connection, rollout: Rollout) -> str:
    """How a rollout stands, in words for people."""
    test = PairedTest.from_json(rollout.duel)
    answers, agree = shadow_predictions.count_agreement(connection, rollout.id)
    role = f"canary for {rollout.share:.0%} of clients" if rollout.role == "canary" else "shadow"
    about = f"version {rollout.version}, {role} beside version {rollout.beside} since {rollout.at:%Y-%m-%d %H:%M} UTC"
    both = f"{answers:,} pictures answered by both" + (f", {agree / answers:.1%} alike" if answers else "")
    ending = (
        ""
        if rollout.state == "running"
        else f" {rollout.state.capitalize()} by {rollout.ended_by}: {rollout.ended_reason}"
    )
    return f"{about}: {both}. {describe_test(test, rollout.version, rollout.beside)}{ending}"

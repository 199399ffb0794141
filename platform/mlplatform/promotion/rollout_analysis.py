"""Trials of a challenger under real traffic: begun and stopped by people, ended by what is found; it loads no model.

A shadow's answers are recorded and never returned; a canary answers a share of the clients. In both, the version that
does not answer is asked too, off the answer's path, so that labels judge both versions by the same pictures.
`Referee.round` is one look of the leading watcher: a sequential test on labels (`monitors.statistics.paired_test`),
which may be asked after every label, and for a canary the latencies of both versions. Servers end a trial whose
challenger fails.
"""

import logging
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from mlplatform.audit import audit_entries
from mlplatform.clock import uuid7
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import outcomes
from mlplatform.predictions import prediction_counts, shadow_predictions
from mlplatform.promotion import promotion_history, quarantines, rollouts
from mlplatform.promotion.rollouts import Rollout, RolloutRole, RolloutState
from mlplatform.store import leases
from monitors.decisions.latency_regression import find_latency_regression, latency_limits
from monitors.statistics.paired_test import PairedOutcome, PairedTest, describe_test, update_test

log = logging.getLogger(__name__)
ACTOR: Final = "watcher/trial"
SIGNIFICANCE_LEVEL: Final = 0.01
"""The chance to end the trial of a challenger that is as good as the champion, over all looks together."""
MAX_LATENCY_RATIO: Final = 2.0
"""So many times the champion's 95th percentile of latency is allowed."""
MIN_PREDICTIONS: Final = 200
MAX_EVALUATIONS: Final = 10_000
"""The level of one look at latencies is a share of LEVEL: a trial may be looked at so often."""
MAX_PAIRS_PER_READ: Final = 500


def begin_rollout(
    context: AppContext, version: int, role: RolloutRole, share: float, actor: str, reason: str
) -> Rollout:
    """Try a version beside the champion; servers load it at their next poll.

    Raises InvalidInputError for a share that is none, UnknownVersionError, and ConflictError without a champion, for
    the champion itself, for a version in quarantine and while another version is tried.
    """
    if role == "canary" and not 0 < share < 1:
        raise InvalidInputError(f"a canary's share of {share:g} does not fit; give one between 0 and 1, such as 0.1")
    name, now = context.pipeline.name, context.clock()
    context.catalog.version(name, version)
    with context.database.write() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        if champion is None:
            raise ConflictError("no version is champion yet, so there is nothing to try a challenger beside")
        if champion.to_version == version:
            raise ConflictError(f"version {version} is champion itself")
        if version in quarantines.quarantined_versions(connection, name):
            raise ConflictError(
                f"version {version} is in quarantine; `platform models quarantine {version} --lift` ends that"
            )
        trial = Rollout(
            id=uuid7(),
            model_name=name,
            version=version,
            beside=champion.to_version,
            role=role,
            share=share if role == "canary" else 0.0,
            state="running",
            at=now,
            actor=actor,
            reason=reason,
            cursor=outcomes.last_sequence(connection, name),
            duel=PairedTest().to_json(),
        )
        rollouts.start(connection, trial)
        details = {"share": trial.share, "beside": trial.beside, "reason": reason}
        audit_entries.append(connection, actor, f"begin-{role}", f"{name}/{version}", now, details)
    return trial


def stop_rollout(context: AppContext, version: int, role: RolloutRole, actor: str, reason: str) -> Rollout:
    """End a version's running trial; raises NotFoundError where there is none of that role."""
    with context.database.write() as connection:
        trial = rollouts.running_rollout(connection, context.pipeline.name)
        if trial is None or (trial.version, trial.role) != (version, role):
            raise NotFoundError(f"version {version} is no {role}; `platform models list` shows what is tried")
        end_rollout(connection, context, trial, "stopped", actor, reason)
        return rollouts.latest_rollout(connection, trial.model_name) or trial


def end_rollout(
    connection: Connection, context: AppContext, rollout: Rollout, state: RolloutState, actor: str, reason: str
) -> bool:
    """End a trial with its entry in the audit log; returns whether it ran still."""
    now = context.clock()
    ended = rollouts.end_rollout(connection, rollout, state, actor, reason, now)
    if ended:
        subject, details = f"{rollout.model_name}/{rollout.version}", {"state": state, "reason": reason}
        audit_entries.append(connection, actor, f"end-{rollout.role}", subject, now, details)
        log.warning("the trial of version %d (%s) has ended: %s", rollout.version, rollout.role, reason)
    return ended


@dataclass(frozen=True)
class RolloutAnalysis:
    """Looks after the trial of one model's challenger."""

    context: AppContext

    def tick(self, lease: leases.Lease) -> Rollout | None:
        """One look; returns the trial as it was read, None where nothing is tried."""
        name = self.context.rules.model
        with self.context.database.read() as connection:
            trial = rollouts.running_rollout(connection, name)
            if trial is None:
                return None
            champion = promotion_history.latest_promotion(connection, name)
            barred = trial.version in quarantines.quarantined_versions(connection, name)
            found, cursor = shadow_predictions.labelled_pairs(
                connection, trial.id, trial.cursor, outcomes.ESTIMATION_SOURCES, MAX_PAIRS_PER_READ
            )
            late = self._latency_problem(connection, trial) if trial.role == "canary" else None
        duel = update_test(
            PairedTest.from_json(trial.duel), [_paired_outcome(trial, pair) for pair in found], SIGNIFICANCE_LEVEL
        )
        state: RolloutState = "failed"
        if champion is None or champion.to_version != trial.beside:
            state, reason = "stopped", "another version is champion now"
        elif barred:
            state, reason = "stopped", "the version went into quarantine"
        elif duel.rejects(SIGNIFICANCE_LEVEL):
            reason = describe_test(duel, trial.version, trial.beside)
        else:
            reason = late or ""
        if cursor == trial.cursor and not reason:
            return trial
        with self.context.database.write() as connection:
            leases.require_lease(connection, lease)
            moved = rollouts.save_progress(connection, trial, cursor, duel.to_json())
            if moved and reason:
                end_rollout(connection, self.context, trial, state, ACTOR, reason)
        return trial

    def _latency_problem(self, connection: Connection, rollout: Rollout) -> str | None:
        """Why a canary is too slow, in words: its answers beside the champion's on the same hosts, in the same time."""
        now, name = self.context.clock(), rollout.model_name
        seen = prediction_counts.latency_histograms(connection, name, rollout.version, rollout.at, now)
        usual = prediction_counts.latency_histograms(connection, name, rollout.beside, rollout.at, now)
        found = find_latency_regression(
            seen, latency_limits({}, usual), MAX_LATENCY_RATIO, MIN_PREDICTIONS, SIGNIFICANCE_LEVEL / MAX_EVALUATIONS
        )
        return None if found is None else found.sentence(rollout.version, rollout.beside)


def _paired_outcome(rollout: Rollout, pair: shadow_predictions.ShadowPair) -> PairedOutcome:
    if pair.served_version == rollout.version:
        return PairedOutcome(pair.shadow_label, pair.label, pair.truth, pair.share)
    return PairedOutcome(pair.label, pair.shadow_label, pair.truth, pair.share)


def describe_rollout(connection: Connection, rollout: Rollout) -> str:
    """How a trial stands, in words for people."""
    known = PairedTest.from_json(rollout.duel)
    answers, agree = shadow_predictions.count_agreement(connection, rollout.id)
    role = f"canary for {rollout.share:.0%} of clients" if rollout.role == "canary" else "shadow"
    begun = f"version {rollout.version}, {role} beside version {rollout.beside} since {rollout.at:%Y-%m-%d %H:%M} UTC"
    both = f"{answers:,} pictures answered by both" + (f", {agree / answers:.1%} alike" if answers else "")
    ending = (
        ""
        if rollout.state == "running"
        else f" {rollout.state.capitalize()} by {rollout.ended_by}: {rollout.ended_reason}"
    )
    return f"{begun}: {both}. {describe_test(known, rollout.version, rollout.beside)}{ending}"

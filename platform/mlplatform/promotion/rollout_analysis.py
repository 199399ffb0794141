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
from mlplatform.clock import new_id
from mlplatform.context import Parts
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import outcomes
from mlplatform.predictions import prediction_counts, shadow_predictions
from mlplatform.promotion import promotion_history, quarantines, rollouts
from mlplatform.promotion.rollouts import Role, State, Trial
from mlplatform.store import leases
from monitors.decisions.latency_regression import paces, slower
from monitors.statistics.paired_test import Bout, Duel, describe, fight

log = logging.getLogger(__name__)
ACTOR: Final = "watcher/trial"
LEVEL: Final = 0.01
"""The chance to end the trial of a challenger that is as good as the champion, over all looks together."""
SLOWER: Final = 2.0
"""So many times the champion's 95th percentile of latency is allowed."""
LEAST_ANSWERS: Final = 200
LOOKS: Final = 10_000
"""The level of one look at latencies is a share of LEVEL: a trial may be looked at so often."""
AT_ONCE: Final = 500


def begin_trial(parts: Parts, version: int, role: Role, share: float, actor: str, reason: str) -> Trial:
    """Try a version beside the champion; servers load it at their next poll.

    Raises InvalidInputError for a share that is none, UnknownVersionError, and ConflictError without a champion, for
    the champion itself, for a version in quarantine and while another version is tried.
    """
    if role == "canary" and not 0 < share < 1:
        raise InvalidInputError(f"a canary's share of {share:g} does not fit; give one between 0 and 1, such as 0.1")
    name, now = parts.family.name, parts.clock()
    parts.catalog.version(name, version)
    with parts.database.write() as connection:
        champion = promotion_history.latest(connection, name)
        if champion is None:
            raise ConflictError("no version is champion yet, so there is nothing to try a challenger beside")
        if champion.to_version == version:
            raise ConflictError(f"version {version} is champion itself")
        if version in quarantines.current(connection, name):
            raise ConflictError(
                f"version {version} is in quarantine; `platform models quarantine {version} --lift` ends that"
            )
        trial = Trial(
            id=new_id(),
            model_name=name,
            version=version,
            beside=champion.to_version,
            role=role,
            share=share if role == "canary" else 0.0,
            state="running",
            at=now,
            actor=actor,
            reason=reason,
            cursor=outcomes.newest_number(connection, name),
            duel=Duel().to_json(),
        )
        rollouts.begin(connection, trial)
        details = {"share": trial.share, "beside": trial.beside, "reason": reason}
        audit_entries.note(connection, actor, f"begin-{role}", f"{name}/{version}", now, details)
    return trial


def stop_trial(parts: Parts, version: int, role: Role, actor: str, reason: str) -> Trial:
    """End a version's running trial; raises NotFoundError where there is none of that role."""
    with parts.database.write() as connection:
        trial = rollouts.current(connection, parts.family.name)
        if trial is None or (trial.version, trial.role) != (version, role):
            raise NotFoundError(f"version {version} is no {role}; `platform models list` shows what is tried")
        end_trial(connection, parts, trial, "stopped", actor, reason)
        return rollouts.newest(connection, trial.model_name) or trial


def end_trial(connection: Connection, parts: Parts, trial: Trial, state: State, actor: str, reason: str) -> bool:
    """End a trial with its entry in the audit log; returns whether it ran still."""
    now = parts.clock()
    ended = rollouts.end(connection, trial, state, actor, reason, now)
    if ended:
        subject, details = f"{trial.model_name}/{trial.version}", {"state": state, "reason": reason}
        audit_entries.note(connection, actor, f"end-{trial.role}", subject, now, details)
        log.warning("the trial of version %d (%s) has ended: %s", trial.version, trial.role, reason)
    return ended


@dataclass(frozen=True)
class Referee:
    """Looks after the trial of one model's challenger."""

    parts: Parts

    def round(self, lease: leases.Lease) -> Trial | None:
        """One look; returns the trial as it was read, None where nothing is tried."""
        name = self.parts.rules.model
        with self.parts.database.read() as connection:
            trial = rollouts.current(connection, name)
            if trial is None:
                return None
            champion = promotion_history.latest(connection, name)
            barred = trial.version in quarantines.current(connection, name)
            found, cursor = shadow_predictions.pairs(connection, trial.id, trial.cursor, outcomes.ESTIMATING, AT_ONCE)
            late = self._late(connection, trial) if trial.role == "canary" else None
        duel = fight(Duel.from_json(trial.duel), [_bout(trial, pair) for pair in found], LEVEL)
        state: State = "failed"
        if champion is None or champion.to_version != trial.beside:
            state, reason = "stopped", "another version is champion now"
        elif barred:
            state, reason = "stopped", "the version went into quarantine"
        elif duel.proves(LEVEL):
            reason = describe(duel, trial.version, trial.beside)
        else:
            reason = late or ""
        if cursor == trial.cursor and not reason:
            return trial
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            moved = rollouts.advance(connection, trial, cursor, duel.to_json())
            if moved and reason:
                end_trial(connection, self.parts, trial, state, ACTOR, reason)
        return trial

    def _late(self, connection: Connection, trial: Trial) -> str | None:
        """Why a canary is too slow, in words: its answers beside the champion's on the same hosts, in the same time."""
        now, name = self.parts.clock(), trial.model_name
        seen = prediction_counts.latency(connection, name, trial.version, trial.at, now)
        usual = prediction_counts.latency(connection, name, trial.beside, trial.at, now)
        found = slower(seen, paces({}, usual), SLOWER, LEAST_ANSWERS, LEVEL / LOOKS)
        return None if found is None else found.sentence(trial.version, trial.beside)


def _bout(trial: Trial, pair: shadow_predictions.Pair) -> Bout:
    if pair.served == trial.version:
        return Bout(pair.shadow_label, pair.label, pair.truth, pair.share)
    return Bout(pair.label, pair.shadow_label, pair.truth, pair.share)


def told(connection: Connection, trial: Trial) -> str:
    """How a trial stands, in words for people."""
    known = Duel.from_json(trial.duel)
    answers, agree = shadow_predictions.counted(connection, trial.id)
    role = f"canary for {trial.share:.0%} of clients" if trial.role == "canary" else "shadow"
    begun = f"version {trial.version}, {role} beside version {trial.beside} since {trial.at:%Y-%m-%d %H:%M} UTC"
    both = f"{answers:,} pictures answered by both" + (f", {agree / answers:.1%} alike" if answers else "")
    ending = (
        "" if trial.state == "running" else f" {trial.state.capitalize()} by {trial.ended_by}: {trial.ended_reason}"
    )
    return f"{begun}: {both}. {describe(known, trial.version, trial.beside)}{ending}"

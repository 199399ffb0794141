"""Begins, stops and ends the rollout of a challenger beside the champion, with an entry in the audit log each.

A shadow's predictions are recorded and never returned; a canary predicts for a share of the clients. In both, the
version that does not answer predicts too, off the request's path: labels judge both versions by the same inputs.
"""

import logging
from datetime import datetime

from sqlalchemy import Connection

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback import outcomes
from mlplatform.ids import uuid7
from mlplatform.promotion import approvals, promotion_history, quarantines, rollouts
from mlplatform.promotion.rollouts import Rollout, RolloutRole, RolloutState
from monitors.decisions.version_comparison import VersionComparison
from registry.model_contract import same_rows

log = logging.getLogger(__name__)


def begin_rollout(
    context: AppContext,
    version: int,
    role: RolloutRole,
    share: float,
    actor: str,
    reason: str,
    *,
    seen: int | None = None,
    force: bool = False,
) -> Rollout:
    """Try a version beside the champion; servers load it at their next poll.

    `seen` is the champion that whoever asks looked at. A canary answers clients, so one that the gate did not pass, or
    that waits for approval, must be forced; a shadow answers nobody. Raises InvalidInputError for a share that is none,
    UnknownVersionError, and ConflictError without a champion or beside another than the one seen, for the champion
    itself, for a version in quarantine, for a canary that must be forced, and while another version is tried.
    """
    if role == "canary" and not 0 < share < 1:
        raise InvalidInputError(f"a canary's share of {share:g} does not fit; give one between 0 and 1, such as 0.1")
    name, now = context.model_name, context.clock()
    gate = context.catalog.version(name, version).tags.get("gate", "unknown")
    with context.database.read() as connection:
        contract = context.contracts.of(connection, name, version)
    with context.database.write() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        if champion is None:
            raise ConflictError("no version is champion yet, so there is nothing to try a challenger beside")
        if champion.to_version == version:
            raise ConflictError(f"version {version} is champion itself")
        if seen is not None and seen != champion.to_version:
            raise ConflictError(
                f"version {champion.to_version} is champion now, and version {seen} was when the page was made; load "
                "it again, and decide again"
            )
        if version in quarantines.quarantined_versions(connection, name):
            raise ConflictError(
                f"version {version} is in quarantine; `platform models quarantine {version} --lift` ends that"
            )
        if not same_rows(contract.inputs, context.contracts.of(connection, name, champion.to_version).inputs):
            raise ConflictError(
                f"version {version} takes other inputs than champion {champion.to_version}: no request can be answered "
                "by both; promote it with `platform models promote`"
            )
        objections = _objections(connection, name, version, gate) if role == "canary" else []
        if objections and not force:
            raise ConflictError(
                f"{' and '.join(objections)}, and a canary answers clients; try it with `platform models shadow "
                f"{version}`, or use --force to let it answer all the same"
            )
        context.contracts.pin(connection, contract, name, version, now)
        rollout = Rollout(
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
            duel=VersionComparison().to_json(),
        )
        rollouts.start(connection, rollout)
        details: dict[str, object] = {"share": rollout.share, "beside": rollout.beside, "reason": reason}
        if objections:
            details["forced_although"] = objections
        audit_entries.append(connection, actor, f"begin-{role}", f"{name}/{version}", now, details)
    return rollout


def _objections(connection: Connection, name: str, version: int, gate: str) -> list[str]:
    """Why a version should answer no client yet; the approval is locked until the transaction ends."""
    found = []
    if gate != "promote":
        found.append(f"the gate's verdict on version {version} is {gate!r}")
    waiting = approvals.find_waiting(connection, name, lock=True)
    if waiting is not None and waiting.version == version:
        found.append(f"version {version} waits for approval")
    return found


def replace_shadow(context: AppContext, version: int, actor: str, reason: str) -> Rollout:
    """Try a version in the shadow, in place of that of an earlier retraining; raises as `begin_rollout`."""
    with context.database.write() as connection:
        running = rollouts.running_rollout(connection, context.model_name)
        if running is not None and running.role == "shadow" and running.actor.startswith("retraining/"):
            end_rollout(connection, running, "stopped", actor, f"version {version} is newer", context.clock())
    return begin_rollout(context, version, "shadow", 0.0, actor, reason)


def stop_rollout(context: AppContext, version: int, role: RolloutRole, actor: str, reason: str) -> Rollout:
    """End a version's running rollout; raises NotFoundError where there is none of that role."""
    with context.database.write() as connection:
        rollout = rollouts.running_rollout(connection, context.model_name)
        if rollout is None or (rollout.version, rollout.role) != (version, role):
            raise NotFoundError(f"version {version} is no {role}; `platform models list` shows what is tried")
        end_rollout(connection, rollout, "stopped", actor, reason, context.clock())
        return rollouts.latest_rollout(connection, rollout.model_name) or rollout


def end_rollout(
    connection: Connection, rollout: Rollout, state: RolloutState, actor: str, reason: str, now: datetime
) -> bool:
    """End a rollout with its entry in the audit log; returns whether it still ran."""
    ended = rollouts.end_rollout(connection, rollout, state, actor, reason, now)
    if ended:
        subject, details = f"{rollout.model_name}/{rollout.version}", {"state": state, "reason": reason}
        audit_entries.append(connection, actor, f"end-{rollout.role}", subject, now, details)
        log.warning("the trial of version %d (%s) has ended: %s", rollout.version, rollout.role, reason)
    return ended

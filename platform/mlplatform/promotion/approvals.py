"""Stores approvals: candidates that passed the gate and wait for a person to promote them, one at a time per model.

waiting → approved | rejected | expired | superseded (a newer candidate, or another champion, took its place).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select, update

from mlplatform.audit import audit_entries
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.promotion.promotion_history import latest_promotion, promotion_lease_name
from mlplatform.store import leases
from mlplatform.store.tables.promotion import approvals
from mlplatform.store.tables.retraining import retrainings

ApprovalState = Literal["waiting", "approved", "rejected", "expired", "superseded"]
_AUDIT_ACTIONS: Final[Mapping[str, str]] = {
    "rejected": "reject",
    "expired": "expire-approval",
    "superseded": "supersede-approval",
}


@dataclass(frozen=True)
class Approval:
    """One candidate's wait for a person; `champion` is the version that the gate compared it with."""

    id: str
    model_name: str
    version: int
    champion: int | None
    state: ApprovalState
    reason: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    retraining_id: str | None
    verdict: dict[str, Any] | None
    decided_at: datetime | None = None
    decided_by: str = ""
    comment: str = ""


def request(connection: Connection, approval: Approval) -> None:
    """Let a candidate wait; one of the same model that waits already is superseded by it.

    Raises ConflictError where the champion is no longer the one it was compared with: nobody could approve it.
    """
    leases.lock_name(connection, promotion_lease_name(approval.model_name), approval.requested_at)
    current = latest_promotion(connection, approval.model_name)
    champion = None if current is None else current.to_version
    if champion != approval.champion:
        raise ConflictError(
            f"{approval.model_name}: the champion is version {champion}, and version {approval.version} was compared "
            f"with version {approval.champion}; train again"
        )
    earlier = find_waiting(connection, approval.model_name, lock=True)
    if earlier is not None:
        comment = f"version {approval.version} passed the gate after it"
        decide(connection, earlier, "superseded", approval.requested_by, comment, approval.requested_at)
    connection.execute(insert(approvals).values(dict(vars(approval))))


def find_waiting(connection: Connection, model_name: str, *, lock: bool = False) -> Approval | None:
    """The candidate of a model that waits; `lock` keeps others from deciding it until this transaction ends."""
    query = select(approvals).where(approvals.c.model_name == model_name, approvals.c.state == "waiting")
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Approval(**row._mapping)


def require_waiting(
    connection: Connection, model_name: str, version: int, now: datetime, *, lock: bool = False
) -> Approval:
    """The approval that this version waits for; `lock` as in `find_waiting`.

    Raises NotFoundError where the version waits for none, ConflictError where the time to decide is over.
    """
    approval = find_waiting(connection, model_name, lock=lock)
    if approval is None or approval.version != version:
        waiting = "no version waits" if approval is None else f"version {approval.version} does"
        raise NotFoundError(
            f"version {version} of {model_name} does not wait for an approval ({waiting}); `platform models list`"
        )
    if approval.expires_at <= now:
        raise ConflictError(
            f"the approval of version {version} expired on {approval.expires_at:%Y-%m-%d %H:%M} UTC: what the gate saw "
            "is old; retrain, or promote it by hand with `platform models promote`"
        )
    return approval


def find(connection: Connection, approval_id: str) -> Approval:
    """The approval of that id, waiting or decided."""
    return Approval(**connection.execute(select(approvals).where(approvals.c.id == approval_id)).one()._mapping)


def latest_approvals(connection: Connection, model_name: str, limit: int = 20) -> list[Approval]:
    """The newest approvals of a model, newest first, waiting or decided."""
    query = select(approvals).where(approvals.c.model_name == model_name).order_by(approvals.c.id.desc()).limit(limit)
    return [Approval(**row._mapping) for row in connection.execute(query)]


def retrainings_without_decision(connection: Connection, model_name: str) -> set[str]:
    """The retrainings whose candidates wait for a person, or were superseded before anybody decided."""
    query = select(approvals.c.retraining_id).where(
        approvals.c.model_name == model_name, approvals.c.state.in_(("waiting", "superseded"))
    )
    return {key for key in connection.scalars(query) if key is not None}


def decide(
    connection: Connection, approval: Approval, state: ApprovalState, actor: str, comment: str, now: datetime
) -> None:
    """End the wait, with what that makes of the candidate's retraining; the caller holds the approval.

    The audit log has an entry of every ending but an approval, which has that of the promotion.
    """
    decision: Mapping[str, Any] = {"state": state, "decided_at": now, "decided_by": actor, "comment": comment}
    connection.execute(update(approvals).where(approvals.c.id == approval.id).values(decision))
    is_approved = state == "approved"
    why = None if is_approved else f"version {approval.version} was {state} ({actor}): {comment}"
    outcome = {"promoted": is_approved, "error": why}
    connection.execute(update(retrainings).where(retrainings.c.id == approval.retraining_id).values(outcome))
    if not is_approved:
        subject = f"{approval.model_name}/{approval.version}"
        audit_entries.append(connection, actor, _AUDIT_ACTIONS[state], subject, now, {"comment": comment})


def close_by_promotion(connection: Connection, model_name: str, version: int, actor: str, now: datetime) -> None:
    """End the wait where a version became champion: approved where it is the one that waited, else superseded."""
    approval = find_waiting(connection, model_name, lock=True)
    if approval is None:
        return
    if approval.version == version:
        decide(connection, approval, "approved", actor, "", now)
    else:
        comment = f"version {version} became champion: the gate compared with version {approval.champion}"
        decide(connection, approval, "superseded", actor, comment, now)

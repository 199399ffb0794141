"""Retrainings that brought nothing, told to people once each, with what became of the labels; it judges none."""

from collections.abc import Sequence

from sqlalchemy import Connection

from mlplatform.alerting.notifications import post_alone
from mlplatform.context import Parts
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.label_use import sentence_of
from monitors.notices.unsuccessful_retraining_notice import Stall


def post_stall(connection: Connection, parts: Parts, streak: Sequence[str]) -> int:
    """Put a notice about the newest of a streak of useless retrainings into the outbox; returns how many are new."""
    row = retraining_queue.find(connection, streak[0])
    notice = stall_of(parts, row, len(streak))
    return post_alone(connection, parts, notice, row.finished_at or parts.clock())


def stall_of(parts: Parts, row: retraining_queue.Retraining, streak: int) -> Stall:
    """What to say about a retraining that brought nothing."""
    verdict, base = row.verdict or {}, parts.settings.public_url.rstrip("/")
    reasons = [str(each) for each in verdict.get("reasons", ())] or [row.error or f"the retraining {row.state}"]
    return Stall(
        model=row.pipeline,
        retraining=row.id,
        outcome="rolled back" if row.promoted else str(verdict.get("outcome", row.state)),
        reasons=tuple(reasons),
        labels=sentence_of(verdict),
        streak=streak,
        breaker=parts.rules.retraining.breaker,
        at=row.finished_at or parts.clock(),
        links={"Dashboard": f"{base}/"} if base else {},
        idempotency_key=f"retraining-useless-{row.id}",
        candidate=row.candidate_version,
    )

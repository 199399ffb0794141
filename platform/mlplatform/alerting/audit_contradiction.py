"""The alarm for people when the audit log contradicts its anchors: a notice a day on each channel; it mends nothing."""

from hashlib import sha256

from mlplatform.alerting.notifications import enqueue_notice
from mlplatform.audit.checkpoints import AuditError, CheckpointWriter
from mlplatform.context import AppContext
from mlplatform.store import leases
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice


def write_checkpoint_or_notify(context: AppContext, checkpoint_writer: CheckpointWriter, lease: leases.Lease) -> None:
    """Take an anchor; where that is refused, put a notice into the outbox and raise the AuditError again."""
    now = context.clock()
    try:
        checkpoint_writer.write(now)
    except AuditError as error:
        if error.faults:
            base = context.settings.public_url.rstrip("/")
            named = sha256(error.faults[0].encode()).hexdigest()[:16]
            notice = AuditContradictionNotice(
                model=context.pipeline.name,
                contradictions=error.faults,
                at=now,
                links={"Dashboard": f"{base}/"} if base else {},
                idempotency_key=f"audit-contradiction-{context.pipeline.name}-{named}-{now:%Y%m%d}",
            )
            with context.database.write() as connection:
                leases.require_lease(connection, lease)
                enqueue_notice(connection, context, notice, now)
        raise

"""Notifies people, once a day on each channel, when the audit log contradicts its signed checkpoints."""

from hashlib import sha256

from mlplatform.alerting.links import dashboard_links
from mlplatform.alerting.notifications import enqueue_notice
from mlplatform.audit.checkpoints import AuditError, CheckpointWriter
from mlplatform.context import AppContext
from mlplatform.store import leases
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice


def write_checkpoint_or_notify(context: AppContext, checkpoint_writer: CheckpointWriter, lease: leases.Lease) -> None:
    """Write a checkpoint; where the log contradicts one, enqueue a notice and raise the AuditError again."""
    now = context.clock()
    try:
        checkpoint_writer.write(now)
    except AuditError as error:
        if error.faults:
            digest = sha256(error.faults[0].encode()).hexdigest()[:16]
            notice = AuditContradictionNotice(
                model=context.model_name,
                contradictions=error.faults,
                at=now,
                links=dashboard_links(context.settings.public_url),
                idempotency_key=f"audit-contradiction-{context.model_name}-{digest}-{now:%Y%m%d}",
            )
            with context.database.write() as connection:
                leases.require_lease(connection, lease)
                enqueue_notice(connection, context, notice, now)
        raise

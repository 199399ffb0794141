"""The alarm for people when the audit log contradicts its anchors: a notice a day on each channel; it mends nothing."""

from hashlib import sha256

from mlplatform.alerting.notifications import post_alone
from mlplatform.audit.checkpoints import Anchoring, AuditError
from mlplatform.context import Parts
from mlplatform.store import leases
from monitors.notices.audit_contradiction_notice import Tampering


def anchor_or_alarm(parts: Parts, anchoring: Anchoring, lease: leases.Lease) -> None:
    """Take an anchor; where that is refused, put a notice into the outbox and raise the AuditError again."""
    now = parts.clock()
    try:
        anchoring.take(now)
    except AuditError as error:
        if error.faults:
            base = parts.settings.public_url.rstrip("/")
            named = sha256(error.faults[0].encode()).hexdigest()[:16]
            notice = Tampering(
                model=parts.family.name,
                faults=error.faults,
                at=now,
                links={"Dashboard": f"{base}/"} if base else {},
                idempotency_key=f"audit-contradiction-{parts.family.name}-{named}-{now:%Y%m%d}",
            )
            with parts.database.write() as connection:
                leases.prove(connection, lease)
                post_alone(connection, parts, notice, now)
        raise

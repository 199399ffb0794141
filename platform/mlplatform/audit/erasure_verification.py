"""Decides which missing predictions were erased on purpose, from the erasures that the audit log claims.

Retention removes predictions made before a moment that is past, and never one with a label; a person's request names
each prediction. Claims that contradict time, labels or counts are faults and prove nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from mlplatform.audit import audit_entries, prediction_attestation
from mlplatform.audit.checkpoint_verification import LatestWriteTimes
from mlplatform.audit.verification_report import ReportFault, parse_time
from mlplatform.store.tables.audit import audit_log

CLOCK_SKEW: Final = timedelta(hours=1)
"""The clocks of two hosts, or of one that was set right, differ by less."""
TIME_TOLERANCE: Final = timedelta(minutes=5)
"""Two times that one process wrote into one entry differ by less."""
LABEL_ACTION: Final = "feedback"


@dataclass
class ErasureClaims:
    """The claims that can be believed: predictions by id, and all unlabelled ones before a moment, so many of them."""

    now: datetime
    latest_times: LatestWriteTimes
    entry_by_prediction: dict[str, int] = field(default_factory=dict)
    before: datetime | None = None
    before_uncounted: datetime | None = None
    claimed_predictions: int = 0
    missing_predictions: int = 0

    def add(self, stored: audit_entries.StoredEntry, report_fault: ReportFault) -> None:
        """Add the claim of an entry; one that contradicts time is a fault and proves nothing."""
        number, entry = stored.number or 0, stored.entry
        until, moment = self.latest_times.latest_for(number), parse_time(entry.details.get("before"))
        count, ids = entry.details.get("answers"), entry.details.get("ids")
        erasure = f"audit log: erasure {number} by {entry.actor} of {entry.at:%F %T}"
        if entry.at > self.now + CLOCK_SKEW:
            report_fault(f"{erasure}: that time has not come yet")
        elif until is not None and entry.at > until + CLOCK_SKEW:
            report_fault(f"{erasure}: it was anchored before that, at {until:%F %T}")
        elif moment is not None and moment > entry.at + TIME_TOLERANCE:
            report_fault(f"{erasure}: it removes what is before {moment:%F %T}, which is later than itself")
        elif moment is not None and self.before is not None and not isinstance(count, int):
            report_fault(f"{erasure}: it does not tell how many it removes, as those before it do")
        else:
            self.entry_by_prediction |= {str(key): number for key in (ids if isinstance(ids, list) else ())}
            if moment is not None and isinstance(count, int):
                self.claimed_predictions += count
                self.before = _later(self.before, moment)
            elif moment is not None:  # entries of older versions do not tell how many
                self.before_uncounted = _later(self.before_uncounted, moment)

    def count_erased(
        self,
        connection: Connection,
        missing: Collection[str],
        batch: prediction_attestation.AttestationBatch,
        report_fault: ReportFault,
    ) -> int:
        """Report the missing predictions of a batch that were not erased on purpose; returns how many were."""
        labelled = _last_label_entries(connection, missing)
        place, erased = f"(chain {batch.chain}, batch {batch.number})", 0
        for prediction_id in missing:
            entry = self.entry_by_prediction.get(prediction_id)
            if entry is not None and labelled.get(prediction_id, 0) > entry:
                report_fault(f"prediction {prediction_id} got a label after erasure {entry}, and was removed {place}")
            elif entry is None and not self._is_expired(batch):
                report_fault(f"prediction {prediction_id} was removed {place}")
            elif entry is None and prediction_id in labelled:
                report_fault(
                    f"prediction {prediction_id} had a label, which retention never removes, and was removed {place}"
                )
            else:
                erased += 1
                uncounted = self.before_uncounted is not None and batch.oldest < self.before_uncounted
                self.missing_predictions += entry is None and not uncounted
        return erased

    def check_totals(self, report_fault: ReportFault) -> None:
        """Check the number of missing predictions against how many retention says it removed."""
        if self.missing_predictions > self.claimed_predictions:
            report_fault(
                f"{self.missing_predictions} old predictions are gone, and the audit log's retention "
                f"removed {self.claimed_predictions}"
            )

    def _is_expired(self, batch: prediction_attestation.AttestationBatch) -> bool:
        return any(moment is not None and batch.oldest < moment for moment in (self.before, self.before_uncounted))


def _last_label_entries(connection: Connection, ids: Collection[str]) -> dict[str, int]:
    """The predictions that the log says were labelled, with the number of the last such entry."""
    query = select(audit_log.c.subject, audit_log.c.number).where(
        audit_log.c.subject.in_([f"prediction/{key}" for key in ids]), audit_log.c.action == LABEL_ACTION
    )
    labelled: dict[str, int] = {}
    for row in connection.execute(query):
        key = row.subject.removeprefix("prediction/")
        labelled[key] = max(labelled.get(key, 0), row.number or 0)
    return labelled


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)

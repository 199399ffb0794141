"""Accepts labels that arrive by HTTP: all of a request or none, checked against the model's classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mlplatform.auth.caller import ANONYMOUS, Caller
from mlplatform.context import AppContext
from mlplatform.errors import BusyError, InvalidInputError, NotFoundError, StoreUnavailableError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import FeedbackReceipt
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.predictions import prediction_records
from mlplatform.recording.recorder import Recorder
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from mlplatform.serve.schemas import FeedbackOut
from mlplatform.store.label_rules import LabelRules

FLUSH_TIMEOUT_SECONDS: Final = 1.0
MAX_CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class FeedbackService:
    """Writes the labels of one server's requests."""

    context: AppContext
    recorder: Recorder
    metrics: ServerMetrics

    def accept(self, items: Sequence[FeedbackIn], caller: Caller = ANONYMOUS) -> list[FeedbackOut]:
        """Take all labels or none, as the caller's where no reviewer is named.

        A prediction answered a moment ago is waited for; the label of one that waits in a spool waits as well, where it
        is named by its id. Raises InvalidInputError for a label that is no class or lies in the future, NotFoundError
        for an unknown prediction, BusyError for an unknown reference while predictions are still being written.
        """
        latest = self.context.clock() + MAX_CLOCK_SKEW
        with self.context.database.read() as connection:
            rules = self.context.contracts.label_rules(connection, self.context.model_name)
        for item in items:
            if refusal := rules.refusal(item.label, f"prediction {item.prediction_id or item.reference}"):
                raise InvalidInputError(refusal)
            if item.at is not None and item.at > latest:  # nothing given later could supersede it
                raise InvalidInputError(
                    f"label for prediction {item.prediction_id or item.reference} is given at {item.at}, in the future"
                )
        try:
            return self._record(items, caller, rules)
        except NotFoundError:
            is_written = self.recorder.flush(FLUSH_TIMEOUT_SECONDS)
        try:
            return self._record(items, caller, rules, wait=True)
        except NotFoundError as error:
            if is_written or not any(item.reference for item in items):
                raise
            raise BusyError(f"{error}; predictions are still being written: send the labels again") from error

    def _record(
        self, items: Sequence[FeedbackIn], caller: Caller, rules: LabelRules, *, wait: bool = False
    ) -> list[FeedbackOut]:
        now, ids = self.context.clock(), self._referenced_ids(items)
        labels = [
            label_records.SubmittedLabel(
                item.prediction_id or ids[item.reference],
                rules.canonical(item.label) or item.label,
                item.source,
                item.reviewer or caller.name,
                item.at or now,
                item.idempotency_key,
                caller.name,
            )
            for item in items
        ]
        receipts = record_labels(self.context, labels, caller.key_id, wait=wait)
        self._observe_label_lags(items, receipts)
        return [FeedbackOut(**vars(receipt)) for receipt in receipts]

    def _referenced_ids(self, items: Sequence[FeedbackIn]) -> dict[str, str]:
        """The predictions that the items name by reference; raises NotFoundError for a reference without one."""
        references = {item.reference for item in items if item.reference}
        if not references:
            return {}
        with self.context.database.read() as connection:
            ids = prediction_records.find_references(connection, self.context.model_name, references)
        if unknown := references - ids.keys():
            raise NotFoundError(
                f"no prediction with the reference {min(unknown)!r} is recorded; nothing was taken. References are "
                "those of POST /v1/predict; a prediction of the last moments may still be on its way"
            )
        return ids

    def _observe_label_lags(self, items: Sequence[FeedbackIn], receipts: Sequence[FeedbackReceipt]) -> None:
        """Count how long after its prediction each new label came."""
        now = self.context.clock()
        sources = {
            receipt.prediction_id: item.source
            for item, receipt in zip(items, receipts, strict=True)
            if receipt.outcome == "recorded"
        }
        try:
            with self.context.database.read() as connection:
                times = prediction_records.prediction_times(connection, sources)
        except StoreUnavailableError:  # the labels are taken: a number less must not look like a refusal
            return
        for prediction_id, at in times.items():
            self.metrics.observe_label_lag(sources[prediction_id], max(0.0, (now - at).total_seconds()))

"""Carries out what people decide on candidates that wait for an approval, with their name in the audit log."""

from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.operations.operator_actions import check_note
from mlplatform.promotion import approvals
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining.approval_requests import reject_approval


def approve_version(context: AppContext, version: int, actor: str, comment: str = "") -> Promotion:
    """Make the candidate that waits champion, on a person's word.

    Raises NotFoundError where it does not wait, ConflictError where its time is over or another champion came first,
    InvalidInputError for a comment that is too long.
    """
    comment, now = check_note(comment), context.clock()
    with context.database.read() as connection:
        approval = approvals.require_waiting(connection, context.model_name, version, now)

    def record(connection: Connection) -> None:
        waiting = approvals.require_waiting(connection, context.model_name, version, context.clock(), lock=True)
        approvals.decide(connection, waiting, "approved", actor, comment, context.clock())

    return promotion_service(context).promote(
        PromotionRequest(
            context.model_name,
            version,
            approval.champion,
            "first" if approval.champion is None else "promote",
            actor,
            f"{approval.reason}; approved{': ' if comment else ''}{comment}",
            verdict=approval.verdict,
            retraining_id=approval.retraining_id,
            precondition=record,
        )
    )


def reject_version(context: AppContext, version: int, actor: str, comment: str) -> approvals.Approval:
    """End the wait of a candidate without promoting it; returns how the approval stands.

    Raises NotFoundError where it does not wait, ConflictError where its time is over, InvalidInputError without a
    reason.
    """
    comment, now = check_note(comment), context.clock()
    if not comment:
        raise InvalidInputError("a rejection needs its reason in `comment`: whoever trains next will ask")
    with context.database.write() as connection:
        waiting = approvals.require_waiting(connection, context.model_name, version, now, lock=True)
        reject_approval(connection, context, waiting, actor, comment, now)
        return approvals.find(connection, waiting.id)

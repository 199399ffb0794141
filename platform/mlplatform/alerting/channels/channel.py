"""What a type of channel provides: the message made of a notice, and one attempt to send that message."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlplatform.alerting.channels.http_poster import HttpPoster
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.clock import Clock
from mlplatform.network.egress import EgressPolicy
from monitors.notices.approval_notice import ApprovalNotice
from monitors.notices.audit_contradiction_notice import AuditContradictionNotice
from monitors.notices.lost_predictions_notice import RecordingLossNotice
from monitors.notices.notice import Notice
from monitors.notices.promotion_notice import PromotionNotice
from monitors.notices.rollback_notice import RollbackNotice
from monitors.notices.superseded_notice import SupersededNotice
from monitors.notices.unsuccessful_retraining_notice import UnsuccessfulRetrainingNotice
from monitors.rules.channel_config import ChannelConfig

EventNotice = (
    RollbackNotice
    | RecordingLossNotice
    | PromotionNotice
    | ApprovalNotice
    | UnsuccessfulRetrainingNotice
    | AuditContradictionNotice
)
"""Notices about an event instead of alerts."""
AnyNotice = Notice | SupersededNotice | EventNotice
Config = TypeVar("Config", bound=ChannelConfig)


@dataclass(frozen=True)
class SendContext:
    """What an attempt may use: HTTP posts, the egress policy of other connections, the time it has."""

    http: HttpPoster
    egress: EgressPolicy
    """Where sockets may connect to: public addresses, allowed receivers, and the proxy where there is one."""
    proxy: str
    """The HTTP proxy of deliveries; empty for none."""
    timeout_seconds: float
    clock: Clock


@dataclass(frozen=True)
class ChannelAdapter(Generic[Config]):
    """How one type of channel works; a new type is a file with one of these.

    `render` makes what is kept in the outbox and sent at every attempt, from a notice, the channel's name and its
    configuration: JSON without secrets, the same for the same notice, within the receiver's limits. `send` makes one
    attempt and returns when the receiver has taken the message, or raises DeliveryError without any secret.
    """

    render: Callable[[AnyNotice, str, Config], dict[str, Any]]
    send: Callable[[OutboxMessage, Config, SendContext], None]
    startup_seconds: float = 0.0
    """What an attempt may take besides PLATFORM_DELIVERY_TIMEOUT_SECONDS, for a process to start."""

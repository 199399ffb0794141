"""Signs and verifies webhooks, after https://www.standardwebhooks.com."""

import hmac
from base64 import b64encode
from hashlib import sha256

from monitors.rules.channel_config import webhook_signing_key

TOLERANCE_SECONDS = 300


def sign(secret: str, msg_id: str, timestamp: int, body: bytes) -> str:
    """The value of the webhook-signature header: "v1," and the base64 of an HMAC-SHA256."""
    signed = f"{msg_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(webhook_signing_key(secret), signed, sha256)).decode()


def signed_headers(secret: str, msg_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers a receiver needs; `msg_id` is the notice's idempotency key."""
    signature = sign(secret, msg_id, timestamp, body)
    return {"webhook-id": msg_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def verify(secret: str, msg_id: str, timestamp: int, body: bytes, signature: str, now: int) -> bool:
    """Whether one of the space-separated signatures is right and the message at most five minutes off."""
    if abs(now - timestamp) > TOLERANCE_SECONDS:
        return False
    expected = sign(secret, msg_id, timestamp, body).encode()
    return any(hmac.compare_digest(expected, given.encode()) for given in signature.split())

"""One message pushed through the Apprise library, in this process; it composes nothing and tries once."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from mlplatform.errors import DeliveryError
from mlplatform.outward import Outward
from mlplatform.redact import without_secrets


def push(url: str, message: Mapping[str, str], timeout_seconds: float, outward: Outward) -> None:
    """Send title, body and type to an Apprise URL; raises DeliveryError, whose text holds no part of the URL.

    The library sends in a thread of its own, which is let out where `outward` says.

    After a timeout the library's thread may still finish: the message then arrives twice. It follows no redirect, as
    one that turns a POST into a GET would pass for a delivery.
    """
    _quiet()
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    asset = AppriseAsset(storage_mode=PersistentStoreMode.MEMORY, service_timeout=timeout_seconds, http_redirects=False)
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        raise DeliveryError("the channel's url is not one that Apprise understands; see https://appriseit.com")
    refused = _held(service, outward)
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        body=message["body"], title=message["title"], notify_type=message["type"], body_format="text"
    )
    if not result and refused:
        raise DeliveryError(refused[0])
    if not result:
        told = "; ".join(entry.message for entry in result.logs())
        status = result.status.name.lower()
        raise DeliveryError(f"Apprise ({service.service_name}): {status}: {without_secrets(told, url)[:200]}")


def _held(service: Any, outward: Outward) -> list[str]:  # noqa: ANN401 - Apprise has no types
    """Let the service send within `outward` only, in whatever thread it does; returns what will be refused."""
    refused: list[str] = []
    send: Callable[..., bool] = service.send

    def held(*args: object, **named: object) -> bool:
        with outward.only() as said:
            try:
                return send(*args, **named)
            finally:
                refused.extend(said)

    service.send = held
    return refused


def _quiet() -> None:
    """Keep the libraries' own log lines, which repeat addresses, out of this process's log."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logging.getLogger("urllib3").setLevel(logging.WARNING)

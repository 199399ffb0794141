"""What the process behind `push` does: read one message, send it through Apprise, say how that went, end.

Run as `python -m mlplatform.alerting.channels.apprise_process` with JSON on its input; it answers
{"error": text, "refused": text}, both empty for success. Its memory is limited, because libraries read whole answers,
and it ends with the process that started it. What libraries log repeats addresses, so nobody keeps its error output.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from mlplatform.network.egress import EgressPolicy, egress_policy

MEMORY_BYTES: Final = 256 * 2**20
PR_SET_PDEATHSIG: Final = 1
MAX_SHOWN_CHARS: Final = 200


def send(url: str, message: dict[str, str], timeout_seconds: float, policy: EgressPolicy) -> tuple[str, str]:
    """Send title, body and type; returns what went wrong, and which address was refused, as far as they did."""
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    asset = AppriseAsset(storage_mode=PersistentStoreMode.MEMORY, service_timeout=timeout_seconds, http_redirects=False)
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        return "the channel's url is not one that Apprise understands; see https://appriseit.com", ""
    refused = _restrict_service(service, policy)
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        body=message["body"], title=message["title"], notify_type=message["type"], body_format="text"
    )
    if result:
        return "", ""
    told = "; ".join(entry.message for entry in result.logs())
    return f"Apprise ({service.service_name}): {result.status.name.lower()}: {told[:MAX_SHOWN_CHARS]}", "".join(
        refused[:1]
    )


def _restrict_service(service: Any, policy: EgressPolicy) -> Sequence[str]:  # noqa: ANN401 - Apprise has no types
    """Let the service send within `outward` only, in whatever thread it does; returns what will be refused."""
    refused: list[str] = []
    original: Callable[..., bool] = service.send

    def held(*args: object, **named: object) -> bool:
        with policy.enforced() as said:
            try:
                return original(*args, **named)
            finally:
                refused.extend(said)

    service.send = held
    return refused


def main() -> None:
    """The process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    told = json.loads(sys.stdin.read())
    try:
        error, refused = send(told["url"], told["message"], told["seconds"], egress_policy(tuple(told["allowed"])))
    except Exception as failure:  # noqa: BLE001 - whatever a library of its hundred raises is an answer
        error, refused = f"Apprise: {type(failure).__name__}", ""
    sys.stdout.write(json.dumps({"error": error, "refused": refused}))
    sys.stdout.flush()
    os._exit(0)  # threads of a service that hangs are waited for otherwise


if __name__ == "__main__":
    main()

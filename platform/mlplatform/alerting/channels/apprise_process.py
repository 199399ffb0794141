"""The child process of `apprise_sender.py`: reads one message, sends it through Apprise, says how that went, ends.

Run as `python -m mlplatform.alerting.channels.apprise_process` with JSON on its input; it answers
{"error": text, "refused": text}, both empty for success. Its memory is limited, because libraries read whole answers,
and it ends with the process that started it. What libraries log repeats addresses, so nobody keeps its error output.

Apprise's services speak through as many libraries, which connect as they like, some from threads of their own. So the
egress policy is enforced by an audit hook, in this process alone and for all of its threads.
"""

import json
import os
import resource
import signal
import sys
from typing import Any, Final

from mlplatform.host.parent_death import end_with_parent
from mlplatform.network.egress import EgressDeniedError, EgressPolicy, egress_policy

MEMORY_BYTES: Final = 256 * 2**20
MAX_SHOWN_CHARS: Final = 200
CONNECTING_EVENTS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


def send(url: str, message: dict[str, str], timeout_seconds: float) -> str:
    """Send title, body and type; returns what went wrong, as far as it did."""
    from apprise import Apprise, AppriseAsset, PersistentStoreMode

    asset = AppriseAsset(storage_mode=PersistentStoreMode.MEMORY, service_timeout=timeout_seconds, http_redirects=False)
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        return "the channel's url is not one that Apprise understands; see https://appriseit.com"
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        body=message["body"], title=message["title"], notify_type=message["type"], body_format="text"
    )
    if result:
        return ""
    reasons = "; ".join(entry.message for entry in result.logs())
    return f"Apprise ({service.service_name}): {result.status.name.lower()}: {reasons[:MAX_SHOWN_CHARS]}"


def enforce_egress_policy(policy: EgressPolicy) -> list[str]:
    """Let this process connect nowhere else, in any thread and for good; returns the list of what will be refused.

    Python's audit events name the address itself, whatever library resolved it. Nobody can remove an audit hook.
    """
    refusals: list[str] = []

    def check(event: str, args: tuple[Any, ...]) -> None:
        if event in CONNECTING_EVENTS and args[1] is not None:  # None: a message over what is connected already
            target = args[1]
            try:
                policy.check(str(target[0]) if isinstance(target, tuple) and target else str(target))
            except EgressDeniedError as error:
                refusals.append(str(error))
                raise

    sys.addaudithook(check)
    return refusals


def main() -> None:
    """The process."""
    end_with_parent(signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.loads(sys.stdin.read())
    refusals = enforce_egress_policy(egress_policy(tuple(request["allowed"])))
    try:
        error = send(request["url"], request["message"], request["seconds"])
    except Exception as failure:  # noqa: BLE001 - whatever a library of its hundred raises is an answer
        error = f"Apprise: {type(failure).__name__}"
    sys.stdout.write(json.dumps({"error": error, "refused": "".join(refusals[:1]) if error else ""}))
    sys.stdout.flush()
    os._exit(0)  # threads of a service that hangs are waited for otherwise


if __name__ == "__main__":
    main()

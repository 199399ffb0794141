"""Sends one message through the Apprise library, in a process of its own.

Apprise speaks a hundred protocols through as many libraries, which read whatever they are sent. A process can be ended
and its memory limited, whatever the library does.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from mlplatform.errors import DeliveryError
from mlplatform.network.deadline import current_cancellation
from mlplatform.network.egress import EgressPolicy
from mlplatform.network.proxies import PROXY_VARIABLES
from mlplatform.network.redact import redact_secrets

SENDER_COMMAND: Final = (sys.executable, "-P", "-m", "mlplatform.alerting.channels.apprise_process")
STARTUP_SECONDS: Final = 20.0
"""How long the process may take to import the library, besides the time to send."""


def send_apprise(
    url: str, message: Mapping[str, str], timeout_seconds: float, policy: EgressPolicy, proxy: str = ""
) -> None:
    """Send title, body and type to an Apprise URL; raises DeliveryError, whose text holds no part of the URL.

    It goes where the policy says, follows no redirect, and is ended with the work it belongs to. After a timeout the
    receiver may have the message all the same: it then arrives twice.
    """
    request = {
        "url": url,
        "message": dict(message),
        "seconds": timeout_seconds,
        "allowed": [*(str(network) for network in policy.networks), *policy.host_names],
    }
    environment = {name: value for name, value in os.environ.items() if name.lower() not in PROXY_VARIABLES}
    if proxy:
        environment |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    answer = _run_sender(json.dumps(request), environment, STARTUP_SECONDS + timeout_seconds)
    if answer["refused"]:
        raise DeliveryError(str(answer["refused"]))
    if answer["error"]:
        raise DeliveryError(redact_secrets(str(answer["error"]), url))


def _run_sender(request: str, environment: Mapping[str, str], seconds: float) -> dict[str, object]:
    """What the process answers; its secrets go through its input, which nobody else can read."""
    child = subprocess.Popen(  # noqa: S603 - a module of this product
        SENDER_COMMAND,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    try:
        with child, current_cancellation().on_cancel(kill):
            out, _ = child.communicate(request, seconds)
            answer: dict[str, object] = json.loads(out)
            return answer
    except subprocess.TimeoutExpired as error:
        raise DeliveryError("Apprise: timeout") from error
    except (ValueError, OSError) as error:  # it was ended, or ran out of memory
        raise DeliveryError(f"Apprise: no answer (its process ended with {child.returncode})") from error
    finally:
        if child.poll() is None:
            kill()
            child.wait()

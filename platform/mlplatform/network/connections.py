"""Makes TCP connections under an egress policy and the deadline of the work that asks for them.

A name is resolved once, each address is checked, and the connection goes to the checked address itself: a name that
resolves to something else a moment later changes nothing (DNS rebinding).
"""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

import httpcore

from mlplatform.network.deadline import current_cancellation, register_socket
from mlplatform.network.egress import EgressDeniedError, EgressPolicy

T = TypeVar("T")


def open_connection(host: str, port: int, timeout_seconds: float | None, policy: EgressPolicy) -> socket.socket:
    """A connected socket, registered with this thread's deadline.

    Raises EgressDeniedError when the policy allows none of the host's addresses, and OSError when none answers.
    """

    def dial(address: str, seconds: float | None) -> socket.socket:
        return socket.create_connection((address, port), seconds)

    connection = connect_to_permitted(host, port, timeout_seconds, policy, dial)
    try:
        register_socket(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_permitted(
    host: str, port: int, timeout_seconds: float | None, policy: EgressPolicy, dial: Callable[[str, float | None], T]
) -> T:
    """Dial the addresses of a host that the policy allows, one after the other, until one answers.

    `dial` connects to one numeric address within so many seconds; all of them share the timeout.
    """
    end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    refusal: EgressDeniedError | None = None
    failure: Exception | None = None
    for address in resolve(host, port):
        current_cancellation().raise_if_cancelled()
        seconds = None if end is None else end - time.monotonic()
        if seconds is not None and seconds <= 0:
            break
        try:
            policy.check(address)
            return dial(address, seconds)
        except EgressDeniedError as error:
            refusal = refusal or error
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            failure = error
    raise refusal or failure or TimeoutError(f"no address of {host} answered within {timeout_seconds:g} s")


def resolve(host: str, port: int | None = None) -> list[str]:
    """The numeric addresses of a host, in the system's order of preference; raises OSError for an unknown name."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # no name can be written so
        raise OSError(f"{host!r} is not a host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))

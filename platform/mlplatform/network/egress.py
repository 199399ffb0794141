"""Where notices may go: public addresses, and those a setting names. It sends nothing.

Addresses of receivers come from alerts.yaml and the environment, and names resolve to whatever their owner says at the
moment. So the address is checked where a socket connects to it, in every library and after every redirect: what is
checked is what is connected to. It holds for the thread that sends; others are free.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from mlplatform.errors import SettingsError
from mlplatform.network.addresses import Network, embedded_ipv4, is_public, parse_address

_THREAD_KEY: Final = "mlplatform_outward"
_EVENTS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


class EgressDeniedError(PermissionError): ...


@dataclass(frozen=True)
class EgressPolicy:
    """Public addresses, these networks, and whatever these names resolve to."""

    networks: tuple[Network, ...] = ()
    host_names: tuple[str, ...] = ()

    def permits(self, text: str) -> bool:
        """Whether a notice may be sent to this address."""
        address = parse_address(text)
        return address is not None and (is_public(address) or self.is_allowlisted(text))

    def is_allowlisted(self, text: str) -> bool:
        """Whether the setting names this address: by a network, or by a name that leads to it now."""
        address = parse_address(text)
        if address is None:
            return False
        reached = embedded_ipv4(address) or (address,)
        networks = (*self.networks, *self._resolved_networks())
        return all(any(each in network for network in networks) for each in reached)

    @contextmanager
    def enforced(self) -> Iterator[list[str]]:
        """Let this thread connect nowhere else; yields what was refused, in words."""
        _install_audit_hook()
        marks, watch = vars(threading.current_thread()), _Guard(self)
        before = marks.get(_THREAD_KEY)
        marks[_THREAD_KEY] = watch
        try:
            yield watch.refusals
        finally:
            marks[_THREAD_KEY] = before

    def _resolved_networks(self) -> list[Network]:
        found = []
        for name in self.host_names:
            try:
                resolved = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                continue
            found += [ip_network(str(entry[4][0]).partition("%")[0]) for entry in resolved]
        return found


@dataclass(frozen=True)
class _Guard:
    policy: EgressPolicy
    refusals: list[str] = field(default_factory=list)

    def check(self, target: Any) -> None:  # noqa: ANN401 - whatever a program gave to a socket
        text = str(target[0]) if isinstance(target, tuple) and target else str(target)
        if not self.policy.permits(text):
            said = f"{text} is no public address; PLATFORM_ALLOWED_RECEIVERS may allow it"
            self.refusals.append(said)
            raise EgressDeniedError(said)


def egress_policy(allowed: tuple[str, ...]) -> EgressPolicy:
    """What the setting allows: networks, addresses and host names. Raises SettingsError."""
    networks, names = [], []
    for text in allowed:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            if "/" in text or not text.strip() or ":" in text:
                raise SettingsError(
                    f"{text!r} in PLATFORM_ALLOWED_RECEIVERS is neither a network, an address nor a host name ({error})"
                ) from error
            names.append(text)
    return EgressPolicy(tuple(networks), tuple(names))


_install_lock = threading.Lock()
_installed: list[bool] = []


def _install_audit_hook() -> None:
    """Listen to this process's sockets, once: Python lets nobody stop listening."""
    with _install_lock:
        if not _installed:
            sys.addaudithook(_audit_hook)
            _installed.append(True)


def _audit_hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS and args[1] is not None:  # None: a message over what is connected already
        watch = vars(threading.current_thread()).get(_THREAD_KEY)
        if watch is not None:
            watch.check(args[1])

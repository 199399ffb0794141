"""Egress policy: where notices may go, which is public addresses and those PLATFORM_ALLOWED_RECEIVERS names (SSRF).

Addresses of receivers come from alerts.yaml and the environment, and names resolve to whatever their owner says at the
moment. So whoever connects (`connections.py`) checks the resolved address and connects to that very address; Apprise's
process checks where any of its sockets connects.
"""

import socket
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from mlplatform.errors import SettingsError
from mlplatform.network.addresses import Network, embedded_ipv4, is_public, parse_address


class EgressDeniedError(PermissionError):
    """The policy does not allow a connection to that address."""


@dataclass(frozen=True)
class EgressPolicy:
    """Public addresses, these networks, and whatever these names resolve to."""

    networks: tuple[Network, ...] = ()
    host_names: tuple[str, ...] = ()

    def permits(self, text: str) -> bool:
        """Whether a notice may be sent to this address."""
        address = parse_address(text)
        return address is not None and (is_public(address) or self.is_allowlisted(text))

    def check(self, text: str) -> None:
        """Raise EgressDeniedError where a notice may not be sent to this address."""
        if not self.permits(text):
            raise EgressDeniedError(f"{text} is no public address; PLATFORM_ALLOWED_RECEIVERS may allow it")

    def is_allowlisted(self, text: str) -> bool:
        """Whether the setting names this address: by a network, or by a name that leads to it now."""
        address = parse_address(text)
        if address is None:
            return False
        reached = embedded_ipv4(address) or (address,)
        networks = (*self.networks, *self._resolved_networks())
        return all(any(target in network for network in networks) for target in reached)

    def _resolved_networks(self) -> list[Network]:
        networks: list[Network] = []
        for name in self.host_names:
            try:
                entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                continue
            networks += [ip_network(str(entry[4][0]).partition("%")[0]) for entry in entries]
        return networks


ANY_ADDRESS: Final = EgressPolicy((ip_network("0.0.0.0/0"), ip_network("::/0")))
"""For connections to hosts that the operator set up, most often on a private network: mail relays, own servers."""


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

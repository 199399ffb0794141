"""Decides which connections go through the proxy that the environment names, and which never do.

Variables such as HTTP_PROXY are read by every library for itself. This machine's own addresses belong into NO_PROXY
before any does: a proxy's loopback is another one.
"""

import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from mlplatform.network.addresses import parse_address

PROXY_VARIABLES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0")  # noqa: S104 - named, not bound to


def no_proxy_variables(environment: Mapping[str, str], hosts: tuple[str, ...] = ()) -> dict[str, str]:
    """NO_PROXY, in both ways it is written, with this host's names and the further ones added to what is there."""
    written = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in written.split(",") if name.strip()]
    added = [name for name in (*LOCAL_HOSTS, socket.gethostname(), *hosts) if name and name not in names]
    value = ",".join(dict.fromkeys((*names, *added)))
    return {"no_proxy": value, "NO_PROXY": value}


def proxy_variable(environment: Mapping[str, str]) -> str:
    """The name of a variable that asks for a proxy, if any does."""
    return next((name for name in sorted(environment) if name.lower() in PROXY_VARIABLES and environment[name]), "")


def is_local_url(url: str) -> bool:
    """Whether an address leads to this very machine: loopback, an address to bind to, or its own name."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    address = parse_address(host)
    if address is not None:
        mapped = getattr(address, "ipv4_mapped", None) or address
        return mapped.is_loopback or mapped.is_unspecified
    return host == "localhost" or host.endswith(".localhost") or host == socket.gethostname().lower()

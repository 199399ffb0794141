"""Tells public internet addresses from others: those that IANA's registries call globally reachable.

The registries of special purposes, read in November 2026:
https://www.iana.org/assignments/iana-ipv4-special-registry and https://www.iana.org/assignments/iana-ipv6-special-registry.
Outside of IPv6's global unicast block (2000::/3) nothing is public. Blocks for protocols (192.0.0.0/24, 2001::/23) are
refused whole: their few reachable addresses are anycast to the nearest router, where no receiver of notices lives.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_RESERVED_IPV4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # public by its number: Azure answers its machines there
    )
)
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
_RESERVED_IPV6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols: benchmarks, ORCHID, drones, Teredo (judged by what it embeds)
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64_NETWORK: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def parse_address(text: str) -> Address | None:
    """The address written so, a zone left out; None for anything else, such as a name."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def embedded_ipv4(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to an IPv6 address reach in the end: mapped, NAT64, 6to4, Teredo."""
    return tuple(_iter_embedded_ipv4(address)) if isinstance(address, IPv6Address) else ()


def is_public(address: Address) -> bool:
    """Whether anybody on the internet reaches the same machine at this address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _RESERVED_IPV4)
    if any(not is_public(inner) for inner in (*embedded_ipv4(address), *_isatap_ipv4(address))):
        return False
    if address.ipv4_mapped or address in _NAT64_NETWORK or address.teredo:
        return True
    return address in _GLOBAL_IPV6 and not any(address in network for network in _RESERVED_IPV6)


def _iter_embedded_ipv4(address: IPv6Address) -> Iterator[IPv4Address]:
    number = int(address)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address in _NAT64_NETWORK:
        yield IPv4Address(number & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def _isatap_ipv4(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 host behind an ISATAP interface, in whatever network that is."""
    number = int(address)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFFFFFF)

"""Only globally reachable addresses are public, over the whole of IANA's registries; nothing here is connected to."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from mlplatform.network.addresses import embedded_ipv4, is_public, parse_address

NOT_REACHABLE_4 = (
    *("0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
    *("255.255.255.255/32", "224.0.0.0/4", "168.63.129.16/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.192/32"),
)
NOT_REACHABLE_6 = (
    *("::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64"),
    *("2001::/23", "2001:1::1/128", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20"),
    *("5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128", "4000::/3", "8000::/1"),
)
REACHABLE = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0"),
    *("192.31.196.1", "192.52.193.1", "192.175.48.1", "192.88.98.255", "192.88.100.0", "192.167.255.255"),
    *("192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2001:200::1", "2001:4860:4860::8888", "2606:4700:4700::1111", "2620:4f:8000::1", "2a00:1450::1", "3ffe::1"),
)


@pytest.mark.parametrize("block", [*NOT_REACHABLE_4, *NOT_REACHABLE_6])
def test_no_address_of_a_block_that_is_not_globally_reachable_is_public(block: str) -> None:
    network = ip_network(block)
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = IPv4Address if network.version == 4 else IPv6Address
    step = max(1, (last - first) // 97)
    for number in (*range(first, last, step), last):
        assert not is_public(kind(number)), kind(number)


@pytest.mark.parametrize("text", REACHABLE)
def test_addresses_beside_the_blocks_are_public(text: str) -> None:
    assert is_public(ip_address(text))


def written_in_ipv6(inner: IPv4Address) -> dict[str, IPv6Address]:
    """The IPv6 addresses whose packets end at an IPv4 address, or that carry it in clear text."""
    number, public = int(inner), int(IPv4Address("8.8.8.8"))
    teredo = 0x20010000 << 96
    return {
        "mapped": IPv6Address(0xFFFF << 32 | number),
        "NAT64": IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        "6to4": IPv6Address(0x2002 << 112 | number << 80 | 1),
        "Teredo server": IPv6Address(teredo | number << 64 | ~public & 0xFFFFFFFF),
        "Teredo client": IPv6Address(teredo | public << 64 | ~number & 0xFFFFFFFF),
        "ISATAP": IPv6Address(int(IPv6Address("2a00:1450::5efe:0:0")) | number),
        "ISATAP of a public address": IPv6Address(int(IPv6Address("2a00:1450::200:5efe:0:0")) | number),
    }


@pytest.mark.parametrize("block", NOT_REACHABLE_4)
def test_an_ipv6_address_that_leads_to_such_a_block_is_not_public_either(block: str) -> None:
    inner = ip_network(block).network_address
    assert isinstance(inner, IPv4Address)
    assert [name for name, address in written_in_ipv6(inner).items() if is_public(address)] == []


def test_an_ipv6_address_that_leads_to_a_public_one_is_public() -> None:
    assert all(is_public(address) for address in written_in_ipv6(IPv4Address("8.8.8.8")).values())


def test_what_an_address_embeds_is_named() -> None:
    written = written_in_ipv6(IPv4Address("10.1.2.3"))
    for name in ("mapped", "NAT64", "6to4"):
        assert embedded_ipv4(written[name]) == (IPv4Address("10.1.2.3"),)
    assert IPv4Address("10.1.2.3") in embedded_ipv4(written["Teredo server"])
    assert IPv4Address("10.1.2.3") in embedded_ipv4(written["Teredo client"])
    assert embedded_ipv4(IPv4Address("10.1.2.3")) == ()


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f.1", "/run/socket", "1.2.3.4:80"])
def test_what_is_no_plain_address_is_none(text: str) -> None:
    assert parse_address(text) is None


def test_a_zone_is_no_part_of_an_address() -> None:
    assert parse_address("fe80::1%eth0") == IPv6Address("fe80::1")

"""Which connections a change of rules concerns, and which of them continue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest

from snnet.contract import (
    Add,
    ExternalForward,
    IPAddress,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Remove,
    ZoneLink,
)
from snnet.firewall.allowed import Allowed
from snnet.firewall.connections import of_exits, of_forwards
from snnet.system.conntrack import Connection, Match

HOST, SECOND, THIRD, VIP = (IPv4Address(f"203.0.113.{number}") for number in (1, 2, 3, 4))
CLIENT, GUEST, OTHER = (IPv4Address(a) for a in ("198.51.100.9", "10.1.0.9", "10.2.0.10"))
FAR = IPv4Address("198.51.100.77")
PUBLIC = IPv4Address("203.0.113.9")

LOCAL: dict[IPAddress, set[str]] = {
    HOST: {"eth0"}, SECOND: {"eth0"}, THIRD: {"eth1"}, VIP: {"lo"}, PUBLIC: {"eth0"},
}  # fmt: skip

OWNER = "cnci:c-1"
ANY = PortForward(
    owner=OWNER, protocol="udp", device="eth0", port=53, target=GUEST, target_port=5353,
    addresses=(HOST, SECOND),
)  # fmt: skip
ONE = replace(ANY, address=HOST, target=OTHER)
OF_ETH1 = replace(ANY, device="eth1", addresses=(THIRD,))
INSIDE = [
    ZoneLink(
        owner=OWNER,
        link="br1",
        zone="t",
        networks=(IPv4Network("10.1.0.0/24"), IPv6Network("fd00:1::/64")),
    ),
    ZoneLink(owner=OWNER, link="br2", zone="t"),
]
NAT, NAT1 = Masquerade(owner=OWNER, device="eth0"), Masquerade(owner=OWNER, device="eth1")
EXIT = ExternalForward(owner=OWNER, device="eth0", bridge="br1")
OWN = PublicIp(owner=OWNER, public=PUBLIC, internal=GUEST, device="eth0")


def way(address: IPAddress) -> str | None:
    """eth1 leads to one client, eth0 to all others."""
    ways: dict[IPAddress, str] = {FAR: "eth1", OTHER: "br2"}
    return ways.get(address, "eth0")


def allowed(rules: Sequence[Noun], found: Connection) -> bool:
    return Allowed(rules, LOCAL, way)(found)


def connection(
    to: IPv4Address = HOST,
    answers: IPv4Address = GUEST,
    port: int = 5353,
    source: IPv4Address = CLIENT,
    seen: IPv4Address | None = None,
) -> Connection:
    seen = seen or source
    return Connection(17, to.packed, 53, answers.packed, seen.packed, source.packed, port, b"")


def test_an_address_of_its_own_narrows_what_is_forgotten() -> None:
    assert list(of_forwards([Remove(ONE)])) == [Match("udp", HOST, 53, reply_source=OTHER)]
    assert list(of_forwards([Remove(ANY)])) == [Match("udp", None, 53, reply_source=GUEST)]
    assert list(of_forwards([Add(ONE)])) == [Match("udp", HOST, 53)]
    assert list(of_forwards([Add(ANY)])) == [Match("udp", None, 53)]
    assert list(of_forwards([Add(replace(ANY, protocol="tcp"))])) == []


def test_a_closed_way_out_concerns_the_addresses_of_its_device() -> None:
    concerned = [Match(reply_destination=one) for one in (HOST, SECOND, PUBLIC)]
    assert list(of_exits([Remove(EXIT)], lambda: LOCAL)) == concerned
    assert list(of_exits([Remove(NAT)], lambda: LOCAL)) == concerned
    assert list(of_exits([Add(NAT), Add(EXIT)], lambda: LOCAL)) == []


@pytest.mark.parametrize(
    ("rules", "found", "same"),
    [
        ([], connection(), False),
        ([], connection(answers=HOST, port=53), True),
        ([ANY], connection(), True),
        ([ANY], connection(answers=HOST, port=53), False),
        ([ANY], connection(port=1), False),
        ([ANY, ONE], connection(), False),
        ([ANY, ONE], connection(answers=OTHER), True),
        ([ANY, ONE], connection(to=SECOND), True),
        ([replace(ANY, sources=(ip_network("10.0.0.0/8"),))], connection(), False),
        ([replace(ANY, sources=(ip_network("10.0.0.0/8"),))], connection(source=OTHER), True),
        ([ANY, replace(ONE, sources=(ip_network("10.0.0.0/8"),))], connection(), True),
        ([replace(ANY, protocol="tcp")], connection(), False),
        # by another device
        ([OF_ETH1], connection(to=THIRD), True),
        ([OF_ETH1], connection(), False),
        ([OF_ETH1], connection(source=FAR), True),
        # for an address that no device of a forward has
        ([ANY], connection(to=VIP), True),
        ([ANY], connection(to=VIP, answers=VIP, port=53), False),
        ([OF_ETH1], connection(to=VIP), False),
        ([OF_ETH1], connection(to=VIP, source=FAR), True),
        # not for the host at all
        ([ANY], connection(to=FAR, answers=FAR, port=53), True),
        # a public address
        ([OWN], connection(to=PUBLIC, port=53), True),
        ([OWN], connection(to=PUBLIC, answers=PUBLIC, port=53), False),
        ([], connection(to=PUBLIC, port=53), False),
    ],
)
def test_what_would_arrive_alike_continues(
    rules: list[Noun], found: Connection, same: bool
) -> None:
    assert allowed([*rules, *INSIDE], found) is same


def leaves(source: IPv4Address = GUEST, seen: IPv4Address = HOST) -> Connection:
    return connection(CLIENT, CLIENT, 53, source, seen)


def untranslated() -> Connection:
    guest, server = IPv6Address("fd00:1::9").packed, IPv6Address("2001:db8::1").packed
    return Connection(17, server, 53, server, guest, guest, 53, b"")


@pytest.mark.parametrize(
    ("rules", "found", "same"),
    [
        ([NAT, EXIT], leaves(), True),
        ([NAT, EXIT], leaves(seen=SECOND), True),
        ([EXIT], leaves(), False),
        ([NAT], leaves(), False),
        ([NAT, EXIT], leaves(seen=THIRD), False),
        ([NAT, EXIT, NAT1], leaves(seen=THIRD), False),
        ([NAT, EXIT], leaves(source=OTHER), False),
        ([NAT, replace(EXIT, bridge="br2")], leaves(source=OTHER), True),
        ([NAT], leaves(source=FAR), True),
        ([], leaves(source=FAR), False),
        ([], leaves(seen=GUEST), True),
        ([OWN], leaves(seen=PUBLIC), True),
        ([NAT, EXIT, OWN], leaves(), False),
        ([NAT, EXIT], leaves(seen=PUBLIC), True),
        ([NAT, EXIT], leaves(seen=FAR), False),
        # IPv6, which leaves with its own address where there is no NAT66
        ([NAT, EXIT], untranslated(), True),
        ([NAT], untranslated(), False),
        ([EXIT], untranslated(), False),
        ([NAT1, replace(EXIT, device="eth1")], untranslated(), False),
        # from guest to guest, by a forward
        ([ANY], connection(source=OTHER, seen=IPv4Address("10.1.0.1")), True),
        ([], connection(source=OTHER, seen=IPv4Address("10.1.0.1")), False),
    ],
)
def test_what_would_leave_alike_continues(rules: list[Noun], found: Connection, same: bool) -> None:
    assert allowed([*rules, *INSIDE], found) is same

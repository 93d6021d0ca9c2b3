"""What the DHCP tests share: a new LAN for each test, scopes and guests."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from snnet.contract import DhcpEntry, DhcpScope
from snnet.contract.addresses import mac_of

from .lan import Lan, gateway_of

BRIDGE, OTHER_BRIDGE = "br0", "br-1.100_abcdef"
SUBNET, OTHER_SUBNET = IPv4Network("10.1.0.0/24"), IPv4Network("10.2.0.0/24")

GUEST = IPv4Address("10.1.0.9")
MAC = mac_of(GUEST)
"""The MAC of a guest that has a generated entry."""

STRANGE_MAC = "02:00:00:00:00:77"
ENTRY = DhcpEntry(mac=STRANGE_MAC, address=IPv4Address("10.1.0.77"), hostname="web")
"""An added entry, for a guest without a generated one."""


class DhcpTests:
    """A LAN for each test, with a bridge for the scope and another bridge."""

    @pytest.fixture
    def lan(self) -> Iterator[Lan]:
        raise NotImplementedError("give your class a fixture 'lan': see snnet.conformance")

    @pytest.fixture(autouse=True)
    def _bridges(self, lan: Lan) -> None:
        lan.add_bridge(BRIDGE, gateway_of(SUBNET))
        lan.add_bridge(OTHER_BRIDGE, gateway_of(OTHER_SUBNET))


def scope(lan: Lan, **values: Any) -> DhcpScope:
    """Return the scope of 10.1.0.0/24 on br0 with these values changed."""
    return DhcpScope(
        **{"owner": lan.owner, "link": BRIDGE, "subnets": (SUBNET,), "mtu": 1400, **values}
    )


def other(lan: Lan, **values: Any) -> DhcpScope:
    """Return the scope on the other bridge."""
    return scope(lan, **{"link": OTHER_BRIDGE, "subnets": (OTHER_SUBNET,), "mtu": 1300, **values})


def is_there(lan: Lan, noun: DhcpScope) -> bool:
    """Whether the host has exactly this scope, both in ``find`` and in ``snapshot``."""
    found = lan.driver.find(noun)
    assert lan.driver.snapshot().get(noun.key) == found
    return found == noun

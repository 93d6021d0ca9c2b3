"""What a lab is: a place in which the scenario's machines and guests exist.

The data centre (:mod:`.datacentre`) is built on it by the real ComputeNode and
Cnci.  A lab only provides what they find in a data centre: hosts on a wire,
VMs and containers behind VNICs, and eyes to see who hears whom.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, NamedTuple

from snnet.contract import Cancelled
from snnet.core.vnics import CnciVnic, Vnic
from snnet.node import Cnci, ComputeNode
from snnet.node.deadline import CancelToken

from .scenario import Guest, Machine, Matrix, Scenario, Tenant, Visit


@dataclass(frozen=True, slots=True)
class Lease:
    """What DHCP gave a guest.  ``mtu`` is in bytes (option 26)."""

    guest: str
    address: IPv4Interface
    gateway: IPv4Address
    mtu: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "guest": self.guest,
            "ip": str(self.address.ip),
            "prefix": self.address.network.prefixlen,
            "gateway": str(self.gateway),
            "mtu": self.mtu,
        }


class Welcome(NamedTuple):
    """Who answered a visitor, and the address he saw him come from."""

    host: str
    seen_as: IPv4Address


class Lab(ABC):
    """A place for one data centre.  Set-up calls may raise ``Cancelled``.

    ``backend``, ``firewall`` and ``tunnel`` are the names chosen.  ``cancel``
    is looked at all along; ``close()`` ignores it.
    """

    backend: str
    firewall: str
    tunnel: str
    scenario: Scenario
    cancel: CancelToken

    @abstractmethod
    def build_wire(self) -> None:
        """Make every machine of the scenario and the internet, joined by one wire."""

    @abstractmethod
    def compute_node(self, machine: Machine) -> ComputeNode:
        """A node on this machine, not yet ``init()``-ed; the caller's to close."""

    @abstractmethod
    def concentrator(self, tenant: Tenant, machine: Machine, port: CnciVnic) -> Cnci:
        """A concentrator in a VM behind ``port`` of a machine, as ``compute_node()``."""

    @abstractmethod
    def start(self, guests: Mapping[Guest, Vnic]) -> None:
        """Start the guests, each behind its VNIC and without an address."""

    @abstractmethod
    def lease(self) -> list[Lease]:
        """Have every guest ask for its address by DHCP and use it.

        A guest that gets none is missing in the list.  In routed mode there is no
        DHCP: ``start()`` has configured the guests.
        """

    @abstractmethod
    def reach(self, expected: Matrix) -> Matrix:
        """Have every guest ping every other.

        True where that very guest got the request *and* the sender got its
        answer: with equal addresses an answer alone proves nothing.
        ``expected`` only says how long to wait for the answers.
        """

    @abstractmethod
    def receive(self, visits: Sequence[Visit]) -> list[Welcome | None]:
        """Have guests and the internet visit each other by TCP, all at once.

        Guests listen on ``SSH``, the internet on ``WEB``.  None where nobody
        answered.
        """

    @abstractmethod
    def close(self) -> list[str]:
        """Remove machines, guests and wire; in words, what of theirs was still there.

        That is ended and removed as far as it can be.  May be repeated.
        """

    def check(self) -> None:
        """Raise ``Cancelled`` once the work shall end."""
        if self.cancel.is_set():
            raise Cancelled("interrupted")

"""The interface of a lab: a place where the scenario's machines and guests exist.

The data centre (:mod:`.datacentre`) is built in it by the real ComputeNode and Cnci.
A lab provides only what they find in a data centre: hosts on a wire, VMs and
containers behind VNICs, and a way to observe who reaches whom.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from snnet.contract import Cancelled, IPAddress, IPInterface
from snnet.core.vnics import CnciVnic, Vnic
from snnet.node import Cnci, ComputeNode
from snnet.node.deadline import CancelToken

from .scenario import Connection, Guest, Machine, Matrix, Scenario, Tenant


@dataclass(frozen=True, slots=True)
class Lease:
    """What a guest received by DHCP.  ``mtu`` is in bytes (option 26)."""

    guest: str
    address: IPInterface
    gateway: IPAddress
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


class Port(Protocol):
    """Where a guest is plugged in: a tap, or the inner end of a veth pair (``peer_name``)."""

    @property
    def link_name(self) -> str: ...
    @property
    def peer_name(self) -> str | None: ...
    @property
    def mac(self) -> str: ...


class Answer(NamedTuple):
    """Which guest or host answered a connection, and the source address it saw."""

    server: str
    source: IPAddress


class Lab(ABC):
    """A place for one data centre.  Set-up calls may raise ``Cancelled``.

    ``backend``, ``firewall`` and ``tunnel`` are the names of what is used.  Set-up
    calls look at ``cancel`` all along; ``close()`` ignores it.
    """

    backend: str
    firewall: str
    tunnel: str
    scenario: Scenario
    cancel: CancelToken

    @abstractmethod
    def build_wire(self) -> None:
        """Create every machine of the scenario and the internet, joined by one wire."""

    @abstractmethod
    def compute_node(self, machine: Machine) -> ComputeNode:
        """Open a node on this machine.  The caller calls ``init()`` and ``close()``."""

    @abstractmethod
    def concentrator(self, tenant: Tenant, machine: Machine, vnic: CnciVnic) -> Cnci:
        """Open a concentrator in a VM behind ``vnic``; otherwise as ``compute_node()``."""

    @abstractmethod
    def start(self, guests: Mapping[Guest, Vnic]) -> None:
        """Start the guests, each behind its VNIC and without an address."""

    @abstractmethod
    def lease(self) -> list[Lease]:
        """Let every guest request its address by DHCP and configure it.

        A guest that gets no lease is missing from the list.  In routed mode there is
        no DHCP: ``start()`` has configured the guests.
        """

    @abstractmethod
    def reach(self, expected: Matrix) -> Matrix:
        """Let every guest ping every other.

        True where the target itself received the request *and* the sender received
        the reply: tenants use the same addresses, so a reply alone proves nothing.
        ``expected`` only decides how long to wait for replies.
        """

    @abstractmethod
    def connect(self, connections: Sequence[Connection]) -> list[Answer | None]:
        """Open all TCP connections at once; None for those without an answer.

        Guests listen on port ``SSH``, the internet on ``WEB``.
        """

    def namespaces(self) -> dict[str, str]:
        """Named network namespaces that can stay up, and what each one is."""
        return {}

    @abstractmethod
    def close(self) -> list[str]:
        """Remove machines, guests and the wire; return a text for each leftover found.

        Leftovers are removed too, as far as possible.  May be repeated.
        """

    def check(self) -> None:
        """Raise ``Cancelled`` once ``cancel`` is set."""
        if self.cancel.is_set():
            raise Cancelled("interrupted")

"""A guest: a VM or container on a VNIC, with an IP stack of its own."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING

from snnet.contract import (
    Add,
    Address,
    Change,
    IPAddress,
    IPInterface,
    Operation,
    Remove,
    Route,
    Veth,
)

from ..kernel import FakeKernel

if TYPE_CHECKING:
    from .fabric import Fabric
    from .leases import DhcpClient, Lease
    from .walk import Walk

_NIC = "eth0"


class Guest:
    """What hangs on a VNIC.  ``kernel`` is its own; its NIC is ``eth0``.

    ``lease`` is what it got by DHCP, None if it never asked or nobody answered.
    """

    client: DhcpClient
    asked: Walk
    """What became of the last time it asked for a lease."""

    def __init__(self, fabric: Fabric, name: str, host: FakeKernel, link_name: str) -> None:
        self._fabric = fabric
        self.name = name
        self.host = host
        self.link_name = link_name
        self.kernel = FakeKernel(f"{host.hostname}/{link_name}")
        self.peer: Veth | None = None
        """The veth end it has taken from its host."""

    @property
    def lease(self) -> Lease | None:
        return self.client.lease

    @property
    def address(self) -> IPAddress | None:
        """Its first address."""
        found = self.kernel.state.addresses(_NIC, 4) + self.kernel.state.addresses(_NIC, 6)
        return found[0].address.ip if found else None

    def configure(
        self, address: IPInterface, gateway: IPAddress | None, mtu: int | None = None
    ) -> None:
        """Give the NIC this address alone, and a default route by the gateway if there is one."""
        nic = self.kernel.state.link(_NIC)
        assert nic is not None
        operations: list[Operation] = [
            Remove(noun) for noun in self.kernel.state.on_link(_NIC) if isinstance(noun, Address)
        ]
        if mtu is not None and mtu != nic.mtu:
            operations.append(Change(replace(nic, mtu=mtu), nic))
        operations.append(Add(Address(link=_NIC, address=address)))
        if gateway is not None and gateway != address.ip:
            everywhere = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
            outside = gateway not in address.network
            operations.append(
                Add(Route(destination=everywhere, link=_NIC, gateway=gateway, onlink=outside))
            )
        error = self.kernel.apply(operations).error
        if error is not None:
            raise error

    def renew(self) -> Lease | None:
        """Ask for a lease and set up what it says; without an answer nothing changes."""
        self._fabric.lease(self)
        lease = self.lease
        if lease is not None:
            self.configure(
                ip_interface(f"{lease.address}/{lease.prefix}"), lease.gateway, lease.mtu
            )
        return lease

    def explain_lease(self) -> str:
        """Hop by hop, what became of the last time it asked for a lease."""
        if self.client.answer is not None:
            return "\n".join(map(str, self.client.answer.path()))
        return "\n".join([*self.asked.endings.told(), "no lease"])

    def detach(self) -> None:
        """Leave the VNIC; see ``Fabric.detach``."""
        self._fabric.detach(self)

    def __repr__(self) -> str:
        return f"<Guest {self.name} on {self.host.hostname}>"

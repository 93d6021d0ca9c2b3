"""The agents of a data centre: what a cloud's controller and agents do with snnet.

They create VNICs, pass each tunnel event from the compute node to the tenant's
concentrator, and remove everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from snnet.contract import DhcpEntry, Key, Noun, SnnetError, Sysctl
from snnet.core.events import TunnelEvent, TunnelEventType
from snnet.core.groups import Group
from snnet.core.vnics import CnciVnic, Vnic
from snnet.node import Cnci, ComputeNode

from .lab import Lab
from .scenario import SSH, Guest, Machine, Scenario, Subnet, Tenant

N = TypeVar("N", ComputeNode, Cnci)

_THREADS = 8


@dataclass(slots=True)
class DataCentre:
    """The scenario's nodes, concentrators and VNICs in a lab.

    Set-up calls raise ``Cancelled`` once the lab is cancelled; ``tear_down()`` removes
    what they created before that.
    """

    lab: Lab
    nodes: dict[Machine, ComputeNode] = field(default_factory=dict)
    cnci_vnics: dict[Tenant, CnciVnic] = field(default_factory=dict)
    concentrators: dict[Tenant, Cnci] = field(default_factory=dict)
    vnics: dict[Guest, Vnic] = field(default_factory=dict)
    _before: dict[str, dict[Key, Noun]] = field(default_factory=dict)

    @property
    def scenario(self) -> Scenario:
        return self.lab.scenario

    def start_nodes(self) -> None:
        """Start the compute nodes and the network node."""
        for machine in self.scenario.machines:
            self.lab.check()
            self.nodes[machine] = self._started(self.lab.compute_node(machine))

    def start_concentrators(self) -> None:
        """Start each tenant's concentrator, a VM on the network node."""
        machine = self.scenario.network_node
        if machine is None:
            return
        for tenant in self.scenario.tenants:
            self.lab.check()
            vnic = self.nodes[machine].create_cnci_vnic(tenant.cnci_vnic(), cancel=self.lab.cancel)
            self.cnci_vnics[tenant] = vnic
            self.concentrators[tenant] = self._started(self.lab.concentrator(tenant, machine, vnic))

    def open_exits(self) -> None:
        """Enable NAT for all tenants, and the scenario's port forwards and public addresses."""
        for tenant, cnci in self.concentrators.items():
            self.lab.check()
            device = cnci.uplinks[0].link_name
            cnci.enable_nat([device], nat66=True, cancel=self.lab.cancel)
            for subnet in cnci.topology()["subnets"].values():
                cnci.allow_external(device, subnet["bridge"], cancel=self.lab.cancel)
            for forward in self.scenario.forwards:
                for ip in forward.guest.ips if forward.guest.tenant == tenant else ():
                    cnci.add_port_forward(
                        protocol="tcp", device=device, port=forward.port, to=ip, to_port=SSH
                    )
            for public in self.scenario.publics:
                if public.guest.tenant == tenant:
                    to = public.guest.ip_of(public.address.version)
                    cnci.add_public_ip(public.address, to=to, device=device)

    def create_vnics(self) -> None:
        """Create each guest's VNIC, its groups, and the concentrator's end of each new tunnel."""
        for group, node in self._groups():
            node.set_group(group.tenant_id, group.name, rules=group.rules, cancel=self.lab.cancel)
        for guest in self.scenario.guests:
            made = self.nodes[guest.machine].create_vnic(guest.vnic(), cancel=self.lab.cancel)
            self.vnics[guest] = made.vnic
            if made.tunnel_event is not None:
                self._follow(guest.tenant, made.tunnel_event)
        self._tell_addresses()

    def _groups(self) -> Iterator[tuple[Group, ComputeNode]]:
        """Each group, on each node that has guests in it."""
        for group in self.scenario.groups:
            members = (
                guest.machine
                for guest in self.scenario.guests
                if group.name in guest.groups and guest.tenant.name == group.tenant_id
            )
            for machine in dict.fromkeys(members):
                if machine in self.nodes:
                    yield group, self.nodes[machine]

    def _tell_addresses(self) -> None:
        """Tell the concentrators the addresses that they cannot derive: those of IPv6."""
        entries: dict[Subnet, list[DhcpEntry]] = {}
        for guest, vnic in self.vnics.items():
            if guest.tenant in self.concentrators:
                entries.setdefault(guest.subnet, []).extend(vnic.dhcp_entries)
        for subnet, found in entries.items():
            self.concentrators[subnet.tenant].dhcp(subnet.networks).add_entries(found)

    def _started(self, node: N) -> N:
        try:
            self._before[str(node.owner)] = node.backend.snapshot()
            node.init()
        except BaseException:
            node.close()
            raise
        return node

    def _follow(self, tenant: Tenant, event: TunnelEvent) -> None:
        """Update the tenant's concentrator for a compute node's tunnel event."""
        # What is taken away goes even when the demo is stopped.
        cancel = self.lab.cancel if event.type is TunnelEventType.ADD else None
        self.concentrators[tenant].follow(event, cancel=cancel)

    def tear_down(self) -> list[str]:
        """Remove everything, whatever fails; return a text for each leftover.

        A leftover is an object on a node's host that was not there before the node
        started, or an error of the removal.
        """
        left: list[str] = []
        guests = [guest for guest in self.scenario.guests if guest.machine in self.nodes]
        _in_parallel(self._destroy, guests, left)
        _in_parallel(_remove_group, self._groups(), left)
        _in_parallel(Cnci.shutdown, self.concentrators.values(), left)
        machine = self.scenario.network_node
        if machine is not None and (network_node := self.nodes.get(machine)):
            cnci_vnics = [tenant.cnci_vnic() for tenant in self.scenario.tenants]
            _in_parallel(network_node.destroy_cnci_vnic, cnci_vnics, left)
        if self.scenario.routed:
            _in_parallel(ComputeNode.reset_network, self.nodes.values(), left)
        every: list[ComputeNode | Cnci] = [*self.concentrators.values(), *self.nodes.values()]
        for new in _in_parallel(self._leftovers_on, every, left):
            left += new
        self.close()
        return left

    def close(self) -> None:
        """Close all nodes; what they created stays."""
        every: list[ComputeNode | Cnci] = [*self.concentrators.values(), *self.nodes.values()]
        for node in every:
            node.close()

    def _destroy(self, guest: Guest) -> None:
        gone = self.nodes[guest.machine].destroy_vnic(guest.vnic())
        if gone.tunnel_event is not None:
            self._follow(guest.tenant, gone.tunnel_event)

    def _leftovers_on(self, node: ComputeNode | Cnci) -> list[str]:
        before = self._before[str(node.owner)]
        return [
            f"{node.id}: {noun}"
            for key, noun in node.backend.snapshot().items()
            if key not in before or (isinstance(noun, Sysctl) and noun != before[key])
        ]


def _remove_group(group_on: tuple[Group, ComputeNode]) -> None:
    group, node = group_on
    node.remove_group(group.tenant_id, group.name)


A = TypeVar("A")
R = TypeVar("R")


def _in_parallel(function: Callable[[A], R], arguments: Iterable[A], left: list[str]) -> list[R]:
    """Call the function for all arguments in parallel, since deleting a link is slow.

    Errors of every kind are appended to ``left``.  Returns the results of the other calls.
    """
    results = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for call in [threads.submit(function, argument) for argument in arguments]:
            try:
                results.append(call.result())
            except SnnetError as error:
                left.append(str(error))
            except Exception as error:
                left.append(f"unknown leftovers: a removal failed with {error!r}, which is a bug")
    return results

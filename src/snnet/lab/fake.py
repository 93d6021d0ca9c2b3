"""The fake lab: hosts and guests in memory, on a fabric; needs no root and makes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface

from snnet.backends.fake import Fabric, FakeKernel
from snnet.backends.fake import Guest as FabricGuest
from snnet.config import NetworkConfig
from snnet.core.compute import CnciVnic, Vnic
from snnet.node import Cnci, ComputeNode
from snnet.node.deadline import CancelToken

from .lab import Lab, Lease
from .scenario import Guest, Machine, Matrix, Scenario, Tenant


class FakeLab(Lab):
    """Fake kernels on a fabric that carries their frames."""

    backend = "fake"

    def __init__(
        self, scenario: Scenario, *, firewall: str, tunnel: str, cancel: CancelToken
    ) -> None:
        self.firewall, self.tunnel = firewall, tunnel
        self.scenario = scenario
        self.cancel = cancel
        self.fabric = Fabric()
        self._config = NetworkConfig(
            compute_nets=[scenario.wire], management_nets=[scenario.wire], tunnel=tunnel
        )
        self._machines: dict[Machine, FakeKernel] = {}
        self._guests: dict[Guest, FabricGuest] = {}
        self._before: dict[FakeKernel, str] = {}

    def build_wire(self) -> None:
        for machine in self.scenario.machines:
            self.check()
            self._machines[machine] = kernel = self.fabric.add_host(machine.name, machine.address)
            self._before[kernel] = kernel.to_text()

    def compute_node(self, machine: Machine) -> ComputeNode:
        kernel = self._machines[machine]
        return ComputeNode(machine.name, self._config, backend=kernel, firewall=self.firewall)

    def concentrator(self, tenant: Tenant, machine: Machine, port: CnciVnic) -> Cnci:
        kernel = self.fabric.add_host(
            tenant.concentrator, tenant.address, on=(self._machines[machine], port)
        )
        self._before[kernel] = kernel.to_text()
        return Cnci(
            tenant.concentrator,
            self._config,
            tenant_id=tenant.name,
            backend=kernel,
            firewall=self.firewall,
            dhcp="fake",
        )

    def start(self, guests: Mapping[Guest, Vnic]) -> None:
        for guest, vnic in guests.items():
            self.check()
            self._guests[guest] = self.fabric.attach(
                self._machines[guest.machine], vnic, dhcp=True, name=guest.name
            )

    def lease(self) -> list[Lease]:
        leases = []
        for guest, fake in self._guests.items():
            self.check()
            lease = fake.lease or fake.renew()
            if lease is not None:
                address = IPv4Interface((lease.address, lease.prefix))
                leases.append(Lease(guest.name, address, lease.gateway, lease.mtu))
        return leases

    def reach(self, expected: Matrix) -> Matrix:
        matrix: dict[str, dict[str, bool]] = {name: {} for name in expected}
        for source, target in self.scenario.pairs():
            if not matrix[source.name]:
                self.check()
            matrix[source.name][target.name] = self.fabric.ping(
                self._guests[source], self._guests[target]
            )
        return matrix

    def close(self) -> list[str]:
        before, self._before = self._before, {}
        return [
            f"{kernel.hostname}: {line.strip()}"
            for kernel, text in before.items()
            for line in kernel.to_text().splitlines()
            if line not in text.splitlines()
        ]

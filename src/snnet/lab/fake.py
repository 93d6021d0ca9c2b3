"""The fake lab: hosts and guests in memory, on a fabric; needs no root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface, ip_network

from snnet.backends.fake import Fabric, FakeKernel
from snnet.backends.fake import Guest as FabricGuest
from snnet.config import NetworkConfig
from snnet.contract import Add, Address, Noun, Route
from snnet.core.vnics import CnciVnic, Vnic
from snnet.node import Cnci, ComputeNode
from snnet.node.deadline import CancelToken

from .lab import Answer, Lab, Lease
from .scenario import INTERNET, WEB, Connection, Guest, Machine, Matrix, Scenario, Tenant

_NIC = "eth0"


class FakeLab(Lab):
    """Fake kernels, and a fabric that carries their frames."""

    backend = "fake"

    def __init__(
        self, scenario: Scenario, *, firewall: str, tunnel: str, cancel: CancelToken
    ) -> None:
        self.firewall, self.tunnel = firewall, tunnel
        self.scenario = scenario
        self.cancel = cancel
        self.fabric = Fabric()
        self._config = NetworkConfig(
            compute_nets=[scenario.wire],
            management_nets=[scenario.wire],
            tunnel=tunnel,
            mode=scenario.mode,
        )
        self._machines: dict[Machine, FakeKernel] = {}
        self._internet: FakeKernel | None = None
        self._guests: dict[Guest, FabricGuest] = {}
        self._before: dict[FakeKernel, str] = {}

    def build_wire(self) -> None:
        for machine in self.scenario.machines:
            self.check()
            self._machines[machine] = kernel = self.fabric.add_host(machine.name, machine.address)
            _apply(kernel, _more_addresses(machine))
            if self.scenario.routed:
                _apply(kernel, _default_routes(self.scenario, machine))
            self._before[kernel] = kernel.to_text()
        internet = self.scenario.internet
        self._internet = kernel = self.fabric.add_host(internet.name, internet.address)
        _apply(kernel, _more_addresses(internet))
        _apply(kernel, _internet_nouns(self.scenario))
        self.fabric.listen(kernel, "tcp", WEB)

    def compute_node(self, machine: Machine) -> ComputeNode:
        kernel = self._machines[machine]
        return ComputeNode(machine.name, self._config, backend=kernel, firewall=self.firewall)

    def concentrator(self, tenant: Tenant, machine: Machine, vnic: CnciVnic) -> Cnci:
        kernel = self.fabric.add_host(
            tenant.concentrator, tenant.address, on=(self._machines[machine], vnic)
        )
        _apply(kernel, _more_addresses(tenant))
        _apply(kernel, _default_routes(self.scenario, tenant))
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
            self._guests[guest] = attached = self.fabric.attach(
                self._machines[guest.machine],
                vnic,
                dhcp=not self.scenario.routed,
                name=guest.name,
            )
            for port in guest.ports:
                self.fabric.listen(attached, "tcp", port)

    def lease(self) -> list[Lease]:
        leases: list[Lease] = []
        for guest, fake in self._guests.items():
            self.check()
            if self.scenario.routed:
                continue
            lease = fake.lease or fake.lease6 or fake.renew()
            if lease is not None and lease.gateway is not None:
                address = ip_interface(f"{lease.address}/{lease.prefix}")
                leases.append(Lease(guest.name, address, lease.gateway, lease.mtu))
        return leases

    def reach(self, expected: Matrix) -> Matrix:
        matrix: dict[str, dict[str, frozenset[int]]] = {name: {} for name in expected}
        for source, target in self.scenario.pairs():
            if not matrix[source.name]:
                self.check()
            pair = self._guests[source], self._guests[target]
            matrix[source.name][target.name] = frozenset(
                version
                for version in self.scenario.versions
                if self.fabric.ping(*pair, version=version)
            )
        return matrix

    def connect(self, connections: Sequence[Connection]) -> list[Answer | None]:
        clients: dict[str, FabricGuest | FakeKernel] = {
            guest.name: fake for guest, fake in self._guests.items()
        }
        assert self._internet is not None
        clients[INTERNET] = self._internet
        answers: list[Answer | None] = []
        for connection in connections:
            self.check()
            made = self.fabric.connected(
                clients[connection.client], connection.address, "tcp", connection.port
            )
            answers.append(Answer(made.station, made.source) if made else None)
        return answers

    def close(self) -> list[str]:
        before, self._before = self._before, {}
        return [
            f"{kernel.hostname}: {line.strip()}"
            for kernel, text in before.items()
            for line in kernel.to_text().splitlines()
            if line not in text.splitlines()
        ]


def _more_addresses(machine: Machine | Tenant) -> Iterator[Noun]:
    """The addresses of a host on the wire after the first one."""
    for address in machine.addresses[1:]:
        yield Address(link=_NIC, address=address)


def _default_routes(scenario: Scenario, machine: Machine | Tenant) -> Iterator[Noun]:
    """The routes from a host on the wire to the internet."""
    for gateway in scenario.gateways(machine):
        everything = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
        yield Route(destination=everything, link=_NIC, gateway=gateway)


def _internet_nouns(scenario: Scenario) -> Iterator[Noun]:
    """The internet's other addresses and its routes to tenants and public addresses."""
    for address in scenario.outsides:
        yield Address(link="lo", address=ip_interface(address))
    for network in scenario.tenant_networks():
        yield Route(destination=network, link=_NIC, gateway=scenario.gateway_to(network))


def _apply(kernel: FakeKernel, nouns: Iterator[Noun]) -> None:
    if error := kernel.apply([Add(noun) for noun in nouns]).error:
        raise error

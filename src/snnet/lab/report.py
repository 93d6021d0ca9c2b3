"""The results of a demo, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from snnet.contract import IPAddress, IPNetwork
from snnet.contract.nat import with_port

from .datacentre import DataCentre
from .lab import Answer, Lease
from .scenario import Connection, Matrix, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a guest's VNIC is, or a concentrator's on the network node.

    ``bridge``, ``tunnel`` and ``link`` are link names on ``node``.
    """

    node: str
    tenant: str
    subnet: IPNetwork
    bridge: str | None
    tunnel: str | None
    guest: str
    link: str
    ip: IPAddress

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            name: value if value is None else str(value) for name, value in asdict(self).items()
        }


def placements(centre: DataCentre) -> Iterator[Placement]:
    """Where every guest and concentrator is, read from the nodes' own topology."""
    for node in centre.nodes.values():
        topology = node.topology()
        subnets = {subnet.id: subnet for subnet in topology.subnets}
        for vnic in topology.vnics:
            subnet = subnets[vnic.tenant_id, vnic.subnet_id]
            yield Placement(
                node=node.id,
                tenant=vnic.tenant_id,
                subnet=vnic.subnet,
                bridge=vnic.bridge,
                tunnel=subnet.tunnel.name if subnet.tunnel else None,
                guest=vnic.instance_id,
                link=vnic.link_name,
                ip=vnic.ip,
            )
    machine = centre.scenario.network_node
    for tenant, cnci_vnic in centre.cnci_vnics.items():
        yield Placement(
            node=machine.name if machine else "",
            tenant=tenant.name,
            subnet=centre.scenario.wire,
            bridge=None,
            tunnel=None,
            guest=cnci_vnic.instance_id,
            link=cnci_vnic.link_name,
            ip=tenant.address.ip,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was built, who reached whom, and what was left over.

    ``seconds`` counts from the first host to the last check for leftovers.
    ``namespaces`` holds the names of a kept data centre's network namespaces, as
    ``ip netns`` knows them, and what each one is.
    """

    backend: str
    firewall: str
    tunnel: str
    scenario: Scenario
    placements: Sequence[Placement]
    leases: Sequence[Lease]
    matrix: Matrix
    answers: Sequence[Answer | None] = ()
    left: Sequence[str] = ()
    namespaces: Mapping[str, str] = field(default_factory=dict)
    seconds: float

    @property
    def expected(self) -> Matrix:
        return self.scenario.expected()

    @property
    def connections(self) -> Sequence[Connection]:
        """The connections that were tried; ``answers`` has the result of each."""
        return list(self.scenario.connections())[: len(self.answers)]

    @property
    def problems(self) -> list[str]:
        """A text for everything that is not as expected."""
        return [
            *([] if self.scenario.routed else wrong_leases(self.scenario, self.leases)),
            *wrong_pings(self.matrix, self.expected),
            *wrong_connections(self.connections, self.answers),
            *(f"left over: {what}" for what in self.left),
        ]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "backend": self.backend,
            "firewall": self.firewall,
            "mode": self.scenario.mode.value,
            "tunnel": None if self.scenario.routed else self.tunnel,
            "uplinks": f"ipv{self.scenario.wire.version}",
            "guests": [guest.to_dict() for guest in self.scenario.guests],
            "groups": [
                {"tenant": group.tenant_id, **group.to_dict()} for group in self.scenario.groups
            ],
            "topology": [place.to_dict() for place in self.placements],
            "leases": [lease.to_dict() for lease in self.leases],
            "matrix": as_wanted(self.matrix, self.expected),
            "expected": as_wanted(self.expected, self.expected),
            "families": {
                str(version): of_version(self.matrix, version)
                for version in sorted(self.scenario.versions)
            },
            "visits": [
                connection_data(connection, answer)
                for connection, answer in zip(self.connections, self.answers, strict=True)
            ],
            "leftovers": list(self.left),
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            **({"namespaces": dict(self.namespaces)} if self.namespaces else {}),
        }


def wrong_leases(scenario: Scenario, leases: Sequence[Lease]) -> list[str]:
    """A text for each guest with no lease or with a wrong address."""
    given = {lease.guest: lease for lease in leases}
    wrong = []
    for guest in scenario.guests:
        lease = given.get(guest.name)
        if lease is None:
            wrong.append(f"{guest.name} got no lease")
        elif lease.address.ip != guest.ip:
            wrong.append(f"{guest.name} got {lease.address.ip} by DHCP, not {guest.ip}")
    return wrong


def connection_data(connection: Connection, answer: Answer | None) -> dict[str, Any]:
    """Plain data for JSON: ``host`` and ``seen_as`` are null without an answer."""
    return {
        "what": connection.what,
        "visitor": connection.client,
        "address": str(connection.address),
        "port": connection.port,
        "host": answer.server if answer else None,
        "seen_as": str(answer.source) if answer else None,
        "ok": is_as_expected(connection, answer),
    }


def is_as_expected(connection: Connection, answer: Answer | None) -> bool:
    """Whether the expected server answered and saw the expected source, or none had to."""
    if answer is None:
        return connection.server is None
    return (connection.server, connection.source) == (answer.server, answer.source)


def wrong_connections(
    connections: Sequence[Connection], answers: Sequence[Answer | None]
) -> list[str]:
    """A text for each connection with another result than expected."""
    return [
        f"{connection.what}: {connection.client} to "
        f"{with_port(connection.address, connection.port)}: "
        f"{_result(answer.server, answer.source) if answer else _NO_ANSWER}; "
        f"expected: {_result(connection.server, connection.source)}"
        for connection, answer in zip(connections, answers, strict=True)
        if not is_as_expected(connection, answer)
    ]


_NO_ANSWER = "no answer"


def _result(server: str | None, source: IPAddress | None) -> str:
    return _NO_ANSWER if server is None else f"answer from {server}, which saw {source}"


def wrong_pings(matrix: Matrix, expected: Matrix) -> list[str]:
    """A text for each pair that must reach each other and cannot, or the reverse."""
    return [
        f"{source} {'cannot reach' if version in expected[source][target] else 'reaches'} "
        f"{target} by IPv{version}"
        for source, row in matrix.items()
        for target, reached in row.items()
        for version in sorted(reached ^ expected[source][target])
    ]


def as_wanted(matrix: Matrix, expected: Matrix) -> dict[str, dict[str, bool]]:
    """For each pair whether it was reached: by all that was expected, or by any family else."""
    return {
        source: {
            target: bool(reached) and reached >= expected[source][target]
            for target, reached in row.items()
        }
        for source, row in matrix.items()
    }


def of_version(matrix: Matrix, version: int) -> dict[str, dict[str, bool]]:
    """For each pair whether it was reached by the IP version."""
    return {
        source: {target: version in reached for target, reached in row.items()}
        for source, row in matrix.items()
    }

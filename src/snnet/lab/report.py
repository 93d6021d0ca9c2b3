"""What a demo has found, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from .datacentre import DataCentre
from .lab import Lease
from .scenario import Matrix, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A VNIC and what it hangs on: a guest's, or a concentrator's on the network node.

    ``bridge``, ``tunnel`` and ``link`` are link names on ``node``.
    """

    node: str
    tenant: str
    subnet: IPv4Network
    bridge: str | None
    tunnel: str | None
    guest: str
    link: str
    ip: IPv4Address

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            name: value if value is None else str(value) for name, value in asdict(self).items()
        }


def places(centre: DataCentre) -> Iterator[Place]:
    """Where every guest and concentrator is, as the nodes themselves say."""
    for node in centre.nodes.values():
        topology = node.topology()
        subnets = {subnet.id: subnet for subnet in topology.subnets}
        for vnic in topology.vnics:
            subnet = subnets[vnic.tenant_id, vnic.subnet_id]
            yield Place(
                node=node.id,
                tenant=vnic.tenant_id,
                subnet=vnic.subnet,
                bridge=vnic.bridge,
                tunnel=subnet.tunnel.name if subnet.tunnel else None,
                guest=vnic.instance_id,
                link=vnic.link_name,
                ip=vnic.ip,
            )
    for tenant, port in centre.ports.items():
        yield Place(
            node=centre.scenario.network_node.name,
            tenant=tenant.name,
            subnet=centre.scenario.wire,
            bridge=None,
            tunnel=None,
            guest=port.instance_id,
            link=port.link_name,
            ip=tenant.address.ip,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was built, who reached whom, and what is left of it.

    ``seconds`` is from the first host to the last look for leftovers.
    """

    backend: str
    firewall: str
    tunnel: str
    scenario: Scenario
    places: Sequence[Place]
    leases: Sequence[Lease]
    matrix: Matrix
    left: Sequence[str]
    seconds: float

    @property
    def expected(self) -> Matrix:
        return self.scenario.expected()

    @property
    def problems(self) -> list[str]:
        """All that is not as it should be, in words."""
        return [
            *wrong_leases(self.scenario, self.leases),
            *wrong_pings(self.matrix, self.expected),
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
            "tunnel": self.tunnel,
            "guests": [guest.to_dict() for guest in self.scenario.guests],
            "topology": [place.to_dict() for place in self.places],
            "leases": [lease.to_dict() for lease in self.leases],
            "matrix": self.matrix,
            "expected": self.expected,
            "leftovers": list(self.left),
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
        }


def wrong_leases(scenario: Scenario, leases: Sequence[Lease]) -> list[str]:
    """Guests without a lease, or with another address than theirs."""
    given = {lease.guest: lease for lease in leases}
    wrong = []
    for guest in scenario.guests:
        lease = given.get(guest.name)
        if lease is None:
            wrong.append(f"{guest.name} got no lease")
        elif lease.address.ip != guest.ip:
            wrong.append(f"{guest.name} got {lease.address.ip} by DHCP, not {guest.ip}")
    return wrong


def wrong_pings(matrix: Matrix, expected: Matrix) -> list[str]:
    """Pairs that reached each other and should not, or the other way round."""
    return [
        f"{source} {'cannot reach' if expected[source][target] else 'reaches'} {target}"
        for source, row in matrix.items()
        for target, reached in row.items()
        if reached != expected[source][target]
    ]

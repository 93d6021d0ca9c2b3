"""What a demo has found, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from .datacentre import DataCentre
from .lab import Lease, Welcome
from .scenario import Matrix, Scenario, Visit


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
    machine = centre.scenario.network_node
    for tenant, port in centre.ports.items():
        yield Place(
            node=machine.name if machine else "",
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
    welcomes: Sequence[Welcome | None] = ()
    left: Sequence[str]
    seconds: float

    @property
    def expected(self) -> Matrix:
        return self.scenario.expected()

    @property
    def visits(self) -> Sequence[Visit]:
        """Those that were made, each with its welcome."""
        return list(self.scenario.visits())[: len(self.welcomes)]

    @property
    def problems(self) -> list[str]:
        """All that is not as it should be, in words."""
        return [
            *([] if self.scenario.routed else wrong_leases(self.scenario, self.leases)),
            *wrong_pings(self.matrix, self.expected),
            *wrong_visits(self.visits, self.welcomes),
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
            "guests": [guest.to_dict() for guest in self.scenario.guests],
            "topology": [place.to_dict() for place in self.places],
            "leases": [lease.to_dict() for lease in self.leases],
            "matrix": self.matrix,
            "expected": self.expected,
            "visits": [
                visit_data(visit, welcome)
                for visit, welcome in zip(self.visits, self.welcomes, strict=True)
            ],
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


def visit_data(visit: Visit, welcome: Welcome | None) -> dict[str, Any]:
    """Plain data for JSON: ``host`` and ``seen_as`` are null where nobody answered."""
    return {
        "what": visit.what,
        "visitor": visit.visitor,
        "address": str(visit.address),
        "port": visit.port,
        "host": welcome.host if welcome else None,
        "seen_as": str(welcome.seen_as) if welcome else None,
        "ok": is_as_expected(visit, welcome),
    }


def is_as_expected(visit: Visit, welcome: Welcome | None) -> bool:
    """Whether just who should have answered, and saw whom he should see, or nobody did."""
    if welcome is None:
        return visit.host is None
    return (visit.host, visit.seen_as) == (welcome.host, welcome.seen_as)


def wrong_visits(visits: Sequence[Visit], welcomes: Sequence[Welcome | None]) -> list[str]:
    """Visits that came to another end than they should."""
    wrong = []
    for visit, welcome in zip(visits, welcomes, strict=True):
        if not is_as_expected(visit, welcome):
            found = f"{welcome.host} saw {welcome.seen_as}" if welcome else "nobody answered"
            meant = f"{visit.host}, who sees {visit.seen_as}" if visit.host else "nobody"
            wrong.append(
                f"{visit.what}: {visit.visitor} to {visit.address}:{visit.port}: {found}, "
                f"not {meant}"
            )
    return wrong


def wrong_pings(matrix: Matrix, expected: Matrix) -> list[str]:
    """Pairs that reached each other and should not, or the other way round."""
    return [
        f"{source} {'cannot reach' if expected[source][target] else 'reaches'} {target}"
        for source, row in matrix.items()
        for target, reached in row.items()
        if reached != expected[source][target]
    ]

"""A host that routes between two subnets of guests and an outside host, for firewall tests."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from snnet.backends.fake import FakeFirewall, FakeKernel, Guest
from snnet.contract import (
    ExternalForward,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Remove,
    Zone,
    ZoneLink,
)

from .steps import add, do, route
from .topology import DataCenter

OTHER = IPv4Network("10.2.0.0/24")
OUTSIDE = "203.0.113.1"
"""The host's address on ``eth1``."""


@dataclass
class Gateway:
    """``host`` has br7 (10.1.0.0/24) with ``a`` and ``b``, br8 (10.2.0.0/24) with ``c``.

    ``world`` is behind ``eth1`` and has a route to the guests, so only rules keep it out.
    It listens on every port.  The host forwards.
    """

    center: DataCenter
    host: FakeKernel
    world: FakeKernel
    a: Guest
    b: Guest
    c: Guest

    def rules(self, *nouns: Noun) -> None:
        add(FakeFirewall(self.host), *nouns)

    def lift(self, *nouns: Noun) -> None:
        do(FakeFirewall(self.host), *map(Remove, nouns))

    def zone(self, *links: str, name: str = "z", owner: str = "", networks: str = "") -> None:
        """Add a zone with these links."""
        behind = tuple(map(IPv4Network, networks.split()))
        self.rules(Zone(owner=owner, zone=name, networks=behind))
        self.rules(*(ZoneLink(owner=owner, zone=name, link=link) for link in links))


def gateway() -> Gateway:
    center = DataCenter()
    host, fabric = center.cnci, center.fabric
    host.add_uplink("eth1", f"{OUTSIDE}/24")
    fabric.plug(host, "eth1")
    center.forward(host)
    center.subnet_at_cnci(7)
    center.subnet_at_cnci(8, OTHER)
    world = fabric.add_host("world", "203.0.113.99/24")
    add(world, route("10.0.0.0/8", "eth0", OUTSIDE))
    for protocol in ("tcp", "udp", "sctp"):
        fabric.listen(world, protocol)
    return Gateway(
        center,
        host,
        world,
        center.guest(host, "10.1.0.9"),
        center.guest(host, "10.1.0.10"),
        fabric.attach(host, center.vm(host, "10.2.0.9", 8, OTHER)),
    )


def forward(port: int = 33265, target: str = "10.1.0.9", **values: object) -> PortForward:
    """Return a forward of a TCP port of ``eth1`` to port 22 of a guest."""
    return PortForward(
        **{
            "protocol": "tcp",
            "device": "eth1",
            "port": port,
            "target": IPv4Address(target),
            "target_port": 22,
            "addresses": (IPv4Address(OUTSIDE),),
            **values,
        }  # type: ignore[arg-type]
    )


def public(address: str = "203.0.113.5", internal: str = "10.1.0.9") -> PublicIp:
    return PublicIp(public=IPv4Address(address), internal=IPv4Address(internal), device="eth1")


def external(bridge: str = "br7", *, nat66: bool = False) -> tuple[Noun, ...]:
    """Return the rules that let a bridge's guests out."""
    return Masquerade(device="eth1", nat66=nat66), ExternalForward(device="eth1", bridge=bridge)

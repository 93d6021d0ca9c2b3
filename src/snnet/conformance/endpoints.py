"""The network of a rig: one host, "hub", and the endpoints around it.

::

      a1   a2     b1     c1       r1    r2
      |pa1 |pa2   |pb1   |pc1     |pr1  |pr2        (links of the hub)
     [ in-a  ]  [in-b]  [in-c]    |     |           (bridges of the hub)
     +------------------------- hub -------------+
              |ext0                   |ext1
             out                     far

The hub is the default route of every endpoint and has a route to each of them, so
that only the firewall can stop a packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

PORT = 7000
"""Every endpoint and the hub answer on this TCP, UDP and SCTP port, and on no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A link of the hub that has addresses: a bridge, or a device to the outside."""

    name: str
    mac: str
    address: IPv4Interface
    address6: IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A guest or outsider: its NIC, and the link of the hub that leads to it."""

    name: str
    link: str
    mac: str
    address: IPv4Interface
    gateway: IPv4Address
    gateway_mac: str
    bridge: str | None = None
    """The bridge that ``link`` is a port of."""
    address6: IPv6Interface | None = None
    gateway6: IPv6Address | None = None

    @property
    def ip(self) -> IPv4Address:
        return self.address.ip

    @property
    def ip6(self) -> IPv6Address:
        assert self.address6 is not None, f"{self.name} has no IPv6 address"
        return self.address6.ip

    def __repr__(self) -> str:
        return self.name


def _wire(name: str, number: int, address: str, address6: str) -> Wire:
    return Wire(
        name=name,
        mac=f"02:00:00:00:01:{number:02x}",
        address=IPv4Interface(address),
        address6=IPv6Interface(address6),
    )


def _behind(wire: Wire, name: str, number: int, port: str = "") -> Endpoint:
    """Return the endpoint with host number ``number`` in the networks of the wire."""
    network, network6 = wire.address.network, wire.address6.network
    return Endpoint(
        name=name,
        link=port or wire.name,
        bridge=wire.name if port else None,
        mac=f"02:00:{network[number].packed.hex(':')}",
        address=IPv4Interface(f"{network[number]}/{network.prefixlen}"),
        gateway=wire.address.ip,
        gateway_mac=wire.mac,
        address6=IPv6Interface(f"{network6[number]}/{network6.prefixlen}"),
        gateway6=wire.address6.ip,
    )


def _routed(name: str, address: str, address6: str, number: int) -> Endpoint:
    """Return a guest in routed mode: it has a /32, a /128 and the link-local gateways."""
    ip = IPv4Interface(address)
    return Endpoint(
        name=name,
        link=f"p{name}",
        mac=f"02:00:{ip.ip.packed.hex(':')}",
        address=ip,
        gateway=ROUTED_GATEWAY,
        gateway_mac=f"02:00:00:00:02:{number:02x}",
        address6=IPv6Interface(address6),
        gateway6=ROUTED_GATEWAY6,
    )


ROUTED_GATEWAY = IPv4Address("169.254.1.1")
ROUTED_GATEWAY6 = IPv6Address("fe80::1")

IN_A = _wire("in-a", 1, "10.1.0.1/24", "fd00:1::1/64")
IN_B = _wire("in-b", 2, "10.2.0.1/24", "fd00:2::1/64")
IN_C = _wire("in-c", 3, "10.3.0.1/24", "fd00:3::1/64")
EXT0 = _wire("ext0", 4, "203.0.113.1/24", "2001:db8:1::1/64")
EXT1 = _wire("ext1", 5, "198.51.100.1/24", "2001:db8:2::1/64")
BRIDGES = (IN_A, IN_B, IN_C)
DEVICES = (EXT0, EXT1)

A1 = _behind(IN_A, "a1", 9, "pa1")
A2 = _behind(IN_A, "a2", 10, "pa2")
B1 = _behind(IN_B, "b1", 9, "pb1")
C1 = _behind(IN_C, "c1", 9, "pc1")
R1 = _routed("r1", "10.4.0.9/32", "fd00:4::9/128", 1)
R2 = _routed("r2", "10.4.0.10/32", "fd00:4::a/128", 2)
OUT = _behind(EXT0, "out", 9)
FAR = _behind(EXT1, "far", 9)
ENDPOINTS = (A1, A2, B1, C1, R1, R2, OUT, FAR)

HUB = Endpoint(
    name="hub",
    link="lo",
    mac="00:00:00:00:00:00",
    address=IPv4Interface("127.0.0.1/8"),
    gateway=IPv4Address("127.0.0.1"),
    gateway_mac="00:00:00:00:00:00",
)
"""The host itself, as an endpoint that sends and answers."""

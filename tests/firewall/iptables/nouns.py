"""One noun of each kind and their extremes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    HostServices,
    Masquerade,
    Noun,
    OpenAddress,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    TranslatedSource,
    Zone,
    ZoneLink,
)

OWNER = "cnci:tester"
LONGEST_OWNER = "cnci:" + "Z" * 64
LONGEST_ID = "aZ9._-" + "x" * 58
LONGEST_LINK = "a.b_c-d12345678"

ZONE = Zone(owner=OWNER, zone="t1")
LINK = ZoneLink(owner=OWNER, link="br1", zone="t1", networks=(IPv4Network("10.1.0.0/24"),))
BRIDGE = BridgeAccept(owner=OWNER, bridge="br9")
ISOLATION = HostIsolation(owner=OWNER, link="br9")
PORT = AntiSpoof(
    owner=OWNER, link="tap1", mac="02:00:00:00:00:01", addresses=(IPv4Address("10.1.0.9"),)
)
ROUTED = AntiSpoof(
    owner=OWNER,
    link="tap7",
    mac="02:00:00:00:00:07",
    addresses=(IPv4Address("10.7.0.7"), IPv4Address("10.7.0.8")),
    bridged=False,
)
MASQUERADE = Masquerade(owner=OWNER, device="eth0")
EXIT = ExternalForward(owner=OWNER, device="eth0", bridge="br1")
FORWARD = PortForward(
    owner=OWNER,
    protocol="tcp",
    device="eth0",
    port=80,
    target=IPv4Address("10.1.0.9"),
    target_port=8080,
    addresses=(IPv4Address("203.0.113.1"),),
)
PUBLIC = PublicIp(
    owner=OWNER,
    public=IPv4Address("203.0.113.5"),
    internal=IPv4Address("10.1.0.5"),
    device="eth0",
)

SERVICES = HostServices(owner=OWNER, link="br1")
PROTECTED = ProtectedNetwork(owner=OWNER, network=IPv4Network("192.0.2.0/24"))

TRANSLATED = TranslatedSource(owner=OWNER, source=IPv4Address("169.254.7.9"))
OPEN = OpenAddress(owner=OWNER, address=IPv4Address("203.0.113.9"))

ALL: list[Noun] = [
    ZONE,
    PROTECTED,
    LINK,
    BRIDGE,
    ISOLATION,
    SERVICES,
    PORT,
    ROUTED,
    TRANSLATED,
    OPEN,
    PUBLIC,
    MASQUERADE,
    EXIT,
    FORWARD,
]
"""In the order of their ranks."""


def extremes(owner: str) -> list[Noun]:
    """The longest names and ids, the most addresses, the greatest numbers."""
    many = tuple(IPv4Address("255.255.255.100") + n for n in range(100))
    return [
        Zone(
            owner=owner,
            zone=LONGEST_ID,
            networks=tuple(ip_network(f"fdff:ffff:ffff:{n:x}::/64") for n in range(4096, 4136))
            + tuple(ip_network(f"10.{n}.0.0/16") for n in range(100)),
            outbound=True,
        ),
        ZoneLink(owner=owner, link=LONGEST_LINK, zone=LONGEST_ID),
        ZoneLink(owner=owner, link="0", zone=LONGEST_ID, networks=(IPv4Network("0.0.0.0/0"),)),
        ProtectedNetwork(owner=owner, network=IPv4Network("128.0.0.0/1"), closed=False),
        BridgeAccept(owner=owner, bridge=LONGEST_LINK),
        HostIsolation(owner=owner, link=LONGEST_LINK, arp=False),
        HostIsolation(owner=owner, link="x", arp=True),
        AntiSpoof(owner=owner, link=LONGEST_LINK, mac="fe:ff:ff:ff:ff:ff", addresses=many),
        AntiSpoof(owner=owner, link="x", mac="02:00:00:00:00:00", addresses=(), bridged=False),
        Masquerade(owner=owner, device=LONGEST_LINK),
        ExternalForward(owner=owner, device=LONGEST_LINK, bridge=LONGEST_LINK),
        PortForward(
            owner=owner,
            protocol="sctp",
            device=LONGEST_LINK,
            port=65535,
            target=IPv4Address("255.255.255.254"),
            target_port=1,
            addresses=tuple(IPv4Address("203.0.113.0") + n for n in range(30)),
        ),
        PortForward(
            owner=owner,
            protocol="sctp",
            device=LONGEST_LINK,
            port=65535,
            target=IPv4Address("255.255.255.254"),
            target_port=65535,
            address=IPv4Address("255.255.255.254"),
            sources=tuple(IPv4Network((0xC0A80000 + 4 * n, 30)) for n in range(40)),
        ),
        PublicIp(
            owner=owner,
            public=IPv4Address("255.255.255.254"),
            internal=IPv4Address("0.0.0.1"),
            device=LONGEST_LINK,
        ),
    ]

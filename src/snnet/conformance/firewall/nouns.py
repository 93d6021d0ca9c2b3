"""Rules of all kinds, with ordinary and extreme values."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from snnet.contract import (
    PROTOCOLS,
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    HostIsolation,
    HostServices,
    Masquerade,
    MssClamp,
    Noun,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    TunnelGuard,
    Untracked,
    Zone,
)

LINK = "uplink-0.100_ab"
"""A link name of the greatest length: 15 bytes."""

ID = "x" + "A.b_c-9" * 9
"""An id of the greatest length: 64 characters."""

ADDRESS = IPv4Address("255.255.255.254")
ADDRESSES: tuple[Any, ...] = (
    IPv4Address("10.1.0.9"),
    IPv4Address("10.1.0.77"),
)
NETWORKS: tuple[Any, ...] = tuple(IPv4Network((10 << 24 | number << 8, 24)) for number in range(40))
MANY: tuple[Any, ...] = tuple(IPv4Address("255.255.255.200") + number for number in range(40))
"""As many addresses as a link may have, of 15 characters each."""

ORDINARY: tuple[Noun, ...] = (
    Zone(zone="ta"),
    ProtectedNetwork(network=NETWORKS[0]),
    BridgeAccept(bridge="br0"),
    Untracked(link="tap0"),
    TunnelGuard(link="tun0", protocol="udp", port=4789, tunnel_key=7, remote=ADDRESS),
    HostIsolation(link="br0"),
    HostServices(link="br0"),
    AntiSpoof(link="tap0", mac="02:00:0a:01:00:09", addresses=ADDRESSES[:1]),
    DhcpGuard(link="tap0", mac="02:00:0a:01:00:09"),
    ArpGuard(link="tap0", mac="02:00:0a:01:00:09", address=ADDRESSES[0]),
    MssClamp(link="tap0", mtu=1450),
    MssClamp(link="br0", mtu=1400, bridged=False),
    Masquerade(device="eth0"),
    ExternalForward(device="eth0", bridge="br0"),
    PortForward(protocol="tcp", device="eth0", port=80, target=ADDRESSES[0], target_port=8080),
    PublicIp(public=IPv4Address("203.0.113.5"), internal=ADDRESSES[0], device="eth0"),
)
EXTREME: tuple[Noun, ...] = (
    Zone(zone=ID, networks=NETWORKS),
    Zone(zone="out", outbound=True),
    ProtectedNetwork(network=IPv4Network("128.0.0.0/1"), closed=False, port=65535),
    ProtectedNetwork(network=IPv4Network("10.255.255.255/32")),
    BridgeAccept(bridge=LINK),
    Untracked(link=LINK, router="fe:ff:ff:ff:ff:ff"),
    TunnelGuard(link=LINK, protocol="gre", port=0, tunnel_key=2**32 - 1, remote=ADDRESS),
    HostIsolation(link=LINK, arp=False, open_address=ADDRESS),
    HostServices(link=LINK),
    AntiSpoof(link=LINK, mac="fe:ff:ff:ff:ff:ff", addresses=ADDRESSES),
    AntiSpoof(link=LINK, mac="02:00:0a:01:00:09", addresses=ADDRESSES, bridged=False),
    DhcpGuard(link=LINK, mac="fe:ff:ff:ff:ff:ff"),
    ArpGuard(link=LINK, mac="fe:ff:ff:ff:ff:ff", address=ADDRESS),
    MssClamp(link=LINK, mtu=65535),
    Masquerade(device=LINK),
    ExternalForward(device=LINK, bridge=LINK.swapcase()),
    *(
        PortForward(
            protocol=protocol,
            device=LINK,
            port=port,
            target=ADDRESS,
            target_port=65536 - port,
            addresses=ADDRESSES[:addresses],
        )
        for protocol in PROTOCOLS
        for port, addresses in ((1, 0), (65535, 2))
    ),
    PortForward(
        protocol="sctp",
        device=LINK,
        port=65535,
        target=ADDRESS,
        target_port=65535,
        address=ADDRESS,
        sources=NETWORKS,
    ),
    PortForward(
        protocol="udp",
        device=LINK,
        port=2,
        target=ADDRESS,
        target_port=65535,
        addresses=MANY,
        sources=(IPv4Network("0.0.0.0/0"), *NETWORKS[:2]),
    ),
    AntiSpoof(link="many", mac="02:00:0a:01:00:09", addresses=MANY, bridged=False),
    AntiSpoof(link="nets", mac="02:00:0a:01:00:09", addresses=(), networks=NETWORKS),
    PublicIp(public=ADDRESS, internal=IPv4Address("1.0.0.1"), device=LINK),
)
LONG = IPv6Address("fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")
OF_IPV6: tuple[Noun, ...] = (
    HostIsolation(link="iso6", arp=False, open_address=LONG),
    TunnelGuard(
        link="tun6", protocol="udp", port=4789, tunnel_key=7, remote=IPv6Address("fd00:1::9")
    ),
    Zone(zone="t6", networks=(*NETWORKS[:2], IPv6Network("fd00:1234:5678:9abc::/64"))),
    ProtectedNetwork(network=IPv6Network("fd00:1234:5678:9abc::/64")),
    ProtectedNetwork(network=IPv6Network("ffff::1/128"), closed=False, port=1),
    Masquerade(device="eth6", nat66=True),
    PortForward(
        protocol="tcp", device=LINK, port=80, target=IPv6Address("fd00:1::9"), target_port=8080
    ),
    PortForward(
        protocol="sctp",
        device=LINK,
        port=65535,
        target=LONG,
        target_port=65535,
        address=LONG,
        sources=(IPv6Network("::/0"), *(IPv6Network((int(LONG) - n, 128)) for n in range(40))),
    ),
    PortForward(
        protocol="udp",
        device=LINK,
        port=2,
        target=LONG,
        target_port=1,
        addresses=(*MANY, *(LONG - number for number in range(40))),
    ),
    PublicIp(public=LONG, internal=IPv6Address("::2"), device=LINK),
    AntiSpoof(
        link="nets6",
        mac="02:00:0a:01:00:09",
        addresses=(LONG,),
        networks=(*NETWORKS[:2], IPv6Network("fd00:1234:5678:9abc::/64"), IPv6Network("::/0")),
        bridged=False,
    ),
    AntiSpoof(link="a6", mac="02:00:0a:01:00:09", addresses=(IPv6Address("fd00:1::9"),)),
    AntiSpoof(
        link="r6",
        mac="02:00:0a:01:00:09",
        addresses=(*ADDRESSES, IPv6Address("fd00:1::9")),
        bridged=False,
    ),
)
"""IPv6 rules: a driver may have declared gaps here."""

"""Rules as elements of sets and maps, and back.

Each noun has one *record*: an element whose comment tells what its key does not.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any, NamedTuple

from snnet.contract import (
    PROTOCOLS,
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    HostIsolation,
    Masquerade,
    Noun,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    TunnelGuard,
    Untracked,
    Zone,
    ZoneLink,
    error_for,
)

from .tables import (
    ARP,
    BRIDGE,
    DHCP_CHAIN,
    FORWARD,
    INET,
    INPUT,
    NAT,
    NEIGHBOURS,
    PORTS,
    SOURCES,
    UNTRACKED,
)
from .types import ETHER, IFNAME, IPV4, IPV6, NET, PORT, PROTO, Type, Values, pack

COMMENT_MAX = 128
"""Longest comment of an element in bytes (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl)."""

_NOBODY = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set or map of a table of the family."""

    family: str
    set: str
    types: tuple[Type, ...]
    key: Values
    data: str = ""
    comment: str = ""
    shared: bool = False
    """Whether other nouns may need it too: it goes with the last of them."""

    def text(self, *, whole: bool = True) -> str:
        """In nft's words; without comment and data it names the element only."""
        words = " . ".join(
            kind.text(value) for kind, value in zip(self.types, self.key, strict=True)
        )
        if whole and self.comment:
            words += f' comment "{self.comment}"'
        return f"{words} : {self.data}" if whole and self.data else words

    def packed(self) -> bytes:
        """The key in the kernel's bytes."""
        return pack(self.types, self.key)


class Record(NamedTuple):
    """Where the records of a class of nouns are, and how a noun is read from one."""

    family: str
    set: str
    types: tuple[Type, ...]
    key: Callable[[Any], Values]
    """The key of a noun's record."""
    read: Callable[[str, Values, list[str]], Noun]
    """From owner, key and the words of the comment."""


def _anti_spoof(owner: str, key: Values, words: list[str], *, bridged: bool) -> AntiSpoof:
    mac, *addresses = words
    return AntiSpoof(
        owner=owner,
        link=key[0],
        mac=mac,
        addresses=tuple(map(ip_address, addresses)),
        bridged=bridged,
    )


RECORDS: dict[type[Noun], tuple[Record, ...]] = {
    ZoneLink: (
        Record(
            INET,
            "inside",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: ZoneLink(
                owner=owner,
                link=key[0],
                zone=words[0],
                network=IPv4Network(words[1]) if words[1:] else None,
            ),
        ),
    ),
    ProtectedNetwork: (
        Record(
            INET,
            "protected",
            (IPV4, PORT),
            lambda noun: (noun.network.network_address, noun.network.prefixlen),
            lambda owner, key, words: ProtectedNetwork(
                owner=owner, network=IPv4Network(key), closed="closed" in words
            ),
        ),
    ),
    BridgeAccept: (
        Record(
            INET,
            "closed",
            (IFNAME,),
            lambda noun: (noun.bridge,),
            lambda owner, key, words: BridgeAccept(owner=owner, bridge=key[0]),
        ),
    ),
    Untracked: (
        Record(
            BRIDGE,
            "untracked",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: Untracked(
                owner=owner, link=key[0], router=words[0] if words else None
            ),
        ),
    ),
    TunnelGuard: tuple(
        Record(
            INET,
            name,
            (IFNAME, kind),
            lambda noun: (noun.link, noun.remote),
            lambda owner, key, words: TunnelGuard(
                owner=owner,
                link=key[0],
                remote=key[1],
                protocol=words[0],
                port=int(words[1]),
                tunnel_key=int(words[2]),
            ),
        )
        for name, kind in (("tunnels", IPV4), ("tunnels6", IPV6))
    ),
    HostIsolation: (
        Record(
            INET,
            "isolated",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: HostIsolation(owner=owner, link=key[0], arp="arp" in words),
        ),
    ),
    AntiSpoof: (
        Record(
            BRIDGE,
            "guarded",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: _anti_spoof(owner, key, words, bridged=True),
        ),
        Record(
            INET,
            "guarded",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: _anti_spoof(owner, key, words, bridged=False),
        ),
    ),
    DhcpGuard: (
        Record(
            BRIDGE,
            "dhcp",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: DhcpGuard(owner=owner, link=key[0], mac=words[0]),
        ),
    ),
    ArpGuard: (
        Record(
            ARP,
            "guarded",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: ArpGuard(
                owner=owner, link=key[0], mac=words[0], address=IPv4Address(words[1])
            ),
        ),
    ),
    Masquerade: (
        Record(
            INET,
            "masquerades",
            (IFNAME,),
            lambda noun: (noun.device,),
            lambda owner, key, words: Masquerade(owner=owner, device=key[0]),
        ),
    ),
    ExternalForward: (
        Record(
            INET,
            "exits",
            (IFNAME, IFNAME),
            lambda noun: (noun.bridge, noun.device),
            lambda owner, key, words: ExternalForward(owner=owner, bridge=key[0], device=key[1]),
        ),
    ),
    PortForward: (
        Record(
            INET,
            "port_forwards",
            (IFNAME, PROTO, PORT),
            lambda noun: (noun.device, noun.protocol, noun.port),
            lambda owner, key, words: PortForward(
                owner=owner,
                device=key[0],
                protocol=key[1],
                port=key[2],
                target=IPv4Address(words[0]),
                target_port=int(words[1]),
                addresses=tuple(map(IPv4Address, words[2:])),
            ),
        ),
    ),
    PublicIp: (
        Record(
            INET,
            "publics",
            (IPV4,),
            lambda noun: (noun.public,),
            lambda owner, key, words: PublicIp(
                owner=owner, public=key[0], internal=IPv4Address(words[0]), device=words[1]
            ),
        ),
    ),
}


_NEEDS: dict[type[Noun], tuple[tuple[str, str], ...]] = {
    Zone: ((INET, FORWARD),),
    ProtectedNetwork: ((INET, FORWARD),),
    ZoneLink: ((INET, FORWARD),),
    BridgeAccept: ((INET, FORWARD),),
    Untracked: ((BRIDGE, UNTRACKED),),
    TunnelGuard: ((INET, INPUT),),
    HostIsolation: ((INET, INPUT), (ARP, INPUT)),
    AntiSpoof: ((BRIDGE, PORTS), (INET, SOURCES)),
    DhcpGuard: ((BRIDGE, PORTS),),
    ArpGuard: ((ARP, NEIGHBOURS),),
    Masquerade: ((INET, NAT),),
    ExternalForward: ((INET, FORWARD),),
    PortForward: ((INET, NAT),),
    PublicIp: ((INET, NAT),),
}
"""Families and parts that nouns of a class can need."""


def needs(noun: Noun) -> set[tuple[str, str]]:
    """Families and parts of tables without which the noun does nothing."""
    possible = set(_NEEDS[type(noun)])
    if isinstance(noun, AntiSpoof):
        return {need for need in possible if (need[0] == BRIDGE) == noun.bridged}
    if isinstance(noun, HostIsolation) and not noun.arp:
        possible.discard((ARP, INPUT))
    return possible


def records_for(family: str, part: str) -> set[str]:
    """The sets with a record, or a part of one, for each noun that needs this part."""
    if (family, part) == (ARP, INPUT):
        return {"isolated"}
    return {
        record.set
        for cls, records in RECORDS.items()
        for record in records
        if record.family == family and (family, part) in _NEEDS[cls]
    }


def elements(noun: Noun) -> Iterator[Element]:
    """All that the noun adds, its record first.  Raises ``Rejected`` for what cannot be."""
    match noun:
        case ZoneLink(link=link, zone=zone):
            network = f" {noun.network}" if noun.network else ""
            yield Element(INET, "inside", (IFNAME,), (link,), comment=f"{zone}{network}")
            yield Element(INET, f"links-{zone}", (IFNAME,), (link,))
            yield Element(INET, "from", (IFNAME,), (link,), f"jump from-{zone}")
            yield Element(INET, "into", (IFNAME,), (link,), f"goto into-{zone}")
        case ProtectedNetwork(network=network, closed=closed):
            key = (network.network_address, network.prefixlen)
            comment = "closed" if closed else "tunnels"
            yield Element(INET, "protected", (IPV4, PORT), key, comment=comment)
            yield Element(INET, "closed_nets" if closed else "tunnel_nets", (NET,), (network,))
        case BridgeAccept(bridge=bridge):
            yield Element(INET, "closed", (IFNAME,), (bridge,))
            yield Element(INET, "bridged", (IFNAME, IFNAME), (bridge, bridge))
        case Untracked(link=link, router=router):
            yield Element(BRIDGE, "untracked", (IFNAME,), (link,), comment=router or "")
            if router is not None:
                yield Element(BRIDGE, "routers", (IFNAME, ETHER), (link, router))
        case TunnelGuard():
            yield from _tunnel_guard(noun)
        case HostIsolation(link=link, arp=arp):
            yield Element(INET, "isolated", (IFNAME,), (link,), comment="arp" if arp else "ip")
            if arp:
                yield Element(ARP, "isolated", (IFNAME,), (link,))
        case AntiSpoof():
            yield from _guard(noun)
        case DhcpGuard(link=link, mac=mac):
            yield Element(BRIDGE, "dhcp", (IFNAME,), (link,), f"jump {DHCP_CHAIN}{link}", mac)
        case ArpGuard(link=link, mac=mac, address=address):
            yield Element(ARP, "guarded", (IFNAME,), (link,), comment=f"{mac} {address}")
            for sender in (address, _NOBODY):
                yield Element(ARP, "senders", (IFNAME, ETHER, IPV4), (link, mac, sender))
        case Masquerade(device=device):
            yield Element(INET, "masquerades", (IFNAME,), (device,))
        case ExternalForward(device=device, bridge=bridge):
            yield Element(INET, "exits", (IFNAME, IFNAME), (bridge, device))
        case PortForward():
            yield from _port_forward(noun)
        case PublicIp(public=public, internal=internal, device=device):
            to = str(internal)
            yield Element(INET, "publics", (IPV4,), (public,), to, f"{internal} {device}")
            source = (internal, device)
            yield Element(INET, "public_sources", (IPV4, IFNAME), source, str(public))
            yield Element(INET, "public_exits", (IPV4, IFNAME), source)


def _guard(noun: AntiSpoof) -> Iterator[Element]:
    family = BRIDGE if noun.bridged else INET
    comment = " ".join(map(str, (noun.mac, *noun.addresses)))
    if len(comment) > COMMENT_MAX:
        raise error_for(errno.E2BIG, f"add {noun}", detail="too many addresses")
    yield Element(family, "guarded", (IFNAME,), (noun.link,), comment=comment)
    if noun.bridged:
        yield Element(BRIDGE, "own", (IFNAME, ETHER), (noun.link, noun.mac))
    # Once 0.0.0.0 only where a frame's own rules look at what it is for.
    sources = (*noun.addresses, _NOBODY) if noun.bridged else noun.addresses
    for address in sources:
        name, kind = ("sources", IPV4) if address.version == 4 else ("sources6", IPV6)
        yield Element(family, name, (IFNAME, ETHER, kind), (noun.link, noun.mac, address))


def _tunnel_guard(noun: TunnelGuard) -> Iterator[Element]:
    remote = noun.remote
    suffix, kind = ("", IPV4) if remote.version == 4 else ("6", IPV6)
    comment = f"{noun.protocol} {noun.port} {noun.tunnel_key}"
    yield Element(INET, f"tunnels{suffix}", (IFNAME, kind), (noun.link, remote), comment=comment)
    if noun.protocol == "gre" and remote.version == 4:
        yield Element(INET, "gre_peers", (IPV4,), (remote,), shared=True)
    elif noun.protocol == "udp":
        peers = (f"tunnel_peers{suffix}", (kind, PORT), (remote, noun.port))
        yield Element(INET, *peers, shared=True)
        yield Element(INET, "tunnel_ports", (PORT,), (noun.port,), shared=True)
    else:
        raise error_for(errno.EINVAL, f"add {noun}", detail="not udp, nor gre over IPv4")


def _port_forward(noun: PortForward) -> Iterator[Element]:
    if noun.protocol not in PROTOCOLS:
        raise error_for(errno.EINVAL, f"add {noun}", detail=f"no ports in {noun.protocol!r}")
    for port in (noun.port, noun.target_port):
        if not 0 < port < 2**16:
            raise error_for(errno.EINVAL, f"add {noun}", detail=f"{port} is no port")
    comment = " ".join(map(str, (noun.target, noun.target_port, *noun.addresses)))
    if len(comment) > COMMENT_MAX:
        raise error_for(errno.E2BIG, f"add {noun}", detail="the device has too many addresses")
    to = f"{noun.target} . {noun.target_port}"
    here = (noun.protocol, noun.port)
    types = (IFNAME, PROTO, PORT)
    yield Element(INET, "port_forwards", types, (noun.device, *here), to, comment)
    for address in noun.addresses:
        yield Element(INET, "hairpins", (IPV4, PROTO, PORT), (address, *here), to)

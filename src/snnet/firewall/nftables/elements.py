"""Rules as elements of sets and maps."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    HostIsolation,
    HostServices,
    Masquerade,
    Noun,
    PortForward,
    ProtectedNetwork,
    PublicIp,
    TunnelGuard,
    Untracked,
    ZoneLink,
    error_for,
)

from .chains import client_chain, source_chain
from .records import ANY, CONTINUES, MORE
from .tables import ARP, BRIDGE, INET
from .types import ETHER, IFNAME, IPV4, IPV6, NET, PORT, PROTO, Type, Values, pack

COMMENT_MAX = 128
"""Longest comment of an element in bytes (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl)."""

_NOBODY = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set or map, in a table of the family."""

    family: str
    set: str
    types: tuple[Type, ...]
    key: Values
    data: str = ""
    comment: str = ""
    shared: bool = False
    """Whether other nouns may need it too: it is removed with the last of them."""

    def text(self, *, whole: bool = True) -> str:
        """Return the element as nft text; without comment and data it only names the element."""
        words = " . ".join(
            kind.text(value) for kind, value in zip(self.types, self.key, strict=True)
        )
        if whole and self.comment:
            words += f' comment "{self.comment}"'
        return f"{words} : {self.data}" if whole and self.data else words

    def packed(self) -> bytes:
        """Return the key as the kernel's bytes."""
        return pack(self.types, self.key)


def elements(noun: Noun) -> Iterator[Element]:
    """Yield the elements of the noun, its record first.  Raise ``Rejected`` for a bad value."""
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
        case HostServices(link=link):
            yield Element(INET, "limited", (IFNAME,), (link,))
        case AntiSpoof():
            yield from _guard(noun)
        case DhcpGuard(link=link, mac=mac):
            yield Element(BRIDGE, "dhcp", (IFNAME,), (link,), f"jump {client_chain(link)}", mac)
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
    record = Element(family, "guarded", (IFNAME,), (noun.link,))
    yield from _recorded(record, [noun.mac, *noun.addresses])
    if noun.bridged:
        yield Element(BRIDGE, "own", (IFNAME, ETHER), (noun.link, noun.mac))
    # 0.0.0.0 only on bridge ports, whose rules check what it is used for.
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
    if fault := noun.fault():
        raise error_for(errno.EINVAL, f"add {noun}", detail=fault)
    record = Element(
        INET,
        "forwards",
        (IFNAME, PROTO, PORT, IPV4),
        (noun.device, noun.protocol, noun.port, noun.address or ANY),
    )
    yield from _recorded(record, [noun.target, noun.target_port, *noun.addresses, *noun.sources])
    if noun.sources:
        kind, to = "checks", f"jump {source_chain(noun)}"
    else:
        kind, to = "forwards", f"{noun.target} . {noun.target_port}"
    if noun.address:
        yield Element(INET, f"address_{kind}", record.types, record.key, to)
    else:
        yield Element(INET, f"port_{kind}", record.types[:-1], record.key[:-1], to)
    # Guests arrive by other links than the device.
    hairpins = "hairpin_checks" if noun.sources else "hairpins"
    hairpins = f"address_{hairpins}" if noun.address else hairpins
    for address in noun.guest_addresses:
        key = (address, noun.protocol, noun.port)
        yield Element(INET, hairpins, (IPV4, PROTO, PORT), key, to)


def _recorded(record: Element, words: Iterable[object]) -> Iterator[Element]:
    """Yield the record with these words as its comment, and the elements for the rest of them."""
    comments = [""]
    for word in map(str, words):
        longer = f"{comments[-1]} {word}" if comments[-1] else word
        if len(longer) + len(CONTINUES) < COMMENT_MAX:
            comments[-1] = longer
        else:
            comments[-1] += f" {CONTINUES}"
            comments.append(word)
    yield replace(record, comment=comments[0])
    for number, comment in enumerate(comments[1:], 1):
        yield replace(
            record,
            set=f"{record.set}{MORE}",
            types=(*record.types, PORT),
            key=(*record.key, number),
            comment=comment,
        )

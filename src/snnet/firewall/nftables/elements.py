"""Rules as elements of sets and maps, and back.

Each noun has one *record*: an element whose comment tells what its key does not.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Any, NamedTuple

from snnet.contract import (
    PROTOCOLS,
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    Untracked,
    Zone,
    ZoneLink,
    error_for,
)

from .tables import ARP, BRIDGE, FORWARD, INET, INPUT, NAT, PORTS, SOURCES, UNTRACKED

COMMENT_MAX = 128
"""Longest comment of an element in bytes (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl)."""

_NOBODY = IPv4Address(0)
_PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOL_NUMBERS.items()}


class Type(NamedTuple):
    """A type of nft's: how a value is written in its language and in the kernel's bytes."""

    size: int
    text: Callable[[Any], str]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode()


def _quoted(name: str) -> str:
    if '"' in name:  # nft's strings have no way to say it
        raise error_for(errno.EINVAL, f"name the link {name!r} to nft", detail="it has a quote")
    return f'"{name}"'


IFNAME = Type(16, _quoted, lambda name: name.encode().ljust(16, b"\0"), _name)
IPV4 = Type(4, str, lambda address: address.packed, IPv4Address)
IPV6 = Type(16, str, lambda address: address.packed, IPv6Address)
ETHER = Type(6, str, lambda mac: bytes.fromhex(mac.replace(":", "")), lambda raw: raw.hex(":"))
PROTO = Type(
    1, str, lambda name: bytes([_PROTOCOL_NUMBERS[name]]), lambda raw: _PROTOCOL_NAMES[raw[0]]
)
PORT = Type(
    2, str, lambda port: port.to_bytes(2, "big"), lambda raw: int.from_bytes(raw[:2], "big")
)

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a set or map of a table of the family."""

    family: str
    set: str
    types: tuple[Type, ...]
    key: Values
    data: str = ""
    comment: str = ""

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


def pack(types: tuple[Type, ...], values: Values) -> bytes:
    """A key; the parts of a concatenation are padded to registers of four bytes."""
    parts = [kind.encode(value) for kind, value in zip(types, values, strict=True)]
    if len(parts) == 1:
        return parts[0]
    return b"".join(part.ljust(-(-len(part) // 4) * 4, b"\0") for part in parts)


def unpack(types: tuple[Type, ...], raw: bytes) -> Values:
    values, offset = [], 0
    for kind in types:
        values.append(kind.decode(raw[offset : offset + kind.size]))
        offset += -(-kind.size // 4) * 4
    return tuple(values)


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
    ZoneLink: ((INET, FORWARD),),
    BridgeAccept: ((INET, FORWARD),),
    Untracked: ((BRIDGE, UNTRACKED),),
    HostIsolation: ((INET, INPUT), (ARP, INPUT)),
    AntiSpoof: ((BRIDGE, PORTS), (INET, SOURCES)),
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
    if family == ARP:
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
        case BridgeAccept(bridge=bridge):
            yield Element(INET, "closed", (IFNAME,), (bridge,))
            yield Element(INET, "bridged", (IFNAME, IFNAME), (bridge, bridge))
        case Untracked(link=link, router=router):
            yield Element(BRIDGE, "untracked", (IFNAME,), (link,), comment=router or "")
            if router is not None:
                yield Element(BRIDGE, "routers", (IFNAME, ETHER), (link, router))
        case HostIsolation(link=link, arp=arp):
            yield Element(INET, "isolated", (IFNAME,), (link,), comment="arp" if arp else "ip")
            if arp:
                yield Element(ARP, "isolated", (IFNAME,), (link,))
        case AntiSpoof():
            yield from _guard(noun)
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
    # Once 0.0.0.0 only where a frame's own rules look at what it is for.
    sources = (*noun.addresses, _NOBODY) if noun.bridged else noun.addresses
    for address in sources:
        name, kind = ("sources", IPV4) if address.version == 4 else ("sources6", IPV6)
        yield Element(family, name, (IFNAME, ETHER, kind), (noun.link, noun.mac, address))


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

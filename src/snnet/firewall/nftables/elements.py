"""Rules as elements of sets and maps, and back.

Each noun has one *record*: an element with a comment for what its key does not contain.
A comment that is too long for one element ends with the word ``+`` and continues in
elements of another set.  Their keys are the record's key and a number.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple

from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    Masquerade,
    Noun,
    PortForward,
    PublicIp,
    ZoneLink,
    error_for,
)

from .tables import ARP, BRIDGE, INET, source_chain

COMMENT_MAX = 128
"""Longest comment of an element in bytes (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl)."""

CONTINUES = "+"
"""Last word of a comment that continues in another element."""

_MORE = "_more"
_NOBODY = ANY = IPv4Address(0)
_PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOL_NUMBERS.items()}


class Type(NamedTuple):
    """A type of nft: how a value is written as text and as the kernel's bytes."""

    size: int
    text: Callable[[Any], str]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode()


def _quoted(name: str) -> str:
    if '"' in name:  # a string of nft cannot contain it
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
    """One element of a set or map, in a table of the family."""

    family: str
    set: str
    types: tuple[Type, ...]
    key: Values
    data: str = ""
    comment: str = ""

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


def pack(types: tuple[Type, ...], values: Values) -> bytes:
    """Return a key; the parts of a concatenation are padded to registers of four bytes."""
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


class RecordType(NamedTuple):
    """Where the records of a class of nouns are, and how to read a noun from one."""

    family: str
    set: str
    types: tuple[Type, ...]
    key: Callable[[Any], Values]
    """The key of a noun's record."""
    read: Callable[[str, Values, list[str]], Noun]
    """From owner, key and the words of the comment."""
    long: bool = False
    """Whether a comment may continue in elements of the set ``more``."""

    @property
    def more(self) -> str:
        """The set in which comments continue."""
        return f"{self.set}{_MORE}"


def _anti_spoof(owner: str, key: Values, words: list[str], *, bridged: bool) -> AntiSpoof:
    mac, *addresses = words
    return AntiSpoof(
        owner=owner,
        link=key[0],
        mac=mac,
        addresses=tuple(map(ip_address, addresses)),
        bridged=bridged,
    )


RECORDS: dict[type[Noun], tuple[RecordType, ...]] = {
    ZoneLink: (
        RecordType(
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
        RecordType(
            INET,
            "closed",
            (IFNAME,),
            lambda noun: (noun.bridge,),
            lambda owner, key, words: BridgeAccept(owner=owner, bridge=key[0]),
        ),
    ),
    HostIsolation: (
        RecordType(
            INET,
            "isolated",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: HostIsolation(owner=owner, link=key[0], arp="arp" in words),
        ),
    ),
    AntiSpoof: (
        RecordType(
            BRIDGE,
            "guarded",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: _anti_spoof(owner, key, words, bridged=True),
            long=True,
        ),
        RecordType(
            INET,
            "guarded",
            (IFNAME,),
            lambda noun: (noun.link,),
            lambda owner, key, words: _anti_spoof(owner, key, words, bridged=False),
            long=True,
        ),
    ),
    Masquerade: (
        RecordType(
            INET,
            "masquerades",
            (IFNAME,),
            lambda noun: (noun.device,),
            lambda owner, key, words: Masquerade(owner=owner, device=key[0]),
        ),
    ),
    ExternalForward: (
        RecordType(
            INET,
            "exits",
            (IFNAME, IFNAME),
            lambda noun: (noun.bridge, noun.device),
            lambda owner, key, words: ExternalForward(owner=owner, bridge=key[0], device=key[1]),
        ),
    ),
    PortForward: (
        RecordType(
            INET,
            "forwards",
            (IFNAME, PROTO, PORT, IPV4),
            lambda noun: (noun.device, noun.protocol, noun.port, noun.address or ANY),
            lambda owner, key, words: PortForward(
                owner=owner,
                device=key[0],
                protocol=key[1],
                port=key[2],
                address=None if key[3] == ANY else key[3],
                target=IPv4Address(words[0]),
                target_port=int(words[1]),
                addresses=tuple(IPv4Address(word) for word in words[2:] if "/" not in word),
                sources=tuple(ip_network(word) for word in words[2:] if "/" in word),
            ),
            long=True,
        ),
    ),
    PublicIp: (
        RecordType(
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


def elements(noun: Noun) -> Iterator[Element]:
    """Yield the elements of the noun, its record first.  Raise ``Rejected`` for a bad value."""
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
    record = Element(family, "guarded", (IFNAME,), (noun.link,))
    yield from _recorded(record, [noun.mac, *noun.addresses])
    # 0.0.0.0 only on bridge ports, whose rules check what it is used for.
    sources = (*noun.addresses, _NOBODY) if noun.bridged else noun.addresses
    for address in sources:
        name, kind = ("sources", IPV4) if address.version == 4 else ("sources6", IPV6)
        yield Element(family, name, (IFNAME, ETHER, kind), (noun.link, noun.mac, address))


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
            set=f"{record.set}{_MORE}",
            types=(*record.types, PORT),
            key=(*record.key, number),
            comment=comment,
        )

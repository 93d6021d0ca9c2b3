"""The records of nouns: the elements that tell which nouns are there.

Each noun has one *record*: an element with a comment for what its key does not contain.
A comment that is too long for one element ends with the word ``+`` and continues in
elements of another set.  Their keys are the record's key and a number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, NamedTuple

from snnet.contract import (
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
    OpenAddress,
    Owned,
    PortForward,
    PortGroups,
    ProtectedNetwork,
    PublicIp,
    TranslatedSource,
    TunnelGuard,
    Untracked,
    ZoneLink,
)

from .families import FAMILIES, family_of
from .tables import ARP, BRIDGE, INET
from .types import IFNAME, PORT, PROTO, Type, Values

CONTINUES = "+"
"""Last word of a comment that continues in another element."""

MORE = "_more"
"""Suffix of the sets in which comments continue."""


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
        return f"{self.set}{MORE}"


def _anti_spoof(owner: str, key: Values, words: list[str], *, bridged: bool) -> AntiSpoof:
    mac, *words = words
    return AntiSpoof(
        owner=owner,
        link=key[0],
        mac=mac,
        addresses=tuple(ip_address(word) for word in words if "/" not in word),
        bridged=bridged,
        networks=tuple(ip_network(word) for word in words if "/" in word),
    )


def port_groups_words(noun: PortGroups) -> list[str]:
    """Return the words of the comment of a port's record."""
    return [noun.tenant, str(len(noun.groups)), *noun.groups, *map(str, noun.addresses)]


def _port_groups(owner: str, key: Values, words: list[str], *, bridged: bool) -> PortGroups:
    end = 2 + int(words[1])
    return PortGroups(
        owner=owner,
        link=key[0],
        tenant=words[0],
        groups=tuple(words[2:end]),
        addresses=tuple(map(ip_address, words[end:])),
        bridged=bridged,
    )


def _forward_key(noun: PortForward) -> Values:
    return noun.device, noun.protocol, noun.port, noun.address or family_of(noun.target).any


def _forward(owner: str, key: Values, words: list[str]) -> PortForward:
    device, protocol, port, address = key
    return PortForward(
        owner=owner,
        device=device,
        protocol=protocol,
        port=port,
        address=None if address.is_unspecified else address,
        target=ip_address(words[0]),
        target_port=int(words[1]),
        addresses=tuple(ip_address(word) for word in words[2:] if "/" not in word),
        sources=tuple(ip_network(word) for word in words[2:] if "/" in word),
    )


def _addresses(name: str, noun: type[Owned], field: str) -> tuple[RecordType, ...]:
    """The records of nouns that are one address, in a set of each family."""
    return tuple(
        RecordType(
            INET,
            f"{name}{family.s}",
            (family.address,),
            lambda one: (getattr(one, field),),
            lambda owner, key, words: noun(owner=owner, **{field: key[0]}),
        )
        for family in FAMILIES
    )


def _of_link(
    family: str,
    name: str,
    read: Callable[[str, Values, list[str]], Noun],
    *,
    field: str = "link",
    long: bool = False,
) -> RecordType:
    """The records of nouns of which each link has one."""
    return RecordType(family, name, (IFNAME,), lambda noun: (getattr(noun, field),), read, long)


RECORDS: dict[type[Noun], tuple[RecordType, ...]] = {
    ZoneLink: (
        _of_link(
            INET,
            "inside",
            lambda owner, key, words: ZoneLink(
                owner=owner,
                link=key[0],
                zone=words[0],
                networks=tuple(map(ip_network, words[1:])),
            ),
        ),
    ),
    ProtectedNetwork: tuple(
        RecordType(
            INET,
            f"protected{family.s}",
            (family.address, PORT),
            lambda noun: (noun.network.network_address, noun.network.prefixlen),
            lambda owner, key, words: ProtectedNetwork(
                owner=owner,
                network=ip_network(key),
                closed=words[0] == "closed",
                port=int(words[1]) if words[1:] else None,
            ),
        )
        for family in FAMILIES
    ),
    BridgeAccept: (
        _of_link(
            INET,
            "closed",
            lambda owner, key, words: BridgeAccept(owner=owner, bridge=key[0]),
            field="bridge",
        ),
    ),
    Untracked: (
        _of_link(
            BRIDGE,
            "untracking",
            lambda owner, key, words: Untracked(
                owner=owner, link=key[0], router=words[0] if words else None
            ),
        ),
    ),
    TunnelGuard: tuple(
        RecordType(
            INET,
            f"tunnels{family.s}",
            (IFNAME, family.address),
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
        for family in FAMILIES
    ),
    HostIsolation: (
        _of_link(
            INET,
            "isolated",
            lambda owner, key, words: HostIsolation(
                owner=owner,
                link=key[0],
                arp=words[0] == "arp",
                open_address=ip_address(words[1]) if words[1:] else None,
            ),
        ),
    ),
    HostServices: (
        _of_link(INET, "limited", lambda owner, key, words: HostServices(owner=owner, link=key[0])),
    ),
    AntiSpoof: tuple(
        _of_link(family, "guarded", partial(_anti_spoof, bridged=family == BRIDGE), long=True)
        for family in (BRIDGE, INET)
    ),
    DhcpGuard: (
        _of_link(
            BRIDGE,
            "clients",
            lambda owner, key, words: DhcpGuard(owner=owner, link=key[0], mac=words[0]),
        ),
    ),
    PortGroups: tuple(
        _of_link(family, "grouped", partial(_port_groups, bridged=family == BRIDGE), long=True)
        for family in (BRIDGE, INET)
    ),
    MssClamp: (
        _of_link(
            BRIDGE,
            "clamps",
            lambda owner, key, words: MssClamp(owner=owner, link=key[0], mtu=int(words[0])),
        ),
        _of_link(
            INET,
            "clamps",
            lambda owner, key, words: MssClamp(
                owner=owner, link=key[0], mtu=int(words[0]), bridged=False
            ),
        ),
    ),
    ArpGuard: (
        _of_link(
            ARP,
            "guarded",
            lambda owner, key, words: ArpGuard(
                owner=owner, link=key[0], mac=words[0], address=IPv4Address(words[1])
            ),
        ),
    ),
    Masquerade: (
        _of_link(
            INET,
            "masquerades",
            lambda owner, key, words: Masquerade(
                owner=owner, device=key[0], nat66="nat66" in words
            ),
            field="device",
        ),
    ),
    TranslatedSource: _addresses("translated", TranslatedSource, "source"),
    OpenAddress: _addresses("open", OpenAddress, "address"),
    ExternalForward: (
        RecordType(
            INET,
            "exits",
            (IFNAME, IFNAME),
            lambda noun: (noun.bridge, noun.device),
            lambda owner, key, words: ExternalForward(owner=owner, bridge=key[0], device=key[1]),
        ),
    ),
    PortForward: tuple(
        RecordType(
            INET,
            f"forwards{family.s}",
            (IFNAME, PROTO, PORT, family.address),
            _forward_key,
            _forward,
            long=True,
        )
        for family in FAMILIES
    ),
    PublicIp: tuple(
        RecordType(
            INET,
            f"publics{family.s}",
            (family.address,),
            lambda noun: (noun.public,),
            lambda owner, key, words: PublicIp(
                owner=owner,
                public=key[0],
                internal=ip_address(words[0]),
                device=words[1],
                gateway=ip_address(words[2]) if words[2:] else None,
            ),
        )
        for family in FAMILIES
    ),
}

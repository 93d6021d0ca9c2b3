"""Which parts of the tables a noun needs, and which nouns need a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from snnet.contract import (
    AntiSpoof,
    ArpGuard,
    BridgeAccept,
    DhcpGuard,
    ExternalForward,
    GroupMembers,
    GroupRules,
    HostIsolation,
    HostServices,
    Masquerade,
    MssClamp,
    Noun,
    OpenAddress,
    PortForward,
    PortGroups,
    ProtectedNetwork,
    PublicIp,
    TranslatedSource,
    TunnelGuard,
    Untracked,
    Zone,
    ZoneLink,
)

from .families import V4, V6
from .records import RECORDS
from .tables import (
    ARP,
    BRIDGE,
    CLAMP,
    CONFINED,
    FORWARD,
    GROUPS,
    INET,
    INPUT,
    NAT,
    NAT6,
    NEIGHBOURS,
    PORTS,
    SOURCES,
    TRACKING,
)

Need = tuple[str, str]
"""A family, and a part of its table."""

_NEEDS: dict[type[Noun], frozenset[Need]] = {
    Zone: frozenset({(INET, FORWARD)}),
    ProtectedNetwork: frozenset({(INET, FORWARD)}),
    ZoneLink: frozenset({(INET, FORWARD)}),
    BridgeAccept: frozenset({(INET, FORWARD)}),
    Untracked: frozenset({(BRIDGE, PORTS), (INET, CONFINED), (ARP, CONFINED)}),
    TunnelGuard: frozenset({(INET, INPUT), (INET, TRACKING)}),
    HostIsolation: frozenset({(INET, INPUT), (ARP, INPUT)}),
    HostServices: frozenset({(INET, INPUT)}),
    AntiSpoof: frozenset({(BRIDGE, PORTS), (INET, SOURCES)}),
    DhcpGuard: frozenset({(BRIDGE, PORTS)}),
    MssClamp: frozenset({(BRIDGE, CLAMP), (INET, CLAMP)}),
    ArpGuard: frozenset({(ARP, NEIGHBOURS)}),
    GroupMembers: frozenset({(BRIDGE, GROUPS), (INET, GROUPS)}),
    GroupRules: frozenset({(BRIDGE, GROUPS), (INET, GROUPS)}),
    PortGroups: frozenset({(BRIDGE, GROUPS), (INET, GROUPS)}),
    Masquerade: frozenset({(INET, NAT), (INET, NAT6)}),
    ExternalForward: frozenset({(INET, FORWARD)}),
    PortForward: frozenset({(INET, NAT), (INET, NAT6)}),
    PublicIp: frozenset({(INET, NAT), (INET, NAT6)}),
    TranslatedSource: frozenset({(INET, NAT), (INET, NAT6)}),
    OpenAddress: frozenset({(INET, FORWARD)}),
}
"""The families and the parts of tables that nouns of a class can need."""

_ONLY: dict[tuple[type[Noun], str], frozenset[Need]] = {
    (cls, word): frozenset(need for need in possible if word in need)
    for cls, possible in _NEEDS.items()
    for word in (BRIDGE, INET, NAT, NAT6)
}
"""Those of one family, or of one part."""


def _of_family(noun: AntiSpoof | MssClamp | GroupMembers | GroupRules | PortGroups) -> str:
    return BRIDGE if noun.bridged else INET


_WORDS: dict[type[Noun], Callable[[Any], str]] = {
    AntiSpoof: _of_family,
    MssClamp: _of_family,
    GroupMembers: _of_family,
    GroupRules: _of_family,
    PortGroups: _of_family,
    HostIsolation: lambda noun: "" if noun.arp else INET,
    Masquerade: lambda noun: "" if noun.nat66 else NAT,
    PortForward: lambda noun: NAT if noun.target.version == 4 else NAT6,
    PublicIp: lambda noun: NAT if noun.public.version == 4 else NAT6,
    TranslatedSource: lambda noun: NAT if noun.source.version == 4 else NAT6,
}
"""The family or the part that a noun of a class needs; empty: all that the class can need."""


def needs(noun: Noun) -> frozenset[Need]:
    """Return the families and the parts of tables that the noun needs to take effect."""
    kind = type(noun)
    if (word_of := _WORDS.get(kind)) is not None and (word := word_of(noun)):
        return _ONLY[kind, word]
    return _NEEDS[kind]


def records_for(family: str, part: str) -> set[str]:
    """Return the sets that hold one element for each noun that needs this part of a table."""
    if (family, part) == (ARP, INPUT):
        return {"isolated"}
    if part in (NAT, NAT6):
        s = (V4 if part == NAT else V6).s
        return {f"{name}{s}" for name in ("masquerades", "translated", "forwards", "publics")}
    return {
        record.set
        for cls, records in RECORDS.items()
        for record in records
        if record.family == family and (family, part) in _NEEDS[cls]
    }

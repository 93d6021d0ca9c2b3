"""Which parts of the tables a noun needs, and which nouns need a part."""

from __future__ import annotations

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
    UNTRACKED,
)

_NEEDS: dict[type[Noun], tuple[tuple[str, str], ...]] = {
    Zone: ((INET, FORWARD),),
    ProtectedNetwork: ((INET, FORWARD),),
    ZoneLink: ((INET, FORWARD),),
    BridgeAccept: ((INET, FORWARD),),
    Untracked: ((BRIDGE, UNTRACKED), (INET, CONFINED), (ARP, CONFINED)),
    TunnelGuard: ((INET, INPUT), (INET, TRACKING)),
    HostIsolation: ((INET, INPUT), (ARP, INPUT)),
    HostServices: ((INET, INPUT),),
    AntiSpoof: ((BRIDGE, PORTS), (INET, SOURCES)),
    DhcpGuard: ((BRIDGE, PORTS),),
    MssClamp: ((BRIDGE, CLAMP), (INET, CLAMP)),
    ArpGuard: ((ARP, NEIGHBOURS),),
    GroupMembers: ((BRIDGE, GROUPS), (INET, GROUPS)),
    GroupRules: ((BRIDGE, GROUPS), (INET, GROUPS)),
    PortGroups: ((BRIDGE, GROUPS), (INET, GROUPS)),
    Masquerade: ((INET, NAT), (INET, NAT6)),
    ExternalForward: ((INET, FORWARD),),
    PortForward: ((INET, NAT), (INET, NAT6)),
    PublicIp: ((INET, NAT), (INET, NAT6)),
    TranslatedSource: ((INET, NAT), (INET, NAT6)),
    OpenAddress: ((INET, FORWARD),),
}
"""The families and the parts of tables that nouns of a class can need."""


def needs(noun: Noun) -> set[tuple[str, str]]:
    """Return the families and the parts of tables that the noun needs to take effect."""
    possible = set(_NEEDS[type(noun)])
    match noun:
        case AntiSpoof() | MssClamp() | GroupMembers() | GroupRules() | PortGroups():
            return {need for need in possible if (need[0] == BRIDGE) == noun.bridged}
        case HostIsolation(arp=False):
            return possible - {(ARP, INPUT)}
        case Masquerade(nat66=False):
            return possible - {(INET, NAT6)}
        case (
            PortForward(target=address)
            | PublicIp(public=address)
            | TranslatedSource(source=address)
        ):
            return {(INET, NAT if address.version == 4 else NAT6)}
    return possible


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

"""Rules as elements of sets and maps."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

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
    ZoneLink,
    error_for,
)

from . import groups
from .chains import source_chain
from .families import FAMILIES, V4, collapsed, family_of
from .records import CONTINUES, MORE, port_groups_words
from .tables import ARP, BRIDGE, INET
from .types import (
    ETHER,
    IFNAME,
    IPV4,
    IPV6,
    PORT,
    PROTO,
    RAW_ETHER,
    RAW_IPV6,
    RAW_RANGE6,
    Type,
    Values,
    pack,
    pack_last,
)

COMMENT_MAX = 128
"""Longest comment of an element in bytes (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl)."""

_NOBODY = IPv4Address(0)


class Element(NamedTuple):
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
        """Return the key as the kernel's bytes.  Raise ``Rejected`` for a bad value."""
        try:
            return pack(self.types, self.key)
        except (ValueError, KeyError, OverflowError) as error:
            what = f"put an element into set {self.set}"
            raise error_for(errno.EINVAL, what, detail=str(error)) from None

    def last(self) -> bytes:
        """Return the last key that it matches, as the kernel's bytes; none without a range."""
        for kind in self.types:
            if kind.last:
                return pack_last(self.types, self.key)
        return b""


def elements(noun: Noun) -> Iterable[Element]:
    """Return the elements of the noun, its record first.  Raise ``Rejected`` for a bad value."""
    return _ELEMENTS[type(noun)](noun) if type(noun) in _ELEMENTS else ()


# Those of every VNIC, of which a create makes many, are lists; the others are generators.


def _zone_link(noun: ZoneLink) -> Iterator[Element]:
    link, zone = noun.link, noun.zone
    comment = " ".join([zone, *map(str, noun.networks)])
    yield Element(INET, "inside", (IFNAME,), (link,), comment=comment)
    yield Element(INET, f"links-{zone}", (IFNAME,), (link,))
    yield Element(INET, "from", (IFNAME,), (link,), f"jump from-{zone}")
    yield Element(INET, "into", (IFNAME,), (link,), f"goto into-{zone}")


def _protected_network(noun: ProtectedNetwork) -> Iterator[Element]:
    network, closed, port = noun.network, noun.closed, noun.port
    key = (network.network_address, network.prefixlen)
    comment = f"{'closed' if closed else 'tunnels'}{f' {port}' if port else ''}"
    of = family_of(network)
    yield Element(INET, f"protected{of.s}", (of.address, PORT), key, comment=comment)
    name = f"{'closed' if closed else 'tunnel'}_nets{of.s}"
    yield Element(INET, name, (of.network,), (network,))
    if port and not closed:
        yield Element(INET, f"port_nets{of.s}", (of.range, PORT), (network, port))


def _bridge_accept(noun: BridgeAccept) -> Iterator[Element]:
    yield Element(INET, "closed", (IFNAME,), (noun.bridge,))
    yield Element(INET, "bridged", (IFNAME, IFNAME), (noun.bridge, noun.bridge))


def _untracked(noun: Untracked) -> list[Element]:
    link, router = noun.link, noun.router
    if router is None:
        return [Element(BRIDGE, "untracking", (IFNAME,), (link,), "jump bridged")]
    return [
        Element(BRIDGE, "untracking", (IFNAME,), (link,), "jump routed", router),
        Element(BRIDGE, "routers", (IFNAME, ETHER), (link, router)),
    ]


def _host_isolation(noun: HostIsolation) -> Iterator[Element]:
    link, address = noun.link, noun.open_address
    comment = f"{'arp' if noun.arp else 'ip'}{f' {address}' if address else ''}"
    yield Element(INET, "isolated", (IFNAME,), (link,), comment=comment)
    if address:
        of = family_of(address)
        yield Element(INET, f"host_open{of.s}", (IFNAME, of.address), (link, address))
    if noun.arp:
        yield Element(ARP, "isolated", (IFNAME,), (link,))
    else:
        yield Element(INET, "neighbours", (IFNAME,), (link,))


def _host_services(noun: HostServices) -> Iterator[Element]:
    yield Element(INET, "limited", (IFNAME,), (noun.link,))


def _group_members(noun: GroupMembers) -> Iterator[Element]:
    family = groups.table_of(noun).family
    for address in noun.addresses:
        of = family_of(address)
        yield Element(family, groups.members_set(of, noun), (of.address,), (address,))


def _group_rules(noun: GroupRules) -> Iterator[Element]:
    family = groups.table_of(noun).family
    for number, comment in enumerate(groups.written(noun.rules)):
        yield Element(family, groups.rules_set(noun), (PORT,), (number,), "", comment)


def _dhcp_guard(noun: DhcpGuard) -> list[Element]:
    link, mac = noun.link, noun.mac
    return [
        Element(BRIDGE, "clients", (IFNAME,), (link,), "", mac),
        Element(BRIDGE, "leases", (IFNAME, RAW_ETHER), (link, mac)),
    ]


def _mss_clamp(noun: MssClamp) -> Iterator[Element]:
    family = BRIDGE if noun.bridged else INET
    for of, size in zip(FAMILIES, noun.sizes, strict=True):
        comment = str(noun.mtu) if of is V4 else ""
        yield Element(family, f"clamps{of.s}", (IFNAME,), (noun.link,), str(size), comment)


def _arp_guard(noun: ArpGuard) -> Iterator[Element]:
    link, mac, address = noun.link, noun.mac, noun.address
    yield Element(ARP, "guarded", (IFNAME,), (link,), comment=f"{mac} {address}")
    for sender in (address, _NOBODY):
        yield Element(ARP, "senders", (IFNAME, ETHER, IPV4), (link, mac, sender))


def _masquerade(noun: Masquerade) -> Iterator[Element]:
    comment = "nat66" if noun.nat66 else ""
    yield Element(INET, "masquerades", (IFNAME,), (noun.device,), comment=comment)
    if noun.nat66:
        yield Element(INET, "masquerades6", (IFNAME,), (noun.device,))


def _translated_source(noun: TranslatedSource) -> Iterator[Element]:
    of = family_of(noun.source)
    yield Element(INET, f"translated{of.s}", (of.address,), (noun.source,))


def _open_address(noun: OpenAddress) -> Iterator[Element]:
    of = family_of(noun.address)
    yield Element(INET, f"open{of.s}", (of.address,), (noun.address,))


def _external_forward(noun: ExternalForward) -> Iterator[Element]:
    yield Element(INET, "exits", (IFNAME, IFNAME), (noun.bridge, noun.device))


def _public_ip(noun: PublicIp) -> Iterator[Element]:
    of, source = family_of(noun.public), (noun.internal, noun.device)
    comment = f"{noun.internal} {noun.device}{f' {noun.gateway}' if noun.gateway else ''}"
    to = str(noun.internal)
    yield Element(INET, f"publics{of.s}", (of.address,), (noun.public,), to, comment)
    types = (of.address, IFNAME)
    yield Element(INET, f"public_sources{of.s}", types, source, str(noun.public))
    yield Element(INET, f"public_exits{of.s}", types, source)


def _guard(noun: AntiSpoof) -> list[Element]:
    family, link, mac = BRIDGE if noun.bridged else INET, noun.link, noun.mac
    words = (mac, *noun.addresses, *noun.networks)
    found = _recorded(family, "guarded", (IFNAME,), (link,), words)
    ranges = collapsed(noun.networks) if noun.networks else []
    if noun.bridged or ranges:
        found.append(Element(family, "own", (IFNAME, ETHER), (link, mac)))
    for address in noun.addresses:
        if isinstance(address, IPv4Address):
            found.append(Element(family, "sources", (IFNAME, ETHER, IPV4), (link, mac, address)))
    for network in ranges:
        of = family_of(network)
        found.append(Element(family, f"ranges{of.s}", (IFNAME, of.range), (link, network)))
        if network.version == 6:
            found.append(Element(family, "target_ranges6", (IFNAME, RAW_RANGE6), (link, network)))
    if own := _ipv6_addresses(noun):
        found.append(Element(family, "own6", (IFNAME, ETHER), (link, mac)))
        found.append(Element(family, "macs6", (IFNAME, RAW_ETHER), (link, mac)))
        for ip in own:
            found.append(Element(family, "sources6", (IFNAME, ETHER, IPV6), (link, mac, ip)))
            found.append(Element(family, "targets6", (IFNAME, RAW_IPV6), (link, ip)))
    return found


def _port_groups(noun: PortGroups) -> Iterator[Element]:
    link, family = noun.link, groups.table_of(noun).family
    yield from _recorded(family, "grouped", (IFNAME,), (link,), port_groups_words(noun))
    yield Element(family, "learners", (IFNAME,), (link,), f"goto learn-{link}")
    yield Element(family, "leaving_by", (IFNAME,), (link,), f"goto out-{link}")
    yield Element(family, "entering_by", (IFNAME,), (link,), f"goto in-{link}")
    for group in noun.groups:
        for address in dict.fromkeys(noun.addresses):
            of = family_of(address)
            name = groups.locals_set(of, noun.tenant, group)
            yield Element(family, name, (of.address,), (address,))


def _ipv6_addresses(noun: AntiSpoof) -> tuple[IPv6Address, ...]:
    try:
        return noun.ipv6_addresses
    except ValueError:
        detail = f"{noun.mac!r} is not a MAC"
        raise error_for(errno.EINVAL, f"add {noun}", detail=detail) from None


def _tunnel_guard(noun: TunnelGuard) -> Iterator[Element]:
    remote, of = noun.remote, family_of(noun.remote)
    comment = f"{noun.protocol} {noun.port} {noun.tunnel_key}"
    key = (noun.link, remote)
    yield Element(INET, f"tunnels{of.s}", (IFNAME, of.address), key, comment=comment)
    if noun.protocol == "gre" and remote.version == 4:
        yield Element(INET, "gre_peers", (IPV4,), (remote,), shared=True)
    elif noun.protocol == "udp":
        peers = (f"tunnel_peers{of.s}", (of.address, PORT), (remote, noun.port))
        yield Element(INET, *peers, shared=True)
        yield Element(INET, "tunnel_ports", (PORT,), (noun.port,), shared=True)
    else:
        raise error_for(errno.EINVAL, f"add {noun}", detail="not udp, nor gre over IPv4")


def _port_forward(noun: PortForward) -> Iterator[Element]:
    of = family_of(noun.target)
    types = (IFNAME, PROTO, PORT, of.address)
    key = (noun.device, noun.protocol, noun.port, noun.address or of.any)
    words = (noun.target, noun.target_port, *noun.addresses, *noun.sources)
    yield from _recorded(INET, f"forwards{of.s}", types, key, words)
    if noun.sources:
        kind, to = "checks", f"jump {source_chain(noun)}"
    else:
        kind, to = "forwards", f"{noun.target} . {noun.target_port}"
    if noun.address:
        yield Element(INET, f"address_{kind}{of.s}", types, key, to)
    else:
        yield Element(INET, f"port_{kind}{of.s}", types[:-1], key[:-1], to)
    # Guests arrive by other links than the device.
    hairpins = "hairpin_checks" if noun.sources else "hairpins"
    hairpins = f"address_{hairpins}" if noun.address else hairpins
    for address in noun.guest_addresses:
        guest = (address, noun.protocol, noun.port)
        yield Element(INET, f"{hairpins}{of.s}", (of.address, PROTO, PORT), guest, to)


def _recorded(
    family: str, name: str, types: tuple[Type, ...], key: Values, words: Iterable[object]
) -> list[Element]:
    """Return a record with these words as its comment, and the elements for the rest of them."""
    written = list(map(str, words))
    comments = [" ".join(written)]
    if len(comments[0]) + len(CONTINUES) >= COMMENT_MAX:
        comments = _several(written)
    found = [Element(family, name, types, key, "", comments[0])]
    for number, comment in enumerate(comments[1:], 1):
        more = (*types, PORT), (*key, number)
        found.append(Element(family, f"{name}{MORE}", *more, "", comment))
    return found


def _several(words: Iterable[str]) -> list[str]:
    """Return the words as comments that are not too long."""
    comments = [""]
    for word in words:
        longer = f"{comments[-1]} {word}" if comments[-1] else word
        if len(longer) + len(CONTINUES) < COMMENT_MAX:
            comments[-1] = longer
        else:
            comments[-1] += f" {CONTINUES}"
            comments.append(word)
    return comments


_ELEMENTS: dict[type[Noun], Callable[[Any], Iterable[Element]]] = {
    AntiSpoof: _guard,
    ArpGuard: _arp_guard,
    BridgeAccept: _bridge_accept,
    DhcpGuard: _dhcp_guard,
    ExternalForward: _external_forward,
    GroupMembers: _group_members,
    GroupRules: _group_rules,
    HostIsolation: _host_isolation,
    HostServices: _host_services,
    Masquerade: _masquerade,
    MssClamp: _mss_clamp,
    OpenAddress: _open_address,
    PortForward: _port_forward,
    PortGroups: _port_groups,
    ProtectedNetwork: _protected_network,
    PublicIp: _public_ip,
    TranslatedSource: _translated_source,
    TunnelGuard: _tunnel_guard,
    Untracked: _untracked,
    ZoneLink: _zone_link,
}

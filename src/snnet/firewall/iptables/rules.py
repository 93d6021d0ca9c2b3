"""From nouns to rules: the chains of one owner.  Pure.

The meaning is that of :mod:`snnet.contract.rules`; matches and targets are those of
iptables-extensions(8) and ebtables(8).  An ACCEPT ends FORWARD for the packet, so each
one is limited to links of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from snnet.contract import (
    TUNNEL_PORTS,
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    HostIsolation,
    HostServices,
    Key,
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
from snnet.contract.nat import with_port
from snnet.firewall import reasons

from . import guards, layout
from .layout import (
    FILTER,
    FILTER6,
    IP,
    NAT,
    NAT6,
    NEIGHBOURS,
    PORTS,
    PORTS_INPUT,
    RAW,
    RAW6,
    RECORDED,
    SECTIONS,
    Chains,
    Content,
    Rule,
    Section,
)

_ANSWERS = "-m conntrack --ctstate RELATED,ESTABLISHED"
_NO_ANSWER = "-m conntrack ! --ctstate RELATED,ESTABLISHED"
_UNTRANSLATED = "-m conntrack --ctstate INVALID,UNTRACKED"
"""What NAT leaves as it is, private source and all."""
_REDIRECTED = "-m conntrack --ctstate DNAT"
_HAIRPIN_BIT = 0x20000000
"""Marks the first redirected packet from a zone's link, from FORWARD to POSTROUTING, which cannot
match that link: for bridged packets never (br_nf_post_routing), for others since Linux 5.7."""
_TUNNELS = (
    " -p udp -m multiport --dports "
    + ",".join(f"{one}:{last}" if one != last else str(one) for one, last in TUNNEL_PORTS),
    " -p gre",
)


def render(owner: str, nouns: Mapping[Key, Noun]) -> dict[Section, Content]:
    """Return the chains for these nouns of one owner, by section, without empty ones."""
    contents = {section: render_section(section, owner, nouns) for section in SECTIONS}
    return {section: content for section, content in contents.items() if content.nouns}


def render_section(section: Section, owner: str, nouns: Mapping[Key, Noun]) -> Content:
    """Return the chains of one section; nouns that do not affect it are left out."""
    content = Content({noun.key: noun for noun in nouns.values() if section in places(noun, nouns)})
    if not content.nouns:
        return content
    _WRITERS[section](Chains(owner, section, content))
    if section in RECORDED:
        texts = layout.write_records(owner, content.nouns.values())
        key = ("owner", owner)
        content.chains[layout.chain(owner, layout.RECORDS)] = [Rule(text, key) for text in texts]
    return content


def places(noun: Noun, among: Mapping[Key, Noun]) -> frozenset[Section]:
    """Return the sections that a noun affects, given all nouns of the owner."""
    if isinstance(noun, AntiSpoof):
        return _BRIDGED_SPOOF if noun.bridged else _ROUTED_SPOOF
    if isinstance(noun, HostIsolation):
        return _BOTH | {NEIGHBOURS} if noun.arp else _BOTH
    match noun:
        case ZoneLink():
            translating = (n for n in among.values() if isinstance(n, _TRANSLATING))
            return _BOTH | {_nat_of(n) for n in translating}
        case Masquerade(nat66=nat66):
            return _BOTH | ({NAT, NAT6} if nat66 else {NAT})
        case PortForward():
            return frozenset({_nat_of(noun)})
        case PublicIp(public=address) | TranslatedSource(source=address):
            return frozenset({_nat_of(noun), _filter_of(address.version)})
        case OpenAddress(address=where) | ProtectedNetwork(network=where):
            return frozenset({_filter_of(where.version)})
    return _PLACES.get(type(noun), frozenset())


_TRANSLATING = PortForward | PublicIp | TranslatedSource


def _nat_of(noun: PortForward | PublicIp | TranslatedSource) -> Section:
    match noun:
        case PortForward(target=ip) | PublicIp(public=ip) | TranslatedSource(source=ip):
            return NAT if ip.version == 4 else NAT6


def _filter_of(version: int) -> Section:
    return FILTER if version == 4 else FILTER6


_BOTH = frozenset({FILTER, FILTER6})
_BRIDGED_SPOOF = frozenset({PORTS, PORTS_INPUT, RAW})
_ROUTED_SPOOF = frozenset({RAW, RAW6})
_PLACES: dict[type[Noun], frozenset[Section]] = dict.fromkeys(
    (Zone, BridgeAccept, HostServices, ExternalForward), _BOTH
)


# -- filter ------------------------------------------------------------------------


def _filter(made: Chains) -> None:
    forward, out = made.chain(layout.FORWARD), made.content
    for rule in made.all(BridgeAccept):
        bridge = rule.bridge
        out.add(forward, rule, f"-i {bridge} -o {bridge} -j ACCEPT")
        out.drop(forward, rule, reasons.FROM, f"-i {bridge}")
        out.drop(forward, rule, reasons.INTO, f"-o {bridge}")
    _zones(made)
    out.jump(forward, "FORWARD")
    services = made.all(HostServices)
    for limit in services:
        link = f"-i {limit.link} -j {made.chain(layout.SERVICES)}"
        out.add(made.chain(layout.INPUT), limit, link)
    if services:
        closed = made.chain(layout.SERVICE_DROP)
        out.add(made.chain(layout.SERVICES), services[0], *_services(made.section, closed))
        out.drop_all(closed, "-i", services, reasons.SERVICE)
    for isolation in made.all(HostIsolation):
        _isolate(made, isolation)
    out.jump(made.chain(layout.INPUT), "INPUT")


def _zones(made: Chains) -> None:
    """Write a chain for packets from each zone's links, and one for packets to them."""
    forward, out = made.chain(layout.FORWARD), made.content
    links = made.all(ZoneLink)
    zones = {zone.zone: zone for zone in made.all(Zone)}
    outbound = [link for link in links if link.zone in zones and zones[link.zone].outbound]
    for link in links:
        out.add(forward, link, f"-i {link.link} -j {made.chain(layout.FROM, link.zone)}")
    for link in links:
        out.add(forward, link, f"-o {link.link} -j {made.chain(layout.TO, link.zone)}")
    for link in outbound:
        out.add(forward, link, f"-i {link.link} -j ACCEPT")
    starts = f"{_REDIRECTED} -m conntrack --ctstate NEW -j MARK --or-mark {_HAIRPIN_BIT:#x}"
    within: dict[str, list[ZoneLink]] = {}
    for link in links:
        within.setdefault(link.zone, []).append(link)
    for name, inside in within.items():
        out.add(made.chain(layout.FROM, name), inside[-1], starts)
    for link in links:
        out.add(made.chain(layout.FROM, link.zone), link, f"-o {link.link} -j ACCEPT")
    # A link whose zone is lost stays closed.
    for name, inside in within.items():
        _zone(made, name, zones.get(name, inside[-1]), inside)
    if links:
        _exit(made, links)


def _zone(made: Chains, name: str, zone: Noun, links: Sequence[ZoneLink]) -> None:
    leaving, coming, out = made.chain(layout.FROM, name), made.chain(layout.TO, name), made.content
    out.add(leaving, zone, f"-j {made.chain(layout.EXIT)}")
    if not (isinstance(zone, Zone) and zone.outbound):
        out.drop_all(leaving, "-i", links, reasons.FROM)
    out.add(coming, zone, f"{_ANSWERS} -j ACCEPT", f"{_REDIRECTED} -j ACCEPT")
    out.add(coming, zone, *_members(zone, made.section))
    for one in made.all(OpenAddress):
        out.add(coming, one, f"-d {one.address} -j ACCEPT")
    out.drop_all(coming, "-o", links, reasons.INTO)


def _members(zone: Noun, section: Section) -> Iterable[str]:
    version = 4 if section.family == IP else 6
    networks = zone.networks if isinstance(zone, Zone) else ()
    return [f"-s {network} -j ACCEPT" for network in networks if network.version == version]


def _exit(made: Chains, links: Sequence[ZoneLink]) -> None:
    """Write the rules for packets that may leave a zone, the same for every zone."""
    chain, out = made.chain(layout.EXIT), made.content
    out.add(chain, links[0], f"{_ANSWERS} -j ACCEPT")
    kept_away = made.chain(layout.PROTECTED_DROP)
    for protected in made.all(ProtectedNetwork):
        also = [f" -p udp -m udp --dport {protected.port}"] if protected.port else []
        for what in [""] if protected.closed else [*_TUNNELS, *also]:
            out.add(chain, protected, f"-d {protected.network}{what} -g {kept_away}")
    if made.all(ProtectedNetwork):
        out.drop_all(kept_away, "-i", links, reasons.PROTECTED)
    untranslated = f"{_UNTRANSLATED} -g {made.chain(layout.UNTRANSLATED_DROP)}"
    for nat in made.all(Masquerade):
        if made.section == FILTER or nat.nat66:
            out.add(chain, nat, f"-o {nat.device} {untranslated}")
    masqueraded = {rule.device for rule in made.all(Masquerade)}
    for rule in made.all(ExternalForward):
        if rule.device in masqueraded:
            out.add(chain, rule, f"-i {rule.bridge} -o {rule.device} -j ACCEPT")
    for public in made.all(PublicIp):
        leaving = f"-s {public.internal} -o {public.device}"
        out.add(chain, public, f"{leaving} {untranslated}", f"{leaving} -j ACCEPT")
    for source in made.all(TranslatedSource):
        out.add(chain, source, f"-s {source.source} {untranslated}")
    if any(rule.text.endswith(untranslated) for rule in out.chains[chain]):
        dropping = made.chain(layout.UNTRANSLATED_DROP)
        out.drop_all(dropping, "-i", links, reasons.UNTRANSLATED)


def _services(section: Section, closed: str) -> Iterable[str]:
    """What of the host is open; the rest goes to the chain ``closed``."""
    ipv4 = section == FILTER
    yield f"{_ANSWERS} -j RETURN"
    if not ipv4:  # the host is the router there (RFC 6105)
        for kind in ("router-advertisement", "redirect"):
            yield f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -g {closed}"
    for protocol in ("icmp", "igmp") if ipv4 else ("ipv6-icmp",):
        yield f"-p {protocol} -j RETURN"
    for protocol, port in (("udp", 53), ("udp", 67 if ipv4 else 547), ("tcp", 53)):
        yield f"-p {protocol} -m {protocol} --dport {port} -j RETURN"
    yield f"-g {closed}"


def _isolate(made: Chains, rule: HostIsolation) -> None:
    chain, out = made.chain(layout.INPUT), made.content
    if made.section == FILTER6:
        # conntrack does not track neighbour discovery, the ARP of IPv6 (RFC 4861): an
        # advertisement is an answer, a solicitation is a request.
        for kind in ("advertisement",) if rule.arp else ("advertisement", "solicitation"):
            icmp = f"-p ipv6-icmp -m icmp6 --icmpv6-type neighbour-{kind}"
            out.add(chain, rule, f"-i {rule.link} {icmp} -j RETURN")
    if rule.open_address and made.section == _filter_of(rule.open_address.version):
        out.add(chain, rule, f"-i {rule.link} -d {rule.open_address} -j RETURN")
    out.drop(chain, rule, reasons.HOST, f"-i {rule.link} {_NO_ANSWER}")


# -- nat ---------------------------------------------------------------------------


def _nat(made: Chains) -> None:
    _destinations(made)
    _sources(made)


def _destinations(made: Chains) -> None:
    dnat, hairpin, out = made.chain(layout.DNAT), made.chain(layout.HAIRPIN), made.content
    for public in made.all(PublicIp):
        out.add(dnat, public, f"-d {public.public} -j DNAT --to-destination {public.internal}")
    # A forward of one address comes before one of any address.
    for rule in sorted(made.all(PortForward), key=lambda rule: rule.address is None):
        device = f"-i {rule.device} -m addrtype --dst-type LOCAL"
        at = f"-d {rule.address} " if rule.address else ""
        for source in _sources_of(rule):
            out.add(dnat, rule, f"{device} {at}{source}{_forwarded(rule)}")
            for address in rule.guest_addresses:
                out.add(hairpin, rule, f"-d {address} {source}{_forwarded(rule)}")
    if out.chains.get(hairpin):
        for link in made.all(ZoneLink):
            out.add(dnat, link, f"-i {link.link} -j {hairpin}")
        # What the host itself sends has no incoming link.
        out.add(dnat, made.all(PortForward)[0], f"-m addrtype --src-type LOCAL -j {hairpin}")
    # Connections of the host itself pass OUTPUT, where packets have no incoming link.
    out.jump(dnat, "PREROUTING", "OUTPUT")


def _sources_of(rule: PortForward) -> Iterable[str]:
    """Return a match for each network that may use the forward."""
    return [f"-s {network} " for network in rule.sources] or [""]


def _forwarded(rule: PortForward) -> str:
    match = f"-p {rule.protocol} -m {rule.protocol} --dport {rule.port}"
    return f"{match} -j DNAT --to-destination {with_port(rule.target, rule.target_port)}"


def _sources(made: Chains) -> None:
    snat, back, out = made.chain(layout.SNAT), made.chain(layout.BACK), made.content
    links = made.all(ZoneLink)
    if links:
        marked = f"-m mark --mark {_HAIRPIN_BIT:#x}/{_HAIRPIN_BIT:#x}"
        out.add(snat, links[0], f"{marked} -j {back}")
        out.add(back, links[0], f"-j MARK --and-mark {_HAIRPIN_BIT ^ 0xFFFFFFFF:#x}")
    for link in links:
        out.add(back, link, f"-o {link.link} -j MASQUERADE --random-fully")
    for public in made.all(PublicIp):
        leaving = f"-s {public.internal} -o {public.device}"
        out.add(snat, public, f"{leaving} -j SNAT --to-source {public.public}")
    translated = made.all(TranslatedSource)
    for link in links if translated else ():
        out.add(snat, link, f"-o {link.link} -j RETURN")
    for source in translated:
        out.add(snat, source, f"-s {source.source} -j MASQUERADE --random-fully")
    for rule in made.all(Masquerade):
        others = "-m addrtype ! --src-type LOCAL"
        out.add(snat, rule, f"-o {rule.device} {others} -j MASQUERADE --random-fully")
    out.jump(snat, "POSTROUTING")


_WRITERS = {
    PORTS: guards.ports,
    PORTS_INPUT: guards.ports_input,
    NEIGHBOURS: guards.neighbours,
    RAW: guards.raw,
    RAW6: guards.raw,
    NAT: _nat,
    NAT6: _nat,
    FILTER: _filter,
    FILTER6: _filter,
}

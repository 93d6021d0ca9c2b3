"""The tables of one node: their names, and the rules that do not depend on its nouns.

See nft(8).  Everything that a noun adds is an element of a set or map.  So the cost of
adding one, and the cost of a packet, does not grow with their number.
"""

from __future__ import annotations

import re
from collections.abc import Container, Set
from typing import NamedTuple

from . import drops, senders
from .families import V4, V6, each
from .filter import BRIDGED, CONFINE, ROUTED
from .ndp import GUARD6, SETS6

PREFIX = "snnet-"

INET, BRIDGE, ARP = "inet", "bridge", "arp"

_OWNER = re.compile(r"([a-z]+):([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TABLE = re.compile(r"snnet-([a-z]+)-(.+)")


class Table(NamedTuple):
    """One table: its family, and the owner that it is named after."""

    family: str
    owner: str

    @property
    def name(self) -> str:
        """The table's name in nft."""
        return PREFIX + self.owner.replace(":", "-", 1)

    def check(self) -> None:
        """Raise ``ValueError`` if the owner is not role and id, as in "cnci:cnci-1"."""
        if not _OWNER.fullmatch(self.owner):
            raise ValueError(f"{self.owner!r} is not role and id like 'cnci:cnci-1'")

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


def is_zone(zone: str) -> bool:
    """Whether the chains of a zone can be named after this id."""
    return _ID.fullmatch(zone) is not None


def owner_of(name: str) -> str | None:
    """Return the owner of the table with this name; None if it is not a table of snnet."""
    match = _TABLE.fullmatch(name)
    return f"{match[1]}:{match[2]}" if match else None


HAIRPIN = 0x20000000
"""The bit of a packet's mark that tells postrouting what forward has seen.

In postrouting a bridged frame no longer has an incoming link (br_nf_post_routing,
net/bridge/br_netfilter_hooks.c).  The bit is cleared afterwards.
"""

INPUT, FORWARD, NAT, NAT6, SOURCES = "input", "forward", "nat", "nat6", "sources"
PORTS, NEIGHBOURS = "ports", "neighbours"
CONFINED = "confined"
CLAMP, GROUPS = "clamp", "groups"
TRACKING = "tracking"


class Part(NamedTuple):
    """Some chains of one table.  They exist while a rule needs them: each hook has a cost."""

    table: Table
    name: str


_OF_GUESTS = (drops.ADDRESS, drops.DHCP, drops.DISCOVERY)
"""Why packets of a guarded link are dropped."""
_OF_ZONES = (drops.FROM, drops.INTO, drops.PROTECTED, drops.UNTRANSLATED)
"""Why packets that would be forwarded are dropped."""

_INET_SETS = each("""
set inside { type ifname; }
map from { type ifname : verdict; }
map into { type ifname : verdict; }
set bridged { type ifname . ifname; }
set closed { type ifname; }
set isolated { type ifname; }
set neighbours { type ifname; }
set host_open{s} { type ifname . {addr}; }
set limited { type ifname; }
set guarded { type ifname; }
set guarded_more { type ifname . inet_service; }
set sources { type ifname . ether_addr . ipv4_addr; }
set ranges { type ifname . ipv4_addr; flags interval; }
set own { type ifname . ether_addr; }
set masquerades{s} { type ifname; }
set translated{s} { type {addr}; }
set open{s} { type {addr}; }
set exits { type ifname . ifname; }
set forwards{s} { type ifname . inet_proto . inet_service . {addr}; }
set forwards{s}_more { type ifname . inet_proto . inet_service . {addr} . inet_service; }
map port_forwards{s} { type ifname . inet_proto . inet_service : {addr} . inet_service; }
map port_checks{s} { type ifname . inet_proto . inet_service : verdict; }
map address_forwards{s} \
    { type ifname . inet_proto . inet_service . {addr} : {addr} . inet_service; }
map address_checks{s} { type ifname . inet_proto . inet_service . {addr} : verdict; }
map hairpins{s} { type {addr} . inet_proto . inet_service : {addr} . inet_service; }
map hairpin_checks{s} { type {addr} . inet_proto . inet_service : verdict; }
map address_hairpins{s} { type {addr} . inet_proto . inet_service : {addr} . inet_service; }
map address_hairpin_checks{s} { type {addr} . inet_proto . inet_service : verdict; }
map publics{s} { type {addr} : {addr}; }
map public_sources{s} { type {addr} . ifname : {addr}; }
set public_exits{s} { type {addr} . ifname; }
set protected{s} { type {addr} . inet_service; }
set closed_nets{s} { type {addr}; flags interval; }
set tunnel_nets{s} { type {addr}; flags interval; }
set port_nets{s} { type {addr} . inet_service; flags interval; }
set tunnels{s} { type ifname . {addr}; }
set tunnel_ports { type inet_service; }
set tunnel_peers{s} { type {addr} . inet_service; }
set gre_peers { type ipv4_addr; }
map clamps{s} { typeof iifname : tcp option maxseg size; }
""")

_NAT = """
chain prerouting{s} { type nat hook prerouting priority dstnat; policy accept; }
chain prerouting{s} meta nfproto != {proto} return
chain prerouting{s} dnat {ip} to {ip} daddr map @publics{s}
chain prerouting{s} fib daddr type local jump arriving{s}
chain prerouting{s} iifname @inside jump leaving{s}
chain arriving{s}
chain arriving{s} iifname . meta l4proto . th dport . {ip} daddr vmap @address_checks{s}
chain arriving{s} dnat {ip} to \
    iifname . meta l4proto . th dport . {ip} daddr map @address_forwards{s}
chain arriving{s} iifname . meta l4proto . th dport vmap @port_checks{s}
chain arriving{s} dnat {ip} to iifname . meta l4proto . th dport map @port_forwards{s}
chain leaving{s}
chain leaving{s} {ip} daddr . meta l4proto . th dport vmap @address_hairpin_checks{s}
chain leaving{s} dnat {ip} to {ip} daddr . meta l4proto . th dport map @address_hairpins{s}
chain leaving{s} {ip} daddr . meta l4proto . th dport vmap @hairpin_checks{s}
chain leaving{s} dnat {ip} to {ip} daddr . meta l4proto . th dport map @hairpins{s}
chain output{s} { type nat hook output priority -100; policy accept; }
chain output{s} dnat {ip} to {ip} daddr map @publics{s}
chain output{s} jump leaving{s}
chain postrouting{s} { type nat hook postrouting priority srcnat; policy accept; }
chain postrouting{s} meta nfproto != {proto} return
chain postrouting{s} meta mark & {hairpin} != 0 masquerade fully-random
chain postrouting{s} snat {ip} to {ip} saddr . oifname map @public_sources{s}
chain postrouting{s} {ip} saddr @translated{s} oifname != @inside masquerade fully-random
chain postrouting{s} oifname @masquerades{s} fib saddr type != local masquerade fully-random
chain unmark{s} { type filter hook postrouting priority 101; policy accept; }
chain unmark{s} meta mark & {hairpin} != 0 meta mark set meta mark & {others}
"""

# Prerouting comes before connection tracking, so that a spoofed packet leaves no
# entry there.  Fully random ports: two connections from one source port would else both
# take that port when they are new at the same instant, and one would be lost.
_INET = {
    SOURCES: """
chain antispoof { type filter hook prerouting priority raw; policy accept; }
chain guard
chain antispoof iifname . ether saddr . ip saddr @sources accept
chain antispoof iifname @guarded goto guard
chain guard iifname . ether saddr @own iifname . ip saddr @ranges accept
chain guard meta nfproto ipv6 goto sender6
chain guard goto drop-address
"""
    + GUARD6
    + drops.chains(*_OF_GUESTS),
    # Each source port of a tunnel's packets would be a connection (udp_flow_src_port,
    # include/net/udp.h).  What is forwarded is tracked, or it would not be translated.
    TRACKING: each("""
chain arriving_tunnels { type filter hook prerouting priority raw; policy accept; }
chain leaving_tunnels { type filter hook output priority raw; policy accept; }
chain from_peers
chain to_peers
chain arriving_tunnels udp dport @tunnel_ports goto from_peers
chain leaving_tunnels udp dport @tunnel_ports goto to_peers
chain from_peers {ip} saddr . udp dport @tunnel_peers{s} fib daddr type local notrack
chain to_peers {ip} daddr . udp dport @tunnel_peers{s} notrack
"""),
    NAT: V4.fill(_NAT),
    NAT6: V6.fill(_NAT),
    INPUT: drops.chains(drops.HOST, drops.SERVICE, drops.TUNNEL)
    + each("""
chain services
chain gre
chain input { type filter hook input priority filter; policy accept; }
chain input {ip} saddr . udp dport != @tunnel_peers{s} udp dport @tunnel_ports goto drop-tunnel
chain input meta l4proto gre jump gre
chain input iifname @limited jump services
chain services ct state established,related return
chain services icmpv6 type { nd-router-advert, nd-redirect } goto drop-service
chain services meta l4proto { icmp, igmp, ipv6-icmp } return
chain services udp dport { 53, 67, 547 } return
chain services tcp dport 53 return
chain services goto drop-service
chain isolation
chain input iifname @isolated goto isolation
chain isolation ct state established,related accept
chain isolation iifname @neighbours icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
chain isolation iifname . {ip} daddr @host_open{s} accept
chain isolation goto drop-host
"""),
    CLAMP: """
chain clamp { type filter hook forward priority mangle; policy accept; }
chain clamp tcp flags & (syn | rst) == syn jump opening
chain opening
"""
    + each("""
chain opening meta nfproto {proto} tcp option maxseg size set iifname map @clamps{s}
chain opening meta nfproto {proto} tcp option maxseg size set oifname map @clamps{s}
"""),
    CONFINED: CONFINE,
    FORWARD: """
chain forward { type filter hook forward priority filter; policy accept; }
chain forward ct status dnat iifname @inside oifname @inside meta mark set meta mark | {hairpin}
chain forward iifname . oifname @bridged accept
chain forward iifname @closed goto drop-from
chain forward oifname @closed goto drop-into
chain forward iifname vmap @from
chain forward oifname vmap @into
"""
    + drops.chains(*_OF_ZONES),
    GROUPS: ROUTED + drops.chains(drops.IN, drops.OUT),
}

_GROUP_SETS = """\
set grouped { type ifname; }
set grouped_more { type ifname . inet_service; }
map leaving_by { type ifname : verdict; }
map entering_by { type ifname : verdict; }
map learners { type ifname : verdict; }
""" + drops.sets(drops.IN, drops.OUT)

_BRIDGE_SETS = """
set guarded { type ifname; }
set guarded_more { type ifname . inet_service; }
set sources { type ifname . ether_addr . ipv4_addr; }
set ranges { type ifname . ipv4_addr; flags interval; }
map untracking { type ifname : verdict; }
set routers { type ifname . ether_addr; }
set own { type ifname . ether_addr; }
set clients { type ifname; }
set leases { typeof iifname . @th,288,48; }
map clamps { typeof iifname : tcp option maxseg size; }
map clamps6 { typeof iifname : tcp option maxseg size; }
"""

_BRIDGE = {
    CLAMP: """
chain clamp { type filter hook forward priority -150; policy accept; }
chain clamp tcp flags & (syn | rst) == syn jump opening
chain opening
"""
    + each("""
chain opening ether type {ip} tcp option maxseg size set iifname map @clamps{s}
chain opening ether type {ip} tcp option maxseg size set oifname map @clamps{s}
"""),
    GROUPS: BRIDGED + drops.chains(drops.IN, drops.OUT),
    PORTS: senders.RULES + GUARD6 + drops.chains(*_OF_GUESTS),
}

_ARP_SETS = """
set isolated { type ifname; }
set guarded { type ifname; }
set senders { type ifname . ether_addr . ipv4_addr; }
"""
_ARP = {
    CONFINED: CONFINE,
    INPUT: """
chain input { type filter hook input priority filter; policy accept; }
chain input iifname @isolated goto drop-host
"""
    + drops.chains(drops.HOST),
    NEIGHBOURS: """
chain neighbours { type filter hook input priority -10; policy accept; }
chain neighbours iifname @guarded iifname . arp saddr ether . arp saddr ip @senders accept
chain neighbours iifname @guarded goto drop-address
"""
    + drops.chains(drops.ADDRESS),
}

_SETS = {
    INET: _INET_SETS
    + "\n"
    + SETS6
    + drops.sets(*_OF_GUESTS, drops.BRIDGE, drops.HOST, drops.SERVICE, drops.TUNNEL, *_OF_ZONES)
    + _GROUP_SETS,
    BRIDGE: _BRIDGE_SETS + SETS6 + drops.sets(*_OF_GUESTS) + _GROUP_SETS,
    ARP: _ARP_SETS + drops.sets(drops.ADDRESS, drops.BRIDGE, drops.HOST),
}
_CHAINS = {INET: _INET, BRIDGE: _BRIDGE, ARP: _ARP}


def _statements(part: Part) -> list[list[str]]:
    text = _CHAINS[part.table.family][part.name]
    text = text.replace("{hairpin}", f"{HAIRPIN:#x}")
    text = text.replace("{others}", f"{0xFFFFFFFF ^ HAIRPIN:#x}")
    return [line.split(maxsplit=2) for line in text.splitlines() if line]


def _is_rule(words: list[str]) -> bool:
    return len(words) == 3 and not words[2].startswith("{")


def parts_of(table: Table) -> list[Part]:
    """Return all parts that a table can have."""
    return [Part(table, name) for name in _CHAINS[table.family]]


def chains_of(part: Part) -> list[str]:
    """Return the names of the chains of the part."""
    return list(dict.fromkeys(words[1] for words in _statements(part)))


def bases(needed: Set[Part], damaged: Container[Table]) -> list[str]:
    """Return the commands that make the parts; tables that are damaged are made anew."""
    commands: list[str] = []
    for table in sorted({part.table for part in needed if part.table in damaged}):
        commands += [f"add table {table}", f"delete table {table}"]
    for part in sorted(needed):
        commands += base(part)
    return commands


def base(part: Part) -> list[str]:
    """Return the commands that make the part, and its table with all sets.

    They may be repeated: they are one transaction, in which nothing is ever missing.
    """
    table, statements = part.table, _statements(part)
    filled = dict.fromkeys(words[1] for words in statements if _is_rule(words))
    sets = [line.split(maxsplit=2) for line in _SETS[table.family].strip().splitlines()]
    return [
        f"add table {table}",
        *(f"add {kind} {table} {name} {spec}" for kind, name, spec in sets),
        *(
            f"add chain {table} {' '.join(words[1:])}"
            for words in statements
            if not _is_rule(words)
        ),
        *(f"flush chain {table} {chain}" for chain in filled),
        *(f"add rule {table} {words[1]} {words[2]}" for words in statements if _is_rule(words)),
    ]


def remove_part(part: Part) -> list[str]:
    """Return the commands that remove the chains of the part, and so their hooks."""
    chains = chains_of(part)
    return [
        f"{verb} chain {part.table} {chain}" for verb in ("flush", "delete") for chain in chains
    ]


def rules_in(part: Part) -> dict[str, list[str]]:
    """Return the static rules of each chain of the part."""
    rules: dict[str, list[str]] = {chain: [] for chain in chains_of(part)}
    for words in filter(_is_rule, _statements(part)):
        rules[words[1]].append(words[2])
    return rules


def hooks_in(part: Part) -> dict[str, str]:
    """Return how those chains of the part that are attached to a hook are declared."""
    statements = _statements(part)
    return {words[1]: words[2] for words in statements if len(words) > 2 and not _is_rule(words)}


def sets_of(family: str) -> list[str]:
    """Return the names of the sets and maps that each table of the family has."""
    return [line.split(maxsplit=2)[1] for line in _SETS[family].strip().splitlines()]

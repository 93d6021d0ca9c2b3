"""The tables of one node: names, and the rules that are there whatever its nouns are.

See nft(8).  Everything a noun adds is an element of a set or map, so that adding one
costs the same however many there are, and so does a packet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from snnet.contract import TUNNEL_PORTS

PREFIX = "snnet-"

INET, BRIDGE, ARP = "inet", "bridge", "arp"

_OWNER = re.compile(r"([a-z]+):([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TABLE = re.compile(r"snnet-([a-z]+)-(.+)")


class Table(NamedTuple):
    """One table: its family and the owner it is named after."""

    family: str
    owner: str

    @property
    def name(self) -> str:
        """The name in nft's words."""
        return PREFIX + self.owner.replace(":", "-", 1)

    def check(self) -> None:
        """ValueError where the owner is no role and id, "cnci:cnci-1"."""
        if not _OWNER.fullmatch(self.owner):
            raise ValueError(f"{self.owner!r} is no role and id like 'cnci:cnci-1'")

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


def is_zone(zone: str) -> bool:
    """Whether the chains of a zone can be named after this id."""
    return _ID.fullmatch(zone) is not None


def owner_of(name: str) -> str | None:
    """Whose the table of this name is; None if it is none of snnet's."""
    match = _TABLE.fullmatch(name)
    return f"{match[1]}:{match[2]}" if match else None


HAIRPIN = 0x20000000
"""Bit of a packet's mark that says in postrouting what was seen in forward.

There a frame that br_netfilter shows has come by no link any more
(br_nf_post_routing, net/bridge/br_netfilter_hooks.c).  It is taken off again.
"""

INPUT, FORWARD, NAT, SOURCES = "input", "forward", "nat", "sources"
PORTS, UNTRACKED, NEIGHBOURS = "ports", "untracked", "neighbours"


class Part(NamedTuple):
    """Some chains of one table, with the hooks that they cost: there while a rule needs them."""

    table: Table
    name: str


_INET_SETS = """
set inside { type ifname; }
map from { type ifname : verdict; }
map into { type ifname : verdict; }
set bridged { type ifname . ifname; }
set closed { type ifname; }
set isolated { type ifname; }
set guarded { type ifname; }
set sources { type ifname . ether_addr . ipv4_addr; }
set sources6 { type ifname . ether_addr . ipv6_addr; }
set masquerades { type ifname; }
set exits { type ifname . ifname; }
map port_forwards { type ifname . inet_proto . inet_service : ipv4_addr . inet_service; }
map hairpins { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
map publics { type ipv4_addr : ipv4_addr; }
map public_sources { type ipv4_addr . ifname : ipv4_addr; }
set public_exits { type ipv4_addr . ifname; }
set protected { type ipv4_addr . inet_service; }
set closed_nets { type ipv4_addr; flags interval; }
set tunnel_nets { type ipv4_addr; flags interval; }
set tunnels { type ifname . ipv4_addr; }
set tunnels6 { type ifname . ipv6_addr; }
set tunnel_ports { type inet_service; }
set tunnel_peers { type ipv4_addr . inet_service; }
set tunnel_peers6 { type ipv6_addr . inet_service; }
set gre_peers { type ipv4_addr; }
"""

# Prerouting comes before anything looks at a packet, and before connections are
# tracked: a spoofed one leaves no trace.
_INET = {
    SOURCES: """
chain antispoof { type filter hook prerouting priority raw; policy accept; }
chain antispoof iifname @guarded iifname . ether saddr . ip saddr @sources accept
chain antispoof iifname @guarded iifname . ether saddr . ip6 saddr @sources6 accept
chain antispoof iifname @guarded drop
""",
    NAT: """
chain prerouting { type nat hook prerouting priority dstnat; policy accept; }
chain prerouting dnat ip to ip daddr map @publics
chain prerouting fib daddr type local \
    dnat ip to iifname . meta l4proto . th dport map @port_forwards
chain prerouting iifname @inside dnat ip to ip daddr . meta l4proto . th dport map @hairpins
chain output { type nat hook output priority -100; policy accept; }
chain output dnat ip to ip daddr map @publics
chain postrouting { type nat hook postrouting priority srcnat; policy accept; }
chain postrouting meta mark & {hairpin} != 0 masquerade
chain postrouting snat ip to ip saddr . oifname map @public_sources
chain postrouting oifname @masquerades masquerade
chain unmark { type filter hook postrouting priority 101; policy accept; }
chain unmark meta mark & {hairpin} != 0 meta mark set meta mark & {others}
""",
    INPUT: """
chain tunnels
chain gre
chain input { type filter hook input priority filter; policy accept; }
chain input udp dport @tunnel_ports jump tunnels
chain input meta l4proto gre jump gre
chain tunnels ip saddr . udp dport @tunnel_peers return
chain tunnels ip6 saddr . udp dport @tunnel_peers6 return
chain tunnels drop
chain input iifname @isolated ct state established,related accept
chain input iifname @isolated drop
""",
    FORWARD: """
chain forward { type filter hook forward priority filter; policy accept; }
chain forward iifname @inside oifname @inside ct status dnat meta mark set meta mark | {hairpin}
chain forward iifname . oifname @bridged accept
chain forward iifname @closed drop
chain forward oifname @closed drop
chain forward iifname vmap @from
chain forward oifname vmap @into
""",
}

_BRIDGE_SETS = """
set guarded { type ifname; }
set sources { type ifname . ether_addr . ipv4_addr; }
set sources6 { type ifname . ether_addr . ipv6_addr; }
set untracked { type ifname; }
set routers { type ifname . ether_addr; }
set own { type ifname . ether_addr; }
map dhcp { type ifname : verdict; }
"""

# 0.0.0.0 among the sources of a guest is for ARP probes (RFC 5227, 1.1), for DHCP clients
# (RFC 2131, 4.1) and for IGMP of those without an address (RFC 3376, 4.2.13).  QEMU tells
# switches where a migrated guest is by RARP (0x8035).  The ethertype of a frame in a VLAN
# tag, be it VLAN 0, is the tag's.
_BRIDGE = {
    # Before br_netfilter shows the frame to IP's hooks (NF_BR_PRI_BRNF), which would
    # join its fragments with others' and track it.
    UNTRACKED: """
chain untrack { type filter hook prerouting priority -310; policy accept; }
chain untrack iifname . ether daddr @routers accept
chain untrack iifname @untracked notrack
""",
    PORTS: """
chain prerouting { type filter hook prerouting priority -300; policy accept; }
chain guard
chain prerouting udp dport 67 iifname vmap @dhcp
chain prerouting iifname @guarded goto guard
chain guard iifname . ether saddr @own ether type 0x8035 accept
chain guard ether type != { ip, ip6, arp } drop
chain guard iifname . ether saddr . arp saddr ip @sources \
    iifname . arp saddr ether . arp saddr ip @sources accept
chain guard ether type ip udp sport 67 drop
chain guard ip saddr 0.0.0.0 udp sport != 68 drop
chain guard ip saddr 0.0.0.0 meta l4proto != { udp, igmp } drop
chain guard iifname . ether saddr . ip saddr @sources accept
chain guard udp sport 547 drop
chain guard icmpv6 type { nd-router-advert, nd-redirect } drop
chain guard iifname . ether saddr . ip6 saddr @sources6 accept
chain guard drop
""",
}

_ARP_SETS = """
set isolated { type ifname; }
set guarded { type ifname; }
set senders { type ifname . ether_addr . ipv4_addr; }
"""
_ARP = {
    INPUT: """
chain input { type filter hook input priority filter; policy accept; }
chain input iifname @isolated drop
""",
    NEIGHBOURS: """
chain neighbours { type filter hook input priority -10; policy accept; }
chain neighbours iifname @guarded iifname . arp saddr ether . arp saddr ip @senders accept
chain neighbours iifname @guarded drop
""",
}

_SETS = {INET: _INET_SETS, BRIDGE: _BRIDGE_SETS, ARP: _ARP_SETS}
_CHAINS = {INET: _INET, BRIDGE: _BRIDGE, ARP: _ARP}


def _statements(part: Part) -> list[list[str]]:
    text = _CHAINS[part.table.family][part.name]
    text = text.replace("{hairpin}", f"{HAIRPIN:#x}")
    text = text.replace("{others}", f"{0xFFFFFFFF ^ HAIRPIN:#x}")
    return [line.split(maxsplit=2) for line in text.strip().splitlines()]


def _is_rule(words: list[str]) -> bool:
    return len(words) == 3 and not words[2].startswith("{")


def parts_of(table: Table) -> list[Part]:
    """All parts that a table may have."""
    return [Part(table, name) for name in _CHAINS[table.family]]


def chains_of(part: Part) -> list[str]:
    """The names of the part's chains."""
    return list(dict.fromkeys(words[1] for words in _statements(part)))


def base(part: Part) -> list[str]:
    """Commands that make the part, and the table with its sets, whatever of it is there.

    In one transaction nothing is missing at any moment.
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
    """Commands that remove the part's chains and their hooks."""
    chains = chains_of(part)
    return [
        f"{verb} chain {part.table} {chain}" for verb in ("flush", "delete") for chain in chains
    ]


def rules_in(part: Part) -> int:
    """How many rules the part has."""
    return sum(map(_is_rule, _statements(part)))


DHCP_CHAIN = "dhcp-"
_DHCP_RULES = (
    "ip frag-off & 0x3fff != 0 drop",
    # chaddr (RFC 2131, 2) after the header of UDP.
    "@th,288,48 != 0x{mac} drop",
)
RULES_PER_CLIENT = len(_DHCP_RULES)


def make_client(table: Table, link: str, mac: str) -> list[str]:
    """The chain that a port's messages to DHCP servers go through."""
    chain = f"{DHCP_CHAIN}{link}"
    digits = mac.replace(":", "")
    return [
        f"add chain {table} {chain}",
        f"flush chain {table} {chain}",
        *(f"add rule {table} {chain} {rule.format(mac=digits)}" for rule in _DHCP_RULES),
    ]


def remove_client(table: Table, link: str) -> list[str]:
    """Remove the chain of a port, to which nothing leads any more."""
    chain = f"{DHCP_CHAIN}{link}"
    return [f"flush chain {table} {chain}", f"delete chain {table} {chain}"]


def gre_rules(table: Table, keys: Iterable[int]) -> list[str]:
    """Commands that let only peers send to tunnels of gre with these keys.

    A rule a key, for nft(8) has no type for a set of them: the key of a header without
    checksum is its second word (RFC 2890, 2).
    """
    return [
        f"flush chain {table} gre",
        *(f"add rule {table} gre @th,32,32 {key:#x} ip saddr != @gre_peers drop" for key in keys),
    ]


NETWORK_SETS = ("networks-", "networks6-", "members-", "members6-")
"""What members on other nodes are known by: as ranges, and as they were given."""

# -- zones, the only nouns that have rules of their own -----------------------------

ZONE_CHAIN, OUTBOUND_CHAIN = "from-", "outbound-"
_ZONE_RULES = """
from-{zone} oifname @links-{zone} accept
from-{zone} ct state established,related accept
from-{zone} ip daddr @closed_nets drop
from-{zone} ip daddr @tunnel_nets udp dport {tunnel_ports} drop
from-{zone} ip daddr @tunnel_nets meta l4proto gre drop
from-{zone} oifname @masquerades iifname . oifname @exits accept
from-{zone} ip saddr . oifname @public_exits accept
from-{zone} {beyond}
into-{zone} ct state established,related accept
into-{zone} ct status dnat accept
into-{zone} ip saddr @networks-{zone} accept
into-{zone} ip6 saddr @networks6-{zone} accept
into-{zone} drop
"""
RULES_PER_ZONE = len(_ZONE_RULES.split("\n")) - 2


def make_zone(table: Table, zone: str, outbound: bool) -> list[str]:
    """The chains and sets of a zone; refused where they are there already.

    An empty chain tells, when the zone is read back, that it is outbound.
    """
    beyond = f"jump {OUTBOUND_CHAIN}{zone}" if outbound else "drop"
    ports = ", ".join(f"{first}-{last}" for first, last in TUNNEL_PORTS)
    text = _ZONE_RULES.format(zone=zone, beyond=beyond, tunnel_ports=f"{{ {ports} }}")
    rules = text.strip().splitlines()
    chains = ("from-", "into-", *((OUTBOUND_CHAIN,) if outbound else ()))
    return [
        *(f"create chain {table} {prefix}{zone}" for prefix in chains),
        f"create set {table} links-{zone} {{ type ifname; }}",
        f"create set {table} networks-{zone} {{ type ipv4_addr; flags interval; }}",
        f"create set {table} networks6-{zone} {{ type ipv6_addr; flags interval; }}",
        f"create set {table} members-{zone} {{ type ipv4_addr . inet_service; }}",
        f"create set {table} members6-{zone} {{ type ipv6_addr . inet_service; }}",
        *(f"add rule {table} {rule}" for rule in rules),
    ]


def remove_zone(table: Table, zone: str, outbound: bool) -> list[str]:
    """Take a zone away; refused as busy while links jump to it."""
    chains = ("from-", "into-", *((OUTBOUND_CHAIN,) if outbound else ()))
    sets = ("links-", *NETWORK_SETS)
    return [
        *(f"flush chain {table} {prefix}{zone}" for prefix in chains),
        *(f"delete chain {table} {prefix}{zone}" for prefix in chains),
        *(f"delete set {table} {prefix}{zone}" for prefix in sets),
    ]

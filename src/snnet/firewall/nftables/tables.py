"""The tables of one node: their names, and the rules that do not depend on its nouns.

See nft(8).  Everything that a noun adds is an element of a set or map.  So the cost of
adding one, and the cost of a packet, does not grow with their number.
"""

from __future__ import annotations

import re
from ipaddress import collapse_addresses
from typing import NamedTuple

from snnet.contract import PortForward

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

# Prerouting comes before connection tracking, so that a spoofed packet leaves no
# entry there.
_INET = """
set inside { type ifname; }
map from { type ifname : verdict; }
map into { type ifname : verdict; }
set bridged { type ifname . ifname; }
set closed { type ifname; }
set isolated { type ifname; }
set guarded { type ifname; }
set guarded_more { type ifname . inet_service; }
set sources { type ifname . ether_addr . ipv4_addr; }
set sources6 { type ifname . ether_addr . ipv6_addr; }
set masquerades { type ifname; }
set exits { type ifname . ifname; }
set forwards { type ifname . inet_proto . inet_service . ipv4_addr; }
set forwards_more { type ifname . inet_proto . inet_service . ipv4_addr . inet_service; }
map port_forwards { type ifname . inet_proto . inet_service : ipv4_addr . inet_service; }
map port_checks { type ifname . inet_proto . inet_service : verdict; }
map address_forwards \
    { type ifname . inet_proto . inet_service . ipv4_addr : ipv4_addr . inet_service; }
map address_checks { type ifname . inet_proto . inet_service . ipv4_addr : verdict; }
map hairpins { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
map hairpin_checks { type ipv4_addr . inet_proto . inet_service : verdict; }
map address_hairpins { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
map address_hairpin_checks { type ipv4_addr . inet_proto . inet_service : verdict; }
map publics { type ipv4_addr : ipv4_addr; }
map public_sources { type ipv4_addr . ifname : ipv4_addr; }
set public_exits { type ipv4_addr . ifname; }
chain antispoof { type filter hook prerouting priority raw; policy accept; }
chain antispoof iifname @guarded iifname . ether saddr . ip saddr @sources accept
chain antispoof iifname @guarded iifname . ether saddr . ip6 saddr @sources6 accept
chain antispoof iifname @guarded drop
chain prerouting { type nat hook prerouting priority dstnat; policy accept; }
chain prerouting dnat ip to ip daddr map @publics
chain prerouting fib daddr type local jump arriving
chain prerouting iifname @inside jump leaving
chain arriving
chain arriving iifname . meta l4proto . th dport . ip daddr vmap @address_checks
chain arriving dnat ip to iifname . meta l4proto . th dport . ip daddr map @address_forwards
chain arriving iifname . meta l4proto . th dport vmap @port_checks
chain arriving dnat ip to iifname . meta l4proto . th dport map @port_forwards
chain leaving
chain leaving ip daddr . meta l4proto . th dport vmap @address_hairpin_checks
chain leaving dnat ip to ip daddr . meta l4proto . th dport map @address_hairpins
chain leaving ip daddr . meta l4proto . th dport vmap @hairpin_checks
chain leaving dnat ip to ip daddr . meta l4proto . th dport map @hairpins
chain output { type nat hook output priority -100; policy accept; }
chain output dnat ip to ip daddr map @publics
chain input { type filter hook input priority filter; policy accept; }
chain input iifname @isolated ct state established,related accept
chain input iifname @isolated drop
chain forward { type filter hook forward priority filter; policy accept; }
chain forward iifname @inside oifname @inside ct status dnat meta mark set meta mark | {hairpin}
chain forward iifname . oifname @bridged accept
chain forward iifname @closed drop
chain forward oifname @closed drop
chain forward iifname vmap @from
chain forward oifname vmap @into
chain postrouting { type nat hook postrouting priority srcnat; policy accept; }
chain postrouting meta mark & {hairpin} != 0 masquerade
chain postrouting snat ip to ip saddr . oifname map @public_sources
chain postrouting oifname @masquerades masquerade
chain unmark { type filter hook postrouting priority 101; policy accept; }
chain unmark meta mark & {hairpin} != 0 meta mark set meta mark & {others}
""".replace("{hairpin}", f"{HAIRPIN:#x}").replace("{others}", f"{0xFFFFFFFF ^ HAIRPIN:#x}")

# The source 0.0.0.0 of a guest is for ARP probes (RFC 5227, 1.1) and for
# DHCP clients (RFC 2131, 4.1).
_BRIDGE = """
set guarded { type ifname; }
set guarded_more { type ifname . inet_service; }
set sources { type ifname . ether_addr . ipv4_addr; }
set sources6 { type ifname . ether_addr . ipv6_addr; }
chain prerouting { type filter hook prerouting priority -300; policy accept; }
chain guard
chain prerouting iifname @guarded goto guard
chain guard iifname . ether saddr . arp saddr ip @sources \
    iifname . arp saddr ether . arp saddr ip @sources accept
chain guard ether type ip udp sport 67 drop
chain guard ip saddr 0.0.0.0 udp sport != 68 drop
chain guard ip saddr 0.0.0.0 meta l4proto != udp drop
chain guard iifname . ether saddr . ip saddr @sources accept
chain guard iifname . ether saddr . ip6 saddr @sources6 accept
chain guard drop
"""

_ARP = """
set isolated { type ifname; }
chain input { type filter hook input priority filter; policy accept; }
chain input iifname @isolated drop
"""

_BASES = {INET: _INET, BRIDGE: _BRIDGE, ARP: _ARP}


def _statements(text: str) -> list[list[str]]:
    return [line.split(maxsplit=2) for line in text.strip().splitlines()]


def _is_rule(words: list[str]) -> bool:
    return words[0] == "chain" and len(words) == 3 and not words[2].startswith("{")


def base(table: Table) -> list[str]:
    """Return the commands that make the table with its sets and static rules.

    They may be repeated: they are one transaction, in which nothing is ever missing.
    """
    statements = _statements(_BASES[table.family])
    commands = [f"add table {table}"]
    commands += [
        f"add {words[0]} {table} {' '.join(words[1:])}"
        for words in statements
        if not _is_rule(words)
    ]
    chains = dict.fromkeys(words[1] for words in statements if words[0] == "chain")
    commands += [f"flush chain {table} {chain}" for chain in chains]
    commands += [
        f"add rule {table} {words[1]} {words[2]}" for words in statements if _is_rule(words)
    ]
    return commands


def rules_in(family: str) -> int:
    """Return the number of static rules in such a table."""
    return sum(map(_is_rule, _statements(_BASES[family])))


NETWORK_SETS = ("networks-", "networks6-", "members-", "members6-")
"""Sets for members on other nodes: as ranges, and as they were given."""

# -- forwards with sources: a chain for each ------------------------------------------

SOURCE_CHAIN = "sources-"


def source_chain(forward: PortForward) -> str:
    """Return the name of the chain that checks the source for the forward.

    The device is in hexadecimal digits: the name of a link may have any characters.
    """
    at = forward.address or "any"
    port = f"{forward.protocol}-{forward.port}"
    return f"{SOURCE_CHAIN}{port}-{at}-{forward.device.encode().hex()}"


def make_source_chain(table: Table, forward: PortForward) -> list[str]:
    """Return the commands that make the chain with its one rule, and replace an old one."""
    chain = source_chain(forward)
    networks = ", ".join(map(str, collapse_addresses(forward.sources)))  # type: ignore[type-var]
    to = f"dnat ip to {forward.target}:{forward.target_port}"
    match = f"meta l4proto {forward.protocol} ip saddr {{ {networks} }}"
    return [
        f"add chain {table} {chain}",
        f"flush chain {table} {chain}",
        f"add rule {table} {chain} {match} {to}",
    ]


def remove_source_chain(table: Table, forward: PortForward) -> list[str]:
    """Return the commands that remove the chain, if it exists."""
    chain = source_chain(forward)
    return [f"{verb} chain {table} {chain}" for verb in ("add", "flush", "delete")]


# -- zones, which have rules of their own ---------------------------------------------

ZONE_CHAIN, OUTBOUND_CHAIN = "from-", "outbound-"
_ZONE_RULES = """
from-{zone} oifname @links-{zone} accept
from-{zone} ct state established,related accept
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
    """Return the commands for the chains and sets of a zone, which must not exist yet.

    An empty chain records that the zone is outbound.
    """
    beyond = f"jump {OUTBOUND_CHAIN}{zone}" if outbound else "drop"
    rules = _ZONE_RULES.format(zone=zone, beyond=beyond).strip().splitlines()
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
    """Return the commands that remove a zone; nft refuses while links jump to it."""
    chains = ("from-", "into-", *((OUTBOUND_CHAIN,) if outbound else ()))
    sets = ("links-", *NETWORK_SETS)
    return [
        *(f"flush chain {table} {prefix}{zone}" for prefix in chains),
        *(f"delete chain {table} {prefix}{zone}" for prefix in chains),
        *(f"delete set {table} {prefix}{zone}" for prefix in sets),
    ]

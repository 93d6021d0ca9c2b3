"""Chains and rules that nouns have for themselves, beside their elements."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import collapse_addresses

from snnet.contract import TUNNEL_PORTS, PortForward
from snnet.contract.nat import with_port

from . import drops
from .families import FAMILIES, each, family_of
from .tables import Table


def remove_chain(table: Table, chain: str) -> list[str]:
    """Return the commands that remove a chain, if it exists; nothing may jump to it."""
    return [f"{verb} chain {table} {chain}" for verb in ("add", "flush", "delete")]


# -- guards of gre tunnels: a rule for each key ---------------------------------------


def gre_rules(table: Table, keys: Iterable[int]) -> list[str]:
    """Return the commands that let only peers send to gre tunnels with these keys."""
    rules = gre_chain(keys)
    return [f"flush chain {table} gre", *(f"add rule {table} gre {rule}" for rule in rules)]


def gre_chain(keys: Iterable[int]) -> list[str]:
    """Return the rules for these keys.

    nft has no type for a set of keys.  The key is the second word of a GRE header without
    a checksum (RFC 2890, 2).
    """
    return [f"@th,32,32 {key:#x} ip saddr != @gre_peers goto drop-tunnel" for key in sorted(keys)]


NETWORK_SETS = tuple(
    f"{name}{family.s}-" for name in ("networks", "members") for family in FAMILIES
)
"""Sets for members on other nodes: as ranges, and as they were given."""

# -- forwards with sources: a chain for each ------------------------------------------

SOURCE_CHAIN = "sources-"


def source_chain(forward: PortForward) -> str:
    """Return the name of the chain that checks the source for the forward.

    The device is in hexadecimal digits: the name of a link may have any characters.
    """
    at = str(forward.address or f"any{family_of(forward.target).s}").replace(":", "_")
    port = f"{forward.protocol}-{forward.port}"
    return f"{SOURCE_CHAIN}{port}-{at}-{forward.device.encode().hex()}"


def make_source_chain(table: Table, forward: PortForward) -> list[str]:
    """Return the commands that make the chain with its one rule, and replace an old one."""
    chain = source_chain(forward)
    return [
        f"add chain {table} {chain}",
        f"flush chain {table} {chain}",
        f"add rule {table} {chain} {source_rule(forward)}",
    ]


def source_rule(forward: PortForward) -> str:
    """Return the rule that translates what comes from one of the forward's sources."""
    networks = ", ".join(map(str, collapse_addresses(forward.sources)))  # type: ignore[type-var]
    ip = family_of(forward.target).ip
    to = f"dnat {ip} to {with_port(forward.target, forward.target_port)}"
    return f"meta l4proto {forward.protocol} {ip} saddr {{ {networks} }} {to}"


def remove_source_chain(table: Table, forward: PortForward) -> list[str]:
    """Return the commands that remove the chain, if it exists."""
    return remove_chain(table, source_chain(forward))


# -- zones, which have rules of their own ---------------------------------------------

ZONE_CHAIN, OUTBOUND_CHAIN = "from-", "outbound-"
_ZONE_RULES = each("""
from-{zone} ct state established,related accept
from-{zone} oifname @links-{zone} accept
from-{zone} {ip} daddr @closed_nets{s} goto drop-protected
from-{zone} {ip} daddr @tunnel_nets{s} udp dport {tunnel_ports} goto drop-protected
from-{zone} {ip} daddr @tunnel_nets{s} meta l4proto gre goto drop-protected
from-{zone} {ip} daddr . udp dport @port_nets{s} goto drop-protected
from-{zone} meta nfproto {proto} ct state invalid,untracked oifname @masquerades{s} \
    goto drop-untranslated
from-{zone} ct state invalid,untracked {ip} saddr . oifname @public_exits{s} goto drop-untranslated
from-{zone} ct state invalid,untracked {ip} saddr @translated{s} goto drop-untranslated
from-{zone} oifname @masquerades iifname . oifname @exits accept
from-{zone} {ip} saddr . oifname @public_exits{s} accept
from-{zone} {beyond}
into-{zone} ct state established,related accept
into-{zone} ct status dnat accept
into-{zone} {ip} saddr @networks{s}-{zone} accept
into-{zone} {ip} daddr @open{s} accept
into-{zone} goto drop-into
""").strip()
_ZONE_SETS = (
    "networks{s}-{zone} { type {addr}; flags interval; }",
    "members{s}-{zone} { type {addr} . inet_service; }",
)


def zone_chains(zone: str, outbound: bool) -> dict[str, list[str]]:
    """Return the rules of each chain of a zone.

    An empty chain records that the zone is outbound.
    """
    beyond = f"jump {OUTBOUND_CHAIN}{zone}" if outbound else f"goto {drops.FROM}"
    ports = ", ".join(f"{first}-{last}" for first, last in TUNNEL_PORTS)
    text = _ZONE_RULES.format(zone=zone, beyond=beyond, tunnel_ports=f"{{ {ports} }}")
    chains: dict[str, list[str]] = {f"{OUTBOUND_CHAIN}{zone}": []} if outbound else {}
    for line in text.strip().splitlines():
        chain, rule = line.split(maxsplit=1)
        chains.setdefault(chain, []).append(rule)
    return chains


def zone_sets(zone: str) -> dict[str, str]:
    """Return the sets of a zone, by name: how each is declared."""
    specs = [family.fill(spec) for family in FAMILIES for spec in _ZONE_SETS]
    named = [spec.replace("{zone}", zone).split(maxsplit=1) for spec in specs]
    return {f"links-{zone}": "{ type ifname; }"} | dict(named)


def make_zone(table: Table, zone: str, outbound: bool) -> list[str]:
    """Return the commands for the chains and sets of a zone, which must not exist yet."""
    chains = zone_chains(zone, outbound)
    return [
        *(f"create chain {table} {chain}" for chain in chains),
        *(f"create set {table} {name} {spec}" for name, spec in zone_sets(zone).items()),
        *(f"add rule {table} {chain} {rule}" for chain in chains for rule in chains[chain]),
    ]


def remove_zone(table: Table, zone: str, outbound: bool) -> list[str]:
    """Return the commands that remove a zone; nft refuses while links jump to it."""
    chains = zone_chains(zone, outbound)
    return [
        *(f"flush chain {table} {chain}" for chain in chains),
        *(f"delete chain {table} {chain}" for chain in chains),
        *(f"delete set {table} {name}" for name in zone_sets(zone)),
    ]

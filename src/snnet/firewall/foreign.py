"""Foreign rules that drop what our rules let through.

An ``accept`` in one nftables table does not save a packet from a ``drop`` in another
(nft(8), "verdict statement").  All that snnet can do is to find such rules and name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from snnet.contract import (
    AntiSpoof,
    BridgeAccept,
    ExternalForward,
    IPAddress,
    IPNetwork,
    Noun,
    PortForward,
    TranslatedSource,
    Untracked,
    Zone,
    ZoneLink,
)
from snnet.system.netns import in_netns
from snnet.system.process import find_program, run
from snnet.system.reach import Reach

Item = dict[str, Any]

DOCKER_USER = "DOCKER-USER"
"""Docker's chain for the rules of others."""

_OUTSIDE = "outside"
"""Stands for any link that leads out of the host."""

_FAR = ip_address("198.41.0.4"), ip_address("2001:503:ba3e::2:30")
"""Addresses far away, one of each family (a.root-servers.net); nothing is sent to them."""

_HOOKS = ("prerouting", "forward", "postrouting")
_FAMILIES = ("ip", "ip6", "inet", "bridge")
_IP_FAMILIES = ("ip", "ip6", "inet")
_PROGRAMS = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}
_STOPPED = ("drop", "reject")
_TRANSLATED = ("masquerade", "snat", "dnat", "redirect")
BRIDGED_TO_IP = "net.bridge.bridge-nf-call-iptables"
_FORWARDED = re.compile(rf"-A (?:FORWARD|{DOCKER_USER}) (.*)")
_ACCEPTS = re.compile(r"(?:-i (\S+) )?(?:-o (\S+) )?-j ACCEPT")
_BRIDGED_TO_IP = Path("/proc/sys", BRIDGED_TO_IP.replace(".", "/"))


@dataclass(frozen=True, slots=True)
class Flow:
    """Traffic that our rules let through: its links, and its network if known."""

    came: str
    goes: str
    bridged: bool = False
    sources: tuple[IPNetwork, ...] = ()
    targets: tuple[IPNetwork, ...] = ()
    untracked: bool = False
    """Whether the host does not track it, so that no NAT rule can rewrite it."""
    versions: frozenset[int] = frozenset({4})
    """The versions of IP that it has."""
    in_ip: bool = True
    """Whether IP's hooks see it; those of bridges see every bridged frame."""
    uplink: str = _OUTSIDE
    """The link that stands for the outside: the host's uplink, where it is known."""

    @property
    def links(self) -> tuple[str, str]:
        """The links that it comes by and goes by, as rules name them."""
        came, goes = (self.uplink if name == _OUTSIDE else name for name in (self.came, self.goes))
        return came, goes

    def __str__(self) -> str:
        return f"through {self.came}" if self.bridged else f"from {self.came} to {self.goes}"


def flows(netns: int, ours: Iterable[Noun]) -> list[Flow]:
    """Return what the rules let through."""
    ours = list(ours)
    networks = {noun.link: noun.networks for noun in ours if isinstance(noun, ZoneLink)}
    seen = _bridged_is_seen(netns)
    untracked = any(isinstance(noun, Untracked) for noun in ours)
    guests = _versions(ip for noun in ours if isinstance(noun, AntiSpoof) for ip in noun.addresses)
    found = [
        Flow(
            noun.bridge, noun.bridge, bridged=True, untracked=untracked, versions=guests, in_ip=seen
        )
        for noun in ours
        if isinstance(noun, BridgeAccept)
    ]
    links = [noun for noun in ours if isinstance(noun, ZoneLink)]
    for one, other in zip(links, links[1:] + links[:1], strict=True):
        if one is not other and one.zone == other.zone:
            found.append(_routed(one.link, other.link, one.networks, other.networks))
    if any(isinstance(noun, TranslatedSource) for noun in ours):
        uplink = _uplink(netns, ours)
        outbound = {noun.zone for noun in ours if isinstance(noun, Zone) and noun.outbound}
        for link in links:
            if link.zone in outbound:
                found += [
                    Flow(link.link, _OUTSIDE, uplink=uplink),
                    Flow(_OUTSIDE, link.link, uplink=uplink),
                ]
    for noun in ours:
        if isinstance(noun, ExternalForward):
            inside = networks.get(noun.bridge, ())
            found.append(_routed(noun.bridge, noun.device, inside, ()))
            found.append(_routed(noun.device, noun.bridge, (), inside))
    return found


def _uplink(netns: int, ours: Iterable[Noun]) -> str:
    """The link by which packets come from the outside: that of forwards, or of the way there."""
    for noun in ours:
        if isinstance(noun, PortForward):
            return noun.device
    with closing(Reach(netns)) as reach:
        return next(filter(None, map(reach.way, _FAR)), _OUTSIDE)


def _routed(
    came: str, goes: str, sources: tuple[IPNetwork, ...], targets: tuple[IPNetwork, ...]
) -> Flow:
    return Flow(came, goes, False, sources, targets, versions=_versions([*sources, *targets]))


def _versions(values: Iterable[IPAddress | IPNetwork]) -> frozenset[int]:
    """Return the versions of these; IPv4 where there are none."""
    return frozenset(value.version for value in values) or frozenset({4})


def _bridged_is_seen(netns: int) -> bool:
    """Whether IP's hooks see bridged frames (br_netfilter)."""
    with suppress(OSError):
        return in_netns(netns, _BRIDGED_TO_IP.read_text).strip() == "1"
    return False


def obstacles(netns: int, ruleset: Sequence[Item], ours: Iterable[Noun]) -> list[str]:
    """Return a line for each foreign base chain that drops a flow of ours, with what to do."""
    wanted = flows(netns, ours)
    return [*drops(ruleset, wanted), *(legacy_drops(netns, wanted) if wanted else [])]


def drops(ruleset: Sequence[Item], wanted: Sequence[Flow]) -> list[str]:
    """Return these lines for nftables, with the tables of iptables-nft."""
    rules = Ruleset(ruleset)
    lines = []
    for chain in rules.base_chains():
        hit = [(flow, why) for flow in wanted if (why := rules.stops(chain, flow))]
        if hit:
            flow, why = hit[0]
            more = f" (and {len(hit) - 1} more)" if len(hit) > 1 else ""
            place = f"{chain['family']} {chain['table']}"
            command = _accepting(chain, flow)
            cure = f", or: {command}" if command else ""
            if flow.bridged and chain["family"] != "bridge":
                cure = f"; or, if nobody needs it, set {BRIDGED_TO_IP} to 0"
            lines.append(
                f"table {place}, chain {chain['name']} (hook {chain['hook']}) drops what snnet "
                f"lets through: {flow}{more}, by {why}; have its owner accept them there{cure}"
            )
    return [*lines, *translations(rules, wanted)]


def _accepting(chain: Item, flow: Flow, program: str | None = None) -> str:
    """Return the command that lets a flow through a chain; empty where no link is known there.

    ``program`` is the iptables that has the chain.
    """
    came = flow.came if flow.came != _OUTSIDE and chain["hook"] != "postrouting" else ""
    goes = flow.goes if flow.goes != _OUTSIDE and chain["hook"] != "prerouting" else ""
    family, table, name = chain["family"], chain["table"], chain["name"]
    if family not in _IP_FAMILIES or not (came or goes):
        return ""
    program = program or (_PROGRAMS.get(family) if name.isupper() else None)
    if program:
        links = "".join(f" {flag} {link}" for flag, link in (("-i", came), ("-o", goes)) if link)
        return f"{program} -t {table} -I {name}{links} -j ACCEPT"
    sides = (("iifname", came), ("oifname", goes))
    links = "".join(f"{side} {link} " for side, link in sides if link)
    return f"nft insert rule {family} {table} {name} {links}accept"


def accepting_in_forward(program: str, flow: Flow) -> str:
    """Return the command that lets a flow through FORWARD of this iptables."""
    family = "ip6" if program.startswith("ip6") else "ip"
    forward = {"family": family, "table": "filter", "name": "FORWARD", "hook": "forward"}
    return _accepting(forward, flow, program)


def translations(rules: Ruleset, wanted: Sequence[Flow]) -> list[str]:
    """A line for each foreign chain that rewrites bridged frames of ours, and what to do."""
    lines = []
    for chain in rules.base_chains("nat"):
        for flow in wanted:
            if flow.bridged and flow.in_ip and not flow.untracked and rules.translates(chain, flow):
                lines.append(
                    f"table {chain['family']} {chain['table']}, chain {chain['name']} (hook "
                    f"{chain['hook']}) translates frames {flow}; set {BRIDGED_TO_IP} to 0, or "
                    "install nftables and load nf_tables, so that snnet can keep them untracked"
                )
                break
    return lines


@dataclass(slots=True)
class Ruleset:
    """The JSON of nft, by chain."""

    items: Sequence[Item]
    _chains: dict[tuple[str, str, str], Item] = field(default_factory=dict)
    _rules: dict[tuple[str, str, str], list[Item]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.items:
            if chain := item.get("chain"):
                self._chains[chain["family"], chain["table"], chain["name"]] = chain
            elif rule := item.get("rule"):
                key = (rule["family"], rule["table"], rule["chain"])
                self._rules.setdefault(key, []).append(rule)

    def base_chains(self, kind: str = "filter") -> list[Item]:
        """Return the base chains of this type that forwarded packets pass."""
        return [
            chain
            for chain in self._chains.values()
            if chain.get("hook") in _HOOKS
            and chain.get("type") == kind
            and chain["family"] in _FAMILIES
        ]

    def stops(self, chain: Item, flow: Flow) -> str | None:
        """Return what in the base chain certainly drops the flow, or None."""
        if not (flow.bridged if chain["family"] == "bridge" else flow.in_ip):
            return None
        if {"ip": 4, "ip6": 6}.get(chain["family"], min(flow.versions)) not in flow.versions:
            return None
        before = chain["hook"] == "prerouting"
        verdict = self._walk(chain, flow, before, depth=0)
        if verdict is None and chain.get("policy") == "drop":
            return "its policy"
        return verdict if verdict not in ("accept", *_TRANSLATED) else None

    def translates(self, chain: Item, flow: Flow) -> bool:
        """Whether the base chain of type nat may rewrite the flow."""
        before = chain["hook"] == "prerouting"
        return self._walk(chain, flow, before, depth=0) in _TRANSLATED

    def _walk(self, chain: Item, flow: Flow, before: bool, depth: int) -> str | None:
        """Return the certain end of the flow: "accept", what drops it, or None."""
        if depth > 16:  # nft allows no more jumps (NFT_JUMP_STACK_SIZE, nf_tables.h)
            return None
        for rule in self._rules.get((chain["family"], chain["table"], chain["name"]), []):
            expressions = rule.get("expr", [])
            if any(isinstance(item, str) for item in expressions):
                continue  # a chain within the rule, which nft prints as text
            if not all(
                _matches(item["match"], flow, before) for item in expressions if "match" in item
            ):
                continue
            if any("xt" in item and _translation(item) is None for item in expressions):
                continue  # an iptables extension: only its name is shown
            for item in expressions:
                if "accept" in item:
                    return "accept"
                if (word := _translation(item)) is not None:
                    return word
                if stopped := next((word for word in _STOPPED if word in item), None):
                    return f"a rule that says {stopped} in chain {chain['name']}"
                if "return" in item:
                    return None
                there = item.get("jump") or item.get("goto")
                if there:
                    target = self._chains.get((chain["family"], chain["table"], there["target"]))
                    end = self._walk(target, flow, before, depth + 1) if target else None
                    if end is not None or "goto" in item:
                        return end
        return None


def _translation(item: Item) -> str | None:
    """The kind of NAT that an expression stands for, iptables' targets included."""
    target = str((item.get("xt") or {}).get("name", "")).lower()
    return next((word for word in _TRANSLATED if word in item or word == target), None)


def _matches(match: Item, flow: Flow, before: bool) -> bool:
    """Whether the flow certainly matches; an unknown match counts as no match."""
    left, right, operator = match["left"], match["right"], match.get("op", "==")
    if not isinstance(left, dict):
        return False
    key = left.get("meta", {}).get("key")
    if key in ("iifname", "iif", "oifname", "oif", "ibrname", "obrname"):
        if before and key.startswith("o"):
            return False
        name = flow.links[0 if key.startswith("i") else 1]
        found = _contains(right, lambda wanted: fnmatchcase(name, str(wanted)))
    elif left.get("payload", {}).get("protocol") in ("ip", "ip6"):
        which = left["payload"].get("field")
        networks = {"saddr": flow.sources, "daddr": flow.targets}.get(which, ())
        version = 4 if left["payload"]["protocol"] == "ip" else 6
        networks = tuple(network for network in networks if network.version == version)
        if not networks:
            return False
        found = _contains(right, lambda wanted: any(_overlap(wanted, net) for net in networks))
    else:
        return False
    if found is None:
        return False
    return found if operator in ("==", "in") else not found


def _contains(right: Any, fits: Any) -> bool | None:
    """Whether one of the values fits; None if they are in a set that is not shown."""
    if isinstance(right, str) and right.startswith("@"):
        return None
    values = right["set"] if isinstance(right, dict) and "set" in right else [right]
    return any(fits(value) for value in values)


def _overlap(wanted: Any, network: IPNetwork) -> bool:
    if isinstance(wanted, dict) and "prefix" in wanted:
        wanted = f"{wanted['prefix']['addr']}/{wanted['prefix']['len']}"
    with suppress(ValueError, TypeError):
        return network.overlaps(ip_network(wanted))
    return False


def unaccepted(rules: Iterable[str], wanted: Iterable[Flow]) -> list[Flow]:
    """Return the flows that no rule of iptables for whole links accepts."""
    links = {match.groups() for rule in rules if (match := _ACCEPTS.fullmatch(rule.strip()))}
    return [
        flow
        for flow in wanted
        if flow.in_ip
        and not any(came in (None, flow.came) and goes in (None, flow.goes) for came, goes in links)
    ]


def legacy_drops(netns: int, wanted: Sequence[Flow]) -> list[str]:
    """Return the line for the policy of legacy iptables, which nft does not show."""
    program = "iptables-legacy"
    with suppress(OSError):
        names = in_netns(netns, Path("/proc/thread-self/net/ip_tables_names").read_text).split()
        if "filter" in names and find_program(f"{program}-save"):
            saved = run([f"{program}-save", "-t", "filter"], netns=netns).stdout.splitlines()
            rules = (match[1] for line in saved if (match := _FORWARDED.match(line)))
            left = unaccepted(rules, wanted)
            if left and any(line.startswith(":FORWARD DROP") for line in saved):
                more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
                return [
                    "legacy iptables, table filter, chain FORWARD drops what snnet lets through: "
                    f"{left[0]}{more}, by its policy; have its owner accept them there, or: "
                    f"{accepting_in_forward(program, left[0])}"
                ]
    return []

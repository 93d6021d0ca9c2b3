"""Security groups in nft: the chains and sets that their nouns have for themselves.

A map leads from a port to its chain of each direction.  That lets answers pass, which most packets
are; jumps to the chains of the port's groups, and drops what none of them takes.  A rule of a group
goes to the static chain ``learn_in`` or ``learn_out``, where a map leads to the port's own chain
``learn-``: it remembers the answer to expect, and accepts.

State is a set of expected answers for each port, which rules fill: the kernel need not track
connections of bridged frames.  A full set lets new packets pass, and not their answers.  Data that
answers goes to the port's chain ``fresh-``, which has it remembered for longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from snnet.contract import GroupMembers, GroupRules, Noun, PortGroups, Rule
from snnet.contract.groups import DIRECTIONS, IN

from . import drops, matches
from .families import FAMILIES, V4, V6, Family
from .filter import BRIDGED_KIND, EXTENSIONS, HIDDEN, ROUTED_KIND
from .tables import BRIDGE, GROUPS, INET, Part, Table

_SLASH = "/"
"""Between tenant and group, in whose ids it cannot be, nor in names of links."""
_FRESH, _MEMBERS, _LOCALS, _RULES = "fresh-", "members-", "locals-", "rules-"
_ANY = "any"
_ROOM = 120

# A connection is remembered while data flows, and for a while after it ends (RFC 4787, REQ-5).
# An acknowledgement alone changes nothing that is remembered, since the last one comes after the
# end.  It may be a keepalive probe: what was forgotten of its connection is remembered again.
_IDLE = "2h4m"
"""How long a connection without data is remembered: no shorter (RFC 5382, REQ-5)."""
_LIMITS = "size 65535; flags dynamic,timeout;"
_ENDS = {V4: "@nh,96,32 . @nh,128,32", V6: "@nh,64,128 . @nh,192,128"}
"""Source and target, as numbers, as an error has those of another packet."""
_ENDS_TURNED = {V4: "@nh,128,32 . @nh,96,32", V6: "@nh,192,128 . @nh,64,128"}
_TALKS = {V4: f"{_ENDS[V4]} . @nh,72,8", V6: f"{_ENDS[V6]} . @nh,48,8"}
"""Source, target and protocol."""
_TURNED = {V4: f"{_ENDS_TURNED[V4]} . @nh,72,8", V6: f"{_ENDS_TURNED[V6]} . @nh,48,8"}
_INNER = {
    V4: "@th,192,32 . @th,160,32 . @th,136,8",
    V6: "@th,256,128 . @th,128,128 . @th,112,8",
}
"""Target, source and protocol of the packet that an ICMP error is about (RFC 792, RFC 4443)."""
_INNER_TURNED = {
    V4: "@th,160,32 . @th,192,32 . @th,136,8",
    V6: "@th,128,128 . @th,256,128 . @th,112,8",
}
_ERRORS = {
    V4: "icmp type { destination-unreachable, time-exceeded, parameter-problem }",
    V6: "icmpv6 type 1-4",
}
_REPLY = {
    V4: "icmp type echo-reply",
    V6: "ip6 nexthdr { 44, 58 } icmpv6 type echo-reply",
}
_OTHERS = {
    V4: "meta l4proto != { 1, 58 }",
    V6: f"ip6 nexthdr != {EXTENSIONS} meta l4proto != {{ 1, 58 }}",
}
"""Of IPv6 packets with further headers ``_TALKS`` has the first of those, and says nothing of the
protocol."""
_PORTS = "meta l4proto { tcp, udp, sctp }"
_DATA, _NO_DATA = (f"tcp flags & (psh | fin | rst) {sign} psh" for sign in ("==", "!="))
_FORTH = {
    of: f"{of.ip} saddr . {of.ip} daddr . meta l4proto . th sport . th dport" for of in FAMILIES
}
"""Addresses, protocol and ports.  All have types: nft forgets the sizes of so many raw parts, and
then aborts, with the process that uses its library, when it lists two elements (nft 1.0.6,
concat_expr_msort_value)."""
_BACK = {
    of: f"{of.ip} daddr . {of.ip} saddr . meta l4proto . th dport . th sport" for of in FAMILIES
}


def _known_rules(port: str, of: Family) -> Iterator[str]:
    talks = f"@talks{of.s}-{port}"
    if of is V6:
        yield f"{HIDDEN} return"
    yield f"{_FORTH[of]} @flows{of.s}-{port} goto {_FRESH}{port}"
    yield f"{_PORTS} return"
    yield f"{_REPLY[of]} {_TALKS[of]} {talks} accept"
    # About what was asked, and about the answer.
    yield f"{_ERRORS[of]} {_INNER[of]} {talks} accept"
    yield f"{_ERRORS[of]} {_INNER_TURNED[of]} {talks} accept"
    yield f"{_OTHERS[of]} {_TALKS[of]} {talks} accept"


def _fresh_rules(port: str) -> Iterator[str]:
    yield f"{_NO_DATA} accept"
    for of in FAMILIES:
        update = f"update @flows{of.s}-{port} {{ {_FORTH[of]} timeout {_IDLE} }}"
        yield f"meta protocol {of.ip} {_DATA} {update}"
    yield "accept"


def _learn_rules(port: str, of: Family) -> Iterator[str]:
    flows, back = f"@flows{of.s}-{port}", _BACK[of]
    talks = f"update @talks{of.s}-{port} {{ {_TURNED[of]} }}"
    yield f"{_DATA} update {flows} {{ {back} timeout {_IDLE} }} {talks} accept"
    yield f"tcp flags & (syn | fin | rst) != 0 update {flows} {{ {back} timeout 4m }} {talks}"
    yield f"meta l4proto tcp add {flows} {{ {back} timeout {_IDLE} }} accept"
    yield f"meta l4proto {{ udp, sctp }} update {flows} {{ {back} }}"
    yield talks


GroupNoun = GroupMembers | GroupRules | PortGroups
"""One of the nouns of groups."""


def table_of(noun: GroupNoun) -> Table:
    """Return the table that has the chains and sets of the noun."""
    return Table(BRIDGE if noun.bridged else INET, noun.owner)


# -- names ---------------------------------------------------------------------------


def _named(tenant: str, group: str) -> str:
    return f"{tenant}{_SLASH}{group}"


def _set(kind: str, of: Family, tenant: str, group: str) -> str:
    return f"{kind.removesuffix('-')}{of.s}-{_named(tenant, group)}"


def _sets_of(tenant: str, of: Family, group: str) -> list[str]:
    """Return the names of the sets of a group's members."""
    return [_set(kind, of, tenant, group) for kind in (_MEMBERS, _LOCALS)]


def members_set(of: Family, noun: GroupMembers) -> str:
    """Return the name of the set of a group's members on other hosts."""
    return _set(_MEMBERS, of, noun.tenant, noun.group)


def locals_set(of: Family, tenant: str, group: str) -> str:
    """Return the name of the set of a group's members on this host."""
    return _set(_LOCALS, of, tenant, group)


def rules_set(noun: GroupRules) -> str:
    """Return the name of the set whose comments are the rules of a group."""
    return f"{_RULES}{_named(noun.tenant, noun.group)}"


def groups_among(chains: Iterable[str]) -> Iterator[tuple[type[Noun], str, str]]:
    """Yield the class, tenant and group of each noun that one of these chains belongs to."""
    for chain in chains:
        for prefix, cls in ((_MEMBERS, GroupMembers), (f"{IN}-", GroupRules)):
            tenant, slash, group = chain.removeprefix(prefix).partition(_SLASH)
            if chain.startswith(prefix) and slash:
                yield cls, tenant, group


def chain_of(noun: GroupMembers | GroupRules) -> str:
    """Return the name of the chain that says whether the noun is there."""
    prefix = _MEMBERS if isinstance(noun, GroupMembers) else f"{IN}-"
    return f"{prefix}{_named(noun.tenant, noun.group)}"


# -- what a noun has for itself --------------------------------------------------------


def chains_of(noun: Noun) -> dict[str, list[str]]:
    """Return the chains of a noun with their rules, in an order in which they can be made."""
    match noun:
        case GroupMembers():
            return {chain_of(noun): []}
        case GroupRules(tenant=tenant):
            return {
                f"{direction}-{_named(tenant, noun.group)}": [
                    f"{text} goto learn_{direction}"
                    for text in matches.texts(noun.rules, direction, partial(_sets_of, tenant))
                ]
                for direction in DIRECTIONS
            }
        case PortGroups(link=port):
            # The chains of IPv6 come before those of IPv4, which lead to them.
            chains = {f"{_FRESH}{port}": [*_fresh_rules(port)]}
            for of in (V6, V4):
                chains[f"known{of.s}-{port}"] = [*_known_rules(port, of)]
                to_ipv6 = [f"meta protocol ip6 goto learn6-{port}"] if of is V4 else []
                chains[f"learn{of.s}-{port}"] = [*to_ipv6, *_learn_rules(port, of), "accept"]
            kind = BRIDGED_KIND if noun.bridged else ROUTED_KIND
            known = f"{kind} vmap {{ ip : jump known-{port}, ip6 : jump known6-{port} }}"
            for direction in DIRECTIONS:
                jumps = [f"jump {direction}-{_named(noun.tenant, group)}" for group in noun.groups]
                last = f"goto {drops.PREFIX}{direction}"
                checked = f"jump checked_{direction}"
                chains[f"{direction}-{port}"] = [known, checked, *jumps, last]
            return chains
    return {}


def sets_of(noun: Noun) -> dict[str, str]:
    """Return the sets of a noun, by name: how each is declared."""
    match noun:
        case GroupMembers(tenant=tenant, group=group):
            return {
                _set(kind, of, tenant, group): of.fill("{ type {addr}; }")
                for kind in (_MEMBERS, _LOCALS)
                for of in FAMILIES
            }
        case GroupRules():
            return {rules_set(noun): "{ type inet_service; }"}
        case PortGroups(link=port):
            return {
                f"{name}{of.s}-{port}": f"{{ typeof {keys[of]}; {_LIMITS} timeout {timeout}; }}"
                for name, keys, timeout in (("flows", _FORTH, "3m"), ("talks", _TALKS, "1h"))
                for of in FAMILIES
            }
    return {}


def make(table: Table, noun: Noun) -> list[str]:
    """Return the commands that make the sets and chains of a noun."""
    verb = "add" if isinstance(noun, PortGroups) else "create"
    chains = chains_of(noun)
    return [
        *(f"{verb} set {table} {name} {spec}" for name, spec in sets_of(noun).items()),
        *(f"{verb} chain {table} {chain}" for chain in chains),
        *fill(table, noun),
    ]


def fill(table: Table, noun: Noun) -> list[str]:
    """Return the commands that replace the rules in the chains of a noun."""
    chains = chains_of(noun)
    return [
        *(f"flush chain {table} {chain}" for chain in chains),
        *(f"add rule {table} {chain} {rule}" for chain in chains for rule in chains[chain]),
    ]


def remove(table: Table, noun: Noun) -> list[str]:
    """Return the commands that remove them; nft refuses while others refer to them."""
    chains, sets = chains_of(noun), sets_of(noun)
    # A port has its record; other parts of it may be gone by accident.
    missing = (
        []
        if not isinstance(noun, PortGroups)
        else [
            *(f"add set {table} {name} {spec}" for name, spec in sets.items()),
            *(f"add chain {table} {chain}" for chain in chains),
        ]
    )
    return [
        *missing,
        *(f"flush chain {table} {chain}" for chain in chains),
        *(f"delete chain {table} {chain}" for chain in reversed(chains)),
        *(f"delete set {table} {name}" for name in sets),
    ]


def sample(part: Part) -> list[str]:
    """Return the commands that make one of each, where the part is that of groups."""
    if part.name != GROUPS:
        return []
    bridged = part.table.family == BRIDGE
    members = GroupMembers(tenant="t", group="g", bridged=bridged)
    ssh = Rule(IN, "tcp", 22, "group:g")
    rules = GroupRules(tenant="t", group="g", rules=(ssh,), bridged=bridged)
    port = PortGroups(link="p", tenant="t", groups=("g",), bridged=bridged)
    return [line for noun in (members, rules, port) for line in make(part.table, noun)]


# -- rules as text ---------------------------------------------------------------------


def written(rules: Iterable[Rule]) -> list[str]:
    """Return the rules as comments of elements, in order; one that goes on begins with ``+``."""
    comments = []
    for rule in rules:
        parts = (rule.direction, rule.protocol, rule.ports, rule.remote)
        text = " ".join(_ANY if part is None else str(part) for part in parts)
        for start in range(0, len(text), _ROOM):
            comments.append(f"{'+' if start else '='}{text[start : start + _ROOM]}")
    return comments


def read(comments: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules that were written; InvalidRequest or ValueError if they are damaged."""
    texts: list[str] = []
    for comment in comments:
        if comment.startswith("+"):
            texts[-1] += comment[1:]
        else:
            texts.append(comment[1:])
    rules = []
    for text in texts:
        direction, *parts = text.split(" ")
        protocol, ports, remote = (None if part == _ANY else part for part in parts)
        rules.append(Rule(direction, protocol, ports, remote))
    return tuple(rules)

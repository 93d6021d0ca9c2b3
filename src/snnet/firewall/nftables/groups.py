"""Security groups in nft: the chains and sets that their nouns have for themselves.

A map leads from a port to its chain of each direction.  That jumps to the chains of the port's
groups, and drops what none of them takes.  A rule of a group goes to the static chain ``learn_in``
or ``learn_out``, where a map leads to the port's own chain ``learn-``: it remembers the answer
to expect, and accepts.

State is a set of expected answers for each port, which rules fill: the kernel need not track
connections of bridged frames.  A full set lets new packets pass, and not their answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snnet.contract import GroupMembers, GroupRules, Noun, PortGroups, Rule
from snnet.contract.groups import DIRECTIONS, IN, WITH_PORTS

from . import drops
from .families import FAMILIES, V4, V6, Family
from .tables import GROUPS, Part, Table

_SLASH = "/"
"""Between tenant and group, in whose ids it cannot be, nor in names of links."""
_KNOWN, _LEARN, _MEMBERS, _LOCALS, _RULES = "known-", "learn-", "members-", "locals-", "rules-"
_ANY = "any"
_ROOM = 120

# A connection is remembered while data flows, and for a while after it ends (RFC 5382, REQ-5;
# RFC 4787, REQ-5).  An acknowledgement alone changes nothing: the last one comes after the end.
_FLOWS = "{ typeof {ip} saddr . {ip} daddr . meta l4proto . th sport . th dport; \
    size 65535; flags dynamic,timeout; timeout 3m; }"
_TALKS = {
    V4: "@nh,96,32 . @nh,128,32 . @nh,72,8",
    V6: "@nh,64,128 . @nh,192,128 . @nh,48,8",
}
"""Source, target and protocol, as numbers: an error has those of another packet."""
_TURNED = {
    V4: "@nh,128,32 . @nh,96,32 . @nh,72,8",
    V6: "@nh,192,128 . @nh,64,128 . @nh,48,8",
}
_INNER = {
    V4: "@th,192,32 . @th,160,32 . @th,136,8",
    V6: "@th,256,128 . @th,128,128 . @th,112,8",
}
"""Target, source and protocol of the packet that an ICMP error is about (RFC 792, RFC 4443)."""
_ERRORS = {
    V4: "icmp type { destination-unreachable, time-exceeded, parameter-problem }",
    V6: "icmpv6 type 1-4",
}
_REPLY = {V4: "icmp type echo-reply", V6: "icmpv6 type echo-reply"}
_OTHERS = "meta l4proto != { 1, 6, 17, 58, 132 }"
_FORTH = "{ip} saddr . {ip} daddr . meta l4proto . th sport . th dport"
_BACK = "{ip} daddr . {ip} saddr . meta l4proto . th dport . th sport"


def _known_rules(port: str, of: Family) -> Iterator[str]:
    flows, talks = f"@flows{of.s}-{port}", f"@talks{of.s}-{port}"
    forth = of.fill(_FORTH)
    data = f"tcp flags & (psh | fin | rst) == psh {forth} {flows}"
    yield f"{data} update {flows} {{ {forth} timeout 1h }} accept"
    yield f"{forth} {flows} accept"
    yield f"{_REPLY[of]} {_TALKS[of]} {talks} accept"
    yield f"{_ERRORS[of]} {_INNER[of]} {talks} accept"
    yield f"ether type {of.ip} {_OTHERS} {_TALKS[of]} {talks} accept"


def _learn_rules(port: str, of: Family) -> Iterator[str]:
    flows, back = f"@flows{of.s}-{port}", of.fill(_BACK)
    yield f"tcp flags & (fin | rst) != 0 update {flows} {{ {back} timeout 4m }}"
    yield f"tcp flags & (syn | fin | rst) == syn update {flows} {{ {back} timeout 4m }}"
    yield f"tcp flags & (psh | fin | rst) == psh update {flows} {{ {back} timeout 1h }}"
    yield f"meta l4proto {{ udp, sctp }} update {flows} {{ {back} }}"
    yield f"ether type {of.ip} update @talks{of.s}-{port} {{ {_TURNED[of]} }}"


def rule_texts(tenant: str, rule: Rule) -> Iterator[str]:
    """Yield the rules of nft for one rule of a group, without where they go."""
    side = "saddr" if rule.direction == IN else "daddr"
    what = _protocol_text(rule)
    families = [of for of in FAMILIES if rule.version in (None, 4 if of is V4 else 6)]
    if rule.network is not None:
        yield f"{what} {families[0].ip} {side} {rule.network}".lstrip()
    elif rule.group is not None:
        for of in families:
            for kind in (_MEMBERS, _LOCALS):
                found = f"@{_set(kind, of, tenant, rule.group)}"
                yield f"{what} {of.ip} {side} {found}".lstrip()
    else:
        yield what or "ether type { ip, ip6 }"


def _protocol_text(rule: Rule) -> str:
    if rule.number is None:
        return ""
    if not rule.ranges:
        return f"meta l4proto {rule.number}"
    ranges = ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in rule.ranges
    )
    return f"{rule.protocol} {'dport' if rule.protocol in WITH_PORTS else 'type'} {{ {ranges} }}"


# -- names ---------------------------------------------------------------------------


def _named(tenant: str, group: str) -> str:
    return f"{tenant}{_SLASH}{group}"


def _set(kind: str, of: Family, tenant: str, group: str) -> str:
    return f"{kind.removesuffix('-')}{of.s}-{_named(tenant, group)}"


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
                    for rule in noun.rules
                    if rule.direction == direction
                    for text in rule_texts(tenant, rule)
                ]
                for direction in DIRECTIONS
            }
        case PortGroups(link=port):
            chains = {
                f"{_KNOWN}{port}": [rule for of in FAMILIES for rule in _known_rules(port, of)],
                f"{_LEARN}{port}": [
                    *(rule for of in FAMILIES for rule in _learn_rules(port, of)),
                    "accept",
                ],
            }
            for direction in DIRECTIONS:
                jumps = [f"jump {direction}-{_named(noun.tenant, group)}" for group in noun.groups]
                last = f"goto {drops.PREFIX}{direction}"
                chains[f"{direction}-{port}"] = [f"jump {_KNOWN}{port}", *jumps, last]
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
            talks = {
                f"talks{of.s}-{port}": f"{{ typeof {_TALKS[of]}; size 65535; "
                "flags dynamic,timeout; timeout 1h; }"
                for of in FAMILIES
            }
            return {f"flows{of.s}-{port}": of.fill(_FLOWS) for of in FAMILIES} | talks
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
    members = GroupMembers(tenant="t", group="g")
    rules = GroupRules(tenant="t", group="g", rules=(Rule(IN, "tcp", 22, "group:g"),))
    port = PortGroups(link="p", tenant="t", groups=("g",))
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

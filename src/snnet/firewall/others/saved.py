"""Chains as iptables-save prints them (iptables-extensions(8))."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .stops import UNKNOWN, BaseChain, Chains, Marking, Rule, Test, Verdict, address, address_range

_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
_TARGETS = {
    "ACCEPT": Verdict.ACCEPT,
    "DROP": Verdict.STOP,
    "REJECT": Verdict.STOP,
    "RETURN": Verdict.RETURN,
    "DNAT": Verdict.AWAY,
    "REDIRECT": Verdict.AWAY,
    "SNAT": Verdict.ACCEPT,
    "MASQUERADE": Verdict.ACCEPT,
    "QUEUE": Verdict.UNKNOWN,
    "NFQUEUE": Verdict.UNKNOWN,
    "TPROXY": Verdict.UNKNOWN,
}
_KNOWN_MODULES = {
    "udp", "tcp", "sctp", "conntrack", "state", "multiport", "addrtype", "comment", "pkttype",
    "icmp", "icmp6", "mac", "physdev", "iprange", "mark",
}  # fmt: skip
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_NAT = {"PREROUTING": -100, "OUTPUT": -100, "POSTROUTING": 100, "INPUT": 100}
_OPENING = frozenset({"fin", "syn", "rst", "ack"})
_STATES = {
    state: state.lower() for state in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
}
_PROTOCOLS = {"17": "udp", "47": "gre", "all": "", "icmp6": "ipv6-icmp", "icmpv6": "ipv6-icmp"}


def chains(saved: str, program: str, version: int, ours: str | None = None) -> list[Chains]:
    """Return the tables that ``program`` has, without rules that lead to chains of ``ours``."""
    tables: list[Chains] = []
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
            tables.append(Chains(f"{program} table {table}"))
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            tables[-1].names.add(name)
            if policy != "-" and name in _HOOKS:
                tables[-1].base.append(_base(table, name, policy, version))
        elif line.startswith("-A "):
            words = shlex.split(line)
            rule = _rule(words[2:])
            if ours is None or rule.target is None or not rule.target.startswith(ours):
                remove = f"{program} -t {table} -D {line.removeprefix('-A ')}"
                named = replace(rule, name=line, remove=remove)
                tables[-1].rules.setdefault(words[1], []).append(named)
    return tables


def _base(table: str, name: str, policy: str, version: int) -> BaseChain:
    return BaseChain(
        name,
        _HOOKS[name],
        policy == "DROP",
        table == "nat",
        versions=[version],
        family="ip" if version == 4 else "ip6",
        priority=_NAT[name] if table == "nat" else _PRIORITIES.get(table, 0),
    )


def _rule(words: Sequence[str]) -> Rule:
    tests: list[Test] = []
    position = 0
    while position < len(words):
        if words[position] in ("-j", "-g"):
            rule = _end(tests, words[position + 1], goto=words[position] == "-g")
            return replace(rule, marking=_marking(words[position + 1 :]))
        end = position + 1 + (words[position] == "!")
        while end < len(words) and words[end] != "!" and not words[end].startswith("-"):
            end += 1
        negated = words[position] == "!"
        name, *values = words[position + negated : end]
        tests += _tests(name, values, negated)
        position = end
    return Rule(tests, Verdict.CONTINUE)


def _end(tests: Sequence[Test], target: str, *, goto: bool) -> Rule:
    changes = target if target in _CHANGING else ""
    if target in _TARGETS:
        return Rule(tests, _TARGETS[target], changes=changes)
    if target.isupper() and target in CONTINUING:
        return Rule(tests, Verdict.CONTINUE, changes=changes)
    return Rule(tests, Verdict.CONTINUE, target, goto)


def _marking(words: Sequence[str]) -> Marking | None:
    """Return what a target with its options does to the mark of a packet."""
    match words:
        case ["MARK", "--set-xmark", text]:
            value, mask = _value(text)
            return Marking(_BITS & ~mask, value)
        case ["MARK", *_]:
            return Marking()
        case ["CONNMARK", "--save-mark" | "--set-mark" | "--set-xmark", *_]:
            return None  # that of the connection
        case ["CONNMARK", *_]:
            return Marking()
    return None


def _value(text: str) -> tuple[int, int]:
    """Return a value and a mask, as "0x1/0xff"."""
    value, _, mask = text.partition("/")
    return int(value, 0), int(mask, 0) if mask else _BITS


_BITS = 0xFFFFFFFF
CONTINUING = {
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "LOG",
    "MARK", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS",
    "TRACE", "TTL", "ULOG",
}  # fmt: skip


_CHANGING = {"CT", "DSCP", "ECN", "HL", "MASQUERADE", "NETMAP", "NOTRACK", "SNAT", "TOS", "TTL"}
"""Targets that change what a later rule, or conntrack, looks at."""


def _tests(name: str, values: Sequence[str], negated: bool) -> Iterator[Test]:
    value = values[0] if values else ""
    match name:
        case "-i" | "-o":
            link = f"{value[:-1]}*" if value.endswith("+") else value
            yield Test("in" if name == "-i" else "out", [link], negated)
        case "-s" | "-d":
            yield _addresses("source" if name == "-s" else "target", value, negated)
        case "-p":
            if protocol := _PROTOCOLS.get(value, value):
                yield Test("protocol", [protocol], negated)
        case "--sport" | "--sports":
            yield _ports("source_port", value, negated)
        case "--dport" | "--dports":
            yield _ports("target_port", value, negated)
        case "--ctstate" | "--state":
            yield Test("state", [_STATES.get(one, one) for one in value.split(",")], negated)
        case "--dst-type" | "--src-type":
            of = "target_type" if name == "--dst-type" else "source_type"
            kinds = value.lower().split(",")
            # Whether there is a route to it is looked at for UNREACHABLE alone (match_type6).
            more = _ROUTELESS if {"unicast", "unreachable"} & set(kinds) else []
            yield Test(of, [*kinds, *more], negated)
        case "--icmp-type" | "--icmpv6-type":
            yield Test("icmp_type", [value], negated) if "/" not in value else UNKNOWN
        case "--mac-source":
            yield Test("mac_source", [value.lower()], negated)
        case "--physdev-in" | "--physdev-out":
            of = "port_in" if name == "--physdev-in" else "port_out"
            yield Test(of, [f"{value[:-1]}*" if value.endswith("+") else value], negated)
        case "--src-range" | "--dst-range":
            found = address_range(*value.split("-"))
            of = "source" if name == "--src-range" else "target"
            yield UNKNOWN if found is None else Test(of, [found], negated)
        case "--tcp-flags" if len(values) == 2:
            flags, bits = (frozenset(one.lower().split(",")) - {"none"} for one in values)
            yield Test("tcp_flags", [(flags, bits)], negated)
        case "--mark":
            number, mask = _value(value)
            yield Test("mark", [(mask, number, number)], negated)
        case "--syn":
            yield Test("tcp_flags", [(_OPENING, frozenset({"syn"}))], negated)
        case "--pkt-type":
            kind = {"unicast": "host"}.get(value, value)
            yield Test("packet_type", [kind], negated)
        case "-m" if value in _KNOWN_MODULES:
            return
        case "--comment":
            return
        case _:
            yield UNKNOWN


_ROUTELESS = ["unreachable", "prohibit", "blackhole", "throw"]


def _addresses(of: str, text: str, negated: bool) -> Test:
    found = [address(one) for one in text.split(",")]
    return UNKNOWN if None in found else Test(of, found, negated)


def _ports(of: str, text: str, negated: bool) -> Test:
    found = []
    for one in text.split(","):
        first, colon, last = one.partition(":")
        if not (first or "0").isdigit() or not (last or "0").isdigit():
            return UNKNOWN
        low = int(first or 0)
        found.append((low, int(last or 65535) if colon else low))
    return Test(of, found, negated)

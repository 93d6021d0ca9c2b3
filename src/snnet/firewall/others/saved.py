"""Chains as iptables-save prints them (iptables-extensions(8))."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from .stops import UNKNOWN, BaseChain, Chains, Rule, Test, Verdict, network

_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
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
_KNOWN_MODULES = {"udp", "tcp", "conntrack", "state", "multiport", "addrtype", "comment", "pkttype"}
_STATES = {"NEW": "new", "ESTABLISHED": "established", "RELATED": "related", "INVALID": "invalid"}
_PROTOCOLS = {"17": "udp", "47": "gre", "all": ""}


def chains(saved: str, program: str, version: int, ours: str) -> list[Chains]:
    """Return the tables that ``program`` has; chains with the prefix ``ours`` are left out."""
    tables: list[Chains] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            tables.append(Chains(f"{program} table {line[1:]}"))
            translates = line == "*nat"
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            if policy != "-" and name in _HOOKS:
                stops = policy == "DROP"
                base = BaseChain(name, _HOOKS[name], stops, translates, versions=[version])
                tables[-1].base.append(base)
        elif line.startswith("-A "):
            words = shlex.split(line)
            rule = _rule(words[2:])
            if rule.target is None or not rule.target.startswith(ours):
                tables[-1].rules.setdefault(words[1], []).append(rule)
    return tables


def _rule(words: Sequence[str]) -> Rule:
    tests: list[Test] = []
    position = 0
    while position < len(words):
        if words[position] in ("-j", "-g"):
            return _end(tests, words[position + 1], goto=words[position] == "-g")
        end = position + 1 + (words[position] == "!")
        while end < len(words) and words[end] != "!" and not words[end].startswith("-"):
            end += 1
        negated = words[position] == "!"
        name, *values = words[position + negated : end]
        tests += _tests(name, values, negated)
        position = end
    return Rule(tests, Verdict.CONTINUE)


def _end(tests: Sequence[Test], target: str, *, goto: bool) -> Rule:
    if target in _TARGETS:
        return Rule(tests, _TARGETS[target])
    if target.isupper() and target in _CONTINUING:
        return Rule(tests, Verdict.CONTINUE)
    return Rule(tests, Verdict.CONTINUE, target, goto)


_CONTINUING = {
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "LOG",
    "MARK", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS",
    "TRACE", "TTL", "ULOG",
}  # fmt: skip


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
        case "--dst-type":
            yield Test("target_type", value.lower().split(","), negated)
        case "--pkt-type":
            kind = {"unicast": "host"}.get(value, value)
            yield Test("packet_type", [kind], negated)
        case "-m" if value in _KNOWN_MODULES:
            return
        case "--comment":
            return
        case _:
            yield UNKNOWN


def _addresses(of: str, text: str, negated: bool) -> Test:
    found = [network(one) for one in text.split(",")]
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

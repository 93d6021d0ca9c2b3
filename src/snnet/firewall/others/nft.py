"""Chains as nft prints them in JSON (libnftables-json(5))."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .stops import UNKNOWN, BaseChain, Chains, Rule, Test, Verdict, address_range, network

Item = dict[str, Any]

Elements = Callable[[str, str, str, str], Sequence[Any] | None]
"""Looks the elements of a set or map up, by kind ("set" or "map"), family, table and name."""

FAMILIES = ("ip", "ip6", "inet", "bridge", "netdev")
_VERDICTS = {
    "accept": Verdict.ACCEPT,
    "drop": Verdict.STOP,
    "reject": Verdict.STOP,
    "return": Verdict.RETURN,
    "dnat": Verdict.AWAY,
    "redirect": Verdict.AWAY,
    "snat": Verdict.ACCEPT,
    "masquerade": Verdict.ACCEPT,
    "queue": Verdict.UNKNOWN,
    "tproxy": Verdict.UNKNOWN,
    "synproxy": Verdict.UNKNOWN,
}
_TARGETS = {
    "DROP": Verdict.STOP,
    "REJECT": Verdict.STOP,
    "DNAT": Verdict.AWAY,
    "REDIRECT": Verdict.AWAY,
    "NFQUEUE": Verdict.UNKNOWN,
    "TPROXY": Verdict.UNKNOWN,
}
_NOT_ALWAYS = {"limit", "quota", "ct count", "meter", "last"}
_META = {
    "iifname": "in",
    "iif": "in",
    "oifname": "out",
    "oif": "out",
    "ibrname": "bridge",
    "l4proto": "protocol",
    "nfproto": "version",
    "protocol": "version",
    "pkttype": "packet_type",
}
_VERSIONS = {"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6}
_OTHERS = ("tcp", "icmp", "icmpv6", "sctp", "dccp", "esp", "ah", "udplite", "igmp", "comp")
_FIELDS = {"saddr": "source", "daddr": "target", "sport": "source_port", "dport": "target_port"}


def chains(ruleset: Iterable[Item], elements: Elements) -> list[Chains]:
    """Return the tables of a ruleset."""
    tables: dict[tuple[str, str], Chains] = {}
    for item in ruleset:
        (kind, part), *_ = item.items()
        if kind not in ("chain", "rule") or part["family"] not in FAMILIES:
            continue
        family, name = part["family"], part["table"]
        table = tables.setdefault((family, name), Chains(f"table {family} {name}"))
        if kind == "rule":
            reader = _Reader(family, name, elements)
            table.rules.setdefault(part["chain"], []).extend(reader.rules(part.get("expr", [])))
        elif "hook" in part:
            table.base.append(_base(part))
    return list(tables.values())


def _base(chain: Item) -> BaseChain:
    return BaseChain(
        chain["name"],
        chain["hook"],
        stops=chain.get("policy") == "drop",
        translates=chain.get("type") == "nat",
        bridge=chain["family"] == "bridge",
        device=chain.get("dev"),
        versions=[_VERSIONS[chain["family"]]] if chain["family"] in ("ip", "ip6") else (4, 6),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the rules of one table."""

    family: str
    table: str
    elements: Elements

    def rules(self, expressions: Sequence[Item]) -> Iterator[Rule]:
        """Yield the rule; one with a verdict map is a rule for each of the map's elements."""
        tests: list[Test] = []
        for item in expressions:
            (kind, value), *_ = item.items()
            if kind == "match":
                tests += self._match(value)
            elif kind == "vmap":
                yield from self._vmap(tests, value)
                return
            elif kind == "xt":
                name = str((value or {}).get("name", ""))
                if name in _TARGETS:
                    yield Rule(tests, _TARGETS[name])
                    return
                if (value or {}).get("type") == "match":
                    tests.append(UNKNOWN)
            elif kind in _NOT_ALWAYS:
                tests.append(UNKNOWN)
            elif (rule := _verdict(tests, item)) is not None:
                yield rule
                return

    def _vmap(self, tests: Sequence[Test], value: Item) -> Iterator[Rule]:
        pairs = self._listed("map", value["data"])
        if pairs is None:
            yield Rule([*tests, UNKNOWN], Verdict.UNKNOWN)
            return
        for pair in pairs:
            key, verdict = pair
            more = self._match({"left": value["key"], "right": key, "op": "=="})
            if (rule := _verdict([*tests, *more], verdict)) is not None:
                yield rule

    def _listed(self, kind: str, right: Any) -> Sequence[Any] | None:
        """The values that a set or a map has, by name or in the rule itself."""
        if isinstance(right, str) and right.startswith("@"):
            return self.elements(kind, self.family, self.table, right[1:])
        if isinstance(right, dict) and "set" in right:
            found = right["set"]
            return found if isinstance(found, list) else [found]
        return right if isinstance(right, list) else [right]

    def _match(self, match: Item) -> Iterator[Test]:
        left, negated = match["left"], match.get("op", "==") == "!="
        if match.get("op", "==") not in ("==", "!=", "in"):
            yield UNKNOWN
            return
        values = self._listed("set", match["right"])
        if not isinstance(left, dict) or values is None:
            yield UNKNOWN
        elif "concat" in left:
            yield from self._concat(left["concat"], values, negated)
        elif "payload" in left:
            yield from _payload(left["payload"], values, negated)
        else:
            yield _other(left, values, negated)

    def _concat(
        self, parts: Sequence[Item], values: Sequence[Any], negated: bool
    ) -> Iterator[Test]:
        if negated or len(values) != 1 or not isinstance(values[0], dict):
            yield UNKNOWN  # which values belong together is lost in a list of tests
            return
        for part, value in zip(parts, values[0].get("concat", ()), strict=False):
            yield from self._match({"left": part, "right": value, "op": "=="})


def _verdict(tests: Sequence[Test], item: Item | Any) -> Rule | None:
    if not isinstance(item, dict):
        return None
    for kind, value in item.items():
        if kind in ("jump", "goto"):
            return Rule(tests, Verdict.CONTINUE, value["target"], goto=kind == "goto")
        if kind in _VERDICTS:
            return Rule(tests, _VERDICTS[kind])
    return None


def _payload(payload: Item, values: Sequence[Any], negated: bool) -> Iterator[Test]:
    protocol, name = payload.get("protocol"), payload.get("field")
    of = _FIELDS.get(str(name))
    if protocol in ("ip", "ip6"):
        yield Test("version", [_VERSIONS[protocol]])
        if name in ("protocol", "nexthdr"):
            yield Test("protocol", _words(values), negated)
        elif name in ("saddr", "daddr") and of is not None:
            yield _listed_test(of, [_network(value) for value in values], negated)
        else:
            yield UNKNOWN
    elif protocol in ("udp", "th"):
        if protocol == "udp":
            yield Test("protocol", ["udp"])
        if of in ("source_port", "target_port"):
            yield _listed_test(of, [_ports(value) for value in values], negated)
        else:
            yield UNKNOWN
    elif protocol in _OTHERS:
        yield Test("protocol", [protocol])
    else:
        yield UNKNOWN


def _other(left: Item, values: Sequence[Any], negated: bool) -> Test:
    if "meta" in left:
        of = _META.get(left["meta"].get("key"))
        if of == "version":
            return Test(of, [_VERSIONS.get(str(value)) for value in values], negated)
        return Test(of, _words(values), negated) if of else UNKNOWN
    if "ct" in left and left["ct"].get("key") == "state":
        return Test("state", _words(values), negated)
    if "fib" in left and left["fib"].get("result") == "type":
        return (
            Test("target_type", _words(values), negated)
            if ("daddr" in left["fib"].get("flags", ()))
            else UNKNOWN
        )
    return UNKNOWN


def _listed_test(of: str, values: Sequence[object | None], negated: bool) -> Test:
    return UNKNOWN if None in values else Test(of, values, negated)


def _words(values: Sequence[Any]) -> list[str]:
    return [_PROTOCOLS.get(str(value), str(value)) for value in values]


_PROTOCOLS = {"17": "udp", "47": "gre", "6": "tcp", "1": "icmp", "58": "ipv6-icmp"}


def _network(value: Any) -> object | None:
    if isinstance(value, dict) and "elem" in value:
        value = value["elem"].get("val")
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        return address_range(*value["range"])
    return network(value)


def _ports(value: Any) -> object | None:
    if isinstance(value, dict) and "elem" in value:
        value = value["elem"].get("val")
    if isinstance(value, dict) and "range" in value:
        first, last = value["range"]
        return (first, last) if isinstance(first, int) and isinstance(last, int) else None
    return (value, value) if isinstance(value, int) else None

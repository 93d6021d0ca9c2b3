"""Chains as nft prints them in JSON (libnftables-json(5))."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .saved import CONTINUING
from .stops import UNKNOWN, BaseChain, Chains, Marking, Rule, Test, Verdict, address, address_range

Item = dict[str, Any]

Statement = Item | str
"""Text is what nft does not know to print in JSON, like a chain within a rule (`jump { ... }`)."""
Elements = Callable[[str, str, str, str], Sequence[Any] | None]
"""Looks the elements of a set or map up, by kind ("set" or "map"), family, table and name."""

FAMILIES = ("ip", "ip6", "inet", "bridge", "netdev", "arp")
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
    "DROP": Verdict.STOP, "REJECT": Verdict.STOP, "DNAT": Verdict.AWAY, "REDIRECT": Verdict.AWAY,
    "NFQUEUE": Verdict.UNKNOWN, "TPROXY": Verdict.UNKNOWN,
}  # fmt: skip
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
_MARK: Item = {"meta": {"key": "mark"}}
_BITS = 0xFFFFFFFF
_VERSIONS = {"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6, "arp": 0}
"""As a chain sees it; ARP has none."""
_SEEN_BY = {"ip": (4,), "ip6": (6,), "arp": (0,)}
_WITH_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")
_OTHERS = ("esp", "ah", "igmp", "comp")
_ICMP = {"icmp": "icmp", "icmpv6": "ipv6-icmp"}
_ETHER = {"saddr": "mac_source", "daddr": "mac_target"}
_HARMLESS = {"counter", "log", "comment", "tproxy", "xt", "ct helper", *_NOT_ALWAYS}
"""Statements that change nothing that a later rule looks at, or that are verdicts."""
_HARMLESS_KEYS = {"mark", "nftrace", "priority"}
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
            read = reader.rules(part.get("expr", []))
            table.rules.setdefault(part["chain"], []).extend(_named(part, read))
            continue
        table.names.add(part["name"])
        if "hook" in part:
            table.base.append(_base(part))
    return list(tables.values())


def _named(part: Item, rules: Iterable[Rule]) -> Iterator[Rule]:
    handle = part.get("handle")
    where = f"{part['family']} {part['table']} {part['chain']}"
    changes = ", ".join(filter(None, map(_change, part.get("expr", []))))
    for rule in rules:
        yield replace(
            rule,
            name=f"rule with handle {handle}",
            remove=f"nft delete rule {where} handle {handle}",
            changes=changes,
        )


def _change(item: Statement) -> str:
    """What a statement changes of a packet; empty for conditions and verdicts."""
    if isinstance(item, str):
        return ""  # it counts as a verdict that is not known
    ((kind, value), *_) = item.items()
    if kind in ("match", "vmap", "jump", "goto", *_VERDICTS) or kind in _HARMLESS:
        return str(kind) if kind in ("snat", "masquerade") else ""
    if kind == "mangle":
        what, key = next(iter(value["key"].items()))
        word = key.get("key") if isinstance(key, dict) else key
        return "" if what in ("meta", "ct") and word in _HARMLESS_KEYS else f"{what} {word}"
    return str(kind)


def _base(chain: Item) -> BaseChain:
    device = chain.get("dev")
    devices = [device] if isinstance(device, str) else list(device or ())
    return BaseChain(
        chain["name"],
        chain["hook"],
        stops=chain.get("policy") == "drop",
        translates=chain.get("type") == "nat",
        bridge=chain["family"] == "bridge",
        device=devices[0] if devices else None,
        versions=_SEEN_BY.get(chain["family"], (4, 6)),
        family=chain["family"],
        priority=int(chain.get("prio", 0)),
        devices=devices,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the rules of one table."""

    family: str
    table: str
    elements: Elements

    def rules(self, expressions: Sequence[Statement]) -> Iterator[Rule]:
        """Yield the rule; one with a verdict map is a rule for each of the map's elements."""
        tests: list[Test] = []
        for item in expressions:
            if isinstance(item, str):
                yield Rule([*tests, UNKNOWN], Verdict.UNKNOWN, marking=Marking())
                return
            (kind, value), *_ = item.items()
            if kind == "match":
                tests += self._match(value)
            elif kind == "mangle" and value["key"] == _MARK:
                # It is set here, whatever the rest of the rule asks for.
                yield Rule(list(tests), Verdict.CONTINUE, marking=_marking(value["value"]))
            elif kind == "vmap":
                yield from self._vmap(tests, value)
                return
            elif kind == "xt":
                name = str((value or {}).get("name", ""))
                if name in _TARGETS:
                    yield Rule(tests, _TARGETS[name])
                    return
                if (value or {}).get("type") == "target" and name not in CONTINUING:
                    yield Rule(tests, Verdict.UNKNOWN)  # of ebtables or arptables
                    return
                if name == "MARK":
                    yield Rule(list(tests), Verdict.CONTINUE, marking=Marking())
                if (value or {}).get("type") == "match":
                    tests.append(UNKNOWN)
            elif kind in _NOT_ALWAYS:
                tests.append(UNKNOWN)
            elif (rule := _verdict(tests, item)) is not None:
                yield rule
                return
        yield Rule(tests, Verdict.CONTINUE)

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
        elif "&" in left:
            yield from _masked(left["&"], values, negated)
        elif "concat" in left:
            yield from self._concat(left["concat"], values, negated)
        elif "payload" in left:
            yield from _payload(left["payload"], values, negated, any_bit=match.get("op") == "in")
        else:
            yield _other(left, values, negated)

    def _concat(
        self, parts: Sequence[Item], values: Sequence[Any], negated: bool
    ) -> Iterator[Test]:
        """Yield a test that one of the values holds in all its parts, and of what has these."""
        for part in parts if negated else ():
            yield from _protocol_of(part.get("payload", {}))
        either = [list(self._all(parts, value)) for value in values]
        if len(either) == 1 and not negated:
            yield from either[0]
        else:
            yield Test("either", either, negated)

    def _all(self, parts: Sequence[Item], value: Any) -> Iterator[Test]:
        value = _plain(value)
        if not isinstance(value, dict) or len(value.get("concat", ())) != len(parts):
            yield UNKNOWN
            return
        for part, one in zip(parts, value["concat"], strict=True):
            yield from self._match({"left": part, "right": one, "op": "=="})


def _verdict(tests: Sequence[Test], item: Item | Any) -> Rule | None:
    if not isinstance(item, dict):
        return None
    for kind, value in item.items():
        if kind in ("jump", "goto"):
            return Rule(tests, Verdict.CONTINUE, value["target"], goto=kind == "goto")
        if kind in _VERDICTS:
            return Rule(tests, _VERDICTS[kind])
    return None


def _payload(
    payload: Item, values: Sequence[Any], negated: bool, *, any_bit: bool
) -> Iterator[Test]:
    """Yield tests of a field: of its value, or with ``any_bit`` that one of the bits is set."""
    protocol, name = str(payload.get("protocol")), str(payload.get("field"))
    yield from _protocol_of(payload)
    of = _FIELDS.get(name)
    if protocol in ("ip", "ip6") and name in ("protocol", "nexthdr"):
        yield Test("protocol", _words(values), negated)
    elif protocol in ("ip", "ip6") and of in ("source", "target"):
        yield _listed_test(of, [_network(value) for value in values], negated)
    elif protocol in ("th", *_WITH_PORTS) and of in ("source_port", "target_port"):
        yield _listed_test(of, [_range(value) for value in values], negated)
    elif protocol == "tcp" and name == "flags" and any_bit:
        bits = _bits(list(values))
        found = Test("tcp_flags", [(bits, frozenset())], negated=True)  # not: none of them
        yield UNKNOWN if bits is None else found
    elif protocol == "tcp" and name == "flags":
        yield from _flags(None, values, negated)
    elif protocol in _ICMP and name == "type":
        yield Test("icmp_type", [str(_plain(value)) for value in values], negated)
    elif protocol == "ether" and name in _ETHER:
        yield Test(_ETHER[name], _words(values), negated)
    elif protocol == "ether" and name == "type":
        yield Test("version", [_VERSIONS.get(str(_plain(value))) for value in values], negated)
    elif protocol == "arp" and name == "operation":
        yield Test("arp_operation", _words(values), negated)
    elif protocol == "arp" and (of := _FIELDS.get(name.removesuffix(" ip"))) is not None:
        yield _listed_test(of, [_network(value) for value in values], negated)
    elif protocol not in _OTHERS or "base" in payload:
        yield UNKNOWN


def _protocol_of(payload: Item) -> Iterator[Test]:
    """Yield what a packet must be to have the field at all."""
    protocol = payload.get("protocol")
    if protocol in ("ip", "ip6"):
        yield Test("version", [_VERSIONS[protocol]])
    elif protocol == "arp":
        yield Test("version", [0])
    elif protocol in (*_WITH_PORTS, *_OTHERS, *_ICMP):
        yield Test("protocol", [_ICMP.get(protocol, protocol)])


def _marking(value: Any) -> Marking:
    """Return what a new mark is: a number, or some bits of the old one set, kept or turned."""
    if isinstance(value, int):
        return Marking(0, value)
    ((operator, parts), *_) = value.items() if isinstance(value, dict) else ((None, None),)
    if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[1], int):
        return Marking()
    old, bits = parts
    inner = Marking(_BITS, 0) if old == _MARK else _marking(old)
    if inner.flip is None:
        return inner
    match operator:
        case "|":
            return Marking(inner.keep & ~bits, inner.flip & ~bits | bits)
        case "&":
            return Marking(inner.keep & bits, inner.flip & bits)
        case "^":
            return Marking(inner.keep, inner.flip ^ bits)
    return Marking()


def _of_mark(mask: int, values: Sequence[Any], negated: bool) -> Test:
    ranges = map(_range, values)
    return _listed_test("mark", [found and (mask, *found) for found in ranges], negated)


def _masked(parts: Sequence[Any], values: Sequence[Any], negated: bool) -> Iterator[Test]:
    """Yield tests of some bits of a field, which are understood of marks and flags of TCP."""
    if parts[0] == _MARK and len(parts) == 2 and isinstance(parts[1], int):
        yield _of_mark(parts[1], values, negated)
        return
    payload = parts[0].get("payload", {}) if isinstance(parts[0], dict) else {}
    yield from _protocol_of(payload)
    if (payload.get("protocol"), payload.get("field")) == ("tcp", "flags") and len(parts) == 2:
        yield from _flags(_bits(parts[1]), values, negated)
    else:
        yield UNKNOWN


def _flags(mask: Any, values: Sequence[Any], negated: bool) -> Iterator[Test]:
    bits = [_bits(value) for value in values]
    if None in bits or (mask is None and len(bits) != 1):
        yield UNKNOWN
    else:
        yield Test("tcp_flags", [(mask, *bits)], negated)


def _bits(value: Any) -> frozenset[str] | None:
    """The flags of TCP that are or-ed together."""
    value = _plain(value)
    if isinstance(value, str):
        return frozenset({value})
    parts = value.get("|") if isinstance(value, dict) else value
    if not isinstance(parts, list):
        return None
    found = [_bits(part) for part in parts]
    return None if None in found else frozenset().union(*(one for one in found if one))


def _plain(value: Any) -> Any:
    """A value without what a set says beside it."""
    return value["elem"].get("val") if isinstance(value, dict) and "elem" in value else value


def _other(left: Item, values: Sequence[Any], negated: bool) -> Test:
    if "meta" in left:
        if left == _MARK:
            return _of_mark(_BITS, values, negated)
        of = _META.get(left["meta"].get("key"))
        if of == "version":
            return Test(of, [_VERSIONS.get(str(value)) for value in values], negated)
        return Test(of, _words(values), negated) if of else UNKNOWN
    if "ct" in left and left["ct"].get("key") == "state":
        return Test("state", _words(values), negated)
    if "ct" in left and left["ct"].get("key") == "status" and values == ["dnat"]:
        return Test("state", ["DNAT"], negated)
    if "fib" in left and left["fib"].get("result") == "type":
        return (
            Test("target_type", _words(values), negated)
            if left["fib"].get("flags") in ("daddr", ["daddr"])
            else Test("source_type", _words(values), negated)
            if left["fib"].get("flags") in ("saddr", ["saddr"])
            else UNKNOWN
        )
    return UNKNOWN


def _listed_test(of: str, values: Sequence[object | None], negated: bool) -> Test:
    return UNKNOWN if None in values else Test(of, values, negated)


def _words(values: Sequence[Any]) -> list[str]:
    words = [str(_plain(value)) for value in values]
    return [_PROTOCOLS.get(word, word) for word in words]


_PROTOCOLS = {"17": "udp", "47": "gre", "6": "tcp", "1": "icmp", "58": "ipv6-icmp"}
_PROTOCOLS["icmpv6"] = "ipv6-icmp"


def _network(value: Any) -> object | None:
    value = _plain(value)
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        return address_range(*value["range"])
    return address(value)


def _range(value: Any) -> tuple[int, int] | None:
    """Return the first and the last number of what is one, or a range."""
    value = _plain(value)
    if isinstance(value, dict) and "range" in value:
        first, last = value["range"]
        return (first, last) if isinstance(first, int) and isinstance(last, int) else None
    return (value, value) if isinstance(value, int) else None

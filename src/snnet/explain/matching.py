"""Whether a packet matches a condition of somebody else's rule: yes, no, or None for unknown."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from snnet.backends.fake.fabric.others import IP, Seen
from snnet.contract import IPAddress
from snnet.firewall.others.stops import BaseChain, Test, is_within

_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")

ICMP = {
    "icmp": {
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5,
        "echo-request": 8, "router-advertisement": 9, "router-solicitation": 10,
        "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13,
        "timestamp-reply": 14,
    },
    "ipv6-icmp": {
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3,
        "parameter-problem": 4, "echo-request": 128, "echo-reply": 129, "mld-listener-query": 130,
        "mld-listener-report": 131, "mld-listener-done": 132, "nd-router-solicit": 133,
        "router-solicitation": 133, "nd-router-advert": 134, "router-advertisement": 134,
        "nd-neighbor-solicit": 135, "neighbour-solicitation": 135, "neighbor-solicitation": 135,
        "nd-neighbor-advert": 136, "neighbour-advertisement": 136, "neighbor-advertisement": 136,
        "nd-redirect": 137, "redirect": 137, "mld2-listener-report": 143,
    },
}  # fmt: skip
"""The types of messages by name, as nft and iptables call them (RFC 792, RFC 4443, RFC 4861)."""


def answer(test: Test, seen: Seen, base: BaseChain) -> bool | None:
    """Return whether the packet fits the test in this chain."""
    if test.of is None:
        return None
    found = _fits(test.of, test.values, seen, base)
    if found is _ABSENT:
        return False  # what is not there matches neither a value nor its negation
    return found if found is None else found is not test.negated


_ABSENT = 0
"""The packet does not have what is asked for."""


def _fits(of: str, values: Sequence[object], seen: Seen, base: BaseChain) -> bool | int | None:
    match of:
        case "either":
            return _either(values, seen, base)
        case "in" | "out" | "port_in" | "port_out" | "bridge":
            return _named(_link(of, seen), values)
        case "source" | "target":
            return is_within(seen.source if of == "source" else seen.target, values)
        case "source_port" | "target_port":
            return _port(
                seen.source_port if of == "source_port" else seen.target_port, seen, values
            )
        case "protocol":
            return seen.protocol in values if seen.version else _ABSENT
        case "version":
            return seen.version in values
        case "state":
            return _state(seen, values)
        case "target_type" | "source_type":
            return _type(seen.target if of == "target_type" else seen.source, seen, values)
        case "packet_type":
            return _packet_type(seen, values)
        case "mac_source" | "mac_target":
            mac = seen.mac_source if of == "mac_source" else seen.mac_target
            return None if mac is None else mac in [str(value).lower() for value in values]
        case "icmp_type":
            return _icmp(seen, values)
        case "arp_operation":
            return seen.kind in values if seen.version == 0 else _ABSENT
        case "tcp_flags":
            return _flags(seen, values)
        case "mark":
            return _mark(seen.marks[0], values)
    return None


def _either(values: Sequence[object], seen: Seen, base: BaseChain) -> bool | None:
    """Whether all tests of one of the lists hold."""
    found: set[bool | None] = set()
    for tests in values:
        assert isinstance(tests, list)
        answers = {answer(test, seen, base) for test in tests}
        found.add(False if False in answers else None if None in answers else True)
    return True if True in found else None if None in found else False


def _link(of: str, seen: Seen) -> str:
    return {
        "in": seen.came,
        "out": seen.goes,
        "port_in": seen.port_in,
        "port_out": seen.port_out,
        "bridge": seen.bridge,
    }[of]


def _named(name: str, values: Sequence[object]) -> bool:
    return any(fnmatchcase(name, str(value)) for value in values)


def _port(port: int | None, seen: Seen, values: Sequence[object]) -> bool | int | None:
    if port is None:
        # "th" of nft reads the bytes where ports would be, whatever they are.
        return _ABSENT if seen.protocol in ("", *_PORTS) else None
    return any(isinstance(value, tuple) and value[0] <= port <= value[1] for value in values)


def _state(seen: Seen, values: Sequence[object]) -> bool | None:
    if "DNAT" in values:
        return seen.redirected
    if seen.state is None:
        return None
    return seen.state in [str(value).lower() for value in values]


def _type(address: IPAddress | None, seen: Seen, values: Sequence[object]) -> bool | None:
    if address is None or seen.local is None:
        return None
    return seen.local(address) in values


def _packet_type(seen: Seen, values: Sequence[object]) -> bool | None:
    if seen.layer != IP or seen.target is None or seen.local is None:
        return None
    if seen.target.is_multicast or seen.local(seen.target) == "broadcast":
        return None
    return "host" in values or "unicast" in values


def _icmp(seen: Seen, values: Sequence[object]) -> bool | int | None:
    names = ICMP.get(seen.protocol)
    if names is None:
        return _ABSENT
    number = names.get(seen.kind)
    if number is None:
        return None
    wanted = [
        int(str(value)) if str(value).isdigit() else names.get(str(value)) for value in values
    ]
    return True if number in wanted else None if None in wanted else False


def _mark(mark: int | None, values: Sequence[object]) -> bool | None:
    if mark is None:
        return None
    return any(
        isinstance(value, tuple) and value[1] <= mark & value[0] <= value[2] for value in values
    )


def _flags(seen: Seen, values: Sequence[object]) -> bool | int | None:
    if seen.protocol != "tcp":
        return _ABSENT
    if seen.flags is None:
        return None
    answers = set()
    for value in values:
        assert isinstance(value, tuple)
        mask, *wanted = value
        found = seen.flags if mask is None else seen.flags & mask
        answers.add(found in wanted)
    return True in answers

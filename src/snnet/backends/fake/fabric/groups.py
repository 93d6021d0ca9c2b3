"""Security groups at the ports of one host, as ``snnet.contract.rules`` defines them.

Here: what a port with ``PortGroups`` lets pass, by which rule, and the answers to it.  Not
here: the hooks that ask (``netfilter.py``).

The fabric has no clock: an answer passes in the walk in which it was asked for.
"""

from __future__ import annotations

from snnet.contract import GroupMembers, GroupRules, PortGroups, Rule
from snnet.contract.groups import IN, NUMBERS, OUT

from .conntrack import Ends, ends_of
from .frames import (
    MLD_REPORT,
    PARAMETER_PROBLEM,
    REDIRECT,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    TIME_EXCEEDED,
    TOO_BIG,
    UNREACHABLE,
    Arp,
    Echo,
    Encapsulated,
    Fragment,
    Icmp6,
    Packet,
    Segment,
    Udp,
)
from .walk import Station, Step

_DHCP = {(68, 67), (67, 68), (546, 547), (547, 546)}
_TYPES = {
    UNREACHABLE: 1, TOO_BIG: 2, TIME_EXCEEDED: 3, PARAMETER_PROBLEM: 4, ROUTER_SOLICITATION: 133,
    ROUTER_ADVERTISEMENT: 134, REDIRECT: 137, MLD_REPORT: 143,
}  # fmt: skip
"""Types of ICMPv6 messages (RFC 4443, RFC 4861, RFC 3810)."""
_ECHO = {(4, True): 8, (4, False): 0, (6, True): 128, (6, False): 129}
"""Types of echo messages, by the version of IP and whether they are requests."""
_GRE = 47
_RISKY = 8
"""A fragment that begins at this byte could change what the first one said (RFC 1858, 4.2)."""

Upper = Echo | Segment | Udp | Encapsulated | Icmp6
"""What rules look at in a packet."""


class PortFilter:
    """The groups of one station's ports; without groups everything passes."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._rules = station.state.rules
        self._walk = station.walk
        self._answers: set[tuple[str, Ends]] = set()

    def leaving(
        self, port: str, packet: Arp | Packet, step: Step, *, bridged: bool = True
    ) -> Step | None:
        """Check what the guest at the port sends; None if it is dropped."""
        return self._pass(port, packet, step, OUT, bridged)

    def entering(
        self, port: str, packet: Arp | Packet, step: Step, *, bridged: bool = True
    ) -> Step | None:
        """Check what the guest at the port would receive; None if it is dropped."""
        return self._pass(port, packet, step, IN, bridged)

    def _pass(
        self, port: str, packet: Arp | Packet, step: Step, direction: str, bridged: bool
    ) -> Step | None:
        for groups in self._rules.all(PortGroups, port, bridged) if self._rules else ():
            if isinstance(packet, Arp) or _always(packet):
                continue
            if self._is_answer(port, packet):
                said = f"answer let {direction} by {groups}"
            else:
                found = self._allowing(groups, packet, direction)
                if found is None:
                    why = f"no rule lets {direction} {packet}"
                    self._station.drop(step, port, "dropped by: {}: {}", groups, why)
                    return None
                self._known.add((port, ends_of(packet).inverted))
                said = f"let {direction} by group {found[0]}: {found[1]}"
            step = step.then(self._station.name, port, "{}", said)
        return step

    @property
    def _known(self) -> set[tuple[str, Ends]]:
        """The answers that may come in the walk under way, by port."""
        if self._walk is not self._station.walk:
            self._walk, self._answers = self._station.walk, set()
        return self._answers

    def _is_answer(self, port: str, packet: Packet) -> bool:
        payload = packet.payload
        if isinstance(payload, Icmp6):
            about = payload.about
            if about is None:
                return False
            ends = ends_of(about)
            return not self._known.isdisjoint({(port, ends), (port, ends.inverted)})
        if isinstance(_upper(packet), Echo) and _upper(packet).request:  # type: ignore[union-attr]
            return False
        return (port, ends_of(packet)) in self._known

    def _allowing(
        self, port: PortGroups, packet: Packet, direction: str
    ) -> tuple[str, Rule] | None:
        """Return a group with a rule that lets the packet pass, and the rule."""
        for group in port.groups:
            for noun in self._rules.all(GroupRules, port.owner, port.tenant, group):
                for rule in noun.rules:
                    if rule.direction == direction and self._matches(port, rule, packet):
                        return group, rule
        return None

    def _matches(self, port: PortGroups, rule: Rule, packet: Packet) -> bool:
        remote = packet.source if rule.direction == IN else packet.target
        if rule.network is not None and remote not in rule.network:
            return False
        if rule.group is not None:
            where = (port.owner, port.tenant, rule.group)
            elsewhere = self._rules.all(GroupMembers, *where)
            here = self._rules.all(PortGroups, *where, remote)
            if not here and not any(remote in members.addresses for members in elsewhere):
                return False
        if rule.number is None:
            return True
        upper = _upper(packet)
        if upper is None or rule.number != _number(packet, upper):
            return False
        number = _port(packet, upper)
        return not rule.ranges or any(first <= number <= last for first, last in rule.ranges)


def _always(packet: Packet) -> bool:
    """Whether a packet passes whatever rules say."""
    payload = packet.payload
    if isinstance(payload, Fragment):
        return not payload.first and payload.start > _RISKY
    if isinstance(payload, Icmp6):
        return payload.kind in (ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT)
    if isinstance(payload, Udp):
        return (payload.source, payload.target) in _DHCP
    return isinstance(payload, Arp)


def _upper(packet: Packet) -> Upper | None:
    """Return what rules look at; None if a fragment does not tell."""
    payload = packet.payload
    if isinstance(payload, Fragment):
        return payload.of
    return None if isinstance(payload, Arp) else payload


def _number(packet: Packet, upper: Upper) -> int:
    match upper:
        case Segment(protocol=protocol):
            return NUMBERS[protocol]
        case Udp():
            return NUMBERS["udp"]
        case Encapsulated():
            return _GRE
    return NUMBERS["icmp" if packet.target.version == 4 else "icmpv6"]


def _port(packet: Packet, upper: Upper) -> int:
    """Return the port that a packet is for, or the type of an ICMP message."""
    match upper:
        case Segment(target=port) | Udp(target=port):
            return port
        case Echo(request=request):
            return _ECHO[packet.target.version, request]
        case Icmp6(kind=kind):
            return _TYPES[kind]
    return -1

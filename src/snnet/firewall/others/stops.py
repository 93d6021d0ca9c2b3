"""A walk of one packet through foreign chains, whatever program wrote them.

A test of a rule is answered with yes, no, or None where this module cannot know.  A chain
stops a packet only where that is certain: a rule that may let it pass ends the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton

from snnet.contract import HostPacket, IPAddress


class Verdict(Enum):
    """What a rule does with a packet."""

    ACCEPT = "accept"
    STOP = "drop"
    AWAY = "translation"
    """Leads it to another address or port."""
    RETURN = "return"
    CONTINUE = "continue"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Test:
    """One condition of a rule: ``of`` is one of ``values``, or none of them if ``negated``.

    Values are names of links (``*`` at the end is a wildcard), networks, packed addresses, ranges
    of addresses or ports, protocols, states, or types of addresses.
    ``of`` None: a condition that is not known.
    ``of`` "either": the values are lists of tests, one of which has to hold as a whole.
    ``of`` "mark": they are bits to look at, and the least and the greatest value of these.
    """

    of: str | None
    values: Sequence[object] = ()
    negated: bool = False


UNKNOWN = Test(None)


@dataclass(frozen=True, slots=True)
class Marking:
    """How a rule changes the mark of a packet (``skb->mark``), bit by bit.

    It keeps the bits of ``keep``, and then turns those of ``flip`` over.  ``flip`` None: nobody
    can tell.
    """

    keep: int = 0
    flip: int | None = None

    def of(self, mark: int | None) -> int | None:
        """Return what becomes of a mark; None for one that is not known."""
        if self.flip is None or (mark is None and self.keep):
            return None
        return (mark or 0) & self.keep ^ self.flip


@dataclass(frozen=True, slots=True)
class Rule:
    """Its conditions, what it does, and the chain it leads to.

    ``changes`` says what else of the packet it changes, where that may decide about it later,
    and ``marking`` how it changes its mark, before it does anything else.
    """

    tests: Sequence[Test]
    verdict: Verdict
    target: str | None = None
    goto: bool = False
    changes: str = ""
    marking: Marking | None = None
    name: str = ""
    """The rule to people: as text, or by its handle."""
    remove: str = ""
    """The command that removes it."""


@dataclass(slots=True)
class Chains:
    """The chains of one table by name."""

    where: str
    """The table in words."""
    base: list[BaseChain] = field(default_factory=list)
    rules: dict[str, list[Rule]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """All its chains."""


@dataclass(frozen=True, slots=True)
class BaseChain:
    name: str
    hook: str
    """prerouting, input, output, postrouting, or ingress."""
    stops: bool = False
    """Whether its policy drops."""
    translates: bool = False
    """Whether it is of type nat."""
    bridge: bool = False
    """Whether it sees the frames of bridges alone."""
    device: str | None = None
    versions: Sequence[int] = (4, 6)
    """The versions of IP that it sees."""
    family: str = "inet"
    priority: int = 0
    devices: Sequence[str] = ()
    """The links whose frames it sees, for hooks of links."""


INCOMING, OUTGOING = ("ingress", "prerouting", "input"), ("output", "postrouting")
_RAW, _CONNTRACK = -300, -200  # NF_IP_PRI_, linux/netfilter_ipv4.h
_DEPTH = 16  # jumps that nft allows (NFT_JUMP_STACK_SIZE, nf_tables.h)


def stopped(tables: Iterable[Chains], packets: Sequence[HostPacket]) -> list[str]:
    """Return a line for each base chain that certainly stops some of the packets."""
    lines = []
    for table in tables:
        for chain in table.base:
            hit = [(one, why) for one in packets if (why := _stops(table, chain, one))]
            if hit:
                packet, why = hit[0]
                more = f" (and {len(hit) - 1} more)" if len(hit) > 1 else ""
                lines.append(
                    f"{table.where}, chain {chain.name} (hook {chain.hook}) {why} what snnet "
                    f"needs: {packet}{more}; have its owner accept them there, or: "
                    f"{_accepting(table.where, chain, packet)}"
                )
    return lines


def _accepting(where: str, chain: BaseChain, packet: HostPacket) -> str:
    """The command that lets these packets through the chain."""
    port, side = (packet.target_port, "d") if packet.incoming else (packet.source_port, "s")
    port, side = (packet.target_port, "d") if port is None else (port, side)
    options = [f"-{'i' if packet.incoming else 'o'} {packet.link} -p {packet.protocol}"]
    options += [f"--{side}port {port}"] if port is not None else []
    # In a chain of a bridge the link would be the port.
    link = [] if chain.bridge else [f"{'iif' if packet.incoming else 'oif'}name {packet.link}"]
    ports = f"{packet.protocol} {side}port {port}" if port is not None else ""
    return accepting(where, chain, options, [*link, ports or f"meta l4proto {packet.protocol}"])


def accepting(where: str, chain: BaseChain, options: Iterable[str], matches: Iterable[str]) -> str:
    """Return the command that puts a rule which accepts before all others of the chain.

    It has these options of iptables, or these matches of nft; ``where`` is that of ``Chains``.
    """
    program, _, table = where.partition(" table ")
    if table:
        words = [f"{program} -t {table} -I {chain.name}", *options, "-j ACCEPT"]
    else:
        table = where.removeprefix("table ")
        words = [f"nft insert rule {table} {chain.name}", *matches, "accept"]
    return " ".join(words)


def _stops(table: Chains, chain: BaseChain, packet: HostPacket) -> str | None:
    hooks = INCOMING if packet.incoming else OUTGOING
    if chain.hook not in hooks or (chain.bridge and not packet.bridged):
        return None
    if packet.version not in chain.versions:
        return None
    if chain.device is not None and chain.device != packet.link:
        return None
    if chain.translates and chain.hook != "prerouting":
        return None
    ends = _walk(table, chain.name, packet, chain, 0)
    verdict = next(ends, Verdict.STOP if chain.stops else Verdict.ACCEPT)
    return {Verdict.STOP: "drops", Verdict.AWAY: "translates"}.get(verdict)


def _walk(
    table: Chains, name: str, packet: HostPacket, base: BaseChain, depth: int
) -> Iterator[Verdict]:
    """Yield the end of the packet's way through the chain; nothing if it comes back."""
    if depth > _DEPTH:
        yield Verdict.UNKNOWN
        return
    for rule in table.rules.get(name, ()):
        answers = [_answer(test, packet, base) for test in rule.tests]
        if False in answers:
            continue
        certain = None not in answers
        verdict = rule.verdict
        if rule.target is not None:
            end = next(_walk(table, rule.target, packet, base, depth + 1), None)
            if end is None and rule.goto:
                verdict = Verdict.RETURN
            elif end is None:
                continue
            else:
                verdict = end
        if verdict is Verdict.CONTINUE:
            continue
        if certain and verdict is Verdict.RETURN:
            return
        if certain:
            yield verdict
            return
        if verdict not in (Verdict.STOP, Verdict.AWAY):
            yield Verdict.UNKNOWN  # it may pass here
            return


def _answer(test: Test, packet: HostPacket, base: BaseChain) -> bool | None:
    if test.of is None:
        return None
    found = _fits(test, packet, base)
    return found if found is None else found is not test.negated


def _fits(test: Test, packet: HostPacket, base: BaseChain) -> bool | None:
    match test.of:
        case "in" | "out":
            return _link(test, packet, base)
        case "bridge":
            return packet.link in test.values if packet.bridged else None
        case "source":
            return is_within(packet.source, test.values)
        case "target":
            return is_within(packet.target, test.values)
        case "source_port":
            return _port(packet.source_port, packet, test.values)
        case "target_port":
            return _port(packet.target_port, packet, test.values)
        case "protocol":
            return packet.protocol in test.values
        case "version":
            return packet.version in test.values
        case "state":
            state = _state(packet, base)
            return None if state is None else state in test.values
        case "target_type":
            return ("broadcast" if packet.broadcast else "local") in test.values
        case "packet_type":
            return ("broadcast" if packet.broadcast else "host") in test.values
    return None


def _state(packet: HostPacket, base: BaseChain) -> str | None:
    """What conntrack says of the first packet, in a chain of this priority."""
    first = base.hook in ("ingress", "prerouting", "output")
    if first and packet.untracked and base.priority == _RAW:
        return None  # the rule that decides it may come before or after
    if first and base.priority < (_RAW if packet.untracked else _CONNTRACK):
        return "invalid"  # there is nothing yet
    return "untracked" if packet.untracked else "new"


def _link(test: Test, packet: HostPacket, base: BaseChain) -> bool | None:
    if (test.of == "in") is not packet.incoming:
        # Such a packet has no link on the other side: the name it is compared with is empty.
        return False
    if base.bridge:
        return None  # the port, which may be any
    return any(fnmatchcase(packet.link, str(value)) for value in test.values)


def is_within(address: IPAddress | None, values: Sequence[object]) -> bool | None:
    """Whether the address is in one of the networks and ranges; None where that is unknown."""
    if address is None:
        return None
    packed = address.packed
    answers = [
        value == packed if isinstance(value, bytes) else _holds(value, address) for value in values
    ]
    return True if True in answers else None if None in answers else False


def _holds(value: object, address: IPAddress) -> bool | None:
    if isinstance(value, (IPv4Network, IPv6Network)):
        return address in value
    if isinstance(value, tuple):
        first, last = value
        return bool(first.version == address.version and first <= address <= last)
    return None


def _port(port: int | None, packet: HostPacket, values: Sequence[object]) -> bool | None:
    if packet.protocol == "gre":
        return False
    if port is None:
        return None
    return any(isinstance(value, tuple) and value[0] <= port <= value[1] for value in values)


def address(text: object) -> bytes | IPv4Network | IPv6Network | None:
    """The address that a value of a rule is, packed, or the network, or None.

    Sets have tens of thousands of addresses, and a network takes twenty times as long to make.
    """
    word = str(text)
    try:
        return inet_pton(AF_INET6 if ":" in word else AF_INET, word)
    except (OSError, ValueError):
        return network(word)


def network(text: object) -> IPv4Network | IPv6Network | None:
    """The network that a value of a rule is, or None."""
    try:
        return ip_network(str(text), strict=False)
    except ValueError:
        return None


def address_range(first: object, last: object) -> tuple[IPAddress, IPAddress] | None:
    """The addresses from ``first`` to ``last``, or None."""
    try:
        return ip_address(str(first)), ip_address(str(last))
    except ValueError:
        return None

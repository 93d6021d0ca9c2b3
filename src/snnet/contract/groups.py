"""Security groups: rules about what members may send and receive, at their own ports.

A port with ``PortGroups`` passes only what a rule of one of its groups allows, in each
direction, and the answers to it.  ARP, neighbour discovery, DHCP and fragments after the first
always pass.  A port without passes everything.  See :mod:`snnet.contract.rules`.

With ``bridged`` the ports of a group are those of bridges, without it the links of routed guests:
a group has one kind of ports.  There rules see packets as the guest does: before the destination
of its own is translated, and after the source of the others was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import ClassVar

from .errors import InvalidRequest, shown
from .frozen import frozen
from .noun import IPAddress, IPNetwork, Key, Noun, Owned
from .values import plain_int, plain_text

IN, OUT = "in", "out"
DIRECTIONS = (IN, OUT)
_WHERE = {IN: "from", OUT: "to"}

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
"""The protocols that rules name; others are given by number (RFC 5237)."""
WITH_PORTS = ("tcp", "udp", "sctp")
WITH_TYPES = {"icmp": 4, "icmpv6": 6}
"""Protocols whose messages have types, and the version of IP that carries them."""

_NAMES = {number: name for name, number in NUMBERS.items()}
_GROUP = "group:"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Ports = tuple[tuple[int, int], ...]
"""Ranges of ports or of ICMP types, each with its first and its last, in rising order."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What members of a group may receive ("in") or send ("out").

    ``protocol`` is "tcp", "udp", "sctp", "icmp", "icmpv6", a number from 0 to 255, or None for
    any.  ``ports`` are those that packets are for: a port, or text with ports and ranges
    like "22,8000-8010"; for "icmp" and "icmpv6" types of messages; None for any.
    ``remote`` is a network, "group:NAME" for the members of another group of the tenant, or
    None for anybody.  Wrong values are InvalidRequest.
    """

    direction: str
    protocol: str | int | None = None
    ports: str | int | None = None
    remote: IPNetwork | str | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        if self.direction not in DIRECTIONS:
            raise InvalidRequest(f"{shown(self.direction)} is not 'in' or 'out'", field="direction")
        put(self, "direction", plain_text(self.direction))
        put(self, "protocol", _protocol(self.protocol))
        if self.ports is not None:
            if self.protocol in WITH_PORTS:
                put(self, "ports", _written(_ranges(self.ports, 1, 2**16 - 1)))
            elif self.protocol in WITH_TYPES:
                put(self, "ports", _written(_ranges(self.ports, 0, 2**8 - 1)))
            else:
                protocol = "no protocol" if self.protocol is None else f"protocol {self.protocol}"
                raise InvalidRequest(
                    f"a rule for {protocol} has no ports: name tcp, udp or sctp", field="ports"
                )
        put(self, "remote", _remote(self.remote))
        version = self.version
        if isinstance(self.remote, (IPv4Network, IPv6Network)) and version not in (
            None,
            self.remote.version,
        ):
            raise InvalidRequest(
                f"{self.protocol} is carried by IPv{version}, {self.remote} is not", field="remote"
            )

    @classmethod
    def read(cls, text: str) -> Rule:
        """Make a rule of text as ``str`` writes it: "in tcp 80,443 from 10.0.0.0/8".

        Protocol, ports and remote may be left out: "out", "in icmp", "in from group:web".
        """
        direction, *words = text.split() or [""]
        remote: str | None = None
        if words[-2:-1] == [_WHERE.get(direction)]:
            *words, _, remote = words
        if not direction or len(words) > 2:
            raise InvalidRequest(
                f"{shown(text)} is not a rule like 'in tcp 80,443 from 10.0.0.0/8' or 'out'"
            )
        protocol, ports = (*words, None, None)[:2]
        return cls(
            direction,
            None if protocol == "anything" else protocol,
            ports,
            None if remote == "anybody" else remote,
        )

    @property
    def group(self) -> str | None:
        """The group of the tenant that it is about, or None."""
        return self.remote.removeprefix(_GROUP) if isinstance(self.remote, str) else None

    @property
    def network(self) -> IPNetwork | None:
        """The network that it is about, or None."""
        return None if self.remote is None or isinstance(self.remote, str) else self.remote

    @property
    def version(self) -> int | None:
        """The version of IP that the protocol or the network implies, or None."""
        if isinstance(self.protocol, str) and self.protocol in WITH_TYPES:
            return WITH_TYPES[self.protocol]
        return self.network.version if self.network else None

    @property
    def ranges(self) -> Ports:
        """The ports or types; none: any."""
        return () if self.ports is None else _ranges(self.ports, 0, 2**16 - 1)

    @property
    def number(self) -> int | None:
        """The number of the protocol, or None for any."""
        return NUMBERS[self.protocol] if isinstance(self.protocol, str) else self.protocol

    def __str__(self) -> str:
        what = "anything" if self.protocol is None else str(self.protocol)
        ports = f" {self.ports}" if self.ports is not None else ""
        whom = "anybody" if self.remote is None else str(self.remote)
        return f"{self.direction} {what}{ports} {_WHERE[self.direction]} {whom}"


def _protocol(value: object) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, str) and value in NUMBERS:
        return plain_text(value)
    number: object = value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4:
        number = int(value)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**8:
        return _NAMES.get(number, plain_int(number))
    raise InvalidRequest(
        f"{shown(value)} is not {', '.join(NUMBERS)}, or a number from 0 to 255", field="protocol"
    )


_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


def _ranges(value: object, low: int, high: int) -> Ports:
    """Return ranges without overlaps."""
    is_port = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    text = str(plain_int(value)) if is_port else value  # type: ignore[arg-type]
    found: list[tuple[int, int]] = []
    for part in text.split(",") if isinstance(text, str) else [""]:
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= first <= last <= high:
            raise InvalidRequest(
                f"{shown(value)} is not a list of numbers and ranges from {low} to {high} like "
                "'22,8000-8010'",
                field="ports",
            )
        found.append((first, last))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _written(ranges: Ports) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _remote(value: object) -> IPNetwork | str | None:
    if isinstance(value, str) and value.startswith(_GROUP):
        if _ID.fullmatch(value.removeprefix(_GROUP)):
            return plain_text(value)
    elif value is None or isinstance(value, (IPv4Network, IPv6Network)):
        return value
    # An interface, such as 10.0.0.1/8, is an address too: its text has host bits.
    elif isinstance(value, (str, IPv4Address, IPv6Address)) and "%" not in str(value):
        try:
            return ip_network(str(value))
        except ValueError:
            pass
    raise InvalidRequest(
        f"{shown(value)} is not a network like '10.0.0.0/8', nor 'group:NAME'", field="remote"
    )


def _fault(*names: str) -> str | None:
    wrong = next((name for name in names if not _ID.fullmatch(name)), None)
    return None if wrong is None else f"{wrong!r} is not the id of a tenant or group"


@frozen()
class GroupMembers(Owned):
    """Addresses of members of a tenant's group that are not at ports of this host.

    Rules with ``remote`` "group:NAME" are about them, and about the ``addresses`` of ports
    with ``PortGroups`` of the group.
    """

    rank: ClassVar[int] = 12
    changeable: ClassVar[frozenset[str]] = frozenset({"addresses"})

    tenant: str
    group: str
    addresses: tuple[IPAddress, ...] = ()
    """Given in any order, kept sorted."""
    bridged: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", _sorted(self.addresses))

    def make_key(self) -> Key:
        return ("group-members", self.owner, self.tenant, self.group)

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        return _fault(self.tenant, self.group)

    def __str__(self) -> str:
        addresses = "".join(f" {address}" for address in self.addresses)
        return f"members of group {self.group} of {self.tenant}:{addresses or ' none elsewhere'}"


@frozen()
class GroupRules(Owned):
    """The rules of a tenant's group; the groups that they name have ``GroupMembers``."""

    rank: ClassVar[int] = 13
    changeable: ClassVar[frozenset[str]] = frozenset({"rules"})

    tenant: str
    group: str
    rules: tuple[Rule, ...] = ()
    bridged: bool = True

    def make_key(self) -> Key:
        return ("group-rules", self.owner, self.tenant, self.group)

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        return _fault(self.tenant, self.group)

    def __str__(self) -> str:
        rules = "; ".join(map(str, self.rules)) or "nothing passes"
        return f"group {self.group} of {self.tenant}: {rules}"


@frozen()
class PortGroups(Owned):
    """The port ``link`` is a member of these groups, which have rules and members.

    ``addresses`` are the guest's own.
    """

    rank: ClassVar[int] = 17
    changeable: ClassVar[frozenset[str]] = frozenset({"groups", "addresses"})

    link: str
    tenant: str
    groups: tuple[str, ...]
    """At least one; given in any order, kept sorted."""
    addresses: tuple[IPAddress, ...] = ()
    bridged: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(sorted(set(self.groups))))

    def make_key(self) -> Key:
        return ("port-groups", self.owner, self.link)

    def fault(self) -> str | None:
        """Why no driver can carry it: a reason for EINVAL; None if one can."""
        return _fault(self.tenant, *self.groups) if self.groups else "it is in no group"

    def __str__(self) -> str:
        return f"only what groups {' '.join(self.groups)} of {self.tenant} allow at {self.link}"


def _sorted(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    return tuple(sorted(set(addresses), key=lambda address: (address.version, address)))


GROUPS: frozenset[type[Noun]] = frozenset({GroupMembers, GroupRules, PortGroups})
"""The nouns of this module."""

"""What stands beside links: addresses, routes, neighbours, fdb entries, sysctls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .errors import Unsupported
from .links import link_key
from .noun import IPAddress, IPInterface, IPNetwork, Key, Noun, Owned

SNNET_PROTOCOL = 115
"""What marks as snnet's an object on a link that is not: rtm_protocol of a route, the
same of a proxy entry (NDA_PROTOCOL).  The kernel gives no meaning to it."""


SECONDARY = "secondary"
TEMPORARY = "temporary"
TENTATIVE = "tentative"
DADFAILED = "dadfailed"
DEPRECATED = "deprecated"
"""What the kernel may say of an address, in the words of ip-address(8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(Noun):
    """An address with its prefix on a link; the kernel adds the connected route.

    ``flags`` is what the kernel says of it ("secondary", "temporary", "tentative",
    "dadfailed", "deprecated"): a fact when found, ignored in comparison and when added.
    A snapshot lists the addresses of a link in the kernel's order, the primary one first.
    """

    rank: ClassVar[int] = 30

    link: str
    address: IPInterface
    flags: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> Key:
        return ("address", self.link, str(self.address))

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"address {self.address} dev {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour(Noun):
    """A permanent neighbour entry.

    ``lladdr`` is a MAC, or on a ``gre`` link the IPv4 underlay address in
    dotted form (its link-layer address is 4 bytes long).
    """

    rank: ClassVar[int] = 40
    changeable: ClassVar[frozenset[str]] = frozenset({"lladdr"})

    link: str
    address: IPAddress
    lladdr: str

    @property
    def key(self) -> Key:
        return ("neighbour", self.link, str(self.address))

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"neighbour {self.address} lladdr {self.lladdr} dev {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyNeighbour(Noun):
    """The host answers on ``link`` for an address that it routes to another link.

    ``ip neighbour add proxy`` (arp(7): proxy ARP for one address).
    """

    rank: ClassVar[int] = 40

    link: str
    address: IPAddress
    protocol: int = SNNET_PROTOCOL
    """Who made it, as for a route."""

    @property
    def key(self) -> Key:
        return ("proxy", self.link, str(self.address))

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"proxy {self.address} dev {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fdb(Noun):
    """A permanent forwarding entry of a vxlan: frames to ``mac`` go to ``remote``."""

    rank: ClassVar[int] = 40
    changeable: ClassVar[frozenset[str]] = frozenset({"remote"})

    link: str
    mac: str
    remote: IPAddress

    @property
    def key(self) -> Key:
        return ("fdb", self.link, self.mac)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"fdb {self.mac} dst {self.remote} dev {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Noun):
    """A unicast route of the main table, metric 0.

    ``onlink``: the gateway counts as directly reachable whatever the
    addresses of the link say.
    """

    rank: ClassVar[int] = 50
    changeable: ClassVar[frozenset[str]] = frozenset({"gateway", "onlink"})

    destination: IPNetwork
    link: str
    gateway: IPAddress | None = None
    onlink: bool = False
    protocol: int = 4
    """Who made it (rtm_protocol, linux/rtnetlink.h); 4 is "static"."""

    @property
    def key(self) -> Key:
        return ("route", str(self.destination), self.link)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def differences(self, found: Noun) -> frozenset[str]:
        different = Noun.differences(self, found)
        if isinstance(found, Route) and self.gateway != found.gateway:
            return different | {"gateway"}
        return different

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"route {self.destination}{via} dev {self.link}{' onlink' if self.onlink else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Path(Noun):
    """How the host would reach ``remote`` now: by which link, from which address.

    Found, never made; no snapshot lists any.  Ask for it as ``Path(remote=...)``; a
    path that was found has a link and a source.
    """

    remote: IPAddress
    link: str = ""
    source: IPAddress | None = None

    @property
    def key(self) -> Key:
        return ("path", str(self.remote))

    def __str__(self) -> str:
        return f"path to {self.remote} from {self.source} dev {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(Noun):
    """A kernel parameter of the namespace, by its dotted name.

    It always exists, so it is changed, never added or removed.
    """

    rank: ClassVar[int] = 5
    changeable: ClassVar[frozenset[str]] = frozenset({"value"})

    name: str
    value: str = ""

    @property
    def key(self) -> Key:
        return ("sysctl", self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name}={self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSysctl(Owned):
    """``owner`` needs the kernel parameter ``name`` of the namespace to be ``value``.

    Several nodes may need one parameter.  The value before the first of them is
    recorded on the host, and comes back when the last one needs it no longer.
    """

    rank: ClassVar[int] = 5
    changeable: ClassVar[frozenset[str]] = frozenset({"value"})

    name: str
    value: str = ""

    @property
    def key(self) -> Key:
        return ("shared-sysctl", self.owner, self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name}={self.value} for {self.owner}"


IP_FORWARD = "net.ipv4.ip_forward"
FORWARDING = (IP_FORWARD, "net.ipv6.conf.all.forwarding")
"""The parameters that a snapshot shows, of thousands."""

_DOTS = str.maketrans("./", "/.")


def link_sysctl(table: str, link: str, parameter: str) -> str:
    """The dotted name of a link's parameter; ``table`` is "ipv4.conf", say."""
    return f"net.{table}.{dots_for_slashes(link)}.{parameter}"


def dots_for_slashes(text: str) -> str:
    """The text with dots for slashes and slashes for dots, as sysctl(8) has it.

    That turns the name of a link into what stands for it in the dotted name of
    a parameter, a dotted name into a path below /proc/sys, and both back.
    """
    return text.translate(_DOTS)


def sysctl_path(name: str) -> list[str]:
    """The folders and the file of a parameter below /proc/sys.

    ``Unsupported`` where it is no parameter of a network namespace.
    """
    parts = dots_for_slashes(name).split("/")
    if parts[0] != "net" or "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise Unsupported(f"{name} is no parameter of a network namespace: those begin with net.")
    return parts

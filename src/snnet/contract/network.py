"""Nouns other than links: addresses, routes, neighbours, fdb entries, sysctls."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from .addresses import NO_MAC
from .errors import Unsupported
from .frozen import frozen
from .links import link_key
from .noun import IPAddress, IPInterface, IPNetwork, Key, Noun, Owned

SNNET_PROTOCOL = 115
"""The protocol number of snnet's routes (rtm_protocol) and proxy entries (NDA_PROTOCOL)
on links that are not snnet's.  It marks them as ours; the kernel ignores it."""


MAIN_TABLE = 254
"""The table that routes are in by default (RT_TABLE_MAIN, linux/rtnetlink.h)."""

OWN_TABLES = range(0x736E0000, 0x736F0000)
"""The tables of snnet: no number that people choose."""


SECONDARY = "secondary"
TEMPORARY = "temporary"
TENTATIVE = "tentative"
DADFAILED = "dadfailed"
"""What the kernel may say of an address, in the words of ip-address(8)."""


@frozen()
class Address(Noun):
    """An address with its prefix on a link; the kernel adds the connected route.

    Duplicate address detection is not done for an added address (RFC 4862, 5.4): it is
    usable at once.  ``flags`` is what the kernel says of it ("secondary", "temporary", "tentative",
    "dadfailed"): a fact when found, ignored in comparison and when added.  With ``deprecated``
    its preferred lifetime is 0: the host answers for it, and takes it as the source of packets,
    masqueraded ones included, only if it has no other address (RFC 6724, 5, rule 3; IPv6 alone).
    A snapshot lists the addresses of a link in the kernel's order, the primary one first.
    """

    rank: ClassVar[int] = 30

    link: str
    address: IPInterface
    deprecated: bool = False
    flags: tuple[str, ...] = field(default=(), compare=False)

    def make_key(self) -> Key:
        return ("address", self.link, str(self.address))

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        how = " deprecated" if self.deprecated else ""
        return f"address {self.address} dev {self.link}{how}"


@frozen()
class Neighbour(Noun):
    """A permanent neighbour entry.

    ``lladdr`` is a MAC.  On a ``gre`` link it is the IPv4 underlay address in dotted
    form, because link-layer addresses there are 4 bytes long.
    """

    rank: ClassVar[int] = 40
    changeable: ClassVar[frozenset[str]] = frozenset({"lladdr"})

    link: str
    address: IPAddress
    lladdr: str

    def make_key(self) -> Key:
        return ("neighbour", self.link, str(self.address))

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"neighbour {self.address} lladdr {self.lladdr} dev {self.link}"


@frozen()
class ProxyNeighbour(Noun):
    """The host answers ARP or ND on ``link`` for an address that it routes elsewhere.

    As created by ``ip neighbour add proxy`` (arp(7): proxy ARP for one address).
    """

    # After the route to the address, and removed before it: the route says whose the entry is.
    rank: ClassVar[int] = 55

    link: str
    address: IPAddress
    protocol: int = SNNET_PROTOCOL
    """See ``Route.protocol``."""

    def make_key(self) -> Key:
        return ("proxy", self.link, str(self.address))

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"proxy {self.address} dev {self.link}"


@frozen()
class Fdb(Noun):
    """A permanent forwarding entry of a vxlan: frames to ``mac`` go to ``remote``.

    The all-zero MAC stands for broadcast, multicast and every MAC without an entry of its own.
    It has an entry for each remote, and such frames go to all of them (vxlan_fdb_append,
    drivers/net/vxlan/vxlan_core.c).
    """

    rank: ClassVar[int] = 40
    changeable: ClassVar[frozenset[str]] = frozenset({"remote"})

    link: str
    mac: str
    remote: IPAddress

    def make_key(self) -> Key:
        every = (str(self.remote),) if self.mac == NO_MAC else ()
        return ("fdb", self.link, self.mac, *every)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"fdb {self.mac} dst {self.remote} dev {self.link}"


@frozen()
class BridgeFdb(Noun):
    """A static entry of a bridge: frames to ``mac`` leave by its port ``link``, a vxlan.

    It does not age.  A frame from ``mac`` that comes in by another port moves it there, where
    it is not this entry any more (br_fdb_update, net/bridge/br_fdb.c).
    """

    rank: ClassVar[int] = 40

    link: str
    mac: str

    def make_key(self) -> Key:
        return ("bridge-fdb", self.link, self.mac)

    @property
    def within(self) -> Key:
        return link_key(self.link)

    def __str__(self) -> str:
        return f"fdb {self.mac} master static dev {self.link}"


@frozen()
class Route(Noun):
    """A unicast route with the kernel's default metric, of the main table or of one of snnet's own.

    With ``onlink`` the gateway counts as directly reachable, whatever addresses the
    link has.
    """

    rank: ClassVar[int] = 50
    changeable: ClassVar[frozenset[str]] = frozenset({"gateway", "onlink"})

    destination: IPNetwork
    link: str
    gateway: IPAddress | None = None
    onlink: bool = False
    protocol: int = 4
    """What created it (rtm_protocol, linux/rtnetlink.h); 4 is "static"."""
    table: int = MAIN_TABLE

    def make_key(self) -> Key:
        own = () if self.table == MAIN_TABLE else (str(self.table),)
        return ("route", str(self.destination), self.link, *own)

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
        own = "" if self.table == MAIN_TABLE else f" table {self.table}"
        onlink = " onlink" if self.onlink else ""
        return f"route {self.destination}{via} dev {self.link}{onlink}{own}"


@frozen()
class PolicyRule(Noun):
    """Packets from ``source`` are routed by the table (ip-rule(8)), the lowest priority first.

    With ``specific`` the table's default routes do not count, and the next rule is asked
    (suppress_prefixlength 0).  Only rules of protocol ``SNNET_PROTOCOL`` are seen.
    """

    rank: ClassVar[int] = 51

    source: IPNetwork
    table: int
    priority: int
    specific: bool = False

    def make_key(self) -> Key:
        return ("policy-rule", str(self.source), str(self.table), str(self.priority))

    def __str__(self) -> str:
        specific = " specific" if self.specific else ""
        return f"policy rule {self.priority} from {self.source} table {self.table}{specific}"


@frozen()
class Path(Noun):
    """How the host would reach ``remote`` now: the link and the source address.

    Use it with ``find(Path(remote=...))`` only; the result has a link and a source.
    Operations never have a path, and snapshots never contain one.
    """

    remote: IPAddress
    link: str = ""
    source: IPAddress | None = None

    def make_key(self) -> Key:
        return ("path", str(self.remote))

    def __str__(self) -> str:
        return f"path to {self.remote} from {self.source} dev {self.link}"


@frozen()
class Sysctl(Noun):
    """A kernel parameter of the namespace, by its dotted name.

    It always exists: only ``Change`` applies to it, never ``Add`` or ``Remove``.
    """

    rank: ClassVar[int] = 5
    changeable: ClassVar[frozenset[str]] = frozenset({"value"})

    name: str
    value: str = ""

    def make_key(self) -> Key:
        return ("sysctl", self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name}={self.value}"


@frozen()
class SharedSysctl(Owned):
    """``owner`` needs the kernel parameter ``name`` of the namespace to be ``value``.

    Several nodes may need one parameter.  The driver records the previous value on the
    host when the first node needs it, and restores it after the last one is done.  Where the
    parameter has one of the values ``unless``, it stays as it is.
    """

    rank: ClassVar[int] = 5
    changeable: ClassVar[frozenset[str]] = frozenset({"value"})

    name: str
    value: str = ""
    unless: tuple[str, ...] = ()

    def make_key(self) -> Key:
        return ("shared-sysctl", self.owner, self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name}={self.value} for {self.owner}"


@frozen()
class DockerAccept(Owned):
    """Docker's chain DOCKER-USER lets through what comes by ``link`` and what goes to it.

    With ``bridged`` only what goes from port to port of the bridge ``link``.  Use it with
    ``find`` only; snapshots never contain one.
    """

    # After the rules that then decide, and removed before them.
    rank: ClassVar[int] = 65

    link: str
    bridged: bool = False

    def make_key(self) -> Key:
        return ("docker-accept", self.owner, self.link)

    def __str__(self) -> str:
        return f"Docker lets {'frames of bridge ' if self.bridged else ''}{self.link} through"


FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
"""By IP version; the only parameters that a snapshot contains."""

KERNEL_ID_MIN = 1 << 32
"""Interface identifiers of link-local addresses that the kernel chooses are not below this:
they are made of a MAC (RFC 4291, appendix A) or are a hash of 64 bits (RFC 7217)."""


def is_automatic(address: IPInterface) -> bool:
    """Whether this is the address that the kernel gives a link by itself.

    Snapshots do not list such addresses.
    """
    return (
        address.version == 6
        and address.is_link_local
        and int(address.ip) & (1 << 64) - 1 >= KERNEL_ID_MIN
    )


_DOTS = str.maketrans("./", "/.")


def link_sysctl(table: str, link: str, parameter: str) -> str:
    """Return the dotted name of a parameter of a link; ``table`` is "ipv4.conf", for example."""
    return f"net.{table}.{dots_for_slashes(link)}.{parameter}"


def dots_for_slashes(text: str) -> str:
    """Swap dots and slashes in the text, as sysctl(8) does.

    This converts a link's name to its form in the dotted name of a parameter, and a
    dotted name to a path below /proc/sys; and both back.
    """
    return text.translate(_DOTS) if "." in text or "/" in text else text


def sysctl_path(name: str) -> list[str]:
    """Return the path components of a parameter below /proc/sys.

    Raises ``Unsupported`` if it is not a parameter of a network namespace.
    """
    parts = dots_for_slashes(name).split("/")
    if parts[0] != "net" or "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise Unsupported(
            f"{name} is not a parameter of a network namespace: its name must begin with net."
        )
    return parts

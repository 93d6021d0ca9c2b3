"""Links: the network devices snnet creates, and those it only reads.

Field names follow iproute2.  MTUs are in bytes and exclude the link-layer
header.  MAC addresses are lower-case and colon-separated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .noun import IPAddress, Key, Noun

LINK_GROUP = 0x736E6E74
"""Link group of everything snnet creates ("snnt" in ASCII)."""

DYING_GROUPS = range(0x53000000, 0x54000000)
"""Link groups of links that a driver is about to delete together in one request.

A link of ours in one of them is still ours: the process died in between.
"""

NAME_MAX = 15
"""Longest link name in bytes: IFNAMSIZ (16, linux/if.h) less the final NUL."""

ALIAS_MAX = 255
"""Longest link alias in bytes: IFALIASZ (256, linux/if.h) less the final NUL."""


def link_key(name: str) -> Key:
    """Identity of the link called ``name``."""
    return ("link", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Noun):
    """Any link.

    ``mac``, ``mtu``: ``None`` leaves them to the kernel.  ``master`` is the
    name of the bridge the link is a port of.  ``index`` is the kernel's
    ifindex: a fact when found, ignored in comparison; in a wanted noun, 0 lets
    the kernel choose.
    """

    rank: ClassVar[int] = 20
    changeable: ClassVar[frozenset[str]] = frozenset(
        {"mac", "mtu", "master", "up", "alias", "group"}
    )
    _kind: ClassVar[str] = ""

    name: str
    alias: str = ""
    group: int = LINK_GROUP
    mac: str | None = None
    mtu: int | None = None
    master: str | None = None
    up: bool = True
    index: int = field(default=0, compare=False)

    @property
    def key(self) -> Key:
        return ("link", self.name)

    @property
    def kind(self) -> str:
        """The kernel's name of this kind of link (IFLA_INFO_KIND)."""
        return self._kind

    def differences(self, found: Noun) -> frozenset[str]:
        different = Noun.differences(self, found)
        # For ``master`` None is a wish of its own: "not a port of anything".
        if isinstance(found, Link) and self.master != found.master:
            return different | {"master"}
        return different

    def __str__(self) -> str:
        words = [self.kind, self.name]
        words += [
            f"{name} {value}"
            for name, value in self.details().items()
            if value is not None and value != ""
        ]
        words.append("up" if self.up else "down")
        if self.group not in (0, LINK_GROUP):
            words.append(f"group {self.group:#x}")
        if self.alias:
            words.append(f'alias "{self.alias}"')
        return " ".join(words)

    def details(self) -> dict[str, object]:
        """What ``str()`` shows between the name and the state, in that order."""
        return {"master": self.master, "mac": self.mac, "mtu": self.mtu}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(Link):
    """A bridge.  Its MAC is pinned by being given, else it follows its ports."""

    rank: ClassVar[int] = 10
    _kind: ClassVar[str] = "bridge"

    link_local: bool = field(default=False, compare=False)
    """False: the bridge gets no IPv6 link-local address (``addr_gen_mode
    none``, set before the bridge comes up), so that guests cannot reach the
    host through it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap(Link):
    """A persistent tap.

    ``queues`` > 1 makes a multi-queue tap (IFF_MULTI_QUEUE, linux/if_tun.h)
    with a vnet header; the driver hands back one descriptor a queue.
    """

    _kind: ClassVar[str] = "tap"

    multi_queue: bool = False
    queues: int = field(default=1, compare=False)
    proxy_arp: bool = field(default=False, compare=False)
    """The host answers ARP on it, at once, for all it routes elsewhere, and has no IPv6
    link-local address there: for links that are no bridge's ports (sysctls ``proxy_arp``
    and ``proxy_delay`` of Documentation/networking/ip-sysctl.rst)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth(Link):
    """One end of a veth pair; ``peer`` is the other end.

    The peer's fields describe it at creation.  It may move to another
    namespace afterwards, so it is no part of what is compared.
    """

    _kind: ClassVar[str] = "veth"

    peer: str | None = field(default=None, compare=False)
    peer_mac: str | None = field(default=None, compare=False)
    peer_mtu: int | None = field(default=None, compare=False)
    proxy_arp: bool = field(default=False, compare=False)
    """As for a tap."""

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "peer": self.peer}


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvtap(Link):
    """A macvtap on ``lower``; its character device is /dev/tap<index>.

    With ``index`` 0 the driver picks a random one of 2**20 or more whose
    /dev/tap node does not exist: all namespaces share these nodes.
    """

    _kind: ClassVar[str] = "macvtap"

    lower: str
    mode: str = "bridge"
    link_local: bool = field(default=False, compare=False)
    """As for a bridge: the host end must not use the guest's own address."""

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "link": self.lower, "mode": self.mode}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel(Link):
    """What all tunnels have: the outer addresses and the outer TTL."""

    remote: IPAddress | None
    ttl: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Gretap(Tunnel):
    """Ethernet over GRE (RFC 2784, RFC 2890), point to point.

    Over IPv6 (kind ``ip6gretap``) no encapsulation limit option is sent.
    """

    local: IPAddress
    remote: IPAddress
    tunnel_key: int

    @property
    def kind(self) -> str:
        return "gretap" if self.local.version == 4 else "ip6gretap"

    def details(self) -> dict[str, object]:
        return {
            **Link.details(self),
            "key": self.tunnel_key,
            "local": self.local,
            "remote": self.remote,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gre(Tunnel):
    """IP over multipoint GRE: neighbours say which underlay address is next."""

    _kind: ClassVar[str] = "gre"

    local: IPAddress
    remote: None = None
    tunnel_key: int

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "key": self.tunnel_key, "local": self.local}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan(Tunnel):
    """VXLAN (RFC 7348); never learns.  Without ``remote`` its fdb entries decide."""

    _kind: ClassVar[str] = "vxlan"

    vni: int
    local: IPAddress
    port: int

    def details(self) -> dict[str, object]:
        return {
            **Link.details(self),
            "vni": self.vni,
            "local": self.local,
            "remote": self.remote,
            "port": self.port,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Geneve(Tunnel):
    """Geneve (RFC 8926), point to point; the kernel's device has no local address."""

    _kind: ClassVar[str] = "geneve"

    remote: IPAddress
    vni: int
    port: int = 6081

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "vni": self.vni, "remote": self.remote, "port": self.port}


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(Link):
    """A link of a kind snnet only reads.

    ``other_kind`` is the kernel's IFLA_INFO_KIND, ``physical`` where it has
    none, ``loopback`` for the loopback.
    """

    other_kind: str
    group: int = 0

    @property
    def kind(self) -> str:
        return self.other_kind

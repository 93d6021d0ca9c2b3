"""Links: the network devices that snnet creates, and those that it only reads.

Tunnels are links too; they are in ``tunnels.py``.

Field names follow iproute2.  MTUs are in bytes and exclude the link-layer
header.  MAC addresses are lower-case and colon-separated.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import ClassVar, Protocol

from .frozen import frozen
from .noun import NO_DIFFERENCE, PLAIN, Key, Noun

LINK_GROUP = 0x736E6E74
"""Link group of everything snnet creates ("snnt" in ASCII)."""

DYING_GROUPS = range(0x53000000, 0x54000000)
"""Link groups of links that a driver is about to delete together in one request.

A link of ours in one of these groups is still ours: the process died before the request.
"""

NAME_MAX = 15
"""Longest link name in bytes: IFNAMSIZ (16, linux/if.h) less the final NUL."""

_NAME = re.compile(r"(?!(\.\.?|all|default)\Z)[^/:%\s\0]+")

ALIAS_MAX = 255
"""Longest link alias in bytes: IFALIASZ (256, linux/if.h) less the final NUL."""

MACVTAP_MODES = ("private", "vepa", "bridge", "passthru")
"""How a macvtap forwards to other macvtaps on the same lower link (ip-link(8))."""

MACVTAP_INDEX_MIN = 1 << 20
"""The lowest ifindex that snnet chooses for a macvtap.  For lower numbers another
namespace may already use the /dev/tap node."""

TAP_QUEUES_MAX = 256
"""MAX_TAP_QUEUES, drivers/net/tun.c and linux/if_tap.h."""


def is_link_name(name: str) -> bool:
    """Whether a link can have this name (dev_valid_name, net/core/dev.c).

    A "%" is refused: the kernel replaces it by a number.  "all" and "default" are refused:
    they stand for the parameters of all links (sysctl_dev_name_is_allowed, net/core/dev.h).
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return False
    return length <= NAME_MAX and _NAME.fullmatch(name) is not None


def link_key(name: str) -> Key:
    """Return the key of the link called ``name``."""
    return ("link", name)


Settings = tuple[tuple[str, int], ...]
"""Names and values of settings of a link's kind or of its bridge port."""


@frozen()
class Link(Noun):
    """Any link.

    ``None`` for ``mac`` and ``mtu`` leaves the value to the kernel.  ``master`` is the
    name of the bridge that the link is a port of.  ``index`` is the kernel's ifindex.
    Comparisons ignore it; in a wanted noun, 0 lets the kernel choose.
    """

    rank: ClassVar[int] = 20
    changeable: ClassVar[frozenset[str]] = frozenset(
        {"mac", "mtu", "master", "up", "alias", "group", "settings"}
    )
    kinds: ClassVar[tuple[str, ...]] = ()
    """The kernel's names (IFLA_INFO_KIND) for links of this class."""
    ethernet: ClassVar[bool] = True
    """Whether it carries Ethernet frames: it has a MAC and can be a port of a bridge."""

    name: str
    alias: str = ""
    group: int = LINK_GROUP
    mac: str | None = None
    mtu: int | None = None
    master: str | None = None
    up: bool = True
    settings: Settings | None = None
    """What is set otherwise than links of snnet usually have it, in the order of
    ``snnet.backends.settings``: ``(("bridge_slave isolated", 1),)``.  None: nothing.  A wanted
    link has settings only where its use needs them; a change sets everything else as usual."""
    index: int = field(default=0, compare=False)
    without_ipv6: bool | None = field(default=None, compare=False, metadata={PLAIN: False})
    """Found: whether IPv6 is disabled on it (``disable_ipv6``).  None: nobody said, and the
    parameter itself, a ``Sysctl``, has to be looked at.  No backend has to say it."""

    def make_key(self) -> Key:
        return ("link", self.name)

    @property
    def kind(self) -> str:
        """The kernel's name for this kind of link (IFLA_INFO_KIND), except that a tun
        device that carries frames is "tap"."""
        return self.kinds[0] if self.kinds else ""

    @property
    def module(self) -> str:
        """The kernel module for links of this kind."""
        return self.kind

    @property
    def unmakeable(self) -> str | None:
        """Why no kernel can create a link like this one, or None."""
        return None

    def differences(self, found: Noun) -> frozenset[str]:
        if self.is_like(found):
            return NO_DIFFERENCE
        different = Noun.differences(self, found)
        # For these, None is a value too: "not a port of any bridge", and "as usual".
        if isinstance(found, Link):
            for name in ("master", "settings"):
                if getattr(self, name) != getattr(found, name):
                    different |= {name}
        return different

    def __str__(self) -> str:
        words = [self.kind, self.name]
        words += [
            f"{name} {value}"
            for name, value in self.details().items()
            if value is not None and value != ""
        ]
        words += [f"{name} {value}" for name, value in self.settings or ()]
        words.append("up" if self.up else "down")
        if self.group not in (0, LINK_GROUP):
            words.append(f"group {self.group:#x}")
        if self.alias:
            words.append(f'alias "{self.alias}"')
        return " ".join(words)

    def details(self) -> dict[str, object]:
        """Return what ``str()`` shows between the name and the state, in order."""
        return {"master": self.master, "mac": self.mac, "mtu": self.mtu}


@frozen()
class Bridge(Link):
    """A bridge.  With ``mac`` its MAC is fixed; without, the MAC follows the ports."""

    rank: ClassVar[int] = 10
    kinds: ClassVar[tuple[str, ...]] = ("bridge",)

    link_local: bool = field(default=False, compare=False)
    """False: the bridge gets no IPv6 link-local address (``addr_gen_mode
    none``, set before the bridge comes up), so that guests cannot reach the
    host through it."""


@frozen()
class Tap(Link):
    """A persistent tap.

    ``queues`` > 1 creates a multi-queue tap (IFF_MULTI_QUEUE, linux/if_tun.h)
    with a vnet header; the driver returns one descriptor for each queue.  ``user`` is the
    uid that may open it, in addition to processes with CAP_NET_ADMIN.  None on a tap that
    was found means that every user may (tun_not_capable, drivers/net/tun.c).
    """

    kinds: ClassVar[tuple[str, ...]] = ("tap",)

    multi_queue: bool = False
    user: int | None = 0
    queues: int = field(default=1, compare=False)
    proxy_arp: bool = field(default=False, compare=False)
    """The host answers ARP on this link, without delay, for every address that it routes
    elsewhere, and has no IPv6 link-local address there.  For links that are not ports of a
    bridge (sysctls ``proxy_arp`` and ``proxy_delay`` of
    Documentation/networking/ip-sysctl.rst)."""

    @property
    def module(self) -> str:
        return "tun"

    def details(self) -> dict[str, object]:
        user = "everybody" if self.user is None else self.user or None
        return {**Link.details(self), "user": user}


@frozen()
class Veth(Link):
    """One end of a veth pair; ``peer`` is the other end.

    The peer's fields describe it at creation.  Comparisons ignore them, because the
    peer may move to another namespace afterwards.
    """

    kinds: ClassVar[tuple[str, ...]] = ("veth",)

    peer: str | None = field(default=None, compare=False)
    peer_mac: str | None = field(default=None, compare=False)
    peer_mtu: int | None = field(default=None, compare=False)
    peer_namespace: str | None = field(default=None, compare=False)
    """The ``Namespace`` in which the other end is created; None: where this end is."""
    proxy_arp: bool = field(default=False, compare=False)
    """See ``Tap.proxy_arp``."""

    def details(self) -> dict[str, object]:
        return {**Link.details(self), "peer": self.peer, "in": self.peer_namespace}


@frozen()
class Ifb(Link):
    """An intermediate functional block (drivers/net/ifb.c): sends what is redirected to it.

    After that, what it sent goes on where it was received.  Its MAC cannot be changed.
    """

    changeable: ClassVar[frozenset[str]] = Link.changeable - {"mac"}
    kinds: ClassVar[tuple[str, ...]] = ("ifb",)


@frozen()
class Macvtap(Link):
    """A macvtap on ``lower``; its character device is /dev/tap<index>.

    With ``index`` 0 the driver picks a random ifindex from 2**20 up whose /dev/tap
    node does not exist, because all namespaces share these nodes.
    """

    kinds: ClassVar[tuple[str, ...]] = ("macvtap",)
    changeable: ClassVar[frozenset[str]] = Link.changeable | {"all_multicast"}

    lower: str
    mode: str = "bridge"
    all_multicast: bool = True
    """Whether all multicast passes (IFF_ALLMULTI).  Else only that of groups the host end has
    joined does (macvlan_compute_filter, drivers/net/macvlan.c): the host knows nothing of
    the guest's groups, so that neighbour solicitations would not reach the guest."""
    link_local: bool = field(default=False, compare=False)
    """See ``Bridge.link_local``: the host end must not use the guest's own address."""

    @property
    def unmakeable(self) -> str | None:
        if self.mode in MACVTAP_MODES:
            return None
        return f"{self.mode!r} is not a macvtap mode: use one of {', '.join(MACVTAP_MODES)}"

    def details(self) -> dict[str, object]:
        multicast = None if self.all_multicast else "filtered"
        return {
            **Link.details(self), "link": self.lower, "mode": self.mode, "multicast": multicast,
        }  # fmt: skip


@frozen()
class Other(Link):
    """A link of a kind that snnet only reads.

    ``other_kind`` is the kernel's IFLA_INFO_KIND, ``physical`` for a link without
    one, and ``loopback`` for the loopback.
    """

    other_kind: str
    group: int = 0
    lower: str | None = field(default=None, compare=False)
    """The link that a macvlan stands on."""

    @property
    def kind(self) -> str:
        return self.other_kind

    @property
    def unmakeable(self) -> str | None:
        return f"snnet only reads links of kind {self.kind} and cannot create them"


class Described(Protocol):
    """The fields of a found link that are compared with a noun."""

    @property
    def kind(self) -> str: ...

    @property
    def alias(self) -> str: ...

    @property
    def group(self) -> int: ...


def is_same_link(link: Link, found: Described) -> bool:
    """Whether the link found under the name of ``link`` is the one that ``link`` describes.

    Kind, alias and group must be equal.  A link that a driver has moved to one of
    ``DYING_GROUPS`` still counts as the same.
    """
    same_group = found.group == link.group or found.group in DYING_GROUPS
    return found.kind == link.kind and found.alias == link.alias and same_group

"""Links as the kernel describes them, turned into nouns.

Reads the attributes that nouns have and skips the rest: an RTM_NEWLINK has
about 35 of them.  The numbers are from linux/if_link.h and linux/if_tunnel.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any

from snnet.contract import (
    Bridge,
    Geneve,
    Gre,
    Gretap,
    IPAddress,
    Link,
    Macvtap,
    Other,
    Tap,
    Veth,
    Vxlan,
)

from .kernel import attributes, ip, number, text

IFF_UP = 0x1  # linux/if.h
_ARPHRD_ETHER = 1  # linux/if_arp.h
_ARPHRD_LOOPBACK = 772
_IFF_TAP = 2  # linux/if_tun.h
_AF_INET6 = 10
_ADDR_GEN_MODE_NONE = 1

_IFINFOMSG = Struct("=BxHiII")  # family, type, index, flags, change
_BODY = 16
_ATTRIBUTES = _BODY + _IFINFOMSG.size
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
IFLA_IFALIAS = 20
_IFLA_AF_SPEC = 26
_IFLA_GROUP = 27
_IFLA_LINK_NETNSID = 37
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INET6_ADDR_GEN_MODE = 8

_WANTED = frozenset(
    {
        _IFLA_ADDRESS,
        _IFLA_IFNAME,
        _IFLA_MTU,
        _IFLA_LINK,
        _IFLA_MASTER,
        _IFLA_LINKINFO,
        IFLA_IFALIAS,
        _IFLA_AF_SPEC,
        _IFLA_GROUP,
        _IFLA_LINK_NETNSID,
    }
)

_MACVTAP_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}

NameOf = Callable[[int], str]
"""Name of the link with this index; raises OSError where there is none."""


@dataclass(slots=True, eq=False)
class Found:
    """One RTM_NEWLINK, RTM_DELLINK or an answer to RTM_GETLINK."""

    family: int
    type: int
    index: int
    flags: int
    attributes: dict[int, bytes]
    info: dict[int, bytes]
    """What stands in IFLA_LINKINFO."""

    @classmethod
    def parse(cls, message: bytes) -> Found:
        family, type_, index, flags, _ = _IFINFOMSG.unpack_from(message, _BODY)
        found = attributes(message, _ATTRIBUTES, _WANTED)
        info = attributes(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
        return cls(family, type_, index, flags, found, info)

    @property
    def name(self) -> str:
        return text(self.attributes[_IFLA_IFNAME])

    @property
    def alias(self) -> str:
        return text(self.attributes.get(IFLA_IFALIAS, b""))

    @property
    def group(self) -> int:
        return number(self.attributes.get(_IFLA_GROUP, b""))

    @property
    def lower(self) -> int:
        """Index of the link this one stands on, a veth's peer say; 0 if there is
        none or it is in another namespace."""
        if _IFLA_LINK_NETNSID in self.attributes:
            return 0
        return number(self.attributes.get(_IFLA_LINK, b""))

    @property
    def kernel_kind(self) -> str:
        """IFLA_INFO_KIND, or nothing."""
        return text(self.info.get(_IFLA_INFO_KIND, b""))

    @property
    def kind(self) -> str:
        """The kind as nouns have it: a tun device in tap mode is a ``tap``."""
        kind = self.kernel_kind
        if not kind:
            return "loopback" if self.type == _ARPHRD_LOOPBACK else "physical"
        if kind == "tun" and _is_tap(attributes(self.info.get(_IFLA_INFO_DATA, b""))):
            return "tap"
        return kind

    def noun(self, name_of: NameOf) -> Link:
        """The link as a noun: ``Other`` where it is none that snnet could have made."""
        there = self.attributes
        mac = there.get(_IFLA_ADDRESS)
        common: dict[str, Any] = {
            "name": self.name,
            "alias": self.alias,
            "group": self.group,
            "mac": mac.hex(":") if mac and self.type == _ARPHRD_ETHER else None,
            "mtu": number(there.get(_IFLA_MTU, b"")),
            "master": _name(name_of, number(there.get(_IFLA_MASTER, b""))),
            "up": bool(self.flags & IFF_UP),
            "index": self.index,
        }
        if (make := _MAKERS.get(self.kernel_kind)) is not None:
            link = make(self, common, attributes(self.info.get(_IFLA_INFO_DATA, b"")), name_of)
            if link is not None:
                return link
        return Other(other_kind=self.kind, **common)

    def link_local(self) -> bool:
        """Whether the kernel gives it an IPv6 link-local address when it comes up."""
        families = attributes(self.attributes.get(_IFLA_AF_SPEC, b""))
        inet6 = attributes(families.get(_AF_INET6, b""))
        return inet6.get(_IFLA_INET6_ADDR_GEN_MODE) != bytes([_ADDR_GEN_MODE_NONE])


def _address(value: bytes | None) -> IPAddress | None:
    """An address, or None where it is absent or unspecified."""
    if not value or not any(value):
        return None
    return ip(value)


def _name(name_of: NameOf, index: int) -> str | None:
    """A name, or None for no index and for a link that has just gone."""
    if not index:
        return None
    try:
        return name_of(index)
    except OSError:
        return None


Common = dict[str, Any]
Data = dict[int, bytes]


def _bridge(found: Found, common: Common, data: Data, name_of: NameOf) -> Link:
    return Bridge(link_local=found.link_local(), **common)


def _is_tap(data: Data) -> bool:
    return data.get(3) == bytes([_IFF_TAP])  # IFLA_TUN_TYPE


def _tun(found: Found, common: Common, data: Data, name_of: NameOf) -> Link | None:
    if not _is_tap(data):
        return None
    multi_queue = bool(number(data.get(7, b"")))  # IFLA_TUN_MULTI_QUEUE
    queues = number(data.get(8, b""))  # IFLA_TUN_NUM_QUEUES: those open now
    return Tap(multi_queue=multi_queue, queues=max(queues, 1), **common)


def _veth(found: Found, common: Common, data: Data, name_of: NameOf) -> Link:
    return Veth(peer=_name(name_of, found.lower), **common)


def _macvtap(found: Found, common: Common, data: Data, name_of: NameOf) -> Link:
    mode = number(data.get(1, b""))  # IFLA_MACVLAN_MODE
    # A link of another namespace is written as ip-link(8) writes it.
    elsewhere = f"if{number(found.attributes.get(_IFLA_LINK, b''))}"
    return Macvtap(
        lower=_name(name_of, found.lower) or elsewhere,
        mode=_MACVTAP_MODES.get(mode, str(mode)),
        link_local=found.link_local(),
        **common,
    )


def _gretap(found: Found, common: Common, data: Data, name_of: NameOf) -> Link | None:
    local, remote = _address(data.get(6)), _address(data.get(7))  # IFLA_GRE_LOCAL, _REMOTE
    if local is None or remote is None:
        return None
    return Gretap(local=local, remote=remote, tunnel_key=_key(data), ttl=_ttl(data, 8), **common)


def _gre(found: Found, common: Common, data: Data, name_of: NameOf) -> Link | None:
    local, remote = _address(data.get(6)), _address(data.get(7))
    if local is None or remote is not None:
        return None
    return Gre(local=local, tunnel_key=_key(data), ttl=_ttl(data, 8), **common)


def _vxlan(found: Found, common: Common, data: Data, name_of: NameOf) -> Link | None:
    # IFLA_VXLAN_LOCAL or _LOCAL6, _GROUP or _GROUP6, _ID, _PORT, _TTL
    local = _address(data.get(4)) or _address(data.get(17))
    if local is None:
        return None
    return Vxlan(
        local=local,
        remote=_address(data.get(2)) or _address(data.get(16)),
        vni=number(data.get(1, b"")),
        port=int.from_bytes(data.get(15, b""), "big"),
        ttl=_ttl(data, 5),
        **common,
    )


def _geneve(found: Found, common: Common, data: Data, name_of: NameOf) -> Link | None:
    # IFLA_GENEVE_REMOTE or _REMOTE6, _ID, _PORT, _TTL
    remote = _address(data.get(2)) or _address(data.get(7))
    if remote is None:
        return None
    return Geneve(
        remote=remote,
        vni=number(data.get(1, b"")),
        port=int.from_bytes(data.get(5, b""), "big"),
        ttl=_ttl(data, 3),
        **common,
    )


def _key(data: Data) -> int:
    return int.from_bytes(data.get(4, b""), "big")  # IFLA_GRE_IKEY


def _ttl(data: Data, attribute: int) -> int:
    return number(data.get(attribute, b""))


_MAKERS: dict[str, Callable[[Found, Common, Data, NameOf], Link | None]] = {
    "bridge": _bridge,
    "tun": _tun,
    "veth": _veth,
    "macvtap": _macvtap,
    "gretap": _gretap,
    "ip6gretap": _gretap,
    "gre": _gre,
    "vxlan": _vxlan,
    "geneve": _geneve,
}

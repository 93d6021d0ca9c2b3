"""Conversion of links from the kernel's messages to nouns.

Only the attributes that nouns need are read: an RTM_NEWLINK has about 35.  The
numbers are from linux/if_link.h.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from struct import Struct

from snnet.backends.kinds import by_kernel_kind
from snnet.contract import Link, Other
from snnet.system.netlink import NetlinkError

from .codec import Common, NameOf, name_or_none
from .kernel import attributes, number, text
from .kinds import CODECS
from .kinds.tap import is_tap
from .settings import settings_of

IFF_UP, IFF_ALLMULTI = 0x1, 0x200  # linux/if.h
_IFF_RUNNING = 0x40  # up, and with carrier (dev_get_flags, net/core/dev.c)
_ARPHRD_ETHER = 1  # linux/if_arp.h
_ARPHRD_LOOPBACK = 772
_AF_INET6 = 10
_ADDR_GEN_MODE_NONE = 1

_IFINFOMSG = Struct("=BxHiII")  # family, type, index, flags, change
HEADER = 16
ATTRIBUTES = HEADER + _IFINFOMSG.size
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
_IFLA_INET6_CONF = 2
_IFLA_INET6_ADDR_GEN_MODE = 8

_DISABLE_IPV6 = 26 * 4  # DEVCONF_DISABLE_IPV6, linux/ipv6.h

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


@dataclass(slots=True, eq=False)
class ParsedLink:
    """An RTM_NEWLINK, an RTM_DELLINK or an answer to RTM_GETLINK."""

    family: int
    type: int
    index: int
    flags: int
    attributes: dict[int, bytes]
    info: dict[int, bytes]
    """The attributes in IFLA_LINKINFO."""

    @classmethod
    def parse(cls, message: bytes) -> ParsedLink:
        family, type_, index, flags, _ = _IFINFOMSG.unpack_from(message, HEADER)
        found = attributes(message, ATTRIBUTES, _WANTED)
        info = attributes(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
        return cls(family, type_, index, flags, found, info)

    @classmethod
    def of(cls, name: str, answer: bytes) -> ParsedLink:
        """Parse the answer to a look-up by name; ``NetlinkError`` (ENODEV) if it has another.

        The kernel looks for alternative names too (ip-link(8), property).
        """
        link = cls.parse(answer)
        if link.name != name:
            raise NetlinkError(errno.ENODEV)
        return link

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
    def mac(self) -> str | None:
        """The MAC of a link that carries Ethernet frames."""
        mac = self.attributes.get(_IFLA_ADDRESS)
        return mac.hex(":") if mac and self.type == _ARPHRD_ETHER else None

    @property
    def lower(self) -> int:
        """The index of the lower link, or of a veth's peer; 0 if there is none or it is
        in another namespace."""
        if _IFLA_LINK_NETNSID in self.attributes:
            return 0
        return self.lower_index

    @property
    def lower_index(self) -> int:
        """The index of the lower link in any namespace, or 0."""
        return number(self.attributes.get(_IFLA_LINK, b""))

    @property
    def kernel_kind(self) -> str:
        """IFLA_INFO_KIND, or an empty string."""
        return text(self.info.get(_IFLA_INFO_KIND, b""))

    @property
    def kind(self) -> str:
        """The kind as in nouns: a tun device in tap mode is a ``tap``."""
        kind = self.kernel_kind
        if not kind:
            return "loopback" if self.type == _ARPHRD_LOOPBACK else "physical"
        if kind == "tun" and is_tap(attributes(self.info.get(_IFLA_INFO_DATA, b""))):
            return "tap"
        return kind

    def noun(self, name_of: NameOf) -> Link:
        """Return the link as a noun; ``Other`` if snnet cannot have created it."""
        there = self.attributes
        common: Common = {
            "name": self.name,
            "alias": self.alias,
            "group": self.group,
            "mac": self.mac,
            "mtu": number(there.get(_IFLA_MTU, b"")),
            "master": name_or_none(name_of, number(there.get(_IFLA_MASTER, b""))),
            "up": bool(self.flags & IFF_UP),
            "index": self.index,
            "without_ipv6": self.without_ipv6(),
        }
        running = bool(self.flags & _IFF_RUNNING)
        if (settings := settings_of(self.info, running=running)) is not None:
            common["settings"] = settings
        if (decode := _DECODERS.get(self.kernel_kind)) is not None:
            link = decode(self, common, attributes(self.info.get(_IFLA_INFO_DATA, b"")), name_of)
            if link is not None:
                return link
        stacked = self.kernel_kind == "macvlan"
        lower = name_or_none(name_of, self.lower) if stacked else None
        return Other(other_kind=self.kind, lower=lower, **common)

    def all_multicast(self) -> bool:
        return bool(self.flags & IFF_ALLMULTI)

    def link_local(self) -> bool:
        """Whether the kernel gives the link an IPv6 link-local address when it comes up."""
        return self._inet6().get(_IFLA_INET6_ADDR_GEN_MODE) != bytes([_ADDR_GEN_MODE_NONE])

    def inet6_parameters(self) -> bytes:
        """The link's parameters of IPv6 as 32-bit numbers; none on a host without IPv6."""
        return self._inet6().get(_IFLA_INET6_CONF, b"")

    def without_ipv6(self) -> bool | None:
        """See :attr:`snnet.contract.Link.without_ipv6`."""
        found = self.inet6_parameters()[_DISABLE_IPV6 : _DISABLE_IPV6 + 4]
        return any(found) if found else None

    def _inet6(self) -> dict[int, bytes]:
        families = attributes(self.attributes.get(_IFLA_AF_SPEC, b""))
        return attributes(families.get(_AF_INET6, b""))


_DECODERS = {kind: codec.decode for kind, codec in by_kernel_kind(CODECS).items()}

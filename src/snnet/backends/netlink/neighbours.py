"""Permanent neighbours and forwarding entries (rtnetlink(7), RTM_NEWNEIGH)."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from struct import Struct
from typing import Any

from snnet.contract import Fdb, IPAddress, Link, Neighbour, ProxyNeighbour, Unsupported, Vxlan
from snnet.contract.addresses import NO_MAC
from snnet.system.netlink import NetlinkError

from .encoder import IP4, IP6, MAC, U8, U32, Field
from .kernel import (
    CREATE,
    EXCLUSIVE,
    FAMILIES,
    REPLACE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    Kernel,
    attributes,
    by_family,
    ip,
    number,
)
from .links import Links

_NDMSG = Struct("=B3xiHBB")  # family, index, state, flags, type
_BODY = 16
_ATTRIBUTES = _BODY + _NDMSG.size
_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL = 1, 2, 12

# linux/neighbour.h
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_NTF_SELF, _NTF_PROXY = 0x02, 0x08
_AF_BRIDGE = 7

_INDEX = Field("ifindex", U32)
_PERMANENT = Field("state", value=_NUD_PERMANENT)
_STATIC = Field("state", value=_NUD_PERMANENT | _NUD_NOARP)
_SELF = Field("flags", value=_NTF_SELF)
_PROXY = Field("flags", value=_NTF_PROXY)
_PROTOCOL = Field("NDA_PROTOCOL", U8)
_BRIDGE = Field("family", value=_AF_BRIDGE)
_DESTINATION = by_family("NDA_DST")
_MAC = Field("NDA_LLADDR", MAC)
_UNDERLAY = {4: Field("NDA_LLADDR", IP4), 6: Field("NDA_LLADDR", IP6)}

Values = dict[Field, Any]


class Neighbours:
    """The permanent neighbours of one network namespace."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def add(self, noun: Neighbour) -> None:
        values = self._values(noun)
        try:
            self._kernel.ask(RTM_NEWNEIGH, values, CREATE | EXCLUSIVE)
        except NetlinkError as error:
            # Skip what the kernel has learned by itself.
            if error.errno != errno.EEXIST or self.find(noun) is not None:
                raise
            self._kernel.ask(RTM_NEWNEIGH, values, CREATE | REPLACE)

    def change(self, new: Neighbour, old: Neighbour) -> None:
        self._must_exist(old)
        self._kernel.ask(RTM_NEWNEIGH, self._values(new), REPLACE)

    def remove(self, noun: Neighbour) -> None:
        self._must_exist(noun)
        values = self._identity(noun.link, noun.address)
        self._kernel.ask(RTM_DELNEIGH, values)

    def find(self, noun: Neighbour) -> Neighbour | None:
        answers = self._kernel.ask(RTM_GETNEIGH, self._identity(noun.link, noun.address))
        return next((found for m in answers if (found := _neighbour(m, noun.link))), None)

    def snapshot(self) -> list[Neighbour]:
        name_of = self._kernel.names()
        return [
            noun
            for message in self._kernel.dump(RTM_GETNEIGH, {})
            if (link := name_of(_NDMSG.unpack_from(message, _BODY)[1])) is not None
            and (noun := _neighbour(message, link)) is not None
        ]

    def _must_exist(self, noun: Neighbour) -> None:
        if self.find(noun) is None:
            raise NetlinkError(errno.ENOENT)

    def _identity(self, link: str, address: Any) -> Values:
        version = address.version
        return {
            FAMILIES[version]: None,
            _INDEX: self._kernel.index(link),
            _DESTINATION[version]: address,
        }

    def _values(self, noun: Neighbour) -> Values:
        values = {**self._identity(noun.link, noun.address), _PERMANENT: None}
        if noun.lladdr.count(":") == 5:
            return {**values, _MAC: noun.lladdr}
        try:
            underlay = ip_address(noun.lladdr)
        except ValueError as error:
            raise NetlinkError(errno.EINVAL, f"{noun.lladdr!r} is not a MAC or address") from error
        return {**values, _UNDERLAY[underlay.version]: underlay}


def _neighbour(message: bytes, link: str) -> Neighbour | None:
    family, _, state, _, _ = _NDMSG.unpack_from(message, _BODY)
    if not state & _NUD_PERMANENT or family not in (2, 10):
        return None
    found = attributes(message, _ATTRIBUTES)
    lladdr = found.get(_NDA_LLADDR, b"")
    return Neighbour(
        link=link,
        address=ip(found[_NDA_DST]),
        lladdr=str(ip(lladdr)) if len(lladdr) in (4, 16) else lladdr.hex(":"),
    )


class Proxies:
    """The addresses that one network namespace answers for on a link (``ip neighbour ... proxy``).

    The kernel keeps them in a separate table (pneigh_lookup, net/core/neighbour.c).
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def add(self, noun: ProxyNeighbour) -> None:
        # pneigh_create succeeds for an existing entry, whatever the flags say.
        if self.find(noun) is not None:
            raise NetlinkError(errno.EEXIST)
        # An entry that is not permanent is removed when its link loses carrier (pneigh_ifdown).
        values = {**self._values(noun.link, noun.address), _PERMANENT: None}
        values[_PROTOCOL] = noun.protocol
        self._kernel.ask(RTM_NEWNEIGH, values, CREATE | EXCLUSIVE)

    def remove(self, noun: ProxyNeighbour) -> None:
        self._kernel.ask(RTM_DELNEIGH, self._values(noun.link, noun.address))

    def find(self, noun: ProxyNeighbour) -> ProxyNeighbour | None:
        try:
            answers = self._kernel.ask(RTM_GETNEIGH, self._values(noun.link, noun.address))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return None
        return _proxy(answers[0], noun.link)

    def snapshot(self) -> list[ProxyNeighbour]:
        name_of = self._kernel.names()
        return [
            _proxy(message, link)
            for message in self._kernel.dump(RTM_GETNEIGH, {_PROXY: None})
            if (link := name_of(_NDMSG.unpack_from(message, _BODY)[1])) is not None
        ]

    def _values(self, link: str, address: IPAddress) -> Values:
        version = address.version
        return {
            FAMILIES[version]: None,
            _INDEX: self._kernel.index(link),
            _DESTINATION[version]: address,
            _PROXY: None,
        }


class ForwardingEntries:
    """The permanent forwarding entries of the vxlans of one network namespace.

    The entry that the kernel adds for the ``remote`` of a vxlan is part of the vxlan.
    """

    def __init__(self, kernel: Kernel, links: Links) -> None:
        self._kernel = kernel
        self._links = links

    def add(self, noun: Fdb) -> None:
        self._kernel.ask(RTM_NEWNEIGH, self._values(noun), CREATE | EXCLUSIVE)

    def change(self, new: Fdb, old: Fdb) -> None:
        self._must_exist(old)
        self._kernel.ask(RTM_NEWNEIGH, self._values(new), REPLACE)

    def remove(self, noun: Fdb) -> None:
        # The kernel reports success even if the entry goes to another remote.
        if self.find(noun) != noun:
            raise NetlinkError(errno.ENOENT)
        self._kernel.ask(RTM_DELNEIGH, self._values(noun))

    def find(self, noun: Fdb) -> Fdb | None:
        vxlan = self._links.find(Link(name=noun.link))
        if not isinstance(vxlan, Vxlan):
            return None
        values = {_BRIDGE: None, _INDEX: vxlan.index, _SELF: None, _MAC: noun.mac}
        answers = self._kernel.ask(RTM_GETNEIGH, values)
        return next((found for m in answers if (found := _entry(m, vxlan))), None)

    def snapshot(self) -> list[Fdb]:
        vxlans = {link.index: link for link in self._links.snapshot() if isinstance(link, Vxlan)}
        if not vxlans:  # bridges may hold any number of learned entries
            return []
        return [
            noun
            for message in self._kernel.dump(RTM_GETNEIGH, {_BRIDGE: None})
            if (vxlan := vxlans.get(_NDMSG.unpack_from(message, _BODY)[1])) is not None
            and (noun := _entry(message, vxlan)) is not None
        ]

    def _must_exist(self, noun: Fdb) -> None:
        if self.find(noun) is None:
            raise NetlinkError(errno.ENOENT)

    def _vxlan(self, name: str) -> Vxlan:
        link = self._links.find(Link(name=name))
        if link is None:
            raise NetlinkError(errno.ENODEV, f"there is no link {name}")
        if not isinstance(link, Vxlan):
            raise Unsupported(f"{name} is a {link.kind}: only vxlans have forwarding entries")
        return link

    def _values(self, noun: Fdb) -> Values:
        return {
            _BRIDGE: None,
            _INDEX: self._vxlan(noun.link).index,
            _STATIC: None,
            _SELF: None,
            _DESTINATION[noun.remote.version]: noun.remote,
            _MAC: noun.mac,
        }


def _proxy(message: bytes, link: str) -> ProxyNeighbour:
    found = attributes(message, _ATTRIBUTES)
    protocol = number(found.get(_NDA_PROTOCOL, b"\0"))
    return ProxyNeighbour(link=link, address=ip(found[_NDA_DST]), protocol=protocol)


def _entry(message: bytes, vxlan: Vxlan) -> Fdb | None:
    _, _, state, flags, _ = _NDMSG.unpack_from(message, _BODY)
    if not (state & _NUD_PERMANENT and flags & _NTF_SELF):
        return None
    found = attributes(message, _ATTRIBUTES)
    if _NDA_DST not in found or _NDA_LLADDR not in found:
        return None
    remote, mac = ip(found[_NDA_DST]), found[_NDA_LLADDR].hex(":")
    if (mac, remote) == (NO_MAC, vxlan.remote):
        return None
    return Fdb(link=vxlan.name, mac=mac, remote=remote)

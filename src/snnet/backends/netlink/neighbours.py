"""Permanent neighbours and forwarding entries (rtnetlink(7), RTM_NEWNEIGH)."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from struct import Struct, pack
from typing import Any

from snnet.contract import (
    BridgeFdb,
    Fdb,
    IPAddress,
    Link,
    Neighbour,
    ProxyNeighbour,
    Unsupported,
    Vxlan,
)
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
_NTF_SELF, _NTF_MASTER, _NTF_PROXY = 0x02, 0x04, 0x08
_AF_BRIDGE = 7

_NO_LLADDR = pack("=HH6x", 10, _NDA_LLADDR)
"""The attribute of an entry for the all-zero MAC."""

_INDEX = Field("ifindex", U32)
_APPEND = 0x800  # NLM_F_APPEND, linux/netlink.h

_PERMANENT = Field("state", value=_NUD_PERMANENT)
_NO_ARP = Field("state", value=_NUD_NOARP)
_STATIC = Field("state", value=_NUD_PERMANENT | _NUD_NOARP)
_SELF = Field("flags", value=_NTF_SELF)
_MASTER = Field("flags", value=_NTF_MASTER)
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
        if noun.mac != NO_MAC:
            self._kernel.ask(RTM_NEWNEIGH, self._values(noun), CREATE | EXCLUSIVE)
            return
        values = self._values(noun)
        # Appending succeeds for a remote that is there already (vxlan_fdb_append).
        if self.find(noun) is not None or self._vxlan(noun.link).remote is not None:
            raise NetlinkError(errno.EEXIST)
        self._kernel.ask(RTM_NEWNEIGH, values, CREATE | _APPEND)

    def change(self, new: Fdb, old: Fdb) -> None:
        self._must_exist(old)
        if new.mac == NO_MAC:  # vxlan_fdb_update_existing, drivers/net/vxlan/vxlan_core.c
            raise NetlinkError(errno.EOPNOTSUPP, "only an entry for one MAC can be replaced")
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
        if noun.mac == NO_MAC:  # the kernel would answer with the first remote alone
            there = self._kernel.dump(RTM_GETNEIGH, {_BRIDGE: None, _INDEX: vxlan.index})
            # Of many entries few are read: those with these bytes.
            remote = noun.remote.packed
            answers = [message for message in there if _NO_LLADDR in message and remote in message]
        else:
            values = {_BRIDGE: None, _INDEX: vxlan.index, _SELF: None, _MAC: noun.mac}
            answers = self._kernel.ask(RTM_GETNEIGH, values)
        entries = (found for message in answers if (found := _entry(message, vxlan)))
        return next((found for found in entries if found.key == noun.key), None)

    def snapshot(self) -> list[Fdb]:
        vxlans = {link.index: link for link in self._links.vxlans()}
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


class BridgeEntries:
    """The static entries that bridges of one network namespace have for ports that are vxlans."""

    def __init__(self, kernel: Kernel, links: Links) -> None:
        self._kernel = kernel
        self._links = links

    def add(self, noun: BridgeFdb) -> None:
        index = self._port(noun.link).index
        values = {_BRIDGE: None, _INDEX: index, _NO_ARP: None, _MASTER: None, _MAC: noun.mac}
        try:
            self._kernel.ask(RTM_NEWNEIGH, values, CREATE | EXCLUSIVE)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            there, state = self._look_up(index, noun.mac)
            # A port's own MAC stays.  What the bridge has learned of this MAC gives way.
            if state & _NUD_PERMANENT or (there == index and state & _NUD_NOARP):
                raise
            self._kernel.ask(RTM_NEWNEIGH, values, CREATE | REPLACE)

    def remove(self, noun: BridgeFdb) -> None:
        if self.find(noun) is None:
            raise NetlinkError(errno.ENOENT)
        values = {_BRIDGE: None, _INDEX: self._kernel.index(noun.link), _MASTER: None}
        self._kernel.ask(RTM_DELNEIGH, {**values, _MAC: noun.mac})

    def find(self, noun: BridgeFdb) -> BridgeFdb | None:
        vxlan = self._links.find(Link(name=noun.link))
        if not isinstance(vxlan, Vxlan) or vxlan.master is None:
            return None
        index, state = self._look_up(vxlan.index, noun.mac)
        return noun if index == vxlan.index and _is_static(state) else None

    def snapshot(self) -> list[BridgeFdb]:
        ports = {link.index: link for link in self._links.vxlans() if link.master}
        if not ports:  # bridges may hold any number of learned entries
            return []
        found = []
        for message in self._kernel.dump(RTM_GETNEIGH, {_BRIDGE: None}):
            _, index, state, flags, _ = _NDMSG.unpack_from(message, _BODY)
            if index in ports and _is_static(state) and not flags & _NTF_SELF:
                mac = attributes(message, _ATTRIBUTES)[_NDA_LLADDR].hex(":")
                found.append(BridgeFdb(link=ports[index].name, mac=mac))
        return found

    def _look_up(self, index: int, mac: str) -> tuple[int, int]:
        """Return the port and the state of the entry that the bridge of a port has for a MAC."""
        values = {_BRIDGE: None, _INDEX: index, _MASTER: None, _MAC: mac}
        answer = self._kernel.ask(RTM_GETNEIGH, values)[0]
        _, port, state, _, _ = _NDMSG.unpack_from(answer, _BODY)
        return port, state

    def _port(self, name: str) -> Vxlan:
        link = self._links.find(Link(name=name))
        if link is None:
            raise NetlinkError(errno.ENODEV, f"there is no link {name}")
        if not isinstance(link, Vxlan) or link.master is None:
            raise Unsupported(f"{name} is not a vxlan that is the port of a bridge")
        return link


def _is_static(state: int) -> bool:
    """Whether an entry of a bridge is static, and not the MAC of a port itself."""
    return bool(state & _NUD_NOARP) and not state & _NUD_PERMANENT


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

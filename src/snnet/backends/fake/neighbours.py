"""Neighbours, proxy entries (net/core/neighbour.c) and vxlan fdb entries (drivers/net/vxlan)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from snnet.contract import BridgeFdb, Fdb, Gre, Link, Neighbour, ProxyNeighbour, Vxlan
from snnet.contract.addresses import IPV6_MTU_MIN, NO_MAC, is_mac

from .refusal import Refusal
from .state import State
from .sysctls import ipv6_is_disabled


class NeighbourRules:
    """Permanent neighbour entries of any link."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Neighbour) -> None:
        stored = self._as_stored(noun)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(stored)

    def change(self, noun: Neighbour, old: Neighbour) -> None:
        stored = self._as_stored(noun)
        if noun.key not in self._state.nouns:
            raise Refusal("ENOENT")
        self._state.put(stored)

    def remove(self, noun: Neighbour) -> None:
        _need_link(self._state, noun.link)
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)

    def _as_stored(self, noun: Neighbour) -> Neighbour:
        """Return the entry as the kernel stores it: a long link-layer address is cut."""
        link = _need_link(self._state, noun.link)
        lladdr = _link_layer_address(noun.lladdr)
        if noun.address.version == 6 and (link.mtu or 0) < IPV6_MTU_MIN:
            raise Refusal("EINVAL", "no IPv6 on this link")
        if noun.address.version == 6 and ipv6_is_disabled(self._state, link.name):
            raise Refusal("EINVAL", "IPv6 is disabled on this device")  # ndisc_allow_add
        if isinstance(link, Gre):
            return replace(noun, lladdr=str(IPv4Address(lladdr[:4])))
        if len(lladdr) < 6:
            raise Refusal("EINVAL", "invalid link address")
        return noun


class ProxyRules:
    """Addresses that the host answers for as proxy; the link need not be up."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: ProxyNeighbour) -> None:
        link = _need_link(self._state, noun.link)
        if noun.address.version == 6 and (link.mtu or 0) < IPV6_MTU_MIN:
            raise Refusal("ENOBUFS", "no IPv6 on this link")  # pndisc_constructor
        # The kernel accepts a second one whatever the flags (pneigh_create), but Add is strict.
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(noun)

    def change(self, noun: ProxyNeighbour, old: ProxyNeighbour) -> None:
        raise Refusal("EOPNOTSUPP", "a proxy entry cannot be changed in place")

    def remove(self, noun: ProxyNeighbour) -> None:
        _need_link(self._state, noun.link)
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)


class FdbRules:
    """Permanent unicast fdb entries of a vxlan."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: Fdb) -> None:
        self._check(noun)
        if noun.key in self._state.nouns:
            raise Refusal("EEXIST")
        self._state.put(noun)

    def change(self, noun: Fdb, old: Fdb) -> None:
        self._check(noun)
        if noun.key not in self._state.nouns:
            raise Refusal("ENOENT")
        if noun.mac == NO_MAC:  # vxlan_fdb_update_existing
            raise Refusal("EOPNOTSUPP", "only an entry for one MAC can be replaced")
        self._state.put(noun)

    def remove(self, noun: Fdb) -> None:
        _need_link(self._state, noun.link)
        found = self._state.nouns.get(noun.key)
        # The kernel reports success here and keeps the entry (__vxlan_fdb_delete).
        if not isinstance(found, Fdb) or found.remote != noun.remote:
            raise Refusal("ENOENT")
        self._state.drop(found)

    def _check(self, noun: Fdb) -> None:
        link = _need_link(self._state, noun.link)
        if not isinstance(link, Vxlan):
            raise Refusal("EOPNOTSUPP", f"{link.name} is a {link.kind}, not a vxlan")
        if not is_mac(noun.mac):
            raise Refusal("EINVAL", "invalid link address")
        if noun.mac == NO_MAC and link.remote is not None:
            raise Refusal("EEXIST", "this entry is the remote of the vxlan")
        if noun.remote.version != link.local.version:
            raise Refusal("EAFNOSUPPORT")


class BridgeFdbRules:
    """Static entries of a bridge for a port that is a vxlan (net/bridge/br_fdb.c)."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, noun: BridgeFdb) -> None:
        state, link = self._state, _need_link(self._state, noun.link)
        if not isinstance(link, Vxlan) or link.master is None:
            raise Refusal("EOPNOTSUPP", f"{link.name} is not a vxlan that is the port of a bridge")
        if not is_mac(noun.mac) or noun.mac == NO_MAC:
            raise Refusal("EINVAL", "invalid ether address")
        ports = state.ports[link.master]
        own = {one.mac for name in (link.master, *ports) if (one := state.link(name))}
        if noun.key in state.nouns or noun.mac in own:
            raise Refusal("EEXIST")
        for port in ports:  # a bridge has one entry for each MAC
            other = state.nouns.get(("bridge-fdb", port, noun.mac))
            if other is not None:
                state.drop(other)
        state.entered.add(noun.link)
        state.put(noun)

    def change(self, noun: BridgeFdb, old: BridgeFdb) -> None:
        raise Refusal("EOPNOTSUPP", "an entry of a bridge has nothing to change")

    def remove(self, noun: BridgeFdb) -> None:
        _need_link(self._state, noun.link)
        found = self._state.nouns.get(noun.key)
        if found is None:
            raise Refusal("ENOENT")
        self._state.drop(found)


def drop_bridge_entries(state: State, port: str) -> None:
    """Remove the entries of a bridge for a port that leaves it (br_fdb_delete_by_port)."""
    for noun in state.on_link(port):
        if isinstance(noun, BridgeFdb):
            state.drop(noun)


def _need_link(state: State, name: str) -> Link:
    link = state.link(name)
    if link is None:
        raise Refusal("ENODEV", f"no link {name}")
    return link


def _link_layer_address(text: str) -> bytes:
    if is_mac(text):
        return bytes.fromhex(text.replace(":", ""))
    try:
        return IPv4Address(text).packed
    except ValueError:
        raise Refusal("EINVAL", "invalid link address") from None

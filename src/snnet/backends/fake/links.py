"""How links are added, changed and removed (net/core/rtnetlink.c and the drivers)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from snnet.contract import Bridge, DhcpScope, Link, Macvtap, Other, Tap, Tunnel, Veth
from snnet.contract.addresses import IPV6_MTU_MIN, NO_MAC, is_mac, is_multicast_mac
from snnet.contract.frozen import changed
from snnet.contract.links import (
    ALIAS_MAX,
    MACVTAP_INDEX_MIN,
    TAP_QUEUES_MAX,
    is_link_name,
    is_same_link,
)
from snnet.contract.parameters import is_routed, quiet_parameters, routed_parameters

from .addresses import drop_ipv6, drop_neighbours, forget_link, link_went_down, sync_connected
from .bridging import check_master, follow_ports, join, leave, mtu_changed, pin, released, take_mac
from .kinds import KINDS
from .neighbours import drop_bridge_entries
from .refusal import Refusal
from .shaping import lose_target
from .state import State
from .sysctls import SysctlRules, forget_link_sysctls, ipv6_is_disabled


class LinkRules:
    """The rules of every kind of link."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._sysctls = SysctlRules(state)

    # -- verbs -------------------------------------------------------------------

    def add(self, noun: Link) -> Sequence[int] | None:
        if isinstance(noun, Other):
            raise Refusal("EOPNOTSUPP", noun.unmakeable or "")
        if isinstance(noun, Veth):
            self._add_pair(noun)
            return None
        if isinstance(noun, Tap) and noun.queues != 1:
            return self._add_queues(noun)
        self._add(self._completed(noun))
        if isinstance(noun, Bridge):
            # The MTU is set again after creation: one given only at creation would
            # still follow the ports.
            pin(self._state, noun, mtu=noun.mtu is not None, mac=noun.mac is not None)
        return None

    def change(self, noun: Link, old: Link) -> None:
        found = self._owned(old)
        wrong = noun.differences(old) - noun.changeable
        if wrong:
            raise Refusal("EOPNOTSUPP", f"{', '.join(sorted(wrong))} cannot be changed in place")
        different = noun.differences(found) & noun.changeable
        values = {name: getattr(noun, name) for name in different}
        before = released(found) if "master" in different else found
        if "master" in different and noun.master is not None:
            values["settings"] = noun.settings  # both are set
        wanted: Link = replace(before, **values)
        if "alias" in different:
            _check_alias(wanted)
        if "mac" in different:
            _check_mac(wanted)
        if "mac" in different or (wanted.up and not found.up):
            self._check_macvtap_address(wanted)
        if wanted.mtu != found.mtu:
            KINDS[type(wanted)].check_mtu(self._state, wanted)
        if wanted.master is not None and wanted.master != found.master:
            check_master(self._state, wanted)
        if wanted.up and not found.up:
            self._quieten(wanted)
        self._become(found, wanted, different)
        if (found.mtu or 0) < IPV6_MTU_MIN <= (wanted.mtu or 0):
            self._quieten(wanted)

    def remove(self, noun: Link) -> None:
        found = self._owned(noun)
        if isinstance(found, Other) and found.other_kind in ("loopback", "physical"):
            raise Refusal("EOPNOTSUPP", "the kernel does not delete hardware")
        far = self._state.far.get(found.name)
        self._remove(found)
        if isinstance(found, Veth) and found.peer:
            peer = self._state.link(found.peer)
            if peer is not None:
                self._remove(peer)
        if far is not None:
            LinkRules(far[0]).vanish(far[1])

    def vanish(self, name: str) -> None:
        """Remove a veth whose other end is in another namespace, and that end."""
        far, link = self._state.far.get(name), self._state.link(name)
        if link is not None:
            self._remove(link)
        if far is not None:
            LinkRules(far[0]).vanish(far[1])

    def plug(self, link: Link) -> None:
        """Add a link that snnet does not create: hardware, or a foreign link."""
        self._add(self._completed(link))

    def take_peer(self, near: Veth) -> Veth | None:
        """Move the peer of a veth out of the namespace; return it, or None if it is gone."""
        peer = self._state.link(near.peer or "")
        if not isinstance(peer, Veth):
            return None
        self._remove(peer)
        self._state.update_link(near, peer=None)
        return peer

    def bring_peer(self, peer: Veth, near: Veth) -> None:
        """Undo ``take_peer``: add the peer under its old name, down."""
        self._add(self._completed(replace(peer, index=0, up=False, master=None, peer=near.name)))
        self._state.update_link(near, peer=peer.name)

    # -- adding ------------------------------------------------------------------

    def _add_queues(self, tap: Tap) -> tuple[int, ...]:
        """Add a multi-queue tap with one real descriptor per queue, so that tests find leaks."""
        if not 1 < tap.queues <= TAP_QUEUES_MAX:
            raise Refusal("EINVAL", f"a tap has 1 to {TAP_QUEUES_MAX} queues")
        fds: list[int] = []
        try:
            for _ in range(tap.queues):
                fds.append(os.open(os.devnull, os.O_RDWR))
            self._add(self._completed(tap))
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, OSError):
                raise Refusal("EMFILE") from error
            raise
        return tuple(fds)

    def _add_pair(self, noun: Veth) -> None:
        if not noun.peer:
            raise Refusal("EINVAL", "a veth needs the name of its peer")
        inside = noun.peer_namespace
        if inside is not None and inside not in self._state.children:
            raise Refusal("ENOENT", f"there is no namespace {inside}")
        there = self if inside is None else LinkRules(self._state.children[inside])
        peer = Veth(
            name=noun.peer, mac=noun.peer_mac, mtu=noun.peer_mtu, up=False, group=0,
            peer=None if inside else noun.name,
        )  # fmt: skip
        self._check_referred(noun)
        far = there._completed(peer)
        here = replace(noun, peer_mac=None, peer_mtu=None, peer_namespace=None)
        near = self._completed(replace(here, peer=None) if inside else here)
        if near.name == far.name and not inside:
            raise Refusal("EEXIST")
        there._add(far)  # the kernel creates the peer first (veth_newlink)
        self._add(near)
        if inside:
            self._state.far[near.name] = (there._state, far.name)
            there._state.far[far.name] = (self._state, near.name)

    def _completed(self, noun: Link) -> Link:
        """Return the link with the values it gets when created, or refuse it.

        Of several reasons, the one that the kernel finds first is reported.
        """
        state = self._state
        if not is_link_name(noun.name):
            raise Refusal("EINVAL", f"{noun.name!r} is not a valid link name")
        self._check_referred(noun)
        if not isinstance(noun, Macvtap):
            self._check_free(noun)
        kind = KINDS[type(noun)]
        kind.check(noun)
        if isinstance(noun, Macvtap):
            noun = self._on_lower(noun)
        _check_alias(noun)
        _check_mac(noun)
        noun = self._filled_in(noun)
        kind.check_mtu(state, noun)
        if isinstance(noun, Macvtap):
            self._check_lower(noun)
            self._check_free(noun)  # this late, because it is created by its index
        if isinstance(noun, Tunnel):
            same = state.tunnels.get(noun.wire_identity)
            if same is not None:
                raise Refusal(noun.taken, f"{same} is the same tunnel")
        if noun.master is not None:
            check_master(state, noun)
        if noun.up and isinstance(noun, Macvtap):
            self._check_macvtap_address(noun)
        return noun

    def _filled_in(self, noun: Link) -> Link:
        """Return the link with the values that the kernel chooses."""
        kind = KINDS[type(noun)]
        mtu, mac = kind.fit_mtu(self._state, noun), noun.mac
        if mtu is None:
            mtu = kind.default_mtu(self._state, noun)
        if mac is None and noun.ethernet:
            mac = self._state.make_mac(noun.name)
        if mtu != noun.mtu or mac != noun.mac:
            noun = replace(noun, mtu=mtu, mac=mac)
        if isinstance(noun, Tap) and noun.queues > 1 and not noun.multi_queue:
            noun = replace(noun, multi_queue=True)
        return noun

    def _on_lower(self, noun: Macvtap) -> Macvtap:
        """Put a macvtap over a macvlan or macvtap on the link below (macvlan_common_newlink)."""
        lower = self._state.link(noun.lower)
        below = lower.lower if isinstance(lower, (Macvtap, Other)) else None
        return noun if below is None else replace(noun, lower=below)

    def _add(self, link: Link) -> None:
        state = self._state
        wanted = link.index
        if isinstance(link, Macvtap):
            wanted = wanted or self._free_macvtap_index()
            state.uppers.setdefault(link.lower, {})[link.name] = None
        link = changed(link, "index", state.take_index(link.name, wanted))
        if isinstance(link, Tunnel):
            state.tunnels[link.wire_identity] = link.name
        if isinstance(link, Bridge):
            state.ports[link.name] = {}
        state.put_link(link)
        if is_routed(link):
            self._sysctls.set_link(link.name, routed_parameters(link))
        self._quieten(link)
        if link.master is not None:
            join(state, link)

    def _quieten(self, link: Link) -> None:
        """Keep the host's IPv6 from the link, as drivers do before a link comes up."""
        if (link.mtu or 0) < IPV6_MTU_MIN:
            return  # it has no IPv6, and no parameters of that
        if link.master is not None and not ipv6_is_disabled(self._state, link.name):
            drop_ipv6(self._state, link.name)
        self._sysctls.set_link(link.name, quiet_parameters(link))

    def _free_macvtap_index(self) -> int:
        index = MACVTAP_INDEX_MIN
        while index in self._state.indexes:
            index += 1
        return index

    # -- checking ----------------------------------------------------------------

    def _check_referred(self, link: Link) -> None:
        """Refuse references to missing links first, because a client looks up their ifindex."""
        if link.master is not None:
            self._check_there(link.master)
        if isinstance(link, Macvtap):
            self._check_there(link.lower)

    def _check_there(self, name: str) -> None:
        if ("link", name) not in self._state.nouns:
            raise Refusal("ENODEV", f"no link {name}")

    def _check_free(self, link: Link) -> None:
        """Refuse a name or ifindex that is in use."""
        if ("link", link.name) in self._state.nouns:
            raise Refusal("EEXIST")
        if link.index and (link.index in self._state.indexes or link.index < 0):
            raise Refusal("EEXIST", f"ifindex {link.index} is in use")

    def _check_lower(self, link: Macvtap) -> None:
        """Refuse a lower link that cannot have macvtaps (macvlan_port_create)."""
        lower = self._state.link(link.lower)
        assert lower is not None
        if not lower.ethernet or lower.kind == "loopback":
            raise Refusal("EINVAL", f"{lower.name} carries no Ethernet")
        if lower.master is not None:
            raise Refusal("EBUSY", f"{lower.name} is a port of {lower.master}")

    def _check_macvtap_address(self, link: Link) -> None:
        """Refuse the MAC of the lower link or of a sibling that is up (macvlan_addr_busy)."""
        if not isinstance(link, Macvtap):
            return
        state = self._state
        for name in [link.lower, *state.uppers.get(link.lower, ())]:
            other = state.link(name)
            if other is None or name == link.name or other.mac != link.mac:
                continue
            if other.up or name == link.lower:
                raise Refusal("EADDRINUSE", f"{name} has the MAC {link.mac}")

    def _owned(self, noun: Link) -> Link:
        """Return the stored link if it is the noun's, or refuse with ENODEV.

        Every driver checks kind, alias and group, so that a foreign link with the same name
        is never touched.
        """
        found = self._state.link(noun.name)
        if found is None:
            raise Refusal("ENODEV")
        if not is_same_link(noun, found):
            raise Refusal("ENODEV", f"a foreign link has this name: {found}")
        return found

    # -- changing ----------------------------------------------------------------

    def _become(self, found: Link, wanted: Link, different: frozenset[str]) -> None:
        """Apply a change that was checked, with all its consequences."""
        state = self._state
        if found.master is not None and wanted.master != found.master:
            leave(state, found)
        state.put_link(wanted)
        if isinstance(wanted, Bridge):
            pin(state, wanted, mtu="mtu" in different, mac="mac" in different)
        if wanted.master is not None and wanted.master != found.master:
            join(state, wanted)
        if wanted.mac != found.mac:
            take_mac(state, wanted.master or wanted.name, wanted.mac)
            for version in (4, 6):
                drop_neighbours(state, wanted.name, version)
        if wanted.mtu != found.mtu:
            mtu_changed(state, wanted)
        if wanted.master is not None and different & {"mac", "mtu"}:
            follow_ports(state, wanted.master)
        if found.up and not wanted.up:
            link_went_down(state, wanted.name)
        elif wanted.up and not found.up:
            sync_connected(state, wanted.name)

    # -- removing ----------------------------------------------------------------

    def _remove(self, link: Link) -> None:
        state, name = self._state, link.name
        if name in state.uppers:
            self._remove_uppers(name)
        if name in state.ports:
            self._release_ports(name)
        state.far.pop(name, None)
        if name in state.held:
            forget_link(state, name)
        if link.master is not None:
            leave(state, link)
        if isinstance(link, Macvtap):
            state.uppers[link.lower].pop(name, None)
        if isinstance(link, Tunnel):
            del state.tunnels[link.wire_identity]
        if name in state.targets:
            lose_target(state, name)
        if name in state.tuned:
            forget_link_sysctls(state, name)
        scope = state.nouns.get(("dhcp", name))
        if isinstance(scope, DhcpScope) and scope.running:
            # A server does not continue on a bridge that is recreated.
            state.put(replace(scope, running=False))
        state.drop_link(link)

    def _remove_uppers(self, name: str) -> None:
        for upper in list(self._state.uppers[name]):
            above = self._state.link(upper)
            if above is not None:
                self._remove(above)
        del self._state.uppers[name]

    def _release_ports(self, name: str) -> None:
        """Have the ports of a bridge belong to none, before it is removed."""
        state = self._state
        for port in state.ports.pop(name):
            alone = state.link(port)
            if alone is not None:
                drop_bridge_entries(state, port)
                state.put_link(released(alone))
        state.own_mtu.discard(name)
        state.own_mac.discard(name)


def _check_alias(link: Link) -> None:
    if link.alias and len(link.alias.encode()) > ALIAS_MAX:
        raise Refusal("ERANGE", f"the alias has more than {ALIAS_MAX} bytes")


def _check_mac(link: Link) -> None:
    """Refuse anything but a unicast MAC (eth_validate_addr)."""
    if link.mac is None:
        return
    if not link.ethernet:
        raise Refusal("EOPNOTSUPP", f"a {link.kind} link has no MAC")
    if not is_mac(link.mac):
        raise Refusal("EINVAL", f"{link.mac!r} is not a MAC address")
    if is_multicast_mac(link.mac) or link.mac == NO_MAC:
        raise Refusal("EADDRNOTAVAIL", f"{link.mac} is not a unicast MAC address")

"""Links: bridges and their ports, both ends of a veth, macvtaps, taps."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from snnet.contract import (
    LINK_GROUP,
    Add,
    Bridge,
    Busy,
    Change,
    Exists,
    Link,
    Macvtap,
    Missing,
    Remove,
    Sysctl,
    Tap,
    Veth,
)
from snnet.contract.network import link_sysctl

from .base import BackendTests, is_gone, is_there, link
from .nouns import BRIDGE, MAC, MACVTAP, PAIR, TAP, VETH, described
from .place import UPLINK, Place
from .steps import add, do, need, refused, remove, within_patience

_LOW_MAC = "00:00:00:00:00:01"
_FIRST_MACVTAP = 1 << 20


class BridgeTests(BackendTests):
    def test_a_bridge_keeps_what_it_was_given(self, place: Place) -> None:
        """A bridge that was given MAC and MTU keeps them, whatever its ports have."""
        add(place, BRIDGE)
        port = Tap(name="t", mac=_LOW_MAC, mtu=1000, master="br")
        add(place, port)
        assert is_there(place, BRIDGE)
        remove(place, port)
        assert is_there(place, BRIDGE)

    @pytest.mark.parametrize("mtu", [68, 1500, 65535])
    def test_a_bridge_keeps_any_mtu(self, place: Place, mtu: int) -> None:
        """A given MTU stays even if it is the one that the kernel would choose."""
        bridge = replace(BRIDGE, mtu=mtu)
        port = Tap(name="t", mac=_LOW_MAC, mtu=1000, master="br")
        add(place, bridge, port)
        assert is_there(place, bridge)
        remove(place, port)
        assert is_there(place, bridge)

    def test_a_bridge_keeps_what_it_was_changed_to(self, place: Place) -> None:
        """MAC and MTU that are set later stay too."""
        old = Bridge(name="br")
        new = replace(old, mac=BRIDGE.mac, mtu=1450)
        add(place, old)
        do(place, Change(new, old))
        add(place, Tap(name="t", mac=_LOW_MAC, mtu=1000, master="br"))
        assert is_there(place, new)

    def test_a_bridge_follows_its_ports(self, place: Place) -> None:
        """By default a bridge has the lowest MAC and the smallest MTU of its ports."""
        add(place, Bridge(name="br"))
        add(place, Tap(name="t0", mac=_LOW_MAC, mtu=1400, master="br"))
        add(place, Tap(name="t1", mac=MAC, mtu=1300, master="br"))
        found = link(place, Bridge, "br")
        assert (found.mac, found.mtu) == (_LOW_MAC, 1300)

    def test_ports_outlive_their_bridge(self, place: Place) -> None:
        """When a bridge is removed its ports stay, without a master."""
        add(place, BRIDGE, replace(TAP, master="br"), replace(VETH, master="br"))
        remove(place, BRIDGE)
        assert is_there(place, TAP)
        assert is_there(place, VETH)

    def test_a_port_changes_bridges(self, place: Place) -> None:
        """One Change moves a port from one bridge to another."""
        old = replace(TAP, master="br")
        add(place, BRIDGE, Bridge(name="br2"), old)
        new = replace(old, master="br2")
        do(place, Change(new, old))
        assert is_there(place, new)

    def test_an_index_asked_for(self, place: Place) -> None:
        """``index`` becomes the ifindex of the link; a taken one is refused."""
        need(place, BRIDGE)
        add(place, replace(BRIDGE, index=777))
        assert link(place, Bridge, "br").index == 777
        assert refused(place, Add(Bridge(name="br2", index=777))) is not None
        assert is_gone(place, Bridge(name="br2"))

    @pytest.mark.parametrize(
        "noun", [BRIDGE, Bridge(name="br"), Bridge(name="br", mtu=1280), MACVTAP], ids=described
    )
    def test_no_link_local_address(self, place: Place, noun: Link) -> None:
        """Without ``link_local`` the link gets no IPv6 link-local address."""
        other = replace(noun, name="with", mac="02:00:00:00:00:77", link_local=True)  # type: ignore[call-arg]
        add(place, noun, other)
        for name in (noun.name, "with"):
            if isinstance(noun, Bridge):
                _give_carrier(place, name)
        if place.link_locals:  # the later link has one, so the first would have one too
            assert within_patience(lambda: place.link_local_addresses("with") != [])
        assert place.link_local_addresses(noun.name) == []
        assert "addrgenmode none" in (place.description(noun.name) or "addrgenmode none")

    def test_a_bridge_that_comes_up_takes_no_router_advertisements(self, place: Place) -> None:
        """Also one that is down because its creation was interrupted before that was set."""
        down = replace(BRIDGE, up=False, link_local=False)
        add(place, down)
        quiet = Sysctl(name=link_sysctl("ipv6.conf", down.name, "accept_ra"), value="0")
        if place.driver.find(quiet) is None:
            return  # a host without IPv6
        assert place.driver.find(quiet) == quiet
        do(place, Change(replace(quiet, value="1"), quiet))
        do(place, Change(replace(down, up=True), down))
        assert place.driver.find(quiet) == quiet

    def test_ipv6_stays_off_when_a_larger_mtu_brings_it_back(self, place: Place) -> None:
        """An MTU below 1280 ends IPv6 on a link, and with it the parameters that are set."""
        bridge, port = replace(BRIDGE, link_local=False), replace(TAP, master=BRIDGE.name)
        quiet = [
            Sysctl(name=link_sysctl("ipv6.conf", name, parameter), value=value)
            for name, parameter, value in (
                (bridge.name, "accept_ra", "0"),
                (bridge.name, "accept_redirects", "0"),
                (port.name, "disable_ipv6", "1"),
            )
        ]
        add(place, bridge, port)
        if any(place.driver.find(noun) is None for noun in quiet):
            return  # a host without IPv6
        _give_carrier(place, bridge.name)
        for whole in (bridge, port):
            small = replace(whole, mtu=1200)
            do(place, Change(small, whole))
            do(place, Change(replace(whole, mtu=1400), small))
        assert [place.driver.find(noun) for noun in quiet] == quiet
        assert place.link_local_addresses(bridge.name) == []
        if isinstance(found := place.driver.find(bridge), Bridge):
            assert not found.link_local

    def test_small_links_have_no_ipv6_at_all(self, place: Place) -> None:
        """With an MTU below 1280 there is no IPv6 (RFC 8200, 5), and that is no error."""
        small = replace(BRIDGE, mtu=1279)
        add(place, small)
        assert is_there(place, small)
        name = link_sysctl("ipv6.conf", small.name, "disable_ipv6")
        assert place.driver.find(Sysctl(name=name)) is None


class VethTests(BackendTests):
    def test_both_ends_are_born_together(self, place: Place) -> None:
        """The peer has the values of the noun, and each end knows the other."""
        add(place, Veth(name="near", peer="far", peer_mac=MAC, peer_mtu=1300, mtu=1400))
        near, far = link(place, Veth, "near"), link(place, Veth, "far")
        assert (near.peer, near.mtu, near.group) == ("far", 1400, LINK_GROUP)
        assert (far.peer, far.mtu, far.mac) == ("near", 1300, MAC)

    @pytest.mark.parametrize("end", ["near", "far"])
    def test_both_ends_die_together(self, place: Place, end: str) -> None:
        """Removing either end, as it is found, removes both."""
        before = place.names()
        add(place, VETH)
        remove(place, link(place, Veth, end))
        assert place.names() == before
        assert is_gone(place, VETH)

    def test_both_ends_in_one_batch(self, place: Place) -> None:
        """The second end goes with the first one: ``Missing``."""
        add(place, BRIDGE, VETH)
        far = link(place, Veth, "far")
        outcome = place.driver.apply([Remove(BRIDGE), Remove(VETH), Remove(far)])
        assert outcome.done == {0, 1}
        assert isinstance(outcome.errors[2], Missing)

    def test_an_end_that_has_moved_away(self, place: Place) -> None:
        """When the peer has moved away, the other end is still found, changed and removed."""
        add(place, VETH)
        assert link(place, Veth, "near").peer == "far"
        place.move_veth("far")
        assert link(place, Veth, "near").peer is None
        assert is_there(place, VETH)
        wanted = replace(VETH, mtu=1400)
        do(place, Change(wanted, VETH), Remove(wanted))
        assert is_gone(place, VETH)


class MacvtapTests(BackendTests):
    def test_each_has_a_high_index_of_its_own(self, place: Place) -> None:
        """The driver gives each macvtap an index of its own, of 2**20 or more."""
        add(place, MACVTAP, Macvtap(name="mv2", lower=UPLINK))
        indexes = {link(place, Macvtap, name).index for name in ("mv", "mv2")}
        assert len(indexes) == 2
        assert min(indexes) >= _FIRST_MACVTAP

    def test_an_index_asked_for_is_given(self, place: Place) -> None:
        """A given index is used, because it names the device /dev/tap<index>."""
        wanted = replace(MACVTAP, index=_FIRST_MACVTAP + 4711)
        add(place, wanted)
        assert link(place, Macvtap, "mv").index == wanted.index

    def test_one_mac_once_on_a_lower_link(self, place: Place) -> None:
        """A MAC that a second macvtap or the lower link has is ``Busy``."""
        add(place, MACVTAP, PAIR)
        before = place.names()
        assert refused(place, Add(replace(MACVTAP, name="mv2"))) is Busy
        lower = link(place, Veth, UPLINK)
        assert refused(place, Add(replace(MACVTAP, name="mv2", mac=lower.mac))) is Busy
        assert place.names() == before
        add(place, replace(MACVTAP, name="mv2", lower="low"))

    def test_it_dies_with_its_lower_link(self, place: Place) -> None:
        """A macvtap goes with its lower link, and leaves it in place when removed itself."""
        on_pair = replace(MACVTAP, lower="low")
        add(place, PAIR, on_pair)
        remove(place, on_pair)
        assert is_there(place, PAIR)
        add(place, on_pair)
        remove(place, PAIR)
        assert is_gone(place, on_pair)


class TapTests(BackendTests):
    def test_one_queue_has_no_descriptor(self, place: Place) -> None:
        """A tap with one queue has no descriptor: it is opened by its name."""
        assert add(place, TAP).fds == {}
        assert add(place, Tap(name="many", multi_queue=True)).fds == {}
        assert link(place, Tap, "many").multi_queue

    @pytest.mark.parametrize("user", [0, 1, 4242])
    @pytest.mark.parametrize("multi_queue", [False, True])
    def test_it_belongs_to_a_user(self, place: Place, user: int, multi_queue: bool) -> None:
        """A tap belongs to the user of the noun: root, unless it names another one."""
        add(place, Tap(name="own", user=user, multi_queue=multi_queue))
        assert link(place, Tap, "own").user == user

    @pytest.mark.parametrize("vnet_header", [False, True])
    def test_a_guest_opens_it_by_its_name(self, place: Place, vnet_header: bool) -> None:
        """A guest may open it with or without a virtio-net header; the tap does not change."""
        tap = replace(TAP, mac="fe:00:00:00:00:01", mtu=1400)
        add(place, tap)
        place.open_tap("tap", vnet_header=vnet_header)
        assert is_there(place, tap)

    def test_a_descriptor_a_queue(self, place: Place) -> None:
        """Each of several queues has a descriptor: close-on-exec, owned by the caller."""
        tap = replace(TAP, queues=4, multi_queue=True)
        outcome = add(place, tap)
        try:
            assert list(outcome.fds) == ["tap"]
            fds = outcome.fds["tap"]
            assert len(set(fds)) == 4
            for fd in fds:
                assert not os.get_inheritable(fd)
                assert place.tap_of(fd) in ("tap", None)
            assert is_there(place, tap)
            assert link(place, Tap, "tap").queues == 4
        finally:
            outcome.close_fds()
        assert is_there(place, tap), "it is persistent"

    def test_queues_make_it_multi_queue(self, place: Place) -> None:
        """More than one queue implies ``multi_queue``."""
        add(place, replace(TAP, queues=2)).close_fds()
        assert link(place, Tap, "tap").multi_queue

    def test_descriptors_come_with_the_others_errors(self, place: Place) -> None:
        """Descriptors are handed out even if a later operation fails."""
        tap = replace(TAP, queues=2, multi_queue=True)
        need(place, tap)
        outcome = place.driver.apply([Add(tap), Add(tap)])
        assert outcome.done == {0}
        assert isinstance(outcome.error, Exists)
        assert len(outcome.fds["tap"]) == 2
        assert refused(place, Add(TAP)) is Exists
        outcome.close_fds()
        assert outcome.fds == {}

    @pytest.mark.parametrize("noun", [Tap(name="r"), Veth(name="r", peer="far")], ids=described)
    def test_the_host_answers_for_others(self, place: Place, noun: Link) -> None:
        """With ``proxy_arp`` the host answers at once, and has no link-local address there."""
        need(place, noun)
        add(place, replace(noun, proxy_arp=True))  # type: ignore[call-arg]
        assert place.setting("net.ipv4.conf.r.proxy_arp") == "1"
        assert place.setting("net.ipv4.neigh.r.proxy_delay") == "0"
        assert "addrgenmode none" in (place.description("r") or "addrgenmode none")
        if isinstance(noun, Veth):
            far = link(place, Veth, "far")
            do(place, Change(replace(far, up=True), far))
            if place.link_locals:
                assert within_patience(lambda: place.link_local_addresses("far") != [])
            assert place.link_local_addresses("r") == []

    @pytest.mark.parametrize("noun", [Tap(name="r.7"), Veth(name="r.7", peer="far")], ids=described)
    def test_the_host_answers_on_links_with_dots(self, place: Place, noun: Link) -> None:
        """A dot in the name of a link is a slash in its parameters (sysctl(8))."""
        add(place, replace(noun, proxy_arp=True))  # type: ignore[call-arg]
        assert place.setting("net.ipv4.conf.r/7.proxy_arp") == "1"

    @pytest.mark.parametrize("noun", [Tap(name="r"), Veth(name="r", peer="far")], ids=described)
    def test_the_host_answers_only_if_asked(self, place: Place, noun: Link) -> None:
        """Without ``proxy_arp`` the link is as the kernel makes it."""
        add(place, noun)
        assert place.setting("net.ipv4.conf.r.proxy_arp") == "0"


def _give_carrier(place: Place, bridge: str) -> None:
    """Add a port that is up on both ends: a bridge without one has no carrier."""
    add(place, Veth(name=f"p-{bridge}", peer=f"q-{bridge}", master=bridge))
    far = link(place, Veth, f"q-{bridge}")
    do(place, Change(replace(far, up=True), far))

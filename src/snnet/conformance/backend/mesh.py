"""Vxlans with many remotes, and what the bridge of such a vxlan knows of the MACs behind them."""

from __future__ import annotations

from dataclasses import replace

from snnet.contract import (
    Add,
    BridgeFdb,
    Change,
    Exists,
    Fdb,
    Link,
    Missing,
    Rejected,
    Remove,
    Unsupported,
)
from snnet.contract.addresses import NO_MAC

from .base import BackendTests, is_gone, is_there
from .nouns import BRIDGE, MAC, MEMBER, MESH, SUPPRESSING, TAP, VXLAN, bridge_fdb, fdb, neighbour
from .place import Place
from .steps import add, do, need, refused, remove

_EVERY = tuple(fdb(NO_MAC, f"192.0.2.{last}", "member") for last in (8, 9, 10))
_OTHER = "02:00:00:00:00:0c"


class MeshTests(BackendTests):
    def test_an_entry_for_each_remote(self, place: Place) -> None:
        """The all-zero MAC has an entry for each remote: added twice is ``Exists``."""
        add(place, BRIDGE, MEMBER, *_EVERY, fdb(MAC, "192.0.2.9", "member"))
        assert refused(place, Add(_EVERY[1])) is Exists
        assert set(place.driver.snapshot([Fdb]).values()) == {
            *_EVERY,
            fdb(MAC, "192.0.2.9", "member"),
        }
        remove(place, _EVERY[0])
        assert is_gone(place, _EVERY[0])
        assert is_there(place, _EVERY[1])
        assert is_there(place, _EVERY[2])
        assert refused(place, Remove(_EVERY[0])) is Missing
        assert refused(place, Change(_EVERY[1], _EVERY[1])) is Unsupported

    def test_not_beside_the_remote_of_a_tunnel(self, place: Place) -> None:
        """The remote of a point-to-point vxlan is its entry for the all-zero MAC."""
        need(place, VXLAN, fdb(NO_MAC, "192.0.2.9", "vx"))
        add(place, VXLAN)
        for remote in ("192.0.2.9", "2001:db8::9"):
            assert refused(place, Add(fdb(NO_MAC, remote, "vx"))) is Exists

    def test_an_entry_of_a_bridge(self, place: Place) -> None:
        """An entry of a bridge is there until it is removed, or its port leaves the bridge."""
        add(place, BRIDGE, MEMBER, bridge_fdb(MAC))
        assert refused(place, Add(bridge_fdb(MAC))) is Exists
        assert set(place.driver.snapshot([BridgeFdb]).values()) == {bridge_fdb(MAC)}
        assert is_gone(place, bridge_fdb(_OTHER))
        remove(place, bridge_fdb(MAC))
        assert is_gone(place, bridge_fdb(MAC))
        add(place, bridge_fdb(MAC))
        do(place, Change(replace(MEMBER, master=None, settings=None), MEMBER))
        assert is_gone(place, bridge_fdb(MAC))
        assert is_there(place, replace(MEMBER, master=None, settings=None))

    def test_an_entry_moves_to_another_port(self, place: Place) -> None:
        """A bridge has one entry for a MAC: the last port that it is added for has it."""
        other = replace(MEMBER, name="mesh2", vni=12)
        add(place, BRIDGE, MEMBER, other, bridge_fdb(MAC), bridge_fdb(MAC, "mesh2"))
        assert is_gone(place, bridge_fdb(MAC))
        assert refused(place, Remove(bridge_fdb(MAC))) is Missing
        assert is_there(place, bridge_fdb(MAC, "mesh2"))

    def test_an_entry_gives_way_to_a_link_of_its_mac(self, place: Place) -> None:
        """To a new port of the bridge, to a port that gets the MAC, and to the bridge itself."""
        tap, mac = replace(TAP, mac=_OTHER, master="br"), "02:00:00:00:00:0d"
        add(place, BRIDGE, MEMBER, bridge_fdb(_OTHER), tap)
        assert is_gone(place, bridge_fdb(_OTHER))
        add(place, bridge_fdb(mac))
        do(place, Change(replace(tap, mac=mac), tap))
        assert is_gone(place, bridge_fdb(mac))
        add(place, bridge_fdb(_OTHER))
        do(place, Change(replace(BRIDGE, mac=_OTHER), BRIDGE))
        assert is_gone(place, bridge_fdb(_OTHER))

    def test_the_mac_of_a_port_is_its_own(self, place: Place) -> None:
        """The MAC of a link that is a port of the bridge cannot have an entry elsewhere."""
        need(place, bridge_fdb(MAC))
        add(place, BRIDGE, MEMBER, replace(TAP, mac=_OTHER, master="br"))
        assert refused(place, Add(bridge_fdb(_OTHER))) is Exists
        assert is_gone(place, bridge_fdb(_OTHER))

    def test_macs_that_no_entry_can_have(self, place: Place) -> None:
        """Text that is not a MAC, and the all-zero MAC, are ``Rejected`` and never found."""
        need(place, bridge_fdb(MAC))
        add(place, BRIDGE, MEMBER)
        for mac in ("no mac", NO_MAC, ""):
            assert refused(place, Add(bridge_fdb(mac))) is Rejected, mac
            assert place.driver.find(bridge_fdb(mac)) is None

    def test_settings_that_a_link_is_made_with(self, place: Place) -> None:
        """A wanted link may have settings: it is made with them, and a change restores them."""
        add(place, BRIDGE, MEMBER)
        assert _settings(place, "member") == SUPPRESSING
        usual = replace(MEMBER, settings=None)
        do(place, Change(usual, MEMBER))
        assert _settings(place, "member") is None
        do(place, Change(MEMBER, usual))
        assert is_there(place, MEMBER)
        alone = replace(MEMBER, master=None, settings=None)
        do(place, Change(alone, MEMBER), Change(MEMBER, alone))
        assert _settings(place, "member") == SUPPRESSING

    def test_another_bridge_and_other_settings_at_once(self, place: Place) -> None:
        """A link that changes bridges has the wanted settings alone, whatever others had set."""
        other = replace(BRIDGE, name="br2", mac="02:00:00:00:00:02")
        touched = (("bridge_slave hairpin", 1), ("vxlan learning", 1))
        found = replace(MEMBER, settings=touched)
        add(place, BRIDGE, other, found)
        moved = replace(MEMBER, master="br2")
        do(place, Change(moved, found))
        assert _settings(place, "member") == SUPPRESSING
        do(place, Change(found, moved))
        assert _settings(place, "member") == touched
        do(place, Change(replace(MEMBER, master=None, settings=None), found))
        assert _settings(place, "member") is None

    def test_a_port_keeps_nothing_of_its_bridge(self, place: Place) -> None:
        """A port whose bridge is removed has no settings of a port, and no entries."""
        add(place, BRIDGE, MEMBER, bridge_fdb(MAC), neighbour("10.1.0.9", name="br"))
        remove(place, BRIDGE)
        assert is_there(place, replace(MEMBER, master=None, settings=None))
        assert is_gone(place, bridge_fdb(MAC))

    def test_a_vxlan_that_is_no_port(self, place: Place) -> None:
        """No bridge has entries for it."""
        add(place, MESH)
        assert place.driver.find(bridge_fdb(MAC, "mesh")) is None
        assert refused(place, Add(bridge_fdb(MAC, "mesh"))) is Unsupported


def _settings(place: Place, name: str) -> object:
    found = place.driver.find(Link(name=name))
    assert isinstance(found, Link)
    return found.settings

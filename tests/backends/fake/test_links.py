"""Links: names, MACs, MTUs, kinds, and what dies with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from snnet.backends.fake import FakeKernel
from snnet.contract import LINK_GROUP, Add, Change, Link, Macvtap, Other, Remove, Veth

from .steps import add, address, bridge, do, link, refusal, remove, tap


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.add_uplink("eth0", "192.0.2.11/24", mac="02:00:00:00:00:01")
    return kernel


def macvtap(name: str, mac: str, **values: object) -> Macvtap:
    return Macvtap(name=name, lower="eth0", mac=mac, **values)  # type: ignore[arg-type]


def test_new_namespace_has_a_loopback_and_nothing_else() -> None:
    assert FakeKernel().to_text() == ("loopback lo mtu 65536 up\n    address 127.0.0.1/8 dev lo")


@pytest.mark.parametrize(
    "name", ["", "abcdefghijklmnop", "a/b", "a b", ".", "..", "a:b", "ääääääää"]
)
def test_bad_names(kernel: FakeKernel, name: str) -> None:
    assert refusal(kernel, Add(bridge(name))) == "EINVAL"


def test_longest_name(kernel: FakeKernel) -> None:
    add(kernel, bridge("abcdefghijklmno"))


def test_one_name_once(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"))
    assert refusal(kernel, Add(bridge("b0"))) == "EEXIST"
    assert refusal(kernel, Add(tap("b0"))) == "EEXIST"
    assert refusal(kernel, Add(Veth(name="v0", peer="b0"))) == "EEXIST"
    assert refusal(kernel, Add(Veth(name="b0", peer="v0"))) == "EEXIST"
    assert refusal(kernel, Add(Veth(name="v0", peer="v0"))) == "EEXIST"


def test_ifindexes_count_up_and_one_asked_for_is_honoured(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), bridge("far", index=777), bridge("b1"))
    assert [link(kernel, name).index for name in ("lo", "eth0", "b0", "far", "b1")] == [
        1, 2, 3, 777, 4,
    ]  # fmt: skip
    assert refusal(kernel, Add(bridge("b2", index=777))) == "EEXIST"
    remove(kernel, bridge("b1"))
    add(kernel, bridge("b2"))
    assert link(kernel, "b2").index == 5


@pytest.mark.parametrize(
    ("mac", "errno"),
    [
        ("01:00:00:00:00:01", "EADDRNOTAVAIL"),
        ("ff:ff:ff:ff:ff:ff", "EADDRNOTAVAIL"),
        ("00:00:00:00:00:00", "EADDRNOTAVAIL"),
        ("02:00:00:00:00", "EINVAL"),
    ],
)
def test_bad_macs(kernel: FakeKernel, mac: str, errno: str) -> None:
    add(kernel, bridge("b0"))
    assert refusal(kernel, Add(tap("t0", mac=mac))) == errno
    found = link(kernel, "b0")
    assert refusal(kernel, Change(replace(found, mac=mac), found)) == errno


def test_alias_of_255_bytes_and_no_more(kernel: FakeKernel) -> None:
    add(kernel, tap("t0", alias="x" * 255))
    assert refusal(kernel, Add(tap("t1", alias="x" * 256))) == "ERANGE"
    assert refusal(kernel, Add(tap("t1", alias="ä" * 128))) == "ERANGE"


@pytest.mark.parametrize(
    ("noun", "lowest", "highest"),
    [
        (bridge("l0"), 68, 65535),
        (tap("l0"), 68, 65521),
        (Veth(name="l0", peer="l1"), 68, 65535),
        (Macvtap(name="l0", lower="eth0"), 68, 1500),
    ],
)
def test_mtu_limits(kernel: FakeKernel, noun: Link, lowest: int, highest: int) -> None:
    for mtu in (0, lowest - 1, highest + 1):
        assert refusal(kernel, Add(replace(noun, mtu=mtu))) == "EINVAL"
    for mtu in (lowest, highest):
        add(kernel, replace(noun, mtu=mtu))
        assert link(kernel, "l0").mtu == mtu
        found = link(kernel, "l0")
        assert refusal(kernel, Change(replace(found, mtu=highest + 1), found)) == "EINVAL"
        remove(kernel, noun)


def test_what_was_left_to_the_kernel_is_filled_in(kernel: FakeKernel) -> None:
    add(kernel, tap("t0"))
    found = link(kernel, "t0")
    assert found.mtu == 1500
    assert found.mac is not None
    assert found.mac != link(FakeKernel("other"), "lo").mac
    assert found.group == LINK_GROUP


def test_a_missing_link_is_enodev(kernel: FakeKernel) -> None:
    assert refusal(kernel, Remove(tap("t0"))) == "ENODEV"
    assert refusal(kernel, Change(tap("t0", up=False), tap("t0"))) == "ENODEV"
    assert kernel.find(Link(name="t0")) is None


def test_hardware_is_not_deleted_but_may_change(kernel: FakeKernel) -> None:
    assert refusal(kernel, Remove(link(kernel, "lo"))) == "EOPNOTSUPP"
    assert refusal(kernel, Remove(link(kernel, "eth0"))) == "EOPNOTSUPP"
    found = link(kernel, "eth0")
    do(kernel, Change(replace(found, mtu=9000, alias="rack 7"), found))
    assert link(kernel, "eth0").mtu == 9000


def test_other_kinds_are_only_read(kernel: FakeKernel) -> None:
    kernel.add_uplink("bond0", None, kind="bond")
    bond = link(kernel, "bond0")
    assert isinstance(bond, Other)
    assert bond.group == 0
    assert kernel.missing(bond) == "snnet only reads links of kind bond and cannot create them"
    assert refusal(kernel, Add(Other(name="d0", other_kind="dummy"))) == "EOPNOTSUPP"


def test_uplinks_of_a_known_kind_are_that_kind(kernel: FakeKernel) -> None:
    assert kernel.add_uplink("br0", "198.51.100.1/24", kind="bridge").kind == "bridge"
    assert kernel.add_uplink("veth0", None, kind="veth").kind == "veth"
    add(kernel, tap("t0", master="br0"))


def test_change_of_everything_that_can_be(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), tap("t0"))
    old = link(kernel, "t0")
    new = replace(old, mac="02:00:00:00:00:07", mtu=1400, master="b0", up=False, alias="a", group=5)
    do(kernel, Change(new, old))
    assert link(kernel, "t0") == new
    do(kernel, Change(old, new))
    assert link(kernel, "t0") == old


def test_change_is_all_or_nothing(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), tap("t0"))
    old = link(kernel, "t0")
    new = replace(old, mtu=1400, alias="a", master="nowhere")
    assert refusal(kernel, Change(new, old)) == "ENODEV"
    assert link(kernel, "t0") == old


def test_change_of_what_cannot_be(kernel: FakeKernel) -> None:
    add(kernel, macvtap("m0", "02:00:00:00:00:02"))
    found = link(kernel, "m0")
    assert isinstance(found, Macvtap)
    assert refusal(kernel, Change(replace(found, mode="vepa"), found)) == "EOPNOTSUPP"


@pytest.mark.parametrize("other", [{"alias": "theirs"}, {"group": 5}])
def test_a_foreign_name_is_left_alone(kernel: FakeKernel, other: dict[str, object]) -> None:
    ours, theirs = tap("t0", alias="ours"), replace(tap("t0", alias="ours"), **other)  # type: ignore[arg-type]
    add(kernel, theirs)
    assert refusal(kernel, Remove(ours)) == "ENODEV"
    assert refusal(kernel, Remove(bridge("t0", alias=theirs.alias, group=theirs.group))) == "ENODEV"
    assert refusal(kernel, Change(replace(ours, mtu=1400), ours)) == "ENODEV"
    remove(kernel, theirs)


# -- veth -------------------------------------------------------------------------


def test_veth_ends_are_born_and_die_together(kernel: FakeKernel) -> None:
    before = kernel.to_text()
    pair = Veth(name="v0", peer="v1", peer_mac="02:00:00:00:00:09", peer_mtu=1400, mtu=1450)
    add(kernel, pair)
    peer = link(kernel, "v1")
    assert isinstance(peer, Veth)
    assert (peer.peer, peer.mac, peer.mtu, peer.group) == ("v0", "02:00:00:00:00:09", 1400, 0)
    assert link(kernel, "v0").mtu == 1450
    remove(kernel, peer)
    assert kernel.to_text() == before


@pytest.mark.parametrize(
    "values", [{"peer_mtu": 67}, {"peer_mac": "01:00:00:00:00:01"}, {"mtu": 67}]
)
def test_a_pair_with_one_bad_end_leaves_nothing(kernel: FakeKernel, values: dict[str, Any]) -> None:
    refusal(kernel, Add(Veth(name="v0", peer="v1", **values)))
    assert kernel.find(Link(name="v0")) is None
    assert kernel.find(Link(name="v1")) is None


# -- macvtap ----------------------------------------------------------------------


def test_macvtap_needs_its_lower_link(kernel: FakeKernel) -> None:
    assert refusal(kernel, Add(Macvtap(name="m0", lower="eth7"))) == "ENODEV"
    assert refusal(kernel, Add(Macvtap(name="m0", lower="lo"))) == "EINVAL"
    assert refusal(kernel, Add(Macvtap(name="m0", lower="eth0", mode="passthru"))) == "EOPNOTSUPP"


def test_macvtap_index_is_out_of_the_way(kernel: FakeKernel) -> None:
    add(kernel, macvtap("m0", "02:00:00:00:00:02"))
    assert link(kernel, "m0").index >= 2**20


def test_one_mac_once_on_a_lower_link_among_those_up(kernel: FakeKernel) -> None:
    first = macvtap("m0", "02:00:00:00:00:02")
    add(kernel, first)
    assert refusal(kernel, Add(macvtap("m1", "02:00:00:00:00:02"))) == "EADDRINUSE"
    assert refusal(kernel, Add(macvtap("m1", "02:00:00:00:00:01"))) == "EADDRINUSE"
    add(kernel, macvtap("m1", "02:00:00:00:00:02", up=False))
    second = link(kernel, "m1")
    assert refusal(kernel, Change(replace(second, up=True), second)) == "EADDRINUSE"
    do(kernel, Change(replace(second, up=True, mac="02:00:00:00:00:03"), second))
    now = link(kernel, "m1")
    assert refusal(kernel, Change(replace(now, mac="02:00:00:00:00:02"), now)) == "EADDRINUSE"


def test_macvtap_mtu_is_at_most_that_of_its_lower_link(kernel: FakeKernel) -> None:
    add(kernel, macvtap("m0", "02:00:00:00:00:02", mtu=1400), macvtap("m1", "02:00:00:00:00:03"))
    lower = link(kernel, "eth0")
    do(kernel, Change(replace(lower, mtu=1300), lower))
    assert link(kernel, "m0").mtu == 1300
    assert link(kernel, "m1").mtu == 1300


def test_macvtaps_go_with_their_lower_link(kernel: FakeKernel) -> None:
    kernel.add_uplink("bond0", None, kind="bond")
    add(kernel, Macvtap(name="m0", lower="bond0"), Macvtap(name="m1", lower="m0"))
    upper = link(kernel, "m1")
    assert isinstance(upper, Macvtap)
    assert upper.lower == "bond0"
    remove(kernel, link(kernel, "bond0"))
    assert kernel.find(Link(name="m0")) is None
    assert kernel.find(Link(name="m1")) is None


def test_macvtap_and_bridge_want_the_same_frames(kernel: FakeKernel) -> None:
    add(kernel, bridge("b0"), tap("t0", "b0"), macvtap("m0", "02:00:00:00:00:02"))
    assert refusal(kernel, Add(Macvtap(name="m1", lower="t0"))) == "EBUSY"
    for name in ("eth0", "m0"):
        found = link(kernel, name)
        assert refusal(kernel, Change(replace(found, master="b0"), found)) == "EBUSY"
    add(kernel, Macvtap(name="m1", lower="b0"))


# -- taps --------------------------------------------------------------------------


def test_removing_a_link_takes_its_addresses_along(kernel: FakeKernel) -> None:
    before = kernel.to_text()
    add(kernel, bridge("b0"), address("10.1.0.1/24", "b0"), address("2001:db8::1/64", "b0"))
    remove(kernel, bridge("b0"))
    assert kernel.to_text() == before

"""Nouns: identity, difference, text and data."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Any, get_args, get_type_hints

import pytest

from snnet.contract import (
    LINK_GROUP,
    Address,
    Attached,
    Bridge,
    BridgeAccept,
    BridgeFdb,
    DhcpEntry,
    DhcpScope,
    ExternalForward,
    Fdb,
    Geneve,
    Gre,
    Gretap,
    Inside,
    Link,
    Macvtap,
    Masquerade,
    Namespace,
    Neighbour,
    Noun,
    Other,
    PortForward,
    PublicIp,
    Route,
    Sysctl,
    Tap,
    Veth,
    Vxlan,
    keyed,
    link_key,
)

V4, FAR4, V6 = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv6Address("2001:db8::1")
MAC = "06:00:00:00:00:01"
NOUNS: list[tuple[Noun, str]] = [
    (Bridge(name="b", mac=MAC, mtu=1400), f"bridge b mac {MAC} mtu 1400 up"),
    (Tap(name="t", master="b", up=False), "tap t master b down"),
    (Tap(name="t", alias="x y", group=0), 'tap t up alias "x y"'),
    (Tap(name="t", group=7), "tap t up group 0x7"),
    (Veth(name="v", peer="p", peer_mac=MAC), "veth v peer p up"),
    (Macvtap(name="m", lower="eth0", mac=MAC), f"macvtap m mac {MAC} link eth0 mode bridge up"),
    (
        Gretap(name="g", local=V4, remote=FAR4, tunnel_key=7),
        "gretap g key 7 local 192.0.2.1 remote 192.0.2.2 up",
    ),
    (
        Gretap(name="g", local=V6, remote=V6 + 1, tunnel_key=7),
        "ip6gretap g key 7 local 2001:db8::1 remote 2001:db8::2 up",
    ),
    (Gre(name="g", local=V4, tunnel_key=7), "gre g key 7 local 192.0.2.1 up"),
    (
        Vxlan(name="x", local=V4, remote=None, vni=7, port=4789),
        "vxlan x vni 7 local 192.0.2.1 port 4789 up",
    ),
    (Geneve(name="e", remote=FAR4, vni=7), "geneve e vni 7 remote 192.0.2.2 port 6081 up"),
    (Other(name="eth0", other_kind="physical", mtu=1500), "physical eth0 mtu 1500 up"),
    (Address(link="b", address=IPv4Interface("10.1.0.1/24")), "address 10.1.0.1/24 dev b"),
    (
        Neighbour(link="g", address=V4, lladdr=str(FAR4)),
        "neighbour 192.0.2.1 lladdr 192.0.2.2 dev g",
    ),
    (Fdb(link="x", mac=MAC, remote=FAR4), f"fdb {MAC} dst 192.0.2.2 dev x"),
    (BridgeFdb(link="x", mac=MAC), f"fdb {MAC} master static dev x"),
    (
        Route(destination=IPv4Network("10.0.0.0/8"), link="g", gateway=V4, onlink=True),
        "route 10.0.0.0/8 via 192.0.2.1 dev g onlink",
    ),
    (Route(destination=IPv4Network("10.0.0.1/32"), link="g"), "route 10.0.0.1/32 dev g"),
    (Sysctl(name="net.ipv4.ip_forward", value="1"), "sysctl net.ipv4.ip_forward=1"),
    (Namespace(name="n", alias="mine"), 'namespace n alias "mine"'),
    (Attached(link="v", master="b"), "attached v master b"),
    (Inside(namespace=Namespace(name="n"), what=Attached(link="v")), "in n: attached v"),
    (BridgeAccept(bridge="b"), "accept through bridge b"),
    (Masquerade(owner="cnci:c", device="eth0"), "masquerade on eth0"),
    (ExternalForward(device="eth0", bridge="b"), "forward b to eth0"),
    (
        PortForward(
            owner="cnci:c", protocol="udp", device="eth0", port=5, target=V4, target_port=6
        ),
        "port udp/5 on eth0 to 192.0.2.1:6",
    ),
    (
        PublicIp(owner="cnci:c", public=V4, internal=FAR4, device="eth0"),
        "public address 192.0.2.1 on eth0 for 192.0.2.2",
    ),
    (
        DhcpScope(link="b", subnets=(IPv4Network("10.1.0.0/24"),), mtu=1400),
        "dhcp 10.1.0.0/24 mtu 1400 dev b",
    ),
]
_BARE = [noun for noun, _ in NOUNS]


@pytest.mark.parametrize(("noun", "text"), NOUNS)
def test_state_prints_as_text(noun: Noun, text: str) -> None:
    assert str(noun) == text


@pytest.mark.parametrize("noun", _BARE, ids=str)
def test_a_noun_is_a_frozen_value(noun: Noun) -> None:
    assert noun == replace(noun)
    assert hash(noun) == hash(replace(noun))
    with pytest.raises(FrozenInstanceError):
        setattr(noun, fields(noun)[0].name, "x")
    with pytest.raises((AttributeError, TypeError)):
        noun.colour = "red"  # type: ignore[attr-defined]


@pytest.mark.parametrize("noun", _BARE, ids=str)
def test_copies_of_a_noun_have_its_key(noun: Noun) -> None:
    copies = (replace(noun), copy.copy(noun), copy.deepcopy(noun), pickle.loads(pickle.dumps(noun)))
    assert all(one == noun and one.key == noun.key == noun.make_key() for one in copies)


@pytest.mark.parametrize("noun", _BARE, ids=str)
def test_a_noun_is_data_for_json(noun: Noun) -> None:
    data = json.loads(json.dumps(noun.to_dict()))
    assert data["noun"] == type(noun).__name__
    assert set(data) - {"noun"} <= {item.name for item in fields(noun)}
    assert None not in data.values()


@pytest.mark.parametrize("noun", _BARE, ids=str)
def test_a_noun_does_not_differ_from_itself(noun: Noun) -> None:
    assert noun.differences(noun) == frozenset()
    assert noun.differences(replace(noun)) == frozenset()


@pytest.mark.parametrize("noun", _BARE, ids=str)
def test_what_is_changeable_are_fields_beside_the_identity(noun: Noun) -> None:
    names = {item.name for item in fields(noun) if item.compare}
    assert noun.changeable <= names


def test_no_two_nouns_share_an_identity() -> None:
    nouns = [
        replace(noun, name=f"n{number}") if isinstance(noun, Link) else noun
        for number, noun in enumerate(_BARE)
    ]
    assert len(keyed(nouns)) == len(nouns)


@pytest.mark.parametrize(
    "noun",
    [n for n in _BARE if isinstance(n, (Address, Neighbour, Fdb, BridgeFdb, Route))],
    ids=str,
)
def test_what_hangs_on_a_link_says_so(noun: Any) -> None:
    assert noun.within == link_key(noun.link)


def test_links_of_one_name_are_the_same_object_whatever_their_kind() -> None:
    assert Tap(name="x").key == Bridge(name="x").key == link_key("x")
    assert Tap(name="x").differences(Bridge(name="x"))


@pytest.mark.parametrize(
    ("changes", "different"),
    [
        ({"mtu": 1300}, {"mtu"}),
        ({"mac": "02:00:00:00:00:02", "alias": "y"}, {"mac", "alias"}),
        ({"master": None}, {"master"}),
        ({"up": False}, {"up"}),
        ({"group": 0}, {"group"}),
        ({"index": 9}, set()),
        ({"queues": 4}, set()),
    ],
)
def test_differences_are_named(changes: dict[str, Any], different: set[str]) -> None:
    tap = Tap(name="t", mac=MAC, mtu=1400, master="b", alias="x")
    assert tap.differences(replace(tap, **changes)) == different


def test_none_is_a_wish_only_where_it_means_something() -> None:
    found = Tap(name="t", mac=MAC, mtu=1400, master="b")
    assert Tap(name="t").differences(found) == {"master"}
    route = Route(destination=IPv4Network("10.0.0.0/8"), link="g", gateway=V4)
    assert replace(route, gateway=None).differences(route) == {"gateway"}


def test_everything_made_by_us_is_in_our_group() -> None:
    assert Tap(name="t").group == Bridge(name="b").group == LINK_GROUP == 0x736E6E74
    assert Other(name="eth0", other_kind="physical").group == 0


# -- DHCP scopes -------------------------------------------------------------------


def scope(subnet: str, **values: Any) -> DhcpScope:
    return DhcpScope(link="b", subnets=(IPv4Network(subnet),), mtu=1400, **values)


@pytest.mark.parametrize(
    ("subnet", "reserved", "first", "last", "count"),
    [
        ("10.1.0.0/29", 0, "10.1.0.2", "10.1.0.6", 5),
        ("10.1.0.0/24", 0, "10.1.0.2", "10.1.0.254", 253),
        ("10.1.0.0/24", 10, "10.1.0.12", "10.1.0.254", 243),
        ("10.1.16.0/20", 0, "10.1.16.2", "10.1.31.254", 4093),
    ],
)
def test_a_20_and_longer_has_an_entry_for_every_remaining_address(
    subnet: str, reserved: int, first: str, last: str, count: int
) -> None:
    leases = list(scope(subnet, reserved=reserved).leases())
    assert (str(leases[0].address), str(leases[-1].address), len(leases)) == (first, last, count)
    assert leases[0].mac == "02:00:" + leases[0].address.packed.hex(":")
    assert leases[0].hostname is None


ADDED = DhcpEntry(mac="0a:00:00:00:00:01", address=IPv4Address("10.1.0.5"), hostname="web")


def test_a_larger_subnet_has_the_added_entries_only() -> None:
    assert list(scope("10.1.0.0/19").leases()) == []
    assert list(scope("10.1.0.0/16", entries=(ADDED,)).leases()) == [ADDED]


def test_an_added_entry_takes_the_place_of_the_generated_one() -> None:
    leases = list(scope("10.1.0.0/29", entries=(ADDED,)).leases())
    assert leases[0] == ADDED
    assert sorted(str(lease.address) for lease in leases) == [f"10.1.0.{n}" for n in range(2, 7)]


def test_a_mac_added_for_another_address_is_not_leased_twice() -> None:
    moved = DhcpEntry(mac="02:00:0a:01:00:03", address=IPv4Address("10.1.0.5"))
    macs = [lease.mac for lease in scope("10.1.0.0/29", entries=(moved,)).leases()]
    assert len(set(macs)) == len(macs)


@pytest.mark.parametrize("mac", ["02:00:0a:01:00:zz", "02:00:", "02:01:0a:01:00:03"])
def test_a_mac_that_is_not_the_default_of_an_address_takes_no_address_away(mac: str) -> None:
    other = DhcpEntry(mac=mac, address=IPv4Address("10.1.0.5"))
    leases = list(scope("10.1.0.0/29", entries=(other,)).leases())
    assert sorted(str(lease.address) for lease in leases) == [f"10.1.0.{n}" for n in range(2, 7)]


def test_entries_are_plain_data_too() -> None:
    data = json.loads(json.dumps(scope("10.1.0.0/24", entries=(ADDED,)).to_dict()))
    assert data["entries"] == [
        {"mac": "0a:00:00:00:00:01", "address": "10.1.0.5", "hostname": "web"}
    ]


def test_what_was_equal_once_hides_no_difference() -> None:
    one = Tap(name="t", mtu=1500)
    same, other = replace(one), replace(one, mtu=1400)
    assert not one.is_like(other)
    assert one.is_like(one)
    for _ in range(2):
        assert one.is_like(same)
        assert same.is_like(one)
        assert not one.is_like(other)
        assert not one.is_like(Bridge(name="t", mtu=1500))
    assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one)
    assert not replace(one, mtu=1400).is_like(same)


def classes_in(kind: Any) -> Iterator[type]:
    """The classes in the type of a field."""
    if isinstance(kind, type):
        yield kind
    for inner in get_args(kind):
        yield from classes_in(inner)


def nouns(kind: type[Noun] = Noun) -> Iterator[type[Noun]]:
    for one in kind.__subclasses__():
        yield one
        yield from nouns(one)


def test_what_nouns_are_made_of_is_text_for_people() -> None:
    """Lines for people contain nouns and values of their fields, never as Python writes them."""
    found: set[type] = {*nouns()}
    for kind in nouns():
        for hint in get_type_hints(kind).values():
            found |= {one for one in classes_in(hint) if is_dataclass(one)}
    assert {DhcpEntry, DhcpScope} < found
    without = [kind for kind in found if not any("__str__" in vars(one) for one in kind.mro()[:-1])]
    assert without == []

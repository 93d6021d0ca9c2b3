"""Which links carry tenant and management traffic."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from snnet.contract import (
    LINK_GROUP,
    Address,
    Bridge,
    InvalidRequest,
    IPNetwork,
    Link,
    Macvtap,
    Noun,
    Other,
    Tap,
    Veth,
    Vxlan,
)
from snnet.contract.links import DYING_GROUPS
from snnet.core.identity import Owner, encode
from snnet.core.uplinks import Uplink, choose_uplink, find_uplinks

COMPUTE, MANAGEMENT = ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24")


def card(name: str, index: int = 2, kind: str = "physical", **values: Any) -> Link:
    return Other(name=name, other_kind=kind, index=index, mtu=1500, **values)


def at(link: str, *cidrs: str) -> list[Noun]:
    return [Address(link=link, address=ip_interface(cidr)) for cidr in cidrs]


def flagged(link: str, cidr: str, *flags: str) -> list[Noun]:
    deprecated = "deprecated" in flags
    return [Address(link=link, address=ip_interface(cidr), flags=flags, deprecated=deprecated)]


OWNER = Owner("cn", "cn-1")
LO = [card("lo", 1, "loopback"), *at("lo", "127.0.0.1/8", "192.0.2.99/32")]


def find(nouns: list[Noun], *compute: IPNetwork, management: tuple[IPNetwork, ...] = ()) -> Any:
    return find_uplinks([*LO, *nouns], compute, management)


def seen(uplinks: tuple[Uplink, ...]) -> list[str]:
    return [str(uplink) for uplink in uplinks]


# -- with nets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        card("eth0"),
        card("eth0", up=False),
        card("eth0", kind="bond"),
        card("eth0", kind="wireguard"),
        card("docker0"),
        card("virbr-wan", kind="vlan"),
        Veth(name="eth0", index=2, group=0),
        Tap(name="eth0", index=2, group=0),
        Bridge(name="eth0", index=2, group=0),
        Bridge(name="br-lan", index=2, group=0),
        Bridge(name="br-0123456789a", index=2, group=0),
        Bridge(name="br-0123456789abc", index=2, group=0),
        Bridge(name="br-0123456789aZ", index=2, group=0),
        Bridge(name="xdocker0", index=2, group=0),
        card("eth0", group=7),
    ],
    ids=str,
)
def test_any_link_with_an_address_in_the_nets_is_an_uplink(link: Link) -> None:
    port = [card("card", 9, master=link.name)] if isinstance(link, Bridge) else []
    (uplink,) = find([link, *port, *at(link.name, "192.0.2.11/24")], COMPUTE)
    assert (uplink.link_name, uplink.index, str(uplink.ip)) == (link.name, 2, "192.0.2.11")
    assert uplink.compute
    assert uplink.management


@pytest.mark.parametrize(
    "link",
    [
        card("dummy", kind="loopback"),
        card("eth0", master="br0"),
        Bridge(name="snb-aaaaaaaaaa", index=2, group=LINK_GROUP),
        Bridge(name="snb-aaaaaaaaaa", index=2, group=DYING_GROUPS[5]),
        Macvtap(name="snc-aaaaaaaaaa", index=2, lower="eth0"),
        Bridge(name="docker0", index=2, group=0),
        Bridge(name="docker_gwbridge", index=2, group=0),
        Bridge(name="br-0123456789ab", index=2, group=0),
        Bridge(name="virbr0", index=2, group=0),
        Bridge(name="virbr0-nic", index=2, group=0),
        Bridge(name="cni0", index=2, group=0),
        Bridge(name="podman0", index=2, group=0),
        Bridge(name="lxdbr0", index=2, group=0),
        Bridge(name="incusbr0", index=2, group=0),
    ],
    ids=str,
)
@pytest.mark.parametrize("nets", [(COMPUTE,), ()], ids=["nets", "auto"])
def test_these_are_never_uplinks(link: Link, nets: tuple[IPNetwork, ...]) -> None:
    with pytest.raises(InvalidRequest):
        find([link, *at(link.name, "192.0.2.11/24")], *nets)


def test_an_address_outside_the_nets_makes_no_uplink() -> None:
    eth1 = [card("eth1", 3), *at("eth1", "203.0.113.5/24")]
    uplinks = find([card("eth0"), *at("eth0", "192.0.2.11/24", "203.0.113.9/24"), *eth1], COMPUTE)
    assert seen(uplinks) == ["eth0 192.0.2.11/24"]


def test_the_address_counts_and_not_its_prefix() -> None:
    nouns = [card("eth0"), *at("eth0", "192.0.2.11/32"), card("eth1", 3)]
    uplinks = find([*nouns, *at("eth1", "192.0.2.12/8")], COMPUTE)
    assert seen(uplinks) == ["eth0 192.0.2.11/32", "eth1 192.0.2.12/8"]


@pytest.mark.parametrize("guests", [Veth, Tap])
def test_ports_that_lead_to_guests_make_no_bridge_an_uplink(guests: type[Link]) -> None:
    nouns = [Bridge(name="cni0", index=3, group=0), guests(name="g", index=4, master="cni0")]
    with pytest.raises(InvalidRequest, match="a bridge without a physical port"):
        find([*nouns, *at("cni0", "192.0.2.11/24")], COMPUTE)


def test_all_are_kept_by_ifindex_then_as_the_kernel_has_them() -> None:
    nouns = [
        card("b", 9), *at("b", "192.0.2.1/24"),
        card("a", 10), *at("a", "192.0.2.30/24", "192.0.2.4/24", "192.0.2.100/24"),
        card("z", 2), *at("z", "192.0.2.50/24"),
    ]  # fmt: skip
    expected = [
        "z 192.0.2.50/24",
        "b 192.0.2.1/24",
        "a 192.0.2.30/24",
        "a 192.0.2.4/24",
        "a 192.0.2.100/24",
    ]
    assert seen(find(nouns, COMPUTE)) == expected
    links = [noun for noun in nouns if isinstance(noun, Link)]
    rest = [noun for noun in nouns if not isinstance(noun, Link)]
    assert seen(find([*rest, *links[::-1]], COMPUTE)) == expected


def test_compute_and_management_are_distinguished() -> None:
    nouns = [
        card("eth0", 2), *at("eth0", "198.51.100.7/24"),
        card("eth1", 3), *at("eth1", "192.0.2.11/24", "198.51.100.8/24"),
        card("eth2", 4), *at("eth2", "203.0.113.5/24"),
    ]  # fmt: skip
    uplinks = find(nouns, COMPUTE, management=(MANAGEMENT,))
    assert [(str(uplink), uplink.compute, uplink.management) for uplink in uplinks] == [
        ("eth0 198.51.100.7/24", False, True),
        ("eth1 192.0.2.11/24", True, False),
        ("eth1 198.51.100.8/24", False, True),
    ]


def test_one_address_can_be_both() -> None:
    (uplink,) = find([card("eth0"), *at("eth0", "192.0.2.11/24")], COMPUTE, management=(COMPUTE,))
    assert (uplink.compute, uplink.management) == (True, True)


def test_ipv6_uplinks_count() -> None:
    net = ip_network("2001:db8::/64")
    (uplink,) = find([card("eth0"), *at("eth0", "2001:db8::b/64", "192.0.2.11/24")], net)
    assert str(uplink.ip) == "2001:db8::b"


def test_several_nets_of_both_families_may_be_given() -> None:
    nouns = [card("eth0"), *at("eth0", "2001:db8::b/64", "192.0.2.11/24", "10.0.0.1/8")]
    uplinks = find(nouns, ip_network("2001:db8::/64"), COMPUTE)
    assert seen(uplinks) == ["eth0 192.0.2.11/24", "eth0 2001:db8::b/64"]


def test_the_mtu_comes_along() -> None:
    link = Other(name="eth0", other_kind="physical", index=2, mtu=9000)
    (uplink,) = find([link, *at("eth0", "192.0.2.11/24")], COMPUTE)
    assert uplink.mtu == 9000


def test_a_link_that_tells_no_mtu_has_that_of_ethernet() -> None:
    link = Other(name="eth0", other_kind="physical", index=2, mtu=None)
    (uplink,) = find([link, *at("eth0", "192.0.2.11/24")], COMPUTE)
    assert uplink.mtu == 1500


def test_no_uplink_is_an_error_that_names_nets_and_candidates() -> None:
    nouns = [
        card("eth0"),
        *at("eth0", "203.0.113.5/24"),
        card("eth1", 3),
        *at("eth1", "10.0.0.1/8"),
    ]
    with pytest.raises(InvalidRequest) as caught:
        find(nouns, COMPUTE, MANAGEMENT)
    assert caught.value.field == "compute_nets"
    for word in (
        "192.0.2.0/24", "198.51.100.0/24", "eth0 203.0.113.5/24", "eth1 10.0.0.1/8"
    ):  # fmt: skip
        assert word in str(caught.value)
    assert "lo " not in str(caught.value)


def test_no_management_uplink_is_an_error_of_its_own() -> None:
    with pytest.raises(
        InvalidRequest, match=r"198\.51\.100\.0/24.*eth0 192\.0\.2\.11/24"
    ) as caught:
        find([card("eth0"), *at("eth0", "192.0.2.11/24")], COMPUTE, management=(MANAGEMENT,))
    assert caught.value.field == "management_nets"


def test_a_host_without_addresses_says_so() -> None:
    with pytest.raises(InvalidRequest, match="seen: lo: the loopback, eth0: no address"):
        find([card("eth0")], COMPUTE)


def test_an_error_says_of_every_link_why_it_was_passed_over() -> None:
    nouns = [
        card("eth0"), *at("eth0", "203.0.113.5/24"),
        card("eth1", 3), *flagged("eth1", "192.0.2.7/24", "tentative"),
        card("eth2", 4, master="br0"), card("eth3", 5),
        Bridge(name="docker0", index=6, group=0), *at("docker0", "192.0.2.1/24"),
        Bridge(name="cni0", index=7, group=0), *at("cni0", "192.0.2.2/24"),
        Bridge(name="snb-aaaaaaaaaa", index=8), Tap(name="snv-aaaaaaaaaa", index=9),
        Veth(name="v0", index=10, group=0), *at("v0", "10.0.0.1/24"),
    ]  # fmt: skip
    with pytest.raises(InvalidRequest) as caught:
        find(nouns, COMPUTE)
    for words in (
        "in 192.0.2.0/24",
        "lo: the loopback",
        "eth0 203.0.113.5/24: outside the nets",
        "eth1 192.0.2.7/24: tentative",
        "eth2: a port of br0",
        "eth3: no address",
        "docker0 192.0.2.1/24: a bridge of Docker or libvirt",
        "cni0 192.0.2.2/24: a bridge without a physical port",
        "v0 10.0.0.1/24: outside the nets",
        "2 links made by snnet",
    ):
        assert words in str(caught.value)


# -- which address --------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["secondary", "temporary", "tentative", "dadfailed", "deprecated"])
@pytest.mark.parametrize("nets", [(COMPUTE,), ()], ids=["nets", "auto"])
def test_an_address_with_such_a_flag_is_never_the_nodes(
    flag: str, nets: tuple[IPNetwork, ...]
) -> None:
    nouns = [card("eth0"), *flagged("eth0", "192.0.2.2/24", flag), *at("eth0", "192.0.2.11/24")]
    assert seen(find(nouns, *nets)) == ["eth0 192.0.2.11/24"]
    with pytest.raises(InvalidRequest, match=rf"eth0 192\.0\.2\.2/24: {flag}"):
        find(nouns[:2], *nets)


@pytest.mark.parametrize(
    ("extra", "own"),
    [("192.0.2.2/32", "192.0.2.11/24"), ("2001:db8::2/128", "2001:db8::11/64")],
)
def test_an_address_alone_beside_another_is_never_the_nodes(extra: str, own: str) -> None:
    net = ip_interface(own).network
    assert seen(find([card("eth0"), *at("eth0", extra, own)], net)) == [f"eth0 {own}"]
    assert seen(find([card("eth0"), *at("eth0", extra)], net)) == [f"eth0 {extra}"]


def test_of_addresses_that_are_all_alone_the_first_is_the_nodes() -> None:
    uplinks = find([card("eth0"), *at("eth0", "192.0.2.11/32", "192.0.2.2/32")], COMPUTE)
    assert seen(uplinks) == ["eth0 192.0.2.11/32"]


def test_a_public_address_of_the_node_is_never_its_own() -> None:
    nouns = [card("eth0"), *at("eth0", "192.0.2.2/32", "192.0.2.11/32")]
    uplinks = find_uplinks(nouns, (COMPUTE,), (), publics={ip_interface("192.0.2.2/32").ip})
    assert seen(uplinks) == ["eth0 192.0.2.11/32"]


def tunnels_from(*local: str) -> list[Noun]:
    return [
        Vxlan(
            name=f"snt-{number:010}",
            index=50 + number,
            alias=encode(OWNER, "tunnel", {"t": "t1", "s": f"s{number}"}),
            vni=number,
            local=ip_interface(address).ip,
            remote=ip_interface("192.0.2.100").ip,
            port=20000,
        )
        for number, address in enumerate(local, 1)
    ]


def chosen(nouns: list[Noun]) -> str:
    return str(choose_uplink(find_uplinks(nouns, (COMPUTE,), (), owner=OWNER), nouns, OWNER))


@pytest.mark.parametrize("flags", [(), ("secondary",), ("deprecated",)], ids=str)
def test_the_address_that_tunnels_have_wins_while_it_is_there(flags: tuple[str, ...]) -> None:
    addresses = [*at("eth0", "192.0.2.11/24"), *flagged("eth0", "192.0.2.2/24", *flags)]
    nouns = [card("eth0"), *addresses]
    assert chosen(nouns) == "eth0 192.0.2.11/24"
    assert chosen([*nouns, *tunnels_from("192.0.2.2")]) == "eth0 192.0.2.2/24"
    assert chosen([*nouns, *tunnels_from("192.0.2.77")]) == "eth0 192.0.2.11/24"
    assert chosen([*nouns, *tunnels_from("192.0.2.11", "192.0.2.2", "192.0.2.2")]) == (
        "eth0 192.0.2.2/24"
    )


# -- without nets ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["physical", "bond", "vlan", "macvlan"])
def test_auto_takes_the_only_real_link(kind: str) -> None:
    others = [
        Veth(name="v0", index=5, group=0),
        Tap(name="tap0", index=6, group=0),
        card("wg0", 7, "wireguard"),
        card("dummy0", 8, "dummy"),
        Bridge(name="docker0", index=9, group=0),
        card("eth9", 10),
    ]
    nouns = [
        card("eth0", 3, kind), *at("eth0", "10.9.8.7/24"),
        *others, *at("v0", "10.0.0.1/24"), *at("tap0", "10.0.1.1/24"), *at("wg0", "10.0.2.1/24"),
        *at("dummy0", "10.0.3.1/24"), *at("docker0", "172.17.0.1/16"),
    ]  # fmt: skip
    (uplink,) = find(nouns)
    assert (str(uplink), uplink.compute, uplink.management) == ("eth0 10.9.8.7/24", True, True)


def test_auto_takes_a_bridge_rather_than_its_port() -> None:
    nouns = [
        card("eth0", master="br0"),
        *at("eth0", "10.9.8.6/24"),
        Bridge(name="br0", index=3, group=0),
    ]
    assert seen(find([*nouns, *at("br0", "10.9.8.7/24")])) == ["br0 10.9.8.7/24"]


def test_auto_keeps_all_addresses_of_the_link() -> None:
    uplinks = find([card("eth0"), *at("eth0", "10.9.8.7/24", "2001:db8::7/64")])
    assert seen(uplinks) == ["eth0 10.9.8.7/24", "eth0 2001:db8::7/64"]


def test_auto_refuses_to_choose_between_two() -> None:
    nouns = [card("eth0"), *at("eth0", "10.0.0.1/24"), card("eth1", 3), *at("eth1", "10.0.1.1/24")]
    with pytest.raises(
        InvalidRequest, match=r"eth0 10\.0\.0\.1/24, eth1 10\.0\.1\.1/24.*name the nets"
    ):
        find(nouns)


@pytest.mark.parametrize("kind", [Veth, Tap])
def test_auto_takes_the_only_veth_or_tap_where_there_is_no_real_link(kind: type[Link]) -> None:
    """A host may be a container, or a VM whose card is a tap."""
    assert seen(find([kind(name="v0", index=2, group=0), *at("v0", "10.0.0.1/24")])) == [
        "v0 10.0.0.1/24"
    ]


def test_auto_refuses_to_choose_between_two_veths() -> None:
    nouns: list[Noun] = [Veth(name=name, index=2, group=0) for name in ("v0", "v1")]
    with pytest.raises(InvalidRequest, match=r"v0 10\.0\.0\.1/24, v1 10\.0\.1\.1/24") as caught:
        find([*nouns, *at("v0", "10.0.0.1/24"), *at("v1", "10.0.1.1/24")])
    assert caught.value.field == "compute_nets"


def test_auto_without_any_link_that_may_be_one_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match=r"wg0 .*: a link of kind wireguard") as caught:
        find([card("wg0", kind="wireguard"), *at("wg0", "10.0.0.1/24")])
    assert caught.value.field == "compute_nets"

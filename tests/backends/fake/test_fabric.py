"""Reachability and isolation through the fabric: tenants over tunnels."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from snnet.backends.fake import Fabric, FakeDhcp
from snnet.contract import Change, DhcpScope, InvalidRequest, Link, Remove, Sysctl, Tap, Veth

from .steps import add, address, bridge, do, link, remove, route, tap
from .topology import DataCenter, two_nodes

# -- the wire -----------------------------------------------------------------------


@pytest.mark.parametrize("net", ["192.0.2.{}/24", "2001:db8::{}/64"])
def test_hosts_on_one_wire(net: str) -> None:
    fabric = Fabric()
    a, b = (fabric.add_host(f"h{number}", net.format(number)) for number in (1, 2))
    assert fabric.ping(a, b)
    assert fabric.ping(a, net.format(2).partition("/")[0])
    assert fabric.ping(a, a)
    assert not fabric.ping(a, net.format(9).partition("/")[0])
    assert not fabric.ping(a, "203.0.113.1")
    assert fabric.explain(a, "203.0.113.1").splitlines() == [
        "h1: ping 203.0.113.1, 56 bytes of data",
        "h1: no route to 203.0.113.1",
        "no answer",
    ]


def test_explain_tells_each_hop_there_and_back() -> None:
    fabric = Fabric()
    a, b = (fabric.add_host(f"h{number}", f"192.0.2.{number}/24") for number in (1, 2))
    assert fabric.explain(a, b).splitlines() == [
        "h1: ping 192.0.2.2, 56 bytes of data",
        "eth0 on h1: onto the wire",
        "eth0 on h2: echo request arrived from 192.0.2.1",
        "eth0 on h2: onto the wire",
        "eth0 on h1: echo reply arrived from 192.0.2.2",
        "answered",
    ]
    nic = link(b, "eth0")
    do(b, Change(replace(nic, up=False), nic))
    assert not fabric.ping(a, b)
    assert fabric.explain(a, b).splitlines() == [
        "h1: ping 192.0.2.2, 56 bytes of data",
        "  eth0 on h1: ARP who-has 192.0.2.2 tell 192.0.2.1",
        "  eth0 on h1: onto the wire",
        "  eth0 on h2: the link is down",
        "  eth0 on h1: no answer to ARP who-has 192.0.2.2",
        "no answer",
    ]


def test_what_does_not_fit_the_mtu_is_dropped() -> None:
    fabric = Fabric()
    a, b = fabric.add_host("a", "192.0.2.1/24"), fabric.add_host("b", "192.0.2.2/24", mtu=1400)
    assert fabric.ping(a, b, size=1372)
    assert not fabric.ping(a, b, size=1373)
    assert "eth0 on b: 1401 bytes do not fit the MTU of 1400" in fabric.explain(a, b, size=1373)
    assert "1401 bytes to 192.0.2.1 do not fit" in fabric.explain(b, a, size=1373)


def test_a_host_without_an_address() -> None:
    fabric = Fabric()
    a, b = fabric.add_host("a", "192.0.2.1/24"), fabric.add_host("b", None)
    assert not fabric.ping(a, b)
    assert fabric.explain(a, b) == "b has no address"


# -- one tenant over each tunnel -------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tunnel", ["gre", "vxlan", "geneve"])
def test_guests_reach_each_other_and_the_gateway(tunnel: str, version: int) -> None:
    center, one, two = two_nodes(tunnel, version)
    fabric = center.fabric
    a, b = center.guest(one, "10.1.0.9"), center.guest(two, "10.1.0.10")
    c = center.guest(one, "10.1.0.11")
    for target in (b, c, "10.1.0.1"):
        assert fabric.ping(a, target), fabric.explain(a, target)
    whole = center.mtu - 28
    assert fabric.ping(a, b, size=whole)
    assert not fabric.ping(a, b, size=whole + 1)
    assert not fabric.ping(a, "10.1.0.77")


def test_explain_names_links_tunnels_and_hosts() -> None:
    center, one, two = two_nodes()
    a, b = center.guest(one, "10.1.0.9"), center.guest(two, "10.1.0.10")
    there = center.fabric.explain(a, b).splitlines()
    assert there[:12] == [
        "guest 10.1.0.9: ping 10.1.0.10, 56 bytes of data",
        "eth0 on guest 10.1.0.9: to cn-1",
        "br7 on cn-1: in by t7x9",
        "to7 on cn-1: gre key 7 to 192.0.2.10",
        "eth0 on cn-1: onto the wire",
        "to11x7 on cnci: gre key 7 from 192.0.2.11",
        "br7 on cnci: in by to11x7",
        "to12x7 on cnci: gre key 7 to 192.0.2.12",
        "eth0 on cnci: onto the wire",
        "to7 on cn-2: gre key 7 from 192.0.2.10",
        "br7 on cn-2: in by to7",
        "t7x10 on cn-2: to guest 10.1.0.10",
    ]
    remove(one, address("192.0.2.11/24", "eth0"))
    assert "to7 on cn-1: the local address 192.0.2.11 is not on this host" in (
        center.fabric.explain(a, b)
    )


def test_tunnels_with_different_keys_do_not_meet() -> None:
    center = DataCenter()
    node = center.host("cn-1", 11)
    center.subnet_at_cnci()
    center.spoke(node, 11, key=7, far_key=8)
    guest = center.guest(node, "10.1.0.9")
    assert not center.fabric.ping(guest, "10.1.0.1")
    explanation = center.fabric.explain(guest, "10.1.0.1")
    assert "cnci: no tunnel here for gre key 7 from 192.0.2.11" in explanation


@pytest.mark.parametrize("name", ["to7", "br7", "t7x9"])
def test_a_link_that_is_down_is_named(name: str) -> None:
    center, one, _ = two_nodes()
    guest = center.guest(one, "10.1.0.9")
    assert center.fabric.ping(guest, "10.1.0.1")
    found = link(one, name)
    do(one, Change(replace(found, up=False), found))
    assert not center.fabric.ping(guest, "10.1.0.1")
    if name != "to7":  # a bridge leaves out a port that is down without a word
        assert f"{name} on cn-1: the " in center.fabric.explain(guest, "10.1.0.1")


def test_tenants_with_the_same_addresses_never_mix() -> None:
    center, one, two = two_nodes()
    center.subnet_at_cnci(8)
    center.spoke(one, 11, 8)
    center.spoke(two, 12, 8)
    ours = center.guest(one, "10.1.0.9", 7), center.guest(two, "10.1.0.10", 7)
    theirs = center.guest(one, "10.1.0.9", 8), center.guest(two, "10.1.0.10", 8)
    lonely = center.guest(two, "10.1.0.12", 8)
    ping = center.fabric.ping
    assert ping(*ours)
    assert ping(*theirs)
    assert not ping(ours[0], theirs[1])
    assert not ping(ours[0], theirs[0])
    assert not ping(ours[0], lonely)
    assert ping(theirs[0], lonely)
    explanation = center.fabric.explain(ours[0], theirs[1])
    assert explanation.endswith("not answered by guest 10.1.0.10 but by guest 10.1.0.10")


def test_the_host_end_must_not_have_the_guests_mac() -> None:
    center, one, two = two_nodes()
    a, b = center.guest(one, "10.1.0.9"), center.guest(two, "10.1.0.10")
    found = link(one, "t7x9")
    do(one, Change(replace(found, mac=link(a.kernel, "eth0").mac), found))
    assert not center.fabric.ping(a, b)
    assert "br7 on cn-1: 02:00:0a:01:00:09 is the MAC of another port: dropped by the host" in (
        center.fabric.explain(b, a)
    )


def test_a_loop_of_bridges_ends() -> None:
    center, one, _ = two_nodes()
    guest = center.guest(one, "10.1.0.9")
    add(
        one,
        bridge("loop"),
        Veth(name="x0", peer="x1", master="br7"),
        Veth(name="y0", peer="y1", master="br7"),
    )
    for name in ("x1", "y1"):
        found = link(one, name)
        do(one, Change(replace(found, master="loop", up=True), found))
    assert "br7 on cn-1: loop: the frame passed this bridge before" in (
        center.fabric.explain(guest, "10.1.0.77")
    )


def test_a_tunnel_into_itself_ends() -> None:
    center, one, _ = two_nodes()
    guest = center.guest(one, "10.1.0.9")
    add(one, address("192.0.2.9/32", "br7"), route("192.0.2.10/32", "br7"))
    assert not center.fabric.ping(guest, "10.1.0.1")


# -- guests ------------------------------------------------------------------------------


def test_a_container_has_the_peer_as_its_own() -> None:
    center, one, two = two_nodes()
    vnic = center.container(one, "10.1.0.9")
    before = one.to_text()
    guest, other = center.fabric.attach(one, vnic), center.guest(two, "10.1.0.10")
    assert one.find(Link(name="pv7x9")) is None
    assert link(guest.kernel, "eth0").mac == vnic.mac
    assert center.fabric.ping(other, guest)
    guest.detach()
    assert not center.fabric.ping(other, "10.1.0.9")
    assert one.to_text() == before
    assert center.fabric.ping(center.fabric.attach(one, vnic), other)


def test_a_recreated_vnic_has_lost_its_guest() -> None:
    center, one, _ = two_nodes()
    vnic = center.vm(one, "10.1.0.9")
    guest = center.fabric.attach(one, vnic)
    with pytest.raises(InvalidRequest, match="already has a guest"):
        center.fabric.attach(one, vnic)
    found = link(one, vnic.link_name)
    do(one, Remove(found))
    add(one, replace(found, index=0))
    assert not center.fabric.ping(guest, "10.1.0.1")
    assert "nothing is connected to the link" in center.fabric.explain(guest, "10.1.0.1")
    anew = center.fabric.attach(one, vnic)
    assert center.fabric.ping(anew, "10.1.0.1")
    assert not center.fabric.ping(guest, "10.1.0.1")
    guest.detach()
    assert center.fabric.ping(anew, "10.1.0.1")


def test_a_guest_that_moved_is_found_again() -> None:
    center, one, two = two_nodes()
    moving, other = center.guest(one, "10.1.0.9"), center.guest(one, "10.1.0.10")
    assert center.fabric.ping(other, moving)
    moving.detach()
    moving.detach()
    remove(one, Tap(name="t7x9"))
    assert center.fabric.ping(other, center.guest(two, "10.1.0.9"))


def test_what_a_guest_is_given_beside_its_vnic() -> None:
    center, one, _ = two_nodes()
    vnic = center.vm(one, "10.1.0.9")
    guest = center.fabric.attach(one, vnic, address="10.1.0.99/24", gateway="10.1.0.7", name="g")
    assert str(guest.address) == "10.1.0.99"
    assert center.fabric.ping(guest, "10.1.0.1")
    assert "route 0.0.0.0/0 via 10.1.0.7 dev eth0" in guest.kernel.to_text()


def test_requests_that_make_no_sense() -> None:
    center, one, _ = two_nodes()
    fabric, vnic = center.fabric, center.vm(one, "10.1.0.9")
    with pytest.raises(InvalidRequest, match="no link"):
        fabric.attach(one, replace(vnic, link_name="nowhere"))
    with pytest.raises(InvalidRequest, match="br7 on cn-1 is a bridge, not a tap or veth"):
        fabric.attach(one, replace(vnic, link_name="br7"))
    with pytest.raises(InvalidRequest, match="address"):
        fabric.attach(one, vnic, address="10.1.0.300")
    with pytest.raises(InvalidRequest, match="gateway"):
        fabric.attach(one, vnic, gateway="10.1.0.300")
    with pytest.raises(InvalidRequest, match="target"):
        fabric.ping(one, "cn-1")
    with pytest.raises(InvalidRequest, match="already exists"):
        fabric.add_host("cn-1", "192.0.2.99/24")
    with pytest.raises(InvalidRequest, match="not a host or guest"):
        Fabric().ping(one, "10.1.0.1")
    with pytest.raises(InvalidRequest, match="no host has a macvtap"):
        fabric.add_host("new", "192.0.2.99/24", on=vnic)


# -- DHCP ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tunnel", ["gre", "vxlan"])
def test_a_lease_through_the_tunnel(tunnel: str) -> None:
    center, one, two = two_nodes(tunnel)
    center.serve()
    guest = center.guest(one, "10.1.0.9", dhcp=True)
    assert guest.lease is not None
    assert [str(value) for value in guest.lease] == [
        "10.1.0.9", "24", "10.1.0.1", str(center.mtu), "10.1.0.1",
    ]  # fmt: skip
    assert link(guest.kernel, "eth0").mtu == center.mtu
    assert center.fabric.ping(guest, center.guest(two, "10.1.0.10"))
    explanation = guest.explain_lease()
    assert "DHCP OFFER for 02:00:0a:01:00:09: 10.1.0.9" in explanation


def test_an_unknown_mac_gets_no_lease() -> None:
    center, one, _ = two_nodes()
    center.serve()
    vnic = replace(center.vm(one, "10.1.0.9"), mac="02:00:00:00:00:01")
    guest = center.fabric.attach(one, vnic, dhcp=True)
    assert guest.lease is None
    assert guest.address is None
    assert not center.fabric.ping(guest, "10.1.0.1")
    assert "br7 on cnci: DHCP: no entry for 02:00:00:00:00:01" in guest.explain_lease()


def test_no_lease_without_a_scope_and_one_once_it_is_there() -> None:
    center, one, _ = two_nodes()
    guest = center.guest(one, "10.1.0.9", dhcp=True)
    assert guest.lease is None
    assert "br7 on cnci: no DHCP scope here" in guest.explain_lease()
    center.serve()
    assert guest.renew() is not None
    dhcp, scope = FakeDhcp(center.cnci), center.cnci.state.nouns["dhcp", "br7"]
    assert isinstance(scope, DhcpScope)
    do(dhcp, Change(replace(scope, running=False), scope))
    assert guest.renew() is None
    assert "br7 on cnci: DHCP: the server is stopped" in guest.explain_lease()
    do(dhcp, Change(scope, dhcp.find(scope)))  # type: ignore[arg-type]
    remove(center.cnci, address("10.1.0.1/24", "br7"))
    assert guest.renew() is None
    assert "DHCP: 10.1.0.1 is not on this link" in guest.explain_lease()


# -- routing --------------------------------------------------------------------------------


def test_between_subnets_of_a_tenant_through_the_concentrator() -> None:
    center, one, two = two_nodes()
    other = IPv4Network("10.2.0.0/24")
    center.subnet_at_cnci(9, other)
    center.spoke(two, 12, 9)
    a = center.guest(one, "10.1.0.9")
    b = center.fabric.attach(two, center.vm(two, "10.2.0.9", 9, other))
    assert not center.fabric.ping(a, b)
    assert "which does not forward" in center.fabric.explain(a, b)
    center.forward(center.cnci)
    assert center.fabric.ping(a, b)
    assert not center.fabric.ping(a, "10.3.0.1")
    assert "br7 on cnci: no route to 10.3.0.1" in center.fabric.explain(a, "10.3.0.1")


def test_a_routing_loop_ends_with_the_ttl() -> None:
    center, one, two = two_nodes()
    for kernel, via in ((one, "192.0.2.12"), (two, "192.0.2.11")):
        center.forward(kernel)
        add(kernel, route("198.51.100.0/24", "eth0", via))
    add(center.cnci, route("198.51.100.0/24", "eth0", "192.0.2.11"))
    assert not center.fabric.ping(center.cnci, "198.51.100.1")
    assert "TTL exceeded on the way to 198.51.100.1" in (
        center.fabric.explain(center.cnci, "198.51.100.1")
    )


def test_no_other_guest_may_use_our_address() -> None:
    fabric = Fabric()
    a, b = fabric.add_host("a", "192.0.2.1/24"), fabric.add_host("b", "192.0.2.2/24")
    add(b, tap("t0"), address("192.0.2.1/32", "t0"))
    assert not fabric.ping(a, b)
    assert "has a source address of this host" in fabric.explain(a, b)


def test_many_hosts_are_practical() -> None:
    fabric = Fabric()
    hosts = [
        fabric.add_host(f"h{number}", f"10.0.{number // 250}.{number % 250 + 1}/16")
        for number in range(1000)
    ]
    for number in range(0, 1000, 10):
        assert fabric.ping(hosts[number], hosts[-1 - number])


def test_a_router_forwards_between_links_with_dots_in_their_names() -> None:
    fabric = Fabric()
    router = fabric.add_host("router", "192.0.2.1/24")
    for name, cidr in (("eth0.7", "10.7.0.1/24"), ("eth0.8", "10.8.0.1/24")):
        router.add_uplink(name, cidr)
        fabric.plug(router, name)
    here, there = fabric.add_host("here", "10.7.0.2/24"), fabric.add_host("there", "10.8.0.2/24")
    add(here, route("10.8.0.0/24", "eth0", "10.7.0.1"))
    add(there, route("10.7.0.0/24", "eth0", "10.8.0.1"))
    assert not fabric.ping(here, "10.8.0.2")
    old = Sysctl(name="net.ipv4.ip_forward", value="0")
    do(router, Change(replace(old, value="1"), old))
    assert fabric.ping(here, "10.8.0.2")

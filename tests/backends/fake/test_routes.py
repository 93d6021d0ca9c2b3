"""Routes, neighbours, forwarding entries."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from snnet.backends.fake import FakeKernel
from snnet.contract import Add, Change, Fdb, Gre, Remove, Route, Vxlan

from .steps import add, address, bridge, do, link, neighbour, refusal, remove, route


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.add_uplink("e0", "192.0.2.1/24")
    kernel.add_uplink("f0", None)
    add(kernel, address("2001:db8::1/64", "e0"))
    return kernel


@pytest.mark.parametrize(
    ("bad", "errno"),
    [
        (route("198.51.100.0/24", "x0"), "ENODEV"),
        (route("198.51.100.0/24", "e0", "203.0.113.1"), "ENETUNREACH"),
        (route("198.51.100.0/24", "f0", "192.0.2.9"), "ENETUNREACH"),
        (route("198.51.100.0/24", "e0", "192.0.2.255"), "EINVAL"),
        (route("198.51.100.0/24", "e0", "192.0.2.1", onlink=True), "EINVAL"),
        (route("198.51.100.0/24", "e0", "224.0.0.1", onlink=True), "EINVAL"),
        (route("198.51.100.0/24", "e0", "127.0.0.1", onlink=True), "EINVAL"),
        (route("198.51.100.0/24", "e0", "2001:db8::9"), "EOPNOTSUPP"),
        (route("192.0.2.0/24", "e0"), "EEXIST"),
        (route("2001:db8:1::/48", "e0", "2001:db9::9"), "EHOSTUNREACH"),
        (route("2001:db8:1::/48", "e0", "2001:db8::1"), "EINVAL"),
    ],
)
def test_refused(kernel: FakeKernel, bad: Route, errno: str) -> None:
    assert refusal(kernel, Add(bad)) == errno


@pytest.mark.parametrize(
    "good",
    [
        route("198.51.100.0/24", "f0"),
        route("198.51.100.0/24", "e0", "192.0.2.9"),
        route("198.51.100.0/24", "e0", "203.0.113.1", onlink=True),
        route("198.51.100.0/24", "e0", "192.0.2.1"),
        route("192.0.2.0/25", "e0"),
        route("0.0.0.0/0", "e0", "192.0.2.254"),
        route("2001:db8:1::/48", "e0", "2001:db8::9"),
        route("2001:db8:1::/48", "e0", "fe80::9"),
        route("2001:db8:1::/48", "e0", "2001:db9::9", onlink=True),
        route("2001:db8::/64", "e0"),
    ],
)
def test_accepted(kernel: FakeKernel, good: Route) -> None:
    before = kernel.to_text()
    add(kernel, good)
    assert kernel.find(good) == good
    assert refusal(kernel, Add(good)) == "EEXIST"
    remove(kernel, good)
    assert kernel.to_text() == before


def test_who_made_a_route_is_kept_and_tells_none_apart(kernel: FakeKernel) -> None:
    ours = replace(route("198.51.100.0/24", "e0", "192.0.2.9"), protocol=0x73)
    add(kernel, ours)
    assert kernel.find(ours) == ours
    assert refusal(kernel, Add(replace(ours, protocol=4))) == "EEXIST"
    remove(kernel, ours)


def test_one_destination_once_whatever_the_link(kernel: FakeKernel) -> None:
    add(kernel, route("198.51.100.0/24", "e0", "192.0.2.9"))
    assert refusal(kernel, Add(route("198.51.100.0/24", "f0"))) == "EEXIST"


def test_a_link_that_is_down_takes_no_route(kernel: FakeKernel) -> None:
    found = link(kernel, "f0")
    do(kernel, Change(replace(found, up=False), found))
    assert refusal(kernel, Add(route("198.51.100.0/24", "f0"))) == "ENETDOWN"
    onlink = route("198.51.100.0/24", "f0", "192.0.2.9", onlink=True)
    assert refusal(kernel, Add(onlink)) == "ENETDOWN"


def test_a_gateway_behind_a_gateway_is_not_reachable(kernel: FakeKernel) -> None:
    add(kernel, route("198.51.100.0/24", "e0", "192.0.2.9"))
    assert refusal(kernel, Add(route("203.0.113.0/24", "e0", "198.51.100.1"))) == "ENETUNREACH"
    add(kernel, route("203.0.114.1/32", "e0"), route("203.0.113.0/24", "e0", "203.0.114.1"))


def test_change_and_remove(kernel: FakeKernel) -> None:
    old, new = (route("198.51.100.0/24", "e0", via) for via in ("192.0.2.9", "192.0.2.8"))
    assert refusal(kernel, Change(new, old)) == "ESRCH"
    assert refusal(kernel, Remove(old)) == "ESRCH"
    add(kernel, old)
    do(kernel, Change(new, old))
    assert kernel.find(new) == new
    assert refusal(kernel, Remove(old)) == "ESRCH"
    bad = route("198.51.100.0/24", "e0", "203.0.113.1")
    assert refusal(kernel, Change(bad, new)) == "ENETUNREACH"


def test_longest_prefix_wins(kernel: FakeKernel) -> None:
    add(
        kernel,
        route("0.0.0.0/0", "e0", "192.0.2.254"),
        route("198.51.100.0/24", "e0", "192.0.2.253"),
        route("198.51.100.7/32", "f0"),
    )
    fib = kernel.state.fib
    found = [fib.find(ip_address(f"198.51.{host}")) for host in ("1.1", "100.1", "100.7")]
    assert [(hop.link, str(hop.gateway)) for hop in found if hop] == [
        ("e0", "192.0.2.254"), ("e0", "192.0.2.253"), ("f0", "None"),
    ]  # fmt: skip


# -- neighbours -------------------------------------------------------------------


def test_neighbours(kernel: FakeKernel) -> None:
    entry = neighbour("192.0.2.5", "02:00:00:00:00:05", "e0")
    assert refusal(kernel, Remove(entry)) == "ENOENT"
    assert refusal(kernel, Change(entry, entry)) == "ENOENT"
    add(kernel, entry)
    assert refusal(kernel, Add(replace(entry, lladdr="02:00:00:00:00:06"))) == "EEXIST"
    do(kernel, Change(replace(entry, lladdr="02:00:00:00:00:06"), entry))
    remove(kernel, entry)
    for operation in (Add, Remove):
        assert refusal(kernel, operation(replace(entry, link="x0"))) == "ENODEV"


def test_a_new_mac_forgets_neighbours(kernel: FakeKernel) -> None:
    add(kernel, neighbour("192.0.2.5", "02:00:00:00:00:05", "e0"))
    found = link(kernel, "e0")
    do(kernel, Change(replace(found, mac="02:00:00:00:99:99"), found))
    assert not kernel.state.neighbours("e0")


def test_link_layer_addresses(kernel: FakeKernel) -> None:
    add(kernel, Gre(name="m0", local=IPv4Address("192.0.2.1"), tunnel_key=7))
    assert refusal(kernel, Add(neighbour("192.0.2.5", "192.0.2.9", "e0"))) == "EINVAL"
    assert refusal(kernel, Add(neighbour("192.0.2.5", "nonsense", "e0"))) == "EINVAL"
    add(
        kernel,
        neighbour("10.255.0.2", "192.0.2.2", "m0"),
        neighbour("10.255.0.3", "02:00:00:00:00:01", "m0"),
    )
    assert [entry.lladdr for entry in kernel.state.neighbours("m0")] == ["192.0.2.2", "2.0.0.0"]


# -- forwarding entries -------------------------------------------------------------


def test_fdb(kernel: FakeKernel) -> None:
    local = IPv4Address("192.0.2.1")
    add(
        kernel,
        bridge("b0"),
        Vxlan(name="x0", vni=7, local=local, remote=None, port=4789),
        Vxlan(name="x1", vni=8, local=local, remote=IPv4Address("192.0.2.2"), port=4789),
    )
    entry = Fdb(link="x0", mac="02:00:00:00:00:05", remote=ip_address("192.0.2.5"))
    assert refusal(kernel, Remove(entry)) == "ENOENT"
    assert refusal(kernel, Change(entry, entry)) == "ENOENT"
    add(kernel, entry)
    other = replace(entry, remote=ip_address("192.0.2.6"))
    assert refusal(kernel, Add(other)) == "EEXIST"
    do(kernel, Change(other, entry))
    assert kernel.find(entry) == other
    assert refusal(kernel, Add(replace(entry, link="b0"))) == "EOPNOTSUPP"
    assert refusal(kernel, Add(replace(entry, link="y0"))) == "ENODEV"
    family = replace(entry, mac="02:00:00:00:00:09", remote=ip_address("2001:db8::1"))
    assert refusal(kernel, Add(family)) == "EAFNOSUPPORT"
    everything = "00:00:00:00:00:00"
    add(kernel, replace(entry, mac=everything))
    assert refusal(kernel, Add(replace(entry, link="x1", mac=everything))) == "EEXIST"
    remove(kernel, other, replace(entry, mac=everything))

"""Addresses and the connected routes they bring."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from snnet.backends.fake import FakeKernel
from snnet.backends.fake.fib import Hop
from snnet.contract import Add, Address, Change, Exists, Missing, Remove

from .steps import add, address, do, link, neighbour, refusal, remove, route


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    kernel.add_uplink("e0", None)
    kernel.add_uplink("f0", None)
    return kernel


def down(kernel: FakeKernel, name: str) -> None:
    found = link(kernel, name)
    do(kernel, Change(replace(found, up=False), found))


def up(kernel: FakeKernel, name: str) -> None:
    found = link(kernel, name)
    do(kernel, Change(replace(found, up=True), found))


def hop(kernel: FakeKernel, ip: str) -> Hop | None:
    return kernel.state.fib.find(ip_address(ip))


def test_one_address_and_prefix_once_a_link(kernel: FakeKernel) -> None:
    add(kernel, address("192.0.2.1/24", "e0"))
    assert refusal(kernel, Add(address("192.0.2.1/24", "e0"))) == "EEXIST"
    add(kernel, address("192.0.2.1/25", "e0"), address("192.0.2.1/24", "f0"))
    assert isinstance(kernel.apply([Add(address("192.0.2.1/24", "e0"))]).error, Exists)


def test_an_ipv6_address_is_known_by_itself_alone(kernel: FakeKernel) -> None:
    add(kernel, address("2001:db8::1/64", "e0"))
    assert refusal(kernel, Add(address("2001:db8::1/80", "e0"))) == "EEXIST"
    add(kernel, address("2001:db8::1/64", "f0"))


def test_missing_link_and_missing_address(kernel: FakeKernel) -> None:
    assert refusal(kernel, Add(address("192.0.2.1/24", "x0"))) == "ENODEV"
    assert refusal(kernel, Remove(address("192.0.2.1/24", "x0"))) == "ENODEV"
    assert refusal(kernel, Remove(address("192.0.2.1/24", "e0"))) == "EADDRNOTAVAIL"
    assert isinstance(kernel.apply([Remove(address("192.0.2.1/24", "e0"))]).error, Missing)
    add(kernel, address("192.0.2.1/24", "e0"))
    assert refusal(kernel, Remove(address("192.0.2.1/26", "e0"))) == "EADDRNOTAVAIL"


@pytest.mark.parametrize(
    ("cidr", "errno"),
    [("ff02::5/64", "EADDRNOTAVAIL"), ("::1/128", "EADDRNOTAVAIL"), ("::/64", "EADDRNOTAVAIL")],
)
def test_ipv6_addresses_nobody_can_have(kernel: FakeKernel, cidr: str, errno: str) -> None:
    assert refusal(kernel, Add(address(cidr, "e0"))) == errno


def test_connected_route_comes_and_goes_with_the_address(kernel: FakeKernel) -> None:
    add(kernel, address("192.0.2.1/24", "e0"))
    assert hop(kernel, "192.0.2.99") == Hop("e0", connected=True)
    assert not [noun for noun in kernel.snapshot().values() if "route" in str(noun)]
    remove(kernel, address("192.0.2.1/24", "e0"))
    assert hop(kernel, "192.0.2.99") is None


def test_connected_route_waits_for_the_link(kernel: FakeKernel) -> None:
    down(kernel, "e0")
    add(kernel, address("192.0.2.1/24", "e0"))
    assert hop(kernel, "192.0.2.99") is None
    up(kernel, "e0")
    assert hop(kernel, "192.0.2.99") == Hop("e0", connected=True)


def test_a_32_has_no_connected_route(kernel: FakeKernel) -> None:
    add(kernel, address("10.255.0.1/32", "e0"), route("10.255.0.1/32", "e0"))


def test_secondaries_go_with_their_primary(kernel: FakeKernel) -> None:
    add(kernel, address("192.0.2.1/24", "e0"), address("192.0.2.3/24", "e0"))
    remove(kernel, address("192.0.2.3/24", "e0"))
    add(kernel, address("192.0.2.3/24", "e0"))
    remove(kernel, address("192.0.2.1/24", "e0"))
    assert not [noun for noun in kernel.snapshot((Address,)).values() if noun.link == "e0"]  # type: ignore[attr-defined]


def test_the_last_ipv4_address_takes_the_routes_along(kernel: FakeKernel) -> None:
    add(
        kernel,
        address("192.0.2.1/24", "e0"),
        address("198.51.100.1/24", "e0"),
        route("203.0.113.0/24", "e0", "192.0.2.9"),
    )
    remove(kernel, address("192.0.2.1/24", "e0"))
    assert kernel.find(route("203.0.113.0/24", "e0"))
    remove(kernel, address("198.51.100.1/24", "e0"))
    assert kernel.find(route("203.0.113.0/24", "e0")) is None


def test_link_down_keeps_ipv4_addresses_alone(kernel: FakeKernel) -> None:
    add(
        kernel,
        address("192.0.2.1/24", "e0"),
        address("2001:db8::1/64", "e0"),
        route("203.0.113.0/24", "e0", "192.0.2.9"),
        route("2001:db8:1::/48", "e0", "2001:db8::9"),
        neighbour("192.0.2.9", "02:00:00:00:00:09", "e0"),
    )
    down(kernel, "e0")
    up(kernel, "e0")
    assert [str(noun) for noun in kernel.state.on_link("e0")] == ["address 192.0.2.1/24 dev e0"]
    assert hop(kernel, "192.0.2.99") == Hop("e0", connected=True)
    assert hop(kernel, "2001:db8::9") is None


def test_a_small_mtu_ends_ipv6(kernel: FakeKernel) -> None:
    add(kernel, address("192.0.2.1/24", "e0"), address("2001:db8::1/64", "e0"))
    found = link(kernel, "e0")
    do(kernel, Change(replace(found, mtu=1279), found))
    assert refusal(kernel, Add(address("2001:db8::2/64", "e0"))) == "EINVAL"
    do(kernel, Change(replace(found, mtu=1280), link(kernel, "e0")))
    assert [str(noun) for noun in kernel.state.on_link("e0")] == ["address 192.0.2.1/24 dev e0"]

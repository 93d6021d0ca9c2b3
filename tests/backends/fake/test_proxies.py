"""Addresses a host answers for though they are elsewhere: as nouns, and in the fabric."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address

import pytest

from snnet.backends.fake import Fabric, FakeKernel
from snnet.contract import Add, Change, ProxyNeighbour, Remove, Sysctl, Tap, Veth

from .steps import add, address, bridge, do, link, refusal, remove, route, tap


def proxy(ip: str = "203.0.113.5", name: str = "t0") -> ProxyNeighbour:
    return ProxyNeighbour(link=name, address=ip_address(ip))


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel()
    add(kernel, tap("t0"), bridge("b0"))
    return kernel


def sysctl(kernel: FakeKernel, name: str, value: str | None = None) -> str | None:
    """The parameter's value, after it was set if one is given."""
    found = kernel.find(Sysctl(name=name))
    if value is not None:
        assert isinstance(found, Sysctl)
        do(kernel, Change(Sysctl(name=name, value=value), found))
        return value
    return found.value if isinstance(found, Sysctl) else None


# -- nouns; measured on Linux 6.18 with ``ip neighbour add proxy`` -----------------------


def test_it_comes_once_and_goes_once(kernel: FakeKernel) -> None:
    before = kernel.to_text()
    assert refusal(kernel, Remove(proxy())) == "ENOENT"
    add(kernel, proxy())
    assert refusal(kernel, Add(proxy())) == "EEXIST"
    assert refusal(kernel, Change(proxy(), proxy())) == "EOPNOTSUPP"
    assert kernel.find(proxy()) == proxy()
    assert "    proxy 203.0.113.5 dev t0" in kernel.to_text()
    add(kernel, proxy(name="b0"), proxy("203.0.113.6"))
    remove(kernel, proxy(name="b0"), proxy("203.0.113.6"), proxy())
    assert kernel.to_text() == before


def test_its_link_must_be_there_and_takes_it_along(kernel: FakeKernel) -> None:
    for operation in (Add, Remove):
        assert refusal(kernel, operation(proxy(name="x0"))) == "ENODEV"
    add(kernel, proxy())
    remove(kernel, tap("t0"))
    assert kernel.find(proxy()) is None


def test_a_link_that_goes_down_loses_it_but_one_that_is_down_takes_it(kernel: FakeKernel) -> None:
    add(kernel, proxy(), proxy("2001:db8::5"))
    up = link(kernel, "t0")
    down = replace(up, up=False)
    do(kernel, Change(down, up))
    assert not kernel.state.on_link("t0")
    add(kernel, proxy())
    do(kernel, Change(up, down))
    assert kernel.find(proxy()) == proxy()


def test_another_mac_or_master_leaves_it(kernel: FakeKernel) -> None:
    add(kernel, proxy())
    found = link(kernel, "t0")
    do(kernel, Change(replace(found, mac="02:00:00:00:00:07", master="b0"), found))
    assert kernel.find(proxy()) == proxy()


def test_it_goes_with_the_last_address_of_its_family(kernel: FakeKernel) -> None:
    first, second = address("10.9.9.1/24", "t0"), address("10.8.8.1/24", "t0")
    add(kernel, proxy(), proxy("2001:db8::5"), first, second)
    remove(kernel, first)
    assert kernel.find(proxy()) == proxy()
    remove(kernel, second)
    assert kernel.state.on_link("t0") == [proxy("2001:db8::5")]


def test_ipv6_needs_an_mtu_for_it(kernel: FakeKernel) -> None:
    add(kernel, proxy("2001:db8::5"), proxy())
    found = link(kernel, "t0")
    do(kernel, Change(replace(found, mtu=1000), found))
    assert kernel.state.on_link("t0") == [proxy()]
    assert refusal(kernel, Add(proxy("2001:db8::5"))) == "ENOBUFS"


# -- links that answer for all -------------------------------------------------------------


@pytest.mark.parametrize("made", [
    Tap(name="x0", proxy_arp=True),
    Tap(name="x0", proxy_arp=True, queues=2),
    Veth(name="x0", peer="x1", proxy_arp=True),
])  # fmt: skip
def test_a_link_made_to_answer_for_all(kernel: FakeKernel, made: Tap | Veth) -> None:
    before = kernel.to_text()
    for fds in kernel.apply([Add(made)]).fds.values():
        for fd in fds:
            os.close(fd)
    assert sysctl(kernel, "net.ipv4.conf.x0.proxy_arp") == "1"
    assert sysctl(kernel, "net.ipv4.neigh.x0.proxy_delay") == "0"
    assert sysctl(kernel, "net.ipv4.conf.x1.proxy_arp") in ("0", None)
    assert sysctl(kernel, "net.ipv4.neigh.t0.proxy_delay") == "80"
    remove(kernel, made)
    assert kernel.to_text() == before
    add(kernel, tap("x0"))
    assert sysctl(kernel, "net.ipv4.conf.x0.proxy_arp") == "0"
    assert sysctl(kernel, "net.ipv4.neigh.x0.proxy_delay") == "80"


def test_delays_follow_the_default_and_all_has_none(kernel: FakeKernel) -> None:
    sysctl(kernel, "net.ipv4.neigh.default.proxy_delay", "5")
    assert sysctl(kernel, "net.ipv4.neigh.t0.proxy_delay") == "5"
    assert sysctl(kernel, "net.ipv4.neigh.all.proxy_delay") is None
    assert sysctl(kernel, "net.ipv4.neigh.x0.proxy_delay") is None
    assert sysctl(kernel, "net.ipv6.neigh.t0.proxy_delay") == "80"


# -- in the fabric ---------------------------------------------------------------------------


class Routed:
    """A VNIC of a VM on a tap that is no bridge's port."""

    def __init__(self, link_name: str, ip: str, gateway: str) -> None:
        self.link_name, self.ip, self.gateway = link_name, ip, gateway


def routed(proxy_arp: bool = True) -> tuple[Fabric, FakeKernel, FakeKernel]:
    """A host that routes 203.0.113.5 to a tap, and another on its wire."""
    fabric = Fabric()
    host = fabric.add_host("host", "203.0.113.1/24")
    world = fabric.add_host("world", "203.0.113.99/24")
    sysctl(host, "net.ipv4.ip_forward", "1")
    add(host, Tap(name="t0", proxy_arp=proxy_arp), route("203.0.113.5/32", "t0"))
    return fabric, host, world


def test_a_routed_guest_is_reached_by_a_proxied_address() -> None:
    fabric, host, world = routed()
    guest = fabric.attach(host, Routed("t0", "203.0.113.5", "203.0.113.99"))
    assert not fabric.ping(world, guest)
    add(host, proxy(name="eth0"))
    assert fabric.ping(world, guest)
    assert fabric.ping(guest, world)
    assert "eth0 on host: forwards echo request, 203.0.113.99 to 203.0.113.5" in (
        fabric.explain(world, guest)
    )
    sysctl(host, "net.ipv4.ip_forward", "0")
    assert not fabric.ping(world, guest)
    sysctl(host, "net.ipv4.ip_forward", "1")
    remove(host, proxy(name="eth0"))
    assert not fabric.ping(world, guest)


def test_only_that_address_on_that_link_and_only_if_it_is_elsewhere() -> None:
    fabric, host, world = routed()
    guest = fabric.attach(host, Routed("t0", "203.0.113.5", "203.0.113.99"))
    add(host, proxy("203.0.113.6", "eth0"), proxy("203.0.113.5", "t0"))
    assert not fabric.ping(world, guest)
    assert not fabric.ping(world, "203.0.113.6")
    assert "eth0 on host: not for this host: ARP who-has 203.0.113.6" in fabric.explain(
        world, "203.0.113.6"
    )


def test_a_tap_that_answers_for_all_needs_no_address_of_the_gateway() -> None:
    for answers in (True, False):
        fabric, host, world = routed(answers)
        add(host, proxy(name="eth0"), route("0.0.0.0/0", "eth0", "203.0.113.99"))
        guest = fabric.attach(host, Routed("t0", "203.0.113.5", "169.254.0.1"))
        assert fabric.ping(guest, world) is answers


@pytest.mark.parametrize("ndp", ["0", "1"])
def test_over_ipv6_proxy_ndp_has_to_be_on(ndp: str) -> None:
    fabric = Fabric()
    host = fabric.add_host("host", "2001:db8::1/64")
    world = fabric.add_host("world", "2001:db8::99/64")
    sysctl(host, "net.ipv6.conf.all.forwarding", "1")
    sysctl(host, "net.ipv6.conf.eth0.proxy_ndp", ndp)
    add(host, bridge("b0", link_local=True), tap("t0", "b0"), address("2001:db8:1::1/64", "b0"))
    add(host, route("2001:db8::5/128", "b0"), proxy("2001:db8::5", "eth0"))
    guest = fabric.attach(host, Routed("t0", "2001:db8::5", "2001:db8:1::1"))
    assert fabric.ping(world, guest) is (ndp == "1")

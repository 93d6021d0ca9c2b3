"""Namespaces of a fake host, and the fabric's walk through the veths that lead into them."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

import snnet
from snnet.contract import (
    Add,
    Address,
    Attached,
    Bridge,
    Link,
    Missing,
    Namespace,
    Noun,
    Remove,
    Route,
    Tap,
    Veth,
)

from .steps import add, remove
from .topology import Vnic

SPACE = Namespace(name="space", alias="ours")
ACROSS = Veth(name="near", peer="far", peer_namespace="space")


def address(link: str, text: str) -> Address:
    return Address(link=link, address=ip_interface(text))


def default(link: str, via: str) -> Route:
    gateway = ip_interface(via).ip
    return Route(destination=ip_network("0.0.0.0/0"), link=link, gateway=gateway, onlink=True)


@pytest.fixture
def host() -> tuple[snnet.Fabric, snnet.FakeKernel]:
    fabric = snnet.Fabric()
    return fabric, fabric.add_host("host", "192.0.2.11/24")


def routed(host: snnet.FakeKernel) -> snnet.FakeKernel:
    """A namespace behind a routed veth."""
    way = Route(destination=ip_network("169.254.7.9/32"), link="near")
    add(host, SPACE, ACROSS, address("near", "169.254.1.1/32"), way)
    inside = host.namespace("space")
    nouns: list[Noun] = [
        Attached(link="far"),
        address("far", "169.254.7.9/32"),
        default("far", "169.254.1.1/32"),
    ]
    add(inside, *nouns)
    return inside


def test_the_fabric_walks_into_a_namespace(host: tuple[snnet.Fabric, snnet.FakeKernel]) -> None:
    fabric, kernel = host
    inside = routed(kernel)
    assert fabric.ping(kernel, inside)
    assert fabric.ping(inside, kernel)
    assert "to host/space" in fabric.explain(kernel, inside)
    remove(kernel, ACROSS)
    assert not fabric.ping(kernel, "169.254.7.9")


def test_a_veth_that_is_recreated_leads_inside_again(
    host: tuple[snnet.Fabric, snnet.FakeKernel],
) -> None:
    fabric, kernel = host
    routed(kernel)
    remove(kernel, ACROSS)
    remove(kernel, SPACE)
    assert fabric.ping(kernel, routed(kernel))


def test_two_bridges_are_joined_across_namespaces(
    host: tuple[snnet.Fabric, snnet.FakeKernel],
) -> None:
    fabric, kernel = host
    plug = Veth(name="plug", peer="inner", peer_namespace="space", master="br")
    add(kernel, SPACE, Bridge(name="br"), plug, Tap(name="tap", master="br"))
    inside = kernel.namespace("space")
    add(inside, Bridge(name="br"), Attached(link="inner", master="br"))
    add(inside, address("br", "10.1.0.1/24"))
    guest = fabric.attach(kernel, Vnic("tap", "02:00:00:00:00:09"), address="10.1.0.9/24")
    assert fabric.ping(guest, inside)
    assert fabric.ping(inside, guest)
    remove(inside, Attached(link="inner", master="br"))
    assert not fabric.ping(guest, inside)


def test_what_is_inside_is_part_of_the_host() -> None:
    kernel = snnet.FakeKernel()
    before = kernel.to_text()
    inside = routed(kernel)
    assert "space: veth far mac" in kernel.to_text()
    assert kernel.find(Link(name="far")) is None
    inside.fail(at=2)
    assert kernel.apply([Add(Bridge(name="one"))]).error is None
    assert kernel.apply([Add(Bridge(name="two"))]).error is not None, "one count for all"
    remove(kernel, Bridge(name="one"))
    assert kernel.apply([Remove(SPACE)]).error is None
    assert kernel.to_text() == before
    with pytest.raises(Missing):
        kernel.namespace("space")


def test_a_namespace_has_records_of_its_own() -> None:
    kernel = snnet.FakeKernel()
    inside = routed(kernel)
    with inside.record("sysctl") as record:
        record["a"] = 1
    with kernel.record("sysctl") as record:
        assert record == {}

"""The name of a concentrator's namespace leads to a namespace of others, on the fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.contract import (
    Add,
    Address,
    Attached,
    Inside,
    Link,
    Missing,
    Namespace,
    Noun,
    Outcome,
    Remove,
    Route,
    Veth,
)
from snnet.node.drivers import Drivers

from .test_local import OneHost, config, vnic


@pytest.fixture
def one() -> Iterator[OneHost]:
    host = OneHost()
    yield host
    host.close()


def taken(one: OneHost, alias: str, *, uplink: bool) -> snnet.Concentrator:
    """A concentrator whose namespace's name is that of another one now."""
    made = one.cn.set_concentrator(config())
    space = one.kernel.find(Namespace(name=made.netns))
    assert space is not None
    foreign = Namespace(name=made.netns, alias=alias)
    assert one.kernel.apply([Remove(space), Add(foreign)]).error is None
    if uplink:
        there = one.kernel.namespace(made.netns)
        there.add_uplink("eth0", "198.51.100.7/24")
        gateway = ip_interface("198.51.100.1/24").ip
        way = Route(destination=ip_network("0.0.0.0/0"), link="eth0", gateway=gateway)
        # What is theirs may look just like ours.
        own = Address(link="eth0", address=ip_interface(f"{made.ip}/32"))
        assert there.apply([Add(way), Add(own)]).error is None
    return made


def restart(one: OneHost) -> None:
    one.cn.close()
    one.cn = one.node()


CALLS: dict[str, Callable[[OneHost], object]] = {
    "verify": lambda one: one.cn.verify(),
    "repair": lambda one: one.cn.repair(),
    "rebuild": lambda one: one.cn.rebuild_topology(),
    "restart": restart,
    "again": lambda one: one.cn.set_concentrator(config()),
    "other": lambda one: one.cn.set_concentrator(config(subnets=[])),
    "reconcile": lambda one: one.cn.reconcile(concentrators=[config()]),
    "vnic": lambda one: one.cn.create_vnic(vnic(9)),
    "remove": lambda one: one.cn.remove_concentrator("acme", "c-acme"),
    "reset": lambda one: one.cn.reset_network(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("alias", ["", "mine", "snnet1 o=cn:other k=space t=acme c=c-acme"])
@pytest.mark.parametrize("uplink", [True, False], ids=["used", "empty"])
def test_a_foreign_namespace_stays_as_it_is(
    one: OneHost, call: str, alias: str, uplink: bool
) -> None:
    made = taken(one, alias, uplink=uplink)
    space, there = one.kernel.find(Namespace(name=made.netns)), one.kernel.namespace(made.netns)
    before = there.to_text()
    CALLS[call](one)
    assert one.kernel.find(Namespace(name=made.netns)) == space
    assert one.kernel.namespace(made.netns) is there
    assert there.to_text() == before
    one.cn.reset_network()
    assert there.to_text() == before


@pytest.mark.parametrize("uplink", [True, False], ids=["used", "empty"])
@pytest.mark.parametrize("call", ["verify", "repair", "restart"])
def test_it_is_named_and_what_to_do_helps(one: OneHost, call: str, uplink: bool) -> None:
    made = taken(one, "", uplink=uplink)
    if call == "repair":
        (line,) = one.cn.repair().orphans
    elif call == "restart":
        restart(one)
        (line,) = one.cn.rebuild_topology().orphans
    else:
        (line,) = one.cn.verify()
    assert line.startswith(f"namespace {made.netns}: it counts as somebody else's")
    assert f"ip netns delete {made.netns}, then repair()" in line
    assert one.cn.verify() == [line]
    del one.kernel.state.children[made.netns], one.kernel.state.nouns["namespace", made.netns]
    assert one.cn.repair().orphans == []
    assert one.cn.verify() == []
    one.serve(config())
    assert one.fabric.ping(one.guest(9), "192.0.2.99")


@pytest.mark.parametrize("call", ["again", "reconcile"])
def test_a_concentrator_that_is_set_again_takes_another_name(one: OneHost, call: str) -> None:
    made = taken(one, "", uplink=True)
    CALLS[call](one)
    (found,) = one.cn.topology().concentrators
    assert found.netns != made.netns
    assert one.cn.verify() == []
    one.serve(config())
    assert one.fabric.ping(one.guest(9), "192.0.2.99")
    restart(one)
    (again,) = one.cn.topology().concentrators
    assert again.netns == found.netns
    assert one.cn.verify() == []


def test_nothing_is_made_in_a_namespace_that_could_not_be_added() -> None:
    """Somebody took the name after the draft: the rest of the plan is carried out."""
    kernel = snnet.FakeKernel()
    foreign, ours = Namespace(name="space", alias="mine"), Namespace(name="space", alias="ours")
    other = Namespace(name="other", alias="ours")
    across = Veth(name="near", peer="far", peer_namespace="space")
    assert kernel.apply([Add(foreign)]).error is None
    kernel.namespace("space").add_uplink("eth0", "198.51.100.7/24", up=False)
    before = kernel.namespace("space").to_text()
    nouns: list[Noun] = [
        ours, across, other, Veth(name="one", peer="two", peer_namespace="other"),
        Inside(namespace=ours, what=Attached(link="eth0")),
        Inside(namespace=other, what=Attached(link="two")),
    ]  # fmt: skip
    outcome = Outcome()
    drivers = Drivers(kernel, FakeFirewall(kernel))
    drivers.apply([Add(noun) for noun in nouns], outcome, keep_going=True)
    assert outcome.done == {2, 3, 5}
    assert [type(outcome.errors[number]) for number in (1, 4)] == [Missing, Missing]
    assert str(outcome.errors[1]).endswith("there is no namespace space")
    assert kernel.namespace("space").to_text() == before
    assert kernel.find(Link(name="near")) is None


def test_what_is_inside_is_in_that_very_namespace() -> None:
    kernel = snnet.FakeKernel()
    drivers = Drivers(kernel, FakeFirewall(kernel))
    ours = Namespace(name="space", alias="ours")
    assert kernel.apply([Add(ours)]).error is None
    kernel.namespace("space").add_uplink("eth0", None)
    there = Attached(link="eth0")
    assert drivers.find([Inside(namespace=ours, what=there)])
    for alias in ("", "mine"):
        inside = Inside(namespace=Namespace(name="space", alias=alias), what=there)
        assert drivers.find([inside]) == {}
        outcome = Outcome()
        drivers.apply([Remove(inside)], outcome)
        assert isinstance(outcome.error, Missing)
    assert kernel.namespace("space").find(there) == there


def rename(kernel: snnet.FakeKernel, name: str, new: str) -> None:
    state = kernel.state
    link = state.nouns.pop(("link", name))
    assert isinstance(link, Veth)
    state.nouns["link", new] = replace(link, name=new)
    state.indexes[link.index] = new
    near, end = state.far[new] = state.far.pop(name)
    near.far[end] = (state, new)


@pytest.mark.parametrize("cure", ["repair", "restart", "again", "reconcile"])
@pytest.mark.parametrize("which", ["uplink", "plug"])
def test_an_end_that_others_renamed_inside_comes_back(one: OneHost, which: str, cure: str) -> None:
    made = one.cn.set_concentrator(config())
    before = one.kernel.to_text()
    name = made.uplink if which == "uplink" else made.links["web"]
    rename(one.kernel.namespace(made.netns), name, "renamed")
    assert any(f"peer {name} in {made.netns}" in line for line in one.cn.verify())
    CALLS[cure](one)
    assert one.cn.verify() == []
    assert one.kernel.to_text() == before
    one.serve(config())
    assert one.fabric.ping(one.guest(9), "192.0.2.99")

"""Links of others that took the name of one of ours: no call changes or removes them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Address, Bridge, Namespace, Noun, Remove, Shaper, Tap, Tunnel
from snnet.core import identity as ids
from tests.node import every_call, test_local
from tests.node.world import FakeWorld, World, container, port, vm

RATES: dict[str, Any] = {"rate_to_guest": "50mbit", "rate_from_guest": "10mbit"}

Act = Callable[[], object]
Scene = tuple[snnet.ComputeNode | snnet.Cnci, list[Act]]
"""A node with links, and calls that would remove or change them."""


def bridged(world: World) -> Scene:
    node = world.node()
    for number in (8, 9):
        node.create_vnic(container(number, **RATES))
    node.create_cnci_vnic(port(1))
    return node, [
        lambda: node.update_vnic(container(9, rate_from_guest="20mbit")),
        lambda: node.update_vnic(container(9)),
        lambda: node.destroy_vnic(container(9)),
        lambda: node.reconcile(vnics=[container(8)]),
        lambda: node.destroy_vnics([container(8), container(9)]),
        lambda: node.destroy_cnci_vnic(port(1)),
    ]


def routed(world: World) -> Scene:
    node = world.node(config=world.config(mode=snnet.NetworkMode.ROUTED))
    node.create_vnic(vm(9, **RATES))
    return node, [
        lambda: node.update_vnic(vm(9, rate_from_guest="20mbit")),
        lambda: node.destroy_vnic(vm(9)),
    ]


def local(world: World) -> Scene:
    node = world.node(config=world.config(topology="local"))
    node.create_vnic(test_local.vnic(9))
    node.set_concentrator(test_local.config())
    return node, [
        lambda: node.destroy_vnic(test_local.vnic(9)),
        lambda: node.set_concentrator(test_local.config(subnets=[])),
        lambda: node.remove_concentrator("acme", "c-acme"),
    ]


def meshed(world: World) -> Scene:
    node = world.node(config=world.config(topology="mesh"))
    node.create_vnic(vm(9, concentrator_ip=None))
    node.set_peers("t1", "s1", [snnet.Peer("192.0.2.12", macs=["02:00:0a:01:00:08"])])
    return node, [
        lambda: node.set_peers("t1", "s1", []),
        lambda: node.destroy_vnic(vm(9)),
    ]


def concentrating(world: World) -> Scene:
    cnci = world.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.12")
    return cnci, [
        lambda: cnci.del_remote_subnet("10.1.0.0/24", 7, "192.0.2.12"),
        lambda: cnci.remove_subnet("10.1.0.0/24"),
    ]


SCENES = [bridged, routed, local, meshed, concentrating]


def on(world: World, name: str) -> list[Noun]:
    """What somebody could have put on a link as well."""
    found = world.kernel.snapshot({Address, Shaper}).values()
    return [noun for noun in found if noun.within == ("link", name)]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_foreign_link_with_a_name_of_ours_stays(world: World, scene: Any) -> None:
    """Whatever hangs on it stays too, even what looks like ours."""
    node, acts = scene(world)
    ours = [link for link in world.links() if not link.name.startswith("snp-")]
    for mine in ours:
        hung = on(world, mine.name)
        world.delete(mine.name)
        world.add(Bridge(name=mine.name, group=0, alias="somebody's"))
        for noun in hung:
            world.kernel.apply([Add(noun)])
        foreign, hung = world.link(mine.name), on(world, mine.name)
        for act in acts:
            act()
            assert world.link(mine.name) == foreign
            assert on(world, mine.name) == hung
        node.repair()
        assert world.link(mine.name) == foreign
        assert on(world, mine.name) == hung
        world.delete(mine.name)
        node.close()
        node, acts = scene(world)


@pytest.mark.parametrize(
    "prepare",
    [every_call.bridged, every_call.grouped, every_call.shaped, every_call.routed,
     every_call.local, every_call.meshed, every_call.concentrator],
    ids=lambda prepare: prepare.__name__,
)  # fmt: skip
def test_a_second_name_is_kept_when_the_first_one_is_free_again(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[World], Any]
) -> None:
    first, world = FakeWorld("gre"), FakeWorld("gre")
    prepare(first)
    strangers: list[Noun] = [Tap(name=link.name, group=0) for link in first.links()]
    strangers += [
        Namespace(name=noun.name, alias="somebody's")
        for noun in first.kernel.snapshot({Namespace}).values()
        if isinstance(noun, Namespace)
    ]
    assert world.kernel.apply([Add(noun) for noun in strangers]).error is None
    node = prepare(world)
    assert world.kernel.apply([Remove(noun) for noun in strangers]).error is None
    before = world.text()
    assert before != first.text()
    with monkeypatch.context() as patch:
        for name in ("node", "cnci"):
            patch.setattr(world, name, lambda **_: node)
        prepare(world)
        assert (world.text(), node.verify()) == (before, [])
    node.close()
    node = prepare(world)
    assert (world.text(), node.verify()) == (before, [])
    (node.shutdown if isinstance(node, snnet.Cnci) else node.reset_network)()
    assert world.links() == []
    assert world.kernel.snapshot({Namespace}) == {}


def test_where_others_have_all_names_of_an_object_nothing_is_made(fake: FakeWorld) -> None:
    node = fake.node(config=fake.config(topology="local"))
    for what, kind, noun in (("bridge", ids.BRIDGE, Tap), ("concentrator", ids.SPACE, Namespace)):
        identity = ("t1", "c1") if kind == ids.SPACE else ("t1", "s1")
        taken = list(islice(ids.names(node.owner, kind, *identity), ids.NAMES_TRIED))
        others = [noun(name=name, alias="somebody's") for name in taken]
        assert fake.kernel.apply([Add(other) for other in others]).error is None
        before = fake.text()
        said = rf"all 16 names of this {what}, {taken[-1]} the last: (re)?.*move"
        with pytest.raises(snnet.Conflict, match=said):
            node.set_concentrator(every_call.space(1))
        assert fake.text() == before
        assert fake.kernel.apply([Remove(other) for other in others]).error is None
    node.set_concentrator(every_call.space(1))


def test_a_foreign_tunnel_with_the_same_key_is_a_conflict(fake: FakeWorld) -> None:
    """The kernel alone knows of it."""
    node = fake.node()
    (tunnel,) = (op for op in node.plan_create_vnic(vm(9)) if isinstance(op.noun, Tunnel))
    assert isinstance(tunnel.noun, Tunnel)
    fake.add(replace(tunnel.noun, name="theirs", alias="", group=0, master=None))
    before = fake.text()
    with pytest.raises(snnet.Conflict, match="remove it or choose another") as caught:
        node.create_vnic(vm(9))
    assert (caught.value.errno, caught.value.operation) == (errno.EEXIST, tunnel)
    assert caught.value.state is snnet.State.ROLLED_BACK
    assert fake.text() == before

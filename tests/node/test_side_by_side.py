"""Two nodes on one host, and one node that had another mode, topology or pool before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product
from typing import Any

import pytest

import snnet
from snnet.contract import ProxyNeighbour, Route
from snnet.contract.network import SNNET_PROTOCOL
from tests.node.world import FakeWorld, World, vm

KINDS: dict[str, dict[str, Any]] = {
    "hub": {},
    "pool": {"concentrator_pool": ["192.0.2.200", "192.0.2.201"]},
    "local": {"topology": "local"},
    "mesh": {"topology": "mesh"},
    "routed": {"mode": "routed"},
}
WITH_ENTRIES = [kind for kind in KINDS if kind != "hub"]

Node = snnet.ComputeNode


def make(world: World, kind: str, node_id: str = "cn-1") -> Node:
    return world.node(node_id, config=world.config(**KINDS[kind]))


def concentrator(kind: str, number: int) -> snnet.ConcentratorConfig:
    subnets = [
        snnet.LocalSubnet(subnet_id="s1", subnet=f"10.{number}.0.0/24", subnet_key=100 + number)
    ]
    return snnet.ConcentratorConfig(
        tenant_id=f"t{number}",
        concentrator_id=f"c{number}",
        subnets=[] if kind == "pool" else subnets,
        public_ips=[f"192.0.2.{50 + number}"],
        address=f"192.0.2.{199 + number}" if kind == "pool" else None,
    )


def fill(node: Node, kind: str, number: int = 1) -> None:
    """Have a guest, and a concentrator where the node may have one."""
    tenant = {"tenant_id": f"t{number}", "subnet": f"10.{number}.0.0/24"}
    guest = {**tenant, "subnet_key": 100 + number, "ip": f"10.{number}.0.9"}
    without = {"concentrator_id": None, "concentrator_ip": None}
    if kind == "routed":
        node.create_vnic(vm(9, **{**guest, **without, "subnet_key": None}))
    elif kind in ("local", "mesh"):
        node.create_vnic(vm(9, **guest, **without))
    else:
        node.create_vnic(vm(9, **guest))
    if kind in ("local", "mesh", "pool"):
        node.set_concentrator(concentrator(kind, number))


def entries(world: World) -> set[str]:
    """The proxy entries and routes on the uplink that bear snnet's mark."""
    found = world.kernel.snapshot({ProxyNeighbour, Route}).values()
    return {
        str(noun)
        for noun in found
        if isinstance(noun, (ProxyNeighbour, Route)) and noun.protocol == SNNET_PROTOCOL
    }


def lost(world: World, node: Node) -> None:
    """The node is started again after somebody deleted its links."""
    node.close()
    for link in list(world.links()):
        if f" o=cn:{node.id} " in link.alias and link.master is None:
            world.delete(link.name)


@pytest.fixture
def world() -> Iterator[FakeWorld]:
    one = FakeWorld("vxlan")
    yield one
    one.close()


CALLS: dict[str, Callable[[Node], object]] = {
    "verify": lambda node: node.verify(),
    "repair": lambda node: node.repair(),
    "rebuild_topology": lambda node: node.rebuild_topology(),
    "reset_network": lambda node: node.reset_network(),
    "reconcile": lambda node: node.reconcile(vnics=[], atomic=True),
}


def check_beside(world: World, mine: str, theirs: str) -> None:
    """Whatever one node does, the other's entries stay, and both find all as it should be."""
    other = make(world, theirs, "other")
    fill(other, theirs, 2)
    their_entries = entries(world)
    assert their_entries
    one = make(world, mine)
    assert entries(world) == their_entries
    fill(one, mine)
    both = entries(world)
    assert one.verify() == other.verify() == []
    one.close()
    one = make(world, mine)
    assert entries(world) == both
    for what, call in CALLS.items():
        call(one)
        assert their_entries <= entries(world), what
        assert other.verify() == [], what
    assert entries(world) == their_entries
    other.repair()
    other.reset_network()
    assert entries(world) == set()


@pytest.mark.parametrize(("mine", "theirs"), list(product(KINDS, WITH_ENTRIES)))
def test_a_node_leaves_the_entries_of_another(world: FakeWorld, mine: str, theirs: str) -> None:
    check_beside(world, mine, theirs)


@pytest.mark.parametrize("kind", WITH_ENTRIES)
def test_an_entry_that_nothing_explains_is_left_alone(world: FakeWorld, kind: str) -> None:
    """Another node's links may be gone for a moment, and its entries are not ours then."""
    other = make(world, kind, "other")
    fill(other, kind, 2)
    their_entries = entries(world)
    lost(world, other)
    one = make(world, kind)
    fill(one, kind)
    one.repair()
    one.reset_network()
    assert entries(world) == their_entries
    other = make(world, kind, "other")
    assert other.verify() == []
    other.reset_network()
    assert entries(world) == set()


@pytest.mark.parametrize("kind", WITH_ENTRIES)
def test_entries_go_after_somebody_deleted_what_they_were_for(world: FakeWorld, kind: str) -> None:
    """Rules and the record of intents say whose the entries were."""
    before = world.text()
    node = make(world, kind)
    fill(node, kind)
    lost(world, node)
    node = make(world, kind)
    assert node.verify() == []
    if kind == "routed":
        assert entries(world) == set()
    node.reset_network()
    assert world.text() == before


def check_change(world: World, old: str, new: str) -> None:
    """The node says at once what is left of before; repair and reset leave nothing of it."""
    before = world.text()
    node = make(world, new)
    wanted = world.text()
    node.reset_network()
    node.close()

    for end in ("repair", "reset_network"):
        node = make(world, old)
        fill(node, old)
        theirs = entries(world)
        node.close()
        node = make(world, new)
        left = [line for line in node.verify() if line.startswith("unexpected: ")]
        said = {f"unexpected: {entry}" for entry in entries(world)}
        if old in WITH_ENTRIES and new in ("hub", "routed"):
            assert entries(world) == theirs, "what an orphan has is left alone until a repair"
            assert said <= {*left}
        if end == "repair":
            node.repair()
            rest = [line for line in node.verify() if " lost its tunnel" not in line]
            assert rest == []
            hosting = new not in ("hub", "routed")
            node.reconcile(vnics=[], concentrators=[] if hosting else None)
            assert entries(world) == set()
            node.close()
            node = make(world, new)
            assert node.verify() == []
            assert world.text() == wanted
        node.reset_network()
        assert world.text() == before
        node.close()


@pytest.mark.parametrize(("old", "new"), list(permutations(KINDS, 2)))
def test_a_change_leaves_nothing_of_before(world: FakeWorld, old: str, new: str) -> None:
    check_change(world, old, new)


@pytest.mark.parametrize("old", ["pool", "local", "mesh"])
@pytest.mark.parametrize("new", ["hub", "routed"])
def test_the_concentrator_is_named(world: FakeWorld, old: str, new: str) -> None:
    node = make(world, old)
    fill(node, old)
    (made,) = node.topology().concentrators
    node.close()
    node = world.node(config=world.config(**KINDS[new]), init=False)
    orphans = node.init().orphans
    for name in (f"namespace {made.netns} ", f"veth {made.link_name} "):
        (line,) = [line for line in orphans if line.startswith(name)]
        assert "this node has none by its configuration; repair() removes it" in line


def test_a_change_without_the_record_of_intents(world: FakeWorld) -> None:
    """The host's routes into the namespace say whose the public addresses are."""
    before = world.text()
    node = make(world, "pool")
    fill(node, "pool")
    node.close()
    world.kernel.state.journals.clear()
    node = make(world, "hub")
    node.reset_network()
    assert world.text() == before


def test_a_change_of_the_uplink(world: FakeWorld) -> None:
    """Entries on the link that was the uplink are the node's all the same."""
    world.kernel.add_uplink("eth1", "198.51.100.11/24")
    before = world.text()
    node = make(world, "routed")
    fill(node, "routed")
    node.close()
    other = world.config(**KINDS["routed"], compute_nets=["198.51.100.0/24"])
    node = world.node(config=other)
    node.repair()
    assert node.verify() == []
    assert {entry.partition(" dev ")[2] for entry in entries(world)} == {"eth1"}
    node.reset_network()
    assert world.text() == before


@pytest.mark.kernel
def test_on_the_kernel(real_walled: World) -> None:
    check_beside(real_walled, "routed", "local")


@pytest.mark.kernel
@pytest.mark.parametrize(("old", "new"), [("pool", "hub"), ("routed", "hub"), ("mesh", "routed")])
def test_a_change_on_the_kernel(real_walled: World, old: str, new: str) -> None:
    check_change(real_walled, old, new)

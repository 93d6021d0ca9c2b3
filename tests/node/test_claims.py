"""Which calls wait for each other although their plans share no object, and which do not.

``test_properties`` has the other half: calls whose plans share one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snnet
from snnet.node.claims import Claim, nobody
from snnet.node.engine import Engine
from tests.node.every_call import (
    FAR,
    GUEST,
    NEAR,
    NET,
    NEW,
    SECOND,
    bridge,
    bridged,
    concentrator,
    grouped,
    local,
    meshed,
    routed,
    space,
)
from tests.node.world import FakeWorld, World, container, port, vm


class Claimed(Exception):
    """What a call would claim, which is then not run."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim


def claim_of(call: Callable[[Any], object], node: Any, patch: pytest.MonkeyPatch) -> Claim:
    def run(engine: Engine[Any], call: Any, *_: object) -> object:
        raise Claimed(call.claim(engine.records, False, nobody))

    with patch.context() as patched:
        patched.setattr(Engine, "run", run)
        with pytest.raises(Claimed) as caught:
            call(node)
    return caught.value.claim


def create(*args: Any, **changes: Any) -> Callable[[Any], object]:
    return lambda node: node.create_vnic(vm(*args, **changes))


def forward(number: int, protocol: str = "tcp") -> Callable[[Any], object]:
    return lambda cnci: cnci.add_port_forward(
        protocol=protocol, device="eth0", port=number, to=GUEST
    )


def to(guest: str) -> dict[str, Any]:
    """A forward to a guest, from a port of its own."""
    port = int(guest.split(".")[1]) + 8000
    return {"protocol": "tcp", "device": "eth0", "port": port, "to": guest}


SIX: dict[str, Any] = {"subnet_number": 6, "subnet": "fd00:1::/64"}


def six(world: World) -> snnet.ComputeNode:
    """A node with a guest that has IPv6 alone: the default MAC is a hash of the address."""
    node = world.node()
    node.create_vnic(vm(9, **SIX, ip="fd00:1::9"))
    return node


def group(name: str, *named: str) -> Callable[[Any], object]:
    """Set a group whose rules name others."""
    rules = [snnet.Rule("in", remote=f"group:{other}") for other in named]
    return lambda node: node.set_group("t1", name, rules=rules)


def naming(world: World) -> snnet.ComputeNode:
    """A node with a group that names another one."""
    node = world.node()
    for make in (group("db"), group("web", "db")):
        make(node)
    return node


PAIRS: dict[str, tuple[Callable[..., Any], Callable[[Any], object], Callable[[Any], object], bool]]
PAIRS = {
    "one address": (bridged, create(10, ip="10.1.0.50"), create(11, ip="10.1.0.50"), True),
    "two addresses": (bridged, create(10), create(11), False),
    "one address of two subnets": (
        bridged,
        create(10, ip="10.1.0.50"),
        create(11, subnet_number=2, subnet="10.1.0.0/24", ip="10.1.0.50"),
        False,
    ),
    "one address of two routed subnets": (
        routed,
        create(10, ip="10.1.0.50"),
        create(11, subnet_number=2, subnet="10.1.0.0/24", ip="10.1.0.50"),
        True,
    ),
    "one address in one group": (
        grouped,
        create(10, ip="10.1.0.50", groups=["web"]),
        create(11, subnet_number=2, subnet="10.1.0.0/24", ip="10.1.0.50", groups=["web"]),
        True,
    ),
    "one group": (grouped, create(10, groups=["web"]), create(11, groups=["web"]), False),
    "a group that changes": (
        grouped,
        create(10, groups=["web"]),
        lambda node: node.set_group("t1", "web"),
        True,
    ),
    "a group that names another, and that one": (
        naming,
        group("x", "web"),
        group("web"),
        True,
    ),
    "a group, and one that is named by a group that it names": (
        naming,
        group("x", "web"),
        group("db"),
        True,
    ),
    "a group that names another, and that one before it is there": (
        naming,
        group("x", "new"),
        group("new"),
        True,
    ),
    "two groups that name a third": (naming, group("x", "web"), group("y", "web"), False),
    "two new subnets": (
        bridged,
        create(10, subnet_number=5),
        create(11, subnet_number=6),
        False,
    ),
    "two new subnets with one tunnel": (
        bridged,
        create(10, subnet_number=5, subnet_key=77),
        create(11, subnet_number=6, subnet_key=77),
        True,
    ),
    "a new subnet": (bridged, create(10, subnet_number=5), create(11, subnet_number=5), True),
    "a subnet's last VNIC": (
        bridged,
        create(10),
        lambda node: node.destroy_vnic(container(9)),
        True,
    ),
    "one of two VNICs": (
        bridged,
        create(10, subnet_number=2),
        lambda node: node.destroy_vnic(container(7, subnet_number=2)),
        False,
    ),
    "one MAC of CNCI VNICs": (
        bridged,
        lambda node: node.create_cnci_vnic(port(2)),
        lambda node: node.create_cnci_vnic(port(3, mac=port(2).mac)),
        True,
    ),
    "two CNCI VNICs": (
        bridged,
        lambda node: node.create_cnci_vnic(port(2)),
        lambda node: node.create_cnci_vnic(port(3)),
        False,
    ),
    "one port of two concentrators": (
        local,
        lambda node: node.set_concentrator(space(3, tenant=2, port=80)),
        lambda node: node.set_concentrator(space(4, tenant=3, port=80)),
        True,
    ),
    "a concentrator's new subnet": (
        local,
        lambda node: node.set_concentrator(space(1, 3)),
        create(10, subnet_number=3),
        True,
    ),
    "a concentrator's old subnet": (
        local,
        lambda node: node.set_concentrator(space(1)),
        create(10, subnet_number=2),
        True,
    ),
    "a removed concentrator's subnet": (
        local,
        lambda node: node.remove_concentrator("t1", "c1"),
        create(10, subnet_number=2),
        True,
    ),
    "another subnet than a concentrator's": (
        local,
        lambda node: node.remove_concentrator("t1", "c1"),
        create(10, subnet_number=3),
        False,
    ),
    "peers of a concentrator's new subnet": (
        meshed,
        lambda node: node.set_concentrator(space(1, 2)),
        lambda node: node.set_peers("t1", "s1", []),
        True,
    ),
    "peers of a concentrator's old subnet": (
        meshed,
        lambda node: node.set_concentrator(space(2)),
        lambda node: node.set_peers("t1", "s1", []),
        True,
    ),
    "one tunnel of a concentrator's subnet and a VNIC's": (
        meshed,
        lambda node: node.set_concentrator(space(1, 3)),
        create(10, subnet_number=4, subnet_key=103),
        True,
    ),
    "one address of a mesh": (meshed, create(10, ip="10.1.0.50"), create(12, ip="10.1.0.50"), True),
    "two addresses of a mesh": (meshed, create(10), create(12), False),
    "a guest that moves here, and another": (meshed, create(10), create(11), True),
    "a guest whose MAC moves here, and another": (
        meshed,
        create(10),
        create(12, mac="02:00:0a:01:00:0b"),
        True,
    ),
    "a guest that moves here, and peers": (
        meshed,
        create(11),
        lambda node: node.set_peers("t1", "s1", []),
        True,
    ),
    "the last guest here, and peers": (
        meshed,
        lambda node: node.destroy_vnic(container(9)),
        lambda node: node.set_peers("t1", "s1", []),
        True,
    ),
    "the last guest of one subnet, and peers of another": (
        meshed,
        lambda node: node.destroy_vnic(container(9)),
        lambda node: node.set_peers("t1", "s2", []),
        False,
    ),
    "one address of a local host": (
        local,
        create(10, ip="10.1.0.50"),
        create(11, ip="10.1.0.50"),
        True,
    ),
    "the last VNIC of a concentrator's subnet": (
        local,
        create(10),
        lambda node: node.destroy_vnic(container(9)),
        False,
    ),
    "the last VNIC of a subnet, and a next one": (
        bridged,
        create(10),
        lambda node: node.destroy_vnic(container(9)),
        True,
    ),
    "two new subnets of a mesh": (
        meshed,
        create(10, subnet_number=5),
        create(11, subnet_number=6),
        False,
    ),
    "two VNICs of a local subnet": (local, create(10), create(11), False),
    "two VNICs of a routed subnet": (routed, create(10), create(11), False),
    "two new routed subnets": (
        routed,
        create(10, subnet_number=5),
        create(11, subnet_number=6),
        True,
    ),
    "a new routed subnet, and the last VNIC of another": (
        routed,
        create(10, subnet_number=5),
        lambda node: node.destroy_vnic(container(9)),
        True,
    ),
    "the last VNIC of a routed subnet, and another subnet": (
        routed,
        create(10, subnet_number=2),
        lambda node: node.destroy_vnic(container(9)),
        False,
    ),
    "one default MAC of two IPv6 addresses": (
        six,
        create(10, **SIX, ip="fd00:1::1c:d519"),
        create(11, **SIX, ip="fd00:1::16:fbe7"),
        True,
    ),
    "two IPv6 addresses": (
        six,
        create(10, **SIX, ip="fd00:1::a"),
        create(11, **SIX, ip="fd00:1::b"),
        False,
    ),
    "peers of two subnets": (
        meshed,
        lambda node: node.set_peers("t1", "s1", []),
        lambda node: node.set_peers("t1", "s2", []),
        False,
    ),
    "one tunnel of two subnets": (
        concentrator,
        lambda cnci: cnci.add_remote_subnet(NEW, 9, NEAR),
        lambda cnci: cnci.add_remote_subnet("10.4.0.0/24", 9, NEAR),
        True,
    ),
    "two tunnels of a subnet": (
        concentrator,
        lambda cnci: cnci.add_remote_subnet(NET, 7, FAR),
        lambda cnci: cnci.add_remote_subnet(NET, 7, "192.0.2.23"),
        False,
    ),
    "the last tunnels to a node outside": (
        concentrator,
        lambda cnci: cnci.del_remote_subnet(NET, 7, "198.51.100.21"),
        lambda cnci: cnci.del_remote_subnet(SECOND, 8, "198.51.100.21"),
        True,
    ),
    "the last tunnels to a node of the compute network": (
        concentrator,
        lambda cnci: cnci.del_remote_subnet(NET, 7, NEAR),
        lambda cnci: cnci.del_remote_subnet(SECOND, 8, NEAR),
        False,
    ),
    "a new node of a subnet that is removed": (
        concentrator,
        lambda cnci: cnci.add_remote_subnet(NET, 7, FAR),
        lambda cnci: cnci.remove_subnet(NET),
        True,
    ),
    "a node of a subnet whose server is read again": (
        concentrator,
        lambda cnci: cnci.del_remote_subnet(NET, 7, NEAR),
        lambda cnci: cnci.dhcp(NET).reload(),
        True,
    ),
    "a forward to a subnet that goes": (
        concentrator,
        forward(8000),
        lambda cnci: cnci.remove_subnet(NET),
        True,
    ),
    "an exit of a subnet that goes": (
        concentrator,
        lambda cnci: cnci.allow_external("eth0", bridge(cnci, SECOND)),
        lambda cnci: cnci.remove_subnet(SECOND),
        True,
    ),
    "forwards to two subnets, of which one goes": (
        concentrator,
        lambda cnci: cnci.reconcile(forwards=[*cnci.port_forwards, to(GUEST), to("10.2.0.9")]),
        lambda cnci: cnci.remove_subnet(NET),
        True,
    ),
    "two ports": (concentrator, forward(8000), forward(8001), False),
    "ports that overlap": (
        concentrator,
        forward(8001),
        lambda cnci: cnci.add_port_forward(
            protocol="tcp", device="eth0", port="8000-8002", to=GUEST
        ),
        True,
    ),
}  # fmt: skip
"""How to make the node, two calls, and whether they must not be run at the same time."""


@pytest.mark.parametrize("name", PAIRS)
def test_calls_that_contradict_each_other_bar_each_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, one, other, barred = PAIRS[name]
    node = prepare(FakeWorld("gre"))
    mine, theirs = (claim_of(call, node, monkeypatch) for call in (one, other))
    assert mine.bars(theirs) is barred
    assert theirs.bars(mine) is barred

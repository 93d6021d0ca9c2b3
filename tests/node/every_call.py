"""Every public method of the nodes, with a world in which to call it.

``test_properties`` compares the table with the classes, so that a new method or a new
call has to be entered here, and has every property of the others from then on.
"""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

import snnet
import snnet.node.calls
from snnet.contract import DhcpEntry, Veth
from snnet.node.call import Call
from snnet.node.claims import nobody
from snnet.node.scopes import ScopeControl
from tests.node.test_cnci import neighbors
from tests.node.world import World, container, port, vm

NET, SECOND, NEW = "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"
GUEST, PUBLIC = "10.1.0.9", "203.0.113.5"
NEAR, FAR = "192.0.2.21", "192.0.2.22"


AWAY = snnet.Peer(NEAR, 8473, ["02:00:0a:01:00:0b"], ["10.1.0.11"])
MOVED = snnet.Peer(FAR, 8473, ["02:00:0a:01:00:0b"], ["10.1.0.11"])


class Kind(enum.Enum):
    """What a method promises where something fails."""

    LOOK = enum.auto()
    """It changes nothing, ever."""
    SET_UP = enum.auto()
    """All or nothing."""
    TEAR_DOWN = enum.auto()
    """It presses on and lists what is left; the same call again finishes."""
    REPORT = enum.auto()
    """It presses on, and the result says what is left; the same call again finishes."""


Prepare = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One way to call a method."""

    prepare: Prepare
    """Make the world and the node; called once in each world."""
    kind: Kind
    name: str = ""
    args: Callable[[Any], tuple[Any, ...]] = lambda node: ()
    options: dict[str, Any] = field(default_factory=dict)
    on: Callable[[Any], Any] = lambda node: node
    """The object whose method it is."""
    method: str = ""
    works: bool = True
    """Whether it does something in its world."""

    def __call__(self, node: Any, **options: Any) -> Any:
        found = getattr(self.on(node), self.method.partition(".")[2])
        return found(*self.args(node), **self.options, **options) if callable(found) else found

    @property
    def names(self) -> list[str]:
        """Names of the method's parameters; none if it is a property."""
        cls, name = self.method.split(".")
        found = inspect.getattr_static(CLASSES[cls], name)
        return [*inspect.signature(found).parameters][1:] if inspect.isfunction(found) else []

    def takes(self, option: str) -> bool:
        return option in self.names

    def __str__(self) -> str:
        return f"{self.method} {self.name}".strip().replace(" ", "-")


# -- worlds ------------------------------------------------------------------------


def bridged(world: World, **options: Any) -> snnet.ComputeNode:
    """A node with two subnets, a VM, two containers and a CNCI VNIC."""
    node = world.node(**options)
    if not node.read_only:
        node.create_vnic(container(9))
        node.create_vnic(vm(8, subnet_number=2))
        node.create_vnic(container(7, subnet_number=2))
        node.create_cnci_vnic(port(1))
    return node


def grouped(world: World, **options: Any) -> snnet.ComputeNode:
    """A node with a container in a group, and a group that nobody is in."""
    node = world.node(**options)
    if not node.read_only:
        node.set_group("t1", "web")
        node.set_group("t1", "spare", rules=[snnet.Rule("in")])
        node.create_vnic(container(9, groups=["web"]))
    return node


def shaped(world: World, **options: Any) -> snnet.ComputeNode:
    """A node with a container and a VM with limited rates."""
    node = world.node(**options)
    if not node.read_only:
        node.create_vnic(container(9, **RATES))
        node.create_vnic(vm(8, rate_from_guest="1gbit"))
    return node


def routed(world: World, **options: Any) -> snnet.ComputeNode:
    """A node in routed mode with two subnets of one tenant."""
    options["config"] = world.config(mode=snnet.NetworkMode.ROUTED)
    node = world.node(**options)
    if not node.read_only:
        node.create_vnic(container(9))
        node.create_vnic(vm(8, subnet_number=2))
    return node


def local(world: World, **options: Any) -> snnet.ComputeNode:
    """A node with a concentrator that serves two subnets, of which one has a container."""
    options["config"] = world.config(topology="local")
    node = world.node(**options)
    if not node.read_only:
        node.set_concentrator(space(1, 2, port=33022))
        node.create_vnic(container(9))
    return node


def meshed(world: World, **options: Any) -> snnet.ComputeNode:
    """A node of a mesh with two subnets, of which one has guests on other nodes."""
    options["config"] = world.config(topology="mesh")
    node = world.node(**options)
    if not node.read_only:
        node.set_concentrator(space(1, 2, port=33022))
        node.create_vnic(container(9))
        node.set_peers("t1", "s1", [AWAY, snnet.Peer(FAR)])
    return node


def space(*subnets: int, tenant: int = 1, port: int = 33022) -> snnet.ConcentratorConfig:
    """The config of a tenant's concentrator with these subnets and a port of the host."""
    return snnet.ConcentratorConfig(
        tenant_id=f"t{tenant}",
        concentrator_id=f"c{tenant}",
        subnets=[
            snnet.LocalSubnet(
                subnet_id=f"s{number}",
                subnet=f"10.{number}.0.0/24",
                subnet_key=100 * tenant + number,
            )
            for number in subnets
        ],
        forwards=[snnet.HostForward(protocol="tcp", port=port)],
    )


def plugged(world: World, **options: Any) -> snnet.Cnci:
    """A concentrator with a link in its namespace that leads to a subnet."""
    cnci = concentrator(world, **options)
    if world.link("plug") is None:
        world.add(Veth(name="plug", peer="plug-far", up=False))
    return cnci


def concentrator(world: World, **options: Any) -> snnet.Cnci:
    """A concentrator with one of everything."""
    cnci = world.cnci(**options)
    if not cnci.read_only:
        cnci.add_remote_subnet(NET, 7, NEAR)
        cnci.add_remote_subnet(SECOND, 8, NEAR)
        cnci.dhcp(NET).add_entry("10.1.0.50", hostname="web")
        cnci.update_neighbors(neighbors(11, 30))
        cnci.enable_nat(["eth0"])
        cnci.allow_external("eth0", bridge(cnci))
        cnci.add_port_forward(protocol="tcp", device="eth0", port=80, to=GUEST)
        cnci.add_public_ip(PUBLIC, to=GUEST, device="eth0")
    return cnci


def empty(prepare: Prepare, world: World, **options: Any) -> Any:
    """The same node after it removed everything, so that it forwards nothing any more."""
    node = prepare(world, **options)
    if not node.read_only:
        (node.shutdown if isinstance(node, snnet.Cnci) else node.reset_network)()
    return node


def damaged(prepare: Prepare, world: World, **options: Any) -> Any:
    """The same node, some of whose links were deleted behind its back."""
    node = prepare(world, **options)
    if not node.read_only:
        for link in sorted(link.name for link in world.links())[:2]:
            if world.link(link) is not None:
                world.delete(link)
    return node


def left_behind(prepare: Prepare, world: World, **options: Any) -> Any:
    """A node before its ``init``, on the damaged host of another one of this name."""
    damaged(prepare, world).close()
    return unready(prepare, world, **options)


def unready(prepare: Prepare, world: World, **options: Any) -> Any:
    """A node before its ``init``."""
    if prepare is routed:
        options["config"] = world.config(mode=snnet.NetworkMode.ROUTED)
    if prepare is local:
        options["config"] = world.config(topology="local")
    if prepare is meshed:
        options["config"] = world.config(topology="mesh")
    make = world.cnci if prepare is concentrator else world.node
    return make(init=False, **options)


def bridge(cnci: snnet.Cnci, subnet: str = NET) -> str:
    return str(cnci.topology()["subnets"][subnet]["bridge"])


def of(change: Callable[..., Any], prepare: Prepare) -> Prepare:
    return functools.partial(change, prepare)


# -- the table ---------------------------------------------------------------------

CLASSES: dict[str, type] = {
    "ComputeNode": snnet.ComputeNode,
    "Cnci": snnet.Cnci,
    "ScopeControl": ScopeControl,
}


def _event(subnet: str, key: int, cn_ip: str) -> snnet.TunnelEvent:
    """A compute node's new tunnel."""
    return snnet.TunnelEvent(
        type=snnet.TunnelEventType.ADD,
        cnci_ip=ip_address("192.0.2.10"),
        cn_ip=ip_address(cn_ip),
        subnet=IPv4Network(subnet),
        tenant_id="t1",
        subnet_id="s9",
        concentrator_id="cnci-1",
        cn_id="cn-9",
        subnet_key=key,
        sequence=(1, 1),
    )


def _given(*args: Any) -> Callable[[Any], tuple[Any, ...]]:
    return lambda node: args


def _subnets(*numbers: int) -> dict[str, Any]:
    """One VM in each of these subnets."""
    return {"vnics": [vm(20, subnet_number=number) for number in numbers]}


EVERYTHING: dict[str, Any] = {
    "subnets": [
        snnet.Subnet(NET, 7, remotes=[snnet.Remote(FAR)], mtu=1400),
        snnet.Subnet(NEW, 9, remotes=[snnet.Remote(NEAR)]),
    ],
    "nat": [],
    "exits": [("eth0", NEW)],
    "forwards": [{"protocol": "udp", "device": "eth0", "port": 53, "to": GUEST}],
    "public_ips": [{"address": "203.0.113.6", "to": GUEST, "device": "eth0"}],
    "neighbors": neighbors(11, 31),
}
"""What makes ``reconcile`` do everything it can."""


def _nodes(role: str, prepare: Prepare, *more: Case) -> dict[str, list[Case]]:
    """What nodes of both roles have."""
    looks = ("backend", "compute_ip", "drivers", "dump_firewall", "id", "routed", "site")
    return {
        **{
            f"{role}.{name}": [Case(prepare, Kind.LOOK)]
            for name in (*looks, "topology", "uplinks", "verify")
        },
        f"{role}.init": [
            Case(prepare, Kind.REPORT, "again", works=False),
            Case(of(left_behind, prepare), Kind.REPORT, "heals"),
            Case(of(unready, prepare), Kind.SET_UP, "first", works=prepare is concentrator),
        ],
        f"{role}.close": [Case(prepare, Kind.LOOK)],
        f"{role}.follow_uplink": [Case(prepare, Kind.LOOK)],
        f"{role}.rely_on": [Case(prepare, Kind.LOOK, args=_given(bool))],
        f"{role}.repair": [Case(of(damaged, prepare), Kind.REPORT), *more],
        f"{role}.rebuild_topology": [Case(of(damaged, prepare), Kind.REPORT), *more],
    }


def _both(kind: Kind, name: str = "", **case: Any) -> list[Case]:
    """On a bridged and on a routed node."""
    return [
        Case(bridged, kind, f"{name} bridged", **case),
        Case(routed, kind, f"{name} routed", **case),
    ]


GROUP = {"rules": [snnet.Rule("in", "tcp", 80, "group:web")], "members": ["10.1.0.77"]}
POLICY = {"extra_addresses": ["10.1.0.200", "172.17.0.0/16"]}
RATES = {"rate_to_guest": "50mbit", "rate_from_guest": "10mbit"}
ENTRY = DhcpEntry(mac="02:00:0a:01:00:33", address=IPv4Address("10.1.0.51"))

TABLE: dict[str, list[Case]] = {
    **_nodes("ComputeNode", bridged, Case(of(damaged, shaped), Kind.REPORT, "rates")),
    **_nodes("Cnci", concentrator),
    # -- compute nodes
    "ComputeNode.create_vnic": [
        *_both(Kind.SET_UP, "first container", args=_given(container(9, subnet_number=3))),
        *_both(Kind.SET_UP, "second vm", args=_given(vm(10))),
        *_both(Kind.SET_UP, "queues", args=_given(vm(10, queues=3))),
        *_both(Kind.SET_UP, "again", args=_given(container(9)), works=False),
        *_both(Kind.SET_UP, "rates", args=_given(container(10, **RATES))),
        Case(shaped, Kind.SET_UP, "rates again", args=_given(container(9, **RATES)), works=False),
        Case(of(damaged, shaped), Kind.SET_UP, "rates repair", args=_given(container(9, **RATES))),
        Case(of(damaged, bridged), Kind.SET_UP, "repair", args=_given(container(9))),
        Case(meshed, Kind.SET_UP, "mesh", args=_given(container(9, subnet_number=3))),
        Case(of(damaged, meshed), Kind.SET_UP, "repair mesh", args=_given(container(9))),
        Case(of(empty, routed), Kind.SET_UP, "after reset", args=_given(container(9))),
    ],
    "ComputeNode.plan_create_vnic": [
        *_both(Kind.LOOK, args=_given(vm(10, subnet_number=3))),
        Case(of(empty, routed), Kind.LOOK, "after reset", args=_given(vm(10))),
    ],
    "ComputeNode.update_vnic": [
        *_both(Kind.SET_UP, "mtu", args=_given(container(9, mtu=1300))),
        Case(bridged, Kind.SET_UP, "policy", args=_given(container(9, mtu=1300, **POLICY))),
        Case(bridged, Kind.SET_UP, "open", args=_given(container(9, anti_spoofing=False))),
        Case(of(damaged, bridged), Kind.SET_UP, "repair", args=_given(container(9, **POLICY))),
        *_both(Kind.SET_UP, "rates", args=_given(container(9, mtu=1300, **RATES))),
        Case(shaped, Kind.SET_UP, "no rates", args=_given(container(9))),
        Case(shaped, Kind.SET_UP, "a rate", args=_given(container(9, rate_from_guest="2gbit"))),
        Case(grouped, Kind.SET_UP, "no groups", args=_given(container(9))),
        Case(grouped, Kind.SET_UP, "groups", args=_given(container(9, groups=["spare"], **POLICY))),
        *_both(Kind.SET_UP, "again", args=_given(container(9)), works=False),
    ],
    "ComputeNode.set_peers": [
        Case(meshed, Kind.SET_UP, "moved", args=_given("t1", "s1", [MOVED])),
        Case(meshed, Kind.SET_UP, "none", args=_given("t1", "s1", [])),
        Case(meshed, Kind.SET_UP, "first", args=_given("t1", "s2", [snnet.Peer(NEAR)])),
        Case(
            meshed,
            Kind.SET_UP,
            "again",
            args=_given("t1", "s1", [AWAY, snnet.Peer(FAR)]),
            works=False,
        ),
        Case(of(damaged, meshed), Kind.SET_UP, "repair", args=_given("t1", "s1", [MOVED])),
    ],
    "ComputeNode.plan_set_peers": [Case(meshed, Kind.LOOK, args=_given("t1", "s1", [MOVED]))],
    "ComputeNode.take_number": [Case(of(unready, bridged), Kind.LOOK, args=_given(3))],
    "ComputeNode.set_group": [
        *_both(Kind.SET_UP, "first", args=_given("t1", "web"), options=GROUP),
        Case(grouped, Kind.SET_UP, "other", args=_given("t1", "web"), options=GROUP),
        Case(grouped, Kind.SET_UP, "again", args=_given("t1", "web"), works=False),
        Case(of(damaged, grouped), Kind.SET_UP, "repair", args=_given("t1", "web"), options=GROUP),
    ],
    "ComputeNode.plan_set_group": [
        Case(grouped, Kind.LOOK, args=_given("t1", "web"), options=GROUP)
    ],
    "ComputeNode.remove_group": [
        Case(grouped, Kind.TEAR_DOWN, args=_given("t1", "spare")),
        Case(bridged, Kind.TEAR_DOWN, "unknown", args=_given("t1", "web"), works=False),
    ],
    "ComputeNode.plan_update_vnic": [
        *_both(Kind.LOOK, args=_given(container(9, mtu=1300))),
    ],
    "ComputeNode.destroy_vnic": [
        *_both(Kind.TEAR_DOWN, "last", args=_given(container(9))),
        Case(meshed, Kind.TEAR_DOWN, "last here", args=_given(container(9))),
        Case(shaped, Kind.TEAR_DOWN, "rates", args=_given(container(9))),
        Case(bridged, Kind.TEAR_DOWN, "one of two", args=_given(vm(8, subnet_number=2))),
        Case(bridged, Kind.TEAR_DOWN, "unknown", args=_given(vm(99)), works=False),
    ],
    "ComputeNode.create_vnics": [
        *_both(
            Kind.SET_UP,
            "atomic",
            args=_given([vm(10), vm(11, queues=2), container(12, subnet_number=3)]),
            options={"atomic": True},
        ),
        *_both(Kind.REPORT, "each", args=_given([vm(10), container(12, subnet_number=3)])),
    ],
    "ComputeNode.destroy_vnics": [
        *_both(Kind.TEAR_DOWN, args=_given([container(9), vm(8, subnet_number=2)]))
    ],
    "ComputeNode.create_cnci_vnic": [Case(bridged, Kind.SET_UP, args=_given(port(2)))],
    "ComputeNode.plan_create_cnci_vnic": [Case(bridged, Kind.LOOK, args=_given(port(2)))],
    "ComputeNode.destroy_cnci_vnic": [Case(bridged, Kind.TEAR_DOWN, args=_given(port(1)))],
    "ComputeNode.reconcile": [
        *_both(Kind.SET_UP, "atomic", options={**_subnets(1, 3), "atomic": True}),
        Case(
            bridged,
            Kind.SET_UP,
            "atomic with CNCI VNICs",
            options={**_subnets(2), "cnci_vnics": [port(2)], "atomic": True},
        ),
        *_both(Kind.REPORT, "each", options={**_subnets(1, 3), "cnci_vnics": []}),
        Case(
            local,
            Kind.SET_UP,
            "atomic with concentrators",
            options={
                **_subnets(2, 3),
                "concentrators": [space(2, 3), space(1, tenant=2, port=8080)],
                "atomic": True,
            },
        ),
        Case(local, Kind.REPORT, "no concentrator", options={"concentrators": []}),
    ],
    "ComputeNode.set_concentrator": [
        Case(meshed, Kind.SET_UP, "mesh", args=_given(space(2, 3, port=80))),
        Case(local, Kind.SET_UP, "first", args=_given(space(1, 4, tenant=2, port=8080))),
        Case(local, Kind.SET_UP, "other", args=_given(space(2, 3, port=80))),
        Case(local, Kind.SET_UP, "again", args=_given(space(1, 2)), works=False),
        Case(of(damaged, local), Kind.SET_UP, "repair", args=_given(space(1, 2))),
        Case(of(empty, local), Kind.SET_UP, "after reset", args=_given(space(1, 2))),
    ],
    "ComputeNode.plan_set_concentrator": [
        Case(local, Kind.LOOK, args=_given(space(2, 3, port=80))),
    ],
    "ComputeNode.remove_concentrator": [
        Case(local, Kind.TEAR_DOWN, args=_given("t1", "c1")),
        Case(meshed, Kind.TEAR_DOWN, "mesh", args=_given("t1", "c1")),
        Case(local, Kind.TEAR_DOWN, "unknown", args=_given("t1", "c9"), works=False),
    ],
    "ComputeNode.reserve": [
        Case(
            bridged,
            Kind.LOOK,
            args=_given(nobody),
            options={"concentrators": nobody, "groups": nobody},
        )
    ],
    "ComputeNode.reset_network": [*_both(Kind.TEAR_DOWN)],
    # -- concentrators
    "Cnci.add_remote_subnet": [
        Case(concentrator, Kind.SET_UP, "first node", args=_given(NEW, 9, NEAR)),
        Case(concentrator, Kind.SET_UP, "second node", args=_given(NET, 7, FAR)),
        Case(concentrator, Kind.SET_UP, "again", args=_given(NET, 7, NEAR), works=False),
        Case(of(damaged, concentrator), Kind.SET_UP, "repair", args=_given(NET, 7, NEAR)),
        Case(of(empty, concentrator), Kind.SET_UP, "after shutdown", args=_given(NET, 7, NEAR)),
    ],
    "Cnci.add_local_subnet": [
        Case(plugged, Kind.SET_UP, args=_given(NEW, 9, "plug")),
    ],
    "Cnci.plan_add_remote_subnet": [
        Case(concentrator, Kind.LOOK, args=_given(NEW, 9, NEAR)),
        Case(of(empty, concentrator), Kind.LOOK, "after shutdown", args=_given(NEW, 9, NEAR)),
    ],
    "Cnci.del_remote_subnet": [Case(concentrator, Kind.TEAR_DOWN, args=_given(NET, 7, NEAR))],
    "Cnci.follow": [Case(concentrator, Kind.SET_UP, args=lambda node: (_event(NEW, 9, NEAR),))],
    "Cnci.remove_subnet": [
        Case(concentrator, Kind.TEAR_DOWN, args=_given(NET)),
        Case(concentrator, Kind.TEAR_DOWN, "unknown", args=_given(NEW), works=False),
    ],
    "Cnci.dhcp": [Case(concentrator, Kind.LOOK, args=_given(NET))],
    "Cnci.leases": [Case(concentrator, Kind.LOOK, args=_given(NET))],
    "Cnci.update_neighbors": [
        Case(concentrator, Kind.SET_UP, "other", args=_given(neighbors(11, 31))),
        Case(of(empty, concentrator), Kind.SET_UP, "first", args=_given(neighbors(11, 31))),
        Case(concentrator, Kind.TEAR_DOWN, "nobody", args=_given([])),
    ],
    "Cnci.enable_nat": [Case(of(empty, concentrator), Kind.SET_UP, args=_given(["eth0"]))],
    "Cnci.disable_nat": [Case(concentrator, Kind.TEAR_DOWN)],
    "Cnci.allow_external": [
        Case(concentrator, Kind.SET_UP, args=lambda cnci: ("eth0", bridge(cnci, SECOND)))
    ],
    "Cnci.deny_external": [
        Case(concentrator, Kind.TEAR_DOWN, args=lambda cnci: ("eth0", bridge(cnci)))
    ],
    "Cnci.add_port_forward": [
        Case(
            concentrator,
            Kind.SET_UP,
            options={"protocol": "udp", "device": "eth0", "port": "8000-8002", "to": GUEST},
        )
    ],
    "Cnci.remove_port_forward": [
        Case(
            concentrator,
            Kind.TEAR_DOWN,
            options={"protocol": "tcp", "device": "eth0", "port": 80},
        )
    ],
    "Cnci.add_public_ip": [
        Case(
            concentrator,
            Kind.SET_UP,
            args=_given("203.0.113.6"),
            options={"to": "10.1.0.10", "device": "eth0"},
        )
    ],
    "Cnci.remove_public_ip": [Case(concentrator, Kind.TEAR_DOWN, args=_given(PUBLIC))],
    "Cnci.port_forwards": [Case(concentrator, Kind.LOOK)],
    "Cnci.public_ips": [Case(concentrator, Kind.LOOK)],
    "Cnci.reconcile": [
        Case(concentrator, Kind.SET_UP, "atomic", options={**EVERYTHING, "atomic": True}),
        Case(concentrator, Kind.REPORT, "each", options=EVERYTHING),
    ],
    "Cnci.shutdown": [Case(concentrator, Kind.TEAR_DOWN)],
    # -- scopes
    **{
        f"ScopeControl.{name}": [Case(concentrator, Kind.LOOK, on=lambda cnci: cnci.dhcp(NET))]
        for name in ("entries", "added", "held", "running")
    },
    **{
        f"ScopeControl.{name}": [
            Case(concentrator, Kind.SET_UP, args=args, on=lambda cnci: cnci.dhcp(NET), works=works)
        ]
        for name, args, works in (
            ("add_entry", _given("10.1.0.51"), True),
            (
                "add_entries",
                _given([DhcpEntry(mac="02:00:0a:01:00:33", address=IPv4Address("10.1.0.51"))]),
                True,
            ),
            ("remove_entry", _given("10.1.0.50"), True),
            ("reload", _given(), True),
            ("start", _given(), False),
            ("stop", _given(), True),
            ("restart", _given(), True),
        )
    },
}

CASES = [replace(case, method=method) for method, cases in TABLE.items() for case in cases]
"""Every case of the table."""


def public_methods() -> Iterator[str]:
    """Every public method and property of the classes."""
    for name, cls in CLASSES.items():
        for member in dir(cls):
            found = inspect.getattr_static(cls, member)
            # Mutation tests add members, whose names are not ASCII.
            if not member.startswith("_") and member.isascii() and hasattr(found, "__get__"):
                yield f"{name}.{member}"


def call_classes() -> set[type[Call[Any, Any, Any, Any]]]:
    """Every concrete call of a node."""
    for module in pkgutil.iter_modules(snnet.node.calls.__path__):
        importlib.import_module(f"{snnet.node.calls.__name__}.{module.name}")

    def below(cls: type[Any]) -> Iterator[type[Any]]:
        subclasses: list[type[Any]] = cls.__subclasses__()
        for subclass in subclasses:
            yield subclass
            yield from below(subclass)

    return {cls for cls in below(Call) if not inspect.isabstract(cls)}

"""What a call relies on without a look at the host, and what it does where that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import count
from typing import Any, NoReturn

import pytest

import snnet
from snnet.backends.fake import FakeFirewall
from snnet.backends.fake.driver import FakeDriver
from snnet.contract import (
    Add,
    Address,
    Bridge,
    Change,
    Driver,
    ExternalForward,
    GroupMembers,
    GroupRules,
    Link,
    Namespace,
    Noun,
    Operation,
    Owned,
    Remove,
    Route,
    Tap,
    Vxlan,
    Zone,
    ZoneLink,
)
from snnet.contract.network import SNNET_PROTOCOL
from snnet.node.noted import noted
from snnet.system.host import RealHost
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
)
from tests.node.test_properties import Recorder
from tests.node.world import FakeWorld, RealWorld, vm


@contextmanager
def looked_up(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Noun]]:
    """Yield what the driver is asked for during the block; fail if it is to list anything."""
    asked: list[Noun] = []
    find = driver.find

    def seen(noun: Noun) -> Noun | None:
        asked.append(noun)
        return find(noun)

    def listed(types: object = None) -> dict[object, Noun]:
        raise AssertionError(f"listed {types}")

    with monkeypatch.context() as patch:
        patch.setattr(driver, "find", seen)
        patch.setattr(driver, "snapshot", listed)
        yield asked


def nouns_of(world: FakeWorld) -> list[Noun]:
    """All that the node made."""
    links = {link.name for link in world.links()}
    found = world.kernel.state.nouns.values()
    return [one for one in found if isinstance(one, Owned) or one.key[1] in links]


def remove(world: FakeWorld, noun: Noun) -> None:
    """Remove it behind the node's back."""
    driver = FakeFirewall(world.kernel.host) if isinstance(noun, Owned) else world.kernel
    assert driver.apply([Remove(noun)]).error is None


def test_a_next_vnic_looks_at_nothing_but_its_tunnel(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would notice that the tunnel is gone."""
    node = fake.node()
    node.create_vnic(vm(9))
    with looked_up(fake.kernel, monkeypatch) as asked:
        node.create_vnic(vm(10))
    (tunnel,) = asked
    assert tunnel == node.topology().subnets[0].tunnel


def test_the_first_vnic_of_a_subnet_looks_at_the_nodes_address_alone(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    with looked_up(fake.kernel, monkeypatch) as asked:
        node.create_vnic(vm(9))
    assert [noun.key[0] for noun in asked if noun.key[0] != "path"] == ["address"]


def test_another_node_of_a_subnet_looks_once_at_bridge_and_tunnel(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci = concentrator(fake)
    with looked_up(fake.kernel, monkeypatch) as asked:
        name = cnci.add_remote_subnet(NET, 7, FAR)
    tunnel = cnci.topology()["subnets"][NET]["tunnels"][FAR]
    links = [noun.key[1] for noun in asked if isinstance(noun, Link)]
    assert links == [name, tunnel]


def test_other_peers_of_a_subnet_look_at_nothing_but_its_tunnel(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = meshed(fake)
    with looked_up(fake.kernel, monkeypatch) as asked:
        node.set_peers("t1", "s1", [snnet.Peer(FAR)])
    (tunnel,) = asked
    assert tunnel in [subnet.tunnel for subnet in node.topology().subnets]


def test_a_new_subnet_looks_for_no_address_on_its_bridge(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci, find, asked = concentrator(fake), fake.kernel.find, list[Noun]()

    def noting(noun: Noun) -> Noun | None:
        asked.append(noun)
        return find(noun)

    monkeypatch.setattr(fake.kernel, "find", noting)
    cnci.add_remote_subnet(NEW, 9, NEAR)
    assert any(isinstance(noun, Link) for noun in asked)
    assert [noun for noun in asked if isinstance(noun, Address)] == []


def test_the_removal_of_a_vnic_looks_at_nothing(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake.node()
    before = fake.text()
    for guest in (9, 10, 11):
        node.create_vnic(vm(guest))
    with looked_up(fake.kernel, monkeypatch) as asked:
        node.destroy_vnic(vm(9))
        node.destroy_vnics([vm(10), vm(11)])
    assert asked == []
    assert fake.text() == before


@pytest.mark.parametrize("last", [True, False], ids=["last", "not the last"])
def test_what_is_gone_already_does_not_hinder_a_removal(fake: FakeWorld, last: bool) -> None:
    """Whatever of it somebody else removed."""
    node = fake.node()
    if not last:
        node.create_vnic(vm(9))
    before = fake.text()
    node.create_vnic(vm(10))
    made = [noun for noun in nouns_of(fake) if str(noun) not in before]
    assert len(made) >= 4
    for noun in made:
        remove(fake, noun)
        node.destroy_vnic(vm(10))
        assert fake.text() == before, noun
        assert node.verify() == []
        node.create_vnic(vm(10))


def test_what_goes_while_listeners_are_asked_does_not_hinder_a_removal(fake: FakeWorld) -> None:
    node = fake.node()
    made = node.create_vnic(vm(9)).vnic

    class Remover:
        def before_apply(self) -> None:
            remove(fake, made.link)

    node.listeners.register(Remover())
    node.destroy_vnic(vm(9))
    assert fake.links() == []


@pytest.mark.parametrize("topology", ["hub", "mesh"])
@pytest.mark.parametrize("kind", [Bridge, Vxlan])
def test_a_foreign_link_with_the_name_of_a_new_one_is_left_alone(
    fake: FakeWorld, kind: type[Bridge | Vxlan], topology: str
) -> None:
    node = fake.node(config=fake.config(tunnel="vxlan", topology=topology))
    (added,) = [op.noun for op in node.plan_create_vnic(vm(9)) if type(op.noun) is kind]
    assert isinstance(added, (Bridge, Vxlan))
    foreign = Tap(name=added.name, group=0)
    fake.add(foreign)
    before = fake.text()
    node.create_vnic(vm(9))
    assert node.verify() == []
    assert len([one for one in fake.links() if type(one) is kind]) == 1
    node.destroy_vnic(vm(9))
    assert fake.text() == before


def test_a_rule_that_is_there_already_does_not_hinder_the_first_vnic(fake: FakeWorld) -> None:
    """A node that was killed may have left it."""
    node = fake.node()
    before = fake.text()
    rules = [op.noun for op in node.plan_create_vnic(vm(9)) if isinstance(op.noun, Owned)]
    assert len(rules) >= 4
    for rule in rules:
        assert FakeFirewall(fake.kernel.host).apply([Add(rule)]).error is None
        node.create_vnic(vm(9))
        assert node.verify() == [], rule
        node.destroy_vnic(vm(9))
        assert fake.text() == before, rule


ELSEWHERE = "198.51.100.21"
"""A node in none of the networks that guests are kept away from anyway."""


def one_subnet(world: FakeWorld) -> snnet.Cnci:
    way = Route(destination=ip_network("198.51.100.0/24"), link="eth0")
    assert world.kernel.apply([Add(way)]).error is None
    cnci = world.cnci()
    cnci.add_remote_subnet(NET, 7, ELSEWHERE)
    return cnci


def without_a_subnet(world: FakeWorld) -> snnet.Cnci:
    """A concentrator that had one, and has a rule."""
    cnci = one_subnet(world)
    cnci.remove_subnet(NET)
    cnci.enable_nat(["eth0"])
    return cnci


WEB = snnet.Rule("in", "tcp", 80)
TO_WEB = snnet.Rule("out", remote="group:web")

Prepare = Callable[[FakeWorld], Any]
RELYING: dict[str, tuple[Prepare, Callable[[Any], object], int]] = {
    "a routed VNIC": (routed, lambda node: node.create_vnic(vm(10)), 1),
    "a VNIC in a group": (grouped, lambda node: node.create_vnic(vm(10, groups=["web"])), 2),
    "the same group": (grouped, lambda node: node.set_group("t1", "web"), 2),
    "a group that names it": (grouped, lambda node: node.set_group("t1", "x", rules=[TO_WEB]), 2),
    "a forward": (
        concentrator,
        lambda cnci: cnci.add_port_forward(protocol="tcp", device="eth0", port=81, to=GUEST),
        4,
    ),
    "a public address": (
        concentrator,
        lambda cnci: cnci.add_public_ip("203.0.113.6", to="10.1.0.10", device="eth0"),
        4,
    ),
    "a subnet": (concentrator, lambda cnci: cnci.add_remote_subnet(NEW, 9, NEAR), 1),
    "a second node": (concentrator, lambda cnci: cnci.add_remote_subnet(NET, 7, FAR), 2),
}
"""Calls that rely on rules of earlier ones, and on how many."""


@pytest.mark.parametrize("name", RELYING)
@pytest.mark.parametrize("tells", [True, False])
def test_what_others_changed_of_the_rules_a_call_relies_on_is_set_again(
    monkeypatch: pytest.MonkeyPatch, name: str, tells: bool
) -> None:
    """Also where nothing of the call itself would fail, and no epoch tells of the change."""
    if not tells:
        monkeypatch.setattr(FakeFirewall, "epoch", lambda self: None)
    prepare, call, relied = RELYING[name]
    again = 0
    for number in count():
        world = FakeWorld("gre")
        node, other = prepare(world), FakeFirewall(world.kernel.host)
        rules = [
            noun
            for noun in other.snapshot().values()
            if isinstance(noun, (Zone, ZoneLink, GroupMembers, GroupRules))
        ]
        if number == len(rules):
            break
        rule = rules[number]
        operation: Operation = Remove(rule)
        if isinstance(rule, Zone):
            operation = Change(replace(rule, networks=(ip_network("10.99.0.0/16"),)), rule)
        if isinstance(rule, GroupMembers):
            operation = Change(replace(rule, addresses=(ip_address("10.1.0.99"),)), rule)
        elif isinstance(rule, GroupRules):
            operation = Change(replace(rule, rules=(WEB, TO_WEB)), rule)
        assert other.apply([operation]).error is None
        assert node.verify() != []
        call(node)
        again += node.verify() == []
    assert again == relied


def seen(world: FakeWorld) -> snnet.ComputeNode:
    """A node that looked at its groups after another node changed the firewall."""
    node = grouped(world)
    world.node("cn-2").set_group("t1", "web")
    node.create_vnic(vm(10, groups=["web"]))
    return node


NEXT = {"bridged": bridged, "routed": routed, "local": local, "meshed": meshed}


NEXT_VNIC = (lambda node: node.plan_create_vnic(vm(10)), lambda node: node.create_vnic(vm(10)))
FIRST_SUBNET = (
    lambda cnci: cnci.plan_add_remote_subnet(NET, 7, NEAR),
    lambda cnci: cnci.add_remote_subnet(NET, 7, NEAR),
)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize(
    ("prepare", "plan", "call"),
    [
        *[pytest.param(one, *NEXT_VNIC, id=name) for name, one in NEXT.items()],
        pytest.param(without_a_subnet, *FIRST_SUBNET, id="first subnet"),
    ],
)
def test_a_next_vnic_or_a_first_subnet_takes_one_try(
    fake: FakeWorld,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Prepare,
    plan: Callable[[Any], snnet.Plan],
    call: Callable[[Any], object],
    tells: bool,
) -> None:
    """Whether the rules that it needs are looked at or not."""
    node = prepare(fake)
    planned = [*map(str, plan(node))]
    performed: list[str] = []
    perform: Any = FakeDriver.perform

    def noting(driver: FakeDriver, operation: Operation) -> Any:
        performed.append(str(operation))
        return perform(driver, operation)

    monkeypatch.setattr(FakeDriver, "perform", noting)
    if not tells:
        monkeypatch.setattr(FakeFirewall, "epoch", lambda self: None)
    call(node)
    assert sorted(performed) == sorted(planned)


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("prepare", [bridged, local, meshed])
def test_a_next_vnic_brings_back_what_its_subnet_lost(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, prepare: Prepare, tells: bool
) -> None:
    """Nothing of the VNIC itself fails without the rules."""
    node = prepare(fake)
    if not tells:
        monkeypatch.setattr(FakeFirewall, "epoch", lambda self: None)
    (subnet,) = (one for one in node.topology().subnets if one.subnet_id == "s1")
    assert subnet.rules
    for number, rule in enumerate(subnet.rules):
        remove(fake, rule)
        assert node.verify() != []
        node.create_vnic(vm(10 + number))
        assert node.verify() == []


@pytest.mark.parametrize(
    ("prepare", "call"),
    [
        *[(prepare, lambda node: node.create_vnic(vm(10))) for prepare in NEXT.values()],
        (grouped, lambda node: node.set_group("t1", "spare", rules=[snnet.Rule("in")])),
        (seen, lambda node: node.create_vnic(vm(11, groups=["web"]))),
        *[RELYING[name][:2] for name in RELYING if "group" in name or name == "a subnet"],
        (one_subnet, RELYING["a subnet"][1]),
        (one_subnet, lambda cnci: cnci.add_remote_subnet(NEW, 9, ELSEWHERE)),
        (concentrator, lambda cnci: cnci.allow_external("eth0", bridge(cnci, SECOND))),
        (concentrator, lambda cnci: cnci.deny_external("eth0", bridge(cnci))),
    ],
)
def test_while_nobody_changed_the_rules_a_call_looks_at_none_of_them(
    fake: FakeWorld,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Prepare,
    call: Callable[[Any], object],
) -> None:
    node = prepare(fake)
    there = node.drivers.firewall.snapshot()
    with looked_up(node.drivers.firewall, monkeypatch) as asked:
        call(node)
    assert [noun for noun in asked if noun.key in there] == []
    assert node.verify() == []


@pytest.mark.parametrize("meshed", [True, False])
def test_a_new_subnet_is_no_look_at_the_rules_of_others(fake: FakeWorld, meshed: bool) -> None:
    """What one of them lost comes back with a rule, which needs it, also with one that is there."""
    cnci = concentrator(fake)
    if not meshed:
        cnci.update_neighbors([])
    lost = next(noun for noun in cnci.topology().subnets[1].rules if isinstance(noun, ZoneLink))
    remove(fake, lost)
    cnci.add_remote_subnet(NEW, 9, NEAR)
    cnci.allow_external("eth0", bridge(cnci))
    assert cnci.verify() == []


@pytest.mark.parametrize("tells", [True, False])
def test_nothing_is_planned_for_a_rule_that_is_gone_already(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    if not tells:
        monkeypatch.setattr(FakeFirewall, "epoch", lambda self: None)
    cnci, recorder = concentrator(fake), Recorder()
    (gone,) = (noun for noun in cnci.topology().rules if isinstance(noun, ExternalForward))
    remove(fake, gone)
    cnci.listeners.register(recorder)
    cnci.deny_external("eth0", bridge(cnci))
    assert recorder.heard == []
    assert cnci.verify() == []


@pytest.mark.parametrize("kind", [GroupMembers, GroupRules])
def test_a_group_that_went_unnoticed_is_set_again(fake: FakeWorld, kind: type[Noun]) -> None:
    """Its driver refuses what needs it."""
    node = grouped(fake)
    node.set_group("t1", "other")
    (gone,) = (
        noun
        for noun in node.drivers.firewall.snapshot({kind}).values()
        if isinstance(noun, (GroupMembers, GroupRules)) and noun.group == "other"
    )
    fake.kernel.state.drop(gone)
    node.create_vnic(vm(10, groups=["other"]))
    assert node.verify() == []


def test_a_check_of_a_node_that_routes_nothing_lists_no_routes(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor all namespaces: a host may have many of both."""
    node, snapshot = bridged(fake), fake.kernel.snapshot
    way = Route(destination=ip_network("198.51.100.0/24"), link="eth0")
    listed: set[type[Noun]] = set()

    def seen(types: Iterable[type[Noun]] | None = None) -> dict[Any, Noun]:
        listed.update(types or ())
        return snapshot(types)

    monkeypatch.setattr(fake.kernel, "snapshot", seen)
    monkeypatch.setattr(fake.kernel, "namespaces", lambda prefix: [])
    routes = {SNNET_PROTOCOL: list[Noun]()}
    monkeypatch.setattr(fake.kernel, "routes_of", lambda protocol: routes.get(protocol, [way]))
    assert node.verify() == []
    assert Link in listed
    assert not {Route, Namespace} & listed


@pytest.mark.kernel
def test_who_only_looks_locks_no_record(real: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime directory may be on a file system that is mounted read-only."""
    with real.node() as node:
        node.create_vnic(vm())
        known = node.topology()

    def refused(self: RealHost, name: str) -> NoReturn:
        raise snnet.SnnetError(f"cannot open the lock of {name}: Read-only file system")

    monkeypatch.setattr(RealHost, "record", refused)
    with real.node(read_only=True) as watcher:
        assert watcher.verify() == []
        assert watcher.topology() == known
    assert list(noted(real.kernel.host)) == ["cn:cn-1"]
    monkeypatch.undo()
    with real.node() as node:
        node.reset_network()

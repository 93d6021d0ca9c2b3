"""Traffic with a public address leaves by ``public_gateway``; all else by the host's routes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Change, Path, PolicyRule, Remove, Route, Sysctl
from snnet.contract.network import OWN_TABLES
from tests.node.world import FakeWorld, World, vm

GATEWAY = "192.0.2.254"
FORWARD = "net.ipv4.ip_forward"


def _cnci(world: World, **options: Any) -> snnet.Cnci:
    cnci = world.cnci(config=world.config(public_gateway=GATEWAY), **options)
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    return cnci


def _policies(world: World) -> list[PolicyRule]:
    found = world.kernel.snapshot({PolicyRule}).values()
    return sorted(
        (noun for noun in found if isinstance(noun, PolicyRule)),
        key=lambda noun: (str(noun.source), noun.priority),
    )


def _own_routes(world: World) -> list[Route]:
    found = world.kernel.snapshot({Route}).values()
    return [noun for noun in found if isinstance(noun, Route) and noun.table in OWN_TABLES]


def test_a_public_address_brings_a_table_and_rules_and_takes_them_along(world: World) -> None:
    cnci = _cnci(world)
    before = world.text()
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    (route,) = _own_routes(world)
    assert (route.destination, route.gateway) == (ip_network("0.0.0.0/0"), ip_address(GATEWAY))
    assert (route.link, route.onlink) == ("eth0", True)
    assert [
        (str(rule.source), rule.table == route.table, rule.specific) for rule in _policies(world)
    ] == [
        ("10.1.0.9/32", False, True),
        ("10.1.0.9/32", True, False),
        ("203.0.113.5/32", False, True),
        ("203.0.113.5/32", True, False),
    ]
    assert cnci.verify() == []
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    cnci.add_public_ip("203.0.113.6", to="10.1.0.10", device="eth0")
    assert len(_own_routes(world)) == 2
    cnci.remove_public_ip("203.0.113.6")
    cnci.remove_public_ip("203.0.113.5")
    assert world.text() == before


def test_without_the_setting_there_is_none(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet("10.1.0.0/24", 7, "192.0.2.21")
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    assert not _own_routes(fake)
    assert not _policies(fake)


def test_drift_is_named_and_repaired_and_a_restart_keeps_all(world: World) -> None:
    cnci = _cnci(world)
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    whole = world.text()
    for noun in (_policies(world)[1], _own_routes(world)[0]):
        assert world.kernel.apply([Remove(noun)]).error is None
        assert cnci.verify() == [f"missing: {noun}"]
        cnci.repair()
        assert world.text() == whole
    cnci.close()
    again = _cnci(world)
    assert world.text() == whole
    assert again.verify() == []
    assert world.kernel.apply([Remove(noun) for noun in _policies(world)]).error is None
    again.close()
    third = _cnci(world)
    assert world.text() == whole
    third.shutdown()
    assert not _policies(world)
    assert not _own_routes(world)


def test_a_guest_has_one_public_address_by_a_gateway(fake: FakeWorld) -> None:
    fake.kernel.add_uplink("eth1", "198.51.100.2/24")
    cnci = _cnci(fake)
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    with pytest.raises(snnet.Conflict, match=r"has the public address 203\.0\.113\.5"):
        cnci.add_public_ip("203.0.113.6", to="10.1.0.9", device="eth1")


def test_a_failed_step_leaves_nothing(fake: FakeWorld) -> None:
    cnci = _cnci(fake)
    before = fake.text()
    for at in range(1, 8):
        fake.kernel.fail(at=at)
        with pytest.raises(snnet.Exhausted):
            cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
        assert fake.text() == before, f"operation {at}"
    assert fake.kernel.pending_failures == ()


def test_the_paths_of_the_kernel(real: World) -> None:
    """By source: the gateway for the outside, and the host's own routes for what is near."""
    cnci = _cnci(real)
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    run = real.run  # type: ignore[attr-defined]
    bridge = cnci.topology().subnets[0].bridge.name
    route = Route(destination=ip_network("0.0.0.0/0"), link="eth0", gateway=ip_address("192.0.2.1"))
    assert real.kernel.apply([Add(route)]).error is None

    def way(target: str, *source: str) -> str:
        return str(run("ip", "route", "get", target, *source))

    guest = ("from", "10.1.0.9", "iif", bridge)
    assert f"via {GATEWAY} " in way("8.8.8.8", *guest)
    assert f"via {GATEWAY} " in way("8.8.8.8", "from", "203.0.113.5")
    assert "via 192.0.2.1 " in way("8.8.8.8", "from", "10.1.0.10", "iif", bridge)
    assert "via 192.0.2.1 " in way("8.8.8.8")
    assert " via " not in way("192.0.2.77", *guest)
    assert f"dev {bridge}" in way("10.1.0.77", "from", "203.0.113.5")
    assert isinstance(real.kernel.find(Path(remote=ip_address("8.8.8.8"))), Path)


# -- on the fabric ---------------------------------------------------------------------


def test_the_fabric_sends_it_by_that_gateway() -> None:
    fabric = snnet.Fabric()
    config = snnet.NetworkConfig(
        compute_nets=["192.0.2.0/24"], public_gateway="192.0.2.254", management_nets=[]
    )
    hub, host = fabric.add_host("hub", "192.0.2.10/24"), fabric.add_host("cn", "192.0.2.11/24")
    one, two = fabric.add_host("r1", "192.0.2.1/24"), fabric.add_host("r2", "192.0.2.254/24")
    routers = [one, two]
    for router in routers:
        router.add_uplink("eth1", f"198.51.100.{routers.index(router) + 1}/24")
        fabric.plug(router, "eth1")
    world = fabric.add_host("world", "198.51.100.99/24")

    for router in routers:
        on = Change(Sysctl(name=FORWARD, value="1"), Sysctl(name=FORWARD, value="0"))
        back = Route(
            destination=ip_network("203.0.113.0/24"), link="eth0", gateway=ip_address("192.0.2.10")
        )
        assert router.apply([on, Add(back)]).error is None
    out = Route(destination=ip_network("0.0.0.0/0"), link="eth0", gateway=ip_address("192.0.2.1"))
    assert hub.apply([Add(out)]).error is None
    answer = Route(
        destination=ip_network("203.0.113.0/24"), link="eth0", gateway=ip_address("198.51.100.2")
    )
    assert world.apply([Add(answer)]).error is None
    cnci = snnet.Cnci("cnci-1", config, tenant_id="t1", backend=hub, firewall="fake", dhcp="fake")
    node = snnet.ComputeNode("cn-1", config, backend=host, firewall="fake")
    cnci.init()
    node.init()
    made = node.create_vnic(vm(9, concentrator_ip="192.0.2.10"))
    assert made.tunnel_event is not None
    cnci.follow(made.tunnel_event)
    guest = fabric.attach(host, made.vnic)
    cnci.add_public_ip("203.0.113.5", to="10.1.0.9", device="eth0")
    trace = fabric.explain(guest, "198.51.100.99")
    assert trace.endswith("answered"), trace
    assert "r2" in trace
    assert "r1" not in trace
    cnci.remove_public_ip("203.0.113.5")
    assert "r2" not in fabric.explain(guest, "198.51.100.99")

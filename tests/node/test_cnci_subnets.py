"""Subnets of a concentrator: what stays of them where a node comes, goes or cannot be removed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

import snnet
from snnet.backends.fake.driver import FakeDriver
from snnet.contract import Add, Bridge, Change, Operation, Remove, Route, Sysctl
from tests.node.every_call import FAR, NEAR, NET, SECOND
from tests.node.world import FakeWorld

BOTH = (NET, "fd00:1::/64")
ELSEWHERE = "198.51.100.21"
"""A node in none of the networks that guests are kept away from anyway."""


def test_another_node_of_a_subnet_leaves_its_server_stopped(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, NEAR)
    cnci.dhcp(NET).stop()
    cnci.add_remote_subnet(NET, 7, FAR)
    assert not cnci.dhcp(NET).running
    assert cnci.verify() == []


def test_forwarding_that_others_switched_off_is_named(fake: FakeWorld) -> None:
    """Also where the last subnet that came does not need it."""
    cnci = fake.cnci()
    cnci.add_remote_subnet(BOTH, 7, NEAR)
    cnci.add_remote_subnet(SECOND, 8, NEAR)
    assert cnci.verify() == []
    on = fake.kernel.find(Sysctl(name="net.ipv6.conf.all.forwarding"))
    assert isinstance(on, Sysctl)
    assert fake.kernel.apply([Change(replace(on, value="0"), on)]).error is None
    (line,) = cnci.verify()
    assert "net.ipv6.conf.all.forwarding" in line


def test_guests_reach_no_node_that_a_subnet_leads_to(fake: FakeWorld) -> None:
    way = Route(destination=ip_network("198.51.100.0/24"), link="eth0")
    assert fake.kernel.apply([Add(way)]).error is None
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, NEAR)
    before = cnci.dump_firewall()
    assert ELSEWHERE not in before
    cnci.add_remote_subnet(SECOND, 8, ELSEWHERE)
    cnci.add_remote_subnet("10.3.0.0/24", 9, ELSEWHERE)
    assert cnci.verify() == []
    cnci.remove_subnet("10.3.0.0/24")
    assert cnci.verify() == []
    assert ELSEWHERE in cnci.dump_firewall()
    cnci.remove_subnet(SECOND)
    assert cnci.dump_firewall() == before


def test_a_tunnel_does_not_serve_another_subnet(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, NEAR)
    tunnel = cnci.topology()["subnets"][NET]["tunnels"][NEAR]
    with pytest.raises(snnet.InvalidRequest, match=f"{tunnel} is in use by this node") as caught:
        cnci.add_local_subnet(SECOND, 8, tunnel)
    assert caught.value.field == "link"


def test_a_subnet_that_cannot_go_has_no_tunnels_any_more(
    fake: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, 7, NEAR)
    cnci.add_remote_subnet(NET, 7, FAR)
    perform: Any = FakeDriver.perform

    def refusing(driver: FakeDriver, operation: Operation) -> Any:
        if isinstance(operation, Remove) and isinstance(operation.noun, Bridge):
            raise snnet.Busy("cannot do it: Device or resource busy (EBUSY)")
        return perform(driver, operation)

    with monkeypatch.context() as patch:
        patch.setattr(FakeDriver, "perform", refusing)
        with pytest.raises(snnet.Incomplete, match=f"^remove_subnet {NET} is unfinished"):
            cnci.remove_subnet(NET)
    assert cnci.topology()["subnets"][NET]["tunnels"] == {}
    cnci.remove_subnet(NET)
    assert fake.links() == []

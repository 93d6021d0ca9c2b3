"""Whose each link is, in the list of dropped packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snnet.contract import Dropped
from snnet.doctor.drops import Names, merged
from snnet.doctor.survey import FoundNode
from tests.node.test_local import OneHost, config


@pytest.fixture
def one() -> Iterator[OneHost]:
    host = OneHost()
    yield host
    host.close()


def test_links_of_a_host_and_its_concentrators_have_names(one: OneHost) -> None:
    cnci = one.serve(config())
    one.guest(9)
    topology, names = one.cn.topology(), Names()
    (made,), (subnet,), (vnic,) = topology.concentrators, topology.subnets, topology.vnics
    names.learn(FoundNode("cn:host"), one.cn)
    names.learn(FoundNode("cnci:c-acme", made.netns), cnci)
    assert subnet.bridge
    assert names.of(None, vnic.link_name) == "acme/web/v9"
    assert names.of(None, subnet.bridge.name) == "acme/web"
    assert names.of(None, made.link_name) == "acme/c-acme"
    assert names.of(None, made.plugs["web"].name) == "acme/web/c-acme"
    (inside,) = cnci.topology().subnets
    assert names.of(made.netns, inside.bridge.name) == "acme/web"
    assert names.of(made.netns, made.uplink) == "acme/c-acme"
    assert names.of(None, "eth0") == ""


def test_what_tables_dropped_of_one_link_is_added_up() -> None:
    found = [
        Dropped(link="v1", why="host", packets=2, since=20.0),
        Dropped(link="v1", why="other", packets=1, since=5.0),
        Dropped(link="v1", why="host", packets=3, since=10.0),
        Dropped(link="v1", why="other", packets=1),
    ]
    assert merged(found) == [
        Dropped(link="v1", why="host", packets=5, since=10.0),
        Dropped(link="v1", why="other", packets=2),
    ]

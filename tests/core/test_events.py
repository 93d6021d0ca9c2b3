"""What a node tells, as data that others can read."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_address

import pytest

import snnet
from snnet.core.telling import container_info, tunnel_event
from tests.core.builders import make_site, subnet_of, vm_request


def test_a_tunnel_event_has_all_that_the_far_side_needs() -> None:
    site = make_site()
    event = tunnel_event(site, subnet_of(site, vm_request(site)), snnet.TunnelEventType.ADD)
    assert json.loads(json.dumps(event.to_dict())) == {
        "type": "add",
        "cnci_ip": "192.0.2.101",
        "cn_ip": "192.0.2.11",
        "subnet": "10.1.0.0/24",
        "subnets": ["10.1.0.0/24"],
        "tenant_id": "t1",
        "subnet_id": "s1",
        "concentrator_id": "cnci-1",
        "cn_id": "cn-1",
        "subnet_key": 7,
        "port": None,
        "sequence": None,
    }


def test_container_info_names_the_network_after_the_bridge() -> None:
    site = make_site()
    subnet = subnet_of(site, vm_request(site))
    assert subnet.bridge is not None
    info = container_info(subnet, snnet.ContainerEvent.DEL)
    assert json.loads(json.dumps(info.to_dict())) == {
        "event": "del",
        "subnet_id": subnet.bridge.name,
        "subnet": "10.1.0.0/24",
        "subnets": ["10.1.0.0/24"],
        "gateway": "10.1.0.1",
        "gateways": ["10.1.0.1"],
        "bridge": subnet.bridge.name,
    }


def test_without_a_bridge_there_is_none_to_name() -> None:
    info = snnet.ContainerInfo(
        event=snnet.ContainerEvent.ADD,
        subnet_id="s1",
        subnet=IPv4Network("10.1.0.0/24"),
        gateway=ip_address("10.1.0.1"),
        bridge=None,
    )
    assert info.to_dict()["bridge"] is None


def test_events_are_values() -> None:
    site = make_site()
    one, two = (
        tunnel_event(site, subnet_of(site, vm_request(site)), snnet.TunnelEventType.DEL)
        for _ in range(2)
    )
    assert one == two
    assert len({one, two}) == 1
    with pytest.raises(AttributeError):
        one.subnet_key = 8  # type: ignore[misc]


def test_the_event_types_are_those_of_the_original() -> None:
    assert {item.name for item in snnet.TunnelEventType} == {"ADD", "DEL"}
    assert {item.name for item in snnet.ContainerEvent} == {"INFO", "ADD", "DEL"}

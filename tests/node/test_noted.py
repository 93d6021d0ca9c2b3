"""What a node notes of itself, for those who look at the host later."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Address, Change, Remove, Route
from snnet.node.noted import noted
from tests.node.world import FakeWorld

OTHER: dict[str, Any] = {
    "compute_nets": ["192.0.2.0/24", "2001:db8::/64"],
    "management_nets": ["192.0.2.0/25"],
    "mode": snnet.NetworkMode.ROUTED,
    "tunnel": "vxlan",
    "mtu": 1400,
    "macvtap_mode": "vepa",
    "floating_pool": ["203.0.113.5"],
    "public_gateway": "192.0.2.1",
    "dhcp_reserved": 3,
    "domain_name": "example.org",
    "anti_spoofing": False,
    "node_number": 7,
    "allow_to_nets": ["192.0.2.7/32"],
    "topology": "mesh",
    "mesh_port": 8500,
    "concentrator_pool": ["192.0.2.200"],
    "dns": False,
}
"""Another value than the default of every setting; some exclude others."""


def test_a_node_notes_its_settings_until_it_is_reset(fake: FakeWorld) -> None:
    assert OTHER.keys() == {one.name for one in fields(snnet.NetworkConfig)}
    for name in ("mode", "topology"):
        settings = {key: value for key, value in OTHER.items() if key != name}
        config = snnet.NetworkConfig(**settings)
        node = fake.node(config=config)
        (found,) = noted(fake.kernel.host).items()
        assert found[0] == "cn:cn-1"
        plain = json.loads(json.dumps(found[1]))
        assert plain["config"].keys() == settings.keys()
        assert snnet.NetworkConfig.from_dict(plain.pop("config")) == config
        del plain["before"]
        assert plain == {"backend": "fake", "firewall": "fake", "dhcp": None, "tenant_id": ""}
        for _ in range(2):
            node.reset_network()
            assert noted(fake.kernel.host) == {}
        node.close()


def test_a_concentrator_notes_its_tenant_and_dhcp_server(fake: FakeWorld) -> None:
    with fake.cnci(config=snnet.NetworkConfig()):
        found = noted(fake.kernel.host)["cnci:cnci-1"]
    assert (found["config"], found["dhcp"], found["tenant_id"]) == ({}, "fake", "t1")


def test_who_only_looks_knows_what_changed_before_it_came(fake: FakeWorld) -> None:
    node = fake.node()
    with fake.node(read_only=True) as looker:
        assert looker.verify() == []
    old, new = (Address(link="eth0", address=ip_interface(f"192.0.2.{n}/24")) for n in (11, 12))
    assert fake.kernel.apply([Remove(old), Add(new)]).error is None
    (line,) = node.verify()
    assert "has no address 192.0.2.11" in line
    with fake.node(read_only=True) as looker:
        assert looker.verify() == [line]
    node.reset_network()
    with fake.node(read_only=True) as looker:
        assert looker.verify() == []


def test_who_only_looks_knows_of_a_default_route_that_went(fake: FakeWorld) -> None:
    route = Route(destination=ip_network("0.0.0.0/0"), link="eth0")
    assert fake.kernel.apply([Add(route)]).error is None
    fake.cnci().enable_nat(["eth0"])
    with fake.cnci(read_only=True) as looker:
        assert looker.verify() == []
        assert fake.kernel.apply([Remove(route)]).error is None
    with fake.cnci(read_only=True) as looker:
        (line,) = looker.verify()
    assert line.startswith("default route: is gone")


def test_who_only_looks_goes_by_the_mtu_of_now(fake: FakeWorld) -> None:
    """A node that is opened again takes it, too."""
    fake.node()
    uplink = fake.link("eth0")
    assert uplink is not None
    assert fake.kernel.apply([Change(replace(uplink, mtu=1400), uplink)]).error is None
    with fake.node(read_only=True) as looker:
        assert looker.verify() == []


@pytest.mark.parametrize("damaged", [5, [], {"config": 5}, {"firewall": "fake"}], ids=str)
def test_a_damaged_note_counts_as_none(fake: FakeWorld, damaged: object) -> None:
    node = fake.node()
    fake.kernel.state.records["epochs"]["node cn:cn-1"] = damaged
    assert noted(fake.kernel.host) == {"cn:cn-1": {}}
    assert fake.node(read_only=True).verify() == node.verify() == []

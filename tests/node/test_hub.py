"""Topology "hub": a concentrator in a namespace of a network host, on the fake."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import snnet
from snnet.backends.fake import Guest
from snnet.contract import (
    Add,
    Address,
    Announcement,
    Bridge,
    ProxyNeighbour,
    Remove,
    Route,
    Sysctl,
)

ADDRESS, PUBLIC = "192.0.2.200", "192.0.2.220"
CONFIG = snnet.NetworkConfig(
    compute_nets=["192.0.2.0/24"],
    concentrator_pool=[ADDRESS, "192.0.2.201"],
    floating_pool=[PUBLIC],
    allow_to_nets=["192.0.2.99/32"],
)


def config(tenant: str = "acme", address: str = ADDRESS, **fields: Any) -> snnet.ConcentratorConfig:
    return snnet.ConcentratorConfig(
        tenant_id=tenant, concentrator_id=tenant, address=address, **fields
    )


class Hosts:
    """A network host, a compute host and somebody outside, on one wire."""

    def __init__(self) -> None:
        self.fabric = snnet.Fabric()
        self.network = self.fabric.add_host("network", "192.0.2.2/24")
        self.compute = self.fabric.add_host("compute", "192.0.2.11/24")
        self.outside = self.fabric.add_host("outside", "192.0.2.99/24")
        self.fabric.listen(self.outside, "tcp")
        self.clean = self.network.to_text()
        self.open = ExitStack()
        self.host, self.node = self.start("network"), self.start("compute")

    def start(self, name: str) -> snnet.ComputeNode:
        node = snnet.ComputeNode(name, CONFIG, backend=self.fabric.hosts[name], firewall="fake")
        self.open.enter_context(node)
        node.init()
        return node

    def serve(self, cfg: snnet.ConcentratorConfig, forward: str = "10.1.0.9") -> snnet.Cnci:
        made = self.host.set_concentrator(cfg)
        cnci = snnet.Cnci(
            made.concentrator_id, CONFIG, tenant_id=made.tenant_id, firewall="fake", dhcp="fake",
            backend=self.network.namespace(made.netns),
        )  # fmt: skip
        self.open.enter_context(cnci)
        cnci.init()
        outside = {"device": made.uplink, "to": forward}
        done = cnci.reconcile(
            subnets=[snnet.Subnet("10.1.0.0/24", 7, [snnet.Remote(self.node.compute_ip)])],
            nat=[made.uplink],
            exits=[(made.uplink, "10.1.0.0/24")],
            forwards=[{"protocol": "tcp", "port": 8080, "to_port": 80, **outside}],
            public_ips=[{"address": address, **outside} for address in made.publics],
        )
        assert not done.failed
        return cnci

    def guest(self, number: int, tenant: str = "acme", address: str = ADDRESS) -> Guest:
        made = self.node.create_vnic(
            snnet.VnicConfig(
                vnic_id=f"v{number}", instance_id=f"i{number}", tenant_id=tenant,
                subnet_id="web", subnet="10.1.0.0/24", subnet_key=7, ip=f"10.1.0.{number}",
                concentrator_id=tenant, concentrator_ip=address,
            )
        )  # fmt: skip
        return self.fabric.attach(self.compute, made.vnic, dhcp=True, name=f"{tenant}-{number}")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    with hosts.open:
        yield hosts


def reached(hosts: Hosts, source: Any, target: str, port: int) -> tuple[str, str] | None:
    found = hosts.fabric.connected(source, target, "tcp", port)
    return None if found is None else (found.station, str(found.source))


def test_a_tenant_behind_its_concentrator(hosts: Hosts) -> None:
    cnci = hosts.serve(config())
    guest = hosts.guest(9)
    assert guest.lease is not None
    assert guest.lease.mtu == hosts.node.site.mtu == cnci.site.mtu
    assert hosts.fabric.ping(guest, "192.0.2.99", size=guest.lease.mtu - 28)
    assert reached(hosts, guest, "192.0.2.99", 80) == ("outside", ADDRESS)
    assert reached(hosts, hosts.outside, ADDRESS, 8080) == ("acme-9", "192.0.2.99")
    assert not hosts.fabric.ping(guest, "192.0.2.2"), "guests do not reach the network host"
    assert not hosts.fabric.ping(guest, "169.254.1.1"), "by no address"
    assert hosts.host.verify() == hosts.node.verify() == cnci.verify() == []


def test_guests_reach_no_other_address_of_the_network_host(hosts: Hosts) -> None:
    """Not even what no compute or management network has, such as that of docker0."""
    host = hosts.network
    others = {"docker0": "172.17.0.1/16", "lo": "172.20.0.7/32", "eth0": "198.51.100.2/24"}
    nouns = [
        Add(Address(link=link, address=ipaddress.ip_interface(address)))
        for link, address in others.items()
    ]
    assert host.apply([Add(Bridge(name="docker0", group=0)), *nouns]).error is None
    hosts.fabric.listen(host, "tcp")
    cnci = hosts.serve(config())
    guest = hosts.guest(9)
    for address in others.values():
        target = address.partition("/")[0]
        assert not hosts.fabric.ping(guest, target)
        assert reached(hosts, guest, target, 22) is None
    assert reached(hosts, guest, "192.0.2.99", 80) == ("outside", ADDRESS)
    inside = host.namespace(next(iter(hosts.host.topology().concentrators)).netns)
    assert hosts.fabric.ping(inside, "192.0.2.2"), "where tunnels to VNICs of the same host end"
    assert hosts.fabric.ping(host, ADDRESS), "the host reaches the concentrator"
    hosts.host.rebuild_topology()
    assert hosts.host.verify() == cnci.verify() == []


def test_a_public_address_leads_to_its_guest_and_is_announced(hosts: Hosts) -> None:
    hosts.serve(config())
    guest = hosts.guest(9)
    assert not hosts.fabric.ping(hosts.outside, PUBLIC)
    hosts.serve(config(public_ips=[PUBLIC]))
    assert hosts.fabric.ping(hosts.outside, PUBLIC)
    assert reached(hosts, hosts.outside, PUBLIC, 22) == ("acme-9", "192.0.2.99")
    assert reached(hosts, guest, "192.0.2.99", 80) == ("outside", PUBLIC)
    assert hosts.network.announced == [
        Announcement(link="eth0", address=ipaddress.ip_address(ADDRESS)),
        Announcement(link="eth0", address=ipaddress.ip_address(PUBLIC)),
    ]
    hosts.serve(config())
    assert not hosts.fabric.ping(hosts.outside, PUBLIC)
    assert hosts.host.verify() == []


def test_two_tenants_with_the_same_addresses_never_meet(hosts: Hosts) -> None:
    hosts.serve(config())
    hosts.serve(config("other", "192.0.2.201"))
    mine, other = hosts.guest(9), hosts.guest(10, "other", "192.0.2.201")
    assert mine.lease is not None
    assert other.lease is not None
    assert not hosts.fabric.ping(mine, "10.1.0.10")
    assert hosts.fabric.ping(other, "10.1.0.1")
    assert reached(hosts, other, ADDRESS, 8080) is None, "the data centre's own network"


def test_the_uplink_answers_for_single_addresses_alone(hosts: Hosts) -> None:
    hosts.serve(config(public_ips=[PUBLIC]))
    proxies = hosts.network.snapshot({ProxyNeighbour})
    assert [str(noun) for noun in proxies.values()] == [
        f"proxy {ADDRESS} dev eth0",
        f"proxy {PUBLIC} dev eth0",
    ]
    for name, value in (("conf.eth0.proxy_arp", "0"), ("neigh.eth0.proxy_delay", "0")):
        assert hosts.network.find(Sysctl(name=f"net.ipv4.{name}")) == Sysctl(
            name=f"net.ipv4.{name}", value=value
        )


@pytest.mark.parametrize("forgotten", [False, True])
def test_another_process_finds_all_of_it(hosts: Hosts, forgotten: bool) -> None:
    """Also the public addresses, whose routes name the link, where the record is lost."""
    hosts.serve(config(public_ips=[PUBLIC]))
    before, known = hosts.network.to_text(), hosts.host.topology().concentrators
    hosts.host.close()
    if forgotten:
        hosts.network.state.records.clear()
    again = hosts.start("network")
    assert again.topology().concentrators == known
    assert hosts.network.to_text() == before
    assert again.verify() == []


@pytest.mark.parametrize("kind", [Route, ProxyNeighbour])
def test_what_others_remove_is_repaired(hosts: Hosts, kind: Any) -> None:
    made = hosts.host.set_concentrator(config())
    before = hosts.network.to_text()
    nouns = [noun for noun in made.nouns() if isinstance(noun, kind)]
    assert not hosts.network.apply([Remove(nouns[0])]).errors
    assert hosts.host.verify() != []
    hosts.host.repair()
    assert hosts.network.to_text() == before


def test_nothing_is_left(hosts: Hosts) -> None:
    cnci = hosts.serve(config(public_ips=[PUBLIC]))
    cnci.shutdown()
    hosts.host.remove_concentrator("acme", "acme")
    hosts.host.remove_concentrator("acme", "acme")
    hosts.host.reset_network()
    assert hosts.network.to_text() == hosts.clean


def test_reconcile_gives_a_concentrator_another_address(hosts: Hosts) -> None:
    hosts.host.reconcile(concentrators=[config()])
    done = hosts.host.reconcile(concentrators=[config()])
    assert [item.action for item in done.items] == ["kept"]
    with pytest.raises(snnet.Conflict, match=rf"{ADDRESS}, not 192\.0\.2\.201: remove it first"):
        hosts.host.set_concentrator(config(address="192.0.2.201"))
    done = hosts.host.reconcile(concentrators=[config(address="192.0.2.201")])
    assert [item.action for item in done.items] == ["removed", "created"]
    assert str(hosts.host.topology().concentrators[0].ip) == "192.0.2.201"
    assert not done.failed
    assert hosts.host.reconcile(concentrators=[]).failed == []
    assert hosts.host.topology().concentrators == ()


def test_an_address_belongs_to_one_concentrator(hosts: Hosts) -> None:
    hosts.host.set_concentrator(config(public_ips=[PUBLIC]))
    for other in (config("other"), config("other", "192.0.2.201", public_ips=[PUBLIC])):
        with pytest.raises(snnet.Conflict, match="belongs to concentrator acme"):
            hosts.host.set_concentrator(other)
    wrong = [config(), config("other", "10.0.0.1")]
    with pytest.raises(snnet.InvalidRequest, match=r"^concentrators\[1\]\.address: "):
        hosts.host.reconcile(concentrators=wrong, atomic=True)
    with pytest.raises(snnet.InvalidRequest, match=r"concentrators\[1\]: is there twice"):
        hosts.host.reconcile(concentrators=[config(), config("other")])


def test_an_address_of_the_host_is_not_for_a_concentrator(hosts: Hosts) -> None:
    """Neither as its own nor as a public one; its own again is not the host's."""
    second = Address(link="eth0", address=ipaddress.ip_interface(f"{ADDRESS}/24"))
    assert not hosts.network.apply([Add(second)]).errors
    before = hosts.network.to_text()
    for cfg in (config(), config(address="192.0.2.201", public_ips=[ADDRESS])):
        with pytest.raises(snnet.Conflict, match=f"{ADDRESS} is this host's own address on eth0"):
            hosts.host.set_concentrator(cfg)
        assert hosts.network.to_text() == before
    assert not hosts.network.apply([Remove(second)]).errors
    made = hosts.host.set_concentrator(config())
    assert hosts.host.set_concentrator(config()) == made
    assert not hosts.network.apply([Add(second)]).errors
    assert hosts.host.set_concentrator(config()) == made


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"address": None}, "address: is needed"),
        ({"address": "10.0.0.1"}, "10.0.0.1 is not a free address of 192.0.2.0/24"),
        ({"address": "192.0.2.2"}, "192.0.2.2 is not a free address"),
        ({"address": "2001:db8::1"}, "address: 2001:db8::1 is not"),
        ({"public_ips": [ADDRESS]}, "public_ips: has the concentrator's own address"),
        ({"public_ips": [PUBLIC, PUBLIC]}, r"public_ips\[1\]: is there twice"),
        (
            {"forwards": [snnet.HostForward(protocol="tcp", port=1)]},
            "forwards: is for topology",
        ),
    ],
)
def test_what_a_concentrator_cannot_have(hosts: Hosts, fields: Any, words: str) -> None:
    with pytest.raises(snnet.InvalidRequest, match=words):
        hosts.host.set_concentrator(config(**fields))


def test_without_a_pool_a_host_has_no_concentrators() -> None:
    plain = snnet.NetworkConfig(compute_nets=["192.0.2.0/24"])
    with snnet.ComputeNode("host", plain, backend="fake", firewall="fake") as node:
        node.init()
        with pytest.raises(snnet.InvalidRequest, match='"hub" with a concentrator_pool'):
            node.set_concentrator(config())
    local = snnet.NetworkConfig(topology="local", compute_nets=["192.0.2.0/24"])
    with snnet.ComputeNode("host", local, backend="fake", firewall="fake") as node:
        node.init()
        with pytest.raises(snnet.InvalidRequest, match='address: is for topology "hub"'):
            node.set_concentrator(config())


def test_any_failure_leaves_nothing(hosts: Hosts) -> None:
    at, failed = 1, True
    while failed:
        hosts.network.fail(at=at, error="ENOMEM")
        failed = False
        try:
            hosts.host.set_concentrator(config(public_ips=[PUBLIC]))
        except snnet.ApiError:
            failed = True
            assert hosts.host.topology().concentrators == ()
            assert hosts.host.verify() == []
        at += 1
    assert at > 10

"""Guests reach no host of the data centre, whether its networks are named or not, on the fabric."""

from __future__ import annotations

from contextlib import ExitStack
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

import snnet
from snnet.contract import Add, Address, Noun, ProtectedNetwork, Remove, Route
from tests.node.world import FakeWorld, World

NET, KEY = "10.1.0.0/24", 7
POOL = "192.0.2.200"
METADATA = "169.254.169.254"
NAMED = {"compute_nets": ["192.0.2.0/24"]}


class DataCentre:
    """A network host with a tenant's concentrator, a compute host with its guest, and others.

    ``where`` is what the concentrator is: "host" of its own, or in a namespace ("hub", "mesh").
    """

    def __init__(self, where: str, **config: Any) -> None:
        self.where = where
        topology = "mesh" if where == "mesh" else "hub"
        pool = [POOL] if where == "hub" else []
        self.config = snnet.NetworkConfig(topology=topology, concentrator_pool=pool, **config)
        self.open = ExitStack()
        self.fabric = snnet.Fabric()
        self.network = self.fabric.add_host("network", "192.0.2.2/24")
        self.compute = self.fabric.add_host("compute", "192.0.2.11/24")
        self.outside = self.fabric.add_host("outside", "203.0.113.9/24")
        give(self.network, Route(destination=ip_network("203.0.113.0/24"), link="eth0"))
        give(self.outside, Route(destination=ip_network("192.0.2.0/24"), link="eth0"))
        for host in (self.network, self.compute, self.outside):
            for protocol in ("tcp", "udp"):
                self.fabric.listen(host, protocol)
        self.cnci, self.device = self._cnci()
        self.guest = self._guest()

    def _node(self, name: str) -> snnet.ComputeNode:
        host = self.fabric.hosts[name]
        node = snnet.ComputeNode(name, self.config, backend=host, firewall="fake")
        self.open.enter_context(node)
        node.init()
        return node

    def _cnci(self) -> tuple[snnet.Cnci, str]:
        backend, device = self.network, "eth0"
        if self.where != "host":
            host = self._node("network")
            subnet = snnet.LocalSubnet(subnet_id="web", subnet=NET, subnet_key=KEY)
            made = host.set_concentrator(
                snnet.ConcentratorConfig(
                    tenant_id="acme", concentrator_id="c1",
                    **{"address": POOL} if self.where == "hub" else {"subnets": [subnet]},
                )
            )  # fmt: skip
            backend, device = self.network.namespace(made.netns), made.uplink
            link = made.links.get("web")
        else:
            link = None
        cnci = snnet.Cnci(
            "c1", self.config, tenant_id="acme", backend=backend, firewall="fake", dhcp="fake"
        )
        self.open.enter_context(cnci)
        cnci.init()
        remotes = [] if link else [snnet.Remote("192.0.2.11")]
        done = cnci.reconcile(
            subnets=[snnet.Subnet(NET, KEY, remotes, link=link)],
            nat=[device],
            exits=[(device, NET)],
        )
        assert not done.failed
        if self.where == "mesh":
            host.set_peers("acme", "web", [snnet.Peer("192.0.2.11")])
        return cnci, device

    def _guest(self) -> Any:
        node = self._node("compute")
        hub: dict[str, Any] = {"concentrator_id": "c1", "concentrator_ip": self.cnci.compute_ip}
        made = node.create_vnic(
            snnet.VnicConfig(
                vnic_id="v9", instance_id="i9", tenant_id="acme", subnet_id="web", subnet=NET,
                subnet_key=KEY, ip="10.1.0.9", **{} if self.where == "mesh" else hub,
            )
        )  # fmt: skip
        if self.where == "mesh":
            node.set_peers("acme", "web", [snnet.Peer("192.0.2.2")])
        return self.fabric.attach(self.compute, made.vnic, dhcp=True)

    def reaches(self, target: str) -> bool:
        """Whether the guest reaches anything there."""
        ports = [("tcp", 22), ("udp", 4789), ("udp", 8473), ("udp", 16400)]
        return self.fabric.ping(self.guest, target) or any(
            self.fabric.connect(self.guest, target, *port) for port in ports
        )

    def tunnels(self, target: str) -> list[int]:
        """The ports of tunnels that the guest reaches there."""
        ports = (4789, 6081, 16384, self.config.mesh_port)
        reach = self.fabric.connect
        return [port for port in ports if reach(self.guest, target, "udp", port)]


def give(host: snnet.FakeKernel, *nouns: Noun) -> None:
    assert host.apply([Add(noun) for noun in nouns]).error is None


@pytest.mark.parametrize("config", [{}, NAMED], ids=["unnamed", "named"])
@pytest.mark.parametrize("where", ["host", "hub", "mesh"])
def test_guests_reach_no_host_of_the_data_centre(where: str, config: dict[str, Any]) -> None:
    site = DataCentre(where, **config)
    with site.open:
        assert site.fabric.ping(site.guest, "10.1.0.1")
        assert site.reaches("203.0.113.9")
        for target in {"192.0.2.2", "192.0.2.11"} - {str(site.cnci.compute_ip)}:
            assert not site.reaches(target)
        assert site.cnci.verify() == []


@pytest.mark.parametrize("config", [{}, NAMED], ids=["unnamed", "named"])
@pytest.mark.parametrize("where", ["host", "hub", "mesh"])
def test_nor_what_clouds_tell_their_hosts(where: str, config: dict[str, Any]) -> None:
    """Link-local addresses (RFC 3927) of whoever is on the wire."""
    site = DataCentre(where, **config)
    with site.open:
        give(site.network, Route(destination=ip_network("169.254.0.0/16"), link="eth0"))
        give(site.outside, Address(link="eth0", address=ip_interface(f"{METADATA}/16")))
        assert site.fabric.ping(site.network, METADATA)
        assert not site.reaches(METADATA)


@pytest.mark.parametrize("port", [8473, 9000])
@pytest.mark.parametrize("where", ["host", "hub", "mesh"])
def test_what_is_opened_has_no_tunnels(where: str, port: int) -> None:
    site = DataCentre(where, **NAMED, allow_to_nets=["0.0.0.0/0"], mesh_port=port)
    with site.open:
        assert site.fabric.connect(site.guest, "192.0.2.11", "tcp", 22)
        assert site.fabric.connect(site.guest, "192.0.2.11", "udp", 9999)
        assert site.tunnels("192.0.2.11") == ([] if where == "mesh" else [port])


def test_the_leases_of_a_subnet_are_those_of_its_guests() -> None:
    site = DataCentre("host")
    with site.open:
        site.cnci.add_remote_subnet("10.2.0.0/24", 8, "192.0.2.11")
        (lease,) = site.cnci.leases(NET)
        assert (str(lease.address), lease.mac) == ("10.1.0.9", "02:00:0a:01:00:09")
        assert site.cnci.leases("10.2.0.0/24") == []


ELSEWHERE, THERE = "198.51.100.21", "198.51.100.30"


def kept(cnci: snnet.Cnci) -> set[str]:
    """The single hosts that the tenant is kept away from."""
    found = cnci.drivers.firewall.snapshot({ProtectedNetwork}).values()
    single = [noun for noun in found if isinstance(noun, ProtectedNetwork)]
    return {str(noun.network[0]) for noun in single if noun.network.num_addresses == 1}


def test_guests_reach_no_far_end_outside_of_known_networks(walled: World) -> None:
    """As long as a tunnel or the mesh leads there, whichever came first and goes last."""
    way = Route(destination=ip_network("198.51.100.0/24"), link="eth0")
    assert walled.kernel.apply([Add(way)]).error is None
    cnci, two = walled.cnci(), "10.2.0.0/24"
    cnci.add_remote_subnet(NET, KEY, "192.0.2.21")
    assert kept(cnci) == set()
    cnci.add_remote_subnet(NET, KEY, ELSEWHERE)
    cnci.add_remote_subnet(two, 8, ELSEWHERE)
    cnci.add_remote_subnet(two, 8, THERE)
    assert kept(cnci) == {ELSEWHERE, THERE}
    entries = [
        snnet.Neighbor(physical_ip=ip, subnet=net, tunnel_ip=f"192.168.0.{number}", tunnel_id=5)
        for number, ip, net in (
            (7, "192.0.2.11", "10.7.0.0/24"),
            (8, THERE, "10.8.0.0/24"),
            (9, "198.51.100.31", "10.9.0.0/24"),
        )
    ]
    cnci.update_neighbors(entries)
    assert kept(cnci) == {ELSEWHERE, THERE, "198.51.100.31"}
    assert cnci.verify() == []
    cnci.del_remote_subnet(NET, KEY, ELSEWHERE)
    assert ELSEWHERE in kept(cnci), "the other subnet is there too"
    cnci.remove_subnet(two)
    assert kept(cnci) == {THERE, "198.51.100.31"}
    assert cnci.verify() == []
    assert cnci.rebuild_topology().healed == []
    cnci.update_neighbors(entries[:2])
    assert kept(cnci) == {THERE}
    cnci.add_remote_subnet(NET, KEY, THERE)
    cnci.update_neighbors([])
    assert kept(cnci) == {THERE}
    assert cnci.verify() == []
    cnci.del_remote_subnet(NET, KEY, THERE)
    assert kept(cnci) == set()
    assert cnci.verify() == []
    cnci.shutdown()
    assert kept(cnci) == set()


def test_nor_one_of_a_new_subnet_beside_others(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, KEY, "192.0.2.21")
    cnci.add_remote_subnet("10.2.0.0/24", 8, ELSEWHERE)
    assert kept(cnci) == {ELSEWHERE}


@pytest.mark.parametrize("allowed", [[], ["198.51.100.0/24"]])
def test_nor_its_tunnels_where_its_network_is_opened(fake: FakeWorld, allowed: list[str]) -> None:
    cnci = fake.cnci(config=fake.config(allow_to_nets=allowed))
    cnci.add_remote_subnet(NET, KEY, ELSEWHERE)
    (rule,) = [
        noun
        for noun in cnci.drivers.firewall.snapshot({ProtectedNetwork}).values()
        if isinstance(noun, ProtectedNetwork) and noun.network.num_addresses == 1
    ]
    assert rule.closed == (not allowed)


def test_a_lost_rule_about_a_far_end_is_found_and_restored(fake: FakeWorld) -> None:
    cnci = fake.cnci()
    cnci.add_remote_subnet(NET, KEY, ELSEWHERE)
    lost = ProtectedNetwork(owner="cnci:cnci-1", network=ip_network(ELSEWHERE))
    assert cnci.drivers.firewall.apply([Remove(lost)]).errors == {}
    assert any(ELSEWHERE in line for line in cnci.verify())
    cnci.add_remote_subnet(NET, KEY, ELSEWHERE)
    assert kept(cnci) == {ELSEWHERE}

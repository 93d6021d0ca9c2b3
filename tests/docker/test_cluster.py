"""The plugin inside an agent: Docker's networks and containers are the cluster's."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from snnet import Cluster, Conflict
from snnet.backends.fake.refusal import Refusal
from snnet.cluster import keys
from snnet.contract import Delete, Put, Registry, Veth
from snnet.docker.app import cluster_protocol
from snnet.docker.intents import ClusterState
from snnet.registries.memory import MemoryRegistry
from tests.agent.conftest import FakeHost
from tests.killed import Killed, MortalRegistry

from .client import GATEWAY, Direct, Docker, Refused

NETWORK, OTHER_NETWORK = "a" * 64, "d" * 64
WEB = {"snnet.network": "web"}
SUBNET = "10.1.0.0/24"


class Host:
    """A host whose agent serves Docker, and may be killed and started again."""

    def __init__(self, registry: Registry, node: str = "host-1") -> None:
        self.host = FakeHost(registry, node)
        self.registry = registry
        self.cluster = self.host.cluster
        self.now = 1_000_000.0
        self.killed = threading.Event()
        self.containers: list[Veth] = []
        self.start()
        self.empty = self.host.kernel.to_text()

    @property
    def agent(self) -> Any:
        return self.host.agent

    def start(self) -> None:
        self.killed.clear()
        while self.agent.status()["state"] != "ready":
            self.agent.step(0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        try:
            methods = cluster_protocol(self.registry, self.agent.node, "snnet", lambda: self.now)
        except BaseException:
            self.end()
            raise
        self.docker: Docker = Direct(methods)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.agent.step(0.02)
        except Killed:
            self.killed.set()

    def end(self) -> None:
        """End the agent's rounds."""
        self._stop.set()
        self._thread.join()

    def restart(self) -> None:
        """Another process takes over; the old one said no goodbye."""
        self.end()
        self.host.restart()
        self.start()

    def close(self) -> None:
        self.end()
        self.agent.close()

    def settled(self) -> None:
        """Wait until the agent has done all that is wanted."""
        for _ in range(500):
            found = [*self.cluster.list_vnics(), *self.cluster.list_networks()]
            wanted = {(one.tenant, one.network, one.name) for one in self.cluster.list_vnics()}
            made = {vnic.id for vnic in self.agent.node.topology().vnics}
            if all(one.state == "ready" for one in found) and wanted == made:
                return
            threading.Event().wait(0.02)
        raise AssertionError(f"it does not settle: {self.agent.status()}")

    def claims(self, network: str = "web", tenant: str = "default") -> dict[str, str]:
        """Who has the claimed addresses of a network."""
        prefix = keys.addresses(tenant, network)
        return {
            key[len(prefix) : -1]: str(entry.document.get("vnic") or entry.document["managed_by"])
            for key, entry in self.registry.read(prefix).entries.items()
        }

    def documents(self, table: str) -> list[str]:
        return list(self.registry.read(f"v1/docker/{self.host.node}/snnet/{table}/").entries)

    def network(self, network: str = NETWORK) -> str:
        """``docker network create`` with addresses of ours; the pool's id."""
        pool = self.docker.make_pool(**WEB)
        self.docker.address(pool, **GATEWAY)
        self.docker.create_network(network, {})
        return pool

    def run(self, pool: str, name: str, network: str = NETWORK, address: str = "") -> str:
        """``docker run``; the container's address."""
        given = self.docker.address(pool, address)
        self.docker.create_endpoint(network, name * 64, given)
        self.docker.join(network, name * 64)
        self.move_away(name)
        return given.partition("/")[0]

    def move_away(self, name: str) -> None:
        """Move the container's end of the veth into it, as Docker does."""
        vnics = self.agent.node.topology().vnics
        vnic = next(one for one in vnics if one.vnic_id == f"docker-{name * 12}")
        near = self.host.kernel.find(vnic.link)
        assert isinstance(near, Veth)
        self.host.kernel.links.take_peer(near)
        self.containers.append(near)

    def end_containers(self) -> None:
        """Their network namespaces end, and the veths with them."""
        while self.containers:
            with contextlib.suppress(Refusal):  # its agent may have removed it
                self.host.kernel.links.remove(self.containers.pop())

    def remove(self, pool: str, name: str, address: str, network: str = NETWORK) -> None:
        """``docker rm -f``."""
        self.docker.leave(network, name * 64)
        self.docker.release(pool, address)

    def remove_network(self, pool: str, network: str = NETWORK) -> None:
        """``docker network rm``."""
        self.docker.ask("NetworkDriver.DeleteNetwork", NetworkID=network)
        self.docker.release(pool, "10.1.0.1")
        self.docker.ask("IpamDriver.ReleasePool", PoolID=pool)

    def is_empty(self) -> None:
        """Nothing is left of networks and containers, in the registry or on the host."""
        for table in ("pools", "addresses", "networks", "endpoints"):
            assert self.documents(table) == []
        left = [key for key in self.registry.read("v1/").entries if not _lasts(key)]
        assert left == []
        self.settled()
        for _ in range(500):
            if self.host.kernel.to_text() == self.empty:
                return
            threading.Event().wait(0.02)
        assert self.host.kernel.to_text() == self.empty


def _lasts(key: str) -> bool:
    """Whether a document is about more than networks and VNICs; agents write soon."""
    kept = (keys.REGISTRY, keys.NODES, keys.ALIVE, keys.STATUS, keys.CONCENTRATORS)
    return key.startswith(kept)


@pytest.fixture
def host(quick: None) -> Iterator[Host]:
    with MemoryRegistry() as registry:
        host = Host(registry)
        yield host
        host.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnet.agent.agent.SLICE", 0.02)
    monkeypatch.setattr("snnet.agent.statuses.FIRST_WAIT", 0.03)


def refused(docker: Docker, method: str, **fields: Any) -> str:
    with pytest.raises(Refused) as said:
        docker.ask(method, **fields)
    return said.value.text


def test_a_container_from_start_to_end(host: Host) -> None:
    """One `docker network create` makes the network, and a container is a VNIC of this node."""
    pool = host.network()
    (network,) = host.cluster.list_networks()
    assert (network.name, network.tenant, str(network.subnet[0])) == ("web", "default", SUBNET)
    address = host.docker.address(pool)
    assert host.claims() == {"10.1.0.2": "docker/host-1/snnet"}
    interface = host.docker.create_endpoint(NETWORK, "b" * 64, address)
    assert interface == {"MacAddress": "02:00:0a:01:00:02"}
    vnic = host.cluster.get_vnic("default", "docker-bbbbbbbbbbbb")
    assert (vnic.state, vnic.node, vnic.managed_by) == ("ready", "host-1", "docker/host-1/snnet")
    joined = host.docker.join(NETWORK, "b" * 64)
    (made,) = host.agent.node.topology().vnics
    assert joined["InterfaceName"] == {"SrcName": made.peer_name, "DstPrefix": "eth"}
    assert joined["Gateway"] == "10.1.0.1"
    assert host.claims() == {"10.1.0.2": vnic.name}
    host.docker.leave(NETWORK, "b" * 64)
    assert host.cluster.list_vnics() == []
    assert host.claims() == {"10.1.0.2": "docker/host-1/snnet"}, "until Docker releases it"
    host.docker.release(pool, address)
    assert host.claims() == {}
    host.remove_network(pool)
    assert host.cluster.list_networks() == []
    host.is_empty()


def test_vms_and_containers_share_the_addresses(host: Host) -> None:
    host.cluster.create_network("web", subnet=SUBNET)
    host.cluster.create_vnic("vm-1", network="web")
    pool = host.network()
    assert host.run(pool, "b") == "10.1.0.3"
    assert host.cluster.create_vnic("vm-2", network="web").ips[0].packed[-1] == 4
    offered = host.docker.address(pool)
    assert offered == "10.1.0.5/24"
    assert host.cluster.create_vnic("vm-3", network="web").ips[0].packed[-1] == 6
    with pytest.raises(Conflict, match=r"10\.1\.0\.5 belongs to docker/host-1/snnet: choose"):
        host.cluster.create_vnic("vm-4", network="web", ip="10.1.0.5")
    fields = {"PoolID": pool, "Address": "10.1.0.2"}
    said = refused(host.docker, "IpamDriver.RequestAddress", **fields)
    assert "10.1.0.2 belongs to vnic 'vm-1': choose another address" in said
    host.remove(pool, "b", "10.1.0.3")
    host.docker.release(pool, offered)
    host.remove_network(pool)
    assert [one.name for one in host.cluster.list_networks()] == ["web"], "it was there before"


def test_with_dockers_own_addresses(host: Host) -> None:
    """Docker's IPAM driver knows no VMs: the second of an address is refused, not doubled."""
    host.docker.ask(
        "NetworkDriver.CreateNetwork",
        NetworkID=NETWORK,
        Options={"com.docker.network.generic": {}},
        IPv4Data=[{"AddressSpace": "LocalDefault", "Pool": SUBNET, "Gateway": "10.1.0.1/24"}],
    )
    (network,) = host.cluster.list_networks()
    assert network.name == "docker-aaaaaaaaaaaa"
    host.cluster.create_vnic("vm", network=network.name)
    endpoint = {"NetworkID": NETWORK, "EndpointID": "b" * 64}
    said = refused(
        host.docker,
        "NetworkDriver.CreateEndpoint",
        **endpoint,
        Interface={"Address": "10.1.0.2/24"},
    )
    assert said == "10.1.0.2 belongs to vnic 'vm': choose another address"
    host.docker.create_endpoint(NETWORK, "b" * 64, "10.1.0.3/24")
    assert set(host.claims(network.name)) == {"10.1.0.2", "10.1.0.3"}
    host.docker.leave(NETWORK, "b" * 64)
    assert set(host.claims(network.name)) == {"10.1.0.2"}
    host.docker.ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    assert [one.name for one in host.cluster.list_networks()] == [network.name], "a VM is on it"


def test_what_containers_have_is_dockers(host: Host) -> None:
    """Nothing but Docker removes a container's VNIC by mistake."""
    pool = host.network()
    host.run(pool, "b")
    host.cluster.create_network("db", subnet="10.2.0.0/24")
    assert {one["kind"] for one in host.cluster.export()} == {"network"}
    wanted = [one for one in host.cluster.export() if one["name"] == "web"]
    done = host.cluster.apply(wanted, prune=True)
    assert {(one.name, one.action) for one in done} == {("web", "kept"), ("db", "deleted")}
    with pytest.raises(Conflict, match=r"belongs to docker/host-1/snnet: remove it there, or use"):
        host.cluster.delete_vnic("default", "docker-bbbbbbbbbbbb")
    with pytest.raises(Conflict, match="has the VNICs docker-bbbbbbbbbbbb"):
        host.cluster.delete_network("default", "web")
    host.cluster.create_forward(
        network="web", protocol="tcp", port=8080, to="docker-bbbbbbbbbbbb", to_port=80
    )
    host.remove(pool, "b", "10.1.0.2")
    assert host.cluster.list_forwards() == [], "they go with the container"
    host.cluster.delete_network("default", "web", force=True)
    fields = {"NetworkID": NETWORK, "EndpointID": "c" * 64}
    said = refused(
        host.docker,
        "NetworkDriver.CreateEndpoint",
        **fields,
        Interface={"Address": host.docker.address(pool)},
    )
    assert "tenant 'default' has no network 'web': create it first" in said
    host.remove_network(pool)


def test_two_docker_networks_of_one(host: Host) -> None:
    """The network goes with the last of them, and an address is given once."""
    first, second = host.network(), host.network(OTHER_NETWORK)
    given = {host.run(first, "b"), host.run(second, "c", OTHER_NETWORK), host.run(first, "e")}
    assert given == {"10.1.0.2", "10.1.0.3", "10.1.0.4"}
    host.remove(first, "b", "10.1.0.2")
    host.remove(first, "e", "10.1.0.4")
    host.remove_network(first)
    assert [one.name for one in host.cluster.list_networks()] == ["web"]
    host.remove(second, "c", "10.1.0.3", OTHER_NETWORK)
    host.remove_network(second, OTHER_NETWORK)


def test_both_families(host: Host) -> None:
    subnets = {SUBNET: "10.1.0.1", "fd00:1::/64": "fd00:1::1"}
    pools = [host.docker.make_pool(subnet, **WEB) for subnet in subnets]
    for pool in pools:
        host.docker.address(pool, **GATEWAY)
    data = [
        {"AddressSpace": "snnet", "Pool": subnet, "Gateway": f"{ip}/{subnet.split('/')[1]}"}
        for subnet, ip in subnets.items()
    ]
    network = {"NetworkID": NETWORK}
    host.docker.ask(
        "NetworkDriver.CreateNetwork",
        **network,
        Options={},
        IPv4Data=data[:1],
        IPv6Data=data[1:],
    )
    given = [host.docker.address(pool) for pool in pools]
    interface = dict(zip(("Address", "AddressIPv6"), given, strict=True))
    endpoint = {**network, "EndpointID": "b" * 64}
    host.docker.ask("NetworkDriver.CreateEndpoint", **endpoint, Interface=interface)
    joined = host.docker.ask("NetworkDriver.Join", **endpoint)
    assert (joined["Gateway"], joined["GatewayIPv6"]) == ("10.1.0.1", "fd00:1::1")
    (vnic,) = host.cluster.list_vnics()
    assert [str(ip) for ip in vnic.ips] == ["10.1.0.2", "fd00:1::2"]
    assert host.claims() == dict.fromkeys(("10.1.0.2", "fd00:1::2"), vnic.name)
    host.docker.leave(NETWORK, "b" * 64)
    for pool, address in zip(pools, given, strict=True):
        host.docker.release(pool, address)
    assert host.claims() == {}


@pytest.mark.parametrize(
    ("options", "fields", "said"),
    [
        ({"snnet.subnet_key": "7"}, {}, "valid options: snnet.tenant, snnet.network, snnet.mtu"),
        ({"bridge": "br"}, {}, "bridge: the agent creates the VNICs of containers: leave it out"),
        ({"snnet.network": "?"}, {}, "snnet.network: "),
        (WEB, {"pool": "10.3.0.0/24"}, "the subnet of network 'web' is 10.1.0.0/24, not 10.3.0"),
        (WEB | {"snnet.tenant": "acme"}, {}, "snnet.network: no pool belongs to"),
    ],
)
def test_bad_networks(
    host: Host, options: dict[str, str], fields: dict[str, Any], said: str
) -> None:
    host.cluster.create_network("web", subnet=SUBNET)
    pool = host.docker.make_pool(fields.get("pool", SUBNET), **WEB)
    host.docker.address(pool, **GATEWAY)
    with pytest.raises(Refused) as caught:
        host.docker.create_network(NETWORK, options, **fields)
    assert said in caught.value.text
    assert host.documents("networks") == []


def test_bad_pools_and_gateways(host: Host) -> None:
    text = refused(host.docker, "IpamDriver.RequestPool", Pool=SUBNET, Options={})
    assert (
        text == "snnet.network: is needed: give --ipam-opt snnet.network= with the network's name"
    )
    options = {"snnet.subnet_id": "web"}
    text = refused(host.docker, "IpamDriver.RequestPool", Pool=SUBNET, Options=options)
    assert "unknown option; valid options: snnet.tenant, snnet.network" in text
    data = {"AddressSpace": "LocalDefault", "Pool": SUBNET, "Gateway": "10.1.0.254/24"}
    text = refused(
        host.docker, "NetworkDriver.CreateNetwork", NetworkID=NETWORK, Options={}, IPv4Data=[data]
    )
    assert "is 10.1.0.1: leave out --gateway" in text


def test_a_vnic_that_cannot_be_made_is_no_endpoint(host: Host) -> None:
    """Docker hears the agent's reason, and nothing stays behind but what Docker releases."""
    pool = host.network()
    given = host.docker.address(pool)
    host.settled()
    for at in (1, 2):  # the subnet as a whole, and then the VNIC alone
        host.host.kernel.fail(at=at, error="ENOSPC")
    said = refused(
        host.docker,
        "NetworkDriver.CreateEndpoint",
        NetworkID=NETWORK,
        EndpointID="b" * 64,
        Interface={"Address": given},
    )
    assert host.host.kernel.pending_failures == ()
    assert "the agent cannot make vnic 'docker-bbbbbbbbbbbb': " in said
    assert "ENOSPC" in said
    assert host.cluster.list_vnics() == []
    host.docker.release(pool, given)
    host.remove_network(pool)
    host.is_empty()


def test_an_agent_that_does_not_work(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnet.docker.in_cluster.PATIENCE", 0.1)
    pool = host.network()
    given = host.docker.address(pool)
    host.end()
    said = refused(
        host.docker,
        "NetworkDriver.CreateEndpoint",
        NetworkID=NETWORK,
        EndpointID="b" * 64,
        Interface={"Address": given},
    )
    assert "is not ready after 0.1 s: the agent has not tried it yet" in said
    assert host.cluster.list_vnics() == []


def test_many_at_once(host: Host) -> None:
    """Containers and VMs of the same moment: nobody shares an address, each one is made."""
    pool = host.network()

    def container(number: int) -> str:
        name = f"{number:064x}"[::-1]
        given = host.docker.address(pool)
        host.docker.create_endpoint(NETWORK, name, given)
        host.docker.join(NETWORK, name)
        return given.partition("/")[0]

    def vm(number: int) -> str:
        return str(host.cluster.create_vnic(f"vm-{number}", network="web").ips[0])

    with ThreadPoolExecutor(16) as pool_of_threads:
        found = [
            *(pool_of_threads.submit(container, number) for number in range(1, 25)),
            *(pool_of_threads.submit(vm, number) for number in range(24)),
        ]
        addresses = [one.result() for one in found]
    assert len(set(addresses)) == 48
    host.settled()
    assert sorted(str(vnic.ip) for vnic in host.agent.node.topology().vnics) == sorted(addresses)


def test_two_hosts_give_each_address_once(quick: None) -> None:
    with MemoryRegistry() as registry:
        hosts = [Host(registry, "host-1"), Host(registry, "host-2")]
        pools = [host.network() for host in hosts]
        with ThreadPoolExecutor(2) as threads:
            given = threads.map(
                lambda pair: [pair[0].docker.address(pair[1]) for _ in range(60)],
                zip(hosts, pools, strict=True),
            )
            found = [address for part in given for address in part]
        assert max(Counter(found).values()) == 1
        for host in hosts:
            host.close()


def test_another_agent_takes_over(host: Host) -> None:
    """Containers keep their VNICs, and what ended in between is removed."""
    pool = host.network()
    host.run(pool, "b")
    ended = host.run(pool, "c")
    before = host.host.kernel.to_text()
    host.now += 130
    host.restart()
    assert host.host.kernel.to_text() == before
    assert host.docker.address(pool) == "10.1.0.4/24"
    host.end()
    del host.containers[0]
    host.end_containers()
    host.host.restart()
    host.now += 130
    host.start()
    host.settled()
    assert [one.name for one in host.cluster.list_vnics()] == ["docker-bbbbbbbbbbbb"]
    assert host.claims()[ended] == "docker/host-1/snnet", "until Docker releases it"


def test_notes_that_were_lost(host: Host) -> None:
    """VNICs and claims that no document of the plugin stands for are removed."""
    pool = host.network()
    host.run(pool, "b")
    host.docker.address(pool)
    host.cluster.create_forward(network="web", protocol="tcp", port=80, to="docker-bbbbbbbbbbbb")
    found = host.registry.read("v1/docker/").entries
    host.registry.commit([Delete(key) for key in found])
    host.restart()
    assert host.cluster.list_vnics() == []
    assert host.cluster.list_forwards() == [], "what led to them goes along"
    assert host.claims() == {}


@pytest.mark.parametrize("lost", [False, True])
def test_a_vnic_that_a_later_version_wrote(host: Host, lost: bool) -> None:
    """The plugin starts, the container can end, and what is left of one is removed."""
    pool = host.network()
    address = host.run(pool, "b")
    key = keys.vnic("host-1", "default", "docker-bbbbbbbbbbbb")
    document = host.registry.read(key).entries[key].document
    host.registry.commit([Put(key, {**document, "colour": "red"})])
    if lost:
        host.registry.commit([Delete(key) for key in host.registry.read("v1/docker/").entries])
    host.restart()
    if not lost:
        host.remove(pool, "b", address)
    assert host.cluster.list_vnics() == []


def test_a_look_at_what_is_right_commits_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(host.network(), "b")
    host.settled()
    host.end()
    with monkeypatch.context() as patch:
        patch.setattr(host.registry, "commit", None)
        ClusterState(host.registry, host.agent.node.id, "snnet", lambda: host.now).tidy()


def test_its_vnics_stay_where_they_are_and_are_not_exported(host: Host) -> None:
    """Nor is what leads to them: the export can be applied where they are not."""
    host.run(host.network(), "b")
    name = "docker-bbbbbbbbbbbb"
    host.cluster.create_forward(network="web", protocol="tcp", port=80, to=name)
    FakeHost(host.registry, "host-2").agent.step(0)
    with pytest.raises(Conflict, match="docker/host-1/snnet, which keeps it on node 'host-1'"):
        host.cluster.update_vnic("default", name, node="host-2")
    exported = host.cluster.export()
    assert [item["kind"] for item in exported] == ["network"]
    with Cluster(MemoryRegistry("elsewhere")) as elsewhere:
        assert [item.error for item in elsewhere.apply(exported)] == [None]
    host.cluster.apply(exported, prune=True)
    assert [one.name for one in host.cluster.list_forwards()] == ["tcp-80"]


class GivenUp(Exception):
    """Docker was killed too, and asks no more."""


def story(host: Host, *, patient: bool) -> None:
    """Two containers come and go.

    A patient Docker repeats a call until it has an answer; the other one has forgotten all.
    """

    def call(method: str, **fields: Any) -> dict[str, Any]:
        while True:
            try:
                if host.registry.dead:  # type: ignore[attr-defined]
                    host.registry.dead = False  # type: ignore[attr-defined]
                    host.restart()
                    if not patient:
                        raise GivenUp
                return host.docker.ask(method, **fields)
            except Killed:
                pass
            except Refused as error:
                if not (host.killed.is_set() and "not ready" in error.text):
                    raise

    pool = call("IpamDriver.RequestPool", Pool=SUBNET, Options=WEB)["PoolID"]
    call("IpamDriver.RequestAddress", PoolID=pool, Options=GATEWAY)
    data = {"AddressSpace": "snnet", "Pool": SUBNET, "Gateway": "10.1.0.1/24"}
    network = {"NetworkID": NETWORK}
    call("NetworkDriver.CreateNetwork", **network, Options={}, IPv4Data=[data])
    endpoints = []
    for name in ("b", "c"):
        address = call("IpamDriver.RequestAddress", PoolID=pool)["Address"]
        endpoint = {**network, "EndpointID": name * 64}
        call("NetworkDriver.CreateEndpoint", **endpoint, Interface={"Address": address})
        call("NetworkDriver.Join", **endpoint)
        host.move_away(name)
        endpoints.append((endpoint, address.partition("/")[0]))
    claims = host.claims()
    assert len({address for _, address in endpoints}) == 2
    names = [claims[address] for _, address in endpoints]
    assert names == ["docker-bbbbbbbbbbbb", "docker-cccccccccccc"]
    assert {one.name for one in host.cluster.list_vnics()} == {*names}
    assert {vnic.vnic_id for vnic in host.agent.node.topology().vnics} == {*names}
    for endpoint, address in endpoints:
        call("NetworkDriver.Leave", **endpoint)
        call("NetworkDriver.DeleteEndpoint", **endpoint)
        call("IpamDriver.ReleaseAddress", PoolID=pool, Address=address)
    call("NetworkDriver.DeleteNetwork", **network)
    call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.1.0.1")
    call("IpamDriver.ReleasePool", PoolID=pool)


@pytest.mark.parametrize("patient", [True, False])
def test_killed_before_and_after_every_commit(
    quick: None, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """Whichever commit of agent or plugin is the last: no address twice, nothing forgotten."""
    monkeypatch.setattr("snnet.docker.in_cluster.PATIENCE", 0.5)
    for at in count():
        with MortalRegistry() as registry, contextlib.closing(Host(registry)) as host:
            registry.die_at = at
            with contextlib.suppress(GivenUp):
                story(host, patient=patient)
            alive, registry.die_at = registry.die_at >= 0, None
            # What Docker never heard of is free again once its time is up.
            host.end_containers()
            host.now += 130
            registry.dead = False
            host.restart()
            host.now += 130
            host.restart()
            assert host.claims() == {}
            assert host.cluster.list_vnics() == []
            host.settled()
            assert host.agent.node.topology().vnics == ()
            if patient:
                host.docker.make_pool(**WEB)
                left = host.documents("pools")
                host.docker.ask("IpamDriver.ReleasePool", PoolID=left[-1].rsplit("/")[-1])
                host.is_empty()
        if alive:
            break
    assert at > 20


def test_a_forgotten_host_holds_nothing_for_its_containers() -> None:
    """Its plugin will release nothing any more: neither addresses nor networks."""
    registry = MemoryRegistry("")
    host = Host(registry)
    host.network()
    pool = host.docker.make_pool(**WEB)
    host.docker.address(pool)
    assert host.claims()
    host.close()
    host.cluster.forget_node("host-1", force=True)
    assert host.claims() == {}
    assert registry.read(keys.docker("host-1")).entries == {}
    host.cluster.delete_network("default", "web")
    assert registry.read().entries.keys() <= {f"{keys.ROOT}concentrators/default/"}


def test_a_mac_that_another_container_has(host: Host) -> None:
    """``docker run --mac-address`` twice: the second one is refused, and its address free."""
    pool = host.network()
    first = host.docker.address(pool)
    host.docker.create_endpoint(NETWORK, "1" * 64, first, "02:00:00:00:00:09")
    second = host.docker.address(pool)
    with pytest.raises(Refused, match="MAC 02:00:00:00:00:09 belongs to vnic 'docker-1111"):
        host.docker.create_endpoint(NETWORK, "2" * 64, second, "02:00:00:00:00:09")
    with pytest.raises(Conflict, match="MAC 02:00:00:00:00:09 belongs to vnic 'docker-1111"):
        host.cluster.create_vnic("v1", network="web", mac="02:00:00:00:00:09")
    host.docker.release(pool, second)
    host.remove(pool, "1", first)
    host.remove_network(pool)
    host.is_empty()


def test_a_mac_that_a_vm_has(host: Host) -> None:
    """Also one that Docker did not ask for: it belongs to the container's address."""
    pool = host.network()
    given = host.docker.address(pool)
    host.cluster.create_vnic("v1", network="web", node="cn-9", mac="02:00:0a:01:00:02")
    with pytest.raises(Refused, match=r"MAC 02:00:0a:01:00:02, that of 10.1.0.2, belongs to vnic"):
        host.docker.create_endpoint(NETWORK, "1" * 64, given)
    host.docker.release(pool, given)
    host.cluster.create_vnic("v2", network="web", node="cn-9", mac="02:00:0a:01:00:04")
    address = host.run(pool, "3")
    assert address == "10.1.0.5", "not the next one, whose MAC v2 has"
    host.remove(pool, "3", address)
    for name in ("v1", "v2"):
        host.cluster.delete_vnic("default", name)
    host.remove_network(pool)
    host.is_empty()

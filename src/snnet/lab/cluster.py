"""The lab of the cluster demo: hosts with agents, and etcd on three hosts of its own.

Every agent and every member of etcd is a process of its own, in the namespace of its host.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, TypeVar

from snnet.agent.membership import claim_of
from snnet.cluster import Cluster, Vnic
from snnet.contract import ApiError, Missing, SnnetError, Unavailable
from snnet.node import ComputeNode
from snnet.node.deadline import CancelToken
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.netns import netns_id, open_netns
from snnet.system.process import Service, find_program

from .choice import Choice
from .leftovers import files_about, remove_files, runtime_files
from .real import UPLINK, RealLab
from .scenario import Guest, Machine, Scenario
from .site import demo_scenario

SESSION_TTL = 3
"""Seconds after which a killed agent counts as gone."""

_PATIENCE = 90.0
"""Seconds for a step; emulated and busy machines are slow."""
_LOOK = 0.05

T = TypeVar("T")


def cluster_scenario() -> Scenario:
    """The demo's guests, on two compute hosts; two network hosts; three hosts of etcd."""
    scenario = demo_scenario()

    def machine(name: str, number: int) -> Machine:
        wire = scenario.wire
        return Machine(name, (ip_interface(f"{wire[number]}/{wire.prefixlen}"),))

    members = tuple(machine(f"etcd-{number}", 30 + number) for number in (1, 2, 3))
    return replace(
        scenario,
        network_node=machine("net-1", 13),
        others=(machine("net-2", 14), *members),
        forwards=(),
        publics=(),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tenant's concentrator is."""

    tenant: str
    node: str
    address: str


@dataclass(frozen=True, slots=True)
class _Port:
    link_name: str
    peer_name: str | None
    mac: str


class _Known(Namespace):
    """A namespace that somebody else made and named; ``close()`` leaves the name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd = open_netns(name)
        self.id = netns_id(self.fd)


class ClusterLab(RealLab):
    """A cluster on this machine's kernel.

    ``url`` is that of its registry: etcd if that is installed, else one file of SQLite, which
    the hosts share because they are on one machine.
    """

    def __init__(self, choice: Choice, scenario: Scenario, cancel: CancelToken) -> None:
        super().__init__(
            scenario, backend=choice.backend, firewall=choice.firewall, tunnel=choice.tunnel,
            cancel=cancel,
        )  # fmt: skip
        self.config = replace(
            self.config, concentrator_pool=[tenant.address.ip for tenant in scenario.tenants]
        )
        self._folder = Path(tempfile.mkdtemp(prefix="snnet-demo-"))
        self._members = [item for item in scenario.others if item.name.startswith("etcd")]
        self.has_etcd = find_program("etcd") is not None
        hosts = ",".join(str(member.address.ip) for member in self._members)
        self.url = f"etcd://{hosts}" if self.has_etcd else f"sqlite://{self._folder}/registry.db"
        self._services: dict[str, Service] = {}

    # -- what runs on the hosts ----------------------------------------------------------

    @property
    def network_hosts(self) -> list[Machine]:
        """The hosts that run concentrators."""
        return [item for item in self.scenario.machines if item.name.startswith("net")]

    @property
    def hosts(self) -> list[Machine]:
        """The hosts with an agent."""
        return [*self.scenario.compute_nodes, *self.network_hosts]

    def build_wire(self) -> None:
        super().build_wire()
        way = f"route add default via {self.scenario.internet.address.ip} dev {UPLINK}"
        for host in self.network_hosts:
            self._machines[host].ip([way])

    def start_registry(self) -> None:
        """Start etcd's members, and wait until they answer."""
        peers = ",".join(f"{item.name}=http://{item.address.ip}:2380" for item in self._members)
        for member in self._members if self.has_etcd else ():
            client, peer = (f"http://{member.address.ip}:{port}" for port in (2379, 2380))
            argv = [
                "etcd", "--name", member.name, "--data-dir", str(self._folder / member.name),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", peers,
            ]  # fmt: skip
            self._start(member, argv)
        self._until("the registry answers", self._answers)

    def _answers(self) -> bool:
        with suppress(Unavailable):
            self.ask(lambda cluster: cluster.nodes())
            return True
        return False

    def start_agent(self, host: Machine) -> None:
        """Start the agent of a host."""
        settings: dict[str, Any] = {
            "node": host.name,
            "roles": ["network" if host in self.network_hosts else "compute"],
            "registry": self.url,
            "backend": self.backend,
            "firewall": self.firewall,
            "session_ttl": SESSION_TTL,
            "network": {
                "topology": "hub",
                "tunnel": self.tunnel,
                "compute_nets": [str(self.scenario.wire)],
                "management_nets": [str(self.scenario.wire)],
                "concentrator_pool": [str(ip) for ip in self.config.concentrator_pool],
            },
        }
        path = self._folder / f"{host.name}.yaml"
        path.write_text(json.dumps(settings))  # which is YAML too
        self._start(host, [sys.executable, "-m", "snnet", "agent", "--config", str(path)])

    def wait_agents(self) -> None:
        """Wait until the agents of all hosts are ready."""
        names = {host.name for host in self.hosts}
        self._until(
            "the agents of all hosts are there",
            lambda: names == {node.name for node in self._nodes() if node.compute_ip},
        )

    def _nodes(self) -> list[Any]:
        return [node for node in self.ask(lambda cluster: cluster.nodes()) if node.alive]

    def _start(self, machine: Machine, argv: list[str]) -> None:
        self.check()
        log = self._folder / f"{machine.name}.log"
        self._services[machine.name] = Service(argv, netns=self._machines[machine].fd, log=log)

    def kill(self, host: Machine) -> None:
        """A host loses its power: its agent ends at once, and nothing of it answers."""
        assert self._wire is not None
        self._wire.ip([f"link set {host.name} down"])
        self._services[host.name].kill()

    def revive(self, host: Machine) -> None:
        """The host is back, with everything that it had before."""
        assert self._wire is not None
        self._wire.ip([f"link set {host.name} up"])
        self.start_agent(host)

    # -- what is wanted ------------------------------------------------------------------

    def ask(self, work: Callable[[Cluster], T]) -> T:
        """Return what the function says, which is called with the cluster on one of the hosts."""

        def inside() -> T:
            with Cluster(self.url) as cluster:
                return work(cluster)

        return self._machines[self._members[0]].call(inside)

    def furnish(self) -> dict[Guest, _Port]:
        """Ask for the networks and VNICs, and wait until they are ready; return where they are."""

        def write(cluster: Cluster) -> None:
            for subnet in dict.fromkeys(guest.subnet for guest in self.scenario.guests):
                cluster.create_network(
                    subnet.name, tenant=subnet.tenant.name, subnet=subnet.networks, key=subnet.key
                )
            for guest in self.scenario.guests:
                cluster.create_vnic(
                    guest.name, tenant=guest.tenant.name, network=guest.subnet.name,
                    node=guest.machine.name, role=guest.role, ip=guest.ips,
                )  # fmt: skip

        self.ask(write)
        self._until("all is ready", lambda: not self.unready())
        vnics = {item.name: item for item in self.ask(lambda cluster: cluster.list_vnics())}
        return {guest: _port(vnics[guest.name]) for guest in self.scenario.guests}

    def unready(self) -> list[str]:
        """The networks and VNICs that are not ready, and why."""

        def look(cluster: Cluster) -> list[str]:
            return [
                f"{item.title}: {item.error or item.state}"
                for item in (*cluster.list_networks(), *cluster.list_vnics())
                if item.state != "ready"
            ]

        return self.ask(look)

    def places(self) -> list[Place]:
        """Where the concentrators are."""

        def look(cluster: Cluster) -> list[Place]:
            found = cluster.placements()
            return [
                Place(tenant, str(place.get("node")), str(place.get("address")))
                for tenant, place in sorted(found.items())
            ]

        return self.ask(look)

    def wait_removed(self, host: Machine) -> None:
        """Wait until a host has no concentrator any more."""
        self._until(f"{host.name} has no concentrator", lambda: not self.concentrators(host))

    def concentrators(self, host: Machine) -> list[str]:
        """The names of the namespaces of a host's concentrators."""
        with self._node(host, read_only=True) as node:
            node.init()
            return [side.netns for side in node.topology().concentrators]

    def _node(self, host: Machine, **options: Any) -> ComputeNode:
        return ComputeNode(
            host.name, self.config, backend=self.backend, firewall=self.firewall,
            netns=self._machines[host].fd, api_timeout=_PATIENCE, **options,
        )  # fmt: skip

    def machine(self, host: Machine) -> Namespace:
        """The namespace of a host."""
        return self._machines[host]

    def space_of(self, guest: Guest) -> Namespace:
        """The namespace of a guest."""
        return self._guests[guest]

    def _until(self, what: str, done: Callable[[], bool]) -> None:
        """Wait; ApiError says what is missing if it does not happen, or if a process ended."""
        end = time.monotonic() + _PATIENCE
        while not done():
            self.check()
            for name, service in self._services.items():
                if service.ended:
                    raise ApiError(f"the process on {name} has ended: {_last_words(service.log)}")
            if time.monotonic() > end:
                words = "; ".join(self.unready()) if "ready" in what else ""
                raise ApiError(f"not within {_PATIENCE:g} s: {what}{': ' if words else ''}{words}")
            time.sleep(_LOOK)

    # -- tear-down -----------------------------------------------------------------------

    def close(self) -> list[str]:
        """See :meth:`Lab.close`.  Everything goes, whatever state it is in."""
        services, self._services = self._services, {}
        for service in services.values():
            service.kill()
        left = list(self._cleared(host for host in self.hosts if host.name in services))
        shutil.rmtree(self._folder, ignore_errors=True)
        return left + super().close()

    def _cleared(self, hosts: Iterable[Machine]) -> Iterable[str]:
        """Remove what agents left on these hosts; yield what could not be removed."""
        for host in hosts:
            inner: list[_Known] = []
            try:
                # A killed agent leaves the file of its claim, which goes with the next claim.
                with self._node(host) as node, node.backend.host.claim(0.0, claim_of(host.name)):
                    node.init()
                    for side in node.topology().concentrators:
                        with suppress(Missing):
                            inner.append(_Known(side.netns))
                    end_processes(inner)
                    node.reset_network()
                remove_files(files_about(inner, runtime_files()))
            except SnnetError as error:
                yield f"{host.name}: {error}"
            finally:
                for space in inner:
                    space.close()


def _port(vnic: Vnic) -> _Port:
    details = vnic.status.details
    return _Port(str(details["link_name"]), details.get("peer_name"), vnic.guest_mac)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"

"""Real hosts on one wire, in namespaces, with agents in this process and one registry."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from typing import Any

from snnet import Agent, Cluster, NetworkConfig, open_registry
from snnet.backends.netlink import NetlinkBackend
from snnet.cluster import Vnic
from snnet.contract import Namespace as NamespaceNoun
from snnet.contract import Remove
from snnet.explain.many import HostsExplanation, explain_hosts
from snnet.explain.question import Question
from snnet.system.host import RealHost
from snnet.system.namespaces import Namespace, end_processes
from snnet.system.process import run

OUTSIDE, POOL, PUBLIC = "192.0.2.254", "192.0.2.200", "192.0.2.77"


class Wired:
    """A network host and two compute hosts, and somebody outside who is their router.

    Agents repair nothing that others change.
    """

    def __init__(self, firewall: str, topology: str = "hub") -> None:
        self.firewall, self.topology = firewall, topology
        self._open = ExitStack()
        self.registry = self._open.enter_context(open_registry("memory:"))
        self.cluster = Cluster(self.registry)
        self.hosts: dict[str, Namespace] = {}
        self.agents: dict[str, Agent] = {}
        self.guests: dict[str, Namespace] = {}
        self._tag = uuid.uuid4().hex[:6]
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        wire = self.space("wire")
        wire.ip(["link add br0 type bridge", "link set br0 up"])
        self.outside = self.space("outside")
        self._plug(wire, self.outside, f"{OUTSIDE}/24")
        for number, role in enumerate(("network", "compute", "compute"), 10):
            name = f"{role[:3]}{number}-{self._tag}"
            self.hosts[name] = space = self.space(name)
            self._plug(wire, space, f"192.0.2.{number}/24")
            space.ip([f"route add default via {OUTSIDE}"])
            self.start(name)
        self.network, self.near, self.far = self.hosts

    def space(self, name: str) -> Namespace:
        space = Namespace(name)
        self._open.callback(space.close)
        self._open.callback(end_processes, [space])
        space.ip(["link set lo up"])
        return space

    @staticmethod
    def _plug(wire: Namespace, space: Namespace, address: str) -> None:
        port = f"p-{space.name}"[:15]
        wire.ip(
            [
                f"link add {port} type veth peer name eth0 netns {space.path}",
                f"link set {port} master br0 up",
            ]
        )
        space.ip(["link set eth0 up", f"address add {address} dev eth0"])

    def start(self, name: str) -> None:
        config = NetworkConfig(
            topology=self.topology,
            tunnel="vxlan",
            compute_nets=["192.0.2.0/24"],
            concentrator_pool=[POOL] if self.topology == "hub" else [],
            allow_to_nets=[f"{OUTSIDE}/32"],
        )
        role = "network" if name.startswith("net") else "compute"
        agent = self.agents[name] = Agent(
            name, config, registry=self.registry, roles=[role], session_ttl=60,
            firewall=self.firewall, netns=self.hosts[name].fd,
        )  # fmt: skip
        agent.start()

    def until_ready(self, patience: float = 60.0) -> None:
        """Wait until everything that is wanted is there."""
        end = time.monotonic() + patience
        while True:
            kinds = (
                self.cluster.list_networks, self.cluster.list_vnics, self.cluster.list_forwards,
                self.cluster.list_public_ips, self.cluster.list_groups,
            )  # fmt: skip
            waiting = [item for kind in kinds for item in kind() if item.state != "ready"]
            if not waiting:
                return
            if time.monotonic() > end:
                raise AssertionError(
                    [(item.title, item.error) for item in waiting]
                    + [agent.status() for agent in self.agents.values()]
                )
            time.sleep(0.05)

    def guest(self, name: str) -> Vnic:
        """A container on a VNIC, set up as the VNIC says."""
        vnic = self.cluster.get_vnic("acme", name)
        space = self.guests[name] = self.space(name)
        host = self.hosts[str(vnic.node)]
        peer = vnic.status.details["peer_name"]
        host.ip([f"link set {peer} netns {space.path} name eth0 up"])
        gateway = f"{vnic.ip[0]}".rpartition(".")[0] + ".1"
        space.ip([f"address add {vnic.ip[0]}/24 dev eth0", f"route add default via {gateway}"])
        return vnic

    def ask(self, source: str, target: str, **options: Any) -> HostsExplanation:
        """What ``snnet explain`` works out."""
        return explain_hosts(self.registry, Question(source, target, **options), timeout=30)

    def pings(self, name: str, target: str, patience: float = 0.4) -> bool:
        """Whether a real ping of a guest is answered."""
        space = self.guests.get(name, self.outside)
        argv = ["ping", "-c", "1", "-W", str(patience), target]
        return run(argv, netns=space.fd, check=False, timeout=30).returncode == 0

    def type(self, host: str, command: str) -> None:
        """Type a command on a host."""
        run(command.split(), netns=self.hosts[host].fd, timeout=30)

    @property
    def concentrator(self) -> str:
        """The namespace of the tenant's concentrator."""
        return self.agents[self.network].node.topology().concentrators[0].netns

    def _end(self) -> None:
        """Have the agents remove everything, DHCP servers included, and end."""
        try:
            for network in self.cluster.list_networks():
                self.cluster.delete_network(network.tenant, network.name, force=True)
            end = time.monotonic() + 20
            while self._concentrators() and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            for agent in self.agents.values():
                agent.stop()
        for name, space in self.hosts.items():
            host = RealHost(space.fd, owner=f"cn:{name}")
            backend = NetlinkBackend(host)
            for noun in backend.snapshot({NamespaceNoun}).values():
                backend.apply([Remove(noun)])
            backend.close()
            host.close()

    def _concentrators(self) -> bool:
        agent = self.agents.get(next(iter(self.hosts), ""))
        return agent is not None and agent.ready and bool(agent.node.topology().concentrators)

    def close(self) -> None:
        try:
            self._end()
        finally:
            self._open.close()

"""Many hosts with agents: fake kernels on one wire, and one registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from snnet import Agent, Cluster, Fabric, FakeKernel, NetworkConfig, open_registry
from snnet.backends.fake import Guest
from snnet.contract import Registry

OUTSIDE = "192.0.2.254"
CONFIG = NetworkConfig(
    tunnel="vxlan",
    compute_nets=["192.0.0.0/16"],
    concentrator_pool=[f"192.0.3.{last}" for last in range(1, 201)],
    allow_to_nets=[f"{OUTSIDE}/32"],
)

MESH = replace(CONFIG, topology="mesh", tunnel="gre", concentrator_pool=[])


def other(name: str) -> str:
    """The other network host."""
    return "net-2" if name == "net-1" else "net-1"


class Cloud:
    """Compute and network hosts that agents drive, one step after the other."""

    ttl = 3600.0
    """Seconds of the agents' sessions."""

    def __init__(self, config: NetworkConfig = CONFIG, registry: str = "memory:") -> None:
        self.config = config
        self.registry = open_registry(registry)
        self.cluster = Cluster(self.registry)
        self.fabric = Fabric()
        self.outside = self.fabric.add_host("outside", f"{OUTSIDE}/16")
        self.agents: dict[str, Agent] = {}
        self._number = 0

    @classmethod
    def of_four(cls, config: NetworkConfig = CONFIG) -> Self:
        """Two network hosts and two compute hosts at rest."""
        cloud = cls(config)
        cloud.add("net-1", "net-2", roles=["network"])
        cloud.add("cn-1", "cn-2", roles=["compute"])
        cloud.settle()
        return cloud

    def add(self, *names: str, roles: Sequence[str]) -> None:
        """Add hosts and start their agents."""
        for name in names:
            self._number += 1
            high, low = divmod(self._number, 250)
            self.fabric.add_host(name, f"192.0.{4 + high}.{1 + low}/16")
            self.start(name, roles)

    def start(self, name: str, roles: Sequence[str]) -> Agent:
        agent = self.agents[name] = Agent(
            name, self.config, registry=self.registry_of(name), roles=roles, firewall="fake",
            dhcp="fake", backend=self.host(name), session_ttl=self.ttl,
        )  # fmt: skip
        return agent

    def registry_of(self, name: str) -> Registry:
        """The registry as the agent of a host sees it."""
        return self.registry

    def host(self, name: str) -> FakeKernel:
        return self.fabric.hosts[name]

    def stop(self, name: str) -> Sequence[str]:
        """The agent ends, and its data plane stays.  Returns its roles."""
        agent = self.agents.pop(name)
        agent.close()
        return agent.roles

    def kill(self, name: str) -> Sequence[str]:
        """The host loses its power: nothing of it answers."""
        self.fabric.unplug(self.host(name))
        return self.stop(name)

    def settle(self, rounds: int = 30) -> int:
        """Step all agents until none has anything to do; return after how many rounds."""
        busy: list[bool] = []
        for number in range(rounds):
            busy = [agent.step(0) for agent in self.agents.values()]
            if not any(busy):
                return number
        agents = zip(self.agents.values(), busy, strict=True)
        still = [agent.status() for agent, is_busy in agents if is_busy]
        raise AssertionError(f"the agents do not come to rest: {still[:3]}")

    def close(self) -> None:
        for name in tuple(self.agents):
            self.stop(name)
        self.registry.close()

    def furnish(self, tenant: str = "acme", subnet: Any = "10.1.0.0/24", **fields: Any) -> None:
        """A network "web" with a VNIC on each of two compute hosts: v1 on cn-1, v2 on cn-2."""
        self.cluster.create_network("web", tenant=tenant, subnet=subnet)
        for number in (1, 2):
            self.cluster.create_vnic(
                f"v{number}", tenant=tenant, network="web", node=f"cn-{number}", **fields
            )
        self.settle()

    # -- what there is -----------------------------------------------------------------

    def places(self) -> dict[str, tuple[Any, Any]]:
        """Node and address of each tenant's concentrator."""
        found = self.registry.read("v1/concentrators/").entries
        return {
            key.split("/")[2]: (entry.document.get("node"), entry.document.get("address"))
            for key, entry in found.items()
        }

    def node_of(self, tenant: str = "acme") -> str:
        """The network host that a tenant's concentrator is on."""
        return str(self.places()[tenant][0])

    def documents(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """The documents of the registry below a prefix, by the rest of their keys."""
        entries = self.registry.read(prefix).entries
        return {key[len(prefix) :]: entry.document for key, entry in entries.items()}

    def states(self) -> set[str]:
        """The states of all objects."""
        cluster = self.cluster
        return {
            item.state
            for item in (
                *cluster.list_networks(), *cluster.list_vnics(), *cluster.list_forwards(),
                *cluster.list_public_ips(), *cluster.list_groups(),
            )
        }  # fmt: skip

    def guest(self, name: str, tenant: str = "acme") -> Guest:
        """A guest on a VNIC, which takes its address by DHCP."""
        vnic = self.cluster.get_vnic(tenant, name)
        made = {
            (item.tenant_id, item.vnic_id): item
            for item in self.agents[str(vnic.node)].node.topology().vnics
        }
        kernel = self.host(str(vnic.node))
        return self.fabric.attach(kernel, made[tenant, name], dhcp=True, name=f"{tenant}-{name}")

    def faults(self) -> list[str]:
        """What differs between the hosts and what their agents know."""
        found: list[str] = []
        for agent in self.agents.values():
            found += agent.node.verify()
            for cnci in agent._network.running.values():
                found += cnci.verify()
        return found

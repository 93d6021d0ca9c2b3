"""Two clients: each verb of one between the reading and a commit of each verb of the other.

Nothing of what one of them wrote refers to what the other one removed, every claim belongs to
something that is there, and no network stays closed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from snnet import Cluster, SnnetError
from snnet.cluster import Forward, NodeInfo, PublicIp, keys
from snnet.contract import Put, Registry, Session
from snnet.registries.memory import MemoryRegistry

T = "default"

Verb = Callable[[Cluster], object]

VERBS: Mapping[str, Verb] = {
    "create network": lambda c: c.create_network("n", subnet="10.3.0.0/24"),
    "create larger network": lambda c: c.create_network("o", subnet="10.3.0.0/16"),
    "update network": lambda c: c.update_network(T, "web", mtu=1300),
    "delete empty network": lambda c: c.delete_network(T, "db"),
    "delete network": lambda c: c.delete_network(T, "web"),
    "delete network by force": lambda c: c.delete_network(T, "web", force=True),
    "create network again": lambda c: _network_again(c),
    "create vnic": lambda c: c.create_vnic("x", network="web"),
    "create vnic in group": lambda c: c.create_vnic("y", network="web", groups=["free"]),
    "move vnic": lambda c: c.update_vnic(T, "v1", node="n2"),
    "move other vnic": lambda c: c.update_vnic(T, "v3", node="n1"),
    "leave group": lambda c: c.update_vnic(T, "v1", groups=[]),
    "join group": lambda c: c.update_vnic(T, "v3", groups=["free"]),
    "delete vnic": lambda c: c.delete_vnic(T, "v3"),
    "delete vnic by force": lambda c: c.delete_vnic(T, "v1", force=True),
    "create vnic elsewhere": lambda c: _vnic_elsewhere(c),
    "create forward": lambda c: c.create_forward(network="web", protocol="tcp", port=81, to="v3"),
    "create forwards": lambda c: c.create_forward(
        network="web", protocol="tcp", port="81-90", to="v2"
    ),
    "update forward": lambda c: c.update_forward(T, "tcp-80", to="v3"),
    "delete forward": lambda c: c.delete_forward(T, "tcp-80"),
    "create public ip": lambda c: c.create_public_ip("203.0.113.9", to="v3"),
    "create public ip for another": lambda c: c.create_public_ip("203.0.113.9", to="v2"),
    "update public ip": lambda c: c.update_public_ip(T, "203.0.113.1", to="v3"),
    "delete public ip": lambda c: c.delete_public_ip(T, "203.0.113.1"),
    "delete group": lambda c: c.delete_group(T, "free"),
    "delete naming group": lambda c: c.delete_group(T, "h"),
    "update group": lambda c: c.update_group(T, "h", rules=["in tcp 80 from group:free"]),
    "set group": lambda c: c.set_group(T, "new", rules=["in tcp 80 from group:free"]),
    "forget node": lambda c: c.forget_node("n1"),
    "forget node by force": lambda c: c.forget_node("n1", force=True),
    "drain node": lambda c: c.drain_node("n1"),
    "prune": lambda c: c.apply(
        [{"kind": "network", "name": "web", "subnet": "10.1.0.0/24"}], prune=True
    ),
    "its agent is back": lambda c: register(c.registry, "n1", 1),
}


def _network_again(cluster: Cluster) -> None:
    cluster.delete_network(T, "web", force=True)
    cluster.create_network("web", subnet="10.9.0.0/24")
    cluster.create_vnic("v1", network="web", node="n1")


def _vnic_elsewhere(cluster: Cluster) -> None:
    cluster.delete_vnic(T, "v3")
    cluster.create_vnic("v3", network="db", node="n1")


class Late(MemoryRegistry):
    """A registry in which something happens right before commit number ``at``."""

    at = 0
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def commit(self, writes: Sequence[Any], expected: Mapping[str, int] | None = None) -> int:
        self.at -= 1
        if not self.at:
            self.meanwhile()
        return super().commit(writes, expected)


def register(registry: Registry, name: str, number: int) -> Session:
    """What an agent does when it starts."""
    node, claim = keys.node(name), keys.node_number(number)
    known = registry.read(node, claim).entries
    if claim not in known:
        registry.commit([Put(claim, {"node": name})], {claim: 0})
    info = NodeInfo(
        name=name, roles=("compute", "network"), topology="hub", compute_ip="192.0.2.1",
        number=number,
    )  # fmt: skip
    session = registry.session(3600)
    registry.commit(
        [Put(node, info.document()), Put(keys.alive(name), {"pid": 1}, session.id)],
        {node: known[node].revision if node in known else 0},
    )
    return session


def furnish(cluster: Cluster) -> None:
    """Two nodes, one of them without its agent; networks, VNICs, groups, and what leads to them."""
    registry = cluster.registry
    register(registry, "n2", 2)
    register(registry, "n1", 1).close()
    registry.commit([Put(keys.tunnel("n1", T, "web"), {"address": "192.0.2.1", "port": 16385})])
    for name, subnet in (("web", "10.1.0.0/24"), ("db", "10.2.0.0/24")):
        cluster.create_network(name, subnet=subnet)
    cluster.create_group("g")
    cluster.create_group("h", rules=["in tcp 80 from group:g"])
    cluster.create_group("free")
    cluster.create_vnic("v1", network="web", node="n1", groups=["g"])
    for name in ("v2", "v3"):
        cluster.create_vnic(name, network="web", node="n2")
    cluster.create_forward(network="web", protocol="tcp", port=80, to="v1")
    cluster.create_public_ip("203.0.113.1", to="v2")


def faults(cluster: Cluster) -> Iterator[str]:
    """What of the registry does not fit together."""
    entries = cluster.registry.read(keys.ROOT).entries

    def under(prefix: str) -> dict[str, Mapping[str, Any]]:
        found = entries.items()
        return {k[len(prefix) : -1]: e.document for k, e in found if k.startswith(prefix)}

    networks = {item.name: item for item in cluster.list_networks()}
    vnics = {item.name: item for item in cluster.list_vnics()}
    groups = {item.name: item for item in cluster.list_groups()}
    nodes = {item.name: item for item in cluster.nodes()}
    claims = f"{keys.ROOT}claims/"
    pairs: list[tuple[str, object, object]] = [
        ("names", {f"{T}/{n}" for n in vnics}, under(f"{claims}vnics/").keys()),
        ("addresses", {f"{T}/{v.network}/{ip}": (v.name, v.node)
                       for v in vnics.values() for ip in v.ip},
         {k: (d["vnic"], d["node"]) for k, d in under(keys.ADDRESSES).items()}),
        ("members", {f"{T}/{v.name}": (v.node, list(v.groups)) for v in vnics.values() if v.groups},
         {k: (d["node"], d["groups"]) for k, d in under(keys.MEMBERS).items()}),
        ("keys", {str(n.key): n.name for n in networks.values()},
         {k: d["network"] for k, d in under(keys.TUNNEL_KEYS).items()}),
        ("public addresses", {p.name for p in cluster.list_public_ips()},
         under(f"{claims}public-ips/").keys()),
        ("numbers", {str(n.number): n.name for n in nodes.values()},
         {k: d["node"] for k, d in under(keys.NODE_NUMBERS).items()}),
        ("tunnels", {k.split("/")[0] for k in under(keys.TUNNELS)} - nodes.keys(), set()),
        ("agents", under(keys.ALIVE).keys() - nodes.keys(), set()),
    ]  # fmt: skip
    yield from (f"{what}: {there} but {kept}" for what, there, kept in pairs if there != kept)
    yield from (f"{n.title} stays closed" for n in networks.values() if n.closing)
    for vnic in vnics.values():
        if vnic.network not in networks or not set(vnic.groups) <= groups.keys():
            yield f"{vnic.title} lacks its network or groups"
    for group in groups.values():
        if not set(group.named) <= groups.keys():
            yield f"{group.title} names groups that are gone"
    rules: list[Forward | PublicIp] = [*cluster.list_forwards(), *cluster.list_public_ips()]
    for rule in rules:
        target = vnics.get(rule.to)
        if target is None or (isinstance(rule, Forward) and rule.network != target.network):
            yield f"{rule.title} leads to no vnic"


@functools.cache
def _furniture() -> Sequence[Put]:
    """What ``furnish`` writes, to be written at once by those that need it often."""
    with MemoryRegistry() as registry:
        furnish(Cluster(registry))
        found = registry.read(keys.ROOT).entries.values()
        return [Put(entry.key, entry.document) for entry in found]


def _furnish_at_once(registry: Registry) -> None:
    session = registry.session(3600)
    writes = {put.key: put for put in _furniture()}
    alive = keys.alive("n2")
    writes[alive] = Put(alive, writes[alive].document, session.id)
    registry.commit([*writes.values()])


def commits(verb: str) -> int:
    """Return how many commits a verb tries where nobody disturbs it."""
    with Late() as registry:
        _furnish_at_once(registry)
        registry.at = 0
        with suppress(SnnetError):
            VERBS[verb](Cluster(registry))
        return -registry.at


def check_pair(first: str, second: str) -> None:
    """Do ``first``, and ``second`` before each of its commits in turn: nothing dangles."""
    for at in range(1, commits(first) + 1):
        name = f"{first}/{second}/{at}"
        with Late(name) as late, MemoryRegistry(name) as registry:
            cluster, other = Cluster(late), Cluster(registry)
            _furnish_at_once(registry)

            def meanwhile(other: Cluster = other) -> None:
                with suppress(SnnetError):
                    VERBS[second](other)

            late.at, late.meanwhile = at, meanwhile
            with suppress(SnnetError):
                VERBS[first](cluster)
            assert late.at <= 0
            assert list(faults(other)) == []

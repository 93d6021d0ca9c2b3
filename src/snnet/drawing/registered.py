"""A picture of all hosts, by the documents of a registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from snnet.cluster import Cluster, Network, NodeInfo, Vnic, keys
from snnet.cluster.documents import READY
from snnet.cluster.views import natural, read_placements

from .picture import CONCENTRATOR, HOST, MESH, Bridge, Host, Nic, Picture, Tunnel, joined


def picture(cluster: Cluster, title: str = "cluster") -> Picture:
    """Draw what the registry says: nodes, the VNICs on them, and tenants' concentrators.

    Raises ``Unavailable`` if the registry does not answer.  VNICs of a node whose agent has
    not registered are on a card all the same.
    """
    networks = {(item.tenant, item.name): item for item in cluster.list_networks()}
    plugged: dict[str, dict[tuple[str, str], list[Vnic]]] = {}
    for vnic in cluster.list_vnics():
        where = plugged.setdefault(vnic.node or "no node yet", {})
        where.setdefault((vnic.tenant, vnic.network), []).append(vnic)
    nodes = {node.name: node for node in cluster.nodes()}
    reading = cluster.registry.read(keys.CONCENTRATORS)
    placed = {tenant: entry.document for tenant, entry in read_placements(reading).items()}
    cards = [
        _card(name, nodes.get(name), plugged.get(name, {}), networks)
        for name in sorted(nodes.keys() | plugged.keys(), key=natural)
    ]
    concentrators = [
        _concentrator(tenant, document, networks.values())
        for tenant, document in sorted(placed.items())
    ]
    tunnels = [
        tunnel
        for name in plugged
        for tunnel in _tunnels(name, plugged[name].keys() & networks.keys(), placed)
    ]
    tunnels += _direct(plugged, nodes)
    return joined(title, (*concentrators, *cards), tunnels)


def _card(
    name: str,
    node: NodeInfo | None,
    plugged: Mapping[tuple[str, str], list[Vnic]],
    networks: Mapping[tuple[str, str], Network],
) -> Host:
    bridges = tuple(
        Bridge(_id(name, id), *id, _facts(networks.get(id)), tuple(map(_nic, vnics)))
        for id, vnics in sorted(plugged.items())
    )
    facts = (node.compute_ip or "", node.state) if node else ("not registered",)
    if node and node.state == READY:
        facts = facts[:1]
    return Host(f"node {name}", name, HOST, tuple(filter(None, facts)), bridges)


def _id(node: str, network: tuple[str, str]) -> str:
    return f"node {node} {network[0]}/{network[1]}"


def _facts(network: Network | None) -> tuple[str, ...]:
    if network is None:
        return ("no such network",)
    return (*map(str, network.subnet), f"key {network.key}")


def _nic(vnic: Vnic) -> Nic:
    notes = [vnic.link_name or "", vnic.guest_mac if vnic.ip else ""]
    notes.append("" if vnic.state == READY else f"{vnic.state} {vnic.error or ''}".strip())
    return Nic(vnic.name, tuple(map(str, vnic.ip)), tuple(filter(None, notes)))


def _concentrator(tenant: str, document: Mapping[str, object], networks: Iterable[Network]) -> Host:
    bridges = tuple(
        Bridge(f"concentrator {tenant}/{item.name}", tenant, item.name, _facts(item))
        for item in networks
        if item.tenant == tenant
    )
    where = [str(document[name]) for name in ("address", "node") if document.get(name)]
    facts = (f"on {where[-1]}", *where[:-1]) if document.get("node") else tuple(where)
    return Host(f"concentrator {tenant}", tenant, CONCENTRATOR, facts, bridges)


def _tunnels(
    node: str,
    plugged: Iterable[tuple[str, str]],
    placed: Mapping[str, Mapping[str, object]],
) -> Iterator[Tunnel]:
    """From each network on a node to its tenant's concentrator; a veth on the same host."""
    for tenant, network in sorted(plugged):
        if tenant in placed:
            kind = "veth" if placed[tenant].get("node") == node else "tunnel"
            ends = (_id(node, (tenant, network)), f"concentrator {tenant}/{network}")
            yield Tunnel(tenant, network, ends, kind)


def _direct(
    plugged: Mapping[str, Mapping[tuple[str, str], list[Vnic]]], nodes: Mapping[str, NodeInfo]
) -> Iterator[Tunnel]:
    """In topology "mesh": each network's direct paths between its nodes."""
    meshed = [name for name, node in nodes.items() if node.topology == "mesh"]
    for id in sorted({id for name in meshed for id in plugged.get(name, ())}):
        ends = tuple(_id(name, id) for name in meshed if id in plugged.get(name, {}))
        if len(ends) > 1:
            yield Tunnel(*id, ends, MESH)

"""The verbs on nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from snnet.contract import COMMIT_MAX, Conflict, Delete, Missing, Put, Reading, Registry, Stale
from snnet.contract.registries import Write

from . import keys
from .documents import Vnic
from .drafts import seen
from .node_info import NodeInfo
from .views import read_nodes, read_placements, stored

_BATCH = (COMMIT_MAX - 2) // 2
"""So many writes, each with a condition, leave room for two conditions about the node."""


def need(registry: Registry, name: str) -> NodeInfo:
    """The node.  Raises ``Missing`` if its agent has not registered."""
    return _need(registry.read(keys.node(name), keys.alive(name)), name)


def _need(reading: Reading, name: str) -> NodeInfo:
    for node in read_nodes(reading):
        if node.name == name:
            return node
    raise Missing(f"there is no node {name!r}: its agent has not registered")


def drain(registry: Registry, name: str, *, draining: bool) -> None:
    """See :meth:`snnet.Cluster.drain_node`."""
    key = keys.node(name)
    while True:
        reading = registry.read(key, keys.alive(name))
        if _need(reading, name).draining == draining:
            return
        entry = reading.entries[key]
        # The rest stays as the node's agent wrote it, also fields of a later version.
        document = {**entry.document, "draining": draining}
        try:
            registry.commit([Put(key, document)], {key: entry.revision})
        except Stale:
            continue
        return


def forget(registry: Registry, name: str, *, force: bool) -> list[Vnic]:
    """Remove a node; return the VNICs that are under it, which the caller has to delete.

    An agent that registers meanwhile keeps what it has said.
    """
    while True:
        with suppress(Stale):
            return _forget(registry, name, force=force)


def _forget(registry: Registry, name: str, *, force: bool) -> list[Vnic]:
    """See :func:`forget`; ``Stale`` if the node itself changed meanwhile."""
    reading = registry.read(
        keys.node(name),
        keys.alive(name),
        f"{keys.VNICS}{name}/",
        keys.status(name),
        keys.tunnels(name),
        keys.docker(name),
        keys.ADDRESSES,
        keys.NODE_NUMBERS,
        keys.CONCENTRATORS,
    )
    vnics = list(stored(reading, Vnic))
    if keys.node(name) not in reading.entries:
        # A call that ended early may have left its VNICs.
        return vnics if force else []
    if keys.alive(name) in reading.entries:
        raise Conflict(f"the agent of node {name!r} is running: stop it first")
    if vnics and not force:
        names = ", ".join(vnic.name for vnic in vnics)
        raise Conflict(f"node {name!r} has the VNICs {names}: move or delete them, or use force")
    writes = list(_forgotten(reading, name))
    # The node itself is last: until then the call can be repeated.
    writes.append(Delete(keys.node(name)))
    unchanged = seen(reading, [keys.node(name), keys.alive(name)])
    for start in range(0, len(writes), _BATCH):
        part = writes[start : start + _BATCH]
        places = [write.key for write in part if write.key.startswith(keys.CONCENTRATORS)]
        registry.commit(part, unchanged | seen(reading, places))
    return vnics


def _forgotten(reading: Reading, name: str) -> Iterator[Write]:
    """Yield what removes a node's status, tunnels and number, and what its Docker plugins hold.

    A concentrator with an address keeps it: other nodes take it over from one that is not
    registered.  One without is placed anew.
    """
    for key, entry in reading.entries.items():
        is_number = key.startswith(keys.NODE_NUMBERS) and entry.document.get("node") == name
        is_held = key.startswith(keys.ADDRESSES) and str(
            entry.document.get("managed_by")
        ).startswith(keys.docker_manager(name))
        if is_number or is_held or key.startswith((keys.STATUS, keys.TUNNELS, keys.DOCKER)):
            yield Delete(key)
    for entry in read_placements(reading).values():
        if entry.document.get("node") == name and "address" not in entry.document:
            yield Delete(entry.key)

"""The security groups that a host needs."""

from __future__ import annotations

from collections.abc import Iterable

from snnet.cluster import SecurityGroup, Vnic, keys
from snnet.contract import Reading
from snnet.core.groups import Group, GroupId


def needed_groups(
    reading: Reading, node: str, vnics: Iterable[Vnic]
) -> list[tuple[SecurityGroup, Group]]:
    """The groups that these VNICs of the node are in, and those that rules of needed ones name.

    Each is as the registry has it and as the node takes it: with the addresses of all VNICs on
    other nodes that are in it.
    """
    found: dict[GroupId, SecurityGroup] = {}
    asked = {(vnic.tenant, name) for vnic in vnics for name in vnic.groups}
    while asked:
        tenant, name = asked.pop()
        entry = reading.entries.get(keys.group(tenant, name))
        if entry is not None and (tenant, name) not in found:
            group = SecurityGroup.read(entry.document, entry.revision)
            found[tenant, name] = group
            asked |= {(tenant, other) for other in group.named}
    members = _elsewhere(reading, node) if found else {}
    return [
        (
            group,
            Group(
                tenant_id=group.tenant,
                name=group.name,
                rules=group.rules,
                members=members.get(id, ()),
            ),
        )
        for id, group in sorted(found.items())
    ]


def _elsewhere(reading: Reading, node: str) -> dict[GroupId, list[str]]:
    """The addresses of the VNICs of other nodes, by their groups."""
    found: dict[GroupId, list[str]] = {}
    for key, entry in reading.entries.items():
        if key.startswith(keys.MEMBERS) and entry.document["node"] != node:
            tenant = key.split("/")[2]
            for name in entry.document["groups"]:
                found.setdefault((tenant, name), []).extend(entry.document["ips"])
    return found

"""The security groups that a host needs."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable

from snnet.checks import check_address, check_many
from snnet.cluster import SecurityGroup, Vnic, keys
from snnet.cluster.problems import DAMAGED
from snnet.contract import Reading
from snnet.core.groups import Group, GroupId

_log = logging.getLogger("snnet.agent")


def needed_groups(
    reading: Reading,
    node: str,
    vnics: Iterable[Vnic],
    damaged: dict[tuple[str, str, str], tuple[int, str]],
) -> list[tuple[SecurityGroup, Group]]:
    """The groups that these VNICs of the node are in, and those that rules of needed ones name.

    Each is as the registry has it and as the node takes it: with the addresses of all VNICs on
    other nodes that are in it.  Those that cannot be read are in ``damaged`` instead, with
    revision and error.
    """
    found: dict[GroupId, SecurityGroup] = {}
    asked = {(vnic.tenant, name) for vnic in vnics for name in vnic.groups}
    while asked:
        tenant, name = asked.pop()
        entry = reading.entries.get(keys.group(tenant, name))
        if entry is not None and (tenant, name) not in found:
            try:
                group = SecurityGroup.read(entry.document, entry.revision)
            except DAMAGED as error:
                damaged[SecurityGroup.kind, tenant, name] = (entry.revision, str(error))
                continue
            found[tenant, name] = group
            asked |= {(tenant, other) for other in group.named}
    members = _elsewhere(reading, node, found) if found else {}
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


def _elsewhere(reading: Reading, node: str, needed: Container[GroupId]) -> dict[GroupId, list[str]]:
    """The addresses of the VNICs of other nodes, by the needed groups that they are in."""
    found: dict[GroupId, list[str]] = {}
    for key, entry in reading.entries.items():
        if not key.startswith(keys.MEMBERS) or entry.document.get("node") == node:
            continue
        tenant = key.split("/")[2]
        try:
            groups = [
                group for name in entry.document["groups"] if (group := (tenant, name)) in needed
            ]
            ips = check_many(entry.document["ips"], "ips", check_address) if groups else ()
        except DAMAGED as error:
            _log.warning("%s is left out: %r", key, error)
            continue
        for group in groups:
            found.setdefault(group, []).extend(map(str, ips))
    return found

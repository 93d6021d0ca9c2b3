"""What the verbs for port forwards and public addresses write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snnet.contract import Conflict, Delete, InvalidRequest, Put, Reading

from . import keys, stored
from .documents import Forward, PublicIp, Vnic
from .drafts import Draft, check_same, seen
from .node_info import NodeInfo


def forwards_of(reading: Reading, vnic: Vnic) -> list[Forward]:
    """The forwards that lead to a VNIC."""
    there = keys.objects(reading.entries, f"{keys.FORWARDS}{vnic.tenant}/")
    found = (stored.salvage(Forward, key, entry) for key, entry in there)
    return [forward for forward in found if forward.to == vnic.name]


def public_ips_of(reading: Reading, vnic: Vnic) -> list[PublicIp]:
    """The public addresses that lead to a VNIC."""
    there = keys.objects(reading.entries, f"{keys.PUBLIC_IPS}{vnic.tenant}/")
    found = (stored.salvage(PublicIp, key, entry) for key, entry in there)
    return [item for item in found if item.to == vnic.name]


def shares_ports(nodes: Iterable[NodeInfo]) -> bool:
    """Whether tenants' forwards may open ports of the same host (topologies "local", "mesh")."""
    return any(node.topology != "hub" and "network" in node.roles for node in nodes)


def forward_reads(wanted: Forward, *, shared: bool) -> list[str]:
    return [
        keys.FORWARDS if shared else f"{keys.FORWARDS}{wanted.tenant}/",
        keys.fence(wanted.tenant),
        keys.HOST_PORTS,
        keys.vnic_name(wanted.tenant, wanted.to),
    ]


def forward_creation(
    wanted: Forward, given: frozenset[str], reading: Reading, *, shared: bool
) -> Draft[Forward]:
    """Create a forward; the same one again changes nothing."""
    key = keys.forward(wanted.tenant, wanted.name)
    if key in reading.entries:
        old = stored.read(Forward, key, reading.entries[key])
        check_same(old, wanted, given)
        return Draft(old)
    for other_key, entry in keys.objects(reading.entries, keys.FORWARDS):
        rival = stored.salvage(Forward, other_key, entry)
        if rival.port and rival.overlaps(wanted):
            raise Conflict(
                f"{wanted.name} overlaps {rival.title}: choose other ports, or delete it"
            )
    fence = keys.HOST_PORTS if shared else keys.fence(wanted.tenant)
    draft = Draft(
        wanted, [Put(key, wanted.document()), Put(fence, {})], seen(reading, (key, fence))
    )
    _lead(wanted, reading, draft)
    return draft


def forward_update(old: Forward, new: Forward, reading: Reading) -> Draft[Forward]:
    """Write a forward with other values in place of the one it was made from."""
    key = keys.forward(new.tenant, new.name)
    draft = Draft(new, [Put(key, new.document())], {key: old.revision})
    _lead(new, reading, draft)
    return draft


def forward_deletion(forward: Forward) -> Draft[Forward]:
    key = keys.forward(forward.tenant, forward.name)
    return Draft(forward, [Delete(key)], {key: forward.revision})


def public_ip_reads(wanted: PublicIp) -> list[str]:
    return [
        keys.public_ip(wanted.tenant, wanted.name),
        keys.public_ip_claim(wanted.name),
        keys.vnic_name(wanted.tenant, wanted.to),
    ]


def public_ip_creation(wanted: PublicIp, reading: Reading) -> Draft[PublicIp]:
    """Create a public address; the same one again changes nothing."""
    key, claim = keys.public_ip(wanted.tenant, wanted.name), keys.public_ip_claim(wanted.name)
    if entry := reading.entries.get(key):
        old = stored.read(PublicIp, key, entry)
        check_same(old, wanted, ["to"])
        return Draft(old)
    if holder := reading.entries.get(claim):
        raise Conflict(f"{wanted.name} belongs to tenant {holder.document.get('tenant')!r}")
    draft = Draft(
        wanted,
        [Put(key, wanted.document()), Put(claim, {"tenant": wanted.tenant})],
        seen(reading, (key, claim)),
    )
    _lead(wanted, reading, draft)
    return draft


def public_ip_update(old: PublicIp, new: PublicIp, reading: Reading) -> Draft[PublicIp]:
    """Give a public address to another VNIC."""
    key = keys.public_ip(new.tenant, new.name)
    draft = Draft(new, [Put(key, new.document())], {key: old.revision})
    _lead(new, reading, draft)
    return draft


def public_ip_deletion(public: PublicIp) -> Draft[PublicIp]:
    key = keys.public_ip(public.tenant, public.name)
    return Draft(
        public, [Delete(key), Delete(keys.public_ip_claim(public.name))], {key: public.revision}
    )


def _lead(rule: Forward | PublicIp, reading: Reading, draft: Draft[Any]) -> None:
    """Have a draft fail if the VNIC that the rule leads to is not there, or goes meanwhile.

    The claim of the VNIC's name is rewritten, so that a deletion that did not see the rule
    fails too, and looks again.
    """
    key = keys.vnic_name(rule.tenant, rule.to)
    claim = reading.entries.get(key)
    if claim is None:
        raise InvalidRequest(
            f"tenant {rule.tenant!r} has no vnic {rule.to!r}: create it first", field="to"
        )
    there = claim.document.get("network")
    if not isinstance(there, str):
        raise stored.Unreadable(
            f"the claim of the name of vnic {rule.to!r} cannot be read: delete the vnic and create "
            "it again"
        )
    if isinstance(rule, Forward) and there != rule.network:
        raise InvalidRequest(
            f"vnic {rule.to!r} is on network {there!r}, not {rule.network!r}", field="to"
        )
    draft.writes.append(Put(key, claim.document))
    draft.expected |= seen(reading, [key])

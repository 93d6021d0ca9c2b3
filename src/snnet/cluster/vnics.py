"""What the verbs for VNICs write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from snnet.config import VnicRole
from snnet.contract import Conflict, Delete, InvalidRequest, Put, Reading
from snnet.contract.addresses import address_of
from snnet.contract.registries import Write
from snnet.core.addressing import check_extra

from . import keys, stored
from .addresses import AddressPool, is_rival, mac_taken
from .claims import Id, id_of
from .documents import Forward, Network, PublicIp, Vnic
from .drafts import Draft, check_same, seen
from .networks import check_mtu, needed_network
from .node_info import NodeInfo
from .placing import chosen
from .rules import forward_deletion, forwards_of, public_ip_deletion, public_ips_of
from .security import joined, left, reads, refer
from .views import read_nodes

_RULES_AT_ONCE = 40
"""So many deletions of rules, of up to two writes each, fit into a commit with that of a VNIC."""


def repeated(old: Vnic, wanted: Vnic, given: frozenset[str]) -> Draft[Vnic]:
    """What a creation does if the name is in use: nothing, or Conflict if the two differ."""
    check_same(old, wanted, given)
    return Draft(old)


def creation(made: Vnic, network_revision: int, pool: AddressPool) -> Draft[Vnic]:
    """Write a VNIC whose node and addresses are chosen, of those that are free in the pool."""
    assert made.node is not None
    if rival := pool.rival(made):  # DHCP knows guests by their MACs
        raise mac_taken(made, rival)
    claimed = claims(made)
    draft = bare_creation(made, network_revision)
    draft.writes += claimed
    draft.expected |= {claim.key: 0 for claim in claimed}
    fence = keys.macs(made.tenant, made.network)
    draft.expected[fence] = pool.epoch
    if made.mac is not None:
        draft.writes.append(Put(fence, {}))
        address = address_of(made.mac)
        if address and address in pool.network.subnet[0] and not pool.has(address):
            # Who gets this address meanwhile gets the MAC, too.
            draft.expected.setdefault(keys.address(made.tenant, made.network, address), 0)
    return draft


def bare_creation(made: Vnic, network_revision: int) -> Draft[Vnic]:
    """Write a VNIC; the caller claims its addresses in the same commit."""
    assert made.node is not None
    name = keys.vnic_name(made.tenant, made.name)
    return Draft(
        made,
        [
            Put(keys.vnic(made.node, made.tenant, made.name), made.document()),
            Put(name, _name_claim(made)),
            *joined(made),
        ],
        {name: 0, keys.network(made.tenant, made.network): network_revision},
    )


def check_mac(made: Vnic, reading: Reading) -> None:
    """Raise Conflict if another VNIC of the network has the MAC: DHCP knows guests by it."""
    for _, claim in keys.objects(reading.entries, keys.addresses(made.tenant, made.network)):
        if is_rival(made, claim):
            raise mac_taken(made, claim)


def check_fits(vnic: Vnic, network: Network) -> None:
    """InvalidRequest for what no VNIC of its network and role can have."""
    check_extra(vnic.extra_addresses, network.subnet)
    if vnic.owner is not None and vnic.role is not VnicRole.TENANT_VM:
        raise InvalidRequest("only the tap of a VM has an owner", field="owner")
    check_mtu(network, vnic.mtu)


def update_reads(vnic: Vnic) -> list[str]:
    """What :func:`update` has to have read."""
    return [keys.network(vnic.tenant, vnic.network), keys.NODES, *reads(vnic)]


def update(old: Vnic, new: Vnic, reading: Reading) -> Draft[Vnic]:
    """Write a VNIC with other values; another node takes it from the old one."""
    assert old.node is not None
    assert new.node is not None
    if any(
        getattr(new, name) != getattr(old, name) for name in ("extra_addresses", "mtu", "owner")
    ):
        check_fits(new, needed_network(reading, new.tenant, new.network))
    before, after = (keys.vnic(vnic.node or "", vnic.tenant, vnic.name) for vnic in (old, new))
    writes: list[Write] = [Put(after, new.document())]
    if before != after:
        if old.managed_by:
            raise Conflict(
                f"{old.title} belongs to {old.managed_by}, which keeps it on node {old.node!r}"
            )
        _check_target(new, read_nodes(reading))
        name = keys.vnic_name(new.tenant, new.name)
        writes += [Delete(before), Put(name, _name_claim(new)), *claims(new)]
    if (before, old.groups) != (after, new.groups):
        writes += joined(new) or left(old)
    draft = Draft(new, writes, {before: old.revision})
    refer(new, reading, draft)
    return draft


def _check_target(moved: Vnic, registered: Sequence[NodeInfo]) -> None:
    """Conflict for a node that cannot take a VNIC: the old one would let go of it at once.

    (A new VNIC may wait for a node to come.)  Without any agent nothing has it yet.
    """
    found = next((node for node in registered if node.name == moved.node), None)
    if found is None and registered:
        named = ", ".join(node.name for node in registered)
        raise Conflict(
            f"no agent has registered node {moved.node!r}, to which {moved.title} would move: "
            f"start its agent first, or choose one of {named}"
        )
    if found is not None and "compute" not in found.roles:
        raise Conflict(
            f"node {moved.node!r} has not the role 'compute', so that {moved.title} cannot move "
            "there: choose another"
        )


def deletion_reads(vnic: Vnic) -> list[str]:
    """What :func:`deletion` has to have read, all at once."""
    reads = [
        keys.vnic_name(vnic.tenant, vnic.name),
        f"{keys.FORWARDS}{vnic.tenant}/",
        f"{keys.PUBLIC_IPS}{vnic.tenant}/",
    ]
    return [*reads, f"{keys.ADDRESSES}{vnic.tenant}/"] if stored.is_salvaged(vnic) else reads


def deletion(
    vnic: Vnic, reading: Reading, *, force: bool, leave: Collection[Id] = ()
) -> Draft[Vnic]:
    """Remove a VNIC, and with ``force`` the forwards and public addresses that lead to it.

    Those of ``leave`` stay in any case, and lead to nothing.  If the rules are too many for one
    commit, some of them are removed first.
    """
    if vnic.managed_by and not force:
        raise Conflict(f"{vnic.title} belongs to {vnic.managed_by}: remove it there, or use force")
    forwards = [item for item in forwards_of(reading, vnic) if id_of(item) not in leave]
    publics = [item for item in public_ips_of(reading, vnic) if id_of(item) not in leave]
    if (forwards or publics) and not force:
        named = ", ".join(item.title for item in (*forwards, *publics))
        raise Conflict(f"{vnic.title} is the target of {named}: delete them first, or use force")
    rules: list[Forward | PublicIp] = [*forwards, *publics]
    draft = bare_deletion(vnic)
    # Whatever begins to lead to it rewrites this.
    draft.expected |= seen(reading, [keys.vnic_name(vnic.tenant, vnic.name)])
    if len(rules) > _RULES_AT_ONCE:
        return Draft(vnic, _rules_gone(rules[:_RULES_AT_ONCE]), draft.expected, is_all=False)
    draft.writes += [Delete(key) for key in _claimed(vnic, reading)]
    draft.writes += _rules_gone(rules)
    return draft


def _claimed(vnic: Vnic, reading: Reading) -> dict[str, None]:
    """The keys of its claims of addresses, also of those that its document does not tell."""
    found = dict.fromkeys(claim.key for claim in claims(vnic))
    for key, entry in reading.entries.items():
        if key.startswith(keys.ADDRESSES) and entry.document.get("vnic") == vnic.name:
            found[key] = None
    return found


def bare_deletion(vnic: Vnic) -> Draft[Vnic]:
    """Remove a VNIC; the caller releases its addresses in the same commit."""
    assert vnic.node is not None
    key = keys.vnic(vnic.node, vnic.tenant, vnic.name)
    writes = [Delete(key), Delete(keys.vnic_name(vnic.tenant, vnic.name)), *left(vnic)]
    return Draft(vnic, writes, {key: vnic.revision})


def _rules_gone(rules: Iterable[Forward | PublicIp]) -> list[Write]:
    gone: list[Write] = []
    for item in rules:
        draft = forward_deletion(item) if isinstance(item, Forward) else public_ip_deletion(item)
        gone += draft.writes
    return gone


def _name_claim(vnic: Vnic) -> Mapping[str, object]:
    return {"node": vnic.node, "network": vnic.network}


def claims(vnic: Vnic) -> list[Put]:
    """The claims of its addresses, with all that the concentrator's DHCP must know."""
    return [
        Put(
            keys.address(vnic.tenant, vnic.network, ip),
            {"vnic": vnic.name, "mac": vnic.guest_mac, "node": vnic.node},
        )
        for ip in vnic.ip
    ]


def choose_node(vnic: Vnic, nodes: Iterable[NodeInfo], default: str) -> str:
    """The node of a VNIC that names none: one with the role and an agent that is alive.

    If no node has registered yet it is ``default``; if none of those that have may take it,
    Conflict says why.
    """
    registered = list(nodes)
    able = [node for node in registered if "compute" in node.roles]
    free = [node for node in able if not node.draining]
    usable = [node for node in free if node.alive] or free
    if found := chosen(f"{vnic.tenant}/{vnic.name}", (node.name for node in usable)):
        return found
    if not registered:
        return default
    if not able:
        named = ", ".join(node.name for node in registered)
        raise Conflict(
            f"no node has the role 'compute' ({named}): start an agent with it, or name the node "
            f"that {vnic.title} is to be on"
        )
    named = ", ".join(node.name for node in able)
    raise Conflict(
        f"all compute nodes are draining: {named}: use one again ('snnet node drain --undo NODE'), "
        f"or name the node that {vnic.title} is to be on"
    )

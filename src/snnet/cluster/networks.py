"""What the verbs for networks write."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from snnet.contract import Conflict, Delete, Entry, InvalidRequest, Put, Reading
from snnet.contract.addresses import MTU_MAX
from snnet.core.requests import check_mtu_limit, lowest_mtu

from . import keys, store, stored
from .claims import Claim, key_claim
from .documents import SUBNET_KEY_MAX, Network
from .drafts import Draft, check_same, seen
from .views import read_nodes


def read_network(reading: Reading, tenant: str, name: str) -> Network | None:
    """The network as it was read, or None."""
    key = keys.network(tenant, name)
    entry = reading.entries.get(key)
    return stored.read(Network, key, entry) if entry else None


def needed_network(reading: Reading, tenant: str, name: str) -> Network:
    """The network that something else is to be on.  InvalidRequest if there is none."""
    network = read_network(reading, tenant, name)
    if network is None:
        raise InvalidRequest(
            f"tenant {tenant!r} has no network {name!r}: create it first", field="network"
        )
    _check_stays(network)
    return network


def _check_stays(network: Network) -> None:
    if network.closing:
        raise Conflict(f"{network.title} is being deleted: delete it again if that was interrupted")


def creation_reads(wanted: Network) -> list[str]:
    return [
        f"{keys.NETWORKS}{wanted.tenant}/",
        keys.fence(wanted.tenant),
        keys.TUNNEL_KEYS,
        keys.NODES,
    ]


def creation(
    wanted: Network,
    given: frozenset[str],
    reading: Reading,
    reserved: Collection[Claim] = (),
) -> Draft[Network]:
    """Create a network; the same one again changes nothing.

    It gets no key that is reserved for another one.
    """
    old = read_network(reading, wanted.tenant, wanted.name)
    if old is not None:
        _check_stays(old)
        check_same(old, wanted, given)
        return Draft(old)
    check_mtu(wanted, wanted.mtu)
    _check_carried(wanted, reading)
    _check_overlaps(wanted, reading)
    made = replace(wanted, key=_free_key(wanted, reading, reserved))
    assert made.key is not None
    key, fence = keys.network(made.tenant, made.name), keys.fence(made.tenant)
    claim = keys.tunnel_key(made.key)
    return Draft(
        made,
        [
            Put(key, made.document()),
            Put(claim, {"tenant": made.tenant, "network": made.name}),
            Put(fence, {}),
        ],
        seen(reading, (key, claim, fence)),
    )


def check_mtu(network: Network, mtu: int | None) -> None:
    """InvalidRequest if a network's families need a higher MTU, of itself or of a VNIC on it."""
    check_mtu_limit(mtu, MTU_MAX, lowest_mtu(network.subnet))


def _check_carried(wanted: Network, reading: Reading) -> None:
    """InvalidRequest for an MTU that no compute node carries, if all of them say what they do."""
    found = [node.mtu for node in read_nodes(reading) if "compute" in node.roles]
    limits = [mtu for mtu in found if mtu is not None]
    if wanted.mtu is not None and limits and limits == found and wanted.mtu > max(limits):
        raise InvalidRequest(
            f"{wanted.mtu} is more than the compute nodes carry, which is at most {max(limits)}: "
            "lower it, or raise the MTU of their uplinks",
            field="mtu",
        )


def _check_overlaps(wanted: Network, reading: Reading) -> None:
    for key, entry in keys.objects(reading.entries, f"{keys.NETWORKS}{wanted.tenant}/"):
        other = stored.salvage(Network, key, entry)
        for subnet in wanted.subnet:
            for taken in other.subnet:
                if subnet.version == taken.version and subnet.overlaps(taken):
                    raise Conflict(
                        f"{subnet} overlaps {taken} of {other.title}: choose another subnet"
                    )


def _free_key(wanted: Network, reading: Reading, reserved: Collection[Claim]) -> int:
    """The key asked for, or the lowest that no network has."""
    if wanted.key is not None:
        claim = reading.entries.get(keys.tunnel_key(wanted.key))
        if claim is not None:
            holder = claim.document
            raise Conflict(
                f"key {wanted.key} belongs to network {holder.get('network')!r} of tenant "
                f"{holder.get('tenant')!r}: choose another, or none"
            )
        return wanted.key
    taken = keys.numbers(reading.entries, keys.TUNNEL_KEYS)
    for key in range(1, SUBNET_KEY_MAX + 1):
        if key not in taken and key_claim(key) not in reserved:
            return key
    raise Conflict(f"all {SUBNET_KEY_MAX} keys are in use: delete a network first")


def closing(reading: Reading, tenant: str, name: str) -> Draft[Network]:
    """Mark a network, so that nothing new is put on it while it is deleted.

    The rest of its document stays as it is, whether it can be read or not.
    """
    key, entry, network = _found(reading, tenant, name)
    if entry.document.get("closing"):
        return Draft(network)
    return Draft(network, [Put(key, {**entry.document, "closing": True})], {key: entry.revision})


def reopening(reading: Reading, network: Network) -> Draft[Network]:
    """Take the mark back: the network stays."""
    key, entry, found = _found(reading, network.tenant, network.name)
    if not entry.document.get("closing"):
        return Draft(found)
    document = {name: value for name, value in entry.document.items() if name != "closing"}
    return Draft(found, [Put(key, document)], {key: entry.revision})


def deletion_reads(network: Network) -> list[str]:
    """What :func:`deletion` has to have read, all at once."""
    reads = [f"{keys.NETWORKS}{network.tenant}/", keys.fence(network.tenant)]
    return reads if network.key else [*reads, keys.TUNNEL_KEYS]


def deletion(closing: Network, reading: Reading) -> Draft[Network]:
    """Remove a network that is marked and that nothing is on, whatever else became of it.

    Conflict if the mark is gone: then new VNICs may be on it.
    """
    key, entry, network = _found(reading, closing.tenant, closing.name)
    if not entry.document.get("closing"):
        raise Conflict(f"another client keeps {network.title}: try again")
    fence = keys.fence(network.tenant)
    claims = [keys.macs(network.tenant, network.name)]
    claims += [
        claim
        for claim, entry in reading.entries.items()
        if claim.startswith(keys.TUNNEL_KEYS)
        and (entry.document.get("tenant"), entry.document.get("network"))
        == (network.tenant, network.name)
    ]
    if network.key is not None:
        claims.append(keys.tunnel_key(network.key))
    # Without a network the tenant has no forward either, so that nothing is left to overlap.
    is_last = not any(other != key for other in reading.entries if other.startswith(keys.NETWORKS))
    return Draft(
        network,
        [Delete(key), *map(Delete, claims), Delete(fence) if is_last else Put(fence, {})],
        seen(reading, [key, fence]),
    )


def _found(reading: Reading, tenant: str, name: str) -> tuple[str, Entry, Network]:
    """Key and document of a network, and what can be read of it.  Raises ``Missing``."""
    key = keys.network(tenant, name)
    entry = reading.entries.get(key)
    if entry is None:
        raise store.missing(Network, tenant, name)
    return key, entry, stored.salvage(Network, key, entry)


def update(old: Network, new: Network, reading: Reading) -> Draft[Network]:
    """Write a network with other values."""
    check_mtu(new, new.mtu)
    if new.mtu != old.mtu:
        _check_carried(new, reading)
    key = keys.network(new.tenant, new.name)
    return Draft(new, [Put(key, new.document())], {key: old.revision})

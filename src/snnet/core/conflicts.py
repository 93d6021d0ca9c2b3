"""Contradictions between a request and the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product

from snnet.contract import Conflict

from .addressing import written
from .groups import shared_member
from .requests import (
    CnciVnicRequest,
    GuestRequest,
    LocalRequest,
    SubnetId,
    TenantRequest,
    VnicId,
    lowest_mtu,
)
from .site import Site
from .vnics import CnciVnic, TenantSubnet, Vnic

Pairs = list[tuple[str, object, object]]
"""Fields of a request: name, requested value, existing value."""

_QUEUES = {False: "1", True: "several"}
_NAMED = 5
"""VNICs that a message names; of more it says the number."""


def check_same_subnet(
    subnet: TenantSubnet, request: GuestRequest, vnics: Callable[[], Iterable[Vnic]] = tuple
) -> None:
    """Raise Conflict if a request disagrees with the subnet on this node.

    ``vnics`` returns its VNICs, which the message names.
    """
    pairs = _subnet_pairs(subnet, request)
    if _is_same(pairs):
        return
    what = f"subnet {subnet.subnet_id} of tenant {subnet.tenant_id}"

    def remedy() -> str:
        names = sorted(vnic.vnic_id for vnic in vnics())
        some = ", ".join(names[:_NAMED])
        some += f" and {len(names) - _NAMED} more" * (len(names) > _NAMED)
        whose = f"VNICs on this node ({some})" if names else "VNICs on this node"
        return f"correct the request, or destroy all its {whose} first"

    _check_same(what, pairs, remedy)


def check_apart(requests: Sequence[GuestRequest]) -> None:
    """Raise Conflict where two requests of one call are for one VNIC, or for one address."""
    identities: set[VnicId] = set()
    addresses: dict[tuple[object, ...], str] = {}
    members: dict[tuple[object, ...], GuestRequest] = {}
    for request in requests:
        if request.id in identities:
            raise Conflict(f"VNIC {request.vnic_id} of subnet {request.subnet_id} is named twice")
        identities.add(request.id)
        own: list[object] = [*request.ips]
        if request.derived_mac:
            own.append(request.mac)
        for address in own:
            other = addresses.setdefault((*request.id[:2], address), request.vnic_id)
            if other != request.vnic_id:
                raise Conflict(
                    f"{'mac' if isinstance(address, str) else 'ip'} {address} of subnet "
                    f"{request.subnet_id} is asked for by VNIC {other} and by VNIC "
                    f"{request.vnic_id}"
                )
        for group, ip in product(request.policy.groups, request.ips):
            first = members.setdefault((request.tenant_id, group, ip), request)
            if first is not request:
                raise shared_member(ip, group, first.vnic_id, first.subnet_id)


def is_same_subnet(subnet: TenantSubnet, request: GuestRequest) -> bool:
    """Whether a request agrees with the subnet on this node."""
    return _is_same(_subnet_pairs(subnet, request))


def _subnet_pairs(subnet: TenantSubnet, request: GuestRequest) -> Pairs:
    pairs: Pairs = [("subnet", request.subnets, subnet.networks)]
    if isinstance(request, (TenantRequest, LocalRequest)):
        pairs.append(("subnet_key", request.subnet_key, subnet.key))
    if subnet.tunnel and isinstance(request, TenantRequest):
        pairs += [
            ("concentrator_id", request.concentrator_id, subnet.concentrator_id),
            ("concentrator_ip", request.concentrator_ip, subnet.concentrator_ip),
        ]
    return pairs


def check_same_vnic(vnic: Vnic, request: GuestRequest, site: Site) -> None:
    """Raise Conflict if a repeated create differs from the VNIC that exists."""
    fixed = not _is_same(_fixed_pairs(vnic, request))
    remedy = "destroy it first" if fixed else "update_vnic changes that in place"
    _check_same(_named(vnic), _vnic_pairs(vnic, request, site), lambda: remedy)


def check_changeable(vnic: Vnic, request: GuestRequest) -> None:
    """Raise Conflict if an update differs from the VNIC in what cannot be changed in place."""
    remedy = f"only {', '.join(CHANGEABLE)} can be changed in place: destroy it first"
    _check_same(_named(vnic), _fixed_pairs(vnic, request), lambda: remedy)


def is_changeable(vnic: Vnic, request: GuestRequest) -> bool:
    """Whether the VNIC that exists can become what a request describes."""
    return _is_same(_fixed_pairs(vnic, request))


def _named(vnic: Vnic) -> str:
    return f"VNIC {vnic.vnic_id} of subnet {vnic.subnet_id}"


def is_same_vnic(vnic: Vnic, request: GuestRequest, site: Site) -> bool:
    """Whether a request describes the VNIC that exists."""
    return _is_same(_vnic_pairs(vnic, request, site))


CHANGEABLE = (
    "mtu", "extra_addresses", "anti_spoofing", "groups", "rate_to_guest", "rate_from_guest",
)  # fmt: skip
"""The fields of a VNIC that can be changed while it is in use."""


def _vnic_pairs(vnic: Vnic, request: GuestRequest, site: Site) -> Pairs:
    return [
        *_fixed_pairs(vnic, request),
        ("mtu", request.mtu or site.mtu, vnic.mtu),
        ("extra_addresses", request.policy.extra, vnic.policy.extra),
        ("anti_spoofing", request.policy.anti_spoofing, vnic.policy.anti_spoofing),
        ("groups", request.policy.groups, vnic.policy.groups),
        ("rate_to_guest", request.policy.rate_to_guest, vnic.policy.rate_to_guest),
        ("rate_from_guest", request.policy.rate_from_guest, vnic.policy.rate_from_guest),
    ]


def _fixed_pairs(vnic: Vnic, request: GuestRequest) -> Pairs:
    return [
        ("role", request.role.value, vnic.role.value),
        ("instance_id", request.instance_id, vnic.instance_id),
        ("ip", request.ips, vnic.ips),
        ("mac", request.mac, vnic.mac),
        ("owner", request.user, vnic.user),
        # The kernel tells only whether a tap can have several.
        ("queues", _QUEUES[request.queues > 1], _QUEUES[vnic.queues > 1]),
    ]


def check_same_cnci_vnic(vnic: CnciVnic, request: CnciVnicRequest, site: Site) -> None:
    """Raise Conflict if a repeated create differs from the CNCI VNIC that exists."""
    what = f"CNCI VNIC {vnic.vnic_id} of tenant {vnic.tenant_id}"
    _check_same(what, _cnci_vnic_pairs(vnic, request, site), lambda: "destroy it first")


def is_same_cnci_vnic(vnic: CnciVnic, request: CnciVnicRequest, site: Site) -> bool:
    """Whether a request describes the CNCI VNIC that exists."""
    return _is_same(_cnci_vnic_pairs(vnic, request, site))


def _cnci_vnic_pairs(vnic: CnciVnic, request: CnciVnicRequest, site: Site) -> Pairs:
    return [
        ("instance_id", request.instance_id, vnic.instance_id),
        ("mac", request.mac, vnic.mac),
        ("mtu", request.mtu or site.uplink.mtu, vnic.mtu),
    ]


def _is_same(pairs: Pairs) -> bool:
    # Most are the same objects, which tuples look at first: addresses compare slowly.
    _, new, old = zip(*pairs, strict=True)
    return bool(new == old)


def _check_same(what: str, pairs: Pairs, remedy: Callable[[], str]) -> None:
    if _is_same(pairs):
        return
    different = [
        f"{field} {_shown(old)} (asked for: {_shown(new)})"
        for field, new, old in pairs
        if new != old
    ]
    raise Conflict(f"{what} exists with {', '.join(different)}: {remedy()}")


def _shown(value: object) -> object:
    return (written(value) or "none") if isinstance(value, tuple) else value


def same_macs(vnics: Mapping[SubnetId, Mapping[str, Vnic]]) -> Iterator[str]:
    """Yield a warning for each MAC that two VNICs of a subnet have."""
    for subnet, known in vnics.items():
        seen: dict[str, str] = {}
        for vnic in known.values():
            first = seen.setdefault(vnic.mac, vnic.vnic_id)
            if first != vnic.vnic_id:
                yield (
                    f"VNICs {first} and {vnic.vnic_id} of subnet {subnet[1]} "
                    f"share the MAC {vnic.mac}: their guests may not reach each other"
                )


def over_path(subnets: Iterable[TenantSubnet], vnics: Iterable[Vnic], mtu: int) -> Iterator[str]:
    """Yield a warning for each subnet and VNIC for which the path's MTU (bytes) became too low."""
    for subnet in subnets:
        if subnet.networks and mtu < lowest_mtu(subnet.networks):
            yield (
                f"subnet {subnet.subnet_id} of tenant {subnet.tenant_id}: {subnet.networks[-1]} "
                f"needs an MTU of {lowest_mtu(subnet.networks)}, the path carries {mtu}: raise the "
                "MTU of the uplink"
            )
    for vnic in vnics:
        if vnic.mtu > mtu:
            yield (
                f"VNIC {vnic.vnic_id} of subnet {vnic.subnet_id} has an MTU of {vnic.mtu}, the "
                f"path carries {mtu}, so larger packets are lost: raise the MTU of the uplink, or "
                "call update_vnic() with a lower one"
            )

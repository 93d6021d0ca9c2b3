"""What contradicts what: a request against the topology as it is."""

from __future__ import annotations

from snnet.contract import Conflict

from .vnics import CnciVnic, TenantSubnet, Vnic
from .requests import GuestRequest, TenantRequest


def check_same_subnet(subnet: TenantSubnet, request: GuestRequest) -> None:
    """Conflict where a request disagrees with the subnet as this node has it."""
    pairs: list[tuple[str, object, object]] = [("subnet", request.subnet, subnet.network)]
    if isinstance(request, TenantRequest):
        pairs.append(("subnet_key", request.subnet_key, subnet.key))
    if subnet.tunnel and isinstance(request, TenantRequest):
        pairs += [
            ("concentrator_id", request.concentrator_id, subnet.concentrator_id),
            ("concentrator_ip", request.concentrator_ip, subnet.concentrator_ip),
        ]
    _check_same(f"subnet {subnet.subnet_id} of tenant {subnet.tenant_id}", pairs)


def check_same_vnic(vnic: Vnic, wanted: Vnic) -> None:
    """Conflict where a repeated create differs from the VNIC that exists."""
    _check_same(
        f"VNIC {vnic.vnic_id} of subnet {vnic.subnet_id}",
        [
            ("role", wanted.role.value, vnic.role.value),
            ("instance_id", wanted.instance_id, vnic.instance_id),
            ("ip", wanted.ip, vnic.ip),
            ("mac", wanted.mac, vnic.mac),
            ("mtu", wanted.mtu, vnic.mtu),
            ("queues", wanted.queues > 1, vnic.queues > 1),
        ],
    )


def check_same_cnci_vnic(port: CnciVnic, wanted: CnciVnic) -> None:
    """Conflict where a repeated create differs from the CNCI VNIC that exists."""
    _check_same(
        f"CNCI VNIC {port.vnic_id} of tenant {port.tenant_id}",
        [
            ("instance_id", wanted.instance_id, port.instance_id),
            ("mac", wanted.mac, port.mac),
            ("mtu", wanted.mtu, port.mtu),
        ],
    )


def _check_same(what: str, pairs: list[tuple[str, object, object]]) -> None:
    different = [f"{field} {old} (asked for: {new})" for field, new, old in pairs if new != old]
    if different:
        raise Conflict(f"{what} exists with {', '.join(different)}: destroy it first")

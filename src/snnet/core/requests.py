"""The checked requests of a node's calls: nothing is touched before the check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, NoReturn, cast

from snnet.checks import Address, Cidrs, check_int, check_link_name, check_type, shown
from snnet.config import VnicConfig, VnicRole
from snnet.contract import InvalidRequest, IPAddress, IPInterface, IPNetwork
from snnet.contract.addresses import IPV6_MTU_MIN, MTU_MIN, mac_of

from .addressing import (
    Addresses,
    Networks,
    check_extra,
    check_guest,
    check_guest_mac,
    check_subnets,
)
from .far_ends import check_other, check_remote
from .policies import NO_POLICY, Policy
from .site import Site
from .tunnels import check_key, check_port

TENANT_ROLES = (VnicRole.TENANT_VM, VnicRole.TENANT_CONTAINER)

SubnetId = tuple[str, str]
"""The identity of a tenant subnet: tenant id, subnet id."""

VnicId = tuple[str, str, str]
"""The identity of a tenant VNIC: tenant id, subnet id, VNIC id."""

CnciVnicId = tuple[str, str]
"""The identity of a CNCI VNIC: tenant id, VNIC id."""


@dataclass(slots=True, kw_only=True)
class GuestRequest:
    """A tenant VNIC with complete and consistent fields; all that routed mode needs.

    Nobody changes it.  It is not frozen because it lives for one call, and each field of a
    frozen object costs three times as much to set.
    """

    id: VnicId
    role: VnicRole
    tenant_id: str
    subnet_id: str
    vnic_id: str
    instance_id: str
    subnets: Networks
    ips: Addresses
    mac: str
    mtu: int | None
    queues: int
    user: int = 0
    """The uid that may open the tap of a VM."""
    default_mac: str
    """The MAC that ``mac_for`` gives the addresses."""
    derived_mac: bool = False
    """Whether the MAC is a hash of the address, which two addresses may share."""
    policy: Policy


@dataclass(slots=True, kw_only=True)
class TenantRequest(GuestRequest):
    """A tenant VNIC on a subnet with a tunnel to its concentrator."""

    concentrator_id: str
    concentrator_ip: IPAddress
    subnet_key: int


@dataclass(slots=True, kw_only=True)
class LocalRequest(GuestRequest):
    """A tenant VNIC on a subnet without a tunnel to a concentrator (topologies "local", "mesh")."""

    subnet_key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CnciVnicRequest:
    """A CNCI VNIC with complete and consistent fields."""

    tenant_id: str
    vnic_id: str
    instance_id: str
    mac: str
    mtu: int | None

    @property
    def id(self) -> CnciVnicId:
        return (self.tenant_id, self.vnic_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSubnet:
    """A subnet of a concentrator, and optionally a compute node that has VNICs in it."""

    networks: Networks
    key: int
    remote: IPAddress | None
    port: int | None = None
    """The UDP port of that node's tunnels, where it said one."""
    link: str | None = None
    """A link to the subnet that is in the concentrator's namespace already."""
    mtu: int | None = None
    """Caps the MTU of a subnet that is new (bytes)."""


def local_subnet(site: Site, cidrs: Cidrs, key: int, link: str) -> RemoteSubnet:
    """Check what ``add_local_subnet`` needs."""
    link = check_link_name(link, "link")
    networks = check_subnets(cidrs, "cidrs")
    check_carries(networks, site.mtu)
    key = check_key(site.tunnel, check_int(key, "key", 1, 2**32 - 1), "key")
    return RemoteSubnet(networks=networks, key=key, remote=None, link=link)


def remote_subnet(
    site: Site, subnet: Cidrs, key: int, cn_ip: Address, port: int | None = None
) -> RemoteSubnet:
    """Check what ``add_remote_subnet`` needs."""
    return RemoteSubnet(
        networks=check_subnets(subnet),
        key=check_key(site.tunnel, check_int(key, "key", 1, 2**32 - 1), "key"),
        remote=check_other(cn_ip, site.uplink.address, "cn_ip"),
        port=check_port(site.tunnel, port),
    )


def gone_remote(site: Site, networks: Networks, key: int, cn_ip: Address) -> RemoteSubnet:
    """Check what ``del_remote_subnet`` needs: an older snnet may have made what is there."""
    return RemoteSubnet(
        networks=networks,
        key=check_key(site.tunnel, check_int(key, "key", 1, 2**32 - 1), "key"),
        remote=check_remote(cn_ip, site.ip, "cn_ip"),
    )


def tenant_request(
    cfg: VnicConfig, *, tunnel: str, uplink: IPInterface, mtu_limit: int
) -> TenantRequest:
    """Check what ``create_vnic`` needs; ``uplink`` is the node's own address and its network.

    InvalidRequest names the first field that is missing or wrong.
    """
    return TenantRequest(
        **_guest(cfg, mtu_limit),
        concentrator_id=cfg.concentrator_id or _missing("concentrator_id"),
        concentrator_ip=check_other(
            cfg.concentrator_ip or _missing("concentrator_ip"), uplink, "concentrator_ip"
        ),
        subnet_key=check_key(tunnel, cfg.subnet_key or _missing("subnet_key")),
    )


def local_request(cfg: VnicConfig, site: Site) -> LocalRequest:
    """Check what ``create_vnic`` needs in topologies "local" and "mesh"."""
    return LocalRequest(
        **_guest(cfg, site.mtu),
        subnet_key=check_key(site.tunnel, cfg.subnet_key or _missing("subnet_key")),
    )


def routed_request(cfg: VnicConfig, *, mtu_limit: int) -> GuestRequest:
    """Check what ``create_vnic`` needs in routed mode: no concentrator and no key."""
    request = GuestRequest(**_guest(cfg, mtu_limit))
    if request.policy.extra:
        raise InvalidRequest(
            "in mode routed each address needs a route of its own: give the guest one more VNIC",
            field="extra_addresses",
        )
    if request.policy.anti_spoofing is False:
        raise InvalidRequest(
            "in mode routed only the firewall keeps tenants apart, so addresses are always checked",
            field="anti_spoofing",
        )
    return request


def _guest(cfg: VnicConfig, mtu_limit: int) -> dict[str, Any]:
    """Check what every tenant VNIC needs."""
    identity = tenant_identity(cfg)
    tenant_id, subnet_id, vnic_id = identity
    subnets = check_subnets(cfg.subnet or _missing("subnet"))
    given = cfg.ip or _missing("ip")
    # The config has checked each address.
    ips = cast(Addresses, given if isinstance(given, tuple) else (given,))
    for ip in ips:
        check_guest(ip, subnets)
    if mtu_limit < IPV6_MTU_MIN:
        check_carries(subnets, mtu_limit)
    if cfg.mtu is not None:
        check_mtu_limit(cfg.mtu, mtu_limit, lowest_mtu(subnets))
    _check_queues(cfg)
    if cfg.mac is not None:
        check_guest_mac(cfg.mac)
    default = mac_of(ips[0])
    return {
        "id": identity,
        "role": cfg.role,
        "tenant_id": tenant_id,
        "subnet_id": subnet_id,
        "vnic_id": vnic_id,
        "instance_id": cfg.instance_id or _missing("instance_id"),
        "subnets": subnets,
        "ips": ips,
        "mac": cfg.mac or default,
        "default_mac": default,
        "derived_mac": isinstance(ips[0], IPv6Address) and cfg.mac in (None, default),
        "mtu": cfg.mtu,
        "queues": cfg.queues,
        "user": _user(cfg),
        "policy": _policy(cfg, identity, subnets),
    }


def _policy(cfg: VnicConfig, identity: VnicId, subnets: Networks) -> Policy:
    asked = (cfg.anti_spoofing, cfg.rate_to_guest, cfg.rate_from_guest)
    if not cfg.extra_addresses and not cfg.groups and asked == (None, None, None):
        return NO_POLICY
    # The config has checked each address and network.
    given = cast(Iterable[IPAddress | IPNetwork], cfg.extra_addresses)
    addresses, networks = check_extra(given, subnets) if cfg.extra_addresses else ((), ())
    return Policy(
        vnic=identity,
        addresses=addresses,
        networks=networks,
        anti_spoofing=cfg.anti_spoofing,
        groups=tuple(sorted(set(cfg.groups))) if cfg.groups else (),
        # The config has made numbers of them.
        rate_to_guest=cast(int | None, cfg.rate_to_guest),
        rate_from_guest=cast(int | None, cfg.rate_from_guest),
    )


def cnci_vnic_request(cfg: VnicConfig, *, mtu_limit: int) -> CnciVnicRequest:
    """Check what ``create_cnci_vnic`` needs."""
    tenant_id, vnic_id = cnci_vnic_identity(cfg)
    check_mtu_limit(cfg.mtu, mtu_limit)
    _check_queues(cfg)
    _user(cfg)
    for field in ("rate_to_guest", "rate_from_guest"):
        if getattr(cfg, field) is not None:
            raise InvalidRequest(
                "a CNCI VNIC is a macvtap, whose frames pass no queue that could limit them: limit "
                "the VNICs of tenants",
                field=field,
            )
    return CnciVnicRequest(
        tenant_id=tenant_id,
        vnic_id=vnic_id,
        instance_id=cfg.instance_id or _missing("instance_id"),
        mac=cfg.mac or _missing("mac"),
        mtu=cfg.mtu,
    )


def tenant_identity(cfg: VnicConfig) -> VnicId:
    """Check what ``destroy_vnic`` needs."""
    _check_role(cfg, TENANT_ROLES)
    return (
        cfg.tenant_id or _missing("tenant_id"),
        cfg.subnet_id or _missing("subnet_id"),
        cfg.vnic_id or _missing("vnic_id"),
    )


def cnci_vnic_identity(cfg: VnicConfig) -> CnciVnicId:
    """Check what ``destroy_cnci_vnic`` needs."""
    _check_role(cfg, (VnicRole.DATA_CENTER,))
    return (cfg.tenant_id or _missing("tenant_id"), cfg.vnic_id or _missing("vnic_id"))


def check_mtu_limit(mtu: int | None, limit: int, lowest: int = MTU_MIN) -> None:
    """Check the MTU of one VNIC: at most what its path carries (bytes)."""
    if mtu is not None and not lowest <= mtu <= limit:
        raise InvalidRequest(f"{mtu} is not from {lowest} to {limit}", field="mtu")


def why_not_mtu(subnets: Networks, mtu: int, limit: int) -> str | None:
    """Why guests of these networks cannot have an MTU where the path carries ``limit`` (bytes)."""
    try:
        check_mtu_limit(mtu, limit, lowest_mtu(subnets))
    except InvalidRequest as error:
        return str(error)
    return None


def lowest_mtu(subnets: Networks) -> int:
    """The lowest MTU of a link that carries these networks; IPv6 is the last of them."""
    return IPV6_MTU_MIN if subnets[-1].version == 6 else MTU_MIN


def check_carries(subnets: Networks, mtu: int, field: str = "subnet") -> None:
    """InvalidRequest where the path to a subnet has an MTU too low for its families (bytes)."""
    if mtu < lowest_mtu(subnets):
        raise InvalidRequest(
            f"{subnets[-1]} needs an MTU of {lowest_mtu(subnets)}, the path carries {mtu}: raise "
            "the MTU of the uplink, or leave IPv6 out",
            field=field,
        )


def _check_role(cfg: VnicConfig, allowed: tuple[VnicRole, ...]) -> None:
    check_type(cfg, "cfg", VnicConfig)
    if cfg.role not in allowed:
        known = " or ".join(role.value for role in allowed)
        raise InvalidRequest(
            f"this call is for {known} VNICs, not for {cfg.role.value}", field="role"
        )


def _check_queues(cfg: VnicConfig) -> None:
    if cfg.queues > 1 and cfg.role is not VnicRole.TENANT_VM:
        raise InvalidRequest(
            f"a {cfg.role.value} VNIC has one queue: only taps of VMs have more", field="queues"
        )


def _user(cfg: VnicConfig) -> int:
    """The uid that may open the tap: root alone, unless the config names an owner."""
    if cfg.owner is None:
        return 0
    if cfg.role is not VnicRole.TENANT_VM:
        raise InvalidRequest(f"only taps of VMs have an owner, not {cfg.role.value}", field="owner")
    if isinstance(cfg.owner, str):
        raise InvalidRequest(f"{shown(cfg.owner)} is not a user of this host", field="owner")
    return cfg.owner


def _missing(field: str) -> NoReturn:
    raise InvalidRequest("is needed for this call", field=field)

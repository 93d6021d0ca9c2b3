"""Sites, requests and links for the tests of the pure core."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface
from typing import Any

from snnet.checks import check_address
from snnet.config import VnicConfig, VnicRole
from snnet.contract import Link, Noun, keyed
from snnet.core import identity as ids
from snnet.core.addressing import read_networks
from snnet.core.building import build_subnet, build_vnic
from snnet.core.cnci_ports import build_cnci_vnic
from snnet.core.compute_records import ComputeRecords
from snnet.core.identity import Owner
from snnet.core.requests import CnciVnicRequest, TenantRequest, cnci_vnic_request, tenant_request
from snnet.core.site import Site
from snnet.core.subnets import CnciSubnet, Scoping, build_cnci_subnet, build_tunnel
from snnet.core.uplinks import Uplink
from snnet.core.vnics import CnciVnic, TenantSubnet, Vnic

CN, CNCI = Owner("cn", "cn-1"), Owner("cnci", "cnci-1")
TUNNELS = ("gre", "vxlan", "geneve")
SCOPING = Scoping(0, None, True)


def make_site(
    owner: Owner = CN,
    *,
    tunnel: str = "gre",
    address: str = "192.0.2.11/24",
    mtu: int = 1500,
    cap: int | None = None,
) -> Site:
    uplink = Uplink(
        link_name="eth0",
        index=2,
        address=ip_interface(address),
        mtu=mtu,
        compute=True,
        management=True,
    )
    return Site(owner=owner, uplink=uplink, tunnel=tunnel, mtu_cap=cap, macvtap_mode="bridge")


def vm_config(number: int = 9, **changes: Any) -> VnicConfig:
    return VnicConfig(
        **{
            "vnic_id": f"v{number}",
            "instance_id": f"i{number}",
            "tenant_id": "t1",
            "subnet_id": "s1",
            "concentrator_id": "cnci-1",
            "concentrator_ip": "192.0.2.101",
            "subnet": "10.1.0.0/24",
            "subnet_key": 7,
            "ip": f"10.1.0.{number}",
            **changes,
        }
    )


def port_config(number: int = 1, **changes: Any) -> VnicConfig:
    return VnicConfig(
        **{
            "role": VnicRole.DATA_CENTER,
            "vnic_id": f"c{number}",
            "instance_id": f"cnci-{number}",
            "tenant_id": "t1",
            "mac": f"02:00:00:00:01:{number:02x}",
            **changes,
        }
    )


def vm_request(site: Site, number: int = 9, **changes: Any) -> TenantRequest:
    return tenant_request(
        vm_config(number, **changes),
        tunnel=site.tunnel,
        uplink=site.uplink.address,
        mtu_limit=site.mtu,
    )


def a_cnci_vnic_request(site: Site, number: int = 1, **changes: Any) -> CnciVnicRequest:
    return cnci_vnic_request(port_config(number, **changes), mtu_limit=site.uplink.mtu)


def name_of(site: Site, kind: str, *identity: str) -> str:
    return next(ids.names(site.owner, kind, *identity))


def subnet_of(site: Site, request: TenantRequest) -> TenantSubnet:
    bridge, tunnel = (name_of(site, kind, *request.id[:2]) for kind in (ids.BRIDGE, ids.TUNNEL))
    return build_subnet(site, request, bridge, tunnel)


def vnic_of(site: Site, request: TenantRequest) -> Vnic:
    kind = ids.VM if request.role is VnicRole.TENANT_VM else ids.CONTAINER
    name = name_of(site, kind, *request.id)
    return build_vnic(site, request, subnet_of(site, request), name)


def port_of(site: Site, request: CnciVnicRequest) -> CnciVnic:
    return build_cnci_vnic(site, request, name_of(site, ids.CNCI_VNIC, *request.id))


def local_subnet(site: Site, network: str, key: int, *remotes: str) -> CnciSubnet:
    """A concentrator's subnet with a tunnel to each of these compute nodes."""
    subnet = build_cnci_subnet(
        site, "t1", SCOPING, read_networks(network), key, name_of(site, ids.BRIDGE, network)
    )
    for remote in remotes:
        name = name_of(site, ids.TUNNEL, network, remote)
        subnet = subnet.with_tunnel(
            build_tunnel(site, "t1", subnet, check_address(remote, "r"), name)
        )
    return subnet


def links_of(*records: TenantSubnet | Vnic | CnciVnic | CnciSubnet) -> list[Link]:
    return [noun for record in records for noun in nouns_of(record) if isinstance(noun, Link)]


def nouns_of(*records: TenantSubnet | Vnic | CnciVnic | CnciSubnet) -> list[Noun]:
    return [noun for record in records for noun in record.nouns()]


def read_links(site: Site, links: Iterable[Link]) -> ComputeRecords:
    """What a compute node's links say."""
    return ComputeRecords(site).read(keyed(links))[0]

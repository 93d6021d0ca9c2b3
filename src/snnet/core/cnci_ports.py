"""Building the records of CNCI VNICs: from a request, or back from the aliases of links."""

from __future__ import annotations

from snnet.checks import check_mac, check_mtu
from snnet.contract import Link, Macvtap

from . import identity as ids
from .requests import CnciVnicRequest
from .site import Site
from .vnics import CnciVnic


def build_cnci_vnic(site: Site, request: CnciVnicRequest, name: str) -> CnciVnic:
    """Return the CNCI VNIC of a request, with the link name to use."""
    fields = {
        ids.TENANT: request.tenant_id,
        ids.VNIC: request.vnic_id,
        ids.INSTANCE: request.instance_id,
        ids.MAC: request.mac,
    }
    if request.mtu is not None:
        fields[ids.MTU] = str(request.mtu)
    return _port(site, fields, name=name, alias=ids.encode(site.owner, ids.CNCI_VNIC, fields))


def _port(site: Site, fields: dict[str, str], *, name: str, alias: str, index: int = 0) -> CnciVnic:
    return CnciVnic(
        tenant_id=fields[ids.TENANT],
        vnic_id=fields[ids.VNIC],
        instance_id=fields[ids.INSTANCE],
        link=Macvtap(
            name=name,
            alias=alias,
            mac=check_mac(fields[ids.MAC], "mac"),
            mtu=check_mtu(int(fields[ids.MTU]), "mtu") if ids.MTU in fields else site.uplink.mtu,
            lower=site.uplink.link_name,
            mode=site.macvtap_mode,
            index=index,
        ),
    )


def read_cnci_vnic(site: Site, link: Link, fields: dict[str, str]) -> CnciVnic:
    """Return a CNCI VNIC from the identity of its link; raises KeyError,
    ValueError or InvalidRequest if its alias is damaged."""
    return _port(site, fields, name=link.name, alias=link.alias, index=link.index)

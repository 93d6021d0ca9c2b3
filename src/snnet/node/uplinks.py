"""The site of a node, from its configuration and the links of its host."""

from __future__ import annotations

from snnet.config import NetworkConfig, NetworkMode
from snnet.contract import Address, Driver, InvalidRequest, IPNetwork, Link
from snnet.contract.addresses import MTU_MIN
from snnet.core.identity import Owner
from snnet.core.site import Site
from snnet.core.uplinks import Uplink, find_uplinks


def find_site(
    config: NetworkConfig, owner: Owner, backend: Driver
) -> tuple[tuple[Uplink, ...], Site]:
    """All uplinks of the host, and the site on the first compute one.

    Raises InvalidRequest where no link matches the nets of the configuration, or the
    uplink's MTU leaves too little for tenants.
    """
    found = backend.snapshot({Link, Address})
    uplinks = find_uplinks(found.values(), config.compute_nets, config.management_nets)  # type: ignore[arg-type]
    compute = next(uplink for uplink in uplinks if uplink.compute)
    nets: list[IPNetwork] = [*config.compute_nets, *config.management_nets]  # type: ignore[list-item]
    routed = config.mode is NetworkMode.ROUTED
    site = Site(
        owner=owner,
        uplink=compute,
        tunnel=config.tunnel,
        mtu_cap=config.mtu,
        macvtap_mode=config.macvtap_mode,
        routed=routed,
        anti_spoofing=config.anti_spoofing or routed,
        infrastructure=tuple(dict.fromkeys(nets)) or (compute.address.network,),
        allowed=tuple(config.allow_to_nets),  # type: ignore[arg-type]
    )
    if site.mtu < MTU_MIN:
        raise InvalidRequest(
            f"{compute.link_name} has MTU {compute.mtu}, which leaves {site.mtu} for tenants: "
            f"{MTU_MIN} is the least",
            field="mtu",
        )
    return uplinks, site

"""The site of a node, from its configuration and the links of its host."""

from __future__ import annotations

from snnet.config import NetworkConfig, NetworkMode
from snnet.contract import Address, InvalidRequest, IPAddress, Link, PublicIp
from snnet.contract.addresses import MTU_MIN
from snnet.core.identity import Owner
from snnet.core.site import Site
from snnet.core.uplinks import Uplink, choose_uplink, find_uplinks

from .drivers import Drivers


def find_site(
    config: NetworkConfig, owner: Owner, drivers: Drivers
) -> tuple[tuple[Uplink, ...], Site]:
    """All uplinks of the host, and the site on the compute one to use.

    Raises InvalidRequest where no link matches the nets of the configuration, or the
    uplink's MTU leaves too little for tenants.
    """
    nouns = drivers.backend.snapshot({Link, Address}).values()
    uplinks = find_uplinks(
        nouns,
        config.compute_nets,  # type: ignore[arg-type]
        config.management_nets,  # type: ignore[arg-type]
        owner=owner,
        publics=_publics(owner, drivers),
    )
    compute = choose_uplink(uplinks, nouns, owner)
    routed = config.mode is NetworkMode.ROUTED
    site = Site(
        owner=owner,
        uplink=compute,
        tunnel=config.tunnel,
        mtu_cap=config.mtu,
        macvtap_mode=config.macvtap_mode,
        routed=routed,
        anti_spoofing=config.anti_spoofing or routed,
    )
    if site.mtu < MTU_MIN:
        raise InvalidRequest(
            f"{compute.link_name} has MTU {compute.mtu}, which leaves {site.mtu} for tenants: "
            f"{MTU_MIN} is the least",
            field="mtu",
        )
    return uplinks, site


def _publics(owner: Owner, drivers: Drivers) -> set[IPAddress]:
    """The addresses on the host's links that the owner gave to guests."""
    firewall = drivers.firewall
    if PublicIp not in firewall.carries:
        return set()
    return {
        noun.public
        for noun in firewall.snapshot({PublicIp}).values()
        if isinstance(noun, PublicIp) and noun.owner == str(owner)
    }

"""The site of a node, from its configuration and the links of its host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_interface

from snnet.config import NetworkConfig, NetworkMode
from snnet.contract import (
    Address,
    Conflict,
    InvalidRequest,
    IPAddress,
    IPNetwork,
    Link,
    Noun,
    PublicIp,
    Route,
)
from snnet.contract.addresses import MTU_MIN
from snnet.core import identity as ids
from snnet.core.concentrators import LINK_LOCAL
from snnet.core.identity import Owner
from snnet.core.inputs import Seen, about_uplink
from snnet.core.site import Site
from snnet.core.tunnels import numbered_port
from snnet.core.uplinks import Uplink, choose_uplink, find_uplinks, local_addresses

from .drivers import Drivers
from .intents import Intents

_UNKNOWN = Uplink(
    link_name="",
    index=0,
    address=ip_interface("0.0.0.0"),
    mtu=1500,
    compute=True,
    management=False,
)
"""The uplink of a node that has none, and nothing that tells which it was."""


def check_topology(config: NetworkConfig) -> None:
    """Raise InvalidRequest for a topology that no node can have like this."""
    if config.topology == "mesh" and config.tunnel == "geneve":
        raise InvalidRequest(
            'topology "mesh" has vxlan tunnels: leave tunnel out, or set "vxlan"', field="tunnel"
        )
    if config.topology != "hub" and config.mode is NetworkMode.ROUTED:
        raise InvalidRequest(
            'mode "routed" has no concentrators: use topology "hub", or mode "gre_tunnel"',
            field="topology",
        )


def find_site(
    config: NetworkConfig, owner: Owner, drivers: Drivers, intents: Intents
) -> tuple[tuple[Uplink, ...], Site]:
    """All uplinks of the host, and the site on the compute one to use.

    Raises InvalidRequest where no link matches the nets of the configuration, or the
    uplink's MTU leaves too little for tenants.
    """
    nouns = drivers.backend.snapshot({Link, Address, Route}).values()
    inside = _inside(config, owner, nouns)
    uplinks = find_uplinks(
        nouns,
        inside or config.compute_nets,  # type: ignore[arg-type]
        () if inside else config.management_nets,  # type: ignore[arg-type]
        owner=owner,
        publics=_publics(owner, drivers, intents),
    )
    compute = choose_uplink(uplinks, nouns, owner)
    wires = _wires(compute, bool(inside), nouns)
    site = replace(_site(config, owner, compute, wires), foreign=_foreign(nouns))
    if site.mtu < MTU_MIN:
        raise InvalidRequest(
            f"{compute.link_name} has MTU {compute.mtu}, which leaves {site.mtu} for tenants: "
            f"{MTU_MIN} is the least",
            field="mtu",
        )
    return uplinks, site


def uplink_now(
    before: Uplink, config: NetworkConfig, owner: Owner, drivers: Drivers, intents: Intents
) -> Uplink:
    """The uplink that a node would find now, which is the one of ``before`` while it is there.

    Raises Conflict, which says what is wrong with that one, if no uplink can be used.  Lists the
    host only where something has changed.
    """
    address = Address(link=before.link_name, address=before.address)
    link, same = (drivers.backend.find(one) for one in (Link(name=before.link_name), address))
    if isinstance(link, Link) and same is not None and link.index == before.index:
        wrong = list(about_uplink(before, Seen.of([link, same])))
        if not wrong:
            return before
    wrong = list(about_uplink(before, Seen.of(drivers.backend.snapshot({Link, Address}).values())))
    try:
        now = find_site(config, owner, drivers, intents)[1].uplink
    except InvalidRequest as error:
        raise Conflict("; ".join([*wrong, str(error)])) from error
    if now == before and wrong:
        raise Conflict("; ".join(wrong))
    return now


def _inside(config: NetworkConfig, owner: Owner, nouns: Iterable[Noun]) -> tuple[IPNetwork, ...]:
    """The networks that lead out of a concentrator's namespace on its host; empty elsewhere.

    With topology "hub" it has an address of the pool alone, without the others of the network.
    """
    if owner.role != "cnci":
        return ()
    if config.topology != "hub":
        return (LINK_LOCAL,)
    alone = [
        noun.address.network
        for noun in nouns
        if isinstance(noun, Address) and noun.address.ip in config.concentrator_pool
    ]
    return tuple(net for net in alone if net.prefixlen == net.max_prefixlen)


def _foreign(nouns: Iterable[Noun]) -> tuple[str, ...]:
    """The host's own links: those of no node and no guest, no bridge ports and no loopback."""
    return tuple(
        noun.name
        for noun in nouns
        if isinstance(noun, Link)
        and noun.master is None
        and noun.kind != "loopback"
        and not ids.grouped(noun)
        and not ids.is_peer_name(noun.name)  # not where it is to go yet
    )


def _publics(owner: Owner, drivers: Drivers, intents: Intents) -> set[IPAddress]:
    """The addresses on the host's links that the owner gave to guests.

    The firewall tells of them where the record of intents was lost.
    """
    found = intents.nouns() | drivers.firewall.snapshot({PublicIp})
    return {
        noun.public
        for noun in found.values()
        if isinstance(noun, PublicIp) and noun.owner == str(owner)
    }


def stand_in(config: NetworkConfig, owner: Owner, drivers: Drivers) -> Site:
    """A site for looking and removing, of a node that has no uplink now.

    The address is that of its tunnels, unspecified if there are none.
    """
    nouns = drivers.backend.snapshot({Link}).values()
    uplink = _UNKNOWN
    if used := local_addresses(nouns, owner).most_common():
        uplink = replace(uplink, address=ip_interface(str(used[0][0])))
    return _site(config, owner, uplink)


def _wires(uplink: Uplink, inside: bool, nouns: Iterable[Noun]) -> list[IPNetwork]:
    """The networks where other nodes are, for a node that is not told: those of its uplink.

    In a namespace of its host, a concentrator has an address alone, and routes to them.
    """
    routed = [
        noun.destination
        for noun in nouns
        if isinstance(noun, Route) and noun.link == uplink.link_name and noun.destination.prefixlen
    ]
    return routed if inside else [uplink.address.network]


def _site(
    config: NetworkConfig, owner: Owner, uplink: Uplink, wires: Iterable[IPNetwork] = ()
) -> Site:
    routed = config.mode is NetworkMode.ROUTED
    local, mesh = config.topology == "local", config.topology == "mesh"
    port = config.mesh_port if mesh else numbered_port(config.tunnel, config.node_number)
    nets: list[IPNetwork] = [*config.compute_nets, *config.management_nets]  # type: ignore[list-item]
    if local:
        # Without a data centre the uplink's network is that of the host's peers.
        management = set(config.management_nets) - set(config.compute_nets)
        nets = [LINK_LOCAL, *management]  # type: ignore[list-item]
    else:
        # No router forwards link-local addresses (RFC 3927, 7): clouds have secrets there.
        nets = [*(nets or wires), LINK_LOCAL]
    return Site(
        owner=owner,
        uplink=uplink,
        tunnel="vxlan" if mesh else config.tunnel,
        mtu_cap=config.mtu,
        macvtap_mode=config.macvtap_mode,
        routed=routed,
        local=local,
        mesh=mesh,
        hosting=local or mesh or (not routed and bool(config.concentrator_pool)),
        anti_spoofing=config.anti_spoofing or routed,
        infrastructure=tuple(dict.fromkeys(nets)),
        allowed=tuple(config.allow_to_nets),  # type: ignore[arg-type]
        public_gateway=config.public_gateway,  # type: ignore[arg-type]
        port=port if owner.role == "cn" else None,
        mesh_port=config.mesh_port if mesh else None,
    )

"""Routed mode: no shared bridges; the firewall alone separates tenants.

The gateway of a guest is its node, at a link-local address.  On the uplink the node
answers ARP for its guests, and it has a route to the uplink for the guests of a subnet
on other nodes.  Addresses must therefore be unique in the data centre.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from snnet.contract import (
    Conflict,
    IPAddress,
    IPNetwork,
    Route,
    SharedSysctl,
    Zone,
)
from snnet.contract.network import SNNET_PROTOCOL, link_sysctl

from . import identity as ids
from .addressing import Networks, overlapping, written
from .forwarding import forwarding
from .site import Site
from .vnics import TenantSubnet


def build_routed_subnet(
    site: Site, tenant_id: str, subnet_id: str, networks: Networks
) -> TenantSubnet:
    """Return a subnet without bridge and tunnel."""
    return TenantSubnet(
        owner=str(site.owner),
        tenant_id=tenant_id,
        subnet_id=subnet_id,
        networks=networks,
        routes=tuple(
            Route(destination=network, link=site.uplink.link_name, protocol=SNNET_PROTOCOL)
            for network in networks
            if not _is_on_link(site, network)
        ),
    )


def _is_on_link(site: Site, network: IPNetwork) -> bool:
    """Whether the uplink's own route leads to a subnet's guests on other nodes."""
    on_wire = site.uplink.address.network
    return network.version == on_wire.version and network.subnet_of(on_wire)  # type: ignore[arg-type]


def check_disjoint(subnets: Iterable[TenantSubnet], wanted: TenantSubnet) -> None:
    """Raise Conflict if a subnet overlaps another: an address must have one place."""
    for other in subnets:
        if other.id != wanted.id and overlapping(other.networks, wanted.networks):
            raise Conflict(
                f"subnet {written(wanted.networks)} of tenant {wanted.tenant_id} overlaps "
                f"{written(other.networks)} "
                f"(subnet {other.subnet_id} of tenant {other.tenant_id}): in routed mode "
                "addresses must be unique: choose another subnet"
            )


_SAMPLES = 16
"""Addresses of a network that tell a proxy from hosts; more than half of a network's are rarely
in use, and then all of these are so once in 65,000 networks."""


def sample(network: IPNetwork, known: Collection[IPAddress]) -> list[IPAddress]:
    """Return addresses all over a network, without those known; the same ones each time."""
    ends = (network.network_address, network.broadcast_address)
    found: dict[IPAddress, None] = {}
    for number in range(4 * _SAMPLES):
        ip = network[ids.hash_number(f"{network} {number}") % network.num_addresses]
        if ip not in known and ip not in ends:
            found[ip] = None
    return list(found)[:_SAMPLES]


def sysctls(site: Site, versions: Collection[int]) -> Iterator[SharedSysctl]:
    """Yield the parameters: the host forwards, and answers ARP and ND on the uplink at once.

    Proxy entries of IPv6 are used on links with ``proxy_ndp`` alone (ndisc_recv_ns).
    """
    owner, link = str(site.owner), site.uplink.link_name
    yield from forwarding(site, versions)
    for version in sorted(versions):
        delay = link_sysctl(f"ipv{version}.neigh", link, "proxy_delay")
        yield SharedSysctl(owner=owner, name=delay, value="0")
        if version == 6:
            name = link_sysctl("ipv6.conf", link, "proxy_ndp")
            yield SharedSysctl(owner=owner, name=name, value="1")


def zone(owner: str, tenant_id: str, subnets: Iterable[TenantSubnet]) -> Zone:
    """Return the zone of a tenant: its guests on this node, its networks on others."""
    return Zone(
        owner=owner,
        zone=tenant_id,
        outbound=True,
        networks=tuple(
            network
            for subnet in subnets
            if subnet.tenant_id == tenant_id
            for network in subnet.networks
        ),
    )


def zones(subnets: Iterable[TenantSubnet]) -> Iterator[Zone]:
    """Yield the zones of all tenants with routed subnets."""
    routed = [subnet for subnet in subnets if subnet.bridge is None and subnet.tunnel is None]
    for tenant_id in dict.fromkeys(subnet.tenant_id for subnet in routed):
        yield zone(routed[0].owner, tenant_id, routed)

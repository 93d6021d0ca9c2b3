"""The data centre that the demo builds, as a scenario."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from snnet.config import NetworkMode, VnicRole
from snnet.contract import IPInterface, IPNetwork, Rule
from snnet.core.groups import Group

from .scenario import (
    INTERNET,
    VERSIONS,
    WEB,
    Forward,
    Guest,
    Machine,
    Public,
    Scenario,
    Subnet,
    Tenant,
)

_WIRES = {4: ip_network("192.0.2.0/24"), 6: ip_network("2001:db8::/64")}
_OUTSIDE = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8:7::7")}
_PUBLIC = {4: ip_address("203.0.113.22"), 6: ip_address("2001:db8:2::2")}
"""By IP version: the wire, and addresses that are not of its network (RFC 5737, RFC 3849)."""

_IN_WEB = "blue-web-vm2"
"""The guest in a group, where there are groups."""


def demo_scenario(
    mode: NetworkMode = NetworkMode.GRE_TUNNEL,
    *,
    uplinks: int = 4,
    versions: frozenset[int] = VERSIONS,
    groups: bool = False,
) -> Scenario:
    """Two compute nodes, two tenants, and the internet.

    Each tenant has one VM and one container on both nodes in both subnets.  With
    tunnels the tenants use the same addresses; there is a network node, a port
    forward for one tenant and a public address for the other.  ``uplinks`` is the IP version
    of the tunnels, which is all that the nodes have in that mode; concentrators, the internet,
    and the nodes of routed mode have both.  ``versions`` are those of the guests.  With
    ``groups`` one guest is in a group that lets ``WEB`` in and no ping.
    """
    routed = mode is NetworkMode.ROUTED
    both = sorted(_WIRES, key=lambda version: version != uplinks)
    here = both if routed else [uplinks]

    def on_wire(number: int, family: list[int] = both) -> tuple[IPInterface, ...]:
        # The last digits of both addresses look the same.
        hosts = {4: _WIRES[4][number], 6: _WIRES[6][int(str(number), 16)]}
        return tuple(
            ip_interface(f"{hosts[version]}/{_WIRES[version].prefixlen}") for version in family
        )

    compute_nodes = (Machine("cn-1", on_wire(11, here)), Machine("cn-2", on_wire(12, here)))
    tenants = (Tenant("blue", on_wire(21)), Tenant("green", on_wire(22)))
    guests: list[Guest] = []
    for tenant_number, tenant in enumerate(tenants, 1):
        for subnet_number, name in enumerate(("web", "db"), 1):
            networks = _networks(subnet_number + (10 * tenant_number if routed else 0), versions)
            subnet = Subnet(tenant, name, networks, 100 * tenant_number + subnet_number)
            for node_number, node in enumerate(compute_nodes, 1):
                for kind, role, host in (
                    ("vm", VnicRole.TENANT_VM, 1),
                    ("ct", VnicRole.TENANT_CONTAINER, 2),
                ):
                    guest = f"{tenant.name}-{name}-{kind}{node_number}"
                    ips = tuple(network[10 * node_number + host] for network in networks)
                    guests.append(Guest(guest, subnet, node, role, ips))
    web = Group(tenant_id=tenants[0].name, name="web", rules=[Rule("in", "tcp", WEB), Rule("out")])
    if groups:
        guests = [
            replace(one, groups=(web.name,)) if one.name == _IN_WEB else one for one in guests
        ]
    blue = next(guest for guest in guests if guest.tenant == tenants[0])
    green = next(guest for guest in guests if guest.tenant == tenants[1])
    publics = [Public(_PUBLIC[version], green) for version in sorted(versions)]
    return Scenario(
        mode=mode,
        wires=tuple(_WIRES[version] for version in both),
        internet=Machine(INTERNET, on_wire(1)),
        outsides=tuple(_OUTSIDE[version] for version in both),
        compute_nodes=compute_nodes,
        network_node=None if routed else Machine("nn-1", on_wire(13, here)),
        tenants=tenants,
        guests=tuple(guests),
        forwards=() if routed else (Forward(33022, blue),),
        publics=() if routed else tuple(publics),
        versions=versions,
        groups=(web,) if groups else (),
    )


def _networks(number: int, versions: frozenset[int]) -> tuple[IPNetwork, ...]:
    both = {4: ip_network(f"10.{number}.0.0/24"), 6: ip_network(f"fd00:{number}::/64")}
    return tuple(both[version] for version in sorted(versions))

"""The rules that protect the tunnels and the networks of the data centre."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, collapse_addresses

from snnet.contract import (
    Gre,
    IPAddress,
    IPNetwork,
    Noun,
    ProtectedNetwork,
    Tunnel,
    TunnelGuard,
    Untracked,
    Vxlan,
)


def port_rules(owner: str, tunnel: Tunnel, router: str | None = None) -> Iterator[Noun]:
    """The rules for a tunnel that is a port of a tenant's bridge.

    ``router``: the bridge's MAC where the host routes for the bridge.
    """
    yield Untracked(owner=owner, link=tunnel.name, router=router)
    if isinstance(tunnel, Vxlan) and tunnel.remote is not None:
        yield guard(owner, tunnel, tunnel.remote)


def guard(owner: str, link: Vxlan | Gre, remote: IPAddress) -> TunnelGuard:
    """The rule that lets the remote send to the tunnel."""
    return TunnelGuard(
        owner=owner,
        link=link.name,
        protocol="udp" if isinstance(link, Vxlan) else "gre",
        port=link.port if isinstance(link, Vxlan) else 0,
        tunnel_key=link.vni if isinstance(link, Vxlan) else link.tunnel_key,
        remote=remote,
    )


def protected_networks(
    owner: str, infrastructure: Iterable[IPNetwork], allowed: Iterable[IPNetwork]
) -> Iterator[ProtectedNetwork]:
    """The rules that keep tenants, who have IPv4 alone, out of these networks."""
    nets = list(collapse_addresses(_ipv4(infrastructure)))
    open_to = list(collapse_addresses(_ipv4(allowed)))
    for network in nets:
        inside = [net for net in open_to if net.subnet_of(network)]
        inside += [network for net in open_to if network.subnet_of(net) and net != network]
        closed = [network]
        for hole in inside:
            closed = [rest for part in closed for rest in _without(part, hole)]
        yield from (ProtectedNetwork(owner=owner, network=net, closed=True) for net in closed)
        yield from (ProtectedNetwork(owner=owner, network=net, closed=False) for net in inside)


def _ipv4(networks: Iterable[IPNetwork]) -> Iterator[IPv4Network]:
    return (net for net in networks if isinstance(net, IPv4Network))


def _without(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
    if not network.overlaps(hole):
        return [network]
    if network.subnet_of(hole):
        return []
    return list(network.address_exclude(hole))

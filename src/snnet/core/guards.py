"""The rules that protect the tunnels and the networks of the data centre."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from snnet.contract import (
    Gre,
    IPAddress,
    IPNetwork,
    MssClamp,
    Noun,
    ProtectedNetwork,
    Tunnel,
    TunnelGuard,
    Untracked,
    Vxlan,
)


def port_rules(
    owner: str, tunnel: Tunnel, router: str | None = None, members: Iterable[IPAddress] = ()
) -> Iterator[Noun]:
    """The rules for a tunnel that is a port of a tenant's bridge.

    ``router``: the bridge's MAC where the host routes for the bridge.  ``members`` are the far
    ends of a vxlan that has no ``remote``.  Its own address is one of them, since a tunnel
    without a guard would take frames from any sender.
    """
    yield Untracked(owner=owner, link=tunnel.name, router=router)
    if router is None and tunnel.mtu is not None:  # else what is routed is clamped there
        yield MssClamp(owner=owner, link=tunnel.name, mtu=tunnel.mtu)
    if isinstance(tunnel, Vxlan):
        far = (tunnel.local, *members) if tunnel.remote is None else (tunnel.remote,)
        for remote in far:
            yield guard(owner, tunnel, remote)


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
    owner: str,
    infrastructure: Iterable[IPNetwork],
    allowed: Iterable[IPNetwork],
    port: int | None = None,
) -> Iterator[ProtectedNetwork]:
    """The rules that keep tenants out of these networks.

    ``port`` is one that tunnels there have beside those of ``TUNNEL_PORTS``.
    """
    open_to = _merged(allowed)
    for network in _merged(infrastructure):
        inside = [net for net in open_to if _is_in(net, network)]
        inside += [network for net in open_to if _is_in(network, net) and net != network]
        closed = [network]
        for hole in inside:
            closed = [rest for part in closed for rest in _without(part, hole)]
        yield from (ProtectedNetwork(owner=owner, network=net, closed=True) for net in closed)
        yield from (
            ProtectedNetwork(owner=owner, network=net, closed=False, port=port) for net in inside
        )


def _merged(networks: Iterable[IPNetwork]) -> list[IPNetwork]:
    """Return the networks without overlaps, those of IPv4 first."""
    given = list(networks)
    four = [net for net in given if isinstance(net, IPv4Network)]
    six = [net for net in given if isinstance(net, IPv6Network)]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _is_in(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Return whether the networks are of one family, and ``outer`` contains ``inner``."""
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )


def _without(network: IPNetwork, hole: IPNetwork) -> list[IPNetwork]:
    if _is_in(network, hole):
        return []
    if not _is_in(hole, network):
        return [network]
    return list(network.address_exclude(hole))  # type: ignore[arg-type]

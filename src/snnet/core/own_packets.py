"""The packets between a node and others that its tunnels and its DHCP servers live on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from snnet.contract import DhcpScope, HostPacket, IPAddress, Noun, Tunnel, TunnelGuard

from .site import Site

_DHCP_PORTS = {4: (67, 68), 6: (547, 546)}
"""By IP version, the ports of server and client (RFC 2131, 4.1; RFC 8415, 7.2)."""
_DNS = 53


def own_packets(site: Site, nouns: Iterable[Noun]) -> list[HostPacket]:
    """The packets that must pass the host's own rules, each kind once."""
    nouns = [noun for noun in nouns if isinstance(noun, (Tunnel, TunnelGuard, DhcpScope))]
    found = dict[HostPacket, None]()
    untracked = {
        (noun.protocol, noun.port, noun.remote)
        for noun in nouns
        if isinstance(noun, TunnelGuard) and noun.protocol == "udp"
    }
    for noun in nouns:
        if isinstance(noun, Tunnel) and noun.remote is not None:
            way = ("udp" if noun.over_udp else "gre", noun.wire_port, noun.remote)
            found |= dict.fromkeys(_of_tunnel(site, *way, untracked=way in untracked))
        elif isinstance(noun, TunnelGuard) and noun.remote != site.ip:
            way = (noun.protocol, noun.port, noun.remote)
            found |= dict.fromkeys(_of_tunnel(site, *way, untracked=way in untracked))
        elif isinstance(noun, DhcpScope) and noun.running:
            found |= dict.fromkeys(_of_scope(noun))
    return list(found)


def remotes(site: Site, nouns: Iterable[Noun]) -> list[IPAddress]:
    """The far ends of the tunnels, each once."""
    found = {
        noun.remote: None
        for noun in nouns
        if isinstance(noun, (Tunnel, TunnelGuard)) and noun.remote not in (None, site.ip)
    }
    return list(found)


def _of_tunnel(
    site: Site, protocol: str, port: int, remote: IPAddress, *, untracked: bool
) -> Iterator[HostPacket]:
    packet = HostPacket(
        what="packets of tunnels",
        incoming=True,
        link=site.uplink.link_name,
        protocol=protocol,
        source=remote,
        target=site.ip,
        target_port=port or None,
        version=remote.version,
        untracked=untracked,
    )
    yield packet
    yield replace(packet, incoming=False, source=site.ip, target=remote)


def _of_scope(scope: DhcpScope) -> Iterator[HostPacket]:
    for gateway in scope.gateways:
        server, client = _DHCP_PORTS[gateway.version]
        request = HostPacket(
            what="DHCP",
            incoming=True,
            link=scope.link,
            protocol="udp",
            source_port=client,
            target_port=server,
            bridged=True,
            version=gateway.version,
        )
        answer = replace(request, incoming=False, source_port=server, target_port=client)
        if gateway.version == 4:
            for packet, source in ((request, IPv4Address("0.0.0.0")), (answer, gateway)):
                everybody = IPv4Address("255.255.255.255")
                yield replace(packet, source=source, target=everybody, broadcast=True)
        else:
            # Between link-local addresses.
            yield replace(request, target=IPv6Address("ff02::1:2"))
            yield answer
        yield HostPacket(
            what="DNS",
            incoming=True,
            link=scope.link,
            protocol="udp",
            target=gateway,
            target_port=_DNS,
            bridged=True,
            version=gateway.version,
        )
